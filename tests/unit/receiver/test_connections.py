"""What a stranger can hold: seconds are told by hand here."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("httptools", reason="without it there is nothing to bound but h11")

from receiver import connections as connections_module
from receiver.app import make_app
from receiver.connections import BODY_SECONDS, HEAD_SECONDS, IDLE_SECONDS, MAX_PENDING_REQUESTS, BoundedProtocol
from receiver.listening import bind
from receiver.server import KEEP_ALIVE_SECONDS, Server, close_slow

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from receiver.settings import Settings

UNREAD = b"POST /ingest HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n"
"""Without a secret, so answered before its body."""

WAITING = UNREAD.replace(b"\r\n\r\n", b"\r\nx-iot-secret: the-current-secret\r\n\r\n")
WHOLE = b"GET /livez HTTP/1.1\r\nhost: a\r\n\r\n"


async def until(is_so: Callable[[], bool]) -> None:
    """Let the loop turn until something is so."""
    while not is_so():  # noqa: ASYNC110 - nobody would set an event
        await asyncio.sleep(0)


@dataclass
class Connection:
    """The other side."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        """Send."""
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> bytes:
        """Read one answer's head."""
        return await self.reader.readuntil(b"\r\n\r\n")

    async def is_closed(self) -> bool:
        """Wait until the server has closed it."""
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(65_536):
                pass
        return True


@dataclass
class Running:
    """A server in this process."""

    server: Server
    port: int

    async def connect(self) -> Connection:
        """Open a connection, and wait until it has been accepted."""
        before = len(self.server.server_state.connections)
        made = Connection(*await asyncio.open_connection("127.0.0.1", self.port))
        await until(lambda: len(self.server.server_state.connections) > before)
        return made

    def pass_seconds(self, seconds: int) -> None:
        """Let them pass in no time."""
        for _ in range(seconds):
            close_slow(self.server.server_state.connections)

    def is_open(self) -> bool:
        """Tell whether the server has its one connection yet."""
        return not any(made.transport.is_closing() for made in self.server.server_state.connections)


@pytest.fixture
async def running(settings_of: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:
    """Serve, with no other clock than the test's."""
    monkeypatch.setattr("receiver.server._TICKS_PER_SECOND", 1_000_000)
    original = BoundedProtocol.data_received

    def count(self: Any, data: bytes) -> None:
        self.bytes_read += len(data)
        original(self, data)

    monkeypatch.setattr(BoundedProtocol, "bytes_read", 0, raising=False)
    monkeypatch.setattr(BoundedProtocol, "data_received", count)
    ready = asyncio.Event()
    sockets = bind(("127.0.0.1",), 0)
    server = Server(make_app(settings_of()), tls=None, on_ready=ready.set)
    serving = asyncio.create_task(server.serve(sockets=sockets))
    await ready.wait()
    yield Running(server, sockets[0].getsockname()[1])
    server.end()
    await serving


@pytest.mark.parametrize(
    ("sent", "has_answer", "seconds"),
    [
        (b"", False, IDLE_SECONDS),
        (b"\r\n", False, IDLE_SECONDS),
        (b"G", False, HEAD_SECONDS),
        (b"GET /livez HTTP/1.1\r\nhost: a\r\n", False, HEAD_SECONDS),
        (WHOLE, True, IDLE_SECONDS),
        (WHOLE + b"\r\n", True, IDLE_SECONDS),
        (WHOLE + b"G", True, HEAD_SECONDS),
        (UNREAD, True, BODY_SECONDS),
        (UNREAD + b"12", True, BODY_SECONDS),
    ],
    ids=["nothing", "no request", "method", "headers", "request", "no other", "other", "no body", "half a body"],
)
async def test_a_connection_that_leads_to_nothing_is_closed(
    running: Running, caplog: pytest.LogCaptureFixture, sent: bytes, seconds: int, *, has_answer: bool
) -> None:
    """After a time that depends on what is awaited, however the bytes come; not before, and that is said."""
    caplog.set_level(logging.INFO, "receiver.server")
    connection = await running.connect()
    for byte in sent:
        await connection.send(bytes([byte]))
    if has_answer:
        await connection.answer()
    (made,) = running.server.server_state.connections
    await until(lambda: made.bytes_read == len(sent))

    running.pass_seconds(seconds - 1)
    assert running.is_open()
    running.pass_seconds(2)
    assert await connection.is_closed()
    connection.writer.close()
    assert [vars(record)["about"] for record in caplog.records if record.name == "receiver.server"] == [
        {"connections": 1}
    ]


async def test_each_request_has_its_own_time(running: Running) -> None:
    """A connection may be as old as it likes while requests come; half a head counts from its own first byte."""
    connection = await running.connect()
    for _ in range(10):
        await connection.send(WHOLE)
        assert (await connection.answer()).startswith(b"HTTP/1.1 200")
        await connection.reader.readexactly(len(b'{"live":true}'))
        running.pass_seconds(IDLE_SECONDS - 1)

    assert running.is_open()
    connection.writer.close()


async def test_no_answer_that_is_due_is_cut_off(running: Running) -> None:
    """How long that may take is the application's to say, also while it reads a body."""
    connection = await running.connect()
    await connection.send(WAITING)
    (made,) = running.server.server_state.connections
    await until(lambda: made.cycle is not None)
    running.pass_seconds(10 * IDLE_SECONDS)
    assert running.is_open()

    await connection.send(b"12345")
    assert (await connection.answer()).startswith(b"HTTP/1.1 422")
    connection.writer.close()


async def test_an_answer_that_nobody_reads_is_given_up(running: Running) -> None:
    """Else whoever asks and does not read holds a connection for ever; one who reads again in time is answered."""
    loop = asyncio.get_running_loop()
    with socket.socket() as raw:
        raw.setblocking(False)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await loop.sock_connect(raw, ("127.0.0.1", running.port))
        await until(lambda: bool(running.server.server_state.connections))
        (made,) = running.server.server_state.connections
        made.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)

        async def ask_until_nothing_leaves() -> None:
            while not made.flow.write_paused or made.cycle.response_complete:
                made.bytes_read = 0
                await loop.sock_sendall(raw, WHOLE.replace(b"/livez", b"/metrics"))
                await until(lambda: made.bytes_read and (made.cycle.response_complete or made.flow.write_paused))

        async def read_until_all_has_left() -> None:
            while made.flow.write_paused:
                await loop.sock_recv(raw, 65_536)

        await ask_until_nothing_leaves()
        running.pass_seconds(IDLE_SECONDS - 1)
        assert running.is_open()
        await read_until_all_has_left()
        await ask_until_nothing_leaves()
        running.pass_seconds(IDLE_SECONDS - 1)
        assert running.is_open()
        running.pass_seconds(2)
        assert not running.is_open()


