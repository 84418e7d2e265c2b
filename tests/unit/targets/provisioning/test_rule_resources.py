"""Rules and their destinations: the calls they become, the confirmation, and what is refused."""

from __future__ import annotations

import json
import re
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from harness.errors import ProvisioningError
from harness.targets.marks import find_mark
from harness.targets.provisioning.declared import Declared
from harness.targets.provisioning.ledger import Ledger, Noted, read_ledger
from harness.targets.provisioning.resources import RESOURCE_TYPES, make_resource
from harness.targets.provisioning.rule_resources import await_confirmation
from harness.targets.provisioning.waiting import ask_until

if TYPE_CHECKING:
    from pathlib import Path

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
        ({"tagsAll": {"a": "b"}}, "input tagsAll is not supported"),
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


def test_a_rule_of_a_run_has_its_mark_in_name_and_tags(account: Any) -> None:
    """A rule's tags are a query string, and its name takes no hyphen."""
    account.mark = find_mark("tw6b3f0a21-9c4e11d2")

    make_resource(account, rule(tags={"a b": "c&d"}))

    asked = account.asked("CreateTopicRule")
    assert re.fullmatch(r"telemetry_tw6b3f0a21_9c4e11d2_[0-9a-f]{7}", asked["ruleName"])
    assert asked["tags"] == (
        "a%20b=c%26d&thingwright%3Arun=tw6b3f0a21-9c4e11d2&thingwright%3Aexpires=2027-01-07T03%3A44%3A33Z"
    )


def test_a_rule_is_made_without_the_mark_where_rules_have_no_tags(account: Any) -> None:
    """It is in the name as well; tags that the program declares are not left out in silence."""
    account.mark = find_mark("tw6b3f0a21-9c4e11d2")
    account.refusals["CreateTopicRule"] = [(501, "NotImplementedException", "tags"), None]

    make_resource(account, rule())

    assert account.operations() == ["CreateTopicRule", "CreateTopicRule", "GetTopicRule"]
    assert "tags" not in account.calls[1][3]
    account.refusals["CreateTopicRule"] = [(501, "NotImplementedException", "tags")]
    with pytest.raises(ProvisioningError, match="NotImplementedException: tags"):
        make_resource(account, rule(tags={"a": "b"}))
    account.refusals["CreateTopicRule"] = [(400, "SqlParseException", "tags")]
    with pytest.raises(ProvisioningError, match="SqlParseException"):
        make_resource(account, rule())


def remove(account: Any, declared: Declared, **intent: Any) -> None:
    """Take back a resource whose making nobody lived to note."""
    noted = Noted(type=declared.type, name=declared.name, intent=intent)
    RESOURCE_TYPES[declared.type].remove(account, noted)


def test_a_rule_that_is_gone_may_be_denied(account: Any) -> None:
    """AWS denies access to a rule that is not there; to one that is there as well, and that is told."""
    account.refusals["DeleteTopicRule"] = [(401, "UnauthorizedException", "denied")] * 2
    account.lists["ListTopicRules"] = [{"ruleName": "other"}]

    remove(account, rule(), name="t")

    account.lists["ListTopicRules"] = [{"ruleName": "other"}, {"ruleName": "t"}]
    with pytest.raises(ProvisioningError, match="UnauthorizedException"):
        remove(account, rule(), name="t")


def test_a_destination_that_nobody_noted_is_found_by_its_url(account: Any) -> None:
    """Those that were there before are somebody else's, as are those of other URLs."""
    there = account.lists["ListTopicRuleDestinations"] = [
        {"arn": "other", "httpUrlSummary": {"confirmationUrl": "https://localhost:2/ingest"}},
        {"arn": "before", "httpUrlSummary": {"confirmationUrl": URL}},
        {"arn": "vpc", "vpcDestinationSummary": {}},
    ]
    intent = RESOURCE_TYPES[destination().type].intend(account, destination())
    assert intent == {"url": URL, "known": ["before"]}
    there.append({"arn": "ours", "httpUrlSummary": {"confirmationUrl": URL}})

    remove(account, destination(), **intent)

    assert account.asked("DeleteTopicRuleDestination") == {"arn": "ours"}


def test_a_destination_is_removed_by_its_arn(account: Any) -> None:
    """Gone is gone, whether AWS says so or denies access to what is not there."""
    noted = Noted(type=destination().type, name="receiver", intent={"url": URL, "known": []}, id=ARN)
    account.refusals["DeleteTopicRuleDestination"] = [
        None,
        (404, "ResourceNotFoundException", "no"),
        (401, "UnauthorizedException", "denied"),
    ]

    for _ in range(3):
        RESOURCE_TYPES[noted.type].remove(account, noted)

    assert account.operations().count("DeleteTopicRuleDestination") == 3


def test_a_destination_that_was_refused_is_not_looked_for(account: Any, tmp_path: Path) -> None:
    """Another run may have made the one of this URL in the meantime."""
    account.mark = find_mark("tw6b3f0a21-9c4e11d2")
    account.refusals["CreateTopicRuleDestination"] = [(409, "ResourceAlreadyExistsException", "it is there")]
    ledger = Ledger(tmp_path / "ledger")

    with pytest.raises(ProvisioningError, match="it is there"):
        make_resource(account, destination(), ledger=ledger)

    ledger.close()
    assert read_ledger(tmp_path / "ledger") == []
