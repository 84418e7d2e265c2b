"""A rule's statement: parsed once, then evaluated for each message.

WHERE is evaluated before SELECT and anything but true means that the rule does nothing for the message, which is no
error; `NotMatched` says why, naming the values. A payload that is not what the statement needs is an error.

Source: iot-sql-select, -from, -where and binary-payloads in the AWS IoT developer guide.
Differs: an item without an alias takes its last name; a call and any other expression must have one, since how AWS
names them is not documented. JSON that is forwarded is written anew: same values, no white space. What AWS makes of a
payload that is an array or a plain value is not documented: here ``*`` alone forwards it, and ``*`` beside other items
fails. A result of more than 1 MiB fails.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from harness.errors import ProtocolViolation
from harness.iot.rules import syntax
from harness.iot.rules.expressions import DEFAULT_SQL_VERSION, Evaluator, compile_expression, makes_whole_numbers_ints
from harness.iot.rules.grammar import Refusal, parse_select, sql_error
from harness.iot.rules.json_text import encode, write
from harness.iot.rules.message import PayloadError, RuleMessage
from harness.iot.rules.values import UNDEFINED, Value, to_boolean
from harness.mqtt.topics import check_topic_filter

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_RESULT_CHARACTERS: Final = 1024 * 1024
_LONGEST_SHOWN: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Matched:
    """The rule acts on the message.

    Args:
        body: the result.
        is_json: False for a payload forwarded as it is, since it is not JSON.
    """

    body: bytes
    is_json: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NotMatched:
    """The rule does nothing for the message.

    Args:
        because: the WHERE clause and its values, for people.
    """

    because: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationFailed:
    """The statement could not be evaluated; no action runs, the error action included.

    Args:
        kind: ``ParseError`` (AWS's metric) or ``ResultTooLarge``.
        because: for people.
    """

    kind: str
    because: str


Evaluation: TypeAlias = Matched | NotMatched | EvaluationFailed


class Statement:
    """A statement, compiled.

    Attributes:
        sql: as given.
        version: of the SQL.
        topic_filter: what FROM names; None without FROM, which only Basic Ingest can do without.
    """

    __slots__ = ("_select", "_where", "sql", "topic_filter", "version")

    def __init__(
        self,
        *,
        sql: str,
        version: str,
        topic_filter: str | None,
        select: Callable[[RuleMessage], Matched | EvaluationFailed],
        where: _Where | None,
    ) -> None:
        self.sql = sql
        self.version = version
        self.topic_filter = topic_filter
        self._select = select
        self._where = where

    def __repr__(self) -> str:
        return f"Statement({self.sql!r}, version={self.version!r})"

    def evaluate(self, message: RuleMessage) -> Evaluation:
        """Tell what the rule makes of a message that its topic filter matches; never raises."""
        try:
            if self._where is not None and (because := self._where.unmet(message)) is not None:
                return NotMatched(because=because)
            return self._select(message)
        except PayloadError as error:
            return EvaluationFailed(kind="ParseError", because=error.because)


def parse_statement(sql: str, *, version: str = DEFAULT_SQL_VERSION) -> Statement:
    """Read a rule's statement.

    Args:
        sql: the whole statement.
        version: one of `SQL_VERSIONS`.

    Raises:
        RuleSqlError: not in the grammar, something after the statement's end, a function or clause that is not
            evaluated here, a topic filter that is none.
        ValueError: no version of rule SQL.
    """
    whole = makes_whole_numbers_ints(version)
    try:
        select = parse_select(sql)
        return Statement(
            sql=sql,
            version=version,
            topic_filter=None if select.topic_filter is None else _topic_filter(select.topic_filter),
            where=None if select.where is None else _Where(sql, select.where, whole=whole),
            select=_compile_select(select.items, whole=whole),
        )
    except Refusal as refusal:
        raise sql_error(sql, refusal) from None


class _Where:
    """A WHERE clause that can say why it does not hold."""

    __slots__ = ("_condition", "_leaves", "_text")

    def __init__(self, sql: str, where: syntax.Where, *, whole: bool) -> None:
        self._text = f"WHERE {' '.join(sql[where.offset :].split())}"
        self._condition = compile_expression(where.expression, whole=whole)
        texts = {leaf.text: leaf for leaf in syntax.leaves(where.expression)}
        self._leaves = [(text, compile_expression(leaf, whole=whole)) for text, leaf in texts.items()]

    def unmet(self, message: RuleMessage) -> str | None:
        """Return None when the clause is true, else what it is and of which values."""
        value = self._condition(message)
        if value is True or to_boolean(value) is True:
            return None
        seen = ", ".join(f"{text} {_shown(leaf(message))}" for text, leaf in self._leaves)
        result = "Undefined" if value is UNDEFINED else write(value)
        return f"{self._text} is {_short(result)}" + (f" ({seen})" if seen else "")


def _shown(value: Value) -> str:
    return "is missing" if value is UNDEFINED else f"= {_short(write(value))}"


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"


def _topic_filter(found: syntax.TopicFilter) -> str:
    try:
        check_topic_filter(found.text)
    except ProtocolViolation as error:
        raise Refusal(found.offset, str(error).rpartition(" (")[0]) from None
    return found.text


def _compile_select(
    items: tuple[syntax.Star | syntax.Item, ...], *, whole: bool
) -> Callable[[RuleMessage], Matched | EvaluationFailed]:
    stars = [item for item in items if isinstance(item, syntax.Star)]
    if len(stars) > 1:
        raise Refusal(stars[1].offset, "a SELECT list has one *")
    if len(items) == len(stars):
        return _forward(whole=whole)
    parts = [None if isinstance(item, syntax.Star) else _compile_item(item, whole=whole) for item in items]
    return _build(parts, whole=whole)


def _compile_item(item: syntax.Item, *, whole: bool) -> tuple[tuple[str, ...], Evaluator]:
    expression = item.expression
    compute = compile_expression(expression, whole=whole)
    if item.alias is not None:
        return item.alias, compute
    if isinstance(expression, syntax.Path):
        return expression.names[-1:], compute
    raise Refusal(expression.offset, f"a name is needed: {_short(expression.text)} AS name")


def _forward(*, whole: bool) -> Callable[[RuleMessage], Matched | EvaluationFailed]:
    """Return what ``SELECT *`` does: JSON is written anew, everything else goes on as it came."""

    def forward(message: RuleMessage) -> Matched | EvaluationFailed:
        try:
            return Matched(body=encode(write(message.document(whole=whole))), is_json=True)
        except PayloadError as error:
            if error.is_json:
                raise
            return Matched(body=message.payload, is_json=False)

    return forward


def _build(
    parts: list[tuple[tuple[str, ...], Evaluator] | None], *, whole: bool
) -> Callable[[RuleMessage], Matched | EvaluationFailed]:
    """Return what a list of items does: an object of those that are not Undefined; None among them stands for ``*``."""

    def build(message: RuleMessage) -> Matched | EvaluationFailed:
        result: dict[str, Value] = {}
        for part in parts:
            if part is None:
                result.update(_members(message, whole=whole))
                continue
            names, compute = part
            value = compute(message)
            if value is not UNDEFINED:
                _put(result, names, value)
        return _write_object(result)

    return build


def _members(message: RuleMessage, *, whole: bool) -> dict[str, Value]:
    if message.payload and type(document := message.document(whole=whole)) is not dict:
        raise PayloadError(f"* beside other items needs an object, not {_short(write(document))}", is_json=True)
    return message.attributes(whole=whole)


def _put(result: dict[str, Value], names: tuple[str, ...], value: Value) -> None:
    """Set a member, making or extending the objects on the way; those of the payload stay as they are."""
    *outer, last = names
    for name in outer:
        inner = result.get(name)
        result[name] = result = dict(inner) if type(inner) is dict else {}
    result[last] = value


def _write_object(result: dict[str, Value]) -> Matched | EvaluationFailed:
    size = 0
    members = []
    for name, value in result.items():
        members.append(write({name: value})[1:-1])
        size += len(members[-1]) + 1
        if size > MAX_RESULT_CHARACTERS:
            return EvaluationFailed(
                kind="ResultTooLarge", because=f"the result is longer than {MAX_RESULT_CHARACTERS} characters"
            )
    return Matched(body=encode("{" + ",".join(members) + "}"), is_json=True)
