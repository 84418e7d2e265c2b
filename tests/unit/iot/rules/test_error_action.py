"""The document of an error action, and how it is sent."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import pytest

from harness.iot.rules import ActionFailed, SqsAction, error_document

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.iot.rules import RuleMessage

FAILURE = ActionFailed(action="HttpAction", resource="https://localhost/é", message="No.", metric="Failure")


def test_a_document_lists_all_failed_actions(make_message: Callable[..., RuleMessage]) -> None:
    """Source: rule-error-handling, its example."""
    other = ActionFailed(action="HttpAction", resource="b", message="Neither.", metric="HttpCode_5XX")

    assert error_document("my_rule", make_message(b"\x00\xff", topic="a/b"), [FAILURE, other]) == {
        "ruleName": "my_rule",
        "topic": "a/b",
        "cloudwatchTraceId": "7e146a2c-0000-4000-8000-000000000001",
        "clientId": "d-1",
        "base64OriginalPayload": "AP8=",
        "failures": [
            {"failedAction": "HttpAction", "failedResource": "https://localhost/é", "errorMessage": "No."},
            {"failedAction": "HttpAction", "failedResource": "b", "errorMessage": "Neither."},
        ],
    }


def test_a_message_without_mqtt_has_an_id_of_its_own(make_message: Callable[..., RuleMessage]) -> None:
    """And the client id that `clientid()` shows."""
    document = error_document("my_rule", make_message(client_id=None, trace_id=None), [FAILURE])

    assert (document["clientId"], document["cloudwatchTraceId"]) == ("n/a", "uuid-1")


@pytest.mark.parametrize("use_base64", [False, True])
def test_a_document_is_the_body_of_a_queue_message(
    make_message: Callable[..., RuleMessage], *, use_base64: bool
) -> None:
    """Source: sqs-rule-action: in base64 where asked; a lone surrogate is an escape like any other."""
    action = SqsAction(queue_url="http://localhost/1/q", role_arn="arn:role", use_base64=use_base64)
    failure = ActionFailed(action="HttpAction", resource="\ud800", message="é", metric="Failure")
    document = error_document("my_rule", make_message(), [failure])

    parameters = action.parameters(document)

    body = parameters.pop("MessageBody")
    assert parameters == {"QueueUrl": "http://localhost/1/q"}
    assert json.loads(base64.b64decode(body) if use_base64 else body) == document
    assert body.isascii()
