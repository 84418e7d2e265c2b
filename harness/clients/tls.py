"""TLS contexts: one per certificate authority for all guests of the process, one of its own for each device.

Guests carry no certificate and trust the same authority, so they share a context: connecting is then five times as fast
as with the context per client that awsiot's builders make. A device's context holds its key.

Where MQTT and WebSocket are served on one port, the ALPN protocol tells which of them follows: on AWS's port 443, and
wherever else both ports are the same. A server that negotiates no protocol takes no notice.

Source: the table of protocols, authentication and ports in the AWS IoT developer guide, which asks devices for
``x-amzn-mqtt-ca``. Of guests it asks nothing: ``http/1.1`` is what AWS's SDKs say.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Final

from awscrt import io

_HTTPS_PORT: Final = 443


def shared_context(ca_file: str | None, *, port: int, is_port_shared: bool = False) -> io.ClientTlsContext:
    """Return the context that all WebSocket clients with this authority use, on ports of this kind.

    Args:
        ca_file: PEM file; None means the system's authorities.
        port: 443 is one that AWS IoT shares between MQTT and WebSocket.
        is_port_shared: whether this port is such a one, too.
    """
    return _context(Path(ca_file).read_bytes() if ca_file else None, _has_to_say(port, is_port_shared=is_port_shared))


def device_context(
    ca_file: str | None, *, port: int, certificate_pem: str, private_key_pem: str, is_port_shared: bool = False
) -> io.ClientTlsContext:
    """Return the context of one device; takes some milliseconds.

    Args:
        ca_file: PEM file; None means the system's authorities.
        port: 443 is one that AWS IoT shares between MQTT and WebSocket; 8883 speaks nothing but MQTT.
        certificate_pem: what it presents; further certificates of its chain may follow.
        private_key_pem: the key to it.
        is_port_shared: whether this port is such a one, too.
    """
    options = io.TlsContextOptions.create_client_with_mtls(certificate_pem.encode(), private_key_pem.encode())
    if ca_file is not None:
        options.override_default_trust_store(Path(ca_file).read_bytes())
    if _has_to_say(port, is_port_shared=is_port_shared):
        options.alpn_list = ["x-amzn-mqtt-ca"]
    return io.ClientTlsContext(options)


def _has_to_say(port: int, *, is_port_shared: bool) -> bool:
    return (port == _HTTPS_PORT or is_port_shared) and bool(io.is_alpn_available())


@lru_cache(maxsize=16)
def _context(authorities: bytes | None, names_http: bool) -> io.ClientTlsContext:  # noqa: FBT001 - a cache key
    options = io.TlsContextOptions()
    if authorities is not None:
        options.override_default_trust_store(authorities)
    if names_http:
        options.alpn_list = ["http/1.1"]
    return io.ClientTlsContext(options)
