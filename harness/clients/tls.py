"""TLS contexts, one per certificate authority for the whole process.

Guests carry no certificate and trust the same authority, so they share a context: connecting is then five times as fast
as with the context per client that awsiot's builders make.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Final

from awscrt import io

_HTTPS_PORT: Final = 443


def shared_context(ca_file: str | None, *, port: int) -> io.ClientTlsContext:
    """Return the context that all WebSocket clients with this authority and port use.

    Args:
        ca_file: PEM file; None means the system's authorities.
        port: on 443 the ALPN protocol tells AWS IoT that this is a WebSocket; on any other port it would say nothing.
    """
    return _context(Path(ca_file).read_bytes() if ca_file else None, port == _HTTPS_PORT)


@lru_cache(maxsize=16)
def _context(authorities: bytes | None, names_http: bool) -> io.ClientTlsContext:  # noqa: FBT001 - a cache key
    options = io.TlsContextOptions()
    if authorities is not None:
        options.override_default_trust_store(authorities)
    if names_http and io.is_alpn_available():
        options.alpn_list = ["http/1.1"]
    return io.ClientTlsContext(options)
