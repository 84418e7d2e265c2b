"""Client certificates: issued with a key pair, from a CSR, or registered with and without a CA.

Certificates that are issued are signed by a certificate authority of this process, valid until the end of 2049 as AWS's
are, and carry the public key they were asked for. The registry keeps them by the SHA-256 of their DER.

Source: x509-client-certs, device-certs-create and manage-your-CA-certs in the AWS IoT developer guide.
"""

from __future__ import annotations

import threading
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from harness.embedded.control.messages import ApiError, not_served
from harness.embedded.control.moto_backend import NewCertificate
from harness.embedded.control.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

    from harness.embedded.control.moto_backend import MotoBackend
    from harness.embedded.control.outcome import Caller, Guard, Handler
    from harness.embedded.control.routing import ApiCall
    from harness.iot.registry import Certificate

# cryptography is imported inside functions: loading it would delay the first sign of life of the process by a tenth of
# a second.

_KEY_BITS: Final = 2048
_NOT_AFTER: Final = datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC)
_BACKDATED: Final = timedelta(minutes=2)
"""AWS's certificates begin a little before they are issued, for devices whose clock is late."""
_SETTABLE: Final = frozenset({"ACTIVE", "INACTIVE", "REVOKED"})
_REGISTRABLE: Final = frozenset({"ACTIVE", "INACTIVE"})
_CURVES: Final = frozenset({"secp256r1", "secp384r1", "secp521r1"})


