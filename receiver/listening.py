"""What is listened at: sockets, TLS, and how many files that may take."""

from __future__ import annotations

import contextlib
import errno
import resource
import socket
import ssl
import sys
from typing import TYPE_CHECKING, Any, Final

from receiver.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

BACKLOG: Final = 2048
"""Connections that wait to be accepted; the system may allow fewer."""

MAX_CONNECTIONS: Final = 2048
"""Of one process at a time; a load balancer needs a few for each of its addresses."""

SPREADS: Final = sys.platform == "linux"
"""Whether the system spreads connections over all sockets at one address. Elsewhere workers accept from the same
socket, where it is left to chance who is first."""

_OTHER_FILES: Final = 256
_ATTEMPTS: Final = 20


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
                for family, address in _addresses_of(host):
                    bound.append(_bind_one((family, (address, bound[0].getsockname()[1] if bound else port))))
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


def bind_beside(bound: Sequence[socket.socket], *, is_first: bool = False) -> list[socket.socket]:
    """Bind further sockets at the same addresses, for one worker alone; see `SPREADS`.

    Args:
        bound: as `bind` or this gave them.
        is_first: they come from `bind`, and are closed: nothing may be beside them.

    Raises:
        SettingsError: an address is taken.
    """
    addresses = [(made.family, made.getsockname()) for made in bound]
    if is_first:
        for made in bound:
            made.close()
    beside: list[socket.socket] = []
    try:
        for family, address in addresses:
            beside.append(_bind_one((family, address), is_shared=True))
    except OSError as error:
        for made in beside:
            made.close()
        raise SettingsError(f"HOST and PORT cannot be listened at: {_reason(error)}.") from None
    return beside


def allow_files() -> None:
    """Let this process have as many files as it may have connections, as far as it may: some systems begin with 256."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_CONNECTIONS + _OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):  # what is refused is done without
            limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))


def _addresses_of(host: str) -> list[tuple[int, str]]:
    found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((family, str(address[0])) for family, _, _, _, address in found))


def _bind_one(place: tuple[int, tuple[Any, ...]], *, is_shared: bool = False) -> socket.socket:
    family, address = place
    # The protocol is named, since asyncio turns Nagle's algorithm off only where it is: answers would wait for it.
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if is_shared:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(address)
    except OSError:
        made.close()
        raise
    return made


def _no_password() -> str:
    raise ValueError("the key is encrypted")


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
