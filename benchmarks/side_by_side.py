"""What telemetry costs a broadcast: p99 of one to 50 guests, alone and beside readings that become rows.

    python benchmarks/side_by_side.py [--rounds 6] [--seconds 5] [--guests 50] [--readings 100] [--identities 5]

One run, phases in turn: in the idle one a guest broadcasts ten messages a second to the others over WebSocket; in the
busy one it does the same while another process publishes readings from devices, each of which becomes a row, and makes
identities of devices once. A latency is one guest's, from the call that publishes to the client library's report. Each
phase gives its median and p99; printed are the medians over the phases, and the ratio of the busy p99 to the idle one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import time
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import uvloop

from harness.clients.broadcast import BroadcastClient, WssEndpoint
from harness.clients.credentials import CognitoCredentials
from harness.clients.crowd import connect_all, stop_all
from harness.clients.handover import Handover
from harness.clients.identities import Identities
from harness.targets.base import Environment
from harness.targets.embedded import EmbeddedTarget
from harness.targets.names import Names, make_run_id
from harness.targets.ready import ReadyFile

sys.path.insert(0, str(Path(__file__).parent))  # not there where Python is told to be safe

from telemetry import Cpu, Publisher, Readings, percentile

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

TOPIC: Final = "public/side-by-side"
PAUSE: Final = 0.1
"""Seconds between two broadcasts."""

_DEVICES: Final = 5
_PATIENCE: Final = 30.0
_WARM_UP: Final = 20


class Load:
    """The process with the devices; told what to do by lines on its standard input, and answers each with one.

    Args:
        process: runs `drive`.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def ask(self, **what: Any) -> dict[str, Any]:
        """Have it do something and return how that went."""
        assert self._process.stdin is not None  # noqa: S101 - a pipe was asked for
        assert self._process.stdout is not None  # noqa: S101 - the same
        self._process.stdin.write(json.dumps(what).encode() + b"\n")
        answer: dict[str, Any] = json.loads(await self._process.stdout.readline())
        return answer

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid


@asynccontextmanager
async def load_process(environment: Environment) -> AsyncIterator[Load]:
    """Start the process with the devices, and end it."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, __file__, "--drive", stdin=pipe, stdout=pipe)
    load = Load(process)
    try:
        assert environment.ready is not None  # noqa: S101 - an embedded target has one
        await load.ask(**asdict(environment.ready))
        yield load
    finally:
        assert process.stdin is not None  # noqa: S101 - a pipe was asked for
        process.stdin.close()
        await process.wait()


async def drive() -> None:
    """Be the process with the devices."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    ready = ReadyFile(**json.loads(await reader.readline()))
    environment = Environment.from_ready("embedded", ready, names=Names(make_run_id()))
    path = Readings(environment)
    async with path.devices(_DEVICES) as devices:
        await Publisher(devices).publish(_WARM_UP, rate=50)
        await path.until_written(_WARM_UP)
        print("{}", flush=True)
        while line := await reader.readline():
            print(json.dumps(await _work(environment, path, Publisher(devices), **json.loads(line))), flush=True)


async def _work(
    environment: Environment, path: Readings, publisher: Publisher, *, seconds: float, rate: float, identities: int
) -> dict[str, float]:
    before = path.metrics()["receiver_rows_written_total"]
    outputs = environment.outputs
    maker = Identities(iot=environment.client("iot"), policy_name=outputs.device_policy_name, names=environment.names)
    publishing = asyncio.create_task(publisher.publish(int(seconds * rate), rate=rate))
    await asyncio.sleep(seconds / 4)
    begin = time.perf_counter()
    await asyncio.to_thread(maker.make, identities)
    making = time.perf_counter() - begin
    await publishing
    await path.until_written(int(before) + int(seconds * rate))
    rows = path.metrics()["receiver_rows_written_total"] - before
    await asyncio.to_thread(maker.remove)
    return {"rows": rows, "making": making, "publishing": publisher.seconds}


