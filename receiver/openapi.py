"""What the service answers to, as an OpenAPI document: ``python -m receiver --openapi`` prints it.

Written by hand, since what is accepted is decided by code and not by models; a test posts what the document allows and
what it does not to a running receiver and compares. The running service does not show it: strangers learn nothing.

What JSON Schema cannot say is in the descriptions: bytes of UTF-8, digits of a number, names that occur twice, messages
that contradict each other.

Source: OpenAPI Specification 3.1.0.
"""

from __future__ import annotations

from typing import Any, Final

from receiver import __version__
from receiver.confirmation import MAX_BYTES, MESSAGE_TYPE, MESSAGE_TYPE_HEADER
from receiver.incoming import MAX_BODY_BYTES
from receiver.openapi_schemas import ID_OR_NOTHING, make_schemas, ref
from receiver.reading import LAST_MILLISECOND

_TIME_OR_NOTHING: Final = "^([0-9]{1,14}|[01][0-9]{14}|2[0-4][0-9]{13}|25[0-2][0-9]{12}|253[0-3][0-9]{11})?$"
"""All but the last hour or so of the year 9999."""


def make_document() -> dict[str, Any]:
    """Make the document, of which nothing depends on settings."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Receiver",
            "version": __version__,
            "description": "Takes what AWS IoT rules post and writes one row per message.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "paths": {
            "/ingest": {"post": _ingest()},
            "/ingest/": {"post": _confirm("confirmAtIngest", "for a destination whose URL ends in `/ingest`")},
            "/": {"post": _confirm("confirmAtRoot", "for a destination whose URL names no path")},
            "/metrics": {"get": _metrics()},
            "/livez": {"get": _livez()},
            "/readyz": {"get": _readyz()},
        },
        "components": {
            "securitySchemes": {
                "IotSecret": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "X-Iot-Secret",
                    "description": "One of the accepted secrets, once.",
                }
            },
            "schemas": make_schemas(),
            "responses": _responses(),
        },
    }


def _ingest() -> dict[str, Any]:
    return {
        "operationId": "ingest",
        "summary": "Take a message or a batch.",
        "description": (
            "Answers when the rows are durable. The same message, posted again, rewrites its own row. A batch is stored"
            " as a whole or not at all. `/ingest/` takes the same, and both take confirmations, told by their header."
        ),
        "security": [{"IotSecret": []}],
        "parameters": [
            _header(
                "X-Message-Id",
                "`traceid()` of the message. Absent or empty: made of time and body. With a batch, that of an element.",
                {"type": "string", "pattern": ID_OR_NOTHING},
            ),
            _header(
                "X-Received-At",
                f"`timestamp()`, milliseconds since 1970, at most {LAST_MILLISECOND}. Absent or empty: the clock here."
                " Not used for a batch.",
                {"type": "string", "pattern": _TIME_OR_NOTHING},
            ),
            _header(
                "X-Client-Id",
                "`clientid()`. Where REQUIRE_CLIENT_ID is on, it must be the device, or `n/a`.",
                {"type": "string"},
            ),
        ],
        "requestBody": {
            "required": True,
            "description": f"At most {MAX_BODY_BYTES} bytes of UTF-8. Its content type is not looked at.",
            "content": {
                "application/json": {
                    "schema": {"anyOf": [ref("Message"), ref("Batch")]},
                    "examples": {
                        "message": {"value": {"deviceId": "device-1", "temp": 21.5, "ts": "2026-11-21T20:01:00Z"}},
                        "batch": {
                            "value": [
                                {
                                    "deviceId": "device-1",
                                    "temp": 21.5,
                                    "message_id": "11111111-2222-3333-4444-555555555555",
                                    "received_at": 1795291262123,
                                    "client_id": "device-1",
                                }
                            ]
                        },
                    },
                }
            },
        },
        "responses": {
            "200": _json("The rows are durable.", ref("Stored")),
            "403": _json("The secret is missing or wrong, or a device speaks for another.", ref("Refusal")),
            **_shared("408", "413"),
            "422": _json("The body or a header is not what a rule sends; trying again is of no use.", ref("Refusal")),
            **_shared("500", "503"),
        },
    }


def _confirm(operation_id: str, when: str) -> dict[str, Any]:
    return {
        "operationId": operation_id,
        "summary": "Confirm a destination.",
        "description": (
            f"AWS IoT asks this {when}. Needs no secret: what is fetched is `enableUrl` at AWS IoT or at an origin of"
            " CONFIRM_ORIGINS, nothing else. Without its header, `/ingest/` takes a message and `/` nothing."
        ),
        "security": [],
        "parameters": [
            {
                **_header(
                    MESSAGE_TYPE_HEADER.decode(),
                    "What tells it from a message.",
                    {"type": "string", "enum": [MESSAGE_TYPE]},
                ),
                "required": True,
            },
        ],
        "requestBody": {
            "required": True,
            "description": f"At most {MAX_BYTES} bytes of UTF-8.",
            "content": {"application/json": {"schema": ref("Confirmation")}},
        },
        "responses": {
            "200": _json("The enableUrl answered 200.", ref("Confirmed")),
            "403": _json("The enableUrl leads elsewhere; or, without the header, the secret.", ref("Refusal")),
            "404": _json("At `/`, without the header.", ref("Refusal")),
            **_shared("408", "413"),
            "422": _json("It is no question.", ref("Refusal")),
            "500": _shared("500")["500"],
            "502": _json("The enableUrl gave no answer, or another than 200.", ref("Refusal")),
            "503": _shared("503")["503"],
        },
    }


def _metrics() -> dict[str, Any]:
    return {
        "operationId": "metrics",
        "summary": "Tell Prometheus, and the load balancer that this process is there.",
        "description": "Always 200, also while nothing can be written. As OpenMetrics where `Accept` asks for it.",
        "security": [],
        "responses": {
            "200": {
                "description": "The metrics.",
                "content": {
                    "text/plain": {"schema": {"type": "string"}},
                    "application/openmetrics-text": {"schema": {"type": "string"}},
                },
            }
        },
    }


def _livez() -> dict[str, Any]:
    return {
        "operationId": "livez",
        "summary": "Tell whether this process is alive.",
        "description": "It is, as long as it answers at all.",
        "security": [],
        "responses": {"200": _json("It is.", ref("Live"))},
    }


def _readyz() -> dict[str, Any]:
    return {
        "operationId": "readyz",
        "summary": "Tell whether messages should be sent here.",
        "security": [],
        "responses": {
            "200": _json("They should.", ref("Ready")),
            "503": {
                **_json("This process is ending, or as many rows wait as may.", ref("NotReady")),
                "headers": {"Retry-After": _RETRY_AFTER},
            },
        },
    }


_RETRY_AFTER: Final = {"description": "In seconds.", "required": True, "schema": {"type": "string", "enum": ["1"]}}


def _responses() -> dict[str, Any]:
    return {
        "408": _json("The body did not come to its end in time.", ref("Refusal")),
        "413": _json("The body is too long; the connection is closed.", ref("Refusal")),
        "500": _json("Something went wrong here.", ref("Refusal")),
        "503": {
            **_json("Not now; the connection stays open for another try.", ref("Refusal")),
            "headers": {"Retry-After": _RETRY_AFTER},
        },
    }


def _shared(*statuses: str) -> dict[str, Any]:
    return {status: {"$ref": f"#/components/responses/{status}"} for status in statuses}


def _header(name: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "header", "description": description, "schema": schema}


def _json(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}
