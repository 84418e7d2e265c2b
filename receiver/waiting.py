"""What waits in `receiver.batches`: requests, their rows, and the calls that these go into."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    from receiver.errors import WriteFailed
    from receiver.reading import Row

    Answer: TypeAlias = Callable[[WriteFailed | None], object]

Key: TypeAlias = tuple[str, str]
"""A row's partition key and sort key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much, how many, how long.

    Args:
        rows: accepted and not over.
        size: roughly the bytes that those take, whose ``ts`` may be as long as a message.
        calls: under way at once.
        threads: the same, with calls that were given up and have not ended.
        linger: seconds that a row waits for others while a call is under way.
        budget: seconds from a request's arrival until its answer at the latest, after which its rows are not written
            any more. What it leaves of a rule's three seconds is for the way there and back, and for many at once.
    """

    rows: int = 2_000
    size: int = 16 * 1024 * 1024
    calls: int = 6
    threads: int = 16
    linger: float = 0.003
    budget: float = 2.6


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a call.

    Args:
        failure: why rows are not written, or why nobody knows; None: all are.
        keys: of those rows; None: all.
        remedy: ``later``: a later call may succeed; ``apart``: one of them may have spoilt it for the others; ``now``:
            it was not sent in time for all of them; ``none``: another try would end alike.
    """

    failure: WriteFailed | None = None
    keys: frozenset[Key] | None = None
    remedy: Literal["none", "later", "apart", "now"] = "none"


class State(Enum):
    """Where a row is; see `receiver.batches`."""

    HELD = auto()
    READY = auto()
    DELAYED = auto()
    CALLED = auto()
    OVER = auto()


class Put:
    """The rows of one request. A plain class with slots, as the next one: both are made for every row.

    Args:
        answer: to be called with the first failure, or None, once all rows are over.
        deadline: when it is called at the latest.
        missing: rows that are not over; 0 once it was called.
    """

    __slots__ = ("answer", "deadline", "entries", "failure", "missing")

    def __init__(self, answer: Answer, deadline: float, missing: int) -> None:
        self.answer = answer
        self.deadline = deadline
        self.missing = missing
        self.entries: list[Entry] = []
        self.failure: WriteFailed | None = None

    def take(self, failure: WriteFailed | None) -> None:
        """Take what became of one of the rows; answer with the last of them."""
        if self.missing:
            self.failure = self.failure or failure
            self.missing -= 1
            if not self.missing:
                self.give(self.failure)

    def give(self, failure: WriteFailed | None) -> None:
        """Answer, and wait for nothing more."""
        self.missing = 0
        self.entries = []
        self.answer(failure)


class Entry:
    """A row on its way, with the requests that wait for it.

    Args:
        row: what is to be written.
        key: its own.
        deadline: of the last of those requests.
        size: as it counts for ``Limits.size``.
    """

    __slots__ = ("alone", "deadline", "failure", "follower", "key", "leave_at", "puts", "row", "size", "state", "tries")

    def __init__(self, row: Row, key: Key, deadline: float, size: int) -> None:
        self.row = row
        self.key = key
        self.deadline = deadline
        self.size = size
        self.state = State.HELD
        self.puts: list[Put] = []
        self.follower: Entry | None = None
        """The next row with this key."""
        self.leave_at = 0.0
        self.alone = False
        """It is to have a call to itself."""
        self.tries = 0
        self.failure: WriteFailed | None = None
        """Of the last try."""


class Call:
    """Rows to be written together.

    Args:
        entries: they, no key twice.
        give_up_at: when nobody waits any more for its end.
    """

    __slots__ = ("entries", "give_up_at", "rows", "send_by")

    def __init__(self, entries: list[Entry], give_up_at: float) -> None:
        self.entries = entries
        self.rows = [entry.row for entry in entries]
        self.send_by = min(entry.deadline for entry in entries)
        """After this it must not be sent: one of the rows is not to be written any more."""
        self.give_up_at = give_up_at
