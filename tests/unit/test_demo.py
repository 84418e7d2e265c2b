"""The demonstration: who heard what, what is missing, and how fast it was."""

from __future__ import annotations

import asyncio
import io
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from harness.console import Heard, Identity
from harness.demo import GREETING, Scoreboard, Tally, broadcast, percentile, run_demo, show, table, texts
from harness.demo_devices import Stored
from harness.errors import HarnessError, TargetUnavailable, TeardownError
from harness.targets.options import TargetOptions
from harness.targets.outputs import StackOutputs
from harness.terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Callable


class Room:
    """Everybody hears everything, unless they are deaf to it.

    Args:
        deaf: hint of a guest to the texts it does not hear.
        broken: hint of a guest whose disconnecting fails.
        refuses: what everybody's subscribing fails with.
        left: what taking back the guests' identities fails with.
    """

    def __init__(
        self,
        deaf: dict[str, set[str]] | None = None,
        broken: str | None = None,
        *,
        refuses: HarnessError | None = None,
        left: HarnessError | None = None,
    ) -> None:
        self.deaf = deaf or {}
        self.broken = broken
        self.refuses = refuses
        self.left = left
        self.closed = 0
        self.guests: dict[str, RoomGuest] = {}

    def make(self, hint: str) -> RoomGuest:
        """Let one more in, as the demonstration asks for it."""
        return self.make_guest(hint)

    def close(self) -> None:
        """Take back what the guests left, when all of them are gone."""
        assert all(guest.is_stopped for guest in self.guests.values())
        self.closed += 1
        if self.left is not None:
            raise self.left

    def make_guest(self, hint: str) -> RoomGuest:
        """Let one more in."""
        self.guests[hint] = RoomGuest(self, hint)
        return self.guests[hint]


class RoomGuest:
    """One of those in the room."""

    def __init__(self, room: Room, hint: str) -> None:
        self.client_id = f"public-{hint}"
        self.hint = hint
        self.is_stopped = False
        self._room = room
        self._topics: set[str] = set()
        self._heard: asyncio.Queue[Heard] = asyncio.Queue()

    async def identify(self) -> Identity:
        """Nobody asks."""
        raise NotImplementedError

    async def connect(self) -> None:
        """Come in."""

    async def subscribe(self, topic: str) -> None:
        """Listen."""
        if self._room.refuses is not None:
            raise self._room.refuses
        self._topics.add(topic)

    async def publish(self, topic: str, message: str) -> None:
        """Say it to all, twice: QoS 1 may deliver again."""
        for guest in self._room.guests.values():
            if topic in guest._topics and message not in self._room.deaf.get(guest.hint, ()):
                for _ in range(2):
                    guest._heard.put_nowait(Heard(topic, message.encode(), time.monotonic()))

    async def hear(self) -> Heard:
        """Wait for the next."""
        return await self._heard.get()

    async def stop(self) -> None:
        """Leave."""
        self.is_stopped = True
        if self.hint == self._room.broken:
            raise RuntimeError("would not leave")


