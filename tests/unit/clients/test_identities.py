"""Identities, on a double of boto3's ``iot`` client that keeps what AWS IoT would keep."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from cryptography import x509

from harness.clients.certificates import certificate_id, make_key, make_self_signed
from harness.clients.identities import Identities
from harness.errors import TeardownError

ARN = "arn:aws:iot:eu-central-1:123456789012:cert/"


def refusal(operation: str, code: str = "AccessDeniedException") -> ClientError:
    """Make an error as AWS answers it."""
    return ClientError({"Error": {"Code": code, "Message": "no"}}, operation)


@dataclass
class FakeIot:
    """AWS IoT's registry, as strict about the order of things as AWS is.

    Attributes:
        errors: operation → what it raises.
        calls: operations in order.
        attached: (what, certificate ARN).
    """

    errors: dict[str, Exception] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    things: set[str] = field(default_factory=set)
    policies: dict[str, Any] = field(default_factory=dict)
    statuses: dict[str, str] = field(default_factory=dict)
    attached: set[tuple[str, str]] = field(default_factory=set)

    def _begin(self, operation: str) -> None:
        self.calls.append(operation)
        if operation in self.errors:
            raise self.errors[operation]

    def create_thing(self, *, thingName: str) -> None:  # noqa: N803 - boto3's spelling
        """Keep it."""
        self._begin("create_thing")
        self.things.add(thingName)

    def create_certificate_from_csr(self, *, certificateSigningRequest: str, setAsActive: bool) -> dict[str, str]:  # noqa: N803 - boto3's spelling
        """Issue something for the key that asks."""
        self._begin("create_certificate_from_csr")
        assert setAsActive
        assert x509.load_pem_x509_csr(certificateSigningRequest.encode()).is_signature_valid
        pem = make_self_signed(make_key())
        its_id = certificate_id(pem)
        self.statuses[its_id] = "ACTIVE"
        return {"certificateId": its_id, "certificateArn": ARN + its_id, "certificatePem": pem}

    def create_policy(self, *, policyName: str, policyDocument: str) -> None:  # noqa: N803 - boto3's spelling
        """Keep it."""
        self._begin("create_policy")
        self.policies[policyName] = json.loads(policyDocument)

    def attach_policy(self, *, policyName: str, target: str) -> None:  # noqa: N803 - boto3's spelling
        """Keep it."""
        self._begin("attach_policy")
        self.attached.add((policyName, target))

    def attach_thing_principal(self, *, thingName: str, principal: str) -> None:  # noqa: N803 - boto3's spelling
        """Keep it."""
        self._begin("attach_thing_principal")
        self.attached.add((thingName, principal))

    def update_certificate(self, *, certificateId: str, newStatus: str) -> None:  # noqa: N803 - boto3's spelling
        """Change it, unless it was revoked."""
        self._begin("update_certificate")
        assert self.statuses[certificateId] != "REVOKED"
        self.statuses[certificateId] = newStatus

    def detach_policy(self, *, policyName: str, target: str) -> None:  # noqa: N803 - boto3's spelling
        """Forget it."""
        self._begin("detach_policy")
        self.attached.remove((policyName, target))

    def detach_thing_principal(self, *, thingName: str, principal: str) -> None:  # noqa: N803 - boto3's spelling
        """Forget it."""
        self._begin("detach_thing_principal")
        self.attached.remove((thingName, principal))

    def delete_certificate(self, *, certificateId: str) -> None:  # noqa: N803 - boto3's spelling
        """Forget it, where nothing holds it."""
        self._begin("delete_certificate")
        if self.statuses[certificateId] == "ACTIVE" or any(arn == ARN + certificateId for _, arn in self.attached):
            raise refusal("DeleteCertificate", "DeleteConflictException")
        del self.statuses[certificateId]

    def delete_thing(self, *, thingName: str) -> None:  # noqa: N803 - boto3's spelling
        """Forget it, where nothing is attached."""
        self._begin("delete_thing")
        if any(name == thingName for name, _ in self.attached):
            raise refusal("DeleteThing", "InvalidRequestException")
        self.things.remove(thingName)

    def delete_policy(self, *, policyName: str) -> None:  # noqa: N803 - boto3's spelling
        """Forget it, where it is attached to nothing."""
        self._begin("delete_policy")
        if any(name == policyName for name, _ in self.attached):
            raise refusal("DeletePolicy", "DeleteConflictException")
        del self.policies[policyName]

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left."""
        return not (self.things or self.policies or self.statuses or self.attached)


