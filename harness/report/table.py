"""Many runs as one table: promises are rows, servers are columns, and each cell is one run's word on one promise.

Runs with the same label share a column. In it the latest run that has something to say about a promise wins: a run
that was interrupted, or was asked for a part of the tests, leaves the other cells as they were. Each cell knows the run
it is from, so that an old one does not pass for a new one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from harness.errors import SettingsError
from harness.report.promises import Cases, Outcome, by_file
from harness.report.provenance import AWS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from harness.report.evidence_file import EvidenceFile
    from harness.report.promises import Record
    from harness.report.validation_file import Validation, ValidationFile

NEVER: Final = "no run here has tried it"
NEVER_ON_AWS: Final = "it has never passed on AWS"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What one column says of one promise.

    Args:
        outcome: proven, failed or not proven.
        cases: how the test's cases ended.
        claim: what the test claimed then; None when it never ran.
        lacks: the capability for whose lack it is not proven.
        because: why it is not proven, or where it failed.
        seconds: what all cases took together.
        reruns: how often a case was tried again after a failure.
        at: when the run ended; None when there was none.
        on_aws: whether it met AWS itself.
    """

    outcome: Outcome = Outcome.NOT_PROVEN
    cases: Cases = field(default_factory=Cases)
    claim: str | None = None
    lacks: str | None = None
    because: str | None = None
    seconds: float = 0.0
    reruns: int = 0
    at: datetime | None = None
    on_aws: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """What is to be known of a run whose cells are shown.

    Args:
        ended: when.
        complete: whether it came to its end by itself.
        incomplete_because: why it did not.
        exit_status: pytest's; None where it was not written down.
        versions: of what took part.
    """

    ended: datetime
    complete: bool = True
    incomplete_because: str | None = None
    exit_status: int | None = None
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One server.

    Args:
        label: its heading.
        target: as ``--target`` takes it.
        runs: those that cells are from, the latest first.
        cells: by promise.
    """

    label: str
    target: str
    runs: tuple[RunFacts, ...]
    cells: Mapping[str, Cell]

    @property
    def counts(self) -> dict[Outcome, int]:
        """How many promises ended how."""
        return {outcome: sum(cell.outcome is outcome for cell in self.cells.values()) for outcome in Outcome}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One promise.

    Args:
        id: ``file::function``.
        claim: its sentence, as the latest run has it.
        chapter: the promise of its file; None when the file makes none.
    """

    id: str
    claim: str
    chapter: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """All promises on all servers.

    Args:
        sources: names of the files it was made from.
        columns: in the order of the files.
        rows: by file; files in alphabetical order.
    """

    sources: tuple[str, ...]
    columns: tuple[Column, ...]
    rows: Mapping[str, Sequence[Row]]

    @property
    def has_failed(self) -> bool:
        """Whether any cell has."""
        return any(column.counts[Outcome.FAILED] for column in self.columns)


def make_table(evidence: Mapping[str, EvidenceFile], validations: ValidationFile | None = None) -> Table:
    """Merge runs into one table.

    Args:
        evidence: runs by the names of their files.
        validations: what was proven on AWS; None leaves the column ``aws`` to runs with that label.

    Raises:
        SettingsError: two files have the same label and different targets.
    """
    in_order = sorted(evidence.values(), key=lambda each: each.ended)
    rows = _rows(list(evidence.values()), in_order, validations)
    labels = list(dict.fromkeys(each.label for each in evidence.values()))
    if validations is not None and AWS not in labels:
        labels.append(AWS)
    columns = []
    for label in labels:
        files = [each for each in in_order if each.label == label]
        targets = sorted({each.target for each in files}) or [AWS]
        if len(targets) > 1:
            raise SettingsError("FILE", label, f"one label for one target, and here it is on {' and '.join(targets)}")
        passed = validations.validations if validations is not None and label == AWS else None
        columns.append(_column(label, targets[0], files, passed, ids=[row.id for row in rows]))
    grouped = by_file(row.id for row in rows)
    known = {row.id: row for row in rows}
    return Table(
        sources=tuple(evidence),
        columns=tuple(columns),
        rows={file: [known[each] for each in ids] for file, ids in grouped.items()},
    )


def _rows(files: list[EvidenceFile], in_order: list[EvidenceFile], validations: ValidationFile | None) -> list[Row]:
    """Return the promises of all files, in the order of the first, each with its latest claim."""
    claims: dict[str, tuple[str, str | None]] = {}
    for each in in_order:
        claims.update({record.id: (record.claim, record.chapter) for record in each.promises})
    passed = validations.validations if validations is not None else {}
    ids = dict.fromkeys([record.id for each in files for record in each.promises] + list(passed))
    found = ((each, claims.get(each) or (passed[each].claim, None)) for each in ids)
    return [Row(id=each, claim=claim, chapter=chapter) for each, (claim, chapter) in found]


def _column(
    label: str,
    target: str,
    files: list[EvidenceFile],
    passed: Mapping[str, Validation] | None,
    *,
    ids: list[str],
) -> Column:
    """Make a column of the runs with its label, the latest last, and of what was proven on AWS."""
    cells: dict[str, Cell] = {}
    facts: dict[datetime, RunFacts] = {}
    for name, each in (passed or {}).items():
        cells[name] = _cell_of_validation(each)
        facts.setdefault(each.passed_at, RunFacts(ended=each.passed_at, versions=each.versions))
    for file in files:
        facts[file.ended] = RunFacts(
            ended=file.ended,
            complete=file.complete,
            incomplete_because=file.incomplete_because,
            exit_status=file.exit_status,
            versions=file.versions,
        )
        for record in file.promises:
            there = cells.get(record.id)
            is_later = there is None or there.at is None or there.at <= file.ended
            if there is None or (is_later and not record.is_unfinished):
                cells[record.id] = _cell_of(record, file.ended)
    missing = Cell(because=NEVER if passed is None else NEVER_ON_AWS)
    complete = {each: cells.get(each, missing) for each in ids}
    shown = {cell.at for cell in complete.values()}
    latest = max(facts) if facts else None
    runs = [facts[at] for at in sorted(facts, reverse=True) if at in shown or at == latest]
    return Column(label=label, target=target, runs=tuple(runs), cells=complete)


def _cell_of(record: Record, at: datetime) -> Cell:
    return Cell(
        outcome=record.outcome,
        cases=record.cases,
        claim=record.claim,
        lacks=record.lacks,
        because=record.because,
        seconds=record.seconds,
        reruns=record.reruns,
        at=at,
        on_aws=record.on_aws,
    )


def _cell_of_validation(validation: Validation) -> Cell:
    return Cell(
        outcome=validation.outcome,
        cases=Cases(passed=validation.cases),
        claim=validation.claim,
        seconds=validation.seconds,
        at=validation.passed_at,
        on_aws=True,
    )
