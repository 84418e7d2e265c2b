"""Makes what takes messages from AWS IoT to elsewhere: rules, and the HTTP destinations they post to.

Pulumi's own resource for destinations knows VPCs alone, so a program declares an HTTP destination through Cloud
Control. On AWS a deployment does not wait for its confirmation. Here it ends when the receiver has confirmed, since a
test that follows would otherwise find its readings not delivered.
"""

from __future__ import annotations

import json
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from harness.errors import ProvisioningError
from harness.targets.provisioning.account import auto_name
from harness.targets.provisioning.declared import Declared, Made, ResourceType
from harness.targets.provisioning.waiting import ask_until

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from harness.targets.provisioning.account import Account

_CONFIRMATION_SECONDS: Final = 10.0
"""Longer than the confirmation and the receiver's answer to it may take, so that what went wrong is told."""

_DESTINATION: Final = "AWS::IoT::TopicRuleDestination"


def make_cloud_control_resource(account: Account, declared: Declared) -> Made:
    """Make the one resource that is declared through Cloud Control: an HTTP destination.

    Raises:
        ProvisioningError: it is another type, or has properties that are not used, or an AWS call failed.
    """
    type_name = declared.inputs["typeName"]
    if type_name != _DESTINATION:
        raise ProvisioningError(
            declared.subject,
            reason=f"typeName {type_name} needs the Pulumi CLI; supported without it is {_DESTINATION}",
        )
    url = _confirmation_url(declared)
    destination = account.call(
        declared.subject,
        "iot",
        "CreateTopicRuleDestination",
        destinationConfiguration={"httpUrlConfiguration": {"confirmationUrl": url}},
    )["topicRuleDestination"]
    arn = destination["arn"]
    properties = {"Arn": arn, "Status": destination["status"], "HttpUrlProperties": {"ConfirmationUrl": url}}
    return Made(arn, {"properties": json.dumps(properties)}, partial(await_confirmation, account, declared, arn))


def await_confirmation(
    account: Account, declared: Declared, arn: str, *, wait: Callable[..., dict[str, Any]] = ask_until
) -> None:
    """Wait until the receiver has confirmed a destination.

    Raises:
        ProvisioningError: it could not, or did not in time, or an AWS call failed.
    """
    destination = wait(
        lambda: account.call(declared.subject, "iot", "GetTopicRuleDestination", arn=arn)["topicRuleDestination"],
        lambda answer: answer["status"] != "IN_PROGRESS",
        seconds=_CONFIRMATION_SECONDS,
    )
    status, reason = destination["status"], destination.get("statusReason") or "no reason is given"
    if status in ("ENABLED", "DISABLED"):
        return
    limit = f" within {_CONFIRMATION_SECONDS:.0f} s" if status == "IN_PROGRESS" else ""
    raise ProvisioningError(
        declared.subject,
        call="iot:CreateTopicRuleDestination",
        reason=f"{_confirmation_url(declared)} did not confirm it{limit}, its status is {status}: {reason}",
    )


def _confirmation_url(declared: Declared) -> str:
    try:
        state = json.loads(declared.inputs["desiredState"])
        http = state["HttpUrlProperties"]
        url = str(http["ConfirmationUrl"])
    except (ValueError, KeyError, TypeError) as error:
        raise ProvisioningError(
            declared.subject, reason="desiredState has to be JSON with HttpUrlProperties.ConfirmationUrl"
        ) from error
    declared.accept_only(("HttpUrlProperties",), given=state, inside="desiredState")
    declared.accept_only(("ConfirmationUrl",), given=http, inside="desiredState.HttpUrlProperties")
    return url


def make_topic_rule(account: Account, declared: Declared) -> Made:
    """Make a rule with HTTP actions and, where there is one, an error action that sends to a queue.

    Raises:
        ProvisioningError: an input of an action is not used, or an AWS call failed.
    """
    inputs = declared.inputs
    name = inputs.get("name") or auto_name(declared.name, longest=128, separator="_")
    payload = {
        "sql": inputs["sql"],
        "awsIotSqlVersion": inputs["sqlVersion"],
        "ruleDisabled": not inputs["enabled"],
        "description": inputs.get("description"),
        "actions": [{"http": _http_action(declared, each)} for each in inputs.get("https") or ()],
        "errorAction": _error_action(declared, inputs["errorAction"]) if inputs.get("errorAction") else None,
    }
    ask = partial(account.call, declared.subject, "iot", ruleName=name)
    ask("CreateTopicRule", topicRulePayload=_given(payload))
    return Made(name, {"name": name, "arn": ask("GetTopicRule")["ruleArn"]})


def _http_action(declared: Declared, action: Mapping[str, Any]) -> dict[str, Any]:
    declared.accept_only(("url", "confirmationUrl", "httpHeaders"), given=action, inside="https")
    headers = action.get("httpHeaders") or ()
    for header in headers:
        declared.accept_only(("key", "value"), given=header, inside="https.httpHeaders")
    return _given(
        {
            "url": action["url"],
            "confirmationUrl": action.get("confirmationUrl"),
            "headers": [{"key": header["key"], "value": header["value"]} for header in headers] or None,
        }
    )


def _error_action(declared: Declared, action: Mapping[str, Any]) -> dict[str, Any]:
    declared.accept_only(("sqs",), given=action, inside="errorAction")
    sqs = action["sqs"]
    declared.accept_only(("queueUrl", "roleArn", "useBase64"), given=sqs, inside="errorAction.sqs")
    return {"sqs": {"queueUrl": sqs["queueUrl"], "roleArn": sqs["roleArn"], "useBase64": sqs["useBase64"]}}


def _given(parameters: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if value is not None}


RULE_TYPES: Final[Mapping[str, ResourceType]] = MappingProxyType(
    {
        "aws:cloudcontrol/resource:Resource": ResourceType(
            make=make_cloud_control_resource,
            inputs=frozenset({"typeName", "desiredState"}),
            services=("iot",),
        ),
        "aws:iot/topicRule:TopicRule": ResourceType(
            make=make_topic_rule,
            inputs=frozenset({"name", "description", "enabled", "sql", "sqlVersion", "https", "errorAction"}),
            services=("iot",),
        ),
    }
)
"""Type token to how it is made."""
