"""`harness.mqtt.subscribing`: what is granted, what is refused, what comes with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from harness.mqtt.events import (
    Decided,
    Delivered,
    Disconnected,
    DisconnectReason,
    Dropped,
    Refused,
    Subscribed,
    Unsubscribed,
)
from harness.mqtt.packets import (
    Disconnect,
    PingReq,
    PingResp,
    Properties,
    ProtocolVersion,
    PubAck,
    Subscribe,
    Subscription,
    UnsubAck,
    Unsubscribe,
)

if TYPE_CHECKING:
    from collections.abc import Callable

V311 = ProtocolVersion.V311
V5 = ProtocolVersion.V5


def test_a_subscription_is_granted_at_the_qos_asked_for(link: Any, version: ProtocolVersion) -> None:
    """One code per filter, in order; and an event with both."""
    client = link.connect("c", version)
    subscriptions = (Subscription(topic_filter="a", qos=0), Subscription(topic_filter="b/#", qos=1))

    assert client.subscribe(*subscriptions) == (0, 1)

    (subscribed,) = link.events(Subscribed)
    assert subscribed.granted == (("a", 0), ("b/#", 1))
    assert link.broker.subscription_count == 2
    assert set(link.broker.sessions["c"].subscriptions) == {"a", "b/#"}


def test_qos_2_is_granted_as_qos_1_by_plain_mqtt(link: Any, version: ProtocolVersion) -> None:
    """A server may grant less [MQTT-3.8.4-7]."""
    assert link.connect("c", version).subscribe("a", qos=2) == (1,)


def test_a_subscribe_of_qos_2_to_aws(aws_link: Any) -> None:
    """3.1.1: no SUBACK and no subscription. MQTT 5: DISCONNECT 0x9B. Both with an event."""
    old = aws_link.connect("old", V311)
    old.send(Subscribe(packet_id=1, subscriptions=(Subscription(topic_filter="a", qos=2),)), PingReq())
    assert old.take() == [PingResp()]
    assert aws_link.broker.subscription_count == 0
    assert aws_link.events(Refused)[0].reason_code == 0x9B

    new = aws_link.connect("new")
    new.send(Subscribe(packet_id=1, subscriptions=(Subscription(topic_filter="a", qos=2),)))
    assert new.take() == [Disconnect(reason_code=0x9B)]


def test_a_subscribe_of_qos_2_can_be_hung_up_on(make_link: Callable[..., Any]) -> None:
    """3.1.1's third choice."""
    client = make_link(qos2_subscribe_v311="close").connect("c", V311)
    client.send(Subscribe(packet_id=1, subscriptions=(Subscription(topic_filter="a", qos=2),)))
    assert client.take() == []
    assert client.is_closed


def test_a_denied_subscribe_of_mqtt_5_is_answered(aws_link: Any) -> None:
    """SUBACK 0x87 for that filter, the others are granted, the connection stays."""
    aws_link.rules.forbid("Subscribe", "secret")
    client = aws_link.connect()
    aws_link.events()

    assert client.subscribe("public", "secret") == (1, 0x87)

    decided = aws_link.events(Decided)
    assert [(event.resource, event.allowed) for event in decided] == [("public", True), ("secret", False)]
    client.publish("secret", b"not for you")
    client.publish("public", b"for you")
    assert client.take_payloads() == [b"for you"]


def test_a_denied_subscribe_of_3_1_1_is_hung_up_on(aws_link: Any) -> None:
    """As AWS does by default; nothing of the packet took effect."""
    aws_link.rules.forbid("Subscribe", "secret")
    client = aws_link.connect("c", V311, clean_start=False)
    client.send(
        Subscribe(packet_id=1, subscriptions=(Subscription(topic_filter="public"), Subscription(topic_filter="secret")))
    )

    assert client.take() == []
    assert client.is_closed
    assert aws_link.events(Disconnected)[0].reason is DisconnectReason.AUTH_ERROR
    assert aws_link.broker.subscription_count == 0


