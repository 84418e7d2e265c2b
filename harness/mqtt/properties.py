"""The properties of MQTT 5: one table, read in both directions.

A row says how a property is written, which packets may carry it and which values it may have. What needs more than
the property itself (an alias above the maximum, who may send a subscription identifier) is for whoever keeps the
connection's state.

Source: MQTT 5.0 §2.2.2, table 2-4.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from harness.errors import ProtocolViolation
from harness.mqtt.packets import NO_PROPERTIES, PacketType, Properties, ReasonCode
from harness.mqtt.topics import check_topic_name
from harness.mqtt.wire import (
    Reader,
    encode_binary,
    encode_integer,
    encode_string,
    encode_variable_byte_integer,
    malformed,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Carrier(IntEnum):
    """What carries properties: most packets, and the will inside CONNECT."""

    WILL = 0
    CONNECT = PacketType.CONNECT
    CONNACK = PacketType.CONNACK
    PUBLISH = PacketType.PUBLISH
    PUBACK = PacketType.PUBACK
    PUBREC = PacketType.PUBREC
    PUBREL = PacketType.PUBREL
    PUBCOMP = PacketType.PUBCOMP
    SUBSCRIBE = PacketType.SUBSCRIBE
    SUBACK = PacketType.SUBACK
    UNSUBSCRIBE = PacketType.UNSUBSCRIBE
    UNSUBACK = PacketType.UNSUBACK
    DISCONNECT = PacketType.DISCONNECT
    AUTH = PacketType.AUTH


@dataclass(frozen=True, slots=True)
class Kind:
    """A data representation: how to read it and how to write it. Source: MQTT 5.0 §1.5."""

    read: Callable[[Reader], Any]
    write: Callable[[Any], bytes]


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of table 2-4.

    Args:
        identifier: on the wire.
        name: the field of `Properties`.
        kind: the data representation.
        carriers: who may have it.
        check: raises ProtocolViolation for a value that is not allowed; None where every value is.
        repeats_in: the carriers where it may appear more than once; where there are any, the field is a tuple in all.
    """

    identifier: int
    name: str
    kind: Kind
    carriers: frozenset[Carrier]
    check: Callable[[str, Any], None] | None = None
    repeats_in: frozenset[Carrier] = frozenset()


def _refuse(name: str, value: object, code: ReasonCode = ReasonCode.PROTOCOL_ERROR) -> ProtocolViolation:
    return ProtocolViolation(code, f"the property {name} may not be {value}, §2.2.2.2")


def _check_not_zero(name: str, value: int) -> None:
    """Source: MQTT 5.0 §3.1.2.11.3, §3.1.2.11.4, §3.3.2.3.8, §3.8.2.1.2."""
    if value == 0:
        raise _refuse(name, value)


def _check_alias(name: str, value: int) -> None:
    """Source: MQTT 5.0 §3.3.2.3.4 [MQTT-3.3.2-8]."""
    if value == 0:
        raise _refuse(name, value, ReasonCode.TOPIC_ALIAS_INVALID)


def _check_zero_or_one(name: str, value: int) -> None:
    """Source: MQTT 5.0 §3.2.2.3.4, §3.3.2.3.2."""
    if value > 1:
        raise _refuse(name, value)


def _check_response_topic(_name: str, value: str) -> None:
    """Source: MQTT 5.0 §3.3.2.3.5 [MQTT-3.3.2-14]."""
    check_topic_name(value)


def _read_boolean(reader: Reader) -> bool:
    """Source: MQTT 5.0 §3.1.2.11.6, §3.1.2.11.7, §3.2.2.3.5, §3.2.2.3.11 to §3.2.2.3.13."""
    value = reader.byte()
    if value > 1:
        raise _refuse("that is a yes or no", value)
    return value == 1


_BYTE: Final = Kind(Reader.byte, partial(encode_integer, size=1))
_BOOLEAN: Final = Kind(_read_boolean, lambda value: encode_integer(int(value), 1))
_TWO_BYTES: Final = Kind(Reader.two_byte_integer, partial(encode_integer, size=2))
_FOUR_BYTES: Final = Kind(Reader.four_byte_integer, partial(encode_integer, size=4))
_VARIABLE: Final = Kind(Reader.variable_byte_integer, encode_variable_byte_integer)
_STRING: Final = Kind(Reader.string, encode_string)
_BINARY: Final = Kind(Reader.binary, encode_binary)
_PAIR: Final = Kind(Reader.string_pair, lambda pair: encode_string(pair[0]) + encode_string(pair[1]))

_MESSAGE: Final = frozenset({Carrier.WILL, Carrier.PUBLISH})
_CONNECT: Final = frozenset({Carrier.CONNECT})
_CONNACK: Final = frozenset({Carrier.CONNACK})
_BOTH_ENDS: Final = _CONNECT | _CONNACK
_PUBLISH: Final = frozenset({Carrier.PUBLISH})
_ANSWERS: Final = frozenset(Carrier) - _MESSAGE - {Carrier.CONNECT, Carrier.SUBSCRIBE, Carrier.UNSUBSCRIBE}

