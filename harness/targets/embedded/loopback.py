"""The control plane's listening sockets, bound before it starts: whoever is to reach it knows its URL from then on."""

from __future__ import annotations

import errno
import os
import socket
from typing import Final

from harness.errors import TargetUnavailable

_ADDRESSES: Final = ("127.0.0.1", "::1")
_BACKLOG: Final = 4096
_PORT_TRIES: Final = 20


def listen_on_loopback(port: int) -> list[socket.socket]:
    """Listen on 127.0.0.1 and, where the machine has it, on ::1, at the same port.

    Args:
        port: 0 for any that is free on both.

    Returns:
        One or two listening sockets, the one for IPv4 first.

    Raises:
        TargetUnavailable: the port cannot be had.
    """
    for attempts_left in reversed(range(_PORT_TRIES)):
        sockets: list[socket.socket] = []
        try:
            sockets.append(_listen(_ADDRESSES[0], port))
            second = _listen_if_there(_ADDRESSES[1], sockets[0].getsockname()[1])
        except OSError as error:
            for listening in sockets:
                listening.close()
            if error.errno != errno.EADDRINUSE or port or not attempts_left:
                reason = os.strerror(error.errno) if error.errno else str(error)
                raise TargetUnavailable(
                    f"The AWS APIs cannot listen on {f'port {port}' if port else 'any port'} ({reason})."
                ) from None
        else:
            return [*sockets, second] if second is not None else sockets
    raise AssertionError("the last attempt raises or returns")


def _listen(address: str, port: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if listening.family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind((address, port))
        listening.listen(_BACKLOG)
    except BaseException:
        listening.close()
        raise
    return listening


def _listen_if_there(address: str, port: int) -> socket.socket | None:
    """Listen, or return None where this address cannot be had for another reason than its port."""
    try:
        return _listen(address, port)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise
        return None
