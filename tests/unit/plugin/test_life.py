"""A target's life in a run: started when a test needs it, once, and stopped whatever happens."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.unit.plugin.conftest import Suite, TargetLog

pytest_plugins = ["pytester"]


def test_a_target_that_no_test_needs_is_not_started(suite: Suite, target_log: TargetLog) -> None:
    """Asking for it costs nothing until a selected test does."""
    result = suite(
        """
        def test_without(): pass
        def test_with(target): pass
        """,
        "--target=embedded",
        "-k=without",
    )

    result.assert_outcomes(passed=1, deselected=1)
    assert "start" not in target_log()
    result.stdout.no_fnmatch_line("thingwright on *")


def test_a_target_is_started_once_and_stopped(suite: Suite, target_log: TargetLog) -> None:
    """However many tests use it; an interrupt stops it like any other end, and what it hit is not counted as passed."""
    result = suite(
        """
        def test_one(target): pass
        def test_two(stack): pass
        def test_interrupted(target): raise KeyboardInterrupt
        """,
        "--target=embedded",
    )

    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert target_log()[:2] == ["start", "stop"]
    result.stdout.fnmatch_lines("thingwright on embedded: 2 passed")


def test_a_target_that_cannot_be_used_ends_the_run(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 4 and the sentence that says what to do, once."""
    monkeypatch.setenv("TROUBLE", "unavailable")

    result = suite(
        """
        def test_one(target): pass
        def test_two(target): pass
        """,
        "--target=embedded",
    )

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert result.stdout.str().count("Docker is missing: install it.") == 1


def test_a_stack_that_cannot_be_deployed_fails_tests_with_its_message(
    suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Resource, call and reason, without the way there."""
    monkeypatch.setenv("TROUBLE", "provisioning")

    result = suite("def test_one(stack): pass", "--target=embedded")

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines("E *ProvisioningError: aws:iam/role:Role guest (CreateRole): no such thing")
    result.stdout.no_fnmatch_line("*def start(self):*")


@pytest.mark.parametrize("workers", [0, 2])
def test_a_target_that_does_not_start_is_not_tried_again(
    suite: Suite, monkeypatch: pytest.MonkeyPatch, workers: int, target_log: TargetLog, probed: str
) -> None:
    """Every test fails with the same message, and the stack was deployed once, which may take minutes."""
    monkeypatch.setenv("TROUBLE", "provisioning")

    result = suite(
        """
        import pytest

        @pytest.mark.needs("POLICY")
        @pytest.mark.parametrize("number", range(3))
        def test_it(target, number): pass
        """,
        "--target=embedded",
        f"-n{workers}",
        further=probed,
    )

    result.assert_outcomes(errors=3)
    assert len(re.findall("^E .*Error: aws:iam.*no such thing", result.stdout.str(), re.MULTILINE)) == 3
    assert target_log().count("start") == 1


def test_tests_after_the_targets_end_say_so(suite: Suite) -> None:
    """The failing test shows it beside its failure, the next ones instead of failing in ways of their own."""
    result = suite(
        """
        def test_dies(target):
            type(target).is_dead = True
            assert False

        def test_next(target): pass
        """,
        "--target=embedded",
    )

    result.assert_outcomes(failed=1, errors=1)
    result.stdout.fnmatch_lines(
        [
            "*thingwright target*",
            "The broker ended with exit code 3*",
            "*last words*",
            "thingwright on *: 0 passed, 2 failed",
        ],
        consecutive=False,
    )


def test_a_set_up_that_fails_with_the_target_shows_it(suite: Suite) -> None:
    """A fixture notices in a way of its own; the reason stands beside it, once."""
    result = suite(
        """
        import pytest
        from harness.errors import TargetUnavailable

        @pytest.fixture
        def client(target):
            type(target).is_dead = True
            raise TargetUnavailable("a client cannot reach it")

        def test_it(client): pass

        def test_next(target): pass
        """,
        "--target=embedded",
    )

    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(
        ["*TargetUnavailable: a client cannot reach it", "*thingwright target*", "The broker ended with exit*"]
    )
    assert result.stdout.str().count("- thingwright target -") == 1
