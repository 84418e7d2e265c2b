"""Keys and certificates, read back with the library that checks them elsewhere."""

from __future__ import annotations

import hashlib
import ssl

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from harness.clients.certificates import (
    certificate_id,
    make_forged,
    make_key,
    make_request,
    make_self_signed,
    private_pem,
)
from harness.targets.marks import find_mark


@pytest.mark.parametrize(("platform", "kind"), [("linux", ec.EllipticCurvePrivateKey), ("darwin", rsa.RSAPrivateKey)])
def test_a_key_is_one_this_machines_tls_takes(platform: str, kind: type) -> None:
    """Elliptic curves, except where the system's own TLS does not know them; both are what AWS IoT accepts."""
    key = make_key(platform=platform)

    assert isinstance(key, kind)
    assert key.key_size == (256 if platform == "linux" else 2048)
    assert make_key().public_key() != make_key().public_key()


def test_a_key_is_written_as_aws_writes_it() -> None:
    """Unencrypted PEM, as old TLS libraries read it."""
    key = make_key(platform="linux")

    pem = private_pem(key)

    assert pem.startswith("-----BEGIN EC PRIVATE KEY-----")
    assert serialization.load_pem_private_key(pem.encode(), password=None).public_key() == key.public_key()


def test_a_request_is_signed_by_its_own_key() -> None:
    """The authority checks that whoever asks holds the key."""
    key = make_key()

    request = x509.load_pem_x509_csr(make_request(key).encode())

    assert request.is_signature_valid
    assert request.public_key() == key.public_key()


def test_a_request_names_whom_it_is_for() -> None:
    """A common name has 64 characters; of a longer name those are kept that say whose run it is."""
    name = "a" * 40 + "-device-tw6b3f0a21-9c4e11d2-gw0-1"

    requests = [make_request(make_key(), common_name=each) for each in ("dev-1", name)]

    subjects = [x509.load_pem_x509_csr(each.encode()).subject.rfc4514_string() for each in requests]
    assert subjects == ["CN=dev-1", f"CN={name[-64:]}"]
    assert find_mark(subjects[1]) == find_mark(name)


def test_a_self_signed_certificate_vouches_for_itself_alone() -> None:
    """It is sound in every way but one: nobody knows it."""
    key = make_key()

    certificate = x509.load_pem_x509_certificate(make_self_signed(key).encode())

    certificate.verify_directly_issued_by(certificate)
    assert certificate.public_key() == key.public_key()
    assert certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False


def test_a_forged_certificate_bears_the_abused_keys_signature() -> None:
    """Both certificates are presented, and the signature is right: only that the issuer may issue nothing is wrong."""
    own, other, forgers = make_key(), make_key(), make_key()
    issuer_pem = make_self_signed(own)

    chain = make_forged(forgers, issuer_pem=issuer_pem, issuer_key_pem=private_pem(own))

    forged, issuer = x509.load_pem_x509_certificates(chain.encode())
    forged.verify_directly_issued_by(issuer)
    assert forged.public_key() == forgers.public_key()
    assert issuer == x509.load_pem_x509_certificate(issuer_pem.encode())
    stranger = make_forged(forgers, issuer_pem=issuer_pem, issuer_key_pem=private_pem(other))
    with pytest.raises(InvalidSignature):
        x509.load_pem_x509_certificates(stranger.encode())[0].verify_directly_issued_by(issuer)


def test_a_key_of_another_kind_forges_nothing() -> None:
    """AWS IoT gives none such to a device."""
    form = serialization.PrivateFormat.PKCS8
    pem = ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, form, serialization.NoEncryption()
    )

    with pytest.raises(TypeError, match="EC or RSA, not Ed25519PrivateKey"):
        make_forged(make_key(), issuer_pem=make_self_signed(make_key()), issuer_key_pem=pem.decode())


def test_a_certificate_is_called_by_the_hash_of_its_der() -> None:
    """Of a chain, the first one counts: that is who is presented."""
    key = make_key()
    pem = make_self_signed(key)
    chain = make_forged(make_key(), issuer_pem=pem, issuer_key_pem=private_pem(key))

    assert certificate_id(pem) == hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()
    assert certificate_id(chain) != certificate_id(pem)
