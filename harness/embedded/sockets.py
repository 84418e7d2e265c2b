"""Listening sockets: the same port on every address. The broker and the control plane both listen this way."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

_BACKLOG: Final = 4096
_PORT_TRIES: Final = 20
_NO_SUCH_ADDRESS: Final = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT})


def bind_all(addresses: Sequence[str], port: int) -> list[socket.socket]:
    """Listen on every address at the same port.

    Args:
        addresses: IP addresses; those after the first are left out where the machine does not have them.
        port: 0 for any that is free on all of them.

    Returns:
        One listening socket per address.

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
            if error.errno == errno.EADDRINUSE and port:
                raise OSError(error.errno, f"port {port} is already in use") from None
            if error.errno != errno.EADDRINUSE or not attempts_left:
                raise
        else:
            return sockets
    raise AssertionError("the last attempt raises or returns")


def _listen(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
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
