"""From the threads of the AWS Common Runtime to the event loop: the one place where callbacks cross over.

The runtime calls back on threads of its own, once per message. A callback does one append here; the first of a batch
wakes the loop, which then works off whatever has gathered, in order. Waking a loop costs a system call, so a broadcast
to many clients that share a `Handover` wakes it once and not once per client.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

T = TypeVar("T")

_BATCH: Final = 1_000
"""Values worked off in one turn of the loop, so that other tasks get theirs."""


class Handover:
    """Carries values from any thread to handlers on an event loop's thread.

    Args:
        loop: the running loop when None.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self.loop = loop or asyncio.get_running_loop()
        self._queue: deque[tuple[Callable[[Any], None], Any]] = deque()
        self._is_scheduled = False

    def put(self, handler: Callable[[T], None], value: T) -> None:
        """Have a handler called with a value on the loop's thread, soon; called from any thread.

        What arrives after the loop has closed is dropped: nobody is left to care.
        """
        self._queue.append((handler, value))
        # Two threads may both see False: then an empty batch runs, which costs nothing. The flag falls before the queue
        # is read, so no value can be left behind.
        if not self._is_scheduled:
            self._is_scheduled = True
            try:
                self.loop.call_soon_threadsafe(self._work_off)
            except RuntimeError:
                self._queue.clear()

    def completion(self, future: Future[T]) -> asyncio.Future[T]:
        """Return the loop's view of a future that another thread completes."""
        mine: asyncio.Future[T] = self.loop.create_future()

        def complete(done: Future[T]) -> None:
            if mine.done():
                return
            if (error := done.exception()) is not None:
                mine.set_exception(error)
                mine.exception()  # looked at: nobody has to await an operation that was given up
            else:
                mine.set_result(done.result())

        future.add_done_callback(lambda done: self.put(complete, done))
        return mine

    def _work_off(self) -> None:
        self._is_scheduled = False
        for _ in range(min(len(self._queue), _BATCH)):
            handler, value = self._queue.popleft()
            try:
                handler(value)
            except Exception as error:  # noqa: BLE001 - a thread boundary: the loop's owner gets it, the batch goes on
                self.loop.call_exception_handler({"message": f"{handler!r} failed", "exception": error})
        if self._queue and not self._is_scheduled:
            self._is_scheduled = True
            self.loop.call_soon(self._work_off)
