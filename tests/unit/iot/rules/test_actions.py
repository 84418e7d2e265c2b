"""The actions of a rule: every accepted and every refused form."""

from __future__ import annotations

import json
from typing import Any

import pytest

from harness.errors import RuleSqlError
from harness.iot.quirks import Quirks
from harness.iot.registry import TopicRule
from harness.iot.rules import (
    InvalidAction,
    SqsAction,
    UnsupportedAction,
    check_actions,
    compile_rule,
    destinations_to_create,
)
from harness.iot.rules.actions import KNOWN_ACTIONS

URL = "https://localhost:40004/ingest"
ROLE = "arn:aws:iam::123456789012:role/rules"
SQS: dict[str, Any] = {"sqs": {"queueUrl": "http://127.0.0.1:1/123456789012/dead", "roleArn": ROLE}}


def http(url: object = URL, **more: object) -> dict[str, Any]:
    """Write an action."""
    return {"http": {"url": url, **more}}


def header(key: object = "X-A", value: object = "a", **more: object) -> dict[str, Any]:
    """Write an action with one header."""
    return http(headers=[{"key": key, "value": value, **more}])


def check(*actions: Any, error_action: Any = None, **quirks: str) -> None:
    """Check actions as CreateTopicRule does."""
    check_actions(
        list(actions),
        error_action,
        version="2016-03-23",
        quirks=Quirks().with_mapping({name.replace("_", "-"): value for name, value in quirks.items()}),
    )


@pytest.mark.parametrize(
    ("action", "creates"),
    [
        # (a) a fixed url is its own confirmationUrl
        (http(), URL),
        (http(confirmationUrl=None), URL),
        # (b) both fixed
        (http(confirmationUrl=URL), URL),
        (http(confirmationUrl="https://localhost:40004"), "https://localhost:40004"),
        (http(confirmationUrl="https://localhost:40004/in"), "https://localhost:40004/in"),
        # (c) a template in url, (d) in confirmationUrl: made by hand
        (http(f"{URL}/${{topic(2)}}", confirmationUrl=URL), None),
        (http("${url}", confirmationUrl="${confirmationUrl}"), None),
        (http(URL, confirmationUrl="https://localhost:40004/${topic(2)}"), None),
        # headers
        (http(headers=[]), URL),
        (http(headers=[{"key": "X-Iot-Secret", "value": "s3cret"}, {"key": "x", "value": "${traceid()}"}]), URL),
        (http(headers=[{"key": f"X-{number}", "value": ""} for number in range(100)]), URL),
        (header("X" * 256), URL),
        (header("content-type", "text/plain; charset=utf-8"), URL),
        (header("X-!#$%&'*+.^_`|~-1"), URL),
        (header("X-A", "a\té"), URL),
        (http(enableBatching=False), URL),
    ],
)
def test_an_http_action_may_be(action: dict[str, Any], creates: str | None) -> None:
    """Source: https-rule-action; where nothing is left to templates, the destination comes with the rule."""
    check(action)

    assert destinations_to_create(action) == creates


def test_another_action_brings_no_destination() -> None:
    """Nor is there anything to look at in it."""
    assert destinations_to_create(SQS) is None


