"""What a promise is: a test, the sentence it claims, and what became of its cases in one run.

A promise is *proven* only when every case of its test ran and passed. What was skipped, deselected or cut short is *not
proven*; a green run that left something out says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable  # noqa: TC003 - pydantic reads the annotations of this module's models
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=0)]

_END_OF_SENTENCE = re.compile(r"(?<=[.!?])\s")
_CHAPTER = re.compile(r"^Promise:\s*")


class Outcome(StrEnum):
    """What a run says of a promise."""

    PROVEN = "proven"
    """Every case of the test ran and passed."""
    FAILED = "failed"
    """At least one case failed, in its set-up or teardown included."""
    NOT_PROVEN = "not proven"
    """Nothing failed, and yet not every case passed: skipped, not selected, or cut short."""


class Parsed(BaseModel):
    """Base of what is read from files: nothing is guessed, nothing unknown is let through."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Cases(Parsed):
    """How many cases of a test, one for each of its parameters, ended how.

    Args:
        passed: ran and passed.
        failed: failed in set-up, test or teardown.
        skipped: skipped, for whatever reason.
        not_run: not selected, or the run ended before they did.
    """

    passed: Count = 0
    failed: Count = 0
    skipped: Count = 0
    not_run: Count = 0

    @property
    def total(self) -> int:
        """All cases the test has."""
        return self.passed + self.failed + self.skipped + self.not_run

    @property
    def outcome(self) -> Outcome:
        """What follows from them."""
        if self.failed:
            return Outcome.FAILED
        return Outcome.PROVEN if self.passed and self.passed == self.total else Outcome.NOT_PROVEN


class Record(Parsed):
    """What one run says of one promise.

    Args:
        id: ``file::function`` without parameters.
        claim: the first sentence of the test's docstring.
        chapter: the promise of its module, the first sentence of that docstring; None when there is none.
        outcome: follows from the cases.
        cases: how they ended.
        lacks: the capability for whose lack cases were skipped.
        because: why it is not proven, or where it failed; one line.
        seconds: what all its cases took together.
        reruns: how often a case was tried again after a failure.
        on_aws: whether it met AWS itself; the target `aws` may be pointed at a stand-in, too.
    """

    id: Annotated[str, Field(min_length=1)]
    claim: str
    chapter: str | None = None
    outcome: Outcome
    cases: Cases
    lacks: str | None = None
    because: str | None = None
    seconds: Annotated[float, Field(ge=0)] = 0.0
    reruns: Count = 0
    on_aws: bool = False

    @property
    def file(self) -> str:
        """The test's file, as pytest names it."""
        return self.id.partition("::")[0]

    @property
    def is_unfinished(self) -> bool:
        """Whether the run left cases out, and none of those it tried failed."""
        return self.cases.not_run > 0 and self.outcome is Outcome.NOT_PROVEN


def first_sentence(text: str | None) -> str | None:
    """Return the first sentence of a docstring on one line; None when there is none."""
    paragraph = " ".join((text or "").strip().partition("\n\n")[0].split())
    return _END_OF_SENTENCE.split(paragraph, maxsplit=1)[0] or None


def claim_of(function: str, docstring: str | None) -> str:
    """Return what a test claims: its docstring's first sentence, or its name in words."""
    return first_sentence(docstring) or function.removeprefix("test_").replace("_", " ")


def chapter_of(docstring: str | None) -> str | None:
    """Return the promise of a module of tests: its docstring's first sentence, without the word Promise."""
    sentence = first_sentence(docstring)
    return _CHAPTER.sub("", sentence) if sentence else None


def by_file(ids: Iterable[str]) -> dict[str, list[str]]:
    """Group ids by their file, files in alphabetical order, ids in the order given."""
    groups: dict[str, list[str]] = {}
    for each in ids:
        groups.setdefault(each.partition("::")[0], []).append(each)
    return dict(sorted(groups.items()))
