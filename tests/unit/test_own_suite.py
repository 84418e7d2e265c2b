"""The page on writing one's own test, and the sample suite it shows: they agree with each other and with the code."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from pathlib import Path

import harness

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "write-your-own-test.md").read_text("utf-8")
SUITE = ROOT / "examples" / "own-suite"
TESTS = (SUITE / "tests" / "test_greenhouse.py").read_text("utf-8")


def fenced(language: str) -> list[str]:
    """Give the contents of the page's fenced blocks of one language."""
    return [block.strip() for block in re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)]


def table(heading: str) -> set[str]:
    """Give the names in code type in the first column of the table below a line."""
    rows = PAGE.partition(heading)[2].lstrip().partition("\n\n")[0].splitlines()[2:]
    return {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])}


def test_the_page_shows_tests_that_run() -> None:
    """Every block of Python stands in the sample suite word for word, and there is no test in it that is not shown."""
    shown = fenced("python")
    assert all(block in TESTS for block in shown)
    names = {each.name for each in ast.parse(TESTS).body if isinstance(each, ast.AsyncFunctionDef)}
    assert len(names) == 3 == len(shown)


def test_the_page_shows_the_configuration_that_is_used() -> None:
    """Line by line, in the order of the sample's file."""
    settings = fenced("toml")[0].splitlines()[1:]
    own = (SUITE / "pyproject.toml").read_text("utf-8").splitlines()
    assert set(settings) <= set(own)
    assert tomllib.loads("\n".join(own))["tool"]["pytest"]["ini_options"]["iot_target"] == "embedded"


def test_the_page_names_every_output_of_the_schema() -> None:
    """And no other."""
    schema = json.loads((ROOT / "infra" / "outputs.schema.json").read_text("utf-8"))
    assert table("It exports what the fixtures ask for:") == set(schema["properties"])


def test_the_page_names_all_that_a_program_is_told() -> None:
    """Which is what Thingwright's own program reads, too."""
    told = table("may ignore what it has no use for:")
    program = (ROOT / "infra" / "pulumi" / "__main__.py").read_text("utf-8")
    assert told == set(re.findall(r'config\.\w+\(\s*"(\w+)"', program))


def test_the_page_names_every_capability() -> None:
    """And no other: a marker with a name that is none is an error."""
    assert table("[what is proven where](promises.md).") == {each.value for each in harness.Capability}


def test_the_sample_imports_public_names_alone() -> None:
    """What it needs of Thingwright is what `harness` exports."""
    imported = [
        node
        for path in sorted(SUITE.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in {"harness", "receiver"}
    ]
    assert [node.module for node in imported] == ["harness"]
    assert {alias.name for node in imported for alias in node.names} <= set(harness.__all__)


def test_the_page_names_public_types() -> None:
    """Those in its section on types can be imported."""
    section = PAGE.partition("## 4. Types")[2].partition("## 5.")[0]
    named = set(re.findall(r"`([A-Z]\w+)`", section))
    assert named
    assert named <= set(harness.__all__)
