"""What passed on AWS: written by runs alone."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from harness.errors import SettingsError
from harness.report import validation_file
from harness.report.validation_file import Validation

ROOT = Path(__file__).resolve().parents[3]


def validation(*, day: int = 21) -> Validation:
    """Make what a run on AWS writes."""
    at = datetime(2026, 11, day, tzinfo=UTC)
    return Validation(claim="It holds.", passed_at=at, cases=2, seconds=1.5, versions={"boto3": "1.40.1"})


def test_the_repositorys_own_file_was_not_changed_by_hand() -> None:
    """Its digest is that of its validations, and its first member says who writes it."""
    path = ROOT / "tests" / "e2e" / "aws_validation.json"

    validation_file.read(path)

    name, note = next(iter(json.loads(path.read_text("utf-8")).items()))
    assert (name, note) == ("note", validation_file.NOTE)


def test_what_was_proven_later_takes_the_place_of_what_was_before(tmp_path: Path) -> None:
    """And leaves the others as they were."""
    path = tmp_path / "aws.json"
    before = validation_file.make({"a.py::b": validation(), "a.py::c": validation()})

    validation_file.write(path, before.with_further({"a.py::c": validation(day=22)}))

    after = validation_file.read(path).validations
    assert {name: each.passed_at.day for name, each in after.items()} == {"a.py::b": 21, "a.py::c": 22}


@pytest.mark.parametrize("what", ["added", "removed", "date"])
def test_a_file_changed_by_hand_is_refused(tmp_path: Path, what: str) -> None:
    """Whatever was changed in it."""
    path = tmp_path / "aws.json"
    validation_file.write(path, validation_file.make({"a.py::b": validation()}))
    content = json.loads(path.read_text("utf-8"))
    if what == "added":
        content["validations"]["a.py::c"] = content["validations"]["a.py::b"]
    elif what == "removed":
        content["validations"] = {}
    else:
        content["validations"]["a.py::b"]["passed_at"] = "2026-11-22T00:00:00Z"
    path.write_text(json.dumps(content), "utf-8")

    with pytest.raises(SettingsError, match="changed it by hand"):
        validation_file.read(path)
