"""The table of properties: against table 2-4 as paho-mqtt has it, and every rule about single properties."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties as PahoProperties

from harness.errors import MalformedPacket, ProtocolError, ProtocolViolation
from harness.mqtt.packets import NO_PROPERTIES, Properties, ReasonCode
from harness.mqtt.properties import RULES, Carrier, Rule, decode_properties, encode_properties
from harness.mqtt.wire import Reader

# A value of each paho type, as it is written.
WIRE = {
    "Byte": "01",
    "Two Byte Integer": "0102",
    "Four Byte Integer": "01020304",
    "Variable Byte Integer": "8101",
    "Binary Data": "0002 0102",
    "UTF-8 Encoded String": "0002 6162",
    "UTF-8 String Pair": "0001 61 0002 6263",
}
VALUE: dict[str, object] = {
    "Byte": 1,
    "Two Byte Integer": 0x0102,
    "Four Byte Integer": 0x01020304,
    "Variable Byte Integer": 129,
    "Binary Data": b"\x01\x02",
    "UTF-8 Encoded String": "ab",
    "UTF-8 String Pair": ("a", "bc"),
}
PAHO = PahoProperties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho annotates its constructor in part
NAMES = {identifier: name.lower().replace(" ", "_") for name, identifier in PAHO.names.items()} | {
    0x0B: "subscription_identifiers",
    0x26: "user_properties",
}
BOOLEANS = {0x17, 0x19, 0x25, 0x28, 0x29, 0x2A}
REPEATED = {0x0B, 0x26}


def _read(wire: str, carrier: Carrier = Carrier.PUBLISH) -> Properties:
    body = bytes.fromhex(wire)
    reader = Reader(bytes((len(body),)) + body, 0, len(body) + 1)
    properties = decode_properties(reader, carrier)
    assert not reader.has_more()
    return properties


def _refusal(wire: str, carrier: Carrier = Carrier.PUBLISH) -> ProtocolError:
    with pytest.raises(ProtocolError) as caught:
        _read(wire, carrier)
    return caught.value


def _paho_carrier(carrier: Carrier) -> int:
    return PacketTypes.WILLMESSAGE if carrier is Carrier.WILL else int(carrier)


def _wire_of(identifier: int) -> tuple[str, object]:
    """Give a property as it is written, and the value of its field."""
    kind = PAHO.types[PAHO.properties[identifier][0]]
    value = VALUE[kind]
    if identifier in BOOLEANS:
        value = True
    if identifier in REPEATED:
        value = (value,)
    return f"{identifier:02X} {WIRE[kind]}", value


def test_the_table_has_every_property_once() -> None:
    """One row per identifier of table 2-4, one per field of `Properties`."""
    assert {rule.identifier: rule.name for rule in RULES} == NAMES
    assert sorted(rule.name for rule in RULES) == sorted(field.name for field in dataclasses.fields(Properties))
    assert len(RULES) == 27


@pytest.mark.parametrize("carrier", Carrier)
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_property_is_read_and_written_where_table_2_4_has_it(rule: Rule, carrier: Carrier) -> None:
    """Each property in each packet: passed through where another implementation's table has it, refused elsewhere."""
    wire, value = _wire_of(rule.identifier)
    # Authentication data goes with a method only.
    wire = ("15 0001 6D" if rule.identifier == 0x16 and carrier in rule.carriers else "") + wire
    fields: dict[str, Any] = {rule.name: value}
    if rule.identifier == 0x16:
        fields["authentication_method"] = "m"
    properties = Properties(**fields)

    if _paho_carrier(carrier) in PAHO.properties[rule.identifier][1]:
        body = bytes.fromhex(wire)
        assert _read(wire, carrier) == properties
        assert encode_properties(properties, carrier) == bytes((len(body),)) + body
    else:
        error = _refusal(wire, carrier)
        assert isinstance(error, MalformedPacket)
        assert error.reason_code == ReasonCode.MALFORMED_PACKET
        assert f"0x{rule.identifier:02X} has no place in {carrier.name}" in str(error)
        with pytest.raises(ValueError, match=f"has no place in {carrier.name}"):
            encode_properties(properties, carrier)


