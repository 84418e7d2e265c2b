"""The trace: what happened, in order, as far back as a bounded buffer reaches.

Writing must cost next to nothing, since every message passes here, so the buffer keeps *sources* (broker events, or
records already made) and turns them into records when somebody reads. A source may stand for several records (one
message delivered to many): it takes as many sequence numbers as it will make records, so numbers are final on writing.

Sequence numbers begin at 1, grow by one and never come back. The oldest sources go when there are too many records or
too many bytes; a reader sees that by a gap.

Nothing here waits: `harness.embedded.link_server` does.
"""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

DEFAULT_CAPACITY: Final = 100_000
"""Records kept."""

MAX_HELD_BYTES: Final = 64 * 1024 * 1024
"""Bytes of payloads and properties kept alive by the sources, about."""

FIELDS: Final = ("actor", "kind", "client_id", "principal", "topic", "message_id", "detail")
"""What a record has besides ``seq`` and ``at``, in the order it is written."""


_Entry = tuple[int, int, float, int, Any]
"""First number, count of records, time, bytes held, source: a plain tuple, since one is made for every message."""


class Trace:
    """A bounded, ordered record of what happened.

    Args:
        describe: turns a source into its records (without ``seq`` and ``at``), exactly as many as it was added with.
        capacity: most records kept.

    Attributes:
        last_seq: the number of the latest record, 0 before the first.
        held_bytes: what its sources keep alive, about.
    """

    def __init__(
        self, *, describe: Callable[[Any], Sequence[Mapping[str, Any]]], capacity: int = DEFAULT_CAPACITY
    ) -> None:
        self._describe = describe
        self._capacity = capacity
        self._entries: deque[_Entry] = deque()
        self._count = 0
        self.held_bytes = 0
        self.last_seq = 0

    def add(self, source: object, *, at: float, count: int = 1, held_bytes: int = 0) -> None:
        """Remember something.

        Args:
            source: what `describe` understands; not to be changed afterwards.
            at: seconds since the epoch.
            count: how many records it makes; 0 is ignored.
            held_bytes: how much memory it keeps alive, about.
        """
        if not count:
            return
        self._entries.append((self.last_seq + 1, count, at, held_bytes, source))
        self.last_seq += count
        self._count += count
        self.held_bytes += held_bytes
        while (self._count > self._capacity or self.held_bytes > MAX_HELD_BYTES) and len(self._entries) > 1:
            _, count, _, held_bytes, _ = self._entries.popleft()
            self._count -= count
            self.held_bytes -= held_bytes

    def read(self, since: int) -> Iterator[dict[str, Any]]:
        """Return the records after a sequence number, oldest first, as they are now.

        Records are made while iterating: a reader who takes a few at a time holds nobody up.

        Args:
            since: the last number already seen; 0 for all.
        """
        newer = list(takewhile(lambda entry: entry[0] + entry[1] > since + 1, reversed(self._entries)))
        newer.reverse()
        return self._make(newer, since)

    def _make(self, entries: list[_Entry], since: int) -> Iterator[dict[str, Any]]:
        for first_seq, _, at, _, source in entries:
            written_at = _timestamp(at)
            for seq, record in enumerate(self._describe(source), first_seq):
                if seq > since:
                    yield {"seq": seq, "at": written_at, **{name: record.get(name) for name in FIELDS}}


def _timestamp(at: float) -> str:
    """Write a time as the trace has it: UTC, milliseconds, ``Z``."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
