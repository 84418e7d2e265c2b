"""What was stored of the devices' readings: rows of the stack's table, read with consistent Queries."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from harness.clients.message import quoted
from harness.clients.waiting import PATIENCE, polled
from harness.errors import ExpectationError, HarnessError, TargetUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.clients.message import Message
    from harness.clients.receiver import ReceiverView
    from harness.clients.stories import Stories

_PARTITION_KEY: Final = "deviceId"
_SORT_KEY: Final = "received_at"
_AFTER_ALL_IDS: Final = "~"
"""Sorts behind the ``#`` and the id that follow the time in a sort key."""

_SHOWN: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One stored reading.

    Args:
        device_id: as the reading said.
        received_at: when AWS IoT took it up, to the millisecond; aware.
        message_id: the rule's ``traceid()``, or what the receiver made up in its place.
        temperature: with all digits.
        ts: as the device sent it: text or number; None when it sent none.
        ttl: when the table drops the row, in seconds since the epoch; None: never.
    """

    device_id: str
    received_at: datetime
    message_id: str
    temperature: Decimal
    ts: str | Decimal | None = None
    ttl: int | None = None

    @classmethod
    def parse(cls, item: Mapping[str, Mapping[str, Any]]) -> Row:
        """Read an item as DynamoDB's API gives it.

        Raises:
            HarnessError: it is no reading.
        """
        try:
            received_at, _, id_of_key = item[_SORT_KEY]["S"].partition("#")
            ts = item.get("ts")
            return cls(
                device_id=item[_PARTITION_KEY]["S"],
                received_at=datetime.fromisoformat(received_at),
                message_id=item["message_id"]["S"] if "message_id" in item else id_of_key,
                temperature=Decimal(item["temperature"]["N"]),
                ts=None if ts is None else ts["S"] if "S" in ts else Decimal(ts["N"]),
                ttl=int(item["ttl"]["N"]) if "ttl" in item else None,
            )
        except (KeyError, ValueError, ArithmeticError) as error:
            raise HarnessError(f"not a row of a reading ({type(error).__name__}: {error}): {dict(item)}") from error

    def __str__(self) -> str:
        when = self.received_at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return f"{self.device_id} {when} temperature {self.temperature}, message {self.message_id}"


class Rows:
    """The rows of the stack's table.

    Args:
        dynamodb: boto3's ``dynamodb`` client.
        table: name of the table.
        stories: what became of messages, told in failure messages.
        receiver: quoted in failure messages, for what it has counted; None does without.
        patience: seconds that expectations wait.
    """

    def __init__(
        self,
        *,
        dynamodb: Any,
        table: str,
        stories: Stories,
        receiver: ReceiverView | None = None,
        patience: float = PATIENCE,
    ) -> None:
        self._dynamodb = dynamodb
        self._table = table
        self._stories = stories
        self._receiver = receiver
        self._patience = patience

    async def expect(self, device_id: str) -> Row:
        """Wait until a device has one row, and no other.

        Raises:
            ExpectationError: it has none in time, or several; tells what became of its readings.
        """
        __tracebackhide__ = True
        return (await self.expect_all(device_id, 1))[0]

    async def expect_all(self, device_id: str, count: int) -> list[Row]:
        """Wait until a device has a number of rows, and no more.

        Returns:
            Its rows in time order.

        Raises:
            ExpectationError: it has fewer in time, or more; tells what became of its readings.
            ValueError: the number is less than 1: `expect_none` says when there is nothing more to wait for.
        """
        __tracebackhide__ = True
        if count < 1:
            raise ValueError("rows are expected by the number, from 1 on; for none there is expect_none")
        seen: list[Row] = []

        async def look() -> list[Row] | None:
            seen[:] = await self.of(device_id)
            return seen if len(seen) >= count else None

        wanted = f"{device_id} was to have {_rows(count)} in the table {self._table}"
        try:
            await polled(look, within=self._patience)
        except TimeoutError:
            wanted += f" within {self._patience:g} s, and has {len(seen) or 'none'}"
        else:
            if len(seen) == count:
                return seen
            wanted += f", and has {len(seen)}"
        raise await self._failure(wanted, device_id, seen)

    async def expect_none(self, device_id: str, *, after: Message) -> None:
        """Make sure that a device has no row, now that a message has gone all its way.

        Args:
            device_id: as readings call it.
            after: nothing more will become of this one when the table is asked; often a later one, sent as a control.

        Raises:
            ExpectationError: there is a row, or the message is still on its way.
            TargetUnavailable: the target has no trace to tell when a message has gone all its way.
        """
        __tracebackhide__ = True
        await self._stories.until_over(after)
        if found := await self.of(device_id):
            wanted = (
                f"{device_id} was to have no row in the table {self._table} after {quoted(after.payload)}, "
                f"and has {_rows(len(found))}"
            )
            raise await self._failure(wanted, device_id, found)

    async def of(self, device_id: str, *, since: datetime | None = None, until: datetime | None = None) -> list[Row]:
        """Return the rows a device has now, in time order, by one consistent Query over a range of keys.

        Args:
            device_id: as readings call it.
            since: earliest time of receipt, aware, included; None: from the first.
            until: latest time of receipt, aware, included to the millisecond; None: to the last.

        Raises:
            TargetUnavailable: there is no such table, or it may not be read.
            ValueError: a time has no zone.
        """
        query: dict[str, Any] = {
            "TableName": self._table,
            "ConsistentRead": True,
            "KeyConditionExpression": "#device = :device",
            "ExpressionAttributeNames": {"#device": _PARTITION_KEY},
            "ExpressionAttributeValues": {":device": {"S": device_id}},
        }
        if since is not None or until is not None:
            query["KeyConditionExpression"] += " AND #at BETWEEN :since AND :until"
            query["ExpressionAttributeNames"]["#at"] = _SORT_KEY
            query["ExpressionAttributeValues"] |= {
                ":since": {"S": _key(since) if since else "0"},
                ":until": {"S": (_key(until) if until else "") + _AFTER_ALL_IDS},
            }
        return [Row.parse(item) for item in await asyncio.to_thread(self._query, query)]

    def _query(self, query: dict[str, Any]) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = []
        try:
            for page in self._dynamodb.get_paginator("query").paginate(**query):
                items += page["Items"]
        except ClientError as error:
            raise TargetUnavailable(f"The table {self._table} cannot be read: {error}") from error
        return items

    async def _failure(self, wanted: str, device_id: str, seen: Sequence[Row]) -> ExpectationError:
        near_misses = [f"row: {row}" for row in seen[:_SHOWN]]
        if len(seen) > _SHOWN:
            near_misses.append(f"and {_rows(len(seen) - _SHOWN)} more")
        near_misses += await self._stories.told_about(device_id, stored={row.message_id for row in seen})
        if self._receiver is not None:
            near_misses += await self._receiver.told()
        return ExpectationError(wanted, near_misses=near_misses, trace=await self._stories.tail(device_id))


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count} rows"


def _key(at: datetime) -> str:
    """Write a time as sort keys begin."""
    if at.tzinfo is None:
        raise ValueError(f"{at.isoformat()} has no time zone")
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
