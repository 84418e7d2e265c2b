"""Sockets, TLS and the server between its start and its end, in this process."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import signal
import socket
import ssl
import sys
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from receiver import server as server_module
from receiver.app import make_app
from receiver.errors import SettingsError
from receiver.server import KEEP_ALIVE_SECONDS, MAX_HEAD_BYTES, Server, bind, make_loop, make_tls

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from receiver.settings import Settings
    from tests.unit.receiver.conftest import Certificate


def ports_of(sockets: list[socket.socket]) -> set[int]:
    """Give the ports and close the sockets."""
    ports = {made.getsockname()[1] for made in sockets}
    for made in sockets:
        made.close()
    return ports


def test_all_addresses_share_one_port() -> None:
    """Whichever is free, or the one that is asked for."""
    (port,) = ports_of(bind(("127.0.0.1", "::1"), 0))

    assert port
    assert ports_of(bind(("127.0.0.1", "::1"), port)) == {port}


def test_a_name_stands_for_its_addresses() -> None:
    """Of this machine."""
    assert len(ports_of(bind(("localhost",), 0))) == 1


def test_every_ipv6_address_is_none_of_ipv4() -> None:
    """So that both wildcards can be listened at, with one port."""
    assert len(ports_of(bind(("0.0.0.0", "::"), 0))) == 1  # noqa: S104 - bound for a moment, never listened at


def test_a_port_that_is_taken_is_not_exchanged() -> None:
    """One that is asked for."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match="HOST and PORT cannot be listened at: Address already in use"):
            bind(("127.0.0.1",), port)


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid", "a..b", "a" * 64])
def test_an_address_of_another_machine_is_refused(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Documentation's own, a name that nobody has, and what can be none; nothing stays bound."""
    original = socket.getaddrinfo

    def resolve(name: str, *args: Any, **more: Any) -> Any:
        if name.endswith(".invalid"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return original(name, *args, **more)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    for port in (0, 1):
        with pytest.raises(SettingsError, match="HOST and PORT cannot be listened at: "):
            bind(("127.0.0.1", host) if not port else (host,), port)


def test_a_port_that_is_free_at_one_address_only_is_given_up_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second address may have it taken; that is not for ever."""
    original = server_module._bind_one
    refusals = [2]

    def bind_one(address: Any, port: int) -> socket.socket:
        if port and refusals[0]:
            refusals[0] -= 1
            raise OSError(errno.EADDRINUSE, "Address already in use")
        return original(address, port)

    monkeypatch.setattr(server_module, "_bind_one", bind_one)
    assert len(ports_of(bind(("127.0.0.1", "::1"), 0))) == 1

    refusals[0] = 1000
    with pytest.raises(SettingsError, match="no port is free"):
        bind(("127.0.0.1", "::1"), 0)


def test_tls_is_not_older_than_1_2(certificate: Certificate) -> None:
    """And speaks HTTP/1.1."""
    assert make_tls(certificate.cert, certificate.key).minimum_version is ssl.TLSVersion.TLSv1_2


def test_files_that_make_no_tls_are_refused(certificate: Certificate, tmp_path: Path) -> None:
    """Missing, not PEM, not a pair, or locked: said in one sentence, and nobody is asked for a password."""
    (tmp_path / "none.pem").write_text("none")
    cases = [
        (tmp_path / "missing.pem", certificate.key, "No such file"),
        (tmp_path / "none.pem", certificate.key, ""),
        (certificate.cert, certificate.cert, ""),
        (certificate.cert, certificate.locked_key, "the key is encrypted"),
    ]
    for cert, key, because in cases:
        with pytest.raises(SettingsError, match=f"^TLS_CERT and TLS_KEY cannot be used: .*{because}"):
            make_tls(cert, key)


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
        monkeypatch.setitem(sys.modules, "uvicorn.protocols.http.httptools_impl", None)
    ready = asyncio.Event()
    sockets = bind(("127.0.0.1",), 0)
    port = sockets[0].getsockname()[1]
    server = Server(make_app(settings_of()), tls=None, on_ready=ready.set)
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


class SlowStore:
    """Says when a row is there, and takes it when it is let."""

    def __init__(self) -> None:
        self.arrived = asyncio.Event()
        self.gate = asyncio.Event()

    async def put(self, _: object) -> None:
        """Wait."""
        self.arrived.set()
        await self.gate.wait()


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
