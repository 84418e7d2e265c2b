"""Commands of the command line: deploy and destroy."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import typer


def add_to(app: typer.Typer) -> None:
    """Add these commands to the application."""
    del app
