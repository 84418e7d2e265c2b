"""The two TLS contexts of the broker, and what can be asked of a connection after its handshake.

``mqtts`` asks for a client certificate and trusts every *registered* one by itself (X.509 partial chain): AWS issues
certificates under a CA nobody gets, and takes self-signed ones. OpenSSL cannot stop trusting a certificate, and a
trusted one with CA rights could vouch for others, so a handshake admits nobody: `client_certificate` gives the exact
certificate presented, and the registry decides.

``wss`` does not ask for a certificate: browsers abort a WebSocket whose server asks for one.

Source: AWS IoT Core, "Transport security in AWS IoT Core": TLS 1.2 and 1.3, no session tickets, server name indication.
"""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from collections.abc import Iterable


_UNKNOWN_CERTIFICATE: Final = frozenset({18, 19, 20, 21})
"""Verify codes of OpenSSL for a certificate nobody vouches for: self-signed, or of an issuer that is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PresentedCertificate:
    """The client certificate of a finished handshake.

    Attributes:
        certificate_id: SHA-256 of its DER, hex: what AWS calls the certificate id.
        expires_at: seconds since the epoch.
    """

    certificate_id: str
    expires_at: float


class TlsContexts:
    """The contexts of both listeners; client certificates can be added at any time, also while serving.

    Args:
        certificate_file: server certificate and chain, PEM.
        key_file: its key, PEM.

    Attributes:
        mqtts: asks for a client certificate.
        wss: does not.

    Raises:
        OSError: the files cannot be read (`ssl.SSLError`: or used).
    """

    def __init__(self, *, certificate_file: str, key_file: str) -> None:
        self._server_names: WeakKeyDictionary[object, str] = WeakKeyDictionary()
        self.wss = self._context(certificate_file, key_file)
        self.mqtts = self._context(certificate_file, key_file)
        self.mqtts.verify_mode = ssl.CERT_REQUIRED
        self.mqtts.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN

    def trust(self, certificates: Iterable[str]) -> None:
        """Let clients with these certificates finish a handshake, from now on and for good.

        Args:
            certificates: PEM, one certificate each; known ones do no harm.

        Raises:
            ssl.SSLError: something is no certificate.
        """
        for pem in certificates:
            self.mqtts.load_verify_locations(cadata=ssl.PEM_cert_to_DER_cert(pem.strip()))

    def server_name(self, tls: object) -> str | None:
        """Return the name a client asked for (SNI) in its handshake, None without one."""
        return self._server_names.get(tls)

    def _context(self, certificate_file: str, key_file: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
        context.num_tickets = 0
        context.load_cert_chain(certificate_file, key_file)
        context.sni_callback = self._remember
        return context

    def _remember(self, tls: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: ssl.SSLContext) -> None:
        if name is not None:
            self._server_names[tls] = name


def client_certificate(tls: ssl.SSLObject) -> PresentedCertificate | None:
    """Return the certificate the client presented in a finished handshake, None without one."""
    der = tls.getpeercert(binary_form=True)
    details = tls.getpeercert()
    if not der or not details:
        return None
    return PresentedCertificate(
        certificate_id=hashlib.sha256(der).hexdigest(),
        expires_at=float(ssl.cert_time_to_seconds(str(details["notAfter"]))),
    )


def is_ip_literal(name: str) -> bool:
    """Whether a server name is an address: some clients send it as SNI, although RFC 6066 §3 forbids it."""
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(name.strip("[]"))
        return True
    return False


def explain_handshake_failure(error: OSError) -> str:
    """Say why a handshake failed, by the server's own view of it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        is_unknown = error.verify_code in _UNKNOWN_CERTIFICATE
        return f"{'DEVICE_CERTIFICATE_NOT_REGISTERED' if is_unknown else 'NOT_AUTHENTICATED'}: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        reason = getattr(error, "reason", None)
        if reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
            return "NOT_AUTHENTICATED: no client certificate was presented"
        return f"TLS handshake failed: {reason or error}"
    return f"TLS handshake was not finished: {str(error) or type(error).__name__}"
