"""A run in pieces: its settings, its budget, what fixtures declare; whole runs are in `plugin`."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.budget import MAX_MESSAGES, MAX_THINGS
from harness.errors import SettingsError, TargetError, TargetUnavailable
from harness.run import Run, RunSettings, needs, parse_capability
from harness.targets.base import Capability
from harness.targets.localstack import IMAGE
from harness.targets.options import TargetOptions
from harness.targets.probed import ProbedTarget


def test_settings_are_checked_by_the_target_too() -> None:
    """It knows best what it needs; nothing is started for it."""
    RunSettings(target="embedded", clients=1).check()
    by_url = TargetOptions(endpoint_url="http://127.0.0.1:1")
    RunSettings(target="endpoint", clients=1, options=by_url).check()

    with pytest.raises(TargetUnavailable, match="--endpoint-url"):
        RunSettings(target="endpoint", clients=1).check()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (RunSettings(target="moon", clients=1), "target='moon'.*embedded, endpoint, localstack, aws"),
        (RunSettings(target="embedded", clients=0), "--clients=0"),
        (RunSettings(target="embedded", clients=1, devices=0), "--devices=0"),
        (RunSettings(target="embedded", clients=1, max_things=0), "--max-things=0"),
        (RunSettings(target="embedded", clients=1, max_messages=-1), "--max-messages=-1"),
        (RunSettings(target="aws", clients=1, options=TargetOptions(stack=Path("nowhere"))), "iot_stack='nowhere'"),
    ],
)
def test_what_is_not_accepted_is_named(settings: RunSettings, told: str) -> None:
    """By its option, as the user types it."""
    with pytest.raises(SettingsError, match=told):
        settings.check()


@pytest.mark.parametrize(
    ("settings", "workers", "expected"),
    [
        (RunSettings(target="embedded", clients=1), 1, None),
        (RunSettings(target="endpoint", clients=1), 4, None),
        (RunSettings(target="aws", clients=1), 1, (MAX_THINGS, MAX_MESSAGES)),
        (RunSettings(target="aws", clients=1, max_things=9), 4, (2, MAX_MESSAGES // 4)),
        (RunSettings(target="embedded", clients=1, max_messages=3), 4, (MAX_THINGS // 4, 1)),
    ],
)
def test_a_budget_is_for_whoever_pays_or_asks(
    settings: RunSettings, workers: int, expected: tuple[int, int] | None
) -> None:
    """Workers have equal parts, none of them nothing."""
    budget = settings.make_budget(workers=workers)

    assert (budget and (budget.things, budget.messages)) == expected


def test_only_a_target_that_nobody_knows_is_tried() -> None:
    """The stand-in is this project's own."""
    by_url = TargetOptions(endpoint_url="http://127.0.0.1:1")

    assert isinstance(Run(RunSettings(target="endpoint", clients=1, options=by_url)).target, ProbedTarget)
    assert not isinstance(Run(RunSettings(target="embedded", clients=1)).target, ProbedTarget)


def test_a_run_knows_which_server_its_target_starts() -> None:
    """Before it starts, so that evidence of a run that was broken off says so too; of other servers nobody knows."""
    with_token = TargetOptions(localstack_token="t")

    assert Run(RunSettings(target="localstack", clients=1, options=with_token)).versions == {"localstack": IMAGE}
    assert Run(RunSettings(target="embedded", clients=1)).versions == {}


def test_a_worker_has_the_runs_id_and_a_name_of_its_own() -> None:
    """So names of one run are recognised, and those of two workers never meet."""
    settings = RunSettings(target="embedded", clients=1)
    address = {"port": 1, "token": "t", "run_id": "tw6b3f0a21-9c4e11d2"}

    run = Run(settings, worker={"workerid": "gw1", "workercount": 2, "thingwright": address})

    assert (run.names.run_id, run.names.worker) == ("tw6b3f0a21-9c4e11d2", "gw1")
    assert run.target.name == "embedded"
    with pytest.raises(TargetError, match="does not answer"):
        run.start()


def test_a_stop_that_is_interrupted_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl+C while the stack is removed does not leave it there; one that has ended is not tried again."""
    run = Run(RunSettings(target="embedded", clients=1))
    outcomes = iter([KeyboardInterrupt(), None])
    stops = []

    def stop() -> None:
        stops.append(outcome := next(outcomes))
        if outcome is not None:
            raise outcome

    monkeypatch.setattr(run.target, "start", lambda: None)
    monkeypatch.setattr(run.target, "stop", stop)
    run.start()

    with pytest.raises(KeyboardInterrupt):
        run.stop()
    run.pytest_unconfigure()
    run.pytest_unconfigure()

    assert len(stops) == 2


def test_a_fixture_declares_capabilities_that_exist() -> None:
    """Whoever misspells one hears of it when the module is imported."""

    @needs("POLICY", Capability.TRACE)
    def fixture() -> int:
        return 1

    assert fixture() == 1
    assert fixture.__thingwright_needs__ == (Capability.POLICY, Capability.TRACE)  # type: ignore[attr-defined] # set there
    assert parse_capability("FAULTS") is Capability.FAULTS
    with pytest.raises(SettingsError, match="capability='POLICIES' is not accepted: one of GUESTS"):
        needs("POLICIES")
