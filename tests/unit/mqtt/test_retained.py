"""`harness.mqtt.retained`."""

from __future__ import annotations

from harness.mqtt.message import Message
from harness.mqtt.options import BrokerOptions
from harness.mqtt.packets import Properties, Publish
from harness.mqtt.retained import RetainedMessages
from harness.mqtt.timers import Timers


def make_message(topic_name: str, payload: bytes = b"x", expiry: int | None = None) -> Message:
    """Make a retained message received at 10."""
    properties = Properties(message_expiry_interval=expiry)
    publish = Publish(topic_name=topic_name, payload=payload, retain=True, properties=properties)
    return Message("m", publish, received_at=10.0)


def test_the_last_message_of_a_topic_is_kept() -> None:
    """A new one replaces it, an empty one deletes it."""
    retained = RetainedMessages(BrokerOptions(), Timers())
    retained.store(make_message("a", b"1"))
    retained.store(make_message("b", b"2"))
    retained.store(make_message("a", b"3"))

    assert {topic: message.payload for topic, message in retained.items()} == {"a": b"3", "b": b"2"}
    retained.store(make_message("a", b""))
    retained.store(make_message("never", b""))
    assert list(retained) == ["b"]
    assert len(retained) == 1


def test_a_wildcard_filter_finds_every_topic_it_matches() -> None:
    """Plain MQTT: also the parent of ``#``."""
    retained = RetainedMessages(BrokerOptions(), Timers())
    for topic in ("a", "a/b", "c"):
        retained.store(make_message(topic))

    assert [message.topic_name for message in retained.matching("a/#")] == ["a", "a/b"]
    assert [message.topic_name for message in retained.matching("c")] == ["c"]
    assert retained.matching("d") == []


def test_only_an_exact_filter_finds_anything_where_wildcards_do_not() -> None:
    """AWS's way."""
    retained = RetainedMessages(BrokerOptions(retained_on_wildcard=False), Timers())
    retained.store(make_message("a/b"))

    assert retained.matching("a/+") == []
    assert [message.topic_name for message in retained.matching("a/b")] == ["a/b"]


def test_a_retained_message_expires() -> None:
    """When its interval is over; a successor without one stays."""
    timers = Timers()
    retained = RetainedMessages(BrokerOptions(), timers)
    retained.store(make_message("a", expiry=5))
    retained.store(make_message("b", expiry=5))
    retained.store(make_message("b"))

    timers.run(14.9)
    assert set(retained) == {"a", "b"}
    timers.run(15.0)
    assert set(retained) == {"b"}


def test_a_full_store_still_replaces_and_deletes() -> None:
    """Only another topic has no room."""
    retained = RetainedMessages(BrokerOptions(max_retained_messages=1), Timers())
    assert retained.has_room_for("a", b"x")
    retained.store(make_message("a"))

    assert retained.has_room_for("a", b"y")
    assert retained.has_room_for("b", b"")
    assert not retained.has_room_for("b", b"x")
