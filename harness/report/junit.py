"""The table as JUnit XML: one suite for each column, one case for each promise, evidence as properties.

The properties have the names that pytest's own ``--junitxml`` gives them in a run with evidence.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from harness.report.promises import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.report.table import Cell, Column, Row, Table

_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def to_junit(table: Table) -> str:
    """Return the table as a JUnit XML document."""
    root = Element("testsuites", name="thingwright")
    for column in table.columns:
        root.append(_suite(column, [row for rows in table.rows.values() for row in rows]))
    indent(root)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{tostring(root, encoding="unicode")}\n'


def _suite(column: Column, rows: list[Row]) -> Element:
    counts = column.counts
    suite = Element(
        "testsuite",
        name=_text(column.label),
        tests=str(len(rows)),
        errors="0",
        failures=str(counts[Outcome.FAILED]),
        skipped=str(counts[Outcome.NOT_PROVEN]),
        time=f"{sum(cell.seconds for cell in column.cells.values()):.3f}",
    )
    facts = {"thingwright-target": column.target, "thingwright-label": column.label}
    if column.runs:
        suite.set("timestamp", column.runs[0].ended.isoformat())
        facts |= {f"version-{name}": version for name, version in column.runs[0].versions.items()}
    _add_properties(suite, facts)
    for row in rows:
        suite.append(_case(column, row, column.cells[row.id]))
    return suite


def _case(column: Column, row: Row, cell: Cell) -> Element:
    file, _, function = row.id.partition("::")
    classname = file.removesuffix(".py").replace("/", ".")
    case = Element("testcase", classname=_text(classname), name=_text(function), time=f"{cell.seconds:.3f}")
    properties = {
        "thingwright-target": column.target,
        "thingwright-label": column.label,
        "thingwright-promise": row.id,
        "thingwright-claim": row.claim,
        "thingwright-outcome": cell.outcome.value,
        "thingwright-date": cell.at.isoformat() if cell.at else None,
        "thingwright-lacks": cell.lacks,
        "thingwright-because": cell.because,
        "thingwright-on-aws": "yes" if cell.on_aws else None,
    }
    _add_properties(case, {name: value for name, value in properties.items() if value})
    message = ": ".join(filter(None, (cell.outcome.value, cell.lacks, cell.because)))
    if cell.outcome is Outcome.FAILED:
        SubElement(case, "failure", message=_text(message))
    elif cell.outcome is Outcome.NOT_PROVEN:
        SubElement(case, "skipped", type="thingwright.not-proven", message=_text(message))
    return case


def _add_properties(parent: Element, facts: Mapping[str, str | None]) -> None:
    properties = SubElement(parent, "properties")
    for name, value in facts.items():
        SubElement(properties, "property", name=_text(name), value=_text(value or ""))


def _text(text: str) -> str:
    """Leave out what XML has no way to write."""
    return _NOT_XML.sub("", text)
