"""Calls to DynamoDB: the item, the table (moto's, in this process), and what each answer means."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from boto3.dynamodb.types import TypeDeserializer

from receiver import dynamodb
from receiver.dynamodb import Table, key_of, make_item
from receiver.waiting import Limits, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from receiver.reading import Row
    from receiver.settings import Settings
    from tests.unit.receiver.store.conftest import FakeDynamo

NUMBERS = ["21.5", "0", "-40", "1E+125", "-1E+125", "1E-130", "9.9999999999999999999999999999999999999E+125", "1E+38"]


@pytest.fixture
def make_table(settings_of: Callable[..., Settings], session: Any) -> Callable[..., Table]:
    """Make the way to a table."""

    def make(*, session: Any = session, **changes: Any) -> Table:
        return Table(settings_of(**changes), connections=4, session=session)

    return make


@pytest.fixture
def write() -> Callable[..., Outcome]:
    """Write rows, patient with a busy machine."""
    return lambda table, *rows: table.write(rows, send_by=time.monotonic() + 60)


def told(outcome: Outcome) -> tuple[str, str, str]:
    """Give kind, code and remedy."""
    assert outcome.failure is not None
    return outcome.failure.kind, outcome.failure.code, outcome.remedy


@pytest.mark.parametrize("number", NUMBERS)
def test_an_item_s_number_is_the_row_s(row_of: Callable[..., Row], number: str) -> None:
    """As boto3 reads it back, which refuses to round."""
    item = make_item(row_of(temp=number, ts=Decimal(number)), "received_at")

    read = {name: TypeDeserializer().deserialize(value) for name, value in item.items()}
    assert read["temperature"] == read["ts"] == Decimal(number)


def test_an_item_holds_what_there_is(row_of: Callable[..., Row]) -> None:
    """The sort key under its name; nothing for what is absent."""
    assert make_item(row_of(), "received_at") == {
        "deviceId": {"S": "d"},
        "received_at": {"S": "2026-11-21T20:01:02.123Z#m"},
        "message_id": {"S": "m"},
        "temperature": {"N": "21.5"},
    }
    assert make_item(row_of(ts="noon", ttl=1), "Time") == {
        "deviceId": {"S": "d"},
        "Time": {"S": "2026-11-21T20:01:02.123Z#m"},
        "message_id": {"S": "m"},
        "temperature": {"N": "21.5"},
        "ts": {"S": "noon"},
        "ttl": {"N": str(1_795_291_262 + 86_400)},
    }


def test_rows_are_in_the_table(
    table: Any, make_table: Callable[..., Table], write: Callable[..., Outcome], row_of: Callable[..., Row]
) -> None:
    """Whatever their texts hold; another try changes nothing."""
    ours = make_table(sort_key="Time")
    rows = [row_of("m1", ts='"Ω"\u2028\\\x00\U0001f321', ttl=30), row_of("m2", ts=Decimal("1795291262.5"))]
    assert write(ours, *rows) == write(ours, *rows) == Outcome()

    assert table.scan()["Items"] == [
        {
            "deviceId": "d",
            "Time": "2026-11-21T20:01:02.123Z#m1",
            "message_id": "m1",
            "temperature": Decimal("21.5"),
            "ts": '"Ω"\u2028\\\x00\U0001f321',
            "ttl": Decimal(1_795_291_262 + 30 * 86_400),
        },
        {
            "deviceId": "d",
            "Time": "2026-11-21T20:01:02.123Z#m2",
            "message_id": "m2",
            "temperature": Decimal("21.5"),
            "ts": Decimal("1795291262.5"),
        },
    ]


def test_a_table_s_arn_is_a_name_of_it(
    dynamo: FakeDynamo, make_table: Callable[..., Table], write: Callable[..., Outcome], row_of: Callable[..., Row]
) -> None:
    """As DynamoDB takes it."""
    arn = "arn:aws:dynamodb:us-east-1:123456789012:table/readings"
    assert write(make_table(table_name=arn, aws_endpoint_url=dynamo.url), row_of()) == Outcome()
    assert dynamo.targets == ["DynamoDB_20120810.BatchWriteItem"]


def test_calls_at_once_do_not_mix(
    dynamo: FakeDynamo, make_table: Callable[..., Table], write: Callable[..., Outcome], row_of: Callable[..., Row]
) -> None:
    """One client between threads, and each call has its own rows."""
    ours = make_table(aws_endpoint_url=dynamo.url)
    calls = [[f"{call}-{row}" for row in range(call + 1)] for call in range(8)]
    with ThreadPoolExecutor(4) as threads:
        outcomes = list(threads.map(lambda ids: write(ours, *map(row_of, ids)), calls))

    assert outcomes == [Outcome()] * 8
    assert sorted(dynamo.calls) == sorted(calls)


def test_a_table_that_is_not_there_is_told(
    table: Any, make_table: Callable[..., Table], write: Callable[..., Outcome], row_of: Callable[..., Row]
) -> None:
    """By kind and code; it will not be there a moment later."""
    outcome = write(make_table(table_name="elsewhere"), row_of())
    assert told(outcome) == ("no_table", "ResourceNotFoundException", "none")


def test_a_table_with_other_keys_is_told(
    table: Any, make_table: Callable[..., Table], write: Callable[..., Outcome], row_of: Callable[..., Row]
) -> None:
    """A wrong SORT_KEY; its words may hold what was in the row."""
    outcome = write(make_table(sort_key="received_at"), row_of())
    assert told(outcome) == ("refused", "ValidationException", "apart")
    assert outcome.failure is not None
    assert outcome.failure.because is None


@pytest.mark.parametrize(
    ("status", "code", "kind", "remedy"),
    [
        (400, "ProvisionedThroughputExceededException", "throttled", "later"),
        (400, "ThrottlingException", "throttled", "later"),
        (400, "RequestLimitExceeded", "throttled", "later"),
        (400, "AccessDeniedException", "denied", "none"),
        (400, "ExpiredTokenException", "denied", "none"),
        (400, "UnrecognizedClientException", "denied", "none"),
        (400, "ItemCollectionSizeLimitExceededException", "refused", "apart"),
        (500, "InternalServerError", "unavailable", "later"),
        (503, "ServiceUnavailable", "unavailable", "later"),
        (400, "SomethingNew", "unavailable", "none"),
    ],
)
def test_an_error_of_dynamodb_is_told_after_one_try(
    dynamo: FakeDynamo,
    make_table: Callable[..., Table],
    write: Callable[..., Outcome],
    row_of: Callable[..., Row],
    status: int,
    code: str,
    kind: str,
    remedy: str,
) -> None:
    """Nothing here tries again; only a denial's words are kept."""
    dynamo.fail(status, code)
    ours = make_table(aws_endpoint_url=dynamo.url)
    outcome = write(ours, row_of())

    assert told(outcome) == (kind, code, remedy)
    assert outcome.keys is None
    assert outcome.failure is not None
    assert outcome.failure.because == ("some words" if code == "AccessDeniedException" else None)
    assert dynamo.targets == ["DynamoDB_20120810.BatchWriteItem"]
    assert write(ours, row_of()) == Outcome()


