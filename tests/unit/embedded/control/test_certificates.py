"""Client certificates: issued, from a CSR, registered; their status and their end."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import botocore.exceptions
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

if TYPE_CHECKING:
    from collections.abc import Callable

PEM = serialization.Encoding.PEM


def error_of(call: Callable[[], object]) -> tuple[str, int]:
    """Return code and HTTP status of a call that is refused."""
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        call()
    return caught.value.response["Error"]["Code"], caught.value.response["ResponseMetadata"]["HTTPStatusCode"]


def name(common_name: str) -> x509.Name:
    """Return a distinguished name."""
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])


def make_certificate(
    common_name: str, key: Any = None, *, issuer: tuple[x509.Certificate, Any] | None = None, is_ca: bool = False
) -> tuple[x509.Certificate, Any]:
    """Make a certificate, self-signed or issued, and its key."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name(common_name))
        .issuer_name(issuer[0].subject if issuer else name(common_name))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        .sign(issuer[1] if issuer else key, hashes.SHA256())
    )
    return certificate, key


def pem(certificate: x509.Certificate) -> str:
    """Return a certificate as text."""
    return certificate.public_bytes(PEM).decode()


def test_a_certificate_is_issued_with_its_key_pair(stand: Any) -> None:
    """The id is the SHA-256 of the DER, the key fits, it lasts to the end of 2049, and the broker has it."""
    made = stand.client("iot").create_keys_and_certificate(setAsActive=True)

    certificate = x509.load_pem_x509_certificate(made["certificatePem"].encode())
    private = serialization.load_pem_private_key(made["keyPair"]["PrivateKey"].encode(), password=None)
    der = certificate.public_bytes(serialization.Encoding.DER)
    assert made["certificateId"] == hashlib.sha256(der).hexdigest()
    assert certificate.public_key() == private.public_key()
    assert certificate.not_valid_after_utc == datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC)
    record = stand.broker.snapshot.certificates[made["certificateId"]]
    assert (record.arn, record.status, record.pem) == (made["certificateArn"], "ACTIVE", made["certificatePem"])
    described = stand.client("iot").describe_certificate(certificateId=made["certificateId"])["certificateDescription"]
    assert described["validity"]["notAfter"] == certificate.not_valid_after_utc


def test_a_certificate_from_a_csr_carries_the_key_and_subject_asked_for(stand: Any) -> None:
    """The private key never leaves the device, so the certificate must be for its public key."""
    key = ec.generate_private_key(ec.SECP256R1())
    csr = x509.CertificateSigningRequestBuilder().subject_name(name("device 1")).sign(key, hashes.SHA256())

    made = stand.client("iot").create_certificate_from_csr(
        certificateSigningRequest=csr.public_bytes(PEM).decode(), setAsActive=False
    )

    certificate = x509.load_pem_x509_certificate(made["certificatePem"].encode())
    assert (certificate.public_key(), certificate.subject) == (key.public_key(), name("device 1"))
    assert stand.broker.snapshot.certificates[made["certificateId"]].status == "INACTIVE"


def test_a_csr_that_is_none_or_has_a_key_that_aws_does_not_take_is_refused(stand: Any) -> None:
    """Text, and RSA of 1024 bits."""
    iot = stand.client("iot")
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - weak on purpose
    csr = x509.CertificateSigningRequestBuilder().subject_name(name("weak")).sign(weak, hashes.SHA256())

    assert error_of(lambda: iot.create_certificate_from_csr(certificateSigningRequest="x")) == (
        "InvalidRequestException",
        400,
    )
    assert error_of(
        lambda: iot.create_certificate_from_csr(certificateSigningRequest=csr.public_bytes(PEM).decode())
    ) == ("CertificateValidationException", 400)


def test_any_certificate_is_registered_without_a_ca_once(stand: Any) -> None:
    """The second time it exists already; white space makes no other certificate."""
    iot = stand.client("iot")
    text = pem(make_certificate("own")[0])

    made = iot.register_certificate_without_ca(certificatePem=text, status="ACTIVE")

    assert stand.broker.snapshot.certificates[made["certificateId"]].status == "ACTIVE"
    assert error_of(lambda: iot.register_certificate_without_ca(certificatePem=f"\n{text}\n")) == (
        "ResourceAlreadyExistsException",
        409,
    )


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"certificatePem": "x"}, "CertificateValidationException"),
        ({"certificatePem": "", "status": "REVOKED"}, "InvalidRequestException"),
        ({"certificatePem": "", "status": "BROKEN"}, "InvalidRequestException"),
    ],
)
def test_a_registration_that_makes_no_sense_is_refused(stand: Any, arguments: dict[str, str], code: str) -> None:
    """What is no certificate, and statuses nobody can register."""
    text = arguments["certificatePem"] or pem(make_certificate("own")[0])

    call = stand.client("iot").register_certificate_without_ca
    assert error_of(lambda: call(**{**arguments, "certificatePem": text}))[0] == code


