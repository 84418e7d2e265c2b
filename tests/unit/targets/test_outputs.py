"""Outputs of a stack that has only some of its parts."""

from __future__ import annotations

from typing import Any

import pytest

from harness.errors import TargetUnavailable
from harness.targets.outputs import StackOutputs

BROADCAST: dict[str, Any] = {
    "region": "us-east-1",
    "iotEndpoint": "localhost",
    "iotMqttsPort": 8883,
    "iotWssUrl": "wss://localhost/mqtt",
    "caFile": None,
    "identityPoolId": "us-east-1:0",
    "clientIdPrefix": "public-",
    "topicPrefix": "public/",
    "telemetryTopic": "things/telemetry",
    "devicePolicyName": "device-1",
}
TELEMETRY = {
    "ruleName": "telemetry",
    "destinationArn": "arn:aws:iot:us-east-1:123456789012:ruledestination/http/1",
    "tableName": "readings",
    "receiverUrl": "https://localhost:1",
    "deadLetterQueueUrl": "http://127.0.0.1:1/123456789012/dead-letters",
}


def test_a_whole_stack_tells_all() -> None:
    """What is there is handed out, whichever way it is asked for."""
    outputs = StackOutputs.parse({**BROADCAST, **TELEMETRY})

    assert outputs.table_name == outputs.need("table_name") == "readings"
    assert outputs.need("rule_name") == "telemetry"
    assert outputs.need("receiver_url") == "https://localhost:1"
    assert outputs.need("destination_arn") == TELEMETRY["destinationArn"]
    assert outputs.need("dead_letter_queue_url") == TELEMETRY["deadLetterQueueUrl"]
    assert outputs.to_json() == {**BROADCAST, **TELEMETRY}


@pytest.mark.parametrize(
    ("mqtts_port", "wss_url", "is_shared"),
    [
        (8883, "wss://localhost/mqtt", False),
        (443, "wss://localhost/mqtt", True),
        (4510, "wss://localhost:4510/mqtt", True),
        (4510, "wss://[::1]:4510/mqtt", True),
        (4510, "wss://localhost:4511/mqtt", False),
    ],
)
def test_a_stack_tells_whether_both_are_on_one_port(mqtts_port: int, wss_url: str, *, is_shared: bool) -> None:
    """On AWS both may be on 443, where a URL names no port."""
    outputs = StackOutputs.parse({**BROADCAST, "iotMqttsPort": mqtts_port, "iotWssUrl": wss_url})

    assert outputs.is_port_shared is is_shared


@pytest.mark.parametrize(
    "name", ["rule_name", "destination_arn", "table_name", "receiver_url", "dead_letter_queue_url"]
)
def test_a_stack_without_telemetry_says_what_to_do(name: str) -> None:
    """Whoever needs the missing part is told its name and how to get it, in one sentence."""
    outputs = StackOutputs.parse(BROADCAST)
    assert getattr(outputs, name) is None

    with pytest.raises(TargetUnavailable, match=r"no output [a-z][A-Za-z]+: set receiverUrl and iotSecret") as caught:
        outputs.need(name)

    assert "_" not in str(caught.value)


def test_parts_that_are_lacking_are_not_written() -> None:
    """The schema knows one output that may be null, caFile."""
    outputs = StackOutputs.parse({**BROADCAST, "tableName": "readings"})

    assert outputs.to_json() == {**BROADCAST, "tableName": "readings"}
    assert StackOutputs.parse(outputs.to_json()) == outputs


def test_a_telemetry_output_of_another_type_is_named() -> None:
    """As the others are."""
    with pytest.raises(TargetUnavailable, match="tableName is 3"):
        StackOutputs.parse({**BROADCAST, "tableName": 3})
