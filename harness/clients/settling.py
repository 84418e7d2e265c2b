"""Where changes take their time, as in an AWS account: what should come is tried again until it does.

A certificate that was registered just now may not yet let its device in, and one that was deactivated may still do so.
How long that may last is handed to a client as ``settles_within``: 0 where a change holds when its call returns, and
then the first answer is the answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.clients.waiting import SETTLING_PAUSE, polled

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from harness.clients.connection import Connection
    from harness.clients.refusal import Refusal


async def is_let_in(connection: Connection, *, within: float) -> bool:
    """Wait for one of the attempts that a connection goes on making after a refusal to succeed.

    Args:
        connection: was refused, and not stopped.
        within: seconds; 0: its first answer was the answer.
    """
    if not within:
        return False
    try:
        await connection.changes.until(lambda: connection.ups or None, within=within)
    except TimeoutError:
        return False
    return True


async def refused(
    attempt: Callable[[], Awaitable[Refusal | None]], *, undo: Callable[[], Awaitable[None]], within: float
) -> Refusal | None:
    """Try something until it is refused.

    Args:
        attempt: tries it; gives None when it was allowed.
        undo: takes back what was allowed, before the next try.
        within: seconds; 0 tries once.

    Returns:
        None when it was allowed to the end.
    """
    tries = 0

    async def look() -> Refusal | None:
        nonlocal tries
        if tries:
            await undo()
        tries += 1
        return await attempt()

    try:
        return await polled(look, within=within, pause=SETTLING_PAUSE)
    except TimeoutError:
        return None
