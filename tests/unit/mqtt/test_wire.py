"""The data representations of chapter 1.5, from the specification's own examples."""

from __future__ import annotations

import pytest

from harness.errors import MalformedPacket
from harness.mqtt.packets import ReasonCode
from harness.mqtt.wire import (
    Reader,
    decode_text,
    decode_variable_byte_integer,
    encode_binary,
    encode_integer,
    encode_packet_id,
    encode_string,
    encode_variable_byte_integer,
    is_shortest,
)

# Table 1-1 of §1.5.5: the smallest and the largest value of each size.
TABLE_1_1 = (
    (0, "00"),
    (1, "01"),
    (127, "7F"),
    (128, "80 01"),
    (16_383, "FF 7F"),
    (16_384, "80 80 01"),
    (2_097_151, "FF FF 7F"),
    (2_097_152, "80 80 80 01"),
    (268_435_455, "FF FF FF 7F"),
)


@pytest.mark.parametrize(("value", "wire"), [*TABLE_1_1, (321, "C1 02")])
def test_a_variable_byte_integer_looks_as_in_table_1_1(value: int, wire: str) -> None:
    """Every value of the table, and the example of 3.1.1 §2.2.3, is written and read so."""
    data = bytes.fromhex(wire)

    assert encode_variable_byte_integer(value) == data
    assert decode_variable_byte_integer(data, 0, len(data)) == (value, len(data))
    assert decode_variable_byte_integer(b"\xff" + data + b"\xff", 1, len(data) + 1) == (value, len(data))
    assert decode_variable_byte_integer(data + b"\xff" * 9, 0, len(data) + 9) == (value, len(data))
    for cut in range(len(data)):
        assert decode_variable_byte_integer(data, 0, cut) is None
    assert is_shortest(value, len(data))
    assert len(data) == 4 or not is_shortest(value, len(data) + 1)


@pytest.mark.parametrize("wire", ["80808080", "FFFFFFFF", "8080808001"])
def test_a_variable_byte_integer_ends_with_its_fourth_byte(wire: str) -> None:
    """A continuation bit in the fourth byte is malformed, whatever may follow."""
    data = bytes.fromhex(wire)

    with pytest.raises(MalformedPacket) as caught:
        decode_variable_byte_integer(data, 0, len(data))

    assert caught.value.reason_code == ReasonCode.MALFORMED_PACKET
    assert str(caught.value) == "a Variable Byte Integer of more than four bytes, §1.5.5 (0x81)"


@pytest.mark.parametrize(("wire", "value"), [("8000", 0), ("FF00", 127), ("808000", 0), ("FFFF8000", 16_383)])
def test_a_wasteful_variable_byte_integer_is_told_apart(wire: str, value: int) -> None:
    """It is read, but it is not the shortest; inside a packet that is malformed [MQTT-1.5.5-1]."""
    data = bytes.fromhex(wire)

    assert decode_variable_byte_integer(data, 0, len(data)) == (value, len(data))
    assert not is_shortest(value, len(data))
    with pytest.raises(MalformedPacket, match=r"^a Variable Byte Integer is longer than necessary, \[MQTT-1\.5\.5-1\]"):
        Reader(data, 0, len(data)).variable_byte_integer()


@pytest.mark.parametrize("value", [-1, 268_435_456])
def test_a_variable_byte_integer_has_a_range(value: int) -> None:
    """What does not fit is refused before it is sent."""
    with pytest.raises(ValueError, match=f"{value} does not fit"):
        encode_variable_byte_integer(value)


def test_integers_are_big_endian() -> None:
    """§1.5.2 and §1.5.3: the most significant byte comes first, and the range ends with the size."""
    assert encode_integer(0x12, 1) == b"\x12"
    assert encode_integer(0x1234, 2) == b"\x12\x34"
    assert encode_integer(0x12345678, 4) == b"\x12\x34\x56\x78"
    assert encode_integer(0, 4) == bytes(4)
    assert encode_integer(255, 1) == b"\xff"
    for value, size in ((-1, 1), (256, 1), (65_536, 2), (1 << 32, 4)):
        with pytest.raises(ValueError, match=f"^{value} does not fit {size} bytes$"):
            encode_integer(value, size)


def test_a_packet_id_is_never_zero() -> None:
    """[MQTT-2.2.1-3]: 1 to 65,535."""
    assert encode_packet_id(1) == b"\x00\x01"
    assert encode_packet_id(65_535) == b"\xff\xff"
    for packet_id in (None, 0, 65_536, -1):
        with pytest.raises(ValueError, match=r"MQTT-2\.2\.1-3|does not fit"):
            encode_packet_id(packet_id)


