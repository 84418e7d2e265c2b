"""Identities, on a double of boto3's ``iot`` client that keeps what AWS IoT would keep."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING
from unittest.mock import Mock

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from harness.clients.certificates import certificate_id
from harness.clients.identities import Identities
from harness.errors import BudgetExceeded, HarnessError, TeardownError

if TYPE_CHECKING:
    from conftest import CountingNames, FakeRegistry

ARN = "arn:aws:iot:eu-central-1:123456789012:cert/"
TAGS = {"thingwright:run": "tw6b3f0a21-9c4e11d2", "thingwright:expires": "2026-11-22T09:30:00Z"}


def refusal(operation: str, code: str = "AccessDeniedException") -> ClientError:
    """Make an error as AWS answers it."""
    return ClientError({"Error": {"Code": code, "Message": "no"}}, operation)


@pytest.fixture
def identities(registry: FakeRegistry, names: CountingNames) -> Identities:
    """What is tested."""
    return Identities(iot=registry, policy_name="devices", names=names, patience=0)


def test_a_device_is_a_thing_with_a_certificate_and_the_policy(identities: Identities, registry: FakeRegistry) -> None:
    """Its key was made here: AWS IoT saw a request, and the secret is in no message."""
    (identity,) = identities.make(1)

    assert registry.things == {identity.thing_name} == {"device-1"}
    assert registry.certificates == {identity.certificate_id: "ACTIVE"}
    assert identity.certificate_arn == ARN + identity.certificate_id
    assert registry.attached == {("devices", identity.certificate_arn), ("device-1", identity.certificate_arn)}
    assert "PRIVATE KEY" in identity.private_key_pem
    assert "PRIVATE KEY" not in repr(identity)


def test_many_devices_are_all_different(identities: Identities, registry: FakeRegistry) -> None:
    """And all of them are removed again."""
    made = identities.make(20)

    assert len({each.private_key_pem for each in made}) == len({each.thing_name for each in made}) == 20
    identities.remove()
    assert registry.is_empty


def test_removal_keeps_the_order_aws_wants(identities: Identities, registry: FakeRegistry) -> None:
    """Detach, deactivate, delete; a second removal has nothing to do."""
    identities.make(1)
    registry.calls.clear()

    identities.remove()

    assert registry.is_empty
    assert registry.calls == [
        "detach_policy",
        "update_certificate",
        "detach_thing_principal",
        "delete_certificate",
        "delete_thing",
    ]
    identities.remove()
    assert len(registry.calls) == 5


@pytest.mark.parametrize(
    "fails", ["create_certificate_from_csr", "attach_policy", "attach_thing_principal", "create_thing"]
)
def test_what_was_made_before_a_failure_is_removed_as_well(
    identities: Identities, registry: FakeRegistry, fails: str
) -> None:
    """The failure reaches the test as AWS told it."""
    registry.errors[fails] = refusal(fails)

    with pytest.raises(ClientError, match=fails) as failure:
        identities.make(1)

    assert not hasattr(failure.value, "__notes__")
    identities.remove()
    assert registry.is_empty


def test_one_failure_of_many_says_how_many(identities: Identities, registry: FakeRegistry) -> None:
    """The first is raised, the others are counted."""
    registry.errors["attach_policy"] = refusal("AttachPolicy")

    with pytest.raises(ClientError) as failure:
        identities.make(3)

    assert failure.value.__notes__ == ["3 of 3 devices could not be registered; this is the first"]
    identities.remove()
    assert registry.is_empty


def test_every_step_of_a_removal_is_tried(identities: Identities, registry: FakeRegistry) -> None:
    """Whatever became of the one before; the error names what is left and why."""
    (identity,) = identities.make(1)
    registry.errors["detach_thing_principal"] = refusal("DetachThingPrincipal")
    registry.calls.clear()

    with pytest.raises(TeardownError) as failure:
        identities.remove()

    assert [each.partition(" (")[0] for each in failure.value.left_behind] == [
        f"certificate {identity.certificate_id} of device-1",
        "thing device-1",
    ]
    assert "AccessDeniedException" in failure.value.left_behind[0]
    assert "`thingwright sweep --delete` removes it" in str(failure.value)
    assert isinstance(failure.value.__cause__, ExceptionGroup)
    assert registry.certificates == {identity.certificate_id: "INACTIVE"}
    assert registry.attached == {("device-1", identity.certificate_arn)}
    registry.errors.clear()
    identities.remove()
    assert registry.is_empty


def test_what_is_gone_already_does_no_harm(identities: Identities, registry: FakeRegistry) -> None:
    """A test may remove its own device."""
    identities.make(1)
    registry.things.clear()
    registry.certificates.clear()
    registry.attached.clear()

    identities.remove()

    assert registry.is_empty


def test_a_target_that_is_gone_is_asked_once_per_device(identities: Identities, registry: FakeRegistry) -> None:
    """Nobody is there for the other steps either, and all of them are named."""
    identities.make(1)
    registry.errors["detach_policy"] = EndpointConnectionError(endpoint_url="http://127.0.0.1:9")
    registry.calls.clear()

    with pytest.raises(TeardownError) as failure:
        identities.remove()

    assert registry.calls == ["detach_policy"]
    assert [each.partition(" ")[0] for each in failure.value.left_behind] == ["certificate", "thing"]


def test_a_defect_while_removing_is_no_leftover(identities: Identities, registry: FakeRegistry) -> None:
    """It is told as what it is."""
    identities.make(1)
    registry.errors["delete_thing"] = ZeroDivisionError()

    with pytest.raises(ZeroDivisionError):
        identities.remove()


@pytest.mark.parametrize("status", ["INACTIVE", "REVOKED"])
def test_a_certificate_that_is_out_of_use_is_removed_as_it_is(
    identities: Identities, registry: FakeRegistry, status: str
) -> None:
    """What was revoked cannot become anything else."""
    (identity,) = identities.make(1)

    identities.set_status(identity, status)

    assert registry.certificates == {identity.certificate_id: status}
    identities.remove()
    assert registry.is_empty


def test_a_certificate_that_is_in_use_again_is_deactivated_first(
    identities: Identities, registry: FakeRegistry
) -> None:
    """As if nothing had happened."""
    (identity,) = identities.make(1)

    identities.set_status(identity, "INACTIVE")
    identities.set_status(identity, "ACTIVE")

    identities.remove()
    assert registry.is_empty


def test_a_device_gets_a_topic_of_its_own(identities: Identities, registry: FakeRegistry) -> None:
    """By one more policy, for this certificate, in its account and region; both are gone afterwards."""
    identity, other = identities.make(2)

    identities.let_publish(identity, "my/topic")

    ((name, (document,)),) = registry.policies.items()
    assert [arn for policy, arn in registry.attached if policy == name] == [identity.certificate_arn]
    assert document["Statement"] == [
        {
            "Sid": "MayPublish",
            "Effect": "Allow",
            "Action": "iot:Publish",
            "Resource": "arn:aws:iot:eu-central-1:123456789012:topic/my/topic",
        }
    ]
    assert other.certificate_arn not in [arn for policy, arn in registry.attached if policy == name]
    identities.remove()
    assert registry.is_empty


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


def test_a_device_made_with_a_topic_of_its_own_gets_it_before_it_is_let_in(
    identities: Identities, registry: FakeRegistry
) -> None:
    """Changes take hold in the order they are made: whoever is let in by the last has all the others.

    The first is the thing, by which a certificate without a policy, which lets nobody in, tells whose it is.
    """
    (identity,) = identities.make(1, may_publish="my/topic")

    assert registry.calls[-4:] == ["attach_thing_principal", "create_policy", "attach_policy", "attach_policy"]
    assert {name for name, _ in registry.attached} == {"may-publish-2", "devices", "device-1"}
    assert {arn for _, arn in registry.attached} == {identity.certificate_arn}
    identities.remove()
    assert registry.is_empty


def test_everything_tells_whose_it_is(registry: FakeRegistry, names: CountingNames) -> None:
    """The certificate by its subject, which is there from the first moment; the others beside their names."""
    identities = Identities(iot=registry, policy_name="devices", names=names, tags=TAGS, patience=0)

    (identity,) = identities.make(1, may_publish="my/topic")

    assert registry.subjects == {identity.certificate_id: "CN=device-1"}
    attributes = {"thingwrightRun": TAGS["thingwright:run"], "thingwrightExpires": TAGS["thingwright:expires"]}
    assert registry.attributes == {"device-1": {"attributes": attributes}}
    assert registry.tags == {"may-publish-2": [{"Key": key, "Value": value} for key, value in TAGS.items()]}


def test_nothing_is_marked_where_nobody_asks(identities: Identities, registry: FakeRegistry) -> None:
    """No attributes, no tags."""
    identities.make(1, may_publish="my/topic")

    assert registry.attributes == {"device-1": None}
    assert registry.tags == {"may-publish-2": None}


@pytest.mark.parametrize("breaks", ["create_thing", "create_policy", "attach_policy", "attach_thing_principal"])
def test_what_a_lost_answer_left_is_removed_as_well(
    identities: Identities, registry: FakeRegistry, breaks: str
) -> None:
    """The call was done, and who made it was interrupted: what has a name was noted before."""
    original = getattr(registry, breaks)

    def interrupted(**parameters: object) -> None:
        original(**parameters)
        raise KeyboardInterrupt

    setattr(registry, breaks, interrupted)
    with pytest.raises(KeyboardInterrupt):
        identities.make(1, may_publish="my/topic")

    identities.remove()

    assert registry.is_empty


def test_a_removal_waits_for_what_is_being_registered(registry: FakeRegistry, names: CountingNames) -> None:
    """A thread cannot be interrupted: what it makes next it does not make, and what it made is removed."""
    identities = Identities(iot=registry, policy_name="devices", names=names)
    is_making, may_go_on = threading.Event(), threading.Event()
    original = registry.create_thing

    def slow(**parameters: str) -> None:
        is_making.set()
        assert may_go_on.wait(10)
        original(**parameters)

    registry.create_thing = slow  # type: ignore[method-assign,assignment]  # a slower one in its place
    failures: list[Exception] = []

    def register() -> None:
        try:
            identities.make(1)
        except HarnessError as error:
            failures.append(error)

    making = threading.Thread(target=register)
    making.start()
    assert is_making.wait(10)
    removing = threading.Thread(target=identities.remove)
    removing.start()
    may_go_on.set()
    making.join()
    removing.join()

    assert [str(each) for each in failures] in (
        [],  # it was done before the removal began
        ["device-1 is not registered: everything is being removed"],
    )
    assert registry.is_empty


def test_what_was_removed_can_be_made_again(identities: Identities, registry: FakeRegistry) -> None:
    """A removal ends what is under way and nothing that comes later."""
    identities.make(1)
    identities.remove()

    identities.register("second")

    assert registry.things == {"second"}


def test_more_things_than_the_run_may_have_are_not_made(registry: FakeRegistry, names: CountingNames) -> None:
    """The budget is asked before anything is."""
    budget = Mock()
    budget.take_things.side_effect = BudgetExceeded("things", limit=1, option="--max-things")
    identities = Identities(iot=registry, policy_name="devices", names=names, budget=budget)

    with pytest.raises(BudgetExceeded, match="raise --max-things"):
        identities.make(2)
    with pytest.raises(BudgetExceeded):
        identities.register("one")

    assert registry.calls == []
    assert [call.args for call in budget.take_things.call_args_list] == [(2,), ()]
