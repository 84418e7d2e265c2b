"""A request as it comes in: its headers, and its body as far as somebody wants it.

It stands directly on ASGI. A body is read when it is asked for, and no further than is acceptable.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from receiver.confirmation import MESSAGE_TYPE, MESSAGE_TYPE_HEADER
from receiver.errors import BodyTooLarge, ClientGone, InvalidMessage
from receiver.messages import Told
from receiver.reading import is_message_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.types import Receive, Scope

MAX_BODY_BYTES: Final = 131_072
"""The longest message AWS IoT takes. Source: AWS General Reference, AWS IoT Core quotas, message size."""

BODY_SECONDS: Final = 3.0
"""For all of a body: no rule waits longer for its answer. Source: AWS IoT Developer Guide, HTTP action, timeout."""

_MAX_LENGTH_DIGITS: Final = 20


class Incoming:
    """One request.

    Args:
        scope: of ASGI.
        receive: of ASGI.
    """

    __slots__ = ("_headers", "_receive", "arrived_at")

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._receive = receive
        self.arrived_at = time.monotonic()
        """When its headers were whole; its body may come later."""
        self._headers: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            self._headers.setdefault(name, []).append(value)

    @property
    def is_confirmation(self) -> bool:
        """Whether AWS IoT asks for a destination's confirmation, as it says itself."""
        return self._headers.get(MESSAGE_TYPE_HEADER) == [MESSAGE_TYPE.encode()]

    @property
    def secrets(self) -> Sequence[bytes]:
        """Every copy of ``X-Iot-Secret``."""
        return self._headers.get(b"x-iot-secret", ())

    @property
    def accept(self) -> str:
        """What the client would like to read."""
        return self._headers.get(b"accept", [b""])[0].decode("latin-1")

    @property
    def has_declared_length(self) -> bool:
        """Whether anybody knows how much there is to come."""
        return b"content-length" in self._headers

    def told(self) -> Told:
        """Give what the rule tells of the message.

        Raises:
            InvalidMessage: a header is there twice, or is no text.
        """
        return Told(
            message_id=self._text(b"x-message-id"),
            received_at=self._text(b"x-received-at"),
            client_id=self._text(b"x-client-id"),
        )

    def message_id_for_log(self) -> str | None:
        """Give the message's id as the log may have it before anything is checked."""
        text = self._headers.get(b"x-message-id", [b""])[0].decode("latin-1")
        return text if is_message_id(text) else None

    def check_declared_length(self, max_bytes: int = MAX_BODY_BYTES) -> None:
        """Refuse a body by what is said of its length.

        Raises:
            BodyTooLarge: it is longer than this, or what is said is no length.
        """
        for value in self._headers.get(b"content-length", ()):
            if not value.isdigit() or len(value) > _MAX_LENGTH_DIGITS or int(value) > max_bytes:
                raise _too_large(max_bytes)

    async def read_body(self, max_bytes: int = MAX_BODY_BYTES) -> bytes:
        """Read the body to its end, or as far as it is acceptable.

        Raises:
            BodyTooLarge: there is more.
            ClientGone: it does not come to its end, or not in time.
        """
        body = bytearray()
        more = True
        try:
            async with asyncio.timeout(BODY_SECONDS):
                while more:
                    event = await self._receive()
                    if event["type"] != "http.request":
                        raise ClientGone("the body did not come to its end")
                    body += event.get("body", b"")
                    if len(body) > max_bytes:
                        raise _too_large(max_bytes)
                    more = event.get("more_body", False)
        except TimeoutError:
            raise ClientGone("the body took too long") from None
        return bytes(body)

    def _text(self, name: bytes) -> str:
        """Give a header's text; empty when it is absent, since a rule sends an empty one for what is not there."""
        values = self._headers.get(name)
        if values is None:
            return ""
        if len(values) > 1:
            raise InvalidMessage(f"{name.decode().title()} is there more than once")
        try:
            return values[0].decode("utf-8").strip(" \t")
        except UnicodeDecodeError:
            raise InvalidMessage(f"{name.decode().title()} is not UTF-8") from None


def _too_large(max_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(f"the body must have at most {max_bytes} bytes")
