"""What is to happen later: a heap of callbacks with a time each.

There is no clock in here: the shell asks when the next one is due and calls `Timers.run` with the time it is.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_MANY_CANCELLED = 64


class Timer:
    """One callback, due at a time; made by `Timers.schedule`."""

    __slots__ = ("_timers", "action", "sequence", "when")

    def __init__(self, timers: Timers, when: float, sequence: int, action: Callable[[float], None]) -> None:
        self._timers = timers
        self.when = when
        self.sequence = sequence
        self.action: Callable[[float], None] | None = action

    def __lt__(self, other: Timer) -> bool:
        """Order by time, then by the order of scheduling."""
        return (self.when, self.sequence) < (other.when, other.sequence)

    def cancel(self) -> None:
        """Make sure that the callback is not called any more; again is harmless."""
        if self.action is not None:
            self.action = None
            self._timers.forget_one()


class Timers:
    """A heap of timers; cancelled ones are swept out when they are the greater part of it."""

    __slots__ = ("_cancelled", "_heap", "_sequence")

    def __init__(self) -> None:
        self._heap: list[Timer] = []
        self._sequence = 0
        self._cancelled = 0

    def __len__(self) -> int:
        """Count the timers that will still run."""
        return len(self._heap) - self._cancelled

    def schedule(self, when: float, action: Callable[[float], None]) -> Timer:
        """Have a callback called with the time once ``when`` has come."""
        self._sequence += 1
        timer = Timer(self, when, self._sequence, action)
        heapq.heappush(self._heap, timer)
        return timer

    def next_deadline(self) -> float | None:
        """Say when the next callback is due; None when there is none."""
        heap = self._heap
        while heap and heap[0].action is None:
            heapq.heappop(heap)
            self._cancelled -= 1
        return heap[0].when if heap else None

    def run(self, now: float) -> None:
        """Call everything that is due, in order of time; what callbacks schedule for now or earlier is called too."""
        while (when := self.next_deadline()) is not None and when <= now:
            timer = heapq.heappop(self._heap)
            action, timer.action = timer.action, None
            if action is not None:  # pragma: no branch - next_deadline leaves a live timer on top
                action(now)

    def forget_one(self) -> None:
        """Count a cancelled timer, and rebuild the heap when most of it is cancelled."""
        self._cancelled += 1
        if self._cancelled > _MANY_CANCELLED and self._cancelled * 2 > len(self._heap):
            self._heap = [timer for timer in self._heap if timer.action is not None]
            heapq.heapify(self._heap)
            self._cancelled = 0