def test_a_certificate_is_registered_with_the_ca_that_issued_it(stand: Any) -> None:
    """The CA must be registered, ACTIVE and the issuer; found by itself when it is not named."""
    iot = stand.client("iot")
    authority = make_certificate("ca", is_ca=True)
    device = pem(make_certificate("device", issuer=authority)[0])
    assert error_of(lambda: iot.register_certificate(certificatePem=device)) == ("CertificateValidationException", 400)

    ca = iot.register_ca_certificate(caCertificate=pem(authority[0]), certificateMode="SNI_ONLY")
    assert error_of(lambda: iot.register_certificate(certificatePem=device)) == ("CertificateStateException", 406)
    iot.update_ca_certificate(certificateId=ca["certificateId"], newStatus="ACTIVE")
    other = pem(make_certificate("ca", is_ca=True)[0])
    assert (
        error_of(lambda: iot.register_certificate(certificatePem=device, caCertificatePem=other))[0]
        == "CertificateValidationException"
    )
    made = iot.register_certificate(certificatePem=device, caCertificatePem=pem(authority[0]), setAsActive=True)

    assert stand.broker.snapshot.certificates[made["certificateId"]].status == "ACTIVE"
    listed = iot.list_certificates_by_ca(caCertificateId=ca["certificateId"])["certificates"]
    assert [one["certificateId"] for one in listed] == [made["certificateId"]]


def test_a_ca_is_registered_by_whoever_holds_its_key(stand: Any) -> None:
    """The verification certificate is for the registration code, and issued by the CA."""
    iot = stand.client("iot")
    authority = make_certificate("ca", is_ca=True)
    code = iot.get_registration_code()["registrationCode"]
    wrong = [make_certificate("other code", issuer=authority), make_certificate(code)]

    def register(proof: x509.Certificate) -> Any:
        return iot.register_ca_certificate(caCertificate=pem(authority[0]), verificationCertificate=pem(proof))

    for certificate, _ in wrong:
        assert error_of(partial(register, certificate))[0] == "RegistrationCodeValidationException"
    leaf = pem(make_certificate("leaf")[0])
    assert error_of(lambda: iot.register_ca_certificate(caCertificate=leaf, certificateMode="SNI_ONLY"))[0] == (
        "CertificateValidationException"
    )
    assert register(make_certificate(code, issuer=authority)[0])["certificateId"]


def test_automatic_registration_is_refused_by_name(stand: Any) -> None:
    """A device that brings a certificate of such a CA would not be registered here."""
    iot = stand.client("iot")
    text = pem(make_certificate("ca", is_ca=True)[0])

    further = {"certificateMode": "SNI_ONLY", "allowAutoRegistration": True}
    assert error_of(lambda: iot.register_ca_certificate(caCertificate=text, **further)) == ("NotImplemented", 501)
    further = {"certificateId": "a" * 64, "newAutoRegistrationStatus": "ENABLE"}
    assert error_of(lambda: iot.update_ca_certificate(**further)) == ("NotImplemented", 501)


def test_the_status_of_a_certificate_reaches_the_broker(stand: Any) -> None:
    """ACTIVE, INACTIVE and REVOKED can be set; others are AWS's own."""
    iot = stand.client("iot")
    certificate_id = iot.register_certificate_without_ca(certificatePem=pem(make_certificate("a")[0]))["certificateId"]

    for status in ("ACTIVE", "REVOKED", "INACTIVE"):
        iot.update_certificate(certificateId=certificate_id, newStatus=status)
        assert stand.broker.snapshot.certificates[certificate_id].status == status
    assert error_of(lambda: iot.update_certificate(certificateId=certificate_id, newStatus="PENDING_TRANSFER")) == (
        "InvalidRequestException",
        400,
    )
    assert error_of(lambda: iot.update_certificate(certificateId="a" * 64, newStatus="ACTIVE")) == (
        "ResourceNotFoundException",
        404,
    )


def test_a_certificate_is_deleted_once_it_is_inactive_and_detached(stand: Any) -> None:
    """In AWS's order: detach, INACTIVE, delete; forceDelete leaves out only the policies."""
    iot = stand.client("iot")
    made = iot.register_certificate_without_ca(certificatePem=pem(make_certificate("a")[0]), status="ACTIVE")
    certificate_id, arn = made["certificateId"], made["certificateArn"]
    document = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "iot:*", "Resource": "*"}}
    iot.create_policy(policyName="p", policyDocument=json.dumps(document))
    iot.attach_policy(policyName="p", target=arn)
    iot.create_thing(thingName="t")
    iot.attach_thing_principal(thingName="t", principal=arn)

    def delete(**how: bool) -> Any:
        return iot.delete_certificate(certificateId=certificate_id, **how)

    assert error_of(delete) == ("CertificateStateException", 406)
    iot.update_certificate(certificateId=certificate_id, newStatus="INACTIVE")
    assert error_of(lambda: delete(forceDelete=True)) == ("DeleteConflictException", 409)
    iot.detach_thing_principal(thingName="t", principal=arn)
    assert error_of(delete) == ("DeleteConflictException", 409)
    delete(forceDelete=True)

    assert stand.broker.snapshot.certificates == {}
    assert stand.broker.snapshot.policies["p"].targets == ()
    other = iot.register_certificate_without_ca(certificatePem=pem(make_certificate("b")[0]))
    iot.delete_certificate(certificateId=other["certificateId"])
