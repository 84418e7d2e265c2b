"""`harness.mqtt.checks`."""

from __future__ import annotations

import pytest

from harness.mqtt.checks import Fault, payload_fault, properties_fault, topic_filter_fault, topic_name_fault
from harness.mqtt.options import BrokerOptions
from harness.mqtt.packets import NO_PROPERTIES, Properties, Subscription

LIMITS = BrokerOptions(
    max_topic_bytes=20,
    max_topic_slashes=3,
    max_payload_bytes=4,
    max_content_type_bytes=3,
    max_correlation_data_bytes=3,
    max_user_properties_bytes=6,
    reserved_topics="aws",
    too_large_reason_code=0x82,
)
PLAIN = BrokerOptions()


@pytest.mark.parametrize("topic", ["a", "a/b/c/d", "ä" * 10, "x" * 20])
def test_a_topic_within_the_limits_is_fine(topic: str) -> None:
    """Twenty bytes and three slashes are allowed where that is the limit."""
    assert topic_name_fault(topic, LIMITS) is None
    assert topic_filter_fault(Subscription(topic_filter=topic), LIMITS) is None


@pytest.mark.parametrize(
    ("topic", "names"),
    [
        ("x" * 21, "21 bytes"),
        ("ä" * 11, "22 bytes"),
        ("a/b/c/d/e", "4 slashes"),
        ("", "empty"),
        ("a\0", "U+0000"),
        ("$SYS/x", "reserved"),
    ],
)
def test_a_topic_beyond_the_limits_is_named(topic: str, names: str) -> None:
    """Too long (in bytes), too deep, no topic at all, or reserved; as a name and as a filter."""
    name_fault = topic_name_fault(topic, LIMITS)
    filter_fault = topic_filter_fault(Subscription(topic_filter=topic), LIMITS)

    assert name_fault is not None
    assert filter_fault is not None
    assert (name_fault.reason_code, filter_fault.reason_code) == (0x90, 0x8F)
    assert names in name_fault.because
    assert names in filter_fault.because


def test_nobody_publishes_to_a_wildcard() -> None:
    """A filter is no topic name [MQTT-3.3.2-2]."""
    assert topic_name_fault("a/+", PLAIN) is not None
    assert topic_filter_fault(Subscription(topic_filter="a/+"), PLAIN) is None


def test_plain_mqtt_reserves_no_topics() -> None:
    """Where topics are not reserved, $ is a character."""
    assert topic_name_fault("$SYS/x", PLAIN) is None
    assert topic_filter_fault(Subscription(topic_filter="$SYS/x"), PLAIN) is None


def test_shared_subscriptions_are_refused_by_name() -> None:
    """The reason code is the specification's, the reason says that they are not there yet."""
    fault = topic_filter_fault(Subscription(topic_filter="$share/g/a"), PLAIN)

    assert fault is not None
    assert fault.reason_code == 0x9E
    assert "shared subscriptions" in fault.because


def test_a_payload_may_be_as_large_as_the_limit() -> None:
    """The limit itself is allowed; one byte more has the reason code of the options."""
    assert payload_fault(b"1234", LIMITS) is None
    assert payload_fault(b"12345", LIMITS) == Fault(0x82, "the payload has 5 bytes, the limit is 4")


@pytest.mark.parametrize(
    "properties",
    [
        NO_PROPERTIES,
        Properties(content_type="abc", correlation_data=b"abc", user_properties=(("ab", "c"), ("d", "ef"))),
        Properties(response_topic="a/b"),
        Properties(response_topic="$aws/things/t"),
    ],
)
def test_properties_within_the_limits_are_fine(properties: Properties) -> None:
    """Limits themselves are allowed; a Response Topic may be a reserved one."""
    assert properties_fault(properties, LIMITS) is None


@pytest.mark.parametrize(
    ("properties", "reason_code", "names"),
    [
        (Properties(content_type="abcd"), 0x97, "Content Type has 4"),
        (Properties(correlation_data=b"abcd"), 0x97, "Correlation Data has 4"),
        (Properties(user_properties=(("ab", "cd"), ("ef", "g"))), 0x97, "User Properties has 7"),
        (Properties(response_topic="a/#"), 0x90, "Response Topic"),
        (Properties(response_topic="a/b/c/d/e"), 0x90, "4 slashes"),
    ],
)
def test_properties_beyond_the_limits_are_named(properties: Properties, reason_code: int, names: str) -> None:
    """Each property has its limit."""
    fault = properties_fault(properties, LIMITS)

    assert fault is not None
    assert fault.reason_code == reason_code
    assert names in fault.because
    assert properties_fault(Properties(content_type="abcd"), PLAIN) is None
