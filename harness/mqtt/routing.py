"""From an accepted message to everyone who gets it.

Who gets the messages of a topic is found once and remembered until a subscription, a permission or a connection
changes: the subscription tree and the authorizer are not asked again for each message, let alone for each receiver.
Receivers that get the same bytes form a group; for each of its members a delivery is a few list and dictionary
operations. Whoever cannot be served that way (no room, too much in flight, packet id taken, others waiting before)
goes through `harness.mqtt.delivery`, one by one.

Source: MQTT 5.0 §3.3.4, §4.6.
Differs: overlapping subscriptions of one client get one copy; AWS does not document it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from harness.mqtt import delivery
from harness.mqtt.events import Decided, Delivered, Published, Queued
from harness.mqtt.message import Message, Outgoing, join_packet

if TYPE_CHECKING:
    from harness.mqtt.authorization import ConnectionInfo, Decision
    from harness.mqtt.connection import Connection
    from harness.mqtt.packets import ProtocolVersion, Publish, Subscription
    from harness.mqtt.session import Session
    from harness.mqtt.state import BrokerState

_REMEMBERED_TOPICS = 4_096


class Group(NamedTuple):
    """Connected receivers that get the same bytes.

    Attributes:
        max_packet_bytes: the Maximum Packet Size all of them announced, None for no limit.
        no_local: whether they do not want what they publish themselves.
    """

    version: ProtocolVersion
    qos: int
    retain_as_published: bool
    no_local: bool
    max_packet_bytes: int | None
    connections: list[Connection]


class Receivers(NamedTuple):
    """Who gets the messages of a topic.

    Attributes:
        offline: sessions without a connection that store QoS 1.
        denied: connections that subscribed but may not receive.
        client_ids: of all members of all groups, in order.
    """

    groups: tuple[Group, ...]
    offline: tuple[tuple[Session, Subscription], ...]
    denied: tuple[tuple[ConnectionInfo, Decision], ...]
    client_ids: tuple[str, ...]


def submit(
    state: BrokerState, publish: Publish, *, info: ConnectionInfo | None, now: float, is_will: bool = False
) -> str:
    """Accept a message: keep it if it is to be retained, and hand it to everyone who subscribed.

    Args:
        state: the broker's.
        publish: checked and authorised; see `Message` for what it looks like.
        info: who published it, None for the broker itself.
        now: the time.
        is_will: whether it is the will of a connection that ended.

    Returns:
        Its message id.
    """
    message_id = state.make_id()
    publisher = info.client_id if info is not None else ""
    message = Message(message_id, publish, received_at=now, publisher=publisher)
    state.events.append(
        Published(
            info=info,
            message_id=message_id,
            topic_name=publish.topic_name,
            payload=publish.payload,
            qos=publish.qos,
            retain=publish.retain,
            properties=publish.properties,
            received_at=now,
            is_will=is_will,
        )
    )
    if publish.retain:
        state.retained.store(message)
    _fan_out(state, message, now)
    return message_id


def receivers_of(state: BrokerState, topic_name: str) -> Receivers:
    """Find who gets the messages of a topic, or remember it."""
    stamp = (state.tree.version, state.authorizer.version, state.online_changes)
    if stamp != state.receivers_stamp or len(state.receivers) >= _REMEMBERED_TOPICS:
        state.receivers.clear()
        state.receivers_stamp = stamp
    receivers = state.receivers.get(topic_name)
    if receivers is None:
        receivers = state.receivers[topic_name] = _find_receivers(state, topic_name)
    return receivers


def _find_receivers(state: BrokerState, topic_name: str) -> Receivers:
    groups: dict[tuple[ProtocolVersion, int, bool, bool, int | None], Group] = {}
    offline: list[tuple[Session, Subscription]] = []
    denied: list[tuple[ConnectionInfo, Decision]] = []
    for session, subscription in state.tree.match(topic_name).items():
        connection = session.connection
        if connection is None:
            if subscription.qos:
                offline.append((session, subscription))
            continue
        decision = connection.decide("Receive", topic_name)
        if not decision.allowed:
            denied.append((connection.info, decision))
            continue
        key = (
            session.version,
            subscription.qos,
            subscription.retain_as_published,
            subscription.no_local,
            connection.max_packet_bytes,
        )
        group = groups.get(key)
        if group is None:
            group = groups[key] = Group(*key, [])
        group.connections.append(connection)
    client_ids = tuple(member.info.client_id for group in groups.values() for member in group.connections)
    return Receivers(tuple(groups.values()), tuple(offline), tuple(denied), client_ids)


def _fan_out(state: BrokerState, message: Message, now: float) -> None:
    receivers = receivers_of(state, message.topic_name)
    missed: list[str] = []
    held: list[tuple[Connection, Outgoing]] = []
    packet_id = 0
    for group in receivers.groups:
        members = group.connections
        if group.no_local and message.publisher:
            members = [member for member in members if member.info.client_id != message.publisher]
            if len(members) < len(group.connections):
                missed.append(message.publisher)
        retain = message.retain and group.retain_as_published
        qos = 1 if group.qos and message.qos else 0
        parts = message.encoded(group.version, qos=qos, retain=retain, now=now)
        if delivery.packet_size(parts, qos) > (group.max_packet_bytes or delivery.ANY_SIZE):
            for member in members:
                missed.append(member.info.client_id)
                state.events.append(delivery.too_large(message, member))
        elif qos:
            packet_id = packet_id or state.next_packet_id()
            outgoing = Outgoing(message, retain, packet_id, now, now)
            later = _send_qos1(state, members, join_packet(parts, packet_id), outgoing)
            held += ((member, outgoing) for member in later)
        else:
            for member in _send_qos0(state, members, parts[0]):
                missed.append(member.info.client_id)
                state.events.append(delivery.congested(message, member))
    missed += (member.info.client_id for member, _outgoing in held)
    _report(state, receivers, message, missed)
    for member, outgoing in held:
        delivery.hold(state, member, Outgoing(message, outgoing.retain), now)
    _store(state, receivers, message, now)


def _send_qos0(state: BrokerState, members: list[Connection], data: bytes) -> list[Connection]:
    """Send the same bytes to all who have room; return the others. This loop is the broker's hottest."""
    refused: list[Connection] = []
    size = len(data)
    dirty = state.dirty
    for member in members:
        if member.room < size and not member.has_all_room:
            refused.append(member)
            continue
        member.room -= size
        unsent = member.unsent
        if not unsent:
            dirty.append(member)
        unsent.append(data)
    return refused


