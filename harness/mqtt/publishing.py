"""PUBLISH from a client: what is accepted, and what it is told when it is not.

Whether a topic name is fine and may be published to is found once per connection and topic and remembered with the
authorizer's answer.

Source: MQTT 5.0 §3.3, §3.4; AWS IoT Core, "MQTT", "Topics" and quotas of the message broker.
Differs: a 3.1.1 client with more unacknowledged messages than the Receive Maximum is served, not throttled.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from harness.mqtt import lifetime, routing
from harness.mqtt.checks import Fault, payload_fault, properties_fault, topic_name_fault
from harness.mqtt.codec import encode
from harness.mqtt.events import Decided, DisconnectReason, Refused, shown
from harness.mqtt.message import forwarded
from harness.mqtt.packets import NO_PROPERTIES, ProtocolVersion, PubAck, ReasonCode

if TYPE_CHECKING:
    from harness.mqtt.authorization import Action, Decision
    from harness.mqtt.connection import Connection
    from harness.mqtt.packets import Publish

_PUBACK = b"\x40\x02"


def on_publish(connection: Connection, publish: Publish, now: float) -> None:
    """Take a PUBLISH: accept it, drop it, refuse it, or end the connection."""
    if fault := _packet_fault(connection, publish):
        _end(connection, publish.topic_name, fault, now)
        return
    state = connection.state
    if publish.qos > state.options.max_qos:
        _refuse_qos(connection, publish, now)
        return
    if publish.properties is not NO_PROPERTIES:
        resolved = _resolve_alias(connection, publish)
        if isinstance(resolved, Fault):
            _end(connection, publish.topic_name, resolved, now)
            return
        publish = replace(publish, topic_name=resolved, properties=forwarded(publish.properties, state.options))
    if not _may_publish(connection, publish, now):
        return
    routing.submit(state, publish, info=connection.info, now=now)
    if publish.packet_id is not None:
        _acknowledge(connection, publish.packet_id)


def _may_publish(connection: Connection, publish: Publish, now: float) -> bool:
    """Check the topic and what the limits say about it, and ask the authorizer; answer the client if it may not."""
    state = connection.state
    options = state.options
    topic_name = publish.topic_name
    fault = properties_fault(publish.properties, options)
    decision = connection.remembered("Publish", topic_name)
    if decision is None and fault is None:
        fault = topic_name_fault(topic_name, options)
    if fault is None and publish.retain and not state.retained.has_room_for(topic_name, publish.payload):
        because = f"{topic_name}: there are {options.max_retained_messages} retained messages, the limit"
        fault = Fault(ReasonCode.QUOTA_EXCEEDED, because)
    if fault is not None:
        _refuse(connection, publish, fault, now)
        return False
    if decision is None:
        decision = connection.decide("Publish", topic_name)
    return _is_allowed(connection, publish, "Publish", decision, now) and (
        not publish.retain
        or _is_allowed(connection, publish, "RetainPublish", connection.decide("RetainPublish", topic_name), now)
    )


def _acknowledge(connection: Connection, packet_id: int) -> None:
    connection.unacknowledged += 1
    connection.send(_PUBACK + packet_id.to_bytes(2, "big"))


def _packet_fault(connection: Connection, publish: Publish) -> Fault | None:
    """Say what is wrong with the packet as such: nothing but the end of the connection answers it.

    Source: MQTT 5.0 §3.3.4 [MQTT-3.3.4-9], §4.9; [MQTT-3.3.4-6]; AWS IoT Core, payload over 128 KB.
    """
    limit = connection.state.options.receive_maximum
    if publish.qos and connection.unacknowledged >= limit and connection.version is ProtocolVersion.V5:
        because = f"more than {limit} unacknowledged messages, the Receive Maximum"
        return Fault(ReasonCode.RECEIVE_MAXIMUM_EXCEEDED, because)
    if publish.properties.subscription_identifiers:
        return Fault(ReasonCode.PROTOCOL_ERROR, "a client's PUBLISH has a Subscription Identifier [MQTT-3.3.4-6]")
    return payload_fault(publish.payload, connection.state.options)


def _resolve_alias(connection: Connection, publish: Publish) -> str | Fault:
    """Find the topic name of a PUBLISH that has properties. Source: MQTT 5.0 §3.3.2.3.4 [MQTT-3.3.2-7..12]."""
    alias = publish.properties.topic_alias
    if alias is None:
        return publish.topic_name
    limit = connection.state.options.topic_alias_maximum
    if not 1 <= alias <= limit:
        because = f"topic alias {alias} is not between 1 and the Topic Alias Maximum of {limit}"
        return Fault(ReasonCode.TOPIC_ALIAS_INVALID, because)
    if publish.topic_name:
        connection.aliases[alias] = publish.topic_name
        return publish.topic_name
    topic_name = connection.aliases.get(alias)
    if topic_name is None:
        return Fault(ReasonCode.PROTOCOL_ERROR, f"topic alias {alias} was never set on this connection")
    return topic_name


def _is_allowed(connection: Connection, publish: Publish, action: Action, decision: Decision, now: float) -> bool:
    connection.state.events.append(
        Decided(
            info=connection.info,
            action=action,
            resource=publish.topic_name,
            allowed=decision.allowed,
            because=decision.because,
        )
    )
    if not decision.allowed:
        _deny(connection, publish, decision.because, now)
    return decision.allowed


def _deny(connection: Connection, publish: Publish, because: str, now: float) -> None:
    """Answer a PUBLISH that is not authorised. Source: MQTT 5.0 §3.4.2.1, 3.1.1 §3.3.5; AWS as the options say."""
    options = connection.state.options
    if connection.version is not ProtocolVersion.V5:
        if options.deny_publish_v311 == "close":
            _hang_up(connection, ReasonCode.NOT_AUTHORIZED, because, now)
        elif publish.packet_id is not None:
            _acknowledge(connection, publish.packet_id)
    elif publish.packet_id is None:
        if options.deny_publish_v5_qos0 == "disconnect":
            _hang_up(connection, ReasonCode.NOT_AUTHORIZED, because, now)
    elif options.deny_publish_v5_qos1 == "puback":
        connection.unacknowledged += 1
        _puback(connection, publish.packet_id, ReasonCode.NOT_AUTHORIZED)
    else:
        _hang_up(connection, ReasonCode.NOT_AUTHORIZED, because, now)


def _refuse(connection: Connection, publish: Publish, fault: Fault, now: float) -> None:
    """Answer a PUBLISH that breaks a limit: PUBACK with the reason where there is one, else the connection ends."""
    _report(connection, publish.topic_name, fault)
    if connection.version is ProtocolVersion.V5 and publish.packet_id is not None:
        connection.unacknowledged += 1
        _puback(connection, publish.packet_id, fault.reason_code)
    else:
        _hang_up(connection, fault.reason_code, fault.because, now)


def _refuse_qos(connection: Connection, publish: Publish, now: float) -> None:
    options = connection.state.options
    because = f"PUBLISH has QoS {publish.qos}, the highest supported is {options.max_qos}"
    fault = Fault(ReasonCode.QOS_NOT_SUPPORTED, because)
    _report(connection, publish.topic_name, fault)
    is_v5 = connection.version is ProtocolVersion.V5
    answer = options.qos2_publish_v5 if is_v5 else options.qos2_publish_v311
    if answer != "ignore":
        _hang_up(connection, fault.reason_code, because, now)


def _end(connection: Connection, topic_name: str, fault: Fault, now: float) -> None:
    _report(connection, topic_name, fault)
    _hang_up(connection, fault.reason_code, fault.because, now)


def _report(connection: Connection, topic_name: str, fault: Fault) -> None:
    connection.state.events.append(
        Refused(
            info=connection.info,
            packet="publish",
            resource=shown(topic_name),
            reason_code=fault.reason_code,
            because=fault.because,
        )
    )


def _hang_up(connection: Connection, reason_code: int, because: str, now: float) -> None:
    is_denial = reason_code == ReasonCode.NOT_AUTHORIZED
    lifetime.end_connection(
        connection,
        now,
        reason=DisconnectReason.AUTH_ERROR if is_denial else DisconnectReason.CLIENT_ERROR,
        reason_code=reason_code,
        because=because,
    )


def _puback(connection: Connection, packet_id: int, reason_code: int) -> None:
    connection.send(encode(PubAck(packet_id=packet_id, reason_code=reason_code), ProtocolVersion.V5))
