"""When each promise was last proven on AWS itself: a file of the repository that only runs on AWS write.

It holds a digest over its validations, so that an entry added by hand is noticed.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import AwareDatetime, Field

from harness.report import files
from harness.report.promises import Cases, Outcome, Parsed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FORMAT: Final = "thingwright-aws-validation/1"
NOTE: Final = (
    "Written by runs on AWS alone (pytest --target aws with HARNESS_AWS_VALIDATION=FILE), never by hand: "
    "a unit test compares the digest with the validations."
)
_WHAT: Final = "a file of AWS validations, as a run on AWS writes it with HARNESS_AWS_VALIDATION=FILE"


class Validation(Parsed):
    """That a promise was proven on AWS.

    Args:
        claim: what the test claimed then.
        passed_at: when the run ended in which all its cases passed.
        cases: how many.
        seconds: what they took together.
        versions: of what took part, by name.
    """

    claim: str
    passed_at: AwareDatetime
    cases: Annotated[int, Field(ge=1)]
    seconds: Annotated[float, Field(ge=0)] = 0.0
    versions: dict[str, str]

    @property
    def outcome(self) -> Outcome:
        """Proven: nothing else is written down."""
        return Cases(passed=self.cases).outcome


class ValidationFile(Parsed):
    """All validations.

    Args:
        note: who writes the file.
        format: of this file.
        digest: over the validations.
        validations: the latest of each promise, by its id.
    """

    note: str
    format: Literal["thingwright-aws-validation/1"]
    digest: str
    validations: dict[str, Validation]

    def with_further(self, proven: Mapping[str, Validation]) -> ValidationFile:
        """Return the same with what a run has proven put in the place of what was there."""
        return make({**self.validations, **proven})


def make(validations: Mapping[str, Validation]) -> ValidationFile:
    """Return the file of these validations, by the promises' ids."""
    in_order = dict(sorted(validations.items()))
    return ValidationFile(
        note=NOTE, format="thingwright-aws-validation/1", digest=_digest(in_order), validations=in_order
    )


def write(path: Path, content: ValidationFile) -> None:
    """Write the file at once.

    Raises:
        OSError: it cannot be written.
    """
    files.write(path, content.model_dump_json(indent=2) + "\n")


def read(path: Path) -> ValidationFile:
    """Read what was proven on AWS.

    Raises:
        SettingsError: it is not there, is something else, or was changed by hand; one sentence.
    """
    return files.read(path, _parse, what=_WHAT)


def _parse(text: str) -> ValidationFile:
    content = ValidationFile.model_validate_json(text)
    if content.digest != _digest(content.validations):
        raise ValueError("its digest is not that of its validations: somebody has changed it by hand")
    return content


def _digest(validations: Mapping[str, Validation]) -> str:
    plain = {name: each.model_dump(mode="json") for name, each in validations.items()}
    canonical = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()}"
