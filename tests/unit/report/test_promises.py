"""What a promise is, and what follows from its cases."""

from __future__ import annotations

import pytest

from harness.report.promises import Cases, Outcome, by_file, chapter_of, claim_of, first_sentence


@pytest.mark.parametrize(
    ("docstring", "sentence"),
    [
        ("It holds.", "It holds."),
        ("It holds. And more.", "It holds."),
        ("It holds\n    over lines.\n\n    And more.", "It holds over lines."),
        ("No full stop\n\nAnd more.", "No full stop"),
        ("Version 3.1.1 is served: always.", "Version 3.1.1 is served: always."),
        ("Does it? It does.", "Does it?"),
        ("", None),
        ("  \n ", None),
        (None, None),
    ],
)
def test_a_claim_is_the_first_sentence(docstring: str | None, sentence: str | None) -> None:
    """It ends where the sentence or the paragraph ends, and is one line."""
    assert first_sentence(docstring) == sentence


def test_a_test_without_a_docstring_claims_its_name() -> None:
    """So that nothing is left out of a report."""
    assert claim_of("test_a_guest_returns", None) == "a guest returns"


@pytest.mark.parametrize(
    ("docstring", "chapter"),
    [("Promise: it holds.", "it holds."), ("Limits of guests.", "Limits of guests."), (None, None)],
)
def test_a_file_promises_what_its_docstring_says(docstring: str | None, chapter: str | None) -> None:
    """The word Promise is not repeated in every line of a table."""
    assert chapter_of(docstring) == chapter


@pytest.mark.parametrize(
    ("cases", "outcome"),
    [
        (Cases(passed=2), Outcome.PROVEN),
        (Cases(passed=2, skipped=1), Outcome.NOT_PROVEN),
        (Cases(passed=2, not_run=1), Outcome.NOT_PROVEN),
        (Cases(skipped=1), Outcome.NOT_PROVEN),
        (Cases(not_run=1), Outcome.NOT_PROVEN),
        (Cases(), Outcome.NOT_PROVEN),
        (Cases(passed=2, failed=1, skipped=1, not_run=1), Outcome.FAILED),
    ],
)
def test_only_what_passed_in_all_cases_is_proven(cases: Cases, outcome: Outcome) -> None:
    """One case that did not run is enough to doubt; one that failed is enough to know."""
    assert cases.outcome is outcome


def test_ids_are_grouped_by_file() -> None:
    """Files in alphabetical order, tests in their own."""
    assert by_file(["b.py::z", "a.py::C::y", "b.py::x"]) == {"a.py": ["a.py::C::y"], "b.py": ["b.py::z", "b.py::x"]}
