"""When an HTTP action tries again: a state machine without I/O, time passed in.

    next_timeout ──► (the shell posts) ──► answered, or failed ──► Succeeded | TryAgain(after) | GivenUp(failure)
         ▲                                                                          │
         └──────────────────────────────────────────────────────────────────────────┘

One request has 3 seconds and three tries together. A try is repeated after status 429 or 5xx, and when no answer came
because the name could not be resolved, the connection not made, or lost. It is not repeated after any other status, an
answer of more than 16,384 bytes, a connection that the server closed after its answer, a certificate that is not
trusted, or when the time is over.

Source: https-rule-action in the AWS IoT developer guide.
Differs: how long AWS waits between tries is not documented: 100, then 300 milliseconds here. That connection errors are
tried again, and that success is 2xx, is inferred. For a certificate that is not trusted and for a connection that
could not be made, no metric is named; they count as ``Failure``.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from harness.iot.rules.http_action import CANNOT_REQUEST, FAILED_ACTION, ActionFailed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.iot.rules.http_action import HttpRequest

BUDGET_SECONDS: Final = 3.0
MAX_TRIES: Final = 3
MAX_ANSWER_BYTES: Final = 16_384
WAITS_SECONDS: Final = (0.1, 0.3)
"""Before the second and the third try."""
_LONGEST_REASON: Final = 200

FailureKind: TypeAlias = Literal["connect", "timeout", "lost", "tls", "name"]

_METRICS: Final[Mapping[FailureKind, str]] = {
    "connect": "Failure",
    "timeout": "HttpRequestTimeout",
    "lost": "Failure",
    "tls": "Failure",
    "name": "HttpUnknownHost",
}
_FINAL_KINDS: Final = ("timeout", "tls")


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The endpoint took the message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TryAgain:
    """Post the same request once more, ``after`` seconds from now."""

    after: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenUp:
    """No further try; ``failure`` is for the error action."""

    failure: ActionFailed


Step: TypeAlias = Succeeded | TryAgain | GivenUp


class HttpTries:
    """The tries of one request.

    Args:
        request: what is posted.
        started_at: when the first try may begin; seconds of a monotonic clock, as every ``now``.

    Attributes:
        tries: how many have ended.
    """

    __slots__ = ("_deadline", "_request", "tries")

    def __init__(self, request: HttpRequest, *, started_at: float) -> None:
        self._request = request
        self._deadline = started_at + BUDGET_SECONDS
        self.tries = 0

    def next_timeout(self, now: float) -> float:
        """Return how many seconds a try that begins now may take; 0 when the time is over."""
        return max(0.0, self._deadline - now)

    def answered(
        self,
        status: int,
        reason: str,
        body_bytes: int,
        connection_closed: bool,  # noqa: FBT001 - one of the five facts of an answer, in the order they are told
        now: float,
    ) -> Step:
        """Take note of an answer.

        Args:
            status: of the answer.
            reason: the phrase beside it; may be empty.
            body_bytes: how long the answer's body is; whoever reads it may stop after 16,385.
            connection_closed: whether the server closed the connection after its answer.
            now: when the answer was complete.
        """
        self.tries += 1
        if 200 <= status < 300:
            return Succeeded()
        said = f"StatusCode: {status}. Reason: {reason[:_LONGEST_REASON] or _phrase(status)}."
        may_repeat = (status == 429 or 500 <= status < 600) and body_bytes <= MAX_ANSWER_BYTES and not connection_closed
        return self._go_on(said, _metric(status), may_repeat=may_repeat, now=now)

    def failed(self, kind: FailureKind, message: str, now: float) -> Step:
        """Take note of a try without an answer.

        Args:
            kind: ``name``: the host has no address; ``connect``: no connection; ``tls``: no trust; ``lost``: the
                connection ended before the answer; ``timeout``: the time was over.
            message: what happened, a sentence without its full stop.
            now: when it happened.
        """
        self.tries += 1
        return self._go_on(f"{message}.", _METRICS[kind], may_repeat=kind not in _FINAL_KINDS, now=now)

    def _go_on(self, said: str, metric: str, *, may_repeat: bool, now: float) -> Step:
        if may_repeat and self.tries < MAX_TRIES:
            after = WAITS_SECONDS[self.tries - 1]
            if now + after < self._deadline:
                return TryAgain(after=after)
        return GivenUp(
            failure=ActionFailed(
                action=FAILED_ACTION, resource=self._request.url, message=f"{CANNOT_REQUEST} {said}", metric=metric
            )
        )


def _metric(status: int) -> str:
    return f"HttpCode_{status // 100}XX" if 400 <= status < 600 else "HttpCode_Other"


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
