"""The demonstration of both paths, where everybody can see who heard what, what was stored, and how fast.

First N guests listen and one broadcasts; then devices report, and their rows are shown (`harness.demo_devices`). The
stand-in is started for it, or is one that already runs, or a stack on AWS is used; the guests and devices are the ones
a test uses, and carry the mark of a run where others share the account.
"""

from __future__ import annotations

import asyncio
import math
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from harness.errors import HarnessError, TargetUnavailable
from harness.targets.names import Names, make_run_id
from harness.terminal import printable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from rich.table import Table

    from harness.console import Guest
    from harness.sdk_guest import DemoGuests
    from harness.targets.base import Environment, Target
    from harness.targets.options import TargetOptions
    from harness.targets.outputs import StackOutputs
    from harness.terminal import Terminal

GREETING = "🎉 Hello from the broadcaster! This is a test message."
PAUSE_BETWEEN_MESSAGES = 0.05
"""Seconds; keeps a broadcaster well below the 100 messages a second that AWS allows one connection."""


@dataclass(slots=True)
class Tally:
    """What one listener heard.

    Args:
        number: counted from 1, as it is shown.
        client_id: the guest's MQTT client id; empty until it is connected.
        latencies: seconds from publish to arrival, by message text.
    """

    number: int
    client_id: str = ""
    latencies: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class Scoreboard:
    """All listeners of one demonstration, and what was said to them.

    Args:
        tallies: one per listener.
        sent_at: message text to the `time.monotonic` at which it was published.
    """

    tallies: list[Tally]
    sent_at: dict[str, float] = field(default_factory=dict)

    def heard(self, tally: Tally, text: str, at: float) -> bool:
        """Note an arrival; False when the text is none of ours or came before."""
        if text not in self.sent_at or text in tally.latencies:
            return False
        tally.latencies[text] = at - self.sent_at[text]
        return True

    @property
    def expected(self) -> int:
        """How many deliveries there must be."""
        return len(self.sent_at) * len(self.tallies)

    @property
    def delivered(self) -> int:
        """How many there were."""
        return sum(len(tally.latencies) for tally in self.tallies)

    def summary(self) -> str:
        """Give the last line: delivered, missing, latency."""
        latencies = sorted(seconds for tally in self.tallies for seconds in tally.latencies.values())
        line = f"delivered {self.delivered} of {self.expected}, missing {self.expected - self.delivered}"
        if latencies:
            half, most = percentile(latencies, 50), percentile(latencies, 99)
            line += f", latency p50 {half * 1000:.1f} ms, p99 {most * 1000:.1f} ms"
        return line

    def missing(self) -> Iterator[str]:
        """Name who lacks what, one line each."""
        for tally in self.tallies:
            lacking = [text for text in self.sent_at if text not in tally.latencies]
            if lacking:
                yield f"[Client {tally.number}] ❌ Missing: {', '.join(lacking)}"


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Give the nearest-rank percentile of a sorted, non-empty sequence."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def texts(messages: int) -> list[str]:
    """Give what the broadcaster says: one greeting, or numbered ones."""
    if messages == 1:
        return [GREETING]
    return [f"{GREETING} ({number} of {messages})" for number in range(1, messages + 1)]


class Display(Protocol):
    """Where the demonstration shows itself."""

    def line(self, text: str) -> None:
        """Show one line that stays."""
        ...


