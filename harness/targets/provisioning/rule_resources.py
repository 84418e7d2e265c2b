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
from urllib.parse import quote, urlencode

from harness.errors import ProvisioningError
from harness.targets.provisioning.declared import Declared, Made, Naming, ResourceType, intend_name
from harness.targets.provisioning.refusals import error_code, means_unknown_operation
from harness.targets.provisioning.waiting import ask_until

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from harness.targets.provisioning.account import Account
    from harness.targets.provisioning.ledger import Noted

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
    declared.note_made(arn)
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


def _intend_destination(account: Account, declared: Declared) -> dict[str, Any]:
    """Tell the URL, and the destinations that it has already: those are somebody else's."""
    url = _confirmation_url(declared)
    return {"url": url, "known": _destinations(account, declared.subject, url)}


def _destinations(account: Account, subject: str, url: str) -> list[str]:
    listed = account.every_if_there(subject, "iot", "ListTopicRuleDestinations", "destinationSummaries")
    return [each["arn"] for each in listed if each.get("httpUrlSummary", {}).get("confirmationUrl") == url]


def remove_destination(account: Account, noted: Noted) -> None:
    """Remove an HTTP destination.

    Raises:
        ProvisioningError: an AWS call failed.
    """
    url, known = noted.intent["url"], noted.intent["known"]
    arns = [noted.id] if noted.id is not None else _destinations(account, noted.subject, url)
    for arn in arns:
        if arn not in known:
            is_there = partial(_is_listed, account, noted.subject, url, arn)
            _delete(account, noted, is_there, "DeleteTopicRuleDestination", arn=arn)


def _is_listed(account: Account, subject: str, url: str, arn: str) -> bool:
    return arn in _destinations(account, subject, url)


def make_topic_rule(account: Account, declared: Declared) -> Made:
    """Make a rule with HTTP actions and, where there is one, an error action that sends to a queue.

    Raises:
        ProvisioningError: an input of an action is not used, or an AWS call failed.
    """
    inputs = declared.inputs
    name = inputs["name"]
    payload = {
        "sql": inputs["sql"],
        "awsIotSqlVersion": inputs["sqlVersion"],
        "ruleDisabled": not inputs["enabled"],
        "description": inputs.get("description"),
        "actions": [{"http": _http_action(declared, each)} for each in inputs.get("https") or ()],
        "errorAction": _error_action(declared, inputs["errorAction"]) if inputs.get("errorAction") else None,
    }
    _create_rule(account, declared, _given(payload))
    declared.note_made(name)
    arn = account.call(declared.subject, "iot", "GetTopicRule", ruleName=name)["ruleArn"]
    return Made(name, {"name": name, "arn": arn})


def _create_rule(account: Account, declared: Declared, payload: dict[str, Any]) -> None:
    """Create a rule, with its tags where rules can have some: the mark is in its name as well."""
    own = declared.inputs.get("tags")
    tags = account.tags(own)
    create = partial(
        account.call,
        declared.subject,
        "iot",
        "CreateTopicRule",
        ruleName=declared.inputs["name"],
        topicRulePayload=payload,
    )
    try:
        create(tags=urlencode(tags, quote_via=quote) or None)
    except ProvisioningError as error:
        if own or not tags or not means_unknown_operation(error):
            raise
        create()


def remove_topic_rule(account: Account, noted: Noted) -> None:
    """Remove a rule.

    Raises:
        ProvisioningError: an AWS call failed.
    """
    name = noted.intent["name"]

    def is_there() -> bool:
        rules = account.every(noted.subject, "iot", "ListTopicRules", "rules")
        return any(each["ruleName"] == name for each in rules)

    _delete(account, noted, is_there, "DeleteTopicRule", ruleName=name)


def _delete(account: Account, noted: Noted, is_there: Callable[[], bool], operation: str, **parameters: str) -> None:
    """Delete what AWS IoT denies access to when it is not there."""
    try:
        account.call_if_there(noted.subject, "iot", operation, **parameters)
    except ProvisioningError as error:
        if error_code(error) != "UnauthorizedException" or is_there():
            raise


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
            intend=_intend_destination,
            remove=remove_destination,
            inputs=frozenset({"typeName", "desiredState"}),
            services=("iot",),
        ),
        "aws:iot/topicRule:TopicRule": ResourceType(
            make=make_topic_rule,
            intend=intend_name,
            remove=remove_topic_rule,
            inputs=frozenset({"name", "description", "enabled", "sql", "sqlVersion", "https", "errorAction", "tags"}),
            services=("iot",),
            naming=Naming(longest=128, separator="_"),
        ),
    }
)
"""Type token to how it is made."""
