"""Listening sockets: the same port on every address."""

from __future__ import annotations

import asyncio
import errno
import ssl
from typing import TYPE_CHECKING, Any

import pytest

from harness.embedded import listeners
from harness.embedded.listeners import Listener, bind_all, remote_text
from harness.embedded.tls import TlsContexts, explain_handshake_failure, is_ip_literal

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator


@pytest.fixture
def bind() -> Iterator[Callable[..., list[socket.socket]]]:
    """Bind, and close what was bound."""
    bound: list[socket.socket] = []

    def call(*args: Any) -> list[socket.socket]:
        sockets = bind_all(*args)
        bound.extend(sockets)
        return sockets

    yield call
    for each in bound:
        each.close()


def test_a_port_is_the_same_on_every_address(bind: Callable[..., list[socket.socket]]) -> None:
    """Whatever port was free on the first."""
    ports = {each.getsockname()[1] for each in bind(["127.0.0.1", "127.0.0.2"], 0)}

    assert len(ports) == 1
    assert ports != {0}


def test_an_address_that_the_machine_does_not_have_is_left_out(bind: Callable[..., list[socket.socket]]) -> None:
    """As ::1 in a container without IPv6; 192.0.2.1 is nobody's."""
    assert len(bind(["127.0.0.1", "192.0.2.1"], 0)) == 1


def test_the_first_address_is_needed(bind: Callable[..., list[socket.socket]]) -> None:
    """Without it there is nothing to connect to."""
    with pytest.raises(OSError, match="assign"):
        bind(["192.0.2.1"], 0)


def test_a_port_that_is_taken_on_another_address_is_exchanged(
    bind: Callable[..., list[socket.socket]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two clashes, and the third port is free on both."""
    original, clashes = listeners._listen, iter([True, True, False])

    def listen(address: str, port: int) -> socket.socket:
        if port and next(clashes):
            raise OSError(errno.EADDRINUSE, "in use")
        return original(address, port)

    monkeypatch.setattr(listeners, "_listen", listen)

    assert len(bind(["127.0.0.1", "127.0.0.2"], 0)) == 2


def test_a_port_is_not_sought_for_ever(
    bind: Callable[..., list[socket.socket]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After some tries the clash is reported."""

    def listen(address: str, port: int) -> socket.socket:
        raise OSError(errno.EADDRINUSE, "in use")

    monkeypatch.setattr(listeners, "_listen", listen)

    with pytest.raises(OSError, match="in use"):
        bind(["127.0.0.1"], 0)


async def test_a_listener_reports_a_handshake_that_failed(certificates: Any) -> None:
    """Plain bytes instead of TLS."""
    contexts = TlsContexts(certificate_file=str(certificates.server_certificate), key_file=str(certificates.server_key))
    failure: asyncio.Future[tuple[str, OSError]] = asyncio.get_running_loop().create_future()
    listener = Listener(
        bind_all(["127.0.0.1"], 0),
        context=contexts.wss,
        make_protocol=asyncio.Protocol,
        on_failure=lambda remote, error: failure.set_result((remote, error)),
    )

    _, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    remote, error = await failure

    assert remote.startswith("127.0.0.1:")
    assert explain_handshake_failure(error).startswith("TLS handshake failed: ")
    writer.close()
    await listener.aclose()


async def test_a_listener_drops_unfinished_handshakes_when_it_closes(certificates: Any) -> None:
    """A client that says nothing does not keep it."""
    contexts = TlsContexts(certificate_file=str(certificates.server_certificate), key_file=str(certificates.server_key))
    listener = Listener(
        bind_all(["127.0.0.1"], 0),
        context=contexts.wss,
        make_protocol=asyncio.Protocol,
        on_failure=lambda _remote, _error: None,
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    while not listener._handshakes:  # noqa: ASYNC110 - until the connection is accepted, at the next turn or two
        await asyncio.sleep(0)

    await listener.aclose()

    assert await reader.read() == b""
    writer.close()


@pytest.mark.parametrize(
    ("address", "text"),
    [(("127.0.0.1", 5), "127.0.0.1:5"), (("::1", 5, 0, 0), "[::1]:5"), ("", ""), (None, "")],
)
def test_a_peer_is_named_by_address_and_port(address: Any, text: str) -> None:
    """IPv6 in brackets."""
    assert remote_text(address) == text


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ConnectionResetError(104, "reset"), "TLS handshake was not finished: [Errno 104] reset"),
        (TimeoutError(), "TLS handshake was not finished: TimeoutError"),
        (ssl.SSLError(1, "odd"), "TLS handshake failed: "),
    ],
)
def test_a_failed_handshake_is_explained(error: OSError, text: str) -> None:
    """In the server's own view."""
    assert explain_handshake_failure(error).startswith(text)


@pytest.mark.parametrize(
    ("name", "is_literal"), [("127.0.0.1", True), ("::1", True), ("[::1]", True), ("localhost", False)]
)
def test_an_address_is_told_from_a_name(name: str, *, is_literal: bool) -> None:
    """Some clients send addresses as server names."""
    assert is_ip_literal(name) is is_literal
