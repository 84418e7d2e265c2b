"""Whether input fits a service model."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.model import ShapeResolver

from harness.embedded.control.validation import find_fault

SHAPES = ShapeResolver(
    {
        "Input": {
            "type": "structure",
            "required": ["name"],
            "members": {
                "name": {"shape": "Name"},
                "kind": {"shape": "Kind"},
                "size": {"shape": "Size"},
                "names": {"shape": "Names"},
                "by_name": {"shape": "ByName"},
                "flag": {"shape": "Flag"},
                "odd": {"shape": "Odd"},
                "data": {"shape": "Data"},
            },
        },
        "Name": {"type": "string", "min": 2, "max": 4, "pattern": "[a-z]*"},
        "Kind": {"type": "string", "enum": ["a", "b"]},
        "Size": {"type": "integer", "min": 1, "max": 3},
        "Names": {"type": "list", "member": {"shape": "Name"}},
        "ByName": {"type": "map", "key": {"shape": "Name"}, "value": {"shape": "Size"}},
        "Flag": {"type": "boolean"},
        "Odd": {"type": "string", "pattern": r"\p{Graph}+"},
        "Data": {"type": "blob"},
    }
)
INPUT = SHAPES.get_shape_by_name("Input")
FITS = {
    "name": "ab",
    "kind": "a",
    "size": 2,
    "names": ["ab"],
    "by_name": {"ab": 1},
    "flag": True,
    "odd": "?",
    "data": b"",
}


def test_input_that_fits_has_no_fault() -> None:
    """Every type once; a member that is null counts as left out; a pattern in Java's dialect is not judged."""
    assert find_fault(INPUT, FITS) is None
    assert find_fault(INPUT, {"name": "ab", "kind": None}) is None


@pytest.mark.parametrize(
    ("wrong", "fault"),
    [
        ({"name": None}, "Value null at 'name' ~ Member must not be null"),
        ({"name": 1}, "Value at 'name' ~ Member must be a string"),
        ({"name": "a"}, "Value 'a' at 'name' ~ Member must have length greater than or equal to 2"),
        ({"name": "abcde"}, "Value 'abcde' at 'name' ~ Member must have length less than or equal to 4"),
        ({"name": "AB"}, "Value 'AB' at 'name' ~ Member must satisfy regular expression pattern: [a-z]*"),
        ({"kind": "c"}, "Value 'c' at 'kind' ~ Member must satisfy enum value set: [a, b]"),
        ({"size": 0}, "Value '0' at 'size' ~ Member must have value greater than or equal to 1"),
        ({"size": 4}, "Value '4' at 'size' ~ Member must have value less than or equal to 3"),
        ({"size": True}, "Value at 'size' ~ Member must be a integer"),
        ({"names": ["ab", 1]}, "Value at 'names.2.member' ~ Member must be a string"),
        ({"by_name": {"ab": "1"}}, "Value at 'by_name.ab' ~ Member must be a integer"),
        ({"by_name": {"AB": 1}}, "Value 'AB' at 'by_name' ~ Member must satisfy regular expression pattern: [a-z]*"),
        ({"flag": "true"}, "Value at 'flag' ~ Member must be a boolean"),
    ],
)  # fmt: skip
def test_input_that_does_not_fit_is_named_as_aws_names_it(wrong: dict[str, Any], fault: str) -> None:
    """The place, the value, and the constraint."""
    assert find_fault(INPUT, {**FITS, **wrong}) == fault.replace(" ~ ", " failed to satisfy constraint: ")
