"""The device, on a double of the runtime's client that calls back from another thread."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from awscrt import io

from harness.clients.certificates import certificate_id, make_key, make_self_signed, private_pem
from harness.clients.device import Device, MqttsEndpoint
from harness.clients.identities import DeviceIdentity
from harness.clients.refusal import Refusal
from harness.errors import ConnectionRefused, ExpectationError, OperationRefused

if TYPE_CHECKING:
    from collections.abc import Callable

    from awscrt import mqtt5

    from conftest import FakeNative, FakeTarget

    MakeDevice = Callable[..., Device]

CONNACK = "AWS_ERROR_MQTT5_CONNACK_CONNECTION_REFUSED"
DISCONNECT = "AWS_ERROR_MQTT5_DISCONNECT_RECEIVED"
HANG_UP = "AWS_ERROR_MQTT_UNEXPECTED_HANGUP"
CLOSED = "AWS_IO_SOCKET_CLOSED"
TLS = "AWS_IO_TLS_ERROR_NEGOTIATION_FAILURE"

KEY = make_key()
PEM = make_self_signed(KEY)
ID = certificate_id(PEM)
ARN = f"arn:aws:iot:eu-central-1:1:cert/{ID}"
IDENTITY = DeviceIdentity(
    thing_name="thermometer",
    certificate_id=ID,
    certificate_arn=ARN,
    certificate_pem=PEM,
    private_key_pem=private_pem(KEY),
)
OTHER_ID = "0" * 64


@pytest.fixture
def make_device(native: FakeNative) -> MakeDevice:
    """Makes a device on top of `native`."""

    class Double(Device):
        def _make_native(self, options: mqtt5.ClientOptions) -> Any:
            native.options = options
            return native

    def make(**arguments: Any) -> Device:
        endpoint = MqttsEndpoint(host="broker.test")
        return Double(**{"endpoint": endpoint, "identity": IDENTITY, "patience": 0.2, **arguments})

    return make


def said(native: FakeNative) -> dict[str, Any]:
    """What the last message says, numbers as decimals."""
    content: dict[str, Any] = json.loads(native.published[-1].payload, parse_float=Decimal)
    return content


async def test_a_device_connects_under_its_things_name(make_device: MakeDevice, native: FakeNative) -> None:
    """With the options AWS IoT Core wants, over TLS of its own and without a WebSocket."""
    async with make_device() as device:
        assert device.condition() == "is connected, has not subscribed"

    options = native.options
    assert (options.host_name, options.port) == ("broker.test", 8883)
    assert options.connect_options.client_id == device.client_id == device.thing_name == "thermometer"
    assert options.websocket_handshake_transform is None
    assert isinstance(options.tls_ctx, io.ClientTlsContext)
    assert (device.certificate_id, device.certificate_arn) == (ID, ARN)
    assert native.stops == 1


async def test_a_device_may_claim_to_be_another(make_device: MakeDevice, native: FakeNative) -> None:
    """Its certificate stays its own."""
    device = make_device(client_id="barometer")
    async with device:
        reading = await device.publish_reading(1)

    assert native.options.connect_options.client_id == "barometer"
    assert (reading.sender, reading.device_id) == ("barometer", "thermometer")


async def test_a_reading_says_who_what_and_when(make_device: MakeDevice, native: FakeNative) -> None:
    """Device, temperature and the time in UTC, to the stack's topic, with QoS 1."""
    before = datetime.now(UTC)
    async with make_device(telemetry_topic="my/telemetry") as device:
        reading = await device.publish_reading(temp=21.5)

    assert re.fullmatch(
        rb'\{"deviceId":"thermometer","temp":21\.5,"ts":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"\}', reading.payload
    )
    assert timedelta() <= datetime.fromisoformat(str(reading.ts)) - before < timedelta(minutes=1)
    assert (reading.device_id, reading.temp, reading.topic, reading.qos) == ("thermometer", 21.5, "my/telemetry", 1)
    (packet,) = native.published
    assert (packet.topic, packet.payload, int(packet.qos), packet.retain) == ("my/telemetry", reading.payload, 1, False)
    assert repr(reading) == f"Reading('thermometer', temp=21.5, ts={reading.ts!r}, topic='my/telemetry')"


