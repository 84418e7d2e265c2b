"""`harness.mqtt.lifetime`: how connections, sessions and wills end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from harness.mqtt.events import (
    Connected,
    Disconnected,
    DisconnectReason,
    Dropped,
    Published,
    Refused,
    SessionExpired,
)
from harness.mqtt.options import NEVER_EXPIRES
from harness.mqtt.packets import Connect, Disconnect, Properties, ProtocolVersion, PubAck, Publish, Will

if TYPE_CHECKING:
    from collections.abc import Callable

V311 = ProtocolVersion.V311
V5 = ProtocolVersion.V5
WILL = Will(topic_name="wills/c", payload=b"gone", qos=1)
STORED = Properties(session_expiry_interval=100)


@pytest.fixture
def watcher(link: Any) -> Any:
    """Watch the wills."""
    client = link.connect("watcher")
    client.subscribe("wills/#")
    return client


def end_by_disconnect(client: Any) -> None:
    """Say goodbye."""
    client.send(Disconnect())


def end_by_websocket_close(client: Any) -> None:
    """Say goodbye below MQTT."""
    client.lose(client_initiated=True)


def end_by_loss(client: Any) -> None:
    """Break the connection."""
    client.lose()


def end_by_error(client: Any) -> None:
    """Break the protocol."""
    client.send(Connect(client_id="c", version=client.version))


def end_by_takeover(client: Any) -> None:
    """Connect again."""
    client.link.connect("c", client.version)


def end_by_silence(client: Any) -> None:
    """Say nothing."""
    client.link.advance(1_000)


def end_by_broker(client: Any) -> None:
    """Be thrown out."""
    reason = DisconnectReason.SERVER_INITIATED_DISCONNECT
    assert client.link.broker.disconnect("c", reason=reason, reason_code=0x8B, now=client.link.now)


def end_by_api_without_will(client: Any) -> None:
    """Be thrown out by somebody who does not want the will."""
    reason = DisconnectReason.API_INITIATED_DISCONNECT
    assert client.link.broker.disconnect("c", reason=reason, reason_code=0x98, now=client.link.now, send_will=False)


def end_by_denial(client: Any) -> None:
    """Publish what may not be published."""
    client.link.rules.forbid("Publish", "secret")
    client.publish("secret")


@pytest.mark.parametrize(
    ("end", "reason", "is_published"),
    [
        (end_by_disconnect, "CLIENT_INITIATED_DISCONNECT", False),
        (end_by_websocket_close, "CLIENT_INITIATED_DISCONNECT", False),
        (end_by_loss, "CONNECTION_LOST", True),
        (end_by_error, "CLIENT_ERROR", True),
        (end_by_takeover, "DUPLICATE_CLIENTID", True),
        (end_by_silence, "MQTT_KEEP_ALIVE_TIMEOUT", True),
        (end_by_broker, "SERVER_INITIATED_DISCONNECT", True),
        (end_by_api_without_will, "API_INITIATED_DISCONNECT", False),
        (end_by_denial, "AUTH_ERROR", True),
    ],
)
def test_a_will_is_published_unless_the_client_said_goodbye(
    link: Any,
    watcher: Any,
    version: ProtocolVersion,
    end: Callable[[Any], None],
    reason: str,
    is_published: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    """The table of AWS's lifecycle events."""
    client = link.connect("c", version, will=WILL, keep_alive=60)
    link.events()

    end(client)

    client.take()
    assert client.is_closed
    ended = next(event for event in link.events(Disconnected))
    assert ended.reason == reason
    assert ended.because
    assert watcher.take_payloads() == ([b"gone"] if is_published else [])


@pytest.mark.parametrize("reason_code", [0x04, 0x80])
def test_a_client_can_ask_for_its_will_when_it_leaves(
    link: Any, make_link: Callable[..., Any], reason_code: int
) -> None:
    """DISCONNECT 0x04 or an error, where that is honoured: only 0x00 throws the will away [MQTT-3.14.4-3]."""
    for broker, expected in ((link, [b"gone"]), (make_link(disconnect_with_will=False), [])):
        watcher = broker.connect("watcher")
        watcher.subscribe("wills/#")
        client = broker.connect("c", will=WILL)
        client.send(Disconnect(reason_code=reason_code))
        assert watcher.take_payloads() == expected
        (ended,) = broker.events(Disconnected)
        assert ended.reason_code == reason_code


def test_a_will_is_told_as_the_message_of_its_client(link: Any, watcher: Any) -> None:
    """With its properties, but without the delay."""
    properties = Properties(content_type="text/plain", will_delay_interval=0, message_expiry_interval=7)
    link.connect("c", will=Will(topic_name="wills/c", payload=b"gone", properties=properties)).lose()

    (published,) = link.events(Published)
    assert published.is_will
    assert published.info.client_id == "c"
    assert published.properties == Properties(content_type="text/plain", message_expiry_interval=7)
    assert watcher.take_one(Publish).properties == published.properties


