"""Control packets, from values to bytes.

What a version does not have is left out (properties, the reason codes of acknowledgements, subscription options for
MQTT 3.1.1), so that one value serves connections of both. What no version allows is a ValueError: a mistake of this
side, not of the peer.

Source: MQTT 5.0 and 3.1.1, chapter 3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

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
    SubAck,
    Subscribe,
    Subscription,
    UnsubAck,
    Unsubscribe,
)
from harness.mqtt.properties import Carrier, encode_properties
from harness.mqtt.reason_codes import REASON_CODES
from harness.mqtt.wire import (
    encode_binary,
    encode_integer,
    encode_packet_id,
    encode_string,
    encode_variable_byte_integer,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_V5: Final = ProtocolVersion.V5
_ACKNOWLEDGEMENTS: Final[Mapping[type[Packet], tuple[int, PacketType]]] = {
    PubAck: (0x40, PacketType.PUBACK),
    PubRec: (0x50, PacketType.PUBREC),
    PubRel: (0x62, PacketType.PUBREL),
    PubComp: (0x70, PacketType.PUBCOMP),
}


def encode(packet: Packet, version: ProtocolVersion) -> bytes:
    """Write a control packet.

    Args:
        packet: any.
        version: of the connection.

    Raises:
        ValueError: something in the packet has no representation, or is not allowed there.
    """
    return _ENCODERS[type(packet)](packet, version)


def encode_publish_parts(publish: Publish, version: ProtocolVersion) -> tuple[bytes, bytes]:
    """Write a PUBLISH in two parts, between which its packet identifier belongs, so that many receivers can share them.

    Args:
        publish: its ``packet_id`` is not looked at.
        version: of the receivers' connections.

    Returns:
        (head, tail). With QoS 1 and 2 the packet is head + packet identifier (two bytes, most significant first) +
        tail; with QoS 0 it is head + tail.

    Raises:
        ValueError: something in the packet has no representation, or is not allowed there.

    Source: MQTT 5.0 §3.3.
    """
    qos = publish.qos
    if qos not in (0, 1, 2) or (publish.dup and not qos):
        raise ValueError(f"PUBLISH with QoS {qos} and DUP {publish.dup}, [MQTT-3.3.1-2], [MQTT-3.3.1-4]")
    topic_name = encode_string(publish.topic_name)
    if version is _V5:
        properties = publish.properties
        if not publish.topic_name and properties.topic_alias is None:
            raise ValueError("PUBLISH has neither a topic name nor an alias, §3.3.2.1")
        tail = encode_properties(properties, Carrier.PUBLISH) + publish.payload
    else:
        if not publish.topic_name:
            raise ValueError("PUBLISH has no topic name, [MQTT-4.7.3-1]")
        tail = publish.payload
    size = len(topic_name) + (2 if qos else 0) + len(tail)
    first = 0x30 | publish.dup << 3 | qos << 1 | publish.retain
    return b"%c%b%b" % (first, encode_variable_byte_integer(size), topic_name), tail


def _publish(publish: Publish, version: ProtocolVersion) -> bytes:
    head, tail = encode_publish_parts(publish, version)
    if publish.qos:
        return head + encode_packet_id(publish.packet_id) + tail
    if publish.packet_id is not None:
        raise ValueError("PUBLISH of QoS 0 has a packet identifier, [MQTT-2.2.1-2]")
    return head + tail


def _frame(first: int, body: bytes) -> bytes:
    return first.to_bytes() + encode_variable_byte_integer(len(body)) + body


def _properties(properties: Properties, version: ProtocolVersion, carrier: Carrier) -> bytes:
    return encode_properties(properties, carrier) if version is _V5 else b""


def _check_code(code: int, packet_type: PacketType, version: ProtocolVersion) -> int:
    if code not in REASON_CODES[version][packet_type]:
        raise ValueError(f"reason code 0x{code:02X} has no place in {packet_type.name}, §2.4")
    return code


def _connect(packet: Connect, version: ProtocolVersion) -> bytes:
    if packet.version is not version:
        raise ValueError(f"CONNECT of {packet.version!r} on a connection of {version!r}")
    if packet.password is not None and packet.username is None and version is not _V5:
        raise ValueError("CONNECT has a password without a user name, 3.1.1 [MQTT-3.1.2-22]")
    flags = 0x02 if packet.clean_start else 0
    payload = encode_string(packet.client_id)
    if packet.will is not None:
        if packet.will.qos not in (0, 1, 2):
            raise ValueError(f"the will has QoS {packet.will.qos}, [MQTT-3.1.2-12]")
        flags |= 0x04 | packet.will.qos << 3 | packet.will.retain << 5
        payload += _properties(packet.will.properties, version, Carrier.WILL)
        payload += encode_string(packet.will.topic_name) + encode_binary(packet.will.payload)
    if packet.username is not None:
        flags |= 0x80
        payload += encode_string(packet.username)
    if packet.password is not None:
        flags |= 0x40
        payload += encode_binary(packet.password)
    head = encode_string("MQTT") + bytes((version, flags)) + encode_integer(packet.keep_alive, 2)
    return _frame(0x10, head + _properties(packet.properties, version, Carrier.CONNECT) + payload)


def _connack(packet: ConnAck, version: ProtocolVersion) -> bytes:
    code = _check_code(packet.reason_code, PacketType.CONNACK, version)
    if packet.session_present and code:
        raise ValueError("CONNACK refuses and says that there is a session, [MQTT-3.2.2-6]")
    body = bytes((packet.session_present, code))
    return _frame(0x20, body + _properties(packet.properties, version, Carrier.CONNACK))


def _acknowledgement(packet: PubAck | PubRec | PubRel | PubComp, version: ProtocolVersion) -> bytes:
    first, packet_type = _ACKNOWLEDGEMENTS[type(packet)]
    packet_id = encode_packet_id(packet.packet_id)
    if version is not _V5 or (packet.reason_code == 0 and packet.properties is NO_PROPERTIES):
        return b"%c\x02%b" % (first, packet_id)
    return _frame(first, packet_id + _outcome(packet.reason_code, packet.properties, packet_type))


def _outcome(code: int, properties: Properties, packet_type: PacketType) -> bytes:
    """Write reason code and properties, leaving out what goes without saying. Source: MQTT 5.0 §3.4.2.1, §3.14.2.1."""
    _check_code(code, packet_type, _V5)
    if properties != NO_PROPERTIES:
        return bytes((code,)) + encode_properties(properties, Carrier(packet_type))
    return bytes((code,)) if code else b""


def _subscribe(packet: Subscribe, version: ProtocolVersion) -> bytes:
    if not packet.subscriptions:
        raise ValueError("SUBSCRIBE without a topic filter, [MQTT-3.8.3-2]")
    body = encode_packet_id(packet.packet_id) + _properties(packet.properties, version, Carrier.SUBSCRIBE)
    return _frame(0x82, body + b"".join(_subscription(one, version) for one in packet.subscriptions))


def _subscription(one: Subscription, version: ProtocolVersion) -> bytes:
    if one.qos not in (0, 1, 2) or one.retain_handling not in (0, 1, 2):
        raise ValueError(f"a subscription asks for QoS {one.qos}, retain handling {one.retain_handling}, §3.8.3.1")
    options = one.qos
    if version is _V5:
        options |= one.no_local << 2 | one.retain_as_published << 3 | one.retain_handling << 4
    return encode_string(one.topic_filter) + bytes((options,))


def _suback(packet: SubAck, version: ProtocolVersion) -> bytes:
    if not packet.reason_codes:
        raise ValueError("SUBACK without a reason code, §3.9.3")
    # Every failure is 0x80 in 3.1.1. Source: 3.1.1 §3.9.3.
    codes = packet.reason_codes if version is _V5 else [min(code, 0x80) for code in packet.reason_codes]
    body = encode_packet_id(packet.packet_id) + _properties(packet.properties, version, Carrier.SUBACK)
    return _frame(0x90, body + bytes(_check_code(code, PacketType.SUBACK, version) for code in codes))


def _unsubscribe(packet: Unsubscribe, version: ProtocolVersion) -> bytes:
    if not packet.topic_filters:
        raise ValueError("UNSUBSCRIBE without a topic filter, [MQTT-3.10.3-2]")
    body = encode_packet_id(packet.packet_id) + _properties(packet.properties, version, Carrier.UNSUBSCRIBE)
    return _frame(0xA2, body + b"".join(map(encode_string, packet.topic_filters)))


def _unsuback(packet: UnsubAck, version: ProtocolVersion) -> bytes:
    body = encode_packet_id(packet.packet_id)
    if version is _V5:
        if not packet.reason_codes:
            raise ValueError("UNSUBACK without a reason code, §3.11.3")
        body += encode_properties(packet.properties, Carrier.UNSUBACK)
        body += bytes(_check_code(code, PacketType.UNSUBACK, version) for code in packet.reason_codes)
    return _frame(0xB0, body)


def _disconnect(packet: Disconnect, version: ProtocolVersion) -> bytes:
    if version is not _V5:
        return b"\xe0\x00"
    return _frame(0xE0, _outcome(packet.reason_code, packet.properties, PacketType.DISCONNECT))


def _auth(packet: Auth, version: ProtocolVersion) -> bytes:
    if version is not _V5:
        raise ValueError("MQTT 3.1.1 has no AUTH, 3.1.1 §2.2.1")
    _check_code(packet.reason_code, PacketType.AUTH, version)
    if packet.reason_code == 0 and packet.properties == NO_PROPERTIES:
        return b"\xf0\x00"
    if packet.properties.authentication_method is None:
        raise ValueError("AUTH without an authentication method, §3.15.2.2.2")
    return _frame(0xF0, bytes((packet.reason_code,)) + encode_properties(packet.properties, Carrier.AUTH))


_ENCODERS: Final[Mapping[type[Packet], Callable[[Any, ProtocolVersion], bytes]]] = {
    Connect: _connect,
    ConnAck: _connack,
    Publish: _publish,
    PubAck: _acknowledgement,
    PubRec: _acknowledgement,
    PubRel: _acknowledgement,
    PubComp: _acknowledgement,
    Subscribe: _subscribe,
    SubAck: _suback,
    Unsubscribe: _unsubscribe,
    UnsubAck: _unsuback,
    PingReq: lambda _packet, _version: b"\xc0\x00",
    PingResp: lambda _packet, _version: b"\xd0\x00",
    Disconnect: _disconnect,
    Auth: _auth,
}
