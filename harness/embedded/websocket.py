"""The server's side of RFC 6455, as far as MQTT needs it: bytes in, bytes out, no sockets.

`answer_upgrade` checks the opening handshake. `WebSocket` then turns what a client sends into MQTT bytes and wraps what
the broker sends. MQTT does not care where frames end ([MQTT-6.0.0-2]), so payloads of fragments are passed on as they
come and nothing is put together: the only bound needed is that of a single frame. Extensions (permessage-deflate) are
not negotiated, as on AWS.

Life of a `WebSocket`: open until either side's Close frame; after that everything received is ignored (RFC 6455 §5.5.1,
§7.1.7).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import TYPE_CHECKING, Final

from harness.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Iterable

SUBPROTOCOL: Final = "mqtt"
"""The only subprotocol spoken: MQTT 3.1's `mqttv3.1` is another one. Source: [MQTT-6.0.0-3]."""

MAX_FRAME_BYTES: Final = 1 << 20
"""Longest payload of one frame taken from a client; several MQTT packets of AWS's 146 KB may share one."""

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 §1.3

_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
_FIN: Final = 0x80
_RESERVED_BITS: Final = 0x70
_MASKED: Final = 0x80
_CONTROL: Final = 0x08
_MAX_CONTROL_BYTES: Final = 125

PROTOCOL_ERROR: Final = 1002
UNSUPPORTED_DATA: Final = 1003
INVALID_PAYLOAD: Final = 1007
MESSAGE_TOO_BIG: Final = 1009

_SENDABLE_CLOSE_CODES: Final = frozenset({1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014})


class UpgradeError(HarnessError):
    """An opening handshake is not one we can answer.

    Args:
        status: the HTTP status to answer with, 400 or 426.
        reason: what was wrong with it.
    """

    def __init__(self, status: int, reason: str) -> None:
        self.status = status
        self.reason = reason
        super().__init__(reason)


