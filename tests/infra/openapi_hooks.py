"""Loaded into schemathesis by `test_openapi`: what JSON Schema cannot say of messages, and where enableUrls lead."""

from __future__ import annotations

import os
from decimal import Decimal
from typing import Any

import schemathesis


def is_sayable(message: Any) -> bool:
    """Tell whether the schema says of a message whether it is accepted."""
    if not isinstance(message, dict):
        return True
    device_id, numbers = message.get("deviceId"), (message.get("temp"), message.get("ts"))
    if isinstance(device_id, str) and len(device_id) <= 2048 < len(device_id.encode("utf-8", "replace")):
        return False
    return all(
        len(Decimal(repr(number)).normalize().as_tuple().digits) <= 38
        for number in numbers
        if isinstance(number, int | float) and not isinstance(number, bool)
    )


@schemathesis.hook
def filter_body(_: Any, body: Any) -> bool:
    """Leave out what the descriptions alone tell: bytes, digits, and elements that contradict each other."""
    messages = body if isinstance(body, list) else [body]
    keys = [
        str([message.get(name) for name in ("deviceId", "message_id", "received_at")])
        for message in messages
        if isinstance(message, dict) and message.get("message_id")
    ]
    return all(map(is_sayable, messages)) and len(set(keys)) == len(keys)


@schemathesis.hook
def map_case(_: Any, case: Any) -> Any:
    """Let no batch have an X-Message-Id, which would have to be an element's, and half of all enableUrls lead here."""
    if isinstance(case.body, list) and case.headers:
        case.headers.pop("X-Message-Id", None)
    if isinstance(case.body, dict) and isinstance(case.body.get("enableUrl"), str) and len(case.body["enableUrl"]) % 2:
        case.body["enableUrl"] = os.environ["TRUSTED_ORIGIN"] + "/confirmdestination/token"
    return case
