"""Promise: a device connects as itself, reports as itself, and does nothing else; each limit with its allowed twin."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from harness import DeadLetters, Device, ReceiverView, Rows, Topics
    from harness.device_fixtures import MakeDevice

pytestmark = pytest.mark.e2e


@pytest.mark.needs("POLICY", "HTTP_ACTION")
@pytest.mark.behaviour("policy.publish", source="DG:iot-policy-actions")
async def test_a_device_may_not_publish_elsewhere(device: Device, rows: Rows, topics: Topics) -> None:
    """A topic beside its own is refused by PUBACK; the connection stays and the telemetry topic works."""
    refusal = await device.expect_refusal(publish="things/commands")

    assert (refusal.action, refusal.resource, refusal.how) == ("iot:Publish", "things/commands", "puback")
    await device.publish_reading(temp=1)
    await rows.expect(device_id=device.thing_name)


@pytest.mark.needs("POLICY")
async def test_a_device_may_not_listen(device: Device, topics: Topics) -> None:
    """Devices report and do not listen: not even to the topic they report on."""
    refusal = await device.expect_refusal(subscribe=topics.telemetry)

    assert (refusal.action, refusal.how) == ("iot:Subscribe", "suback")
    await device.publish_reading(temp=1)


@pytest.mark.needs("POLICY")
async def test_a_device_may_not_leave_a_retained_message(device: Device, topics: Topics) -> None:
    """A retained reading takes a permission of its own, which devices do not have."""
    refusal = await device.expect_refusal(publish=topics.telemetry, retain=True)

    assert (refusal.action, refusal.resource) == ("iot:Publish", topics.telemetry)
    await device.publish_reading(temp=1)  # the same without the flag


@pytest.mark.needs("POLICY")
@pytest.mark.behaviour("policy.thing-name", source="DG:thing-policy-variables")
async def test_a_device_may_not_call_itself_otherwise(make_device: MakeDevice) -> None:
    """A certificate lets in the thing it is attached to, under that name alone."""
    allowed = await make_device()

    stranger = await make_device(client_id=allowed.thing_name, connect=False)
    refusal = await stranger.expect_refusal(connect=True)

    assert (refusal.action, refusal.resource) == ("iot:Connect", allowed.thing_name)
    await allowed.publish_reading(temp=1)  # nor was the real one thrown out by it


@pytest.mark.needs("POLICY", "HTTP_ACTION")
async def test_a_device_may_not_report_for_another(
    make_device: MakeDevice, rows: Rows, dead_letters: DeadLetters
) -> None:
    """A reading under another device's name is refused, a dead letter, and stored under neither name."""
    device, other = await make_device(), await make_device()

    forged = await device.publish_reading(temp=99, device_id=other.thing_name)
    await dead_letters.expect(forged)

    for each in (device, other):
        await each.publish_reading(temp=1)
        row = await rows.expect(device_id=each.thing_name)
        assert row.temperature == Decimal(1)


@pytest.mark.needs("POLICY", "HTTP_ACTION", "TRACE")
async def test_a_reading_for_another_is_refused_once(make_device: MakeDevice, receiver: ReceiverView) -> None:
    """With 403, which no rule tries again."""
    device, other = await make_device(), await make_device()

    forged = await device.publish_reading(temp=99, device_id=other.thing_name)

    assert [each.status for each in await receiver.deliveries(forged)] == [403]


@pytest.mark.needs("CERTIFICATES")
@pytest.mark.behaviour("certificate.unknown", source="DG:x509-client-certs")
async def test_an_unknown_certificate_is_refused(make_device: MakeDevice) -> None:
    """A certificate that nobody registered does not get in; a registered one does."""
    await make_device()

    stranger = await make_device(certificate="unregistered", connect=False)
    refusal = await stranger.expect_refusal(connect=True)

    assert refusal.how in {"tls", "hang-up"}
    assert refusal.because is None or "NOT_REGISTERED" in refusal.because


@pytest.mark.needs("CERTIFICATES")
@pytest.mark.behaviour("certificate.chain", source="DG:x509-client-certs")
async def test_a_certificate_signed_by_a_device_is_refused(make_device: MakeDevice) -> None:
    """A device's key signs for the device and issues nothing: what it signed does not get in."""
    await make_device()

    forger = await make_device(certificate="forged", connect=False)
    refusal = await forger.expect_refusal(connect=True)

    assert refusal.how in {"tls", "hang-up"}
    assert refusal.because is None or "invalid CA certificate" in refusal.because


@pytest.mark.needs("CERTIFICATES")
@pytest.mark.behaviour("certificate.status", source="DG:activate-or-deactivate-device-cert")
@pytest.mark.parametrize("status", ["INACTIVE", "REVOKED"])
async def test_a_certificate_out_of_use_is_refused(make_device: MakeDevice, status: str) -> None:
    """A registered certificate gets in when it is ACTIVE, and not otherwise."""
    device = await make_device()
    await device.publish_reading(temp=1)

    retired = await make_device(status=status, connect=False)
    refusal = await retired.expect_refusal(connect=True)

    assert refusal.how in {"tls", "hang-up"}
    assert refusal.because is None or status in refusal.because
