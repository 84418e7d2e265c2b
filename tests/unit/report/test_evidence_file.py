"""Evidence files: written and read again, and garbage refused in a sentence."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from harness.errors import SettingsError
from harness.report import evidence_file

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.report.conftest import MakeRecord, MakeRun

GOOD: dict[str, Any] = {
    "format": "thingwright-evidence/1",
    "target": "endpoint",
    "label": "ministack",
    "started": "2026-11-21T20:00:00Z",
    "ended": "2026-11-21T20:01:00Z",
    "exit_status": 1,
    "complete": True,
    "incomplete_because": None,
    "versions": {"python": "3.11.9"},
    "promises": [
        {
            "id": "a.py::b",
            "claim": "It holds.",
            "chapter": None,
            "outcome": "not proven",
            "cases": {"passed": 1, "failed": 0, "skipped": 1, "not_run": 0},
            "lacks": "POLICY",
            "because": "everybody may do everything",
            "seconds": 1.5,
            "reruns": 0,
        }
    ],
}


def test_what_is_written_is_read_again(tmp_path: Path, make_run: MakeRun, make_record: MakeRecord) -> None:
    """Nothing is lost on the way."""
    run = make_run(make_record("a.py::b"), make_record("a.py::c", failed=1, because="the test failed"))

    run.write(tmp_path / "run.json")

    assert evidence_file.read(tmp_path / "run.json") == run


def test_the_documented_form_is_read(tmp_path: Path) -> None:
    """As other programs may write it."""
    (tmp_path / "run.json").write_text(json.dumps(GOOD), "utf-8")

    run = evidence_file.read(tmp_path / "run.json")

    assert (run.label, run.promises[0].lacks, run.promises[0].cases.total) == ("ministack", "POLICY", 2)


def changed(**members: Any) -> str:
    """Give the good file with other members."""
    return json.dumps({**GOOD, **members})


def with_promise(**members: Any) -> str:
    """Give the good file with other members in its promise."""
    return changed(promises=[{**GOOD["promises"][0], **members}])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "Invalid JSON"),
        ("{", "Invalid JSON"),
        ("[]", "Input should be an object"),
        ("<testsuites/>", "Invalid JSON"),
        (changed(format="thingwright-evidence/2"), "format: Input should be 'thingwright-evidence/1'"),
        (changed(target=""), "target: "),
        (changed(ended="yesterday"), "ended: "),
        (changed(ended="2026-11-21T20:01:00"), "ended: Input should have timezone info"),
        (changed(exit_status="0"), "exit_status: "),
        (changed(host="mine"), "host: Extra inputs are not permitted"),
        (changed(promises=GOOD["promises"] * 2), "a.py::b is there twice"),
        (with_promise(id=""), "promises.0.id: "),
        (with_promise(outcome="fine"), "promises.0.outcome: "),
        (with_promise(outcome="proven"), "a.py::b is called proven, and its cases say not proven"),
        (with_promise(cases={"passed": -1}), "promises.0.cases.passed: "),
        (with_promise(seconds=-1), "promises.0.seconds: "),
    ],
)
def test_garbage_is_refused_in_a_sentence(tmp_path: Path, text: str, reason: str) -> None:
    """It names the file, what it was to be, and what is wrong with it."""
    path = tmp_path / "run.json"
    path.write_text(text, "utf-8")

    with pytest.raises(SettingsError) as refusal:
        evidence_file.read(path)

    told = str(refusal.value)
    assert str(path) in told
    assert "an evidence file, as `pytest --evidence FILE` writes it" in told
    assert reason in told
    assert "\n" not in told


def test_a_file_that_is_not_there_or_is_no_text_is_refused(tmp_path: Path) -> None:
    """The same sentence, another reason."""
    (tmp_path / "picture.json").write_bytes(b"\x89PNG\xff")

    with pytest.raises(SettingsError, match="No such file"):
        evidence_file.read(tmp_path / "nowhere.json")
    with pytest.raises(SettingsError, match="it is no text"):
        evidence_file.read(tmp_path / "picture.json")
    with pytest.raises(SettingsError, match="Is a directory"):
        evidence_file.read(tmp_path)
