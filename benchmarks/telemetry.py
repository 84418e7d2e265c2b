"""Readings of devices that become rows: how many a second, how long each takes, and which process is busy meanwhile.

    python benchmarks/telemetry.py [--readings 5000] [--devices 10] [--rates 100,150,…] [--seconds-behind 0.5]

For each rate an embedded target of its own is started, with its stack: devices over mutual TLS, broker, rule, HTTPS,
receiver, DynamoDB on moto. All readings are published at that rate, whether or not the rows keep up, by this process.
Rates rise until two in a row were too much. A rate is kept up with when every reading has its row, nothing is in the
dead-letter queue, and the last row is there at most ``--seconds-behind`` after the last reading.

A reading's time is from the call that publishes it, by this process's clock, until the rule has seen the receiver's
200, which comes after the write, by the broker's clock: both are this machine's, and the trace, which is read when all
is over, has milliseconds. CPU is counted while readings are published: ``others`` is what the machine did for anybody
else, and says whether the figures are worth anything.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import ssl
import statistics
import time
import urllib.request
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import uvloop

from harness.clients.admin import AdminApi
from harness.clients.crowd import connect_all, stop_all
from harness.clients.device import Device, MqttsEndpoint
from harness.clients.handover import Handover
from harness.clients.identities import Identities
from harness.targets.embedded import EmbeddedTarget

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence

    from harness.clients.device import Reading
    from harness.targets.base import Environment

MOST_PER_DEVICE: Final = 90
"""Readings a second: the SDK holds back more than 100, as AWS does."""

COMMANDS: Final = {"harness.embedded": "broker", "harness.embedded.control": "control", "receiver": "receiver"}
"""Module of a child process to the name it has here."""

_STANDSTILL_SECONDS: Final = 5.0
_PATIENCE: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What became of one reading; times in seconds since the epoch.

    Args:
        sent: the call that published it.
        accepted: the broker had it.
        posted: the last request to the receiver began.
        stored: the rule had the receiver's success; None: it never had.
        tries: how many requests it took.
    """

    sent: float
    accepted: float
    posted: float
    stored: float | None
    tries: int


class Cpu:
    """CPU seconds of the processes of a run and of the whole machine.

    Args:
        further: name to process id, besides this process and its children that are known by what they run.
    """

    def __init__(self, **further: int) -> None:
        self._processes = {"load": os.getpid(), **child_processes(), **further}
        self._began = time.perf_counter()
        self._before = self._now()

    def _now(self) -> dict[str, float]:
        tick = os.sysconf("SC_CLK_TCK")
        used = {}
        for name, process in self._processes.items():
            fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            used[name] = (int(fields[11]) + int(fields[12])) / tick
        user, nice, system, _, _, interrupts, soft = map(int, Path("/proc/stat").read_text("utf-8").split()[1:8])
        used["machine"] = (user + nice + system + interrupts + soft) / tick
        return used

    def shares(self) -> dict[str, float]:
        """Return CPU seconds per second of each process since the start, and of everything else as ``others``."""
        elapsed = time.perf_counter() - self._began
        shares = {name: (value - self._before[name]) / elapsed for name, value in self._now().items()}
        machine = shares.pop("machine")
        return {**shares, "others": max(machine - sum(shares.values()), 0.0)}