class Names:
    """Counts."""

    def __init__(self) -> None:
        self.made = 0

    def thing_name(self, hint: str = "thing") -> str:
        """Give the next one."""
        return self.unique(hint)

    def unique(self, hint: str = "") -> str:
        """Give the next one."""
        self.made += 1
        return f"{hint}-{self.made}"


@pytest.fixture
def iot() -> FakeIot:
    """The registry of one test."""
    return FakeIot()


@pytest.fixture
def identities(iot: FakeIot) -> Identities:
    """What is tested."""
    return Identities(iot=iot, policy_name="devices", names=Names())


def test_a_device_is_a_thing_with_a_certificate_and_the_policy(identities: Identities, iot: FakeIot) -> None:
    """Its key was made here: AWS IoT saw a request, and the secret is in no message."""
    (identity,) = identities.make(1)

    assert iot.things == {identity.thing_name} == {"device-1"}
    assert iot.statuses == {identity.certificate_id: "ACTIVE"}
    assert identity.certificate_arn == ARN + identity.certificate_id
    assert iot.attached == {("devices", identity.certificate_arn), ("device-1", identity.certificate_arn)}
    assert "PRIVATE KEY" in identity.private_key_pem
    assert "PRIVATE KEY" not in repr(identity)


def test_many_devices_are_all_different(identities: Identities, iot: FakeIot) -> None:
    """And all of them are removed again."""
    made = identities.make(20)

    assert len({each.private_key_pem for each in made}) == len({each.thing_name for each in made}) == 20
    identities.remove()
    assert iot.is_empty


def test_removal_keeps_the_order_aws_wants(identities: Identities, iot: FakeIot) -> None:
    """Detach, deactivate, delete; a second removal has nothing to do."""
    identities.make(1)
    iot.calls.clear()

    identities.remove()

    assert iot.is_empty
    assert iot.calls == [
        "detach_thing_principal",
        "detach_policy",
        "update_certificate",
        "delete_certificate",
        "delete_thing",
    ]
    identities.remove()
    assert len(iot.calls) == 5


@pytest.mark.parametrize(
    "fails", ["create_certificate_from_csr", "attach_policy", "attach_thing_principal", "create_thing"]
)
def test_what_was_made_before_a_failure_is_removed_as_well(identities: Identities, iot: FakeIot, fails: str) -> None:
    """The failure reaches the test as AWS told it."""
    iot.errors[fails] = refusal(fails)

    with pytest.raises(ClientError, match=fails) as failure:
        identities.make(1)

    assert not hasattr(failure.value, "__notes__")
    identities.remove()
    assert iot.is_empty


def test_one_failure_of_many_says_how_many(identities: Identities, iot: FakeIot) -> None:
    """The first is raised, the others are counted."""
    iot.errors["attach_policy"] = refusal("AttachPolicy")

    with pytest.raises(ClientError) as failure:
        identities.make(3)

    assert failure.value.__notes__ == ["3 of 3 devices could not be registered; this is the first"]
    identities.remove()
    assert iot.is_empty


