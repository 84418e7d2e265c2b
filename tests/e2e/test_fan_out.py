"""Promise: whatever is said on a public topic, everybody who listens hears, the sender included."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from harness import BroadcastClient, Topics
    from harness.fixtures import MakeBroadcastClients

pytestmark = pytest.mark.e2e


@pytest.mark.behaviour("mqtt.fan-out", source="DG:mqtt")
async def test_a_broadcast_reaches_every_listener(make_broadcast_clients: MakeBroadcastClients, topics: Topics) -> None:
    """Any message on the public topic reaches every client, its sender included."""
    clients = await make_broadcast_clients(5, subscribe=topics.broadcast)

    message = await clients[0].publish(topics.broadcast, "Hello, World!")

    await message.reaches(clients)


async def test_every_broadcaster_reaches_every_listener(
    make_broadcast_clients: MakeBroadcastClients, topics: Topics
) -> None:
    """It does not matter who speaks: each of three is heard by all three."""
    clients = await make_broadcast_clients(3, subscribe=topics.broadcast)

    for client in clients:
        message = await client.publish(topics.broadcast, {"from": client.client_id})
        await message.reaches(clients)


@pytest.mark.parametrize("qos", [0, 1])
async def test_a_message_arrives_unchanged(broadcast_client: BroadcastClient, topics: Topics, qos: int) -> None:
    """Payloads are bytes: what is no text, and what is not ASCII, arrives as it was sent."""
    payload = bytes(range(256)) + "Grüße 🎉".encode()
    await broadcast_client.subscribe(topics.broadcast, qos=qos)

    message = await broadcast_client.publish(topics.broadcast, payload, qos=qos)

    (delivery,) = await message.reaches([broadcast_client])
    assert delivery.qos == qos


async def test_a_wildcard_hears_all_topics_below_it(broadcast_client: BroadcastClient, topics: Topics) -> None:
    """A subscription to everything below a prefix hears topics that did not exist when it was made."""
    await broadcast_client.subscribe(topics.everything)

    message = await broadcast_client.publish(topics.named("news/today"), "rain")

    await message.reaches([broadcast_client])


async def test_a_listener_hears_only_its_topics(broadcast_client: BroadcastClient, topics: Topics) -> None:
    """What is said on another topic does not arrive: the next thing heard is what was said later on this one."""
    await broadcast_client.subscribe(topics.broadcast)

    await broadcast_client.publish(topics.named("elsewhere"), "not for you")
    await broadcast_client.publish(topics.broadcast, "for you")

    await broadcast_client.inbox.expect_next(topic=topics.broadcast, payload="for you")


async def test_a_listener_that_unsubscribed_hears_no_more(broadcast_client: BroadcastClient, topics: Topics) -> None:
    """After its UNSUBACK a client hears nothing of the topic; another one's subscription shows that it would have."""
    await broadcast_client.subscribe(topics.broadcast)
    await broadcast_client.subscribe(topics.named("kept"))
    before = await broadcast_client.publish(topics.broadcast, "while subscribed")
    await before.reaches([broadcast_client])

    await broadcast_client.unsubscribe(topics.broadcast)
    await broadcast_client.publish(topics.broadcast, "afterwards")
    await broadcast_client.publish(topics.named("kept"), "control")

    await broadcast_client.inbox.expect_next(payload="while subscribed")
    await broadcast_client.inbox.expect_next(payload="control")
