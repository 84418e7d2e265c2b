"""The table as Markdown: for the docs, and for GitHub's job summary, so without what only one of them renders."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from harness.report.evidence_file import shown
from harness.report.promises import Outcome
from harness.report.provenance import AWS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.report.table import Cell, Column, Row, RunFacts, Table

_TITLE = """# Promises

Rows are promises: one end-to-end test each, with the first sentence of its docstring. Columns are the servers it was
run against. *proven*: every case of the test ran there and passed. *failed*: at least one did not pass. *not proven*:
not every case ran, for the reason at the foot, and nothing follows for that server; a capability in capitals is one
that the server was found to lack.
"""


def to_markdown(table: Table) -> str:
    """Return the table with what it is, its footnotes, and the runs it was made from."""
    notes: dict[str, int] = {}
    body = list(_table(table, notes))
    parts = [_TITLE, _made_from(table), _aws(table), "\n".join(body), _footnotes(notes), _runs(table)]
    return "\n".join(part for part in parts if part)


def _made_from(table: Table) -> str:
    files = ", ".join(f"`{name}`" for name in table.sources)
    return f"Made by `thingwright report` from {files or 'no evidence'}; nobody edits this page by hand.\n"


def _aws(table: Table) -> str:
    """Say in a sentence what AWS itself was asked."""
    cells = [(name, cell) for column in table.columns for name, cell in column.cells.items()]
    proven = len({name for name, cell in cells if cell.outcome is Outcome.PROVEN and cell.on_aws})
    total = sum(map(len, table.rows.values()))
    if proven:
        return f"Proven on AWS itself: {proven} of {total}; the others have never passed there, or failed at last.\n"
    return f"**Proven on AWS itself: nothing**, 0 of {total}. What is proven here was proven on stand-ins.\n"


def _table(table: Table, notes: dict[str, int]) -> Iterator[str]:
    yield _line(["Promise", *(_escaped(column.label) for column in table.columns)])
    yield _line(["---"] * (len(table.columns) + 1))
    for file, rows in table.rows.items():
        chapter = next((row.chapter for row in rows if row.chapter), None)
        heading = f"**{_escaped(chapter)}** (`{file}`)" if chapter else f"**`{file}`**"
        yield _line([heading, *([""] * len(table.columns))])
        for row in rows:
            yield _line([_escaped(row.claim), *(_cell(column, row, notes) for column in table.columns)])


def _cell(column: Column, row: Row, notes: dict[str, int]) -> str:
    cell = column.cells[row.id]
    text = {Outcome.PROVEN: "proven", Outcome.FAILED: "**failed**", Outcome.NOT_PROVEN: "not proven"}[cell.outcome]
    if cell.lacks and cell.outcome is Outcome.NOT_PROVEN:
        text += f": {_escaped(cell.lacks)}"
    numbers = [notes.setdefault(f"{column.label}: {note}", len(notes) + 1) for note in _notes(column, row, cell)]
    return f"{text} <sup>{', '.join(map(str, numbers))}</sup>" if numbers else text


def _notes(column: Column, row: Row, cell: Cell) -> Iterator[str]:
    """Give what a reader has to know besides the word in the cell."""
    if cell.outcome is not Outcome.PROVEN and (cell.because or cell.lacks):
        yield ": ".join(filter(None, (cell.lacks, cell.because)))
    if cell.outcome is Outcome.PROVEN and cell.reruns:
        yield "passed only when it was tried again"
    if column.target == AWS and cell.at is not None and not cell.on_aws:
        yield "this was not AWS itself, but a stand-in for it"
    if cell.claim is not None and cell.claim != row.claim:
        yield f"the test claimed then: {cell.claim}"
    if cell.at is not None and column.runs and cell.at != column.runs[0].ended:
        yield f"from the run of {shown(cell.at)}"


def _footnotes(notes: dict[str, int]) -> str:
    return "\n".join(["", *(f"{number}. {_escaped(text)}" for text, number in notes.items())]) if notes else ""


def _runs(table: Table) -> str:
    lines = ["", "## The runs", "", _line(["Column", "Target", "Date", "Proven", "Failed", "Not proven", "Versions"])]
    lines.append(_line(["---"] * 7))
    for column in table.columns:
        counts = [str(column.counts[outcome]) for outcome in (Outcome.PROVEN, Outcome.FAILED, Outcome.NOT_PROVEN)]
        for number, run in enumerate(column.runs):
            lines.append(_run(column, run, counts if number == 0 else ["", "", ""]))
        if not column.runs:
            lines.append(_line([_escaped(column.label), column.target, "never", *counts, ""]))
    return "\n".join([*lines, ""])


def _run(column: Column, run: RunFacts, counts: list[str]) -> str:
    date = shown(run.ended)
    if not run.complete:
        date += f", incomplete: {run.incomplete_because or 'it did not say why'}"
    versions = ", ".join(f"{name} {version}" for name, version in run.versions.items())
    return _line([_escaped(column.label), column.target, _escaped(date), *counts, _escaped(versions)])


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escaped(text: str) -> str:
    """Make sure that a text stays in its cell and remains text; what stands in backticks is left as it is."""
    pieces = text.split("`")
    plain = (piece.replace("<", "&lt;").replace("*", r"\*").replace("[", r"\[") for piece in pieces[::2])
    mixed = chain.from_iterable(zip(plain, [*pieces[1::2], ""], strict=False))
    return "`".join(list(mixed)[: len(pieces)]).replace("|", r"\|").replace("\n", " ")
