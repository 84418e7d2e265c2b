"""`harness.mqtt.routing`: who gets a message, in which form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from harness.mqtt import routing
from harness.mqtt.events import Decided, Delivered, Dropped, Published, Queued
from harness.mqtt.packets import Properties, ProtocolVersion, PubAck, Subscription, Will

if TYPE_CHECKING:
    from collections.abc import Callable

V311 = ProtocolVersion.V311
V5 = ProtocolVersion.V5


@pytest.mark.parametrize("qos", [0, 1])
def test_every_subscriber_gets_a_message_once(link: Any, qos: int) -> None:
    """Both versions, at the lower QoS of the two ends, its publisher included; one event names them all."""
    clients = [link.connect(f"c{number}", (V311, V5)[number % 2]) for number in range(6)]
    for number, client in enumerate(clients):
        client.subscribe("a/#", qos=number % 3 % 2)
    link.events()

    clients[0].publish("a/b", b"x", qos=qos)

    for number, client in enumerate(clients):
        assert [(packet.payload, packet.qos) for packet in client.take_published()] == [
            (b"x", min(qos, number % 3 % 2))
        ]
    published, delivered = link.events(Published, Delivered)
    assert delivered.message_id == published.message_id
    assert sorted(delivered.client_ids) == sorted(link.broker.connections)


def test_subscribers_of_one_kind_share_the_bytes(link: Any) -> None:
    """Packet id included."""
    clients = [link.connect(f"c{number}") for number in range(3)]
    for client in clients:
        client.subscribe("a")
    clients[0].publish("a", b"x", qos=1)

    sent = [client.connection.unsent[0] for client in clients]

    assert sent[0] is sent[1] is sent[2]


def test_overlapping_subscriptions_give_one_copy(link: Any) -> None:
    """At the highest QoS."""
    client = link.connect()
    client.subscribe("a/#", qos=0)
    client.subscribe("a/+", qos=1)
    client.publish("a/b", qos=1)
    assert [packet.qos for packet in client.take_published()] == [1]


def test_a_message_without_subscribers_is_published_to_nobody(link: Any) -> None:
    """No Delivered event."""
    link.connect().publish("a")
    assert link.events(Published)
    assert not link.events(Delivered)


def test_a_parent_is_matched_by_plain_mqtt_only(link: Any, aws_link: Any) -> None:
    """AWS: ``a/#`` does not match ``a``."""
    for broker, expected in ((link, [b"parent", b"child"]), (aws_link, [b"child"])):
        client = broker.connect()
        client.subscribe("a/#")
        client.publish("a", b"parent")
        client.publish("a/", b"child")
        assert client.take_payloads() == expected


def test_no_local_spares_the_publisher(link: Any) -> None:
    """Others get the message; from others the publisher gets theirs [MQTT-3.8.3-3]."""
    own = Subscription(topic_filter="a", qos=1, no_local=True)
    one = link.connect("one")
    one.subscribe(own)
    other = link.connect("other")
    other.subscribe(own)
    link.events()
    one.publish("a", b"from one")
    other.publish("a", b"from other")

    assert one.take_payloads() == [b"from other"]
    assert other.take_payloads() == [b"from one"]
    assert [event.client_ids for event in link.events(Delivered)] == [("other",), ("one",)]
    link.connect("third").publish("a", b"from a third")
    link.broker.publish_from_broker("a", b"from the broker", link.now)
    assert one.take_payloads() == [b"from a third", b"from the broker"]


def test_no_local_spares_an_absent_publisher_its_will(link: Any) -> None:
    """A will is its client's own message."""
    properties = Properties(session_expiry_interval=60)
    will = Will(topic_name="a", payload=b"gone", qos=1)
    client = link.connect("c", properties=properties, will=will)
    client.subscribe(Subscription(topic_filter="a", qos=1, no_local=True))
    client.lose()
    again = link.connect("c", properties=properties, clean_start=False)
    assert again.take_payloads() == []


def test_a_subscriber_that_may_not_receive_is_passed_over(link: Any) -> None:
    """Silently for the client, with an event for every message; the others are served."""
    denied = link.connect("denied")
    allowed = link.connect("allowed")
    for client in (denied, allowed):
        client.subscribe("a/#")
    link.rules.forbid("Receive", "a/secret", "denied")
    link.events()

    allowed.publish("a/secret", b"1")
    allowed.publish("a/secret", b"2")
    allowed.publish("a/public", b"3")

    assert denied.take_payloads() == [b"3"]
    assert allowed.take_payloads() == [b"1", b"2", b"3"]
    denials = [event for event in link.events(Decided) if not event.allowed]
    assert [(event.info.client_id, event.action, event.resource) for event in denials] == [
        ("denied", "Receive", "a/secret")
    ] * 2
    assert denials[0].because == "rules say no to Receive a/secret"


def test_receive_is_decided_once_per_topic_and_version(link: Any) -> None:
    """Not once per message; again when policies or subscriptions change."""
    client = link.connect("c")
    client.subscribe("#")

    def receives() -> int:
        return link.rules.asked.count(("c", "Receive", "a"))

    for _ in range(5):
        client.publish("a")
    assert receives() == 1
    link.connect("d").subscribe("#")
    client.publish("a")
    assert receives() == 1
    link.rules.forbid("Receive", "a")
    client.take()
    client.publish("a")
    assert receives() == 2
    assert client.take_payloads() == []
    link.rules.allow_again()
    client.publish("a")
    assert len(client.take_payloads()) == 1


