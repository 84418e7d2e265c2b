"""Waiting for states, in the one place that does."""

from __future__ import annotations

import asyncio

import pytest

from harness.clients.waiting import Changes, polled, wait


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
