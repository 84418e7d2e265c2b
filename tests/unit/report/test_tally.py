"""Reports of phases, summed up."""

from __future__ import annotations

import pytest

from harness.report.promises import Outcome
from harness.report.tally import CaseTally, PromiseTally


def tally(*, total: int = 1) -> PromiseTally:
    """Make the tally of a test with so many cases, of which nothing is known yet."""
    return PromiseTally(claim="It holds.", chapter=None, line=0, total=total)


def run(case: CaseTally, *outcomes: str) -> None:
    """Report phases in their order."""
    for phase, outcome in zip(("setup", "call", "teardown"), outcomes, strict=False):
        case.note(phase, outcome, seconds=0.25)


@pytest.mark.parametrize(
    ("outcomes", "outcome"),
    [
        ((), "not_run"),
        (("passed",), "not_run"),
        (("passed", "passed"), "not_run"),
        (("passed", "passed", "passed"), "passed"),
        (("passed", "skipped", "passed"), "skipped"),
        (("skipped",), "skipped"),
        (("failed",), "failed"),
        (("passed", "failed", "passed"), "failed"),
        (("passed", "passed", "failed"), "failed"),
        (("passed", "skipped", "failed"), "failed"),
        (("passed", "rerun", "passed"), "not_run"),
    ],
)
def test_a_case_has_passed_when_it_was_cleaned_up(outcomes: tuple[str, ...], outcome: str) -> None:
    """Before that it may still fail, and a run that ends there does not know."""
    case = CaseTally()

    run(case, *outcomes)

    assert case.outcome == outcome


def test_the_first_failure_is_the_reason() -> None:
    """A teardown that fails after its test did is no news."""
    case = CaseTally()

    run(case, "passed", "failed", "failed")

    assert case.because == "the test failed"


def test_the_last_attempt_counts() -> None:
    """And all attempts take time."""
    case = CaseTally()

    run(case, "passed", "rerun", "passed")
    run(case, "passed", "passed", "passed")

    assert (case.outcome, case.reruns, case.seconds, case.because) == ("passed", 1, 1.5, None)


@pytest.mark.parametrize("first", ["skipped", "failed"])
def test_a_subtest_that_did_not_pass_is_not_outdone_by_the_test_around_it(first: str) -> None:
    """Both are told of as the same phase, the subtest first."""
    case = CaseTally()

    case.note("setup", "passed", seconds=0)
    case.note("call", first, seconds=0)
    case.note("call", "passed", seconds=0)
    case.note("teardown", "passed", seconds=0)

    assert case.outcome == first


def test_an_attempt_with_a_failed_subtest_may_be_tried_again() -> None:
    """pytest-rerunfailures has the last word on an attempt."""
    case = CaseTally()

    case.note("setup", "passed", seconds=0)
    case.note("call", "failed", seconds=0)
    case.note("call", "rerun", seconds=0)
    case.note("teardown", "passed", seconds=0)
    run(case, "passed", "passed", "passed")

    assert (case.outcome, case.because) == ("passed", None)


def test_a_failure_is_not_outdone_by_running_the_test_twice() -> None:
    """As ``--keep-duplicates`` does; only what was tried again for its failure has another chance."""
    case = CaseTally()

    run(case, "passed", "failed", "passed")
    run(case, "passed", "passed", "passed")

    assert (case.outcome, case.because) == ("failed", "the test failed")


def test_an_attempt_that_was_cut_short_borrows_nothing_from_the_one_before() -> None:
    """The first was cleaned up, and the second was not."""
    case = CaseTally()

    run(case, "passed", "rerun", "passed")
    run(case, "passed", "passed")

    assert case.outcome == "not_run"


def test_a_crash_is_the_failure_of_what_was_under_way() -> None:
    """What was over stays as it was."""
    over, under_way = CaseTally(), CaseTally()
    run(over, "passed", "passed", "passed")
    run(under_way, "passed")

    over.note_crash()
    under_way.note_crash()

    assert (over.outcome, under_way.outcome, under_way.because) == ("passed", "failed", "its process died")


def test_cases_that_were_never_heard_of_did_not_run() -> None:
    """Deselected, or the run ended before."""
    promise = tally(total=3)
    run(promise.cases["a[1]", ""], "passed", "passed", "passed")

    record = promise.record("a")

    assert (record.outcome, record.cases.not_run) == (Outcome.NOT_PROVEN, 2)
    assert record.because == "2 of 3 cases did not run"


def test_a_test_that_ran_on_every_worker_passes_on_every_worker() -> None:
    """`pytest --dist each` reports a case once for each of them."""
    promise = tally()
    run(promise.cases["a", "gw0"], "passed", "failed", "passed")
    run(promise.cases["a", "gw1"], "passed", "passed", "passed")

    record = promise.record("a")

    assert (record.outcome, record.because) == (Outcome.FAILED, "the test failed (1 of 2 cases)")


def test_of_several_lacking_capabilities_one_is_named() -> None:
    """The first by name; one without a reason is one all the same."""
    promise = tally(total=3)
    for number, (lacks, because) in enumerate([("TRACE", "why"), ("POLICY", "because"), ("POLICY", None)]):
        case = promise.cases[f"a[{number}]", ""]
        run(case, "skipped")
        case.lacks, case.because = lacks, because

    record = promise.record("a")

    assert (record.lacks, record.because) == ("POLICY", None)
