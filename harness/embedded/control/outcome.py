"""What an operation answers and what it may have changed: the contract between the application and its handlers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.embedded.control.messages import HttpResponse
    from harness.embedded.control.routing import ApiCall
    from harness.iot.registry import Credential

Touched = Mapping[str, frozenset[str] | None]
"""Registry table to the keys that may have changed; None for all keys."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks, and under which request id.

    Args:
        credential: None for an operation that goes unsigned.
        request_id: a UUID, the answer's ``x-amzn-RequestId``.
        host: the ``Host`` that was called.
    """

    credential: Credential | None
    request_id: str
    host: str

    @property
    def access_key_id(self) -> str | None:
        """The key the request was signed with."""
        return self.credential.access_key_id if self.credential else None

    @property
    def display(self) -> str:
        """Who it is, for the trace."""
        return self.credential.principal_arn if self.credential else "anonymous"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """An operation's answer and the registry records it may have changed."""

    result: Mapping[str, Any] | HttpResponse
    touched: Touched = field(default_factory=dict)


Handler = Callable[["ApiCall", Caller], Outcome]
"""Runs an operation that moto lacks or has no right answer to; raises `ApiError`."""

Guard = Callable[["ApiCall", Caller], "ApiCall | Outcome | None"]
"""Looks at a call before moto runs it: raises `ApiError`, returns another call to run instead, an answer, or None."""
