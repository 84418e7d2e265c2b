"""Terraform's files, parsed once, for the tests of this folder.

The provider hashicorp/aws is not there, so nothing here is ``terraform plan`` of the whole. In its place stands what
can be known without it: the real binary evaluates variables and expressions, which need no provider; and the names of
arguments and attributes are compared with pulumi-aws, whose classes are made from the same provider's schema.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STACK: Final = Path(__file__).resolve().parents[3] / "infra" / "terraform"

Block = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Terraform:
    """All files as one: blocks by their names."""

    folder: Path
    resources: dict[tuple[str, str], Block]
    data: dict[tuple[str, str], Block]
    variables: dict[str, Block]
    outputs: dict[str, Block]
    locals: Block
    settings: Block

    def everything(self) -> dict[str, Any]:
        """Give all that may refer to something, by address."""
        return {
            **{".".join(address): body for address, body in self.resources.items()},
            **{f"data.{'.'.join(address)}": body for address, body in self.data.items()},
            **{f"output.{name}": body for name, body in self.outputs.items()},
            **{f"local.{name}": body for name, body in self.locals.items()},
            **{f"var.{name}": body for name, body in self.variables.items()},
        }

    @staticmethod
    def texts(value: object) -> Iterator[str]:
        """Give every text in a parsed value, keys too."""
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            for key, inner in value.items():
                yield key
                yield from Terraform.texts(inner)
        elif isinstance(value, list):
            for inner in value:
                yield from Terraform.texts(inner)


@pytest.fixture(scope="session")
def parse() -> Callable[[str], Block]:
    """Parse one file: texts without quotes, no marks of the parser's own, no comments."""
    hcl2 = pytest.importorskip("hcl2", reason="not proven: python-hcl2 is missing, which parses Terraform")
    options = hcl2.SerializationOptions(strip_string_quotes=True, explicit_blocks=False, with_comments=False)

    def parse_text(text: str) -> Block:
        parsed: Block = hcl2.loads(text, serialization_options=options)
        return parsed

    return parse_text


@pytest.fixture(scope="session")
def terraform(parse: Callable[[str], Block]) -> Terraform:
    """Read the stack once."""
    found = Terraform(folder=STACK, resources={}, data={}, variables={}, outputs={}, locals={}, settings={})
    for path in sorted(STACK.glob("*.tf")):
        parsed = parse(path.read_text("utf-8"))
        for kind, into in (("resource", found.resources), ("data", found.data)):
            for block in parsed.get(kind, []):
                for type_name, named in block.items():
                    into.update({(type_name, name): body for name, body in named.items()})
        for kind, plain in (("variable", found.variables), ("output", found.outputs)):
            for block in parsed.get(kind, []):
                plain.update(block)
        for block in parsed.get("locals", []):
            found.locals.update(block)
        for block in parsed.get("terraform", []):
            found.settings.update(block)
    return found
