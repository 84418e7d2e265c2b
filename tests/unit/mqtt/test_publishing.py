"""`harness.mqtt.publishing`: what becomes of a PUBLISH."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from harness.mqtt.events import Decided, Disconnected, DisconnectReason, Published, Refused
from harness.mqtt.packets import Disconnect, PingReq, PingResp, Properties, ProtocolVersion, PubAck, Publish

if TYPE_CHECKING:
    from collections.abc import Callable

V311 = ProtocolVersion.V311
V5 = ProtocolVersion.V5


def test_a_publish_is_delivered_and_acknowledged(link: Any, version: ProtocolVersion) -> None:
    """QoS 1 gets PUBACK with its own packet id, QoS 0 nothing; both are told as one event."""
    listener = link.connect("listener")
    listener.subscribe("a/+")
    sender = link.connect("sender", version)
    link.events()

    sender.publish("a/b", b"one", qos=1, packet_id=77)
    sender.publish("a/b", b"zero")

    assert sender.take() == [PubAck(packet_id=77)]
    assert [(packet.payload, packet.qos) for packet in listener.take_published()] == [(b"one", 1), (b"zero", 0)]
    first, second = link.events(Published)
    assert (first.topic_name, first.payload, first.qos, first.retain) == ("a/b", b"one", 1, False)
    assert first.info is sender.connection.info
    assert first.received_at == link.now
    assert not first.is_will
    assert first.message_id != second.message_id


def test_properties_reach_mqtt_5_receivers_only(link: Any) -> None:
    """Unchanged and in order; 3.1.1 receivers get the payload."""
    new = link.connect("new")
    old = link.connect("old", V311)
    new.subscribe("a")
    old.subscribe("a")
    properties = Properties(
        payload_format_indicator=1,
        content_type="application/json",
        response_topic="answers",
        correlation_data=b"\x00\x01",
        user_properties=(("k", "1"), ("k", "2"), ("a", "3")),
    )
    new.publish("a", b"{}", properties=properties)

    assert new.take() == [Publish(topic_name="a", payload=b"{}", properties=properties)]
    assert old.take() == [Publish(topic_name="a", payload=b"{}")]


def test_a_client_that_may_not_publish_by_3_1_1_is_hung_up_on(aws_link: Any) -> None:
    """At either QoS, without PUBACK: AUTH_ERROR, with the reason in the event."""
    aws_link.rules.forbid("Publish", "secret")
    for qos in (0, 1):
        client = aws_link.connect("c", V311)
        client.publish("public", qos=1)
        assert client.take() == [PubAck(packet_id=7)]
        aws_link.events()

        client.publish("secret", qos=qos)

        assert client.take() == []
        assert client.is_closed
        decided, ended = aws_link.events(Decided, Disconnected)
        assert (decided.action, decided.resource, decided.allowed) == ("Publish", "secret", False)
        assert decided.because == ended.because == "rules say no to Publish secret"
        assert ended.reason is DisconnectReason.AUTH_ERROR


def test_a_denied_publish_of_3_1_1_can_be_swallowed(make_link: Callable[..., Any]) -> None:
    """The specification's other choice: acknowledge it and drop it."""
    link = make_link(deny_publish_v311="acknowledge")
    link.rules.forbid("Publish", "secret")
    client = link.connect("c", V311)
    client.publish("secret")
    client.publish("secret", qos=1)

    assert client.take() == [PubAck(packet_id=7)]
    assert link.events(Published) == []


def test_a_denied_publish_of_mqtt_5_is_answered(aws_link: Any) -> None:
    """QoS 1: PUBACK 0x87 and the connection stays. QoS 0: DISCONNECT 0x87."""
    aws_link.rules.forbid("Publish", "secret")
    client = aws_link.connect()
    client.publish("secret", qos=1)
    client.publish("public", qos=1, packet_id=8)
    assert client.take() == [PubAck(packet_id=7, reason_code=0x87), PubAck(packet_id=8)]

    client.publish("secret")

    assert client.take() == [Disconnect(reason_code=0x87)]
    assert client.is_closed


def test_a_denied_publish_of_mqtt_5_can_be_answered_the_other_way(make_aws_link: Callable[..., Any]) -> None:
    """QoS 1 by DISCONNECT, QoS 0 by nothing."""
    link = make_aws_link(deny_publish_v5_qos0="ignore", deny_publish_v5_qos1="disconnect")
    link.rules.forbid("Publish", "secret")
    client = link.connect()
    client.publish("secret")
    client.send(PingReq())
    assert client.take() == [PingResp()]

    client.publish("secret", qos=1)

    assert client.take() == [Disconnect(reason_code=0x87)]


