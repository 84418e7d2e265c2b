"""The server between its start and its end, in this process."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from typing import TYPE_CHECKING

import httpx
import pytest

from receiver.app import make_app
from receiver.connections import MAX_HEAD_BYTES
from receiver.listening import bind, make_tls
from receiver.server import KEEP_ALIVE_SECONDS, Server, make_loop

if TYPE_CHECKING:
    from collections.abc import Callable

    from receiver.settings import Settings
    from tests.unit.receiver.conftest import Certificate


class SlowStore:
    """Says when a row is there, and takes it when it is let."""

    def __init__(self) -> None:
        self.arrived = asyncio.Event()
        self.gate = asyncio.Event()

    is_full = False

    async def put(self, _: object, *, arrived_at: float | None = None) -> None:  # noqa: ARG002 - as a store has it
        """Wait."""
        self.arrived.set()
        await self.gate.wait()


def test_the_loop_is_the_fastest_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without uvloop it is asyncio's."""
    loop = make_loop()
    loop.close()
    assert type(loop).__module__.partition(".")[0] == "uvloop"
    monkeypatch.setitem(sys.modules, "uvloop", None)
    loop = make_loop()
    loop.close()
    assert type(loop).__module__.partition(".")[0] == "asyncio"


@pytest.mark.parametrize("has_httptools", [True, False])
@pytest.mark.parametrize(
    ("opening", "piece"),
    [
        (b"x: ", b"x" * 16_384),
        (b"x: ", b"y: " + b"z" * 4096 + b"\r\n"),
        (b"transfer-encoding: chunked\r\n\r\n0\r\nx: ", b"x" * 16_384),
        (b"transfer-encoding: chunked\r\n\r\n0\r\n", b"y: z\r\n" * 2048),
        (b"transfer-encoding: chunked\r\n\r\n5;", b"x" * 16_384),
    ],
    ids=["header", "headers", "trailer", "trailers", "chunk extension"],
)
async def test_an_endless_header_is_not_read_to_its_end(
    settings_of: Callable[..., Settings],
    monkeypatch: pytest.MonkeyPatch,
    opening: bytes,
    piece: bytes,
    *,
    has_httptools: bool,
) -> None:
    """Nobody fills the memory without having said who they are; requests of any number on one connection are none."""
    if has_httptools:
        pytest.importorskip("httptools", reason="without it there is nothing to bound but h11, which bounds itself")
    else:
        monkeypatch.setitem(sys.modules, "receiver.connections", None)
    ready = asyncio.Event()
    sockets = bind(("127.0.0.1",), 0)
    port = sockets[0].getsockname()[1]
    server = Server(make_app(settings_of(), store=SlowStore()), tls=None, on_ready=ready.set)
    serving = asyncio.create_task(server.serve(sockets=sockets))
    await ready.wait()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        for _ in range(40):
            assert (await client.get("/metrics", headers={"x": "y" * 4096})).status_code == 200

    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST /metrics HTTP/1.1\r\nhost: a\r\n" + opening)
    sent = len(opening)
    with contextlib.suppress(ConnectionError):
        while sent < 50_000_000 and not reader.at_eof():
            writer.write(piece)
            await writer.drain()
            sent += len(piece)
    writer.close()
    server.should_exit = True
    await serving

    assert MAX_HEAD_BYTES < sent < 50_000_000


@pytest.mark.parametrize("secure", [False, True])
async def test_a_server_ends_after_what_it_has_accepted(
    certificate: Certificate, settings_of: Callable[..., Settings], *, secure: bool
) -> None:
    """A request under way is answered, an idle connection closed, a new one refused; signals are left alone."""
    handlers = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    store, ready = SlowStore(), asyncio.Event()
    tls = make_tls(certificate.cert, certificate.key) if secure else None
    sockets = bind(("127.0.0.1",), 0)
    port = sockets[0].getsockname()[1]
    server = Server(make_app(settings_of(), store=store), tls=tls, on_ready=ready.set)
    serving = asyncio.create_task(server.serve(sockets=sockets))
    await ready.wait()
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == handlers

    url = f"{'https' if secure else 'http'}://localhost:{port}"
    async with httpx.AsyncClient(base_url=url, verify=certificate.trust(), trust_env=False) as client:
        idle = await client.get("/metrics")
        assert (idle.http_version, "server" in idle.headers) == ("HTTP/1.1", False)
        headers = {"x-iot-secret": "the-current-secret", "x-client-id": "n/a"}
        posting = asyncio.create_task(client.post("/ingest", json={"deviceId": "d", "temp": 1}, headers=headers))
        await store.arrived.wait()

        server.should_exit = True
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionError:  # refused, or reset while it waited to be accepted
                break
            writer.close()
        assert not posting.done()
        store.gate.set()
        assert (await posting).status_code == 200
    await serving


def test_a_connection_is_kept_longer_than_a_load_balancer_does(settings_of: Callable[..., Settings]) -> None:
    """60 seconds is what an Application Load Balancer keeps an idle one."""
    server = Server(make_app(settings_of()), tls=None, on_ready=lambda: None)

    assert server.config.timeout_keep_alive == KEEP_ALIVE_SECONDS > 60
    assert server.config.access_log is False


async def test_a_server_that_ends_says_that_it_is_not_ready(settings_of: Callable[..., Settings]) -> None:
    """From the moment it is told, on the connections that are still there; it lives until it has ended."""
    ready, noticed = asyncio.Event(), asyncio.Event()

    class Unaware(Server):
        async def on_tick(self, counter: int) -> bool:
            if self.should_exit:
                await noticed.wait()  # else it might be over before anybody could ask
            return await super().on_tick(counter)

    sockets = bind(("127.0.0.1",), 0)
    port = sockets[0].getsockname()[1]
    server = Unaware(make_app(settings_of(), store=SlowStore()), tls=None, on_ready=ready.set)
    serving = asyncio.create_task(server.serve(sockets=sockets))
    await ready.wait()

    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        assert (await client.get("/readyz")).status_code == 200
        server.end()
        answers = [await client.get("/readyz"), await client.get("/livez")]
        noticed.set()
        await serving

    assert [answer.status_code for answer in answers] == [503, 200]
