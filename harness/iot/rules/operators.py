"""The operators of rule SQL over two values.

None of them raises: what an operator cannot work on is Undefined.

Source: iot-sql-operators in the AWS IoT developer guide.
Differs: that whole-number division and remainder truncate toward zero is inferred, as is that division by zero is
Undefined. An Int result of more than 34 digits becomes a Decimal. A concatenation of more than 128 KiB is Undefined.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Final, TypeAlias

from harness.iot.limits import MAX_PAYLOAD_BYTES
from harness.iot.rules.values import (
    CONTEXT,
    UNDEFINED,
    Number,
    Undefined,
    Value,
    bounded,
    is_number,
    to_boolean,
    to_number,
    to_string,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from decimal import Decimal

Operator: TypeAlias = "Callable[[Value, Value], Value]"


def equal(left: Value, right: Value) -> bool | Undefined:
    """Compare for equality: Undefined with anything is Undefined, values of different types are not equal."""
    if left is UNDEFINED or right is UNDEFINED:
        return UNDEFINED
    return _same(left, right)


def not_equal(left: Value, right: Value) -> bool | Undefined:
    """Negate `equal`; Undefined stays Undefined."""
    result = equal(left, right)
    return result if result is UNDEFINED else not result


def logical_and(left: Value, right: Value) -> bool | Undefined:
    """Tell whether both are true; Undefined unless both are Booleans or the texts of such."""
    one, other = to_boolean(left), to_boolean(right)
    return UNDEFINED if one is UNDEFINED or other is UNDEFINED else one and other


def logical_or(left: Value, right: Value) -> bool | Undefined:
    """Tell whether one is true; Undefined unless both are Booleans or the texts of such."""
    one, other = to_boolean(left), to_boolean(right)
    return UNDEFINED if one is UNDEFINED or other is UNDEFINED else one or other


def logical_not(value: Value) -> bool | Undefined:
    """Negate a Boolean or the text of one; the rest is Undefined."""
    one = to_boolean(value)
    return UNDEFINED if one is UNDEFINED else not one


def add(left: Value, right: Value) -> Value:
    """Add two numbers; with a String on either side, concatenate."""
    if type(left) is str or type(right) is str:
        one, other = to_string(left), to_string(right)
        if one is UNDEFINED or other is UNDEFINED or len(one) + len(other) > MAX_PAYLOAD_BYTES:
            return UNDEFINED
        return one + other
    if is_number(left) and is_number(right):
        return _add(left, right)
    return UNDEFINED


def _ordering(compare: Callable[[Number, Number], bool]) -> Operator:
    def ordered(left: Value, right: Value) -> Value:
        one, other = to_number(left), to_number(right)
        return UNDEFINED if one is UNDEFINED or other is UNDEFINED else compare(one, other)

    return ordered


def _arithmetic(
    of_ints: Callable[[int, int], int], of_decimals: Callable[[Number, Number], Decimal]
) -> Callable[[Value, Value], Number | Undefined]:
    def compute(left: Value, right: Value) -> Number | Undefined:
        one, other = to_number(left), to_number(right)
        if one is UNDEFINED or other is UNDEFINED:
            return UNDEFINED
        try:
            if type(one) is int and type(other) is int:
                return bounded(of_ints(one, other))
            return of_decimals(one, other)
        except ArithmeticError:
            return UNDEFINED

    return compute


def _quotient(left: int, right: int) -> int:
    quotient = abs(left) // abs(right)
    return quotient if (left < 0) == (right < 0) else -quotient


def _remainder(left: int, right: int) -> int:
    return left - right * _quotient(left, right)


def _same(left: Value, right: Value) -> bool:
    """Compare two values that are there; 1 and 1.0 are the same, 1 and true are not."""
    if is_number(left):
        return is_number(right) and left == right
    if type(left) is not type(right):
        return False
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_same, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_same(one, right[name]) for name, one in left.items())
    return left == right


_add: Final = _arithmetic(operator.add, CONTEXT.add)

OPERATORS: Final[Mapping[str, Operator]] = {
    "=": equal,
    "<>": not_equal,
    "<": _ordering(operator.lt),
    "<=": _ordering(operator.le),
    ">": _ordering(operator.gt),
    ">=": _ordering(operator.ge),
    "+": add,
    "-": _arithmetic(operator.sub, CONTEXT.subtract),
    "*": _arithmetic(operator.mul, CONTEXT.multiply),
    "/": _arithmetic(_quotient, CONTEXT.divide),
    "%": _arithmetic(_remainder, CONTEXT.remainder),
    "AND": logical_and,
    "OR": logical_or,
}
"""Every operator between two operands, as the grammar spells it."""
