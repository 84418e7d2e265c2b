"""AWS's numbers become broker options."""

from __future__ import annotations

import pytest

from harness.iot import limits
from harness.iot.limits import broker_options
from harness.iot.quirks import Quirks


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("max_packet_bytes", 149_504),
        ("max_payload_bytes", 131_072),
        ("min_client_packet_bytes", 512),
        ("max_qos", 1),
        ("receive_maximum", 100),
        ("max_inflight", 100),
        ("topic_alias_maximum", 8),
        ("shared_subscription_available", True),
        ("keep_alive_default", 1200),
        ("keep_alive_min", 30),
        ("keep_alive_max", 1200),
        ("session_expiry_default", 3600),
        ("session_expiry_max", 3600),
        ("retry_period_v311", 3600.0),
        ("retry_period_v5", 960.0),
        ("mark_duplicates", False),
        ("message_expiry_min", 1),
        ("message_expiry_max", 604_800),
        ("max_client_id_bytes", 128),
        ("refuse_dollar_client_ids", True),
        ("assigned_client_id_prefix", "$GEN/"),
        ("max_topic_bytes", 256),
        ("max_topic_slashes", 7),
        ("max_filters_per_subscribe", 8),
        ("max_subscriptions", 50),
        ("max_content_type_bytes", 256),
        ("max_correlation_data_bytes", 8192),
        ("max_user_properties_bytes", 8192),
        ("max_retained_messages", 500_000),
        ("parent_matches", False),
        ("retained_on_wildcard", False),
        ("reserved_topics", "aws"),
        ("report_no_subscription", False),
        ("deny_connect_v311", "close"),
        ("deny_publish_v311", "close"),
        ("qos2_publish_v5", "disconnect"),
        ("qos2_subscribe_v5", "disconnect"),
        ("qos2_will_v311", "close"),
    ],
)
def test_the_broker_has_the_documented_quota(option: str, expected: object) -> None:
    """One row per documented number or behaviour."""
    assert getattr(broker_options(Quirks()), option) == expected


@pytest.mark.parametrize(
    ("setting", "option", "expected"),
    [
        ("connect-denied-v311=connack", "deny_connect_v311", "connack"),
        ("publish-denied-v5-qos0=ignore", "deny_publish_v5_qos0", "ignore"),
        ("publish-denied-v5-qos1=disconnect", "deny_publish_v5_qos1", "disconnect"),
        ("subscribe-denied-v311=suback", "deny_subscribe_v311", "suback"),
        ("invalid-filter-v311=suback", "invalid_filter_v311", "suback"),
        ("qos2-publish-v311=close", "qos2_publish_v311", "close"),
        ("qos2-subscribe-v311=downgrade", "qos2_subscribe_v311", "downgrade"),
        ("will-delay=honoured", "will_delay_available", True),
        ("disconnect-with-will=discard", "disconnect_with_will", False),
    ],
)
def test_a_quirk_changes_one_option(setting: str, option: str, expected: object) -> None:
    """Every wire quirk reaches the broker, and its default is something else."""
    assert getattr(broker_options(Quirks()), option) != expected
    assert getattr(broker_options(Quirks().with_values([setting])), option) == expected


def test_numbers_outside_the_broker_are_those_of_the_quota_page() -> None:
    """What the control plane and the listeners ask for."""
    assert limits.MAX_IOT_POLICY_CHARACTERS == 2048
    assert limits.MAX_IOT_POLICY_VERSIONS == 5
    assert limits.MAX_IOT_POLICIES_PER_TARGET == 10
    assert limits.WEBSOCKET_MAX_SECONDS == 86_400
    assert limits.COGNITO_CREDENTIALS_SECONDS == 3600
    assert limits.SIGNATURE_WINDOW_SECONDS == 300
