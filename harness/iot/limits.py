"""The numbers of AWS IoT Core, and the broker options they make.

Source: "AWS IoT Core endpoints and quotas" in the AWS general reference (defaults of the large regions); where
another page says it, the name does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.mqtt.options import BrokerOptions

if TYPE_CHECKING:
    from harness.iot.quirks import Quirks

MAX_CLIENT_ID_BYTES: Final = 128
MAX_PAYLOAD_BYTES: Final = 128 * 1024
MAX_PACKET_BYTES: Final = 146 * 1024
"""Announced to MQTT 5 clients."""
MIN_CLIENT_MAX_PACKET_BYTES: Final = 512
"""A client that announces less is refused."""
MAX_TOPIC_BYTES: Final = 256
MAX_TOPIC_SLASHES: Final = 7
MAX_FILTERS_PER_SUBSCRIBE: Final = 8
MAX_SUBSCRIPTIONS_PER_CONNECTION: Final = 50
RECEIVE_MAXIMUM: Final = 100
MAX_INFLIGHT: Final = 100
TOPIC_ALIAS_MAXIMUM: Final = 8
KEEP_ALIVE_MIN_SECONDS: Final = 30
KEEP_ALIVE_MAX_SECONDS: Final = 1200
"""Also the value where a client asks for 0 or more than this. Source: mqtt in the AWS IoT developer guide."""
SESSION_EXPIRY_SECONDS: Final = 3600
"""The default of the quota "Persistent session expiry period": what a client asks for beyond it is lowered. An account
can have it raised to seven days."""
MESSAGE_EXPIRY_MIN_SECONDS: Final = 1
MESSAGE_EXPIRY_MAX_SECONDS: Final = 604_800
RETRY_PERIOD_V311_SECONDS: Final = 3600.0
RETRY_PERIOD_V5_SECONDS: Final = 960.0
MAX_CONTENT_TYPE_BYTES: Final = 256
MAX_CORRELATION_DATA_BYTES: Final = 8 * 1024
MAX_USER_PROPERTIES_BYTES: Final = 8 * 1024
MAX_RETAINED_MESSAGES: Final = 500_000
WEBSOCKET_MAX_SECONDS: Final = 24 * 3600
"""How long a WebSocket connection may last."""
MAX_IOT_POLICY_CHARACTERS: Final = 2048
"""White space not counted."""
MAX_IOT_POLICY_VERSIONS: Final = 5
MAX_IOT_POLICIES_PER_TARGET: Final = 10
MAX_VARIABLE_VALUE_CHARACTERS: Final = 1024
"""A longer attribute is not put in. Source: cert-policy-variables in the AWS IoT developer guide."""
SIGNATURE_WINDOW_SECONDS: Final = 300
"""How far a signature's date may be from now. Inferred from AWS's own error texts."""
COGNITO_CREDENTIALS_SECONDS: Final = 3600
"""Source: authentication-flow in the Amazon Cognito developer guide (enhanced flow)."""

_MQTT5_PACKET_TOO_LARGE_ANSWER: Final = 0x82
"""AWS's list of DISCONNECT codes has no 0x95. Source: mqtt in the AWS IoT developer guide; which one comes instead is
unverified."""


def broker_options(quirks: Quirks) -> BrokerOptions:
    """Return the options of a broker that behaves like AWS IoT Core.

    Args:
        quirks: how it behaves where AWS's answer is not known.

    Differs: an unacknowledged message is sent again when its session is resumed, not on a live connection as well: the
    spacing of AWS's retries is not documented. CONNACK announces shared subscriptions as AWS does; they are refused as
    yet.
    """
    return BrokerOptions(
        max_packet_bytes=MAX_PACKET_BYTES,
        max_payload_bytes=MAX_PAYLOAD_BYTES,
        too_large_reason_code=_MQTT5_PACKET_TOO_LARGE_ANSWER,
        min_client_packet_bytes=MIN_CLIENT_MAX_PACKET_BYTES,
        max_qos=1,
        receive_maximum=RECEIVE_MAXIMUM,
        max_inflight=MAX_INFLIGHT,
        topic_alias_maximum=TOPIC_ALIAS_MAXIMUM,
        shared_subscription_available=True,
        keep_alive_default=KEEP_ALIVE_MAX_SECONDS,
        keep_alive_min=KEEP_ALIVE_MIN_SECONDS,
        keep_alive_max=KEEP_ALIVE_MAX_SECONDS,
        session_expiry_default=SESSION_EXPIRY_SECONDS,
        session_expiry_max=SESSION_EXPIRY_SECONDS,
        retry_period_v311=RETRY_PERIOD_V311_SECONDS,
        retry_period_v5=RETRY_PERIOD_V5_SECONDS,
        mark_duplicates=False,
        message_expiry_min=MESSAGE_EXPIRY_MIN_SECONDS,
        message_expiry_max=MESSAGE_EXPIRY_MAX_SECONDS,
        will_delay_available=quirks.will_delay == "honoured",
        disconnect_with_will=quirks.disconnect_with_will == "publish",
        max_client_id_bytes=MAX_CLIENT_ID_BYTES,
        refuse_dollar_client_ids=True,
        max_topic_bytes=MAX_TOPIC_BYTES,
        max_topic_slashes=MAX_TOPIC_SLASHES,
        max_filters_per_subscribe=MAX_FILTERS_PER_SUBSCRIBE,
        max_subscriptions=MAX_SUBSCRIPTIONS_PER_CONNECTION,
        max_content_type_bytes=MAX_CONTENT_TYPE_BYTES,
        max_correlation_data_bytes=MAX_CORRELATION_DATA_BYTES,
        max_user_properties_bytes=MAX_USER_PROPERTIES_BYTES,
        max_retained_messages=MAX_RETAINED_MESSAGES,
        parent_matches=False,
        retained_on_wildcard=False,
        reserved_topics="aws",
        report_no_subscription=False,
        deny_connect_v311=quirks.connect_denied_v311,
        deny_publish_v311="close",
        deny_publish_v5_qos0=quirks.publish_denied_v5_qos0,
        deny_publish_v5_qos1=quirks.publish_denied_v5_qos1,
        deny_subscribe_v311=quirks.subscribe_denied_v311,
        invalid_filter_v311=quirks.invalid_filter_v311,
        qos2_publish_v311=quirks.qos2_publish_v311,
        qos2_publish_v5="disconnect",
        qos2_subscribe_v311=quirks.qos2_subscribe_v311,
        qos2_subscribe_v5="disconnect",
        qos2_will_v311="close",
    )
