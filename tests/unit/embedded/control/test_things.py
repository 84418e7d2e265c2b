"""Things, IoT policies and the endpoint."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import botocore.exceptions
import pytest

from harness.iot.registry import Thing

if TYPE_CHECKING:
    from collections.abc import Callable

DOCUMENT = json.dumps(
    {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "iot:Connect", "Resource": "*"}}
)


def error_of(call: Callable[[], object]) -> tuple[str, str]:
    """Return code and message of a call that is refused."""
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        call()
    return caught.value.response["Error"]["Code"], caught.value.response["Error"]["Message"]


@pytest.fixture
def iot(stand: Any) -> Any:
    """The account's root as a client of ``iot``."""
    return stand.client("iot")


@pytest.mark.parametrize("kind", ["iot:Data-ATS", "iot:Data", None])
def test_the_endpoint_is_the_configured_bare_host(iot: Any, stand: Any, kind: str | None) -> None:
    """For data, named or not."""
    arguments = {"endpointType": kind} if kind else {}

    assert iot.describe_endpoint(**arguments)["endpointAddress"] == stand.config.iot_endpoint


@pytest.mark.parametrize(
    ("kind", "code"), [("iot:CredentialProvider", "NotImplemented"), ("iot:Nonsense", "InvalidRequestException")]
)
def test_other_endpoints_are_refused(iot: Any, kind: str, code: str) -> None:
    """Those AWS has, by name; those nobody has, as input."""
    assert error_of(lambda: iot.describe_endpoint(endpointType=kind))[0] == code


def test_a_thing_reaches_the_broker_with_type_attributes_and_principals(iot: Any, stand: Any, make_guest: Any) -> None:
    """Made, changed, attached, detached, deleted: each step holds when the call returns."""
    identity_id = make_guest()["identity_id"]
    iot.create_thing_type(thingTypeName="sensor")
    iot.create_thing(thingName="t", thingTypeName="sensor", attributePayload={"attributes": {"room": "1"}})
    assert stand.broker.snapshot.things["t"] == Thing(name="t", type_name="sensor", attributes=(("room", "1"),))

    iot.update_thing(thingName="t", attributePayload={"attributes": {"floor": "2"}, "merge": True})
    iot.attach_thing_principal(thingName="t", principal=identity_id)
    thing = stand.broker.snapshot.things["t"]
    assert (thing.attributes, thing.principals) == ((("floor", "2"), ("room", "1")), (identity_id,))

    iot.detach_thing_principal(thingName="t", principal=identity_id)
    assert stand.broker.snapshot.things["t"].principals == ()
    iot.delete_thing(thingName="t")
    assert stand.broker.snapshot.things == {}


def test_a_thing_made_twice_is_the_same_or_refused(iot: Any) -> None:
    """The same content answers as the first time; other content is a conflict and overwrites nothing."""
    first = iot.create_thing(thingName="t", attributePayload={"attributes": {"a": "1"}})

    again = iot.create_thing(thingName="t", attributePayload={"attributes": {"a": "1"}})

    assert again["thingId"] == first["thingId"]
    assert error_of(lambda: iot.create_thing(thingName="t"))[0] == "ResourceAlreadyExistsException"
    assert iot.describe_thing(thingName="t")["attributes"] == {"a": "1"}


@pytest.mark.parametrize("thing_name", ["a b", "ä", "x" * 129])
def test_a_thing_name_that_aws_does_not_take_is_refused(iot: Any, thing_name: str) -> None:
    """Letters, digits and ``:_-``, at most 128."""
    code, message = error_of(lambda: iot.create_thing(thingName=thing_name))

    assert (code, message.startswith("1 validation error detected: Value '")) == ("InvalidRequestException", True)


def test_versions_and_billing_groups_are_refused_by_name(iot: Any) -> None:
    """Optimistic locking would be ignored otherwise."""
    iot.create_thing(thingName="t")

    assert error_of(lambda: iot.update_thing(thingName="t", expectedVersion=1))[0] == "NotImplemented"
    assert error_of(lambda: iot.delete_thing(thingName="t", expectedVersion=1))[0] == "NotImplemented"
    assert error_of(lambda: iot.create_thing(thingName="u", billingGroupName="b"))[0] == "NotImplemented"


