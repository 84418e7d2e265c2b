"""Rules of a test's own: copies of the stack's with something changed."""

from __future__ import annotations

import asyncio
import copy
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import pytest
from botocore.exceptions import ClientError

from harness.clients.rules import Rule, Rules, is_below, rewritten
from harness.errors import TargetUnavailable

if TYPE_CHECKING:
    from conftest import FakeIot


@pytest.mark.parametrize(
    ("sql", "where", "expected"),
    [
        ("SELECT * FROM 'a/b'", None, "SELECT * FROM 'x'"),
        ("SELECT * FROM 'a/b'", "temp > 1", "SELECT * FROM 'x' WHERE temp > 1"),
        ("select temp from 'a' where temp < 0", None, "select temp FROM 'x' where temp < 0"),
        ("SELECT * FROM 'a'\nWHERE temp < 0\n AND b = 1", "temp > 1", "SELECT * FROM 'x' WHERE temp > 1"),
        ("SELECT 'from' AS a FROM 'it''s'", None, "SELECT 'from' AS a FROM 'x'"),
        ('SELECT * FROM "a"', None, "SELECT * FROM 'x'"),
    ],
)
def test_a_statement_listens_elsewhere(sql: str, where: str | None, expected: str) -> None:
    """Topic and condition change, everything else stays as it is."""
    assert rewritten(sql, topic="x", where=where) == expected


def test_a_topic_with_a_quote_stays_one_text() -> None:
    """SQL doubles it."""
    assert rewritten("SELECT * FROM 'a'", topic="it's", where=None) == "SELECT * FROM 'it''s'"


def test_a_statement_without_a_topic_cannot_be_changed() -> None:
    """There is nothing to put in its place."""
    with pytest.raises(ValueError, match="no FROM"):
        rewritten("SELECT *", topic="x", where=None)


@pytest.mark.parametrize(
    ("topic_filter", "topic", "expected"),
    [
        ("a/b", "a/b", True),
        ("a/b", "a/c", False),
        ("a/b", "a/b/c", False),
        ("a/+", "a/b", True),
        ("a/+", "a", False),
        ("a/#", "a", True),
        ("a/#", "a/b/c", True),
        ("a/b/#", "a", False),
        ("#", "a", True),
        ("#", "$aws/a", False),
        ("+/a", "$aws/a", False),
        ("$aws/#", "$aws/a", True),
        ("", "a", False),
    ],
)
def test_a_filter_takes_in_its_topics(topic_filter: str, topic: str, expected: bool) -> None:  # noqa: FBT001 - data
    """Wildcards as in MQTT; what AWS reserves is for filters that say so."""
    assert is_below(topic_filter, topic) is expected


async def test_a_rule_of_a_tests_own_is_a_copy_of_the_stacks(rules: Rules, iot: FakeIot) -> None:
    """It posts the same to the same place under the same conditions, and hears another topic."""
    original = copy.deepcopy(iot.rules["telemetry"])

    rule = await rules.make(topic="things/telemetry/mine")

    made = iot.rules["rule_1"]
    assert rule.name == "rule_1"  # rules know no hyphen
    assert rule.topic_filter == "things/telemetry/mine"
    assert rule.urls == ("https://receiver.test/ingest",)
    assert rule.has_error_action
    assert {name: made[name] for name in ("actions", "errorAction", "awsIotSqlVersion", "ruleDisabled")} == {
        name: original[name] for name in ("actions", "errorAction", "awsIotSqlVersion", "ruleDisabled")
    }
    assert "createdAt" not in made
    assert iot.rules["telemetry"] == original


async def test_a_rule_of_a_tests_own_has_its_own_secret(rules: Rules, iot: FakeIot) -> None:
    """It replaces the stack's, however the header is written there, and no other header."""
    await rules.make(topic="mine", secret="wrong")

    assert iot.rules["rule_1"]["actions"][0]["http"]["headers"] == [
        {"key": "X-Message-Id", "value": "${traceid()}"},
        {"key": "X-Iot-Secret", "value": "wrong"},
    ]


async def test_headers_are_added_replaced_and_left_out(rules: Rules, iot: FakeIot) -> None:
    """By name, in any case."""
    await rules.make(topic="mine", headers={"x-message-id": None, "X-IOT-SECRET": "other", "X-New": "1"})

    assert iot.rules["rule_1"]["actions"][0]["http"]["headers"] == [
        {"key": "X-IOT-SECRET", "value": "other"},
        {"key": "X-New", "value": "1"},
    ]


@pytest.mark.parametrize(
    ("confirmation_url", "expected"), [(None, "https://mine.test/ingest"), ("https://mine.test", "https://mine.test")]
)
async def test_a_rule_that_posts_elsewhere_needs_another_destination(
    rules: Rules, iot: FakeIot, confirmation_url: str | None, expected: str
) -> None:
    """Where none is given, the URL itself is to be confirmed."""
    await rules.make(topic="mine", url="https://mine.test/ingest", confirmation_url=confirmation_url)

    http = iot.rules["rule_1"]["actions"][0]["http"]
    assert (http["url"], http["confirmationUrl"]) == ("https://mine.test/ingest", expected)


