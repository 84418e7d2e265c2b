"""What the fixtures of devices do, without a target: boto3 and the connections are doubles."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from unittest.mock import AsyncMock, Mock

import pytest
from botocore.exceptions import ClientError

from harness.budget import Budget
from harness.clients.certificates import certificate_id, make_key, make_self_signed
from harness.clients.device import Device
from harness.device_fixtures import Devices
from harness.errors import BudgetExceeded, ConnectionRefused, HarnessError, TeardownError
from harness.targets.names import Names
from harness.targets.outputs import StackOutputs

if TYPE_CHECKING:
    from collections.abc import Callable

STACK = StackOutputs(
    region="eu-central-1",
    iot_endpoint="broker.test",
    iot_mqtts_port=9883,
    iot_wss_url="wss://broker.test/mqtt",
    ca_file="ca.pem",
    identity_pool_id="eu-central-1:pool",
    client_id_prefix="public-",
    topic_prefix="public/",
    telemetry_topic="my/telemetry",
    device_policy_name="the-device-policy",
)


@pytest.fixture
def iot() -> Mock:
    """boto3's ``iot`` client."""

    def issue(**_: Any) -> dict[str, str]:
        pem = make_self_signed(make_key())
        its_id = certificate_id(pem)
        return {"certificateId": its_id, "certificateArn": f"arn:aws:iot:r:1:cert/{its_id}", "certificatePem": pem}

    iot = Mock()
    iot.create_certificate_from_csr.side_effect = issue
    return iot


@pytest.fixture
def make_factory(iot: Mock) -> Callable[[], Devices]:
    """Makes what is tested, on the test's loop."""
    environment = Mock(names=Names("run"), is_shared=False, is_delayed=False)
    return lambda: Devices(environment, stack=STACK, patience=0.2, trace=None, iot=iot)


@pytest.fixture
def insisted() -> dict[str, bool]:
    """Client id → whether it took no refusal for an answer."""
    return {}


@pytest.fixture(autouse=True)
def connected(monkeypatch: pytest.MonkeyPatch, insisted: dict[str, bool]) -> list[str]:
    """Client ids in the order they connected; ``refused`` is not let in, ``stubborn`` does not stop."""
    connected: list[str] = []

    async def connect(self: Device, *, insist: bool = False) -> None:
        insisted[self.client_id] = insist
        if self.client_id == "refused":
            raise ConnectionRefused(self.client_id, how="connack")
        connected.append(self.client_id)

    async def has_stopped(self: Device) -> bool:
        return self.client_id != "stubborn"

    monkeypatch.setattr(Device, "connect", connect)
    monkeypatch.setattr(Device, "has_stopped", has_stopped)
    return connected


def calls(iot: Mock) -> list[str]:
    """Operations in order."""
    return [name for name, _, _ in iot.method_calls]


async def test_a_device_is_registered_and_connected(
    make_factory: Callable[[], Devices], iot: Mock, connected: list[str]
) -> None:
    """With the stack's endpoint, topic and policy; afterwards nothing of it is left."""
    factory = make_factory()

    device = await factory.make()

    assert connected == [device.client_id] == [device.thing_name] == ["device-run-1"]
    assert (device.endpoint.host, device.endpoint.port, device.endpoint.ca_file) == ("broker.test", 9883, "ca.pem")
    assert device.telemetry_topic == "my/telemetry"
    iot.attach_policy.assert_called_once_with(policyName="the-device-policy", target=device.certificate_arn)
    await factory.close()
    assert calls(iot)[-6:] == [
        "detach_policy",
        "update_certificate",
        "detach_thing_principal",
        "delete_certificate",
        "describe_thing",
        "delete_thing",
    ]


async def test_a_device_may_be_left_to_connect_by_itself(
    make_factory: Callable[[], Devices], connected: list[str]
) -> None:
    """Under another name, if the test wants to see it refused."""
    device = await make_factory().make(connect=False, client_id="somebody")

    assert (device.client_id, device.thing_name) == ("somebody", "device-run-1")
    assert connected == []


async def test_many_devices_are_different(make_factory: Callable[[], Devices], connected: list[str]) -> None:
    """And connected, all of them."""
    devices = await make_factory().make_many(4)

    assert len({each.certificate_id for each in devices}) == 4
    assert sorted(connected) == sorted(each.thing_name for each in devices)


@pytest.mark.parametrize("certificate", ["unregistered", "forged"])
async def test_an_impostor_has_everything_but_the_certificate(
    make_factory: Callable[[], Devices], iot: Mock, certificate: Any
) -> None:
    """The Thing and its own certificate are there: whoever lets it in has looked at nothing else."""
    impostor = await make_factory().make(certificate=certificate)

    assert impostor.certificate_arn is None
    iot.attach_thing_principal.assert_called_once()
    assert iot.attach_thing_principal.call_args.kwargs["thingName"] == impostor.client_id
    assert impostor.certificate_id not in iot.attach_thing_principal.call_args.kwargs["principal"]


