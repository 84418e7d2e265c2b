"""What a packet may not be: one row per rule of chapters 2 and 3, with the reason code to send back.

Well-formed packets are `test_codec_samples`' affair.
"""

from __future__ import annotations

import pytest

from harness.errors import MalformedPacket, ProtocolError, ProtocolViolation
from harness.mqtt.codec import Decoder
from harness.mqtt.packets import (
    Connect,
    Packet,
    ProtocolVersion,
    Publish,
    ReasonCode,
    SubAck,
    Subscribe,
    Subscription,
    Will,
)
from harness.mqtt.wire import encode_variable_byte_integer

V311 = ProtocolVersion.V311
V5 = ProtocolVersion.V5
BOTH = (V311, V5)

M = (MalformedPacket, ReasonCode.MALFORMED_PACKET)
P = (ProtocolViolation, ReasonCode.PROTOCOL_ERROR)

# "MQTT", level, flags, keep alive.
HEAD_311 = "0004 4D515454 04 {} 003C"
HEAD_5 = "0004 4D515454 05 {} 003C 00"
WILL = "0003 612F62 0003 627965"

BEYOND = "a field goes beyond the end of its packet"
NO_TOPIC = "PUBLISH has neither a topic name nor an alias, §3.3.2.1, [MQTT-4.7.3-1]"
NO_WILL = "CONNECT has no will, but its QoS or retain flag, [MQTT-3.1.2-11], [MQTT-3.1.2-13]"

