"""How MQTT writes numbers, strings and binary data: the data representations of chapter 1.5.

Here are the pieces that packets and properties are made of. A `Reader` walks over the body of one packet and never
leaves it; the ``encode_…`` functions refuse with ValueError what has no representation, since that is a mistake of
this side.

Source: MQTT 5.0 §1.5, MQTT 3.1.1 §1.5 and §2.2.3.
"""

from __future__ import annotations

from typing import Final

from harness.errors import MalformedPacket
from harness.mqtt.packets import ReasonCode

MAX_VARIABLE_BYTE_INTEGER: Final = 268_435_455
MAX_FIELD_BYTES: Final = 65_535  # of a string or of binary data: what a Two Byte Integer can count

# Where the second, third and fourth byte of a Variable Byte Integer become necessary. Source: MQTT 5.0 §1.5.5, table
# 1-1.
_SMALLEST_OF_SIZE: Final = (0, 128, 16_384, 2_097_152)


def malformed(message: str) -> MalformedPacket:
    """Make the error for bytes that are not MQTT: reason code 0x81.

    Args:
        message: what was wrong, with the specification's number where there is one.
    """
    return MalformedPacket(ReasonCode.MALFORMED_PACKET, message)


def decode_variable_byte_integer(data: bytes, at: int, end: int) -> tuple[int, int] | None:
    """Read a Variable Byte Integer.

    An encoding longer than necessary is read; whether it is allowed is for the caller to say (MQTT 3.1.1 has no such
    rule).

    Args:
        data: the bytes it is in.
        at: index of its first byte.
        end: index after the last byte that may belong to it.

    Returns:
        (value, size): value 0 to 268,435,455, size 1 to 4 bytes; None when it does not end before `end`.

    Raises:
        MalformedPacket: a fourth byte has the continuation bit set.

    Source: MQTT 5.0 §1.5.5, MQTT 3.1.1 §2.2.3.
    """
    value = 0
    for size in range(1, min(4, end - at) + 1):
        byte = data[at + size - 1]
        value |= (byte & 0x7F) << 7 * (size - 1)
        if byte < 0x80:
            return value, size
    if end - at >= 4:
        raise malformed("a Variable Byte Integer of more than four bytes, §1.5.5")
    return None


def is_shortest(value: int, size: int) -> bool:
    """Tell whether a Variable Byte Integer of `size` bytes is the shortest that says `value`.

    Source: [MQTT-1.5.5-1].
    """
    return value >= _SMALLEST_OF_SIZE[size - 1]


def encode_variable_byte_integer(value: int) -> bytes:
    """Write a Variable Byte Integer in as few bytes as possible.

    Args:
        value: 0 to 268,435,455.

    Raises:
        ValueError: the value has no representation.

    Source: MQTT 5.0 §1.5.5 [MQTT-1.5.5-1].
    """
    if not 0 <= value <= MAX_VARIABLE_BYTE_INTEGER:
        raise ValueError(f"{value} does not fit a Variable Byte Integer")
    if value < 0x80:
        return value.to_bytes()
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def encode_integer(value: int, size: int) -> bytes:
    """Write an integer of one, two or four bytes, most significant byte first.

    Args:
        value: not negative.
        size: of the representation, in bytes.

    Raises:
        ValueError: the value needs more bytes, or is negative.

    Source: MQTT 5.0 §1.5.2, §1.5.3.
    """
    if not 0 <= value < 1 << 8 * size:
        raise ValueError(f"{value} does not fit {size} bytes")
    return value.to_bytes(size)


def encode_packet_id(packet_id: int | None) -> bytes:
    """Write a packet identifier.

    Args:
        packet_id: 1 to 65,535.

    Raises:
        ValueError: there is none, or it is out of range.

    Source: MQTT 5.0 §2.2.1.
    """
    if not packet_id:
        raise ValueError("a packet identifier is missing or zero, [MQTT-2.2.1-3]")
    return encode_integer(packet_id, 2)


def encode_binary(data: bytes) -> bytes:
    """Write Binary Data with its length before it.

    Args:
        data: up to 65,535 bytes.

    Raises:
        ValueError: it is longer.

    Source: MQTT 5.0 §1.5.6.
    """
    if len(data) > MAX_FIELD_BYTES:
        raise ValueError(f"{len(data)} bytes do not fit a field of {MAX_FIELD_BYTES}")
    return len(data).to_bytes(2) + data


