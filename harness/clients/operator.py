"""The back office: publishes through the AWS API, with credentials that are nobody's guest's."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from harness.clients.message import Message, as_payload
from harness.clients.waiting import PATIENCE

if TYPE_CHECKING:
    from harness.clients.message import Payload
    from harness.clients.spending import Budget
    from harness.clients.trace import Trace


class Operator:
    """Publishes with the operator's credentials over HTTPS.

    Args:
        iot_data: boto3's ``iot-data`` client.
        patience: seconds that claims about its messages wait.
        trace: the target's trace, quoted in failure messages; None where there is none.
        budget: how many messages the run may have; None: as many as it likes.
    """

    def __init__(
        self, *, iot_data: Any, patience: float = PATIENCE, trace: Trace | None = None, budget: Budget | None = None
    ) -> None:
        self._iot_data = iot_data
        self._budget = budget
        self._patience = patience
        self._trace = trace

    async def publish(self, topic: str, payload: Payload, *, qos: int = 1) -> Message:
        """Publish through the iot-data API; returns once the API has accepted it.

        Args:
            topic: its topic name.
            payload: text, bytes, or a value to be sent as JSON.
            qos: 0 or 1.

        Raises:
            BudgetExceeded: the run may send no more; nothing was sent.
            botocore.exceptions.ClientError: the API refused it.
        """
        if self._budget is not None:
            self._budget.take_messages()
        message = Message(
            topic, as_payload(payload), qos=qos, sender="the operator", patience=self._patience, trace=self._trace
        )
        await asyncio.to_thread(self._iot_data.publish, topic=topic, qos=qos, payload=message.payload)
        return message
