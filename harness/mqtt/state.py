"""What all parts of a broker work on. `Broker` is the door; the modules around this one are the rooms."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.mqtt.retained import RetainedMessages
from harness.mqtt.subscriptions import SubscriptionTree
from harness.mqtt.timers import Timers

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.mqtt.authorization import Authorizer
    from harness.mqtt.connection import Connection
    from harness.mqtt.events import Event
    from harness.mqtt.options import BrokerOptions
    from harness.mqtt.routing import Receivers
    from harness.mqtt.session import Session

_LAST_PACKET_ID = 65_535


class BrokerState:
    """The state of a broker.

    Attributes:
        open_connections: every connection that has not ended, accepted or not, in order of opening.
        connections: the accepted ones by client id.
        sessions: live and stored ones by client id.
        events: what happened since the shell asked last.
        dirty: connections with something to send or to close; one may be in it twice.
        online_changes: grows whenever a session gets or loses its connection.
        receivers: who gets the messages of a topic, as of ``receivers_stamp``.
        now: the latest time passed in.
    """

    def __init__(self, *, options: BrokerOptions, authorizer: Authorizer, make_id: Callable[[], str]) -> None:
        self.options = options
        self.authorizer = authorizer
        self.make_id = make_id
        self.timers = Timers()
        self.tree: SubscriptionTree[Session] = SubscriptionTree(parent_matches=options.parent_matches)
        self.retained = RetainedMessages(options, self.timers)
        self.open_connections: dict[Connection, None] = {}
        self.connections: dict[str, Connection] = {}
        self.sessions: dict[str, Session] = {}
        self.events: list[Event] = []
        self.dirty: list[Connection] = []
        self.online_changes = 0
        self.receivers: dict[str, Receivers] = {}
        self.receivers_stamp: tuple[int, int, int] = (-1, -1, -1)
        self.now = 0.0
        self._packet_id = 0

    def next_packet_id(self) -> int:
        """Draw a packet id, 1 to 65,535, from the one counter of all sessions.

        One counter, so that a message has the same id, and with it the same bytes, at all of its subscribers.
        """
        self._packet_id = self._packet_id % _LAST_PACKET_ID + 1
        return self._packet_id
