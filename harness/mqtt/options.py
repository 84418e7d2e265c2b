"""Every number and every switch of the broker.

The defaults are plain MQTT. AWS IoT Core's numbers, and its answers where it leaves the specification, are put together
by `harness.iot.limits.broker_options`; nothing in this package knows them.

Source: MQTT 3.1.1 and 5.0 for the defaults.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

NEVER_EXPIRES = 0xFFFF_FFFF
"""A session expiry interval that never ends. Source: MQTT 5.0 §3.1.2.11.2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerOptions:
    """What a broker allows, how long it keeps things, and how it answers what it does not allow. None means: no limit.

    Attributes:
        max_packet_bytes: largest packet accepted, header included; announced to MQTT 5 clients.
        max_payload_bytes: largest payload of a PUBLISH or will; more ends the connection.
        too_large_reason_code: what an MQTT 5 client is told then.
        min_client_packet_bytes: a CONNECT with a smaller Maximum Packet Size is refused.
        max_qos: 0 or 1: QoS 2 is not implemented.
        receive_maximum: unacknowledged QoS 1 messages a client may have on the way to the broker.
        max_inflight: unacknowledged QoS 1 messages the broker has on the way to one client; a smaller Receive Maximum
            of the client wins.
        topic_alias_maximum: topic aliases a client may set on its connection. The broker itself sets none.
        shared_subscription_available: what CONNACK announces. ``$share/`` filters are refused either way: they are
            not implemented yet.
        connect_timeout: seconds a new connection has to send its CONNECT.
        keep_alive_default: seconds used where the client asks for 0; 0 turns the check off.
        keep_alive_min: smaller values are raised to this, in seconds.
        keep_alive_max: greater values are lowered to this, in seconds.
        session_expiry_default: seconds a 3.1.1 session with clean_session=0 outlives its connection; `NEVER_EXPIRES`
            for no end.
        session_expiry_max: greater Session Expiry Intervals are lowered to this, in seconds.
        max_queued_messages: QoS 1 messages kept for one session beyond those in flight; further ones are dropped.
        retry_interval: seconds after which an unacknowledged QoS 1 message is sent again on the same connection;
            None: only on resumption.
        retry_period_v311: seconds after its first transmission at which an unacknowledged message is given up.
        retry_period_v5: the same for MQTT 5.
        mark_duplicates: whether messages sent again carry DUP=1.
        message_expiry_min: smaller Message Expiry Intervals are raised to this, in seconds.
        message_expiry_max: greater ones are lowered to this, in seconds.
        will_delay_available: whether Will Delay Interval is honoured; else a will is published at once.
        disconnect_with_will: whether a DISCONNECT with another reason than 0x00 publishes the will.
        max_client_id_bytes: longest client id, in UTF-8.
        refuse_dollar_client_ids: whether client ids that begin with ``$`` are refused.
        assigned_client_id_prefix: how the ids begin that the broker assigns; nobody else may present such an id.
        max_topic_bytes: longest topic name or filter, in UTF-8, the prefixes of `harness.mqtt.reserved.counted_part`
            not counted.
        max_topic_slashes: most slashes in one, counted likewise.
        max_filters_per_subscribe: most filters in one SUBSCRIBE or UNSUBSCRIBE; more end the connection.
        max_subscriptions: most subscriptions of one session.
        max_content_type_bytes: longest Content Type.
        max_correlation_data_bytes: longest Correlation Data.
        max_user_properties_bytes: most bytes of User Properties in one packet, keys and values.
        max_retained_messages: topics with a retained message.
        parent_matches: whether ``a/#`` matches ``a``.
        retained_on_wildcard: whether a wildcard subscription gets retained messages.
        reserved_topics: ``aws``: topics that begin with ``$`` are reserved as on AWS; ``none``: they are topics as
            any other.
        report_no_subscription: whether UNSUBACK tells an MQTT 5 client that there was no such subscription (0x11), or
            success.
        deny_connect_v311: a CONNECT that is not authorised: hang up, or CONNACK 5.
        deny_publish_v311: a PUBLISH that is not authorised: hang up, or drop it and acknowledge.
        deny_publish_v5_qos0: DISCONNECT 0x87, or drop it.
        deny_publish_v5_qos1: PUBACK 0x87, or DISCONNECT 0x87.
        deny_subscribe_v311: hang up, or SUBACK 0x80.
        invalid_filter_v311: a filter that is too long, too deep or reserved: hang up, or SUBACK 0x80.
        qos2_publish_v311: a PUBLISH above max_qos: hang up, or ignore it without an answer.
        qos2_publish_v5: DISCONNECT 0x9B, or ignore it.
        qos2_subscribe_v311: grant max_qos, ignore the whole SUBSCRIBE without an answer, or hang up.
        qos2_subscribe_v5: grant max_qos, or DISCONNECT 0x9B.
        qos2_will_v311: hang up, or CONNACK 3.
        max_send_buffer_bytes: bytes a connection may have unsent before QoS 0 is dropped and QoS 1 withheld.
        hard_send_buffer_bytes: unsent bytes at which the connection is ended.
    """

    max_packet_bytes: int = 268_435_460
    max_payload_bytes: int = 268_435_455
    too_large_reason_code: int = 0x95
    min_client_packet_bytes: int = 0
    max_qos: Literal[0, 1] = 1
    receive_maximum: int = 65_535
    max_inflight: int = 65_535
    topic_alias_maximum: int = 0
    shared_subscription_available: bool = False

    connect_timeout: float | None = 10.0
    keep_alive_default: int = 0
    keep_alive_min: int = 0
    keep_alive_max: int = 65_535
    session_expiry_default: int = NEVER_EXPIRES
    session_expiry_max: int = NEVER_EXPIRES
    max_queued_messages: int = 1_000
    retry_interval: float | None = None
    retry_period_v311: float | None = None
    retry_period_v5: float | None = None
    mark_duplicates: bool = True
    message_expiry_min: int = 0
    message_expiry_max: int = 0xFFFF_FFFF
    will_delay_available: bool = True
    disconnect_with_will: bool = True

    max_client_id_bytes: int = 65_535
    refuse_dollar_client_ids: bool = False
    assigned_client_id_prefix: str = "$GEN/"
    max_topic_bytes: int = 65_535
    max_topic_slashes: int | None = None
    max_filters_per_subscribe: int | None = None
    max_subscriptions: int | None = None
    max_content_type_bytes: int | None = None
    max_correlation_data_bytes: int | None = None
    max_user_properties_bytes: int | None = None
    max_retained_messages: int = 100_000
    parent_matches: bool = True
    retained_on_wildcard: bool = True
    reserved_topics: Literal["none", "aws"] = "none"
    report_no_subscription: bool = True

    deny_connect_v311: Literal["close", "connack"] = "connack"
    deny_publish_v311: Literal["close", "acknowledge"] = "close"
    deny_publish_v5_qos0: Literal["disconnect", "ignore"] = "disconnect"
    deny_publish_v5_qos1: Literal["puback", "disconnect"] = "puback"
    deny_subscribe_v311: Literal["close", "suback"] = "suback"
    invalid_filter_v311: Literal["close", "suback"] = "suback"
    qos2_publish_v311: Literal["close", "ignore"] = "close"
    qos2_publish_v5: Literal["disconnect", "ignore"] = "disconnect"
    qos2_subscribe_v311: Literal["downgrade", "ignore", "close"] = "downgrade"
    qos2_subscribe_v5: Literal["downgrade", "disconnect"] = "downgrade"
    qos2_will_v311: Literal["close", "connack"] = "connack"

    max_send_buffer_bytes: int = 4 * 1024 * 1024
    hard_send_buffer_bytes: int = 16 * 1024 * 1024
