"""What happened in the broker, as values, in order.

The shell takes them with `Broker.take_events` once per loop turn and makes its trace, its lifecycle messages and its
rule evaluations from them. Nothing here is needed to run MQTT.

Every refusal says in ``because``, for people, what was wrong. Events are kept long after the packets they tell of, so
what a peer wrote and the broker refused is in them as `shown` cuts it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from harness.mqtt.authorization import Action, ConnectionInfo
    from harness.mqtt.packets import Properties

MAX_SHOWN_CHARACTERS: Final = 512


def shown(text: str) -> str:
    """Return a peer's text as a refusal quotes it: at most `MAX_SHOWN_CHARACTERS` of it."""
    return text if len(text) <= MAX_SHOWN_CHARACTERS else f"{text[:MAX_SHOWN_CHARACTERS]}…"


class DisconnectReason(StrEnum):
    """Why a connection ended, by AWS's names. Source: AWS IoT Core, "Lifecycle events", disconnectReason."""

    AUTH_ERROR = "AUTH_ERROR"
    CLIENT_INITIATED_DISCONNECT = "CLIENT_INITIATED_DISCONNECT"
    CLIENT_ERROR = "CLIENT_ERROR"
    CONNECTION_LOST = "CONNECTION_LOST"
    DUPLICATE_CLIENTID = "DUPLICATE_CLIENTID"
    FORBIDDEN_ACCESS = "FORBIDDEN_ACCESS"
    MQTT_KEEP_ALIVE_TIMEOUT = "MQTT_KEEP_ALIVE_TIMEOUT"
    SERVER_ERROR = "SERVER_ERROR"
    SERVER_INITIATED_DISCONNECT = "SERVER_INITIATED_DISCONNECT"
    API_INITIATED_DISCONNECT = "API_INITIATED_DISCONNECT"
    THROTTLED = "THROTTLED"
    WEBSOCKET_TTL_EXPIRATION = "WEBSOCKET_TTL_EXPIRATION"


@dataclass(frozen=True, slots=True, kw_only=True)
class Connected:
    """A CONNECT was accepted.

    Attributes:
        keep_alive: seconds in force, 0 when off.
        session_expiry: seconds the session outlives the connection.
    """

    info: ConnectionInfo
    session_present: bool
    keep_alive: int
    session_expiry: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectRefused:
    """A connection ended before a CONNECT was accepted.

    Attributes:
        reason_code: the MQTT 5 reason for it, None when the peer just went away.
    """

    info: ConnectionInfo
    reason_code: int | None
    because: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Disconnected:
    """An accepted connection ended.

    Attributes:
        reason_code: of the DISCONNECT that was sent or received, None without one.
    """

    info: ConnectionInfo
    reason: DisconnectReason
    reason_code: int | None
    because: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscribed:
    """A SUBSCRIBE was answered.

    Attributes:
        granted: (topic filter, reason code) in the order asked; a code of 0x80 or more is a refusal, explained by a
            `Decided` or `Refused` before, its filter as `shown` cuts it.
    """

    info: ConnectionInfo
    granted: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsubscribed:
    """An UNSUBSCRIBE was answered.

    Attributes:
        topic_filters: in the order asked; those that were not subscribed to as `shown` cuts them.
    """

    info: ConnectionInfo
    topic_filters: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """The authorizer decided. Allowed Receives are not listed: `Delivered` says it."""

    info: ConnectionInfo
    action: Action
    resource: str
    allowed: bool
    because: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The broker itself refused (a part of) a packet: a limit, a reserved topic, something not supported.

    Attributes:
        packet: which one.
        resource: the topic name or filter as `shown` cuts it, empty where there is none.
        reason_code: the MQTT 5 reason for it, whether or not the client could be told.
    """

    info: ConnectionInfo
    packet: Literal["publish", "subscribe", "unsubscribe"]
    resource: str
    reason_code: int
    because: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A message was accepted.

    Attributes:
        info: who published it, None for the broker itself.
        message_id: unique; later events of this message carry it.
        received_at: the ``now`` of its arrival.
        properties: as forwarded: no topic alias.
        is_will: published for a connection that ended.
    """

    info: ConnectionInfo | None
    message_id: str
    topic_name: str
    payload: bytes
    qos: int
    retain: bool
    properties: Properties
    received_at: float
    is_will: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """A message was handed to these clients' connections: one event per message, more for those who had to wait."""

    message_id: str
    topic_name: str
    client_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """A message waits for these clients: they are offline, or have too many unacknowledged or unsent ones."""

    message_id: str
    topic_name: str
    client_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledged:
    """A client refused a QoS 1 message with a PUBACK of 0x80 or more. Successful acknowledgements make no event."""

    client_id: str
    message_id: str
    reason_code: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """A message will not reach a client that subscribed to it."""

    message_id: str
    topic_name: str
    client_id: str
    because: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionExpired:
    """A stored session reached its end; its subscriptions and messages are gone."""

    client_id: str


Event = (
    Connected
    | ConnectRefused
    | Disconnected
    | Subscribed
    | Unsubscribed
    | Decided
    | Refused
    | Published
    | Delivered
    | Queued
    | Acknowledged
    | Dropped
    | SessionExpired
)
