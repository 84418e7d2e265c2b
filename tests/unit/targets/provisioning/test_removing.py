"""Taking everything back: the order, the patience, and what is told when something stays."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from harness.errors import ProvisioningError
from harness.targets.marks import find_mark
from harness.targets.provisioning.ledger import Noted
from harness.targets.provisioning.removing import remove_all

RUN_ID = "tw6b3f0a21-9c4e11d2"
CONFLICT = (409, "DeleteConflict", "it is in use")


class Clock:
    """Time that passes only while somebody pauses."""

    def __init__(self) -> None:
        self.time = 100.0
        self.pauses: list[float] = []

    def now(self) -> float:
        """Tell the time."""
        return self.time

    def pause(self, seconds: float) -> None:
        """Let time pass."""
        self.pauses.append(seconds)
        self.time += seconds


@pytest.fixture
def clock() -> Clock:
    """A clock at some time."""
    return Clock()


def role(name: str, *, is_made: bool = True) -> Noted:
    """Give what a ledger holds of a role."""
    return Noted(type="aws:iam/role:Role", name="guest", intent={"name": name}, id=name if is_made else None)


def remove(account: Any, ledger: list[Noted], clock: Clock) -> list[str]:
    """Take back, with a minute's patience."""
    return remove_all(account, ledger, within=60.0, now=clock.now, pause=clock.pause)


def deleted(account: Any) -> list[str]:
    """Give the roles whose deletion was asked for, in order."""
    return [each[3]["RoleName"] for each in account.calls if each[2] == "DeleteRole"]


def test_the_last_goes_first(account: Any, clock: Clock) -> None:
    """What was made later may need what was made before; nothing is left in the ledger."""
    ledger = [role("a"), role("b"), role("c")]

    assert remove(account, ledger, clock) == []

    assert deleted(account) == ["c", "b", "a"]
    assert ledger == []
    assert clock.pauses == []


def test_a_conflict_is_waited_for(account: Any, clock: Clock) -> None:
    """With longer and longer pauses that are not the same for everybody."""
    account.refusals["DeleteRole"] = [CONFLICT] * 12

    assert remove(account, [role("a")], clock) == []

    assert len(deleted(account)) == 13
    assert len(clock.pauses) == 12
    assert clock.pauses[-1] > 10 * clock.pauses[0]
    assert all(1.0 <= one / (0.005 * 2**number) * 2 <= 2.0 for number, one in enumerate(clock.pauses[:8]))
    assert len({one / (0.005 * 2**number) for number, one in enumerate(clock.pauses[:8])}) > 1
    assert max(clock.pauses) <= 2.0


def test_patience_is_for_all_together(account: Any, clock: Clock) -> None:
    """When it is used up, each of the others is still tried once."""
    account.refusals["DeleteRole"] = [CONFLICT] * 10_000

    left = remove(account, ledger := [role("a"), role("b")], clock)

    assert [each.split(":")[0:2] for each in left] == [["aws", "iam/role"]] * 2
    assert left[0] == "aws:iam/role:Role guest (b): iam:DeleteRole: DeleteConflict: it is in use"
    assert deleted(account).count("a") == 1
    assert clock.time == pytest.approx(160.0)
    assert ledger == [role("a"), role("b")]


def test_a_refusal_is_not_waited_for(account: Any, clock: Clock) -> None:
    """It is told, the others are taken, and it stays in the ledger for the next time."""
    account.refusals["DeleteRole"] = [None, (403, "AccessDenied", "no")]
    ledger = [role("a"), role("b"), role("c")]

    left = remove(account, ledger, clock)

    assert left == ["aws:iam/role:Role guest (b): iam:DeleteRole: AccessDenied: no"]
    assert ledger == [role("b")]
    assert clock.pauses == []
    assert remove(account, ledger, clock) == []


def test_what_may_be_somebody_elses_stays(account: Any, clock: Clock) -> None:
    """Its maker died over it, and its name does not say whose it is."""
    left = remove(account, [role("theirs", is_made=False)], clock)

    assert left == ["aws:iam/role:Role guest (theirs): whether this deployment made it is not known"]
    assert account.calls == []


def test_what_its_name_says_is_ours_goes(account: Any, clock: Clock) -> None:
    """Whether it was made or not."""
    account.mark = find_mark(RUN_ID)

    assert remove(account, [role(f"guest-{RUN_ID}-0123456", is_made=False)], clock) == []
    assert deleted(account) == [f"guest-{RUN_ID}-0123456"]


def test_when_nobody_answers_all_that_is_left_is_named(
    account: Any, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are not tried: each attempt may take long."""

    def call(subject: str, service: str, operation: str, **_parameters: Any) -> Any:
        tried.append(subject)
        cause = EndpointConnectionError(endpoint_url="http://127.0.0.1:9")
        raise ProvisioningError(subject, call=f"{service}:{operation}", reason="nobody there") from cause

    tried: list[str] = []
    monkeypatch.setattr(account, "call", call)
    ledger = [role("a"), role("b"), role("c")]

    left = remove(account, ledger, clock)

    assert left == [
        "aws:iam/role:Role guest (c): iam:ListRolePolicies: nobody there",
        "aws:iam/role:Role guest (b)",
        "aws:iam/role:Role guest (a)",
    ]
    assert len(ledger) == 3
    assert len(tried) > 1
    assert clock.time < 100.0 + 60.0 / 2  # who is silent has gone, and no patience brings it back


def test_ctrl_c_loses_nothing(account: Any, clock: Clock) -> None:
    """What is gone is out of the ledger, the rest is in it."""
    account.refusals["DeleteRole"] = [None, CONFLICT]

    def pause(_seconds: float) -> None:
        raise KeyboardInterrupt

    ledger = [role("a"), role("b")]
    with pytest.raises(KeyboardInterrupt):
        remove_all(account, ledger, within=60.0, now=clock.now, pause=pause)

    assert ledger == [role("a")]
    assert remove(account, ledger, clock) == []


def test_an_answer_that_lacks_something_is_told(account: Any, clock: Clock) -> None:
    """Emulators leave things out."""
    account.lists["ListAttachedRolePolicies"] = [{}]

    (left,) = remove(account, [role("a")], clock)

    assert left.endswith("an answer of the other side has no 'PolicyArn'")
