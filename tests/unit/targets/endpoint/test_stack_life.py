"""The endpoint target by URL: the stack comes with a run and goes with it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from harness.errors import ProvisioningError, TargetUnavailable, TeardownError
from harness.targets.base import Capability
from harness.targets.embedded.certificates import make_server_identity
from harness.targets.marks import find_mark
from harness.targets.names import make_run_id

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import FakeDeployment, FakeEmulator
    from harness.targets.endpoint import EndpointTarget


def test_why_the_stack_has_no_rule_is_known(
    emulator: FakeEmulator,
    deployments: list[FakeDeployment],
    deployment_type: type[FakeDeployment],
    make_target: Callable[..., EndpointTarget],
    outputs: dict[str, Any],
) -> None:
    """Nobody named a receiver, or the emulator has no such thing; with a rule nothing is missing."""
    receiver = {"receiver_url": "https://localhost", "receiver_secret": "s", "receiver_table": "readings"}
    both = {Capability.HTTP_ACTION, Capability.DESTINATION_CONFIRMATION}

    without = make_target(emulator)
    assert without.capabilities == frozenset(Capability)
    without.start()
    deployment_type.lacking = {"ruleName": "CreateTopicRuleDestination is unknown."}
    refused = make_target(emulator, **receiver)
    refused.start()
    deployment_type.outputs = {**outputs, "ruleName": "r", "destinationArn": "arn:aws:iot:d"}
    whole = make_target(emulator, **receiver)
    whole.start()

    assert dict.fromkeys(both, "no receiver was named with --receiver-url, so the stack has no rule") == without.lacks
    assert without.capabilities == frozenset(Capability) - both
    assert dict.fromkeys(both, "CreateTopicRuleDestination is unknown.") == refused.lacks
    assert whole.lacks == {}
    assert len(deployments) == 3


@pytest.mark.parametrize("left", [None, TeardownError(["table readings"], remedy="delete it")])
def test_a_stack_that_fails_half_way_is_taken_away(
    emulator: FakeEmulator,
    deployments: list[FakeDeployment],
    deployment_type: type[FakeDeployment],
    left: TeardownError | None,
    make_target: Callable[..., EndpointTarget],
) -> None:
    """What is left of it is added to why it failed, and hides nothing."""
    deployment_type.trouble = ProvisioningError("a role", reason="no such thing")
    deployment_type.left = left
    target = make_target(emulator)

    with pytest.raises(ProvisioningError, match="no such thing") as failed:
        target.start()

    assert deployments[0].removals == 1
    assert getattr(failed.value, "__notes__", []) == ([str(left)] if left else [])
    target.stop()
    assert deployments[0].removals == 1


def test_a_removal_that_is_interrupted_is_taken_up_again(
    emulator: FakeEmulator,
    deployments: list[FakeDeployment],
    deployment_type: type[FakeDeployment],
    make_target: Callable[..., EndpointTarget],
) -> None:
    """Ctrl+C loses no sight of the stack: the next stop removes it, and the one after that has nothing to do."""
    target = make_target(emulator)
    target.start()
    deployment_type.left = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        target.stop()
    deployment_type.left = None

    target.stop()
    target.stop()

    assert deployments[0].removals == 2


def test_a_receivers_table_that_is_there_already_is_explained(
    emulator: FakeEmulator,
    deployments: list[FakeDeployment],
    deployment_type: type[FakeDeployment],
    make_target: Callable[..., EndpointTarget],
) -> None:
    """Another run has it, or one that was killed left it; without a table of one's own it is the program's trouble."""
    taken = ProvisioningError("a table", reason="ResourceInUseException: Table already exists: readings")
    deployment_type.trouble = taken
    receiver = {"receiver_url": "https://localhost", "receiver_secret": "s", "receiver_table": "readings"}

    with pytest.raises(TargetUnavailable, match=r"The table readings is there already: .* delete the table"):
        make_target(emulator, **receiver).start()
    with pytest.raises(ProvisioningError, match="Table already exists"):
        make_target(emulator).start()
    assert [each.removals for each in deployments] == [1, 1]


@pytest.mark.parametrize(
    ("lifetime", "told"),
    [
        (-1, "the run {run_id} left it, which is over. `{sweep}` removes what has its mark."),
        (
            60,
            (
                "the run {run_id} made it. A receiver serves one run at a time, so wait for that one; "
                "if it was killed, `{sweep} --run {run_id}` removes what has its mark."
            ),
        ),
    ],
)
def test_a_receivers_table_that_a_run_made_is_swept_not_deleted(
    emulator: FakeEmulator,
    deployment_type: type[FakeDeployment],
    make_target: Callable[..., EndpointTarget],
    tmp_path: Path,
    lifetime: float,
    told: str,
) -> None:
    """Its tag says whose it is; the complaint is the command that takes it away, and nothing goes unasked."""
    run_id = make_run_id(lifetime=lifetime)
    deployment_type.trouble = ProvisioningError("a table", reason="ResourceInUseException: Table already exists")
    deployment_type.mark = find_mark(run_id)
    emulator.address = "localhost.iot.eu-west-1.localhost"
    ca_file = make_server_identity(tmp_path).ca
    receiver = {"receiver_url": "https://localhost", "receiver_secret": "s", "receiver_table": "readings"}

    with pytest.raises(TargetUnavailable) as refused:
        make_target(emulator, iot_endpoint="localhost", ca_file=ca_file, **receiver).start()

    where = f"--endpoint-url {emulator.url} --region eu-west-1 --ca-file {ca_file}"
    sweep = f"thingwright sweep --delete {where}"
    assert str(refused.value) == f"The table readings is there already: {told.format(run_id=run_id, sweep=sweep)}"
    assert [each.asked_for for each in deployment_type.made] == [["readings"]]


def test_a_receivers_destination_that_is_there_already_is_explained(
    emulator: FakeEmulator, deployment_type: type[FakeDeployment], make_target: Callable[..., EndpointTarget]
) -> None:
    """No sweep knows whose it is if its URL does not say; another call that is refused so is the program's trouble."""
    reason = "ResourceAlreadyExistsException: There is a topic rule destination with this confirmationUrl already"
    receiver = {"receiver_url": "https://localhost:9", "receiver_secret": "s", "receiver_table": "readings"}
    deployment_type.trouble = ProvisioningError("a destination", reason=reason, call="iot:CreateTopicRuleDestination")

    with pytest.raises(TargetUnavailable) as refused:
        make_target(emulator, **receiver).start()

    assert str(refused.value) == (
        "A destination for the receiver https://localhost:9 is there already: a receiver serves one run at a time, so "
        f"wait for the other one. If a run that was killed has left it, `aws iot --endpoint-url {emulator.url} "
        "--region us-east-1 list-topic-rule-destinations` shows its ARN, and delete-topic-rule-destination removes it."
    )
    deployment_type.trouble = ProvisioningError("a policy", reason=reason, call="iot:CreatePolicy")
    with pytest.raises(ProvisioningError, match="a policy"):
        make_target(emulator, **receiver).start()


