"""TLS contexts: one per certificate authority for all guests of the process, one of its own for each device.

Guests carry no certificate and trust the same authority, so they share a context: connecting is then five times as fast
as with the context per client that awsiot's builders make. A device's context holds its key.
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


def device_context(
    ca_file: str | None, *, port: int, certificate_pem: str, private_key_pem: str
) -> io.ClientTlsContext:
    """Return the context of one device; takes some milliseconds.

    Args:
        ca_file: PEM file; None means the system's authorities.
        port: on 443 the ALPN protocol tells AWS IoT that this is MQTT; 8883 speaks nothing else.
        certificate_pem: what it presents; further certificates of its chain may follow.
        private_key_pem: the key to it.
    """
    options = io.TlsContextOptions.create_client_with_mtls(certificate_pem.encode(), private_key_pem.encode())
    if ca_file is not None:
        options.override_default_trust_store(Path(ca_file).read_bytes())
    if port == _HTTPS_PORT and io.is_alpn_available():
        options.alpn_list = ["x-amzn-mqtt-ca"]
    return io.ClientTlsContext(options)


@lru_cache(maxsize=16)
def _context(authorities: bytes | None, names_http: bool) -> io.ClientTlsContext:  # noqa: FBT001 - a cache key
    options = io.TlsContextOptions()
    if authorities is not None:
        options.override_default_trust_store(authorities)
    if names_http and io.is_alpn_available():
        options.alpn_list = ["http/1.1"]
    return io.ClientTlsContext(options)
