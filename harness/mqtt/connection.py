"""One connection, as seen by the broker: bytes in, bytes out, and what state it is in.

States and what a packet does in them (everything else ends the connection with a protocol error):

================  =======================================================================================
AWAITING_CONNECT  CONNECT → CONNECTED, or CLOSED when it is refused
CONNECTED         PUBLISH, PUBACK, SUBSCRIBE, UNSUBSCRIBE, PINGREQ; DISCONNECT → CLOSED
CLOSED            nothing is read any more; what is still to be sent is sent, then the shell closes
================  =======================================================================================

The shell (a socket, a WebSocket, a test) calls `Connection.receive_data` with what came, `Connection.connection_lost`
when the peer is gone, and, for each connection in `Broker.take_dirty`, writes `Connection.data_to_send` once, assigns
`Connection.unsent_bytes`, and closes when `Connection.is_closing`.

Source: MQTT 5.0 §3.1 [MQTT-3.1.0-1], [MQTT-3.1.0-2], §4.13.
Differs: QoS 2 packets and AUTH are protocol errors: the broker announces neither.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Any

from harness.errors import ProtocolError
from harness.mqtt import delivery, handshake, lifetime, publishing, subscribing
from harness.mqtt.codec import Decoder
from harness.mqtt.events import DisconnectReason
from harness.mqtt.packets import (
    Connect,
    Disconnect,
    Packet,
    PingReq,
    PubAck,
    Publish,
    ReasonCode,
    Subscribe,
    Unsubscribe,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.mqtt.authorization import Action, ConnectionInfo, Decision
    from harness.mqtt.message import Outgoing
    from harness.mqtt.packets import ProtocolVersion, Will
    from harness.mqtt.session import Session
    from harness.mqtt.state import BrokerState
    from harness.mqtt.timers import Timer

_REMEMBERED_DECISIONS = 1_024
_PINGRESP = b"\xd0\x00"


class Phase(Enum):
    """Where in its life a connection is."""

    AWAITING_CONNECT = "awaiting CONNECT"
    CONNECTED = "connected"
    CLOSED = "closed"


class Connection:
    """One connection; made by `Broker.open_connection`.

    The first group of attributes is the shell's; the rest is for the modules of this package.

    Attributes:
        info: who is at the other end.
        shell: a slot for the shell's own object.
        is_closing: once `data_to_send` is written, the transport is to be closed.
        close_reason: why it ended, None while it lives and when CONNECT was never accepted.
        close_because: the same for people, empty while it lives.
        phase: see the module.
        session: its session while CONNECTED.
        unsent: packets not yet taken by the shell.
        room: bytes that may still be queued for sending.
        inflight: unacknowledged messages by packet id: the session's own.
        waiting: messages that could not be sent yet: the session's own.
        send_maximum: how many may be unacknowledged.
        max_packet_bytes: the client's Maximum Packet Size; None when the broker never sends a larger one.
        aliases: topic names by topic alias, as the client set them.
        unacknowledged: QoS 1 messages of the client whose PUBACK the shell has not taken yet.
        will: published when the connection ends without a DISCONNECT.
        keep_alive: seconds in force, 0 for none.
        heard_at: when the last packet of the peer was complete.
    """

    __slots__ = (
        "_decisions",
        "_decisions_version",
        "_decoder",
        "_shell_unsent",
        "aliases",
        "close_because",
        "close_reason",
        "heard_at",
        "inflight",
        "info",
        "is_closing",
        "keep_alive",
        "keep_alive_timer",
        "max_packet_bytes",
        "phase",
        "retry_timer",
        "room",
        "send_maximum",
        "session",
        "session_expiry_asked",
        "shell",
        "state",
        "unacknowledged",
        "unsent",
        "waiting",
        "will",
    )

    def __init__(self, state: BrokerState, info: ConnectionInfo, now: float) -> None:
        self.info = info
        self.shell: Any = None
        self.is_closing = False
        self.close_reason: DisconnectReason | None = None
        self.close_because = ""

        self.state = state
        self.phase = Phase.AWAITING_CONNECT
        self.session: Session | None = None
        self.unsent: list[bytes] = []
        self.room = state.options.max_send_buffer_bytes
        self.inflight: dict[int, Outgoing] = {}
        self.waiting: deque[Outgoing] = deque()
        self.send_maximum = 0
        self.max_packet_bytes: int | None = None
        self.aliases: dict[int, str] = {}
        self.unacknowledged = 0
        self.will: Will | None = None
        self.session_expiry_asked = 0
        self.keep_alive = 0
        self.heard_at = now
        self.keep_alive_timer: Timer | None = None
        self.retry_timer: Timer | None = None

        self._decoder = Decoder(max_packet_bytes=state.options.max_packet_bytes)
        self._shell_unsent = 0
        self._decisions: dict[tuple[Action, str], Decision] = {}
        self._decisions_version = -1

    @property
    def version(self) -> ProtocolVersion | None:
        """The protocol version of its CONNECT, also of one that was refused or could not be read to its end."""
        return self._decoder.version

    @property
    def accepted_session(self) -> Session:
        """Its session; to be asked for only while CONNECTED."""
        session = self.session
        if session is None:
            raise RuntimeError(f"connection {self.info.connection_id} is {self.phase.value}: it has no session")
        return session

    @property
    def unsent_bytes(self) -> int:
        """Bytes the shell's transport has not written yet.

        The shell assigns it after every flush, and when its transport has drained: messages that waited for room are
        then released, so it looks at `Broker.take_dirty` again.
        """
        return self._shell_unsent

    @unsent_bytes.setter
    def unsent_bytes(self, count: int) -> None:
        self.room += self._shell_unsent - count
        self._shell_unsent = count
        if self.phase is not Phase.CONNECTED:
            return
        state = self.state
        hard_limit = state.options.hard_send_buffer_bytes
        if count > hard_limit:
            lifetime.end_connection(
                self,
                state.now,
                reason=DisconnectReason.CLIENT_ERROR,
                because=f"the client does not read: {count} bytes unsent, the limit is {hard_limit}",
            )
        elif self.waiting:
            delivery.release(state, self, state.now)

    @property
    def has_all_room(self) -> bool:
        """Whether nothing at all waits to be sent: then even a message larger than the soft bound may go."""
        return not self.unsent and not self._shell_unsent

    def receive_data(self, data: bytes | bytearray | memoryview, now: float) -> None:
        """Take what the peer sent, and do what it asks for.

        Args:
            data: any number of bytes, cut anywhere.
            now: the time, in seconds of a monotonic clock.
        """
        if self.is_closing:
            return
        self.state.now = now
        decoder = self._decoder
        decoder.receive_data(data)
        try:
            self._acknowledge_run(now)
            while not self.is_closing and (packet := decoder.next_packet()) is not None:
                self.heard_at = now
                _TABLE[self.phase].get(type(packet), _refuse_packet)(self, packet, now)
        except ProtocolError as error:
            if self.phase is Phase.AWAITING_CONNECT:
                handshake.refuse_bytes(self, error)
                return
            lifetime.end_connection(
                self, now, reason=DisconnectReason.CLIENT_ERROR, reason_code=error.reason_code, because=str(error)
            )

    def connection_lost(self, now: float, *, client_initiated: bool, breach: str | None = None) -> None:
        """Take note that the peer is gone; harmless when the connection has ended already.

        Args:
            now: the time, in seconds of a monotonic clock.
            client_initiated: it said goodbye below MQTT, by a WebSocket Close frame; its will is not published then.
            breach: how it broke the protocol below MQTT; None when it did not.

        Source: AWS IoT Core, "Lifecycle events": CLIENT_INITIATED_DISCONNECT, CLIENT_ERROR, CONNECTION_LOST.
        """
        self.state.now = now
        if client_initiated:
            lifetime.end_connection(
                self,
                now,
                reason=DisconnectReason.CLIENT_INITIATED_DISCONNECT,
                because="the client closed the WebSocket",
                send_will=False,
            )
        elif breach is not None:
            lifetime.end_connection(self, now, reason=DisconnectReason.CLIENT_ERROR, because=breach)
        else:
            because = "the connection broke without a DISCONNECT"
            lifetime.end_connection(self, now, reason=DisconnectReason.CONNECTION_LOST, because=because)

    def data_to_send(self) -> bytes:
        """Take everything that is to be sent, as one piece."""
        data = b"".join(self.unsent)
        self.unsent.clear()
        self.room += len(data)
        self.unacknowledged = 0
        return data

    def send(self, data: bytes) -> None:
        """Queue a packet for sending."""
        self.room -= len(data)
        if not self.unsent:
            self.state.dirty.append(self)
        self.unsent.append(data)

    def mark_accepted(self, session: Session) -> None:
        """Go on to CONNECTED, on the session's own queues."""
        self.phase = Phase.CONNECTED
        self.session = session
        self.inflight = session.inflight
        self.waiting = session.waiting

    def mark_closed(self, because: str) -> None:
        """Go on to CLOSED, and have the shell send what is left and close."""
        self.phase = Phase.CLOSED
        self.is_closing = True
        self.close_because = because
        self.state.dirty.append(self)

    def remembered(self, action: Action, resource: str) -> Decision | None:
        """Return the authorizer's answer to a question asked before, if it still holds."""
        version = self.state.authorizer.version
        if version != self._decisions_version:
            self._decisions.clear()
            self._decisions_version = version
            return None
        return self._decisions.get((action, resource))

    def decide(self, action: Action, resource: str) -> Decision:
        """Ask the authorizer, or remember its answer."""
        decision = self.remembered(action, resource)
        if decision is None:
            decision = self.state.authorizer.authorize(self.info, action, resource)
            if len(self._decisions) >= _REMEMBERED_DECISIONS:
                self._decisions.clear()
            self._decisions[action, resource] = decision
        return decision

    def _acknowledge_run(self, now: float) -> None:
        """Take all PUBACKs that come next in one go: a subscriber of QoS 1 sends little else."""
        packet_ids = self._decoder.take_puback_ids() if self.phase is Phase.CONNECTED else ()
        if packet_ids:
            self.heard_at = now
            acknowledged = self.inflight.pop
            for packet_id in packet_ids:
                acknowledged(packet_id, None)
            if self.waiting:
                delivery.release(self.state, self, now)


