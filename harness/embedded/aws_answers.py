"""What AWS's data endpoint answers over HTTP: status, headers and the JSON body with its ``traceId``.

Source: answers seen in public logs. 200 is ``{"message":"OK","traceId":"…"}``; failures carry ``x-amzn-ErrorType`` with
a colon at its end, and CORS headers, since browsers meet them too. A refusal by policy has ``"message":null``.
"""

from __future__ import annotations

import json
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from harness.embedded.http import HttpAnswer

if TYPE_CHECKING:
    from collections.abc import Mapping

_CORS: Final = (
    ("access-control-allow-origin", "*"),
    ("access-control-expose-headers", "x-amzn-ErrorMessage,x-amzn-RequestId,x-amzn-ErrorType,Date"),
)

_ERROR_TYPES: Final[Mapping[int, str]] = MappingProxyType(
    {
        400: "InvalidRequestException",
        401: "UnauthorizedException",
        403: "ForbiddenException",
        404: "ResourceNotFoundException",
        405: "MethodNotAllowedException",
        408: "RequestTimeoutException",
        413: "RequestEntityTooLargeException",
        426: "InvalidRequestException",
        500: "InternalFailureException",
    }
)


def published(trace_id: str) -> HttpAnswer:
    """Answer an HTTPS publish that went through."""
    return HttpAnswer(status=200, headers=_headers(trace_id), body=_body("OK", trace_id))


def failure(
    status: int,
    message: str | None,
    *,
    trace_id: str,
    must_close: bool = False,
    headers: tuple[tuple[str, str], ...] = (),
) -> HttpAnswer:
    """Answer a request that is not served.

    Args:
        status: 400 or more; one without a modelled error of its own gets that of 400.
        message: for people; None as AWS answers what a policy denies.
        trace_id: a UUID, also sent as request id.
        must_close: whether the connection ends with this answer.
        headers: further ones.
    """
    error_type = _ERROR_TYPES.get(status, _ERROR_TYPES[400])
    return HttpAnswer(
        status=status,
        headers=(*_headers(trace_id), ("x-amzn-ErrorType", f"{error_type}:"), *_CORS, *headers),
        body=_body(message, trace_id),
        must_close=must_close,
    )


def _headers(trace_id: str) -> tuple[tuple[str, str], ...]:
    return (("content-type", "application/json"), ("x-amzn-RequestId", trace_id))


def _body(message: str | None, trace_id: str) -> bytes:
    return json.dumps({"message": message, "traceId": trace_id}, separators=(",", ":")).encode()
