"""Who a connection or a call speaks for, once it is authenticated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.iot.registry import Certificate, Credential


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificatePrincipal:
    """Whoever holds the private key of a registered certificate."""

    certificate_id: str
    arn: str

    @classmethod
    def of(cls, certificate: Certificate) -> CertificatePrincipal:
        """Return the principal of a certificate."""
        return cls(certificate_id=certificate.certificate_id, arn=certificate.arn)

    @property
    def display(self) -> str:
        """What a trace shows: the certificate's ARN."""
        return self.arn

    @property
    def lifecycle_id(self) -> str:
        """The ``principalIdentifier`` of lifecycle events: the certificate id."""
        return self.certificate_id


@dataclass(frozen=True, slots=True, kw_only=True)
class SigV4Principal:
    """Whoever signed with an access key.

    Args:
        access_key_id: the key; its credential holds the policies.
        principal_arn: as ``sts:GetCallerIdentity`` answers.
        principal_id: ``<unique id>:<session name>``, or the user's unique id.
        identity_id: the Cognito identity the key was made for.
    """

    access_key_id: str
    principal_arn: str
    principal_id: str
    identity_id: str | None = None

    @classmethod
    def of(cls, credential: Credential) -> SigV4Principal:
        """Return the principal of a credential."""
        return cls(
            access_key_id=credential.access_key_id,
            principal_arn=credential.principal_arn,
            principal_id=credential.principal_id,
            identity_id=credential.identity_id,
        )

    @property
    def display(self) -> str:
        """What a trace shows: the ARN, and the Cognito identity where there is one."""
        return f"{self.principal_arn} ({self.identity_id})" if self.identity_id else self.principal_arn

    @property
    def lifecycle_id(self) -> str:
        """The ``principalIdentifier`` of lifecycle events."""
        return self.principal_id


Principal = CertificatePrincipal | SigV4Principal


def principal_key(principal: object) -> str | None:
    """Return what things and AWS IoT policies are attached to: a certificate ARN or a Cognito identity id."""
    if isinstance(principal, CertificatePrincipal):
        return principal.arn
    return principal.identity_id if isinstance(principal, SigV4Principal) else None


def peer_address(remote: str) -> str:
    """Return the address of ``address``, ``address:port`` or ``[address]:port``."""
    if remote.startswith("["):
        return remote[1:].partition("]")[0]
    return remote.partition(":")[0] if remote.count(":") == 1 else remote
