"""The stand-in's server certificate, checked by the standard library's TLS."""

from __future__ import annotations

import socket
import ssl
import stat
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from harness.targets.embedded.certificates import ServerIdentity, make_server_identity

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> ServerIdentity:
    """One CA and server certificate."""
    return make_server_identity(tmp_path_factory.mktemp("identity"))


def shake_hands(identity: ServerIdentity, ca_file: Path, name: str) -> None:
    """Do a TLS handshake over a socket pair, strictly checked by the client."""
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(identity.certificate, identity.key)
    client_context = ssl.create_default_context(cafile=str(ca_file))
    client_context.verify_flags |= ssl.VERIFY_X509_STRICT
    left, right = socket.socketpair()

    def serve() -> None:
        try:
            with server_context.wrap_socket(left, server_side=True) as tls:
                tls.recv(1)
        except OSError:
            pass  # the client refused, which is what its test asks for

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with client_context.wrap_socket(right, server_hostname=name):
            pass
    finally:
        left.close()
        right.close()
        thread.join()


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1"])
def test_the_server_is_who_it_says(name: str, identity: ServerIdentity) -> None:
    """Under each of its names, also by the strict rules of newer Pythons."""
    shake_hands(identity, identity.ca, name)


@pytest.mark.parametrize("name", ["example.com", "127.0.0.2"])
def test_the_server_is_nobody_else(name: str, identity: ServerIdentity) -> None:
    """The certificate is for this machine's loopback alone."""
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(identity, identity.ca, name)


def test_another_ca_does_not_vouch_for_it(identity: ServerIdentity, tmp_path: Path) -> None:
    """Each start has a CA of its own."""
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(identity, make_server_identity(tmp_path).ca, "localhost")


def test_a_clock_that_is_wrong_by_hours_does_no_harm(tmp_path: Path) -> None:
    """Valid from a day ago, and long enough for a server that is left running."""
    now = datetime(2026, 11, 21, tzinfo=UTC)
    identity = make_server_identity(tmp_path, now=now)
    for file in (identity.ca, identity.certificate):
        certificate = x509.load_pem_x509_certificate(file.read_bytes())
        assert certificate.not_valid_before_utc <= now - timedelta(hours=24)
        assert certificate.not_valid_after_utc >= now + timedelta(days=90)


def test_the_key_is_private_and_the_cas_key_is_nowhere(identity: ServerIdentity) -> None:
    """Nobody can sign another certificate with this CA."""
    assert stat.S_IMODE(identity.key.stat().st_mode) == 0o600
    assert sorted(file.name for file in identity.ca.parent.iterdir()) == ["ca.pem", "server.key", "server.pem"]
    assert b"PRIVATE" not in identity.ca.read_bytes() + identity.certificate.read_bytes()