def test_a_denied_subscribe_of_3_1_1_can_be_answered(make_aws_link: Callable[..., Any]) -> None:
    """SUBACK 0x80, the specification's way."""
    link = make_aws_link(deny_subscribe_v311="suback")
    link.rules.forbid("Subscribe", "secret")
    assert link.connect("c", V311).subscribe("public", "secret") == (1, 0x80)


@pytest.mark.parametrize(
    "topic_filter",
    ["a/#/b", "a+", "1/2/3/4/5/6/7/8/9", "x" * 257, "$SYS/#", "$aws/things/t/shadow/#", "$aws/rules/r/a"],
)
def test_a_filter_beyond_the_limits_is_refused(make_aws_link: Callable[..., Any], topic_filter: str) -> None:
    """MQTT 5: SUBACK 0x8F; 3.1.1: a hang-up, or SUBACK 0x80 where asked for. The event says why."""
    link = make_aws_link()
    assert link.connect("new").subscribe(topic_filter, "fine") == (0x8F, 1)
    (refused,) = link.events(Refused)
    assert (refused.packet, refused.resource, refused.reason_code) == ("subscribe", topic_filter, 0x8F)

    old = link.connect("old", V311)
    old.send(Subscribe(packet_id=1, subscriptions=(Subscription(topic_filter=topic_filter),)))
    assert old.take() == []
    assert old.is_closed
    assert link.events(Disconnected)[0].reason is DisconnectReason.CLIENT_ERROR

    mild = make_aws_link(invalid_filter_v311="suback").connect("old", V311)
    assert mild.subscribe(topic_filter) == (0x80,)


@pytest.mark.parametrize("topic_filter", ["x" * 60_000, "$" * 60_000, "$share/" + "x" * 60_000])
def test_a_refused_filter_is_cut_in_what_is_told(aws_link: Any, topic_filter: str) -> None:
    """Events are kept long after the packet; what was granted stands in them as it is."""
    client = aws_link.connect()
    fine = "y" * 256
    aws_link.events()

    codes = client.subscribe(topic_filter, fine)
    client.send(Unsubscribe(packet_id=3, topic_filters=(topic_filter, fine)))

    cut = topic_filter[:512] + "…"
    refused, subscribed, unsubscribed = aws_link.events(Refused, Subscribed, Unsubscribed)
    assert refused.resource == cut
    assert len(refused.because) < 700
    assert subscribed.granted == ((cut, codes[0]), (fine, 1))
    assert unsubscribed.topic_filters == (cut, fine)


def test_shared_subscriptions_are_refused_by_name(aws_link: Any) -> None:
    """SUBACK 0x9E (0x80 in 3.1.1): not supported yet, and the event says so."""
    assert aws_link.connect("new").subscribe("$share/g/a") == (0x9E,)
    assert aws_link.connect("old", V311).subscribe("$share/g/a") == (0x80,)
    assert all("shared subscriptions" in event.because for event in aws_link.events(Refused))


def test_lifecycle_topics_can_be_subscribed_to(aws_link: Any) -> None:
    """With the permission; the broker itself publishes there."""
    client = aws_link.connect()
    assert client.subscribe("$aws/events/presence/connected/+") == (1,)
    aws_link.broker.publish_from_broker("$aws/events/presence/connected/x", b"{}", aws_link.now)
    assert client.take_payloads() == [b"{}"]


def test_wildcards_do_not_match_topics_that_begin_with_a_dollar(aws_link: Any) -> None:
    """[MQTT-4.7.2-1]."""
    client = aws_link.connect()
    client.subscribe("#", "+/events/presence/connected/x")
    aws_link.broker.publish_from_broker("$aws/events/presence/connected/x", b"{}", aws_link.now)
    client.publish("a", b"control")
    assert client.take_payloads() == [b"control"]


