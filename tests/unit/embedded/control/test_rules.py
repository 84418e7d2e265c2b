"""Topic rules, through boto3."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import botocore.exceptions
import pytest

from harness.embedded.control import rules

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET = "the secret of the receiver"
SQL = "SELECT * FROM 'things/telemetry'"


def error_of(call: Callable[[], object]) -> tuple[str, str, int]:
    """Return code, message and HTTP status of a call that is refused."""
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        call()
    response = caught.value.response
    return response["Error"]["Code"], response["Error"]["Message"], response["ResponseMetadata"]["HTTPStatusCode"]


def http(url: str = "https://localhost:1/ingest", **members: Any) -> dict[str, Any]:
    """Return an HTTP action with a secret header."""
    return {"http": {"url": url, "headers": [{"key": "X-Iot-Secret", "value": SECRET}], **members}}


def payload(*actions: dict[str, Any], sql: str = SQL, **members: Any) -> dict[str, Any]:
    """Return the payload of a rule; one HTTP action when none is given."""
    return {"sql": sql, "actions": list(actions or (http(),)), **members}


def sqs(role_arn: str) -> dict[str, Any]:
    """Return an error action."""
    return {"sqs": {"queueUrl": "http://localhost:1/111122223333/q", "roleArn": role_arn}}


@pytest.fixture
def iot(stand: Any) -> Any:
    """The account's root as a client of ``iot``."""
    return stand.client("iot")


def test_a_rule_reaches_the_broker_as_it_was_given(iot: Any, stand: Any, make_role: Any) -> None:
    """Name, ARN, SQL, version, actions and error action; and all of it can be read again."""
    role_arn = make_role("rules")
    given = payload(awsIotSqlVersion="2016-03-23", description="d", errorAction=sqs(role_arn))

    iot.create_topic_rule(ruleName="r_1", topicRulePayload=given)

    record = stand.broker.snapshot.rules["r_1"]
    arn = f"arn:aws:iot:{stand.config.region}:{stand.config.account_id}:rule/r_1"
    assert (record.name, record.arn, record.sql, record.sql_version) == ("r_1", arn, SQL, "2016-03-23")
    assert ([json.loads(text) for text in record.actions], record.is_disabled) == ([http()], False)
    assert json.loads(record.error_action) == sqs(role_arn)
    answer = iot.get_topic_rule(ruleName="r_1")
    created_at = answer["rule"].pop("createdAt")
    assert (answer["ruleArn"], created_at.tzinfo is not None) == (arn, True)
    assert answer["rule"] == {"ruleName": "r_1", "ruleDisabled": False, **given}


def test_a_rule_is_switched_replaced_and_deleted_at_the_broker(iot: Any, stand: Any) -> None:
    """Each step holds when the call returns; a replaced rule keeps the time it was created."""
    iot.create_topic_rule(ruleName="r", topicRulePayload=payload(ruleDisabled=True))
    assert stand.broker.snapshot.rules["r"].is_disabled
    iot.enable_topic_rule(ruleName="r")
    assert not stand.broker.snapshot.rules["r"].is_disabled
    iot.disable_topic_rule(ruleName="r")
    assert stand.broker.snapshot.rules["r"].is_disabled
    created_at = iot.get_topic_rule(ruleName="r")["rule"]["createdAt"]

    iot.replace_topic_rule(ruleName="r", topicRulePayload=payload(sql="SELECT * FROM 'b'"))

    assert stand.broker.snapshot.rules["r"].sql == "SELECT * FROM 'b'"
    assert not stand.broker.snapshot.rules["r"].is_disabled
    assert iot.get_topic_rule(ruleName="r")["rule"]["createdAt"] == created_at
    iot.delete_topic_rule(ruleName="r")
    assert stand.broker.snapshot.rules == {}


def test_without_a_version_a_rule_is_of_the_oldest(iot: Any, stand: Any) -> None:
    """As the API has it, not the console."""
    iot.create_topic_rule(ruleName="r", topicRulePayload=payload())

    assert stand.broker.snapshot.rules["r"].sql_version == "2015-10-08"


def test_a_rule_made_twice_is_a_conflict(iot: Any, stand: Any) -> None:
    """And the first one stays."""
    iot.create_topic_rule(ruleName="r", topicRulePayload=payload())

    call = {"ruleName": "r", "topicRulePayload": payload(http("https://localhost:2/"), sql="SELECT * FROM 'b'")}
    assert error_of(lambda: iot.create_topic_rule(**call))[::2] == ("ResourceAlreadyExistsException", 409)
    assert stand.broker.snapshot.rules["r"].sql == SQL
    assert len(iot.list_topic_rule_destinations()["destinationSummaries"]) == 1