class Certificates:
    """Handlers and guards of ``iot``'s certificates.

    Args:
        backend: has the registry.
        clock: seconds since the epoch.
    """

    def __init__(self, backend: MotoBackend, *, clock: Callable[[], float]) -> None:
        self._backend = backend
        self._clock = clock
        self._issuer = _Issuer()
        self._registration_code = f"{uuid.uuid4().hex}{uuid.uuid4().hex}"

    def warm_up(self) -> None:
        """Load what the first certificate would otherwise wait for."""
        self._issuer.warm_up()

    def handlers(self) -> Mapping[str, Handler]:
        """Return what runs here instead of in moto."""
        return {
            "CreateKeysAndCertificate": self._create_keys,
            "CreateCertificateFromCsr": self._create_from_csr,
            "RegisterCertificate": self._register,
            "RegisterCertificateWithoutCA": self._register_without_ca,
            "UpdateCertificate": self._update,
            "DeleteCertificate": self._delete,
            "GetRegistrationCode": self._get_registration_code,
        }

    def guards(self) -> Mapping[str, Guard]:
        """Return what is looked at before moto runs it."""
        return {"RegisterCACertificate": self._check_ca, "UpdateCACertificate": self._check_ca_update}

    def _create_keys(self, call: ApiCall, _caller: Caller) -> Outcome:
        from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - see the top
        from cryptography.hazmat.primitives.asymmetric import rsa  # noqa: PLC0415 - see the top

        key = rsa.generate_private_key(public_exponent=65537, key_size=_KEY_BITS)
        certificate = self._issue(call, key.public_key(), subject=None)
        pem = serialization.Encoding.PEM
        public = key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
        private = key.private_bytes(pem, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
        return _made(certificate, keyPair={"PublicKey": public.decode(), "PrivateKey": private.decode()})

    def _create_from_csr(self, call: ApiCall, _caller: Caller) -> Outcome:
        from cryptography import x509  # noqa: PLC0415 - see the top

        try:
            request = x509.load_pem_x509_csr(call.text("certificateSigningRequest").encode())
            is_signed = request.is_signature_valid
        except ValueError as error:
            raise _invalid(f"The certificate signing request cannot be read: {error}") from None
        if not is_signed:
            raise _invalid("The certificate signing request is not signed with its own key")
        public_key = request.public_key()
        _check_key(public_key)
        return _made(self._issue(call, public_key, subject=request.subject))

    def _issue(self, call: ApiCall, public_key: Any, *, subject: x509.Name | None) -> Certificate:
        now = datetime.fromtimestamp(self._clock(), tz=UTC)
        issued = self._issuer.issue(public_key, subject=subject, now=now)
        status = "ACTIVE" if call.params.get("setAsActive") else "INACTIVE"
        return self._backend.add_certificate(_new(issued), status=status)

    def _register(self, call: ApiCall, _caller: Caller) -> Outcome:
        certificate = _parse(call.text("certificatePem"))
        wanted = call.params.get("caCertificatePem")
        wanted_id = _new(_parse(wanted)).certificate_id if wanted else None
        for certificate_id, pem, status in self._backend.certificate_authorities():
            if (wanted_id in {None, certificate_id}) and _issued_by(certificate, _parse(pem)):
                if status != "ACTIVE":
                    raise ApiError(
                        "CertificateStateException", f"The CA certificate {certificate_id} is {status}", status=406
                    )
                new = _new(certificate, ca_certificate_id=certificate_id)
                return _registered(self._backend.add_certificate(new, status=_wanted_status(call)))
        reason = "The certificate was not issued by a registered CA; RegisterCertificateWithoutCA takes any certificate"
        raise ApiError("CertificateValidationException", reason)

    def _register_without_ca(self, call: ApiCall, _caller: Caller) -> Outcome:
        certificate = _parse(call.text("certificatePem"))
        _check_key(certificate.public_key())
        return _registered(self._backend.add_certificate(_new(certificate), status=_wanted_status(call)))

    def _update(self, call: ApiCall, _caller: Caller) -> Outcome:
        status = call.text("newStatus")
        now = datetime.fromtimestamp(self._clock(), tz=UTC)
        with self._backend.lock:
            certificate_id = self._existing(call).certificate_id
            if status not in _SETTABLE:
                raise _invalid(f"newStatus {status} cannot be set; {', '.join(sorted(_SETTABLE))} can")
            self._backend.set_certificate_status(certificate_id, status, at=now)
        return Outcome(result={}, touched={"certificates": frozenset({certificate_id})})

    def _delete(self, call: ApiCall, _caller: Caller) -> Outcome:
        with self._backend.lock:
            certificate = self._existing(call)
            if certificate.status == "ACTIVE":
                message = "Certificate must be deactivated (not ACTIVE) before deletion."
                raise ApiError("CertificateStateException", message, status=406)
            if self._backend.things_of(certificate.arn):
                raise ApiError(
                    "DeleteConflictException",
                    f"Things must be detached before deletion (arn: {certificate.arn})",
                    status=409,
                )
            policies = self._backend.policies_of(certificate.arn)
            if policies and not call.params.get("forceDelete"):
                message = f"Certificate policies must be detached before deletion (arn: {certificate.arn})"
                raise ApiError("DeleteConflictException", message, status=409)
            self._backend.remove_certificate(certificate.certificate_id)
        touched = {"certificates": frozenset({certificate.certificate_id}), "policies": frozenset(policies)}
        return Outcome(result={}, touched=touched)

    def _existing(self, call: ApiCall) -> Certificate:
        certificate_id = call.text("certificateId")
        certificate = self._backend.certificate(certificate_id)
        if certificate is None:
            message = f"The certificate given for the principal does not exist (certificateId={certificate_id})"
            raise ApiError("ResourceNotFoundException", message, status=404)
        return certificate

    def _get_registration_code(self, _call: ApiCall, _caller: Caller) -> Outcome:
        return Outcome(result={"registrationCode": self._registration_code})

    def _check_ca(self, call: ApiCall, _caller: Caller) -> None:
        """Check what moto does not: that it is a CA, and in DEFAULT mode that the caller holds its key."""
        from cryptography import x509  # noqa: PLC0415 - see the top

        if call.params.get("allowAutoRegistration") or call.params.get("registrationConfig"):
            raise not_served("RegisterCACertificate with automatic registration")
        authority = _parse(call.text("caCertificate"))
        try:
            is_ca = authority.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        except x509.ExtensionNotFound:
            is_ca = False
        if not is_ca:
            raise ApiError("CertificateValidationException", "The certificate is not a CA certificate")
        if call.params.get("certificateMode", "DEFAULT") == "SNI_ONLY":
            return
        verification = _parse(call.text("verificationCertificate"))
        names = [name.value for name in verification.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)]
        if names != [self._registration_code] or not _issued_by(verification, authority):
            message = "The verification certificate must be issued by the CA, its CN the registration code"
            raise ApiError("RegistrationCodeValidationException", message)

    @staticmethod
    def _check_ca_update(call: ApiCall, _caller: Caller) -> None:
        wanted = call.params.get("newAutoRegistrationStatus")
        if wanted == "ENABLE" or call.params.get("registrationConfig"):
            raise not_served("UpdateCACertificate with automatic registration")