def test_an_exclusive_attachment_admits_no_other_thing(iot: Any, stand: Any, make_guest: Any) -> None:
    """Neither a second one, nor one made exclusive beside another."""
    identity_id = make_guest()["identity_id"]
    for thing_name in ("a", "b"):
        iot.create_thing(thingName=thing_name)
    exclusive = {"thingPrincipalType": "EXCLUSIVE_THING", "principal": identity_id}

    iot.attach_thing_principal(thingName="a", **exclusive)
    assert stand.broker.snapshot.things["a"].exclusive_principals == (identity_id,)
    assert (
        "exclusively to the thing a"
        in error_of(lambda: iot.attach_thing_principal(thingName="b", principal=identity_id))[1]
    )
    iot.detach_thing_principal(thingName="a", principal=identity_id)
    iot.attach_thing_principal(thingName="b", principal=identity_id)
    assert "other things already: b" in error_of(lambda: iot.attach_thing_principal(thingName="a", **exclusive))[1]
    assert stand.broker.snapshot.things["a"].exclusive_principals == ()


def test_a_policy_reaches_the_broker_in_its_default_version_with_its_targets(
    iot: Any, stand: Any, make_guest: Any
) -> None:
    """Created, attached, changed, detached, deleted."""
    identity_id = make_guest()["identity_id"]
    iot.create_policy(policyName="p", policyDocument=DOCUMENT)
    iot.attach_policy(policyName="p", target=identity_id)
    record = stand.broker.snapshot.policies["p"]
    assert (record.document, record.targets) == (DOCUMENT, (identity_id,))

    other = DOCUMENT.replace("Connect", "Publish")
    version = iot.create_policy_version(policyName="p", policyDocument=other)["policyVersionId"]
    assert stand.broker.snapshot.policies["p"].document == DOCUMENT
    iot.set_default_policy_version(policyName="p", policyVersionId=version)
    assert stand.broker.snapshot.policies["p"].document == other

    iot.detach_policy(policyName="p", target=identity_id)
    iot.delete_policy_version(policyName="p", policyVersionId="1")
    iot.delete_policy(policyName="p")
    assert stand.broker.snapshot.policies == {}


@pytest.mark.parametrize(
    ("document", "place"),
    [
        ("{", "not JSON"),
        ('{"Version": "2012-10-17"}', "Statement is missing"),
        (DOCUMENT.replace("Allow", "Perhaps"), "/Statement/Effect"),
        (DOCUMENT.replace('"*"', '"arn:aws:iot:*:*:topic/${iot:Nonsense}"'), "/Statement/Resource"),
    ],
)
def test_a_policy_that_cannot_be_evaluated_is_refused_with_its_place(iot: Any, document: str, place: str) -> None:
    """When it is created, and when a version is."""
    iot.create_policy(policyName="good", policyDocument=DOCUMENT)
    calls = [
        lambda: iot.create_policy(policyName="bad", policyDocument=document),
        lambda: iot.create_policy_version(policyName="good", policyDocument=document),
    ]

    for call in calls:
        code, message = error_of(call)
        assert (code, place in message) == ("MalformedPolicyException", True)


def test_a_target_has_at_most_ten_policies(iot: Any, make_guest: Any) -> None:
    """The eleventh is refused; attaching one again is none more; thing groups are refused by name."""
    identity_id = make_guest()["identity_id"]
    for number in range(11):
        iot.create_policy(policyName=f"p{number}", policyDocument=DOCUMENT)
    for number in range(10):
        iot.attach_principal_policy(policyName=f"p{number}", principal=identity_id)

    assert error_of(lambda: iot.attach_policy(policyName="p10", target=identity_id))[0] == "LimitExceededException"
    iot.attach_policy(policyName="p0", target=identity_id)
    group = "arn:aws:iot:eu-central-1:111122223333:thinggroup/g"
    assert error_of(lambda: iot.attach_policy(policyName="p10", target=group))[0] == "NotImplemented"


def test_what_is_not_there_is_not_found(iot: Any) -> None:
    """As the model names it, so that boto3 raises its own class."""
    with pytest.raises(iot.exceptions.ResourceNotFoundException):
        iot.describe_thing(thingName="nobody")
    with pytest.raises(iot.exceptions.ResourceNotFoundException):
        iot.attach_thing_principal(thingName="nobody", principal="eu-central-1:x")


def test_a_policy_version_that_does_not_exist_cannot_become_the_default(stand: Any) -> None:
    """The version in force stays what it was."""
    iot = stand.client("iot")
    document = json.dumps(
        {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "iot:*", "Resource": "*"}]}
    )
    iot.create_policy(policyName="p", policyDocument=document)

    with pytest.raises(iot.exceptions.ResourceNotFoundException):
        iot.set_default_policy_version(policyName="p", policyVersionId="7")
    assert iot.get_policy_version(policyName="p", policyVersionId="1")["isDefaultVersion"] is True
