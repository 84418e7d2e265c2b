"""`harness.mqtt.broker`: the door for shells."""

from __future__ import annotations

from typing import Any

import pytest

from harness.mqtt.authorization import ConnectionInfo
from harness.mqtt.events import ConnectRefused, Decided, Disconnected, DisconnectReason, Published, Refused
from harness.mqtt.packets import Connect, Disconnect, Properties, ProtocolVersion, Publish

V311 = ProtocolVersion.V311


def make_info() -> ConnectionInfo:
    """Make the one who publishes over HTTPS."""
    return ConnectionInfo(connection_id="x", principal="operator", transport="https", remote="127.0.0.1:1")


def test_a_publish_without_a_connection_reaches_subscribers(link: Any) -> None:
    """It is authorised, told, and delivered as any."""
    client = link.connect()
    client.subscribe("a")
    link.events()
    info = make_info()
    properties = Properties(content_type="text/plain", topic_alias=3)

    result = link.broker.publish(
        Publish(topic_name="a", payload=b"x", qos=1, properties=properties), info=info, now=link.now
    )

    assert (result.reason_code, result.because) == (0, "rules say yes to Publish a")
    assert result.decision.allowed
    (received,) = client.take_published()
    assert (received.payload, received.qos, received.properties) == (b"x", 1, Properties(content_type="text/plain"))
    decided, published = link.events(Decided, Published)
    assert decided.info is published.info is info
    assert published.message_id == result.message_id


@pytest.mark.parametrize("action", ["Publish", "RetainPublish"])
def test_a_publish_without_a_connection_is_authorised(link: Any, action: str) -> None:
    """Nothing is delivered or kept otherwise; without RETAIN the second permission is not asked for."""
    client = link.connect()
    client.subscribe("a")
    link.rules.forbid(action, "a")
    publish = Publish(topic_name="a", payload=b"x", retain=True)

    result = link.broker.publish(publish, info=make_info(), now=link.now)

    assert (result.reason_code, result.message_id) == (0x87, None)
    assert result.because == f"rules say no to {action} a"
    assert client.take() == []
    assert len(link.broker.retained) == 0
    unretained = link.broker.publish(Publish(topic_name="a"), info=make_info(), now=link.now)
    assert (unretained.reason_code == 0) == (action == "RetainPublish")


@pytest.mark.parametrize(
    ("publish", "reason_code"),
    [
        (Publish(topic_name=""), 0x90),
        (Publish(topic_name="a/#"), 0x90),
        (Publish(topic_name="$aws/things/t/shadow/update"), 0x90),
        (Publish(topic_name="a", payload=b"x" * 131_073), 0x95),
        (Publish(topic_name="a", qos=2, packet_id=1), 0x9B),
        (Publish(topic_name="a", qos=-1), 0x9B),
        (Publish(topic_name="a", properties=Properties(content_type="x" * 257)), 0x97),
        (Publish(topic_name="b", payload=b"x", retain=True), 0x97),
        (Publish(topic_name="a", properties=Properties(content_type="a\0b")), 0x82),
        (Publish(topic_name="a", properties=Properties(user_properties=(("a", "\ud800"),))), 0x82),
        (Publish(topic_name="a", properties=Properties(payload_format_indicator=2)), 0x82),
        (Publish(topic_name="a", properties=Properties(message_expiry_interval=-1)), 0x82),
    ],
)
def test_a_publish_without_a_connection_is_limited(make_aws_link: Any, publish: Publish, reason_code: int) -> None:
    """As a PUBLISH is; nobody is asked, and the event says why."""
    link = make_aws_link(max_retained_messages=0)

    result = link.broker.publish(publish, info=make_info(), now=link.now)

    assert (result.reason_code, result.message_id, result.decision) == (reason_code, None, None)
    (refused,) = link.events()
    assert isinstance(refused, Refused)
    assert refused.because == result.because


