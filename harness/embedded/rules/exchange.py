"""One HTTP request and what came of it: what the runner of actions knows of its client."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.iot.rules import HttpRequest

NoAnswerKind = Literal["connect", "timeout", "lost", "tls", "name", "unsendable"]


KEPT_ANSWER_BYTES: Final = 2048
"""How much of a body is kept: of a refusal, the trace quotes the beginning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The receiver answered.

    Attributes:
        status: of the answer.
        reason: the phrase behind the status, in part when it is long.
        body_bytes: length of the body; `harness.iot.rules.MAX_ANSWER_BYTES` + 1 stands for anything longer.
        beginning: of the body, at most `KEPT_ANSWER_BYTES`.
        is_connection_closed: asks whether the receiver has closed the connection, or said that it does; it may do so
            some time after its answer.
    """

    status: int
    reason: str
    body_bytes: int
    is_connection_closed: Callable[[], bool]
    beginning: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoAnswer:
    """There was no answer.

    Attributes:
        kind: ``unsendable`` when the request cannot be written as HTTP, so that nobody was asked.
        message: for people; no header and no query in it.
    """

    kind: NoAnswerKind
    message: str


class Poster(Protocol):
    """Sends HTTP requests."""

    async def ready(self) -> None:
        """Return once a request would go out at once."""
        ...

    async def post(self, request: HttpRequest, *, within: float) -> Answer | NoAnswer:
        """Send one request, once.

        Args:
            request: method POST.
            within: seconds until it is given up, answer included.
        """
        ...

    async def aclose(self) -> None:
        """Drop all connections."""
        ...
