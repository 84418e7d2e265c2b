"""`harness.mqtt.connection`: states, bytes, room."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from harness.mqtt.codec import encode
from harness.mqtt.events import ConnectRefused, Disconnected, DisconnectReason, Dropped, Published
from harness.mqtt.packets import (
    Auth,
    ConnAck,
    Connect,
    Disconnect,
    Packet,
    PingReq,
    PingResp,
    Properties,
    ProtocolVersion,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    SubAck,
    Subscribe,
    Subscription,
    UnsubAck,
    Unsubscribe,
    Will,
)

if TYPE_CHECKING:
    from collections.abc import Callable

V311 = ProtocolVersion.V311
V5 = ProtocolVersion.V5


def test_a_client_s_ping_is_answered(link: Any, version: ProtocolVersion) -> None:
    """PINGREQ gets PINGRESP [MQTT-3.12.4-1]."""
    client = link.connect(version=version)
    client.send(PingReq())
    assert client.take() == [PingResp()]


def test_a_client_may_send_its_bytes_in_any_pieces(link: Any, version: ProtocolVersion) -> None:
    """One byte at a time says the same as all at once."""
    client = link.open(version)
    stream = (
        encode(Connect(client_id="c", version=version), version)
        + encode(Subscribe(packet_id=1, subscriptions=(Subscription(topic_filter="a", qos=1),)), version)
        + encode(Publish(topic_name="a", payload=b"hello", qos=1, packet_id=2), version)
    )
    for byte in stream:
        client.send_bytes(bytes((byte,)))

    received = client.take()

    assert [type(packet) for packet in received] == [ConnAck, SubAck, Publish, PubAck]
    client.send_bytes(encode(PubAck(packet_id=received[2].packet_id), version))
    assert not link.broker.sessions["c"].inflight


@pytest.mark.parametrize("packet", [PingReq(), Publish(topic_name="a"), Disconnect(), PubAck(packet_id=1)])
def test_a_packet_before_connect_ends_the_connection(link: Any, packet: Packet) -> None:
    """The first packet is a CONNECT [MQTT-3.1.0-1]; no other gets an answer."""
    client = link.open(V311)
    client.send(packet)

    assert client.take() == []
    assert client.is_closed
    (refused,) = link.events(ConnectRefused)
    assert refused.because
    assert client.connection.close_reason is None


@pytest.mark.parametrize(
    "packet",
    [
        Connect(client_id="c"),
        ConnAck(),
        PubRec(packet_id=1),
        PubRel(packet_id=1),
        PubComp(packet_id=1),
        SubAck(packet_id=1, reason_codes=(0,)),
        UnsubAck(packet_id=1, reason_codes=(0,)),
        PingResp(),
        Auth(),
    ],
    ids=lambda packet: type(packet).__name__,
)
def test_a_packet_that_is_no_client_s_business_is_a_protocol_error(link: Any, packet: Packet) -> None:
    """A second CONNECT, what only a server sends, and what was never announced: DISCONNECT 0x82, CLIENT_ERROR."""
    client = link.connect("c")
    client.send(packet, PingReq())

    assert client.take() == [Disconnect(reason_code=0x82)]
    assert client.is_closed
    (ended,) = link.events(Disconnected)
    assert ended.reason is DisconnectReason.CLIENT_ERROR
    assert type(packet).__name__.upper() in ended.because


def test_a_second_connect_of_3_1_1_is_hung_up_on(link: Any) -> None:
    """3.1.1 has no DISCONNECT from the server."""
    client = link.connect("c", V311)
    client.send(Connect(client_id="c", version=V311))

    assert client.take() == []
    assert client.is_closed


def test_malformed_bytes_end_the_connection_with_their_reason(link: Any) -> None:
    """A SUBSCRIBE with wrong flags is malformed: DISCONNECT 0x81 and CLIENT_ERROR."""
    client = link.connect()
    client.send_bytes(b"\x80\x02\x00\x01")

    assert client.take() == [Disconnect(reason_code=0x81)]
    (ended,) = link.events(Disconnected)
    assert ended.reason is DisconnectReason.CLIENT_ERROR
    assert client.connection.close_reason is DisconnectReason.CLIENT_ERROR
    assert client.connection.close_because == ended.because


def test_a_packet_that_is_too_long_ends_the_connection(make_aws_link: Callable[..., Any]) -> None:
    """Before it is all there."""
    client = make_aws_link(max_packet_bytes=100).connect()
    client.send_bytes(b"\x30\xff\x01")

    assert client.take() == [Disconnect(reason_code=0x95)]


@pytest.mark.parametrize(
    ("first_bytes", "answer"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", b""),
        (b"\x10\x0c\x00\x04MQTT\x03\x02\x00\x00\x00\x00", b"\x20\x02\x00\x01"),
        (b"\x10\x0e\x00\x06MQIsdp\x03\x02\x00\x00\x00\x00", b"\x20\x02\x00\x01"),
        (b"\x10\x0c\x00\x04MQTT\x04\x03\x00\x00\x00\x00", b""),
        (b"\x10\x0d\x00\x04MQTT\x05\x03\x00\x00\x00\x00\x00", b"\x20\x03\x00\x81\x00"),
    ],
    ids=["HTTP", "level 3", "MQIsdp", "bad 3.1.1", "bad 5"],
)
def test_a_first_packet_that_cannot_be_read_is_refused(link: Any, first_bytes: bytes, answer: bytes) -> None:
    """With a CONNACK where its version is known or there is a code for it; else without a word."""
    client = link.open()
    client.send_bytes(first_bytes)

    assert client.connection.data_to_send() == answer
    assert client.connection.is_closing
    assert link.events(ConnectRefused)


def test_a_closed_connection_reads_nothing_more(link: Any) -> None:
    """What comes behind the packet that ended it is not looked at, and a second end changes nothing."""
    client = link.connect()
    other = link.connect("other")
    other.subscribe("a")
    client.send(Disconnect(), Publish(topic_name="a"))
    client.publish("a")
    client.lose()

    assert other.take() == []
    assert len(link.events(Disconnected)) == 1


def test_a_connection_that_is_lost_before_connect_was_refused(link: Any) -> None:
    """The trace tells how far it came."""
    client = link.open()
    client.lose()

    (refused,) = link.events(ConnectRefused)
    assert refused.reason_code is None
    assert not link.broker.open_connections


def test_a_client_that_broke_the_protocol_below_mqtt_is_told_so(link: Any) -> None:
    """Its fault, and what it was; the will is published as for every error."""
    client = link.connect("c", will=Will(topic_name="wills/c", payload=b"gone"))

    client.connection.connection_lost(link.now, client_initiated=False, breach="a frame is not masked")

    ended, published = link.events(Disconnected, Published)
    assert (ended.reason, ended.because) == (DisconnectReason.CLIENT_ERROR, "a frame is not masked")
    assert published.is_will


def test_only_an_accepted_connection_has_a_session(link: Any) -> None:
    """Asking before is a mistake of this package, and says so."""
    client = link.open()
    with pytest.raises(RuntimeError, match="awaiting CONNECT: it has no session"):
        _ = client.connection.accepted_session


def test_answers_of_the_authorizer_are_remembered_until_they_may_have_changed(link: Any) -> None:
    """One question per topic, asked again after a change of policies; not everything is remembered forever."""
    client = link.connect()
    link.rules.asked.clear()
    client.publish("a")
    client.publish("a")
    assert link.rules.asked == [("c", "Publish", "a")]

    link.rules.version += 1
    client.publish("a")
    assert len(link.rules.asked) == 2

    for number in range(1_100):
        client.publish(f"t/{number}")
    assert len(client.connection._decisions) < 1_100


def test_a_slow_reader_loses_qos_0_and_keeps_qos_1(make_link: Callable[..., Any]) -> None:
    """Beyond the soft bound QoS 0 is dropped with an event, QoS 1 waits until the transport has drained."""
    link = make_link(max_send_buffer_bytes=1_000)
    slow = link.connect("slow")
    slow.subscribe("#")
    fast = link.connect("fast")
    fast.subscribe("#")
    slow.connection.unsent_bytes = 999
    sender = link.connect("sender")
    link.events()

    sender.publish("t", b"zero")
    sender.publish("t", b"one", qos=1)

    assert fast.take_payloads() == [b"zero", b"one"]
    (dropped,) = link.events(Dropped)
    assert (dropped.client_id, dropped.topic_name) == ("slow", "t")
    assert "unsent" in dropped.because
    slow.connection.unsent_bytes = 0
    assert slow.take_payloads() == [b"one"]


def test_a_message_larger_than_the_soft_bound_goes_when_nothing_else_does(make_link: Callable[..., Any]) -> None:
    """The bound limits what piles up, not what may be sent."""
    link = make_link(max_send_buffer_bytes=10)
    client = link.connect()
    client.subscribe("#")
    for qos in (0, 1):
        client.publish("t", b"x" * 100, qos=qos)
        assert len(client.take_published(acknowledge=True)) == 1


def test_a_client_that_does_not_read_is_thrown_out(make_link: Callable[..., Any]) -> None:
    """Answers cannot be dropped, so there is a hard bound too."""
    link = make_link(hard_send_buffer_bytes=1_000)
    client = link.connect()
    client.connection.unsent_bytes = 1_000
    assert not client.connection.is_closing
    client.connection.unsent_bytes = 1_001

    assert client.connection.is_closing
    (ended,) = link.events(Disconnected)
    assert "does not read" in ended.because
    client.connection.unsent_bytes = 2_000
    assert client.connection.unsent_bytes == 2_000


def test_runs_of_acknowledgements_let_waiting_messages_go(link: Any) -> None:
    """PUBACKs of one read are taken in one go; unknown packet ids among them are ignored."""
    client = link.connect(properties=Properties(receive_maximum=2))
    client.subscribe("#")
    sender = link.connect("sender")
    for number in range(5):
        sender.publish("t", b"%d" % number, qos=1)
    first = client.take_published()
    assert [packet.payload for packet in first] == [b"0", b"1"]

    client.send(PubAck(packet_id=65_000), *(PubAck(packet_id=packet.packet_id) for packet in first))

    assert client.take_payloads() == [b"2", b"3"]


def test_acknowledgements_between_other_packets_are_taken_too(link: Any) -> None:
    """Whatever stands before them."""
    client = link.connect(properties=Properties(receive_maximum=1))
    client.subscribe("#")
    client.publish("t", b"1", qos=1)
    client.publish("t", b"2", qos=1)
    (first,) = client.take_published()

    client.send(PingReq(), PubAck(packet_id=first.packet_id))

    assert [type(packet) for packet in client.take()] == [PingResp, Publish]


def test_nothing_a_client_sends_breaks_the_broker(make_aws_link: Callable[..., Any], version: ProtocolVersion) -> None:
    """Damaged packets end their connection at worst: no exception gets out, and others are served."""
    chance = random.Random(20261121)  # noqa: S311 - reproducible, nothing secret
    subscription = Subscription(topic_filter="a/#", qos=1)
    packets: list[Packet] = [
        Connect(client_id="c", version=version, will=Will(topic_name="w", payload=b"w", retain=True)),
        Subscribe(packet_id=1, subscriptions=(subscription,)),
        Publish(topic_name="a/b", payload=b"hello", qos=1, packet_id=2, properties=Properties(topic_alias=1)),
        Publish(topic_name="a/b", retain=True, properties=Properties(message_expiry_interval=5)),
        PubAck(packet_id=1),
        Unsubscribe(packet_id=3, topic_filters=("a/#",)),
        Disconnect(),
    ]
    stream = b"".join(encode(packet, version) for packet in packets)
    link = make_aws_link()
    witness = link.connect("witness")
    for _ in range(500):
        damaged = bytearray(stream)
        for _ in range(chance.randrange(1, 4)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        client = link.open(version)
        client.send_bytes(damaged)
        client.connection.data_to_send()
        client.lose()
    witness.send(PingReq())
    link.broker.take_dirty()
    assert witness.connection.data_to_send().endswith(b"\xd0\x00")
    assert set(link.broker.connections) <= {"witness"}
    assert len(link.broker.open_connections) == 1


def test_unsubscribe_is_part_of_the_table(link: Any, version: ProtocolVersion) -> None:
    """UNSUBSCRIBE gets UNSUBACK."""
    client = link.connect(version=version)
    client.send(Unsubscribe(packet_id=3, topic_filters=("a",)))
    assert client.take_one(UnsubAck).packet_id == 3