def test_the_broker_itself_publishes_without_asking(link: Any) -> None:
    """At QoS 1; the event names nobody, and receivers are judged."""
    link.rules.forbid("Publish", "$aws/events/x")
    link.rules.forbid("Receive", "$aws/events/x", "denied")
    clients = [link.connect(name) for name in ("denied", "allowed")]
    for client in clients:
        client.subscribe("$aws/events/#")
    link.events()

    message_id = link.broker.publish_from_broker("$aws/events/x", b"{}", link.now)

    (published,) = link.events(Published)
    assert (published.info, published.message_id) == (None, message_id)
    assert [client.take_payloads() for client in clients] == [[], [b"{}"]]


@pytest.mark.parametrize("reason_code", [0x98, None])
def test_a_client_is_thrown_out_by_the_broker(link: Any, reason_code: int | None) -> None:
    """With a DISCONNECT or without one; the reason is the caller's."""
    client = link.connect("c")
    link.events()

    ended = link.broker.disconnect(
        "c", reason=DisconnectReason.API_INITIATED_DISCONNECT, reason_code=reason_code, now=link.now, because="a test"
    )

    assert ended
    assert client.take() == ([Disconnect(reason_code=reason_code)] if reason_code else [])
    assert client.is_closed
    (event,) = link.events(Disconnected)
    assert (event.reason, event.reason_code, event.because) == ("API_INITIATED_DISCONNECT", reason_code, "a test")


def test_nobody_is_thrown_out_twice(link: Any) -> None:
    """A client id that is not connected is not found."""
    reason = DisconnectReason.SERVER_ERROR
    link.connect("c")
    assert link.broker.disconnect("c", reason=reason, reason_code=None, now=link.now)
    assert not link.broker.disconnect("c", reason=reason, reason_code=None, now=link.now)
    assert "SERVER_ERROR" in link.events(Disconnected)[0].because


def test_connections_of_a_principal_that_is_no_longer_valid_end(link: Any) -> None:
    """Accepted or not; the others stay."""
    revoked, waiting, fine = (link.open(principal=name) for name in ("revoked", "revoked", "fine"))
    revoked.send(Connect(client_id="r"))
    fine.send(Connect(client_id="f"))
    revoked.take()
    fine.take()

    link.broker.reauthenticate(lambda principal: "certificate INACTIVE" if principal == "revoked" else None, link.now)

    assert revoked.take() == [Disconnect(reason_code=0x87)]
    assert waiting.take() == []
    assert (revoked.is_closed, waiting.is_closed, fine.is_closed) == (True, True, False)
    refused, ended = sorted(link.events(ConnectRefused, Disconnected), key=lambda event: type(event).__name__)
    assert refused.because == ended.because == "certificate INACTIVE"
    assert ended.reason is DisconnectReason.AUTH_ERROR
    assert list(link.broker.connections) == ["f"]


def test_dirty_connections_are_given_once_and_in_order(link: Any) -> None:
    """However much happened to them."""
    one, two = link.connect("one"), link.connect("two")
    for client in (one, two):
        client.subscribe("a")
    two.publish("a")
    one.publish("a")
    two.send(Disconnect())

    assert list(link.broker.take_dirty()) == [one.connection, two.connection]
    assert list(link.broker.take_dirty()) == []


def test_the_shell_sees_what_there_is(link: Any) -> None:
    """Options, connections, sessions, subscriptions."""
    link.open()
    client = link.connect("c", properties=Properties(session_expiry_interval=60))
    client.subscribe("a", "b")
    assert len(link.broker.open_connections) == 2
    assert set(link.broker.connections) == set(link.broker.sessions) == {"c"}
    client.lose()
    assert len(link.broker.open_connections) == 1
    assert not link.broker.connections
    assert link.broker.subscription_count == 2
    assert link.broker.options.max_qos == 1


def test_info_of_a_connection_is_what_the_listener_said(link: Any) -> None:
    """And what CONNECT added."""
    info = link.connect("c", V311).connection.info
    assert (info.principal, info.transport, info.server_name) == ("somebody", "mqtts", "localhost")
    assert (info.client_id, info.version, info.remote) == ("c", V311, "127.0.0.1:5000")
