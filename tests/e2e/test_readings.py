"""Promise: N devices with M readings each make N times M rows; what is not a reading is stored nowhere."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from harness import DeadLetters, Device, ReceiverView, Rows
    from harness.device_fixtures import MakeDevices

pytestmark = [pytest.mark.e2e, pytest.mark.needs("HTTP_ACTION")]


@pytest.mark.behaviour("rule.http", source="DG:https-rule-action")
async def test_a_reading_becomes_one_row(device: Device, rows: Rows) -> None:
    """A reading published over mutual TLS is stored once, under its device."""
    await device.publish_reading(temp=21.5)

    row = await rows.expect(device_id=device.thing_name)
    assert row.temperature == Decimal("21.5")


async def test_every_reading_of_every_device_becomes_one_row(make_devices: MakeDevices, rows: Rows) -> None:
    """Devices that report side by side lose nothing and mix nothing up; a device's rows are in time order."""
    devices = await make_devices()
    temperatures = [Decimal(n) / 10 for n in range(200, 205)]

    async def report(device: Device) -> None:
        for temperature in temperatures:
            await device.publish_reading(temp=temperature)

    await asyncio.gather(*(report(device) for device in devices))

    for device in devices:
        stored = await rows.expect_all(device_id=device.thing_name, count=len(temperatures))
        assert stored == sorted(stored, key=lambda row: row.received_at)
        # Of two that arrived within one millisecond the message ids decide, which say nothing about time.
        in_time_order = sorted(stored, key=lambda row: (row.received_at, row.temperature))
        assert [row.temperature for row in in_time_order] == temperatures


async def test_a_time_range_is_a_key_range(device: Device, rows: Rows) -> None:
    """One Query between two times of receipt returns the readings received then, in that order, and no others."""
    received = []
    for number, temperature in enumerate(("1", "2", "3", "4"), start=1):
        await device.publish_reading(temp=Decimal(temperature))
        stored = await rows.expect_all(device_id=device.thing_name, count=number)
        received.append(stored[-1])

    middle = await rows.of(device_id=device.thing_name, since=received[1].received_at, until=received[2].received_at)

    assert [row.temperature for row in middle] == [Decimal(2), Decimal(3)]


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        pytest.param(Decimal("21.50"), Decimal("21.5"), id="fraction"),
        pytest.param(-40, Decimal(-40), id="negative"),
        pytest.param(0, Decimal(0), id="zero"),
        pytest.param(Decimal("12345678901234567890.123"), Decimal("12345678901234567890.123"), id="more than a float"),
    ],
)
async def test_a_temperature_is_stored_as_it_was_sent(
    device: Device, rows: Rows, given: int | Decimal, stored: Decimal
) -> None:
    """Numbers keep their digits on the whole way, beyond what a float can hold."""
    await device.publish_reading(temp=given)

    row = await rows.expect(device_id=device.thing_name)
    assert row.temperature == stored


@pytest.mark.parametrize("ts", ["2026-11-21T20:01:02Z", 1_795_291_262, None], ids=["text", "number", "absent"])
async def test_the_devices_own_time_is_stored_as_it_was_sent(device: Device, rows: Rows, ts: str | int | None) -> None:
    """`ts` is the device's business: text stays text, a number stays a number, and it may be missing."""
    await device.publish_reading(temp=20, ts=ts)

    row = await rows.expect(device_id=device.thing_name)
    assert row.ts == ts


INVALID: dict[str, Any] = {
    "no temp": {"deviceId": "{device}"},
    "temp is text": {"deviceId": "{device}", "temp": "21.5"},
    "temp is true": {"deviceId": "{device}", "temp": True},
    "temp is beyond the table's numbers": {"deviceId": "{device}", "temp": Decimal("1E126")},
    "temp is null": {"deviceId": "{device}", "temp": None},
    "no deviceId": {"temp": 21.5},
    "deviceId is a number": {"deviceId": 7, "temp": 21.5},
    "deviceId is empty": {"deviceId": "", "temp": 21.5},
    "ts is a list": {"deviceId": "{device}", "temp": 21.5, "ts": []},
    "a list of readings": [{"deviceId": "{device}", "temp": 21.5}],
    "not JSON": b"temp=21.5",
    "empty": b"",
}


@pytest.mark.parametrize("payload", INVALID.values(), ids=INVALID.keys())
async def test_what_is_no_reading_is_stored_nowhere(
    device: Device, rows: Rows, dead_letters: DeadLetters, payload: Any
) -> None:
    """The receiver refuses it, so that it becomes a dead letter; nothing but the valid reading after it is stored."""
    refused = await device.publish_raw(_of(device, payload))
    await dead_letters.expect(refused)

    await device.publish_reading(temp=3)

    row = await rows.expect(device_id=device.thing_name)
    assert row.temperature == Decimal(3)


@pytest.mark.needs("TRACE")
@pytest.mark.parametrize("payload", INVALID.values(), ids=INVALID.keys())
async def test_what_is_no_reading_is_refused_once(device: Device, receiver: ReceiverView, payload: Any) -> None:
    """With 422, which no rule tries again."""
    refused = await device.publish_raw(_of(device, payload))

    assert [each.status for each in await receiver.deliveries(refused)] == [422]


def _of(device: Device, payload: Any) -> Any:
    """Put the device's name where the table above leaves a gap."""
    if isinstance(payload, list):
        return [_of(device, each) for each in payload]
    if isinstance(payload, dict) and payload.get("deviceId") == "{device}":
        return {**payload, "deviceId": device.thing_name}
    return payload
