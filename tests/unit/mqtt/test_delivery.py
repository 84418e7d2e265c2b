"""`harness.mqtt.delivery`: flow control, queues, retries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from harness.mqtt.events import Acknowledged, Decided, Delivered, Dropped, Queued
from harness.mqtt.packets import Properties, ProtocolVersion, PubAck

if TYPE_CHECKING:
    from collections.abc import Callable

V311 = ProtocolVersion.V311
V5 = ProtocolVersion.V5
STORED = Properties(session_expiry_interval=1_000_000)


def publish_many(link: Any, count: int, **fields: Any) -> None:
    """Publish 0, 1, 2, … at QoS 1 to topic a."""
    sender = link.connect("sender")
    for number in range(count):
        sender.publish("a", b"%d" % number, qos=1, **fields)
        sender.take()


def test_no_more_is_in_flight_than_the_client_takes(link: Any) -> None:
    """Receive Maximum [MQTT-3.3.4-9]; the rest waits, is told as queued, and follows in order. QoS 0 does not wait."""
    client = link.connect(properties=Properties(receive_maximum=3))
    client.subscribe("a")
    link.events()
    publish_many(link, 5)
    link.connect("other").publish("a", b"zero")

    received = client.take_published()
    assert [packet.payload for packet in received] == [b"0", b"1", b"2", b"zero"]
    assert [event.client_ids for event in link.events(Queued)] == [("c",), ("c",)]
    client.send(PubAck(packet_id=received[1].packet_id))
    assert client.take_payloads() == [b"3"]
    client.send(PubAck(packet_id=received[0].packet_id), PubAck(packet_id=received[2].packet_id))
    assert client.take_payloads() == [b"4"]
    assert [event.client_ids for event in link.events(Delivered)] == [("c",), ("c",)]


def test_no_more_is_in_flight_than_the_broker_allows(aws_link: Any, version: ProtocolVersion) -> None:
    """A hundred on AWS, whatever the client takes."""
    client = aws_link.connect("c", version)
    client.subscribe("a")
    publish_many(aws_link, 101)
    assert len(client.take_published(acknowledge=True)) == 100
    assert client.take_payloads() == [b"100"]


def test_a_refusal_by_the_client_is_an_acknowledgement(link: Any) -> None:
    """PUBACK with an error frees the slot and is told."""
    client = link.connect(properties=Properties(receive_maximum=1))
    client.subscribe("a")
    publish_many(link, 2)
    (first,) = client.take_published()
    link.events()
    client.send(PubAck(packet_id=first.packet_id, reason_code=0x97))

    assert client.take_payloads() == [b"1"]
    (refusal,) = link.events(Acknowledged)
    assert (refusal.client_id, refusal.reason_code) == ("c", 0x97)


def test_an_acknowledgement_of_nothing_is_ignored(link: Any) -> None:
    """With or without an error."""
    client = link.connect()
    client.send(PubAck(packet_id=5, reason_code=0x97), PubAck(packet_id=5))
    assert client.take() == []
    assert not link.events(Acknowledged)


def test_a_queue_is_bounded(make_link: Callable[..., Any]) -> None:
    """Further messages are dropped with an event, for those who are there and for those who are not."""
    link = make_link(max_queued_messages=2)
    absent = link.connect("absent", properties=STORED)
    absent.subscribe("a")
    absent.lose()
    slow = link.connect("slow", properties=Properties(receive_maximum=1))
    slow.subscribe("a")
    publish_many(link, 4)

    dropped = [(event.client_id, event.because) for event in link.events(Dropped)]
    assert dropped == [
        ("absent", "the session already has 2 messages queued"),
        ("slow", "the session already has 2 messages queued"),
        ("absent", "the session already has 2 messages queued"),
    ]
    again = link.connect("absent", clean_start=False, properties=STORED)
    assert again.take_payloads() == [b"0", b"1"]


def test_expired_messages_make_room_in_a_full_queue(make_link: Callable[..., Any]) -> None:
    """They are dropped first."""
    link = make_link(max_queued_messages=1)
    client = link.connect("c", properties=STORED)
    client.subscribe("a")
    client.lose()
    sender = link.connect("sender")
    sender.publish("a", b"short", qos=1, properties=Properties(message_expiry_interval=10))
    link.advance(10)
    link.events()
    sender.publish("a", b"new", qos=1)

    assert [event.because for event in link.events(Dropped)] == ["expired in the queue"]
    assert link.connect("c", clean_start=False, properties=STORED).take_payloads() == [b"new"]


def test_stored_messages_expire(aws_link: Any) -> None:
    """They are not sent, which is told; what is left of the others' time is sent to MQTT 5 receivers."""
    sender = aws_link.connect("sender")
    clients = {}
    for version in (V311, V5):
        properties = STORED if version is V5 else Properties()
        clients[version] = {"version": version, "clean_start": False, "properties": properties}
        client = aws_link.connect(f"c{version}", **clients[version])
        client.subscribe("a")
        client.lose()
    for expiry in (10, 60):
        sender.publish("a", b"%d" % expiry, qos=1, properties=Properties(message_expiry_interval=expiry))
    aws_link.advance(20.5)
    aws_link.events()

    old = aws_link.connect("c4", **clients[V311])
    new = aws_link.connect("c5", **clients[V5])

    assert old.take_payloads() == [b"60"]
    (received,) = new.take_published()
    assert (received.payload, received.properties.message_expiry_interval) == (b"60", 39)
    assert [(event.client_id, event.because) for event in aws_link.events(Dropped)] == [
        ("c4", "expired in the queue"),
        ("c5", "expired in the queue"),
    ]


