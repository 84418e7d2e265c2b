"""A run's reports, phase by phase, summed up to one record for each promise."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Final

from harness.report.promises import Cases, Outcome, Record
from harness.report.scrubbing import scrubbed

PHASES: Final = {"setup": "its set-up", "call": "the test", "teardown": "its teardown"}
"""pytest's phases of a case, in words."""

_WEIGHTS: Final = {"passed": 0, "skipped": 1, "failed": 2, "rerun": 3}
"""A phase may be told of more than once, by a subtest and by the test around it: the heavier word counts."""


@dataclass(slots=True, kw_only=True)
class CaseTally:
    """What became of one case of a test, as far as it was reported."""

    lacks: str | None = None
    because: str | None = None
    seconds: float = 0.0
    reruns: int = 0
    _phases: dict[str, str] = field(default_factory=dict)

    @property
    def outcome(self) -> str:
        """``failed``, ``skipped``, ``passed`` or, without an end, ``not_run``."""
        told = self._phases.values()
        if "failed" in told:
            return "failed"
        if "skipped" in told:
            return "skipped"
        is_over = self._phases.get("call") == "passed" and "teardown" in self._phases
        return "passed" if is_over else "not_run"

    def note(self, phase: str, outcome: str, *, seconds: float) -> None:
        """Note the end of a phase, or of a subtest in it.

        A set-up that is not the first begins another attempt, and the last one counts; but what has failed for good, as
        whoever is told to run a test twice may, stays failed.

        Args:
            phase: one of `PHASES`.
            outcome: ``passed``, ``failed``, ``skipped`` or, as pytest-rerunfailures says, ``rerun``.
            seconds: what it took.
        """
        if phase == "setup" and "failed" not in self._phases.values():
            self._phases.clear()
            self.lacks = self.because = None
        if outcome == "failed" and self.outcome != "failed":
            self.because = f"{PHASES[phase]} failed"
        self._phases[phase] = max(self._phases.get(phase, outcome), outcome, key=_WEIGHTS.__getitem__)
        self.reruns += outcome == "rerun"
        self.seconds += seconds

    def note_crash(self) -> None:
        """Note that its process died before it was over; without effect if it was."""
        if self.outcome == "not_run":
            self._phases["call"], self.because = "failed", "its process died"


@dataclass(slots=True, kw_only=True)
class PromiseTally:
    """What is known of a test, and what became of its cases.

    Args:
        claim: the test's.
        chapter: its file's.
        line: where the test is in its file, from 0.
        total: how many cases it has.
        is_on_aws: whether every report so far came from a run on AWS itself.
        cases: by node id and pytest-xdist's worker.
    """

    claim: str
    chapter: str | None
    line: int
    total: int
    is_on_aws: bool = True
    cases: dict[tuple[str, str], CaseTally] = field(default_factory=lambda: defaultdict(CaseTally))

    def record(self, name: str) -> Record:
        """Sum up.

        Args:
            name: the promise's id.
        """
        told = list(self.cases.values())
        ends = [case.outcome for case in told]
        unheard = self.total - len({node_id for node_id, _ in self.cases})
        cases = Cases(
            passed=ends.count("passed"),
            failed=ends.count("failed"),
            skipped=ends.count("skipped"),
            not_run=ends.count("not_run") + max(0, unheard),
        )
        lacks, because = self._reason(cases)
        return Record(
            id=name,
            claim=self.claim,
            chapter=self.chapter,
            outcome=cases.outcome,
            cases=cases,
            lacks=lacks,
            because=scrubbed(because) if because else None,
            seconds=round(sum(case.seconds for case in told), 3),
            reruns=sum(case.reruns for case in told),
            on_aws=self.is_on_aws,
        )

    def _reason(self, cases: Cases) -> tuple[str | None, str | None]:
        """Return the capability that was lacking and why it is not proven, or where it failed."""
        if cases.outcome is Outcome.PROVEN:
            return None, None
        if cases.failed:
            return None, _of_many(" and ".join(self._reasons("failed")), cases.failed, cases.total)
        skipped = [case for case in self.cases.values() if case.outcome == "skipped"]
        if lacking := sorted((case.lacks, case.because or "") for case in skipped if case.lacks):
            lacks, because = lacking[0]
            return lacks, because or None
        if skipped:
            return None, _of_many("; ".join(self._reasons("skipped")) or "skipped", len(skipped), cases.total)
        if cases.total > 1:
            return None, f"{cases.not_run} of {cases.total} cases did not run"
        return None, "it did not run to its end"

    def _reasons(self, outcome: str) -> list[str]:
        return sorted({case.because for case in self.cases.values() if case.outcome == outcome and case.because})


def _of_many(reason: str, count: int, total: int) -> str:
    """Add to a reason how many cases it is about, where not about all."""
    return reason if count == total else f"{reason} ({count} of {total} cases)"
