"""Makes the request that moto runs, anew, from an operation and its input.

What moto routes by is set here, not taken from the caller: host (region), account, the operation, and only input
members of the operation's model. moto looks for ``Action`` in form, query string, body and even headers before it looks
at the path; so json calls carry it in a query string of our own, and rest calls get a query string that is never empty,
which ends that search.
"""

from __future__ import annotations

import io
import json
import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, unquote_to_bytes, urlencode

from harness.embedded.control.messages import ApiError

if TYPE_CHECKING:
    from harness.embedded.control.routing import ApiCall

_UNSIGNED_KEY: Final = "AKIAUNSIGNED00000000"
_LOOPBACK: Final = re.compile(r"(localhost|127\.0\.0\.1|\[::1\]):\d{1,5}", re.ASCII)
"""Only these: from AWS's own names moto takes the region."""
_LABEL: Final = re.compile(r"\{(\w+)\+?\}")


def make_environ(
    call: ApiCall, *, account_id: str, region: str, access_key_id: str | None, host: str = ""
) -> dict[str, Any]:
    """Return the WSGI environment of a request for exactly one operation.

    Args:
        call: what was authorised.
        account_id: whose state it is about.
        region: where.
        access_key_id: who asked; None for an operation that goes unsigned.
        host: where they called. A queue's URL is made of it, since some SDKs call that URL; otherwise it counts for
            nothing.

    Raises:
        ApiError: input that cannot go where its operation wants it.
    """
    model = call.operation.model
    service_model = model.service_model
    scope = f"{access_key_id or _UNSIGNED_KEY}/20000101/{region}/{service_model.signing_name}/aws4_request"
    environ: dict[str, Any] = {
        "HTTP_AUTHORIZATION": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0",
        "HTTP_HOST": f"{service_model.endpoint_prefix}.{region}.amazonaws.com",
        "HTTP_X_MOTO_ACCOUNT_ID": account_id,
        "SCRIPT_NAME": "",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "443",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "https",
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    if call.operation.service == "sqs" and _LOOPBACK.fullmatch(host):
        environ |= {"HTTP_HOST": host, "wsgi.url_scheme": "http"}
    method, path, query, body = "POST", "/", "", b""
    if call.operation.protocol == "rest-json":
        method, path, query, body = _rest_parts(call, environ)
    elif call.operation.protocol == "json":
        query = urlencode({"Action": call.operation.name})
        environ["HTTP_X_AMZ_TARGET"] = f"{service_model.metadata['targetPrefix']}.{call.operation.name}"
        environ["CONTENT_TYPE"] = f"application/x-amz-json-{service_model.metadata['jsonVersion']}"
        body = _json_bytes(call.params)
    else:
        environ["CONTENT_TYPE"] = "application/x-www-form-urlencoded; charset=utf-8"
        body = urlencode(
            [("Action", call.operation.name), ("Version", service_model.api_version), *call.params.items()]
        ).encode()
    environ["REQUEST_METHOD"] = method
    environ["PATH_INFO"] = unquote_to_bytes(path).decode("latin-1")
    environ["QUERY_STRING"] = query
    environ["RAW_URI"] = environ["REQUEST_URI"] = f"{path}?{query}" if query else path
    environ["CONTENT_LENGTH"] = str(len(body))
    environ["wsgi.input"] = io.BytesIO(body)
    return environ


def _rest_parts(call: ApiCall, environ: dict[str, Any]) -> tuple[str, str, str, bytes]:
    model = call.operation.model
    query: dict[str, str] = {"control-plane": "1"}  # never empty: see the module's docstring
    document: dict[str, Any] = {}
    labels: dict[str, str] = {}
    for member, value in call.params.items():
        serialization = model.input_shape.members[member].serialization
        name = serialization.get("name", member)
        location = serialization.get("location")
        if location == "uri":
            labels[name] = quote(value, safe="")
        elif location == "querystring":
            query[name] = str(value).lower() if isinstance(value, bool) else str(value)
        elif location == "header":
            if not value.isprintable() or not value.isascii():
                raise ApiError("InvalidRequestException", f"{member} holds characters that a header cannot")
            environ[f"HTTP_{name.upper().replace('-', '_')}"] = value
        else:
            document[name] = value
    path = _LABEL.sub(lambda label: labels[label[1]], model.http["requestUri"])
    body = b""
    if document:
        environ["CONTENT_TYPE"] = "application/json"
        body = _json_bytes(document)
    return str(model.http["method"]), path, urlencode(query), body


def _json_bytes(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")
