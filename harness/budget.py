"""How many things and messages a run may cost: asked for before anything is made or sent.

What that costs is an estimate, by rates of us-east-1 in USD without free tier and taxes, as written down once from
https://aws.amazon.com/iot-core/pricing/ and https://aws.amazon.com/dynamodb/pricing/on-demand/. It gives an order of
cost and no bound: a message may be metered several times (acknowledged, taken up by several rules), regions differ, and
connections, the queue and what the stack costs by the hour are left out.
"""

from __future__ import annotations

import math
import threading
from typing import Final

from harness.errors import BudgetExceeded

MAX_THINGS: Final = 200
"""What a run in an AWS account may have unless it is told otherwise."""

MAX_MESSAGES: Final = 20_000
"""The same for messages, published and delivered."""

_MILLION: Final = 1_000_000
_PER_MESSAGE: Final = (1.00 + 0.15 + 0.15 + 0.625) / _MILLION
"""USD: a message of up to 5 KB, a rule triggered, an action applied, a row written."""
_PER_THING: Final = 20 * 1.25 / _MILLION
"""USD: some twenty registry operations from CreateThing to DeleteThing, of which AWS meters only a part."""
_CENT: Final = 0.01


class Budget:
    """Counts what a run makes and sends, and stops it before it has more than it may; for any thread.

    Args:
        things: how many things may be registered, 0 or more.
        messages: how many messages may be published and delivered, 0 or more.
    """

    def __init__(self, *, things: int, messages: int) -> None:
        self.things = things
        self.messages = messages
        self._things_left = things
        self._messages_left = messages
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"Budget(things={self.things}, messages={self.messages})"

    def take_things(self, n: int = 1) -> None:
        """Take things that are about to be registered.

        Raises:
            BudgetExceeded: they would be too many; none was taken.
        """
        with self._lock:
            if n > self._things_left:
                raise BudgetExceeded("things", limit=self.things, option="--max-things")
            self._things_left -= n

    def take_messages(self, n: int = 1) -> None:
        """Take messages that are about to be published.

        Raises:
            BudgetExceeded: they would be too many; none was taken.
        """
        with self._lock:
            if n > self._messages_left:
                raise BudgetExceeded("messages", limit=self.messages, option="--max-messages")
            self._messages_left -= n

    def count_delivery(self) -> None:
        """Count a message that was delivered: it cannot be refused any more, the next one to be published can."""
        with self._lock:
            self._messages_left -= 1

    def line(self) -> str:
        """Say in one line what the run may have, and what order of cost that is."""
        cost = self.things * _PER_THING + self.messages * _PER_MESSAGE
        order = max(_CENT, 10.0 ** math.ceil(math.log10(cost))) if cost else _CENT
        return (
            f"at most {self.things:,} things (--max-things) and {self.messages:,} messages (--max-messages): "
            f"up to about {order:,.2f} USD, as an estimate"
        )
