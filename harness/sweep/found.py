"""What a sweep finds, and what it may take of it, as values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.targets.marks import Mark


class Kind(StrEnum):
    """What runs leave behind, in the order in which AWS lets it go."""

    RULE = "rule"
    DESTINATION = "destination"
    CERTIFICATE = "certificate"
    THING = "thing"
    POLICY = "policy"
    IDENTITY = "identity"
    POOL = "identity pool"
    ROLE = "role"
    TABLE = "table"
    QUEUE = "queue"

    @property
    def plural(self) -> str:
        """For lines that count."""
        return f"{self.value.removesuffix('y')}ies" if self.value.endswith("y") else f"{self.value}s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One thing that has a mark, or a guest that is too old.

    Args:
        kind: what it is.
        name: as AWS lists it: a name, an ARN, an id or a queue's URL; its removal takes the same.
        mark: whose it is; None for guests, who have none.
        since: seconds since the epoch at which a guest was made; None for all others.
        held_by: what that is not to go still uses it; None when nothing does.
    """

    kind: Kind
    name: str
    mark: Mark | None
    since: float | None = None
    held_by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NotLookedAt:
    """What could not be listed.

    Args:
        what: in words, plural.
        because: what was answered.
        is_offered: False where the service does not exist there, so that nothing can have been left in it.
    """

    what: str
    because: str
    is_offered: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Criteria:
    """What may go.

    Args:
        now: seconds since the epoch.
        runs: ids of runs that count as over although they have not expired.
        older_than: seconds after which a guest of a swept pool may go.
        pools: ids of identity pools whose guests are swept although the pool does not say so.
    """

    now: float
    runs: frozenset[str] = frozenset()
    older_than: float = 0.0
    pools: frozenset[str] = frozenset()

    def is_over(self, mark: Mark) -> bool:
        """Tell whether a run is over: by its own mark, or because its user says so."""
        return mark.has_expired(self.now) or mark.run_id in self.runs

    def is_due(self, found: Found) -> bool:
        """Tell whether something may go."""
        if found.mark is not None:
            return found.held_by is None and self.is_over(found.mark)
        return found.since is not None and self.now - found.since >= self.older_than
