"""Substitution templates: text with expressions in it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from harness.errors import RuleSqlError
from harness.iot.rules import PayloadError, TemplateTooLong, TemplateUndefined, parse_template

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.iot.rules import RuleMessage

PAYLOAD = b'{"a":{"b":"x"},"n":null,"t":10.0,"l":[1,2],"y":true,"value":"}"}'


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", ""),
        ("plain", "plain"),
        ("a $ b } { $x $$", "a $ b } { $x $$"),
        ("${topic()}", "things/telemetry"),
        ("a ${topic(1)} b ${ clientid() } c", "a things b d-1 c"),
        ("${a.b}${a.b}", "xx"),
        ("${timestamp()}", "1795291262123"),
        ("$${a.b}$", "$x$"),
        ("${t}/${y}/${l}/${a}", '10/true/[1,2]/{"b":"x"}'),
        ("${1 + 2}", "3"),
        ("${a.b = 'x'}", "true"),
        ("${'}'}|${\"${\"}|${value}", "}|${|}"),
        ("${'it\"s}'}", 'it"s}'),
        # without a value
        ("[${b}]", "[]"),
        ("[${n}]", "[]"),
        ("[${topic(9)}]", "[]"),
    ],
)
def test_an_expression_becomes_its_value(text: str, wanted: str, make_message: Callable[..., RuleMessage]) -> None:
    """Source: iot-substitution-templates; results become text as conversions say."""
    template = parse_template(text, version="2016-03-23")

    assert template.render(make_message(PAYLOAD), undefined="empty") == wanted
    assert template.text == text
    assert template.is_constant == ("${" not in text)
    assert repr(template) == f"Template({text!r})"


@pytest.mark.parametrize(("version", "wanted"), [("2015-10-08", "10.0"), ("2016-03-23", "10")])
def test_an_expression_is_of_the_rules_version(
    version: str, wanted: str, make_message: Callable[..., RuleMessage]
) -> None:
    """Whole decimals are Ints since 2016-03-23."""
    assert parse_template("${t}", version=version).render(make_message(PAYLOAD), undefined="fail") == wanted


@pytest.mark.parametrize("expression", ["b", "n", "traceid()", "a.b > 1"])
def test_an_expression_without_a_value_fails_where_asked(
    expression: str, make_message: Callable[..., RuleMessage]
) -> None:
    """A quirk decides; the twin of the empty text."""
    template = parse_template(f"x${{{expression}}}")
    message = make_message(PAYLOAD, trace_id=None)

    with pytest.raises(TemplateUndefined) as caught:
        template.render(message, undefined="fail")
    assert caught.value.expression == expression
    assert str(caught.value) == f"${{{expression}}} is Undefined"
    assert template.render(message, undefined="empty") == "x"


def test_an_attribute_of_what_is_no_json_fails(make_message: Callable[..., RuleMessage]) -> None:
    """A function does not need JSON."""
    message = make_message(b"\xff")

    assert parse_template("${clientid()}").render(message, undefined="empty") == "d-1"
    with pytest.raises(PayloadError):
        parse_template("${a}").render(message, undefined="empty")


def test_a_text_has_a_bound(make_message: Callable[..., RuleMessage]) -> None:
    """A template that repeats a large attribute often fails, instead of filling the memory."""
    message = make_message(json.dumps({"a": "x" * 65_536}))

    assert len(parse_template("${a}${a}").render(message, undefined="fail")) == 131_072
    with pytest.raises(TemplateTooLong, match="longer than 131072 characters"):
        parse_template("${a}${a}.").render(message, undefined="fail")


@pytest.mark.parametrize(
    ("text", "line", "column", "expected"),
    [
        ("${", 1, 3, "an expression begins with ${ and ends with }"),
        ("ab ${topic()", 1, 6, "an expression begins with ${ and ends with }"),
        ("${'}", 1, 3, "an expression begins with ${ and ends with }"),
        ("${}", 1, 3, "expected an attribute, a value or a function, not the end"),
        ("x ${a b}", 1, 7, "expected an operator or the end, not b"),
        ("x\ny ${a b}", 2, 7, "expected an operator or the end, not b"),
        ("${a} ${sin(1)}", 1, 8, "the function sin is not evaluated here"),
        ("${SELECT * FROM 'a'}", 1, 3, "not SELECT"),
        ("${a AS b}", 1, 5, "expected an operator or the end, not AS"),
        ("${*}", 1, 3, "not *"),
        ("${${a}}", 1, 3, "not $"),
        ("@{a} ${@x}", 1, 8, "SET @name and its variables are not evaluated here yet"),
        ("${a != 1}", 1, 5, "the operator is written <>"),
    ],
)
def test_what_is_no_expression_is_refused_with_its_place(text: str, line: int, column: int, expected: str) -> None:
    """The place is that in the whole template."""
    with pytest.raises(RuleSqlError) as caught:
        parse_template(text)

    assert (caught.value.line, caught.value.column) == (line, column)
    assert expected in caught.value.expected
    assert caught.value.sql == text


def test_a_version_that_is_none_is_an_error() -> None:
    """Even where there is no expression."""
    with pytest.raises(ValueError, match="is no version of rule SQL"):
        parse_template("plain", version="1")