def test_rows_given_back_are_told(
    dynamo: FakeDynamo, make_table: Callable[..., Table], write: Callable[..., Outcome], row_of: Callable[..., Row]
) -> None:
    """By their keys: the others are written."""
    dynamo.give_back("b", "d")
    outcome = write(make_table(aws_endpoint_url=dynamo.url), *map(row_of, "abcd"))

    assert told(outcome) == ("throttled", "UnprocessedItems", "later")
    assert outcome.keys == {key_of(row_of("b")), key_of(row_of("d"))}
    assert dynamo.ids == ["a", "c"]


def test_rows_given_back_that_were_not_sent_are_no_rows_written(
    dynamo: FakeDynamo, make_table: Callable[..., Table], write: Callable[..., Outcome], row_of: Callable[..., Row]
) -> None:
    """Then nothing is known about those that were."""
    foreign = {"PutRequest": {"Item": make_item(row_of("another"), "received_at")}}
    dynamo.answer(200, json.dumps({"UnprocessedItems": {"readings": [foreign]}}).encode())
    outcome = write(make_table(aws_endpoint_url=dynamo.url), row_of("a"))

    assert told(outcome) == ("throttled", "UnprocessedItems", "later")
    assert outcome.keys is None


@pytest.mark.parametrize("body", [b"{}", b"<html>Welcome</html>", b""])
def test_a_200_of_somebody_else_is_no_row_written(
    dynamo: FakeDynamo,
    make_table: Callable[..., Table],
    write: Callable[..., Outcome],
    row_of: Callable[..., Row],
    body: bytes,
) -> None:
    """DynamoDB always says which rows it gives back, if only that there are none."""
    dynamo.answer(200, body)
    outcome = write(make_table(aws_endpoint_url=dynamo.url), row_of())
    assert told(outcome) == ("unavailable", "NoAnswerOfDynamoDB", "later")