def _send_qos1(state: BrokerState, members: list[Connection], data: bytes, outgoing: Outgoing) -> list[Connection]:
    """Send the same bytes to all who have room and the packet id free; return the others."""
    later: list[Connection] = []
    size = len(data)
    packet_id = outgoing.packet_id
    dirty = state.dirty
    for member in members:
        inflight = member.inflight
        if packet_id in inflight or member.waiting or len(inflight) >= member.send_maximum or member.room < size:
            later.append(member)
            continue
        inflight[packet_id] = outgoing
        member.room -= size
        unsent = member.unsent
        if not unsent:
            dirty.append(member)
        unsent.append(data)
    return later


def _report(state: BrokerState, receivers: Receivers, message: Message, missed: list[str]) -> None:
    client_ids = receivers.client_ids
    if missed:
        without = set(missed)
        client_ids = tuple(client_id for client_id in client_ids if client_id not in without)
    if client_ids:
        event = Delivered(message_id=message.message_id, topic_name=message.topic_name, client_ids=client_ids)
        state.events.append(event)
    for info, decision in receivers.denied:
        denial = Decided(
            info=info, action="Receive", resource=message.topic_name, allowed=False, because=decision.because
        )
        state.events.append(denial)


def _store(state: BrokerState, receivers: Receivers, message: Message, now: float) -> None:
    """Keep a QoS 1 message for those who are away. Source: MQTT 5.0 §3.1.2.11.2, §4.1."""
    if not message.qos or not receivers.offline:
        return
    stored = tuple(
        session.client_id
        for session, subscription in receivers.offline
        if not (subscription.no_local and session.client_id == message.publisher)
        and delivery.enqueue(
            state, session, Outgoing(message, message.retain and subscription.retain_as_published), now
        )
    )
    if stored:
        state.events.append(Queued(message_id=message.message_id, topic_name=message.topic_name, client_ids=stored))
