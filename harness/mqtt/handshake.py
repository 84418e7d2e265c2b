"""CONNECT: who may come in, under which terms, and with which session.

In this order: the client id, what MQTT 5 asks for, the will, the authorizer (Connect, then Publish and RetainPublish
of the will's topic), then an older connection of the same client id is ended, a session is resumed or made, CONNACK
is sent, and behind it what the session holds. Nothing of the older connection or session is touched for a client that
is refused.

Source: MQTT 5.0 §3.1.4, §3.2; MQTT 3.1.1 §3.1.4, §3.2; AWS IoT Core, "MQTT".
Differs: user name and password are not looked at: who the client is, the listener knows.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from harness.mqtt import delivery, lifetime
from harness.mqtt.checks import Fault, payload_fault, properties_fault, topic_name_fault
from harness.mqtt.codec import encode
from harness.mqtt.events import Connected, Decided, DisconnectReason, shown
from harness.mqtt.packets import ConnAck, Properties, ProtocolVersion, ReasonCode
from harness.mqtt.session import Session

if TYPE_CHECKING:
    from harness.errors import ProtocolError
    from harness.mqtt.authorization import Action
    from harness.mqtt.connection import Connection
    from harness.mqtt.options import BrokerOptions
    from harness.mqtt.packets import Connect, Will
    from harness.mqtt.state import BrokerState

_KEEP_ALIVE_FACTOR = 1.5
_V311_UNACCEPTABLE_VERSION = 1
_V311_IDENTIFIER_REJECTED = 2
_V311_SERVER_UNAVAILABLE = 3
_V311_NOT_AUTHORIZED = 5
_LARGEST_ANNOUNCED_PACKET = 268_435_460
_LARGEST_RECEIVE_MAXIMUM = 65_535


class Terms(NamedTuple):
    """What a client asked for, as far as it gets it.

    Attributes:
        keep_alive: seconds, 0 for none.
        session_expiry: seconds the session outlives the connection.
    """

    keep_alive: int
    session_expiry: int


def on_connect(connection: Connection, connect: Connect, now: float) -> None:
    """Take a CONNECT: accept the client or refuse it."""
    state = connection.state
    options = state.options
    info = connection.info
    info.version = connect.version
    info.client_id = connect.client_id
    assigned = None
    if not connect.client_id and (connect.clean_start or connect.version is ProtocolVersion.V5):
        assigned = info.client_id = options.assigned_client_id_prefix + state.make_id()
    elif fault := _client_id_fault(connect.client_id, options):
        info.client_id = shown(connect.client_id)
        _refuse(connection, fault, v311_code=_V311_IDENTIFIER_REJECTED)
        return
    if fault := _request_fault(connect, options):
        _refuse(connection, fault, v311_code=None)
        return
    if connect.will is not None and (fault := _will_fault(connect.will, state)):
        is_qos = fault.reason_code == ReasonCode.QOS_NOT_SUPPORTED
        v311_code = _V311_SERVER_UNAVAILABLE if is_qos and options.qos2_will_v311 == "connack" else None
        _refuse(connection, fault, v311_code=v311_code)
        return
    if not _is_authorised(connection, connect.will):
        return
    _accept(connection, connect, assigned, now)


def refuse_bytes(connection: Connection, error: ProtocolError) -> None:
    """Refuse a client whose first packet cannot be read. Source: MQTT 5.0 §3.1.4, MQTT 3.1.1 [MQTT-3.1.2-2]."""
    unsupported = error.reason_code == ReasonCode.UNSUPPORTED_PROTOCOL_VERSION
    v311_code = _V311_UNACCEPTABLE_VERSION if unsupported else None
    _refuse(connection, Fault(error.reason_code, str(error)), v311_code=v311_code)


def _refuse(connection: Connection, fault: Fault, *, v311_code: int | None) -> None:
    """Send CONNACK where there is one for it, and close."""
    if connection.version is ProtocolVersion.V5:
        connection.send(encode(ConnAck(reason_code=fault.reason_code), ProtocolVersion.V5))
    elif v311_code is not None:
        connection.send(encode(ConnAck(reason_code=v311_code), ProtocolVersion.V311))
    lifetime.close_unaccepted(connection, fault.reason_code, fault.because)


def _client_id_fault(client_id: str, options: BrokerOptions) -> Fault | None:
    """Source: MQTT 5.0 §3.1.3.1; AWS IoT Core, "Client ID" quota and log reason MALFORMED_CLIENTID."""
    because = None
    size = len(client_id.encode())
    if not client_id:
        because = "an empty client id needs clean_session=1 [MQTT-3.1.3-8]"
    elif size > options.max_client_id_bytes:
        because = f"the client id has {size} bytes, the limit is {options.max_client_id_bytes}"
    elif client_id.startswith(options.assigned_client_id_prefix):
        because = f"client ids that begin with {options.assigned_client_id_prefix} are assigned, not presented"
    elif options.refuse_dollar_client_ids and client_id.startswith("$"):
        because = f"the client id {shown(client_id)} begins with $"
    return None if because is None else Fault(ReasonCode.CLIENT_IDENTIFIER_NOT_VALID, because)


def _request_fault(connect: Connect, options: BrokerOptions) -> Fault | None:
    properties = connect.properties
    if properties.authentication_method is not None:
        because = f"enhanced authentication ({shown(properties.authentication_method)}) is not supported"
        return Fault(ReasonCode.BAD_AUTHENTICATION_METHOD, because)
    size = properties.maximum_packet_size
    if size is not None and size < options.min_client_packet_bytes:
        because = f"Maximum Packet Size is {size}, the least accepted is {options.min_client_packet_bytes}"
        return Fault(ReasonCode.UNSPECIFIED_ERROR, because)
    return None


def _will_fault(will: Will, state: BrokerState) -> Fault | None:
    """Source: MQTT 5.0 §3.2.2.2; AWS IoT Core, "MQTT reason codes", CONNACK 144 and 155."""
    options = state.options
    if will.qos > options.max_qos:
        because = f"the will has QoS {will.qos}, the highest supported is {options.max_qos}"
        return Fault(ReasonCode.QOS_NOT_SUPPORTED, because)
    fault = (
        topic_name_fault(will.topic_name, options)
        or payload_fault(will.payload, options)
        or properties_fault(will.properties, options)
    )
    return None if fault is None else Fault(fault.reason_code, f"the will: {fault.because}")


def _is_authorised(connection: Connection, will: Will | None) -> bool:
    """Ask for Connect, and for the will's topic; refuse the client at the first no."""
    questions: list[tuple[Action, str]] = [("Connect", connection.info.client_id)]
    if will is not None:
        questions.append(("Publish", will.topic_name))
        if will.retain:
            questions.append(("RetainPublish", will.topic_name))
    for action, resource in questions:
        decision = connection.decide(action, resource)
        connection.state.events.append(
            Decided(
                info=connection.info,
                action=action,
                resource=resource,
                allowed=decision.allowed,
                because=decision.because,
            )
        )
        if not decision.allowed:
            tells = connection.state.options.deny_connect_v311 == "connack"
            fault = Fault(ReasonCode.NOT_AUTHORIZED, decision.because)
            _refuse(connection, fault, v311_code=_V311_NOT_AUTHORIZED if tells else None)
            return False
    return True


