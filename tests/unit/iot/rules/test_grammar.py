"""The grammar: every form of a statement that is taken, and every one that is refused, with its place."""

# ruff: noqa: S608 - rule SQL reaches no database

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import RuleSqlError
from harness.iot.rules import parse_statement
from harness.iot.rules.grammar import MAX_SQL_CHARACTERS, Refusal, parse_expression, parse_select
from harness.iot.rules.syntax import Binary, Call, Expression, Item, Literal, Not, Path, Star

FROM = "SELECT * FROM 'a'"


def brackets(expression: Expression) -> str:
    """Write an expression with all its brackets."""
    if isinstance(expression, Binary):
        return f"({brackets(expression.left)} {expression.operator} {brackets(expression.right)})"
    if isinstance(expression, Not):
        return f"(NOT {brackets(expression.operand)})"
    return expression.text


@pytest.mark.parametrize(
    ("sql", "items", "topic_filter", "where"),
    [
        ("SELECT * FROM 'things/telemetry'", ["*"], "things/telemetry", None),
        ("select * from 'a' where b", ["*"], "a", "b"),
        ("SeLeCt\n*\r\nFrOm\t'a'  WhErE b", ["*"], "a", "b"),
        ("  SELECT*FROM'a'WHERE b  ", ["*"], "a", "b"),
        ("SELECT a FROM '+/b/#'", ["a"], "+/b/#", None),
        ("SELECT a.b.c, d FROM 'a'", ["a.b.c", "d"], "a", None),
        ("SELECT a.b AS c.d FROM 'a'", ["a.b AS c.d"], "a", None),
        ("SELECT *, topic(2) AS room FROM 'a'", ["*", "topic(2) AS room"], "a", None),
        ("SELECT topic(2) as room, * FROM 'a'", ["topic(2) AS room", "*"], "a", None),
        ("SELECT newuuid ( ) AS id FROM 'a'", ["newuuid() AS id"], "a", None),
        ("SELECT f(a, 'b', 1 + 2) AS x FROM 'a'", ["f(a, 'b', 1 + 2) AS x"], "a", None),
        ("SELECT a * 2 AS b FROM 'a'", ["a * 2 AS b"], "a", None),
        ("SELECT *", ["*"], None, None),
        ("SELECT * WHERE a", ["*"], None, "a"),
        # words that are keywords elsewhere, or begin like one
        ("SELECT value, set, case, in FROM 'a'", ["value", "set", "case", "in"], "a", None),
        ("SELECT fromage, ORder, _not, ändern FROM 'a'", ["fromage", "ORder", "_not", "ändern"], "a", None),
        ("SELECT timestamp, topic FROM 'a'", ["timestamp", "topic"], "a", None),
    ],
)
def test_a_statement_is_read(sql: str, items: list[str], topic_filter: str | None, where: str | None) -> None:
    """Source: iot-sql-select, -from, -where; keywords in any case, FROM is Basic Ingest's to omit."""
    select = parse_select(sql)
    shown = [
        "*" if isinstance(one, Star) else one.expression.text + (f" AS {'.'.join(one.alias)}" if one.alias else "")
        for one in select.items
    ]

    assert shown == items
    assert (select.topic_filter and select.topic_filter.text) == topic_filter
    assert (select.where and select.where.expression.text) == where


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a OR b AND c", "(a OR (b AND c))"),
        ("a AND b OR c", "((a AND b) OR c)"),
        ("(a OR b) AND c", "((a OR b) AND c)"),
        ("NOT a AND b", "((NOT a) AND b)"),
        ("NOT NOT a", "(NOT (NOT a))"),
        ("NOT a = b", "(NOT (a = b))"),
        ("a = b AND c <> d", "((a = b) AND (c <> d))"),
        ("a + b < c - d", "((a + b) < (c - d))"),
        ("a - b - c", "((a - b) - c)"),
        ("a / b * c % d", "(((a / b) * c) % d)"),
        ("a + b * c", "(a + (b * c))"),
        ("(temperature - 32) * 5 / 9", "(((temperature - 32) * 5) / 9)"),
        ("a and b Or not c", "((a AND b) OR (NOT c))"),
        ("a<=b", "(a <= b)"),
        ("a>=-1", "(a >= -1)"),
        ("a -1", "(a - 1)"),
        ("a - -1", "(a - -1)"),
        ("((((a))))", "a"),
    ],
)
def test_operators_bind_as_everywhere(text: str, wanted: str) -> None:
    """OR, AND, NOT, comparison, + and -, then * / and %; from left to right."""
    assert brackets(parse_expression(text)) == wanted


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("-1", -1),
        ("- 1", -1),
        ("007", 7),
        ("1.50", Decimal("1.50")),
        ("-1.5", Decimal("-1.5")),
        ("1e3", Decimal("1E+3")),
        ("1E-3", Decimal("0.001")),
        ("9.99e+999", Decimal("9.99E+999")),
        ("'text'", "text"),
        ('"text"', "text"),
        ("''", ""),
        ("""'say "hello"'""", 'say "hello"'),
        ('"it\'s"', "it's"),
        (r"'a\'", "a\\"),
        ("'WHERE -- ; #'", "WHERE -- ; #"),
        ("true", True),
        ("FALSE", False),
        ("Null", None),
    ],
)
def test_a_literal_is_read(text: str, value: object) -> None:
    """Text in either quotes, no escapes; numbers as JSON has them."""
    literal = parse_expression(text)

    assert isinstance(literal, Literal)
    assert (type(literal.value), repr(literal.value)) == (type(value), repr(value))


