"""The page that says what is proven agrees with the tests that prove it."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

ROOT = Path(__file__).resolve().parents[3]


def test_the_fidelity_page_is_not_stale() -> None:
    """Made again from markers and switches, it is the same; `tox -e docs` makes it."""
    made = runpy.run_path(str(ROOT / "docs" / "make_fidelity.py"))

    assert made["page"]() == (ROOT / "docs" / "fidelity.md").read_text("utf-8")


def test_a_behaviour_appears_with_its_claim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A marker, the test's first sentence and the source make one row; tests without a marker make none."""
    made = runpy.run_path(str(ROOT / "docs" / "make_fidelity.py"))
    monkeypatch.setitem(made["behaviours"].__globals__, "ROOT", tmp_path)
    (tmp_path / "test_it.py").write_text(
        "@pytest.mark.behaviour('a.b', source='DG:mqtt', differs='At once.')\n"
        "async def test_it():\n"
        '    """It does.\n\n    At length."""\n\n'
        "def test_other(): ...\n"
    )

    assert made["behaviours"](tmp_path) == [("a.b", "It does.", "DG:mqtt", "At once.", "test_it.py::test_it")]
