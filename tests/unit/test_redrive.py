"""The command ``redrive``: what it takes from the stack, its lines, and its exit code."""

from __future__ import annotations

import io
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from harness.clients.redriving import Outcome
from harness.errors import TargetUnavailable
from harness.redrive import run_redrive
from harness.targets.base import Environment
from harness.targets.names import Names
from harness.targets.outputs import StackOutputs
from harness.terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Callable

STACK = StackOutputs(
    region="eu-central-1",
    iot_endpoint="broker.test",
    iot_mqtts_port=9883,
    iot_wss_url="wss://broker.test/mqtt",
    identity_pool_id="eu-central-1:pool",
    client_id_prefix="public-",
    topic_prefix="public/",
    telemetry_topic="things/telemetry",
    device_policy_name="devices",
    table_name="readings",
    dead_letter_queue_url="https://sqs.test/dead",
)
ENVIRONMENT = Environment(
    target="endpoint",
    region="eu-central-1",
    iot_endpoint="broker.test",
    mqtts_port=9883,
    wss_port=9443,
    names=Names("run"),
    control_plane_url="http://127.0.0.1:1",
    stack_outputs=STACK,
)


class FakeRedriver:
    """Plays a run over the queue."""

    rounds: tuple[Outcome, ...]

    def __init__(self, **settings: Any) -> None:
        self.settings = settings

    def run(self) -> Outcome:
        """Tell of each round; the last one is the outcome."""
        for outcome in self.rounds:
            self.settings["on_round"](outcome)
        return self.rounds[-1]


@pytest.fixture
def redrive(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, list[str]]]:
    """Runs the command with the rounds it is told, a time apart; gives exit code and lines."""
    times = iter(range(1_000_000))
    monkeypatch.setattr("harness.redrive.Redriver", FakeRedriver)
    monkeypatch.setattr("harness.redrive.time.monotonic", lambda: float(next(times)))

    def run(*rounds: Outcome, is_dry: bool = False) -> tuple[int, list[str]]:
        FakeRedriver.rounds = rounds
        out = io.StringIO()
        code = run_redrive(Terminal(out, io.StringIO()), ENVIRONMENT, min_age=60, is_dry=is_dry)
        return code, out.getvalue().splitlines()

    return run


def test_progress_is_told_from_time_to_time(redrive: Callable[..., tuple[int, list[str]]]) -> None:
    """Not after each round; the last line has the sum, and why letters stayed."""
    rounds = [Outcome(redriven=number, stored=1) for number in range(4)]
    end = Outcome(redriven=3, stored=1, left=Counter({"answered 422": 2, "no reading of a device": 1}))

    code, lines = redrive(*rounds, end)

    assert code == 0
    assert lines == [
        "[redrive] queue=https://sqs.test/dead table=readings",
        "[redrive] 2 letters so far: redriven 1, already stored 1, left 0",
        "[redrive] 4 letters so far: redriven 3, already stored 1, left 0",
        "[done] redriven 3, already stored 1, left 3 (answered 422: 2, no reading of a device: 1)",
    ]


def test_the_exit_code_says_whether_another_run_may_do_better(redrive: Callable[..., tuple[int, list[str]]]) -> None:
    """A dry run leaves what it would have redriven."""
    assert redrive(Outcome(redriven=1))[0] == 0
    assert redrive(Outcome(left=Counter(young=1), can_go_on=True))[0] == 1
    assert redrive(Outcome(redriven=1), is_dry=True) == (
        1,
        [
            "[redrive] queue=https://sqs.test/dead table=readings (dry run)",
            "[done] would be redriven 1, already stored 0, left 0",
        ],
    )
    assert redrive(Outcome(stored=0), is_dry=True)[0] == 0


@pytest.mark.parametrize("missing", ["dead_letter_queue_url", "table_name"])
def test_a_stack_without_a_queue_or_a_table_is_told(missing: str) -> None:
    """Before anything is asked."""
    environment = replace(ENVIRONMENT, stack_outputs=replace(STACK, **{missing: None}))

    with pytest.raises(TargetUnavailable, match="The stack has no output"):
        run_redrive(Terminal(io.StringIO(), io.StringIO()), environment, min_age=60, is_dry=False)