@pytest.mark.parametrize(
    ("sql", "line", "column", "expected"),
    [
        # not a statement
        ("", 1, 1, "expected SELECT, not the end"),
        (" \n ", 2, 2, "expected SELECT, not the end"),
        ("DELETE FROM 'a'", 1, 1, "expected SELECT, not DELETE"),
        ("FROM 'a'", 1, 1, "expected SELECT, not FROM"),
        ("SELECTED * FROM 'a'", 1, 1, "expected SELECT, not SELECTED"),
        ("(SELECT * FROM 'a')", 1, 1, "expected SELECT, not ("),
        # half a statement
        ("SELECT", 1, 7, "expected an attribute, a value or a function or *, not the end"),
        ("SELECT FROM 'a'", 1, 8, "expected an attribute, a value or a function or *, not FROM"),
        ("SELECT * FROM", 1, 14, "expected text in single quotes, not the end"),
        (f"{FROM} WHERE", 1, 24, "expected an attribute, a value or a function, not the end"),
        (f"{FROM}\n  WHERE temp >", 2, 15, "expected an attribute, a value or a function, not the end"),
        ("SELECT a AS FROM 'a'", 1, 13, "expected a name, not FROM"),
        ("SELECT a. FROM 'a'", 1, 11, "expected a name, not FROM"),
        ("SELECT *, FROM 'a'", 1, 11, "expected an attribute, a value or a function or *, not FROM"),
        ("SELECT a b FROM 'a'", 1, 10, "expected an operator, AS, FROM, WHERE, a comma or the end, not b"),
        ("SELECT * AS a FROM 'a'", 1, 10, "expected FROM, WHERE, a comma or the end, not AS"),
        # something after its end: a rule without its WHERE would fire for everything
        (f"{FROM} garbage", 1, 19, "expected WHERE or the end, not garbage"),
        (f"{FROM} temp > 10", 1, 19, "expected WHERE or the end, not temp"),
        (f"{FROM} WHERE a = 1 2", 1, 31, "expected an arithmetic operator, AND, OR or the end, not 2"),
        (f"{FROM} WHERE a)", 1, 26, "expected an operator or the end, not )"),
        (f"{FROM} WHERE a = 1 WHERE b = 2", 1, 31, "AND, OR or the end, not WHERE"),
        (f"{FROM} {FROM}", 1, 19, "expected WHERE or the end, not SELECT"),
        (f"{FROM} WHERE a GROUP BY b", 1, 27, "expected an operator or the end, not GROUP"),
        (f"{FROM}, 'b'", 1, 18, "expected WHERE or the end, not ,"),
        (f"{FROM};", 1, 18, "a statement has no ; at its end; expected WHERE or the end"),
        ("SELECT a FROM 'a' -- why", 1, 19, "expected WHERE or the end, not -"),
        ("SELECT a -- why\n FROM 'a'", 1, 13, "expected a number, not why"),
        ("SELECT a FROM 'a' /* why */", 1, 19, "expected WHERE or the end, not /"),
        ("SELECT a # why\n FROM 'a'", 1, 10, "rule SQL has no comments"),
        # FROM takes single quotes
        ("SELECT * FROM a/b", 1, 15, "expected text in single quotes, not a"),
        ('SELECT * FROM "a"', 1, 15, 'expected text in single quotes, not "a"'),
        ("SELECT * FROM 'a", 1, 15, "a text in single quotes ends on its line"),
        # expressions
        (f"{FROM} WHERE a = 'b", 1, 29, "a text in single quotes ends on its line"),
        (f'{FROM} WHERE a = "b\n"', 1, 29, "a text in double quotes ends on its line"),
        (f"{FROM} WHERE a != 1", 1, 27, "the operator is written <>; expected an operator"),
        (f"{FROM} WHERE a == 1", 1, 28, "expected an attribute, a value or a function, not ="),
        (f"{FROM} WHERE a < b < c", 1, 31, "expected an arithmetic operator, AND, OR or the end, not <"),
        (f"{FROM} WHERE a LIKE 'b'", 1, 27, "expected an operator or the end, not LIKE"),
        (f"{FROM} WHERE a BETWEEN 1 AND 2", 1, 27, "not BETWEEN"),
        (f"{FROM} WHERE a IS NULL", 1, 27, "not IS"),
        (f"{FROM} WHERE a && b", 1, 27, "not &"),
        (f"{FROM} WHERE -a > 1", 1, 26, "expected a number, not a"),
        (f"{FROM} WHERE +1 < a", 1, 25, "not +"),
        (f"{FROM} WHERE --1 < a", 1, 26, "expected a number, not -"),
        (f"{FROM} WHERE (a", 1, 27, "expected an operator or ), not the end"),
        (f"{FROM} WHERE ()", 1, 26, "not )"),
        (f"{FROM} WHERE topic(", 1, 31, "expected an attribute, a value or a function or ), not the end"),
        (f"{FROM} WHERE topic(1,)", 1, 33, "not )"),
        (f"{FROM} WHERE topic(*)", 1, 31, "not *"),
        (f"{FROM} WHERE a.topic()", 1, 32, "not ("),
        (f"{FROM} WHERE .5 > a", 1, 25, "not ."),
        (f"{FROM} WHERE 1. > a", 1, 25, "not 1"),
        (f"{FROM} WHERE 1.2.3 > a", 1, 25, "not 1"),
        (f"{FROM} WHERE 1a > 2", 1, 25, "not 1"),
        (f"{FROM} WHERE 0x10 > 2", 1, 25, "not 0"),
        (f"{FROM} WHERE 'it''s' = a", 1, 29, "not 's'"),
        (f"{FROM} WHERE a-b.1", 1, 29, "expected a name, not 1"),
        ("SELECT 1a FROM 'a'", 1, 8, "not 1"),
        ("SELECT `a` FROM 'a'", 1, 8, "names have no quotes"),
        ("SELECT a AS 'b' FROM 'a'", 1, 13, "expected a name, not 'b'"),
        ("SELECT and FROM 'a'", 1, 8, "not and"),
        (f"{FROM} WHERE a > 1e1000", 1, 29, "a number of at most 9.99E999 is expected"),
        (f"{FROM} WHERE a > " + "9" * 2000, 1, 29, "a number of at most 9.99E999 is expected"),
        (f"{FROM} WHERE a > 🙂", 1, 29, "not 🙂"),
        (f"{FROM} {'x' * 100}", 1, 19, f"not {'x' * 40}…"),
        # known, but not evaluated yet
        ("SELECT VALUE a FROM 'a'", 1, 14, "SELECT VALUE: not evaluated here yet"),
        ("SET @x = 1 SELECT @x AS a FROM 'a'", 1, 1, "SET @name: not evaluated here yet"),
        ("SELECT @x AS a FROM 'a'", 1, 8, "SET @name and its variables are not evaluated here yet"),
        ("SELECT CASE a WHEN 1 THEN 2 END AS b FROM 'a'", 1, 13, "CASE … END: not evaluated here yet"),
        (f"{FROM} WHERE a IN [1, 2]", 1, 27, "IN: not evaluated here yet"),
        (f"{FROM} WHERE a in (1, 2)", 1, 27, "IN: not evaluated here yet"),
        (f"{FROM} WHERE EXISTS(SELECT * FROM a)", 1, 32, "nested queries: not evaluated here yet"),
        (f"{FROM} WHERE EXISTS a", 1, 32, "EXISTS: not evaluated here yet"),
        ("SELECT (SELECT a FROM b) AS c FROM 'a'", 1, 9, "nested queries: not evaluated here yet"),
        ("SELECT a[0] AS b FROM 'a'", 1, 9, "array literals and [index]: not evaluated here yet"),
        ("SELECT [1, 2] AS b FROM 'a'", 1, 8, "array literals and [index]: not evaluated here yet"),
        ("SELECT {'a': 1} AS b FROM 'a'", 1, 8, "object literals: not evaluated here yet"),
        # too much
        (FROM + " " * MAX_SQL_CHARACTERS, 1, 32769, "32785 characters; at most 32768 are read"),
        (f"SELECT a AS {'.'.join('b' * 21)} FROM 'a'", 1, 13, "an alias of at most 20 names is expected"),
    ],
)
def test_what_is_no_statement_is_refused_with_its_place(sql: str, line: int, column: int, expected: str) -> None:
    """The caret stands under the first character that cannot be; nothing is ignored."""
    with pytest.raises(RuleSqlError) as caught:
        parse_statement(sql, version="2016-03-23")

    assert (caught.value.line, caught.value.column) == (line, column)
    assert expected in caught.value.expected


