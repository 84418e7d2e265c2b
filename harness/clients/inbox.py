"""What a client heard, in order, and waiting for what it should hear.

Two ledgers run over the same deliveries and do not disturb each other: `Inbox.expect` hands every delivery out once, so
that two equal expectations need two deliveries; `Inbox.claim` gives a sent message the delivery that is its own, so
that a message is not taken for another one with the same words.
"""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass, field
from json import loads
from typing import TYPE_CHECKING, Any, Final

from harness.clients.message import as_payload, quoted
from harness.clients.waiting import PATIENCE, Changes
from harness.errors import ExpectationError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from harness.clients.message import Message, Payload
    from harness.clients.trace import Trace

KEPT: Final = 100_000
"""Deliveries an inbox keeps; older ones make room."""

_SHOWN: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A message as a client received it.

    Args:
        topic: its topic name.
        payload: as it came.
        qos: 0 or 1.
        retain: it was stored at the broker before the client subscribed.
        properties: the user properties, in order.
        received_at: `time.monotonic` seconds when the client library had it.
    """

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    properties: tuple[tuple[str, str], ...] = field(default=())
    received_at: float = 0.0

    @property
    def text(self) -> str:
        """The payload as UTF-8, with replacement characters for what is not."""
        return self.payload.decode("utf-8", "replace")

    def json(self) -> Any:
        """Return the payload read as JSON.

        Raises:
            ValueError: it is none.
        """
        return loads(self.payload)


class Inbox:
    """Everything one client heard.

    Args:
        owner: the client's id, for failure messages.
        patience: seconds an expectation waits.
        trace: the target's trace, quoted in failure messages; None where there is none.
    """

    def __init__(self, owner: str, *, patience: float = PATIENCE, trace: Trace | None = None) -> None:
        self.owner = owner
        self._patience = patience
        self._trace = trace
        self._changes = Changes()
        self._kept: deque[Delivery] = deque(maxlen=KEPT)
        self._unexpected: deque[Delivery] = deque(maxlen=KEPT)
        self._unread: deque[Delivery] = deque(maxlen=KEPT)
        self._unclaimed: defaultdict[tuple[str, bytes], deque[Delivery]] = defaultdict(deque)
        self._claimed: dict[Message, Delivery] = {}
        self._is_closed = False

    @property
    def messages(self) -> tuple[Delivery, ...]:
        """Everything that arrived, in order."""
        return tuple(self._kept)

    def deliver(self, delivery: Delivery) -> None:
        """Take in what the client library received; called on the event loop's thread."""
        if len(self._kept) == KEPT:
            self._forget(self._kept[0])
        for ledger in (self._kept, self._unexpected, self._unread):
            ledger.append(delivery)
        self._unclaimed[delivery.topic, delivery.payload].append(delivery)
        self._changes.notify()

    def close(self) -> None:
        """Say that nothing more will arrive: whoever iterates gets what is left and comes to the end."""
        self._is_closed = True
        self._changes.notify()

    async def expect(self, *, topic: str | None = None, payload: Payload | None = None) -> Delivery:
        """Wait for a delivery that no earlier `expect` has returned.

        Args:
            topic: its topic name; None means any.
            payload: what it carries, text and JSON values included; None means anything.

        Raises:
            ExpectationError: nothing like it arrived in time.
        """
        __tracebackhide__ = True
        return await self._expect(topic, payload, only_next=False)

    async def expect_next(self, *, topic: str | None = None, payload: Payload | None = None) -> Delivery:
        """Wait for the next delivery, which has to be this one and nothing else: what was sent before has not arrived.

        Args:
            topic: its topic name; None means any.
            payload: what it carries; None means anything.

        Raises:
            ExpectationError: something else arrived, or nothing.
        """
        __tracebackhide__ = True
        return await self._expect(topic, payload, only_next=True)

    async def until_claimed(self, message: Message, *, within: float) -> Delivery:
        """Wait for the delivery of a message.

        Raises:
            TimeoutError: it did not arrive.
        """
        return await self._changes.until(lambda: self.claim(message), within=within)

    def claim(self, message: Message) -> Delivery | None:
        """Return the delivery of a message, always the same one; None when it has not arrived."""
        if (delivery := self._claimed.get(message)) is not None:
            return delivery
        waiting = self._unclaimed.get((message.topic, message.payload), ())
        for index, delivery in enumerate(waiting):
            if delivery.received_at >= message.sent_at:
                del self._unclaimed[message.topic, message.payload][index]
                self._claimed[message] = delivery
                return delivery
        return None

    def near_misses(self, *, topic: str | None, payload: bytes | None, since: float = 0.0) -> list[str]:
        """Tell what arrived instead, the most similar first.

        Args:
            topic: what was awaited; None means any.
            payload: what was awaited; None means anything.
            since: `time.monotonic` seconds; what arrived earlier is no near miss.
        """
        heard = [each for each in self._kept if each.received_at >= since]
        near = [each for each in heard if each.topic == topic or each.payload == payload]
        lines = [f"{each.topic} {quoted(each.payload)}" for each in (near or heard)[-_SHOWN:]]
        return [f"{self.owner} heard {line}" for line in lines] or [f"{self.owner} heard nothing"]

    async def take(self) -> Delivery | None:
        """Wait, as long as it takes, for the next delivery that was not taken yet; None once the client has stopped."""
        await self._changes.until(lambda: bool(self._unread) or self._is_closed or None, within=None)
        return self._unread.popleft() if self._unread else None

    async def __aiter__(self) -> AsyncIterator[Delivery]:
        """Give each delivery once, those that arrived before included, until the client stops."""
        while (delivery := await self.take()) is not None:
            yield delivery

    async def _expect(self, topic: str | None, payload: Payload | None, *, only_next: bool) -> Delivery:
        __tracebackhide__ = True
        wanted = None if payload is None else as_payload(payload)

        def fits(delivery: Delivery) -> bool:
            return (topic is None or delivery.topic == topic) and (wanted is None or delivery.payload == wanted)

        def look() -> Delivery | None:
            candidates: Sequence[Delivery] = tuple(self._unexpected)[:1] if only_next else self._unexpected
            return next((each for each in candidates if only_next or fits(each)), None)

        what = " ".join(([topic] if topic else []) + ([quoted(wanted)] if wanted is not None else [])) or "a message"
        try:
            delivery = await self._changes.until(look, within=self._patience)
        except TimeoutError:
            claim = f"{self.owner} was to hear {what} within {self._patience:g} s"
        else:
            self._unexpected.remove(delivery)
            if fits(delivery):
                return delivery
            claim = f"{self.owner} was to hear {what} next, and heard {delivery.topic} {quoted(delivery.payload)}"
        raise ExpectationError(
            claim,
            near_misses=self.near_misses(topic=topic, payload=wanted),
            trace=await self._trace.tail(client_ids=[self.owner], topic=topic) if self._trace else (),
        )

    def _forget(self, oldest: Delivery) -> None:
        same = self._unclaimed.get((oldest.topic, oldest.payload))
        if same and same[0] is oldest:
            same.popleft()
        if not same:
            self._unclaimed.pop((oldest.topic, oldest.payload), None)