def test_a_rule_that_is_not_there_is_denied_and_deleted(iot: Any) -> None:
    """The model knows no 404; deleting what is gone succeeds."""
    for call in (
        lambda: iot.get_topic_rule(ruleName="r"),
        lambda: iot.enable_topic_rule(ruleName="r"),
        lambda: iot.disable_topic_rule(ruleName="r"),
        lambda: iot.replace_topic_rule(ruleName="r", topicRulePayload=payload()),
    ):
        code, message, status = error_of(call)
        assert (code, status) == ("UnauthorizedException", 401)
        assert message == "Access to topic rule 'r' was denied: there is none of this name"
    iot.delete_topic_rule(ruleName="r")


@pytest.mark.parametrize("name", ["a-b", "a.b", "ä", "a b", "x" * 129])
def test_a_name_that_aws_does_not_take_is_refused(iot: Any, stand: Any, name: str) -> None:
    """Letters, digits and underscores, at most 128; the message says so."""
    code, message, status = error_of(lambda: iot.create_topic_rule(ruleName=name, topicRulePayload=payload()))

    assert (code, status) == ("InvalidRequestException", 400)
    assert ("^[a-zA-Z0-9_]+$" in message) or ("less than or equal to 128" in message)
    assert stand.broker.snapshot.rules == {}


def test_sql_that_cannot_be_parsed_is_shown_with_line_column_and_caret(iot: Any, stand: Any) -> None:
    """At creation and at replacement, which leaves the rule as it was."""
    iot.create_topic_rule(ruleName="r", topicRulePayload=payload())
    bad = payload(sql="SELECT *\nFROM 'a' WERE x = 1")

    for operation, name in (("create_topic_rule", "s"), ("replace_topic_rule", "r")):
        call = getattr(iot, operation)
        code, message, status = error_of(lambda call=call, name=name: call(ruleName=name, topicRulePayload=bad))
        assert (code, status) == ("SqlParseException", 400)
        assert message.startswith("line 2, column 10: ")
        assert message.endswith("\n  FROM 'a' WERE x = 1\n           ^")
    assert {name: rule.sql for name, rule in stand.broker.snapshot.rules.items()} == {"r": SQL}


def test_a_statement_without_from_is_shown_with_line_column_and_caret(iot: Any, stand: Any) -> None:
    """Only Basic Ingest, not served yet, would reach such a rule."""
    bad = payload(sql="SELECT\n  temp\n")

    code, message, status = error_of(lambda: iot.create_topic_rule(ruleName="r", topicRulePayload=bad))

    assert (code, status) == ("SqlParseException", 400)
    assert message.startswith("line 2, column 7: FROM is missing: only Basic Ingest")
    assert message.endswith("\n    temp\n        ^")
    assert stand.broker.snapshot.rules == {}


@pytest.mark.parametrize("version", ["2016-03-24", "x" * 100])
def test_a_version_of_sql_that_there_is_not_is_refused(iot: Any, version: str) -> None:
    """The message names those there are."""
    code, message, _ = error_of(
        lambda: iot.create_topic_rule(ruleName="r", topicRulePayload=payload(awsIotSqlVersion=version))
    )

    assert (code, "2015-10-08, 2016-03-23, beta" in message) == ("InvalidRequestException", True)


def test_an_action_that_does_not_run_here_is_refused_by_name(iot: Any, stand: Any, make_role: Any) -> None:
    """As an action, as an error action, and as a part of an HTTP action; nothing is made of them."""
    role_arn = make_role("rules")
    refused = {
        "dynamoDBv2": payload({"dynamoDBv2": {"roleArn": role_arn, "putItem": {"tableName": "t"}}}),
        "sqs": payload(sqs(role_arn)),
        "republish": payload(errorAction={"republish": {"roleArn": role_arn, "topic": "t"}}),
        "http": payload(errorAction=http()),
        "http.enableBatching": payload(http(enableBatching=True)),
    }

    for name, given in refused.items():
        code, message, status = error_of(
            lambda given=given: iot.create_topic_rule(ruleName="r", topicRulePayload=given)
        )
        assert (code, status, message.startswith(f"The action {name} is not run here yet")) == (
            "InvalidRequestException",
            400,
            True,
        )
    assert (stand.broker.snapshot.rules, stand.broker.snapshot.destinations) == ({}, {})


