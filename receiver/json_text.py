"""Strict JSON: what AWS IoT may post, read in time and depth that the length of the text bounds.

Numbers become `Decimal`, which keeps all digits and takes linear time for them; `int` would take quadratic time,
`float` would round. Refused, wherever they stand: names that occur twice, NaN and Infinity, numbers beyond a double's
range, deep nesting. How deep a text is, is counted before it is parsed, so that no parser's recursion depends on what
was sent.

Source: RFC 8259; its §4 leaves names that occur twice, its §9 depth and numbers to the receiver.
"""

from __future__ import annotations

import itertools
import json
import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from receiver.errors import InvalidMessage

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_DEPTH: Final = 64
"""Objects and arrays within each other, in a message. Those around all messages of a batch count as none."""

MAX_EXPONENT: Final = 308
"""Of a number's first digit: a double, which is what most who read JSON make of a number, goes no further."""

_SPACES: Final = re.compile(r"[ \t\n\r]*")
_STEPS: Final = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_NO_BRACKETS: Final = bytes(set(range(256)) - set(_STEPS))


def is_array(body: bytes) -> bool:
    """Tell whether a text begins as an array does."""
    return body[:1] != b"{" and body.lstrip(b" \t\n\r")[:1] == b"["


def parse_object(body: bytes) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        InvalidMessage: it is none.
    """
    text = _text_of(body, max_depth=MAX_DEPTH)
    fields, end = _value_at(text, _after_space(text, 0))
    _expect_nothing_from(text, end)
    if not isinstance(fields, dict):
        raise InvalidMessage("the body must be a JSON object")
    return fields


def parse_elements(body: bytes) -> Iterator[tuple[Any, bytes]]:
    """Read a JSON array, element by element: each with the bytes that it has in the body.

    Elements are given as far as the text can be read, so whoever takes no more of them reads no further.

    Raises:
        InvalidMessage: it is no array, or an element is no JSON; its `element` says which.
    """
    text = _text_of(body, max_depth=MAX_DEPTH + 1)
    at = _after_space(text, 0)
    if text[at : at + 1] != "[":
        raise InvalidMessage("the body must be a JSON array")
    at = _after_space(text, at + 1)
    if text[at : at + 1] == "]":
        _expect_nothing_from(text, at + 1)
        return
    number = 0
    while True:
        try:
            element, end = _value_at(text, at)
        except InvalidMessage as error:
            raise error.of_element(number) from None
        # UTF-8 has one way to write a text: encoded again, this is the slice of the body.
        yield element, text[at:end].encode()
        at = _after_space(text, end)
        mark, at = text[at : at + 1], at + 1
        if mark == "]":
            break
        if mark != ",":
            raise _no_json(json.JSONDecodeError("", text, at - 1))
        at = _after_space(text, at)
        number += 1
    _expect_nothing_from(text, at)


def _text_of(body: bytes, *, max_depth: int) -> str:
    if _is_deeper(body, max_depth):
        raise InvalidMessage("the body is nested too deeply")
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidMessage(f"the body is not UTF-8, at byte {error.start}") from None


def _is_deeper(body: bytes, max_depth: int) -> bool:
    """Tell whether a text is nested deeper than this; of one that is no JSON, as far as a parser would come.

    What is left without escapes and without every second part between quotes stands outside of strings. Behind a fault
    this may be wrong: no parser gets there.
    """
    if body.count(b"[") + body.count(b"{") <= max_depth:  # nearly always
        return False
    outside = b"".join(body.replace(rb"\\", b"").replace(rb"\"", b"").split(b'"')[::2])
    steps = map(_STEPS.__getitem__, outside.translate(None, _NO_BRACKETS))
    return max(itertools.accumulate(steps), default=0) > max_depth


def _after_space(text: str, at: int) -> int:
    space = _SPACES.match(text, at)
    return space.end() if space else at


def _value_at(text: str, at: int) -> tuple[Any, int]:
    try:
        return _DECODER.raw_decode(text, at)
    except json.JSONDecodeError as error:
        raise _no_json(error) from None
    except ArithmeticError:
        raise InvalidMessage("a number is beyond every range") from None


def _expect_nothing_from(text: str, at: int) -> None:
    at = _after_space(text, at)
    if at < len(text):
        raise _no_json(json.JSONDecodeError("", text, at))


def _no_json(error: json.JSONDecodeError) -> InvalidMessage:
    return InvalidMessage(f"the body is not JSON, at line {error.lineno}, column {error.colno}")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise InvalidMessage("an object has the same name twice")
    return made


def _number(digits: str) -> Decimal:
    number = Decimal(digits)
    if number.adjusted() > MAX_EXPONENT and number:
        raise InvalidMessage("a number is beyond every range")
    return number


def _refuse_constant(_: str) -> Any:
    raise InvalidMessage("there is NaN or Infinity, which JSON does not know")


_DECODER: Final = json.JSONDecoder(
    parse_float=_number, parse_int=_number, parse_constant=_refuse_constant, object_pairs_hook=_unique
)
