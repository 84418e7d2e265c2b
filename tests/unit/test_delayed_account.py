"""Devices and guests in an account that is shared and where changes take their time: the stand-in, told to be one."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from harness.clients.device import Device, MqttsEndpoint
from harness.clients.removal import Remover
from harness.device_fixtures import Devices
from harness.errors import ConnectionRefused, ExpectationError
from harness.fixtures import Guests
from harness.targets.embedded.target import EmbeddedTarget
from harness.targets.marks import find_mark
from harness.targets.names import Names, make_run_id
from harness.telemetry_fixtures import Telemetry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from harness.targets.base import Environment

DELAY = "1.5"
"""Seconds, as ``--quirk propagation-delay`` takes them: longer than a machine under load needs to connect twice."""


@pytest.fixture(scope="module")
def environment() -> Iterator[Environment]:
    """A stand-in with a delay, that says so and that it is shared."""
    target = EmbeddedTarget(quirks={"propagation-delay": DELAY}, names=Names(make_run_id()))
    yield replace(target.start(), is_delayed=True, is_shared=True)
    target.stop()


@pytest.fixture
async def devices(environment: Environment) -> AsyncIterator[Devices]:
    """Makes devices; at its end nothing is left of them."""
    iot = environment.client("iot")
    made = Devices(environment, stack=environment.outputs, patience=20.0, trace=None, iot=iot)
    yield made
    await made.close()
    assert iot.list_things()["things"] == []
    assert iot.list_certificates()["certificates"] == []
    assert [each["policyName"] for each in iot.list_policies()["policies"]] == [environment.outputs.device_policy_name]
    iot.close()


def another(device: Device, *, settles_within: float) -> Device:
    """Make a second client of a device."""
    endpoint = device.endpoint
    assert isinstance(endpoint, MqttsEndpoint)
    return Device(endpoint=endpoint, identity=device.identity, patience=20.0, settles_within=settles_within)


async def test_a_device_is_let_in_as_soon_as_its_registration_holds(environment: Environment, devices: Devices) -> None:
    """With all it may do; who does not insist is refused at the same moment."""
    identity = await asyncio.to_thread(lambda: devices.identities.make(1)[0])
    hasty = devices._device(identity)
    with pytest.raises(ConnectionRefused):
        await hasty.connect()

    device = await devices.make(may_publish="things/telemetry/mine")
    await device.publish("things/telemetry/mine", "{}")

    assert device.condition() == "is connected, has not subscribed"
    mark = find_mark(device.thing_name)
    assert mark is not None
    iot = environment.client("iot")
    assert iot.describe_thing(thingName=device.thing_name)["attributes"]["thingwrightRun"] == mark.run_id
    described = iot.describe_certificate(certificateId=device.certificate_id)["certificateDescription"]
    subject = x509.load_pem_x509_certificate(described["certificatePem"].encode()).subject.rfc4514_string()
    assert subject == f"CN={device.thing_name}"
    (policy,) = [each for each in iot.list_policies()["policies"] if each["policyName"].startswith("may-publish")]
    tags = iot.list_tags_for_resource(resourceArn=policy["policyArn"])["tags"]
    assert {each["Key"]: each["Value"] for each in tags} == mark.tags


async def test_a_refusal_comes_as_soon_as_a_change_holds(devices: Devices) -> None:
    """A certificate out of use may let its device in for a while; who does not wait is allowed to connect."""
    device = await devices.make()
    await device.stop()
    await asyncio.to_thread(devices.identities.set_status, device.identity, "INACTIVE")
    hasty, patient = another(device, settles_within=0.0), another(device, settles_within=20.0)

    with pytest.raises(ExpectationError, match="was allowed to"):
        await hasty.expect_refusal(connect=True)
    await hasty.stop()
    refusal = await patient.expect_refusal(connect=True)

    assert refusal.action == "iot:Connect"


async def test_guests_leave_no_identity_behind(environment: Environment) -> None:
    """They are let in as soon as their credentials hold; when all is over, the pool is as it was."""
    stack, cognito = environment.outputs, environment.client("cognito-identity")

    def identities() -> set[str]:
        found = cognito.list_identities(IdentityPoolId=stack.identity_pool_id, MaxResults=60)["Identities"]
        return {each["IdentityId"] for each in found}

    before = identities()
    guests = Guests(environment, stack=stack, patience=20.0, trace=None)
    made = [guests.make() for _ in range(3)]
    await asyncio.gather(*(each.connect(insist=True) for each in made))
    assert len(identities() - before) == 3
    await asyncio.gather(*(each.stop() for each in made))

    await asyncio.to_thread(guests.close)

    assert identities() == before
    cognito.close()


async def test_two_removals_at_once_do_no_harm(environment: Environment, devices: Devices) -> None:
    """Of a certificate with its thing and policy: whoever is slower finds them gone, at whatever step."""
    identities = await asyncio.to_thread(devices.identities.make, 4, may_publish="things/telemetry/mine")
    iot = environment.client("iot")
    removers = [Remover(iot, patience=20.0) for _ in range(2)]

    def remove(remover: Remover) -> None:
        for each in identities:
            remover.certificate(each.certificate_id)
            remover.thing(each.thing_name)

    await asyncio.gather(*(asyncio.to_thread(remove, each) for each in removers))

    assert iot.list_things()["things"] == []
    assert iot.list_certificates()["certificates"] == []
    iot.close()


async def test_a_rule_is_marked_and_removed(environment: Environment) -> None:
    """By its name and by tags; once gone, it is gone for whoever comes later."""
    telemetry = Telemetry(environment, stack=environment.outputs, patience=20.0, trace=None)
    rule = await telemetry.rules.make(topic="things/telemetry/mine")
    iot = telemetry.iot
    arn = iot.get_topic_rule(ruleName=rule.name)["ruleArn"]
    tags = {each["Key"]: each["Value"] for each in iot.list_tags_for_resource(resourceArn=arn)["tags"]}
    mark = find_mark(rule.name)
    assert mark is not None
    assert tags == mark.tags

    assert Remover(iot).rule(rule.name)

    assert not Remover(iot).rule(rule.name)
    await telemetry.rules.remove(rule.name)
    await asyncio.to_thread(telemetry.close)