def test_a_member_that_the_model_lacks_is_refused(stand: Any) -> None:
    """It might mean something to who sent it."""
    body = json.dumps({**payload(), "errorActions": []}).encode()

    status, _, answer = stand.send_signed("POST", "/rules/r", service="iot", body=body)

    assert (status, b"no member errorActions here" in answer) == (400, True)


def test_a_payload_nested_too_deeply_is_refused(stand: Any) -> None:
    """As any other nonsense, whatever its depth."""
    for depth in (100, 300, 900):
        text = json.dumps(payload(http(x=0)))
        body = text.replace('"x": 0', '"x": ' + "[" * depth + "]" * depth).encode()
        assert stand.send_signed("POST", "/rules/r", service="iot", body=body)[0] == 400


def test_a_role_must_exist_and_trust_iot(iot: Any, stand: Any, make_role: Any) -> None:
    """Said when the rule is made, not when it fails first; with the trust policy's own words."""
    stranger = make_role("stranger", service="lambda.amazonaws.com")
    missing = f"arn:aws:iam::{stand.config.account_id}:role/missing"
    foreign = "arn:aws:iam::999999999999:role/rules"

    for role_arn, why in (
        (stranger, "trusts Service lambda.amazonaws.com"),
        (missing, "the role does not exist"),
        (foreign, "the role does not exist"),
    ):
        given = payload(errorAction=sqs(role_arn))
        code, message, _ = error_of(lambda given=given: iot.create_topic_rule(ruleName="r", topicRulePayload=given))
        assert (code, why in message) == ("InvalidRequestException", True)
    iot.create_topic_rule(ruleName="r", topicRulePayload=payload(errorAction=sqs(make_role("rules"))))


@pytest.mark.parametrize(
    "given",
    [
        payload(http(headers=[{"key": "X-Iot-Secret", "value": f"{SECRET} ${{nonsense("}])),
        payload(http(headers=[{"key": "X-Iot-Secret", "value": f"{SECRET} ${{nonsense(1)}}"}])),
        payload(http(headers=[{"key": "X-Iot-Secret", "value": f"{SECRET}\n"}])),
        payload(http(), {"sqs": {"queueUrl": "q"}}),
        payload(http(), awsIotSqlVersion="1"),
        payload(http(), sql="SELECT"),
        payload(http(url="http://localhost/")),
        payload(http(enableBatching=True)),
    ],
)
def test_no_message_and_no_record_shows_what_a_header_holds(iot: Any, stand: Any, given: dict[str, Any]) -> None:
    """Whatever is wrong with a rule; its secret is the receiver's."""
    with pytest.raises((botocore.exceptions.ClientError, botocore.exceptions.ParamValidationError)) as caught:
        iot.create_topic_rule(ruleName="r", topicRulePayload=given)
    body = json.dumps(given).encode()
    status, _, answer = stand.send_signed("POST", "/rules/r", service="iot", body=body)
    stand.broker.wait_for("trace_append")

    assert status == 400
    assert SECRET not in str(caught.value)
    assert SECRET.encode() not in answer
    assert SECRET not in json.dumps(stand.broker.trace())


def test_a_rule_that_is_accepted_leaves_no_secret_in_the_trace(iot: Any, stand: Any) -> None:
    """Neither when it is made nor when it is read."""
    iot.create_topic_rule(ruleName="r", topicRulePayload=payload())
    assert iot.get_topic_rule(ruleName="r")["rule"]["actions"] == [http()]
    stand.broker.wait_for("trace_append")
    records = stand.broker.trace()

    assert any(record["detail"].get("operation") == "CreateTopicRule" for record in records)
    assert SECRET not in json.dumps(records)
    assert SECRET not in repr(stand.broker.snapshot.rules)


def test_a_rule_brings_the_destination_of_its_url_along(iot: Any, stand: Any) -> None:
    """Without confirmationUrl the url is it; one that is there already is shared."""
    iot.create_topic_rule(ruleName="a", topicRulePayload=payload(http("https://localhost:1/ingest")))
    iot.create_topic_rule(
        ruleName="b",
        topicRulePayload=payload(
            http("https://localhost:1/ingest/more", confirmationUrl="https://localhost:1/ingest"),
            http("https://localhost:2/x", confirmationUrl="https://localhost:2/"),
        ),
    )

    urls = [one.confirmation_url for one in stand.broker.snapshot.destinations.values()]
    assert sorted(urls) == ["https://localhost:1/ingest", "https://localhost:2/"]


