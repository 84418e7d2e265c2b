"""What a client heard, and waiting for it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from harness.clients import inbox as inbox_module
from harness.clients.inbox import Delivery, Inbox
from harness.clients.message import Message
from harness.errors import ExpectationError

if TYPE_CHECKING:
    from conftest import FakeTarget


def delivery(topic: str = "t", payload: bytes = b"x", *, at: float = float("inf")) -> Delivery:
    """Make a delivery that came after everything else unless told when."""
    return Delivery(topic=topic, payload=payload, received_at=at)


def make_inbox(*deliveries: Delivery) -> Inbox:
    """Make an inbox that waits for next to nothing."""
    inbox = Inbox("public-1", patience=0.01)
    for each in deliveries:
        inbox.deliver(each)
    return inbox


def test_a_delivery_reads_as_text_and_as_json() -> None:
    """What is no text is shown as well as can be."""
    assert delivery(payload="Grüße".encode()).text == "Grüße"
    assert delivery(payload=b"\xff!").text == "�!"
    assert delivery(payload=b'{"temp": 21.5}').json() == {"temp": 21.5}


async def test_an_expected_delivery_may_be_there_already() -> None:
    """Order of arrival and order of expectation may differ."""
    inbox = make_inbox(delivery("a"), delivery("b"))

    assert (await inbox.expect(topic="b")).topic == "b"
    assert (await inbox.expect(topic="a")).topic == "a"


async def test_an_expected_delivery_may_come_later() -> None:
    """Whoever waits is told."""
    inbox = Inbox("public-1", patience=10)
    waiting = asyncio.create_task(inbox.expect(payload={"n": 1}))
    await asyncio.sleep(0)

    inbox.deliver(delivery("a", b"noise"))
    inbox.deliver(delivery("a", b'{"n":1}'))

    assert (await waiting).json() == {"n": 1}


async def test_each_delivery_is_expected_once() -> None:
    """Two equal expectations need two deliveries; everything stays on record."""
    inbox = make_inbox(delivery())
    await inbox.expect(topic="t")

    with pytest.raises(ExpectationError):
        await inbox.expect(topic="t")

    assert len(inbox.messages) == 1


async def test_the_next_delivery_has_to_be_the_one_named() -> None:
    """The positive control of "nothing else arrived": whatever else arrived first fails it."""
    inbox = make_inbox(delivery("allowed"))
    await inbox.expect_next(topic="allowed")

    inbox.deliver(delivery("forbidden", b"leak"))
    inbox.deliver(delivery("allowed"))
    with pytest.raises(ExpectationError, match="public-1 was to hear allowed next, and heard forbidden 'leak'"):
        await inbox.expect_next(topic="allowed")


async def test_a_missed_delivery_names_what_came_instead() -> None:
    """The same topic or the same words first; without any, what was heard at all."""
    inbox = make_inbox(delivery("t", b"other"), delivery("elsewhere", b"wanted"), delivery("else", b"noise"))

    with pytest.raises(ExpectationError) as failure:
        await inbox.expect(topic="t", payload="wanted")

    assert failure.value.wanted == "public-1 was to hear t 'wanted' within 0.01 s"
    assert failure.value.near_misses == ("public-1 heard t 'other'", "public-1 heard elsewhere 'wanted'")
    assert inbox.near_misses(topic="q", payload=b"q") == [
        "public-1 heard t 'other'",
        "public-1 heard elsewhere 'wanted'",
        "public-1 heard else 'noise'",
    ]


async def test_hearing_nothing_is_said(fake_target: FakeTarget) -> None:
    """With the last lines of the trace where there is one."""
    fake_target.add("drop", client_id="public-1", detail={"why": "no room"})

    with pytest.raises(ExpectationError) as failure:
        await Inbox("public-1", patience=0.01, trace=fake_target.trace).expect()

    assert failure.value.wanted.startswith("public-1 was to hear a message")
    assert failure.value.near_misses == ("public-1 heard nothing",)
    assert "why=no room" in failure.value.trace[0]


def test_a_message_claims_one_delivery_of_its_own() -> None:
    """Always the same one; the same words once more need another delivery."""
    first, second = Message("t", b"x"), Message("t", b"x")
    inbox = make_inbox(delivery(), delivery())

    assert inbox.claim(first) is inbox.messages[0]
    assert inbox.claim(first) is inbox.messages[0]
    assert inbox.claim(second) is inbox.messages[1]
    assert inbox.claim(Message("t", b"x")) is None


def test_what_came_before_a_message_was_sent_is_not_its_delivery() -> None:
    """Somebody said the same earlier."""
    inbox = make_inbox(delivery(at=0.0))

    assert inbox.claim(Message("t", b"x")) is None


async def test_claims_and_expectations_do_not_disturb_each_other() -> None:
    """A message that reached a client can still be expected there."""
    inbox = make_inbox(delivery())

    assert inbox.claim(Message("t", b"x")) is await inbox.expect(topic="t")


async def test_iteration_gives_everything_once_and_ends_with_the_client() -> None:
    """What came before it began included."""
    inbox = make_inbox(delivery("1"))
    heard: list[str] = []

    async def listen() -> None:
        async for each in inbox:
            heard.append(each.topic)  # noqa: PERF401 - the order of events is the subject

    listening = asyncio.create_task(listen())
    await asyncio.sleep(0)
    inbox.deliver(delivery("2"))
    await asyncio.sleep(0)
    inbox.deliver(delivery("3"))
    inbox.close()
    await listening

    assert heard == ["1", "2", "3"]
    assert await inbox.take() is None


async def test_an_inbox_keeps_a_bounded_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that is flooded keeps the newest, in every ledger."""
    monkeypatch.setattr(inbox_module, "KEPT", 3)
    inbox = make_inbox(*(delivery(str(number)) for number in range(5)))

    assert [each.topic for each in inbox.messages] == ["2", "3", "4"]
    assert inbox.claim(Message("0", b"x")) is None
    assert inbox.claim(Message("4", b"x")) is not None
    assert (await inbox.expect()).topic == "2"


def test_forgetting_a_claimed_delivery_leaves_the_others() -> None:
    """The oldest is forgotten by identity, not by its words."""
    inbox = make_inbox(delivery(), delivery())
    claimed = inbox.claim(Message("t", b"x"))
    assert claimed is not None

    inbox._forget(claimed)

    assert inbox.claim(Message("t", b"x")) is inbox.messages[1]
