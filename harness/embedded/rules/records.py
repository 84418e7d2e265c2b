"""What rules leave in the trace: values as they happen, made into records when somebody reads.

No record holds a header, a body or the query of a URL that a rule sent: that is where secrets are. Of what a receiver
answered when it refused, the beginning is quoted, without any header value it may have repeated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The message that a record is about; all records of a message share one.

    Attributes:
        client_id: who published it, None when it did not come over MQTT.
    """

    client_id: str | None
    topic: str
    message_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleRecord:
    """What happened to a message in a rule.

    Attributes:
        rule: its name.
    """

    kind: ClassVar[str]
    subject: Subject
    rule: str

    @property
    def held_bytes(self) -> int:
        """What it keeps in memory beyond itself, about."""
        return 0

    def detail(self) -> Mapping[str, Any]:
        """Return what there is to say besides the rule's name."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleOutcome(RuleRecord):
    """What came of the rule's statement; ``throttled`` when it was not evaluated, since too much waits."""

    kind: ClassVar[str] = "rule"
    outcome: Literal["matched", "not_matched", "failed", "throttled"]
    because: str

    @property
    def held_bytes(self) -> int:
        """The reason quotes the message."""
        return len(self.because)

    def detail(self) -> Mapping[str, Any]:
        """Return outcome and reason."""
        return {"outcome": self.outcome, "because": self.because}


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpTry(RuleRecord):
    """One request of an HTTP action.

    Attributes:
        number: counted from 1.
        url: without its query.
        status: of the answer, None without one.
        error: why there was no answer, None when there was one.
        milliseconds: from the beginning of this try to its end.
        again: whether another try follows.
        answer: the beginning of the body of a refusal; None otherwise.
    """

    kind: ClassVar[str] = "http_try"
    number: int
    url: str
    status: int | None
    error: str | None
    milliseconds: float
    again: bool
    answer: str | None = None

    @property
    def held_bytes(self) -> int:
        """The URL may be made of the message."""
        return len(self.url) + len(self.error or "") + len(self.answer or "")

    def detail(self) -> Mapping[str, Any]:
        """Return everything about the try."""
        return {
            "number": self.number,
            "url": self.url,
            "status": self.status,
            "error": self.error,
            "milliseconds": self.milliseconds,
            "again": self.again,
            "answer": self.answer,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionOutcome(RuleRecord):
    """The end of an action.

    Attributes:
        action: its name in CreateTopicRule.
        tries: how many requests it took; 0 when it failed before the first.
    """

    kind: ClassVar[str] = "action"
    action: str
    outcome: Literal["ok", "failed"]
    because: str
    tries: int

    @property
    def held_bytes(self) -> int:
        """The reason may quote the receiver."""
        return len(self.because)

    def detail(self) -> Mapping[str, Any]:
        """Return name, outcome, reason and number of tries."""
        return {"action": self.action, "outcome": self.outcome, "because": self.because, "tries": self.tries}


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorActionOutcome(RuleRecord):
    """The end of a rule's error action."""

    kind: ClassVar[str] = "error_action"
    action: str
    outcome: Literal["ok", "failed"]
    because: str

    @property
    def held_bytes(self) -> int:
        """The reason may quote the control plane."""
        return len(self.because)

    def detail(self) -> Mapping[str, Any]:
        """Return name, outcome and reason."""
        return {"action": self.action, "outcome": self.outcome, "because": self.because}


def without_query(url: str) -> str:
    """Return a URL as the trace shows it: neither query nor fragment."""
    return url.partition("#")[0].partition("?")[0]
