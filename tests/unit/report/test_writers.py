"""The table as Markdown, JSON and JUnit XML."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from xml.etree.ElementTree import fromstring

import pytest

from harness.report import validation_file
from harness.report.as_json import to_json
from harness.report.junit import to_junit
from harness.report.markdown import to_markdown
from harness.report.table import make_table

if TYPE_CHECKING:
    from harness.report.table import Table
    from tests.unit.report.conftest import MakeRecord, MakeRun


@pytest.fixture
def table(make_run: MakeRun, make_record: MakeRecord) -> Table:
    """Two servers and AWS; every kind of cell."""
    return make_table(
        {
            "embedded.json": make_run(
                make_record("a.py::x", claim="`a|b` | c < d."),
                make_record("b.py::y", chapter=None, reruns=1),
                make_record("b.py::z", chapter=None, failed=1, because="the test failed"),
            ),
            "ministack.json": make_run(
                make_record("a.py::x", claim="`a|b` | c < d.", skipped=1, lacks="POLICY", because="all may do all"),
                make_record("b.py::y", chapter=None, claim="It held.", skipped=1, because="there is no prometheus"),
                label="ministack",
                day=-1,
                complete=False,
                incomplete_because="it was stopped",
            ),
        },
        validation_file.make({}),
    )


def test_the_page_in_full(table: Table) -> None:
    """One table, its footnotes, the runs; texts stay in their cells."""
    page = to_markdown(table)

    assert page.startswith("# Promises\n\nRows are promises: ")
    assert (
        "Made by `thingwright report` from `embedded.json`, `ministack.json`; nobody edits this page by hand." in page
    )
    assert "**Proven on AWS itself: nothing**, 0 of 3." in page
    start = page.index("| Promise |")
    assert page[start:].splitlines() == [
        "| Promise | embedded | ministack | aws |",
        "| --- | --- | --- | --- |",
        "| **it all holds.** (`a.py`) |  |  |  |",
        r"| `a\|b` \| c &lt; d. | proven | not proven: POLICY <sup>1</sup> | not proven <sup>2</sup> |",
        "| **`b.py`** |  |  |  |",
        "| b.py::y holds. | proven <sup>3</sup> | not proven <sup>4, 5</sup> | not proven <sup>2</sup> |",
        "| b.py::z holds. | **failed** <sup>6</sup> | not proven <sup>7</sup> | not proven <sup>2</sup> |",
        "",
        "1. ministack: POLICY: all may do all",
        "2. aws: it has never passed on AWS",
        "3. embedded: passed only when it was tried again",
        "4. ministack: there is no prometheus",
        "5. ministack: the test claimed then: It held.",
        "6. embedded: the test failed",
        "7. ministack: no run here has tried it",
        "",
        "## The runs",
        "",
        "| Column | Target | Date | Proven | Failed | Not proven | Versions |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        "| embedded | embedded | 2026-11-21 | 2 | 1 | 0 | python 3.11.9, boto3 1.40.1 |",
        "| ministack | endpoint | 2026-11-20, incomplete: it was stopped | 0 | 0 | 3 | python 3.11.9, boto3 1.40.1 |",
        "| aws | aws | never | 0 | 0 | 3 |  |",
    ]


def test_a_cell_of_an_older_run_has_its_date(make_run: MakeRun, make_record: MakeRecord) -> None:
    """It does not pass for one of today's."""
    runs = {"old": make_run(make_record("a.py::x")), "new": make_run(make_record("a.py::y"), day=1)}

    page = to_markdown(make_table(runs))

    assert "| a.py::x holds. | proven <sup>1</sup> |" in page
    assert "\n1. embedded: from the run of 2026-11-21\n" in page