async def test_a_device_with_a_certificate_of_another_kind_is_not_made(
    make_factory: Callable[[], Devices], iot: Mock
) -> None:
    """A slip would make an ordinary device of what should be refused."""
    with pytest.raises(HarnessError, match="certificate='stolen' is not one of registered, unregistered, forged"):
        await make_factory().make(certificate="stolen")  # type: ignore[arg-type] # that is the subject

    assert calls(iot) == []


async def test_a_status_and_a_further_topic_are_there_before_the_device(
    make_factory: Callable[[], Devices], iot: Mock
) -> None:
    """The policy before what lets the device in, and the status last."""
    device = await make_factory().make(status="REVOKED", may_publish="my/own", connect=False)

    iot.update_certificate.assert_called_once_with(certificateId=device.certificate_id, newStatus="REVOKED")
    assert ":topic/my/own" in iot.create_policy.call_args.kwargs["policyDocument"]
    assert calls(iot)[2:] == [
        "attach_thing_principal",
        "create_policy",
        "attach_policy",
        "attach_policy",
        "update_certificate",
    ]


async def test_only_a_device_that_should_get_in_insists(
    make_factory: Callable[[], Devices], insisted: dict[str, bool]
) -> None:
    """Whoever is not to be let in takes the first refusal for the answer."""
    factory = make_factory()

    await factory.make()
    await factory.make(certificate="forged")
    await factory.make(status="INACTIVE")
    await factory.make(client_id="somebody")
    await factory.make_many(1)

    assert insisted == {
        "device-run-1": True,
        "device-run-2": False,
        "device-run-3": False,
        "somebody": False,
        "device-run-5": True,
    }


@pytest.mark.parametrize(("is_shared", "is_marked"), [(True, True), (False, False)])
async def test_devices_are_marked_where_others_are_as_well(iot: Mock, *, is_shared: bool, is_marked: bool) -> None:
    """With the run that made them, and when it is over; where all ends with the run nobody needs to know."""
    environment = Mock(names=Names("tw6b3f0a21-9c4e11d2"), is_shared=is_shared, is_delayed=False)
    devices = Devices(environment, stack=STACK, patience=0.2, trace=None, iot=iot)

    await devices.make()

    marked = {
        "attributePayload": {
            "attributes": {"thingwrightRun": "tw6b3f0a21-9c4e11d2", "thingwrightExpires": "2027-01-07T03:44:33Z"}
        }
    }
    iot.create_thing.assert_called_once_with(thingName="device-tw6b3f0a21-9c4e11d2-1", **(marked if is_marked else {}))


async def test_devices_count(iot: Mock) -> None:
    """Things before they are registered; messages are the devices' affair."""
    budget = Budget(things=2, messages=7)
    environment = Mock(names=Names("run"), is_shared=False, is_delayed=False)
    devices = Devices(environment, stack=STACK, patience=0.2, trace=None, iot=iot, budget=budget)

    await devices.make_many(2)
    with pytest.raises(BudgetExceeded, match="--max-things"):
        await devices.make()

    assert iot.create_thing.call_count == 2


async def test_a_device_that_is_refused_is_removed_as_well(make_factory: Callable[[], Devices], iot: Mock) -> None:
    """It was registered, whatever became of it."""
    factory = make_factory()
    with pytest.raises(ConnectionRefused):
        await factory.make(client_id="refused")

    await factory.close()

    iot.delete_thing.assert_called_once_with(thingName="device-run-1")


async def test_a_device_that_does_not_stop_is_removed_all_the_same(
    make_factory: Callable[[], Devices], iot: Mock
) -> None:
    """And named."""
    factory = make_factory()
    await factory.make(client_id="stubborn")

    with pytest.raises(TeardownError, match="left behind: stubborn"):
        await factory.close()

    iot.delete_thing.assert_called_once()


async def test_all_that_is_left_is_told(make_factory: Callable[[], Devices], iot: Mock) -> None:
    """Who did not stop, and what could not be removed."""
    factory = make_factory()
    await factory.make(client_id="stubborn")
    iot.delete_thing.side_effect = ClientError({"Error": {"Code": "Throttled", "Message": "later"}}, "DeleteThing")

    with pytest.raises(ExceptionGroup) as failure:
        await factory.close()

    assert [type(each) for each in failure.value.exceptions] == [TeardownError, TeardownError]
    assert "thing device-run-1 (" in str(failure.value.exceptions[1])


async def test_an_interrupt_while_devices_are_stopped_removes_them_all_the_same(
    make_factory: Callable[[], Devices], iot: Mock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever presses Ctrl-C a second time leaves nothing behind either."""
    factory = make_factory()
    await factory.make()
    monkeypatch.setattr(Device, "has_stopped", AsyncMock(side_effect=asyncio.CancelledError))

    with pytest.raises(BaseException) as failure:  # noqa: PT011 - whichever carries the interrupt
        await factory.close()

    assert "CancelledError" in repr(failure.value)
    iot.delete_thing.assert_called_once_with(thingName="device-run-1")