def test_a_retained_will_is_retained(link: Any) -> None:
    """If there is room; else it is only published, and that is told."""
    link.connect("c", will=Will(topic_name="wills/c", payload=b"gone", retain=True)).lose()
    assert list(link.broker.retained) == ["wills/c"]


def test_a_retained_will_without_room_is_published_only(make_link: Callable[..., Any]) -> None:
    """It was accepted at CONNECT, when there may have been room."""
    link = make_link(max_retained_messages=0)
    watcher = link.connect("watcher")
    watcher.subscribe("wills/#")
    link.connect("c", will=Will(topic_name="wills/c", payload=b"gone", retain=True)).lose()

    assert watcher.take_payloads() == [b"gone"]
    assert len(link.broker.retained) == 0
    assert "not retained" in link.events(Refused)[0].because


def test_a_delayed_will_waits(link: Any, watcher: Any) -> None:
    """For its delay, while the session lives."""
    will = Will(topic_name="wills/c", payload=b"late", properties=Properties(will_delay_interval=10))
    link.connect("c", will=will, properties=STORED).lose()
    link.advance(9)
    assert watcher.take_payloads() == []
    link.advance(2)
    assert watcher.take_payloads() == [b"late"]
    link.advance(1_000)
    assert watcher.take_payloads() == []


def test_a_delayed_will_does_not_outlive_its_session(link: Any, watcher: Any) -> None:
    """It is published when the session ends: by expiry, by a clean start, or with its connection."""
    will = Will(topic_name="wills/c", payload=b"late", properties=Properties(will_delay_interval=1_000))
    link.connect("c", will=will, properties=STORED).lose()
    link.advance(101)
    assert watcher.take_payloads() == [b"late"]

    link.connect("c", will=will, properties=STORED).lose()
    link.connect("c").send(Disconnect())
    assert watcher.take_payloads() == [b"late"]

    link.connect("c", will=will).lose()
    assert watcher.take_payloads() == [b"late"]


def test_a_delayed_will_is_forgotten_when_its_client_returns(link: Any, watcher: Any) -> None:
    """In time [MQTT-3.1.3-9]."""
    will = Will(topic_name="wills/c", payload=b"late", properties=Properties(will_delay_interval=10))
    link.connect("c", will=will, properties=STORED).lose()
    link.advance(9)
    link.connect("c", clean_start=False, properties=STORED)
    link.advance(50)
    assert watcher.take_payloads() == []


def test_a_will_is_not_delayed_where_that_is_not_available(aws_link: Any) -> None:
    """AWS does not list the property."""
    watcher = aws_link.connect("watcher")
    watcher.subscribe("wills/#")
    will = Will(topic_name="wills/c", payload=b"now", properties=Properties(will_delay_interval=10))
    aws_link.connect("c", will=will, properties=STORED).lose()
    assert watcher.take_payloads() == [b"now"]


def test_a_session_ends_with_its_connection_unless_asked_otherwise(link: Any, version: ProtocolVersion) -> None:
    """Subscriptions are gone, and a return finds nothing."""
    client = link.connect("c", version)
    client.subscribe("a")
    client.lose()

    assert link.broker.subscription_count == 0
    assert not link.broker.sessions
    assert link.connect("c", version, clean_start=False).connack.session_present is False


@pytest.mark.parametrize("how", [end_by_disconnect, end_by_loss])
def test_a_stored_session_is_resumed(aws_link: Any, version: ProtocolVersion, how: Callable[[Any], None]) -> None:
    """Subscriptions and QoS 1 messages of the meantime; QoS 0 is not stored; all right behind CONNACK."""
    fields: dict[str, Any] = {"clean_start": False, "properties": STORED if version is V5 else Properties()}
    sender = aws_link.connect("sender")
    client = aws_link.connect("c", version, **fields)
    client.subscribe("a")
    how(client)
    for number in range(3):
        sender.publish("a", b"stored %d" % number, qos=1)
    sender.publish("a", b"lost")
    aws_link.advance(99)

    again = aws_link.connect("c", version, **fields)

    assert again.connack.session_present is True
    assert [packet.payload for packet in again.take_published(acknowledge=True)] == [
        b"stored 0",
        b"stored 1",
        b"stored 2",
    ]
    sender.publish("a", b"live")
    assert again.take_payloads() == [b"live"]
    assert aws_link.events(Connected)[-1].session_present is True


def test_unacknowledged_messages_are_sent_again_on_resumption(link: Any, aws_link: Any) -> None:
    """First and in order, with their packet ids; DUP is set, but not by AWS."""
    for broker, dup in ((link, True), (aws_link, False)):
        sender = broker.connect("sender")
        client = broker.connect("c", properties=STORED)
        client.subscribe("a")
        for number in range(3):
            sender.publish("a", b"%d" % number, qos=1)
        first = client.take_published()
        client.send(PubAck(packet_id=first[1].packet_id))
        client.lose()
        sender.publish("a", b"3", qos=1)

        again = broker.connect("c", clean_start=False, properties=STORED)

        received = again.take_published()
        assert [(packet.payload, packet.dup) for packet in received] == [(b"0", dup), (b"2", dup), (b"3", False)]
        assert [packet.packet_id for packet in received[:2]] == [first[0].packet_id, first[2].packet_id]
        assert len({packet.packet_id for packet in received}) == 3


