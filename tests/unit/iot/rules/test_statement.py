"""What a statement makes of a message: §5.1 and §5.6 of the rules, sentence by sentence."""

# ruff: noqa: S608 - rule SQL reaches no database

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import RuleSqlError
from harness.iot.rules import EvaluationFailed, Matched, NotMatched, RuleMessage, parse_statement

if TYPE_CHECKING:
    from collections.abc import Callable

READING = b'{"deviceId": "d-1", "temp": 21.50, "ts": "2026-11-21T20:01:02Z", "at": {"room": "hall", "floor": 1}}'


def result(sql: str, message: RuleMessage, version: str = "2016-03-23") -> object:
    """Give the body of a match, as bytes where it is not JSON; the reason of anything else."""
    evaluation = parse_statement(sql, version=version).evaluate(message)
    if isinstance(evaluation, Matched):
        return evaluation.body.decode() if evaluation.is_json else evaluation.body
    return evaluation


@pytest.mark.parametrize(
    ("select", "wanted"),
    [
        ("*", READING.replace(b": ", b":").replace(b", ", b",").decode()),
        ("temp", '{"temp":21.50}'),
        ("at.room", '{"room":"hall"}'),
        ("at", '{"at":{"room":"hall","floor":1}}'),
        ("at.room AS where_", '{"where_":"hall"}'),
        ("temp AS reading.value, deviceId AS reading.by", '{"reading":{"value":21.50,"by":"d-1"}}'),
        ("topic(2) AS kind, clientid() AS who", '{"kind":"telemetry","who":"d-1"}'),
        ("newuuid() AS a, newuuid() AS b", '{"a":"uuid-1","b":"uuid-2"}'),
        ("temp * 2 AS double", '{"double":43.00}'),
        ("temp > 21 AS warm, NOT true AS cold, null AS none", '{"warm":true,"cold":false,"none":null}'),
        ("'text' AS a, 1 AS b, 1.0 AS c", '{"a":"text","b":1,"c":1}'),
        # Undefined leaves no key
        ("temp, humidity", '{"temp":21.50}'),
        ("humidity", "{}"),
        ("humidity AS a.b", "{}"),
        # the last of one name holds
        ("temp AS a, ts AS a", '{"a":"2026-11-21T20:01:02Z"}'),
        ("temp AS a, ts AS a.b", '{"a":{"b":"2026-11-21T20:01:02Z"}}'),
    ],
)
def test_select_makes_an_object(select: str, wanted: str, make_message: Callable[..., RuleMessage]) -> None:
    """Source: iot-sql-select; an item without alias takes its last name."""
    assert result(f"SELECT {select} FROM 'a'", make_message(READING)) == wanted


@pytest.mark.parametrize(
    ("payload", "select", "wanted"),
    [
        (b'{"a":1}', "*, topic() AS t", '{"a":1,"t":"things/telemetry"}'),
        (b'{"a":1}', "topic() AS t, *", '{"t":"things/telemetry","a":1}'),
        (b'{"a":1}', "*, 2 AS a", '{"a":2}'),
        (b'{"a":1}', "2 AS a, *", '{"a":1}'),
        (b'{"a":{"b":1}}', "*, 2 AS a.c", '{"a":{"b":1,"c":2}}'),
        (b'{"a":5}', "*, 2 AS a.c", '{"a":{"c":2}}'),
        (b'{"a":1}', "*, traceid() AS t", '{"a":1}'),
        (b'{"a":1}', "*, b", '{"a":1}'),
    ],
)
def test_a_star_beside_items_adds_to_the_payload(
    payload: bytes, select: str, wanted: str, make_message: Callable[..., RuleMessage]
) -> None:
    """Source: iot-sql-select; the payload itself stays as it was for the next rule."""
    message = make_message(payload, trace_id=None)

    assert result(f"SELECT {select} FROM 'a'", message) == wanted
    assert result("SELECT * FROM 'a'", message) == payload.decode()


