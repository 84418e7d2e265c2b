"""Promise: a guest is `public-…`, speaks and hears below `public/`, and nothing else; each limit with its twin."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from harness import BroadcastClient, StackOutputs, Topics
    from harness.fixtures import MakeBroadcastClient

pytestmark = [pytest.mark.e2e, pytest.mark.needs("POLICY")]


@pytest.mark.behaviour("policy.connect", source="DG:mqtt")
async def test_a_guest_may_not_call_itself_otherwise(
    make_broadcast_client: MakeBroadcastClient, stack: StackOutputs
) -> None:
    """The same credentials get in under a public client id and are refused under any other."""
    guest = await make_broadcast_client()

    stranger = await make_broadcast_client(
        client_id=guest.client_id.removeprefix(stack.client_id_prefix), credentials=guest.credentials, connect=False
    )
    refusal = await stranger.expect_refusal(connect=True)

    assert (refusal.action, refusal.resource, refusal.how) == ("iot:Connect", stranger.client_id, "connack")


async def test_a_guest_may_not_take_the_prefix_as_a_suffix(make_broadcast_client: MakeBroadcastClient) -> None:
    """The client id has to begin with the prefix: containing it does not help."""
    guest = await make_broadcast_client()

    stranger = await make_broadcast_client(
        client_id=f"x{guest.client_id}", credentials=guest.credentials, connect=False
    )
    refusal = await stranger.expect_refusal(connect=True)

    assert refusal.action == "iot:Connect"


@pytest.mark.behaviour("policy.subscribe", source="DG:mqtt")
async def test_a_guest_may_not_touch_private_topics(broadcast_client: BroadcastClient, topics: Topics) -> None:
    """The guest role stops at public/: a subscription beyond is refused, one below is granted."""
    refusal = await broadcast_client.expect_refusal(subscribe=topics.telemetry)

    assert (refusal.action, refusal.resource, refusal.how) == ("iot:Subscribe", topics.telemetry, "suback")
    await broadcast_client.subscribe(topics.broadcast)


@pytest.mark.parametrize("topic_filter", ["#", "+/telemetry", "things/#", "publicity/#", "$aws/events/#"])
async def test_a_guest_may_not_listen_around_the_prefix(
    broadcast_client: BroadcastClient, topics: Topics, topic_filter: str
) -> None:
    """Wildcards are compared as they are written: none reaches beyond public/ by matching more than it says."""
    refusal = await broadcast_client.expect_refusal(subscribe=topic_filter)

    assert refusal.action == "iot:Subscribe"
    await broadcast_client.subscribe(topics.everything)


@pytest.mark.behaviour("policy.publish", source="DG:mqtt")
async def test_a_guest_may_not_publish_to_private_topics(broadcast_client: BroadcastClient, topics: Topics) -> None:
    """A publish beyond public/ is refused, and the connection survives: the next one, below it, arrives."""
    await broadcast_client.subscribe(topics.broadcast)

    refusal = await broadcast_client.expect_refusal(publish=topics.telemetry, payload={"temp": 99})

    assert (refusal.action, refusal.resource, refusal.how) == ("iot:Publish", topics.telemetry, "puback")
    message = await broadcast_client.publish(topics.broadcast, "still here")
    await message.reaches([broadcast_client])
    assert broadcast_client.connections == 1


@pytest.mark.behaviour("policy.retain", source="DG:iot-policy-actions")
async def test_a_guest_may_not_leave_messages_behind(broadcast_client: BroadcastClient, topics: Topics) -> None:
    """A retained message would greet everybody who ever comes: refused; the same message, not retained, is taken."""
    await broadcast_client.subscribe(topics.broadcast)

    refusal = await broadcast_client.expect_refusal(publish=topics.broadcast, payload="for ever", retain=True)

    assert (refusal.action, refusal.resource) == ("iot:Publish", topics.broadcast)
    message = await broadcast_client.publish(topics.broadcast, "for now")
    await message.reaches([broadcast_client])


@pytest.mark.needs("TRACE")
async def test_a_refusal_says_why(broadcast_client: BroadcastClient, topics: Topics) -> None:
    """Where the target tells, the refusal names what was asked for and the statement that came nearest."""
    refusal = await broadcast_client.expect_refusal(subscribe=topics.telemetry)

    assert refusal.because is not None
    assert "iot:Subscribe" in refusal.because
    assert topics.telemetry in refusal.because


@pytest.mark.needs("TRACE")
async def test_a_refused_retained_message_says_why(broadcast_client: BroadcastClient, topics: Topics) -> None:
    """What was lacking is another permission than the one to publish, and the refusal names it."""
    refusal = await broadcast_client.expect_refusal(publish=topics.broadcast, retain=True)

    assert "iot:RetainPublish" in (refusal.because or "")