def test_a_subscribe_may_have_eight_filters(aws_link: Any, version: ProtocolVersion) -> None:
    """Nine end the connection, in UNSUBSCRIBE too."""
    eight = [f"f/{number}" for number in range(8)]
    client = aws_link.connect("c", version)
    assert client.subscribe(*eight) == (1,) * 8
    client.send(Unsubscribe(packet_id=1, topic_filters=tuple(eight)))
    client.take_one(UnsubAck)

    client.send(Subscribe(packet_id=1, subscriptions=tuple(Subscription(topic_filter=one) for one in [*eight, "9"])))
    assert client.take() == ([Disconnect(reason_code=0x97)] if version is V5 else [])
    assert client.is_closed
    again = aws_link.connect("c", version)
    again.send(Unsubscribe(packet_id=1, topic_filters=(*eight, "9")))
    again.take()
    assert again.is_closed
    assert "9 topic filters" in aws_link.events(Refused)[-1].because


@pytest.mark.parametrize(("version", "code"), [(V311, 0x80), (V5, 0x97)])
def test_a_session_has_so_many_subscriptions(
    make_aws_link: Callable[..., Any], version: ProtocolVersion, code: int
) -> None:
    """One more is refused, replacing one is not, and unsubscribing makes room."""
    link = make_aws_link(max_subscriptions=3)
    client = link.connect("c", version)

    assert client.subscribe("1", "2", "2", "3", "4") == (1, 1, 1, 1, code)
    assert client.subscribe("1", "4") == (1, code)
    client.send(Unsubscribe(packet_id=1, topic_filters=("1",)))
    client.take()
    assert client.subscribe("4") == (1,)


def test_a_subscription_identifier_is_refused(aws_link: Any) -> None:
    """CONNACK said that they are not available: DISCONNECT 0xA1."""
    client = aws_link.connect()
    properties = Properties(subscription_identifiers=(1,))
    client.send(Subscribe(packet_id=1, subscriptions=(Subscription(topic_filter="a"),), properties=properties))

    assert client.take() == [Disconnect(reason_code=0xA1)]
    assert "Subscription Identifier" in aws_link.events(Refused)[0].because


def test_unsubscribing_ends_the_deliveries(link: Any, version: ProtocolVersion) -> None:
    """UNSUBACK, an event, and nothing more; in MQTT 5 the codes tell what there was."""
    client = link.connect("c", version)
    client.subscribe("a", "b")
    client.send(Unsubscribe(packet_id=5, topic_filters=("a", "never", "x#")))

    codes = (0, 0x11, 0x8F) if version is V5 else ()
    assert client.take() == [UnsubAck(packet_id=5, reason_codes=codes)]
    assert link.events(Unsubscribed)[0].topic_filters == ("a", "never", "x#")
    client.publish("a", b"gone")
    client.publish("b", b"kept")
    assert client.take_payloads() == [b"kept"]


def test_aws_calls_every_unsubscribe_a_success(aws_link: Any) -> None:
    """UNSUBACK 0x11 is not in its list."""
    client = aws_link.connect()
    client.send(Unsubscribe(packet_id=5, topic_filters=("never",)))
    assert client.take() == [UnsubAck(packet_id=5, reason_codes=(0,))]


def test_a_retained_message_comes_with_the_subscription(link: Any, version: ProtocolVersion) -> None:
    """Right behind SUBACK, with RETAIN=1, at the lower QoS of the two."""
    sender = link.connect("sender")
    sender.publish("a", b"zero", retain=True)
    sender.publish("b", b"one", qos=1, retain=True)
    client = link.connect("c", version)
    link.events()

    client.subscribe("a", "b")

    received = client.take_published()
    assert [(packet.payload, packet.qos, packet.retain) for packet in received] == [
        (b"zero", 0, True),
        (b"one", 1, True),
    ]
    assert [event.client_ids for event in link.events(Delivered)] == [("c",), ("c",)]


def test_a_retained_message_arrives_live_without_the_flag(link: Any) -> None:
    """RETAIN=1 says "because you subscribed"; Retain As Published asks for the publisher's flag."""
    plain = link.connect("plain")
    plain.subscribe("a")
    asking = link.connect("asking")
    asking.subscribe(Subscription(topic_filter="a", qos=1, retain_as_published=True))
    plain.publish("a", b"x", retain=True)
    plain.publish("a", b"y")

    assert [packet.retain for packet in plain.take_published()] == [False, False]
    assert [packet.retain for packet in asking.take_published()] == [True, False]


