"""What an error action sends: one document per rule and message, with every action that failed.

Source: rule-error-handling and sqs-rule-action in the AWS IoT developer guide.
Differs: for a message that came without MQTT, ``traceid()`` is Undefined and ``cloudwatchTraceId`` a UUID of its own;
what AWS puts there is not documented.
"""

from __future__ import annotations

import json
from base64 import b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.iot.rules.message import NO_CLIENT_ID

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.iot.rules.http_action import ActionFailed
    from harness.iot.rules.message import RuleMessage


@dataclass(frozen=True, slots=True, kw_only=True)
class SqsAction:
    """An ``sqs`` action: sends to a queue, in the name of a role.

    Args:
        queue_url: of the queue.
        role_arn: the role that may send there.
        use_base64: whether the body is base64 of the document.
    """

    queue_url: str
    role_arn: str
    use_base64: bool = False

    def parameters(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """Return what ``sqs:SendMessage`` is called with."""
        text = json.dumps(document, separators=(",", ":"))
        body = b64encode(text.encode()).decode() if self.use_base64 else text
        return {"QueueUrl": self.queue_url, "MessageBody": body}


def error_document(rule_name: str, message: RuleMessage, failures: Sequence[ActionFailed]) -> dict[str, Any]:
    """Return the document of an error action, ready for `json.dumps`.

    Args:
        rule_name: the rule whose actions failed.
        message: the message they were to act on.
        failures: one per action.
    """
    return {
        "ruleName": rule_name,
        "topic": message.topic,
        "cloudwatchTraceId": message.make_uuid() if message.trace_id is None else message.trace_id,
        "clientId": NO_CLIENT_ID if message.client_id is None else message.client_id,
        "base64OriginalPayload": b64encode(message.payload).decode(),
        "failures": [
            {"failedAction": one.action, "failedResource": one.resource, "errorMessage": one.message}
            for one in failures
        ],
    }