# Name, versions, first byte, body, error and reason code, message.
REFUSED = (
    (
        "a reserved CONNECT flag, 3.1.1",
        (V311,),
        "10",
        HEAD_311.format("03") + "0001 63",
        *M,
        "the reserved flag of CONNECT is set, [MQTT-3.1.2-3]",
    ),
    (
        "a reserved CONNECT flag, 5",
        (V5,),
        "10",
        HEAD_5.format("03") + "0001 63",
        *M,
        "the reserved flag of CONNECT is set, [MQTT-3.1.2-3]",
    ),
    ("will QoS 3", (V311,), "10", HEAD_311.format("1E") + "0001 63" + WILL, *M, "the will has QoS 3, [MQTT-3.1.2-12]"),
    (
        "will QoS 3, 5",
        (V5,),
        "10",
        HEAD_5.format("1E") + "0001 63 00" + WILL,
        *M,
        "the will has QoS 3, [MQTT-3.1.2-12]",
    ),
    ("will QoS 1 without will", (V311,), "10", HEAD_311.format("0A") + "0001 63", *M, NO_WILL),
    ("will QoS 2 without will", (V5,), "10", HEAD_5.format("12") + "0001 63", *M, NO_WILL),
    ("will retain without will", (V5,), "10", HEAD_5.format("22") + "0001 63", *M, NO_WILL),
    (
        "password without user name",
        (V311,),
        "10",
        HEAD_311.format("42") + "0001 63 0001 70",
        *M,
        "CONNECT has a password without a user name, 3.1.1 [MQTT-3.1.2-22]",
    ),
    ("CONNECT ends before its name", BOTH, "10", "0004 4D5154", *M, BEYOND),
    ("CONNECT ends before its level", BOTH, "10", "0004 4D515454", *M, BEYOND),
    ("CONNECT ends before its flags", BOTH, "10", "0004 4D515454 05", *M, BEYOND),
    ("CONNECT ends before its client id", BOTH, "10", HEAD_5.format("02"), *M, BEYOND),
    (
        "CONNECT goes on",
        (V311,),
        "10",
        HEAD_311.format("02") + "0001 63 00",
        *M,
        "1 bytes too many at the end of a packet",
    ),
    (
        "CONNECT goes on, 5",
        (V5,),
        "10",
        HEAD_5.format("02") + "0001 63 0001 70",
        *M,
        "3 bytes too many at the end of a packet",
    ),
    (
        "a client id that is no UTF-8",
        (V5,),
        "10",
        HEAD_5.format("02") + "0001 FF",
        *M,
        "a string is ill-formed UTF-8, [MQTT-1.5.4-1]",
    ),
    (
        "a client id with U+0000",
        (V5,),
        "10",
        HEAD_5.format("02") + "0001 00",
        *M,
        "a string holds U+0000, [MQTT-1.5.4-2]",
    ),
    (
        "a user name that is no UTF-8",
        (V5,),
        "10",
        HEAD_5.format("82") + "0000 0002 EDA0",
        *M,
        "a string is ill-formed UTF-8, [MQTT-1.5.4-1]",
    ),
    (
        "will topic that is no UTF-8",
        (V311,),
        "10",
        HEAD_311.format("06") + "0000 0001 80 0000",
        *M,
        "a string is ill-formed UTF-8, [MQTT-1.5.4-1]",
    ),
    ("a reserved CONNACK flag", BOTH, "20", "02 00 00", *M, "a reserved flag of CONNACK is set, [MQTT-3.2.2-1]"),
    ("another reserved CONNACK flag", BOTH, "20", "81 00 00", *M, "a reserved flag of CONNACK is set, [MQTT-3.2.2-1]"),
    (
        "CONNACK refuses and has a session",
        (V311,),
        "20",
        "01 05",
        *P,
        "CONNACK refuses and says that there is a session, [MQTT-3.2.2-6]",
    ),
    (
        "CONNACK refuses and has a session, 5",
        (V5,),
        "20",
        "01 87 00",
        *P,
        "CONNACK refuses and says that there is a session, [MQTT-3.2.2-6]",
    ),
    ("CONNACK of 3.1.1 with a code of 5", (V311,), "20", "00 87", *P, "reason code 0x87 has no place in CONNACK, §2.4"),
    (
        "CONNACK of 5 with a code of 3.1.1",
        (V5,),
        "20",
        "00 05 00",
        *P,
        "reason code 0x05 has no place in CONNACK, §2.4",
    ),
    ("CONNACK ends too early", BOTH, "20", "00", *M, BEYOND),
    ("CONNACK of 5 without properties", (V5,), "20", "00 00", *M, BEYOND),
    ("CONNACK goes on", (V311,), "20", "00 00 00", *M, "1 bytes too many at the end of a packet"),
    ("CONNACK goes on, 5", (V5,), "20", "00 00 00 00", *M, "1 bytes too many at the end of a packet"),
    ("PUBLISH is empty", BOTH, "30", "", *M, "PUBLISH ends before its topic name"),
    ("PUBLISH ends in the length of its topic", BOTH, "30", "00", *M, "PUBLISH ends before its topic name"),
    ("PUBLISH ends in its topic", BOTH, "30", "0002 61", *M, "the topic name goes beyond the end of its packet"),
    ("PUBLISH ends in a long topic", BOTH, "30", "0100 61", *M, "the topic name goes beyond the end of its packet"),
    ("PUBLISH ends before its packet id", BOTH, "32", "0001 61", *M, "PUBLISH ends before its packet identifier"),
    ("PUBLISH ends in its packet id", BOTH, "32", "0001 61 00", *M, "PUBLISH ends before its packet identifier"),
    ("PUBLISH with packet id 0", BOTH, "32", "0001 61 0000 00", *P, "a packet identifier is zero, [MQTT-2.2.1-3]"),
    (
        "PUBLISH QoS 2 with packet id 0",
        BOTH,
        "34",
        "0001 61 0000 00",
        *P,
        "a packet identifier is zero, [MQTT-2.2.1-3]",
    ),
    ("PUBLISH ends before its properties", (V5,), "32", "0001 61 0001", *M, BEYOND),
    ("PUBLISH QoS 0 ends before its properties", (V5,), "30", "0001 61", *M, BEYOND),
    ("PUBLISH with a property that is cut off", (V5,), "30", "0001 61 01 01", *M, BEYOND),
    ("PUBLISH with neither topic nor anything else", (V5,), "30", "0000", *M, BEYOND),
    (
        "PUBLISH with neither topic nor payload",
        (V311,),
        "30",
        "0000",
        ProtocolViolation,
        ReasonCode.TOPIC_NAME_INVALID,
        NO_TOPIC,
    ),
    ("a topic that is no UTF-8", BOTH, "30", "0001 FF 00", *M, "a string is ill-formed UTF-8, [MQTT-1.5.4-1]"),
    (
        "a topic with a surrogate",
        BOTH,
        "30",
        "0003 EDA080 00",
        *M,
        "a string is ill-formed UTF-8, [MQTT-1.5.4-1]",
    ),
    ("a topic with U+0000", BOTH, "30", "0003 610062 00", *M, "a string holds U+0000, [MQTT-1.5.4-2]"),
    ("PUBLISH with neither topic nor alias", (V5,), "30", "0000 00 61", *P, NO_TOPIC),
    ("PUBLISH with other properties only", (V5,), "30", "0000 02 01 01", *P, NO_TOPIC),
    (
        "PUBLISH without topic",
        (V311,),
        "30",
        "0000 61",
        ProtocolViolation,
        ReasonCode.TOPIC_NAME_INVALID,
        NO_TOPIC,
    ),
    *(
        row
        for first, name, code in (
            ("40", "PUBACK", "92"),
            ("50", "PUBREC", "92"),
            ("62", "PUBREL", "10"),
            ("70", "PUBCOMP", "10"),
        )
        for row in (
            (f"{name} is empty", BOTH, first, "", *M, BEYOND),
            (f"{name} ends in its packet id", BOTH, first, "01", *M, BEYOND),
            (f"{name} with packet id 0", BOTH, first, "0000", *P, "a packet identifier is zero, [MQTT-2.2.1-3]"),
            (
                f"{name} with packet id 0 and a code",
                (V5,),
                first,
                "0000 00",
                *P,
                "a packet identifier is zero, [MQTT-2.2.1-3]",
            ),
            (f"{name} goes on", (V311,), first, "0001 00", *M, "1 bytes too many at the end of a packet"),
            (f"{name} goes on, 5", (V5,), first, "0001 00 00 00", *M, "1 bytes too many at the end of a packet"),
            (
                f"{name} with a code of others",
                (V5,),
                first,
                f"0001 {code}",
                *P,
                f"reason code 0x{code} has no place in {name}, §2.4",
            ),
            (f"{name} with broken properties", (V5,), first, "0001 00 01", *M, BEYOND),
            (
                f"{name} with properties of others",
                (V5,),
                first,
                "0001 00 02 0101",
                *M,
                f"property 0x01 has no place in {name}, §2.2.2.2",
            ),
        )
    ),
    ("SUBSCRIBE is empty", BOTH, "82", "", *M, BEYOND),
    ("SUBSCRIBE with packet id 0", BOTH, "82", "0000 00 0001 61 00", *P, "a packet identifier is zero, [MQTT-2.2.1-3]"),
    ("SUBSCRIBE without filter", (V311,), "82", "0001", *P, "SUBSCRIBE without a topic filter, [MQTT-3.8.3-2]"),
    ("SUBSCRIBE without filter, 5", (V5,), "82", "0001 00", *P, "SUBSCRIBE without a topic filter, [MQTT-3.8.3-2]"),
    ("SUBSCRIBE without properties", (V5,), "82", "0001", *M, BEYOND),
    ("SUBSCRIBE ends before the options", (V311,), "82", "0001 0001 61", *M, BEYOND),
    ("SUBSCRIBE ends in a second filter", (V5,), "82", "0001 00 0001 61 00 0002 61", *M, BEYOND),
    (
        "a filter that is no UTF-8",
        (V5,),
        "82",
        "0001 00 0001 FF 00",
        *M,
        "a string is ill-formed UTF-8, [MQTT-1.5.4-1]",
    ),
    ("subscription to QoS 3", (V311,), "82", "0001 0001 61 03", *M, "a subscription asks for QoS 3, §3.8.3.1"),
    ("subscription to QoS 3, 5", (V5,), "82", "0001 00 0001 61 03", *M, "a subscription asks for QoS 3, §3.8.3.1"),
    ("retain handling 3", (V5,), "82", "0001 00 0001 61 30", *P, "a subscription asks for retain handling 3, §3.8.3.1"),
    *(
        (
            f"reserved option {bit:02X}, 3.1.1",
            (V311,),
            "82",
            f"0001 0001 61 {bit:02X}",
            *M,
            "a reserved subscription option is set, [MQTT-3.8.3-5]",
        )
        for bit in (0x04, 0x08, 0x10, 0x20, 0x40, 0x80)
    ),
    *(
        (
            f"reserved option {bit:02X}, 5",
            (V5,),
            "82",
            f"0001 00 0001 61 {bit:02X}",
            *M,
            "a reserved subscription option is set, [MQTT-3.8.3-5]",
        )
        for bit in (0x40, 0x80)
    ),
    (
        "a second subscription with a reserved option",
        (V311,),
        "82",
        "0001 0001 61 00 0001 62 04",
        *M,
        "a reserved subscription option is set, [MQTT-3.8.3-5]",
    ),
    ("SUBACK with packet id 0", BOTH, "90", "0000 00 00", *P, "a packet identifier is zero, [MQTT-2.2.1-3]"),
    ("SUBACK without code", (V311,), "90", "0001", *M, "SUBACK without a reason code, §3.9.3, §3.11.3"),
    ("SUBACK without code, 5", (V5,), "90", "0001 00", *M, "SUBACK without a reason code, §3.9.3, §3.11.3"),
    ("SUBACK of 3.1.1 with a code of 5", (V311,), "90", "0001 87", *P, "reason code 0x87 has no place in SUBACK, §2.4"),
    ("SUBACK with a code of others", (V5,), "90", "0001 00 00 11", *P, "reason code 0x11 has no place in SUBACK, §2.4"),
    ("UNSUBSCRIBE with packet id 0", BOTH, "A2", "0000 00 0001 61", *P, "a packet identifier is zero, [MQTT-2.2.1-3]"),
    ("UNSUBSCRIBE without filter", (V311,), "A2", "0001", *P, "UNSUBSCRIBE without a topic filter, [MQTT-3.10.3-2]"),
    (
        "UNSUBSCRIBE without filter, 5",
        (V5,),
        "A2",
        "0001 00",
        *P,
        "UNSUBSCRIBE without a topic filter, [MQTT-3.10.3-2]",
    ),
    ("UNSUBSCRIBE ends in a filter", (V311,), "A2", "0001 0001 61 0001", *M, BEYOND),
    ("UNSUBACK with packet id 0", BOTH, "B0", "0000", *P, "a packet identifier is zero, [MQTT-2.2.1-3]"),
    ("UNSUBACK of 3.1.1 with a code", (V311,), "B0", "0001 00", *M, "1 bytes too many at the end of a packet"),
    ("UNSUBACK without properties", (V5,), "B0", "0001", *M, BEYOND),
    ("UNSUBACK without code", (V5,), "B0", "0001 00", *M, "UNSUBACK without a reason code, §3.9.3, §3.11.3"),
    (
        "UNSUBACK with a code of others",
        (V5,),
        "B0",
        "0001 00 01",
        *P,
        "reason code 0x01 has no place in UNSUBACK, §2.4",
    ),
    ("PINGREQ with a body", BOTH, "C0", "00", *M, "1 bytes too many at the end of a packet"),
    ("PINGRESP with a body", BOTH, "D0", "00", *M, "1 bytes too many at the end of a packet"),
    ("DISCONNECT of 3.1.1 with a code", (V311,), "E0", "00", *M, "1 bytes too many at the end of a packet"),
    ("DISCONNECT with a code of others", (V5,), "E0", "10", *P, "reason code 0x10 has no place in DISCONNECT, §2.4"),
    ("DISCONNECT goes on", (V5,), "E0", "00 00 00", *M, "1 bytes too many at the end of a packet"),
    (
        "DISCONNECT with properties of others",
        (V5,),
        "E0",
        "00 03 210001",
        *M,
        "property 0x21 has no place in DISCONNECT, §2.2.2.2",
    ),
    ("AUTH in 3.1.1", (V311,), "F0", "", *M, "packet type 15 is reserved, 3.1.1 §2.2.1"),
    ("AUTH with a code of others", (V5,), "F0", "80 04 15 0001 6D", *P, "reason code 0x80 has no place in AUTH, §2.4"),
    ("AUTH with a code only", (V5,), "F0", "00", *M, BEYOND),
    ("AUTH without method", (V5,), "F0", "00 00", *P, "AUTH without an authentication method, §3.15.2.2.2"),
    ("AUTH goes on", (V5,), "F0", "18 04 15 0001 6D 00", *M, "1 bytes too many at the end of a packet"),
)


