"""Connections accepted with their TLS handshake.

Connections are accepted here, not by `loop.create_server`, which keeps failed handshakes to itself: on the mutual-TLS
port they are the refusal of an unknown certificate, and belong into the trace.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Sequence

HANDSHAKE_TIMEOUT: Final = 10.0
"""Seconds a client has for the TLS handshake."""

SHUTDOWN_TIMEOUT: Final = 2.0
"""Seconds a client has to answer the end of the TLS session before the connection is cut."""

_PAUSE_AFTER_ERROR: Final = 0.2  # seconds; out of file descriptors, mostly


class Listener:
    """Accepts connections on some sockets until it is closed.

    Args:
        sockets: listening; owned from now on.
        context: TLS of the server.
        make_protocol: called once per connection, after its handshake.
        on_failure: called with (remote address, error) when a handshake fails.
    """

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        *,
        context: ssl.SSLContext,
        make_protocol: Callable[[], asyncio.Protocol],
        on_failure: Callable[[str, OSError], None],
    ) -> None:
        self._sockets = list(sockets)
        for listening in self._sockets:
            listening.setblocking(False)
        self._context = context
        self._make_protocol = make_protocol
        self._on_failure = on_failure
        self._loop = asyncio.get_running_loop()
        self._handshakes: set[asyncio.Task[None]] = set()
        self._accepting = [self._loop.create_task(self._accept(listening)) for listening in self._sockets]

    @property
    def port(self) -> int:
        """The port, the same on every address."""
        return int(self._sockets[0].getsockname()[1])

    async def aclose(self) -> None:
        """Stop listening and drop unfinished handshakes; established connections stay."""
        tasks = [*self._accepting, *self._handshakes]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for listening in self._sockets:
            listening.close()

    async def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                accepted, address = await self._loop.sock_accept(listening)
            except OSError:
                await asyncio.sleep(_PAUSE_AFTER_ERROR)
                continue
            task = self._loop.create_task(self._shake_hands(accepted, remote_text(address)))
            self._handshakes.add(task)
            task.add_done_callback(self._handshakes.discard)

    async def _shake_hands(self, accepted: socket.socket, remote: str) -> None:
        try:
            accepted.setblocking(False)
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._loop.connect_accepted_socket(
                self._make_protocol,
                accepted,
                ssl=self._context,
                ssl_handshake_timeout=HANDSHAKE_TIMEOUT,
                ssl_shutdown_timeout=SHUTDOWN_TIMEOUT,
            )
        except OSError as error:
            accepted.close()
            self._on_failure(remote, error)
        except BaseException:
            accepted.close()
            raise


def remote_text(address: object) -> str:
    """Write a peer's socket address as ``host:port``."""
    if isinstance(address, tuple) and len(address) >= 2:
        host, port = address[:2]
        return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"
    return ""
