"""Readings while the receiver is killed again and again: after a redrive every reading has one row, and no other.

    python benchmarks/kills.py [--readings 20000] [--kills 5] [--devices 40] [--rates 1400,1200,…] [--probe 4000]
                               [--seconds-behind 1] [--min-age 60]

First the highest rate is found at which no reading becomes a dead letter when nobody kills the receiver: rates fall
until one is kept up with in a probe, and then in a run of full length. Kept up with is a rate at which all readings get
their rows, the last at most ``--seconds-behind`` after it was published. Then, at that rate, the stack's receiver is
killed (SIGKILL) and started again, so many times, evenly over the run. Each run has an embedded target of its own;
readings go from devices over mutual TLS by broker, rule, HTTPS and receiver to DynamoDB on moto.

When all rules have ended, rows are counted: what is stored before the redrive. Then the dead letters are redriven, as
`thingwright redrive` does it, again and again until none is left: letters younger than ``--min-age`` are left alone at
first, so this takes a minute at least. In the end each reading, known by its device and its number, is counted in the
table. Exit code 1 when a reading has no row or several, when the queue is not empty, when less than 60 % was stored
before the redrive, when the stand-in throttled any, or when a kill came too late to hit any reading.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import ssl
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import uvloop

from harness.clients.admin import AdminApi
from harness.clients.faults import Faults
from harness.clients.letter_box import LetterBox
from harness.clients.redriving import Outcome, Redriver
from harness.clients.stored import StoredRows
from harness.targets.embedded import EmbeddedTarget

sys.path.insert(0, str(Path(__file__).parent))  # not there where Python is told to be safe

from telemetry import MOST_PER_DEVICE, Publisher, Readings

if TYPE_CHECKING:
    from collections.abc import Iterable

    from harness.clients.device import Device
    from harness.targets.base import Environment

LEAST_STORED: Final = 0.6
"""Share of the readings that must have a row before the redrive."""

_ACHIEVED: Final = 0.97
"""Share of a rate that must have been published for the rate to count."""

_STANDSTILL_SECONDS: Final = 5.0
"""Longer than a rule tries: when nothing has changed for so long, all have ended."""

_MOST_SECONDS: Final = 900.0
"""For redriving."""

_SECONDS_BETWEEN_RUNS: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What became of the readings of one run.

    Args:
        rate: asked for, a second.
        achieved: published, a second.
        readings: how many were published.
        kills: of the receiver, while readings were being published.
        seconds_behind: from the last reading until the receiver had written all, or wrote no more.
        stored: readings that had a row when all rules had ended.
        letters: dead letters then.
        throttled: readings that no rule took, since too many were held back already: neither a row nor a letter.
        held: readings held back at most, as seen a few times a second.
        outcome: of the redrives; None without.
        redrive_seconds: their time, waiting included.
        rows: in the table in the end.
        copies: number of rows to how many readings have so many, in the end.
        still_letters: in the queue in the end.
    """

    rate: float
    achieved: float
    readings: int
    kills: int = 0
    seconds_behind: float
    stored: int
    letters: int
    throttled: int = 0
    held: int = 0
    outcome: Outcome | None = None
    redrive_seconds: float = 0.0
    rows: int
    copies: Counter[int] = field(repr=False)
    still_letters: int

    @property
    def lost(self) -> int:
        """Readings without a row."""
        return self.copies[0]

    @property
    def doubled(self) -> int:
        """Rows beyond the first of their reading."""
        return sum((number - 1) * readings for number, readings in self.copies.items() if number > 1)

    @property
    def is_whole(self) -> bool:
        """Whether each reading has its one row, and no letter is left."""
        return not (self.lost or self.doubled or self.still_letters) and self.rows == self.readings


class Table:
    """The readings' rows of some devices, by device and number.

    Args:
        environment: with its stack.
        devices: which publish numbers for temperatures, from `first` on.
        first: the lowest number that counts: what came before only warmed up.
    """

    def __init__(self, environment: Environment, devices: Iterable[Device], *, first: int) -> None:
        self._dynamodb = environment.client("dynamodb")
        self._name = environment.outputs.need("table_name")
        self._devices = [device.thing_name for device in devices]
        self._first = first

    def copies(self) -> Counter[tuple[str, int]]:
        """Return how many rows each reading has, of those that have any."""
        counted: Counter[tuple[str, int]] = Counter()
        for name in self._devices:
            for page in self._dynamodb.get_paginator("query").paginate(
                TableName=self._name,
                ConsistentRead=True,
                KeyConditionExpression="deviceId = :device",
                ProjectionExpression="temperature",
                ExpressionAttributeValues={":device": {"S": name}},
            ):
                counted.update((name, int(item["temperature"]["N"])) for item in page["Items"])
        return Counter({key: number for key, number in counted.items() if key[1] >= self._first})


