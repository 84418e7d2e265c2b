"""What the grammar makes of a rule's SQL: a small tree, bounded in depth.

Every node knows where it stands, how deep it is, and how to write itself in a sentence.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.iot.rules.values import Value

MAX_DEPTH: Final = 100
"""How deep operators and calls may be nested; each level is one call when the expression is evaluated."""


class TooDeep(Exception):  # noqa: N818 - says what the expression is
    """An expression is nested more than `MAX_DEPTH` levels deep.

    Args:
        offset: where, in characters.
    """

    def __init__(self, offset: int) -> None:
        self.offset = offset
        super().__init__(offset)


@dataclass(frozen=True, slots=True)
class Literal:
    """A value written in the statement; ``text`` as written."""

    offset: int
    text: str
    value: Value
    depth: int = 1


@dataclass(frozen=True, slots=True)
class Path:
    """An attribute of the payload: ``a.b``."""

    offset: int
    names: tuple[str, ...]
    depth: int = 1

    @property
    def text(self) -> str:
        """As written."""
        return ".".join(self.names)


@dataclass(frozen=True, slots=True)
class Call:
    """``name(argument, …)``."""

    offset: int
    name: str
    arguments: tuple[Expression, ...]
    depth: int = field(init=False)

    def __post_init__(self) -> None:
        _set_depth(self, self.arguments)

    @property
    def text(self) -> str:
        """As written, more or less."""
        return f"{self.name}({', '.join(argument.text for argument in self.arguments)})"


@dataclass(frozen=True, slots=True)
class Not:
    """``NOT operand``."""

    offset: int
    operand: Expression
    depth: int = field(init=False)

    def __post_init__(self) -> None:
        _set_depth(self, (self.operand,))

    @property
    def text(self) -> str:
        """As written, more or less."""
        return f"NOT {self.operand.text}"


@dataclass(frozen=True, slots=True)
class Binary:
    """``left operator right``; keywords in upper case."""

    offset: int
    operator: str
    left: Expression
    right: Expression
    depth: int = field(init=False)

    def __post_init__(self) -> None:
        _set_depth(self, (self.left, self.right))

    @property
    def text(self) -> str:
        """As written, more or less."""
        return f"{self.left.text} {self.operator} {self.right.text}"


Expression: TypeAlias = Literal | Path | Call | Not | Binary


@dataclass(frozen=True, slots=True)
class Star:
    """``*`` in a SELECT list."""

    offset: int


@dataclass(frozen=True, slots=True)
class Item:
    """``expression [AS alias]``."""

    expression: Expression
    alias: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class TopicFilter:
    """What follows FROM, without its quotes."""

    offset: int
    text: str


@dataclass(frozen=True, slots=True)
class Where:
    """``WHERE expression``."""

    offset: int
    expression: Expression


@dataclass(frozen=True, slots=True)
class Select:
    """A whole statement."""

    items: tuple[Star | Item, ...]
    topic_filter: TopicFilter | None
    where: Where | None


def leaves(expression: Expression) -> Iterator[Path | Call]:
    """Find the attributes and calls of an expression, from left to right; a call's arguments belong to it."""
    if isinstance(expression, Path | Call):
        yield expression
    elif isinstance(expression, Not):
        yield from leaves(expression.operand)
    elif isinstance(expression, Binary):
        yield from leaves(expression.left)
        yield from leaves(expression.right)


def _set_depth(node: Call | Not | Binary, children: tuple[Expression, ...]) -> None:
    depth = 1 + max((child.depth for child in children), default=0)
    if depth > MAX_DEPTH:
        raise TooDeep(node.offset)
    object.__setattr__(node, "depth", depth)
