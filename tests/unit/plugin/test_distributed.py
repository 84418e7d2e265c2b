"""Runs of several processes: they share one target, which the controller runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.unit.plugin.conftest import Suite, TargetLog

pytest_plugins = ["pytester"]


def test_workers_share_one_target_that_the_controller_runs(suite: Suite, target_log: TargetLog) -> None:
    """Started once, by none of them; each has names of its own."""
    result = suite(
        """
        import os
        import pytest

        @pytest.mark.parametrize("number", range(4))
        def test_it(target, stack, environment, topics, number):
            assert target.name == "embedded"
            assert target.patience == 1.5
            assert stack.identity_pool_id == "eu-central-1:pool"
            assert environment.admin_token == "token"
            assert os.environ["PYTEST_XDIST_WORKER"] in topics.broadcast
            assert environment.ready.pid != os.getpid()

        def test_cannot(faults): pass
        """,
        "--target=embedded",
        "-n2",
    )

    result.assert_outcomes(passed=4, skipped=1)
    result.stdout.fnmatch_lines("thingwright on embedded: 4 passed, 1 not proven (lacking FAULTS 1)")
    assert target_log() == ["start", "stop"]


def test_workers_without_a_need_start_no_target(suite: Suite, target_log: TargetLog) -> None:
    """The controller waits to be asked."""
    result = suite("def test_it(): pass", "--target=embedded", "-n2")

    result.assert_outcomes(passed=1)
    assert "start" not in target_log()


def test_a_distributed_run_whose_target_cannot_be_used_exits_the_same_way(
    suite: Suite, monkeypatch: pytest.MonkeyPatch, target_log: TargetLog
) -> None:
    """Exit code 4; it is tried once, not once per worker."""
    monkeypatch.setenv("TROUBLE", "unavailable")

    result = suite(
        """
        def test_one(target): pass
        def test_two(target): pass
        """,
        "--target=embedded",
        "-n2",
    )

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stdout.fnmatch_lines(["*TargetError: Docker is missing: install it.", "thingwright: Docker is missing: *"])
    assert target_log().count("start") == 1