def test_an_answer_that_is_none_is_told(
    dynamo: FakeDynamo, make_table: Callable[..., Table], write: Callable[..., Outcome], row_of: Callable[..., Row]
) -> None:
    """The connection breaks: the row may be there or not."""
    dynamo.answer(0, b"")
    outcome = write(make_table(aws_endpoint_url=dynamo.url), row_of())

    assert told(outcome) == ("unavailable", "ConnectionClosedError", "later")
    assert len(dynamo.calls) == 1


def test_an_answer_that_does_not_come_is_not_waited_for(
    dynamo: FakeDynamo,
    make_table: Callable[..., Table],
    write: Callable[..., Outcome],
    row_of: Callable[..., Row],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So short that there is time for another try."""
    assert dynamodb.READ_SECONDS < Limits().budget < 3
    monkeypatch.setattr(dynamodb, "READ_SECONDS", 0.05)
    dynamo.gate.clear()
    outcome = write(make_table(aws_endpoint_url=dynamo.url), row_of())
    assert told(outcome) == ("unavailable", "ReadTimeoutError", "later")


def test_nobody_there_is_told(
    make_table: Callable[..., Table], write: Callable[..., Outcome], row_of: Callable[..., Row]
) -> None:
    """Port 9 of this machine."""
    outcome = write(make_table(aws_endpoint_url="http://127.0.0.1:9"), row_of())
    assert told(outcome) == ("unavailable", "EndpointConnectionError", "later")


def test_a_call_that_comes_too_late_is_not_sent(
    dynamo: FakeDynamo, make_table: Callable[..., Table], write: Callable[..., Outcome], row_of: Callable[..., Row]
) -> None:
    """Whatever has held it up since; the next one is."""
    ours = make_table(aws_endpoint_url=dynamo.url)
    late = ours.write([row_of("late")], send_by=time.monotonic())

    assert told(late) == ("busy", "WaitedTooLong", "now")
    assert write(ours, row_of("next")) == Outcome()
    assert dynamo.calls == [["next"]]


def test_credentials_that_come_too_late_send_nothing(
    dynamo: FakeDynamo,
    make_table: Callable[..., Table],
    row_of: Callable[..., Row],
    session: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They are asked for while a call is made."""
    clock = [100.0]
    monkeypatch.setattr(dynamodb, "time", SimpleNamespace(monotonic=lambda: clock[0]))

    class Slow:
        def create_client(self, *arguments: Any, **options: Any) -> Any:
            clock[0] += 10.0
            return session.create_client(*arguments, **options)

    ours = make_table(session=Slow(), aws_endpoint_url=dynamo.url)
    assert told(ours.write([row_of()], send_by=102.8)) == ("busy", "WaitedTooLong", "now")
    assert ours.write([row_of()], send_by=112.8) == Outcome()
    assert len(dynamo.calls) == 1


def test_a_process_without_credentials_asks_for_them_again(
    dynamo: FakeDynamo,
    make_table: Callable[..., Table],
    write: Callable[..., Outcome],
    row_of: Callable[..., Row],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What provides them may start later than this process."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    ours = make_table(session=None, aws_endpoint_url=dynamo.url)
    assert told(write(ours, row_of())) == ("unavailable", "PartialCredentialsError", "none")

    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "made-up")
    assert write(ours, row_of()) == Outcome()
