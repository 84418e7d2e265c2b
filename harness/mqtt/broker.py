"""The broker: MQTT 3.1.1 and 5 with QoS 0 and 1, without a socket, a clock or a source of chance.

The shell opens a `Connection` for each peer, feeds it, and once per turn of its loop flushes the connections of
`Broker.take_dirty` and reads `Broker.take_events`. Time comes in with every call as ``now``, in seconds of one
monotonic clock; `Broker.next_deadline` says when to call `Broker.tick` although nothing happened.

What belongs where: `harness.mqtt.handshake` CONNECT, `publishing` and `subscribing` what they say, `lifetime` how
connections, sessions and wills end, `routing` who gets a message, `delivery` one message to one receiver, `session`
and `retained` what is kept.

Differs: QoS 2, AUTH, shared subscriptions, subscription identifiers, topic aliases from broker to client, and quotas
per second are not implemented; the first four are refused.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from harness.mqtt import handshake, lifetime, routing
from harness.mqtt.authorization import Action, Authorizer, ConnectionInfo, Decision
from harness.mqtt.checks import Fault, payload_fault, properties_fault, representation_fault, topic_name_fault
from harness.mqtt.connection import Connection
from harness.mqtt.events import Decided, DisconnectReason, Refused, shown
from harness.mqtt.message import forwarded
from harness.mqtt.packets import Publish, ReasonCode
from harness.mqtt.state import BrokerState

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from harness.mqtt.events import Event
    from harness.mqtt.options import BrokerOptions
    from harness.mqtt.retained import RetainedMessages
    from harness.mqtt.session import Session

__all__ = ["Action", "Authorizer", "Broker", "ConnectionInfo", "Decision", "PublishResult"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishResult:
    """What became of a message published without a connection.

    Attributes:
        decision: the last answer of the authorizer, None when it was not asked.
        message_id: None when the message was refused.
        reason_code: 0, or the MQTT 5 reason of the refusal.
        because: why it was allowed or refused.
    """

    decision: Decision | None
    message_id: str | None
    reason_code: int
    because: str


class Broker:
    """An MQTT broker without I/O.

    Args:
        options: limits and switches.
        authorizer: decides what connections may do.
        make_id: a new unique text at every call: connection ids, message ids, assigned client ids.
    """

    def __init__(self, *, options: BrokerOptions, authorizer: Authorizer, make_id: Callable[[], str]) -> None:
        self._state = BrokerState(options=options, authorizer=authorizer, make_id=make_id)

    @property
    def options(self) -> BrokerOptions:
        """Its limits and switches."""
        return self._state.options

    @property
    def connections(self) -> Mapping[str, Connection]:
        """The accepted connections by client id."""
        return self._state.connections

    @property
    def open_connections(self) -> Collection[Connection]:
        """Every connection that has not ended, accepted or not."""
        return self._state.open_connections.keys()

    @property
    def sessions(self) -> Mapping[str, Session]:
        """Sessions by client id: those with a connection and those stored."""
        return self._state.sessions

    @property
    def retained(self) -> RetainedMessages:
        """Retained messages by topic name."""
        return self._state.retained

    @property
    def subscription_count(self) -> int:
        """How many subscriptions there are, stored sessions included."""
        return len(self._state.tree)

    def open_connection(
        self, *, principal: object, transport: str, remote: str, server_name: str | None, now: float
    ) -> Connection:
        """Take in a new peer; it has the connect timeout to send its CONNECT.

        Args:
            principal: what the listener authenticated; the authorizer understands it.
            transport: for example ``mqtts`` or ``wss``.
            remote: the peer's address, as text.
            server_name: the name it asked for in TLS, None without one.
            now: the time.
        """
        self._state.now = now
        info = ConnectionInfo(
            connection_id=self._state.make_id(),
            principal=principal,
            transport=transport,
            remote=remote,
            server_name=server_name,
        )
        connection = Connection(self._state, info, now)
        self._state.open_connections[connection] = None
        handshake.schedule_connect_timeout(connection, now)
        return connection

    def publish(self, publish: Publish, *, info: ConnectionInfo, now: float) -> PublishResult:
        """Publish for somebody without an MQTT connection, checked and authorised as a PUBLISH is.

        Args:
            publish: its packet id and topic alias mean nothing here.
            info: who; with an empty client id.
            now: the time.

        Source: AWS IoT Core, "HTTPS publish" and API ``Publish`` of the data plane.
        """
        state = self._state
        state.now = now
        if fault := self._fault_of(publish):
            state.events.append(
                Refused(
                    info=info,
                    packet="publish",
                    resource=shown(publish.topic_name),
                    reason_code=fault.reason_code,
                    because=fault.because,
                )
            )
            return PublishResult(decision=None, message_id=None, reason_code=fault.reason_code, because=fault.because)
        decision = self._decide(info, "Publish", publish.topic_name)
        if decision.allowed and publish.retain:
            decision = self._decide(info, "RetainPublish", publish.topic_name)
        if not decision.allowed:
            code = ReasonCode.NOT_AUTHORIZED
            return PublishResult(decision=decision, message_id=None, reason_code=code, because=decision.because)
        properties = forwarded(publish.properties, state.options)
        message_id = routing.submit(state, replace(publish, properties=properties), info=info, now=now)
        return PublishResult(decision=decision, message_id=message_id, reason_code=0, because=decision.because)

    def publish_from_broker(self, topic_name: str, payload: bytes, now: float) -> str:
        """Publish as the broker itself, at QoS 1: lifecycle events, for example.

        Publish is not authorised, Receive is.

        Args:
            topic_name: valid; may be a reserved one.
            payload: any bytes.
            now: the time.

        Returns:
            The message id.
        """
        self._state.now = now
        publish = Publish(topic_name=topic_name, payload=payload, qos=self._state.options.max_qos)
        return routing.submit(self._state, publish, info=None, now=now)

    def disconnect(
        self,
        client_id: str,
        *,
        reason: DisconnectReason,
        reason_code: int | None,
        now: float,
        send_will: bool = True,
        because: str = "",
    ) -> bool:
        """End a client's connection from the broker's side.

        Args:
            client_id: whose.
            reason: AWS's name for it.
            reason_code: what a DISCONNECT tells an MQTT 5 client; None: hang up without one.
            now: the time.
            send_will: whether its will is published.
            because: for people; composed from the reason when empty.

        Returns:
            False when there is no such client.
        """
        self._state.now = now
        connection = self._state.connections.get(client_id)
        if connection is None:
            return False
        lifetime.end_connection(
            connection,
            now,
            reason=reason,
            reason_code=reason_code,
            because=because or f"the broker ended the connection ({reason.value})",
            send_will=send_will,
        )
        return True

    def reauthenticate(self, is_live: Callable[[object], str | None], now: float) -> None:
        """Look at the principal of every connection again, and end those that are no longer let in.

        Args:
            is_live: given a principal, says why it is no longer valid; None while it is.
            now: the time.
        """
        self._state.now = now
        for connection in list(self._state.open_connections):
            because = is_live(connection.info.principal)
            if because is not None:
                lifetime.end_connection(
                    connection,
                    now,
                    reason=DisconnectReason.AUTH_ERROR,
                    reason_code=ReasonCode.NOT_AUTHORIZED,
                    because=because,
                )

    def next_deadline(self) -> float | None:
        """Say when `tick` is to be called next; None when nothing is due ever."""
        return self._state.timers.next_deadline()

    def tick(self, now: float) -> None:
        """Do what is due: keep-alives, connect timeouts, expiries, delayed wills, retries."""
        self._state.now = now
        self._state.timers.run(now)

    def take_dirty(self) -> Collection[Connection]:
        """Take the connections that have something to send or are to be closed; each once, in order."""
        dirty = dict.fromkeys(self._state.dirty)
        self._state.dirty.clear()
        return dirty.keys()

    def take_events(self) -> list[Event]:
        """Take what happened since the last call, in order."""
        events, self._state.events = self._state.events, []
        return events

    def _decide(self, info: ConnectionInfo, action: Action, resource: str) -> Decision:
        decision = self._state.authorizer.authorize(info, action, resource)
        self._state.events.append(
            Decided(info=info, action=action, resource=resource, allowed=decision.allowed, because=decision.because)
        )
        return decision

    def _fault_of(self, publish: Publish) -> Fault | None:
        options = self._state.options
        if not 0 <= publish.qos <= options.max_qos:
            because = f"the message has QoS {publish.qos}, the highest supported is {options.max_qos}"
            return Fault(ReasonCode.QOS_NOT_SUPPORTED, because)
        fault = (
            topic_name_fault(publish.topic_name, options)
            or payload_fault(publish.payload, options)
            or representation_fault(publish.properties)
            or properties_fault(publish.properties, options)
        )
        if fault is None and publish.retain and not self.retained.has_room_for(publish.topic_name, publish.payload):
            because = f"{publish.topic_name}: there are {options.max_retained_messages} retained messages, the limit"
            return Fault(ReasonCode.QUOTA_EXCEEDED, because)
        return fault
