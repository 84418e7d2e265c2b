"""The schemas of the OpenAPI document: what is posted, and what is answered."""

from __future__ import annotations

from typing import Any, Final

from receiver.confirmation import MESSAGE_TYPE
from receiver.json_text import MAX_DEPTH
from receiver.messages import MAX_ELEMENTS
from receiver.reading import LAST_MILLISECOND, MAX_DEVICE_ID_BYTES

_TOO_MUCH: Final = 1e126
_LEAST: Final = 1e-130
_ID_PATTERN: Final = r'^[!-"$-~]{1,128}$'
ID_OR_NOTHING: Final = r'^([!-"$-~]{1,128})?$'
"""Of a message's id, where the rule may have none to tell."""


def make_schemas() -> dict[str, Any]:
    """Make all of them, by name."""
    number = {
        "type": "number",
        "exclusiveMinimum": -_TOO_MUCH,
        "exclusiveMaximum": _TOO_MUCH,
        "anyOf": [{"maximum": -_LEAST}, {"enum": [0]}, {"minimum": _LEAST}],
    }
    message = {
        "type": "object",
        "description": (
            "What a device says. Other names are left alone, but none may occur twice in an object, and no more than"
            f" {MAX_DEPTH} objects and arrays may lie within each other."
        ),
        "required": ["deviceId", "temp"],
        "properties": {
            "deviceId": {
                "type": "string",
                "minLength": 1,
                "maxLength": MAX_DEVICE_ID_BYTES,
                "description": f"At most {MAX_DEVICE_ID_BYTES} bytes of UTF-8.",
            },
            "temp": {
                **number,
                "description": "A number with at most 38 significant digits.",
            },
            "ts": {
                "anyOf": [{"type": "string"}, number],
                "description": "The device's own time; as a number within the bounds of `temp`.",
            },
        },
    }
    element = {
        "type": "object",
        "description": "What `SELECT *, traceid() AS message_id, …` makes of a message.",
        "required": message["required"],
        "properties": {
            **message["properties"],  # type: ignore[dict-item] # it is a dict
            "message_id": {"type": "string", "pattern": ID_OR_NOTHING, "description": "`traceid()`."},
            "received_at": {
                "type": "integer",
                "minimum": 0,
                "maximum": LAST_MILLISECOND,
                "description": "`timestamp()`.",
            },
            "client_id": {
                "type": "string",
                "description": "`clientid()`. Where REQUIRE_CLIENT_ID is on, it must be the device, or `n/a`.",
            },
        },
    }
    return {
        "Message": message,
        "Element": element,
        "Batch": {
            "type": "array",
            "description": "What a rule with batching posts.",
            "items": ref("Element"),
            "minItems": 1,
            "maxItems": MAX_ELEMENTS,
        },
        "Confirmation": {
            "type": "object",
            "required": ["messageType", "enableUrl"],
            "properties": {
                "messageType": {"type": "string", "enum": [MESSAGE_TYPE]},
                "enableUrl": {"type": "string"},
                "arn": {"description": "Of the destination, for the log."},
                "confirmationToken": {"description": "Not used."},
            },
        },
        "Stored": _closed(
            stored={
                "anyOf": [
                    {"type": "string", "pattern": _ID_PATTERN},
                    {
                        "type": "array",
                        "items": {"type": "string", "pattern": _ID_PATTERN},
                        "minItems": 1,
                        "maxItems": MAX_ELEMENTS,
                    },
                ],
                "description": "The id of the message; of a batch, those of its rows.",
            }
        ),
        "Confirmed": _closed(confirmed={"type": "boolean", "enum": [True]}),
        "Live": _closed(live={"type": "boolean", "enum": [True]}),
        "Ready": _closed(ready={"type": "boolean", "enum": [True]}),
        "NotReady": _closed(ready={"type": "boolean", "enum": [False]}, detail={"type": "string"}),
        "Refusal": {
            "type": "object",
            "required": ["detail"],
            "properties": {
                "detail": {"type": "string", "description": "What is wrong; it repeats nothing of what was sent."},
                "element": {
                    "type": "integer",
                    "minimum": 0,
                    "maximum": MAX_ELEMENTS - 1,
                    "description": "Of a batch, the one that is wrong, counted from 0.",
                },
            },
            "additionalProperties": False,
        },
    }


def ref(name: str) -> dict[str, Any]:
    """Refer to one of them."""
    return {"$ref": f"#/components/schemas/{name}"}


def _closed(**properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "required": list(properties),
        "properties": properties,
        "additionalProperties": False,
    }