class Lines:
    """A display that remembers."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def line(self, text: str) -> None:
        """Remember."""
        self.lines.append(text)


async def demonstrate(room: Room, *, clients: int, messages: int, patience: float = 20.0) -> tuple[Scoreboard, Lines]:
    """Run a demonstration in a room."""
    scoreboard, lines = Scoreboard([Tally(number) for number in range(1, clients + 1)]), Lines()
    await broadcast(
        scoreboard,
        lines,
        topic="public/demo",
        messages=texts(messages),
        make_guest=room.make_guest,
        patience=patience,
    )
    return scoreboard, lines


async def test_demo_shows_every_listener_receiving() -> None:
    """Three listeners and one greeting give the three documented lines, and nothing is missing."""
    room = Room()

    scoreboard, lines = await demonstrate(room, clients=3, messages=1)

    assert [line for line in lines.lines if "Received" in line] == [
        "[Client 1] ✅ Received: 🎉 Hello from the broadcaster! This is a test message.",
        "[Client 2] ✅ Received: 🎉 Hello from the broadcaster! This is a test message.",
        "[Client 3] ✅ Received: 🎉 Hello from the broadcaster! This is a test message.",
    ]
    assert scoreboard.summary().startswith("delivered 3 of 3, missing 0, latency p50 ")
    assert list(scoreboard.missing()) == []
    assert all(guest.is_stopped for guest in room.guests.values())


async def test_demo_counts_every_message_once() -> None:
    """A second delivery of the same message is not a second message."""
    scoreboard, lines = await demonstrate(Room(), clients=2, messages=3)

    assert (scoreboard.delivered, scoreboard.expected) == (6, 6)
    assert sum("Received" in line for line in lines.lines) == 6


async def test_demo_names_what_is_missing_at_whom() -> None:
    """A listener that heard less is named with what it lacks; the others are not blamed."""
    second = texts(2)[1]

    scoreboard, _ = await demonstrate(Room({"listener-2": {second}}), clients=2, messages=2, patience=0.05)

    assert list(scoreboard.missing()) == [f"[Client 2] ❌ Missing: {second}"]
    assert scoreboard.summary().startswith("delivered 3 of 4, missing 1, latency p50 ")


async def test_demo_has_no_latency_without_deliveries() -> None:
    """Nothing heard leaves the latency out instead of inventing one."""
    scoreboard, _ = await demonstrate(Room({"listener-1": {GREETING}}), clients=1, messages=1, patience=0.05)

    assert scoreboard.summary() == "delivered 0 of 1, missing 1"


async def test_demo_reports_a_guest_that_does_not_leave() -> None:
    """Disconnecting is part of what is shown: a failure there is not swallowed, and all others still leave."""
    room = Room(broken="listener-1")

    with pytest.raises(RuntimeError, match="would not leave"):
        await demonstrate(room, clients=2, messages=1)

    assert all(guest.is_stopped for guest in room.guests.values())


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [([1.0], 50, 1.0), ([1.0], 99, 1.0), ([1.0, 2.0, 3.0, 4.0], 50, 2.0), ([1.0, 2.0, 3.0, 4.0], 99, 4.0)],
)
def test_percentile_is_the_nearest_rank(values: list[float], percent: float, expected: float) -> None:
    """A percentile is one of the measured values, never one in between."""
    assert percentile(values, percent) == expected


def test_texts_are_distinct() -> None:
    """One message is the documented greeting; several are told apart."""
    assert texts(1) == [GREETING]
    assert len(set(texts(5))) == 5


def test_display_is_plain_lines_when_piped() -> None:
    """A pipe gets lines and nothing else."""
    out = io.StringIO()

    with show(Terminal(out, io.StringIO()), Scoreboard([]), 1) as display:
        display.line("[Client 1] ✅ Received: x")

    assert out.getvalue() == "[Client 1] ✅ Received: x\n"


def test_display_keeps_lines_above_a_live_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody who watches sees lines and, below, who heard how much."""
    out = io.StringIO()
    monkeypatch.setattr(out, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    scoreboard = Scoreboard([Tally(1, client_id="public-a", latencies={"x": 0.0021}), Tally(2)])

    with show(Terminal(out, io.StringIO()), scoreboard, 1) as display:
        display.line("[Client 1] ✅ Received: [bold]x")

    shown = out.getvalue()
    assert "[Client 1] ✅ Received: [bold]x" in shown
    assert "1 of 1" in shown
    assert "2.1 ms" in shown
    assert "connecting" in shown
    assert table(scoreboard, 1).row_count == 2


OUTPUTS: dict[str, Any] = {
    "region": "us-east-1",
    "iot_endpoint": "localhost",
    "iot_mqtts_port": 1,
    "iot_wss_url": "wss://localhost:2/mqtt",
    "ca_file": None,
    "identity_pool_id": "us-east-1:1",
    "client_id_prefix": "public-",
    "topic_prefix": "public/",
    "telemetry_topic": "things/telemetry",
    "device_policy_name": "device",
    "rule_name": "to_receiver",
    "receiver_url": "https://localhost:3",
    "table_name": "readings",
}


class DemoTarget:
    """A target at which everybody hears everything.

    Args:
        outputs: of its stack.
    """

    patience = 0.05

    def __init__(self, outputs: dict[str, Any]) -> None:
        self.is_stopped = False
        self._outputs = StackOutputs(**outputs)

    def start(self) -> Any:
        """Be ready."""
        names = SimpleNamespace(topic_prefix=lambda prefix, hint: f"{prefix}{hint}/")
        return SimpleNamespace(iot_endpoint="localhost", wss_port=2, names=names, outputs=self._outputs)

    def stop(self) -> None:
        """Be gone."""
        self.is_stopped = True


@pytest.fixture
def demo(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, list[str]]]:
    """Run the whole demonstration at a made-up target; give exit code and lines."""

    def demo(
        results: list[Stored], *, room: Room | None = None, options: TargetOptions | None = None, **outputs: Any
    ) -> tuple[int, list[str]]:
        target, out = DemoTarget(OUTPUTS | outputs), io.StringIO()

        async def report(_: Any, *, count: int, patience: float, show: Any) -> list[Stored]:
            assert (count, patience) == (len(results), target.patience)
            show("[Device 1] ✅ Stored: …")
            return results

        monkeypatch.setattr("harness.demo._make_target", lambda _: target)
        monkeypatch.setattr("harness.demo_devices.report_readings", report)
        room = room or Room()
        monkeypatch.setattr("harness.sdk_guest.DemoGuests", lambda *_, **__: room)
        terminal = Terminal(out, io.StringIO())
        try:
            code = run_demo(terminal, clients=1, messages=1, devices=len(results), options=options or TargetOptions())
        except HarnessError as error:
            error.add_note(out.getvalue())
            raise
        finally:
            assert target.is_stopped
            assert room.closed == bool(room.guests)
        return code, out.getvalue().splitlines()

    return demo