def test_the_message_shows_the_line_and_a_caret() -> None:
    """As CreateTopicRule answers it."""
    with pytest.raises(RuleSqlError) as caught:
        parse_statement("SELECT *\nFROM 'a'\nWHERE temp >> 1")

    assert str(caught.value) == (
        "line 3, column 13: expected an attribute, a value or a function, not >\n  WHERE temp >> 1\n              ^"
    )


def test_the_caret_stands_where_it_should_behind_tabs() -> None:
    """A tab before the caret is as wide as the one above it."""
    with pytest.raises(RuleSqlError) as caught:
        parse_statement("SELECT *\nFROM 'a'\n\tWHERE\ta = = 1")

    assert str(caught.value).splitlines()[1:] == ["  \tWHERE\ta = = 1", "  \t     \t    ^"]


@pytest.mark.parametrize(
    "sql",
    [
        f"{FROM} WHERE " + "a + " * 5000 + "a",
        f"{FROM} WHERE " + "NOT " * 5000 + "a",
        f"{FROM} WHERE " + "a OR " * 101 + "a",
        f"{FROM} WHERE " + "f(" * 5000 + "a" + ")" * 5000,
        f"{FROM} WHERE " + "(a + " * 5000 + "a" + ")" * 5000,
    ],
)
def test_an_expression_that_is_too_deep_is_refused(sql: str) -> None:
    """Refused, not a crash of the interpreter's stack, when parsed or later when evaluated."""
    with pytest.raises(RuleSqlError, match="nested more than 100 levels deep"):
        parse_statement(sql)