class _Issuer:
    """The certificate authority of this process; made when first needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._key: Any = None

    def warm_up(self) -> None:
        from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415 - see the top

        with self._lock:
            if self._key is None:
                self._key = ec.generate_private_key(ec.SECP256R1())

    def issue(self, public_key: Any, *, subject: x509.Name | None, now: datetime) -> x509.Certificate:
        from cryptography import x509  # noqa: PLC0415 - see the top
        from cryptography.hazmat.primitives import hashes  # noqa: PLC0415 - see the top

        self.warm_up()
        name = x509.NameAttribute
        issuer = x509.Name([name(x509.NameOID.ORGANIZATIONAL_UNIT_NAME, "Thingwright, standing in for AWS IoT")])
        return (
            x509.CertificateBuilder()
            .subject_name(subject or x509.Name([name(x509.NameOID.COMMON_NAME, "AWS IoT Certificate")]))
            .issuer_name(issuer)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _BACKDATED)
            .not_valid_after(_NOT_AFTER)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .sign(self._key, hashes.SHA256())
        )


def _parse(pem: str) -> x509.Certificate:
    from cryptography import x509  # noqa: PLC0415 - see the top

    try:
        return x509.load_pem_x509_certificate(pem.encode())
    except ValueError as error:
        raise ApiError("CertificateValidationException", f"The certificate cannot be read: {error}") from None


def _new(certificate: x509.Certificate, *, ca_certificate_id: str | None = None) -> NewCertificate:
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415 - see the top

    return NewCertificate(
        certificate_id=certificate.fingerprint(hashes.SHA256()).hex(),
        pem=certificate.public_bytes(serialization.Encoding.PEM).decode(),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        ca_certificate_id=ca_certificate_id,
    )


def _issued_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - see the top

    try:
        certificate.verify_directly_issued_by(authority)
    except (InvalidSignature, TypeError, ValueError):
        return False
    return True


def _check_key(public_key: CertificatePublicKeyTypes) -> None:
    """Refuse keys AWS does not take: RSA below 2048 bits, curves other than P-256, P-384 and P-521."""
    from cryptography.hazmat.primitives.asymmetric import ec, rsa  # noqa: PLC0415 - see the top

    if isinstance(public_key, rsa.RSAPublicKey) and public_key.key_size >= _KEY_BITS:
        return
    if isinstance(public_key, ec.EllipticCurvePublicKey) and public_key.curve.name in _CURVES:
        return
    raise ApiError(
        "CertificateValidationException",
        f"The key must be RSA with {_KEY_BITS} bits or more, or on P-256, P-384 or P-521",
    )


def _wanted_status(call: ApiCall) -> str:
    if call.params.get("setAsActive"):
        return "ACTIVE"
    status = str(call.params.get("status") or "INACTIVE")
    if status not in _REGISTRABLE:
        raise _invalid(f"status {status} cannot be registered; {', '.join(sorted(_REGISTRABLE))} can")
    return status


def _made(certificate: Certificate, **further: Any) -> Outcome:
    result = {
        "certificateArn": certificate.arn,
        "certificateId": certificate.certificate_id,
        "certificatePem": certificate.pem,
        **further,
    }
    return Outcome(result=result, touched={"certificates": frozenset({certificate.certificate_id})})


def _registered(certificate: Certificate) -> Outcome:
    result = {"certificateArn": certificate.arn, "certificateId": certificate.certificate_id}
    return Outcome(result=result, touched={"certificates": frozenset({certificate.certificate_id})})


def _invalid(message: str) -> ApiError:
    return ApiError("InvalidRequestException", message)
