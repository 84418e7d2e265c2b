"""What a remover takes away, on a double that is as strict as AWS IoT, by a clock that goes on when somebody pauses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, EndpointConnectionError

from harness.clients.certificates import make_key, make_request
from harness.clients.removal import Attached, Remover, remove_identities

if TYPE_CHECKING:
    from conftest import FakeRegistry, ManualClock

PATIENCE = 30.0


def refusal(operation: str, code: str, *, status: int = 400) -> ClientError:
    """Make an error as AWS answers it."""
    answer: Any = {"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, operation)


@pytest.fixture
def remover(registry: FakeRegistry, clock: ManualClock) -> Remover:
    """What is tested."""
    return Remover(registry, patience=PATIENCE, now=clock.now, pause=clock.pause)


@pytest.fixture
def certificate(registry: FakeRegistry) -> str:
    """The ID of a certificate in use: attached to two things, with two policies."""
    request = make_request(make_key())
    made = registry.create_certificate_from_csr(certificateSigningRequest=request, setAsActive=True)
    for name in ("thing-1", "thing-2"):
        registry.create_thing(thingName=name)
        registry.attach_thing_principal(thingName=name, principal=made["certificateArn"])
    for name in ("policy-1", "policy-2"):
        registry.create_policy(policyName=name, policyDocument="{}")
        registry.attach_policy(policyName=name, target=made["certificateArn"])
    registry.calls.clear()
    return made["certificateId"]


def test_a_certificate_goes_in_the_order_aws_wants(
    remover: Remover, registry: FakeRegistry, certificate: str, clock: ManualClock
) -> None:
    """Detach from everything, on however many pages, deactivate, delete; what it was attached to stays.

    Its things tell whose it is: it is known by them until the end.
    """
    assert remover.certificate(certificate)

    assert registry.calls == [
        "detach_policy",
        "detach_policy",
        "update_certificate",
        "detach_thing_principal",
        "detach_thing_principal",
        "delete_certificate",
    ]
    assert (registry.certificates, registry.attached, clock.pauses) == ({}, set(), [])
    assert (registry.things, set(registry.policies)) == ({"thing-1", "thing-2"}, {"policy-1", "policy-2"})


def test_nothing_is_asked_about_what_is_known(remover: Remover, registry: FakeRegistry, certificate: str) -> None:
    """Whoever made it knows what it holds."""
    arn = f"arn:aws:iot:eu-central-1:123456789012:cert/{certificate}"
    known = Attached(arn=arn, policies=["policy-1", "policy-2"], things=["thing-1", "thing-2"])

    assert remover.certificate(certificate, known=known)

    assert (registry.asked, registry.certificates) == ([], {})


def test_what_is_known_may_be_too_little(
    remover: Remover, registry: FakeRegistry, certificate: str, clock: ManualClock
) -> None:
    """A conflict says so, and then AWS IoT is asked."""
    arn = f"arn:aws:iot:eu-central-1:123456789012:cert/{certificate}"

    assert remover.certificate(certificate, known=Attached(arn=arn, is_active=False))

    assert registry.calls[0] == "delete_certificate"
    assert (registry.certificates, len(clock.pauses)) == ({}, 1)


def test_what_was_revoked_stays_revoked(remover: Remover, registry: FakeRegistry, certificate: str) -> None:
    """It can be deleted as it is."""
    registry.certificates[certificate] = "REVOKED"

    assert remover.certificate(certificate)

    assert "update_certificate" not in registry.calls
    assert registry.certificates == {}


@pytest.mark.parametrize(
    ("operation", "error"),
    [
        ("delete_certificate", refusal("DeleteCertificate", "DeleteConflictException", status=409)),
        ("delete_certificate", refusal("DeleteCertificate", "CertificateStateException", status=406)),
        ("update_certificate", refusal("UpdateCertificate", "ThrottlingException")),
        ("detach_policy", refusal("DetachPolicy", "ConflictException", status=409)),
        ("detach_policy", refusal("DetachPolicy", "503", status=503)),
        ("detach_thing_principal", ConnectionClosedError(endpoint_url="https://iot.test")),
    ],
)
def test_what_passes_is_tried_again(
    remover: Remover,
    registry: FakeRegistry,
    certificate: str,
    clock: ManualClock,
    operation: str,
    error: Exception,
) -> None:
    """After pauses that grow and are never the same twice, so that two do not keep in step."""
    registry.errors[operation] = [error] * 4

    assert remover.certificate(certificate)

    assert registry.certificates == {}
    assert len(set(clock.pauses)) == len(clock.pauses) >= 2
    assert all(0.05 * 2**number <= each <= 0.1 * 2**number for number, each in enumerate(clock.pauses))


def test_what_does_not_pass_in_time_is_told(
    remover: Remover, registry: FakeRegistry, certificate: str, clock: ManualClock
) -> None:
    """As AWS IoT told it, and not before patience is over."""
    registry.errors["delete_certificate"] = refusal("DeleteCertificate", "DeleteConflictException", status=409)

    with pytest.raises(ClientError, match="DeleteConflictException"):
        remover.certificate(certificate)

    assert PATIENCE - 4 <= clock.seconds <= PATIENCE


@pytest.mark.parametrize(
    "error",
    [
        refusal("DetachPolicy", "AccessDeniedException", status=403),
        refusal("DetachPolicy", "NotImplemented", status=501),
    ],
)
def test_what_will_not_pass_is_not_tried_again(
    remover: Remover, registry: FakeRegistry, certificate: str, clock: ManualClock, error: ClientError
) -> None:
    """And nobody gets in with the certificate all the same."""
    registry.errors["detach_policy"] = error

    with pytest.raises(ClientError) as failure:
        remover.certificate(certificate)

    assert failure.value is error
    assert clock.pauses == []
    assert registry.certificates == {certificate: "INACTIVE"}


def test_nobody_is_waited_for_who_is_not_there(
    remover: Remover, registry: FakeRegistry, certificate: str, clock: ManualClock
) -> None:
    """A host that cannot be reached is no passing trouble: a target that has ended does not come back."""
    registry.errors["detach_policy"] = EndpointConnectionError(endpoint_url="http://127.0.0.1:9")

    with pytest.raises(EndpointConnectionError):
        remover.certificate(certificate)

    assert clock.pauses == []


@pytest.mark.parametrize(
    "step", ["detach_thing_principal", "detach_policy", "update_certificate", "delete_certificate"]
)
def test_two_at_once_do_no_harm(
    remover: Remover, registry: FakeRegistry, certificate: str, clock: ManualClock, step: str
) -> None:
    """Whoever is slower finds it gone, at whatever step."""
    faster = Remover(registry, patience=PATIENCE, now=clock.now, pause=clock.pause)

    def be_faster() -> None:
        faster.certificate(certificate)
        for name in ("thing-1", "thing-2"):
            faster.thing(name)
        for name in ("policy-1", "policy-2"):
            faster.policy(name)

    registry.before[step] = be_faster

    remover.certificate(certificate)

    assert registry.is_empty
    assert clock.pauses == []


@pytest.mark.usefixtures("certificate")
@pytest.mark.parametrize("step", ["delete_policy", "detach_policy", "delete_policy_version"])
def test_two_at_one_policy_do_no_harm(remover: Remover, registry: FakeRegistry, clock: ManualClock, step: str) -> None:
    """Its versions cannot be listed or deleted any more where somebody is faster."""
    registry.policies["policy-1"] += [{}]
    faster = Remover(registry, patience=PATIENCE, now=clock.now, pause=clock.pause)
    registry.before[step] = lambda: faster.policy("policy-1")

    assert not remover.policy("policy-1")

    assert set(registry.policies) == {"policy-2"}
    assert clock.pauses == []


def test_what_is_gone_is_fine(remover: Remover) -> None:
    """And said to have been so."""
    assert not remover.certificate("0" * 64)
    assert not remover.thing("nothing")
    assert not remover.policy("none")


def test_a_thing_that_still_has_certificates_is_detached(
    remover: Remover, registry: FakeRegistry, certificate: str
) -> None:
    """The certificate stays, and stays attached to the other thing."""
    assert remover.thing("thing-1")

    assert registry.things == {"thing-2"}
    assert registry.certificates == {certificate: "ACTIVE"}
    assert {name for name, _ in registry.attached} == {"thing-2", "policy-1", "policy-2"}


def test_a_thing_that_is_not_to_be_seen_yet_is_deleted_all_the_same(remover: Remover, registry: FakeRegistry) -> None:
    """Its creation may not have got around."""
    remover.thing("a-moment-ago")

    assert registry.calls == ["delete_thing"]


def test_a_policy_goes_with_its_versions(remover: Remover, registry: FakeRegistry, certificate: str) -> None:
    """Detached from whatever has it; the version in force goes with the policy."""
    registry.policies["policy-1"] += [{}, {}]

    assert remover.policy("policy-1")

    assert registry.calls == [
        "delete_policy",
        "detach_policy",
        "delete_policy_version",
        "delete_policy_version",
        "delete_policy",
    ]
    assert set(registry.policies) == {"policy-2"}
    assert registry.certificates == {certificate: "ACTIVE"}


class FakeRules:
    """Plays the part of boto3's ``iot`` client that knows rules and destinations; denies what there is not."""

    def __init__(self) -> None:
        self.rules = {"mine"}
        self.destinations = {"arn:mine"}
        self.deleted: list[str] = []
        self.conflicts = 0

    def get_topic_rule(self, *, ruleName: str) -> None:  # noqa: N803 - boto3's spelling
        """Deny what is not there."""
        self._look(ruleName, self.rules)

    def get_topic_rule_destination(self, *, arn: str) -> None:
        """Deny what is not there."""
        self._look(arn, self.destinations)

    def delete_topic_rule(self, *, ruleName: str) -> None:  # noqa: N803 - boto3's spelling
        """Forget it."""
        self._delete(ruleName, self.rules)

    def delete_topic_rule_destination(self, *, arn: str) -> None:
        """Forget it."""
        self._delete(arn, self.destinations)

    def get_paginator(self, operation: str) -> Mock:
        """List all."""
        pages: dict[str, dict[str, Any]] = {
            "list_topic_rules": {"rules": [{"ruleName": each} for each in self.rules]},
            "list_topic_rule_destinations": {"destinationSummaries": [{"arn": each} for each in self.destinations]},
        }
        return Mock(paginate=Mock(return_value=[pages[operation]]))

    def _look(self, name: str, there: set[str]) -> None:
        if name not in there or name == "secret":
            raise refusal("Get", "UnauthorizedException", status=401)

    def _delete(self, name: str, there: set[str]) -> None:
        if self.conflicts:
            self.conflicts -= 1
            raise refusal("Delete", "ConflictingResourceUpdateException", status=409)
        self.deleted.append(name)
        there.remove(name)


