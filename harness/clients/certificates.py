"""Keys and certificates made on this side: what a device keeps to itself, and what it should not get in with.

A device's key is made here, and AWS IoT never sees it: it gets a certificate signing request. Elliptic curve keys take
no time to make; macOS gets RSA keys, since its own TLS, which the AWS Common Runtime uses there, takes no others. Kits
have RSA keys too, since they go to devices of any kind.
"""

from __future__ import annotations

import hashlib
import sys
from datetime import UTC, datetime, timedelta
from typing import Final, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

PrivateKey: TypeAlias = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

_PEM: Final = serialization.Encoding.PEM
_RSA_BITS: Final = 2048
_BACKDATED: Final = timedelta(minutes=5)
_LIFE: Final = timedelta(days=30)
_NAME: Final = "AWS IoT Certificate"
"""The subject AWS gives to certificates whose key it makes."""
_LONGEST_NAME: Final = 64
"""Characters of a common name, RFC 5280 (ub-common-name)."""


def make_key(*, platform: str = sys.platform) -> PrivateKey:
    """Make a private key that this machine's TLS can use.

    Args:
        platform: as `sys.platform` names it.
    """
    return make_rsa_key() if platform == "darwin" else ec.generate_private_key(ec.SECP256R1())


def make_rsa_key() -> rsa.RSAPrivateKey:
    """Make a private key that every device can use, of the kind AWS makes for them."""
    return rsa.generate_private_key(public_exponent=65537, key_size=_RSA_BITS)


def private_pem(key: PrivateKey) -> str:
    """Write a private key as PEM, unencrypted, in the form AWS hands out."""
    form = serialization.PrivateFormat.TraditionalOpenSSL
    return key.private_bytes(_PEM, form, serialization.NoEncryption()).decode()


def public_pem(key: PrivateKey) -> str:
    """Write the public half of a key as PEM."""
    return key.public_key().public_bytes(_PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


def make_request(key: PrivateKey, *, common_name: str = _NAME) -> str:
    """Make a certificate signing request, PEM.

    Args:
        key: the key that the certificate is for.
        common_name: whom the certificate is to name; of a long one the last 64 characters, which is where a name
            carries its run. AWS does not document that it keeps the subject of a request [unverified]; where it did
            not, a certificate without a thing would not tell whose it is.
    """
    builder = x509.CertificateSigningRequestBuilder().subject_name(_named(common_name[-_LONGEST_NAME:]))
    return builder.sign(key, hashes.SHA256()).public_bytes(_PEM).decode()


def make_self_signed(key: PrivateKey) -> str:
    """Make a certificate that nobody else vouches for, PEM."""
    return _sign(key, subject=_NAME, issuer=_named(_NAME), issuer_key=key)


def make_forged(key: PrivateKey, *, issuer_pem: str, issuer_key_pem: str) -> str:
    """Have a certificate that may vouch for nobody vouch for a key.

    Args:
        key: the forger's.
        issuer_pem: the abused certificate.
        issuer_key_pem: its private key.

    Returns:
        The forged certificate and the abused one, PEM, as a chain is presented.
    """
    issuer = x509.load_pem_x509_certificate(issuer_pem.encode())
    forged = _sign(key, subject="Forged Certificate", issuer=issuer.subject, issuer_key=_load_key(issuer_key_pem))
    return forged + issuer_pem


def certificate_id(certificate_pem: str) -> str:
    """Return what AWS calls a certificate: the SHA-256 of its DER, hex; of a chain's first certificate."""
    certificate = x509.load_pem_x509_certificate(certificate_pem.encode())
    return hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).hexdigest()


def _sign(key: PrivateKey, *, subject: str, issuer: x509.Name, issuer_key: PrivateKey) -> str:
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(_named(subject))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + _LIFE)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(issuer_key, hashes.SHA256())
    )
    return certificate.public_bytes(_PEM).decode()


def _named(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])


def _load_key(pem: str) -> PrivateKey:
    key = serialization.load_pem_private_key(pem.encode(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise TypeError(f"a device's key is EC or RSA, not {type(key).__name__}")
    return key
