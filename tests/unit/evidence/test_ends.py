"""Runs that do not come to their end: the evidence says so, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.report.promises import Outcome

if TYPE_CHECKING:
    from tests.unit.evidence.conftest import ReadEvidence, Suite

pytest_plugins = ["pytester"]


INTERRUPTED = """
def test_one(target): pass

def test_two(target):
    raise KeyboardInterrupt

def test_three(target): pass
"""


@pytest.mark.parametrize("distributed", [(), ("-n1",)], ids=["one process", "xdist"])
def test_an_interrupted_run_says_so(suite: Suite, distributed: tuple[str, ...], read_evidence: ReadEvidence) -> None:
    """What was over by then counts, and what was under way does not."""
    suite(INTERRUPTED, *distributed)

    run = read_evidence()
    assert (run.complete, run.incomplete_because, run.exit_status) == (False, "it was interrupted", 2)
    assert [(each.outcome, each.because) for each in run.promises] == [
        (Outcome.PROVEN, None),
        (Outcome.NOT_PROVEN, "it did not run to its end"),
    ]


@pytest.mark.parametrize("distributed", [(), ("-n1",)], ids=["one process", "xdist"])
def test_a_run_that_stops_at_the_first_failure_says_so(
    suite: Suite, distributed: tuple[str, ...], read_evidence: ReadEvidence, all_ends: str
) -> None:
    """Its exit code alone would not tell."""
    suite(all_ends, "-x", *distributed)

    run = read_evidence()
    assert not run.complete
    assert run.incomplete_because is not None
    assert "stopping after 1 failures" in run.incomplete_because


def test_a_run_that_is_killed_does_not_pass_for_the_one_before(suite: Suite, read_evidence: ReadEvidence) -> None:
    """Nobody could write anything at its end, so what is there was written at its start."""
    suite("def test_it(target): pass")
    assert [each.outcome for each in read_evidence().promises] == [Outcome.PROVEN]

    suite("import os, signal\ndef test_it(target): os.kill(os.getpid(), signal.SIGKILL)")

    run = read_evidence()
    assert (run.complete, run.incomplete_because, run.promises) == (False, "it was killed, or is not over yet", ())


def test_a_run_whose_target_cannot_be_used_says_so(suite: Suite, read_evidence: ReadEvidence) -> None:
    """Exit code 4, and nothing proven."""
    suite("import pytest\ndef test_it(target): pytest.exit('Docker is missing: install it.', returncode=4)")

    run = read_evidence()
    assert (run.complete, run.exit_status) == (False, 4)
    assert [each.outcome for each in run.promises] == [Outcome.NOT_PROVEN]


def test_a_test_whose_worker_died_has_failed(suite: Suite, read_evidence: ReadEvidence) -> None:
    """pytest-xdist goes on with another worker; the evidence says that one was lost."""
    suite(
        """
        import os

        def test_deadly(target): os._exit(3)

        def test_good(target): pass
        """,
        "-n1",
    )

    run = read_evidence()
    assert (run.complete, run.incomplete_because) == (False, "a process that ran tests died")
    assert {each.id: (each.outcome, each.because) for each in run.promises} == {
        "test_it.py::test_deadly": (Outcome.FAILED, "its process died"),
        "test_it.py::test_good": (Outcome.PROVEN, None),
    }


BROKEN = {
    "test_broken": "import nothing_of_that_name",
    "test_ill": "def test_it(target: pass",
}


@pytest.mark.parametrize("distributed", [(), ("-n2",)], ids=["one process", "xdist"])
@pytest.mark.parametrize("further", [(), ("-x",)], ids=["", "-x"])
def test_a_run_whose_tests_could_not_be_collected_says_so(
    suite: Suite,
    pytester: pytest.Pytester,
    read_evidence: ReadEvidence,
    distributed: tuple[str, ...],
    further: tuple[str, ...],
) -> None:
    """Nobody has interrupted it, although pytest's exit code is the same; pytest-xdist runs the other tests first."""
    pytester.makepyfile(**BROKEN)

    suite("def test_it(target): pass", *distributed, *further)

    run = read_evidence()
    errors = "1 error" if further else "2 errors"
    assert (run.complete, run.incomplete_because) == (False, f"tests could not be collected ({errors})")
    assert len(run.promises) == (1 if distributed and not further else 0)


def test_a_run_that_goes_on_without_tests_that_could_not_be_collected_is_incomplete(
    suite: Suite, pytester: pytest.Pytester, read_evidence: ReadEvidence
) -> None:
    """What they would have proven is not in it."""
    pytester.makepyfile(**BROKEN)

    suite("def test_it(target): pass", "--continue-on-collection-errors")

    run = read_evidence()
    assert (run.complete, run.incomplete_because) == (False, "tests could not be collected (2 errors)")
    assert [each.outcome for each in run.promises] == [Outcome.PROVEN]


def test_a_run_that_is_interrupted_while_it_collects_says_that(
    suite: Suite, pytester: pytest.Pytester, read_evidence: ReadEvidence
) -> None:
    """Whatever could not be collected by then."""
    pytester.makepyfile(**BROKEN, test_last="raise KeyboardInterrupt")

    suite("def test_it(target): pass")

    assert read_evidence().incomplete_because == "it was interrupted"