@pytest.mark.parametrize(("kind", "name"), [("rule", "mine"), ("destination", "arn:mine")])
def test_rules_and_destinations_are_deleted_once(clock: ManualClock, kind: str, name: str) -> None:
    """Also where others change them at the same moment; a second removal finds nothing, which AWS IoT denies."""
    iot = FakeRules()
    iot.conflicts = 2
    remove = getattr(Remover(iot, patience=PATIENCE, now=clock.now, pause=clock.pause), kind)

    assert remove(name)
    assert not remove(name)

    assert (iot.deleted, len(clock.pauses)) == ([name], 2)


@pytest.mark.parametrize("kind", ["rule", "destination"])
def test_what_may_not_be_looked_at_is_deleted_if_it_is_listed(clock: ManualClock, kind: str) -> None:
    """AWS IoT denies both what there is not and what one may not read: only a list tells them apart."""
    iot = FakeRules()
    (iot.rules if kind == "rule" else iot.destinations).add("secret")

    assert getattr(Remover(iot, now=clock.now, pause=clock.pause), kind)("secret")

    assert iot.deleted == ["secret"]


def test_identities_go_sixty_at_a_time(clock: ManualClock) -> None:
    """That is as many as Cognito takes."""
    cognito = Mock()
    cognito.delete_identities.side_effect = [refusal("DeleteIdentities", "TooManyRequestsException"), {}, {}, {}]
    ids = [f"eu-central-1:{number}" for number in range(130)]

    assert remove_identities(cognito, ids, now=clock.now, pause=clock.pause) == []

    batches = [call.kwargs["IdentityIdsToDelete"] for call in cognito.delete_identities.call_args_list]
    assert [len(each) for each in batches] == [60, 60, 60, 10]
    assert batches[0] == batches[1]
    assert [each for batch in batches[1:] for each in batch] == ids


