"""Whether input fits the service model.

Required members, types, enumerations, lengths and patterns, as AWS checks them first of all.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_JSON_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "long": (int,),
    "float": (int, float),
    "double": (int, float),
    "structure": (dict,),
    "map": (dict,),
    "list": (list,),
}


_NUMBERS = frozenset({"integer", "long", "float", "double"})


def find_fault(shape: Any, value: Any, *, at: str = "") -> str | None:
    """Say what is wrong with a value, or None.

    Args:
        shape: botocore shape.
        value: as JSON gives it.
        at: where the value stands, for the message.
    """
    kind = shape.type_name
    if not _is_a(kind, value) or (isinstance(value, bool) and kind != "boolean"):
        return f"Value at '{at}' failed to satisfy constraint: Member must be a {kind}"
    if kind == "structure":
        return _structure_fault(shape, value, at)
    if kind == "list":
        return _first(find_fault(shape.member, item, at=f"{at}.{index + 1}.member") for index, item in enumerate(value))
    if kind == "map":
        return _first(
            find_fault(shape.key, key, at=at) or find_fault(shape.value, item, at=f"{at}.{key}")
            for key, item in value.items()
        )
    if kind in _NUMBERS:
        return _number_fault(shape, value, at)
    return _string_fault(shape, value, at) if kind == "string" else None


def _is_a(kind: str, value: Any) -> bool:
    return isinstance(value, _JSON_TYPES.get(kind, (object,)))


def _first(faults: Iterable[str | None]) -> str | None:
    return next((fault for fault in faults if fault is not None), None)


def _structure_fault(shape: Any, value: Mapping[str, Any], at: str) -> str | None:
    prefix = f"{at}." if at else ""
    for member in shape.required_members:
        if value.get(member) is None:
            return f"Value null at '{prefix}{member}' failed to satisfy constraint: Member must not be null"
    return _first(
        find_fault(shape.members[member], item, at=f"{prefix}{member}")
        for member, item in value.items()
        if item is not None and member in shape.members
    )


def _number_fault(shape: Any, value: float, at: str) -> str | None:
    where = f"Value '{value}' at '{at}' failed to satisfy constraint: "
    if value > shape.metadata.get("max", value):
        return f"{where}Member must have value less than or equal to {shape.metadata['max']}"
    if value < shape.metadata.get("min", value):
        return f"{where}Member must have value greater than or equal to {shape.metadata['min']}"
    return None


def _string_fault(shape: Any, value: str, at: str) -> str | None:
    where = f"Value '{value[:200]}' at '{at}' failed to satisfy constraint: "
    metadata = shape.metadata
    if (allowed := metadata.get("enum")) and value not in allowed:
        return f"{where}Member must satisfy enum value set: [{', '.join(allowed)}]"
    if len(value) > metadata.get("max", len(value)):
        return f"{where}Member must have length less than or equal to {metadata['max']}"
    if len(value) < metadata.get("min", 0):
        return f"{where}Member must have length greater than or equal to {metadata['min']}"
    pattern = metadata.get("pattern")
    compiled = _compiled(pattern) if pattern else None
    if compiled is not None and compiled.fullmatch(value) is None:
        return f"{where}Member must satisfy regular expression pattern: {pattern}"
    return None


@cache
def _compiled(pattern: str) -> re.Pattern[str] | None:
    r"""Compile one of the model's patterns; None for those in Java's own dialect (``\p{Graph}``)."""
    try:
        return re.compile(pattern)
    except re.error:
        return None