class Guests:
    """The guests of one target, connected, all but the broadcaster subscribed.

    Args:
        environment: with its stack.
        number: who listen.
    """

    def __init__(self, environment: Environment, number: int) -> None:
        outputs, handover = environment.outputs, Handover()
        endpoint = WssEndpoint.parse(
            outputs.iot_wss_url,
            region=outputs.region,
            ca_file=outputs.ca_file,
            is_port_shared=outputs.is_port_shared,
        )
        cognito = environment.client("cognito-identity", unsigned=True)
        self._everybody = [
            BroadcastClient(
                endpoint=endpoint,
                credentials=CognitoCredentials(identity_pool_id=outputs.identity_pool_id, client=cognito),
                handover=handover,
                patience=_PATIENCE,
            )
            for _ in range(number + 1)
        ]
        self._broadcaster, *self._listeners = self._everybody

    async def connect(self) -> None:
        """Connect them all."""
        await connect_all([self._broadcaster])
        await connect_all(self._listeners, subscribe=TOPIC)

    async def stop(self) -> None:
        """Disconnect them all."""
        await stop_all(self._everybody)

    async def broadcast(self, seconds: float) -> list[float]:
        """Broadcast for a while and return the seconds each message took to each guest."""
        taken: list[float] = []
        begin = time.perf_counter()
        for number in range(int(seconds / PAUSE)):
            await asyncio.sleep(begin + number * PAUSE - time.perf_counter())
            # The time of the message is taken before it is sent; the broker's answer is awaited within.
            message = await self._broadcaster.publish(TOPIC, f"broadcast {number} of {begin}")
            deliveries = await message.reaches(self._listeners)
            taken += [delivery.received_at - message.sent_at for delivery in deliveries]
        return taken


async def measure(environment: Environment, options: Any) -> None:
    """Run the phases and print what came of them."""
    guests = Guests(environment, options.guests)
    await guests.connect()
    phases: dict[str, list[list[float]]] = {"idle": [], "busy": []}
    shares: list[dict[str, float]] = []
    told: list[dict[str, float]] = []
    try:
        async with load_process(environment) as load:
            await guests.broadcast(2.0)
            for _ in range(options.rounds):
                phases["idle"].append(await guests.broadcast(options.seconds))
                cpu = Cpu(devices=load.pid)
                work = load.ask(seconds=options.seconds, rate=options.readings, identities=options.identities)
                working = asyncio.create_task(work)
                phases["busy"].append(await guests.broadcast(options.seconds))
                shares.append(cpu.shares())
                told.append(await working)
                await asyncio.sleep(1.0)
    finally:
        await guests.stop()
    show(phases, shares, told, options)


def show(
    phases: dict[str, list[list[float]]],
    shares: Sequence[dict[str, float]],
    told: Sequence[dict[str, float]],
    options: Any,
) -> None:
    """Print medians and the ratio."""
    p99: dict[str, float] = {}
    for name, taken in phases.items():
        p50 = statistics.median(percentile(each, 0.5) for each in taken) * 1000
        each_p99 = [percentile(each, 0.99) * 1000 for each in taken]
        p99[name] = statistics.median(each_p99)
        spread = f"{min(each_p99):.1f} to {max(each_p99):.1f}"
        print(f"{name}: p50 {p50:.1f} ms, p99 {p99[name]:.1f} ms ({spread} in {len(taken)} phases)")
    wanted = options.readings * options.seconds
    rows = " ".join(f"{each['rows']:.0f}" for each in told)
    making = statistics.median(each["making"] for each in told)
    print(
        f"rows of {wanted:.0f} readings in each busy phase: {rows}; {options.identities} identities in {making:.2f} s"
    )
    cpu = ", ".join(f"{name} {statistics.median(each[name] for each in shares) * 100:.0f} %" for name in shares[0])
    print(f"CPU while busy: {cpu}")
    print(f"p99 busy / p99 idle: {p99['busy'] / p99['idle']:.2f}")


def main() -> None:
    """Measure by the command line's numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each phase")
    parser.add_argument("--guests", type=int, default=50, help="who listen")
    parser.add_argument("--readings", type=float, default=100.0, help="a second, in busy phases")
    parser.add_argument("--identities", type=int, default=5, help="made in each busy phase")
    parser.add_argument("--drive", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.drive:
        asyncio.run(drive())
        return
    print(f"{options.guests} guests, {options.rounds} rounds of {options.seconds:g} s", end=", ")
    print(f"load average {os.getloadavg()[0]:.1f}")
    target = EmbeddedTarget()
    environment = target.start()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(measure(environment, options))
    finally:
        target.stop()


if __name__ == "__main__":
    main()