@pytest.mark.parametrize(
    ("action", "field", "reason"),
    [
        # the shape
        ("http", "actions[0]", "an object with one member"),
        ({}, "actions[0]", "an object with one member"),
        ({**http(), **SQS}, "actions[0]", "an object with one member"),
        ({"htpp": {}}, "actions[0]", "htpp is no action"),
        ({"http": None}, "actions[0].http", "an object is expected"),
        ({"http": []}, "actions[0].http", "an object is expected"),
        (http(Url=URL), "actions[0].http.Url", "unknown; known are url, confirmationUrl, headers"),
        # url
        ({"http": {}}, "actions[0].http.url", "a string of 1 to 2000 characters is expected"),
        (http(None), "actions[0].http.url", "a string of 1 to 2000 characters is expected"),
        (http(""), "actions[0].http.url", "a string of 1 to 2000 characters is expected"),
        (http(URL + "a" * 2000), "actions[0].http.url", "a string of 1 to 2000 characters is expected"),
        (http("http://localhost/"), "actions[0].http.url", "a URL begins with https://"),
        (http("https://[::1]/"), "actions[0].http.url", "IPv6 addresses are not taken"),
        (http("https://a:b@localhost/"), "actions[0].http.url", "a URL names no user"),
        (http("https://localhost/a b"), "actions[0].http.url", "RFC 3986"),
        (http("https://localhost/a/../b"), "actions[0].http.url", "no . and .. segments"),
        (http(f"{URL}/${{"), "actions[0].http.url", "line 1, column 34: an expression begins with ${"),
        (http(f"{URL}/${{sin(1)}}", confirmationUrl=URL), "actions[0].http.url", "the function sin is not evaluated"),
        # confirmationUrl
        (http(f"{URL}/${{a}}"), "actions[0].http.confirmationUrl", "it is needed where url holds a template"),
        (http(confirmationUrl=""), "actions[0].http.confirmationUrl", "a string of 1 to 2000"),
        (http(confirmationUrl=5), "actions[0].http.confirmationUrl", "a string of 1 to 2000"),
        (http(confirmationUrl="http://localhost:40004"), "actions[0].http.confirmationUrl", "begins with https://"),
        (http(confirmationUrl=URL + "/b"), "actions[0].http.confirmationUrl", "it is the beginning of url"),
        (http("https://a.example", confirmationUrl="https://a"), "actions[0].http.confirmationUrl", "the beginning"),
        (http("https://a${b}/", confirmationUrl="https://a"), "actions[0].http.confirmationUrl", "the beginning"),
        (http("${b}", confirmationUrl="https://a"), "actions[0].http.confirmationUrl", "it is the beginning of url"),
        (http(confirmationUrl="${"), "actions[0].http.confirmationUrl", "an expression begins with ${"),
        (http("ftp://a", confirmationUrl="${a}"), "actions[0].http.url", "a URL begins with https://"),
        # headers
        (http(headers={}), "actions[0].http.headers", "a list of at most 100 headers is expected"),
        (http(headers=None), "actions[0].http.headers", "a list of at most 100 headers is expected"),
        (
            http(headers=[{"key": "a", "value": "b"}] * 101),
            "actions[0].http.headers",
            "a list of at most 100 headers is expected",
        ),
        (http(headers=["X-A: b"]), "actions[0].http.headers[0]", "an object is expected"),
        (header(name="X"), "actions[0].http.headers[0].name", "unknown; known are key, value"),
        (header(""), "actions[0].http.headers[0].key", "a header's name"),
        (header(None), "actions[0].http.headers[0].key", "a header's name"),
        (header("X" * 257), "actions[0].http.headers[0].key", "a header's name of at most 256 characters"),
        (header("${topic()}"), "actions[0].http.headers[0].key", "no template"),
        (header("X A"), "actions[0].http.headers[0].key", "a header's name"),
        (header("X-A:"), "actions[0].http.headers[0].key", "a header's name"),
        (header("X-A\r\nX-B"), "actions[0].http.headers[0].key", "a header's name"),
        (header("é"), "actions[0].http.headers[0].key", "a header's name"),
        (header("Host"), "actions[0].http.headers[0].key", "Host is set by who sends the request"),
        (header("content-LENGTH"), "actions[0].http.headers[0].key", "content-LENGTH is set by who sends"),
        (header("Transfer-Encoding"), "actions[0].http.headers[0].key", "is set by who sends the request"),
        (header(value=None), "actions[0].http.headers[0].value", "a string is expected"),
        (header(value=1), "actions[0].http.headers[0].value", "a string is expected"),
        (header(value="a\r\nX-B: c"), "actions[0].http.headers[0].value", "a character that no header can hold"),
        (header(value="\0"), "actions[0].http.headers[0].value", "a character that no header can hold"),
        (header(value="${a b}"), "actions[0].http.headers[0].value", "expected an operator or the end, not b"),
    ],
)
def test_an_http_action_may_not_be(action: Any, field: str, reason: str) -> None:
    """The field is named as AWS's parameters are."""
    with pytest.raises(InvalidAction) as caught:
        check(action)

    assert caught.value.field == field
    assert reason in caught.value.reason
    assert str(caught.value) == f"{field}: {caught.value.reason}"