@pytest.mark.parametrize(
    ("arguments", "content"),
    [
        ({"ts": None}, {"deviceId": "thermometer", "temp": 1}),
        ({"ts": "noon"}, {"deviceId": "thermometer", "temp": 1, "ts": "noon"}),
        ({"ts": 1_795_291_262}, {"deviceId": "thermometer", "temp": 1, "ts": 1_795_291_262}),
        ({"ts": Decimal("1.50")}, {"deviceId": "thermometer", "temp": 1, "ts": Decimal("1.50")}),
        ({"ts": None, "device_id": "barometer"}, {"deviceId": "barometer", "temp": 1}),
        ({"ts": None, "device_id": ""}, {"deviceId": "", "temp": 1}),
        (
            {"ts": None, "unit": "°C", "more": [1, None]},
            {"deviceId": "thermometer", "temp": 1, "unit": "°C", "more": [1, None]},
        ),
    ],
)
async def test_a_reading_says_what_it_is_told_to(
    make_device: MakeDevice, native: FakeNative, arguments: dict[str, Any], content: dict[str, Any]
) -> None:
    """Another device, another time or none, and whatever else."""
    async with make_device() as device:
        reading = await device.publish_reading(1, **arguments)

    assert said(native) == content
    assert (reading.device_id, reading.ts) == (content["deviceId"], content.get("ts"))


@pytest.mark.parametrize("temp", ["21.50", "-0.1", "12345678901234567890.123", "1E+5"])
async def test_a_decimal_keeps_its_digits(make_device: MakeDevice, native: FakeNative, temp: str) -> None:
    """Beyond what a float can hold."""
    async with make_device() as device:
        await device.publish_reading(Decimal(temp), ts=None, all=[Decimal(temp)])

    assert native.published[-1].payload.decode() == f'{{"deviceId":"thermometer","temp":{temp},"all":[{temp}]}}'


@pytest.mark.parametrize("temp", [Decimal("NaN"), Decimal("Infinity"), float("nan"), float("-inf")])
async def test_what_is_no_number_of_json_is_not_sent(make_device: MakeDevice, native: FakeNative, temp: Any) -> None:
    """Whoever wants to send it anyway writes the bytes."""
    async with make_device() as device:
        with pytest.raises(ValueError, match=r"JSON"):
            await device.publish_reading(temp)
        assert native.published == []

        await device.publish_raw(b'{"temp":NaN}')
    assert native.published[-1].payload == b'{"temp":NaN}'


@pytest.mark.parametrize(
    ("payload", "content"),
    [
        (b"\xff", b"\xff"),
        (b"", b""),
        ("temp=1", b"temp=1"),
        ([{"temp": Decimal("1.50")}], b'[{"temp":1.50}]'),
        ({"temp": None, "no": True}, b'{"temp":null,"no":true}'),
    ],
)
async def test_a_device_may_send_what_is_no_reading(
    make_device: MakeDevice, native: FakeNative, payload: Any, content: bytes
) -> None:
    """To where readings go."""
    async with make_device() as device:
        message = await device.publish_raw(payload)

    (packet,) = native.published
    assert (packet.topic, packet.payload, int(packet.qos)) == ("things/telemetry", content, 1)
    assert (message.topic, message.payload, message.sender) == ("things/telemetry", content, "thermometer")


async def test_readings_may_go_elsewhere(make_device: MakeDevice, native: FakeNative) -> None:
    """To a topic that a rule of the test's own listens to."""
    async with make_device() as device:
        await device.publish_reading(1, topic="my/own")
        await device.publish_raw("x", topic="my/own")

    assert [packet.topic for packet in native.published] == ["my/own", "my/own"]
    assert "topic" not in json.loads(native.published[0].payload)


async def test_a_refused_reading_raises(make_device: MakeDevice, native: FakeNative, fake_target: FakeTarget) -> None:
    """As every refused publish does, and says why."""
    native.answers["elsewhere"] = 0x87
    decision = {"action": "iot:Publish", "resource": "…/elsewhere", "allowed": False, "because": "not yours"}
    fake_target.add("decision", client_id="thermometer", detail=decision)
    async with make_device(trace=fake_target.trace) as device:
        with pytest.raises(
            OperationRefused, match=r"thermometer was refused iot:Publish on 'elsewhere' \(puback\): not"
        ):
            await device.publish_reading(1, topic="elsewhere")


async def test_an_unacknowledged_reading_is_given_up(make_device: MakeDevice, native: FakeNative) -> None:
    """After the target's patience."""
    native.answers["things/telemetry"] = "silence"
    async with make_device(patience=0.02) as device:
        with pytest.raises(ExpectationError, match="thermometer was to get a PUBACK for 'things/telemetry' within"):
            await device.publish_reading(1)


# Why a device was not let in.


def unregistered() -> DeviceIdentity:
    """Make an impostor."""
    return IDENTITY.unregistered()


