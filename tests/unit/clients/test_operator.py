"""The back office."""

from __future__ import annotations

from unittest.mock import Mock

import pytest

from harness.clients.operator import Operator
from harness.errors import BudgetExceeded


class FakeIotData:
    """Plays boto3's ``iot-data`` client."""

    def __init__(self) -> None:
        self.published: list[dict[str, object]] = []

    def publish(self, **arguments: object) -> None:
        """Remember it."""
        self.published.append(arguments)


async def test_the_operator_publishes_through_the_api() -> None:
    """What went out is the message, and the API call returned before it did."""
    iot_data = FakeIotData()

    message = await Operator(iot_data=iot_data).publish("public/x", {"a": 1}, qos=0)

    assert iot_data.published == [{"topic": "public/x", "qos": 0, "payload": b'{"a":1}'}]
    assert (message.topic, message.payload, message.qos, message.sender) == ("public/x", b'{"a":1}', 0, "the operator")


async def test_the_operator_keeps_to_the_budget() -> None:
    """What it may not send does not go out."""
    iot_data, budget = FakeIotData(), Mock()
    operator = Operator(iot_data=iot_data, budget=budget)
    budget.take_messages.side_effect = [None, BudgetExceeded("messages", limit=1, option="--max-messages")]

    await operator.publish("public/x", "one")
    with pytest.raises(BudgetExceeded, match="1 messages and no more"):
        await operator.publish("public/x", "two")

    assert [each["payload"] for each in iot_data.published] == [b"one"]