def run_demo(terminal: Terminal, *, clients: int, messages: int, devices: int, options: TargetOptions) -> int:
    """Run the demonstration on a stand-in of its own, on one that runs, or at a stack on AWS.

    Args:
        terminal: where it shows itself: live when somebody watches, plain lines otherwise.
        clients: listeners, at least 1.
        messages: broadcasts, at least 1.
        devices: how many report a reading; 0 leaves the second path out.
        options: a ready file, or a stack on AWS; neither starts a stand-in and stops it again.

    Returns:
        0 when every listener got every message and every reading became a row, else 1.

    Raises:
        HarnessError: the target cannot be used, a guest or a device was refused, or something is left behind.
    """
    terminal.line(f"[demo] {_beginning(options)}")
    target = _make_target(options)
    began = time.monotonic()
    try:
        environment = target.start()
        if devices:
            _check_second_path(environment.outputs)
        from harness.sdk_guest import DemoGuests  # noqa: PLC0415 - the SDKs: not before the first line

        where = f"{environment.iot_endpoint}:{environment.wss_port}"
        terminal.line(f"[demo] ready after {time.monotonic() - began:.1f} s: wss://{where}/mqtt")
        scoreboard = Scoreboard([Tally(number) for number in range(1, clients + 1)])
        topic = environment.names.topic_prefix(environment.outputs.topic_prefix, "demo") + "broadcast"
        terminal.line(f"[demo] topic {topic}")
        with _taken_back(DemoGuests(environment, patience=target.patience), terminal) as guests:
            with show(terminal, scoreboard, messages) as display:
                demonstration = broadcast(
                    scoreboard,
                    display,
                    topic=topic,
                    messages=texts(messages),
                    make_guest=guests.make,
                    patience=target.patience,
                )
                asyncio.run(demonstration)
            for line in scoreboard.missing():
                terminal.line(line)
            terminal.line(f"[demo] {scoreboard.summary()}")
            is_stored = not devices or _run_devices(terminal, environment, count=devices, patience=target.patience)
    finally:
        target.stop()
    return 0 if scoreboard.delivered == scoreboard.expected and is_stored else 1


@contextmanager
def _taken_back(guests: DemoGuests, terminal: Terminal) -> Iterator[DemoGuests]:
    """Take back what guests leave in an account; that it failed is said, and hides nothing that went wrong before."""
    try:
        yield guests
    except BaseException:
        try:
            guests.close()
        except HarnessError as failure:
            terminal.line(f"[demo] {failure}")
        raise
    guests.close()


def _check_second_path(outputs: StackOutputs) -> None:
    """Make sure that readings have a way to go, before anything is shown.

    Raises:
        TargetUnavailable: the stack has no rule, no receiver or no table.
    """
    try:
        for name in ("rule_name", "receiver_url", "table_name"):
            outputs.need(name)
    except TargetUnavailable as error:
        raise TargetUnavailable(f"{str(error).removesuffix('.')}; --devices 0 does without.") from None


def _run_devices(terminal: Terminal, environment: Environment, *, count: int, patience: float) -> bool:
    """Show the second path; tell whether every reading became a row."""
    from harness.demo_devices import report_readings  # noqa: PLC0415 - the SDKs: not before the first line

    outputs = environment.outputs
    rule, receiver = outputs.need("rule_name"), outputs.need("receiver_url")
    terminal.line(f"[demo] rule {rule}: {outputs.telemetry_topic} → {receiver}/ingest")
    results = asyncio.run(report_readings(environment, count=count, patience=patience, show=terminal.line))
    for result in results:
        if result.seconds is None:
            terminal.line(f"[Device {result.number}] ❌ Not stored:")
            for line in result.why.splitlines():
                terminal.line(f"  {line}")
    seconds = sorted(result.seconds for result in results if result.seconds is not None)
    line = f"[demo] stored {len(seconds)} of {count}, missing {count - len(seconds)}"
    if seconds:
        line += f", publish to row p50 {percentile(seconds, 50) * 1000:.1f} ms, at most {seconds[-1] * 1000:.1f} ms"
    terminal.line(line)
    return len(seconds) == count


def _beginning(options: TargetOptions) -> str:
    if _is_on_aws(options):
        return f"using the stack on AWS: {options.stack_outputs or options.pulumi_stack}"
    return "starting the stand-in" if options.ready_file is None else "using the stand-in"


def _is_on_aws(options: TargetOptions) -> bool:
    return options.stack_outputs is not None or options.pulumi_stack is not None


def _make_target(options: TargetOptions) -> Target:
    names = Names(make_run_id())
    if _is_on_aws(options):
        from harness.targets.aws import AwsTarget  # noqa: PLC0415 - one of three

        return AwsTarget(options, names=names)
    if options.ready_file is not None:
        from harness.targets.endpoint import EndpointTarget  # noqa: PLC0415 - one of three

        return EndpointTarget(options, names=names)
    from harness.targets.embedded import DEFAULT_STACK, EmbeddedTarget  # noqa: PLC0415 - one of three

    return EmbeddedTarget(stack=options.stack or DEFAULT_STACK, names=names)