class Backlog:
    """What the stand-in holds back for the rules' actions, and what it refuses to.

    Args:
        admin: of the target.
    """

    def __init__(self, admin: AdminApi) -> None:
        self._admin = admin
        self.most_held = 0
        self.throttled = 0

    async def watch(self) -> None:
        """Look a few times a second, for ever."""
        while True:
            await self.look()
            await asyncio.sleep(0.25)

    async def look(self) -> None:
        """Look once."""
        (status,) = await asyncio.to_thread(self._admin.get_lines, "status")
        self.most_held = max(self.most_held, status["held_messages"])
        self.throttled = status["throttled_messages"]


def run(rate: float, *, readings: int, devices: int, kills: int, min_age: float) -> Run:
    """Start a target, publish at a rate, and look at what became of the readings.

    Args:
        rate: readings a second.
        readings: how many.
        devices: at least; as many as the rate takes.
        kills: how often the receiver is killed; 0 leaves the dead letters as well.
        min_age: seconds, for the redrive.
    """
    target = EmbeddedTarget()
    environment = target.start()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_run(environment, rate, readings=readings, devices=devices, kills=kills, min_age=min_age))
    finally:
        target.stop()


async def _run(
    environment: Environment, rate: float, *, readings: int, devices: int, kills: int, min_age: float
) -> Run:
    path = Readings(environment)
    assert environment.admin_url  # noqa: S101 - an embedded target has one
    faults = Faults(AdminApi(environment.admin_url, environment.admin_token or ""))
    async with path.devices(max(devices, int(rate / MOST_PER_DEVICE) + 1)) as crowd:
        publisher = Publisher(crowd)
        await publisher.publish(len(crowd), rate=50)  # loads what the first row needs
        await path.until_written(len(crowd))
        table = Table(environment, crowd, first=len(crowd))
        publishing = asyncio.create_task(publisher.publish(readings, rate=rate))
        backlog = Backlog(AdminApi(environment.admin_url, environment.admin_token or ""))
        watching = asyncio.create_task(backlog.watch())
        on_the_way = 0
        for number in range(kills):
            await _until_published(publisher, publishing, len(crowd) + readings * (number + 1) // (kills + 1))
            on_the_way += len(publisher.sent) < len(crowd) + readings
            await faults.stop_receiver(how="kill")
            await faults.start_receiver()
        await publishing
        published_at = time.monotonic()
        if not kills:
            await path.until_written(len(crowd) + readings)
        seconds_behind = time.monotonic() - published_at
        await _until_over(path)
        watching.cancel()
        await backlog.look()
        before, letters = await asyncio.to_thread(table.copies), await asyncio.to_thread(path.dead_letters)
        outcome, began = None, time.monotonic()
        if kills:
            outcome = await asyncio.to_thread(_redrive_all, environment, min_age=min_age)
        taken = time.monotonic() - began
        after = await asyncio.to_thread(table.copies) if kills else before
        published = [
            (crowd[(number - len(crowd)) % len(crowd)].thing_name, number)
            for number in range(len(crowd), len(crowd) + readings)
        ]
        return Run(
            rate=rate,
            achieved=readings / publisher.seconds,
            readings=readings,
            kills=on_the_way,
            seconds_behind=seconds_behind,
            stored=len(before),
            letters=letters,
            throttled=backlog.throttled,
            held=backlog.most_held,
            outcome=outcome,
            redrive_seconds=taken,
            rows=after.total(),
            copies=Counter(after[each] for each in published),
            still_letters=await asyncio.to_thread(path.dead_letters),
        )


async def _until_published(publisher: Publisher, publishing: asyncio.Task[None], number: int) -> None:
    while len(publisher.sent) < number and not publishing.done():  # noqa: ASYNC110 - the publisher tells nobody
        await asyncio.sleep(0.005)


async def _until_over(path: Readings) -> None:
    """Wait until neither rows nor dead letters have become more for longer than any rule tries."""
    seen: tuple[float, int] | None = None
    since = time.monotonic()
    while time.monotonic() - since < _STANDSTILL_SECONDS:
        await asyncio.sleep(0.25)
        now = await asyncio.to_thread(lambda: (path.metrics()["receiver_rows_written_total"], path.dead_letters()))
        if now != seen:
            seen, since = now, time.monotonic()


def _redrive_all(environment: Environment, *, min_age: float) -> Outcome:
    """Redrive until nothing is left, or nothing more can be done."""
    outputs = environment.outputs
    total, began = Outcome(), time.monotonic()
    while True:
        total.go_on(
            Redriver(
                box=LetterBox(environment.client("sqs"), outputs.need("dead_letter_queue_url")),
                rows=StoredRows(environment.client("dynamodb"), outputs.need("table_name")),
                iot=environment.client("iot"),
                tls=ssl.create_default_context(cafile=outputs.ca_file),
                min_age=min_age,
            ).run()
        )
        print(f"         redrive after {time.monotonic() - began:.0f} s: {total}", flush=True)
        if not total.can_go_on or time.monotonic() - began > _MOST_SECONDS:
            return total
        time.sleep(_SECONDS_BETWEEN_RUNS)


def show(run: Run) -> None:
    """Print one run."""
    print(
        f"{run.rate:5.0f}/s: published {run.achieved:.0f}/s, {run.kills} kills, stored {run.stored} of {run.readings} "
        f"({run.stored / run.readings:.1%}), dead letters {run.letters}"
        f", held back at most {run.held}, throttled {run.throttled}"
        + ("" if run.kills else f", last row {run.seconds_behind:.1f} s behind"),
        flush=True,
    )


def find_rate(
    rates: Iterable[float], *, probe: int, readings: int, devices: int, seconds_behind: float
) -> float | None:
    """Return the first rate that undisturbed runs keep up with; None when there is none."""
    for rate in rates:
        for number in (probe, readings):
            undisturbed = run(rate, readings=number, devices=devices, kills=0, min_age=0)
            show(undisturbed)
            is_as_fast = undisturbed.achieved >= _ACHIEVED * rate
            if not (undisturbed.is_whole and is_as_fast and undisturbed.seconds_behind <= seconds_behind):
                break
        else:
            return rate
    return None


def claims(killed: Run, *, kills: int) -> dict[str, bool]:
    """Return what is claimed of a run with so many kills, and whether it holds."""
    return {
        f"{kills} kills while readings were on their way": killed.kills == kills,
        f"{killed.readings} rows in the end": killed.rows == killed.readings,
        "no reading is throttled": killed.throttled == 0,
        "no reading is lost": killed.lost == 0,
        "every loss is a throttled reading": killed.lost == killed.throttled,
        "no reading is doubled": killed.doubled == 0,
        "no dead letter is left": killed.still_letters == 0,
        f"{LEAST_STORED:.0%} are stored before the redrive": killed.stored >= LEAST_STORED * killed.readings,
    }


def main() -> None:
    """Run by the command line's numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--readings", type=int, default=20_000, help="of the run with kills")
    parser.add_argument("--kills", type=int, default=5, help="of the receiver")
    parser.add_argument("--devices", type=int, default=40, help="at least; as many as the rate takes")
    parser.add_argument(
        "--rates", default="1400,1200,1000,900,800,700,600,500,400,300,200,100", help="a second, falling"
    )
    parser.add_argument("--probe", type=int, default=4_000, help="readings of the first look at a rate")
    parser.add_argument("--seconds-behind", type=float, default=1.0, help="of the last row without kills, at most")
    parser.add_argument("--min-age", type=float, default=60.0, help="seconds, of the redrive")
    options = parser.parse_args()
    print(
        f"{options.readings} readings of at least {options.devices} devices, {options.kills} kills, "
        f"load average {os.getloadavg()[0]:.1f}",
        flush=True,
    )
    rates = [float(rate) for rate in options.rates.split(",")]
    rate = find_rate(
        rates,
        probe=options.probe,
        readings=options.readings,
        devices=options.devices,
        seconds_behind=options.seconds_behind,
    )
    if rate is None:
        sys.exit("no rate was kept up with: the machine is too busy, or --rates are too high")
    told = ", the highest tried: there may be higher ones" if rate == max(rates) else ""
    print(f"highest rate kept up with, and without dead letters: {rate:.0f} readings a second{told}", flush=True)
    killed = run(rate, readings=options.readings, devices=options.devices, kills=options.kills, min_age=options.min_age)
    show(killed)
    print(f"         {killed.outcome}, in {killed.redrive_seconds:.0f} s, the wait for letters' age included")
    print(f"         final rows {killed.rows}, duplicates {killed.doubled}, losses {killed.lost}", flush=True)
    failed = [claim for claim, holds in claims(killed, kills=options.kills).items() if not holds]
    for claim in failed:
        print(f"         FAILED: {claim}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
