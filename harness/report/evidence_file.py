"""The evidence of one run, as a file: which server it met, with which versions, and what it says of each promise.

{"format": "thingwright-evidence/1", "target": "embedded", "label": "embedded", "started": "…Z", "ended": "…Z",
 "run_id": "tw…", "exit_status": 0, "complete": true, "incomplete_because": null, "versions": {"python": "3.11.9", …},
 "promises": [{"id": "tests/e2e/test_fan_out.py::test_…", "claim": "…", "outcome": "proven", "cases": {…}, …}]}
"""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - pydantic reads the annotations
from typing import TYPE_CHECKING, Annotated, Final, Literal, Self

from pydantic import AwareDatetime, Field, model_validator

from harness.report import files
from harness.report.promises import Parsed, Record

if TYPE_CHECKING:
    from pathlib import Path

FORMAT: Final = "thingwright-evidence/1"

_WHAT: Final = "an evidence file, as `pytest --evidence FILE` writes it"


class EvidenceFile(Parsed):
    """What one run proved.

    Args:
        format: of this file.
        target: as ``--target`` takes it.
        label: which server it was; heads the run's column in reports.
        started: when the run began.
        ended: when it was over.
        run_id: the mark on what the run made, for `thingwright sweep --run`; None where it is not known.
        exit_status: pytest's.
        complete: whether the run came to its end by itself.
        incomplete_because: why it did not.
        versions: of what took part, by name.
        promises: one record each, in the order of files and lines.
    """

    format: Literal["thingwright-evidence/1"]
    target: Annotated[str, Field(min_length=1)]
    label: Annotated[str, Field(min_length=1)]
    started: AwareDatetime
    ended: AwareDatetime
    run_id: str | None = None
    exit_status: int
    complete: bool
    incomplete_because: str | None = None
    versions: dict[str, str]
    promises: tuple[Record, ...]

    @model_validator(mode="after")
    def _check(self) -> Self:
        ids = [each.id for each in self.promises]
        if twice := sorted({each for each in ids if ids.count(each) > 1}):
            raise ValueError(f"{twice[0]} is there twice")
        for each in self.promises:
            if each.outcome is not each.cases.outcome:
                raise ValueError(f"{each.id} is called {each.outcome}, and its cases say {each.cases.outcome}")
        return self

    def write(self, path: Path) -> None:
        """Write the file at once.

        Raises:
            OSError: it cannot be written.
        """
        files.write(path, self.model_dump_json(indent=2) + "\n")


def read(path: Path) -> EvidenceFile:
    """Read the evidence of a run.

    Raises:
        SettingsError: it is not there or is something else; one sentence.
    """
    return files.read(path, EvidenceFile.model_validate_json, what=_WHAT)


def shown(at: datetime) -> str:
    """Give a time as evidence shows it: a date of UTC."""
    return at.strftime("%Y-%m-%d")