def _decode(version: ProtocolVersion, first: str, body: str) -> Packet | None:
    data = bytes.fromhex(body)
    decoder = Decoder(version=version)
    decoder.receive_data(bytes.fromhex(first) + bytes((len(data),)) + data)
    return decoder.next_packet()


@pytest.mark.parametrize(
    ("version", "first", "body", "error", "code", "message"),
    [
        pytest.param(version, *rest, id=f"{name} ({version.name})")
        for name, versions, *rest in REFUSED
        for version in versions
    ],
)
def test_a_packet_that_breaks_a_rule_is_refused(
    version: ProtocolVersion, first: str, body: str, error: type[ProtocolError], code: ReasonCode, message: str
) -> None:
    """Every rule has its error, its reason code and words that name it."""
    with pytest.raises(ProtocolError) as caught:
        _decode(version, first, body)

    assert type(caught.value) is error
    assert caught.value.reason_code == code
    assert str(caught.value) == f"{message} (0x{code:02X})"


@pytest.mark.parametrize(
    ("head", "seen"),
    [
        ("0004 4D515455 05", "protocol b'MQTU' level 5"),
        ("0003 4D5154 05", "protocol b'MQT' level 5"),
        ("0006 4D5149736470 03", "protocol b'MQIsdp' level 3"),
        ("000A 4D515454 4D515454 4D51 04", "protocol b'MQTTMQTT' level 4"),
        *((f"0004 4D515454 {level:02X}", f"protocol b'MQTT' level {level} ") for level in (0, 3, 6, 0x84, 0x85)),
    ],
)
def test_another_protocol_is_not_spoken_here(head: str, seen: str) -> None:
    """[MQTT-3.1.2-1], [MQTT-3.1.2-2]: other names and levels are refused as such, later as out of place."""
    body = head + "02 003C 00 0000"
    wire = bytes.fromhex(f"10 {len(bytes.fromhex(body)):02X}" + body)
    first, second = Decoder(), Decoder(version=V5)
    first.receive_data(wire)
    second.receive_data(wire)

    with pytest.raises(ProtocolViolation) as unsupported:
        first.next_packet()
    with pytest.raises(ProtocolViolation) as unexpected:
        second.next_packet()

    assert unsupported.value.reason_code == ReasonCode.UNSUPPORTED_PROTOCOL_VERSION
    assert str(unsupported.value).startswith(seen)
    assert "is not spoken here, [MQTT-3.1.2-1], [MQTT-3.1.2-2]" in str(unsupported.value)
    assert unexpected.value.reason_code == ReasonCode.PROTOCOL_ERROR
    assert f"a second CONNECT, [MQTT-3.1.0-2]: {seen}" in str(unexpected.value)


