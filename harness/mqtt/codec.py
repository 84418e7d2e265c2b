"""Control packets out of a stream of bytes, and back.

A `Decoder` belongs to one direction of one connection. It finds where packets begin and end; what is in them is read by
`harness.mqtt.decoding` and written by `harness.mqtt.encoding`.

How bytes are kept: `receive_data` takes what the network gave, without a copy if it is ``bytes`` and all before it is
read. Packets are read in place, by index. Only when a packet is incomplete is its beginning cut off, and what follows
is collected until all of it is there: each byte is then copied a fixed number of times, however small the pieces.

Source: MQTT 5.0 §2.1, MQTT 3.1.1 §2.2.
"""

from __future__ import annotations

import re
from struct import unpack_from
from typing import TYPE_CHECKING, Final

from harness.errors import MalformedPacket, ProtocolError, ProtocolViolation
from harness.mqtt.decoding import BODY_DECODERS, decode_protocol_version
from harness.mqtt.encoding import encode, encode_publish_parts
from harness.mqtt.packets import PacketType, ProtocolVersion, ReasonCode
from harness.mqtt.wire import MAX_VARIABLE_BYTE_INTEGER, decode_variable_byte_integer, is_shortest, malformed

if TYPE_CHECKING:
    from harness.mqtt.packets import Packet

__all__ = ["MAX_PACKET_BYTES", "Decoder", "encode", "encode_publish_parts"]

MAX_PACKET_BYTES: Final = 1 + 4 + MAX_VARIABLE_BYTE_INTEGER  # first byte, Remaining Length, body

_CONNECT: Final = PacketType.CONNECT << 4
# PUBACKs of a success, as every subscriber of QoS 1 sends them, with packet identifiers other than zero.
_PUBACKS: Final = re.compile(rb"(?:\x40\x02(?!\x00\x00)[\x00-\xff]{2})+")