def child_processes() -> dict[str, int]:
    """Return the process ids of this process's children, by what they are."""
    found = {}
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            parent = int((entry / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
            words = (entry / "cmdline").read_text(encoding="utf-8").split("\0")
            if parent == os.getpid() and "-m" in words and words[words.index("-m") + 1] in COMMANDS:
                found[COMMANDS[words[words.index("-m") + 1]]] = int(entry.name)
    return found


class Publisher:
    """Publishes readings with numbers for temperatures, each device its share of the rate.

    Args:
        devices: connected.
    """

    def __init__(self, devices: Sequence[Device]) -> None:
        self._devices = devices
        self._numbers = count()
        self.sent: dict[int, float] = {}
        self.seconds = 0.0

    async def publish(self, readings: int, *, rate: float) -> None:
        """Publish so many at this rate, without waiting for any; return when the broker has acknowledged them all."""
        begin = time.perf_counter()
        tasks: list[asyncio.Task[Reading]] = []
        for number, device in zip(range(readings), _in_turns(self._devices), strict=False):
            ahead = begin + number / rate - time.perf_counter()
            if ahead > 0:
                await asyncio.sleep(ahead)
            elif number % 20 == 0:
                await asyncio.sleep(0)
            name = next(self._numbers)
            self.sent[name] = time.time()
            tasks.append(asyncio.create_task(device.publish_reading(name)))
        self.seconds = time.perf_counter() - begin
        await asyncio.gather(*tasks)


def _in_turns(devices: Sequence[Device]) -> Iterable[Device]:
    return chain.from_iterable(devices for _ in count())


class Readings:
    """The whole path of one target, seen from its ends.

    Args:
        environment: with its stack.
    """

    def __init__(self, environment: Environment) -> None:
        outputs = environment.outputs
        self._environment = environment
        self._outputs = outputs
        assert environment.admin_url  # noqa: S101 - an embedded target has one
        self._admin = AdminApi(environment.admin_url, environment.admin_token or "")
        self._tls = ssl.create_default_context(cafile=outputs.ca_file)
        self._identities = Identities(
            iot=environment.client("iot"), policy_name=outputs.device_policy_name, names=environment.names
        )

    @contextlib.asynccontextmanager
    async def devices(self, number: int) -> AsyncIterator[list[Device]]:
        """Register and connect devices, and take them away again."""
        outputs, handover = self._outputs, Handover()
        endpoint = MqttsEndpoint(
            host=outputs.iot_endpoint,
            port=outputs.iot_mqtts_port,
            ca_file=outputs.ca_file,
            is_port_shared=outputs.is_port_shared,
        )
        identities = await asyncio.to_thread(self._identities.make, number)
        devices = [
            Device(
                endpoint=endpoint,
                identity=identity,
                telemetry_topic=outputs.telemetry_topic,
                handover=handover,
                patience=_PATIENCE,
            )
            for identity in identities
        ]
        await connect_all(devices)
        try:
            yield devices
        finally:
            await stop_all(devices)
            await asyncio.to_thread(self._identities.remove)

    async def until_written(self, wanted: int) -> None:
        """Wait until the receiver has written so many rows, or writes no more."""
        written, since = -1.0, time.monotonic()
        while written < wanted and time.monotonic() - since < _STANDSTILL_SECONDS:
            await asyncio.sleep(0.1)
            now = (await asyncio.to_thread(self.metrics))["receiver_rows_written_total"]
            if now != written:
                written, since = now, time.monotonic()

    def metrics(self) -> dict[str, float]:
        """Return what the receiver has counted, of all without labels."""
        # The stand-in's own receiver, on this machine.
        url = f"{self._outputs.need('receiver_url')}/metrics"
        with urllib.request.urlopen(url, context=self._tls) as answer:  # noqa: S310 - see above
            lines = answer.read().decode().splitlines()
        return {line.split()[0]: float(line.split()[1]) for line in lines if "{" not in line and line[0] != "#"}

    def rows(self, devices: Iterable[Device]) -> int:
        """Count the rows of these devices by one Query each."""
        dynamodb = self._environment.client("dynamodb")
        pages = dynamodb.get_paginator("query")
        return sum(
            page["Count"]
            for device in devices
            for page in pages.paginate(
                TableName=self._outputs.need("table_name"),
                Select="COUNT",
                KeyConditionExpression="deviceId = :device",
                ExpressionAttributeValues={":device": {"S": device.thing_name}},
            )
        )

    def dead_letters(self) -> int:
        """Count what is in the dead-letter queue."""
        name = "ApproximateNumberOfMessages"
        url = self._outputs.need("dead_letter_queue_url")
        attributes = self._environment.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=[name])
        return int(attributes["Attributes"][name])

    def fates(self, sent: dict[int, float]) -> list[Fate]:
        """Find in the trace what became of the readings, by message id."""
        accepted: dict[str, tuple[int, float]] = {}
        posted: dict[str, float] = {}
        stored: dict[str, float] = {}
        tries: Counter[str] = Counter()
        for record in self._trace():
            message, says, at = record["message_id"], record["detail"], _seconds(record["at"])
            if record["kind"] == "publish" and record["topic"] == self._outputs.telemetry_topic:
                accepted[message] = (int(says["payload"].partition('"temp":')[2].partition(",")[0]), at)
            elif record["kind"] == "http_try":
                tries[message] += 1
                posted[message] = at - says["milliseconds"] / 1000
            elif record["kind"] == "action" and says["outcome"] == "ok":
                stored[message] = at
        return [
            Fate(
                sent=sent[number],
                accepted=at,
                posted=posted.get(message, at),
                stored=stored.get(message),
                tries=tries[message],
            )
            for message, (number, at) in accepted.items()
            if number in sent
        ]

    def _trace(self) -> Iterable[dict[str, Any]]:
        since = 0
        while records := self._admin.get_lines("trace", since=since):
            yield from records
            since = records[-1]["seq"]


def _seconds(at: str) -> float:
    return datetime.fromisoformat(at).timestamp() + 0.0005  # the trace cuts to milliseconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One rate, measured.

    Args:
        rate: readings a second that were asked for.
        achieved: that were published.
        fates: of all readings that the broker accepted.
        rows: in the table.
        dead_letters: in the queue.
        write_seconds: the receiver's mean for a row.
        cpu: process to CPU seconds per second.
        readings: how many were published.
    """

    rate: float
    achieved: float
    fates: Sequence[Fate]
    rows: int
    dead_letters: int
    write_seconds: float
    cpu: dict[str, float]
    readings: int

    @property
    def stored(self) -> list[Fate]:
        """The readings with a row."""
        return [fate for fate in self.fates if fate.stored is not None]

    @property
    def seconds_behind(self) -> float:
        """From the last reading to the last row."""
        return max(fate.stored or 0.0 for fate in self.stored) - max(fate.sent for fate in self.fates)

    @property
    def rows_per_second(self) -> float:
        """Rows a second, over the middle half of them."""
        at = sorted(fate.stored or 0.0 for fate in self.stored)
        first, last = len(at) // 4, len(at) * 3 // 4
        return (last - first) / (at[last] - at[first])

    def keeps_up(self, seconds_behind: float) -> bool:
        """Whether every reading became a row in time."""
        return not self.dead_letters and self.rows == self.readings and self.seconds_behind <= seconds_behind


def measure(rate: float, *, readings: int, devices: int) -> Result:
    """Start a target and measure one rate."""
    target = EmbeddedTarget()
    environment = target.start()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_measure(Readings(environment), rate, readings=readings, devices=devices))
    finally:
        target.stop()


async def _measure(path: Readings, rate: float, *, readings: int, devices: int) -> Result:
    async with path.devices(max(devices, int(rate / MOST_PER_DEVICE) + 1)) as crowd:
        await Publisher(crowd).publish(len(crowd), rate=50)  # loads what the first row needs
        await path.until_written(len(crowd))
        before = path.metrics()
        publisher, cpu = Publisher(crowd), Cpu()
        await publisher.publish(readings, rate=rate)
        shares = cpu.shares()
        await path.until_written(readings + len(crowd))
        after = path.metrics()
        writes, write_seconds = (
            after[f"receiver_write_seconds_{name}"] - before[f"receiver_write_seconds_{name}"]
            for name in ("count", "sum")
        )
        rows = path.rows(crowd) - len(crowd)
        # The first readings have the same numbers, and were published before.
        begun = min(publisher.sent.values())
        return Result(
            rate=rate,
            achieved=readings / publisher.seconds,
            fates=[fate for fate in path.fates(publisher.sent) if fate.accepted >= begun - 0.001],
            rows=rows,
            dead_letters=path.dead_letters(),
            write_seconds=write_seconds / (writes or 1),
            cpu=shares,
            readings=readings,
        )


def percentile(values: Iterable[float], share: float) -> float:
    """Return the value that this share of the values does not exceed."""
    ranked = sorted(values)
    return ranked[min(int(len(ranked) * share), len(ranked) - 1)]


def show(result: Result, *, seconds_behind: float) -> None:
    """Print one rate."""
    taken = [(fate.stored or 0.0) - fate.sent for fate in result.stored]
    stages: dict[str, Callable[[Fate], float]] = {
        "to the broker": lambda fate: fate.accepted - fate.sent,
        "until posted": lambda fate: fate.posted - fate.accepted,
        "receiver": lambda fate: (fate.stored or 0.0) - fate.posted,
    }
    verdict = "kept up" if result.keeps_up(seconds_behind) else "FELL BEHIND"
    print(
        f"{result.rate:5.0f}/s: published {result.achieved:.0f}/s, rows {result.rows_per_second:.0f}/s, "
        f"p50 {percentile(taken, 0.5) * 1000:.1f} ms, p99 {percentile(taken, 0.99) * 1000:.1f} ms, "
        f"last row {result.seconds_behind:.2f} s behind: {verdict}"
    )
    tries = Counter(fate.tries for fate in result.fates)
    told = ", ".join(f"{number} with {tried} tries" for tried, number in sorted(tries.items()) if tried != 1)
    print(f"         {result.rows} rows, {result.dead_letters} dead letters, tries: {told or 'one each'}")
    medians = [
        f"{name} {statistics.median(stage(fate) for fate in result.stored) * 1000:.1f}"
        for name, stage in stages.items()
    ]
    print(f"         medians in ms: {', '.join(medians)}; mean of the write {result.write_seconds * 1000:.1f}")
    print(f"         CPU: {', '.join(f'{name} {share * 100:.0f} %' for name, share in result.cpu.items())}", flush=True)


def main() -> None:
    """Measure by the command line's numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--readings", type=int, default=5_000, help="for each rate")
    parser.add_argument("--devices", type=int, default=10, help="at least; as many as the rate takes")
    parser.add_argument("--rates", default="100,150,200,250,300,350,400,450,500,600,700,800", help="a second")
    parser.add_argument("--seconds-behind", type=float, default=0.5, help="of the last row, at most")
    options = parser.parse_args()
    print(f"{options.readings} readings of at least {options.devices} devices, load average {os.getloadavg()[0]:.1f}")
    kept: list[float] = []
    missed = 0
    for rate in map(float, options.rates.split(",")):
        result = measure(rate, readings=options.readings, devices=options.devices)
        show(result, seconds_behind=options.seconds_behind)
        if result.keeps_up(options.seconds_behind):
            kept.append(rate)
            missed = 0
        elif (missed := missed + 1) == 2:
            break
    print(f"highest rate kept up with: {max(kept):.0f} readings a second" if kept else "no rate was kept up with")


if __name__ == "__main__":
    main()