def test_identities_that_cognito_did_not_get_to_are_tried_once_more(clock: ManualClock) -> None:
    """What is left then is told."""
    left = {"UnprocessedIdentityIds": [{"IdentityId": "b", "ErrorCode": "InternalServerError"}]}
    both = {"UnprocessedIdentityIds": [{"IdentityId": each, "ErrorCode": "AccessDenied"} for each in ("b", "c")]}
    cognito = Mock()
    cognito.delete_identities.side_effect = [both, left]

    assert remove_identities(cognito, ["a", "b", "c"], now=clock.now, pause=clock.pause) == ["b"]

    assert [call.kwargs["IdentityIdsToDelete"] for call in cognito.delete_identities.call_args_list] == [
        ["a", "b", "c"],
        ["b", "c"],
    ]


def test_identities_that_may_not_be_deleted_are_an_error(clock: ManualClock) -> None:
    """As Cognito told it; none at all are no call."""
    cognito = Mock()
    cognito.delete_identities.side_effect = refusal("DeleteIdentities", "AccessDeniedException", status=403)

    assert remove_identities(cognito, [], now=clock.now, pause=clock.pause) == []
    with pytest.raises(ClientError, match="AccessDeniedException"):
        remove_identities(cognito, ["a"], now=clock.now, pause=clock.pause)
