"""Names below ``.localhost``: this machine, whatever its resolver knows of them.

Emulators tell their brokers' hosts by such names, and expect them in the Host header. Many resolvers do not know them.

Source: RFC 6761 §6.3: names below ``localhost.`` are loopback addresses, which applications may take for granted.
"""

from __future__ import annotations


def reached_at(host: str) -> str:
    """Return the name to connect to for a server of this name."""
    return "localhost" if host.lower().rstrip(".").endswith(".localhost") else host