@pytest.mark.parametrize(
    ("payload", "wanted"),
    [
        (b' {"a" : 10.0, "b": [1.0, {"c": 2.50}]}\n', '{"a":10,"b":[1,{"c":2.50}]}'),
        (b'{"a":1,"a":2}', '{"a":2}'),
        ('{"a":"\\u00e9"}', '{"a":"é"}'),
        (b'{"a":"\\ud800"}', '{"a":"\\ud800"}'),
        # values that are no object pass through
        (b"[1, 2]", "[1,2]"),
        (b"80", "80"),
        (b'"text"', '"text"'),
        (b"null", "null"),
        # what is no JSON goes on as it came
        (b"", b""),
        (b"\x00\xff", b"\x00\xff"),
        (b"temp=21", b"temp=21"),
        (b'{"a":NaN}', b'{"a":NaN}'),
        (b'{"a":1} x', b'{"a":1} x'),
    ],
)
def test_a_star_alone_forwards_the_payload(
    payload: bytes | str, wanted: object, make_message: Callable[..., RuleMessage]
) -> None:
    """Source: binary-payloads: raw bytes where it is not JSON."""
    assert result("SELECT * FROM 'a'", make_message(payload)) == wanted


@pytest.mark.parametrize(("version", "wanted"), [("2015-10-08", '{"a":10.0}'), ("2016-03-23", '{"a":10}')])
def test_the_version_says_what_a_whole_decimal_is(
    version: str, wanted: str, make_message: Callable[..., RuleMessage]
) -> None:
    """Source: iot-sql-data-types."""
    assert result("SELECT * FROM 'a'", make_message(b'{"a":10.0}'), version) == wanted


@pytest.mark.parametrize(
    ("payload", "sql", "wanted"),
    [
        (b"", "SELECT *, timestamp() AS t FROM 'a'", '{"t":1795291262123}'),
        (b"", "SELECT a, topic(1) AS t FROM 'a'", '{"t":"things"}'),
        (b"", "SELECT * FROM 'a' WHERE clientid() = 'd-1'", b""),
        (b"\xff", "SELECT timestamp() AS t FROM 'a'", '{"t":1795291262123}'),
        (b"\xff", "SELECT * FROM 'a' WHERE clientid() = 'd-1'", b"\xff"),
        (b"[1]", "SELECT a, 1 AS b FROM 'a'", '{"b":1}'),
    ],
)
def test_json_is_only_asked_for_where_attributes_are(
    payload: bytes, sql: str, wanted: object, make_message: Callable[..., RuleMessage]
) -> None:
    """Source: binary-payloads; an empty payload is treated like an empty object."""
    assert result(sql, make_message(payload)) == wanted


@pytest.mark.parametrize(
    ("payload", "sql", "because"),
    [
        (b"temp=21", "SELECT temp FROM 'a'", "the payload is not JSON: Expecting value at character 1"),
        (b"temp=21", "SELECT *, 1 AS b FROM 'a'", "the payload is not JSON: Expecting value at character 1"),
        (b"temp=21", "SELECT * FROM 'a' WHERE temp > 20", "the payload is not JSON: Expecting value at character 1"),
        (b"\xff", "SELECT a FROM 'a'", "the payload is not JSON: byte 1 is not UTF-8"),
        (b" ", "SELECT a FROM 'a'", "the payload is not JSON: Expecting value at character 2"),
        (b"[1, 2]", "SELECT *, 1 AS b FROM 'a'", "* beside other items needs an object, not [1,2]"),
        (
            b'"' + b"x" * 100 + b'"',
            "SELECT 1 AS b, * FROM 'a'",
            f'* beside other items needs an object, not "{"x" * 59}…',
        ),
        (b"[1e1000]", "SELECT * FROM 'a'", "the payload is JSON that a rule cannot hold: a number beyond 9.99E999"),
        (
            b"[" * 60_000 + b"]" * 60_000,
            "SELECT * FROM 'a'",
            "the payload is JSON that a rule cannot hold: nested more than 100 levels deep",
        ),
    ],
)
def test_a_payload_that_is_not_what_a_statement_needs_fails(
    payload: bytes, sql: str, because: str, make_message: Callable[..., RuleMessage]
) -> None:
    """Source: binary-payloads: the rule fails with ParseError."""
    assert result(sql, make_message(payload)) == EvaluationFailed(kind="ParseError", because=because)


