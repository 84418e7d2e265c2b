"""Removing what a stack has beside AWS IoT, when AWS is slow or says no."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from harness.sweep.stack_removal import StackRemover


class Clock:
    """Time that passes only by waiting."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.pauses.append(seconds)
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    """A clock that stands at zero."""
    return Clock()


@pytest.fixture
def remover(account: Any, clock: Clock) -> StackRemover:
    """A remover with a minute's patience that no test waits for."""
    return StackRemover(account, patience=60.0, now=lambda: clock.now, pause=clock.wait)


def test_patience_ends(leaver: Any, remover: StackRemover, clock: Clock, set_fault: Any, run_id: str) -> None:
    """Pauses grow up to some seconds; what AWS said last is raised; the role is still there to be swept again."""
    name = leaver.role(leaver.of(run_id))
    set_fault("iam", "DeleteRole", "DeleteConflict", status=409, times=1_000)

    with pytest.raises(ClientError, match="DeleteConflict"):
        remover.role(name)

    assert clock.now <= 60.0 < clock.now + 4.0
    assert clock.pauses[0] <= 0.1
    assert 2.0 <= max(clock.pauses) <= 4.0
    leaver.iam.get_role(RoleName=name)


def test_a_refusal_is_no_reason_to_wait(
    leaver: Any, remover: StackRemover, clock: Clock, set_fault: Any, run_id: str
) -> None:
    """It would be the same again."""
    name = leaver.table(leaver.of(run_id))
    set_fault("dynamodb", "DeleteTable", "AccessDeniedException")

    with pytest.raises(ClientError, match="AccessDeniedException"):
        remover.table(name)

    assert clock.pauses == []
    assert remover.table(name)


def test_what_is_gone_already_was_not_there(leaver: Any, remover: StackRemover, run_id: str) -> None:
    """Of each kind: once it was there, the second time it was not."""
    left = leaver.of(run_id)
    removals = [
        (remover.pool, leaver.pool(left)),
        (remover.role, leaver.role(left)),
        (remover.table, leaver.table(left)),
        (remover.queue, leaver.queue(left)),
    ]

    assert [(remove(name), remove(name)) for remove, name in removals] == [(True, False)] * 4


def test_a_table_that_is_being_deleted_counts_as_gone(environment: Any, clock: Clock) -> None:
    """One that is still being made is waited for."""
    dynamodb = environment.client("dynamodb")
    stubber = Stubber(dynamodb)
    for status in ("CREATING", "DELETING"):
        stubber.add_client_error("delete_table", "ResourceInUseException", status)
        stubber.add_response("describe_table", {"Table": {"TableStatus": status}})

    class OneClient:
        """An account that has nothing but this client."""

        def client(self, _service: str) -> Any:
            return dynamodb

    remover = StackRemover(OneClient(), patience=60.0, now=lambda: clock.now, pause=clock.wait)  # type: ignore[arg-type]  # all of an account that is asked for
    with stubber:
        assert not remover.table("t")
    stubber.assert_no_pending_responses()
    assert len(clock.pauses) == 1
