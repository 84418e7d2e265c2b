"""Which rows go into which call: gathered, joined, kept in order, tried again, given up.

Rows, the outcome of calls and a time passed in; nothing here waits, reads a clock, or knows of threads and DynamoDB.

Rows of one moment share a call: it leaves with `MAX_CALL_ROWS` rows, or when its first row has waited for
``Limits.linger``, or at once while no other call is under way. No call has a key twice, and no two calls under way have
one in common. So a row that is equal to the last one of its key joins that one, whose write then answers both; a row
that differs from it is held until that one is through.

A row on its way is in one of the states of `State`:

```
HELD ──► READY ──► CALLED ──► OVER      written, refused, or not to be tried again
           ▲          │
           ├──────────┤                 at once: the call was not sent in time, or its rows are to be told apart
           └─ DELAYED ◄                 a later call may succeed
```

and from all but one of them it is OVER when the time of all who wait for it is up. The one is CALLED: its call may
still write it. There it stays until the call ends, or is itself given up, one budget after it left; what then becomes
of the call nobody knows.
"""

from __future__ import annotations

import heapq
from collections import deque
from itertools import count
from sys import getsizeof
from typing import TYPE_CHECKING, Final

from receiver.errors import WriteFailed
from receiver.waiting import Call, Entry, Put, State

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from receiver.reading import Row
    from receiver.waiting import Answer, Key, Limits, Outcome

MAX_CALL_ROWS: Final = 25
"""Source: DynamoDB API Reference, BatchWriteItem. Its 16 MB are out of reach: a row is hardly longer than a message."""

REMEMBERED_KEYS: Final = 10_000
"""Of rows written lately, by which a message that was sent again is told."""

ROW_SIZE: Final = 1_024
"""Roughly, of all that a row takes besides the texts whose length is the device's choice."""

_FIRST_DELAY: Final = 0.05
_LONGEST_DELAY: Final = 0.8


