"""A sent message, and the claim that it reached everybody."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from harness.clients.inbox import Delivery, Inbox
from harness.clients.message import Message, as_payload, listed, quoted
from harness.errors import ExpectationError

if TYPE_CHECKING:
    from conftest import FakeTarget


class FakeListener:
    """A client that hears what it is told to."""

    def __init__(self, client_id: str) -> None:
        self.client_id = client_id
        self.inbox = Inbox(client_id)

    def condition(self) -> str:
        """Say something recognisable."""
        return "is connected, listens to t"

    def hear(self, topic: str, payload: bytes) -> None:
        """Hear something now."""
        self.inbox.deliver(Delivery(topic=topic, payload=payload, received_at=float("inf")))


@pytest.mark.parametrize(
    ("payload", "sent"),
    [
        (b"\x00\xff", b"\x00\xff"),
        ("Grüße", "Grüße".encode()),
        ({"temp": 21.5, "wo": "Küche"}, '{"temp":21.5,"wo":"Küche"}'.encode()),
        ([1, None], b"[1,null]"),
    ],
)
def test_payloads_become_bytes(payload: Any, sent: bytes) -> None:
    """Bytes as they are, text as UTF-8, the rest as JSON."""
    assert as_payload(payload) == sent


def test_a_payload_is_quoted_for_reading() -> None:
    """As text where it is text, and cut when it is long."""
    assert quoted(b"hello") == "'hello'"
    assert quoted(b"\xff") == r"b'\xff'"
    assert quoted(b"x" * 1000) == "'" + "x" * 79 + "… (1000 bytes)"


def test_many_names_are_cut() -> None:
    """The first few tell enough."""
    assert listed([str(number) for number in range(10)]) == "0, 1, 2, 3, 4, 5, 6, 7 and 2 more"


async def test_a_message_reaches_those_who_heard_it_and_those_who_will() -> None:
    """One delivery per client comes back, in the order asked for."""
    early, late = FakeListener("early"), FakeListener("late")
    message = Message("t", b"x")
    early.hear("t", b"x")

    reaching = asyncio.create_task(message.reaches([late, early]))
    await asyncio.sleep(0)
    late.hear("t", b"x")

    assert await reaching == [late.inbox.messages[0], early.inbox.messages[0]]


async def test_a_message_that_misses_somebody_says_whom_and_what_they_heard(fake_target: FakeTarget) -> None:
    """Who lacks it, what came near, how they stand, and the last lines of the trace."""
    good, bad = FakeListener("public-good"), FakeListener("public-bad")
    decision = {"action": "iot:Receive", "resource": "r", "allowed": False, "because": "nothing allows it"}
    fake_target.add("decision", client_id="public-bad", topic="t", detail=decision)
    message = Message("t", b"x", sender="public-good", patience=0.05, trace=fake_target.trace)
    good.hear("t", b"x")
    bad.hear("t", b"y")

    with pytest.raises(ExpectationError) as failure:
        await message.reaches([good, bad])

    assert str(failure.value).splitlines() == [
        "t 'x' from public-good reached 1 of 2 clients within 0.05 s; missing at public-bad",
        "near misses:",
        "  iot:Receive was denied to public-bad: nothing allows it",
        "  public-bad heard t 'y'",
        "  public-bad is connected, listens to t",
        "last lines of the trace:",
        "  #1 20:01:02.001 broker DENIED public-bad iot:Receive because nothing allows it",
    ]


async def test_the_same_words_twice_have_to_arrive_twice() -> None:
    """One delivery is not taken for two messages."""
    listener = FakeListener("a")
    first, second = Message("t", b"x", patience=0.01), Message("t", b"x", patience=0.01)
    listener.hear("t", b"x")

    await first.reaches([listener])
    await first.reaches([listener])
    with pytest.raises(ExpectationError):
        await second.reaches([listener])


async def test_a_claim_about_nobody_is_a_mistake() -> None:
    """It would hold whatever happened."""
    with pytest.raises(ValueError, match="no clients"):
        await Message("t", b"x").reaches([])


async def test_an_error_while_waiting_is_no_missing_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """A defect is shown as what it is."""
    listener = FakeListener("a")
    monkeypatch.setattr(listener.inbox, "claim", lambda _: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        await Message("t", b"x").reaches([listener])


def test_a_message_shows_what_it_is() -> None:
    """For reports of failed assertions."""
    message = Message("t", "Grüße".encode(), sender="a")

    assert message.text == "Grüße"
    assert repr(message).startswith("Message('t', ")