def test_a_retained_publish_needs_two_permissions(aws_link: Any) -> None:
    """Publish and RetainPublish; without RETAIN the first is enough."""
    aws_link.rules.forbid("RetainPublish", "a")
    client = aws_link.connect()
    aws_link.events()
    client.publish("a", qos=1, retain=True)
    client.publish("a", qos=1, packet_id=8)
    client.publish("b", qos=1, packet_id=9, retain=True)

    assert [packet.reason_code for packet in client.take()] == [0x87, 0, 0]
    assert list(aws_link.broker.retained) == ["b"]
    decided = [(event.action, event.resource, event.allowed) for event in aws_link.events(Decided)]
    assert decided[:2] == [("Publish", "a", True), ("RetainPublish", "a", False)]


@pytest.mark.parametrize(
    "topic_name", ["1/2/3/4/5/6/7/8/9", "x" * 257, "$aws/things/t/shadow/get", "$aws/rules/r/a", "a/+"]
)
def test_a_publish_to_a_topic_beyond_the_limits_is_refused(aws_link: Any, topic_name: str) -> None:
    """MQTT 5: PUBACK 0x90, or DISCONNECT 0x90 for QoS 0; 3.1.1: a hang-up. The event says why."""
    client = aws_link.connect()
    for packet_id in (7, 8):  # a refusal is not taken for a permission the second time
        client.publish(topic_name, qos=1, packet_id=packet_id)
        assert client.take() == [PubAck(packet_id=packet_id, reason_code=0x90)]
    client.publish(topic_name)
    assert client.take() == [Disconnect(reason_code=0x90)]

    old = aws_link.connect("old", V311)
    aws_link.events()
    old.publish(topic_name, qos=1)
    assert old.take() == []
    assert old.is_closed
    refused, ended = aws_link.events(Refused, Disconnected)
    assert (refused.packet, refused.resource, refused.reason_code) == ("publish", topic_name, 0x90)
    assert refused.because == ended.because
    assert ended.reason is DisconnectReason.CLIENT_ERROR


@pytest.mark.parametrize("topic_name", ["x" * 60_000, "$" * 60_000, "/" * 60_000, "$aws/events/" + "x" * 60_000])
def test_a_refused_topic_is_cut_in_what_is_told(aws_link: Any, topic_name: str) -> None:
    """Events are kept long after the packet: a client cannot fill the memory with refusals."""
    client = aws_link.connect()
    aws_link.events()

    client.publish(topic_name, qos=1)

    (refused,) = aws_link.events(Refused)
    assert refused.resource == topic_name[:512] + "…"
    assert len(refused.because) < 700


def test_a_topic_at_the_limits_is_accepted(aws_link: Any) -> None:
    """Eight levels, 256 bytes."""
    client = aws_link.connect()
    client.publish("1/2/3/4/5/6/7/8", qos=1)
    client.publish("x" * 256, qos=1)
    assert [packet.reason_code for packet in client.take()] == [0, 0]


def test_a_property_beyond_the_limits_is_refused(aws_link: Any) -> None:
    """PUBACK 0x97."""
    client = aws_link.connect()
    client.publish("a", qos=1, properties=Properties(content_type="x" * 257))
    assert client.take() == [PubAck(packet_id=7, reason_code=0x97)]


def test_a_payload_may_have_128_kib(aws_link: Any, version: ProtocolVersion) -> None:
    """One byte more ends the connection with CLIENT_ERROR."""
    client = aws_link.connect("c", version)
    client.publish("a", b"x" * 131_072, qos=1)
    assert client.take() == [PubAck(packet_id=7)]

    client.publish("a", b"x" * 131_073, qos=1)

    assert client.take() == ([Disconnect(reason_code=0x95)] if version is V5 else [])
    (ended,) = aws_link.events(Disconnected)
    assert ended.reason is DisconnectReason.CLIENT_ERROR
    assert "131073" in ended.because


def test_a_publish_of_qos_2_to_aws(aws_link: Any) -> None:
    """3.1.1: ignored without an answer, the connection stays. MQTT 5: DISCONNECT 0x9B. Both with an event."""
    old = aws_link.connect("old", V311)
    old.subscribe("a")
    aws_link.events()
    old.publish("a", qos=2)
    old.send(PingReq())
    assert old.take() == [PingResp()]
    (refused,) = aws_link.events()
    assert refused.reason_code == 0x9B

    new = aws_link.connect("new")
    new.publish("a", qos=2)
    assert new.take() == [Disconnect(reason_code=0x9B)]


