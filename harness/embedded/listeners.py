"""Listening sockets: the same port on every address, and connections accepted with their TLS handshake.

Connections are accepted here, not by `loop.create_server`, which keeps failed handshakes to itself: on the mutual-TLS
port they are the refusal of an unknown certificate, and belong into the trace.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Sequence

HANDSHAKE_TIMEOUT: Final = 10.0
"""Seconds a client has for the TLS handshake."""

SHUTDOWN_TIMEOUT: Final = 2.0
"""Seconds a client has to answer the end of the TLS session before the connection is cut."""

_BACKLOG: Final = 4096
_PORT_TRIES: Final = 20
_PAUSE_AFTER_ERROR: Final = 0.2  # seconds; out of file descriptors, mostly
_NO_SUCH_ADDRESS: Final = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})


def bind_all(addresses: Sequence[str], port: int) -> list[socket.socket]:
    """Listen on every address at the same port.

    Args:
        addresses: IP addresses; those after the first are left out where the machine does not have them.
        port: 0 for any that is free on all of them.

    Returns:
        One listening, non-blocking socket per address.

    Raises:
        OSError: the port is taken, or no port was free on all addresses.
    """
    for attempts_left in reversed(range(_PORT_TRIES)):
        sockets: list[socket.socket] = []
        try:
            sockets.append(_listen(addresses[0], port))
            chosen = sockets[0].getsockname()[1]
            sockets += filter(None, (_listen_if_there(address, chosen) for address in addresses[1:]))
        except OSError as error:
            for listening in sockets:
                listening.close()
            if error.errno != errno.EADDRINUSE or port or not attempts_left:
                raise
        else:
            return sockets
    raise AssertionError("the last attempt raises or returns")


class Listener:
    """Accepts connections on some sockets until it is closed.

    Args:
        sockets: listening and non-blocking; owned from now on.
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


def _listen(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.setblocking(False)
        listening.bind((address, port))
        listening.listen(_BACKLOG)
    except BaseException:
        listening.close()
        raise
    return listening


def _listen_if_there(address: str, port: int) -> socket.socket | None:
    """Listen, or return None where the machine does not have this address (no IPv6, say)."""
    try:
        return _listen(address, port)
    except OSError as error:
        if error.errno in _NO_SUCH_ADDRESS:
            return None
        raise
