"""Places: so many at once per key."""

from __future__ import annotations

import asyncio

import pytest

from harness.embedded.rules.places import Places


async def hold(places: Places, key: str, name: str, *, order: list[str], leave: asyncio.Event) -> None:
    """Take a place, say so, and keep it until told."""
    async with places.one(key):
        order.append(name)
        await leave.wait()


async def turns() -> None:
    """Let everybody go as far as they can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_who_finds_no_place_waits_in_order_and_others_are_not_concerned() -> None:
    """A receiver that never answers holds up its own requests only."""
    places, order, leave = Places(2), list[str](), asyncio.Event()
    tasks = [
        asyncio.create_task(hold(places, key, f"{key}{number}", order=order, leave=leave))
        for key in "ab"
        for number in range(4)
    ]
    await turns()
    assert order == ["a0", "a1", "b0", "b1"]

    leave.set()
    await asyncio.gather(*tasks)

    assert order[4:] == ["a2", "a3", "b2", "b3"]
    assert len(places) == 0


async def test_a_place_is_free_again_however_it_was_left() -> None:
    """By an error, or by giving up waiting."""
    places, order, leave = Places(1), list[str](), asyncio.Event()
    with pytest.raises(KeyError):
        async with places.one("a"):
            raise KeyError
    first = asyncio.create_task(hold(places, "a", "first", order=order, leave=leave))
    waiting = asyncio.create_task(hold(places, "a", "waiting", order=order, leave=leave))
    await turns()

    waiting.cancel()
    first.cancel()
    await asyncio.gather(first, waiting, return_exceptions=True)

    assert order == ["first"]
    assert len(places) == 0
