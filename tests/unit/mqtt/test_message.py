"""`harness.mqtt.message`."""

from __future__ import annotations

from harness.mqtt.message import Message, forwarded, join_packet
from harness.mqtt.options import BrokerOptions
from harness.mqtt.packets import NO_PROPERTIES, Properties, ProtocolVersion, Publish

V311 = ProtocolVersion.V311
V5 = ProtocolVersion.V5


def make_message(*, received_at: float = 10.0, **fields: object) -> Message:
    """Make a message of a PUBLISH with topic ``t`` and payload ``p``."""
    publish = Publish(topic_name="t", payload=b"p", **fields)  # type: ignore[arg-type]  # fields are Publish's own
    return Message("m", publish, received_at=received_at)


def test_a_message_is_written_without_its_packet_id() -> None:
    """QoS 1 comes in two parts with the packet id between them, QoS 0 in one."""
    message = make_message(qos=1, packet_id=77)

    assert message.encoded(V311, qos=0, retain=False, now=10.0) == (b"\x30\x04\x00\x01tp", b"")
    assert message.encoded(V311, qos=1, retain=False, now=10.0) == (b"\x32\x06\x00\x01t", b"p")
    assert message.encoded(V5, qos=1, retain=True, now=10.0) == (b"\x33\x07\x00\x01t", b"\x00p")


def test_a_message_is_written_once_for_receivers_of_one_kind() -> None:
    """The same bytes objects come back."""
    message = make_message()

    first = message.encoded(V5, qos=0, retain=False, now=10.0)

    assert message.encoded(V5, qos=0, retain=False, now=12.0) is first


def test_a_publisher_s_dup_flag_goes_no_further() -> None:
    """DUP says something about one hop only [MQTT-3.3.1-3]."""
    message = make_message(qos=1, dup=True, packet_id=1)

    assert message.encoded(V311, qos=1, retain=False, now=10.0)[0][0] == 0x32


def test_a_packet_is_put_together_around_its_id() -> None:
    """DUP is set on request only."""
    parts = (b"\x32\x06\x00\x01t", b"p")

    assert join_packet(parts, 0x0102) == b"\x32\x06\x00\x01t\x01\x02p"
    assert join_packet(parts, 1, duplicate=True) == b"\x3a\x06\x00\x01t\x00\x01p"


def test_what_is_left_of_the_expiry_is_sent_on() -> None:
    """In whole seconds, 0 for less than one; 3.1.1 receivers see nothing of it."""
    message = make_message(properties=Properties(message_expiry_interval=5))

    def sent(now: float) -> int:
        head, _tail = message.encoded(V5, qos=0, retain=False, now=now)
        return int.from_bytes(head[7:11], "big")

    assert [sent(10.0), sent(11.5), sent(14.5), sent(99.0)] == [5, 3, 0, 0]
    assert message.encoded(V311, qos=0, retain=False, now=12.0) == (b"\x30\x04\x00\x01tp", b"")


def test_a_message_expires_when_its_interval_is_over() -> None:
    """Not before, and never without one."""
    message = make_message(properties=Properties(message_expiry_interval=5))

    assert [message.has_expired(14.9), message.has_expired(15.0)] == [False, True]
    assert not make_message().has_expired(1e9)


def test_properties_of_one_hop_are_not_forwarded() -> None:
    """A topic alias and a will delay end here; what the receivers need goes on."""
    properties = Properties(
        topic_alias=3, will_delay_interval=4, content_type="text/plain", user_properties=(("a", "b"),)
    )

    passed_on = forwarded(properties, BrokerOptions())

    assert passed_on == Properties(content_type="text/plain", user_properties=(("a", "b"),))
    assert forwarded(NO_PROPERTIES, BrokerOptions()) is NO_PROPERTIES


def test_an_expiry_is_clamped() -> None:
    """AWS takes 0 as 1 and nothing above seven days."""
    options = BrokerOptions(message_expiry_min=1, message_expiry_max=604_800)

    clamped = [
        forwarded(Properties(message_expiry_interval=asked), options).message_expiry_interval
        for asked in (0, 1, 60, 604_800, 604_801)
    ]

    assert clamped == [1, 1, 60, 604_800, 604_800]
