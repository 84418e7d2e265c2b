"""Rules and their destinations: the calls they become, the confirmation, and what is refused."""

from __future__ import annotations

import json
import re
from functools import partial
from typing import Any

import pytest

from harness.errors import ProvisioningError
from harness.targets.provisioning.declared import Declared
from harness.targets.provisioning.resources import make_resource
from harness.targets.provisioning.rule_resources import await_confirmation
from harness.targets.provisioning.waiting import ask_until

URL = "https://localhost:1/ingest"
STATE = {"HttpUrlProperties": {"ConfirmationUrl": URL}}
ARN = "arn:aws:iot:eu-central-1:123456789012:ruledestination/http/1"
RULE: dict[str, Any] = {"enabled": True, "sql": "SELECT * FROM 'a'", "sqlVersion": "2016-03-23"}


def destination(state: object = STATE, **more: Any) -> Declared:
    """Declare a destination through Cloud Control."""
    inputs = {
        "typeName": "AWS::IoT::TopicRuleDestination",
        "desiredState": state if isinstance(state, str) else json.dumps(state),
        **more,
    }
    return Declared(type="aws:cloudcontrol/resource:Resource", name="receiver", inputs=inputs)


def rule(**more: Any) -> Declared:
    """Declare a rule without an action."""
    return Declared(type="aws:iot/topicRule:TopicRule", name="telemetry", inputs={**RULE, **more})


def settle(account: Any) -> None:
    """Make a destination and wait for its confirmation."""
    made = make_resource(account, destination())
    assert made.settle is not None
    made.settle()


def test_a_destination_is_made(account: Any) -> None:
    """Its ARN is its id; as on AWS it is there before it is confirmed."""
    account.destination_states = ["IN_PROGRESS", "ERROR"]

    made = make_resource(account, destination())

    assert account.asked("CreateTopicRuleDestination") == {
        "destinationConfiguration": {"httpUrlConfiguration": {"confirmationUrl": URL}}
    }
    assert account.operations() == ["CreateTopicRuleDestination"]
    assert made.id == ARN
    assert json.loads(made.outputs["properties"]) == {"Arn": ARN, "Status": "IN_PROGRESS", **STATE}


@pytest.mark.parametrize("confirmed", ["ENABLED", "DISABLED"])
def test_a_confirmation_is_awaited(confirmed: str, account: Any) -> None:
    """By looking at the destination; what is confirmed and not yet in use is for others to enable."""
    account.destination_states = ["IN_PROGRESS", "IN_PROGRESS", "IN_PROGRESS", confirmed]

    settle(account)

    assert account.operations() == ["CreateTopicRuleDestination"] + ["GetTopicRuleDestination"] * 3
    assert account.calls[-1][3] == {"arn": ARN}


def test_a_destination_that_failed_says_why(account: Any) -> None:
    """The reason is what AWS IoT was told by the receiver, or not told."""
    account.destination_states = ["IN_PROGRESS", "ERROR"]
    account.status_reason = "the endpoint answered 503"

    with pytest.raises(ProvisioningError) as caught:
        settle(account)

    assert str(caught.value) == (
        "aws:cloudcontrol/resource:Resource receiver (iot:CreateTopicRuleDestination): https://localhost:1/ingest did "
        "not confirm it, its status is ERROR: the endpoint answered 503"
    )


def test_a_destination_that_nobody_confirms_is_told_of(account: Any) -> None:
    """After a time; a stack whose readings go nowhere is not what was asked for."""
    account.destination_states = ["IN_PROGRESS"]
    times = iter((0.0, 0.0, 5.0, 100.0))
    wait = partial(ask_until, now=lambda: next(times), pause=lambda _seconds: None)

    with pytest.raises(ProvisioningError, match=r"did not confirm it within \d+ s.*IN_PROGRESS: no reason"):
        await_confirmation(account, destination(), ARN, wait=wait)

    assert account.operations() == ["GetTopicRuleDestination"] * 2


