"""The demonstration: who heard what, what is missing, and how fast it was."""

from __future__ import annotations

import asyncio
import io
import time

import pytest

from harness.console import Heard, Identity
from harness.demo import GREETING, Scoreboard, Tally, broadcast, percentile, show, table, texts
from harness.terminal import Terminal


class Room:
    """Everybody hears everything, unless they are deaf to it.

    Args:
        deaf: hint of a guest to the texts it does not hear.
        broken: hint of a guest whose disconnecting fails.
    """

    def __init__(self, deaf: dict[str, set[str]] | None = None, broken: str | None = None) -> None:
        self.deaf = deaf or {}
        self.broken = broken
        self.guests: dict[str, RoomGuest] = {}

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