def test_a_resumption_respects_a_smaller_receive_maximum(link: Any) -> None:
    """What was in flight before is not in flight now."""
    sender = link.connect("sender")
    client = link.connect("c", properties=STORED)
    client.subscribe("a")
    for number in range(4):
        sender.publish("a", b"%d" % number, qos=1)
    client.take()
    client.lose()

    properties = Properties(session_expiry_interval=100, receive_maximum=1)
    again = link.connect("c", clean_start=False, properties=properties)

    payloads = []
    while received := again.take_published(acknowledge=True):
        assert len(received) == 1
        payloads.append(received[0].payload)
    assert payloads == [b"0", b"1", b"2", b"3"]


def test_a_clean_start_forgets_the_stored_session(link: Any, version: ProtocolVersion) -> None:
    """What it had queued is dropped, with events."""
    fields: dict[str, Any] = {"properties": STORED if version is V5 else Properties()}
    client = link.connect("c", version, clean_start=False, **fields)
    client.subscribe("a")
    client.lose()
    link.connect("sender").publish("a", b"x", qos=1)

    again = link.connect("c", version, clean_start=True)

    assert again.connack.session_present is False
    assert again.take_payloads() == []
    assert link.broker.subscription_count == 0
    assert [event.client_id for event in link.events(Dropped)] == ["c"]


@pytest.mark.parametrize(("first", "second"), [(V311, V5), (V5, V311)])
def test_a_session_is_not_resumed_by_the_other_version(
    link: Any, first: ProtocolVersion, second: ProtocolVersion
) -> None:
    """It ends when the other version takes the client id."""
    client = link.connect("c", first, clean_start=False, properties=STORED if first is V5 else Properties())
    client.subscribe("a")
    client.lose()
    assert link.broker.subscription_count == 1

    again = link.connect("c", second, clean_start=False)

    assert again.connack.session_present is False
    assert link.broker.subscription_count == 0


def test_a_stored_session_expires(aws_link: Any, version: ProtocolVersion) -> None:
    """Not before its time, counted from the end of its connection."""
    fields: dict[str, Any] = {"clean_start": False}
    if version is V5:
        fields["properties"] = Properties(session_expiry_interval=7_200)
    client = aws_link.connect("c", version, **fields)
    client.subscribe("a")
    aws_link.advance(1_000)
    client.lose()
    aws_link.advance(3_599)
    assert "c" in aws_link.broker.sessions
    aws_link.advance(2)

    assert "c" not in aws_link.broker.sessions
    assert aws_link.broker.subscription_count == 0
    assert aws_link.events(SessionExpired) == [SessionExpired(client_id="c")]
    assert aws_link.connect("c", version, **fields).connack.session_present is False


def test_a_session_can_live_forever(link: Any) -> None:
    """Session Expiry Interval 0xFFFFFFFF, and clean_session=0 in plain 3.1.1."""
    link.connect("c", properties=Properties(session_expiry_interval=NEVER_EXPIRES)).lose()
    link.connect("old", V311, clean_start=False).lose()
    link.advance(1e9)
    assert set(link.broker.sessions) == {"c", "old"}
    assert link.connect("old", V311, clean_start=False).connack.session_present is True


def test_a_client_shortens_its_session_when_it_leaves(aws_link: Any) -> None:
    """To nothing, or to another time, capped as in CONNECT."""
    aws_link.connect("ended", properties=STORED).send(Disconnect(properties=Properties(session_expiry_interval=0)))
    aws_link.connect("shorter", properties=STORED).send(Disconnect(properties=Properties(session_expiry_interval=10)))
    aws_link.connect("longer", properties=STORED).send(
        Disconnect(properties=Properties(session_expiry_interval=99_999))
    )

    assert set(aws_link.broker.sessions) == {"shorter", "longer"}
    aws_link.advance(11)
    assert set(aws_link.broker.sessions) == {"longer"}
    aws_link.advance(3_590)
    assert set(aws_link.broker.sessions) == set()


def test_a_client_that_asked_for_no_session_cannot_ask_when_it_leaves(link: Any) -> None:
    """From 0 to more is a protocol error [MQTT-3.14.2.2.2]; from 0 to 0 is not."""
    client = link.connect("c", will=WILL)
    client.send(Disconnect(properties=Properties(session_expiry_interval=10)))
    assert client.take() == [Disconnect(reason_code=0x82)]
    assert "c" not in link.broker.sessions

    link.connect("d").send(Disconnect(properties=Properties(session_expiry_interval=0)))
    assert link.events(Disconnected)[-1].reason is DisconnectReason.CLIENT_INITIATED_DISCONNECT


def test_timers_of_a_connection_end_with_it(make_link: Callable[..., Any]) -> None:
    """Nothing is left to be done for one that is gone."""
    link = make_link(retry_interval=10.0)
    link.connect("c", keep_alive=60).send(Disconnect())
    assert link.broker.next_deadline() is None
