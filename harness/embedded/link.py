"""The private line between the control plane and the broker process: framing only.

Each message is one JSON object in UTF-8 behind its length, four bytes, big-endian. Requests go from the control plane
to the broker and carry an ``id`` and an ``op``; every request gets exactly one answer with the same ``id``, in any
order, since some wait:

    {"id": 7, "op": "registry", "change": {...}}        {"id": 7, "ok": true, "version": 12}
    {"id": 8, "op": "faults_set", "fault": {...}}       {"id": 8, "ok": false, "error": {"code": "...", "message":
    "..."}}

The broker asks in turn, with a number of its own, for what rules need of AWS; answers look the same:

    {"ask": 3, "op": "aws_call", "service": "sqs", ...}  {"ask": 3, "ok": true, "result": {...}}

No sockets here: the broker reads with asyncio, the control plane with a thread
(`harness.embedded.control.broker_link`).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from harness.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Mapping

HEADER_BYTES: Final = 4
MAX_FRAME_BYTES: Final = 64 * 1024 * 1024
"""Longest body either side accepts: far above a snapshot of ten thousand things."""

_SEPARATORS: Final = (",", ":")


class LinkError(HarnessError):
    """The line between the control plane and the broker is gone, or carries something else than frames."""


def encode_frame(message: Mapping[str, Any]) -> bytes:
    """Return one message as it goes over the line.

    Args:
        message: what `json.dumps` takes.

    Raises:
        LinkError: the message is longer than `MAX_FRAME_BYTES`.
    """
    body = json.dumps(message, separators=_SEPARATORS, ensure_ascii=False).encode("utf-8", "surrogatepass")
    if len(body) > MAX_FRAME_BYTES:
        raise LinkError(f"a message of {len(body)} bytes is longer than {MAX_FRAME_BYTES}")
    return len(body).to_bytes(HEADER_BYTES, "big") + body


class FrameDecoder:
    """Cuts a stream of bytes into messages, however the bytes arrive.

    Holds at most one unfinished message; a longer one than `MAX_FRAME_BYTES` is refused by its length, before it is
    buffered.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()

    def receive_data(self, data: bytes) -> list[dict[str, Any]]:
        """Take bytes and return the messages they complete, in order.

        Raises:
            LinkError: a frame is too long, or its body is no JSON object.
        """
        buffer = self._buffer
        buffer += data
        messages: list[dict[str, Any]] = []
        start = 0
        while len(buffer) - start >= HEADER_BYTES:
            size = int.from_bytes(buffer[start : start + HEADER_BYTES], "big")
            if size > MAX_FRAME_BYTES:
                raise LinkError(f"a frame of {size} bytes is longer than {MAX_FRAME_BYTES}")
            end = start + HEADER_BYTES + size
            if len(buffer) < end:
                break
            messages.append(_decode(bytes(buffer[start + HEADER_BYTES : end])))
            start = end
        del buffer[:start]
        return messages


def _decode(body: bytes) -> dict[str, Any]:
    try:
        message = json.loads(body.decode("utf-8", "surrogatepass"))
    except ValueError as error:
        raise LinkError(f"a frame is not JSON: {error}") from None
    if not isinstance(message, dict):
        raise LinkError(f"a frame is a JSON {type(message).__name__}, not an object")
    return message