class Batches:
    """Rows between their arrival and their answer.

    Args:
        limits: of what is accepted and of how it is written.
        random: gives numbers from 0 to 1, so that those who were held up together do not come back together.
    """

    def __init__(self, limits: Limits, *, random: Callable[[], float]) -> None:
        self.rows = 0
        self.size = 0
        self._limits = limits
        self._random = random
        self._is_closed = False
        self._puts: list[tuple[float, int, Put]] = []
        self._ready: deque[Entry] = deque()
        self._delayed: list[tuple[float, int, Entry]] = []
        self._order = count()
        self._last: dict[Key, Entry] = {}
        self._calls: dict[Call, None] = {}
        self._busy_threads = 0
        self._young_keys: set[int] = set()
        self._old_keys: set[int] = set()

    @property
    def is_full(self) -> bool:
        """A further row would be refused."""
        return self._is_closed or self.rows >= self._limits.rows or self.size >= self._limits.size

    def close(self) -> None:
        """Accept nothing more."""
        self._is_closed = True

    def add(self, rows: Sequence[Row], now: float, answer: Answer, *, arrived_at: float | None = None) -> int:
        """Accept the rows of a request, all or none.

        Args:
            rows: of none there is nothing to wait for.
            now: the time.
            answer: called once, when all of them are over or the budget is: with the first failure, or None.
            arrived_at: when their request came, from which the budget counts; None: now.

        Returns:
            how many of them have a key that was written shortly before, or is under way.

        Raises:
            WriteFailed: too many wait, or the budget is over already.
        """
        deadline = (now if arrived_at is None else arrived_at) + self._limits.budget
        sizes = [ROW_SIZE + getsizeof(row.device_id) + getsizeof(row.ts) for row in rows]
        too_many = self.rows + len(rows) > self._limits.rows or self.size + sum(sizes) > self._limits.size
        if self._is_closed or too_many:
            raise WriteFailed("busy", "TooManyRowsWaiting")
        if not rows:
            answer(None)
            return 0
        if deadline <= now:
            raise WriteFailed("busy", "WaitedTooLong")
        put = Put(answer, deadline, len(rows))
        heapq.heappush(self._puts, (deadline, next(self._order), put))
        self.rows += len(rows)
        return sum(self._add(row, size, put, now) for row, size in zip(rows, sizes, strict=True))

    def _add(self, row: Row, size: int, put: Put, now: float) -> bool:
        key = (row.device_id, row.sort_key)
        last = self._last.get(key)
        if last is not None and last.state is not State.OVER and last.row == row:
            entry = last
            entry.deadline = max(entry.deadline, put.deadline)
        else:
            entry = self._last[key] = Entry(row, key, put.deadline, size)
            self.size += size
            if last is None:
                entry.state = State.READY
                entry.leave_at = now + self._limits.linger
                self._ready.append(entry)
            else:
                last.follower = entry
        entry.puts.append(put)
        put.entries.append(entry)
        known = hash(key)
        return last is not None or known in self._young_keys or known in self._old_keys

    def take(self, now: float) -> Call | None:
        """Give a call that is to leave now; None: none is.

        `turn` with the same time comes first, after which the first of those that are ready is still to be written;
        `finish` is told of the call's end.
        """
        leaves_at = self._leaves_at()
        if leaves_at is None or now < leaves_at:
            return None
        entries: list[Entry] = []
        while self._ready and len(entries) < MAX_CALL_ROWS and not (entries and self._ready[0].alone):
            entry = self._ready.popleft()
            if entry.state is State.READY:
                entry.state = State.CALLED
                entries.append(entry)
                if entry.alone:
                    break
        call = Call(entries, now + self._limits.budget)
        self._calls[call] = None
        self._busy_threads += 1
        return call

    def next_at(self) -> float | None:
        """Tell when `turn` and `take` are to be called next, if nothing else happens; None: not at all."""
        times = [self._puts[0][0]] if self._puts else []
        if self._calls:
            times.append(next(iter(self._calls)).give_up_at)
        if self._delayed:
            times.append(self._delayed[0][0])
        if (leaves_at := self._leaves_at()) is not None:
            times.append(leaves_at)
        return min(times, default=None)

    def _leaves_at(self) -> float | None:
        is_free = len(self._calls) < self._limits.calls and self._busy_threads < self._limits.threads
        if not self._ready or not is_free:
            return None
        return self._ready[0].leave_at if self._calls and len(self._ready) < MAX_CALL_ROWS else 0.0

    def turn(self, now: float) -> None:
        """Do what time brings: give up requests and calls, let delayed rows go."""
        self._forget_answered()
        while self._puts and self._puts[0][0] <= now:
            self._give_up(heapq.heappop(self._puts)[-1], now)
            self._forget_answered()
        while self._ready and self._ready[0].state is State.OVER:
            self._ready.popleft()
        while self._calls and (call := next(iter(self._calls))).give_up_at <= now:
            del self._calls[call]
            for entry in call.entries:
                self._again(entry, WriteFailed("unavailable", "TookTooLong"), now, at=now)
        while self._delayed and self._delayed[0][0] <= now:
            _, _, entry = heapq.heappop(self._delayed)
            if entry.state is State.DELAYED:
                self._go_on(entry, now)

    def finish(self, call: Call, outcome: Outcome, now: float) -> int:
        """Take what became of a call; give how many rows it is known to have written.

        Of a call that was given up nothing is taken: its rows may be in another one by now.
        """
        self._busy_threads -= 1
        if call not in self._calls:
            return 0
        del self._calls[call]
        spread = 0.5 + 0.5 * self._random()
        written = 0
        for entry in call.entries:
            if outcome.failure is not None and (outcome.keys is None or entry.key in outcome.keys):
                self._fail(entry, outcome, now, spread, is_one_of_many=len(call.entries) > 1)
            else:
                written += 1
                self._remember(entry.key)
                self._end(entry, None, now)
        self._forget_answered()
        return written

    def _fail(self, entry: Entry, outcome: Outcome, now: float, spread: float, *, is_one_of_many: bool) -> None:
        if outcome.remedy == "later":
            delay = min(_LONGEST_DELAY, _FIRST_DELAY * 2**entry.tries) * spread
            entry.tries += 1
            self._again(entry, outcome.failure, now, at=now + delay)
        elif outcome.remedy == "now":
            self._again(entry, None, now, at=now)
        elif outcome.remedy == "apart" and is_one_of_many:
            entry.alone = True
            self._again(entry, outcome.failure, now, at=now)
        else:
            self._end(entry, outcome.failure, now)

    def _again(self, entry: Entry, failure: WriteFailed | None, now: float, *, at: float) -> None:
        """Try a row again at a time, or end it if its own is up before."""
        entry.failure = failure or entry.failure
        if at >= entry.deadline:
            self._end(entry, entry.failure or WriteFailed("busy", "WaitedTooLong"), now)
        elif at > now:
            entry.state = State.DELAYED
            heapq.heappush(self._delayed, (at, next(self._order), entry))
        else:
            self._go_on(entry, now)

    def _go_on(self, entry: Entry, now: float) -> None:
        """Let a row go that has waited already: with the next call, and that one at once."""
        entry.state = State.READY
        entry.leave_at = now
        self._ready.appendleft(entry)

    def _give_up(self, put: Put, now: float) -> None:
        """Answer a request that has waited long enough; end its rows that nobody else waits for."""
        entries = [entry for entry in put.entries if entry.state is not State.OVER]
        failure = put.failure or next((entry.failure for entry in entries if entry.failure is not None), None)
        if failure is None:
            called = any(entry.state is State.CALLED for entry in entries)
            failure = WriteFailed("unavailable", "TookTooLong") if called else WriteFailed("busy", "WaitedTooLong")
        put.give(failure)
        for entry in entries:
            if entry.deadline <= now and entry.state not in (State.CALLED, State.OVER):
                self._end(entry, failure, now)

    def _end(self, entry: Entry, failure: WriteFailed | None, now: float) -> None:
        """Take a row out, tell those who wait for it, and let the next one with its key go."""
        was_held = entry.state is State.HELD
        entry.state = State.OVER
        self.rows -= len(entry.puts)
        self.size -= entry.size
        for put in entry.puts:
            put.take(failure)
        if was_held:
            return  # the one that holds it is still on its way
        follower = entry.follower
        while follower is not None and follower.state is State.OVER:
            follower = follower.follower
        if follower is None:
            del self._last[entry.key]
        else:
            self._go_on(follower, now)

    def _forget_answered(self) -> None:
        while self._puts and not self._puts[0][-1].missing:
            heapq.heappop(self._puts)

    def _remember(self, key: Key) -> None:
        """Remember a key among the last written; two sets in turn, since a set does not know its oldest."""
        if len(self._young_keys) >= REMEMBERED_KEYS // 2:
            self._old_keys, self._young_keys = self._young_keys, set()
        self._young_keys.add(hash(key))
