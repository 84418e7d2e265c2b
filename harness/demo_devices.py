"""The second half of the demonstration: devices report, a rule forwards, the receiver stores, the rows are shown."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from botocore.exceptions import BotoCoreError, ClientError

from harness.clients.admin import AdminApi
from harness.clients.device import Device, MqttsEndpoint
from harness.clients.handover import Handover
from harness.clients.identities import Identities
from harness.clients.rows import Rows
from harness.clients.rules import Rules
from harness.clients.stories import Stories
from harness.clients.trace import Trace
from harness.errors import ExpectationError, HarnessError, TeardownError
from harness.targets.marks import find_mark

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Sequence
    from typing import Any

    from harness.clients.identities import DeviceIdentity
    from harness.targets.base import Environment

_TEMPERATURES: Final = (21.5, 19.8, 23.1, 20.4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What became of one device's reading.

    Args:
        number: of the device, counted from 1.
        seconds: from publish until the row was seen; None when it never was.
        why: what became of it instead, in words.
    """

    number: int
    seconds: float | None = None
    why: str = ""


async def report_readings(
    environment: Environment, *, count: int, patience: float, show: Callable[[str], None]
) -> list[Stored]:
    """Let devices report one reading each, and wait for the rows.

    Args:
        environment: a target that runs, with its stack.
        count: how many devices.
        patience: seconds to wait for anything that should come.
        show: prints one line.

    Returns:
        One result per device, in order.

    Raises:
        HarnessError: a device could not be registered or was refused.
    """
    clients = {service: environment.client(service) for service in ("iot", "dynamodb")}
    mark = find_mark(environment.names.run_id) if environment.is_shared else None
    identities = Identities(
        iot=clients["iot"],
        policy_name=environment.outputs.device_policy_name,
        names=environment.names,
        tags=mark.tags if mark else None,
        patience=patience,
    )
    rows = _rows(environment, clients["dynamodb"], patience=patience)
    devices: list[Device] = []
    # A thread cannot be interrupted: whatever happens, what it registers is waited for, and taken back with the rest.
    making = asyncio.ensure_future(asyncio.to_thread(identities.make, count))
    try:
        handover = Handover(asyncio.get_running_loop())
        registered = await asyncio.shield(making)
        devices = [_device(environment, identity, patience=patience, handover=handover) for identity in registered]
        await asyncio.gather(*(device.connect(insist=True) for device in devices))
        for number, device in enumerate(devices, 1):
            show(f"[Device {number}] connected as {device.client_id}")
        # The first request opens a connection, which is no part of a reading's time.
        await asyncio.gather(*(rows.of(device.thing_name) for device in devices))
        results = await _side_by_side([_report(*each, rows, show=show) for each in enumerate(devices, 1)])
    except BaseException as error:
        await asyncio.wait([making])
        try:
            await _leave(devices, identities)
        except TeardownError as failure:
            show(f"[demo] {failure}")  # why it ended is told as well, by whoever catches it
        if isinstance(error, BotoCoreError | ClientError):
            raise HarnessError(f"The devices could not report: {error}") from error
        raise
    else:
        await _leave(devices, identities)
    finally:
        for client in clients.values():
            client.close()
    return results


async def _side_by_side(reports: Iterable[Coroutine[Any, Any, Stored]]) -> list[Stored]:
    """Await all; when one of them fails, end the others first."""
    tasks = [asyncio.ensure_future(report) for report in reports]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def _leave(devices: Sequence[Device], identities: Identities) -> None:
    """Disconnect all devices, and deregister them also when that is interrupted.

    Raises:
        TeardownError: something is left behind.
    """
    try:
        await asyncio.gather(*(device.has_stopped() for device in devices))
    finally:
        await asyncio.to_thread(identities.remove)


async def _report(number: int, device: Device, rows: Rows, *, show: Callable[[str], None]) -> Stored:
    began = time.monotonic()
    reading = await device.publish_reading(_TEMPERATURES[(number - 1) % len(_TEMPERATURES)])
    show(f"[Device {number}] 📢 Sending to {reading.topic}: {reading.text}")
    try:
        row = await rows.expect(device.thing_name)
    except ExpectationError as error:
        return Stored(number=number, why=str(error))
    seconds = time.monotonic() - began
    at = row.received_at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    show(f"[Device {number}] ✅ Stored: deviceId={row.device_id} received_at={at} temperature={row.temperature}")
    return Stored(number=number, seconds=seconds)


def _device(environment: Environment, identity: DeviceIdentity, *, patience: float, handover: Handover) -> Device:
    outputs = environment.outputs
    return Device(
        endpoint=MqttsEndpoint(
            host=outputs.iot_endpoint,
            port=outputs.iot_mqtts_port,
            ca_file=outputs.ca_file,
            is_port_shared=outputs.is_port_shared,
        ),
        identity=identity,
        telemetry_topic=outputs.telemetry_topic,
        patience=patience,
        handover=handover,
        settles_within=patience if environment.is_delayed else 0.0,
    )


def _rows(environment: Environment, dynamodb: Any, *, patience: float) -> Rows:
    outputs = environment.outputs
    trace = None
    if environment.admin_url and environment.admin_token:
        trace = Trace(AdminApi(environment.admin_url, environment.admin_token))
    rules = Rules(
        make_iot=lambda: environment.client("iot"), make_name=environment.names.unique, stack_rule=outputs.rule_name
    )
    stories = Stories(trace=trace, rules=rules, patience=patience)
    return Rows(dynamodb=dynamodb, table=outputs.need("table_name"), stories=stories, patience=patience)
