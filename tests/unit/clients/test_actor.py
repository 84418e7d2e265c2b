"""What guests and devices share, where no guest's test has it: what is told of an unexpected consent.

Connecting, publishing, subscribing and coming back are tested with a guest, in `test_broadcast`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from harness.clients.actor import Actor
from harness.errors import ExpectationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import FakeTarget
    from harness.clients.broadcast import BroadcastClient

    MakeClient = Callable[..., BroadcastClient]

ARN = "arn:aws:iot:eu-central-1:1:"


def consent(action: str, resource: str, because: str) -> dict[str, Any]:
    """Make the detail of a decision that allowed something."""
    return {"action": action, "resource": f"{ARN}{resource}", "allowed": True, "because": because}


@pytest.mark.parametrize(
    ("attempt", "because"),
    [
        ({"connect": True}, "iot:Connect was allowed to public-1: statement A"),
        ({"subscribe": "a/b"}, "iot:Subscribe was allowed to public-1: statement B"),
        ({"publish": "a/b"}, "iot:Publish was allowed to public-1: statement C"),
    ],
)
async def test_an_unexpected_consent_names_its_statement(
    make_client: MakeClient, fake_target: FakeTarget, attempt: dict[str, Any], because: str
) -> None:
    """Which is the one to be corrected: not the statement for another client, action or topic, or an older one."""
    guest = make_client(trace=fake_target.trace)
    if "connect" not in attempt:
        await guest.connect()
    fake_target.add("decision", client_id="public-1", detail=consent("iot:Publish", "topic/a/b", "an older statement"))
    for action, resource, statement in (
        ("iot:Connect", "client/public-1", "statement A"),
        ("iot:Subscribe", "topicfilter/a/b", "statement B"),
        ("iot:Publish", "topic/a/b", "statement C"),
        ("iot:Publish", "topic/b", "a statement for another topic"),
    ):
        fake_target.add("decision", client_id="public-1", detail=consent(action, resource, statement))
    fake_target.add("decision", client_id="public-2", detail=consent("iot:Publish", "topic/a/b", "for another client"))

    with pytest.raises(ExpectationError) as failure:
        await guest.expect_refusal(**attempt)

    assert failure.value.near_misses == (because,)
    await guest.stop()


@pytest.mark.parametrize("status", [200, 500])
async def test_an_unexpected_consent_is_told_although_nobody_knows_why(
    make_client: MakeClient, fake_target: FakeTarget, status: int
) -> None:
    """The trace says nothing of it, or does not answer."""
    fake_target.status = status
    async with make_client(trace=fake_target.trace) as guest:
        with pytest.raises(
            ExpectationError, match="was to be refused to publish to 'a', and was allowed to"
        ) as failure:
            await guest.expect_refusal(publish="a")

    assert failure.value.near_misses == ()


def test_nobody_is_an_actor_without_saying_how_it_connects() -> None:
    """A guest signs, a device has a certificate; there is no third way by default."""
    with pytest.raises(TypeError, match="abstract"):
        Actor(client_id="x", endpoint=None)  # type: ignore[abstract, arg-type] # that is the subject
