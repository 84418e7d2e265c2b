"""The control packets of MQTT 3.1.1 and 5 as values.

One class for both versions: what only MQTT 5 has (properties, most reason codes) stays empty for 3.1.1. How they look
on the wire lives in `harness.mqtt.codec`; what a broker does with them in `harness.mqtt.broker`. Treat all of them as
immutable.

`Properties`, `Publish` and `PubAck` are not frozen: they are made once per message and once per delivery, and frozen
dataclasses take 5.0, 2.6 and 2.6 times as long to make (4.4 against 0.87, 0.83 against 0.32 and 0.43 against 0.16
microseconds, CPython 3.11).

Source: MQTT 3.1.1 and MQTT 5.0, chapters 2 and 3.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum


class ProtocolVersion(IntEnum):
    """Protocol level of CONNECT. Source: MQTT 5.0 §3.1.2.2."""

    V311 = 4
    V5 = 5


class PacketType(IntEnum):
    """Control packet types. Source: MQTT 5.0 §2.1.2."""

    CONNECT = 1
    CONNACK = 2
    PUBLISH = 3
    PUBACK = 4
    PUBREC = 5
    PUBREL = 6
    PUBCOMP = 7
    SUBSCRIBE = 8
    SUBACK = 9
    UNSUBSCRIBE = 10
    UNSUBACK = 11
    PINGREQ = 12
    PINGRESP = 13
    DISCONNECT = 14
    AUTH = 15


class ReasonCode(IntEnum):
    """Reason codes of MQTT 5. Source: MQTT 5.0 §2.4."""

    SUCCESS = 0x00
    GRANTED_QOS_1 = 0x01
    GRANTED_QOS_2 = 0x02
    DISCONNECT_WITH_WILL = 0x04
    NO_MATCHING_SUBSCRIBERS = 0x10
    NO_SUBSCRIPTION_EXISTED = 0x11
    CONTINUE_AUTHENTICATION = 0x18
    REAUTHENTICATE = 0x19
    UNSPECIFIED_ERROR = 0x80
    MALFORMED_PACKET = 0x81
    PROTOCOL_ERROR = 0x82
    IMPLEMENTATION_SPECIFIC_ERROR = 0x83
    UNSUPPORTED_PROTOCOL_VERSION = 0x84
    CLIENT_IDENTIFIER_NOT_VALID = 0x85
    BAD_USER_NAME_OR_PASSWORD = 0x86
    NOT_AUTHORIZED = 0x87
    SERVER_UNAVAILABLE = 0x88
    SERVER_BUSY = 0x89
    BANNED = 0x8A
    SERVER_SHUTTING_DOWN = 0x8B
    BAD_AUTHENTICATION_METHOD = 0x8C
    KEEP_ALIVE_TIMEOUT = 0x8D
    SESSION_TAKEN_OVER = 0x8E
    TOPIC_FILTER_INVALID = 0x8F
    TOPIC_NAME_INVALID = 0x90
    PACKET_IDENTIFIER_IN_USE = 0x91
    PACKET_IDENTIFIER_NOT_FOUND = 0x92
    RECEIVE_MAXIMUM_EXCEEDED = 0x93
    TOPIC_ALIAS_INVALID = 0x94
    PACKET_TOO_LARGE = 0x95
    MESSAGE_RATE_TOO_HIGH = 0x96
    QUOTA_EXCEEDED = 0x97
    ADMINISTRATIVE_ACTION = 0x98
    PAYLOAD_FORMAT_INVALID = 0x99
    RETAIN_NOT_SUPPORTED = 0x9A
    QOS_NOT_SUPPORTED = 0x9B
    USE_ANOTHER_SERVER = 0x9C
    SERVER_MOVED = 0x9D
    SHARED_SUBSCRIPTIONS_NOT_SUPPORTED = 0x9E
    CONNECTION_RATE_EXCEEDED = 0x9F
    MAXIMUM_CONNECT_TIME = 0xA0
    SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED = 0xA1
    WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED = 0xA2


@dataclass(slots=True, kw_only=True, unsafe_hash=True)
class Properties:
    """Every property of MQTT 5; None (or an empty tuple) where the packet does not carry it.

    Integers are plain integers of the property's wire size, booleans are the one-byte 0/1 properties.
    Which packet may carry which property is checked by the codec.

    Source: MQTT 5.0 §2.2.2.2.
    """

    payload_format_indicator: int | None = None
    message_expiry_interval: int | None = None
    content_type: str | None = None
    response_topic: str | None = None
    correlation_data: bytes | None = None
    subscription_identifiers: tuple[int, ...] = ()
    session_expiry_interval: int | None = None
    assigned_client_identifier: str | None = None
    server_keep_alive: int | None = None
    authentication_method: str | None = None
    authentication_data: bytes | None = None
    request_problem_information: bool | None = None
    will_delay_interval: int | None = None
    request_response_information: bool | None = None
    response_information: str | None = None
    server_reference: str | None = None
    reason_string: str | None = None
    receive_maximum: int | None = None
    topic_alias_maximum: int | None = None
    topic_alias: int | None = None
    maximum_qos: int | None = None
    retain_available: bool | None = None
    user_properties: tuple[tuple[str, str], ...] = ()
    maximum_packet_size: int | None = None
    wildcard_subscription_available: bool | None = None
    subscription_identifier_available: bool | None = None
    shared_subscription_available: bool | None = None


NO_PROPERTIES = Properties()


@dataclass(frozen=True, slots=True, kw_only=True)
class Will:
    """The message a broker publishes when a connection ends without DISCONNECT.

    Source: MQTT 5.0 §3.1.3.2 to §3.1.3.4.
    """

    topic_name: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    properties: Properties = NO_PROPERTIES


@dataclass(frozen=True, slots=True, kw_only=True)
class Connect:
    """CONNECT. ``clean_start`` is Clean Start in MQTT 5 and Clean Session in 3.1.1: two meanings, one bit.

    Source: §3.1.
    """

    client_id: str
    version: ProtocolVersion = ProtocolVersion.V5
    clean_start: bool = True
    keep_alive: int = 0
    username: str | None = None
    password: bytes | None = None
    will: Will | None = None
    properties: Properties = NO_PROPERTIES


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnAck:
    """CONNACK. ``reason_code`` is a return code (0 to 5) in 3.1.1. Source: §3.2."""

    session_present: bool = False
    reason_code: int = 0
    properties: Properties = NO_PROPERTIES


@dataclass(slots=True, kw_only=True, unsafe_hash=True)
class Publish:
    """PUBLISH. ``packet_id`` is None exactly when ``qos`` is 0; ``topic_name`` may be empty with a topic alias.

    Source: §3.3.
    """

    topic_name: str
    payload: bytes = b""
    qos: int = 0
    retain: bool = False
    dup: bool = False
    packet_id: int | None = None
    properties: Properties = NO_PROPERTIES


@dataclass(slots=True, kw_only=True, unsafe_hash=True)
class PubAck:
    """PUBACK. Source: §3.4."""

    packet_id: int
    reason_code: int = 0
    properties: Properties = NO_PROPERTIES


@dataclass(frozen=True, slots=True, kw_only=True)
class PubRec:
    """PUBREC. Source: §3.5."""

    packet_id: int
    reason_code: int = 0
    properties: Properties = NO_PROPERTIES


@dataclass(frozen=True, slots=True, kw_only=True)
class PubRel:
    """PUBREL. Source: §3.6."""

    packet_id: int
    reason_code: int = 0
    properties: Properties = NO_PROPERTIES


@dataclass(frozen=True, slots=True, kw_only=True)
class PubComp:
    """PUBCOMP. Source: §3.7."""

    packet_id: int
    reason_code: int = 0
    properties: Properties = NO_PROPERTIES


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """One filter of a SUBSCRIBE with its options (only ``qos`` exists in 3.1.1). Source: §3.8.3.1."""

    topic_filter: str
    qos: int = 0
    no_local: bool = False
    retain_as_published: bool = False
    retain_handling: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscribe:
    """SUBSCRIBE; at least one subscription. Source: §3.8."""

    packet_id: int
    subscriptions: tuple[Subscription, ...]
    properties: Properties = NO_PROPERTIES


@dataclass(frozen=True, slots=True, kw_only=True)
class SubAck:
    """SUBACK; one code per filter, in order. Source: §3.9."""

    packet_id: int
    reason_codes: tuple[int, ...]
    properties: Properties = NO_PROPERTIES


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsubscribe:
    """UNSUBSCRIBE; at least one filter. Source: §3.10."""

    packet_id: int
    topic_filters: tuple[str, ...]
    properties: Properties = NO_PROPERTIES


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsubAck:
    """UNSUBACK; in MQTT 5 one code per filter, in 3.1.1 none. Source: §3.11."""

    packet_id: int
    reason_codes: tuple[int, ...] = ()
    properties: Properties = NO_PROPERTIES


@dataclass(frozen=True, slots=True)
class PingReq:
    """PINGREQ. Source: §3.12."""


@dataclass(frozen=True, slots=True)
class PingResp:
    """PINGRESP. Source: §3.13."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disconnect:
    """DISCONNECT. Source: §3.14."""

    reason_code: int = 0
    properties: Properties = NO_PROPERTIES


@dataclass(frozen=True, slots=True, kw_only=True)
class Auth:
    """AUTH (MQTT 5 only). Source: §3.15."""

    reason_code: int = 0
    properties: Properties = field(default=NO_PROPERTIES)


Packet = (
    Connect
    | ConnAck
    | Publish
    | PubAck
    | PubRec
    | PubRel
    | PubComp
    | Subscribe
    | SubAck
    | Unsubscribe
    | UnsubAck
    | PingReq
    | PingResp
    | Disconnect
    | Auth
)
