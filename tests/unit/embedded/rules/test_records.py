"""How rules read in the trace."""

from __future__ import annotations

from typing import Any

import pytest

from harness.embedded.rules.records import (
    ActionOutcome,
    ErrorActionOutcome,
    HttpTry,
    RuleOutcome,
    RuleRecord,
    Subject,
    without_query,
)
from harness.embedded.trace_records import Descriptions

SUBJECT = Subject(client_id="device-1", topic="things/telemetry", message_id="m-1")


@pytest.mark.parametrize(
    ("record", "kind", "detail"),
    [
        (
            RuleOutcome(subject=SUBJECT, rule="r", outcome="not_matched", because="WHERE temp > 1 is false"),
            "rule",
            {"rule": "r", "outcome": "not_matched", "because": "WHERE temp > 1 is false"},
        ),
        (
            HttpTry(
                subject=SUBJECT,
                rule="r",
                number=2,
                url="https://localhost/ingest",
                status=None,
                error="refused",
                milliseconds=1.5,
                again=True,
                answer='{"detail":"no"}',
            ),
            "http_try",
            {
                "rule": "r",
                "number": 2,
                "url": "https://localhost/ingest",
                "status": None,
                "error": "refused",
                "milliseconds": 1.5,
                "again": True,
                "answer": '{"detail":"no"}',
            },
        ),
        (
            ActionOutcome(subject=SUBJECT, rule="r", action="http", outcome="failed", because="gone", tries=3),
            "action",
            {"rule": "r", "action": "http", "outcome": "failed", "because": "gone", "tries": 3},
        ),
        (
            ErrorActionOutcome(subject=SUBJECT, rule="r", action="sqs", outcome="ok", because="sent"),
            "error_action",
            {"rule": "r", "action": "sqs", "outcome": "ok", "because": "sent"},
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_step_of_a_rule_reads_as_one_record(record: RuleRecord, kind: str, detail: dict[str, Any]) -> None:
    """About a client, a topic and a message, written by the rules."""
    (described,) = Descriptions(region="eu-west-1", account_id="123456789012").describe(record)

    assert described == {
        "actor": "rules",
        "kind": kind,
        "client_id": "device-1",
        "principal": None,
        "topic": "things/telemetry",
        "message_id": "m-1",
        "detail": detail,
    }


def test_a_record_tells_what_it_keeps_in_memory() -> None:
    """Reasons quote the message, so a bounded trace counts them."""
    short, long = (
        RuleOutcome(subject=SUBJECT, rule="r", outcome="failed", because="x" * size).held_bytes for size in (10, 1000)
    )

    assert long - short == 990


@pytest.mark.parametrize(
    "url", ["https://h/a?secret=1", "https://h/a#secret", "https://h/a?secret=1#secret", "https://h/a#?secret"]
)
def test_the_trace_shows_no_query(url: str) -> None:
    """That is where secrets are."""
    assert without_query(url) == "https://h/a"