@pytest.mark.parametrize("identifier", [0x00, 0x04, 0x0A, 0x14, 0x1E, 0x20, 0x2B, 0x7F])
def test_an_unknown_property_is_malformed(identifier: int) -> None:
    """An identifier that no table has is malformed, not skipped: its length is unknown."""
    assert isinstance(_refusal(f"{identifier:02X} 00"), MalformedPacket)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_property_comes_twice_only_where_it_may(rule: Rule) -> None:
    """Twice is a protocol error; user properties repeat anywhere, subscription identifiers in PUBLISH."""
    wire, value = _wire_of(rule.identifier)
    method = "15 0001 6D" if rule.identifier == 0x16 else ""
    for carrier in rule.carriers:
        if rule.identifier == 0x26 or (rule.identifier == 0x0B and carrier is Carrier.PUBLISH):
            assert isinstance(value, tuple)
            properties = Properties(**{rule.name: value * 2})  # type: ignore[arg-type]  # the field is a tuple
            assert _read(wire + wire, carrier) == properties
            assert encode_properties(properties, carrier)[1:] == bytes.fromhex(wire + wire)
        else:
            error = _refusal(method + wire + wire, carrier)
            assert isinstance(error, ProtocolViolation)
            assert error.reason_code == ReasonCode.PROTOCOL_ERROR
            assert f"{rule.name} comes twice" in str(error)


def test_a_zero_or_empty_property_comes_twice_too() -> None:
    """What counts is that the property was there, not its value."""
    assert "comes twice" in str(_refusal("09 0000 09 0000"))
    assert "comes twice" in str(_refusal("02 00000000 02 00000000"))


def test_subscribe_carries_one_subscription_identifier() -> None:
    """Two in one SUBSCRIBE are refused before they are sent, too."""
    with pytest.raises(ValueError, match="SUBSCRIBE carries one of subscription_identifiers, not 2"):
        encode_properties(Properties(subscription_identifiers=(1, 2)), Carrier.SUBSCRIBE)


@pytest.mark.parametrize("identifier", sorted(BOOLEANS))
def test_a_yes_or_no_is_one_or_zero(identifier: int) -> None:
    """Zero is no, one is yes, the other 254 values are protocol errors."""
    (rule,) = (rule for rule in RULES if rule.identifier == identifier)
    (carrier,) = rule.carriers

    for byte, value in ((0, False), (1, True)):
        properties = Properties(**{rule.name: value})  # type: ignore[arg-type]  # one of the booleans
        assert getattr(_read(f"{identifier:02X} {byte:02X}", carrier), rule.name) is value
        assert encode_properties(properties, carrier) == bytes((2, identifier, byte))
    for byte in (2, 3, 128, 255):
        error = _refusal(f"{identifier:02X} {byte:02X}", carrier)
        assert isinstance(error, ProtocolViolation)
        assert error.reason_code == ReasonCode.PROTOCOL_ERROR
        assert str(error) == f"the property that is a yes or no may not be {byte}, §2.2.2.2 (0x82)"


# Property, carrier, value that is refused, its bytes, the reason code.
REFUSED = (
    ("payload_format_indicator", Carrier.PUBLISH, 2, "01 02", ReasonCode.PROTOCOL_ERROR),
    ("payload_format_indicator", Carrier.WILL, 255, "01 FF", ReasonCode.PROTOCOL_ERROR),
    ("response_topic", Carrier.PUBLISH, "a/#", "08 0003 612F23", ReasonCode.TOPIC_NAME_INVALID),
    ("response_topic", Carrier.WILL, "+", "08 0001 2B", ReasonCode.TOPIC_NAME_INVALID),
    ("response_topic", Carrier.WILL, "", "08 0000", ReasonCode.TOPIC_NAME_INVALID),
    ("subscription_identifiers", Carrier.SUBSCRIBE, (0,), "0B 00", ReasonCode.PROTOCOL_ERROR),
    ("subscription_identifiers", Carrier.PUBLISH, (1, 0), "0B 01 0B 00", ReasonCode.PROTOCOL_ERROR),
    ("receive_maximum", Carrier.CONNECT, 0, "21 0000", ReasonCode.PROTOCOL_ERROR),
    ("receive_maximum", Carrier.CONNACK, 0, "21 0000", ReasonCode.PROTOCOL_ERROR),
    ("topic_alias", Carrier.PUBLISH, 0, "23 0000", ReasonCode.TOPIC_ALIAS_INVALID),
    ("maximum_qos", Carrier.CONNACK, 2, "24 02", ReasonCode.PROTOCOL_ERROR),
    ("maximum_packet_size", Carrier.CONNECT, 0, "27 00000000", ReasonCode.PROTOCOL_ERROR),
)