@pytest.mark.parametrize("flags", range(256))
@pytest.mark.parametrize("version", BOTH)
def test_connect_flags_mean_what_figure_3_4_says(version: ProtocolVersion, flags: int) -> None:
    """All 256 values of the Connect Flags: the consistent ones give their fields, the others are malformed."""
    body = (HEAD_5 if version is V5 else HEAD_311).format(f"{flags:02X}") + "0001 63"
    has_will, has_username, has_password = bool(flags & 4), bool(flags & 128), bool(flags & 64)
    will_qos, will_retain = flags >> 3 & 3, bool(flags & 32)
    if has_will:
        body += ("00" if version is V5 else "") + WILL
    body += "0001 75" if has_username else ""
    body += "0001 70" if has_password else ""

    if (
        flags & 1
        or will_qos == 3
        or (not has_will and (will_qos or will_retain))
        or (version is V311 and has_password and not has_username)
    ):
        with pytest.raises(MalformedPacket):
            _decode(version, "10", body)
    else:
        assert _decode(version, "10", body) == Connect(
            client_id="c",
            version=version,
            clean_start=bool(flags & 2),
            keep_alive=60,
            username="u" if has_username else None,
            password=b"p" if has_password else None,
            will=Will(topic_name="a/b", payload=b"bye", qos=will_qos, retain=will_retain) if has_will else None,
        )