def encode_string(text: str) -> bytes:
    """Write a UTF-8 Encoded String.

    Args:
        text: up to 65,535 bytes of UTF-8, without U+0000 and surrogates.

    Raises:
        ValueError: it is none (UnicodeEncodeError for a surrogate).

    Source: MQTT 5.0 §1.5.4.
    """
    if "\0" in text:
        raise ValueError("a string holds U+0000, [MQTT-1.5.4-2]")
    return encode_binary(text.encode())


def decode_text(data: bytes) -> str:
    """Turn the bytes of a UTF-8 Encoded String, without their length, into text.

    A byte order mark stays what it is, a zero width no-break space [MQTT-1.5.4-3]; control characters and
    non-characters, which a receiver may refuse, are let through.

    Args:
        data: UTF-8.

    Raises:
        MalformedPacket: ill-formed UTF-8, a surrogate, or U+0000.

    Source: MQTT 5.0 §1.5.4 [MQTT-1.5.4-1], [MQTT-1.5.4-2].
    """
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise malformed("a string is ill-formed UTF-8, [MQTT-1.5.4-1]") from error
    if "\0" in text:
        raise malformed("a string holds U+0000, [MQTT-1.5.4-2]")
    return text


def _beyond_the_end() -> MalformedPacket:
    return malformed("a field goes beyond the end of its packet")


class Reader:
    """Takes fields, one after the other, from a stretch of bytes.

    Every method raises MalformedPacket where the stretch ends before the field does.

    Args:
        data: the bytes.
        at: index of the first byte to read.
        end: index after the last.
    """

    __slots__ = ("at", "data", "end")

    def __init__(self, data: bytes, at: int, end: int) -> None:
        self.data = data
        self.at = at
        self.end = end

    def take(self, size: int) -> bytes:
        """Take `size` bytes as they are."""
        start = self.at
        stop = start + size
        if stop > self.end:
            raise _beyond_the_end()
        self.at = stop
        return self.data[start:stop]

    def take_rest(self) -> bytes:
        """Take all that is left; may be nothing."""
        return self.take(self.end - self.at)

    def integer(self, size: int) -> int:
        """Take an integer of `size` bytes. Source: MQTT 5.0 §1.5.2, §1.5.3."""
        return int.from_bytes(self.take(size))

    def byte(self) -> int:
        """Take one byte."""
        return self.integer(1)

    def two_byte_integer(self) -> int:
        """Take a Two Byte Integer. Source: MQTT 5.0 §1.5.2."""
        return self.integer(2)

    def four_byte_integer(self) -> int:
        """Take a Four Byte Integer. Source: MQTT 5.0 §1.5.3."""
        return self.integer(4)

    def variable_byte_integer(self) -> int:
        """Take a Variable Byte Integer, which inside a packet is MQTT 5's and must be the shortest.

        Source: [MQTT-1.5.5-1].
        """
        found = decode_variable_byte_integer(self.data, self.at, self.end)
        if found is None:
            raise _beyond_the_end()
        value, size = found
        if not is_shortest(value, size):
            raise malformed("a Variable Byte Integer is longer than necessary, [MQTT-1.5.5-1]")
        self.at += size
        return value

    def binary(self) -> bytes:
        """Take Binary Data. Source: MQTT 5.0 §1.5.6."""
        return self.take(self.two_byte_integer())

    def string(self) -> str:
        """Take a UTF-8 Encoded String. Source: MQTT 5.0 §1.5.4."""
        return decode_text(self.binary())

    def string_pair(self) -> tuple[str, str]:
        """Take a UTF-8 String Pair. Source: MQTT 5.0 §1.5.7."""
        return self.string(), self.string()

    def section(self, size: int) -> Reader:
        """Take `size` bytes as a reader of their own."""
        start = self.at
        self.take(size)
        return Reader(self.data, start, self.at)

    def has_more(self) -> bool:
        """Tell whether anything is left."""
        return self.at < self.end

    def finish(self) -> None:
        """Say that the packet should end here; raises MalformedPacket when it does not."""
        if self.at < self.end:
            raise malformed(f"{self.end - self.at} bytes too many at the end of a packet")
