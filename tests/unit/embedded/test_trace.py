"""The trace: ordered, bounded, and made into records only when it is read."""

from __future__ import annotations

from typing import Any

import pytest

from harness.embedded import trace as trace_module
from harness.embedded.trace import FIELDS, Trace
from harness.embedded.trace_records import Descriptions, make_record
from harness.mqtt import events
from harness.mqtt.authorization import ConnectionInfo
from harness.mqtt.packets import NO_PROPERTIES, ProtocolVersion

AT = 1_795_291_262.1234
DESCRIPTIONS = Descriptions(region="eu-west-1", account_id="123456789012")


def numbered(*numbers: int) -> list[dict[str, Any]]:
    """Make sources that say their number."""
    return [{"kind": str(number)} for number in numbers]


def make_trace(**more: Any) -> Trace:
    """Make a trace whose sources are lists of records."""
    return Trace(describe=lambda source: source, **more)


def test_a_record_has_every_field_and_the_time_in_utc() -> None:
    """What a source leaves out is null."""
    trace = make_trace()
    trace.add([{"kind": "connect", "detail": {"a": 1}}], at=AT)

    (record,) = trace.read(0)

    assert list(record) == ["seq", "at", *FIELDS]
    assert (record["seq"], record["at"]) == (1, "2026-11-21T20:01:02.123Z")
    assert (record["kind"], record["detail"], record["topic"]) == ("connect", {"a": 1}, None)


def test_a_reader_gets_what_came_after_the_number_it_names() -> None:
    """Also when that number stands in the middle of a source."""
    trace = make_trace()
    for source in (numbered(1), numbered(2, 3, 4), numbered(5)):
        trace.add(source, at=AT, count=len(source))

    assert trace.last_seq == 5
    for since in range(7):
        assert [(each["seq"], each["kind"]) for each in trace.read(since)] == [
            (number, str(number)) for number in range(since + 1, 6)
        ]


def test_a_source_of_no_records_takes_no_number() -> None:
    """A message delivered to nobody is no delivery."""
    trace = make_trace()

    trace.add([], at=AT, count=0)

    assert trace.last_seq == 0
    assert list(trace.read(0)) == []


def test_the_oldest_records_go_when_there_are_too_many() -> None:
    """Numbers are never used again, so the gap can be seen."""
    trace = make_trace(capacity=3)
    for number in range(1, 6):
        trace.add(numbered(number), at=AT)

    assert [each["seq"] for each in trace.read(0)] == [3, 4, 5]


def test_a_source_larger_than_the_buffer_is_kept_whole() -> None:
    """One message to more clients than there is room for."""
    trace = make_trace(capacity=3)
    trace.add(numbered(1), at=AT)
    trace.add(numbered(2, 3, 4, 5), at=AT, count=4)

    assert [each["seq"] for each in trace.read(0)] == [2, 3, 4, 5]


