"""The load: a number of connections that post readings as a rule does, each one at a time.

HTTP/1.1 with keep-alive on bare asyncio protocols, so that what answers is the slower side by far. Every message has
an id of its own, so that rows can be compared with answers.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Final, cast

import httptools
from processes import SECRET

BODY: Final = b'{"deviceId":"tw-%04d","temp":%.2f,"ts":"2026-11-22T12:00Z"}'
BODY_BYTES: Final = 60

_HEAD: Final = (
    "POST /ingest HTTP/1.1\r\nhost: receiver\r\nuser-agent: load\r\naccept: */*\r\ncontent-type: application/json\r\n"
    f"content-length: {BODY_BYTES}\r\nx-iot-secret: {SECRET}\r\n"
    "x-message-id: %016x-%08x\r\nx-received-at: %d\r\nx-client-id: tw-%04d\r\n\r\n"
).encode()
_UNITS: Final = 10_000
"""Times are counted in tenths of a millisecond, so that a long run needs no more memory than a short one."""


@dataclass(slots=True, kw_only=True)
class Answers:
    """What a load was answered.

    Args:
        seconds: that requests were begun for.
        statuses: how often each came.
        in_time: answers with 200 within these seconds.
        unanswered: connections that ended with a request on them.
        reopened: connections made in place of one that ended.
        without_retry_after: answers with 503 that do not say when to come again.
    """

    seconds: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    in_time: int = 0
    unanswered: int = 0
    reopened: int = 0
    without_retry_after: int = 0
    times: dict[bool, Counter[int]] = field(default_factory=lambda: {True: Counter(), False: Counter()})

    @property
    def stored(self) -> int:
        """How many messages were answered with 200."""
        return self.statuses[200]

    @property
    def rows_per_second(self) -> float:
        """Rows a second."""
        return self.in_time / self.seconds

    @property
    def others(self) -> int:
        """How many answers were something else than 200."""
        return self.statuses.total() - self.stored

    def percentile(self, share: float, *, stored: bool = True) -> float:
        """Return the seconds that this share of the answers with 200, or of the others, did not exceed."""
        times = self.times[stored]
        seen = 0
        for value, number in sorted(times.items()):
            seen += number
            if seen >= share * times.total():
                return value / _UNITS
        return 0.0


class Load:
    """Keeps so many connections busy.

    Args:
        port: on loopback.
        connections: each with one request at a time.
        pause: seconds before the next try after anything but a 200.
    """

    _runs = itertools.count(time.time_ns())

    def __init__(self, port: int, *, connections: int, pause: float = 0.1) -> None:
        self._port = port
        self._pause = pause
        self._run = next(self._runs)
        self._numbers = itertools.count()
        self._devices = range(connections)
        self._open: set[Connection] = set()
        self._end = 0.0
        self._is_idle = asyncio.Event()
        self._busy = 0
        self.answers = Answers()

    async def run(self, seconds: float, *, spread: float = 0.0) -> Answers:
        """Begin requests for so long, wait for all answers, close.

        Args:
            seconds: to begin requests for.
            spread: seconds over which the connections begin, one after another.
        """
        for device in self._devices:
            await self._connect(device)
        begin = time.perf_counter()
        self._end = begin + seconds
        self.answers.seconds = seconds
        for connection in list(self._open):
            if spread:
                asyncio.get_running_loop().call_later(spread * connection.device / len(self._devices), connection.send)
            else:
                connection.send()
        await asyncio.sleep(seconds)
        while self._busy:
            self._is_idle.clear()
            await self._is_idle.wait()
        for connection in list(self._open):
            connection.transport.close()
        return self.answers

    def cut_short(self) -> None:
        """Begin no further requests."""
        self._end = 0.0

    async def _connect(self, device: int) -> Connection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(lambda: Connection(self, device), "127.0.0.1", self._port)
        self._open.add(connection)
        return connection

    def begin(self, device: int) -> bytes | None:
        """Give the next request; None when it is over."""
        if time.perf_counter() >= self._end:
            return None
        self._busy += 1
        number = next(self._numbers)
        head = _HEAD % (self._run, number, time.time() * 1000, device)
        return head + BODY % (device, 10 + number % 9_000 / 100)

    def finish(self, connection: Connection, status: int, *, has_retry_after: bool, taken: float) -> None:
        """Count an answer and go on."""
        answers = self.answers
        answers.statuses[status] += 1
        answers.times[status == 200][int(taken * _UNITS)] += 1
        self._is_done()
        if status == 200:
            answers.in_time += time.perf_counter() < self._end
            connection.send()
            return
        answers.without_retry_after += status == 503 and not has_retry_after
        asyncio.get_running_loop().call_later(self._pause, connection.send)

    def lost(self, connection: Connection, *, was_busy: bool) -> None:
        """Count a connection that ended, and open another one."""
        self._open.discard(connection)
        if was_busy:
            self.answers.unanswered += 1
            self._is_done()
        if time.perf_counter() < self._end:
            asyncio.get_running_loop().create_task(self._replace(connection.device))

    async def _replace(self, device: int) -> None:
        await asyncio.sleep(self._pause)
        try:
            connection = await self._connect(device)
        except OSError:
            return  # nobody listens any more
        self.answers.reopened += 1
        connection.send()

    def _is_done(self) -> None:
        self._busy -= 1
        if not self._busy:
            self._is_idle.set()


class Connection(asyncio.Protocol):
    """One connection of a load.

    Args:
        load: that it belongs to.
        device: number of the device whose readings it posts.
    """

    def __init__(self, load: Load, device: int) -> None:
        self.device = device
        self._load = load
        self._parser = httptools.HttpResponseParser(self)
        self._sent: float | None = None
        self._has_retry_after = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.Transport", transport)

    def send(self) -> None:
        """Begin the next request, if there is to be one."""
        if not self.transport.is_closing() and (request := self._load.begin(self.device)) is not None:
            self._has_retry_after = False
            self._sent = time.perf_counter()
            self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Read on."""
        self._parser.feed_data(data)

    def on_header(self, name: bytes, _: bytes) -> None:
        """Look for the one that matters."""
        if name.lower() == b"retry-after":
            self._has_retry_after = True

    def on_message_complete(self) -> None:
        """Hand the answer over."""
        assert self._sent is not None  # noqa: S101 - nothing is answered that was not asked
        taken, self._sent = time.perf_counter() - self._sent, None
        status = self._parser.get_status_code()
        if not self._parser.should_keep_alive():
            self.transport.close()
        self._load.finish(self, status, has_retry_after=self._has_retry_after, taken=taken)

    def connection_lost(self, _: Exception | None) -> None:
        """Say so."""
        was_busy, self._sent = self._sent is not None, None
        self._load.lost(self, was_busy=was_busy)
