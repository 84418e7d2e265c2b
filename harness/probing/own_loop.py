"""An event loop for one coroutine, on a thread that nobody else's loop runs on."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")

_LOOK: Final = 0.5
"""Seconds: a signal that comes just before a lock begins to wait is seen when the wait is over, not before."""


def run_on_own_loop(make: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine to its end and return its result.

    `asyncio.run` would not do: the caller's thread may run a loop, or be about to, and `asyncio.run` waits for every
    thread that the coroutine has left behind, however long a call on it takes.

    Args:
        make: makes the coroutine.

    Raises:
        BaseException: what the coroutine raised. Who interrupts the wait has cancelled it.
    """
    loop = asyncio.new_event_loop()
    task = loop.create_task(make())
    # Bare locks: an interruption may leave Python's own conditions locked, and takes a thread for ended that is not.
    may_begin, has_ended = threading.Lock(), threading.Lock()
    may_begin.acquire()
    has_ended.acquire()

    def run() -> None:
        may_begin.acquire()
        try:
            with contextlib.suppress(BaseException):  # a thread boundary: the caller gets it from the task
                loop.run_until_complete(task)
        finally:
            loop.close()
            has_ended.release()

    threading.Thread(target=run, name="probing", daemon=True).start()

    def wait() -> None:
        while not loop.is_closed():  # who was interrupted with the lock in hand does not wait for it again
            has_ended.acquire(timeout=_LOOK)

    try:
        may_begin.release()
        wait()
    except BaseException:
        with contextlib.suppress(RuntimeError):  # it has just ended by itself
            loop.call_soon_threadsafe(task.cancel)
        wait()
        raise
    return task.result()
