"""Evidence of runs that never were."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import pytest

from harness.report.evidence_file import EvidenceFile
from harness.report.promises import Cases, Record

DAY = datetime(2026, 11, 21, 20, 1, 2, tzinfo=UTC)


class MakeRun(Protocol):
    """The type of the fixture `make_run`."""

    def __call__(self, *records: Record, label: str = "embedded", day: int = 0, **facts: Any) -> EvidenceFile:
        """Make the evidence of a run that ended so many days after the first."""
        ...


class MakeRecord(Protocol):
    """The type of the fixture `make_record`."""

    def __call__(self, name: str, *, claim: str | None = None, **facts: Any) -> Record:
        """Make what a run says of a promise: proven, unless told how its cases ended."""
        ...


@pytest.fixture
def make_run() -> MakeRun:
    """Makes the evidence of a run."""

    def make(*records: Record, label: str = "embedded", day: int = 0, **facts: Any) -> EvidenceFile:
        ended = DAY + timedelta(days=day)
        given = {
            "target": "embedded" if label == "embedded" else "endpoint",
            "exit_status": 0,
            "complete": True,
            **facts,
        }
        return EvidenceFile(
            format="thingwright-evidence/1",
            label=label,
            started=ended - timedelta(minutes=1),
            ended=ended,
            versions={"python": "3.11.9", "boto3": "1.40.1"},
            promises=records,
            **given,
        )

    return make


@pytest.fixture
def make_record() -> MakeRecord:
    """Makes what a run says of a promise."""

    def make(name: str, *, claim: str | None = None, **facts: Any) -> Record:
        cases = Cases(**{each: facts.pop(each) for each in list(facts) if each in Cases.model_fields})
        if not cases.total:
            cases = Cases(passed=1)
        given = {"chapter": "it all holds.", "seconds": 0.5, **facts}
        return Record(id=name, claim=claim or f"{name} holds.", outcome=cases.outcome, cases=cases, **given)

    return make
