"""Waiting for what AWS does in its own time: asking again until the answer is the awaited one."""

from __future__ import annotations

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
    now: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> _Answer:
    """Ask until the answer is an awaited one or the time is over.

    Args:
        ask: asks once.
        awaited: tells whether to stop asking.
        seconds: how long to go on; the last question comes when they are over.
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
        pause(max(0.0, min(wait, deadline - now())))
        wait = min(2 * wait, _LONGEST_PAUSE)
