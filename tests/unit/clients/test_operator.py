"""The back office."""

from __future__ import annotations

from harness.clients.operator import Operator


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
