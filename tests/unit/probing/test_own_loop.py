"""A coroutine on a loop of its own gives its result, its error, and way to an interruption."""

from __future__ import annotations

import asyncio
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness.probing.own_loop import run_on_own_loop


def test_the_result_comes_back_from_another_thread() -> None:
    """Nobody else's loop runs on that thread."""

    async def where() -> int:
        return threading.get_ident()

    assert run_on_own_loop(where) != threading.get_ident()


def test_what_the_coroutine_raises_is_raised() -> None:
    """An error crosses the threads as it is."""

    async def fail() -> None:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        run_on_own_loop(fail)


def test_an_interrupted_wait_cancels_the_coroutine() -> None:
    """Ctrl+C reaches the coroutine, which puts away what it has, and then the caller."""
    put_away: list[bool] = []
    waiter = threading.get_ident()

    async def be_interrupted() -> None:
        try:
            signal.pthread_kill(waiter, signal.SIGINT)
            await asyncio.Event().wait()
        finally:
            put_away.append(True)

    with pytest.raises(KeyboardInterrupt):
        run_on_own_loop(be_interrupted)

    assert put_away == [True]


def test_a_thread_that_is_left_behind_is_not_waited_for() -> None:
    """A call that takes its time takes that of nobody else."""
    is_over = threading.Event()
    with ThreadPoolExecutor(max_workers=1) as threads:

        async def leave_behind() -> None:
            threads.submit(is_over.wait)
            asyncio.get_running_loop().run_in_executor(None, is_over.wait)

        run_on_own_loop(leave_behind)

        assert not is_over.is_set()
        is_over.set()