async def test_requests_that_wait_for_others_are_bounded(running: Running) -> None:
    """As many as may wait are all answered; with one more nobody reads on, however many follow."""
    modest = await running.connect()
    await modest.send(WHOLE * (1 + MAX_PENDING_REQUESTS))
    for _ in range(1 + MAX_PENDING_REQUESTS):
        assert (await modest.answer()).startswith(b"HTTP/1.1 200")
        await modest.reader.readexactly(len(b'{"live":true}'))
    modest.writer.close()
    await until(lambda: not running.server.server_state.connections)

    greedy = await running.connect()
    await greedy.send(WHOLE * 2000 + WHOLE.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"))
    answers = b""
    with contextlib.suppress(ConnectionError):
        while piece := await greedy.reader.read(65_536):
            answers += piece
    assert answers.count(b"HTTP/1.1") <= 1 + MAX_PENDING_REQUESTS
    greedy.writer.close()


async def test_no_answer_is_taken_for_another(running: Running) -> None:
    """What follows a request and is none is refused with nothing, as long as that one waits for its own answer."""
    connection = await running.connect()
    await connection.send(WHOLE + b"no request\r\n\r\n")
    assert await connection.reader.read() == b""
    connection.writer.close()

    alone = await running.connect()
    await alone.send(b"no request\r\n\r\n")
    assert (await alone.answer()).startswith(b"HTTP/1.1 400")
    alone.writer.close()


async def test_connections_are_bounded_in_number(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """One too many is closed at once, and the others go on."""
    monkeypatch.setattr(connections_module, "MAX_CONNECTIONS", 2)
    connections = [await running.connect() for _ in range(2)]
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
    assert await Connection(reader, writer).is_closed()
    writer.close()

    for connection in connections:
        await connection.send(WHOLE)
        assert (await connection.answer()).startswith(b"HTTP/1.1 200")
        connection.writer.close()


async def test_answers_do_not_wait_for_acknowledgements(running: Running) -> None:
    """Head and body leave as two pieces, the second of which Nagle's algorithm would hold back for 40 ms."""
    connection = await running.connect()
    (made,) = running.server.server_state.connections

    assert made.transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    connection.writer.close()


def test_an_idle_connection_is_left_to_uvicorns_own_timer() -> None:
    """Which knows of answers; ours is for what that one does not see."""
    assert IDLE_SECONDS > KEEP_ALIVE_SECONDS > HEAD_SECONDS


async def test_seconds_pass_by_themselves(
    settings_of: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once in so many ticks of the server."""
    monkeypatch.setattr(connections_module, "IDLE_SECONDS", 0)
    monkeypatch.setattr(BoundedProtocol, "_max_seconds", 0)
    ready = asyncio.Event()
    sockets = bind(("127.0.0.1",), 0)
    server = Server(make_app(settings_of()), tls=None, on_ready=ready.set)
    serving = asyncio.create_task(server.serve(sockets=sockets))
    await ready.wait()
    connection = await Running(server, sockets[0].getsockname()[1]).connect()

    assert await connection.is_closed()
    connection.writer.close()
    server.end()
    await serving
