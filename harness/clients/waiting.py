"""Waiting, in one place: no other module of the clients knows of timeouts, and no test of seconds.

How long a wait for something that should come may take is the target's *patience*, passed in by whoever makes a client.
What must happen at once whatever the target has its bound here.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")

PATIENCE: Final = 20.0
"""Seconds for something that should come, where nobody knows the target better."""

FIRST_PAUSE: Final = 0.02
LONGEST_PAUSE: Final = 0.25
"""Seconds between two looks at something that cannot say when it changes: the pause grows from one to the other."""

SETTLING_PAUSE: Final = 1.5
"""Seconds between two tries at something that a change has yet to take hold for: AWS lets a client id connect once a
second, and every try costs a message."""

STOP_WITHIN: Final = 2.0
"""Seconds in which all clients of a test have to stop."""

EXPLAIN_WITHIN: Final = 1.0
"""Seconds a failure may be held back while the trace is asked for its cause."""


async def wait(awaitable: Awaitable[T], *, within: float) -> T:
    """Await something for at most some seconds.

    Raises:
        TimeoutError: it did not come.
    """
    return await asyncio.wait_for(awaitable, timeout=within)


async def to_the_end(call: Callable[[], T]) -> T:
    """Run a blocking call on a thread, and see it through even when nobody waits for it any more.

    A thread cannot be interrupted: what it makes would be made after everything was taken away.

    Args:
        call: comes to an end by itself.
    """
    running = asyncio.ensure_future(asyncio.to_thread(call))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        if not running.cancelled():
            running.exception()  # nobody wants to know any more
        raise


async def polled(look: Callable[[], Awaitable[T | None]], *, within: float, pause: float = FIRST_PAUSE) -> T:
    """Look again and again at something that cannot say when it changes, such as a table.

    The last look comes after the time is over, so that a state which held in time is seen.

    Args:
        look: gives None as long as there is nothing to see.
        within: seconds; 0 looks once.
        pause: seconds between the first two looks.

    Returns:
        What the look gave.

    Raises:
        TimeoutError: it gave None all the time.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within
    while (seen := await look()) is None:
        left = deadline - loop.time()
        if left <= 0:
            raise TimeoutError
        await asyncio.sleep(min(pause, left))
        pause = max(pause, min(pause * 1.5, LONGEST_PAUSE))
    return seen


class SharedLook:
    """A costly look that many who wait at the same time share.

    Whoever asks while one is under way is served by the next, together with all others who have asked by then: what he
    asks about may have happened after the first began. A look that fails serves nobody but him who made it.
    """

    def __init__(self) -> None:
        self._begun = 0
        self._served = 0
        self._lock = asyncio.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def take(self, look: Callable[[], Awaitable[None]]) -> None:
        """Return after a look that began no earlier than this call, one's own or somebody else's."""
        if (loop := asyncio.get_running_loop()) is not self._loop:  # one for a whole run meets the loop of each test
            self._loop, self._lock = loop, asyncio.Lock()
        begun = self._begun
        async with self._lock:
            if self._served <= begun:
                self._begun += 1
                await look()
                self._served = self._begun


class Changes:
    """A place to wait until a state holds; whoever changes the state says so with `notify`.

    Belongs to one event loop: `notify` and `until` are called on its thread.
    """

    def __init__(self) -> None:
        self._waiters: set[asyncio.Future[None]] = set()

    def notify(self) -> None:
        """Let everybody who waits look again, once per turn of the loop however often it is called."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()

    async def until(self, look: Callable[[], T | None], *, within: float | None) -> T:
        """Wait until a look at the state gives something other than None.

        Args:
            look: called at once and after each change.
            within: seconds; None means as long as it takes.

        Returns:
            What the look gave.

        Raises:
            TimeoutError: it gave None all the time.
        """
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(within):
            while (seen := look()) is None:
                waiter = loop.create_future()
                self._waiters.add(waiter)
                try:
                    await waiter
                finally:
                    self._waiters.discard(waiter)
        return seen
