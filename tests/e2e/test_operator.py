"""Promise: what the back office publishes through the AWS API reaches the guests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from harness import BroadcastClient, Operator, Topics
    from harness.fixtures import MakeBroadcastClients

pytestmark = pytest.mark.e2e


@pytest.mark.behaviour("https.publish", source="DG:http")
async def test_the_operator_reaches_every_guest(
    operator: Operator, make_broadcast_clients: MakeBroadcastClients, topics: Topics
) -> None:
    """A message published over HTTPS reaches every subscribed guest."""
    clients = await make_broadcast_clients(subscribe=topics.broadcast)

    message = await operator.publish(topics.broadcast, {"notice": "maintenance at noon"})

    await message.reaches(clients)


async def test_the_operator_is_heard_among_guests(
    operator: Operator, broadcast_client: BroadcastClient, topics: Topics
) -> None:
    """The same words from a guest and from the operator are two messages, and both arrive."""
    await broadcast_client.subscribe(topics.broadcast)

    from_operator = await operator.publish(topics.broadcast, "Hello!")
    from_guest = await broadcast_client.publish(topics.broadcast, "Hello!")

    await from_operator.reaches([broadcast_client])
    await from_guest.reaches([broadcast_client])


async def test_the_operator_may_publish_where_guests_may_not_listen(
    operator: Operator, broadcast_client: BroadcastClient, topics: Topics
) -> None:
    """A message to a private topic passes the guests by: the next thing they hear is the public one."""
    await broadcast_client.subscribe(topics.everything)

    await operator.publish(topics.telemetry, {"deviceId": "nobody"})
    await operator.publish(topics.broadcast, "public")

    await broadcast_client.inbox.expect_next(topic=topics.broadcast, payload="public")
