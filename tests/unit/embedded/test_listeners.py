"""Connections accepted with their TLS handshake."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import pytest

from harness.embedded.listeners import Listener, remote_text
from harness.embedded.sockets import bind_all
from harness.embedded.tls import TlsContexts, explain_handshake_failure, is_ip_literal


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
