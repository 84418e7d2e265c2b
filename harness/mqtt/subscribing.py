"""SUBSCRIBE and UNSUBSCRIBE from a client.

All filters of a SUBSCRIBE are judged before any of them takes effect: where a refusal ends the connection, nothing
was subscribed.

Source: MQTT 5.0 §3.8 to §3.11; AWS IoT Core, "MQTT", reason codes of SUBACK and UNSUBACK.
Differs: shared subscriptions and subscription identifiers are refused.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from harness.errors import ProtocolViolation
from harness.mqtt import delivery, lifetime
from harness.mqtt.checks import Fault, topic_filter_fault
from harness.mqtt.codec import encode
from harness.mqtt.events import Decided, DisconnectReason, Refused, Subscribed, Unsubscribed, shown
from harness.mqtt.packets import ProtocolVersion, ReasonCode, SubAck, UnsubAck
from harness.mqtt.topics import check_topic_filter

if TYPE_CHECKING:
    from harness.mqtt.connection import Connection
    from harness.mqtt.packets import Subscribe, Subscription, Unsubscribe

_FAILURE = 0x80


def on_subscribe(connection: Connection, subscribe: Subscribe, now: float) -> None:
    """Take a SUBSCRIBE: SUBACK with one code per filter, then the retained messages, or the end of the connection."""
    state = connection.state
    options = state.options
    is_v5 = connection.version is ProtocolVersion.V5
    if fault := _packet_fault(connection, subscribe):
        _report(connection, subscribe.subscriptions[0].topic_filter, fault)
        _end(connection, fault, now)
        return
    highest = max(subscription.qos for subscription in subscribe.subscriptions)
    if highest > options.max_qos:
        answer = options.qos2_subscribe_v5 if is_v5 else options.qos2_subscribe_v311
        if answer != "downgrade":
            because = f"SUBSCRIBE asks for QoS {highest}, the highest supported is {options.max_qos}"
            fault = Fault(ReasonCode.QOS_NOT_SUPPORTED, because)
            _report(connection, subscribe.subscriptions[0].topic_filter, fault)
            if answer != "ignore":
                _end(connection, fault, now)
            return
    codes: list[int] = []
    new_filters: set[str] = set()
    for subscription in subscribe.subscriptions:
        fault = _judge(connection, subscription, new_filters)
        if fault is not None and not is_v5 and _closes(connection, fault):
            _end(connection, fault, now)
            return
        codes.append(min(subscription.qos, options.max_qos) if fault is None else fault.reason_code)
    _subscribe(connection, subscribe, codes, now)


def _packet_fault(connection: Connection, subscribe: Subscribe) -> Fault | None:
    """Say what is wrong with the SUBSCRIBE as a whole.

    Source: MQTT 5.0 §3.8.2.1.2, §3.2.2.3.12; AWS IoT Core, "Maximum subscriptions per subscribe request".
    """
    if subscribe.properties.subscription_identifiers:
        because = "SUBSCRIBE has a Subscription Identifier, and CONNACK said that they are not available"
        return Fault(ReasonCode.SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED, because)
    return _count_fault(connection, "SUBSCRIBE", len(subscribe.subscriptions))


def _count_fault(connection: Connection, name: str, count: int) -> Fault | None:
    limit = connection.state.options.max_filters_per_subscribe
    if limit is None or count <= limit:
        return None
    return Fault(ReasonCode.QUOTA_EXCEEDED, f"{name} has {count} topic filters, the limit is {limit}")


def _judge(connection: Connection, subscription: Subscription, new_filters: set[str]) -> Fault | None:
    """Decide about one filter, and say in an event why not."""
    state = connection.state
    topic_filter = subscription.topic_filter
    fault = topic_filter_fault(subscription, state.options)
    if fault is None:
        decision = connection.decide("Subscribe", topic_filter)
        state.events.append(
            Decided(
                info=connection.info,
                action="Subscribe",
                resource=topic_filter,
                allowed=decision.allowed,
                because=decision.because,
            )
        )
        if not decision.allowed:
            return Fault(ReasonCode.NOT_AUTHORIZED, decision.because)
        fault = _quota_fault(connection, topic_filter, new_filters)
    if fault is not None:
        _report(connection, topic_filter, fault)
    return fault


def _quota_fault(connection: Connection, topic_filter: str, new_filters: set[str]) -> Fault | None:
    limit = connection.state.options.max_subscriptions
    subscriptions = connection.accepted_session.subscriptions
    if topic_filter in subscriptions:
        return None
    if (
        limit is not None
        and len(subscriptions | dict.fromkeys(new_filters)) >= limit
        and topic_filter not in new_filters
    ):
        return Fault(ReasonCode.QUOTA_EXCEEDED, f"the connection has {limit} subscriptions, the limit")
    new_filters.add(topic_filter)
    return None


def _closes(connection: Connection, fault: Fault) -> bool:
    """Say whether a refused filter ends a 3.1.1 connection."""
    options = connection.state.options
    if fault.reason_code == ReasonCode.NOT_AUTHORIZED:
        return options.deny_subscribe_v311 == "close"
    return fault.reason_code == ReasonCode.TOPIC_FILTER_INVALID and options.invalid_filter_v311 == "close"


def _subscribe(connection: Connection, subscribe: Subscribe, codes: list[int], now: float) -> None:
    state = connection.state
    session = connection.accepted_session
    granted: list[tuple[Subscription, bool]] = []
    for subscription, code in zip(subscribe.subscriptions, codes, strict=True):
        if code < _FAILURE:
            given = replace(subscription, qos=code)
            session.subscriptions[given.topic_filter] = given
            granted.append((given, state.tree.add(given.topic_filter, session, given)))
    acknowledgement = SubAck(packet_id=subscribe.packet_id, reason_codes=tuple(codes))
    connection.send(encode(acknowledgement, session.version))
    answered = tuple(
        (one.topic_filter if code < _FAILURE else shown(one.topic_filter), code)
        for one, code in zip(subscribe.subscriptions, codes, strict=True)
    )
    state.events.append(Subscribed(info=connection.info, granted=answered))
    for given, is_new in granted:
        if given.retain_handling == 0 or (given.retain_handling == 1 and is_new):
            for message in state.retained.matching(given.topic_filter):
                qos = min(given.qos, message.qos)
                delivery.deliver(state, connection, message, qos=qos, now=now)


def on_unsubscribe(connection: Connection, unsubscribe: Unsubscribe, now: float) -> None:
    """Take an UNSUBSCRIBE. Source: MQTT 5.0 §3.10.4, §3.11.3."""
    state = connection.state
    session = connection.accepted_session
    if fault := _count_fault(connection, "UNSUBSCRIBE", len(unsubscribe.topic_filters)):
        _report(connection, unsubscribe.topic_filters[0], fault, packet="unsubscribe")
        _end(connection, fault, now)
        return
    codes: list[int] = []
    told: list[str] = []
    for topic_filter in unsubscribe.topic_filters:
        if session.subscriptions.pop(topic_filter, None) is not None:
            state.tree.remove(topic_filter, session)
            codes.append(ReasonCode.SUCCESS)
            told.append(topic_filter)
            continue
        told.append(shown(topic_filter))
        try:
            check_topic_filter(topic_filter)
        except ProtocolViolation as violation:
            _report(connection, topic_filter, Fault(violation.reason_code, str(violation)), packet="unsubscribe")
            codes.append(ReasonCode.TOPIC_FILTER_INVALID)
        else:
            tells = state.options.report_no_subscription
            codes.append(ReasonCode.NO_SUBSCRIPTION_EXISTED if tells else ReasonCode.SUCCESS)
    acknowledgement = UnsubAck(packet_id=unsubscribe.packet_id, reason_codes=tuple(codes))
    connection.send(encode(acknowledgement, session.version))
    state.events.append(Unsubscribed(info=connection.info, topic_filters=tuple(told)))


def _report(
    connection: Connection,
    topic_filter: str,
    fault: Fault,
    *,
    packet: Literal["subscribe", "unsubscribe"] = "subscribe",
) -> None:
    connection.state.events.append(
        Refused(
            info=connection.info,
            packet=packet,
            resource=shown(topic_filter),
            reason_code=fault.reason_code,
            because=fault.because,
        )
    )


def _end(connection: Connection, fault: Fault, now: float) -> None:
    is_denial = fault.reason_code == ReasonCode.NOT_AUTHORIZED
    lifetime.end_connection(
        connection,
        now,
        reason=DisconnectReason.AUTH_ERROR if is_denial else DisconnectReason.CLIENT_ERROR,
        reason_code=fault.reason_code,
        because=fault.because,
    )
