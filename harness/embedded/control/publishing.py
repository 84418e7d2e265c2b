"""iot-data Publish: into the live broker, which also decides whether the caller may.

Source: botocore's ``iot-data`` model; http in the AWS IoT developer guide.
Differs: a refusal's message says why; AWS's is null.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING, Any, Final

from harness.embedded.control.broker_link import BrokerRefused
from harness.embedded.control.messages import ApiError, HttpResponse, json_response
from harness.embedded.control.outcome import Outcome
from harness.iot.limits import MAX_PAYLOAD_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.embedded.control.broker_link import BrokerLink
    from harness.embedded.control.outcome import Caller, Handler
    from harness.embedded.control.routing import ApiCall
    from harness.iot.quirks import Quirks

_FAILURE: Final = 0x80


class Publishing:
    """Handlers of ``iot-data``.

    Args:
        link: to the broker.
        quirks: the status of a refusal.
    """

    def __init__(self, link: BrokerLink, *, quirks: Quirks) -> None:
        self._link = link
        self._quirks = quirks

    def handlers(self) -> Mapping[str, Handler]:
        """Return what runs here instead of in moto."""
        return {"Publish": self._publish}

    def _publish(self, call: ApiCall, caller: Caller) -> Outcome:
        params = call.params
        payload: bytes = params.get("payload", b"")
        if len(payload) > MAX_PAYLOAD_BYTES:
            raise ApiError(
                "RequestEntityTooLargeException", f"The payload is longer than {MAX_PAYLOAD_BYTES} bytes", status=413
            )
        try:
            answer = self._link.request(
                "publish",
                topic=call.text("topic"),
                payload=base64.b64encode(payload).decode("ascii"),
                qos=params.get("qos", 0),
                retain=params.get("retain", False),
                properties=_properties(params),
                access_key_id=caller.access_key_id,
            )
        except BrokerRefused as refusal:
            raise ApiError("InvalidRequestException", refusal.message) from None
        if not answer["allowed"]:
            is_401 = self._quirks.http_publish_denied == "401"
            code, status = ("UnauthorizedException", 401) if is_401 else ("ForbiddenException", 403)
            raise ApiError(code, str(answer["because"]), status=status)
        if answer.get("reason_code", 0) >= _FAILURE:
            raise ApiError(
                "InvalidRequestException",
                str(answer.get("because") or f"refused with reason code {answer['reason_code']}"),
            )
        message_id = str(answer["message_id"])
        response = json_response({"message": "OK", "traceId": message_id})
        return Outcome(
            result=HttpResponse(
                status=200, headers=(*response.headers, ("x-amzn-RequestId", message_id)), body=response.body
            )
        )


def _properties(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the MQTT 5 properties that a publish carries, as the link spells them."""
    properties: dict[str, Any] = {
        "content_type": params.get("contentType"),
        "response_topic": params.get("responseTopic"),
        "message_expiry_interval": params.get("messageExpiry"),
        "correlation_data": params.get("correlationData"),
    }
    if "payloadFormatIndicator" in params:
        properties["payload_format_indicator"] = int(params["payloadFormatIndicator"] == "UTF8_DATA")
    if "userProperties" in params:
        properties["user_properties"] = _user_properties(params["userProperties"])
    if properties["correlation_data"] is not None:
        _decode_base64(properties["correlation_data"], "correlationData")
    return {name: value for name, value in properties.items() if value is not None}


def _user_properties(text: str) -> list[list[str]]:
    """Read base64 of a JSON array of objects with one member each; boto3 wraps a string once more."""
    try:
        value = json.loads(_decode_base64(text, "userProperties"))
        if isinstance(value, str):
            value = json.loads(value)
    except (ValueError, RecursionError):  # or nested deeper than Python reads
        value = None
    if not isinstance(value, list) or not all(isinstance(item, dict) and len(item) == 1 for item in value):
        raise ApiError("InvalidRequestException", "userProperties must be a JSON array of objects with one member each")
    return [[str(name), str(entry)] for item in value for name, entry in item.items()]


def _decode_base64(text: str, member: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ApiError("InvalidRequestException", f"{member} must be base64") from None