def test_every_step_of_a_removal_is_tried(identities: Identities, iot: FakeIot) -> None:
    """Whatever became of the one before; the error names what is left and why."""
    (identity,) = identities.make(1)
    iot.errors["detach_thing_principal"] = refusal("DetachThingPrincipal")
    iot.calls.clear()

    with pytest.raises(TeardownError) as failure:
        identities.remove()

    certificate = f"certificate {identity.certificate_id} of device-1"
    assert [each.partition(" (")[0] for each in failure.value.left_behind] == [
        f"{certificate}, attached",
        certificate,
        "thing device-1",
    ]
    assert "AccessDeniedException" in failure.value.left_behind[0]
    assert "detach, deactivate, delete" in str(failure.value)
    assert isinstance(failure.value.__cause__, ExceptionGroup)
    assert len(iot.calls) == 5


def test_what_is_gone_already_does_no_harm(identities: Identities, iot: FakeIot) -> None:
    """A test may remove its own device."""
    identities.make(1)
    iot.errors = {each: refusal(each, "ResourceNotFoundException") for each in ("delete_thing", "delete_certificate")}

    identities.remove()


def test_a_target_that_is_gone_is_asked_once_per_device(identities: Identities, iot: FakeIot) -> None:
    """Nobody is there for the other steps either, and all of them are named."""
    identities.make(1)
    iot.errors["detach_thing_principal"] = EndpointConnectionError(endpoint_url="http://127.0.0.1:9")
    iot.calls.clear()

    with pytest.raises(TeardownError) as failure:
        identities.remove()

    assert iot.calls == ["detach_thing_principal"]
    assert len(failure.value.left_behind) == 5


def test_a_defect_while_removing_is_no_leftover(identities: Identities, iot: FakeIot) -> None:
    """It is told as what it is."""
    identities.make(1)
    iot.errors["delete_thing"] = ZeroDivisionError()

    with pytest.raises(ZeroDivisionError):
        identities.remove()


@pytest.mark.parametrize("status", ["INACTIVE", "REVOKED"])
def test_a_certificate_that_is_out_of_use_is_removed_as_it_is(
    identities: Identities, iot: FakeIot, status: str
) -> None:
    """What was revoked cannot become anything else."""
    (identity,) = identities.make(1)

    identities.set_status(identity, status)

    assert iot.statuses == {identity.certificate_id: status}
    identities.remove()
    assert iot.is_empty


def test_a_certificate_that_is_in_use_again_is_deactivated_first(identities: Identities, iot: FakeIot) -> None:
    """As if nothing had happened."""
    (identity,) = identities.make(1)

    identities.set_status(identity, "INACTIVE")
    identities.set_status(identity, "ACTIVE")

    identities.remove()
    assert iot.is_empty


def test_a_device_gets_a_topic_of_its_own(identities: Identities, iot: FakeIot) -> None:
    """By one more policy, for this certificate, in its account and region; both are gone afterwards."""
    identity, other = identities.make(2)

    identities.let_publish(identity, "my/topic")

    ((name, document),) = iot.policies.items()
    assert [arn for policy, arn in iot.attached if policy == name] == [identity.certificate_arn]
    assert document["Statement"] == [
        {
            "Sid": "MayPublish",
            "Effect": "Allow",
            "Action": "iot:Publish",
            "Resource": "arn:aws:iot:eu-central-1:123456789012:topic/my/topic",
        }
    ]
    assert other.certificate_arn not in [arn for policy, arn in iot.attached if policy == name]
    identities.remove()
    assert iot.is_empty


@pytest.mark.parametrize("kind", ["unregistered", "forged"])
def test_an_impostor_is_the_device_in_all_but_its_certificate(identities: Identities, kind: str) -> None:
    """Same name, other key, a certificate AWS IoT has no ARN for, and so no policy to be attached to it."""
    (identity,) = identities.make(1)

    impostor = getattr(identity, kind)()

    assert impostor.thing_name == identity.thing_name
    assert impostor.certificate_arn is None
    assert impostor.certificate_id == certificate_id(impostor.certificate_pem) != identity.certificate_id
    assert impostor.private_key_pem != identity.private_key_pem
    with pytest.raises(ValueError, match="device-1: its certificate is not registered"):
        identities.let_publish(impostor, "my/topic")
