"""uvicorn between its start and its end.

`Server` leaves signals to its owner and tells when connections are accepted. It ends when it is told to, after the
requests that it has accepted: idle connections are closed at once, busy ones with their answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any, Final, Literal

import uvicorn

from receiver.listening import BACKLOG

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable, Iterable, Iterator

    from fastapi import FastAPI

KEEP_ALIVE_SECONDS: Final = 75
"""Longer than a load balancer keeps an idle connection (60 s), so that it never posts into one that is just closed."""

FAREWELL_SECONDS: Final = 8
"""For what is under way at the end: a confirmation takes five at most, a row three."""

_TICKS_PER_SECOND: Final = 10
_LOGGER: Final = logging.getLogger("receiver.server")


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
            backlog=BACKLOG,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=FAREWELL_SECONDS,
        )
        config.load()
        config.ssl = tls  # uvicorn's own making of it would ask for a key's password on the terminal
        super().__init__(config)
        self._state = app.state
        self._state.is_ending = False
        self._on_ready = on_ready

    def end(self) -> None:
        """Accept no more, and return from `serve` once what was accepted is answered. Safe in a signal handler."""
        self._state.is_ending = True
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept connections, and say so."""
        await super().startup(sockets)
        self._on_ready()

    async def on_tick(self, counter: int) -> bool:
        """Close once a second what has taken too long."""
        if counter % _TICKS_PER_SECOND == 0:
            close_slow(self.server_state.connections)
        return await super().on_tick(counter)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take none: what they mean depends on who started the process."""
        yield


def make_protocol() -> type[asyncio.Protocol] | Literal["h11"]:
    """Choose what reads requests: httptools where it is installed, which is the faster one, else h11.

    With h11, uvicorn alone bounds what a client sends before its request begins (64 KiB); slow requests are not cut off
    then, and connections not counted.
    """
    try:
        from receiver.connections import BoundedProtocol  # noqa: PLC0415 - httptools may not be there
    except ImportError:
        return "h11"
    return BoundedProtocol


def close_slow(connections: Iterable[Any]) -> None:
    """Let a second pass for connections, and cut off those that take too long."""
    slow = [made for made in connections if hasattr(made, "pass_second") and made.pass_second()]
    for made in slow:
        made.transport.abort()  # not closed: that would wait until the other side has read what was written
    if slow:
        _LOGGER.info("slow connections closed", extra={"about": {"connections": len(slow)}})


def make_loop() -> asyncio.AbstractEventLoop:
    """Make the fastest event loop there is here."""
    try:
        import uvloop  # noqa: PLC0415 - not there on every system
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