@pytest.mark.parametrize("options", range(256))
def test_subscription_options_mean_what_figure_3_20_says(options: int) -> None:
    """All 256 values of the Subscription Options: QoS, No Local, Retain As Published, Retain Handling, reserved."""
    qos, handling = options & 3, options >> 4 & 3
    wire = f"0001 00 0001 61 {options:02X}"

    if options & 0xC0 or qos == 3 or handling == 3:
        with pytest.raises(ProtocolError):
            _decode(V5, "82", wire)
    else:
        subscription = Subscription(
            topic_filter="a",
            qos=qos,
            no_local=bool(options & 4),
            retain_as_published=bool(options & 8),
            retain_handling=handling,
        )
        assert _decode(V5, "82", wire) == Subscribe(packet_id=1, subscriptions=(subscription,))


@pytest.mark.parametrize("first", [0x30, 0x31, 0x32, 0x33, 0x34, 0x35, 0x3A, 0x3B, 0x3C, 0x3D])
def test_publish_flags_mean_what_figure_3_8_says(first: int) -> None:
    """DUP, QoS and RETAIN of the first byte, in every combination that there is."""
    qos = first >> 1 & 3

    assert _decode(V311, f"{first:02X}", "0001 61" + ("0102" if qos else "") + "62") == Publish(
        topic_name="a",
        payload=b"b",
        qos=qos,
        retain=first & 1 == 1,
        dup=first & 8 == 8,
        packet_id=0x0102 if qos else None,
    )


