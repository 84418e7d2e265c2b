"""Where rows go: DynamoDB, many rows to a call.

The protocol `Store` is all that the application knows. `DynamoStore` joins three parts: the event loop, on which
requests come and wait; `receiver.batches`, which decides what goes into which call and when; and a pool of threads in
which `receiver.dynamodb` makes the calls.

Throttling, 5xx and connections that break are tried again here, with other rows that wait, inside a budget: the rule
that posted a message gives up three seconds after its first try, its own tries included. Whatever holds a row up
(others before it, credentials that do not come, an answer that comes byte by byte), the answer is there within that
budget, and a row whose turn comes later is not written any more: its rule has sent it to the dead letters by then.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from receiver.batches import Batches
from receiver.dynamodb import Table
from receiver.errors import WriteFailed
from receiver.waiting import Limits, Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from receiver.metrics import Metrics
    from receiver.reading import Row
    from receiver.settings import Settings
    from receiver.waiting import Call

_LIMITS: Final = Limits()


class Store(Protocol):
    """Takes rows."""

    async def put(self, rows: Sequence[Row], *, arrived_at: float | None = None) -> None:
        """Write the rows of one request, each over the one with the same key if there is one.

        Returns when all of them are written; whoever cancels it leaves them to be written.

        Args:
            rows: one, or all of a batch.
            arrived_at: when their request came, by `time.monotonic`; None: now.

        Raises:
            WriteFailed: one or more are not, or nobody knows. Others of them may be.
        """

    @property
    def is_full(self) -> bool:
        """A further row would be refused now."""


class DynamoStore:
    """Rows in a DynamoDB table. All methods are called on one event loop.

    Args:
        settings: names table, sort key, region and endpoint.
        metrics: where rows, calls and what holds them up are counted; failed requests are the caller's to count.
        session: a botocore session; None makes one of the process's credentials.
        limits: of what is accepted and of how it is written.
    """

    def __init__(self, settings: Settings, *, metrics: Metrics, session: Any = None, limits: Limits = _LIMITS) -> None:
        self._metrics = metrics
        self._limits = limits
        self._batches = Batches(limits, random=random.random)
        self._table = Table(settings, connections=limits.threads, session=session)
        # One more than calls may take: to warm up is not one of them.
        self._threads = ThreadPoolExecutor(limits.threads + 1, thread_name_prefix="dynamodb")
        self._timer: asyncio.Handle | None = None
        self._timer_at = 0.0
        self._all_over = asyncio.Event()
        self._is_warm = False
        metrics.queue_limit_rows.set(limits.rows)

    async def put(self, rows: Sequence[Row], *, arrived_at: float | None = None) -> None:
        """Write rows; see `Store`. They are refused at once when too many wait already.

        Raises:
            WriteFailed: one or more are not written, or nobody knows: the first that failed, once all are over.
        """
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[WriteFailed | None] = loop.create_future()
        now = time.monotonic()
        duplicates = self._batches.add(rows, now, partial(_answer, answered), arrived_at=arrived_at)
        if duplicates:
            self._metrics.duplicates.inc(duplicates)
        self._tell()
        self._wake(loop, now)
        if (failure := await answered) is not None:
            raise WriteFailed(failure.kind, failure.code, failure.because)  # each request has an exception of its own

    @property
    def is_full(self) -> bool:
        """A further row would be refused now."""
        return self._batches.is_full

    def warm_up(self) -> None:
        """Load what the first row needs, beside everything else; from the second call on, do nothing."""
        if not self._is_warm:
            self._is_warm = True
            # What goes wrong here goes wrong again with the first row, and is told there.
            self._threads.submit(self._table.load)

    async def close(self) -> None:
        """Take no more rows, and finish those that were accepted, within their budget; leave calls that hang alone."""
        self._batches.close()
        if self._batches.rows:
            self._all_over.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._all_over.wait(), self._limits.budget)
        self._batches.turn(math.inf)  # whoever still waits is answered
        if self._timer is not None:
            self._timer.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _wake(self, loop: asyncio.AbstractEventLoop, now: float) -> None:
        """Have `_turn` called when there is something to do, if it is not to be called before."""
        at = self._batches.next_at()
        if at is None or (self._timer is not None and self._timer_at <= at):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        # Not now: whoever has come in the same turn of the loop is to share the call.
        self._timer = loop.call_soon(self._turn) if at <= now else loop.call_later(at - now, self._turn)

    def _turn(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        now = max(time.monotonic(), self._timer_at)  # loops' clocks are coarse, and run their timers a little early
        self._batches.turn(now)
        while (call := self._batches.take(now)) is not None:
            self._metrics.batch_rows.observe(len(call.rows))
            self._threads.submit(self._write, call, loop)
        self._tell()
        self._wake(loop, now)

    def _write(self, call: Call, loop: asyncio.AbstractEventLoop) -> None:
        """Make a call, in a thread, and hand over what became of it."""
        try:
            outcome = self._table.write(call.rows, send_by=call.send_by)
        except Exception as error:  # noqa: BLE001 - whatever it is, requests wait for an answer
            outcome = Outcome(failure=WriteFailed("unavailable", type(error).__name__))
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits for this call any more
            loop.call_soon_threadsafe(self._finish, call, outcome)

    def _finish(self, call: Call, outcome: Outcome) -> None:
        if outcome.failure is not None and outcome.failure.kind == "throttled":
            self._metrics.throttles.inc()
        written = self._batches.finish(call, outcome, time.monotonic())
        if written:
            self._metrics.rows_written.inc(written)
        self._tell()
        self._wake(asyncio.get_running_loop(), time.monotonic())

    def _tell(self) -> None:
        self._metrics.queued_rows.set(self._batches.rows)
        if not self._batches.rows:
            self._all_over.set()


def _answer(answered: asyncio.Future[WriteFailed | None], failure: WriteFailed | None) -> None:
    if not answered.done():  # whoever waited may have left
        answered.set_result(failure)