def answer_upgrade(method: str, http_version: str, headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Check an opening handshake and make the headers of the answer 101.

    Args:
        method: as in the request line.
        http_version: ``"1.1"`` or ``"1.0"``.
        headers: (name, value) as received; names in any case, repeated names allowed.

    Returns:
        The headers of ``101 Switching Protocols``.

    Raises:
        UpgradeError: the request is no WebSocket handshake, of another version, or does not offer ``mqtt``.

    Source: RFC 6455 §4.2.1, §4.2.2; [MQTT-6.0.0-3], [MQTT-6.0.0-4]. Subprotocol names are compared as they are.
    """
    values: dict[str, list[str]] = {}
    for name, value in headers:
        values.setdefault(name.lower(), []).append(value)
    if method != "GET" or http_version != "1.1":
        raise UpgradeError(400, "a WebSocket handshake is a GET of HTTP/1.1")
    if "host" not in values:
        raise UpgradeError(400, "the Host header is missing")
    if "websocket" not in _tokens(values.get("upgrade", ()), lower=True):
        raise UpgradeError(426, "the Upgrade header does not say websocket")
    if "upgrade" not in _tokens(values.get("connection", ()), lower=True):
        raise UpgradeError(400, "the Connection header does not say Upgrade")
    if values.get("sec-websocket-version") != ["13"]:
        raise UpgradeError(426, "only Sec-WebSocket-Version 13 is spoken")
    keys = values.get("sec-websocket-key", [])
    if len(keys) != 1 or not _is_key(keys[0]):
        raise UpgradeError(400, "Sec-WebSocket-Key is not the base64 form of 16 bytes")
    if SUBPROTOCOL not in _tokens(values.get("sec-websocket-protocol", ()), lower=False):
        raise UpgradeError(400, f"Sec-WebSocket-Protocol does not offer {SUBPROTOCOL}")
    return [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Accept", accept_value(keys[0])),
        ("Sec-WebSocket-Protocol", SUBPROTOCOL),
    ]


def accept_value(key: str) -> str:
    """Return the Sec-WebSocket-Accept value for a Sec-WebSocket-Key. Source: RFC 6455 §4.2.2, step 5.4."""
    # SHA-1 is what the protocol asks for: it proves that the peer read the key and protects nothing.
    digest = hashlib.sha1(key.strip().encode() + _GUID, usedforsecurity=False).digest()
    return base64.b64encode(digest).decode()


def unmask(mask: bytes, data: bytes) -> bytes:
    """Apply a masking key to a payload, either way. Source: RFC 6455 §5.3.

    One XOR of two big integers: about a hundred times as fast as a loop over the bytes.
    """
    size = len(data)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "little") ^ int.from_bytes(key, "little")).to_bytes(size, "little")


def frame(payload: bytes) -> bytes:
    """Wrap MQTT bytes, any number of packets, into one binary frame.

    Source: RFC 6455 §5.2; a server does not mask (§5.1).
    """
    size = len(payload)
    if size < 126:
        return bytes((_FIN | _BINARY, size)) + payload
    if size < 65_536:
        return b"\x82\x7e" + size.to_bytes(2, "big") + payload
    return b"\x82\x7f" + size.to_bytes(8, "big") + payload


class WebSocket:
    """One connection after its opening handshake.

    Args:
        max_frame_bytes: a frame that announces a longer payload ends the connection with 1009.

    Attributes:
        is_closed: a Close frame was received or is to be sent; nothing more is read or wrapped.
        is_closed_by_client: the client's Close frame came first: for AWS a client-initiated disconnect, without a will.
        because: why this side closed; None while it did not.
    """

    __slots__ = (
        "_buffer",
        "_control",
        "_in_message",
        "_max_frame_bytes",
        "_needed",
        "because",
        "is_closed",
        "is_closed_by_client",
    )

    def __init__(self, *, max_frame_bytes: int = MAX_FRAME_BYTES) -> None:
        self._max_frame_bytes = max_frame_bytes
        self._buffer = bytearray()
        self._needed = 0  # bytes the buffer must hold before looking at it again is worth while
        self._in_message = False
        self._control = b""
        self.is_closed = False
        self.is_closed_by_client = False
        self.because: str | None = None

    def receive_data(self, data: bytes) -> bytes:
        """Take bytes off the wire.

        Args:
            data: as received; frames may be split and joined anywhere.

        Returns:
            The MQTT bytes they carry, perhaps none. Look at `data_to_send` and `is_closed` afterwards.
        """
        if self.is_closed:
            return b""
        if (
            len(data) > 6
            and data[0] == _FIN | _BINARY
            and _MASKED < data[1] == len(data) - 6 + _MASKED < _MASKED + 126
            and not self._buffer
            and not self._in_message
        ):
            return unmask(data[2:6], data[6:])  # one short frame and nothing else: what most reads bring
        if self._buffer:
            self._buffer += data
            if len(self._buffer) < self._needed:
                return b""
            data = bytes(self._buffer)
            self._buffer.clear()
        payloads: list[bytes] = []
        position = 0
        try:
            while not self.is_closed and (after := self._take_frame(data, position, payloads)) is not None:
                position = after
        except _Breach as breach:
            self.close(breach.code, breach.because)
        if not self.is_closed:
            self._buffer += data[position:] if position else data
        return payloads[0] if len(payloads) == 1 else b"".join(payloads)

    def data_to_send(self) -> bytes:
        """Return the control frames to send now (a pong, a Close), and forget them."""
        data, self._control = self._control, b""
        return data

    def close(self, code: int | None = None, because: str | None = None) -> None:
        """Start the closing handshake from this side; a no-op on a closed connection.

        Args:
            code: why, to the client; None for a Close frame without a code (seen as 1005), as AWS sends it.
            because: why, to ourselves.

        Source: RFC 6455 §7.1.2; aws-sdk-ios#764.
        """
        if not self.is_closed:
            self.is_closed = True
            self.because = because
            self._control += _control_frame(_CLOSE, b"" if code is None else code.to_bytes(2, "big"))

    def _take_frame(self, data: bytes, start: int, payloads: list[bytes]) -> int | None:
        """Read one frame; return where the next one starts, or None when bytes are missing."""
        have = len(data) - start
        if have < 2:
            self._needed = 2
            return None
        first = data[start]
        self._check_start(first, data[start + 1])
        length = data[start + 1] & 0x7F
        at = start + 2
        if length >= 126:
            width = 2 if length == 126 else 8
            if have < 2 + width:
                self._needed = 2 + width
                return None
            length = int.from_bytes(data[at : at + width], "big")
            at += width
            if length < (126 if width == 2 else 65_536):
                raise _Breach(PROTOCOL_ERROR, "the length of a frame is not in its shortest form")  # RFC 6455 §5.2
            if length > self._max_frame_bytes:
                raise _Breach(MESSAGE_TOO_BIG, f"a frame of {length} bytes is longer than {self._max_frame_bytes}")
        end = at + 4 + length
        if end > len(data):
            self._needed = end - start
            return None
        payload = unmask(data[at : at + 4], data[at + 4 : end]) if length else b""
        if first & _CONTROL:
            self._take_control(first & 0x0F, payload)
        else:
            self._in_message = not first & _FIN
            payloads.append(payload)
        return end

    def _check_start(self, first: int, second: int) -> None:
        """Check the first two bytes of a frame. Source: RFC 6455 §5.1, §5.2, §5.4, §5.5."""
        opcode = first & 0x0F
        if first & _RESERVED_BITS:
            raise _Breach(PROTOCOL_ERROR, "a frame has reserved bits set")
        if not second & _MASKED:
            raise _Breach(PROTOCOL_ERROR, "a frame is not masked")
        if opcode in {_CLOSE, _PING, _PONG}:
            if not first & _FIN or second & 0x7F > _MAX_CONTROL_BYTES:
                raise _Breach(PROTOCOL_ERROR, "a control frame is fragmented or longer than 125 bytes")
        elif opcode == _CONTINUATION:
            if not self._in_message:
                raise _Breach(PROTOCOL_ERROR, "a continuation frame continues nothing")
        elif self._in_message:
            raise _Breach(PROTOCOL_ERROR, "a message starts inside another one")
        elif opcode == _TEXT:
            raise _Breach(UNSUPPORTED_DATA, "MQTT does not travel in text frames")  # [MQTT-6.0.0-1]
        elif opcode != _BINARY:
            raise _Breach(PROTOCOL_ERROR, f"opcode 0x{opcode:X} is reserved")

    def _take_control(self, opcode: int, payload: bytes) -> None:
        if opcode == _PING:
            # A later ping replaces an unanswered one: RFC 6455 §5.5.3.
            self._control = _control_frame(_PONG, payload)
        elif opcode == _CLOSE:
            _check_close(payload)
            self.is_closed = True
            self.is_closed_by_client = True
            self._control += _control_frame(_CLOSE, payload[:2])


class _Breach(Exception):  # noqa: N818 - never leaves this module
    """The client broke RFC 6455: the close code to answer with, and why."""

    def __init__(self, code: int, because: str) -> None:
        self.code = code
        self.because = because
        super().__init__(because)


def _check_close(payload: bytes) -> None:
    """Check the body of a Close frame. Source: RFC 6455 §5.5.1, §7.4."""
    if not payload:
        return
    code = int.from_bytes(payload[:2], "big")
    if len(payload) == 1 or not (code in _SENDABLE_CLOSE_CODES or 3000 <= code < 5000):
        raise _Breach(PROTOCOL_ERROR, "a Close frame has no valid code")
    try:
        payload[2:].decode()
    except UnicodeDecodeError:
        raise _Breach(INVALID_PAYLOAD, "the reason of a Close frame is not UTF-8") from None


def _control_frame(opcode: int, payload: bytes) -> bytes:
    return bytes((_FIN | opcode, len(payload))) + payload


def _tokens(values: Iterable[str], *, lower: bool) -> set[str]:
    """Split comma-separated header values; repeated headers count as one list (RFC 9110 §5.3)."""
    tokens = {token.strip() for value in values for token in value.split(",")}
    return {token.lower() for token in tokens} if lower else tokens


def _is_key(key: str) -> bool:
    try:
        return len(base64.b64decode(key.strip(), validate=True)) == 16
    except (binascii.Error, ValueError):
        return False
