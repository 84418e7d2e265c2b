"""`harness.mqtt.handshake`: who is let in, under which terms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from harness.mqtt.events import Connected, ConnectRefused, Decided, Disconnected, DisconnectReason, Dropped
from harness.mqtt.packets import ConnAck, Disconnect, PingReq, Properties, ProtocolVersion, PubAck, Will

if TYPE_CHECKING:
    from collections.abc import Callable

V311 = ProtocolVersion.V311
V5 = ProtocolVersion.V5


def refusal_of(link: Any, client: Any) -> tuple[int | None, str]:
    """Return (reason code of CONNACK or None, because); the connection must have been closed, with one event."""
    received = client.take()
    assert client.is_closed
    (refused,) = link.events(ConnectRefused)
    assert refused.info is client.connection.info
    assert all(isinstance(packet, ConnAck) for packet in received)
    return (received[0].reason_code if received else None), refused.because


def test_a_client_is_let_in(link: Any, version: ProtocolVersion) -> None:
    """CONNACK 0, an event, and a place among the connections."""
    client = link.connect("c", version, keep_alive=60)

    assert client.connack.session_present is False
    (connected,) = link.events(Connected)
    assert (connected.info.client_id, connected.info.version, connected.keep_alive) == ("c", version, 60)
    assert connected.session_present is False
    assert link.broker.connections["c"] is client.connection
    assert link.broker.sessions["c"].connection is client.connection


def test_connack_says_what_aws_says(aws_link: Any) -> None:
    """The properties of a real CONNACK of AWS IoT Core, apart from shared subscriptions, which are not there yet."""
    client = aws_link.connect(keep_alive=1_200)

    assert client.connack.properties == Properties(
        receive_maximum=100,
        maximum_qos=1,
        retain_available=True,
        maximum_packet_size=149_504,
        topic_alias_maximum=8,
        wildcard_subscription_available=True,
        subscription_identifier_available=False,
        shared_subscription_available=False,
        server_keep_alive=1_200,
    )


def test_connack_of_plain_mqtt_leaves_out_what_goes_without_saying(link: Any) -> None:
    """No Receive Maximum, Maximum Packet Size or Topic Alias Maximum when they are the specification's defaults."""
    properties = link.connect().connack.properties

    assert properties.receive_maximum is None
    assert properties.maximum_packet_size is None
    assert properties.topic_alias_maximum is None
    assert properties.server_keep_alive == 0


@pytest.mark.parametrize(
    ("asked", "given"), [(0, 1_200), (1, 30), (29, 30), (30, 30), (60, 60), (1_200, 1_200), (1_201, 1_200)]
)
def test_keep_alive_is_clamped(aws_link: Any, asked: int, given: int) -> None:
    """30 to 1,200 seconds, 1,200 for none."""
    assert aws_link.connect(keep_alive=asked).connack.properties.server_keep_alive == given


@pytest.mark.parametrize(
    ("asked", "told", "kept"), [(None, None, 0), (0, 0, 0), (60, 60, 60), (0xFFFF_FFFF, 3_600, 3_600)]
)
def test_session_expiry_is_capped_and_returned(aws_link: Any, asked: int | None, told: int | None, kept: int) -> None:
    """Larger values are lowered; a client that asks for none is told none."""
    client = aws_link.connect(properties=Properties(session_expiry_interval=asked))

    assert client.connack.properties.session_expiry_interval == told
    assert aws_link.events(Connected)[0].session_expiry == kept


@pytest.mark.parametrize(("clean_start", "kept"), [(True, 0), (False, 3_600)])
def test_clean_session_of_3_1_1_decides_about_expiry(aws_link: Any, clean_start: bool, kept: int) -> None:  # noqa: FBT001 - a parameter of the test
    """clean_session=0 asks for a stored session, which lives an hour on AWS."""
    aws_link.connect("c", V311, clean_start=clean_start)
    assert aws_link.events(Connected)[0].session_expiry == kept


def test_an_empty_client_id_is_replaced(aws_link: Any) -> None:
    """MQTT 5 clients are told the assigned one; nobody can present it."""
    client = aws_link.connect("")
    assigned = client.connack.properties.assigned_client_identifier

    assert assigned.startswith("$GEN/")
    assert assigned in aws_link.broker.connections
    assert refusal_of(aws_link, aws_link.knock(assigned))[0] == 0x85


def test_an_empty_client_id_of_3_1_1_needs_a_clean_session(link: Any) -> None:
    """[MQTT-3.1.3-7], [MQTT-3.1.3-8]."""
    link.connect("", V311)
    assert link.events(Connected)[0].info.client_id.startswith("$GEN/")

    code, because = refusal_of(link, link.knock("", V311, clean_start=False))
    assert code == 2
    assert "MQTT-3.1.3-8" in because