def test_outputs_that_are_not_a_stacks_are_refused(
    emulator: FakeEmulator,
    deployments: list[FakeDeployment],
    deployment_type: type[FakeDeployment],
    make_target: Callable[..., EndpointTarget],
    outputs: dict[str, Any],
) -> None:
    """A program of somebody else's is taken away again."""
    deployment_type.outputs = {"colour": "blue"}

    with pytest.raises(TargetUnavailable, match="output region is missing"):
        make_target(emulator).start()
    assert deployments[0].removals == 1


def test_what_cannot_be_taken_away_is_told_of_once(
    emulator: FakeEmulator,
    deployments: list[FakeDeployment],
    deployment_type: type[FakeDeployment],
    make_target: Callable[..., EndpointTarget],
) -> None:
    """By the one who stops it."""
    target = make_target(emulator)
    target.start()
    deployment_type.left = TeardownError(["table readings"], remedy="delete it")

    with pytest.raises(TeardownError, match="table readings"):
        target.stop()
    target.stop()
    assert deployments[0].removals == 1


def test_who_stops_a_target_that_is_starting_takes_its_stack_away(
    emulator: FakeEmulator,
    deployments: list[FakeDeployment],
    deployment_type: type[FakeDeployment],
    make_target: Callable[..., EndpointTarget],
    outputs: dict[str, Any],
) -> None:
    """He waits for the deployment: nothing is left when he is done."""
    is_deploying, may_go_on = threading.Event(), threading.Event()

    def deploy(_: FakeDeployment) -> dict[str, Any]:
        is_deploying.set()
        may_go_on.wait()
        return outputs

    deployment_type.deploy = deploy  # type: ignore[method-assign] - how it goes in this test
    target = make_target(emulator)
    starting = threading.Thread(target=target.start)
    starting.start()
    is_deploying.wait()
    stopping = threading.Thread(target=target.stop)
    stopping.start()
    may_go_on.set()
    starting.join()
    stopping.join()

    assert deployments[0].removals == 1


@pytest.mark.usefixtures("deployments")
def test_it_asks_now_and_then_whether_the_server_answers(
    emulator: FakeEmulator, make_target: Callable[..., EndpointTarget]
) -> None:
    """Around every test would be too often; a refusal is an answer, silence is none."""
    clock = [0.0]
    target = make_target(emulator, now=lambda: clock[0])
    target.check()
    target.start()
    asked = len(emulator.asked)
    target.check()
    assert len(emulator.asked) == asked
    clock[0] += 60
    emulator.account = None
    target.check()
    target.check()
    assert len(emulator.asked) == asked + 1
    emulator.close()

    target.check()
    clock[0] += 60
    with pytest.raises(TargetUnavailable, match="does not answer as AWS does"):
        target.check()
    target.stop()
    target.check()