def test_a_result_has_a_bound(make_message: Callable[..., RuleMessage]) -> None:
    """A statement that repeats a large attribute often fails, instead of filling the memory."""
    message = make_message(json.dumps({"a": "x" * 100_000}))
    few, many = (", ".join(f"a AS a{number}" for number in range(count)) for count in (10, 11))

    assert isinstance(parse_statement(f"SELECT {few} FROM 'a'").evaluate(message), Matched)
    assert parse_statement(f"SELECT {many} FROM 'a'").evaluate(message) == EvaluationFailed(
        kind="ResultTooLarge", because="the result is longer than 1048576 characters"
    )


@pytest.mark.parametrize(
    ("where", "because"),
    [
        ("temp > 100", "WHERE temp > 100 is false (temp = 21.50)"),
        ("humidity > 1", "WHERE humidity > 1 is Undefined (humidity is missing)"),
        ("deviceId > 1", 'WHERE deviceId > 1 is Undefined (deviceId = "d-1")'),
        (
            "temp  >\n 100 and topic(2)  = 'x'",
            "WHERE temp > 100 and topic(2) = 'x' is false (temp = 21.50, topic(2) = \"telemetry\")",
        ),
        ("temp > 100 OR temp < 0", "WHERE temp > 100 OR temp < 0 is false (temp = 21.50)"),
        ("NOT (at.floor = 1)", "WHERE NOT (at.floor = 1) is false (at.floor = 1)"),
        ("at = 1", 'WHERE at = 1 is false (at = {"room":"hall","floor":1})'),
        ("'b' = 'c'", "WHERE 'b' = 'c' is false"),
        # anything but true
        ("false", "WHERE false is false"),
        ("null", "WHERE null is null"),
        ("1", "WHERE 1 is 1"),
        ("temp", "WHERE temp is 21.50 (temp = 21.50)"),
        ("'yes'", "WHERE 'yes' is \"yes\""),
        ("'false'", "WHERE 'false' is \"false\""),
        ("ts", 'WHERE ts is "2026-11-21T20:01:02Z" (ts = "2026-11-21T20:01:02Z")'),
    ],
)
def test_a_statement_that_does_not_match_says_why(
    where: str, because: str, make_message: Callable[..., RuleMessage]
) -> None:
    """Source: iot-sql-where: neither false nor Undefined is an error; each value is named once."""
    assert result(f"SELECT * FROM 'a' WHERE {where}", make_message(READING)) == NotMatched(because=because)


def test_a_long_value_is_shown_in_part(make_message: Callable[..., RuleMessage]) -> None:
    """A trace does not repeat whole payloads."""
    message = make_message(json.dumps({"a": "x" * 1000}))

    assert result("SELECT * FROM 'a' WHERE a = 'y'", message) == NotMatched(
        because=f"WHERE a = 'y' is false (a = \"{'x' * 59}…)"
    )


@pytest.mark.parametrize(
    "where",
    [
        "true",
        "'true'",
        "temp > 21",
        "temp = 21.5",
        "temp <= 21.5 AND at.room = 'hall'",
        "humidity > 1 OR clientid() = 'd-1' OR true",
        "NOT temp > 100",
        "at.floor <> 2",
        "topic() = 'things/telemetry'",
    ],
)
def test_a_statement_matches_when_its_where_is_true(where: str, make_message: Callable[..., RuleMessage]) -> None:
    """The twins of those that do not; an Undefined operand makes OR Undefined."""
    evaluation = parse_statement(f"SELECT temp FROM 'a' WHERE {where}").evaluate(make_message(READING))

    if where.startswith("humidity"):
        assert isinstance(evaluation, NotMatched)
    else:
        assert evaluation == Matched(body=b'{"temp":21.50}', is_json=True)


