"""The page of promises agrees with the evidence, and the evidence with the tests."""

from __future__ import annotations

import ast
import runpy
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.report import evidence_file, validation_file
from harness.report.markdown import to_markdown
from harness.report.promises import claim_of
from harness.report.table import make_table

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[3]
RUNS = runpy.run_path(str(ROOT / ".ci" / "evidence.py"))["RUNS"]

EVIDENCE = [ROOT / "docs" / "evidence" / f"{name}.json" for name in RUNS]  # in the order of the page's columns

MAKE_EVIDENCE = "tox -e evidence"
MAKE_PAGE = f"thingwright report {' '.join(f'docs/evidence/{name}.json' for name in RUNS)} --markdown docs/promises.md"


def promises_of_tests() -> dict[str, str]:
    """The claims of all end-to-end tests by their ids, read from their source."""
    found: dict[str, str] = {}
    for path in sorted((ROOT / "tests" / "e2e").glob("test_*.py")):
        file = path.relative_to(ROOT).as_posix()
        for name, node in functions(ast.parse(path.read_text("utf-8")), file):
            found[name] = claim_of(node.name, ast.get_docstring(node))
    return found


def functions(
    node: ast.Module | ast.ClassDef, within: str
) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Give the tests of a module or class with their ids."""
    for each in node.body:
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef) and each.name.startswith("test_"):
            yield f"{within}::{each.name}", each
        elif isinstance(each, ast.ClassDef) and each.name.startswith("Test"):
            yield from functions(each, f"{within}::{each.name}")


def test_the_page_of_promises_is_not_stale() -> None:
    """Made again from the evidence, it is the same."""
    table = make_table(
        {path.name: evidence_file.read(path) for path in EVIDENCE},
        validation_file.read(ROOT / "tests" / "e2e" / "aws_validation.json"),
    )

    is_fresh = to_markdown(table) == (ROOT / "docs" / "promises.md").read_text("utf-8")
    assert is_fresh, f"docs/promises.md is not what its evidence says; make it anew: {MAKE_PAGE}"


@pytest.mark.parametrize("name", RUNS)
def test_the_evidence_of_each_target_has_every_promise(name: str) -> None:
    """Each test that there is, with the sentence that it claims now, and none that there is no more."""
    run = evidence_file.read(ROOT / "docs" / "evidence" / f"{name}.json")

    noted = {each.id: each.claim for each in run.promises}
    now = promises_of_tests()
    stale = sorted(name for name in noted.keys() | now.keys() if noted.get(name) != now.get(name))
    assert stale == [], f"the evidence is older than these tests; make it and the page anew: {MAKE_EVIDENCE}"
    assert run.complete
    assert run.label.startswith(RUNS[name][0])


@pytest.mark.parametrize("path", EVIDENCE, ids=lambda path: path.stem)
def test_no_evidence_is_about_tests_that_are_gone(path: Path) -> None:
    """A row without a test could never be tried again."""
    gone = {each.id for each in evidence_file.read(path).promises} - promises_of_tests().keys()

    assert sorted(gone) == [], f"run the end-to-end tests against that server again, and write {path.name} anew"