def test_a_refusal_does_not_repeat_a_secret() -> None:
    """The answer of CreateTopicRule reaches logs."""
    with pytest.raises(InvalidAction) as caught:
        check(header(value="s3cret ${"))

    assert "line 1, column 10: an expression begins with ${" in caught.value.reason
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("url", ["https://localhost:40004/", "https://localhost:8444/"])
def test_the_ports_are_the_quirks_to_say(url: str) -> None:
    """Source: https-rule-action: 443 and 8443 on AWS; the confirmation URL is bound as well."""
    check(http(url))
    check(http("https://localhost:8443/a", confirmationUrl="https://localhost:8443/"))
    with pytest.raises(InvalidAction, match="443 and 8443 only"):
        check(http(url), http_destination_ports="443-and-8443")
    with pytest.raises(InvalidAction, match=r"confirmationUrl: .* 443 and 8443 only"):
        check(http(url + "${a}", confirmationUrl=url), http_destination_ports="443-and-8443")


@pytest.mark.parametrize("name", sorted(KNOWN_ACTIONS - {"http"}))
def test_an_action_that_does_not_run_here_is_refused_by_name(name: str) -> None:
    """Before anything in it is looked at."""
    with pytest.raises(UnsupportedAction) as caught:
        check(http(), {name: {}})

    assert caught.value.name == name
    assert str(caught.value) == f"The action {name} is not run here yet; http alone is, among actions"


@pytest.mark.parametrize("name", sorted(KNOWN_ACTIONS - {"sqs"}))
def test_an_error_action_that_does_not_run_here_is_refused_by_name(name: str) -> None:
    """HTTP included."""
    with pytest.raises(UnsupportedAction) as caught:
        check(http(), error_action={name: {}})

    assert str(caught.value) == f"The action {name} is not run here yet; sqs alone is, among error actions"


@pytest.mark.parametrize(
    ("more", "name"),
    [
        ({"auth": {"sigv4": {}}}, "http.auth"),
        ({"enableBatching": True}, "http.enableBatching"),
        ({"batchConfig": {}}, "http.batchConfig"),
    ],
)
def test_a_part_that_does_not_run_here_is_refused_by_name(more: dict[str, Any], name: str) -> None:
    """AWS would run it."""
    with pytest.raises(UnsupportedAction) as caught:
        check(http(**more))

    assert caught.value.name == name


def test_a_rule_has_at_most_ten_actions() -> None:
    """Source: botocore's model; none at all is fine."""
    check()
    check(*[http()] * 10)
    with pytest.raises(InvalidAction, match="actions: a rule has at most 10 actions, not 11"):
        check(*[http()] * 11)
    with pytest.raises(InvalidAction, match="actions: a list is expected"):
        check_actions({}, None, version="2016-03-23", quirks=Quirks())  # type: ignore[arg-type] # on purpose
    with pytest.raises(InvalidAction, match=r"actions\[1\]\.http\.url"):
        check(http(), http(""))


@pytest.mark.parametrize(
    ("action", "wanted"),
    [
        (SQS, SqsAction(queue_url="http://127.0.0.1:1/123456789012/dead", role_arn=ROLE)),
        (
            {"sqs": {**SQS["sqs"], "useBase64": True}},
            SqsAction(queue_url="http://127.0.0.1:1/123456789012/dead", role_arn=ROLE, use_base64=True),
        ),
        (
            {"sqs": {"queueUrl": "https://sqs.us-east-1.amazonaws.com/1/a", "roleArn": ROLE, "useBase64": False}},
            SqsAction(queue_url="https://sqs.us-east-1.amazonaws.com/1/a", role_arn=ROLE),
        ),
    ],
)
def test_an_error_action_may_be(action: dict[str, Any], wanted: SqsAction) -> None:
    """Source: sqs-rule-action."""
    check(http(), error_action=action)

    assert compile_rule(rule(error_action=action)).error_action == wanted


