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
