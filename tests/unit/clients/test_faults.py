"""Faults: what is asked of the target, and what is undone after the test."""

from __future__ import annotations

from typing import Any

import pytest

from harness.clients.faults import Faults


class FakeAdmin:
    """Plays the admin API: numbers the faults it is given."""

    def __init__(self) -> None:
        self.posted: list[dict[str, Any]] = []
        self.deleted: list[dict[str, Any]] = []

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Take a fault."""
        assert path == "faults"
        self.posted.append(body)
        return {"fault_id": f"fault-{len(self.posted)}", "url": f"https://localhost:1/{body.get('name')}"}

    def delete(self, path: str, **query: Any) -> None:
        """Forget a fault."""
        assert path == "faults"
        self.deleted.append(query)


@pytest.fixture
def admin() -> FakeAdmin:
    """The target's admin API."""
    return FakeAdmin()


@pytest.fixture
def faults(admin: FakeAdmin) -> Faults:
    """Faults of one test."""
    return Faults(admin)


async def test_a_call_is_made_to_fail_for_those_it_is_about(faults: Faults, admin: FakeAdmin) -> None:
    """The fault says which calls, how often and with which error; the status is the target's unless given."""
    await faults.fail_call("dynamodb", "BatchWriteItem", code="ThrottlingException", times=2, contains="sensor-1")
    await faults.fail_call("sqs", "SendMessage", code="InternalError", status=500)

    first = {"kind": "fail_call", "service": "dynamodb", "operation": "BatchWriteItem", "code": "ThrottlingException"}
    second = {"kind": "fail_call", "service": "sqs", "operation": "SendMessage", "code": "InternalError"}
    assert admin.posted == [
        {**first, "times": 2, "contains": "sensor-1"},
        {**second, "times": 1, "contains": None, "status": 500},
    ]


async def test_what_is_left_of_a_fault_ends_with_its_test(faults: Faults, admin: FakeAdmin) -> None:
    """Only this test's: tests that run at the same time keep theirs."""
    await faults.fail_call("dynamodb", "BatchWriteItem", code="ThrottlingException")
    await faults.disconnect("public-1")
    await faults.fail_call("dynamodb", "BatchWriteItem", code="ThrottlingException")

    await faults.clear()
    await faults.clear()

    assert admin.deleted == [{"fault_id": "fault-3"}, {"fault_id": "fault-1"}]


async def test_a_test_without_faults_clears_nothing(faults: Faults, admin: FakeAdmin) -> None:
    """Nor does one whose faults are over at once."""
    await faults.expire_credentials("ASIATEST")
    await faults.disconnect("public-1")
    posted = len(admin.posted)

    await faults.clear()

    assert admin.deleted == []
    assert len(admin.posted) == posted


async def test_the_stacks_receiver_is_back_after_the_test(faults: Faults, admin: FakeAdmin) -> None:
    """All tests of the run share it."""
    await faults.stop_receiver()

    await faults.clear()

    assert admin.posted == [
        {"kind": "stop_receiver", "name": "main", "how": "kill"},
        {"kind": "start_receiver", "name": "main"},
    ]


async def test_a_receiver_that_the_test_started_again_is_left_alone(faults: Faults, admin: FakeAdmin) -> None:
    """So is one of the test's own: whoever made it stops it."""
    await faults.stop_receiver()
    assert await faults.start_receiver() == "https://localhost:1/main"
    await faults.stop_receiver("mine", how="term")
    posted = len(admin.posted)

    await faults.clear()

    assert len(admin.posted) == posted


async def test_a_receiver_is_frozen_and_thawed(faults: Faults, admin: FakeAdmin) -> None:
    """By its name; whoever froze one thaws it, or stops it."""
    await faults.freeze_receiver("mine")
    await faults.thaw_receiver("mine")
    posted = len(admin.posted)

    await faults.clear()

    assert admin.posted == [
        {"kind": "freeze_receiver", "name": "mine"},
        {"kind": "thaw_receiver", "name": "mine"},
    ]
    assert len(admin.posted) == posted