@pytest.mark.parametrize(("error", "how"), [(HANG_UP, "hang-up"), (TLS, "tls"), (CLOSED, "hang-up")])
async def test_a_certificate_that_is_not_active_is_found_by_its_id(
    make_device: MakeDevice, native: FakeNative, fake_target: FakeTarget, error: str, how: str
) -> None:
    """Whatever the refusal looked like, and whoever else was refused since."""
    native.on_start = lambda: native.refuse(error)
    fake_target.add("tls_refused", detail={"because": f"certificate {ID} is INACTIVE", "door": "mqtts"})
    fake_target.add("tls_refused", detail={"because": f"certificate {OTHER_ID} is REVOKED", "door": "mqtts"})
    fake_target.add("tls_refused", at="9999", detail={"because": "self-signed certificate", "door": "mqtts"})

    refusal = await make_device(trace=fake_target.trace).expect_refusal(connect=True)

    assert refusal == Refusal(
        action="iot:Connect", resource="thermometer", how=how, because=f"certificate {ID} is INACTIVE"
    )
    assert native.stops == 1


async def test_a_device_whose_connect_was_denied_is_found_by_its_certificate(
    make_device: MakeDevice, native: FakeNative, fake_target: FakeTarget
) -> None:
    """Another one may have tried the same client id."""
    native.on_start = lambda: native.refuse(CONNACK, 0x87)
    arn = "arn:aws:iot:eu-central-1:1:cert/"
    fake_target.add("connect_refused", client_id="x", principal=arn + ID, detail={"because": "not your name"})
    fake_target.add("connect_refused", client_id="x", principal=arn + OTHER_ID, detail={"because": "another"})
    fake_target.add("connect", client_id="x", principal=arn + ID, detail={"because": "no refusal"})
    fake_target.add("connect_refused", client_id="y", principal=arn + ID, detail={"because": "another attempt"})

    with pytest.raises(ConnectionRefused, match=r"^x was refused \(connack\): not your name$"):
        await make_device(client_id="x", trace=fake_target.trace).connect()


async def test_an_unknown_certificate_is_told_by_the_handshake_that_failed(
    make_device: MakeDevice, native: FakeNative, fake_target: FakeTarget
) -> None:
    """Nobody knows its id: what counts is a handshake on the same door since it tried that names no certificate."""
    native.on_start = lambda: native.refuse(CLOSED)
    reason = "DEVICE_CERTIFICATE_NOT_REGISTERED: self-signed certificate"
    fake_target.add("tls_refused", at="9999", detail={"because": reason, "door": "mqtts"})
    fake_target.add("tls_refused", at="2000", detail={"because": "long ago", "door": "mqtts"})
    fake_target.add("tls_refused", at="9999", detail={"because": "another door", "door": "wss"})
    fake_target.add(
        "tls_refused", at="9999", detail={"because": f"certificate {OTHER_ID} is INACTIVE", "door": "mqtts"}
    )
    fake_target.add("tls_refused", at="9999", principal="somebody", detail={"because": "no longer", "door": "mqtts"})

    refusal = await make_device(trace=fake_target.trace, identity=unregistered()).expect_refusal(connect=True)

    assert refusal.because == reason


async def test_a_registered_certificate_the_broker_does_not_know_is_told_the_same_way(
    make_device: MakeDevice, native: FakeNative, fake_target: FakeTarget
) -> None:
    """When nothing names it: a registration that has not arrived should not be a riddle."""
    native.on_start = lambda: native.refuse(CLOSED)
    fake_target.add("tls_refused", at="9999", detail={"because": "unknown issuer", "door": "mqtts"})

    refusal = await make_device(trace=fake_target.trace).expect_refusal(connect=True)

    assert refusal.because == "unknown issuer"


async def test_of_two_handshakes_that_failed_for_different_reasons_neither_is_told(
    make_device: MakeDevice, native: FakeNative, fake_target: FakeTarget
) -> None:
    """Somebody else was refused at the same time: no reason is better than a stranger's."""
    native.on_start = lambda: native.refuse(CLOSED)
    for reason in ("self-signed certificate", "invalid CA certificate"):
        fake_target.add("tls_refused", at="9999", detail={"because": reason, "door": "mqtts"})

    refusal = await make_device(trace=fake_target.trace, identity=unregistered()).expect_refusal(connect=True)

    assert refusal.because is None


@pytest.mark.parametrize("has_trace", [True, False])
async def test_a_refusal_nobody_explains_is_a_refusal(
    make_device: MakeDevice, native: FakeNative, fake_target: FakeTarget, *, has_trace: bool
) -> None:
    """The target has no trace, or it says nothing."""
    native.on_start = lambda: native.refuse(CLOSED)

    refusal = await make_device(trace=fake_target.trace if has_trace else None).expect_refusal(connect=True)

    assert (refusal.how, refusal.because) == ("hang-up", None)
