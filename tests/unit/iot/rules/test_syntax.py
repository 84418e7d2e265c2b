"""The tree: its depth, its texts and its leaves."""

from __future__ import annotations

import pytest

from harness.iot.rules.grammar import parse_expression
from harness.iot.rules.syntax import MAX_DEPTH, Literal, Not, TooDeep, leaves


@pytest.mark.parametrize(
    ("text", "depth", "names"),
    [
        ("1", 1, []),
        ("a.b", 1, ["a.b"]),
        ("f()", 1, ["f()"]),
        ("f(a, g(b))", 3, ["f(a, g(b))"]),
        ("NOT a AND b = f(1)", 4, ["a", "b", "f(1)"]),
        ("a + 1 > b OR a < 2", 4, ["a", "b", "a"]),
    ],
)
def test_a_tree_knows_its_depth_and_leaves(text: str, depth: int, names: list[str]) -> None:
    """Attributes and calls are what a sentence names the values of."""
    tree = parse_expression(text)

    assert (tree.depth, [leaf.text for leaf in leaves(tree)]) == (depth, names)
    assert tree.text == text


def test_a_tree_does_not_grow_beyond_its_bound() -> None:
    """Whoever makes it."""
    tree: Literal | Not = Literal(0, "1", 1)
    for _ in range(MAX_DEPTH - 1):
        tree = Not(5, tree)

    with pytest.raises(TooDeep) as caught:
        Not(7, tree)
    assert caught.value.offset == 7