@pytest.mark.parametrize(
    "sql",
    [
        f"{FROM} WHERE " + "(" * 15_000 + "a" + ")" * 15_000,
        f"{FROM} WHERE " + "a OR " * 98 + "a",
        f"{FROM} WHERE " + "NOT " * 99 + "a",
        f"{FROM} WHERE a" + ".a" * 15_000,
        "SELECT " + "a," * 10_000 + "a FROM 'a'",
    ],
)
def test_brackets_and_lists_may_be_as_long_as_the_text(sql: str) -> None:
    """They make nothing deeper; the twins of what is refused."""
    assert parse_statement(sql).topic_filter == "a"


@given(st.text(max_size=40) | st.text(alphabet="SELECT FROM'*ab.,()+-<>=1 \n", max_size=60))
@settings(max_examples=300, deadline=None)
def test_any_text_is_a_statement_or_refused(text: str) -> None:
    """No other exception, and the place is in the text or at its end."""
    for parse in (parse_select, parse_expression):
        try:
            parse(text)
        except Refusal as refusal:
            assert 0 <= refusal.offset <= len(text)  # noqa: PT017 - a text that parses is fine as well


def test_nodes_know_where_they_stand() -> None:
    """Errors of later steps point at them."""
    select = parse_select("SELECT *, sin(a) + 1 AS b FROM 'x' WHERE NOT a.b")
    item: Any = select.items[1]

    assert isinstance(item, Item)
    assert (item.expression.offset, item.expression.left.name) == (10, "sin")
    assert isinstance(item.expression.left, Call)
    assert isinstance(item.expression.left.arguments[0], Path)
    assert select.topic_filter is not None
    assert select.topic_filter.offset == 31
    assert select.where is not None
    assert select.where.expression.offset == 41
