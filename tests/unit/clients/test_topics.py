"""Topics of one test."""

from __future__ import annotations

from harness.clients.topics import Topics


def test_topics_lie_below_the_prefix() -> None:
    """Every topic a test asks for is its own."""
    topics = Topics("public/mine-1/")

    assert topics.broadcast == "public/mine-1/broadcast"
    assert topics.named("a/b") == "public/mine-1/a/b"
    assert topics.everything == "public/mine-1/#"
    assert topics.telemetry == "things/telemetry"


def test_a_rule_of_a_tests_own_has_a_topic_of_its_own() -> None:
    """Beside the stack's telemetry topic, since guests may not go there."""
    topics = Topics("public/mine-1/", telemetry="things/telemetry")

    assert topics.own_telemetry == "things/telemetry/mine-1"
    assert Topics("public/mine-2/").own_telemetry != topics.own_telemetry