def test_an_empty_retained_message_deletes_and_is_delivered(link: Any) -> None:
    """Current subscribers see it, later ones nothing."""
    client = link.connect()
    client.subscribe("a")
    client.publish("a", b"x", retain=True)
    client.publish("a", b"", retain=True)

    assert client.take_payloads() == [b"x", b""]
    later = link.connect("later")
    later.subscribe("a")
    assert later.take() == []


def test_a_wildcard_gets_retained_messages_from_plain_mqtt_only(link: Any, aws_link: Any) -> None:
    """AWS: an exact filter only."""
    for broker, expected in ((link, [b"x"]), (aws_link, [])):
        client = broker.connect()
        client.publish("a/b", b"x", retain=True)
        client.subscribe("a/+")
        assert client.take_payloads() == expected
        client.subscribe("a/b")
        assert client.take_payloads() == [b"x"]


@pytest.mark.parametrize(("handling", "comes"), [(0, [True, True]), (1, [True, False]), (2, [False, False])])
def test_retain_handling_decides_about_retained_messages(link: Any, handling: int, comes: list[bool]) -> None:
    """0: at every SUBSCRIBE; 1: only at a new subscription; 2: never."""
    client = link.connect()
    client.publish("a", b"x", retain=True)
    seen = []
    for _ in range(2):
        client.subscribe(Subscription(topic_filter="a", retain_handling=handling))
        seen.append(bool(client.take()))
    assert seen == comes


def test_a_retained_message_nobody_may_receive_is_not_sent(link: Any) -> None:
    """At either QoS; the denial is told."""
    link.rules.forbid("Receive", "a", "c")
    link.connect("sender").publish("a", b"x", qos=1, retain=True)
    client = link.connect("c")
    link.events()
    for qos in (0, 1):
        client.subscribe("a", qos=qos)
        assert client.take() == []
        decided = [(event.action, event.allowed) for event in link.events(Decided)]
        assert decided == [("Subscribe", True), ("Receive", False)]


def test_a_retained_message_too_large_for_its_client_is_not_sent(link: Any) -> None:
    """At either QoS; the drop is told [MQTT-3.1.2-24]."""
    link.connect("sender").publish("a", b"x" * 100, qos=1, retain=True)
    client = link.connect("c", properties=Properties(maximum_packet_size=100))
    for qos in (0, 1):
        client.subscribe("a", qos=qos)
        assert client.take() == []
        (dropped,) = link.events(Dropped)
        assert "100 bytes" in dropped.because


def test_a_retained_message_finds_no_room_at_a_slow_reader(make_link: Callable[..., Any]) -> None:
    """QoS 0 is dropped, as live messages are."""
    link = make_link(max_send_buffer_bytes=50)
    link.connect("sender").publish("a", b"x" * 50, retain=True)
    client = link.connect("c")
    client.send(Subscribe(packet_id=1, subscriptions=(Subscription(topic_filter="a"),)))

    assert [type(packet).__name__ for packet in client.take()] == ["SubAck"]
    assert "unsent" in link.events(Dropped)[0].because


def test_retained_messages_count_down_while_they_are_stored(aws_link: Any) -> None:
    """The Message Expiry Interval a later subscriber sees is what is left; then there is nothing."""
    aws_link.connect("sender").publish("a", b"x", retain=True, properties=Properties(message_expiry_interval=10))
    aws_link.advance(4)
    client = aws_link.connect()
    client.subscribe("a")
    (received,) = client.take_published()
    assert received.properties.message_expiry_interval == 6

    aws_link.advance(6)
    client.subscribe("a")
    assert client.take() == []
    assert len(aws_link.broker.retained) == 0


def test_acknowledging_a_retained_message_is_as_any(link: Any) -> None:
    """It is in flight until then."""
    client = link.connect()
    client.publish("a", b"x", qos=1, retain=True)
    client.take()
    client.subscribe("a")
    (received,) = client.take_published()
    assert len(link.broker.sessions["c"].inflight) == 1
    client.send(PubAck(packet_id=received.packet_id))
    assert link.broker.sessions["c"].inflight == {}
