"""`harness.mqtt.reserved`."""

from __future__ import annotations

import pytest

from harness.mqtt.reserved import counted_part, refuse_publish, refuse_subscribe


@pytest.mark.parametrize(
    ("topic", "counted"),
    [
        ("a/b", "a/b"),
        ("$aws/rules/r/a/b", "a/b"),
        ("$share/group/a/#", "a/#"),
        ("$aws/rules/r", ""),
        ("$aws/things/t/shadow/get", "$aws/things/t/shadow/get"),
    ],
)
def test_limits_count_a_topic_without_its_service_prefix(topic: str, counted: str) -> None:
    """Basic Ingest's and shared subscriptions' own levels are not counted."""
    assert counted_part(topic) == counted


@pytest.mark.parametrize(
    ("topic", "names"),
    [
        ("$aws/rules/r/a", "rules engine"),
        ("$aws/things/t/shadow/update", "shadows"),
        ("$aws/certificates/create/json", "fleet provisioning"),
        ("$aws/provisioning-templates/t/provision/json", "fleet provisioning"),
        ("$aws/commands/things/t/executions", "commands"),
        ("$aws/events/presence/connected/c", "only the broker"),
        ("$SYS/broker", "does not exist"),
        ("$aws", "does not exist"),
    ],
)
def test_nobody_publishes_to_reserved_topics(topic: str, names: str) -> None:
    """Each refusal names what the topic belongs to."""
    assert names in (refuse_publish(topic) or "")


@pytest.mark.parametrize("topic", ["public/a", "a$b", "/$aws/rules/r"])
def test_anybody_publishes_to_other_topics(topic: str) -> None:
    """Only a leading $ reserves a topic."""
    assert refuse_publish(topic) is None
    assert refuse_subscribe(topic) is None


@pytest.mark.parametrize(
    ("topic_filter", "names"),
    [
        ("$aws/rules/r/#", "cannot be subscribed"),
        ("$aws/things/+/shadow/#", "shadows"),
        ("$SYS/#", "does not exist"),
        ("$aws/#", "does not exist"),
    ],
)
def test_nobody_subscribes_to_reserved_filters(topic_filter: str, names: str) -> None:
    """Each refusal names what the filter belongs to."""
    assert names in (refuse_subscribe(topic_filter) or "")


@pytest.mark.parametrize("topic_filter", ["$aws/events/#", "$aws/events/presence/connected/+"])
def test_lifecycle_events_can_be_subscribed_to(topic_filter: str) -> None:
    """Lifecycle events are the reserved family that exists."""
    assert refuse_subscribe(topic_filter) is None
