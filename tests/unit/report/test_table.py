"""Many runs as one table."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from harness.errors import SettingsError
from harness.report import validation_file
from harness.report.promises import Outcome
from harness.report.table import NEVER, NEVER_ON_AWS, make_table
from harness.report.validation_file import Validation

if TYPE_CHECKING:
    from tests.unit.report.conftest import MakeRecord, MakeRun


def test_each_label_is_a_column_and_each_promise_a_row(make_run: MakeRun, make_record: MakeRecord) -> None:
    """Columns in the order of the files, rows by file; what a server was not asked is not proven there."""
    table = make_table(
        {
            "serve.json": make_run(make_record("b.py::y"), make_record("a.py::z"), label="serve"),
            "embedded.json": make_run(make_record("b.py::x", failed=1), make_record("b.py::y")),
        }
    )

    assert [column.label for column in table.columns] == ["serve", "embedded"]
    assert {file: [row.id for row in rows] for file, rows in table.rows.items()} == {
        "a.py": ["a.py::z"],
        "b.py": ["b.py::y", "b.py::x"],
    }
    serve, embedded = table.columns
    assert embedded.counts == {Outcome.PROVEN: 1, Outcome.FAILED: 1, Outcome.NOT_PROVEN: 1}
    assert (serve.cells["b.py::x"].outcome, serve.cells["b.py::x"].because) == (Outcome.NOT_PROVEN, NEVER)
    assert table.has_failed


@pytest.mark.parametrize("names", [("old", "new"), ("new", "old")])
def test_the_latest_word_on_a_promise_counts(
    make_run: MakeRun, make_record: MakeRecord, names: tuple[str, str]
) -> None:
    """Whatever the order of the files; each cell has the date of its own run."""
    runs = {
        "old": make_run(make_record("a.py::x"), make_record("a.py::y", failed=1), day=0),
        "new": make_run(make_record("a.py::x", failed=1, because="the test failed"), day=1),
    }

    (column,) = make_table({name: runs[name] for name in names}).columns

    assert [run.ended for run in column.runs] == [runs["new"].ended, runs["old"].ended]
    assert (column.cells["a.py::x"].outcome, column.cells["a.py::x"].at) == (Outcome.FAILED, runs["new"].ended)
    assert (column.cells["a.py::y"].outcome, column.cells["a.py::y"].at) == (Outcome.FAILED, runs["old"].ended)


def test_a_run_that_left_cases_out_has_no_word_on_them(make_run: MakeRun, make_record: MakeRecord) -> None:
    """What was cut short neither proves nor takes back; what failed in it did fail."""
    table = make_table(
        {
            "old": make_run(make_record("a.py::x", passed=2), make_record("a.py::y", passed=2)),
            "new": make_run(
                make_record("a.py::x", passed=1, not_run=1),
                make_record("a.py::y", failed=1, not_run=1),
                make_record("a.py::z", not_run=1),
                day=1,
                complete=False,
                incomplete_because="it was interrupted",
            ),
        }
    )

    (column,) = table.columns
    assert [cell.outcome for cell in column.cells.values()] == [Outcome.PROVEN, Outcome.FAILED, Outcome.NOT_PROVEN]


def test_a_run_that_says_nothing_any_more_is_not_listed(make_run: MakeRun, make_record: MakeRecord) -> None:
    """Versions and dates are those of the cells; the latest run is named whatever it said."""
    old, new = make_run(make_record("a.py::x")), make_run(make_record("a.py::x"), day=1)
    empty = make_run(day=2, complete=False, incomplete_because="it was interrupted")

    (column,) = make_table({"old": old, "new": new, "empty": empty}).columns

    assert [run.ended for run in column.runs] == [empty.ended, new.ended]


def test_the_latest_claim_is_the_rows(make_run: MakeRun, make_record: MakeRecord) -> None:
    """A cell keeps what was claimed when it was proven."""
    table = make_table(
        {
            "embedded": make_run(make_record("a.py::x", claim="It holds better."), day=1),
            "serve": make_run(make_record("a.py::x", claim="It holds."), label="serve"),
        }
    )

    (row,) = table.rows["a.py"]
    assert row.claim == "It holds better."
    assert [column.cells["a.py::x"].claim for column in table.columns] == ["It holds better.", "It holds."]


def test_a_label_belongs_to_one_target(make_run: MakeRun, make_record: MakeRecord) -> None:
    """Else an emulator's cells would stand under AWS."""
    runs = {
        "a": make_run(make_record("a.py::x"), label="mine", target="aws"),
        "b": make_run(make_record("a.py::x"), label="mine", target="endpoint"),
    }

    with pytest.raises(SettingsError, match="one label for one target, and here it is on aws and endpoint"):
        make_table(runs)


def test_aws_is_a_column_even_if_nothing_ever_met_it(make_run: MakeRun, make_record: MakeRecord) -> None:
    """Not proven, everywhere, in so many words."""
    table = make_table({"embedded": make_run(make_record("a.py::x"))}, validation_file.make({}))

    aws = table.columns[-1]
    assert (aws.label, aws.target, aws.runs) == ("aws", "aws", ())
    assert (aws.cells["a.py::x"].outcome, aws.cells["a.py::x"].because) == (Outcome.NOT_PROVEN, NEVER_ON_AWS)


def test_what_passed_on_aws_is_shown_until_a_later_run_fails(make_run: MakeRun, make_record: MakeRecord) -> None:
    """Validations and runs on AWS are one column; the later of the two counts, cell by cell."""
    failed = make_run(
        make_record("a.py::x", failed=1), make_record("a.py::y", failed=1), label="aws", target="aws", day=1
    )
    day = timedelta(days=1)
    validations = validation_file.make(
        {
            name: Validation(claim="It holds.", passed_at=at, cases=1, versions={"boto3": "1.40.1"})
            for name, at in (
                ("a.py::x", failed.ended - day),
                ("a.py::y", failed.ended + day),
                ("b.py::z", failed.ended),
            )
        }
    )

    table = make_table({"aws": failed}, validations)

    (column,) = table.columns
    ends = [column.cells[name].outcome for name in ("a.py::x", "a.py::y", "b.py::z")]
    assert ends == [Outcome.FAILED, Outcome.PROVEN, Outcome.PROVEN]
    assert [row.claim for row in table.rows["b.py"]] == ["It holds."]
