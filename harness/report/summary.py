"""The count of a run: what the target proved, and what it could not."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

_LONGEST_REASON: Final = 160


@dataclass(slots=True, kw_only=True)
class RunSummary:
    """Outcomes of the tests that used a target.

    Args:
        target: its name.
        outcomes: test id to ``passed``, ``failed``, ``skipped`` or ``not proven``.
        lacking: test id to the capability the target lacks for it.
        reasons: capability to why the target lacks it.
    """

    target: str
    outcomes: dict[str, str] = field(default_factory=dict)
    lacking: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)

    def count(self, test: str, outcome: str, *, lacks: str | None = None, because: str | None = None) -> None:
        """Note the outcome of one phase of a test; a failure in any phase is the test's outcome.

        Args:
            test: its id.
            outcome: ``passed``, ``failed`` or ``skipped``.
            lacks: the capability for whose lack it was skipped.
            because: why the target lacks it; of several reasons for one capability the first is kept.
        """
        if lacks is not None:
            outcome, self.lacking[test] = "not proven", lacks
            if because:
                self.reasons.setdefault(lacks, because)
        if outcome == "failed" or self.outcomes.get(test) in (None, "passed"):
            self.outcomes[test] = outcome

    def line(self) -> str:
        """Give the count as one line.

        A test skipped for what the target lacks is no success: it is counted as not proven, with the capability's name.
        """
        counts = Counter(self.outcomes.values())
        parts = [f"{counts['passed']} passed"]
        parts += [f"{counts[outcome]} {outcome}" for outcome in ("failed", "skipped") if counts[outcome]]
        names = self._lacking_counts()
        if names:
            lacks = ", ".join(f"{name} {count}" for name, count in sorted(names.items()))
            parts.append(f"{counts['not proven']} not proven (lacking {lacks})")
        return f"thingwright on {self.target}: {', '.join(parts)}"

    def lines(self) -> list[str]:
        """Give the count as one line, and below it one line for each lacking capability whose reason is known."""
        known = [name for name in sorted(self._lacking_counts()) if name in self.reasons]
        return [self.line(), *(f"  lacks {name}: {_shortened(self.reasons[name])}" for name in known)]

    def _lacking_counts(self) -> Counter[str]:
        return Counter(lack for test, lack in self.lacking.items() if self.outcomes[test] == "not proven")


def _shortened(reason: str) -> str:
    """Give a reason on one line that a terminal can hold."""
    words = " ".join(reason.split())
    return words if len(words) <= _LONGEST_REASON else f"{words[: _LONGEST_REASON - 1].rstrip()}…"