def test_where_comes_before_select_and_does_not_know_its_aliases(make_message: Callable[..., RuleMessage]) -> None:
    """Source: iot-sql-where."""
    assert result("SELECT temp AS t FROM 'a' WHERE t > 1", make_message(READING)) == NotMatched(
        because="WHERE t > 1 is Undefined (t is missing)"
    )


@pytest.mark.parametrize(
    ("sql", "column", "expected"),
    [
        ("SELECT topic() FROM 'a'", 8, "a name is needed: topic() AS name"),
        ("SELECT a, 1 FROM 'a'", 11, "a name is needed: 1 AS name"),
        ("SELECT (a + b) FROM 'a'", 9, "a name is needed: a + b AS name"),
        ("SELECT NOT a FROM 'a'", 8, "a name is needed: NOT a AS name"),
        ("SELECT *, a, * FROM 'a'", 14, "a SELECT list has one *"),
        ("SELECT *, * FROM 'a'", 11, "a SELECT list has one *"),
        ("SELECT sin(a) AS b FROM 'a'", 8, "the function sin is not evaluated here; these are: clientid, newuuid,"),
        ("SELECT * FROM 'a' WHERE cos(a) = 1", 25, "the function cos is not evaluated here"),
        ("SELECT * FROM ''", 15, "a topic filter is empty, [MQTT-4.7.3-1]"),
        ("SELECT * FROM 'a/#/b'", 15, "a topic filter has a # that is not its whole last level, [MQTT-4.7.1-1]"),
        ("SELECT * FROM 'a/b+'", 15, "a topic filter has a + that is not a whole level, [MQTT-4.7.1-2]"),
        ("SELECT * FROM 'a\0'", 15, "a topic filter holds U+0000"),
    ],
)
def test_a_statement_that_cannot_be_evaluated_is_refused(sql: str, column: int, expected: str) -> None:
    """Refused when the rule is made, with the place."""
    with pytest.raises(RuleSqlError) as caught:
        parse_statement(sql)

    assert (caught.value.line, caught.value.column) == (1, column)
    assert caught.value.expected.startswith(expected)


@pytest.mark.parametrize(("sql", "topic_filter"), [("SELECT * FROM '+/b/#'", "+/b/#"), ("SELECT *", None)])
def test_a_statement_knows_its_topic_filter(sql: str, topic_filter: str | None) -> None:
    """Without FROM, only Basic Ingest reaches it."""
    statement = parse_statement(sql, version="beta")

    assert (statement.sql, statement.version, statement.topic_filter) == (sql, "beta", topic_filter)
    assert repr(statement) == f"Statement({sql!r}, version='beta')"


def test_a_version_that_is_none_is_an_error() -> None:
    """The control plane has asked before."""
    with pytest.raises(ValueError, match="is no version of rule SQL"):
        parse_statement("SELECT * FROM 'a'", version="2017-01-01")


@given(st.binary(max_size=60) | st.text(alphabet='{}[]":,ab0.e-\\ud8', max_size=60).map(str.encode))
@settings(max_examples=200, deadline=None)
def test_no_payload_makes_a_statement_raise(payload: bytes) -> None:
    """Devices send what they like; a JSON result is JSON."""
    message = RuleMessage(topic="a", payload=payload, timestamp=1, make_uuid=lambda: "u", account_id="1")
    for sql in ("SELECT *", "SELECT *, a.b AS c.d, topic() AS e", "SELECT a + b AS c, a > b AS d WHERE a <> 1"):
        evaluation = parse_statement(sql).evaluate(message)
        if isinstance(evaluation, Matched) and evaluation.is_json:
            json.loads(evaluation.body)
