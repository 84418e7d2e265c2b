"""Topic names and topic filters: what is one, and which filter matches which name.

Pure functions over strings; many filters at once are `harness.mqtt.subscriptions`' affair. Limits of a broker
(levels, bytes) and shared subscriptions are not known here.

Source: MQTT 5.0 and 3.1.1, §4.7.
"""

from __future__ import annotations

from harness.errors import ProtocolViolation
from harness.mqtt.packets import ReasonCode
from harness.mqtt.wire import MAX_FIELD_BYTES


def check_topic_name(topic_name: str) -> None:
    """Refuse what is no topic name.

    Args:
        topic_name: at least one character, at most 65,535 bytes of UTF-8, no wildcard, no U+0000.

    Raises:
        ProtocolViolation: it is none; reason code 0x90.

    Source: MQTT 5.0 §4.7.1 [MQTT-4.7.1-1], §4.7.3 [MQTT-4.7.3-1] to [MQTT-4.7.3-3], §3.3.2.1 [MQTT-3.3.2-2].
    """
    reason = _flaw(topic_name)
    if reason is None and ("+" in topic_name or "#" in topic_name):
        reason = "holds a wildcard, [MQTT-3.3.2-2]"
    if reason is not None:
        raise ProtocolViolation(ReasonCode.TOPIC_NAME_INVALID, f"a topic name {reason}")


def check_topic_filter(topic_filter: str) -> None:
    """Refuse what is no topic filter.

    Args:
        topic_filter: as a topic name, but ``+`` may stand for a whole level and ``#`` for all levels that are left.

    Raises:
        ProtocolViolation: it is none; reason code 0x8F.

    Source: MQTT 5.0 §4.7.1.2 [MQTT-4.7.1-1], §4.7.1.3 [MQTT-4.7.1-2], §4.7.3.
    """
    reason = _flaw(topic_filter)
    if reason is None and is_wildcard(topic_filter):
        above, _, last = topic_filter.rpartition("/")
        if "#" in above or ("#" in last and last != "#"):
            reason = "has a # that is not its whole last level, [MQTT-4.7.1-1]"
        elif any("+" in level and level != "+" for level in topic_filter.split("/")):
            reason = "has a + that is not a whole level, [MQTT-4.7.1-2]"
    if reason is not None:
        raise ProtocolViolation(ReasonCode.TOPIC_FILTER_INVALID, f"a topic filter {reason}")


def _flaw(topic: str) -> str | None:
    """Say what is wrong with a topic name or filter apart from its wildcards; None when nothing is."""
    if not topic:
        return "is empty, [MQTT-4.7.3-1]"
    if "\0" in topic:
        return "holds U+0000, [MQTT-4.7.3-2]"
    try:
        size = len(topic) if topic.isascii() else len(topic.encode())
    except UnicodeEncodeError:
        return "holds a surrogate, [MQTT-1.5.4-1]"
    if size > MAX_FIELD_BYTES:
        return f"has {size} bytes, [MQTT-4.7.3-3]"
    return None


def is_wildcard(topic_filter: str) -> bool:
    """Tell whether a topic filter has a wildcard, so that it can match more than the name it spells."""
    return "+" in topic_filter or "#" in topic_filter


def matches(topic_filter: str, topic_name: str, *, parent_matches: bool = True) -> bool:
    """Tell whether a topic filter matches a topic name.

    Args:
        topic_filter: a valid one.
        topic_name: a valid one.
        parent_matches: whether ``sensor/#`` matches ``sensor`` itself.

    Source: MQTT 5.0 §4.7.1, §4.7.2 [MQTT-4.7.2-1].
    Differs: AWS IoT Core is ``parent_matches=False`` (Developer Guide, "MQTT": topic filters).
    """
    if topic_name.startswith("$") and topic_filter.startswith(("+", "#")):
        return False
    wanted = topic_filter.split("/")
    levels = topic_name.split("/")
    if wanted[-1] == "#":
        wanted.pop()
        fewest = len(wanted) if parent_matches or not wanted else len(wanted) + 1
        if len(levels) < fewest:
            return False
    elif len(wanted) != len(levels):
        return False
    return all(one in ("+", level) for one, level in zip(wanted, levels, strict=False))