@pytest.mark.parametrize(("name", "carrier", "value", "wire", "code"), REFUSED)
def test_a_property_has_allowed_values_only(
    name: str, carrier: Carrier, value: object, wire: str, code: ReasonCode
) -> None:
    """Values that the specification rules out are refused with its reason code, and never sent."""
    error = _refusal(wire, carrier)
    assert isinstance(error, ProtocolViolation)
    assert error.reason_code == code
    if name != "response_topic":
        last = value[-1] if isinstance(value, tuple) else value
        assert str(error) == f"the property {name} may not be {last}, §2.2.2.2 (0x{code:02X})"

    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared below
        encode_properties(Properties(**{name: value}), carrier)  # type: ignore[arg-type]  # any field
    assert str(caught.value) == str(error)


# Property, carrier, extreme values that pass, their bytes.
ALLOWED = (
    ("payload_format_indicator", Carrier.PUBLISH, 0, "01 00"),
    ("payload_format_indicator", Carrier.PUBLISH, 1, "01 01"),
    ("message_expiry_interval", Carrier.PUBLISH, 0, "02 00000000"),
    ("message_expiry_interval", Carrier.WILL, 0xFFFFFFFF, "02 FFFFFFFF"),
    ("content_type", Carrier.WILL, "", "03 0000"),
    ("correlation_data", Carrier.PUBLISH, b"", "09 0000"),
    ("subscription_identifiers", Carrier.SUBSCRIBE, (1,), "0B 01"),
    ("session_expiry_interval", Carrier.CONNECT, 0, "11 00000000"),
    ("server_keep_alive", Carrier.CONNACK, 0, "13 0000"),
    ("will_delay_interval", Carrier.WILL, 0, "18 00000000"),
    ("receive_maximum", Carrier.CONNECT, 1, "21 0001"),
    ("topic_alias_maximum", Carrier.CONNECT, 0, "22 0000"),
    ("topic_alias", Carrier.PUBLISH, 65_535, "23 FFFF"),
    ("maximum_qos", Carrier.CONNACK, 0, "24 00"),
    ("user_properties", Carrier.CONNECT, (("", ""),), "26 0000 0000"),
    ("maximum_packet_size", Carrier.CONNECT, 1, "27 00000001"),
)


@pytest.mark.parametrize(("name", "carrier", "value", "wire"), ALLOWED)
def test_a_property_at_the_edge_of_its_range_passes(name: str, carrier: Carrier, value: object, wire: str) -> None:
    """Zero and empty are values, not absence: they are read, and they are written."""
    properties = Properties(**{name: value})  # type: ignore[arg-type]  # any field

    assert _read(wire, carrier) == properties
    assert encode_properties(properties, carrier)[1:] == bytes.fromhex(wire)


@pytest.mark.parametrize("carrier", [Carrier.CONNECT, Carrier.CONNACK, Carrier.AUTH])
def test_authentication_data_needs_a_method(carrier: Carrier) -> None:
    """§3.1.2.11.10: data without a method is a protocol error; a method without data is none."""
    assert _read("15 0001 6D", carrier) == Properties(authentication_method="m")

    error = _refusal("16 0001 64", carrier)
    assert isinstance(error, ProtocolViolation)
    assert error.reason_code == ReasonCode.PROTOCOL_ERROR
    assert str(error) == "authentication data without a method, §3.1.2.11.10 (0x82)"


def test_no_properties_are_one_byte() -> None:
    """A length of zero stands for none; nothing but the length is read."""
    reader = Reader(b"\x00\x01", 0, 2)

    assert decode_properties(reader, Carrier.PUBLISH) is NO_PROPERTIES
    assert reader.at == 1
    assert encode_properties(NO_PROPERTIES, Carrier.PUBLISH) == b"\x00"
    assert encode_properties(Properties(), Carrier.PUBLISH) == b"\x00"


@pytest.mark.parametrize("wire", ["03 01", "04 03 0003 6162", "81 00 01", "80"])
def test_properties_end_where_their_length_says(wire: str) -> None:
    """A length beyond the packet, a value beyond the length, and a wasteful length are malformed."""
    data = bytes.fromhex(wire)

    with pytest.raises(MalformedPacket):
        decode_properties(Reader(data, 0, len(data)), Carrier.PUBLISH)


def test_a_long_section_has_a_long_length() -> None:
    """The Property Length is a Variable Byte Integer, written and read."""
    properties = Properties(user_properties=tuple((f"key {number}", "value") for number in range(1000)))
    encoded = encode_properties(properties, Carrier.AUTH)

    assert decode_properties(Reader(encoded, 0, len(encoded)), Carrier.AUTH) == properties


def test_an_identifier_is_a_variable_byte_integer() -> None:
    """Identifiers of one byte written in two are malformed."""
    assert "[MQTT-1.5.5-1]" in str(_refusal("8100 01"))
