"""How connections and sessions end, and what becomes of wills.

============================  ====================
a connection ends by          its will is
============================  ====================
DISCONNECT (0x00)             thrown away
DISCONNECT (else), MQTT 5     published
a WebSocket Close frame       thrown away
the API, asked to prevent it  thrown away
anything else                 published
============================  ====================

Published means: at once; or, where Will Delay Interval is honoured, when the delay or the session is over, whichever
comes first, and not at all if the client resumes its session before.

Source: MQTT 5.0 §3.1.2.5, §3.1.3.2.2, §3.14.4, §4.1; AWS IoT Core, "Lifecycle events", table of disconnect reasons.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from harness.mqtt import routing
from harness.mqtt.codec import encode
from harness.mqtt.delivery import dropped
from harness.mqtt.events import ConnectRefused, Disconnected, DisconnectReason, Refused, SessionExpired
from harness.mqtt.message import forwarded
from harness.mqtt.options import NEVER_EXPIRES
from harness.mqtt.packets import Disconnect, ProtocolVersion, Publish, ReasonCode
from harness.mqtt.session import DelayedWill

if TYPE_CHECKING:
    from harness.mqtt.authorization import ConnectionInfo
    from harness.mqtt.connection import Connection
    from harness.mqtt.packets import Will
    from harness.mqtt.session import Session
    from harness.mqtt.state import BrokerState


def on_disconnect(connection: Connection, disconnect: Disconnect, now: float) -> None:
    """Take a client's DISCONNECT. Source: MQTT 5.0 §3.14, §3.14.2.2.2 [MQTT-3.14.4-3]."""
    expiry = disconnect.properties.session_expiry_interval
    if expiry is not None:
        if expiry and not connection.session_expiry_asked:
            end_connection(
                connection,
                now,
                reason=DisconnectReason.CLIENT_ERROR,
                reason_code=ReasonCode.PROTOCOL_ERROR,
                because="DISCONNECT asks for a session expiry although CONNECT asked for none [MQTT-3.14.2.2.2]",
            )
            return
        connection.accepted_session.expiry_interval = min(expiry, connection.state.options.session_expiry_max)
    discards_will = disconnect.reason_code == ReasonCode.SUCCESS
    end_connection(
        connection,
        now,
        reason=DisconnectReason.CLIENT_INITIATED_DISCONNECT,
        received_code=disconnect.reason_code,
        because=f"the client sent DISCONNECT (0x{disconnect.reason_code:02X})",
        send_will=not discards_will and connection.state.options.disconnect_with_will,
    )


def end_connection(
    connection: Connection,
    now: float,
    *,
    reason: DisconnectReason,
    because: str,
    reason_code: int | None = None,
    received_code: int | None = None,
    send_will: bool = True,
) -> None:
    """End a connection, whatever state it is in; harmless when it has ended.

    Args:
        connection: the one to end.
        now: the time.
        reason: AWS's name for it.
        because: the same, for people.
        reason_code: what a DISCONNECT tells an MQTT 5 client; None: hang up without one.
        received_code: of the client's own DISCONNECT.
        send_will: whether its will, if any, is to be published.
    """
    session = connection.session
    if connection.is_closing:
        return
    if session is None:
        close_unaccepted(connection, reason_code, because)
        return
    state = connection.state
    info = connection.info
    if reason_code is not None and session.version is ProtocolVersion.V5:
        connection.send(encode(Disconnect(reason_code=reason_code), ProtocolVersion.V5))
    connection.close_reason = reason
    _close(connection, because)
    connection.session = None
    session.connection = None
    del state.connections[info.client_id]
    state.online_changes += 1
    code = reason_code if received_code is None else received_code
    state.events.append(Disconnected(info=info, reason=reason, reason_code=code, because=because))
    if connection.will is not None and send_will:
        _let_will_out(state, session, connection.will, info, now)
    if session.expiry_interval == 0:
        end_session(state, session, now)
    elif session.expiry_interval != NEVER_EXPIRES:
        expire = partial(_expire, state, session)
        session.expiry_timer = state.timers.schedule(now + session.expiry_interval, expire)


def close_unaccepted(connection: Connection, reason_code: int | None, because: str) -> None:
    """Close a connection whose CONNECT was not accepted; what it is told has been queued before."""
    state = connection.state
    state.events.append(ConnectRefused(info=connection.info, reason_code=reason_code, because=because))
    _close(connection, because)


def _close(connection: Connection, because: str) -> None:
    state = connection.state
    connection.mark_closed(because)
    for timer in (connection.keep_alive_timer, connection.retry_timer):
        if timer is not None:
            timer.cancel()
    del state.open_connections[connection]


def end_session(state: BrokerState, session: Session, now: float) -> None:
    """Forget a session that has no connection: subscriptions, messages, and a will that was waiting is published."""
    del state.sessions[session.client_id]
    state.tree.remove_all(session)
    session.subscriptions.clear()
    session.inflight.clear()
    for outgoing in session.waiting:
        state.events.append(dropped(outgoing.message, session.client_id, "its session ended before its turn"))
    session.waiting.clear()
    if session.expiry_timer is not None:
        session.expiry_timer.cancel()
    delayed = session.delayed_will
    if delayed is not None:
        delayed.timer.cancel()
        _publish_delayed_will(state, session, now)


def _expire(state: BrokerState, session: Session, now: float) -> None:
    end_session(state, session, now)
    state.events.append(SessionExpired(client_id=session.client_id))


def _let_will_out(state: BrokerState, session: Session, will: Will, info: ConnectionInfo, now: float) -> None:
    delay = (will.properties.will_delay_interval or 0) if state.options.will_delay_available else 0
    if delay and session.expiry_interval:
        timer = state.timers.schedule(now + delay, partial(_publish_delayed_will, state, session))
        session.delayed_will = DelayedWill(will, info, timer)
    else:
        _publish_will(state, will, info, now)


def _publish_delayed_will(state: BrokerState, session: Session, now: float) -> None:
    delayed, session.delayed_will = session.delayed_will, None
    if delayed is not None:  # pragma: no branch - the timer and this attribute go together
        _publish_will(state, delayed.will, delayed.info, now)


def _publish_will(state: BrokerState, will: Will, info: ConnectionInfo, now: float) -> None:
    """Publish a will; it was checked and authorised at CONNECT. Source: AWS IoT Core, "Lifecycle events"."""
    retain = will.retain
    if retain and not state.retained.has_room_for(will.topic_name, will.payload):
        retain = False
        because = f"{will.topic_name}: the will is published, but not retained: there are too many retained messages"
        code = ReasonCode.QUOTA_EXCEEDED
        state.events.append(
            Refused(info=info, packet="publish", resource=will.topic_name, reason_code=code, because=because)
        )
    publish = Publish(
        topic_name=will.topic_name,
        payload=will.payload,
        qos=will.qos,
        retain=retain,
        properties=forwarded(will.properties, state.options),
    )
    routing.submit(state, publish, info=info, now=now, is_will=True)
