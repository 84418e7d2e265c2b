"""Who a connection speaks for."""

from __future__ import annotations

import pytest

from harness.iot.principals import CertificatePrincipal, SigV4Principal, peer_address, principal_key
from harness.iot.registry import Certificate, Credential

CERTIFICATE = Certificate(certificate_id="ab12", arn="arn:aws:iot:us-east-1:1:cert/ab12", status="ACTIVE", pem="")
GUEST = Credential(
    access_key_id="ASIA1",
    secret_access_key="s",
    principal_arn="arn:aws:sts::1:assumed-role/guest/CognitoIdentityCredentials",
    principal_id="AROA1:CognitoIdentityCredentials",
    identity_id="us-east-1:11111111-2222",
)
USER = Credential(
    access_key_id="AKIA1", secret_access_key="s", principal_arn="arn:aws:iam::1:user/eve", principal_id="AIDA1"
)


def test_a_certificate_is_shown_by_its_arn_and_known_to_events_by_its_id() -> None:
    """Source: life-cycle-events: principalIdentifier is the certificate id."""
    principal = CertificatePrincipal.of(CERTIFICATE)

    assert (principal.display, principal.lifecycle_id) == (CERTIFICATE.arn, "ab12")
    assert principal_key(principal) == CERTIFICATE.arn


def test_a_guest_is_shown_with_its_identity_and_known_to_events_by_role_and_session() -> None:
    """All guests share one ARN: the identity tells them apart."""
    principal = SigV4Principal.of(GUEST)

    assert principal.display == f"{GUEST.principal_arn} (us-east-1:11111111-2222)"
    assert principal.lifecycle_id == "AROA1:CognitoIdentityCredentials"
    assert principal_key(principal) == "us-east-1:11111111-2222"


def test_a_user_is_shown_by_its_arn() -> None:
    """No identity, nothing to attach things to."""
    principal = SigV4Principal.of(USER)

    assert principal.display == "arn:aws:iam::1:user/eve"
    assert principal_key(principal) is None
    assert principal_key("a stranger") is None


@pytest.mark.parametrize(
    ("remote", "address"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.1:5000", "127.0.0.1"),
        ("::1", "::1"),
        ("fe80::1%lo", "fe80::1%lo"),
        ("[::1]:5000", "::1"),
        ("", ""),
    ],
)
def test_a_peer_address_has_no_port(remote: str, address: str) -> None:
    """Policies compare addresses."""
    assert peer_address(remote) == address
