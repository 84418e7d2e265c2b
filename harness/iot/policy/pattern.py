"""Patterns of policy documents: ``*``, ``?``, ``${variable}``, compiled once and matched often.

A `Template` is the text of a document; `Template.bind` puts the values of one request in and gives a `Pattern`. A
value is literal: a client id that contains ``*`` does not become a wildcard. A variable without a value leaves a
pattern that matches nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from harness.errors import PolicyDocumentError
from harness.iot.policy.variables import canonical_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.iot.policy.variables import Dialect

Context = Mapping[str, str | tuple[str, ...]]
"""Variable or condition key to its value, or its values; a key that is not there has none."""

_ESCAPES: Final = {"*": "*", "?": "?", "$": "$"}


@dataclass(frozen=True, slots=True)
class Wildcard:
    """``*`` or ``?`` where it means any run, or any one, of characters."""

    sign: str


@dataclass(frozen=True, slots=True)
class Variable:
    """``${name}``; ``name`` as contexts spell it, ``text`` as written."""

    name: str
    text: str


Piece = str | Wildcard | Variable


class Pattern:
    """A template with its values in: what one request is compared with.

    Args:
        pieces: literal text, wildcards, and variables that have no value.

    Attributes:
        text: the pattern to show, values in, valueless variables as written.
        unresolved: the variables without a value, as written; when there are some, nothing matches.
        matches: whether a text matches from its first to its last character.
    """

    __slots__ = ("matches", "text", "unresolved")

    def __init__(self, pieces: tuple[Piece, ...]) -> None:
        self.text = "".join(_shown(piece) for piece in pieces)
        self.unresolved = tuple(piece.text for piece in pieces if isinstance(piece, Variable))
        self.matches: Callable[[str], object] = _never if self.unresolved else _matcher(pieces)

    def __repr__(self) -> str:
        return f"Pattern({self.text!r})"


class Template:
    """The text of a document between its quotes, parsed.

    Args:
        pieces: what `parse_template` found.
    """

    __slots__ = ("_pattern", "pieces")

    def __init__(self, pieces: tuple[Piece, ...]) -> None:
        self.pieces = pieces
        self._pattern = None if any(isinstance(piece, Variable) for piece in pieces) else Pattern(pieces)

    def bind(self, context: Context) -> Pattern:
        """Return the pattern with each variable's value in its place; a variable with several values has none here."""
        if self._pattern is not None:
            return self._pattern
        bound: list[Piece] = []
        for piece in self.pieces:
            value = context.get(piece.name) if isinstance(piece, Variable) else None
            bound.append(value if isinstance(value, str) else piece)
        return Pattern(tuple(bound))


def parse_template(
    text: str, *, dialect: Dialect, pointer: str, has_variables: bool, has_wildcards: bool = True
) -> Template:
    """Read wildcards and variables.

    Args:
        text: as in the document.
        dialect: whose variables hold.
        pointer: where the text stands, for errors.
        has_variables: False where ``${…}`` is plain text, as in documents older than version 2012-10-17.
        has_wildcards: False where ``*`` and ``?`` are plain text, as in the values of ``StringEquals``.

    Raises:
        PolicyDocumentError: ``${`` without ``}``, a default value, or a variable that has no value here.

    Source: reference_policies_variables in the IAM user guide, with ``${*}``, ``${?}`` and ``${$}`` as the characters
    themselves.
    Differs: default values (``${name, 'text'}``) are refused.
    """
    pieces: list[Piece] = []
    literal: list[str] = []

    def put(piece: Piece) -> None:
        if literal:
            pieces.append("".join(literal))
            literal.clear()
        pieces.append(piece)

    position = 0
    while position < len(text):
        if has_variables and text.startswith("${", position):
            end = text.find("}", position)
            if end < 0:
                raise PolicyDocumentError(pointer, f"a policy variable is not closed: {text[position:]}")
            name = text[position + 2 : end]
            if name in _ESCAPES:
                literal.append(_ESCAPES[name])
            elif "," in name:
                raise PolicyDocumentError(pointer, f"default values of policy variables are not supported: ${{{name}}}")
            else:
                put(Variable(canonical_name(name, dialect=dialect, pointer=pointer), text[position : end + 1]))
            position = end + 1
            continue
        if has_wildcards and text[position] in "*?":
            put(Wildcard(text[position]))
        else:
            literal.append(text[position])
        position += 1
    if literal:
        pieces.append("".join(literal))
    return Template(tuple(pieces))


def _shown(piece: Piece) -> str:
    if isinstance(piece, Wildcard):
        return piece.sign
    return piece.text if isinstance(piece, Variable) else piece


def _never(_text: str) -> bool:
    return False


def _always(_text: str) -> bool:
    return True


def _matcher(pieces: tuple[Piece, ...]) -> Callable[[str], object]:
    """Return the cheapest predicate; the usual shapes need no regular expression."""
    signs = "".join(piece.sign for piece in pieces if isinstance(piece, Wildcard))
    if not signs:
        return "".join(map(_shown, pieces)).__eq__
    if signs == "*" and isinstance(pieces[-1], Wildcard):
        prefix = "".join(map(_shown, pieces[:-1]))
        return (lambda text: text.startswith(prefix)) if prefix else _always
    return re.compile(_expression(pieces), re.DOTALL).fullmatch


def _expression(pieces: tuple[Piece, ...]) -> str:
    """Return a regular expression that never goes back over a ``*``.

    The first place where what follows a ``*`` fits is the right one: ``a*b*c`` becomes ``a(?>.*?b).*c``, and atomic
    groups keep the time linear in the number of stars, whatever a policy's author wrote.
    """
    runs = [""]
    for piece in pieces:
        if isinstance(piece, Wildcard) and piece.sign == "*":
            runs.append("")
        else:
            runs[-1] += "." if isinstance(piece, Wildcard) else re.escape(_shown(piece))
    if len(runs) == 1:
        return runs[0]
    first, *middle, last = runs
    return first + "".join(f"(?>.*?{run})" for run in middle if run) + ".*" + last
