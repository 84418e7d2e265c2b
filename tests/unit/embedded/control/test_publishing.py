"""iot-data Publish: what goes over the link, and what comes back."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import botocore.exceptions
import pytest

from harness.iot.limits import MAX_PAYLOAD_BYTES
from harness.iot.quirks import Quirks

if TYPE_CHECKING:
    from collections.abc import Callable

ALLOWED = {"allowed": True, "because": "root", "message_id": "6f9e-42", "reason_code": 0}


def error_of(call: Callable[[], object]) -> tuple[str, str, int]:
    """Return code, message and HTTP status of a call that is refused."""
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        call()
    response = caught.value.response
    return response["Error"]["Code"], response["Error"]["Message"], response["ResponseMetadata"]["HTTPStatusCode"]


def test_a_publish_goes_to_the_broker_with_all_it_carries(stand: Any) -> None:
    """Topic, payload, flags, MQTT 5 properties, and whose key signed it; the message's id comes back."""
    stand.broker.answers["publish"] = ALLOWED

    answer = stand.client("iot-data").publish(
        topic="public/a b/ü+",
        qos=1,
        retain=True,
        payload=b"\x00\xff",
        contentType="text/plain",
        responseTopic="public/answer",
        messageExpiry=60,
        payloadFormatIndicator="UTF8_DATA",
        correlationData=base64.b64encode(b"42").decode(),
        userProperties=json.dumps([{"a": "1"}, {"a": "2"}]),
    )

    request = stand.broker.of("publish")[0]
    assert {name: request[name] for name in ("topic", "qos", "retain", "access_key_id")} == {
        "topic": "public/a b/ü+",
        "qos": 1,
        "retain": True,
        "access_key_id": stand.config.access_key_id,
    }
    assert base64.b64decode(request["payload"]) == b"\x00\xff"
    assert request["properties"] == {
        "content_type": "text/plain",
        "response_topic": "public/answer",
        "message_expiry_interval": 60,
        "payload_format_indicator": 1,
        "correlation_data": base64.b64encode(b"42").decode(),
        "user_properties": [["a", "1"], ["a", "2"]],
    }
    assert answer["ResponseMetadata"]["RequestId"] == "6f9e-42"


@pytest.mark.parametrize("service", ["iotdata", "iotdevicegateway"])
def test_a_publish_is_served_under_both_signing_names_and_with_bare_slashes(stand: Any, service: str) -> None:
    """boto3 signs for one, AWS's pages name the other; clients without a model leave slashes as they are."""
    stand.broker.answers["publish"] = ALLOWED

    status, _, body = stand.send_signed("POST", "/topics/public/chat?qos=1", service=service, body=b"hi")

    assert (status, json.loads(body)) == (200, {"message": "OK", "traceId": "6f9e-42"})
    request = stand.broker.of("publish")[0]
    assert (request["topic"], request["qos"], request["properties"]) == ("public/chat", 1, {})


def test_a_guest_is_judged_by_the_broker(stand: Any, make_guest: Any) -> None:
    """The broker's decision is the only one, and its reason is in the refusal."""
    stand.broker.answers["publish"] = {**ALLOWED, "allowed": False, "because": "no statement allows it"}
    guest = make_guest()["credentials"]

    assert error_of(lambda: stand.client("iot-data", guest).publish(topic="a", payload=b"")) == (
        "ForbiddenException",
        "no statement allows it",
        403,
    )
    assert stand.broker.of("publish")[0]["access_key_id"] == guest["AccessKeyId"]


def test_the_status_of_a_refusal_is_a_switch(stand: Any) -> None:
    """401, as botocore's model has it."""
    stand.broker.answers["publish"] = {**ALLOWED, "allowed": False, "because": "no"}
    for handler in stand.control_plane._handlers.values():
        if hasattr(handler, "__self__") and type(handler.__self__).__name__ == "Publishing":
            handler.__self__._quirks = Quirks(http_publish_denied="401")

    assert error_of(lambda: stand.client("iot-data").publish(topic="a"))[::2] == ("UnauthorizedException", 401)


def test_what_the_broker_does_not_take_is_an_invalid_request(stand: Any) -> None:
    """An error of the broker, and a reason code that says no."""
    iot_data = stand.client("iot-data")
    stand.broker.answers["publish"] = ("InvalidTopic", "a topic is not empty")
    assert error_of(lambda: iot_data.publish(topic="a"))[:2] == ("InvalidRequestException", "a topic is not empty")

    stand.broker.answers["publish"] = {**ALLOWED, "because": "", "reason_code": 0x90}
    assert error_of(lambda: iot_data.publish(topic="a"))[1] == "refused with reason code 144"


def test_a_payload_that_is_too_long_is_refused(stand: Any) -> None:
    """One byte above 128 KiB."""
    stand.broker.answers["publish"] = ALLOWED
    iot_data = stand.client("iot-data")

    iot_data.publish(topic="a", payload=b"x" * MAX_PAYLOAD_BYTES)
    assert error_of(lambda: iot_data.publish(topic="a", payload=b"x" * (MAX_PAYLOAD_BYTES + 1)))[2] == 413


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("?qos=2", {}),
        ("?qos=x", {}),
        ("?retain=maybe", {}),
        ("?qos=1&qos=0", {}),
        ("", {"X_Amz_Mqtt5_User_Properties": "%%%"}),
        ("", {"X_Amz_Mqtt5_User_Properties": base64.b64encode(b'{"a": 1}').decode()}),
        ("", {"X_Amz_Mqtt5_User_Properties": base64.b64encode(b"[" * 5000).decode()}),
        ("", {"X_Amz_Mqtt5_Correlation_Data": "%%%"}),
        ("", {"X_Amz_Mqtt5_Payload_Format_Indicator": "JSON"}),
    ],
)
def test_input_that_does_not_fit_is_refused(stand: Any, query: str, headers: dict[str, str]) -> None:
    """Nothing of it reaches the broker."""
    status, answered, _ = stand.send_signed("POST", f"/topics/a{query}", service="iotdata", **headers)

    assert (status, answered["x-amzn-errortype"]) == (400, "InvalidRequestException:")
    assert stand.broker.of("publish") == []


def test_other_data_operations_are_refused_by_name(stand: Any) -> None:
    """Shadows and retained messages are not served."""
    iot_data = stand.client("iot-data")

    assert error_of(lambda: iot_data.get_thing_shadow(thingName="t"))[2] == 501
    assert error_of(iot_data.list_retained_messages)[1] == "ListRetainedMessages of iot-data is not served yet"