class Decoder:
    """Turns received bytes into packets.

    After an error there is no way to tell where the next packet begins: every further `next_packet` raises the same
    error, and received bytes are dropped.

    Args:
        version: what the connection speaks; None at a server, which learns it from the first packet, a CONNECT.
        max_packet_bytes: of the longest packet accepted, from its first byte on. As long as `next_packet` is called
            until it gives None, no more than this and what one `receive_data` brought is ever kept.

    Attributes:
        version: None until it is known. An error in CONNECT leaves it known if only its level was read.
    """

    __slots__ = ("_at", "_data", "_failure", "_max_packet_bytes", "_pending", "version")

    def __init__(self, *, version: ProtocolVersion | None = None, max_packet_bytes: int = MAX_PACKET_BYTES) -> None:
        self.version = version
        self._max_packet_bytes = max_packet_bytes
        self._data = b""
        self._at = 0  # index in _data of the first byte not read
        self._pending = bytearray()  # what came behind _data
        self._failure: ProtocolError | None = None

    def receive_data(self, data: bytes | bytearray | memoryview) -> None:
        """Take bytes from the network.

        Args:
            data: any number of bytes; may be reused by the caller afterwards.
        """
        if self._failure is not None:
            return
        if self._at == len(self._data) and not self._pending:
            self._data = bytes(data)
            self._at = 0
        else:
            self._pending += data

    def next_packet(self) -> Packet | None:
        """Give the next packet.

        Returns:
            None when more bytes are needed.

        Raises:
            MalformedPacket: bytes that are not MQTT.
            ProtocolViolation: a packet that is not allowed, or is too long (reason code 0x95).
        """
        data = self._data
        at = self._at
        try:
            # The common case first: a packet of up to 16,386 bytes, all of it there.
            available = len(data)
            if at + 1 < available and (length := data[at + 1]) < 0x80:
                start = at + 2
                end = start + length
            elif at + 2 < available and 0 < (high := data[at + 2]) < 0x80:
                start = at + 3
                end = start + (length & 0x7F | high << 7)
            else:
                start = end = available + 1
            if end > available:
                frame = self._find_frame()
                if frame is None:
                    return None
                data, at, start, end = frame
            version = self.version
            if version is None or end - at > self._max_packet_bytes:
                version = self._check_unusual(data, at, start, end)
            first = data[at]
            decode = BODY_DECODERS[first]
            if decode is None:
                raise _wrong_first_byte(first)
            packet = decode(data, start, end, first, version)
        except ProtocolError as error:
            self._failure = error
            self._data, self._at, self._pending = b"", 0, bytearray()
            raise
        self._at = end
        return packet

    def take_puback_ids(self) -> tuple[int, ...]:
        """Give the packet identifiers of PUBACKs that come next, in one go and without a packet for each.

        It is a short cut: what it does not take, because it says more than success or is not complete, `next_packet`
        gives.

        Returns:
            In the order received; empty when the next packet is no such PUBACK.

        Source: MQTT 5.0 §3.4.
        """
        run = _PUBACKS.match(self._data, self._at)
        if run is None or self.version is None:
            return ()
        self._at = run.end()
        identifiers: tuple[int, ...] = unpack_from(f">{(run.end() - run.start()) // 2}H", self._data, run.start())[1::2]
        return identifiers

    def _find_frame(self) -> tuple[bytes, int, int, int] | None:
        """Find the next packet, joining what came in pieces.

        Returns:
            The bytes it is in, the index of its first byte, of its body and of what follows; None when it is not all
            there.
        """
        if self._failure is not None:
            raise self._failure.with_traceback(None)
        if self._at == len(self._data) and not self._pending:
            self._data, self._at = b"", 0  # an idle connection keeps nothing
            return None
        while True:
            data, at = self._data, self._at
            body = self._read_fixed_header(data, at)
            if body is not None and body[1] <= len(data):
                return data, at, *body
            missing = 1 if body is None else body[1] - len(data)
            self._data, self._at = data[at:], 0
            if len(self._pending) < missing:
                return None
            self._data += self._pending
            self._pending = bytearray()

    def _read_fixed_header(self, data: bytes, at: int) -> tuple[int, int] | None:
        """Read where a body starts and ends; None when the header is not all there. Source: MQTT 5.0 §2.1.1."""
        if at == len(data):
            return None
        self._check_first_byte(data[at])
        length = decode_variable_byte_integer(data, at + 1, len(data))
        if length is None:
            return None
        value, size = length
        if self.version is ProtocolVersion.V5 and not is_shortest(value, size):
            raise _wasteful_length()
        start = at + 1 + size
        if start + value - at > self._max_packet_bytes:
            raise _too_long(start + value - at)
        return start, start + value

    def _check_unusual(self, data: bytes, at: int, start: int, end: int) -> ProtocolVersion:
        """Refuse a packet that is too long, or a first packet other than CONNECT; learn the version from that."""
        self._check_first_byte(data[at])
        if end - at > self._max_packet_bytes:
            raise _too_long(end - at)
        self.version = decode_protocol_version(data, start, end)
        if self.version is ProtocolVersion.V5 and not is_shortest(end - start, start - at - 1):
            raise _wasteful_length()
        return self.version

    def _check_first_byte(self, first: int) -> None:
        if BODY_DECODERS[first] is None:
            raise _wrong_first_byte(first)
        if self.version is None and first != _CONNECT:
            raise ProtocolViolation(
                ReasonCode.PROTOCOL_ERROR,
                f"the first packet is {PacketType(first >> 4).name}, not CONNECT, [MQTT-3.1.0-1]",
            )


def _wrong_first_byte(first: int) -> MalformedPacket:
    return malformed(
        f"no packet begins with 0x{first:02X}: type {first >> 4}, flags {first & 0x0F:04b}, [MQTT-2.1.3-1]"
    )


def _wasteful_length() -> MalformedPacket:
    return malformed("the Remaining Length is longer than necessary, [MQTT-1.5.5-1]")


def _too_long(size: int) -> ProtocolViolation:
    return ProtocolViolation(ReasonCode.PACKET_TOO_LARGE, f"a packet of {size} bytes, §3.1.2.11.4")