def test_stored_messages_are_judged_when_they_are_delivered(link: Any) -> None:
    """A permission to receive that is gone by then keeps them back, with an event; the others follow."""
    client = link.connect("c", properties=STORED)
    client.subscribe("a", "b")
    client.lose()
    sender = link.connect("sender")
    sender.publish("a", b"secret", qos=1)
    sender.publish("b", b"public", qos=1)
    link.rules.forbid("Receive", "a", "c")
    link.events()

    again = link.connect("c", clean_start=False, properties=STORED)

    assert again.take_payloads() == [b"public"]
    assert [(event.action, event.resource) for event in link.events(Decided) if not event.allowed] == [("Receive", "a")]


def test_stored_messages_too_large_for_the_returned_client_are_dropped(link: Any) -> None:
    """Its Maximum Packet Size may be another one than before."""
    client = link.connect("c", properties=STORED)
    client.subscribe("a")
    client.lose()
    sender = link.connect("sender")
    sender.publish("a", b"x" * 100, qos=1)
    sender.publish("a", b"small", qos=1)
    properties = Properties(session_expiry_interval=60, maximum_packet_size=100)
    again = link.connect("c", clean_start=False, properties=properties)

    assert again.take_payloads() == [b"small"]
    assert len(link.events(Dropped)) == 1


def test_a_slow_reader_gets_what_waited_when_it_has_read(make_link: Callable[..., Any]) -> None:
    """Bit by bit, as far as there is room."""
    link = make_link(max_send_buffer_bytes=100)
    client = link.connect()
    client.subscribe("a")
    client.connection.unsent_bytes = 99
    publish_many(link, 3)
    link.broker.take_dirty()
    assert client.connection.data_to_send() == b""

    client.connection.unsent_bytes = 80
    assert len(client.connection.data_to_send()) == 2 * (2 + 3 + 2 + 1 + 1)
    client.connection.unsent_bytes = 80
    assert client.take_payloads() == [b"2"]


def test_an_unacknowledged_message_is_sent_again(make_link: Callable[..., Any]) -> None:
    """After each interval, on the same connection; with DUP where that is marked. An acknowledged one is not."""
    for mark_duplicates in (True, False):
        link = make_link(retry_interval=20.0, mark_duplicates=mark_duplicates)
        client = link.connect()
        client.subscribe("a")
        publish_many(link, 2)
        first = client.take_published()
        client.send(PubAck(packet_id=first[0].packet_id))
        link.advance(19)
        assert client.take() == []
        for _ in range(3):
            link.advance(20)
            (again,) = client.take_published()
            assert (again.payload, again.packet_id, again.dup) == (b"1", first[1].packet_id, mark_duplicates)
        client.send(PubAck(packet_id=again.packet_id))
        link.advance(100)
        assert client.take() == []


def test_a_retry_comes_an_interval_after_its_message(make_link: Callable[..., Any]) -> None:
    """Not an interval after the connection."""
    link = make_link(retry_interval=20.0)
    client = link.connect()
    client.subscribe("a")
    link.advance(15)
    publish_many(link, 1)
    client.take()
    link.advance(19)
    assert client.take() == []
    link.advance(2)
    assert client.take_payloads() == [b"0"]


def test_a_retry_waits_for_room(make_link: Callable[..., Any]) -> None:
    """A client that does not read does not get it again and again."""
    link = make_link(retry_interval=20.0, max_send_buffer_bytes=1_000)
    client = link.connect()
    client.subscribe("a")
    publish_many(link, 1)
    client.take()
    client.connection.unsent_bytes = 999
    link.advance(45)
    assert client.connection.unsent == []
    client.connection.unsent_bytes = 0
    link.advance(20)
    assert client.take_payloads() == [b"0"]


@pytest.mark.parametrize(("version", "period"), [(V311, 3_600), (V5, 960)])
def test_a_message_nobody_acknowledges_is_given_up(
    make_link: Callable[..., Any], version: ProtocolVersion, period: int
) -> None:
    """After an hour (3.1.1) or 16 minutes (5); the next one takes its place."""
    link = make_link(retry_interval=60.0, retry_period_v311=3_600.0, retry_period_v5=960.0, max_inflight=1)
    client = link.connect("c", version)
    client.subscribe("a")
    publish_many(link, 2)
    link.advance(period - 1)
    assert set(client.take_payloads()) == {b"0"}
    link.advance(61)

    assert client.take_payloads()[-1] == b"1"
    assert [event.because for event in link.events(Dropped)] == ["never acknowledged"]
