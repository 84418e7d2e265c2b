"""Many guests or devices at once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from harness.clients.waiting import STOP_WITHIN
from harness.errors import TeardownError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from harness.clients.actor import Actor


async def connect_all(clients: Iterable[Actor], *, subscribe: str | None = None, insist: bool = True) -> None:
    """Connect many clients at once and have each of them subscribe.

    Args:
        clients: not connected yet.
        subscribe: topic filter that each of them subscribes to.
        insist: all of them should get in, now or as soon as what lets them in holds.

    Raises:
        Exception: what the first of those that failed raised, with a note on how many others did.
    """
    __tracebackhide__ = True

    async def join(client: Actor) -> None:
        await client.connect(insist=insist)
        if subscribe is not None:
            await client.subscribe(subscribe)

    outcomes = await asyncio.gather(*(join(client) for client in clients), return_exceptions=True)
    errors = [each for each in outcomes if isinstance(each, BaseException)]
    if errors:
        if len(outcomes) > 1:
            errors[0].add_note(f"{len(errors)} of {len(outcomes)} clients failed; this is the first")
        raise errors[0]


async def stop_all(clients: Iterable[Actor]) -> None:
    """Stop many clients at once.

    Raises:
        TeardownError: names those that did not stop in time.
    """
    __tracebackhide__ = True
    everybody = list(clients)
    have_stopped = await asyncio.gather(*(client.has_stopped() for client in everybody), return_exceptions=True)
    if errors := [each for each in have_stopped if isinstance(each, BaseException)]:
        raise BaseExceptionGroup("while clients were stopped", errors)
    left = [each.client_id for each, has_stopped in zip(everybody, have_stopped, strict=True) if not has_stopped]
    if left:
        raise TeardownError(left, remedy=f"they did not stop within {STOP_WITHIN:g} s")
