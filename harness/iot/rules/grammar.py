"""The grammar of rule SQL: text in, a syntax tree or a `RuleSqlError` out.

A statement, or the expression of a substitution template, is read from its first character to its last: what is left
over after a complete statement is an error too, since a rule whose WHERE is forgotten fires for everything. The LALR
parser keeps its own stack and makes the nodes as it goes, so that no text, however deeply nested, recurses.

Source: iot-sql-reference and its pages in the AWS IoT developer guide.
Differs: CASE, SET, SELECT VALUE, IN, EXISTS, nested queries, array and object literals and ``[index]`` are refused by
name. A negative sign belongs to a number; before anything else AWS documents none.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final, Literal, cast

from harness.errors import RuleSqlError
from harness.iot.rules import syntax
from harness.iot.rules.values import read_decimal, read_int

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lark import Lark, Token

MAX_SQL_CHARACTERS: Final = 32 * 1024
"""A longer text is refused. Differs: AWS bounds a whole rule, at 256 KB."""

MAX_ALIAS_NAMES: Final = 20
"""How deep an alias may nest objects."""

_GRAMMAR: Final = r"""
    statement: SELECT items [from_clause] [where_clause]
    items: item ("," item)*
    item: STAR -> star
        | expression [AS alias]
    alias: NAME ("." NAME)*
    from_clause: FROM SINGLE_QUOTED
    where_clause: WHERE expression

    ?expression: conjunction | expression OR conjunction -> binary
    ?conjunction: negation | conjunction AND negation -> binary
    ?negation: comparison | NOT negation -> not_
    ?comparison: sum | sum (EQUAL | NOT_EQUAL | AT_MOST | AT_LEAST | BELOW | ABOVE) sum -> binary
    ?sum: product | sum (PLUS | MINUS) product -> binary
    ?product: operand | product (STAR | SLASH | PERCENT) operand -> binary
    ?operand: NUMBER -> number
        | MINUS NUMBER -> number
        | SINGLE_QUOTED -> string
        | DOUBLE_QUOTED -> string
        | TRUE -> true
        | FALSE -> false
        | NULL -> null
        | NAME ("." NAME)* -> path
        | NAME "(" [expression ("," expression)*] ")" -> call
        | "(" expression ")"

    SELECT.2: /select\b/i
    FROM.2: /from\b/i
    WHERE.2: /where\b/i
    AS.2: /as\b/i
    AND.2: /and\b/i
    OR.2: /or\b/i
    NOT.2: /not\b/i
    TRUE.2: /true\b/i
    FALSE.2: /false\b/i
    NULL.2: /null\b/i
    NAME: /(?!(select|from|where|as|and|or|not|true|false|null)\b)[^\W\d]\w*/i
    NUMBER: /[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?(?![\w.])/
    SINGLE_QUOTED: /'[^'\r\n]*'/
    DOUBLE_QUOTED: /"[^"\r\n]*"/
    EQUAL: "="
    NOT_EQUAL: "<>"
    AT_MOST: "<="
    AT_LEAST: ">="
    BELOW: "<"
    ABOVE: ">"
    PLUS: "+"
    MINUS: "-"
    STAR: "*"
    SLASH: "/"
    PERCENT: "%"
    %ignore /\s+/