def test_what_was_proven_on_aws_is_counted(make_run: MakeRun, make_record: MakeRecord) -> None:
    """The sentence about AWS follows from the cells, each promise once, in files without validations too."""
    proven, failed = make_record("a.py::x", on_aws=True), make_record("a.py::y", failed=1, on_aws=True)
    runs = {name: make_run(proven, failed, label=name, target="aws") for name in ("aws eu", "aws us")}

    page = to_markdown(make_table(runs))

    assert "Proven on AWS itself: 1 of 2;" in page
    assert "stand-in for it" not in page


def test_what_the_target_aws_proved_on_a_stand_in_is_not_proven_on_aws(
    make_run: MakeRun, make_record: MakeRecord
) -> None:
    """It may be pointed at one by AWS_ENDPOINT_URL, and then the cell says so."""
    page = to_markdown(make_table({"a": make_run(make_record("a.py::x"), label="aws", target="aws")}))

    assert "**Proven on AWS itself: nothing**, 0 of 1." in page
    assert "| a.py::x holds. | proven <sup>1</sup> |" in page
    assert "\n1. aws: this was not AWS itself, but a stand-in for it\n" in page


def test_the_json_has_every_cell(table: Table) -> None:
    """As it stands in the table, with its date."""
    told = json.loads(to_json(table))

    assert told["format"] == "thingwright-report/1"
    assert [column["label"] for column in told["columns"]] == ["embedded", "ministack", "aws"]
    assert told["columns"][0]["counts"] == {"proven": 2, "failed": 1, "not proven": 0}
    assert told["columns"][1]["runs"][0]["incomplete_because"] == "it was stopped"
    cells = {promise["id"]: promise["cells"] for promise in told["promises"]}
    assert cells["a.py::x"]["ministack"] == {
        "outcome": "not proven",
        "lacks": "POLICY",
        "because": "all may do all",
        "claim": "`a|b` | c < d.",
        "cases": {"passed": 0, "failed": 0, "skipped": 1, "not_run": 0},
        "seconds": 0.5,
        "reruns": 0,
        "at": "2026-11-20T20:01:02Z",
        "on_aws": False,
    }
    assert cells["a.py::x"]["aws"]["at"] is None


def test_the_junit_xml_has_a_suite_for_each_server(table: Table) -> None:
    """Read by a parser: counts, outcomes, and the evidence as properties of each case."""
    root = fromstring(to_junit(table))  # noqa: S314 - just written

    suites = {suite.get("name"): suite for suite in root.iter("testsuite")}
    assert list(suites) == ["embedded", "ministack", "aws"]
    counts = [(each.get("tests"), each.get("failures"), each.get("skipped")) for each in suites.values()]
    assert counts == [("3", "1", "0"), ("3", "0", "3"), ("3", "0", "3")]
    cases = {case.get("name"): case for case in suites["ministack"].iter("testcase")}
    assert cases["x"].get("classname") == "a"
    properties = {each.get("name"): each.get("value") for each in cases["x"].iter("property")}
    assert properties == {
        "thingwright-target": "endpoint",
        "thingwright-label": "ministack",
        "thingwright-promise": "a.py::x",
        "thingwright-claim": "`a|b` | c < d.",
        "thingwright-outcome": "not proven",
        "thingwright-date": "2026-11-20T20:01:02+00:00",
        "thingwright-lacks": "POLICY",
        "thingwright-because": "all may do all",
    }
    (skipped,) = cases["x"].iter("skipped")
    assert skipped.get("message") == "not proven: POLICY: all may do all"
    (failure,) = suites["embedded"].iter("failure")
    assert failure.get("message") == "failed: the test failed"


def test_the_junit_xml_is_xml_whatever_the_claim(make_run: MakeRun, make_record: MakeRecord) -> None:
    """A character that XML cannot write would make the whole report unreadable."""
    table = make_table({"embedded": make_run(make_record("a.py::x", claim='It & <holds> "\x1b[1m\x00".'))})

    (case,) = fromstring(to_junit(table)).iter("testcase")  # noqa: S314 - just written

    assert 'It & <holds> "[1m".' in [each.get("value") for each in case.iter("property")]
