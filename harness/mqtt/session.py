"""What a broker remembers of a client: its session.

A session is made by a CONNECT, may outlive its connection, and ends when it expires, when its client asks for a clean
start, or when another protocol version takes the client id. It holds subscriptions, unacknowledged QoS 1 messages
(``inflight``) and QoS 1 messages that wait for room or for the client's return (``waiting``). QoS 0 is never stored.

Source: MQTT 5.0 §4.1, MQTT 3.1.1 §4.1; AWS IoT Core, "MQTT persistent sessions".
Differs: QoS 0 messages are not stored, which both specifications allow.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.mqtt.authorization import ConnectionInfo
    from harness.mqtt.connection import Connection
    from harness.mqtt.message import Outgoing
    from harness.mqtt.packets import ProtocolVersion, Subscription, Will
    from harness.mqtt.timers import Timer


class DelayedWill(NamedTuple):
    """A will that waits for its Will Delay Interval, or for the end of the session. Source: MQTT 5.0 §3.1.3.2.2."""

    will: Will
    info: ConnectionInfo
    timer: Timer


class Session:
    """One client's state; hashable by identity, as the subscriber of the subscription tree.

    Args:
        client_id: unique among the sessions of a broker.
        version: of the client that made it; the other version cannot resume it.
    """

    __slots__ = (
        "client_id",
        "connection",
        "delayed_will",
        "expiry_interval",
        "expiry_timer",
        "inflight",
        "subscriptions",
        "version",
        "waiting",
    )

    def __init__(self, client_id: str, version: ProtocolVersion) -> None:
        self.client_id = client_id
        self.version = version
        self.subscriptions: dict[str, Subscription] = {}
        self.inflight: dict[int, Outgoing] = {}
        self.waiting: deque[Outgoing] = deque()
        self.connection: Connection | None = None
        self.expiry_interval = 0
        self.expiry_timer: Timer | None = None
        self.delayed_will: DelayedWill | None = None

    def requeue_unacknowledged(self, *, sent_after: float) -> list[Outgoing]:
        """Have everything unacknowledged sent again before anything that waits, with its packet id, in its order.

        Args:
            sent_after: what was sent for the first time before this is given up.

        Returns:
            What was given up.

        Source: MQTT 5.0 §4.4 [MQTT-4.4.0-1], §4.6 [MQTT-4.6.0-1].
        """
        again: list[Outgoing] = []
        given_up: list[Outgoing] = []
        for outgoing in self.inflight.values():
            first_sent_at = outgoing.first_sent_at
            too_old = first_sent_at is not None and first_sent_at <= sent_after
            (given_up if too_old else again).append(outgoing)
        self.inflight.clear()
        self.waiting.extendleft(reversed(again))
        return given_up

    def discard_expired(self, now: float) -> Iterator[Outgoing]:
        """Take expired messages out of those that wait, and yield them."""
        kept: list[Outgoing] = []
        for outgoing in self.waiting:
            if outgoing.message.has_expired(now):
                yield outgoing
            else:
                kept.append(outgoing)
        self.waiting.clear()
        self.waiting.extend(kept)
