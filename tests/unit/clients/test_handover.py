"""From threads to the loop."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from harness.clients.handover import Handover


async def test_values_from_many_threads_all_arrive_each_threads_in_order() -> None:
    """Nothing is lost between the flag and the queue, however threads and loop interleave."""
    handover, arrived = Handover(), []
    done = asyncio.Event()

    def take(value: tuple[int, int]) -> None:
        arrived.append(value)
        if len(arrived) == 8_000:
            done.set()

    def send(thread: int) -> None:
        for number in range(2_000):
            handover.put(take, (thread, number))

    with ThreadPoolExecutor(4) as threads:
        for thread in range(4):
            threads.submit(send, thread)
        await done.wait()

    for thread in range(4):
        assert [number for sender, number in arrived if sender == thread] == list(range(2_000))


async def test_a_batch_wakes_the_loop_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What gathers before the loop gets to it costs one wake-up."""
    loop = asyncio.get_running_loop()
    wake_ups = []
    original = loop.call_soon_threadsafe
    monkeypatch.setattr(
        loop, "call_soon_threadsafe", lambda callback, *args: wake_ups.append(1) or original(callback, *args)
    )
    handover, arrived, done = Handover(loop), [], asyncio.Event()

    for number in range(2_500):
        handover.put(arrived.append, number)
    handover.put(lambda _: done.set(), None)
    await done.wait()

    assert arrived == list(range(2_500))
    assert len(wake_ups) == 1


async def test_a_handler_that_fails_does_not_take_the_batch_with_it() -> None:
    """The loop's exception handler gets the error, the next value its handler."""
    loop = asyncio.get_running_loop()
    reported: list[dict[str, object]] = []
    loop.set_exception_handler(lambda _, context: reported.append(context))
    handover, done = Handover(), asyncio.Event()

    handover.put(lambda _: 1 / 0, None)
    handover.put(lambda _: done.set(), None)
    await done.wait()

    assert [type(each["exception"]) for each in reported] == [ZeroDivisionError]


def test_what_arrives_after_the_loop_closed_is_dropped() -> None:
    """The runtime may call back after a test's loop is gone: nobody is left to care."""
    loop = asyncio.new_event_loop()
    handover = Handover(loop)
    loop.close()

    handover.put(print, "late")


async def test_a_completion_carries_result_and_error() -> None:
    """The loop's view of another thread's future ends as that one does."""
    handover = Handover()
    good: Future[int] = Future()
    bad: Future[int] = Future()
    views = handover.completion(good), handover.completion(bad)

    with ThreadPoolExecutor(1) as thread:
        thread.submit(good.set_result, 7)
        thread.submit(bad.set_exception, ValueError("no"))
        assert await views[0] == 7
        with pytest.raises(ValueError, match="no"):
            await views[1]


async def test_a_completion_that_was_given_up_stays_given_up() -> None:
    """An operation that completes after its waiter left bothers nobody."""
    handover = Handover()
    future: Future[int] = Future()
    view = handover.completion(future)

    view.cancel()
    future.set_result(1)
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    assert view.cancelled()
