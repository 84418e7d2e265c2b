"""Rows on their way into DynamoDB: the item, the table (moto's, in this process), and each way to fail."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import boto3
import botocore.session
import pytest
from boto3.dynamodb.types import TypeDeserializer
from moto import mock_aws

from receiver import store as store_module
from receiver.errors import WriteFailed
from receiver.reading import Reading, Row, Stamp, make_row
from receiver.store import DynamoStore, make_item

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from receiver.settings import Settings
    from tests.unit.receiver.conftest import DynamoEndpoint

NUMBERS = ["21.5", "0", "-40", "1E+125", "-1E+125", "1E-130", "9.9999999999999999999999999999999999999E+125", "1E+38"]


def row_of(
    message_id: str = "m", *, temp: str = "21.5", ts: str | Decimal | None = None, ttl: int | None = None
) -> Row:
    """Make a row of device ``d`` at one moment."""
    reading = Reading(device_id="d", temperature=Decimal(temp), ts=ts)
    stamp = Stamp(received_at=datetime(2026, 11, 21, 20, 1, 2, 123_000, tzinfo=UTC), message_id=message_id)
    return make_row(reading, stamp, ttl_days=ttl)


@pytest.fixture(scope="module")
def session() -> Any:
    """One session for all: to read the service's description takes longer than a test."""
    made = botocore.session.Session()
    made.set_credentials("AKIDEXAMPLE", "made-up")
    return made


@pytest.fixture
def table() -> Iterator[Any]:
    """Make the table as the stack does, its sort key under another name."""
    with mock_aws():
        made = (
            boto3.Session("AKIDEXAMPLE", "made-up", region_name="us-east-1")
            .resource("dynamodb")
            .create_table(
                TableName="readings",
                KeySchema=[
                    {"AttributeName": "deviceId", "KeyType": "HASH"},
                    {"AttributeName": "Time", "KeyType": "RANGE"},
                ],
                AttributeDefinitions=[
                    {"AttributeName": "deviceId", "AttributeType": "S"},
                    {"AttributeName": "Time", "AttributeType": "S"},
                ],
                BillingMode="PAY_PER_REQUEST",
            )
        )
        yield made


@pytest.fixture
async def make_store(
    settings_of: Callable[..., Settings], session: Any, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Callable[..., DynamoStore]]:
    """Make stores that are patient with a busy machine, closed at the end."""
    monkeypatch.setattr(store_module, "_PUT_SECONDS", 60.0)
    made: list[DynamoStore] = []

    def make(*, session: Any = session, **changes: Any) -> DynamoStore:
        made.append(DynamoStore(settings_of(**changes), session=session))
        return made[-1]

    yield make
    for store in made:
        await store.close()
        store._threads.shutdown()


@pytest.mark.parametrize("number", NUMBERS)
def test_an_item_s_number_is_the_row_s(number: str) -> None:
    """As boto3 reads it back, which refuses to round."""
    item = make_item(row_of(temp=number, ts=Decimal(number)), "received_at")

    read = {name: TypeDeserializer().deserialize(value) for name, value in item.items()}
    assert read["temperature"] == read["ts"] == Decimal(number)


def test_an_item_holds_what_there_is() -> None:
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


async def test_a_row_is_in_the_table(table: Any, make_store: Callable[..., DynamoStore]) -> None:
    """Once it is put; another try of the same message changes nothing."""
    store = make_store(sort_key="Time")
    store.warm_up()
    store.warm_up()
    await store.put(row_of(ts=Decimal("1795291262.5"), ttl=30))
    await store.put(row_of(ts=Decimal("1795291262.5"), ttl=30))

    assert table.scan()["Items"] == [
        {
            "deviceId": "d",
            "Time": "2026-11-21T20:01:02.123Z#m",
            "message_id": "m",
            "temperature": Decimal("21.5"),
            "ts": Decimal("1795291262.5"),
            "ttl": Decimal(1_795_291_262 + 30 * 86_400),
        }
    ]


async def test_many_rows_at_once_are_all_there(table: Any, make_store: Callable[..., DynamoStore]) -> None:
    """More than there are threads, with one client between them."""
    store = make_store(sort_key="Time")
    await asyncio.gather(*(store.put(row_of(f"m{number:03}")) for number in range(60)))

    assert table.scan()["Count"] == 60


async def test_a_table_that_is_not_there_is_told(table: Any, make_store: Callable[..., DynamoStore]) -> None:
    """By kind and code; the rule may try again."""
    with pytest.raises(WriteFailed) as caught:
        await make_store(table_name="elsewhere").put(row_of())
    assert (caught.value.kind, caught.value.code) == ("no_table", "ResourceNotFoundException")


async def test_a_table_with_other_keys_is_told(table: Any, make_store: Callable[..., DynamoStore]) -> None:
    """A wrong SORT_KEY."""
    with pytest.raises(WriteFailed) as caught:
        await make_store(sort_key="received_at").put(row_of())
    assert (caught.value.kind, caught.value.code, caught.value.because) == ("refused", "ValidationException", None)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "ProvisionedThroughputExceededException", "throttled"),
        (400, "ThrottlingException", "throttled"),
        (400, "RequestLimitExceeded", "throttled"),
        (400, "AccessDeniedException", "denied"),
        (400, "ExpiredTokenException", "denied"),
        (400, "UnrecognizedClientException", "denied"),
        (500, "InternalServerError", "unavailable"),
        (503, "ServiceUnavailable", "unavailable"),
        (400, "SomethingNew", "unavailable"),
    ],
)
async def test_an_error_of_dynamodb_is_told_after_one_try(
    endpoint: DynamoEndpoint, make_store: Callable[..., DynamoStore], status: int, code: str, kind: str
) -> None:
    """The rule tries again, not this process; only a denial's words are kept."""
    endpoint.answers = [(status, f'{{"__type":"x#{code}","message":"some words"}}'.encode())]
    store = make_store(aws_endpoint_url=endpoint.url)
    with pytest.raises(WriteFailed) as caught:
        await store.put(row_of())

    assert (caught.value.kind, caught.value.code) == (kind, code)
    assert caught.value.because == ("some words" if code == "AccessDeniedException" else None)
    assert endpoint.requests == ["POST / DynamoDB_20120810.PutItem"]
    await store.put(row_of())
    assert len(endpoint.rows) == 1


