"""Substitution templates: text with ``${expression}`` in it, compiled once.

An expression sees the original payload, never the result of SELECT, whose aliases it does not know.

Source: iot-substitution-templates in the AWS IoT developer guide.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from harness.errors import HarnessError
from harness.iot.limits import MAX_PAYLOAD_BYTES
from harness.iot.rules.expressions import DEFAULT_SQL_VERSION, Evaluator, compile_expression, makes_whole_numbers_ints
from harness.iot.rules.grammar import Refusal, parse_expression, sql_error
from harness.iot.rules.values import UNDEFINED, to_string

if TYPE_CHECKING:
    from harness.iot.rules.message import RuleMessage

_OPENING: Final = "${"

WhenUndefined = Literal["empty", "fail"]


class TemplateUndefined(HarnessError):  # noqa: N818 - says what the expression is
    """An expression of a template is Undefined for a message.

    Args:
        expression: as written, between the braces.
    """

    def __init__(self, expression: str) -> None:
        self.expression = expression
        super().__init__(f"${{{expression}}} is Undefined")


class TemplateTooLong(HarnessError):  # noqa: N818 - says what the text is
    """A template's text with all values in it would be longer than a message can be."""

    def __init__(self) -> None:
        super().__init__(f"the text is longer than {MAX_PAYLOAD_BYTES} characters")


class Template:
    """A text with expressions in it.

    Attributes:
        text: the source.
        is_constant: whether there is no expression in it.
    """

    __slots__ = ("_pieces", "is_constant", "text")

    def __init__(self, text: str, pieces: tuple[str | tuple[str, Evaluator], ...]) -> None:
        self.text = text
        self._pieces = pieces
        self.is_constant = all(isinstance(piece, str) for piece in pieces)

    def __repr__(self) -> str:
        return f"Template({self.text!r})"

    def render(self, message: RuleMessage, *, undefined: WhenUndefined) -> str:
        """Return the text with each expression's value in its place.

        Args:
            message: what the expressions look at.
            undefined: what an expression without a value leaves: nothing, or an error. Null has no text either.

        Raises:
            TemplateUndefined: an expression has no value, and ``undefined`` is ``fail``.
            TemplateTooLong: more than 128 Ki characters.
            PayloadError: an expression asks for an attribute of a payload that is not JSON.
        """
        if self.is_constant:
            return self.text
        rendered: list[str] = []
        size = 0
        for piece in self._pieces:
            text = piece if isinstance(piece, str) else _render(piece, message, undefined)
            size += len(text)
            if size > MAX_PAYLOAD_BYTES:
                raise TemplateTooLong
            rendered.append(text)
        return "".join(rendered)


def parse_template(text: str, *, version: str = DEFAULT_SQL_VERSION) -> Template:
    """Read a template.

    Args:
        text: with any number of ``${expression}``; a ``$`` before anything else is a character.
        version: of the SQL in the expressions, one of `SQL_VERSIONS`.

    Raises:
        RuleSqlError: an expression is not closed, not in the grammar, or calls what is not evaluated here.
        ValueError: no version of rule SQL.
    """
    whole = makes_whole_numbers_ints(version)
    pieces: list[str | tuple[str, Evaluator]] = []
    position = 0
    while (opening := text.find(_OPENING, position)) >= 0:
        if opening > position:
            pieces.append(text[position:opening])
        start = opening + len(_OPENING)
        try:
            end = _closing(text, start)
            expression = text[start:end]
            pieces.append((expression, compile_expression(parse_expression(expression), whole=whole)))
        except Refusal as refusal:
            raise sql_error(text, refusal, start=start) from None
        position = end + 1
    if position < len(text):
        pieces.append(text[position:])
    return Template(text, tuple(pieces))


def _render(piece: tuple[str, Evaluator], message: RuleMessage, undefined: WhenUndefined) -> str:
    source, compute = piece
    text = to_string(compute(message))
    if text is not UNDEFINED:
        return text
    if undefined == "fail":
        raise TemplateUndefined(source)
    return ""


def _closing(text: str, start: int) -> int:
    """Return where the ``}`` of an expression is: the first outside of quotes."""
    quote = ""
    for position in range(start, len(text)):
        character = text[position]
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character == "}":
            return position
    raise Refusal(0, f"an expression begins with {_OPENING} and ends with }}")
