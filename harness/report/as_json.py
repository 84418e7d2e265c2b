"""The table as JSON, for programs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from datetime import datetime

    from harness.report.table import Cell, RunFacts, Table

FORMAT: Final = "thingwright-report/1"


def to_json(table: Table) -> str:
    """Return columns with their runs, and promises with one cell for each column."""
    columns = [
        {"label": column.label, "target": column.target, "counts": column.counts, "runs": [*map(_run, column.runs)]}
        for column in table.columns
    ]
    promises = [
        {
            "id": row.id,
            "chapter": row.chapter,
            "claim": row.claim,
            "cells": {column.label: _cell(column.cells[row.id]) for column in table.columns},
        }
        for rows in table.rows.values()
        for row in rows
    ]
    return json.dumps({"format": FORMAT, "columns": columns, "promises": promises}, indent=2, ensure_ascii=False) + "\n"


def _run(run: RunFacts) -> dict[str, Any]:
    return {
        "ended": _time(run.ended),
        "exit_status": run.exit_status,
        "complete": run.complete,
        "incomplete_because": run.incomplete_because,
        "versions": dict(run.versions),
    }


def _cell(cell: Cell) -> dict[str, Any]:
    return {
        "outcome": cell.outcome,
        "lacks": cell.lacks,
        "because": cell.because,
        "claim": cell.claim,
        "cases": cell.cases.model_dump(),
        "seconds": cell.seconds,
        "reruns": cell.reruns,
        "at": None if cell.at is None else _time(cell.at),
        "on_aws": cell.on_aws,
    }


def _time(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")