def test_a_publish_of_qos_2_to_plain_mqtt(make_link: Callable[..., Any]) -> None:
    """3.1.1 is hung up on; MQTT 5 can be ignored."""
    link = make_link(qos2_publish_v5="ignore")
    old = link.connect("old", V311)
    old.publish("a", qos=2)
    assert old.take() == []
    assert old.is_closed

    new = link.connect("new")
    new.publish("a", qos=2)
    assert not new.connection.is_closing


def test_a_topic_alias_stands_for_its_topic(aws_link: Any) -> None:
    """Once set it names the topic, set again it names another; it goes no further than the broker."""
    client = aws_link.connect()
    client.subscribe("#")
    alias = Properties(topic_alias=8)
    for topic_name in ("a", "", "b", ""):
        client.publish(topic_name, properties=alias)

    received = client.take_published()

    assert [packet.topic_name for packet in received] == ["a", "a", "b", "b"]
    assert all(packet.properties == Properties() for packet in received)


@pytest.mark.parametrize(("alias", "reason_code"), [(9, 0x94), (0, 0x94), (3, 0x82)])
def test_a_topic_alias_that_is_not_valid_ends_the_connection(aws_link: Any, alias: int, reason_code: int) -> None:
    """Above the maximum or 0: 0x94. Never set: 0x82. Aliases of another connection do not count."""
    other = aws_link.connect("other")
    other.publish("a", properties=Properties(topic_alias=3))
    client = aws_link.connect()
    client.send_bytes(b"\x30\x06\x00\x00\x03\x23" + alias.to_bytes(2, "big"))

    received = client.take_one(Disconnect)
    assert received.reason_code in ({reason_code, 0x82} if alias == 0 else {reason_code})
    assert aws_link.events(Disconnected)[0].because


def test_a_subscription_identifier_in_a_client_s_publish_is_a_protocol_error(link: Any) -> None:
    """Only brokers send them [MQTT-3.3.4-6]."""
    client = link.connect()
    client.publish("a", properties=Properties(subscription_identifiers=(3,)))
    assert client.take() == [Disconnect(reason_code=0x82)]


def test_a_client_that_exceeds_the_receive_maximum_is_ended(make_aws_link: Callable[..., Any]) -> None:
    """More QoS 1 messages than that before any PUBACK can have reached it: DISCONNECT 0x93."""
    link = make_aws_link(receive_maximum=3)
    client = link.connect()
    publishes = [Publish(topic_name="a", qos=1, packet_id=packet_id) for packet_id in range(1, 5)]
    for _ in range(3):  # no more than allowed, as often as it likes
        client.send(*publishes[:3])
        assert len(client.take()) == 3

    client.send(Publish(topic_name="a"), *publishes)

    received = client.take()
    assert received[-1] == Disconnect(reason_code=0x93)
    assert len(received) == 4


def test_a_3_1_1_client_that_exceeds_the_receive_maximum_is_served(make_aws_link: Callable[..., Any]) -> None:
    """3.1.1 has no such limit to break."""
    link = make_aws_link(receive_maximum=3)
    client = link.connect("c", V311)
    client.send(*(Publish(topic_name="a", qos=1, packet_id=packet_id) for packet_id in range(1, 6)))
    assert len(client.take()) == 5


def test_refused_publishes_count_against_the_receive_maximum(make_aws_link: Callable[..., Any]) -> None:
    """A PUBACK with an error is a PUBACK."""
    link = make_aws_link(receive_maximum=2)
    link.rules.forbid("Publish", "secret")
    client = link.connect()
    topics = ("secret", "$SYS", "a")
    client.send(*(Publish(topic_name=topic, qos=1, packet_id=number) for number, topic in enumerate(topics, 1)))
    assert client.take()[-1] == Disconnect(reason_code=0x93)


def test_a_store_of_retained_messages_that_is_full_refuses(make_aws_link: Callable[..., Any]) -> None:
    """PUBACK 0x97 for a new topic; known topics go on."""
    link = make_aws_link(max_retained_messages=1)
    client = link.connect()
    for topic_name in ("a", "b", "a"):
        client.publish(topic_name, qos=1, retain=True)
    assert [packet.reason_code for packet in client.take()] == [0, 0x97, 0]


def test_a_new_policy_holds_for_the_next_publish(aws_link: Any) -> None:
    """Answers are not remembered beyond the authorizer's version."""
    client = aws_link.connect()
    client.publish("a", qos=1)
    aws_link.rules.forbid("Publish", "a")
    client.publish("a", qos=1)
    aws_link.rules.allow_again()
    client.publish("a", qos=1)

    assert [packet.reason_code for packet in client.take()] == [0, 0x87, 0]