def test_a_string_looks_as_in_figure_1_2() -> None:
    """§1.5.4's example: A and U+2A6D4 are five bytes behind their length."""
    assert encode_string("A\U0002a6d4") == bytes.fromhex("0005 41 F0AA9B94")
    assert Reader(bytes.fromhex("000541F0AA9B94"), 0, 7).string() == "A\U0002a6d4"


def test_a_string_keeps_a_byte_order_mark_and_odd_characters() -> None:
    """[MQTT-1.5.4-3]: EF BB BF is U+FEFF wherever it is; control characters and non-characters pass."""
    for text in ("\ufeff", "a\ufeff", "\x01\x1f\x7f\x9f", "\uffff\ufdd0\U0010ffff", ""):
        assert decode_text(text.encode()) == text
        assert encode_string(text)[2:] == text.encode()


@pytest.mark.parametrize(
    "wire",
    [
        "80",
        "C0 80",
        "C3",
        "E2 82",
        "ED A0 80",
        "ED BF BF",
        "ED A1 8C ED BE B4",
        "F4 90 80 80",
        "F0 80 80 AF",
        "FF",
        "61 FE",
    ],
)
def test_a_string_is_well_formed_utf_8(wire: str) -> None:
    """[MQTT-1.5.4-1]: no surrogates, no longer forms, nothing beyond U+10FFFF."""
    with pytest.raises(MalformedPacket, match=r"^a string is ill-formed UTF-8, \[MQTT-1\.5\.4-1\]") as caught:
        decode_text(bytes.fromhex(wire))

    assert caught.value.reason_code == ReasonCode.MALFORMED_PACKET


@pytest.mark.parametrize("text", ["\0", "a\0", "a\0b"])
def test_a_string_has_no_null_character(text: str) -> None:
    """[MQTT-1.5.4-2]: U+0000 is refused in both directions."""
    with pytest.raises(MalformedPacket, match=r"^a string holds U\+0000, \[MQTT-1\.5\.4-2\]"):
        decode_text(text.encode())
    with pytest.raises(ValueError, match=r"^a string holds U\+0000, \[MQTT-1\.5\.4-2\]$"):
        encode_string(text)


def test_a_surrogate_is_not_sent() -> None:
    """[MQTT-1.5.4-1]: JSON can bring a lone surrogate in; it has no UTF-8."""
    with pytest.raises(UnicodeEncodeError):
        encode_string("\ud800")


def test_fields_have_up_to_65535_bytes() -> None:
    """The length is a Two Byte Integer of bytes, not of characters."""
    assert encode_binary(b"") == b"\x00\x00"
    assert encode_binary(bytes(65_535))[:2] == b"\xff\xff"
    assert encode_string("é" * 32_767)[:2] == b"\xff\xfe"
    with pytest.raises(ValueError, match="65536 bytes do not fit a field of 65535"):
        encode_binary(bytes(65_536))
    with pytest.raises(ValueError, match="65536 bytes"):
        encode_string("é" * 32_768)


def test_a_reader_takes_field_after_field() -> None:
    """Every representation is taken where the one before ended, up to the end of the stretch."""
    data = bytes.fromhex("FF 01 0203 04050607 8102 0002 0809 0001 61 0001 62 0001 63 0A0B 0C FF")
    reader = Reader(data, 1, len(data) - 1)

    assert reader.byte() == 1
    assert reader.two_byte_integer() == 0x0203
    assert reader.four_byte_integer() == 0x04050607
    assert reader.variable_byte_integer() == 257
    assert reader.binary() == b"\x08\x09"
    assert reader.string() == "a"
    assert reader.string_pair() == ("b", "c")
    section = reader.section(2)
    assert (section.take_rest(), section.has_more()) == (b"\x0a\x0b", False)
    assert reader.has_more()
    with pytest.raises(MalformedPacket, match="1 bytes too many"):
        reader.finish()
    assert reader.take_rest() == b"\x0c"
    assert reader.take_rest() == b""
    assert not reader.has_more()
    reader.finish()


@pytest.mark.parametrize(
    ("take", "wire"),
    [
        (Reader.byte, ""),
        (Reader.two_byte_integer, "01"),
        (Reader.four_byte_integer, "010203"),
        (Reader.variable_byte_integer, "80"),
        (Reader.variable_byte_integer, ""),
        (Reader.binary, "0001"),
        (Reader.binary, "00"),
        (Reader.string, "0002 61"),
        (Reader.string_pair, "0001 61 0001"),
        (lambda reader: reader.section(2), "01"),
    ],
)
def test_a_reader_never_leaves_its_stretch(take: object, wire: str) -> None:
    """A field that would go beyond the end is malformed, even where more bytes follow for others."""
    data = bytes.fromhex(wire)
    for behind in (b"", bytes(9)):
        with pytest.raises(MalformedPacket, match=r"^a field goes beyond the end of its packet \(0x81\)$"):
            take(Reader(data + behind, 0, len(data)))  # type: ignore[operator]  # one of Reader's methods
