"""Promise: a guest whose connection breaks comes back, with credentials that are still good, and hears again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from harness import Faults, Topics
    from harness.fixtures import MakeBroadcastClient

pytestmark = pytest.mark.e2e


async def test_a_guest_returns_after_a_broken_connection(
    make_broadcast_client: MakeBroadcastClient, faults: Faults, topics: Topics
) -> None:
    """A connection that breaks comes back with the same credentials and all its subscriptions."""
    guest = await make_broadcast_client(subscribe=topics.broadcast)
    before = guest.access_key_id

    async with guest.expect_reconnect():
        await faults.disconnect(guest.client_id)

    assert guest.access_key_id == before
    message = await guest.publish(topics.broadcast, "back again")
    await message.reaches([guest])


async def test_a_guest_returns_with_fresh_credentials(
    make_broadcast_client: MakeBroadcastClient, faults: Faults, topics: Topics
) -> None:
    """When the credentials have expired meanwhile, the guest gets new ones for the same identity and returns."""
    guest = await make_broadcast_client(subscribe=topics.broadcast)
    before = guest.access_key_id
    assert before is not None

    async with guest.expect_reconnect():
        await faults.expire_credentials(before)
        await faults.disconnect(guest.client_id)

    assert guest.access_key_id != before
    message = await guest.publish(topics.broadcast, "back with new keys")
    await message.reaches([guest])