def test_demo_tells_both_paths(demo: Callable[..., tuple[int, list[str]]]) -> None:
    """First who heard what, then where readings go and that each became a row, and how fast."""
    code, lines = demo([Stored(number=1, seconds=0.25), Stored(number=2, seconds=0.5), Stored(number=3, seconds=0.5)])

    assert code == 0
    assert lines[:4] == [
        "[demo] starting the stand-in",
        lines[1],
        "[demo] topic public/demo/broadcast",
        "[Client 1] connected as public-listener-1",
    ]
    assert lines[1].startswith("[demo] ready after ")
    assert lines[-4].startswith("[demo] delivered 1 of 1, missing 0, latency p50 ")
    assert lines[-3:] == [
        "[demo] rule to_receiver: things/telemetry → https://localhost:3/ingest",
        "[Device 1] ✅ Stored: …",
        "[demo] stored 3 of 3, missing 0, publish to row p50 500.0 ms, at most 500.0 ms",
    ]


def test_demo_fails_when_a_row_is_missing(demo: Callable[..., tuple[int, list[str]]]) -> None:
    """A reading that is nowhere is counted, told why line by line, and makes the exit code 1."""
    why = "dev-1 was to have 1 row\nnear misses:\n  403"

    code, lines = demo([Stored(number=1, why=why), Stored(number=2, seconds=1.0)])

    assert code == 1
    assert lines[-5:] == [
        "[Device 1] ❌ Not stored:",
        "  dev-1 was to have 1 row",
        "  near misses:",
        "    403",
        "[demo] stored 1 of 2, missing 1, publish to row p50 1000.0 ms, at most 1000.0 ms",
    ]


def test_demo_has_no_time_without_a_row(demo: Callable[..., tuple[int, list[str]]]) -> None:
    """Nothing stored leaves the times out instead of inventing one."""
    code, lines = demo([Stored(number=1, why="no")])

    assert (code, lines[-1]) == (1, "[demo] stored 0 of 1, missing 1")


def test_demo_fails_when_a_message_is_missing_though_all_is_stored(
    demo: Callable[..., tuple[int, list[str]]],
) -> None:
    """One path does not make up for the other; the second is shown all the same."""
    code, lines = demo([Stored(number=1, seconds=1.0)], room=Room({"listener-1": {GREETING}}))

    assert code == 1
    assert "[demo] delivered 0 of 1, missing 1" in lines
    assert lines[-1].startswith("[demo] stored 1 of 1, missing 0")


def test_demo_without_devices_ends_with_the_first_path(demo: Callable[..., tuple[int, list[str]]]) -> None:
    """No device leaves the second path out; the stack then needs no rule."""
    code, lines = demo([], rule_name=None, receiver_url=None)

    assert code == 0
    assert lines[-1].startswith("[demo] delivered 1 of 1")


@pytest.mark.parametrize("lacking", ["rule_name", "receiver_url", "table_name"])
def test_demo_says_what_a_stack_without_telemetry_lacks(
    demo: Callable[..., tuple[int, list[str]]], lacking: str
) -> None:
    """A stack that was deployed without a receiver has no second path: a sentence says what to do, before the first."""
    with pytest.raises(TargetUnavailable, match=r"set receiverUrl .*; --devices 0 does without\.") as refused:
        demo([Stored(number=1, seconds=1.0)], **{lacking: None})

    assert refused.value.__notes__ == ["[demo] starting the stand-in\n"]


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (TargetOptions(), "[demo] starting the stand-in"),
        (TargetOptions(stack=Path("program")), "[demo] starting the stand-in"),
        (TargetOptions(ready_file=Path("serve.json")), "[demo] using the stand-in"),
        (TargetOptions(stack_outputs=Path("outputs.json")), "[demo] using the stack on AWS: outputs.json"),
        (TargetOptions(pulumi_stack="dev"), "[demo] using the stack on AWS: dev"),
    ],
)
def test_demo_says_first_where_it_is(
    demo: Callable[..., tuple[int, list[str]]], options: TargetOptions, line: str
) -> None:
    """The first line says whether this goes to an account, and to which stack: a variable may have said so."""
    assert demo([], options=options)[1][0] == line


def test_demo_that_leaves_a_guest_behind_has_failed(demo: Callable[..., tuple[int, list[str]]]) -> None:
    """All was shown, and yet something is left in the account: that is no success."""
    left = TeardownError(["1 guest identity"], remedy="sweep")

    with pytest.raises(TeardownError, match="1 guest identity") as raised:
        demo([], room=Room(left=left))

    assert "[demo] delivered 1 of 1" in raised.value.__notes__[0]


def test_demo_says_what_is_left_when_something_else_failed(demo: Callable[..., tuple[int, list[str]]]) -> None:
    """Why it ended is what it ends with; what could not be taken back is a line before."""
    left = TeardownError(["1 guest identity"], remedy="sweep")

    with pytest.raises(TargetUnavailable, match="Nobody there") as raised:
        demo([], room=Room(refuses=TargetUnavailable("Nobody there."), left=left))

    assert raised.value.__notes__[0].endswith("[demo] left behind: 1 guest identity; sweep\n")