def test_the_oldest_records_go_when_they_hold_too_much_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Payloads are kept alive by their records, within limits."""
    monkeypatch.setattr(trace_module, "MAX_HELD_BYTES", 100)
    trace = make_trace()
    for number in range(1, 5):
        trace.add(numbered(number), at=AT, held_bytes=40)

    assert [each["seq"] for each in trace.read(0)] == [3, 4]


class Somebody:
    """A principal with a name of its own."""

    display = "arn:somebody"


INFO = ConnectionInfo(
    connection_id="c-1",
    principal=Somebody(),
    transport="wss",
    remote="127.0.0.1:5",
    client_id="public-1",
    version=ProtocolVersion.V5,
)


@pytest.mark.parametrize(
    ("event", "kind", "expected"),
    [
        (
            events.Connected(info=INFO, session_present=True, keep_alive=60, session_expiry=0),
            "connect",
            {"detail.session_present": True, "detail.protocol_version": 5, "detail.transport": "wss"},
        ),
        (
            events.ConnectRefused(info=INFO, reason_code=135, because="no policy"),
            "connect_refused",
            {"detail.reason_code": 135, "detail.because": "no policy"},
        ),
        (
            events.Disconnected(
                info=INFO, reason=events.DisconnectReason.CONNECTION_LOST, reason_code=None, because="lost"
            ),
            "disconnect",
            {"detail.reason": "CONNECTION_LOST", "detail.because": "lost"},
        ),
        (
            events.Subscribed(info=INFO, granted=(("a/#", 1),)),
            "subscribe",
            {"topic": "a/#", "detail.granted": [{"topic_filter": "a/#", "reason_code": 1}]},
        ),
        (events.Subscribed(info=INFO, granted=(("a", 1), ("b", 128))), "subscribe", {"topic": None}),
        (events.Unsubscribed(info=INFO, topic_filters=("a",)), "unsubscribe", {"topic": "a"}),
        (events.Unsubscribed(info=INFO, topic_filters=("a", "b")), "unsubscribe", {"topic": None}),
        (
            events.Decided(info=INFO, action="Connect", resource="public-1", allowed=True, because="statement 1"),
            "decision",
            {
                "topic": None,
                "detail.action": "iot:Connect",
                "detail.allowed": True,
                "detail.resource": "arn:aws:iot:eu-west-1:123456789012:client/public-1",
            },
        ),
        (
            events.Decided(info=INFO, action="Subscribe", resource="a/#", allowed=False, because="nothing allows it"),
            "decision",
            {
                "topic": "a/#",
                "detail.action": "iot:Subscribe",
                "detail.because": "nothing allows it",
                "detail.resource": "arn:aws:iot:eu-west-1:123456789012:topicfilter/a/#",
            },
        ),
        (
            events.Decided(info=INFO, action="RetainPublish", resource="a", allowed=False, because="denied"),
            "decision",
            {"detail.resource": "arn:aws:iot:eu-west-1:123456789012:topic/a"},
        ),
        (
            events.Refused(info=INFO, packet="publish", resource="", reason_code=144, because="too long"),
            "refusal",
            {"topic": None, "detail.reason_code": 144, "detail.because": "too long"},
        ),
        (
            events.Published(
                info=INFO,
                message_id="m-1",
                topic_name="a",
                payload=b"x\xff" * 200,
                qos=1,
                retain=False,
                properties=NO_PROPERTIES,
                received_at=1.0,
            ),
            "publish",
            {"message_id": "m-1", "topic": "a", "detail.payload_bytes": 400, "detail.payload": "x\ufffd" * 128},
        ),
        (
            events.Acknowledged(client_id="public-1", message_id="m-1", reason_code=131),
            "rejected_by_client",
            {"message_id": "m-1", "principal": None, "detail.reason_code": 131},
        ),
        (
            events.Dropped(message_id="m-1", topic_name="a", client_id="public-1", because="too slow"),
            "drop",
            {"message_id": "m-1", "topic": "a", "detail.because": "too slow"},
        ),
        (events.SessionExpired(client_id="public-1"), "session_expired", {}),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str | dict) else "",
)
def test_an_event_reads_as_one_record(event: events.Event, kind: str, expected: dict[str, Any]) -> None:
    """Who, what, about which message, and why."""
    (record,) = DESCRIPTIONS.describe(event)

    assert (record["actor"], record["kind"], record["client_id"]) == ("broker", kind, "public-1")
    if getattr(event, "info", None):
        assert record["principal"] == "arn:somebody"
    for path, value in expected.items():
        outer, _, inner = path.partition(".")
        assert (record[outer][inner] if inner else record[outer]) == value, path


@pytest.mark.parametrize(("event", "kind"), [(events.Delivered, "delivery"), (events.Queued, "queued")])
def test_a_message_on_its_way_reads_as_one_record_per_client(event: Any, kind: str) -> None:
    """So that a test can ask who got it."""
    records = DESCRIPTIONS.describe(event(message_id="m-1", topic_name="a", client_ids=("b", "c")))

    assert [(each["kind"], each["client_id"], each["topic"]) for each in records] == [
        (kind, "b", "a"),
        (kind, "c", "a"),
    ]


def test_a_message_of_the_broker_itself_has_no_client() -> None:
    """A lifecycle event, for example."""
    (record,) = DESCRIPTIONS.describe(
        events.Published(
            info=None,
            message_id="m-1",
            topic_name="a",
            payload=b"",
            qos=0,
            retain=False,
            properties=NO_PROPERTIES,
            received_at=1.0,
        )
    )

    assert (record["client_id"], record["principal"]) == (None, None)


def test_a_record_made_elsewhere_is_kept_as_it_is() -> None:
    """The control plane writes its own."""
    record = make_record("api", actor="control", topic="a", because="asked")

    assert DESCRIPTIONS.describe(record) == [record]
    assert (record["topic"], record["detail"]) == ("a", {"because": "asked"})


def test_a_source_nobody_knows_is_an_error() -> None:
    """A new kind of event needs a description."""
    with pytest.raises(TypeError):
        DESCRIPTIONS.describe(object())