def _on_puback(connection: Connection, packet: PubAck, now: float) -> None:
    delivery.acknowledge(connection.state, connection, packet.packet_id, reason_code=packet.reason_code, now=now)


def _on_pingreq(connection: Connection, _packet: PingReq, _now: float) -> None:
    """Source: MQTT 5.0 §3.12.4 [MQTT-3.12.4-1]."""
    connection.send(_PINGRESP)


def _refuse_packet(connection: Connection, packet: Packet, now: float) -> None:
    """End a connection for a packet that its state does not allow; that the first is a CONNECT, the decoder sees to."""
    name = type(packet).__name__.upper()
    because = "a second CONNECT [MQTT-3.1.0-2]" if isinstance(packet, Connect) else f"a client may not send {name} here"
    lifetime.end_connection(
        connection,
        now,
        reason=DisconnectReason.CLIENT_ERROR,
        reason_code=ReasonCode.PROTOCOL_ERROR,
        because=because,
    )


# A handler takes only its own type of packet, which a table cannot say.
_Handler = Callable[[Connection, Any, float], None]

_TABLE: Mapping[Phase, Mapping[type[Packet], _Handler]] = {
    Phase.AWAITING_CONNECT: {Connect: handshake.on_connect},
    Phase.CONNECTED: {
        Publish: publishing.on_publish,
        PubAck: _on_puback,
        Subscribe: subscribing.on_subscribe,
        Unsubscribe: subscribing.on_unsubscribe,
        PingReq: _on_pingreq,
        Disconnect: lifetime.on_disconnect,
    },
}
