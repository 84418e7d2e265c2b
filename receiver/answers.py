"""What the application answers, and how an error becomes an answer, a count and a line of the log."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from receiver.errors import (
    BodyTooLarge,
    ClientGone,
    ForeignDevice,
    InvalidMessage,
    MessageRefused,
    NotConfirmed,
    TooManyAtOnce,
    UntrustedUrl,
    WriteFailed,
    WrongSecret,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import Send

    from receiver.metrics import ConfirmationOutcome, RequestOutcome

REFUSALS: Final[Mapping[type[Exception], tuple[RequestOutcome, int]]] = {
    WrongSecret: ("wrong_secret", 403),
    BodyTooLarge: ("too_large", 413),
    ClientGone: ("abandoned", 408),
    InvalidMessage: ("invalid", 422),
    ForeignDevice: ("foreign_device", 403),
    WriteFailed: ("write_failed", 503),
}
"""What becomes of a message or a batch."""

CONFIRMATION_REFUSALS: Final[Mapping[type[Exception], tuple[ConfirmationOutcome, int]]] = {
    BodyTooLarge: ("too_large", 413),
    ClientGone: ("abandoned", 408),
    InvalidMessage: ("invalid", 422),
    UntrustedUrl: ("untrusted", 403),
    NotConfirmed: ("not_confirmed", 502),
    TooManyAtOnce: ("busy", 503),
}
"""What becomes of a confirmation."""

_JSON: Final = (b"content-type", b"application/json")
_CLOSE: Final = (b"connection", b"close")
_LATER: Final = (b"retry-after", b"1")


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, ready to be sent."""

    status: int
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = (_JSON,)

    async def send(self, send: Send) -> None:
        """Send it."""
        length = (b"content-length", b"%d" % len(self.body))
        await send({"type": "http.response.start", "status": self.status, "headers": [length, *self.headers]})
        await send({"type": "http.response.body", "body": self.body})


def answer(content: Mapping[str, Any], status: int = 200) -> Answer:
    """Answer with JSON."""
    headers = (_JSON, _LATER) if status == 503 else (_JSON,)
    return Answer(status, json.dumps(content, separators=(",", ":")).encode(), headers)


def refuse(error: Exception, status: int, *, is_length_known: bool) -> Answer:
    """Answer with what is wrong.

    Args:
        error: one of the tables' keys.
        status: as the table has it.
        is_length_known: whether the request says how long it is. A connection on which more may come than anybody wants
            to read is closed; every other one stays open, so that a rule tries again on it.
    """
    content: dict[str, Any] = {"detail": str(error)}
    if isinstance(error, WriteFailed):
        content["detail"] = f"not known to be written ({error.code})"
    if isinstance(error, MessageRefused) and error.element is not None:
        content["element"] = error.element
    made = answer(content, status)
    if is_length_known and not isinstance(error, BodyTooLarge | ClientGone):
        return made
    return Answer(made.status, made.body, (*made.headers, _CLOSE))


def fail() -> Answer:
    """Answer that the fault is here."""
    return answer({"detail": "something went wrong here; the log says what"}, 500)
