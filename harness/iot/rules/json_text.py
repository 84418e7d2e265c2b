"""JSON as rules read and write it: exact numbers, bounded depth, one spelling.

`json` writes no Decimal, so the writer is here. What it is given comes from the reader or from SQL, and is therefore
never deeper than the reader allows.

Source: RFC 8259; iot-sql-data-types in the AWS IoT developer guide.
Differs: the last of several members of one name holds, as most parsers do; AWS does not document it. A document deeper
than `MAX_DEPTH`, or a number beyond 9.99E999, is refused; AWS's own bounds are not documented.
"""

from __future__ import annotations

import json
from json.encoder import encode_basestring
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MAX_DEPTH: Final = 100
"""How deep arrays and objects may be nested in a payload."""


class NotJson(ValueError):  # noqa: N818 - says what the bytes are
    """Bytes that are no JSON."""


class BeyondLimits(ValueError):  # noqa: N818 - says what the document is
    """JSON that a rule cannot hold: too deep, or a number out of range."""


class Reader:
    """Reads JSON documents.

    Args:
        read_int: makes a number of a numeral without fraction and exponent.
        read_float: makes a number of any other numeral.
    """

    __slots__ = ("_decoder",)

    def __init__(self, read_int: Callable[[str], Any], read_float: Callable[[str], Any]) -> None:
        self._decoder = json.JSONDecoder(parse_int=read_int, parse_float=read_float, parse_constant=_refuse_constant)

    def read(self, document: bytes) -> Any:
        """Return what a document holds.

        Raises:
            NotJson: bytes that are no UTF-8, no JSON, or NaN and Infinity, which JSON does not have.
            BeyondLimits: see there.
        """
        try:
            text = document.decode()
            value = self._parse(text)
        except UnicodeDecodeError as error:
            raise NotJson(f"byte {error.start + 1} is not UTF-8") from None
        except RecursionError:
            raise BeyondLimits(f"nested more than {MAX_DEPTH} levels deep") from None
        except ArithmeticError:
            raise BeyondLimits("a number beyond 9.99E999") from None
        except json.JSONDecodeError as error:
            raise NotJson(f"{error.msg} at character {error.pos + 1}") from None
        except ValueError as error:
            raise NotJson(str(error)) from None
        if document.count(b"[") + document.count(b"{") > MAX_DEPTH and _depth(value) > MAX_DEPTH:
            raise BeyondLimits(f"nested more than {MAX_DEPTH} levels deep")
        return value

    def _parse(self, text: str) -> Any:
        """Parse a text, without looking for white space around it unless there is some."""
        try:
            value, end = self._decoder.raw_decode(text)
        except json.JSONDecodeError:
            end = -1
        return value if end == len(text) else self._decoder.decode(text)


def write(value: object) -> str:  # noqa: PLR0911 - one for each type
    """Return the JSON text of a value, without white space.

    Lone surrogates stay as they are; `encode` turns them into escapes.
    """
    kind = type(value)
    if kind is str:
        return encode_basestring(value)  # type: ignore[arg-type] # `kind` told
    if value is True:
        return "true"
    if value is False:
        return "false"
    if value is None:
        return "null"
    if kind is dict:
        members = [f"{encode_basestring(name)}:{write(one)}" for name, one in value.items()]  # type: ignore[attr-defined] # `kind` told
        return "{" + ",".join(members) + "}"
    if kind is list:
        return "[" + ",".join([write(one) for one in value]) + "]"  # type: ignore[attr-defined] # `kind` told
    return str(value)


def encode(text: str) -> bytes:
    r"""Return the UTF-8 of JSON text; a lone surrogate, which UTF-8 does not have, becomes its escape ``\udXXX``."""
    return text.encode("utf-8", "backslashreplace")


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _depth(value: object) -> int:
    """Return how deep a document is nested, without recursion."""
    depth = 0
    level = _containers([value])
    while level:
        depth += 1
        level = [inner for one in level for inner in _containers(one.values() if isinstance(one, dict) else one)]
    return depth


def _containers(values: Iterable[object]) -> list[dict[str, object] | list[object]]:
    return [value for value in values if isinstance(value, dict | list)]
