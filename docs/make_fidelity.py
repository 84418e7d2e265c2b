"""Write ``fidelity.md``: what the end-to-end tests prove of AWS's behaviour, and every switch where AWS may differ.

    python docs/make_fidelity.py

The behaviours are the tests' own ``behaviour`` markers, read from their source, so that no target has to start.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import NamedTuple

from harness.iot.quirks import QUIRKS

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "fidelity.md"
_AWS_PAGE = re.compile(r"\bDG:([a-z0-9-]+)")
_GUIDE = "https://docs.aws.amazon.com/iot/latest/developerguide/"

HEAD = """# Fidelity

Made from the `behaviour` markers of `tests/e2e` and from `harness/iot/quirks.py` by `tox -e docs`; a test fails when it
is stale. No line of this page has been compared with AWS itself yet: the source is what AWS documents, or what its
clients were seen to do.

## Behaviours that a test proves

| Behaviour | What the test claims | Source | Differs |
|---|---|---|---|
"""

SWITCHES = """
## Switches

Where the stand-in differs from AWS, or where nobody could say how AWS behaves: `thingwright serve --quirk NAME=VALUE`.

| Switch | Values, the default first | What it decides | Source |
|---|---|---|---|
"""


class Behaviour(NamedTuple):
    """One marker and the test it stands on."""

    id: str
    claim: str
    source: str
    differs: str
    test: str


def behaviours(folder: Path) -> list[Behaviour]:
    """Read the markers of all tests below a folder, in order of their ids."""
    found = []
    for file in sorted(folder.rglob("test_*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            for mark in node.decorator_list:
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.behaviour":
                    words = {str(word.arg): ast.literal_eval(word.value) or "" for word in mark.keywords}
                    claim = (ast.get_docstring(node) or "").partition("\n")[0]
                    where = f"{file.relative_to(ROOT).as_posix()}::{node.name}"
                    name = ast.literal_eval(mark.args[0])
                    found.append(Behaviour(name, claim, words["source"], words.get("differs", ""), where))
    return sorted(found)


def page() -> str:
    """Compose the page."""
    lines = [HEAD]
    for each in behaviours(ROOT / "tests" / "e2e"):
        lines.append(f"| `{each.id}` | [{each.claim}](../{each.test.partition('::')[0]}) | {_linked(each.source)} | ")
        lines.append(f"{each.differs or 'no'} |\n")
    lines.append(SWITCHES)
    for quirk in sorted(QUIRKS, key=lambda quirk: quirk.name):
        others = [value for value in quirk.accepted if value != quirk.default]
        values = ", ".join(f"`{value}`" for value in (quirk.default, *others))
        if not quirk.accepted:
            values += " (any number of seconds)"
        lines.append(f"| `{quirk.name}` | {values} | {quirk.decides} | {_linked(quirk.source)} |\n")
    return "".join(lines)


def _linked(source: str) -> str:
    """Turn the short names of AWS's Developer Guide pages into links."""
    return _AWS_PAGE.sub(lambda match: f"[{match[1]}]({_GUIDE}{match[1]}.html)", source)


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
