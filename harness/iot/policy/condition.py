"""Condition blocks: ``{"StringEquals": {"key": "value"}}``.

All operators and keys of a block must hold; of several values one must. ``ForAnyValue:`` asks that one of the
request's values is among the policy's, ``ForAllValues:`` that all are, which is true when the request has none.

Source: reference_policies_elements_condition, …_condition_operators and
reference_policies_condition-single-vs-multi-valued-context-keys in
the IAM user guide.
Differs: `OPERATORS` are evaluated; every other operator, and ``…IfExists``, is refused by name when the document is
made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from harness.errors import PolicyDocumentError
from harness.iot.policy.pattern import Template, parse_template
from harness.iot.policy.variables import MULTI_VALUED, canonical_name

if TYPE_CHECKING:
    from harness.iot.policy.pattern import Context
    from harness.iot.policy.variables import Dialect

OPERATORS: Final[Mapping[str, bool]] = {"StringEquals": False, "StringLike": True}
"""Operator to whether its values have wildcards."""
SET_PREFIXES: Final = ("ForAnyValue", "ForAllValues")


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One key of one operator.

    Args:
        operator: as written, set prefix included.
        quantifier: ``ForAnyValue``, ``ForAllValues`` or empty.
        key: as contexts spell it.
        values: one of them must match.
    """

    operator: str
    quantifier: str
    key: str
    values: tuple[Template, ...]

    def unmet(self, context: Context) -> str | None:
        """Return None when the condition holds, else what was missing, in words."""
        value = context.get(self.key)
        actual = (value,) if isinstance(value, str) else value or ()
        patterns = [template.bind(context) for template in self.values]
        matched = [any(pattern.matches(one) for pattern in patterns) for one in actual]
        if all(matched) if self.quantifier == "ForAllValues" else any(matched):
            return None
        wanted = " or ".join(pattern.text for pattern in patterns)
        return f"{self.operator} {self.key} {wanted} ({', '.join(actual) if actual else 'the request has no such key'})"


def parse_conditions(block: object, *, dialect: Dialect, pointer: str, has_variables: bool) -> tuple[Condition, ...]:
    """Read a ``Condition`` element.

    Args:
        block: the element, as JSON gave it.
        dialect: whose keys hold.
        pointer: the element's place.
        has_variables: whether values may contain ``${…}``.

    Raises:
        PolicyDocumentError: not the right shape, or an operator or key that is not evaluated here.
    """
    conditions = []
    for operator, keys in _mapping(block, pointer).items():
        place = f"{pointer}/{escape(operator)}"
        quantifier, has_wildcards = _operator(operator, place)
        for written, values in _mapping(keys, place).items():
            here = f"{place}/{escape(written)}"
            key = canonical_name(written, dialect=dialect, pointer=here)
            if key in MULTI_VALUED and not quantifier:
                raise PolicyDocumentError(here, f"{key} has several values: use ForAnyValue:{operator}")
            templates = tuple(
                parse_template(
                    text, dialect=dialect, pointer=at, has_variables=has_variables, has_wildcards=has_wildcards
                )
                for at, text in strings(values, here)
            )
            conditions.append(Condition(operator=operator, quantifier=quantifier, key=key, values=templates))
    return tuple(conditions)


def strings(value: object, pointer: str) -> list[tuple[str, str]]:
    """Return the place and text of a string, or of each string of a list.

    Raises:
        PolicyDocumentError: anything else, or an empty list.
    """
    if isinstance(value, str):
        return [(pointer, value)]
    if not isinstance(value, list) or not value:
        raise PolicyDocumentError(pointer, "a string or a list of strings is expected")
    for index, item in enumerate(value):
        if not isinstance(item, str):
            raise PolicyDocumentError(f"{pointer}/{index}", "a string is expected")
    return [(f"{pointer}/{index}", item) for index, item in enumerate(value)]


def escape(token: str) -> str:
    """Return one reference token of a JSON pointer. Source: RFC 6901 §3."""
    return token.replace("~", "~0").replace("/", "~1")


def _mapping(value: object, pointer: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise PolicyDocumentError(pointer, "an object is expected")
    return value


def _operator(operator: str, pointer: str) -> tuple[str, bool]:
    prefix, colon, base = operator.rpartition(":")
    if base not in OPERATORS or (colon and prefix not in SET_PREFIXES):
        accepted = ", ".join(OPERATORS)
        raise PolicyDocumentError(
            pointer,
            f"the condition operator {operator} is not evaluated here; {accepted} are, also with ForAnyValue: "
            "or ForAllValues:",
        )
    return prefix, OPERATORS[base]