async def broadcast(
    scoreboard: Scoreboard,
    display: Display,
    *,
    topic: str,
    messages: Sequence[str],
    make_guest: Callable[[str], Guest],
    patience: float,
) -> None:
    """Connect everybody, say all messages, and wait until all were heard or patience ends.

    Args:
        scoreboard: where sendings and arrivals are noted.
        display: where they are shown.
        topic: what everybody is subscribed to.
        messages: distinct texts.
        make_guest: makes a guest, given a hint for its client id.
        patience: seconds to wait for anything that should come.
    """
    listeners = [make_guest(f"listener-{tally.number}") for tally in scoreboard.tallies]
    broadcaster = make_guest("broadcaster")
    hearing: list[asyncio.Task[None]] = []
    try:
        await asyncio.gather(*(guest.connect() for guest in (*listeners, broadcaster)))
        await asyncio.gather(*(guest.subscribe(topic) for guest in listeners))
        for tally, guest in zip(scoreboard.tallies, listeners, strict=True):
            tally.client_id = guest.client_id
            display.line(f"[Client {tally.number}] connected as {guest.client_id}")
            hearing.append(asyncio.create_task(_hear(guest, tally, scoreboard, display, expected=len(messages))))
        for number, text in enumerate(messages):
            if number:
                await asyncio.sleep(PAUSE_BETWEEN_MESSAGES)
            display.line(f"[Broadcaster] 📢 Sending: {text}")
            scoreboard.sent_at[text] = time.monotonic()
            await broadcaster.publish(topic, text)
        await asyncio.wait(hearing, timeout=patience)
    finally:
        for task in hearing:
            task.cancel()
        failures = await _settled([*hearing, *(guest.stop() for guest in (*listeners, broadcaster))])
    for failure in failures:  # reached only where nothing else went wrong: that would matter more
        raise failure


async def _hear(guest: Guest, tally: Tally, scoreboard: Scoreboard, display: Display, *, expected: int) -> None:
    while len(tally.latencies) < expected:
        message = await guest.hear()
        if scoreboard.heard(tally, message.text, message.at):
            display.line(f"[Client {tally.number}] ✅ Received: {message.text}")


async def _settled(work: Sequence[Awaitable[None]]) -> list[Exception]:
    """Finish everything, whatever fails; give what did, cancellation apart."""
    results = await asyncio.gather(*work, return_exceptions=True)
    return [result for result in results if isinstance(result, Exception)]


def show(terminal: Terminal, scoreboard: Scoreboard, messages: int) -> AbstractContextManager[Display]:
    """Give a live display where somebody watches, plain lines otherwise."""
    return _live(terminal, scoreboard, messages) if terminal.is_live else _plain(terminal)


@contextmanager
def _plain(terminal: Terminal) -> Iterator[Display]:
    yield terminal


@contextmanager
def _live(terminal: Terminal, scoreboard: Scoreboard, messages: int) -> Iterator[Display]:
    from rich.live import Live  # noqa: PLC0415 - only where somebody watches

    console = terminal.console()

    class Board:
        """Drawn anew by the live display a few times a second."""

        def __rich__(self) -> Table:
            return table(scoreboard, messages)

    class Above:
        """Lines scroll above the table."""

        def line(self, text: str) -> None:
            """Print one line."""
            console.print(printable(text), soft_wrap=True)

    with Live(Board(), console=console, refresh_per_second=8):
        yield Above()


def table(scoreboard: Scoreboard, messages: int) -> Table:
    """Draw who heard how much, and how fast."""
    from rich.table import Table  # noqa: PLC0415 - only where somebody watches

    drawn = Table("listener", "client id", "received", "last", box=None)
    for tally in scoreboard.tallies:
        last = next(reversed(tally.latencies.values()), None)
        drawn.add_row(
            f"Client {tally.number}",
            tally.client_id or "connecting",
            f"{len(tally.latencies)} of {messages}",
            "" if last is None else f"{last * 1000:.1f} ms",
        )
    return drawn