"""

_OPERAND: Final = frozenset({"NUMBER", "SINGLE_QUOTED", "DOUBLE_QUOTED", "TRUE", "FALSE", "NULL", "NAME", "LPAR"})
_ARITHMETIC: Final = frozenset({"PLUS", "MINUS", "STAR", "SLASH", "PERCENT"})
_COMPARISON: Final = frozenset({"EQUAL", "NOT_EQUAL", "AT_MOST", "AT_LEAST", "BELOW", "ABOVE"})
_WORDS: Final = {
    "COMMA": "a comma",
    "DOT": "a dot",
    "LPAR": "(",
    "RPAR": ")",
    "$END": "the end",
    "NAME": "a name",
    "NUMBER": "a number",
    "SINGLE_QUOTED": "text in single quotes",
    "STAR": "*",
}
_NOT_YET: Final = {
    "CASE": "CASE … END",
    "SET": "SET @name",
    "VALUE": "SELECT VALUE",
    "IN": "IN",
    "EXISTS": "EXISTS",
    "[": "array literals and [index]",
    "{": "object literals",
}
_HINTS: Final = {
    "!": "the operator is written <>",
    "'": "a text in single quotes ends on its line",
    '"': "a text in double quotes ends on its line",
    ";": "a statement has no ; at its end",
    "#": "rule SQL has no comments",
    "@": "SET @name and its variables are not evaluated here yet",
    "`": "names have no quotes",
}
_LONGEST_SHOWN: Final = 40


class Refusal(Exception):  # noqa: N818 - becomes a RuleSqlError once the whole text is known
    """A text is not in the grammar.

    Args:
        offset: where, in characters from 0.
        expected: what would have been accepted there, or what is wrong, in words.
    """

    def __init__(self, offset: int, expected: str) -> None:
        self.offset = offset
        self.expected = expected
        super().__init__(offset, expected)


def parse_select(sql: str) -> syntax.Select:
    """Read a statement.

    Raises:
        Refusal: it is none, or more than one.
    """
    return cast("syntax.Select", _parse(sql, "statement"))


def parse_expression(text: str) -> syntax.Expression:
    """Read an expression.

    Raises:
        Refusal: it is none, or more than one.
    """
    return cast("syntax.Expression", _parse(text, "expression"))


def sql_error(text: str, refusal: Refusal, *, start: int = 0) -> RuleSqlError:
    """Return the error that names line and column.

    Args:
        text: the whole text.
        refusal: what is wrong.
        start: where in the text that begins which was parsed.
    """
    lines = f"{text[: start + refusal.offset]}^".splitlines()
    return RuleSqlError(text, line=len(lines), column=len(lines[-1]), expected=refusal.expected)


class _Builder:
    """Makes a node of each rule that the parser has recognised; children come as lark gives them."""

    @staticmethod
    def statement(children: list[Any]) -> syntax.Select:
        _select, items, topic_filter, where = children
        return syntax.Select(items, topic_filter, where)

    items = tuple

    @staticmethod
    def star(children: list[Token]) -> syntax.Star:
        return syntax.Star(_start(children[0]))

    @staticmethod
    def item(children: list[Any]) -> syntax.Item:
        expression, _as, alias = children
        return syntax.Item(expression, alias)

    @staticmethod
    def alias(children: list[Token]) -> tuple[str, ...]:
        if len(children) > MAX_ALIAS_NAMES:
            raise Refusal(_start(children[0]), f"an alias of at most {MAX_ALIAS_NAMES} names is expected")
        return tuple(map(str, children))

    @staticmethod
    def from_clause(children: list[Token]) -> syntax.TopicFilter:
        return syntax.TopicFilter(_start(children[1]), str(children[1])[1:-1])

    @staticmethod
    def where_clause(children: list[Any]) -> syntax.Where:
        where, expression = children
        return syntax.Where(_start(where) + len(where), expression)

    @staticmethod
    def binary(children: list[Any]) -> syntax.Binary:
        left, operator, right = children
        return syntax.Binary(left.offset, str(operator).upper(), left, right)

    @staticmethod
    def not_(children: list[Any]) -> syntax.Not:
        return syntax.Not(_start(children[0]), children[1])

    @staticmethod
    def number(children: list[Token]) -> syntax.Literal:
        text = "".join(children)
        try:
            value = read_int(text) if text.lstrip("-").isdigit() else read_decimal(text)
        except ArithmeticError:
            raise Refusal(_start(children[0]), "a number of at most 9.99E999 is expected") from None
        return syntax.Literal(_start(children[0]), text, value)

    @staticmethod
    def string(children: list[Token]) -> syntax.Literal:
        return syntax.Literal(_start(children[0]), str(children[0]), str(children[0])[1:-1])

    @staticmethod
    def true(children: list[Token]) -> syntax.Literal:
        return syntax.Literal(_start(children[0]), "true", value=True)

    @staticmethod
    def false(children: list[Token]) -> syntax.Literal:
        return syntax.Literal(_start(children[0]), "false", value=False)

    @staticmethod
    def null(children: list[Token]) -> syntax.Literal:
        return syntax.Literal(_start(children[0]), "null", None)

    @staticmethod
    def path(children: list[Token]) -> syntax.Path:
        return syntax.Path(_start(children[0]), tuple(map(str, children)))

    @staticmethod
    def call(children: list[Any]) -> syntax.Call:
        name, *arguments = children
        return syntax.Call(_start(name), str(name), tuple(one for one in arguments if one is not None))


def _start(token: Token) -> int:
    return cast("int", token.start_pos)


@functools.cache
def _parser() -> Lark:
    """Build the parser, at its first use: that takes longer than importing the rest of the package."""
    from lark import Lark  # noqa: PLC0415 - loads a good deal that who parses no SQL does without

    return Lark(
        _GRAMMAR, parser="lalr", start=["statement", "expression"], transformer=_Builder(), propagate_positions=False
    )


def _parse(text: str, start: Literal["statement", "expression"]) -> object:
    from lark.exceptions import UnexpectedCharacters, UnexpectedToken  # noqa: PLC0415 - as above

    if len(text) > MAX_SQL_CHARACTERS:
        raise Refusal(MAX_SQL_CHARACTERS, f"{len(text)} characters; at most {MAX_SQL_CHARACTERS} are read")
    try:
        return cast("object", _parser().parse(text, start=start))
    except UnexpectedToken as error:
        offset = len(text) if error.token.type == "$END" else _start(error.token)
        found = str(error.token)
    except UnexpectedCharacters as error:
        offset = cast("int", error.pos_in_stream)
        found = text[offset]
    except syntax.TooDeep as error:
        raise Refusal(error.offset, f"nested more than {syntax.MAX_DEPTH} levels deep") from None
    raise Refusal(offset, _complain(text[:offset], start, found))


def _complain(before: str, start: str, found: str) -> str:
    """Say what is wrong at a place: what is known but not evaluated here by name, else what would have been accepted.

    Args:
        before: what could be read.
        start: what it is the beginning of.
        found: the token or character that could not; empty at the end of the text.
    """
    stopped = _parser().parse_interactive(before, start=start)
    tokens = stopped.exhaust_lexer()
    expected = _accepted(stopped.accepts())  # type: ignore[no-untyped-call] # of lark
    last = str(tokens[-1]).upper() if tokens else ""
    word = found.upper()
    if word == "SELECT" and last == "(":
        return f"nested queries: not evaluated here yet; {expected}"
    for known in (word, last):
        if known in _NOT_YET:
            return f"{_NOT_YET[known]}: not evaluated here yet; {expected}"
    if found in _HINTS:
        return f"{_HINTS[found]}; {expected}"
    return f"{expected}, not {_shown(found) if found else 'the end'}"


def _accepted(terminals: Iterable[str]) -> str:
    """Put the parser's terminals into words: few words for the many that begin an operand or join two."""
    left = set(terminals)
    words = []
    if left >= _OPERAND:
        words.append("an attribute, a value or a function")
        left -= _OPERAND | {"MINUS", "NOT"}
    if left >= _ARITHMETIC | _COMPARISON:
        words.append("an operator")
        left -= _ARITHMETIC | _COMPARISON | {"AND", "OR", "LPAR", "DOT"}
    if left >= _ARITHMETIC:
        words.append("an arithmetic operator")
        left -= _ARITHMETIC | {"LPAR", "DOT"}
    words += sorted(_WORDS.get(name, name) for name in left)
    return f"expected {' or '.join([', '.join(words[:-1]), words[-1]] if words[:-1] else words)}"


def _shown(found: str) -> str:
    return found if len(found) <= _LONGEST_SHOWN else f"{found[:_LONGEST_SHOWN]}…"
