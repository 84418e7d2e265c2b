"""The conversion table of iot-sql-data-types, cell by cell."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from harness.iot.rules.values import (
    INT_LIMIT,
    UNDEFINED,
    read_decimal,
    read_int,
    read_whole,
    to_boolean,
    to_int,
    to_number,
    to_string,
    whole_number,
)

if TYPE_CHECKING:
    from harness.iot.rules.values import Number, Value


def exactly(value: object, wanted: object) -> bool:
    """Compare type, value and spelling: neither are True and 1 the same, nor 1.0 and 1.00."""
    return type(value) is type(wanted) and repr(value) == repr(wanted)


def test_the_missing_value_says_its_name() -> None:
    """It is neither None nor false; it appears in sentences."""
    assert repr(UNDEFINED) == "Undefined"
    assert UNDEFINED is not None


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (3, 3),
        (Decimal("2.50"), Decimal("2.50")),
        ("0", Decimal(0)),
        ("-12", Decimal(-12)),
        ("12.50", Decimal("12.50")),
        ("1e3", Decimal("1E+3")),
        ("1E3", Decimal("1E+3")),
        ("1.5E-3", Decimal("0.0015")),
        ("007", Decimal(7)),
        # the regular expression of the page has none of these
        ("+1", UNDEFINED),
        (".5", UNDEFINED),
        ("1.", UNDEFINED),
        ("1e+3", UNDEFINED),
        ("", UNDEFINED),
        (" 1", UNDEFINED),
        ("1\n", UNDEFINED),
        ("NaN", UNDEFINED),
        ("Infinity", UNDEFINED),
        ("0x10", UNDEFINED),
        ("1_000", UNDEFINED),
        ("٣", UNDEFINED),
        ("text", UNDEFINED),
        # beyond what there is
        ("1e1000", UNDEFINED),
        ("1E99999999999999999999999999", UNDEFINED),
        ("9" * 100_000, UNDEFINED),
        # the other types
        (True, UNDEFINED),
        ([1], UNDEFINED),
        ({"a": 1}, UNDEFINED),
        (None, UNDEFINED),
        (UNDEFINED, UNDEFINED),
    ],
)
def test_a_value_becomes_a_number(value: Value, wanted: Value) -> None:
    """A String is one if it is spelled as the page says."""
    assert exactly(to_number(value), wanted)


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (3, 3),
        (Decimal("2.4"), 2),
        (Decimal("2.5"), 3),
        (Decimal("-2.5"), -3),
        (Decimal("2.6"), 3),
        ("2.6", 2),
        ("-2.6", -2),
        (Decimal(INT_LIMIT), UNDEFINED),
        ("1e999", UNDEFINED),
        ("text", UNDEFINED),
        (True, UNDEFINED),
        ([], UNDEFINED),
        ({}, UNDEFINED),
        (None, UNDEFINED),
        (UNDEFINED, UNDEFINED),
    ],
)
def test_a_value_becomes_an_int(value: Value, wanted: Value) -> None:
    """A Decimal is rounded to the nearest, a String truncated."""
    assert exactly(to_int(value), wanted)


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (True, True),
        (False, False),
        ("true", True),
        ("FALSE", False),
        ("tRuE", True),
        ("yes", UNDEFINED),
        ("truetrue", UNDEFINED),
        ("", UNDEFINED),
        (1, UNDEFINED),
        (0, UNDEFINED),
        (Decimal(1), UNDEFINED),
        ([True], UNDEFINED),
        ({}, UNDEFINED),
        (None, UNDEFINED),
        (UNDEFINED, UNDEFINED),
    ],
)
def test_a_value_becomes_a_boolean(value: Value, wanted: Value) -> None:
    """Only Booleans and the texts of them do; numbers need `cast`."""
    assert to_boolean(value) is wanted


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (53, "53"),
        (Decimal("21.50"), "21.50"),
        (Decimal("1E+30"), "1E+30"),
        (True, "true"),
        (False, "false"),
        ("text", "text"),
        ([1, "a", None], '[1,"a",null]'),
        ({"a": {"b": Decimal("1.0")}}, '{"a":{"b":1.0}}'),
        (None, UNDEFINED),
        (UNDEFINED, UNDEFINED),
    ],
)
def test_a_value_becomes_a_string(value: Value, wanted: Value) -> None:
    """Decimals may be in scientific notation; Null has no text."""
    assert exactly(to_string(value), wanted)


@pytest.mark.parametrize(
    ("text", "exact", "whole"),
    [
        ("10.0", Decimal("10.0"), 10),
        ("-0.0", Decimal("-0.0"), 0),
        ("1e2", Decimal("1E+2"), 100),
        ("21.5", Decimal("21.5"), Decimal("21.5")),
        ("1e33", Decimal("1E+33"), 10**33),
        ("1e34", Decimal("1E+34"), Decimal("1E+34")),
        ("9.99e999", Decimal("9.99E+999"), Decimal("9.99E+999")),
        ("1e-999", Decimal("1E-999"), Decimal("1E-999")),
        # 34 digits
        ("0." + "1" * 40, Decimal("0." + "1" * 34), Decimal("0." + "1" * 34)),
    ],
)
def test_a_whole_decimal_is_an_int_since_2016(text: str, exact: Decimal, whole: Number) -> None:
    """Source: iot-sql-data-types: "numeric values that are whole numbers, such as 10.0, are processed as an Int"."""
    assert exactly(read_decimal(text), exact)
    assert exactly(read_whole(text), whole)
    assert exactly(whole_number(exact), whole)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("0", 0),
        ("-5", -5),
        ("9" * 34, 10**34 - 1),
        ("-" + "9" * 34, -(10**34) + 1),
        ("1" + "0" * 34, Decimal("1." + "0" * 33 + "E+34")),
        ("1" * 40, Decimal("1" * 34 + "E+6")),
    ],
)
def test_an_int_has_at_most_34_digits(text: str, wanted: Number) -> None:
    """A longer one becomes a Decimal of 34 digits."""
    assert exactly(read_int(text), wanted)


@pytest.mark.parametrize("text", ["1e1000", "-1e1000", "1e999999999999999999999", "9" * 1001, "9" * 200_000])
def test_a_number_out_of_range_is_an_error_at_once(text: str) -> None:
    """However long the numeral."""
    with pytest.raises(ArithmeticError):
        read_decimal(text)
