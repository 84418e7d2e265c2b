"""What is not sent, and what a version leaves out.

What is sent is compared with the bytes of others in `test_codec_samples`.
"""

from __future__ import annotations

import pytest

from harness.mqtt.codec import encode, encode_publish_parts
from harness.mqtt.packets import (
    Auth,
    ConnAck,
    Connect,
    Disconnect,
    Packet,
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

V311 = ProtocolVersion.V311
V5 = ProtocolVersion.V5
BOTH = (V311, V5)
USER = Properties(user_properties=(("k", "v"),))
ALIAS = Properties(topic_alias=1)
A = Subscription(topic_filter="a")
NO_ID = "a packet identifier is missing or zero, [MQTT-2.2.1-3]"
NO_METHOD = "AUTH without an authentication method, §3.15.2.2.2"


def _will(qos: int) -> Will:
    return Will(topic_name="a", payload=b"", qos=qos)


# Versions, packet, message.
REFUSED: tuple[tuple[tuple[ProtocolVersion, ...], Packet, str], ...] = (
    (
        (V311,),
        Connect(client_id="c", version=V5),
        "CONNECT of <ProtocolVersion.V5: 5> on a connection of <ProtocolVersion.V311: 4>",
    ),
    (
        (V5,),
        Connect(client_id="c", version=V311),
        "CONNECT of <ProtocolVersion.V311: 4> on a connection of <ProtocolVersion.V5: 5>",
    ),
    (
        (V311,),
        Connect(client_id="c", version=V311, password=b"p"),
        "CONNECT has a password without a user name, 3.1.1 [MQTT-3.1.2-22]",
    ),
    ((V311,), Connect(client_id="c", version=V311, will=_will(3)), "the will has QoS 3, [MQTT-3.1.2-12]"),
    ((V5,), Connect(client_id="c", will=_will(-1)), "the will has QoS -1, [MQTT-3.1.2-12]"),
    ((V5,), Connect(client_id="c", keep_alive=65_536), "65536 does not fit 2 bytes"),
    ((V5,), Connect(client_id="\0"), "a string holds U+0000, [MQTT-1.5.4-2]"),
    ((V5,), Connect(client_id="c", properties=ALIAS), "the property topic_alias has no place in CONNECT, §2.2.2.2"),
    (
        (V5,),
        Connect(client_id="c", will=Will(topic_name="a", payload=b"", properties=ALIAS)),
        "the property topic_alias has no place in WILL, §2.2.2.2",
    ),
    (BOTH, ConnAck(reason_code=6), "reason code 0x06 has no place in CONNACK, §2.4"),
    ((V311,), ConnAck(reason_code=0x87), "reason code 0x87 has no place in CONNACK, §2.4"),
    ((V5,), ConnAck(reason_code=5), "reason code 0x05 has no place in CONNACK, §2.4"),
    (
        (V5,),
        ConnAck(reason_code=0x87, session_present=True),
        "CONNACK refuses and says that there is a session, [MQTT-3.2.2-6]",
    ),
    (
        (V311,),
        ConnAck(reason_code=5, session_present=True),
        "CONNACK refuses and says that there is a session, [MQTT-3.2.2-6]",
    ),
    ((V5,), ConnAck(properties=ALIAS), "the property topic_alias has no place in CONNACK, §2.2.2.2"),
    (
        BOTH,
        Publish(topic_name="a", qos=3, packet_id=1),
        "PUBLISH with QoS 3 and DUP False, [MQTT-3.3.1-2], [MQTT-3.3.1-4]",
    ),
    (BOTH, Publish(topic_name="a", qos=-1), "PUBLISH with QoS -1 and DUP False, [MQTT-3.3.1-2], [MQTT-3.3.1-4]"),
    (BOTH, Publish(topic_name="a", dup=True), "PUBLISH with QoS 0 and DUP True, [MQTT-3.3.1-2], [MQTT-3.3.1-4]"),
    (BOTH, Publish(topic_name="a", packet_id=1), "PUBLISH of QoS 0 has a packet identifier, [MQTT-2.2.1-2]"),
    (BOTH, Publish(topic_name="a", qos=1), NO_ID),
    (BOTH, Publish(topic_name="a", qos=2, packet_id=0), NO_ID),
    ((V311,), Publish(topic_name=""), "PUBLISH has no topic name, [MQTT-4.7.3-1]"),
    ((V311,), Publish(topic_name="", properties=ALIAS), "PUBLISH has no topic name, [MQTT-4.7.3-1]"),
    ((V5,), Publish(topic_name="", properties=USER), "PUBLISH has neither a topic name nor an alias, §3.3.2.1"),
    (
        (V5,),
        Publish(topic_name="a", properties=Properties(maximum_qos=1)),
        "the property maximum_qos has no place in PUBLISH, §2.2.2.2",
    ),
    (BOTH, Publish(topic_name="a" * 65_536), "65536 bytes do not fit a field of 65535"),
    *((BOTH, make(packet_id=0), NO_ID) for make in (PubAck, PubRec, PubRel, PubComp)),
    *(
        ((V5,), make(packet_id=1, reason_code=0x92), f"reason code 0x92 has no place in {make.__name__.upper()}, §2.4")
        for make in (PubAck, PubRec)
    ),
    *(
        ((V5,), make(packet_id=1, reason_code=0x10), f"reason code 0x10 has no place in {make.__name__.upper()}, §2.4")
        for make in (PubRel, PubComp)
    ),
    *(
        (
            (V5,),
            make(packet_id=1, properties=ALIAS),
            f"the property topic_alias has no place in {make.__name__.upper()}, §2.2.2.2",
        )
        for make in (PubAck, PubRec, PubRel, PubComp)
    ),
    (BOTH, Subscribe(packet_id=0, subscriptions=(A,)), NO_ID),
    (BOTH, Subscribe(packet_id=1, subscriptions=()), "SUBSCRIBE without a topic filter, [MQTT-3.8.3-2]"),
    (
        BOTH,
        Subscribe(packet_id=1, subscriptions=(A, Subscription(topic_filter="a", qos=3))),
        "a subscription asks for QoS 3, retain handling 0, §3.8.3.1",
    ),
    (
        BOTH,
        Subscribe(packet_id=1, subscriptions=(Subscription(topic_filter="a", retain_handling=3),)),
        "a subscription asks for QoS 0, retain handling 3, §3.8.3.1",
    ),
    (
        (V5,),
        Subscribe(packet_id=1, subscriptions=(A,), properties=ALIAS),
        "the property topic_alias has no place in SUBSCRIBE, §2.2.2.2",
    ),
    (BOTH, SubAck(packet_id=0, reason_codes=(0,)), NO_ID),
    (BOTH, SubAck(packet_id=1, reason_codes=()), "SUBACK without a reason code, §3.9.3"),
    (BOTH, SubAck(packet_id=1, reason_codes=(0, 3)), "reason code 0x03 has no place in SUBACK, §2.4"),
    (
        (V5,),
        SubAck(packet_id=1, reason_codes=(0,), properties=ALIAS),
        "the property topic_alias has no place in SUBACK, §2.2.2.2",
    ),
    (BOTH, Unsubscribe(packet_id=0, topic_filters=("a",)), NO_ID),
    (BOTH, Unsubscribe(packet_id=1, topic_filters=()), "UNSUBSCRIBE without a topic filter, [MQTT-3.10.3-2]"),
    (
        (V5,),
        Unsubscribe(packet_id=1, topic_filters=("a",), properties=ALIAS),
        "the property topic_alias has no place in UNSUBSCRIBE, §2.2.2.2",
    ),
    (BOTH, UnsubAck(packet_id=0, reason_codes=(0,)), NO_ID),
    ((V5,), UnsubAck(packet_id=1), "UNSUBACK without a reason code, §3.11.3"),
    ((V5,), UnsubAck(packet_id=1, reason_codes=(1,)), "reason code 0x01 has no place in UNSUBACK, §2.4"),
    (
        (V5,),
        UnsubAck(packet_id=1, reason_codes=(0,), properties=ALIAS),
        "the property topic_alias has no place in UNSUBACK, §2.2.2.2",
    ),
    ((V5,), Disconnect(reason_code=0x10), "reason code 0x10 has no place in DISCONNECT, §2.4"),
    ((V5,), Disconnect(properties=ALIAS), "the property topic_alias has no place in DISCONNECT, §2.2.2.2"),
    ((V311,), Auth(), "MQTT 3.1.1 has no AUTH, 3.1.1 §2.2.1"),
    ((V5,), Auth(reason_code=0x80), "reason code 0x80 has no place in AUTH, §2.4"),
    ((V5,), Auth(reason_code=0x18), NO_METHOD),
    ((V5,), Auth(properties=USER), NO_METHOD),
    (
        (V5,),
        Auth(reason_code=0x18, properties=Properties(authentication_method="m", topic_alias=1)),
        "the property topic_alias has no place in AUTH, §2.2.2.2",
    ),
)


@pytest.mark.parametrize(
    ("version", "packet", "message"),
    [(version, packet, message) for versions, packet, message in REFUSED for version in versions],
)
def test_a_packet_that_breaks_a_rule_is_not_sent(version: ProtocolVersion, packet: Packet, message: str) -> None:
    """A mistake of this side is a ValueError that names the rule, before any byte is made."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared below
        encode(packet, version)

    assert str(caught.value) == message


# What MQTT 3.1.1 leaves out: the packet with it, the packet without.
LEFT_OUT: tuple[tuple[Packet, str], ...] = (
    (
        Connect(
            client_id="c",
            version=V311,
            keep_alive=1,
            will=Will(topic_name="a", payload=b"b", properties=USER),
            properties=USER,
        ),
        "10 13 0004 4D515454 04 06 0001 0001 63 0001 61 0001 62",
    ),
    (ConnAck(reason_code=5, properties=USER), "20 02 00 05"),
    (Publish(topic_name="a", payload=b"b", properties=USER), "30 04 0001 61 62"),
    (PubAck(packet_id=1, reason_code=0x87, properties=USER), "40 02 0001"),
    (PubRec(packet_id=1, reason_code=0x87), "50 02 0001"),
    (PubRel(packet_id=1, reason_code=0x92, properties=USER), "62 02 0001"),
    (PubComp(packet_id=1, properties=USER), "70 02 0001"),
    (
        Subscribe(
            packet_id=1,
            subscriptions=(
                Subscription(topic_filter="a", qos=2, no_local=True, retain_as_published=True, retain_handling=2),
            ),
            properties=USER,
        ),
        "82 06 0001 0001 61 02",
    ),
    (SubAck(packet_id=1, reason_codes=(2, 0x80, 0x87, 0xA2), properties=USER), "90 06 0001 02 80 80 80"),
    (Unsubscribe(packet_id=1, topic_filters=("a",), properties=USER), "A2 05 0001 0001 61"),
    (UnsubAck(packet_id=1, reason_codes=(0, 17), properties=USER), "B0 02 0001"),
    (Disconnect(reason_code=0x8E, properties=USER), "E0 00"),
)


@pytest.mark.parametrize(("packet", "wire"), LEFT_OUT, ids=lambda value: type(value).__name__)
def test_mqtt_3_1_1_leaves_out_what_only_mqtt_5_has(packet: Packet, wire: str) -> None:
    """Properties, reason codes of acknowledgements and subscription options do not reach a 3.1.1 connection."""
    assert encode(packet, V311) == bytes.fromhex(wire)


def test_an_acknowledgement_of_success_is_as_short_as_it_can_be() -> None:
    """Reason code and properties are left out where they say nothing, by value and not by identity."""
    for version in BOTH:
        assert encode(PubAck(packet_id=0x0102), version) == b"\x40\x02\x01\x02"
        assert encode(PubAck(packet_id=0x0102, properties=Properties()), version) == b"\x40\x02\x01\x02"
    assert encode(Disconnect(properties=Properties()), V5) == b"\xe0\x00"
    assert encode(Auth(properties=Properties()), V5) == b"\xf0\x00"
    assert encode(PubRec(packet_id=1, properties=USER), V5) == bytes.fromhex("50 0B 0001 00 07 26 0001 6B 0001 76")


def test_the_parts_of_a_publish_do_not_look_at_its_packet_id() -> None:
    """One message serves every receiver: its own packet id, or none, makes no difference."""
    with_id = Publish(topic_name="a", payload=b"b", qos=1, packet_id=7)
    without = Publish(topic_name="a", payload=b"b", qos=1)

    assert encode_publish_parts(with_id, V5) == encode_publish_parts(without, V5) == (b"\x32\x07\x00\x01a", b"\x00b")
    assert encode_publish_parts(without, V311) == (b"\x32\x06\x00\x01a", b"b")


def test_a_publish_may_go_without_topic_under_an_alias() -> None:
    """§3.3.2.3.4: an alias stands for the topic name in MQTT 5."""
    assert encode(Publish(topic_name="", properties=ALIAS), V5) == bytes.fromhex("30 06 0000 03 23 0001")
