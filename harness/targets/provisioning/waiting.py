"""Waiting for what AWS does in its own time: asking again until the answer is the awaited one."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_Answer = TypeVar("_Answer")

_FIRST_PAUSE: Final = 0.005
_LONGEST_PAUSE: Final = 0.2


def ask_until(
    ask: Callable[[], _Answer],
    awaited: Callable[[_Answer], bool],
    *,
    seconds: float,
    longest_pause: float = _LONGEST_PAUSE,
    share: Callable[[], float] = lambda: 1.0,
    now: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> _Answer:
    """Ask until the answer is an awaited one or the time is over.

    Args:
        ask: asks once.
        awaited: tells whether to stop asking.
        seconds: how long to go on; the last question comes when they are over.
        longest_pause: seconds that a pause between two questions grows to.
        share: how much of a pause is made, above 0 and at most 1; asked for each. With `some_share`, many who were
            refused at once do not all come back at once.
        now: the clock, in seconds.
        pause: waits for so many seconds.

    Returns:
        The last answer, awaited or not.
    """
    deadline = now() + seconds
    wait = _FIRST_PAUSE
    while True:
        is_last = now() >= deadline
        answer = ask()
        if is_last or awaited(answer):
            return answer
        pause(max(0.0, min(wait * share(), deadline - now())))
        wait = min(2 * wait, longest_pause)


def some_share() -> float:
    """Return a random share of a pause, at least half of it."""
    return random.uniform(0.5, 1.0)  # noqa: S311 - no secret depends on it