def _accept(connection: Connection, connect: Connect, assigned: str | None, now: float) -> None:
    state = connection.state
    info = connection.info
    older = state.connections.get(info.client_id)
    if older is not None:
        lifetime.end_connection(
            older,
            now,
            reason=DisconnectReason.DUPLICATE_CLIENTID,
            reason_code=ReasonCode.SESSION_TAKEN_OVER,
            because=f"{info.client_id} connected again from {info.remote}",
        )
    terms = _terms(connect, state.options)
    session, session_present = _take_session(state, connect, info.client_id, now)
    session.expiry_interval = terms.session_expiry
    _attach(connection, session, connect, terms, now)
    acknowledgement = ConnAck(
        session_present=session_present, properties=_announced(connect, terms, assigned, state.options)
    )
    connection.send(encode(acknowledgement, connect.version))
    state.events.append(
        Connected(
            info=info,
            session_present=session_present,
            keep_alive=terms.keep_alive,
            session_expiry=terms.session_expiry,
        )
    )
    for given_up in session.requeue_unacknowledged(sent_after=delivery.given_up_before(state, connection, now)):
        state.events.append(delivery.dropped(given_up.message, info.client_id, "never acknowledged"))
    delivery.release(state, connection, now)


def _terms(connect: Connect, options: BrokerOptions) -> Terms:
    """Settle keep-alive and session expiry.

    Source: MQTT 5.0 §3.1.2.10, §3.1.2.11.2, §3.2.2.3.2, §3.2.2.3.14; MQTT 3.1.1 §3.1.2.4; AWS IoT Core, "Keep-alive"
    and "Persistent session expiry".
    """
    keep_alive = connect.keep_alive or options.keep_alive_default
    if keep_alive:
        keep_alive = max(options.keep_alive_min, min(keep_alive, options.keep_alive_max))
    if connect.version is ProtocolVersion.V5:
        asked = connect.properties.session_expiry_interval or 0
    else:
        asked = 0 if connect.clean_start else options.session_expiry_default
    return Terms(keep_alive, min(asked, options.session_expiry_max))