@pytest.mark.parametrize(
    ("client_id", "names"),
    [("x" * 129, "129 bytes"), ("ä" * 65, "130 bytes"), ("$x", "begins with $"), ("$GEN/1", "assigned")],
)
@pytest.mark.parametrize(("version", "code"), [(V311, 2), (V5, 0x85)])
def test_a_client_id_that_aws_does_not_take_is_refused(
    aws_link: Any, client_id: str, names: str, version: ProtocolVersion, code: int
) -> None:
    """Longer than 128 bytes, or beginning with $."""
    seen, because = refusal_of(aws_link, aws_link.knock(client_id, version))

    assert seen == code
    assert names in because
    assert aws_link.connect("x" * 128).connack.reason_code == 0


def test_what_a_refused_client_wrote_is_cut_in_what_is_told(aws_link: Any) -> None:
    """Events are kept long after the packet: neither the client id nor a method fills the memory."""
    aws_link.knock("x" * 60_000)
    aws_link.knock(properties=Properties(authentication_method="m" * 60_000))

    by_client_id, by_method = aws_link.events(ConnectRefused)
    assert by_client_id.info.client_id == "x" * 512 + "…"
    assert len(by_client_id.because) < 700
    assert len(by_method.because) < 700


def test_plain_mqtt_takes_a_client_id_with_a_dollar(link: Any) -> None:
    """Only the assigned pattern is the broker's own."""
    assert link.connect("$x").connack.reason_code == 0


def test_enhanced_authentication_is_refused(link: Any) -> None:
    """CONNACK 0x8C: there are no methods."""
    properties = Properties(authentication_method="SCRAM")
    code, because = refusal_of(link, link.knock(properties=properties))

    assert code == 0x8C
    assert "SCRAM" in because


def test_a_client_that_takes_only_tiny_packets_is_refused(aws_link: Any) -> None:
    """A Maximum Packet Size below 512 bytes is not accepted; 512 is."""
    code, because = refusal_of(aws_link, aws_link.knock(properties=Properties(maximum_packet_size=511)))

    assert code == 0x80
    assert "511" in because
    assert aws_link.connect(properties=Properties(maximum_packet_size=512))


@pytest.mark.parametrize("deny", ["close", "connack"])
def test_a_client_that_may_not_connect_is_refused(make_link: Callable[..., Any], deny: str) -> None:
    """MQTT 5: CONNACK 0x87. 3.1.1: nothing but a hang-up on AWS, CONNACK 5 by the specification."""
    link = make_link(deny_connect_v311=deny)
    link.rules.forbid("Connect", "c")

    code, because = refusal_of(link, link.knock("c"))
    assert (code, because) == (0x87, "rules say no to Connect c")
    assert refusal_of(link, link.knock("c", V311))[0] == (None if deny == "close" else 5)
    assert not link.broker.sessions
    assert link.connect("other").connack.reason_code == 0


def test_a_decision_about_connect_is_told(link: Any) -> None:
    """Yes as well as no."""
    link.connect("c", will=Will(topic_name="w", payload=b"", retain=True))

    decided = [(event.action, event.resource, event.allowed) for event in link.events(Decided)]
    assert decided == [("Connect", "c", True), ("Publish", "w", True), ("RetainPublish", "w", True)]


@pytest.mark.parametrize("action", ["Publish", "RetainPublish"])
def test_a_will_is_authorised_at_connect(link: Any, action: str) -> None:
    """A will that may not be published refuses the client; a client without it is let in."""
    link.rules.forbid(action, "w")

    code, because = refusal_of(link, link.knock(will=Will(topic_name="w", payload=b"", retain=True)))

    assert code == 0x87
    assert action in because
    assert link.connect(will=Will(topic_name="other", payload=b"", retain=True))


@pytest.mark.parametrize(
    ("will", "code", "names"),
    [
        (Will(topic_name="w", payload=b"", qos=2), 0x9B, "QoS 2"),
        (Will(topic_name="w/+", payload=b""), 0x90, "wildcard"),
        (Will(topic_name="$SYS/w", payload=b""), 0x90, "reserved"),
        (Will(topic_name="1/2/3/4/5/6/7/8/9", payload=b""), 0x90, "8 slashes"),
        (Will(topic_name="w", payload=b"", properties=Properties(content_type="x" * 257)), 0x97, "Content Type"),
    ],
    ids=lambda value: value.topic_name if isinstance(value, Will) else None,
)
def test_a_will_that_breaks_a_limit_refuses_the_client(aws_link: Any, will: Will, code: int, names: str) -> None:
    """CONNACK with the reason for MQTT 5, a hang-up for 3.1.1."""
    seen, because = refusal_of(aws_link, aws_link.knock(will=will))
    assert seen == code
    assert names in because

    if not will.properties.content_type:
        assert refusal_of(aws_link, aws_link.knock("d", V311, will=will))[0] is None


