"""The operator tables of iot-sql-operators, row by row."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.iot.rules.operators import OPERATORS, logical_not
from harness.iot.rules.values import UNDEFINED as U

if TYPE_CHECKING:
    from harness.iot.rules.values import Value

D = Decimal
EVERY_TYPE = [0, 7, D("2.5"), True, False, "", "text", "7", "true", [1], {"a": 1}, None, U]


def same(value: object, wanted: object) -> bool:
    """Compare type and spelling too."""
    return type(value) is type(wanted) and repr(value) == repr(wanted)


@pytest.mark.parametrize(
    ("left", "operator", "right", "wanted"),
    [
        # AND, OR: Booleans and the texts of them
        (True, "AND", True, True),
        (True, "AND", False, False),
        (False, "AND", False, False),
        ("TRUE", "AND", True, True),
        ("true", "AND", "false", False),
        (True, "AND", "yes", U),
        (False, "AND", U, U),
        (True, "AND", 1, U),
        (None, "AND", False, U),
        (True, "OR", False, True),
        (False, "OR", False, False),
        ("False", "OR", "True", True),
        (True, "OR", U, U),
        (0, "OR", True, U),
        ([], "OR", {}, U),
        # ordering: numbers and numeric strings
        (1, "<", 2, True),
        (2, "<", 2, False),
        (2, "<=", 2, True),
        (3, "<=", 2, False),
        (2, ">", 1, True),
        (2, ">", 2, False),
        (2, ">=", 2, True),
        (1, ">=", 2, False),
        (1, "<", D("1.5"), True),
        (D("1.5"), ">", 1, True),
        ("10", ">", 9, True),
        ("10", ">", "9", True),
        ("1e1", ">=", D("9.9"), True),
        ("b", ">", "a", U),
        ("b", ">", 1, U),
        (True, ">", False, U),
        (1, "<", None, U),
        (1, "<", U, U),
        (U, "<", U, U),
        ([2], ">", [1], U),
        ({}, "<", {}, U),
        # equality
        (1, "=", 1, True),
        (1, "=", 2, False),
        (1, "=", D("1.0"), True),
        (D("1.0"), "=", D("1.00"), True),
        (D("1.5"), "=", 1, False),
        ("a", "=", "a", True),
        ("a", "=", "A", False),
        (True, "=", True, True),
        (True, "=", False, False),
        (None, "=", None, True),
        ([1, "a"], "=", [D("1.0"), "a"], True),
        ([1, 2], "=", [2, 1], False),
        ([1], "=", [1, 2], False),
        ({"a": 1, "b": [2]}, "=", {"b": [2], "a": 1}, True),
        ({"a": 1}, "=", {"a": 2}, False),
        ({"a": 1}, "=", {"b": 1}, False),
        ([True], "=", [1], False),
        # types that do not match are not equal
        ("1", "=", 1, False),
        (1, "=", "1", False),
        (True, "=", 1, False),
        (1, "=", True, False),
        (True, "=", "true", False),
        (None, "=", 0, False),
        ([], "=", {}, False),
        (U, "=", 1, U),
        (1, "=", U, U),
        (U, "=", U, U),
        (1, "<>", 2, True),
        (1, "<>", D("1.0"), False),
        ("1", "<>", 1, True),
        (None, "<>", None, False),
        (None, "<>", 0, True),
        (U, "<>", 1, U),
        (None, "<>", U, U),
        # +
        (1, "+", 2, 3),
        (1, "+", D("2.5"), D("3.5")),
        (D("0.1"), "+", D("0.2"), D("0.3")),
        ("a", "+", "b", "ab"),
        ("5", "+", 3, "53"),
        (3, "+", "5", "35"),
        ("t=", "+", D("21.50"), "t=21.50"),
        ("a", "+", True, "atrue"),
        ("a", "+", [1], "a[1]"),
        ({"b": 1}, "+", "a", '{"b":1}a'),
        ("a", "+", None, U),
        ("a", "+", U, U),
        (U, "+", "a", U),
        (True, "+", 1, U),
        (1, "+", True, U),
        ([1], "+", [2], U),
        (1, "+", None, U),
        (1, "+", U, U),
        ("a" * 131_072, "+", "", "a" * 131_072),
        ("a" * 131_072, "+", "b", U),
        # - * / %
        (7, "-", 2, 5),
        (7, "*", 2, 14),
        (7, "/", 2, 3),
        (-7, "/", 2, -3),
        (7, "/", -2, -3),
        (-7, "/", -2, 3),
        (7, "%", 2, 1),
        (-7, "%", 2, -1),
        (7, "%", -2, 1),
        (7, "/", D(2), D("3.5")),
        (D("7.5"), "%", 2, D("1.5")),
        (D("-7.5"), "%", 2, D("-1.5")),
        (D("2.5"), "*", 2, D("5.0")),
        ("7", "-", 2, D(5)),
        ("7", "/", "2", D("3.5")),
        (D(1), "/", 3, D("0." + "3" * 34)),
        ("text", "-", 1, U),
        (True, "*", 2, U),
        (None, "-", 1, U),
        ([1], "*", 2, U),
        (1, "/", U, U),
        # what has no result
        (1, "/", 0, U),
        (1, "%", 0, U),
        (D("1.5"), "/", 0, U),
        (D("1.5"), "%", 0, U),
        (0, "/", D("0.0"), U),
        # 34 digits and 9.99E999 are the bounds
        (10**33, "*", 10, D("1." + "0" * 33 + "E+34")),
        (10**34 - 1, "+", 1, D("1." + "0" * 33 + "E+34")),
        (10**34 - 1, "-", 1, 10**34 - 2),
        (D("1E+999"), "*", 10, U),
        (D("9.99E+999"), "+", D("9.99E+999"), U),
        (D("1E+999"), "%", D("0.7"), U),
    ],
)
def test_an_operator_works_as_its_table_says(left: Value, operator: str, right: Value, wanted: Value) -> None:
    """Rows of the page, then the bounds; results of the wrong type would fail too."""
    assert same(OPERATORS[operator](left, right), wanted)


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (True, False),
        (False, True),
        ("TRUE", False),
        ("false", True),
        ("text", U),
        (0, U),
        (None, U),
        ([], U),
        (U, U),
    ],
)
def test_not_negates_booleans_and_their_texts(value: Value, wanted: Value) -> None:
    """The rest is Undefined."""
    assert logical_not(value) is wanted


@pytest.mark.parametrize("operator", OPERATORS)
def test_no_operator_raises_whatever_the_types(operator: str) -> None:
    """A device chooses the types of its payload."""
    for left in EVERY_TYPE:
        for right in EVERY_TYPE:
            OPERATORS[operator](left, right)


@given(
    st.sampled_from(sorted(OPERATORS)),
    *[st.integers(-(10**34) + 1, 10**34 - 1) | st.decimals(allow_nan=False, allow_infinity=False, places=3)] * 2,
)
@settings(max_examples=300, deadline=None)
def test_numbers_stay_within_their_bounds(operator: str, left: int | Decimal, right: int | Decimal) -> None:
    """Ints have 34 digits at most and no operator raises."""
    result = OPERATORS[operator](left, right)

    assert type(result) is not int or abs(result) < 10**34


@given(st.integers(-(10**9), 10**9), st.integers(-(10**9), 10**9).filter(bool))
@settings(max_examples=100, deadline=None)
def test_quotient_and_remainder_agree(left: int, right: int) -> None:
    """As in Java: the remainder has the sign of the dividend."""
    quotient, remainder = OPERATORS["/"](left, right), OPERATORS["%"](left, right)

    assert quotient * right + remainder == left
    assert abs(remainder) < abs(right)
    assert remainder == 0 or (remainder < 0) == (left < 0)
