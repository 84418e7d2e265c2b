"""What the broker's limits say about a topic, a will or a message: a fault with its reason code, or nothing.

What is not MQTT at all is the codec's business, who may do what the authorizer's.

Source: MQTT 5.0 §4.7.3; Service quotas of AWS IoT Core, "Message broker" and "Protocol".
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from harness.errors import ProtocolViolation
from harness.mqtt.events import shown
from harness.mqtt.packets import NO_PROPERTIES, ReasonCode
from harness.mqtt.properties import Carrier, encode_properties
from harness.mqtt.reserved import SHARED_PREFIX, counted_part, refuse_publish, refuse_subscribe
from harness.mqtt.topics import check_topic_filter, check_topic_name

if TYPE_CHECKING:
    from harness.mqtt.options import BrokerOptions
    from harness.mqtt.packets import Properties, Subscription


class Fault(NamedTuple):
    """What is wrong, for the client and for people.

    Attributes:
        reason_code: MQTT 5 reason code, 0x80 or more.
        because: names what was wrong and the limit.
    """

    reason_code: int
    because: str


def topic_name_fault(topic_name: str, options: BrokerOptions) -> Fault | None:
    """Say why nobody may publish to a topic name.

    Args:
        topic_name: as sent, aliases resolved.
        options: its limits and whether topics are reserved.
    """
    try:
        check_topic_name(topic_name)
    except ProtocolViolation as violation:
        return Fault(violation.reason_code, str(violation))
    if options.reserved_topics == "aws" and (reserved := refuse_publish(topic_name)):
        return Fault(ReasonCode.TOPIC_NAME_INVALID, reserved)
    if too_large := _size_fault(topic_name, options):
        return Fault(ReasonCode.TOPIC_NAME_INVALID, f"topic {too_large}")
    return None


def topic_filter_fault(subscription: Subscription, options: BrokerOptions) -> Fault | None:
    """Say why nobody may subscribe to a filter.

    Source: MQTT 5.0 §3.9.3.
    Differs: shared subscriptions are refused.
    """
    topic_filter = subscription.topic_filter
    if topic_filter.startswith(SHARED_PREFIX):
        because = f"{shown(topic_filter)}: shared subscriptions ({SHARED_PREFIX}…) are not supported yet"
        return Fault(ReasonCode.SHARED_SUBSCRIPTIONS_NOT_SUPPORTED, because)
    try:
        check_topic_filter(topic_filter)
    except ProtocolViolation as violation:
        return Fault(violation.reason_code, str(violation))
    if options.reserved_topics == "aws" and (reserved := refuse_subscribe(topic_filter)):
        return Fault(ReasonCode.TOPIC_FILTER_INVALID, reserved)
    if too_large := _size_fault(topic_filter, options):
        return Fault(ReasonCode.TOPIC_FILTER_INVALID, f"topic filter {too_large}")
    return None


def _size_fault(topic: str, options: BrokerOptions) -> str | None:
    counted = counted_part(topic)
    size = len(counted.encode())
    if size > options.max_topic_bytes:
        return f"{topic[:64]}… has {size} bytes, the limit is {options.max_topic_bytes}"
    slashes = counted.count("/")
    if options.max_topic_slashes is not None and slashes > options.max_topic_slashes:
        return f"{shown(topic)} has {slashes} slashes, the limit is {options.max_topic_slashes}"
    return None


def payload_fault(payload: bytes, options: BrokerOptions) -> Fault | None:
    """Say that a payload is too large."""
    if len(payload) <= options.max_payload_bytes:
        return None
    because = f"the payload has {len(payload)} bytes, the limit is {options.max_payload_bytes}"
    return Fault(options.too_large_reason_code, because)


def representation_fault(properties: Properties) -> Fault | None:
    """Say which property of a message that did not come as a packet could not be sent in one.

    Such a message would be accepted, and break the connection of everyone who is to get it.

    Source: MQTT 5.0 §1.5.4, §2.2.2.2.
    """
    try:
        encode_properties(replace(properties, topic_alias=None), Carrier.PUBLISH)
    except ValueError as error:
        return Fault(ReasonCode.PROTOCOL_ERROR, f"a property has no representation: {error}")
    return None


def properties_fault(properties: Properties, options: BrokerOptions) -> Fault | None:
    """Say which property of a PUBLISH or a will is too large or no topic.

    Source: Service quotas of AWS IoT Core: "Maximum content type size", "Correlation data size", "User properties".
    """
    if properties is NO_PROPERTIES:
        return None
    if properties.response_topic is not None and (fault := _response_topic_fault(properties, options)):
        return fault
    user_properties = sum(len(name.encode()) + len(value.encode()) for name, value in properties.user_properties)
    sizes = (
        ("Content Type", len((properties.content_type or "").encode()), options.max_content_type_bytes),
        ("Correlation Data", len(properties.correlation_data or b""), options.max_correlation_data_bytes),
        ("User Properties", user_properties, options.max_user_properties_bytes),
    )
    for name, size, limit in sizes:
        if limit is not None and size > limit:
            return Fault(ReasonCode.QUOTA_EXCEEDED, f"{name} has {size} bytes, the limit is {limit}")
    return None


def _response_topic_fault(properties: Properties, options: BrokerOptions) -> Fault | None:
    """Say what is wrong with a Response Topic; it may be a reserved one."""
    response_topic = properties.response_topic or ""
    try:
        check_topic_name(response_topic)
    except ProtocolViolation as violation:
        return Fault(ReasonCode.TOPIC_NAME_INVALID, f"Response Topic: {violation}")
    if too_large := _size_fault(response_topic, options):
        return Fault(ReasonCode.TOPIC_NAME_INVALID, f"Response Topic {too_large}")
    return None
