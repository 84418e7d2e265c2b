"""The device simulator: connects with a kit and reports a temperature, again and again, line by line.

Its lines are an interface, like those of the guest (`harness.console`): people read them, scripts match them.

Source: step 7 of the IoT web app this project grew from, where a modified SDK sample did the same.
"""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING, Final, Protocol

from harness.errors import ConnectionRefused, OperationRefused, TargetUnavailable
from harness.kit import AUTHORITY, read_kit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from harness.kit import KitFiles
    from harness.terminal import Terminal

_MEAN_TEMPERATURE: Final = 21.5
_SWING: Final = 1.5
_READINGS_PER_SWING: Final = 60


class Sent(Protocol):
    """A reading that the broker has acknowledged."""

    @property
    def topic(self) -> str:
        """Where it went."""
        ...

    @property
    def text(self) -> str:
        """What it says."""
        ...


class Reporter(Protocol):
    """The steps of a device, each returning when the broker has confirmed it."""

    async def connect(self) -> None:
        """Connect with the certificate."""
        ...

    async def publish_reading(self, temp: float) -> Sent:
        """Publish with QoS 1."""
        ...

    async def has_stopped(self) -> bool:
        """Disconnect, also when never connected; tell whether that worked."""
        ...


class Pace:
    """Keeps readings evenly apart, on a grid that begins with the first: being late once does not add up.

    Who is late by a whole interval or more starts a new grid. What was missed is not made up for, so a device that was
    held up does not report in a burst.

    Args:
        rate: readings per second.
        began: the time of the first reading, in seconds of any clock that does not go back.
    """

    def __init__(self, rate: float, *, began: float) -> None:
        self._interval = 1 / rate
        self._due = began

    def pause(self, now: float) -> float:
        """Return the seconds from now to the next reading; 0 when it is due."""
        self._due = max(self._due + self._interval, now)
        return self._due - now


class _Progress:
    """How far it got: interrupting a device that reports is how reporting ends."""

    is_reporting = False
    reported = 0


def run_device(
    terminal: Terminal,
    folder: Path,
    *,
    rate: float = 1.0,
    count: int | None = None,
    temp: float | None = None,
    make_device: Callable[[KitFiles], Reporter] | None = None,
) -> int:
    """Report readings until they are enough, or until interrupted.

    Args:
        terminal: where its lines go.
        folder: of the kit.
        rate: readings per second, at most 100 as AWS allows one connection.
        count: how many; None reports until Ctrl+C.
        temp: the temperature of every reading; None lets it swing around 21.5.
        make_device: makes the device of a kit; None makes the one that uses the AWS SDK.

    Returns:
        0, also when reporting was interrupted.

    Raises:
        KeyboardInterrupt: interrupted before it reported.
        HarnessError: the kit cannot be used, or a step was refused.
    """
    files = read_kit(folder)
    kit = files.kit
    terminal.line(f"[setup] endpoint={kit.endpoint} port={kit.mqtts_port} thing={kit.thing_name}")
    progress = _Progress()
    try:
        device = (make_device or _make_device)(files)
        asyncio.run(_report(device, files, terminal, progress, rate=rate, count=count, temp=temp))
    except KeyboardInterrupt:
        if not progress.is_reporting:
            raise
    terminal.line(f"[done] {progress.reported} reading{'' if progress.reported == 1 else 's'}")
    return 0


async def _report(
    device: Reporter,
    files: KitFiles,
    terminal: Terminal,
    progress: _Progress,
    *,
    rate: float,
    count: int | None,
    temp: float | None,
) -> None:
    try:
        terminal.line("[connecting]")
        await _connect(device, files)
        terminal.line("[connected]")
        progress.is_reporting = True
        if count is None:
            terminal.line("[reporting] Press Ctrl+C to exit...")
        pace = Pace(rate, began=time.monotonic())
        for value in _temperatures(temp):
            sent = await _publish(device, value)
            progress.reported += 1
            terminal.line(f"[published] {sent.topic}: {sent.text}")
            if progress.reported == count:
                break
            await asyncio.sleep(pace.pause(time.monotonic()))
    finally:
        await device.has_stopped()  # whether or not it did: how it ended is told above


async def _connect(device: Reporter, files: KitFiles) -> None:
    """Connect; what the broker leaves unsaid, say what to look at.

    A kit holds no token of the operator's, so the stand-in's trace, which knows the reason, is not asked.
    """
    try:
        await device.connect()
    except ConnectionRefused as refused:
        if refused.because is not None:
            raise
        raise ConnectionRefused(
            refused.client_id, how=refused.how, because=_what_lets_in(files, is_tls=refused.how == "tls")
        ) from None
    except TargetUnavailable as error:
        raise TargetUnavailable(f"{error}; a kit is of use while the target that it was made for runs") from None


async def _publish(device: Reporter, temp: float) -> Sent:
    """Publish a reading; what the broker leaves unsaid, say what to look at."""
    try:
        return await device.publish_reading(temp)
    except OperationRefused as refused:
        if refused.because is not None:
            raise
        raise OperationRefused(
            refused.client_id,
            action=refused.action,
            resource=refused.resource,
            how=refused.how,
            because="the broker does not tell why; a policy of the certificate has to allow it, and the connection "
            "has to hold until the answer",
        ) from None


def _what_lets_in(files: KitFiles, *, is_tls: bool) -> str:
    from harness.clients.certificates import certificate_id  # noqa: PLC0415 - reads the certificate with a large library

    kit = files.kit
    authority = f"{AUTHORITY} has to be the authority of the endpoint's certificate, " if is_tls else ""
    return (
        f"the broker does not tell why; {authority}certificate {certificate_id(files.certificate_pem)} has to be "
        f"ACTIVE and attached to thing {kit.thing_name}, with a policy that allows iot:Connect as {kit.client_id}"
    )


def _temperatures(temp: float | None) -> Iterator[float]:
    number = 0
    while True:
        yield temp if temp is not None else _swinging(number)
        number += 1


def _swinging(number: int) -> float:
    return round(_MEAN_TEMPERATURE + _SWING * math.sin(2 * math.pi * number / _READINGS_PER_SWING), 2)


def _make_device(files: KitFiles) -> Reporter:
    from harness.clients.certificates import certificate_id  # noqa: PLC0415 - the SDK: not before the first line
    from harness.clients.device import Device, MqttsEndpoint  # noqa: PLC0415 - the same
    from harness.clients.identities import DeviceIdentity  # noqa: PLC0415 - the same

    kit = files.kit
    identity = DeviceIdentity(
        thing_name=kit.thing_name,
        certificate_id=certificate_id(files.certificate_pem),
        certificate_arn=None,
        certificate_pem=files.certificate_pem,
        private_key_pem=files.private_key_pem,
    )
    return Device(
        endpoint=MqttsEndpoint(
            host=kit.endpoint,
            port=kit.mqtts_port,
            ca_file=str(files.authority),
            is_port_shared=kit.is_port_shared,
        ),
        identity=identity,
        client_id=kit.client_id,
        telemetry_topic=kit.telemetry_topic,
    )