async def test_an_answer_that_is_none_is_told(endpoint: DynamoEndpoint, make_store: Callable[..., DynamoStore]) -> None:
    """The connection breaks: the row may be there or not."""
    endpoint.answers = [(0, b"")]
    with pytest.raises(WriteFailed) as caught:
        await make_store(aws_endpoint_url=endpoint.url).put(row_of())

    assert (caught.value.kind, caught.value.code) == ("unavailable", "ConnectionClosedError")
    assert len(endpoint.requests) == 1


async def test_an_answer_that_does_not_come_is_not_waited_for(
    endpoint: DynamoEndpoint, make_store: Callable[..., DynamoStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shorter than the rule waits."""
    assert store_module._CONNECT_SECONDS + store_module._READ_SECONDS < 3
    monkeypatch.setattr(store_module, "_READ_SECONDS", 0.05)
    endpoint.gate.clear()
    with pytest.raises(WriteFailed) as caught:
        await make_store(aws_endpoint_url=endpoint.url).put(row_of())

    assert (caught.value.kind, caught.value.code) == ("unavailable", "ReadTimeoutError")


async def test_a_row_is_answered_in_time_and_not_written_later(
    endpoint: DynamoEndpoint, make_store: Callable[..., DynamoStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever holds it up; it counts as waiting until its turn has come, and is then left alone."""
    assert store_module._CONNECT_SECONDS + store_module._READ_SECONDS < 3
    monkeypatch.setattr(store_module, "_READ_SECONDS", 30.0)
    monkeypatch.setattr(store_module, "_THREADS", 1)
    monkeypatch.setattr(store_module, "_MAX_WAITING", 2)
    endpoint.gate.clear()
    store = make_store(aws_endpoint_url=endpoint.url)
    first = asyncio.create_task(store.put(row_of("first")))
    await asyncio.to_thread(endpoint.arrived.wait, 30)

    monkeypatch.setattr(store_module, "_PUT_SECONDS", 0.01)
    codes = []
    for _ in range(2):
        with pytest.raises(WriteFailed) as caught:
            await store.put(row_of("late"))
        codes.append((caught.value.kind, caught.value.code))
    assert codes == [("unavailable", "TookTooLong"), ("busy", "TooManyRowsWaiting")]

    monkeypatch.setattr(store_module, "_PUT_SECONDS", 60.0)
    endpoint.gate.set()
    await first
    await store.put(row_of("next"))
    assert [item["message_id"]["S"] for item in endpoint.rows] == ["first", "next"]


async def test_nobody_there_is_told(make_store: Callable[..., DynamoStore]) -> None:
    """Port 9 of this machine."""
    with pytest.raises(WriteFailed) as caught:
        await make_store(aws_endpoint_url="http://127.0.0.1:9").put(row_of())
    assert (caught.value.kind, caught.value.code) == ("unavailable", "EndpointConnectionError")


async def test_a_process_without_credentials_asks_for_them_again(
    endpoint: DynamoEndpoint, make_store: Callable[..., DynamoStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What provides them may start later than this process."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    store = make_store(session=None, aws_endpoint_url=endpoint.url)
    with pytest.raises(WriteFailed) as caught:
        await store.put(row_of())
    assert (caught.value.kind, caught.value.code) == ("unavailable", "PartialCredentialsError")

    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "made-up")
    await store.put(row_of())
    assert len(endpoint.rows) == 1


async def test_a_row_too_many_is_refused_at_once(
    endpoint: DynamoEndpoint, make_store: Callable[..., DynamoStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rather than written when its rule has long given up."""
    monkeypatch.setattr(store_module, "_MAX_WAITING", 2)
    endpoint.gate.clear()
    store = make_store(aws_endpoint_url=endpoint.url)
    waiting = [asyncio.create_task(store.put(row_of(name))) for name in "ab"]
    await asyncio.to_thread(endpoint.arrived.wait, 30)
    with pytest.raises(WriteFailed) as caught:
        await store.put(row_of("c"))
    assert caught.value.kind == "busy"

    endpoint.gate.set()
    await asyncio.gather(*waiting)
    await store.put(row_of("c"))
    assert sorted(item["message_id"]["S"] for item in endpoint.rows) == ["a", "b", "c"]


async def test_a_write_does_not_hold_the_event_loop(
    endpoint: DynamoEndpoint, make_store: Callable[..., DynamoStore]
) -> None:
    """Other requests are answered while a row waits for DynamoDB."""
    endpoint.gate.clear()
    store = make_store(aws_endpoint_url=endpoint.url)
    putting = asyncio.create_task(store.put(row_of()))
    await asyncio.to_thread(endpoint.arrived.wait, 30)
    assert not putting.done()

    endpoint.gate.set()
    await putting
    assert len(endpoint.rows) == 1


def test_botocore_is_loaded_with_the_first_row() -> None:
    """It, and httpx, would double the time that the process takes to listen."""
    program = "import sys, receiver.app, receiver.server, receiver.settings; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()

    assert "fastapi" in loaded
    assert {name.partition(".")[0] for name in loaded} & {"boto3", "botocore", "httpx", "harness"} == set()
