"""The values of rule SQL and how one type becomes another.

Int is `int`, Decimal is `decimal.Decimal`, Boolean is `bool`, String is `str`, Array is `list`, Object is `dict`, Null
is `None`, and the missing value is `UNDEFINED`. Since Python's True equals 1, types are told apart by `type(…) is …`.

Source: iot-sql-data-types in the AWS IoT developer guide.
"""

from __future__ import annotations

import enum
import re
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, ROUND_HALF_UP, Context, Decimal, DivisionByZero, InvalidOperation
from decimal import Overflow as DecimalOverflow
from typing import Final, TypeAlias

from harness.iot.rules.json_text import write

MAX_DIGITS: Final = 34
MAX_EXPONENT: Final = 999
INT_LIMIT: Final = 10**MAX_DIGITS
"""The first whole number that is no Int."""

CONTEXT: Final = Context(
    prec=MAX_DIGITS,
    rounding=ROUND_HALF_EVEN,
    Emin=-MAX_EXPONENT,
    Emax=MAX_EXPONENT,
    capitals=1,
    clamp=0,
    flags=[],
    traps=[InvalidOperation, DivisionByZero, DecimalOverflow],
)
"""34 digits, 1E-999 to 9.99E999; how AWS rounds is not documented, this is IEEE 754's way for decimal128."""

_NUMERIC: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE]-?[0-9]+)?")


class Undefined(enum.Enum):
    """The type of `UNDEFINED`."""

    UNDEFINED = "Undefined"

    def __repr__(self) -> str:
        return "Undefined"


UNDEFINED: Final = Undefined.UNDEFINED
"""SQL's missing value: an attribute that is not there, or an operation on the wrong types."""

Value: TypeAlias = "int | Decimal | bool | str | list[Value] | dict[str, Value] | Undefined | None"
Number: TypeAlias = "int | Decimal"


def is_number(value: Value) -> bool:
    """Tell whether a value is Int or Decimal."""
    return type(value) is int or type(value) is Decimal


def read_decimal(text: str) -> Decimal:
    """Return the Decimal a numeral stands for, with 34 digits.

    Raises:
        ArithmeticError: beyond 9.99E999.
    """
    return CONTEXT.create_decimal(text)


def read_int(text: str) -> Number:
    """Return the Int a numeral stands for; the Decimal next to it when there are more than 34 digits.

    Raises:
        ArithmeticError: beyond 9.99E999.
    """
    return int(text) if len(text) <= MAX_DIGITS else bounded(whole_number(read_decimal(text)))


def read_whole(text: str) -> Number:
    """Return the number a numeral with a fraction or an exponent stands for: an Int where it is whole.

    Raises:
        ArithmeticError: beyond 9.99E999.

    Source: iot-sql-data-types: in 2016-03-23, ``10.0`` is processed as the Int 10.
    """
    return whole_number(read_decimal(text))


def bounded(value: Number) -> Number:
    """Return a result of Int arithmetic: a Decimal of 34 digits when it is too long for an Int.

    Raises:
        ArithmeticError: beyond 9.99E999.
    """
    if type(value) is int and not -INT_LIMIT < value < INT_LIMIT:
        return CONTEXT.create_decimal(value)
    return value


def to_number(value: Value) -> Number | Undefined:
    """Return a number, or the one a numeric String stands for; everything else is Undefined, Null included."""
    if type(value) is int or type(value) is Decimal:
        return value
    if type(value) is str:
        return to_decimal(value)
    return UNDEFINED


def to_decimal(text: str) -> Decimal | Undefined:
    """Return the Decimal that a String stands for: no leading ``+``, no ``.5``, no ``1.``."""
    if not _NUMERIC.fullmatch(text):
        return UNDEFINED
    try:
        return read_decimal(text)
    except ArithmeticError:
        return UNDEFINED


def to_int(value: Value) -> int | Undefined:
    """Return an Int: a Decimal is rounded to the nearest, a numeric String is truncated, the rest is Undefined.

    Differs: Null is Null in AWS's table; nothing here tells the two apart.
    """
    if type(value) is int:
        return value
    number = to_number(value)
    if type(number) is not Decimal or number.copy_abs() >= INT_LIMIT:
        return UNDEFINED
    return int(number.to_integral_value(rounding=ROUND_DOWN if type(value) is str else ROUND_HALF_UP))


def to_boolean(value: Value) -> bool | Undefined:
    """Return a Boolean, or what a String ``true`` or ``false`` of any case stands for; the rest is Undefined."""
    if type(value) is bool:
        return value
    if type(value) is str and len(value) <= len("false"):
        return {"true": True, "false": False}.get(value.lower(), UNDEFINED)
    return UNDEFINED


def to_string(value: Value) -> str | Undefined:
    """Return the text of a value: JSON of arrays and objects; Null and Undefined have none."""
    if type(value) is str:
        return value
    if value is None or value is UNDEFINED:
        return UNDEFINED
    return write(value)


def whole_number(number: Decimal) -> Number:
    """Return the Int that a Decimal is equal to, if there is one."""
    if number != number.to_integral_value() or number.copy_abs() >= INT_LIMIT:
        return number
    return int(number)
