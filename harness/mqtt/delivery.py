"""One message to one receiver: flow control, storing, acknowledging, sending again.

Every QoS 1 message that cannot leave at once waits in its session, in order. It leaves when it comes to its turn and

* fewer than ``send_maximum`` messages are unacknowledged (the smaller of the client's Receive Maximum and the
broker's own limit),
* the connection has room for its bytes,

and is dropped when by then it has expired, may not be received any more, or is larger than the client's Maximum
Packet Size. QoS 0 never waits: without room it is dropped.

Source: MQTT 5.0 §4.9, §4.4; AWS IoT Core, "MQTT Quality of Service".
Differs: what AWS sends after a resumption at 10 messages a second is sent as fast as the client acknowledges.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from harness.mqtt.events import Acknowledged, Decided, Delivered, Dropped, Queued
from harness.mqtt.message import Outgoing, join_packet
from harness.mqtt.packets import ProtocolVersion

if TYPE_CHECKING:
    from harness.mqtt.connection import Connection
    from harness.mqtt.message import Message
    from harness.mqtt.session import Session
    from harness.mqtt.state import BrokerState

ANY_SIZE = 1 << 62
_PACKET_ID_BYTES = 2


def packet_size(parts: tuple[bytes, bytes], qos: int) -> int:
    """Count the bytes of a packet encoded by `Message.encoded`."""
    head, tail = parts
    return len(head) + len(tail) + (_PACKET_ID_BYTES if qos else 0)


def congested(message: Message, connection: Connection) -> Dropped:
    """Say that a QoS 0 message found no room."""
    return dropped(message, connection.info.client_id, "QoS 0, and the client has too many bytes unsent")


def dropped(message: Message, client_id: str, because: str) -> Dropped:
    """Say that a message will not reach a client."""
    return Dropped(message_id=message.message_id, topic_name=message.topic_name, client_id=client_id, because=because)


def deliver(state: BrokerState, connection: Connection, message: Message, *, qos: int, now: float) -> None:
    """Send a retained message because of a subscription: RETAIN is set. Source: MQTT 5.0 §3.3.1.3 [MQTT-3.3.1-8]."""
    session = connection.accepted_session
    if qos:
        hold(state, connection, Outgoing(message, retain=True), now)
        return
    if not _may_receive(state, connection, message):
        return
    head, _tail = message.encoded(session.version, qos=0, retain=True, now=now)
    if len(head) > (connection.max_packet_bytes or ANY_SIZE):
        state.events.append(too_large(message, connection))
    elif len(head) > connection.room and not connection.has_all_room:
        state.events.append(congested(message, connection))
    else:
        connection.send(head)
        state.events.append(_delivered(message, connection))


def hold(state: BrokerState, connection: Connection, outgoing: Outgoing, now: float) -> None:
    """Queue a QoS 1 message for a connected client, and send what can be sent."""
    session = connection.accepted_session
    if not enqueue(state, session, outgoing, now):
        return
    release(state, connection, now)
    if session.waiting and session.waiting[-1] is outgoing:
        message = outgoing.message
        state.events.append(
            Queued(message_id=message.message_id, topic_name=message.topic_name, client_ids=(session.client_id,))
        )


def enqueue(state: BrokerState, session: Session, outgoing: Outgoing, now: float) -> bool:
    """Queue a QoS 1 message; when the queue is full and nothing in it has expired, drop it and return False."""
    limit = state.options.max_queued_messages
    if len(session.waiting) >= limit:
        for expired in session.discard_expired(now):
            state.events.append(dropped(expired.message, session.client_id, "expired in the queue"))
    if len(session.waiting) >= limit:
        because = f"the session already has {limit} messages queued"
        state.events.append(dropped(outgoing.message, session.client_id, because))
        return False
    session.waiting.append(outgoing)
    return True


def release(state: BrokerState, connection: Connection, now: float) -> None:
    """Send what waits, as far as flow control and room allow."""
    session = connection.accepted_session
    waiting = connection.waiting
    inflight = connection.inflight
    while waiting and len(inflight) < connection.send_maximum:
        outgoing = waiting[0]
        message = outgoing.message
        if message.has_expired(now):
            state.events.append(dropped(message, session.client_id, "expired in the queue"))
        elif _may_receive(state, connection, message):
            parts = message.encoded(session.version, qos=1, retain=outgoing.retain, now=now)
            size = packet_size(parts, 1)
            if size > (connection.max_packet_bytes or ANY_SIZE):
                state.events.append(too_large(message, connection))
            elif size > connection.room and not connection.has_all_room:
                return
            else:
                _transmit(state, connection, outgoing, parts, now)
        waiting.popleft()


def _transmit(
    state: BrokerState, connection: Connection, outgoing: Outgoing, parts: tuple[bytes, bytes], now: float
) -> None:
    inflight = connection.inflight
    packet_id = outgoing.packet_id
    while not packet_id or packet_id in inflight:
        packet_id = state.next_packet_id()
    is_again = outgoing.first_sent_at is not None
    first_sent_at = outgoing.first_sent_at if outgoing.first_sent_at is not None else now
    inflight[packet_id] = Outgoing(outgoing.message, outgoing.retain, packet_id, now, first_sent_at)
    connection.send(join_packet(parts, packet_id, duplicate=is_again and state.options.mark_duplicates))
    state.events.append(_delivered(outgoing.message, connection))


def acknowledge(state: BrokerState, connection: Connection, packet_id: int, *, reason_code: int, now: float) -> None:
    """Take a PUBACK: its message is done, whatever the reason code. An unknown packet id is ignored.

    Source: MQTT 5.0 §3.4, §4.3.2.
    """
    outgoing = connection.inflight.pop(packet_id, None)
    if outgoing is not None and reason_code >= 0x80:
        client_id = connection.info.client_id
        event = Acknowledged(client_id=client_id, message_id=outgoing.message.message_id, reason_code=reason_code)
        state.events.append(event)
    if connection.waiting:
        release(state, connection, now)


def schedule_retry(state: BrokerState, connection: Connection, now: float) -> None:
    """Look again after the retry interval, if there is one."""
    interval = state.options.retry_interval
    if interval is not None:
        connection.retry_timer = state.timers.schedule(now + interval, partial(_retry, state, connection))


def _retry(state: BrokerState, connection: Connection, now: float) -> None:
    """Send again what was not acknowledged for an interval, and give up what was not for the whole period.

    Source: AWS IoT Core, "MQTT Quality of Service": retries happen within a connection too.
    Differs: MQTT 5.0 §4.4 forbids that [MQTT-4.4.0-1]; the spacing of AWS's retries is not documented.
    """
    interval = state.options.retry_interval or 0.0
    oldest = now
    for packet_id, outgoing in list(connection.inflight.items()):
        message = outgoing.message
        if outgoing.first_sent_at is not None and outgoing.first_sent_at <= given_up_before(state, connection, now):
            del connection.inflight[packet_id]
            state.events.append(dropped(message, connection.info.client_id, "never acknowledged"))
        elif now - outgoing.sent_at < interval:
            oldest = min(oldest, outgoing.sent_at)
        else:
            version = connection.accepted_session.version
            parts = message.encoded(version, qos=1, retain=outgoing.retain, now=now)
            if packet_size(parts, 1) <= connection.room:
                connection.inflight[packet_id] = outgoing._replace(sent_at=now)
                connection.send(join_packet(parts, packet_id, duplicate=state.options.mark_duplicates))
    schedule_retry(state, connection, oldest)
    release(state, connection, now)


def given_up_before(state: BrokerState, connection: Connection, now: float) -> float:
    """Say before when a message must have been sent first to be given up now."""
    options = state.options
    is_v5 = connection.version is ProtocolVersion.V5
    period = options.retry_period_v5 if is_v5 else options.retry_period_v311
    return float("-inf") if period is None else now - period


def _may_receive(state: BrokerState, connection: Connection, message: Message) -> bool:
    decision = connection.decide("Receive", message.topic_name)
    if not decision.allowed:
        state.events.append(
            Decided(
                info=connection.info,
                action="Receive",
                resource=message.topic_name,
                allowed=False,
                because=decision.because,
            )
        )
    return decision.allowed


def _delivered(message: Message, connection: Connection) -> Delivered:
    return Delivered(
        message_id=message.message_id, topic_name=message.topic_name, client_ids=(connection.info.client_id,)
    )


def too_large(message: Message, connection: Connection) -> Dropped:
    """Source: MQTT 5.0 §3.1.2.11.4 [MQTT-3.1.2-25]."""
    because = f"larger than the client's Maximum Packet Size of {connection.max_packet_bytes} bytes"
    return dropped(message, connection.info.client_id, because)