RULES: Final = (
    Rule(0x01, "payload_format_indicator", _BYTE, _MESSAGE, _check_zero_or_one),
    Rule(0x02, "message_expiry_interval", _FOUR_BYTES, _MESSAGE),
    Rule(0x03, "content_type", _STRING, _MESSAGE),
    Rule(0x08, "response_topic", _STRING, _MESSAGE, _check_response_topic),
    Rule(0x09, "correlation_data", _BINARY, _MESSAGE),
    Rule(0x0B, "subscription_identifiers", _VARIABLE, _PUBLISH | {Carrier.SUBSCRIBE}, _check_not_zero, _PUBLISH),
    Rule(0x11, "session_expiry_interval", _FOUR_BYTES, _BOTH_ENDS | {Carrier.DISCONNECT}),
    Rule(0x12, "assigned_client_identifier", _STRING, _CONNACK),
    Rule(0x13, "server_keep_alive", _TWO_BYTES, _CONNACK),
    Rule(0x15, "authentication_method", _STRING, _BOTH_ENDS | {Carrier.AUTH}),
    Rule(0x16, "authentication_data", _BINARY, _BOTH_ENDS | {Carrier.AUTH}),
    Rule(0x17, "request_problem_information", _BOOLEAN, _CONNECT),
    Rule(0x18, "will_delay_interval", _FOUR_BYTES, frozenset({Carrier.WILL})),
    Rule(0x19, "request_response_information", _BOOLEAN, _CONNECT),
    Rule(0x1A, "response_information", _STRING, _CONNACK),
    Rule(0x1C, "server_reference", _STRING, _CONNACK | {Carrier.DISCONNECT}),
    Rule(0x1F, "reason_string", _STRING, _ANSWERS),
    Rule(0x21, "receive_maximum", _TWO_BYTES, _BOTH_ENDS, _check_not_zero),
    Rule(0x22, "topic_alias_maximum", _TWO_BYTES, _BOTH_ENDS),
    Rule(0x23, "topic_alias", _TWO_BYTES, _PUBLISH, _check_alias),
    Rule(0x24, "maximum_qos", _BYTE, _CONNACK, _check_zero_or_one),
    Rule(0x25, "retain_available", _BOOLEAN, _CONNACK),
    Rule(0x26, "user_properties", _PAIR, frozenset(Carrier), None, frozenset(Carrier)),
    Rule(0x27, "maximum_packet_size", _FOUR_BYTES, _BOTH_ENDS, _check_not_zero),
    Rule(0x28, "wildcard_subscription_available", _BOOLEAN, _CONNACK),
    Rule(0x29, "subscription_identifier_available", _BOOLEAN, _CONNACK),
    Rule(0x2A, "shared_subscription_available", _BOOLEAN, _CONNACK),
)

_TUPLES: Final = frozenset(rule.name for rule in RULES if rule.repeats_in)
_READABLE: Final[Mapping[Carrier, Mapping[int, Rule]]] = {
    carrier: {rule.identifier: rule for rule in RULES if carrier in rule.carriers} for carrier in Carrier
}


def decode_properties(reader: Reader, carrier: Carrier) -> Properties:
    """Read the properties of one packet or will, length first.

    Args:
        reader: at the Property Length; left after the last property.
        carrier: what they belong to.

    Raises:
        MalformedPacket: an identifier that is unknown or not allowed here, or a value that is no such representation.
        ProtocolViolation: a property twice, or a value that is not allowed.

    Source: MQTT 5.0 §2.2.2.
    """
    size = reader.variable_byte_integer()
    if size == 0:
        return NO_PROPERTIES
    section = reader.section(size)
    readable = _READABLE[carrier]
    values: dict[str, Any] = {}
    while section.has_more():
        identifier = section.variable_byte_integer()
        rule = readable.get(identifier)
        if rule is None:
            raise malformed(f"property 0x{identifier:02X} has no place in {carrier.name}, §2.2.2.2")
        value = rule.kind.read(section)
        if rule.check is not None:
            rule.check(rule.name, value)
        if rule.name in values and carrier not in rule.repeats_in:
            raise ProtocolViolation(ReasonCode.PROTOCOL_ERROR, f"the property {rule.name} comes twice, §2.2.2.2")
        if rule.repeats_in:
            values.setdefault(rule.name, []).append(value)
        else:
            values[rule.name] = value
    for name in _TUPLES & values.keys():
        values[name] = tuple(values[name])
    if "authentication_data" in values and "authentication_method" not in values:
        raise ProtocolViolation(
            ReasonCode.PROTOCOL_ERROR,
            "authentication data without a method, §3.1.2.11.10",
        )
    return Properties(**values)


def encode_properties(properties: Properties, carrier: Carrier) -> bytes:
    """Write the properties of one packet or will, length first, in the order of their identifiers.

    Args:
        properties: what to write.
        carrier: what they belong to.

    Raises:
        ValueError: a property that is not allowed here, or a value that has no representation or is not allowed.

    Source: MQTT 5.0 §2.2.2.
    """
    if properties is NO_PROPERTIES:
        return b"\x00"
    encoded = bytearray()
    for rule in RULES:
        value = getattr(properties, rule.name)
        if value is None or value == ():
            continue
        if carrier not in rule.carriers:
            raise ValueError(f"the property {rule.name} has no place in {carrier.name}, §2.2.2.2")
        values = value if rule.repeats_in else (value,)
        if len(values) > 1 and carrier not in rule.repeats_in:
            raise ValueError(f"{carrier.name} carries one of {rule.name}, not {len(values)}, §2.2.2.2")
        for one in values:
            _check_own(rule, one)
            encoded.append(rule.identifier)
            encoded += rule.kind.write(one)
    return encode_variable_byte_integer(len(encoded)) + encoded


def _check_own(rule: Rule, value: object) -> None:
    """Refuse a value that the other end would have to refuse."""
    if rule.check is None:
        return
    try:
        rule.check(rule.name, value)
    except ProtocolViolation as error:
        raise ValueError(str(error)) from error
