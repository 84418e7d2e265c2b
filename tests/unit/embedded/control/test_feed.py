"""The registry as the broker has it: what is sent, when, and in how many pieces."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from harness.embedded.control.broker_link import BrokerRefused
from harness.embedded.control.feed import RegistryFeed
from harness.embedded.link import LinkError
from harness.iot.registry import RegistryChange, Thing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class State:
    """Things to read from, and a broker that notes what it was sent."""

    def __init__(self) -> None:
        self.things: dict[str, Thing] = {}
        self.sent: list[RegistryChange] = []
        self.failure: Exception | None = None
        self.refused: set[str] = set()
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()

    def read(self, table: str, keys: Iterable[str] | None) -> dict[str, Any]:
        """Read one table."""
        assert table == "things"
        return dict(self.things) if keys is None else {key: self.things[key] for key in keys if key in self.things}

    def send(self, change: RegistryChange) -> None:
        """Take a change, unless told to fail."""
        self.entered.set()
        assert self.gate.wait(10)
        if self.failure is not None:
            raise self.failure
        if self.refused & {thing.name for thing in change.put.get("things", ())}:
            raise BrokerRefused("BadRecord", "no")
        self.sent.append(change)


@pytest.fixture
def state() -> State:
    """State without things."""
    return State()


@pytest.fixture
def feed(state: State) -> Iterator[RegistryFeed]:
    """A feed from the state."""
    feed = RegistryFeed(read=state.read, send=state.send, account_id="111122223333", region="eu-central-1")
    yield feed
    feed.close()


def test_only_what_changed_is_sent(state: State, feed: RegistryFeed) -> None:
    """A new record is put, an equal one is not, one that is gone is dropped."""
    state.things["a"] = Thing(name="a")
    feed.commit({"things": frozenset({"a"})})
    feed.commit({"things": None})
    feed.commit({})
    del state.things["a"]
    state.things["b"] = Thing(name="b")
    feed.commit({"things": None})

    assert state.sent == [
        RegistryChange(put={"things": (Thing(name="a"),)}),
        RegistryChange(put={"things": (Thing(name="b"),)}, drop={"things": ("a",)}),
    ]
    assert dict(feed.authorizer.snapshot.things) == {"b": Thing(name="b")}
    assert (feed.authorizer.snapshot.region, feed.authorizer.snapshot.version) == ("eu-central-1", 2)


def test_callers_of_one_moment_share_a_change(state: State, feed: RegistryFeed) -> None:
    """While one change is on its way, twenty callers wait; one more change serves them all."""
    state.gate.clear()
    threads = []
    for number in range(21):
        state.things[str(number)] = Thing(name=str(number))
        thread = threading.Thread(target=feed.commit, args=({"things": frozenset({str(number)})},))
        thread.start()
        threads.append(thread)
        assert state.entered.wait(10)
    with feed._condition:
        while len(feed._waiting) < 20:
            feed._condition.wait(0.01)
    state.gate.set()
    for thread in threads:
        thread.join()

    assert [len(change.put["things"]) for change in state.sent] == [1, 20]


def test_a_caller_is_told_when_the_broker_does_not_take_it(state: State, feed: RegistryFeed) -> None:
    """The failure reaches who waits, and the next change brings what is missing."""
    state.things["a"] = Thing(name="a")
    state.failure = LinkError("gone")
    with pytest.raises(LinkError, match="gone"):
        feed.commit({"things": frozenset({"a"})})

    state.failure = None
    state.things["b"] = Thing(name="b")
    feed.commit({"things": frozenset({"b"})})
    assert {thing.name for thing in state.sent[0].put["things"]} == {"a", "b"}


def test_a_change_that_the_broker_refuses_fails_alone(state: State, feed: RegistryFeed) -> None:
    """Of callers who share a change only the one whose record is refused is told so, and it is not tried again."""
    state.gate.clear()
    state.refused = {"bad"}
    errors: list[str] = []

    def commit(name: str) -> None:
        try:
            feed.commit({"things": frozenset({name})})
        except BrokerRefused as refusal:
            errors.append(f"{name} {refusal.code}")

    threads = []
    for name in ("first", "bad", "good"):
        state.things[name] = Thing(name=name)
        threads.append(threading.Thread(target=commit, args=(name,)))
        threads[-1].start()
        assert state.entered.wait(10)
    with feed._condition:
        while len(feed._waiting) < 2:
            feed._condition.wait(0.01)
    state.gate.set()
    for thread in threads:
        thread.join()
    feed.commit({"things": frozenset({"good"})})

    assert errors == ["bad BadRecord"]
    assert set(feed.authorizer.snapshot.things) == {"first", "good"}


def test_a_closed_feed_takes_nothing(feed: RegistryFeed) -> None:
    """Nobody waits for a thread that is gone."""
    feed.close()

    with pytest.raises(LinkError, match="closed"):
        feed.commit({"things": None})
