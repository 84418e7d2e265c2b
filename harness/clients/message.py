"""A message that someone sent, and the claim that it reached everybody."""

from __future__ import annotations

import asyncio
import time
from json import dumps
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from harness.clients.waiting import PATIENCE
from harness.errors import ExpectationError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from harness.clients.inbox import Delivery, Inbox
    from harness.clients.trace import Trace

Payload: TypeAlias = str | bytes | dict[str, Any] | list[Any]
"""What can be published: text as UTF-8, bytes as they are, the rest as JSON."""

_NAMED: Final = 8
_QUOTED: Final = 80


class Listener(Protocol):
    """Who a message may reach."""

    client_id: str
    inbox: Inbox

    def condition(self) -> str:
        """Say in a few words whether it is connected and what it listens to."""
        ...


class Message:
    """A message as it was sent.

    Args:
        topic: its topic name.
        payload: as it went out.
        qos: 0 or 1.
        sender: who sent it, for failure messages.
        patience: seconds that `reaches` waits.
        trace: the target's trace, quoted in failure messages; None where there is none.
    """

    def __init__(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: int = 1,
        sender: str = "",
        patience: float = PATIENCE,
        trace: Trace | None = None,
    ) -> None:
        self.topic = topic
        self.payload = payload
        self.qos = qos
        self.sender = sender
        self.sent_at = time.monotonic()
        self._patience = patience
        self._trace = trace

    def __repr__(self) -> str:
        return f"Message({self.topic!r}, {self.payload!r}, qos={self.qos}, sender={self.sender!r})"

    @property
    def text(self) -> str:
        """The payload as UTF-8, with replacement characters for what is not."""
        return self.payload.decode("utf-8", "replace")

    async def reaches(self, clients: Iterable[Listener]) -> list[Delivery]:
        """Wait until the message has arrived at every one of these clients.

        Each delivery counts for one message: of two messages with the same words, both have to arrive.

        Returns:
            One delivery per client, in the order of the clients.

        Raises:
            ExpectationError: some clients did not hear it in time; says which, and what they heard instead.
            ValueError: there are no clients, so the claim would be true whatever happened.
        """
        __tracebackhide__ = True
        listeners = list(clients)
        if not listeners:
            raise ValueError("reaches was given no clients: a claim about nobody is always true")
        waits = (each.inbox.until_claimed(self, within=self._patience) for each in listeners)
        results = await asyncio.gather(*waits, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, TimeoutError):
                raise result
        lacking = [each for each, result in zip(listeners, results, strict=True) if isinstance(result, TimeoutError)]
        if lacking:
            raise await self._missing(lacking, total=len(listeners))
        return [result for result in results if not isinstance(result, BaseException)]

    async def _missing(self, lacking: list[Listener], *, total: int) -> ExpectationError:
        names = [each.client_id for each in lacking]
        near_misses = await self._trace.denials(client_ids=names, topic=self.topic) if self._trace else []
        for each in lacking[:_NAMED]:
            near_misses += each.inbox.near_misses(topic=self.topic, payload=self.payload, since=self.sent_at)
            near_misses.append(f"{each.client_id} {each.condition()}")
        sender = f" from {self.sender}" if self.sender else ""
        return ExpectationError(
            f"{self.topic} {quoted(self.payload)}{sender} reached {total - len(lacking)} of {total} clients within "
            f"{self._patience:g} s; missing at {listed(names)}",
            near_misses=near_misses,
            trace=await self._trace.tail(client_ids=names, topic=self.topic) if self._trace else (),
        )


def as_payload(payload: Payload) -> bytes:
    """Turn what a test author writes into the bytes of a PUBLISH."""
    if isinstance(payload, bytes):
        return payload
    if isinstance(payload, str):
        return payload.encode()
    return dumps(payload, separators=(",", ":"), ensure_ascii=False).encode()


def quoted(payload: bytes) -> str:
    """Show a payload in a failure message: as text where it is text, cut when long."""
    try:
        shown = repr(payload.decode())
    except UnicodeDecodeError:
        shown = repr(payload)
    return shown if len(shown) <= _QUOTED else f"{shown[:_QUOTED]}… ({len(payload)} bytes)"


def listed(names: list[str]) -> str:
    """Name the first few and count the rest."""
    rest = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")
