"""One TLS context per authority."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from harness.clients.certificates import make_key, make_self_signed, private_pem
from harness.clients.tls import device_context, shared_context

if TYPE_CHECKING:
    from pathlib import Path


def write_authority(path: Path) -> str:
    """Write a fresh self-signed certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, path.name)])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(days=1))
    path.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    return str(path)


def test_clients_with_the_same_authority_share_a_context(tmp_path: Path) -> None:
    """Making one costs five times as much as connecting with it."""
    one, other = write_authority(tmp_path / "one.pem"), write_authority(tmp_path / "other.pem")

    assert shared_context(one, port=8443) is shared_context(one, port=9443)
    assert shared_context(one, port=8443) is not shared_context(other, port=8443)


def test_the_port_of_https_has_a_context_of_its_own(tmp_path: Path) -> None:
    """There, and only there, ALPN says that a WebSocket follows."""
    authority = write_authority(tmp_path / "ca.pem")

    assert shared_context(authority, port=443) is not shared_context(authority, port=8443)


def test_an_authority_that_was_replaced_is_read_again(tmp_path: Path) -> None:
    """A second stand-in may use the file name of the first."""
    path = tmp_path / "ca.pem"
    before = shared_context(write_authority(path), port=8443)

    assert shared_context(write_authority(path), port=8443) is not before


def test_without_an_authority_the_systems_are_used() -> None:
    """As on AWS."""
    assert shared_context(None, port=443) is shared_context(None, port=443)


def test_a_device_has_a_context_of_its_own(tmp_path: Path) -> None:
    """It holds the device's key; on the port of HTTPS, too, where ALPN has to say that MQTT follows."""
    authority = write_authority(tmp_path / "ca.pem")
    key = make_key()
    identity = {"certificate_pem": make_self_signed(key), "private_key_pem": private_pem(key)}

    contexts = [device_context(ca_file, port=port, **identity) for ca_file in (authority, None) for port in (443, 8883)]

    assert len({id(each) for each in contexts}) == 4
    assert shared_context(authority, port=443) not in contexts
