"""Commands of the command line: report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from harness.ending import end
from harness.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.report.table import Table
    from harness.terminal import Terminal

STANDARD_OUTPUT: Final = "-"
VALIDATIONS: Final = Path("tests", "e2e", "aws_validation.json")
"""Where this project keeps when its promises were last proven on AWS, seen from its root."""


def add_to(app: typer.Typer) -> None:
    """Add these commands to the application."""
    app.command(short_help="Show what runs have proven, promise by promise.")(report)


def report(
    evidence: Annotated[
        list[Path], typer.Argument(metavar="FILE…", help="What `pytest --evidence FILE` wrote; one run each.")
    ],
    *,
    markdown: Annotated[
        str | None, typer.Option("--markdown", metavar="FILE", help="Write a page; - is standard output. [default: -]")
    ] = None,
    as_json: Annotated[
        str | None, typer.Option("--json", metavar="FILE", help="Write it for programs; - is standard output.")
    ] = None,
    junit: Annotated[
        str | None, typer.Option("--junit", metavar="FILE", help="Write JUnit XML; - is standard output.")
    ] = None,
    aws_validation: Annotated[
        Path | None,
        typer.Option(
            "--aws-validation",
            metavar="FILE",
            envvar="HARNESS_AWS_VALIDATION",
            help=f"When each promise last passed on AWS. [default: {VALIDATIONS.as_posix()}, where there is one]",
        ),
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Exit code 1 when a promise has failed.")] = False,
) -> None:
    """Show what each run has proven: promises by servers, each proven, failed or not proven, with dates and versions.

    Runs with the same label share a column, and the latest word on each promise counts.
    """

    def work(terminal: Terminal) -> int:
        asked = {"markdown": markdown, "json": as_json, "junit": junit}
        wanted = {name: place for name, place in asked.items() if place is not None} or {"markdown": STANDARD_OUTPUT}
        if list(wanted.values()).count(STANDARD_OUTPUT) > 1:
            raise SettingsError(
                "--markdown, --json, --junit", STANDARD_OUTPUT, "for one of them; give the others a file"
            )
        table = _read(evidence, aws_validation or (VALIDATIONS if VALIDATIONS.is_file() else None))
        for name, place in wanted.items():
            _put(terminal, place, _writer(name)(table))
        return 1 if check and table.has_failed else 0

    end(work)


def _read(evidence: list[Path], aws_validation: Path | None) -> Table:
    from harness.report import evidence_file, validation_file  # noqa: PLC0415 - import pydantic
    from harness.report.table import make_table  # noqa: PLC0415 - the same

    files = {path.name if _is_alone(path, evidence) else path.as_posix(): evidence_file.read(path) for path in evidence}
    return make_table(files, None if aws_validation is None else validation_file.read(aws_validation))


def _is_alone(path: Path, among: list[Path]) -> bool:
    """Tell whether no other file has the same name."""
    return sum(each.name == path.name for each in among) == 1


def _writer(name: str) -> Callable[[Table], str]:
    from harness.report.as_json import to_json  # noqa: PLC0415 - only this command writes reports
    from harness.report.junit import to_junit  # noqa: PLC0415 - the same
    from harness.report.markdown import to_markdown  # noqa: PLC0415 - the same

    return {"markdown": to_markdown, "json": to_json, "junit": to_junit}[name]


def _put(terminal: Terminal, place: str, text: str) -> None:
    from harness.report import files  # noqa: PLC0415 - imports pydantic

    if place == STANDARD_OUTPUT:
        for line in text.splitlines():
            terminal.line(line)
    else:
        files.write(Path(place), text)