async def test_an_action_that_posts_nothing_stays_as_it_is(rules: Rules, iot: FakeIot) -> None:
    """A user's rule may have others beside."""
    iot.rules["telemetry"]["actions"].append({"sqs": {"queueUrl": "https://sqs.test/all"}})

    await rules.make(topic="mine", url="https://mine.test", secret="other")

    assert iot.rules["rule_1"]["actions"][1] == {"sqs": {"queueUrl": "https://sqs.test/all"}}


async def test_a_whole_statement_is_taken_as_it_is(rules: Rules, iot: FakeIot) -> None:
    """Whether it is right is AWS IoT's to say."""
    await rules.make(sql="SELECT nonsense")

    assert iot.rules["rule_1"]["sql"] == "SELECT nonsense"


@pytest.mark.parametrize("changes", [{}, {"topic": "a", "sql": "b"}, {"sql": "b", "where": "c"}])
async def test_a_rule_that_is_not_clear_is_not_made(rules: Rules, iot: FakeIot, changes: dict[str, str]) -> None:
    """Without a topic it would hear everybody's readings."""
    with pytest.raises(ValueError, match="either topic"):
        await rules.make(**changes)

    assert iot.called == []


async def test_a_message_meets_the_rules_that_hear_its_topic(rules: Rules) -> None:
    """The stack's and the test's own, as long as they exist."""
    mine = await rules.make(topic="things/+")
    await rules.make(topic="elsewhere")

    assert [each.name for each in await rules.listening_to("things/telemetry")] == ["telemetry", "rule_1"]
    await rules.remove(mine.name)
    assert [each.name for each in await rules.listening_to("things/telemetry")] == ["telemetry"]
    assert await rules.listening_to("other") == []


async def test_many_who_ask_at_once_read_the_stacks_rule_once(rules: Rules, iot: FakeIot) -> None:
    """A crowd of devices waits for its readings at the same time."""
    asked = await asyncio.gather(*(rules.listening_to("things/telemetry") for _ in range(20)))

    assert {each.name for found in asked for each in found} == {"telemetry"}
    assert len(iot.called) == 1


async def test_the_rules_tell_why_they_hear_nothing(rules: Rules, iot: FakeIot) -> None:
    """Another topic, switched off, or gone: read anew, since it may have changed."""
    listens = "rule telemetry listens to 'things/telemetry': SELECT * FROM 'things/telemetry'"
    assert await rules.described("things/telemetry") == [listens]

    iot.rules["telemetry"]["sql"] = "SELECT * FROM 'thing/telemetry'"
    assert await rules.described("things/telemetry") == [
        "rule telemetry does not listen to things/telemetry, but to 'thing/telemetry': SELECT * FROM 'thing/telemetry'"
    ]
    iot.rules["telemetry"]["ruleDisabled"] = True
    assert await rules.described("things/telemetry") == ["rule telemetry is disabled"]
    del iot.rules["telemetry"]
    (line,) = await rules.described("things/telemetry")
    assert line.startswith("rule telemetry cannot be read: An error occurred (UnauthorizedException)")


async def test_a_stack_without_a_rule_has_none_to_copy(iot: FakeIot) -> None:
    """A stack that was deployed without a receiver."""
    rules = Rules(make_iot=lambda: iot, make_name=str, stack_rule=None)

    assert await rules.described("a") == ["this stack has no rule"]
    assert await rules.listening_to("a") == []
    with pytest.raises(TargetUnavailable, match="no rule to copy"):
        await rules.make(topic="a")


async def test_a_refusal_of_aws_reaches_the_test_as_it_is(rules: Rules, iot: FakeIot) -> None:
    """A test may be about that."""
    del iot.rules["telemetry"]

    with pytest.raises(ClientError, match="UnauthorizedException"):
        await rules.make(topic="a")


async def test_no_connection_is_made_for_nothing(rules: Rules, iot: FakeIot) -> None:
    """Most tests ask nothing about rules."""
    rules.close()
    assert not iot.is_closed

    await rules.listening_to("a")
    rules.close()

    assert iot.is_closed


def test_an_action_that_is_not_http_is_read_too() -> None:
    """A user's stack may have them."""
    rule = Rule.parse({"ruleName": "a", "sql": "SELECT * FROM 'a'", "actions": [{"sqs": {}}, {"http": {"url": "u"}}]})

    assert (rule.actions, rule.urls, rule.has_error_action, rule.is_disabled) == (2, ("u",), False, False)


async def test_a_rule_tells_whose_it_is(iot: FakeIot) -> None:
    """As AWS takes it: the tags of a rule are one text."""
    rules = Rules(make_iot=lambda: iot, make_name=str, stack_rule="telemetry", tags={"a:run": "tw1-2", "b": "10:30Z"})

    await rules.make(topic="mine")

    (called,) = [parameters for operation, parameters in iot.called if operation == "create_topic_rule"]
    assert parse_qs(called["tags"], strict_parsing=True) == {"a:run": ["tw1-2"], "b": ["10:30Z"]}


async def test_a_rule_can_be_noted_before_it_is_made(rules: Rules, iot: FakeIot) -> None:
    """And removed, whether or not it ever was."""
    first, second = rules.new_name(), rules.new_name()

    rule = await rules.make(name=first, topic="mine")

    assert (rule.name, set(iot.rules)) == ("rule_1", {"telemetry", "rule_1"})
    await rules.remove(first)
    await rules.remove(second)
    assert set(iot.rules) == {"telemetry"}