def _take_session(state: BrokerState, connect: Connect, client_id: str, now: float) -> tuple[Session, bool]:
    """Resume the client's session or make a new one; (session, whether it was there).

    A session belongs to its client id: whoever may connect under it resumes it, whatever principal made it, and what is
    sent is then judged by the new one's permission to receive. AWS says nothing about that.

    Differs: a session of the other protocol version is not resumed, as on AWS.
    """
    stored = state.sessions.get(client_id)
    if stored is not None:
        if stored.version is connect.version and not connect.clean_start:
            if stored.expiry_timer is not None:
                stored.expiry_timer.cancel()
                stored.expiry_timer = None
            if stored.delayed_will is not None:
                stored.delayed_will.timer.cancel()
                stored.delayed_will = None
            return stored, True
        lifetime.end_session(state, stored, now)
    session = state.sessions[client_id] = Session(client_id, connect.version)
    return session, False


def _attach(connection: Connection, session: Session, connect: Connect, terms: Terms, now: float) -> None:
    """Bind connection and session together, and start the clocks."""
    state = connection.state
    options = state.options
    properties = connect.properties
    session.connection = connection
    connection.mark_accepted(session)
    connection.will = connect.will
    connection.session_expiry_asked = properties.session_expiry_interval or 0
    connection.send_maximum = min(properties.receive_maximum or _LARGEST_RECEIVE_MAXIMUM, options.max_inflight)
    connection.max_packet_bytes = properties.maximum_packet_size
    connection.keep_alive = terms.keep_alive
    state.connections[session.client_id] = connection
    state.online_changes += 1
    if connection.keep_alive_timer is not None:
        connection.keep_alive_timer.cancel()
    if terms.keep_alive:
        due = now + terms.keep_alive * _KEEP_ALIVE_FACTOR
        connection.keep_alive_timer = state.timers.schedule(due, partial(_check_keep_alive, connection))
    delivery.schedule_retry(state, connection, now)


def schedule_connect_timeout(connection: Connection, now: float) -> None:
    """Give a new connection so long to send its CONNECT. Source: MQTT 5.0 §3.1."""
    timeout = connection.state.options.connect_timeout
    if timeout is not None:
        because = f"no CONNECT within {timeout:g} s"
        end = partial(lifetime.end_connection, connection, reason=DisconnectReason.CLIENT_ERROR, because=because)
        connection.keep_alive_timer = connection.state.timers.schedule(now + timeout, end)


def _check_keep_alive(connection: Connection, now: float) -> None:
    """End a connection that was silent for one and a half times its keep-alive. Source: MQTT 5.0 [MQTT-3.1.2-22]."""
    due = connection.heard_at + connection.keep_alive * _KEEP_ALIVE_FACTOR
    if due > now:
        connection.keep_alive_timer = connection.state.timers.schedule(due, partial(_check_keep_alive, connection))
        return
    lifetime.end_connection(
        connection,
        now,
        reason=DisconnectReason.MQTT_KEEP_ALIVE_TIMEOUT,
        reason_code=ReasonCode.KEEP_ALIVE_TIMEOUT,
        because=f"nothing heard for one and a half times the keep-alive of {connection.keep_alive} s",
    )


def _announced(connect: Connect, terms: Terms, assigned: str | None, options: BrokerOptions) -> Properties:
    """Put the properties of CONNACK together.

    Source: MQTT 5.0 §3.2.2.3; a CONNACK of AWS IoT Core as its SDKs log it.
    """
    receive_maximum = options.receive_maximum
    max_packet_bytes = options.max_packet_bytes
    return Properties(
        session_expiry_interval=(None if connect.properties.session_expiry_interval is None else terms.session_expiry),
        receive_maximum=receive_maximum if receive_maximum < _LARGEST_RECEIVE_MAXIMUM else None,
        maximum_qos=options.max_qos,
        retain_available=True,
        maximum_packet_size=max_packet_bytes if max_packet_bytes < _LARGEST_ANNOUNCED_PACKET else None,
        topic_alias_maximum=options.topic_alias_maximum or None,
        wildcard_subscription_available=True,
        subscription_identifier_available=False,
        shared_subscription_available=options.shared_subscription_available,
        server_keep_alive=terms.keep_alive,
        assigned_client_identifier=assigned,
    )
