"""One HTTP request and one answer, as values; and the error an AWS service answers with."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Final

from harness.errors import HarnessError

Headers = tuple[tuple[str, str], ...]

_ONLY_ONCE: Final = frozenset(
    {
        "authorization",
        "content-length",
        "content-type",
        "host",
        "origin",
        "x-amz-date",
        "x-amz-security-token",
        "x-amz-tagging",
        "x-amz-target",
        "x-amzn-iot-principal",
        "x-amzn-principal",
    }
)
"""Headers two readers could understand differently when they come twice."""


class ApiError(HarnessError):
    """What a service answers instead of a result.

    Args:
        code: the error's name as the service model spells it, for example ``ResourceNotFoundException``.
        message: what AWS says, and why where AWS would not.
        status: the HTTP status.
    """

    def __init__(self, code: str, message: str, *, status: int = 400) -> None:
        self.code = code
        self.message = message
        self.status = status
        super().__init__(f"{code} ({status}): {message}")


def not_served(what: str) -> ApiError:
    """Return the error for something this stand-in knows and does not do: 501, by name."""
    return ApiError("NotImplemented", f"{what} is not served yet", status=501)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """A request as it arrived.

    Args:
        method: ``GET``, ``POST``, …
        path: raw, still percent-encoded, from the first slash to the question mark.
        query: raw, without the question mark.
        headers: in order, names as sent.
        body: all of it.
        remote: the peer's address.
    """

    method: str
    path: str
    query: str = ""
    headers: Headers = ()
    body: bytes = field(default=b"", repr=False)
    remote: str = ""

    def header(self, name: str) -> str | None:
        """Return a header's value, the last one if it came more than once; None when it did not come."""
        return _last(self.headers, name)

    def repeated_header(self) -> str | None:
        """Return a header that came twice and must not, or None."""
        seen: set[str] = set()
        for key, _ in self.headers:
            name = key.lower()
            if name in seen and name in _ONLY_ONCE:
                return name
            seen.add(name)
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpResponse:
    """An answer, without the headers the server adds (date, length, request id)."""

    status: int
    headers: Headers = ()
    body: bytes = field(default=b"", repr=False)

    def header(self, name: str) -> str | None:
        """Return a header's value, or None."""
        return _last(self.headers, name)


def _last(headers: Headers, name: str) -> str | None:
    wanted = name.lower()
    return next((value for key, value in reversed(headers) if key.lower() == wanted), None)


def json_response(value: Any, *, status: int = 200, content_type: str = "application/json") -> HttpResponse:
    """Return an answer whose body is JSON."""
    body = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")
    return HttpResponse(status=status, headers=(("content-type", content_type),), body=body)
