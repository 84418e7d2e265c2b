"""Rows: read with one Query, awaited, and missed in a way that says why."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.stub import Stubber

from harness.clients.rows import Row, Rows
from harness.clients.stories import Stories
from harness.errors import ExpectationError, HarnessError, TargetUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Scene
    from harness.clients.rules import Rules

AT = datetime(2026, 11, 21, 20, 1, 2, 123000, tzinfo=UTC)


def item(message_id: str = "message-1", *, device_id: str = "sensor-1", temperature: str = "21.5") -> dict[str, Any]:
    """Make an item as DynamoDB answers it."""
    return {
        "deviceId": {"S": device_id},
        "received_at": {"S": f"2026-11-21T20:01:02.123Z#{message_id}"},
        "message_id": {"S": message_id},
        "temperature": {"N": temperature},
    }


class FakeTable:
    """Plays boto3's ``dynamodb`` client with one table.

    Attributes:
        items: what every Query finds.
        on_query: called before each, with how many there were.
    """

    def __init__(self) -> None:
        self.items: list[dict[str, Any]] = []
        self.queries: list[dict[str, Any]] = []
        self.on_query: Callable[[int], None] = lambda _: None

    def get_paginator(self, operation: str) -> FakeTable:
        """Be the paginator too."""
        assert operation == "query"
        return self

    def paginate(self, **query: Any) -> list[dict[str, Any]]:
        """Answer with one item a page."""
        self.on_query(len(self.queries))
        self.queries.append(query)
        return [{"Items": [each]} for each in self.items] or [{"Items": []}]


class FakeReceiver:
    """Plays the view of the receiver in a failure."""

    async def told(self) -> list[str]:
        """Say something recognisable."""
        return ["the receiver has counted: wrong_secret +1"]


@pytest.fixture
def table() -> FakeTable:
    """The table of readings."""
    return FakeTable()


@pytest.fixture
def rows(table: FakeTable, scene: Scene) -> Rows:
    """The rows of the table."""
    return Rows(dynamodb=table, table="readings", stories=scene.stories, receiver=FakeReceiver(), patience=0.1)


def test_an_item_is_read_as_it_was_stored() -> None:
    """Numbers keep their digits, text stays text, what is missing is None."""
    assert Row.parse(
        {**item(), "ts": {"S": "yesterday"}, "ttl": {"N": "1795291262"}, "temperature": {"N": "1E+2"}}
    ) == Row(
        device_id="sensor-1",
        received_at=AT,
        message_id="message-1",
        temperature=Decimal(100),
        ts="yesterday",
        ttl=1795291262,
    )
    assert Row.parse({**item(), "ts": {"N": "1.50"}}).ts == Decimal("1.5")
    assert (Row.parse(item()).ts, Row.parse(item()).ttl) == (None, None)
    assert str(Row.parse(item())) == "sensor-1 2026-11-21T20:01:02.123Z temperature 21.5, message message-1"


@pytest.mark.parametrize("broken", [{"temperature": {"S": "warm"}}, {"received_at": {"S": "now"}}, {"deviceId": {}}])
def test_an_item_that_is_no_reading_is_shown(broken: dict[str, Any]) -> None:
    """Whoever wrote it is not what this harness reads."""
    with pytest.raises(HarnessError, match="not a row of a reading"):
        Row.parse({**item(), **broken})


async def test_rows_are_asked_for_by_one_consistent_query(rows: Rows, table: FakeTable) -> None:
    """All pages of it, in the order of the keys."""
    table.items = [item("a"), item("b")]

    found = await rows.of("sensor-1")

    assert [row.message_id for row in found] == ["a", "b"]
    assert table.queries == [
        {
            "TableName": "readings",
            "ConsistentRead": True,
            "KeyConditionExpression": "#device = :device",
            "ExpressionAttributeNames": {"#device": "deviceId"},
            "ExpressionAttributeValues": {":device": {"S": "sensor-1"}},
        }
    ]


@pytest.mark.parametrize(
    ("since", "until", "first", "last"),
    [
        (AT, AT, "2026-11-21T20:01:02.123Z", "2026-11-21T20:01:02.123Z~"),
        (AT, None, "2026-11-21T20:01:02.123Z", "~"),
        (None, AT, "0", "2026-11-21T20:01:02.123Z~"),
        (AT.astimezone(timezone(timedelta(hours=2))), None, "2026-11-21T20:01:02.123Z", "~"),
    ],
)
async def test_a_time_range_is_a_range_of_keys(
    rows: Rows, table: FakeTable, since: datetime | None, until: datetime | None, first: str, last: str
) -> None:
    """Both ends included, whatever id follows the time."""
    await rows.of("sensor-1", since=since, until=until)

    (query,) = table.queries
    values = query["ExpressionAttributeValues"]
    assert query["KeyConditionExpression"] == "#device = :device AND #at BETWEEN :since AND :until"
    assert (values[":since"]["S"], values[":until"]["S"]) == (first, last)
    assert first <= "2026-11-21T20:01:02.123Z#message-1" <= last
    if until:
        assert last < "2026-11-21T20:01:02.124Z#message-1"
    if since:
        assert first > "2026-11-21T20:01:02.122Z#message-1"


async def test_a_time_without_a_zone_is_refused(rows: Rows) -> None:
    """Nobody knows when that is."""
    with pytest.raises(ValueError, match="no time zone"):
        await rows.of("sensor-1", since=AT.replace(tzinfo=None))


async def test_the_query_is_one_that_dynamodb_takes(scene: Scene) -> None:
    """As boto3 checks it, page by page."""
    client = boto3.client("dynamodb", region_name="eu-central-1", aws_access_key_id="a", aws_secret_access_key="b")
    rows = Rows(dynamodb=client, table="readings", stories=scene.stories)
    with Stubber(client) as stub:
        stub.add_response("query", {"Items": [item("a")], "LastEvaluatedKey": {"deviceId": {"S": "sensor-1"}}})
        stub.add_response("query", {"Items": [item("b")]})

        found = await rows.of("sensor-1", since=AT)

        stub.assert_no_pending_responses()
        stub.add_client_error("query", "ResourceNotFoundException", "Requested resource not found")
        with pytest.raises(TargetUnavailable, match=r"The table readings cannot be read: .*ResourceNotFoundException"):
            await rows.of("sensor-1")
    assert [row.message_id for row in found] == ["a", "b"]
    client.close()


async def test_a_row_is_waited_for(rows: Rows, table: FakeTable) -> None:
    """The first look need not find it."""

    def store(queries: int) -> None:
        if queries == 2:
            table.items = [item()]

    table.on_query = store

    assert (await rows.expect("sensor-1")).message_id == "message-1"
    assert len(table.queries) == 3


async def test_several_rows_are_waited_for(rows: Rows, table: FakeTable) -> None:
    """As many as were asked for, and given in the order of the keys."""
    table.on_query = lambda queries: table.items.append(item(str(queries)))

    assert [row.message_id for row in await rows.expect_all("sensor-1", 3)] == ["0", "1", "2"]


@pytest.mark.parametrize("count", [0, -1])
async def test_no_rows_are_not_waited_for(rows: Rows, count: int) -> None:
    """There is nothing to see that would end the wait."""
    with pytest.raises(ValueError, match="expect_none"):
        await rows.expect_all("sensor-1", count)


async def test_a_missing_row_is_explained_by_a_where_that_is_false(rows: Rows, scene: Scene) -> None:
    """The message alone names the condition and the values."""
    scene.rule(scene.publish(scene.message()), "not_matched", "WHERE temp > 100 is false (temp = 21.5)")

    with pytest.raises(ExpectationError) as failure:
        await rows.expect(device_id="sensor-1")

    message = re.sub(r"\d\d:\d\d:\d\d\.\d{3}", "12:00:00.000", str(failure.value))
    assert message.partition("\nlast lines of the trace:")[0] == (
        "sensor-1 was to have 1 row in the table readings within 0.1 s, and has none\n"
        "near misses:\n"
        '  sensor-1 published \'{"deviceId":"sensor-1","temp":21.5}\' to things/telemetry at 12:00:00.000, '
        "message message-1:\n"
        "    rule telemetry did not match: WHERE temp > 100 is false (temp = 21.5)\n"
        "  the receiver has counted: wrong_secret +1"
    )
    assert failure.value.trace


async def test_too_many_rows_are_shown(rows: Rows, table: FakeTable, scene: Scene) -> None:
    """One row means one row and no other: what there is, and where it came from."""
    first, second = scene.stored(scene.message("1")), scene.stored(scene.message("2"))
    table.items = [item(first, temperature="1"), item(second, temperature="2")]

    with pytest.raises(ExpectationError) as failure:
        await rows.expect("sensor-1")

    assert failure.value.wanted == "sensor-1 was to have 1 row in the table readings, and has 2"
    assert failure.value.near_misses == (
        "row: sensor-1 2026-11-21T20:01:02.123Z temperature 1, message message-1",
        "row: sensor-1 2026-11-21T20:01:02.123Z temperature 2, message message-2",
        "2 of its 2 messages are in the table",
        "the receiver has counted: wrong_secret +1",
    )


async def test_rows_that_lack_are_counted(rows: Rows, table: FakeTable, scene: Scene) -> None:
    """Those that are there are shown in part."""
    table.items = [item(scene.stored(scene.message(str(number)))) for number in range(10)]

    with pytest.raises(ExpectationError) as failure:
        await rows.expect_all("sensor-1", 11)

    assert failure.value.wanted.endswith("was to have 11 rows in the table readings within 0.1 s, and has 10")
    assert failure.value.near_misses[8:10] == ("and 2 rows more", "10 of its 10 messages are in the table")


async def test_nothing_is_claimed_before_a_message_has_gone_all_its_way(rows: Rows, scene: Scene) -> None:
    """An empty table proves nothing while the message is on its way."""
    message = scene.message()
    scene.rule(scene.publish(message))

    with pytest.raises(ExpectationError, match=r"what became of .* was to be known"):
        await rows.expect_none("sensor-1", after=message)


async def test_no_row_after_a_message_is_a_claim(rows: Rows, table: FakeTable, scene: Scene) -> None:
    """It holds once the message has gone all its way, and is broken by any row."""
    message = scene.message()
    scene.stored(message)

    await rows.expect_none("sensor-1", after=message)
    table.items = [item()]
    with pytest.raises(ExpectationError) as failure:
        await rows.expect_none("sensor-1", after=message)

    assert failure.value.wanted == (
        'sensor-1 was to have no row in the table readings after \'{"deviceId":"sensor-1","temp":21.5}\', and has 1 row'
    )
    assert failure.value.near_misses[0].startswith("row: sensor-1")


async def test_without_a_trace_rows_are_still_found(table: FakeTable, rules: Rules) -> None:
    """On AWS itself a missing row is told of without its story, and no row cannot be claimed."""
    rows = Rows(dynamodb=table, table="readings", stories=Stories(trace=None, rules=rules), patience=0.0)
    table.items = [item()]
    assert await rows.expect("sensor-1")
    table.items = []

    with pytest.raises(ExpectationError, match="what became of its readings is not known"):
        await rows.expect("sensor-1")