@pytest.mark.parametrize(
    ("action", "field", "reason"),
    [
        ([], "errorAction", "an object with one member"),
        ({"sqs": 5}, "errorAction.sqs", "an object is expected"),
        ({"sqs": {}}, "errorAction.sqs.queueUrl", "the URL of a queue, no template, is expected"),
        ({"sqs": {"queueUrl": "dead", "roleArn": ROLE}}, "errorAction.sqs.queueUrl", "the URL of a queue"),
        ({"sqs": {"queueUrl": "https://a/${topic()}"}}, "errorAction.sqs.queueUrl", "no template"),
        ({"sqs": {"queueUrl": 1}}, "errorAction.sqs.queueUrl", "the URL of a queue"),
        ({"sqs": {"queueUrl": "https://a/b"}}, "errorAction.sqs.roleArn", "the ARN of a role is expected"),
        ({"sqs": {"queueUrl": "https://a/b", "roleArn": "rules"}}, "errorAction.sqs.roleArn", "the ARN of a role"),
        (
            {"sqs": {"queueUrl": "https://a/b", "roleArn": "arn:aws:iam::123456789012:user/a"}},
            "errorAction.sqs.roleArn",
            "the ARN of a role",
        ),
        ({"sqs": {**SQS["sqs"], "useBase64": "yes"}}, "errorAction.sqs.useBase64", "true or false is expected"),
        ({"sqs": {**SQS["sqs"], "delay": 1}}, "errorAction.sqs.delay", "unknown; known are queueUrl, roleArn"),
    ],
)
def test_an_error_action_may_not_be(action: Any, field: str, reason: str) -> None:
    """The field is named as AWS's parameters are."""
    with pytest.raises(InvalidAction) as caught:
        check(http(), error_action=action)

    assert caught.value.field == field
    assert reason in caught.value.reason


def rule(*actions: dict[str, Any], error_action: dict[str, Any] | None = None, **more: Any) -> TopicRule:
    """Write the record of a rule."""
    facts: dict[str, Any] = {"sql": "SELECT * FROM 'a/+'", "sql_version": "2016-03-23"}
    return TopicRule(
        name="my_rule",
        arn="arn:aws:iot:us-east-1:123456789012:rule/my_rule",
        actions=tuple(map(json.dumps, actions)),
        error_action=None if error_action is None else json.dumps(error_action),
        **(facts | more),
    )


def test_a_record_becomes_a_rule_that_can_run() -> None:
    """All of it is parsed once."""
    compiled = compile_rule(
        rule(
            http(f"{URL}/${{a}}", confirmationUrl=URL, headers=[{"key": "X-A", "value": "${topic()}"}]),
            http(),
            error_action=SQS,
            is_disabled=True,
        )
    )

    assert (compiled.name, compiled.topic_filter, compiled.is_disabled) == ("my_rule", "a/+", True)
    assert compiled.statement.version == "2016-03-23"
    first, second = compiled.actions
    assert first.confirmation_url is not None
    assert (first.url.text, first.confirmation_url.text) == (f"{URL}/${{a}}", URL)
    assert [(name, value.text) for name, value in first.headers] == [("X-A", "${topic()}")]
    assert (second.url.text, second.confirmation_url, second.headers) == (URL, None, ())
    assert compiled.error_action == SqsAction(queue_url=SQS["sqs"]["queueUrl"], role_arn=ROLE)


def test_a_rule_may_have_no_actions() -> None:
    """Then it does nothing, and says in the trace whether it matched."""
    compiled = compile_rule(rule(sql="SELECT *"))

    assert (compiled.actions, compiled.error_action, compiled.is_disabled) == ((), None, False)
    assert compiled.topic_filter is None


@pytest.mark.parametrize(
    ("record", "error"),
    [
        (rule(sql="SELECT"), RuleSqlError),
        (rule({"s3": {}}), UnsupportedAction),
        (rule(http("")), InvalidAction),
        (rule(error_action={"http": {}}), UnsupportedAction),
        (rule(error_action={"sqs": {}}), InvalidAction),
        (rule(sql_version="1"), ValueError),
    ],
)
def test_a_record_that_nobody_checked_is_an_error(record: TopicRule, error: type[Exception]) -> None:
    """Never a rule that does less than it says."""
    with pytest.raises(error):
        compile_rule(record)
