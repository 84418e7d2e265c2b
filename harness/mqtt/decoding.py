"""The bodies of control packets, from bytes to values: one function per shape, found by the first byte of the packet.

The first byte says the type and the flags, so that one look into a table of 256 also checks the flags that a type
demands. PUBLISH and PUBACK, which come by the hundred thousand, are read without a `Reader`.

What depends on more than the packet itself is not checked here: topic names and filters (`harness.mqtt.topics`, where
the broker applies its limits too), client ids, who may send which packet and when.

Source: MQTT 5.0 and 3.1.1, chapters 2 and 3.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from harness.errors import ProtocolViolation
from harness.mqtt.packets import (
    NO_PROPERTIES,
    Auth,
    ConnAck,
    Connect,
    Disconnect,
    Packet,
    PacketType,
    PingReq,
    PingResp,
    Properties,
    ProtocolVersion,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    ReasonCode,
    SubAck,
    Subscribe,
    Subscription,
    UnsubAck,
    Unsubscribe,
    Will,
)
from harness.mqtt.properties import Carrier, decode_properties
from harness.mqtt.reason_codes import check_reason_code
from harness.mqtt.wire import Reader, decode_text, malformed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# (data, start and end of the body in it, first byte of the packet, version)
BodyDecoder = Callable[[bytes, int, int, int, ProtocolVersion], Packet]

_V5: Final = ProtocolVersion.V5
_Acknowledgement = type[PubAck] | type[PubRec] | type[PubRel] | type[PubComp]
_ACKNOWLEDGEMENTS: Final[Mapping[int, tuple[PacketType, _Acknowledgement]]] = {
    0x40: (PacketType.PUBACK, PubAck),
    0x50: (PacketType.PUBREC, PubRec),
    0x62: (PacketType.PUBREL, PubRel),
    0x70: (PacketType.PUBCOMP, PubComp),
}
_PING_REQ: Final = PingReq()
_PING_RESP: Final = PingResp()


def _violation(message: str) -> ProtocolViolation:
    return ProtocolViolation(ReasonCode.PROTOCOL_ERROR, message)


def _take_packet_id(reader: Reader) -> int:
    packet_id = reader.two_byte_integer()
    if packet_id == 0:
        raise _violation("a packet identifier is zero, [MQTT-2.2.1-3]")
    return packet_id


def _take_properties(reader: Reader, version: ProtocolVersion, carrier: Carrier) -> Properties:
    return decode_properties(reader, carrier) if version is _V5 else NO_PROPERTIES


def decode_protocol_version(data: bytes, start: int, end: int) -> ProtocolVersion:
    """Read which MQTT a CONNECT speaks; the body may be broken behind that.

    Args:
        data: the bytes the packet is in.
        start: of its body.
        end: of its body.

    Raises:
        MalformedPacket: the body ends before the level.
        ProtocolViolation: another protocol or level; reason code 0x84.

    Source: MQTT 5.0 §3.1.2.1 [MQTT-3.1.2-1], §3.1.2.2 [MQTT-3.1.2-2].
    """
    reader = Reader(data, start, end)
    name = reader.binary()
    level = reader.byte()
    if name != b"MQTT" or level not in (ProtocolVersion.V311, ProtocolVersion.V5):
        raise ProtocolViolation(
            ReasonCode.UNSUPPORTED_PROTOCOL_VERSION,
            f"protocol {name[:8]!r} level {level} is not spoken here, [MQTT-3.1.2-1], [MQTT-3.1.2-2]",
        )
    return ProtocolVersion(level)


def _connect(data: bytes, start: int, end: int, _first: int, _version: ProtocolVersion) -> Connect:
    try:
        version = decode_protocol_version(data, start, end)
    except ProtocolViolation as error:
        # Of a first CONNECT the level is known to be right: this one comes on a connection that has a version, and
        # there is no DISCONNECT with the reason code of an unsupported one.
        raise _violation(f"a second CONNECT, [MQTT-3.1.0-2]: {error}") from error
    reader = Reader(data, start + 7, end)  # behind the name's length, "MQTT" and the level
    flags = reader.byte()
    if flags & 0x01:
        raise malformed("the reserved flag of CONNECT is set, [MQTT-3.1.2-3]")
    if flags & 0x04:
        if flags & 0x18 == 0x18:
            raise malformed("the will has QoS 3, [MQTT-3.1.2-12]")
    elif flags & 0x38:
        raise malformed("CONNECT has no will, but its QoS or retain flag, [MQTT-3.1.2-11], [MQTT-3.1.2-13]")
    if flags & 0xC0 == 0x40 and version is not _V5:
        raise malformed("CONNECT has a password without a user name, 3.1.1 [MQTT-3.1.2-22]")
    keep_alive = reader.two_byte_integer()
    properties = _take_properties(reader, version, Carrier.CONNECT)
    client_id = reader.string()
    will = None
    if flags & 0x04:
        will_properties = _take_properties(reader, version, Carrier.WILL)
        will = Will(
            topic_name=reader.string(),
            payload=reader.binary(),
            qos=flags >> 3 & 0x03,
            retain=bool(flags & 0x20),
            properties=will_properties,
        )
    username = reader.string() if flags & 0x80 else None
    password = reader.binary() if flags & 0x40 else None
    reader.finish()
    return Connect(
        client_id=client_id,
        version=version,
        clean_start=bool(flags & 0x02),
        keep_alive=keep_alive,
        username=username,
        password=password,
        will=will,
        properties=properties,
    )


def _connack(data: bytes, start: int, end: int, _first: int, version: ProtocolVersion) -> ConnAck:
    reader = Reader(data, start, end)
    flags = reader.byte()
    if flags & 0xFE:
        raise malformed("a reserved flag of CONNACK is set, [MQTT-3.2.2-1]")
    code = check_reason_code(reader.byte(), packet_type=PacketType.CONNACK, version=version)
    if flags and code:
        raise _violation("CONNACK refuses and says that there is a session, [MQTT-3.2.2-6]")
    properties = _take_properties(reader, version, Carrier.CONNACK)
    reader.finish()
    return ConnAck(session_present=flags == 1, reason_code=code, properties=properties)


def _publish(data: bytes, start: int, end: int, first: int, version: ProtocolVersion) -> Publish:
    at = start + 2
    if at > end:
        raise malformed("PUBLISH ends before its topic name")
    at += data[start] << 8 | data[start + 1]
    if at > end:
        raise malformed("the topic name goes beyond the end of its packet")
    topic_name = decode_text(data[start + 2 : at])
    qos = first >> 1 & 0x03
    packet_id = None
    if qos:
        if at + 2 > end:
            raise malformed("PUBLISH ends before its packet identifier")
        packet_id = data[at] << 8 | data[at + 1]
        if packet_id == 0:
            raise _violation("a packet identifier is zero, [MQTT-2.2.1-3]")
        at += 2
    properties = NO_PROPERTIES
    if version is _V5:
        if at < end and data[at] == 0:
            at += 1
        else:
            reader = Reader(data, at, end)
            properties = decode_properties(reader, Carrier.PUBLISH)
            at = reader.at
    if not topic_name and properties.topic_alias is None:
        raise ProtocolViolation(
            ReasonCode.PROTOCOL_ERROR if version is _V5 else ReasonCode.TOPIC_NAME_INVALID,
            "PUBLISH has neither a topic name nor an alias, §3.3.2.1, [MQTT-4.7.3-1]",
        )
    return Publish(
        topic_name=topic_name,
        payload=data[at:end],
        qos=qos,
        retain=first & 0x01 == 1,
        dup=first & 0x08 == 8,
        packet_id=packet_id,
        properties=properties,
    )


def _puback(data: bytes, start: int, end: int, first: int, version: ProtocolVersion) -> Packet:
    if end - start == 2 and (packet_id := data[start] << 8 | data[start + 1]):
        return PubAck(packet_id=packet_id)
    return _acknowledgement(data, start, end, first, version)


def _acknowledgement(data: bytes, start: int, end: int, first: int, version: ProtocolVersion) -> Packet:
    packet_type, make = _ACKNOWLEDGEMENTS[first]
    reader = Reader(data, start, end)
    packet_id = _take_packet_id(reader)
    code, properties = 0, NO_PROPERTIES
    if version is _V5:
        code, properties = _take_outcome(reader, packet_type)
    reader.finish()
    return make(packet_id=packet_id, reason_code=code, properties=properties)


def _take_outcome(reader: Reader, packet_type: PacketType) -> tuple[int, Properties]:
    """Take reason code and properties, either of which may be left out at the end.

    Source: MQTT 5.0 §3.4.2.1, §3.14.2.2.1.
    """
    code, properties = 0, NO_PROPERTIES
    if reader.has_more():
        code = check_reason_code(reader.byte(), packet_type=packet_type, version=_V5)
    if reader.has_more():
        properties = decode_properties(reader, Carrier(packet_type))
    return code, properties


def _subscribe(data: bytes, start: int, end: int, _first: int, version: ProtocolVersion) -> Subscribe:
    reader = Reader(data, start, end)
    packet_id = _take_packet_id(reader)
    properties = _take_properties(reader, version, Carrier.SUBSCRIBE)
    subscriptions: list[Subscription] = []
    while reader.has_more():
        subscriptions.append(_take_subscription(reader, version))
    if not subscriptions:
        raise _violation("SUBSCRIBE without a topic filter, [MQTT-3.8.3-2]")
    return Subscribe(packet_id=packet_id, subscriptions=tuple(subscriptions), properties=properties)


def _take_subscription(reader: Reader, version: ProtocolVersion) -> Subscription:
    topic_filter = reader.string()
    options = reader.byte()
    if options & (0xC0 if version is _V5 else 0xFC):
        raise malformed("a reserved subscription option is set, [MQTT-3.8.3-5]")
    if options & 0x03 == 0x03:
        raise malformed("a subscription asks for QoS 3, §3.8.3.1")
    if options & 0x30 == 0x30:
        raise _violation("a subscription asks for retain handling 3, §3.8.3.1")
    return Subscription(
        topic_filter=topic_filter,
        qos=options & 0x03,
        no_local=bool(options & 0x04),
        retain_as_published=bool(options & 0x08),
        retain_handling=options >> 4,
    )


def _take_codes(reader: Reader, packet_type: PacketType, version: ProtocolVersion) -> tuple[int, ...]:
    codes = tuple(check_reason_code(code, packet_type=packet_type, version=version) for code in reader.take_rest())
    if not codes:
        raise malformed(f"{packet_type.name} without a reason code, §3.9.3, §3.11.3")
    return codes


def _suback(data: bytes, start: int, end: int, _first: int, version: ProtocolVersion) -> SubAck:
    reader = Reader(data, start, end)
    packet_id = _take_packet_id(reader)
    properties = _take_properties(reader, version, Carrier.SUBACK)
    codes = _take_codes(reader, PacketType.SUBACK, version)
    return SubAck(packet_id=packet_id, reason_codes=codes, properties=properties)


def _unsubscribe(data: bytes, start: int, end: int, _first: int, version: ProtocolVersion) -> Unsubscribe:
    reader = Reader(data, start, end)
    packet_id = _take_packet_id(reader)
    properties = _take_properties(reader, version, Carrier.UNSUBSCRIBE)
    topic_filters = []
    while reader.has_more():
        topic_filters.append(reader.string())
    if not topic_filters:
        raise _violation("UNSUBSCRIBE without a topic filter, [MQTT-3.10.3-2]")
    return Unsubscribe(packet_id=packet_id, topic_filters=tuple(topic_filters), properties=properties)


def _unsuback(data: bytes, start: int, end: int, _first: int, version: ProtocolVersion) -> UnsubAck:
    reader = Reader(data, start, end)
    packet_id = _take_packet_id(reader)
    properties = _take_properties(reader, version, Carrier.UNSUBACK)
    codes = _take_codes(reader, PacketType.UNSUBACK, version) if version is _V5 else ()
    reader.finish()
    return UnsubAck(packet_id=packet_id, reason_codes=codes, properties=properties)


def _ping(data: bytes, start: int, end: int, first: int, _version: ProtocolVersion) -> Packet:
    Reader(data, start, end).finish()
    return _PING_REQ if first == 0xC0 else _PING_RESP


def _disconnect(data: bytes, start: int, end: int, _first: int, version: ProtocolVersion) -> Disconnect:
    reader = Reader(data, start, end)
    code, properties = 0, NO_PROPERTIES
    if version is _V5:
        code, properties = _take_outcome(reader, PacketType.DISCONNECT)
    reader.finish()
    return Disconnect(reason_code=code, properties=properties)


def _auth(data: bytes, start: int, end: int, _first: int, version: ProtocolVersion) -> Auth:
    if version is not _V5:
        raise malformed("packet type 15 is reserved, 3.1.1 §2.2.1")
    if start == end:
        return Auth()  # §3.15.2.1
    reader = Reader(data, start, end)
    code = check_reason_code(reader.byte(), packet_type=PacketType.AUTH, version=version)
    properties = decode_properties(reader, Carrier.AUTH)
    reader.finish()
    if properties.authentication_method is None:
        raise _violation("AUTH without an authentication method, §3.15.2.2.2")
    return Auth(reason_code=code, properties=properties)


# Types and their flags: MQTT 5.0 §2.1.2, §2.1.3 table 2-2 [MQTT-2.1.3-1]. PUBLISH: every flag, but not QoS 3
# [MQTT-3.3.1-4] and no DUP with QoS 0 [MQTT-3.3.1-2].
_BY_FIRST_BYTE: Final[Mapping[int, BodyDecoder]] = {
    0x10: _connect,
    0x20: _connack,
    **{0x30 | flags: _publish for flags in range(16) if flags & 0x06 != 0x06 and flags & 0x0E != 0x08},
    0x40: _puback,
    0x50: _acknowledgement,
    0x62: _acknowledgement,
    0x70: _acknowledgement,
    0x82: _subscribe,
    0x90: _suback,
    0xA2: _unsubscribe,
    0xB0: _unsuback,
    0xC0: _ping,
    0xD0: _ping,
    0xE0: _disconnect,
    0xF0: _auth,
}
BODY_DECODERS: Final[Sequence[BodyDecoder | None]] = tuple(map(_BY_FIRST_BYTE.get, range(256)))
