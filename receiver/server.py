"""The listening side of the process: sockets, TLS, and uvicorn between its start and its end.

`Server` leaves signals to its owner and tells when connections are accepted. It ends when it is told to, after the
requests that it has accepted: idle connections are closed at once, busy ones with their answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
from typing import TYPE_CHECKING, Any, Final, Literal

import uvicorn

from receiver.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from fastapi import FastAPI

KEEP_ALIVE_SECONDS: Final = 75
"""Longer than a load balancer keeps an idle connection (60 s), so that it never posts into one that is just closed."""

FAREWELL_SECONDS: Final = 8
"""For what is under way at the end: a confirmation takes five at most, a row three."""

MAX_HEAD_BYTES: Final = 65_536
"""Of a request line with its headers, and of trailers; a load balancer lets no more through either."""

_BACKLOG: Final = 2048
_ATTEMPTS: Final = 20


class Server(uvicorn.Server):
    """uvicorn with sockets, TLS and signals in its owner's hands.

    Args:
        app: to be served.
        tls: None: HTTP.
        on_ready: called once connections are accepted.
    """

    def __init__(self, app: FastAPI, *, tls: ssl.SSLContext | None, on_ready: Callable[[], None]) -> None:
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,  # its lines hold URLs, and so confirmation tokens
            http=make_protocol(),
            ws="none",
            lifespan="on",
            proxy_headers=False,
            server_header=False,
            backlog=_BACKLOG,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=FAREWELL_SECONDS,
        )
        config.load()
        config.ssl = tls  # uvicorn's own making of it would ask for a key's password on the terminal
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept connections, and say so."""
        await super().startup(sockets)
        self._on_ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take none: what they mean depends on who started the process."""
        yield


def make_protocol() -> type[asyncio.Protocol] | Literal["h11"]:
    """Choose what reads requests: httptools where it is installed, which is the faster one, else h11.

    For h11 uvicorn bounds what a client may send before its request begins (64 KiB). For httptools it does not, and
    anybody could fill the memory with one header, or with trailers, which are kept as headers are. So here all that is
    neither body nor the end of a request is bounded: the connection is closed.
    """
    try:
        from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol  # noqa: PLC0415 - may not be there
    except ImportError:
        return "h11"

    class BoundedProtocol(HttpToolsProtocol):
        """Counts the bytes since the last that led to something, to within what one read gives."""

        _idle_bytes = 0

        def on_headers_complete(self) -> None:
            self._idle_bytes = 0
            super().on_headers_complete()

        def on_body(self, body: bytes) -> None:
            self._idle_bytes = 0
            super().on_body(body)

        def on_message_complete(self) -> None:
            self._idle_bytes = 0
            super().on_message_complete()

        def data_received(self, data: bytes) -> None:
            self._idle_bytes += len(data)
            super().data_received(data)
            if self._idle_bytes > MAX_HEAD_BYTES:
                self.transport.close()

    return BoundedProtocol


def make_tls(cert: Path, key: Path) -> ssl.SSLContext:
    """Make the server's side of TLS.

    Raises:
        SettingsError: the files are not there, or no certificate with its key.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(cert, key, password=_no_password)
    except (OSError, ValueError) as error:
        raise SettingsError(f"TLS_CERT and TLS_KEY cannot be used: {_reason(error)}.") from None
    return context


def bind(hosts: Sequence[str], port: int) -> list[socket.socket]:
    """Bind one socket for each address, all with the same port.

    Args:
        hosts: addresses, or names that stand for one or more.
        port: 0 takes one that is free at all of them.

    Raises:
        SettingsError: an address is none of this machine's, or the port is taken.
    """
    for _ in range(_ATTEMPTS):
        bound: list[socket.socket] = []
        try:
            for host in hosts:
                for address in _addresses_of(host):
                    bound.append(_bind_one(address, bound[0].getsockname()[1] if bound else port))
        except UnicodeError:
            for made in bound:
                made.close()
            raise SettingsError("HOST and PORT cannot be listened at: HOST has what is no name of a host.") from None
        except OSError as error:
            for made in bound:
                made.close()
            if port or not bound or error.errno != errno.EADDRINUSE:
                raise SettingsError(f"HOST and PORT cannot be listened at: {_reason(error)}.") from None
        else:
            return bound
    raise SettingsError("HOST and PORT cannot be listened at: no port is free at all of the addresses.")


def make_loop() -> asyncio.AbstractEventLoop:
    """Make the fastest event loop there is here."""
    try:
        import uvloop  # noqa: PLC0415 - not there on every system
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def _addresses_of(host: str) -> list[tuple[Any, ...]]:
    found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((family, address[0]) for family, _, _, _, address in found))


def _bind_one(address: tuple[Any, ...], port: int) -> socket.socket:
    family, host = address
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind((host, port))
    except OSError:
        made.close()
        raise
    return made


def _no_password() -> str:
    raise ValueError("the key is encrypted")


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