@pytest.mark.parametrize(
    ("declared", "told"),
    [
        (destination(typeName="AWS::ECS::Cluster"), "typeName AWS::ECS::Cluster needs the Pulumi CLI"),
        (destination("no JSON"), "desiredState has to be JSON with HttpUrlProperties.ConfirmationUrl"),
        (destination("[]"), "desiredState has to be JSON with HttpUrlProperties.ConfirmationUrl"),
        (destination({"VpcProperties": {}}), "desiredState has to be JSON with HttpUrlProperties.ConfirmationUrl"),
        (destination({**STATE, "Status": "ENABLED"}), "input desiredState.Status is not supported"),
        (
            destination({"HttpUrlProperties": {"ConfirmationUrl": URL, "Colour": 1}}),
            "input desiredState.HttpUrlProperties.Colour is not supported",
        ),
        (destination(roleArn="arn:x"), "input roleArn is not supported"),
    ],
)
def test_a_destination_refuses_what_it_would_leave_out(declared: Declared, told: str, account: Any) -> None:
    """By name, before anything is made."""
    with pytest.raises(ProvisioningError, match=re.escape(told)):
        make_resource(account, declared)

    assert account.calls == []


def test_a_rule_is_made_as_it_is_declared(account: Any) -> None:
    """SQL, version, switch, description, action with its headers in order, and error action."""
    sqs = {"queueUrl": "http://127.0.0.1:9/1/q", "roleArn": "arn:aws:iam::123456789012:role/rule", "useBase64": False}
    headers = [{"key": "X-B", "value": "${topic()}"}, {"key": "X-A", "value": "1"}]

    made = make_resource(
        account,
        rule(
            name="t",
            description="Posts.",
            https=[{"url": URL, "confirmationUrl": URL, "httpHeaders": headers}],
            errorAction={"sqs": sqs},
        ),
    )

    assert made == ("t", {"name": "t", "arn": "arn:aws:iot:eu-central-1:123456789012:rule/t"}, None)
    assert account.asked("CreateTopicRule") == {
        "ruleName": "t",
        "topicRulePayload": {
            "sql": "SELECT * FROM 'a'",
            "awsIotSqlVersion": "2016-03-23",
            "ruleDisabled": False,
            "description": "Posts.",
            "actions": [{"http": {"url": URL, "confirmationUrl": URL, "headers": headers}}],
            "errorAction": {"sqs": sqs},
        },
    }


def test_a_rule_has_nothing_that_was_not_declared(account: Any) -> None:
    """No confirmation URL, no headers, no error action; switched off when it says so; a name that AWS takes."""
    make_resource(account, rule(enabled=False, https=[{"url": URL}]))

    asked = account.asked("CreateTopicRule")
    assert re.fullmatch(r"telemetry_[0-9a-f]{7}", asked["ruleName"])
    assert asked["topicRulePayload"] == {
        "sql": "SELECT * FROM 'a'",
        "awsIotSqlVersion": "2016-03-23",
        "ruleDisabled": True,
        "actions": [{"http": {"url": URL}}],
    }


@pytest.mark.parametrize(
    ("inputs", "told"),
    [
        ({"sns": [{}]}, "input sns is not supported"),
        ({"tags": {"a": "b"}}, "input tags is not supported"),
        ({"https": [{"url": URL, "auth": {}}]}, "input https.auth is not supported; supported are confirmationUrl"),
        ({"https": [{"url": URL, "httpHeaders": [{"key": "a", "colour": 1}]}]}, "input https.httpHeaders.colour"),
        ({"errorAction": {"s3": {}}}, "input errorAction.s3 is not supported; supported are sqs"),
        ({"errorAction": {"sqs": {"colour": 1}}}, "input errorAction.sqs.colour is not supported"),
    ],
)
def test_a_rule_refuses_what_it_would_leave_out(inputs: dict[str, Any], told: str, account: Any) -> None:
    """By name, before anything is made."""
    with pytest.raises(ProvisioningError, match=re.escape(told)):
        make_resource(account, rule(**inputs))

    assert account.calls == []


def test_a_rule_that_is_refused_is_told_with_awss_words(account: Any) -> None:
    """The SQL's error comes through."""
    account.refuses = "CreateTopicRule"

    with pytest.raises(ProvisioningError, match=r"TopicRule telemetry \(iot:CreateTopicRule\): Denied: no"):
        make_resource(account, rule())
