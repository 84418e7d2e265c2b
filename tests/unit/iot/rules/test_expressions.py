"""Expressions of a message: attributes, literals and calls, per version of the SQL."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from harness.iot.rules.expressions import SQL_VERSIONS, compile_expression, makes_whole_numbers_ints
from harness.iot.rules.grammar import Refusal, parse_expression
from harness.iot.rules.message import PayloadError
from harness.iot.rules.values import UNDEFINED

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.iot.rules import RuleMessage

PAYLOAD = b'{"a":{"b":{"c":1}},"n":null,"l":[{"b":1}],"s":"x","t":10.0,"u":21.5,"A":2,"temperature":50,"topic":"mine"}'


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a.b.c", 1),
        ("a.b", {"c": 1}),
        ("A", 2),
        ("n", None),
        ("topic", "mine"),
        # what is not there is Undefined
        ("b", UNDEFINED),
        ("a.c", UNDEFINED),
        ("a.b.c.d", UNDEFINED),
        ("a.b.c.d.e", UNDEFINED),
        ("n.a", UNDEFINED),
        ("s.a", UNDEFINED),
        ("l.b", UNDEFINED),
        # operators and functions
        ("(temperature - 32) * 5 / 9", 10),
        ("'5' + 3", "53"),
        ("topic()", "things/telemetry"),
        ("topic(2)", "telemetry"),
        ("topic(1 + 1)", "telemetry"),
        ("topic(b)", UNDEFINED),
        ("topic(1) + '/' + clientid()", "things/d-1"),
        ("NOT u > 21", False),
        ("NOT b > 21", UNDEFINED),
        ("u > 21 AND s = 'x'", True),
    ],
)
def test_an_expression_has_a_value(text: str, wanted: object, make_message: Callable[..., RuleMessage]) -> None:
    """Names are told apart by case; the example of the operators' page gives 10."""
    compute = compile_expression(parse_expression(text), whole=True)
    value = compute(make_message(PAYLOAD))

    assert (type(value), value) == (type(wanted), wanted)


@pytest.mark.parametrize(
    ("text", "exact", "whole"),
    [
        ("t", Decimal("10.0"), 10),
        ("10.0", Decimal("10.0"), 10),
        ("t / 4", Decimal("2.5"), 2),
        ("10 / 4.0", Decimal("2.5"), 2),
        ("u", Decimal("21.5"), Decimal("21.5")),
        ("u * 2", Decimal("43.0"), Decimal("43.0")),
    ],
)
def test_a_whole_decimal_is_an_int_since_2016(
    text: str, exact: Decimal, whole: int | Decimal, make_message: Callable[..., RuleMessage]
) -> None:
    """In the payload and in the statement; a result of arithmetic stays as it is."""
    message = make_message(PAYLOAD)
    tree = parse_expression(text)

    assert repr(compile_expression(tree, whole=False)(message)) == repr(exact)
    assert repr(compile_expression(tree, whole=True)(message)) == repr(whole)


def test_an_attribute_needs_json_and_a_function_does_not(make_message: Callable[..., RuleMessage]) -> None:
    """Source: binary-payloads: JSON is parsed as soon as attributes are referenced."""
    message = make_message(b"\x00\x01")

    assert compile_expression(parse_expression("clientid()"), whole=True)(message) == "d-1"
    with pytest.raises(PayloadError):
        compile_expression(parse_expression("a"), whole=True)(message)


@pytest.mark.parametrize(
    ("text", "offset", "name"),
    [
        ("sin(1)", 0, "sin"),
        ("1 + topic(cast(1))", 10, "cast"),
        ("aws_lambda('arn', a)", 0, "aws_lambda"),
        ("get_thing_shadow('a', 'b')", 0, "get_thing_shadow"),
        ("Topic()", 0, "Topic"),
        ("NOT get(a, 'b')", 4, "get"),
    ],
)
def test_a_function_that_is_not_there_is_refused_by_name(text: str, offset: int, name: str) -> None:
    """With those that are."""
    with pytest.raises(Refusal) as caught:
        compile_expression(parse_expression(text), whole=True)

    assert caught.value.offset == offset
    assert caught.value.expected == (
        f"the function {name} is not evaluated here; these are: clientid, newuuid, timestamp, topic, traceid"
    )


def test_three_versions_are_known() -> None:
    """Source: iot-rule-sql-version; the first is what a rule that names none has."""
    assert [makes_whole_numbers_ints(version) for version in SQL_VERSIONS] == [False, True, True]
    with pytest.raises(ValueError, match="'2016' is no version of rule SQL; 2015-10-08, 2016-03-23, beta are"):
        makes_whole_numbers_ints("2016")
