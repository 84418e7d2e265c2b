"""The package's front door: a dozen names, loaded when used."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import harness


def test_every_exported_name_is_where_it_says() -> None:
    """Including those that only a type checker reads."""
    tree = ast.parse(Path(harness.__file__).read_text(encoding="utf-8"))
    for_type_checkers = {
        alias.name: node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names
    }

    for name in harness.__all__:
        value = getattr(harness, name)
        assert value is getattr(import_module(harness._HOMES[name]), name)
        assert for_type_checkers[name] == harness._HOMES[name]
        assert name in dir(harness)


def test_importing_the_package_loads_nothing() -> None:
    """Every pytest of the environment does so."""
    program = (
        "import sys; import harness; print(*[name for name in sys.modules if name.startswith(('harness', 'aws'))])"
    )

    loaded = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(harness.__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )

    assert loaded.stdout.split() == ["harness"]


def test_an_unknown_name_is_an_attribute_error() -> None:
    """As for any module."""
    with pytest.raises(AttributeError, match="module 'harness' has no attribute 'Nothing'"):
        _ = harness.Nothing
