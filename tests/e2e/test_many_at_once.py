"""Promise: as many guests as `--clients` says come at once, and each is served.

No connection sends or receives more than a handful of messages here, however many guests there are: AWS allows one
connection 100 a second in either direction, and everybody speaking to everybody would exceed that.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from harness import Topics
    from harness.fixtures import MakeBroadcastClients

pytestmark = pytest.mark.e2e


async def test_guests_who_come_at_once_all_hear_a_broadcast(
    make_broadcast_clients: MakeBroadcastClients, topics: Topics
) -> None:
    """Everybody connects and subscribes at the same time; one message reaches them all."""
    clients = await make_broadcast_clients(subscribe=topics.broadcast)

    message = await clients[-1].publish(topics.broadcast, "Hello, everybody!")

    await message.reaches(clients)


async def test_guests_who_speak_at_once_are_all_heard(
    make_broadcast_clients: MakeBroadcastClients, topics: Topics
) -> None:
    """Everybody speaks to the next in the round at the same time; each hears what was said to it and nothing else."""
    clients = await make_broadcast_clients()
    listeners = [*clients[1:], clients[0]]
    await asyncio.gather(*(client.subscribe(topics.named(client.client_id)) for client in clients))

    messages = await asyncio.gather(
        *(
            speaker.publish(topics.named(listener.client_id), f"from {speaker.client_id}")
            for speaker, listener in zip(clients, listeners, strict=True)
        )
    )

    await asyncio.gather(*(message.reaches([listener]) for message, listener in zip(messages, listeners, strict=True)))
    assert {delivery.topic for client in clients for delivery in client.inbox.messages} == {
        topics.named(client.client_id) for client in clients
    }
    assert all(
        {delivery.topic for delivery in each.inbox.messages} == {topics.named(each.client_id)} for each in clients
    )
