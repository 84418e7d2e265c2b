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


def test_each_lacking_capability_is_explained_once() -> None:
    """Below the count, in alphabetical order, with the first reason; what nobody explained is only counted."""
    summary = RunSummary(target="endpoint")
    summary.count("a", "skipped", lacks="POLICY", because="everybody may\n  do everything")
    summary.count("b", "skipped", lacks="POLICY", because="another reason")
    summary.count("c", "skipped", lacks="FAULTS", because="it has no admin API")
    summary.count("d", "skipped", lacks="TRACE")

    assert summary.lines() == [
        "thingwright on endpoint: 0 passed, 4 not proven (lacking FAULTS 1, POLICY 2, TRACE 1)",
        "  lacks FAULTS: it has no admin API",
        "  lacks POLICY: everybody may do everything",
    ]


def test_a_reason_fits_on_a_line() -> None:
    """What a library said at length is cut."""
    summary = RunSummary(target="endpoint")
    summary.count("a", "skipped", lacks="POLICY", because="word " * 100)

    (_, reason) = summary.lines()
    assert len(reason) < 200
    assert reason.endswith("word…")


def test_a_capability_that_nothing_was_skipped_for_is_not_explained() -> None:
    """A test that failed after its skip has failed."""
    summary = RunSummary(target="endpoint")
    summary.count("a", "skipped", lacks="FAULTS", because="it has no admin API")
    summary.count("a", "failed")

    assert summary.lines() == ["thingwright on endpoint: 0 passed, 1 failed"]
