"""Expressions compiled into closures: one Python call per node, nothing looked up twice.

Source: iot-sql-reference in the AWS IoT developer guide.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Final, TypeAlias

from harness.iot.rules import syntax
from harness.iot.rules.functions import FUNCTIONS
from harness.iot.rules.grammar import Refusal
from harness.iot.rules.message import RuleMessage
from harness.iot.rules.operators import OPERATORS, logical_not
from harness.iot.rules.values import UNDEFINED, Value, whole_number

SQL_VERSIONS: Final = ("2015-10-08", "2016-03-23", "beta")
"""The versions a statement may ask for. Source: iot-rule-sql-version in the AWS IoT developer guide."""
DEFAULT_SQL_VERSION: Final = SQL_VERSIONS[0]
"""What holds when a rule names none."""

Evaluator: TypeAlias = Callable[[RuleMessage], Value]
"""Computes a value of a message; raises `PayloadError` when the payload is not what it needs."""


def makes_whole_numbers_ints(version: str) -> bool:
    """Tell whether ``10.0`` is the Int 10 in a version.

    Raises:
        ValueError: no version of rule SQL.

    Source: iot-sql-data-types in the AWS IoT developer guide.
    Differs: that ``beta`` is 2016-03-23 with more is inferred.
    """
    if version not in SQL_VERSIONS:
        raise ValueError(f"{version!r} is no version of rule SQL; {', '.join(SQL_VERSIONS)} are")
    return version != DEFAULT_SQL_VERSION


def compile_expression(expression: syntax.Expression, *, whole: bool) -> Evaluator:
    """Make a function of a message.

    Args:
        expression: what the grammar made.
        whole: whether ``10.0`` is an Int.

    Raises:
        Refusal: a function that is not there.
    """
    if isinstance(expression, syntax.Literal):
        return _literal(expression.value, whole=whole)
    if isinstance(expression, syntax.Path):
        return _path(expression.names, whole=whole)
    if isinstance(expression, syntax.Call):
        return _call(expression, whole=whole)
    if isinstance(expression, syntax.Not):
        operand = compile_expression(expression.operand, whole=whole)
        return lambda message: logical_not(operand(message))
    left = compile_expression(expression.left, whole=whole)
    right = compile_expression(expression.right, whole=whole)
    operate = OPERATORS[expression.operator]
    return lambda message: operate(left(message), right(message))


def _literal(value: Value, *, whole: bool) -> Evaluator:
    constant = whole_number(value) if whole and type(value) is Decimal else value
    return lambda _message: constant


def _path(names: tuple[str, ...], *, whole: bool) -> Evaluator:
    first, *others = names

    def attribute(message: RuleMessage) -> Value:
        return message.attributes(whole=whole).get(first, UNDEFINED)

    def nested(message: RuleMessage) -> Value:
        value = attribute(message)
        for name in others:
            if type(value) is not dict:
                return UNDEFINED
            value = value.get(name, UNDEFINED)
        return value

    return nested if others else attribute


def _call(call: syntax.Call, *, whole: bool) -> Evaluator:
    function = FUNCTIONS.get(call.name)
    if function is None:
        raise Refusal(
            call.offset, f"the function {call.name} is not evaluated here; these are: {', '.join(sorted(FUNCTIONS))}"
        )
    arguments = tuple(compile_expression(argument, whole=whole) for argument in call.arguments)
    if not arguments:
        return lambda message: function(message, ())
    return lambda message: function(message, tuple(argument(message) for argument in arguments))