@pytest.mark.parametrize("topic_bytes", [255, 256, 257, 65_535])
@pytest.mark.parametrize("version", BOTH)
def test_publish_has_topics_of_any_length(version: ProtocolVersion, topic_bytes: int) -> None:
    """The length of a topic name has two bytes, and what comes behind it is where it should be."""
    publish = Publish(topic_name="t" * topic_bytes, payload=b"p", qos=1, packet_id=0x0102)
    body = topic_bytes.to_bytes(2, "big") + b"t" * topic_bytes + b"\x01\x02" + (b"\0p" if version is V5 else b"p")
    decoder = Decoder(version=version)
    decoder.receive_data(b"\x32" + encode_variable_byte_integer(len(body)) + body)

    assert decoder.next_packet() == publish


def test_packets_may_have_odd_contents_that_others_judge() -> None:
    """Topics with wildcards, empty filters, unknown client ids: the decoder passes what the broker decides on."""
    assert _decode(V5, "30", "0001 23 00") == Publish(topic_name="#")
    assert _decode(V311, "82", "0001 0000 00") == Subscribe(packet_id=1, subscriptions=(Subscription(topic_filter=""),))
    assert _decode(V311, "10", HEAD_311.format("00") + "0000") == Connect(
        client_id="", version=V311, clean_start=False, keep_alive=60
    )
    assert _decode(V311, "90", "FFFF 80") == SubAck(packet_id=65_535, reason_codes=(0x80,))
