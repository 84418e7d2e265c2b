"""The count of a run."""

from __future__ import annotations

from harness.report.summary import RunSummary


def test_outcomes_are_counted_by_test() -> None:
    """A test that fails in any phase has failed, and is counted once."""
    summary = RunSummary(target="embedded")
    for phase in ("passed", "passed", "passed"):
        summary.count("good", phase)
    for phase in ("passed", "failed", "passed"):
        summary.count("bad", phase)
    for phase in ("passed", "passed", "failed"):
        summary.count("leaves something behind", phase)

    assert summary.line() == "thingwright on embedded: 1 passed, 2 failed"


def test_what_the_target_lacks_is_not_proven() -> None:
    """Named and counted, apart from other skips."""
    summary = RunSummary(target="endpoint")
    summary.count("a", "skipped", lacks="POLICY")
    summary.count("a", "passed")
    summary.count("b", "skipped", lacks="FAULTS")
    summary.count("c", "skipped", lacks="FAULTS")
    summary.count("d", "skipped")

    assert summary.line() == ("thingwright on endpoint: 0 passed, 1 skipped, 3 not proven (lacking FAULTS 2, POLICY 1)")


def test_a_failure_after_a_skip_is_a_failure() -> None:
    """Teardown may still fail."""
    summary = RunSummary(target="endpoint")
    summary.count("a", "skipped", lacks="FAULTS")
    summary.count("a", "failed")

    assert summary.line() == "thingwright on endpoint: 0 passed, 1 failed"