def test_a_rule_with_a_template_in_its_url_brings_none_along(iot: Any, stand: Any) -> None:
    """Its destination is made by hand."""
    iot.create_topic_rule(
        ruleName="r",
        topicRulePayload=payload(http("https://localhost:1/${topic()}", confirmationUrl="https://localhost:1/")),
    )

    assert stand.broker.snapshot.destinations == {}


def test_rules_are_listed_by_topic_and_by_whether_they_are_on(iot: Any, stand: Any) -> None:
    """With the pattern each has; ``a/#`` is not about ``a``, as at the broker."""
    patterns = {"one": "SELECT * FROM 'a/+'", "two": "SELECT * FROM 'a/#'", "three": "SELECT * FROM 'b'"}
    for name, sql in patterns.items():
        iot.create_topic_rule(ruleName=name, topicRulePayload=payload(sql=sql, ruleDisabled=name == "one"))

    def names(**how: Any) -> list[str]:
        return [rule["ruleName"] for rule in iot.list_topic_rules(**how)["rules"]]

    assert names() == ["one", "three", "two"]
    assert names(topic="a/b") == ["one", "two"]
    assert (names(topic="a"), names(topic="a/b/c")) == ([], ["two"])
    assert (names(ruleDisabled=True), names(ruleDisabled=False)) == (["one"], ["three", "two"])
    rule = iot.list_topic_rules(topic="b")["rules"][0]
    assert (rule["topicPattern"], rule["ruleDisabled"]) == ("b", False)
    assert rule["ruleArn"] == stand.broker.snapshot.rules["three"].arn


def test_a_list_of_rules_comes_in_pages(iot: Any) -> None:
    """As many as asked for; a token that was made up is refused."""
    for name in "abc":
        iot.create_topic_rule(ruleName=name, topicRulePayload=payload())

    pages = iot.get_paginator("list_topic_rules").paginate(PaginationConfig={"PageSize": 2})
    assert [[rule["ruleName"] for rule in page["rules"]] for page in pages] == [["a", "b"], ["c"]]
    assert error_of(lambda: iot.list_topic_rules(nextToken="ä"))[0] == "InvalidRequestException"


def test_there_are_no_more_and_no_longer_rules_than_aws_has(
    iot: Any, stand: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is kept has an end; what is there stays."""
    long = payload(description="x" * rules.MAX_RULE_BYTES)
    assert "longer than 262144 bytes" in error_of(lambda: iot.create_topic_rule(ruleName="r", topicRulePayload=long))[1]

    monkeypatch.setattr(rules, "MAX_RULES", 1)
    iot.create_topic_rule(ruleName="a", topicRulePayload=payload())
    call = {"ruleName": "b", "topicRulePayload": payload()}
    assert error_of(lambda: iot.create_topic_rule(**call))[0] == "LimitExceededException"
    assert list(stand.broker.snapshot.rules) == ["a"]


def test_a_rule_needs_its_own_permission_and_that_to_pass_its_role(stand: Any, make_user: Any, make_role: Any) -> None:
    """On the rule's ARN and on the role's; either alone is not enough."""
    role_arn, other_arn = make_role("rules"), make_role("other")
    rule_arn = f"arn:aws:iot:{stand.config.region}:{stand.config.account_id}:rule/mine_*"
    create = {"Effect": "Allow", "Action": ["iot:CreateTopicRule", "iot:ReplaceTopicRule"], "Resource": rule_arn}
    pass_role = {"Effect": "Allow", "Action": "iam:PassRole", "Resource": role_arn}
    both = stand.client("iot", make_user(create, pass_role, name="both"))
    creator = stand.client("iot", make_user(create, name="creator"))
    given = payload(errorAction=sqs(role_arn))

    code, message, status = error_of(lambda: creator.create_topic_rule(ruleName="mine_1", topicRulePayload=given))
    assert (code, status) == ("AccessDeniedException", 403)
    assert f"not authorized to perform: iam:PassRole on resource: {role_arn}" in message
    assert error_of(lambda: both.create_topic_rule(ruleName="other", topicRulePayload=given))[0] == code
    foreign = payload(errorAction=sqs(other_arn))
    assert error_of(lambda: both.create_topic_rule(ruleName="mine_1", topicRulePayload=foreign))[0] == code
    both.create_topic_rule(ruleName="mine_1", topicRulePayload=given)
    assert error_of(lambda: both.replace_topic_rule(ruleName="mine_1", topicRulePayload=foreign))[0] == code
    creator.create_topic_rule(ruleName="mine_2", topicRulePayload=payload())
    assert error_of(lambda: both.get_topic_rule(ruleName="mine_1"))[0] == code
