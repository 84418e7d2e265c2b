"""The functions of rule SQL: what they answer, and what they answer nothing to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.iot.rules.functions import FUNCTIONS
from harness.iot.rules.values import UNDEFINED

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.iot.rules import RuleMessage
    from harness.iot.rules.values import Value


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ((), "a/b//c"),
        ((1,), "a"),
        ((2,), "b"),
        ((3,), ""),
        ((4,), "c"),
        (("2",), "b"),
        ((5,), UNDEFINED),
        ((0,), UNDEFINED),
        ((-1,), UNDEFINED),
        ((10**33,), UNDEFINED),
        (("b",), UNDEFINED),
        ((None,), UNDEFINED),
        ((True,), UNDEFINED),
        ((UNDEFINED,), UNDEFINED),
        ((1, 2), UNDEFINED),
    ],
)
def test_topic_gives_the_topic_or_one_level(
    arguments: tuple[Value, ...], wanted: Value, make_message: Callable[..., RuleMessage]
) -> None:
    """Levels count from 1; there is none beyond the last."""
    assert FUNCTIONS["topic"](make_message(topic="a/b//c"), arguments) == wanted


def test_topic_counts_from_behind_the_prefix_of_basic_ingest(make_message: Callable[..., RuleMessage]) -> None:
    """`$aws/rules/<rule>/` is not part of what rules see."""
    message = make_message(topic="$aws/rules/my_rule/a/b")

    assert FUNCTIONS["topic"](message, ()) == "a/b"
    assert FUNCTIONS["topic"](message, (1,)) == "a"


@pytest.mark.parametrize(
    ("name", "facts", "wanted"),
    [
        ("clientid", {"client_id": "d-1"}, "d-1"),
        ("clientid", {"client_id": ""}, ""),
        ("clientid", {"client_id": None}, "n/a"),
        ("traceid", {"trace_id": "7e146a2c"}, "7e146a2c"),
        ("traceid", {"trace_id": None}, UNDEFINED),
        ("timestamp", {"timestamp": 1_795_291_262_123}, 1_795_291_262_123),
        ("newuuid", {}, "uuid-1"),
    ],
)
def test_a_function_tells_a_fact_of_the_message(
    name: str, facts: dict[str, object], wanted: Value, make_message: Callable[..., RuleMessage]
) -> None:
    """With an argument that it does not take, it is Undefined."""
    message = make_message(**facts)

    assert FUNCTIONS[name](message, ()) == wanted
    assert FUNCTIONS[name](message, (1,)) is UNDEFINED


def test_each_new_uuid_is_another(make_message: Callable[..., RuleMessage]) -> None:
    """Asked twice, it is made twice."""
    message = make_message()

    assert [FUNCTIONS["newuuid"](message, ()) for _ in range(2)] == ["uuid-1", "uuid-2"]
