"""Wildcards and variables, one row per sentence of the documentation."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import PolicyDocumentError
from harness.iot.policy.pattern import Context, Pattern, parse_template

if TYPE_CHECKING:
    from harness.iot.policy.variables import Dialect


def bind(text: str, context: Context | None = None, *, dialect: Dialect = "iot", has_variables: bool = True) -> Pattern:
    """Parse a template and put values in."""
    return parse_template(text, dialect=dialect, pointer="/x", has_variables=has_variables).bind(context or {})


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        # no wildcard: every character, letter case included
        ("topic/a", "topic/a", True),
        ("topic/a", "topic/A", False),
        ("topic/a", "topic/ab", False),
        ("", "", True),
        # * is any run of characters and crosses /
        ("*", "", True),
        ("*", "anything/at all", True),
        ("topic/*", "topic/", True),
        ("topic/*", "topic/a/b/c", True),
        ("topic/*", "topic", False),
        ("*/c", "a/b/c", True),
        ("*/c", "a/b/c/d", False),
        ("topic/*/temp", "topic/a/b/temp", True),
        ("topic/*/temp", "topic/temp", False),
        ("a*b*c", "aXbYc", True),
        ("a*b*c", "aXbYbZc", True),
        ("a*b*c", "acb", False),
        ("a*ab", "aab", True),
        ("a*ab", "ab", False),
        ("a**b", "ab", True),
        ("a*b*b", "ab", False),
        ("*\n*", "a\nb", True),
        # ? is one character, whichever
        ("topic/?", "topic/a", True),
        ("topic/?", "topic//", True),
        ("topic/?", "topic/", False),
        ("topic/?", "topic/ab", False),
        ("a?c*", "abcd", True),
        ("a?*b", "ab", False),
        ("a?*b", "aXb", True),
        # + and # are characters
        ("topicfilter/a/+", "topicfilter/a/+", True),
        ("topicfilter/a/+", "topicfilter/a/b", False),
        ("topicfilter/a/#", "topicfilter/a/b", False),
        ("topicfilter/a/*", "topicfilter/a/#", True),
        ("topicfilter/a/*", "topicfilter/a/+/b", True),
        # signs of regular expressions are characters
        ("a.c*d", "abcd", False),
        ("a.c*d", "a.cd", True),
        ("[a]?", "[a]b", True),
        ("(?:x)|.*y*z", "(xz", False),
    ],
)
def test_a_pattern_matches_whole_texts(pattern: str, text: str, *, matches: bool) -> None:
    """Source: pub-sub-policy in the AWS IoT guide; reference_policies_elements_resource in the IAM guide."""
    assert bool(bind(pattern).matches(text)) is matches


@given(
    pattern=st.text(alphabet="ab*?/", max_size=12),
    text=st.text(alphabet="ab/", max_size=12),
)
@settings(max_examples=300, deadline=None)
def test_a_pattern_agrees_with_the_naive_regular_expression(pattern: str, text: str) -> None:
    """The fast shapes and atomic groups change the time, never the answer."""
    naive = "".join({"*": ".*", "?": "."}.get(character, re.escape(character)) for character in pattern)

    assert bool(bind(pattern).matches(text)) is (re.fullmatch(naive, text, re.DOTALL) is not None)


def test_a_hostile_pattern_is_answered_at_once() -> None:
    """A pattern of a thousand stars would keep a backtracking matcher busy for longer than the universe is old."""
    assert not bind("*a" * 1000 + "*b").matches("a" * 65_000)


@pytest.mark.parametrize(
    ("pattern", "context", "shown"),
    [
        ("topic/${iot:ClientId}/x", {"iot:ClientId": "d-1"}, "topic/d-1/x"),
        ("topic/${iot:clientid}", {"iot:ClientId": "d-1"}, "topic/d-1"),
        ("${iot:ClientId}${aws:SourceIp}", {"iot:ClientId": "a", "aws:SourceIp": "b"}, "ab"),
        ("t/${iot:Connection.Thing.Attributes[Colour]}", {"iot:Connection.Thing.Attributes[Colour]": "red"}, "t/red"),
        ("topic/$${x}$", {}, None),
        ("costs$5}", {}, "costs$5}"),
        ("${*}${?}${$}{iot:ClientId}", {}, "*?${iot:ClientId}"),
    ],
)
def test_a_variable_becomes_its_value(pattern: str, context: dict[str, str], shown: str | None) -> None:
    """Source: iot-policy-variables; names do not distinguish case, attributes of things do."""
    if shown is None:
        with pytest.raises(PolicyDocumentError):
            bind(pattern, context)
        return
    bound = bind(pattern, context)

    assert bound.text == shown
    assert bound.matches(shown)
    assert repr(bound) == f"Pattern({shown!r})"


@pytest.mark.parametrize(
    ("value", "text", "matches"),
    [
        ("*", "my/*/topic", True),
        ("*", "my/anything/topic", False),
        ("?", "my/a/topic", False),
        ("+", "my/+/topic", True),
        ("${iot:ClientId}", "my/${iot:ClientId}/topic", True),
        (".*", "my/x/topic", False),
    ],
)
def test_a_value_is_literal(value: str, text: str, *, matches: bool) -> None:
    """A client id cannot smuggle a wildcard into a policy; `+` opens exactly the filter with a `+`, as AWS warns."""
    pattern = bind("my/${iot:ClientId}/topic", {"iot:ClientId": value})
    wild = bind("my/${iot:ClientId}/*", {"iot:ClientId": value})

    assert bool(pattern.matches(text)) is matches
    assert bool(wild.matches(text)) is matches


@pytest.mark.parametrize("value", [None, ("a", "b")])
def test_a_variable_without_a_value_matches_nothing(value: tuple[str, ...] | None) -> None:
    """Not even its own text, which a client could send; several values are no value."""
    pattern = bind("topic/${iot:ClientId}/*", {} if value is None else {"iot:ClientId": value})

    assert pattern.text == "topic/${iot:ClientId}/*"
    assert pattern.unresolved == ("${iot:ClientId}",)
    assert not pattern.matches("topic/${iot:ClientId}/x")
    assert not pattern.matches("topic//x")


def test_escapes_are_characters_not_wildcards() -> None:
    """`${*}` and `${?}` stand for the characters themselves, beside real wildcards."""
    pattern = bind("a${*}b${?}*")

    assert pattern.matches("a*b?c")
    assert not pattern.matches("aXb?c")
    assert not pattern.matches("a*bXc")


def test_older_documents_have_no_variables() -> None:
    """Source: reference_policies_elements_version: before 2012-10-17, `${…}` is text."""
    pattern = bind("topic/${iot:ClientId}${", {"iot:ClientId": "d-1"}, has_variables=False)

    assert pattern.matches("topic/${iot:ClientId}${")
    assert not pattern.matches("topic/d-1${")


@pytest.mark.parametrize(
    ("text", "dialect", "reason"),
    [
        ("${iot:ClientId", "iot", "not closed"),
        ("${}", "iot", "is not evaluated here"),
        ("${iot:Nonsense}", "iot", "iot:Nonsense is not evaluated here; known are aws:SourceIp, "),
        ("${iot:Certificate.Subject.CommonName}", "iot", "is not evaluated here"),
        ("${iot:connection.thing.attributes[a]}", "iot", "is not evaluated here"),
        ("${iot:Connection.Thing.Attributes[a}", "iot", "is not evaluated here"),
        ("${iot:Connection.Thing.ThingName}", "iam", "is not evaluated here"),
        ("${iot:Connection.Thing.Attributes[a]}", "iam", "is not evaluated here"),
        ("${aws:username}", "iot", "is not evaluated here"),
        ("${aws:PrincipalTag/team}", "iam", "is not evaluated here"),
        ("${aws:username, 'nobody'}", "iam", "default values"),
    ],
)
def test_a_variable_that_has_no_value_here_is_refused_at_once(text: str, dialect: Dialect, reason: str) -> None:
    """Refused when the policy is made, not when a client wonders why it is denied."""
    with pytest.raises(PolicyDocumentError) as caught:
        bind(text, dialect=dialect)

    assert caught.value.pointer == "/x"
    assert reason in caught.value.reason


def test_a_template_without_variables_is_compiled_once() -> None:
    """All principals share it."""
    template = parse_template("topic/*", dialect="iam", pointer="", has_variables=True)

    assert template.bind({}) is template.bind({"iot:ClientId": "x"})
