"""`harness.mqtt.session`."""

from __future__ import annotations

from harness.mqtt.message import Message, Outgoing
from harness.mqtt.packets import Properties, ProtocolVersion, Publish
from harness.mqtt.session import Session


def make_outgoing(payload: bytes, *, expiry: int | None = None, **fields: object) -> Outgoing:
    """Make a QoS 1 message received at 10."""
    properties = Properties(message_expiry_interval=expiry)
    publish = Publish(topic_name="t", payload=payload, qos=1, packet_id=1, properties=properties)
    message = Message(payload.decode(), publish, received_at=10.0)
    return Outgoing(message, retain=False, **fields)  # type: ignore[arg-type]  # fields are Outgoing's own


def test_unacknowledged_messages_go_before_those_that_wait() -> None:
    """In their own order, with their packet ids [MQTT-4.4.0-1], [MQTT-4.6.0-1]."""
    session = Session("c", ProtocolVersion.V5)
    session.inflight[5] = make_outgoing(b"one", packet_id=5, first_sent_at=11.0)
    session.inflight[3] = make_outgoing(b"two", packet_id=3, first_sent_at=12.0)
    session.waiting.append(make_outgoing(b"three"))

    given_up = session.requeue_unacknowledged(sent_after=float("-inf"))

    assert given_up == []
    assert [(item.message.payload, item.packet_id) for item in session.waiting] == [
        (b"one", 5),
        (b"two", 3),
        (b"three", 0),
    ]
    assert session.inflight == {}


def test_messages_that_were_sent_too_long_ago_are_given_up() -> None:
    """They are returned, not sent again."""
    session = Session("c", ProtocolVersion.V5)
    session.inflight[5] = make_outgoing(b"old", packet_id=5, first_sent_at=11.0)
    session.inflight[6] = make_outgoing(b"new", packet_id=6, first_sent_at=11.5)

    given_up = session.requeue_unacknowledged(sent_after=11.0)

    assert [item.message.payload for item in given_up] == [b"old"]
    assert [item.message.payload for item in session.waiting] == [b"new"]


def test_expired_messages_leave_the_queue() -> None:
    """The others keep their order."""
    session = Session("c", ProtocolVersion.V5)
    session.waiting.extend(make_outgoing(name, expiry=expiry) for name, expiry in ((b"a", 9), (b"b", 1), (b"c", None)))

    expired = list(session.discard_expired(12.0))

    assert [item.message.payload for item in expired] == [b"b"]
    assert [item.message.payload for item in session.waiting] == [b"a", b"c"]