def test_subscriptions_connections_and_returns_hold_for_the_next_message(link: Any) -> None:
    """Who gets the messages of a topic is remembered, but no longer than it is true."""
    properties = Properties(session_expiry_interval=60)
    sender = link.connect("sender")
    client = link.connect("c", properties=properties)
    sender.publish("a", b"0", qos=1)
    client.subscribe("a")
    sender.publish("a", b"1", qos=1)
    assert client.take_payloads() == [b"1"]
    client.lose()
    link.events()
    sender.publish("a", b"2", qos=1)
    sender.publish("a", b"lost")
    assert [type(event) for event in link.events(Delivered, Queued)] == [Queued]
    again = link.connect("c", properties=properties, clean_start=False)
    sender.publish("a", b"3", qos=1)
    assert again.take_payloads() == [b"1", b"2", b"3"]


def test_many_topics_are_not_remembered_forever(link: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory is bounded."""
    monkeypatch.setattr(routing, "_REMEMBERED_TOPICS", 10)
    client = link.connect()
    for number in range(25):
        client.publish(f"t/{number}")
    assert len(client.connection.state.receivers) <= 10


@pytest.mark.parametrize("qos", [0, 1])
def test_a_message_too_large_for_a_client_is_not_sent_to_it(link: Any, qos: int) -> None:
    """It is dropped for that client, with an event, and is not in flight [MQTT-3.1.2-24], [MQTT-3.1.2-25]."""
    small = link.connect("small", properties=Properties(maximum_packet_size=50))
    large = link.connect("large", properties=Properties(maximum_packet_size=60))
    for client in (small, large):
        client.subscribe("a")
    link.events()
    overhead = 2 + 3 + 1 + (2 if qos else 0)

    large.publish("a", b"x" * (50 - overhead), qos=qos)
    large.publish("a", b"x" * (51 - overhead), qos=qos)

    assert len(small.take_published()) == 1
    assert len(large.take_published()) == 2
    (dropped,) = link.events(Dropped)
    assert (dropped.client_id, dropped.topic_name) == ("small", "a")
    assert len(link.broker.sessions["small"].inflight) == qos


def test_messages_for_the_absent_are_told_as_queued(link: Any) -> None:
    """One event for all of them; nothing for QoS 0, at either end."""
    properties = Properties(session_expiry_interval=60)
    for name, qos in (("one", 1), ("two", 1), ("zero", 0)):
        client = link.connect(name, properties=properties)
        client.subscribe("a", qos=qos)
        client.lose()
    sender = link.connect("sender")
    link.events()
    sender.publish("a", qos=0)
    assert not link.events(Queued)

    sender.publish("a", qos=1)

    (queued,) = link.events(Queued)
    assert queued.client_ids == ("one", "two")


def test_packet_ids_go_round_without_meeting_those_in_flight(link: Any) -> None:
    """An id that one session still has in flight is passed over there; the others share it."""
    busy = link.connect("busy")
    free = link.connect("free")
    for client in (busy, free):
        client.subscribe("a")
    busy.publish("a", b"first", qos=1)
    (first,) = busy.take_published()
    free.take_published(acknowledge=True)
    state = busy.connection.state
    state._packet_id = first.packet_id - 1

    busy.publish("a", b"second", qos=1)

    (second,) = free.take_published(acknowledge=True)
    assert second.packet_id == first.packet_id
    (other,) = busy.take_published()
    assert other.packet_id not in {0, first.packet_id}
    assert len(busy.connection.inflight) == 2
    state._packet_id = 65_535
    busy.publish("a", b"third", qos=1)
    assert free.take_published()[0].packet_id == 1


def test_order_is_kept_for_those_who_wait(link: Any) -> None:
    """A message never overtakes one that waits."""
    client = link.connect(properties=Properties(receive_maximum=2))
    client.subscribe("a")
    sender = link.connect("sender")
    payloads = [b"%d" % number for number in range(9)]
    for payload in payloads[:5]:
        sender.publish("a", payload, qos=1)
    received = []
    for payload in [*payloads[5:], None]:
        for packet in client.take_published():
            received.append(packet.payload)
            client.send(PubAck(packet_id=packet.packet_id))
        if payload is not None:
            sender.publish("a", payload, qos=1)
    while packets := client.take_published(acknowledge=True):
        received += [packet.payload for packet in packets]
    assert received == payloads


def test_a_small_message_does_not_overtake_a_large_one_that_waits_for_room(make_link: Callable[..., Any]) -> None:
    """Though there is room for the small one."""
    link = make_link(max_send_buffer_bytes=100)
    client = link.connect()
    client.subscribe("a")
    sender = link.connect("sender")
    client.connection.unsent_bytes = 50
    sender.publish("a", b"x" * 60, qos=1)
    sender.publish("a", b"small", qos=1)
    assert client.connection.unsent == []

    client.connection.unsent_bytes = 0
    assert client.take_payloads() == [b"x" * 60, b"small"]


def test_retained_flag_of_stored_messages_follows_the_subscription(link: Any) -> None:
    """As for live ones."""
    properties = Properties(session_expiry_interval=60)
    client = link.connect("c", properties=properties)
    client.subscribe("plain", Subscription(topic_filter="asking", qos=1, retain_as_published=True))
    client.lose()
    sender = link.connect("sender")
    for topic_name in ("plain", "asking"):
        sender.publish(topic_name, qos=1, retain=True)
    again = link.connect("c", clean_start=False, properties=properties)
    assert [(packet.topic_name, packet.retain) for packet in again.take_published()] == [
        ("plain", False),
        ("asking", True),
    ]


def test_expired_and_expiring_messages(make_link: Callable[..., Any]) -> None:
    """A message with expiry 0 is still handed to those who are there."""
    link = make_link()
    client = link.connect()
    client.subscribe("a")
    client.publish("a", b"now", properties=Properties(message_expiry_interval=0))
    assert client.take_payloads() == [b"now"]
