"""Topics that begin with ``$``: which of them exist, and what of a topic counts against the limits.

On AWS everything that begins with ``$`` is reserved. The families that belong to services this broker does not have
yet are refused by name, so that nobody takes silence for an answer.

Source: AWS IoT Core, "Reserved topics" and "Basic Ingest"; Service quotas, "Topic and topic filter".
Differs: shadows, jobs, certificates, provisioning, defender, streams, commands, tunnels and Basic Ingest are refused.
"""

from __future__ import annotations

from harness.mqtt.events import shown

EVENTS_PREFIX = "$aws/events/"
SHARED_PREFIX = "$share/"
_RULES_PREFIX = "$aws/rules/"

_FAMILIES = (
    (_RULES_PREFIX, "Basic Ingest needs the rules engine"),
    ("$aws/things/", "shadows, jobs, defender, streams and tunnels of things"),
    ("$aws/certificates/", "fleet provisioning"),
    ("$aws/provisioning-templates/", "fleet provisioning"),
    ("$aws/commands/", "commands"),
)


def counted_part(topic: str) -> str:
    """Return what of a topic name or filter counts against the limits of length and depth.

    Not counted: ``$aws/rules/<rule>/`` and ``$share/<name>/``.

    Source: Service quotas of AWS IoT Core, "Topic size" and "Maximum number of slashes".
    """
    for prefix in (_RULES_PREFIX, SHARED_PREFIX):
        if topic.startswith(prefix):
            _name, _slash, rest = topic[len(prefix) :].partition("/")
            return rest
    return topic


def refuse_publish(topic_name: str) -> str | None:
    """Say why nobody may publish to a reserved topic; None for a topic that is not reserved."""
    if not topic_name.startswith("$"):
        return None
    if topic_name.startswith(EVENTS_PREFIX):
        return f"{shown(topic_name)}: only the broker publishes to {EVENTS_PREFIX}…"
    return _refuse(topic_name)


def refuse_subscribe(topic_filter: str) -> str | None:
    """Say why nobody may subscribe to a reserved filter; None for all others and lifecycle events."""
    if not topic_filter.startswith("$") or topic_filter.startswith(EVENTS_PREFIX):
        return None
    if topic_filter.startswith(_RULES_PREFIX):
        return f"{shown(topic_filter)}: Basic Ingest topics cannot be subscribed to"
    return _refuse(topic_filter)


def _refuse(topic: str) -> str:
    for prefix, what in _FAMILIES:
        if topic.startswith(prefix):
            return f"{shown(topic)}: reserved topics {prefix}… are not supported yet ({what})"
    return f"{shown(topic)}: topics that begin with $ are reserved, and this one does not exist"
