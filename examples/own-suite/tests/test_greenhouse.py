"""What the greenhouse promises, each promise with what must not happen beside it."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from harness import BroadcastClient, Device, MakeBroadcastClients, Operator, Rows, StackOutputs, Topics


async def test_a_notice_of_the_shop_reaches_every_display(
    operator: Operator, make_broadcast_clients: MakeBroadcastClients, topics: Topics
) -> None:
    """Whatever the back office publishes below shop/notices/ is on every display."""
    displays = await make_broadcast_clients(4, subscribe=topics.broadcast)

    notice = await operator.publish(topics.broadcast, "Tomatoes are ripe")

    await notice.reaches(displays)


async def test_a_display_makes_no_notice(
    broadcast_client: BroadcastClient, topics: Topics, stack: StackOutputs
) -> None:
    """Its role has no iot:Publish, so a display that anybody could take over tells nobody anything."""
    assert stack.topic_prefix == "shop/notices/"

    refusal = await broadcast_client.expect_refusal(publish=topics.broadcast)

    assert (refusal.action, refusal.resource) == ("iot:Publish", topics.broadcast)


@pytest.mark.needs("TRACE")
async def test_hot_readings_alone_become_rows(device: Device, rows: Rows) -> None:
    """At 30 degrees nothing is stored, above it a row: the rule's WHERE matches what it should, and nothing else."""
    mild = await device.publish_reading(temp=30)
    await rows.expect_none(device_id=device.thing_name, after=mild)

    hot = await device.publish_reading(temp=30.5)
    row = await rows.expect(device_id=device.thing_name)

    assert row.temperature == Decimal("30.5")
    assert hot.topic == mild.topic == "greenhouse/readings"