def test_a_will_of_qos_2_has_a_code_in_plain_3_1_1(link: Any) -> None:
    """CONNACK 3 where the options ask for an answer."""
    assert refusal_of(link, link.knock("d", V311, will=Will(topic_name="w", payload=b"", qos=2)))[0] == 3


def test_a_refused_client_disturbs_nobody(link: Any) -> None:
    """The connection and the session of the same client id stay as they are."""
    client = link.connect("c", properties=Properties(session_expiry_interval=60))
    client.subscribe("a")
    link.rules.forbid("Connect", "c")
    link.knock("c")
    client.publish("a", b"still here")

    assert client.take_payloads() == [b"still here"]


def test_the_newest_connection_of_a_client_id_wins(link: Any, version: ProtocolVersion) -> None:
    """The older one is told 0x8E (MQTT 5), closed, and reported as DUPLICATE_CLIENTID before the newer is connected."""
    older = link.connect("c", version)
    link.events()
    newer = link.connect("c", version)

    assert older.take() == ([Disconnect(reason_code=0x8E)] if version is V5 else [])
    assert older.is_closed
    assert not newer.connection.is_closing
    ended, connected = link.events(Disconnected, Connected)
    assert ended.reason is DisconnectReason.DUPLICATE_CLIENTID
    assert ended.info is older.connection.info
    assert connected.info is newer.connection.info
    assert list(link.broker.connections) == ["c"]


@pytest.mark.parametrize(("kept", "present"), [(0, False), (60, True)])
def test_a_takeover_goes_on_with_the_session_if_it_is_kept(link: Any, kept: int, present: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """A session that ends with its connection ends here too."""
    properties = Properties(session_expiry_interval=kept)
    link.connect("c", properties=properties).subscribe("a")
    newer = link.connect("c", clean_start=False, properties=properties)
    newer.publish("a", b"x")

    assert newer.connack.session_present is present
    assert newer.take_payloads() == ([b"x"] if present else [])


def test_a_connection_without_connect_is_ended_after_the_timeout(make_link: Callable[..., Any]) -> None:
    """One that said CONNECT in time is left alone."""
    link = make_link(connect_timeout=5.0)
    silent = link.open()
    link.connect("c")
    link.advance(4.9)
    assert not silent.connection.is_closing

    link.advance(0.2)

    assert silent.take() == []
    assert silent.is_closed
    (refused,) = link.events(ConnectRefused)
    assert "5 s" in refused.because
    link.advance(1_000)
    assert list(link.broker.connections) == ["c"]


def test_a_connection_may_wait_forever_where_there_is_no_timeout(make_link: Callable[..., Any]) -> None:
    """No timer at all."""
    link = make_link(connect_timeout=None)
    link.open()
    link.connect()
    assert link.broker.next_deadline() is None


def test_a_silent_client_is_ended_after_one_and_a_half_keep_alives(link: Any, version: ProtocolVersion) -> None:
    """DISCONNECT 0x8D and MQTT_KEEP_ALIVE_TIMEOUT [MQTT-3.1.2-22]; a packet starts the time anew, a part of one not."""
    client = link.connect("c", version, keep_alive=10)
    link.advance(14)
    client.send(PingReq())
    client.take()
    link.advance(14)
    client.send_bytes(b"\xc0")
    assert not client.connection.is_closing
    link.advance(2)

    assert client.take() == ([Disconnect(reason_code=0x8D)] if version is V5 else [])
    assert client.is_closed
    (ended,) = link.events(Disconnected)
    assert ended.reason is DisconnectReason.MQTT_KEEP_ALIVE_TIMEOUT


def test_acknowledgements_keep_a_client_alive(link: Any) -> None:
    """They are control packets as any other."""
    client = link.connect(keep_alive=10)
    link.advance(14)
    client.send(PubAck(packet_id=1))
    link.advance(14)
    assert not client.connection.is_closing


def test_messages_nobody_acknowledged_for_the_whole_period_are_not_sent_on_resumption(
    make_link: Callable[..., Any],
) -> None:
    """They are dropped with an event."""
    link = make_link(retry_period_v5=100.0)
    properties = Properties(session_expiry_interval=1_000)
    client = link.connect("c", properties=properties)
    client.subscribe("a")
    client.publish("a", b"old", qos=1)
    client.take()
    client.lose()
    link.advance(100)
    link.events()

    again = link.connect("c", clean_start=False, properties=properties)

    assert again.take_payloads() == []
    assert [event.because for event in link.events(Dropped)] == ["never acknowledged"]
