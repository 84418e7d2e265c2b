"""How results and errors look on the wire, per protocol, and the headers browsers ask for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final
from xml.sax.saxutils import escape

from harness.embedded.control.messages import ApiError, Headers, HttpResponse, json_response

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.embedded.control.messages import HttpRequest

_JSON_TYPE: Final = "application/x-amz-json-1.1"
_NO_XML: Final = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_XML_NAMESPACES: Final = {
    "iam": "https://iam.amazonaws.com/doc/2010-05-08/",
    "sts": "https://sts.amazonaws.com/doc/2011-06-15/",
}
_ERROR_PREFIXES: Final = {
    "dynamodb": "com.amazonaws.dynamodb.v20120810#",
    "sqs": "com.amazonaws.sqs#",
}
_DIALECTS: Final = {
    "cognito-identity": "json",
    "cognito-idp": "json",
    "dynamodb": "json",
    "sqs": "json",
    "iam": "query",
    "sts": "query",
}

EXPOSED_HEADERS: Final = "x-amzn-RequestId,x-amzn-ErrorType,x-amzn-ErrorMessage,Date"
_PREFLIGHT_SECONDS: Final = "172800"


def dialect_of(service: str | None, request: HttpRequest) -> str:
    """Return the protocol to answer in: by service, or where that is not known by the request's looks."""
    if service is not None:
        return _DIALECTS.get(service, "rest-json")
    if request.header("x-amz-target") is not None:
        return "json"
    is_form = (request.header("content-type") or "").startswith("application/x-www-form-urlencoded")
    return "query" if is_form else "rest-json"


def encode_result(service: str, result: Mapping[str, Any]) -> HttpResponse:
    """Return the answer of an operation of a JSON service, member by member as the model spells them."""
    return json_response(result, content_type=_JSON_TYPE if service in _DIALECTS else "application/json")


def encode_xml_result(service: str, operation: str, inner: str, *, request_id: str) -> HttpResponse:
    """Return the answer of an operation of a query service.

    Args:
        service: ``iam`` or ``sts``.
        operation: for example ``GetCallerIdentity``.
        inner: the result's members as XML, escaped.
        request_id: as in the header.
    """
    text = (
        f'<{operation}Response xmlns="{_XML_NAMESPACES[service]}"><{operation}Result>{inner}</{operation}Result>'
        f"<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></{operation}Response>"
    )
    return HttpResponse(status=200, headers=(("content-type", "text/xml"),), body=text.encode("utf-8"))


def xml_elements(members: Mapping[str, str]) -> str:
    """Return members as XML elements, escaped, in order; characters that XML does not have become question marks."""
    return "".join(f"<{name}>{escape(_NO_XML.sub('?', value))}</{name}>" for name, value in members.items())


def encode_error(error: ApiError, *, service: str | None, request: HttpRequest, request_id: str) -> HttpResponse:
    """Return an error as the service's clients expect it."""
    dialect = dialect_of(service, request)
    if dialect == "query":
        kind = "Sender" if error.status < 500 or error.status == 501 else "Receiver"
        inner = xml_elements({"Type": kind, "Code": error.code, "Message": error.message})
        namespace = _XML_NAMESPACES.get(service or "sts", _XML_NAMESPACES["sts"])
        error_xml = f"<Error>{inner}</Error><RequestId>{request_id}</RequestId>"
        text = f'<ErrorResponse xmlns="{namespace}">{error_xml}</ErrorResponse>'
        return HttpResponse(
            status=error.status, headers=(("content-type", "text/xml"),), body=text.encode("utf-8", "replace")
        )
    if service == "iot-data":
        response = json_response({"message": error.message, "traceId": request_id}, status=error.status)
        return HttpResponse(
            status=response.status,
            headers=(*response.headers, ("x-amzn-ErrorType", f"{error.code}:")),
            body=response.body,
        )
    if dialect == "json":
        body = {"__type": _ERROR_PREFIXES.get(service or "", "") + error.code, "message": error.message}
        response = json_response(body, status=error.status, content_type=_JSON_TYPE)
    else:
        response = json_response({"message": error.message}, status=error.status)
    return HttpResponse(
        status=response.status, headers=(*response.headers, ("x-amzn-ErrorType", error.code)), body=response.body
    )


def preflight(request: HttpRequest) -> HttpResponse:
    """Return the answer to a browser that asks whether it may call.

    Source: answers of cognito-identity to ``OPTIONS``: any origin, the headers asked for, two days.
    """
    headers: Headers = (
        ("access-control-allow-origin", "*"),
        ("access-control-allow-methods", request.header("access-control-request-method") or "POST"),
        ("access-control-allow-headers", request.header("access-control-request-headers") or "*"),
        ("access-control-expose-headers", EXPOSED_HEADERS),
        ("access-control-max-age", _PREFLIGHT_SECONDS),
    )
    clean = tuple((name, value) for name, value in headers if value.isprintable())
    return HttpResponse(status=200, headers=clean)


def cors_headers(request: HttpRequest, service: str | None) -> Headers:
    """Return what lets a page read an answer; nothing where no page asked, nor for IAM, which no page may call."""
    if request.header("origin") is None or service == "iam":
        return ()
    return (("access-control-allow-origin", "*"), ("access-control-expose-headers", EXPOSED_HEADERS))
