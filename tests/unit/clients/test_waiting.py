"""Waiting for states, in the one place that does."""

from __future__ import annotations

import asyncio
import threading

import pytest

from harness.clients.waiting import Changes, SharedLook, polled, to_the_end, wait


async def test_a_state_that_holds_is_not_waited_for() -> None:
    """The first look may be enough."""
    assert await Changes().until(lambda: "here", within=0.0) == "here"


async def test_a_waiter_looks_again_after_each_change() -> None:
    """It gets the first answer that is not None."""
    changes, seen = Changes(), []

    async def wait_for_two() -> list[int]:
        return await changes.until(lambda: seen if len(seen) == 2 else None, within=10)

    waiting = asyncio.create_task(wait_for_two())
    for number in (1, 2):
        await asyncio.sleep(0)
        seen.append(number)
        changes.notify()
        changes.notify()

    assert await waiting == [1, 2]


async def test_a_state_that_never_holds_ends_the_wait() -> None:
    """The time is up whether something changes or not."""
    with pytest.raises(TimeoutError):
        await Changes().until(lambda: None, within=0.001)


async def test_waiting_for_something_that_does_not_come_ends() -> None:
    """The one wrapper around asyncio's timeout."""
    with pytest.raises(TimeoutError):
        await wait(asyncio.Event().wait(), within=0.001)


async def test_what_cannot_say_when_it_changes_is_looked_at_again() -> None:
    """Until a look gives something."""
    looks = iter([None, None, "here", "too late"])

    async def look() -> str | None:
        return next(looks)

    assert await polled(look, within=10) == "here"
    assert next(looks) == "too late"


async def test_the_last_look_comes_when_the_time_is_over() -> None:
    """A state that holds by then is seen; one that never holds ends the wait."""
    looks: list[None] = []

    async def look() -> None:
        looks.append(None)

    with pytest.raises(TimeoutError):
        await polled(look, within=0.0)
    assert len(looks) == 1
    with pytest.raises(TimeoutError):
        await polled(look, within=0.001)
    assert len(looks) == 3


async def test_a_look_is_shared_by_all_who_asked_before_it_began() -> None:
    """Two looks serve a hundred: the first to ask has one, and those who came meanwhile have the next."""
    looks: list[int] = []
    shared = SharedLook()

    async def look() -> None:
        looks.append(len(looks))
        await asyncio.sleep(0)

    await asyncio.gather(*(shared.take(look) for _ in range(100)))
    assert len(looks) <= 2
    await shared.take(look)
    assert len(looks) <= 3


async def test_who_asks_during_a_look_waits_for_the_next() -> None:
    """What he asks about may not have been there when the first began."""
    looks: list[int] = []
    goes_on = asyncio.Event()
    shared = SharedLook()

    async def look() -> None:
        looks.append(len(looks))
        await goes_on.wait()

    first = asyncio.create_task(shared.take(look))
    await asyncio.sleep(0)
    second = asyncio.create_task(shared.take(look))
    await asyncio.sleep(0)
    goes_on.set()
    await asyncio.gather(first, second)

    assert looks == [0, 1]


async def test_a_look_that_fails_serves_nobody_else() -> None:
    """Each who waits makes one of his own, and hears of its failure."""
    shared = SharedLook()

    async def look() -> None:
        await asyncio.sleep(0)
        raise RuntimeError("gone")

    outcomes = await asyncio.gather(*(shared.take(look) for _ in range(3)), return_exceptions=True)

    assert [str(each) for each in outcomes] == ["gone"] * 3


def test_a_look_is_shared_on_one_loop_after_another() -> None:
    """Something made for a whole run meets the loop of every test."""
    shared = SharedLook()

    async def crowd() -> None:
        await asyncio.gather(*(shared.take(lambda: asyncio.sleep(0)) for _ in range(3)))

    asyncio.run(crowd())
    asyncio.run(crowd())


@pytest.mark.parametrize("fails", [False, True])
async def test_a_call_that_makes_something_is_seen_through(*, fails: bool) -> None:
    """Whoever awaited it is cancelled, and goes on only when it is over, however that ended."""
    has_begun, may_end, done = threading.Event(), threading.Event(), list[str]()

    def make() -> None:
        has_begun.set()
        assert may_end.wait(10)
        done.append("made")
        if fails:
            raise ZeroDivisionError

    making = asyncio.ensure_future(to_the_end(make))
    await asyncio.to_thread(has_begun.wait, 10)
    making.cancel()
    await asyncio.sleep(0)
    assert not making.done()
    may_end.set()

    with pytest.raises(asyncio.CancelledError):
        await making

    assert done == ["made"]


async def test_a_call_that_is_awaited_gives_what_it_gives() -> None:
    """A result, or an error as it is."""

    def fail() -> None:
        raise ZeroDivisionError

    assert await to_the_end(lambda: 1) == 1
    with pytest.raises(ZeroDivisionError):
        await to_the_end(fail)


async def test_a_look_may_be_taken_at_longer_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where looking costs something: the pause stays as long as it was asked to be."""
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    looks = iter([None, None, None, "here"])

    async def look() -> str | None:
        return next(looks)

    assert await polled(look, within=10, pause=1.5) == "here"
    assert pauses == [1.5, 1.5, 1.5]
