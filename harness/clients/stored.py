"""Which messages of devices have a row: one consistent Query for all of a device and a time.

A Query costs what the device has stored in that time, however few rows are wanted, so messages share it.
"""

from __future__ import annotations

from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from harness.clients.letter_box import error_name
from harness.clients.undelivered import LeftAlone

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from harness.clients.undelivered import LostMessage

BEFORE: Final = timedelta(hours=1)
"""How long before its letter a message may have been received."""

BEHIND: Final = timedelta(minutes=1)
"""How long after a letter another one of the same message may have been sent, and redriven under its own time."""

_SPAN: Final = timedelta(minutes=10)
"""How far apart letters may be that share a Query."""

_MOST_IDS: Final = 100
"""Operands of ``IN``. Source: Amazon DynamoDB Developer Guide, comparison operator and function reference."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One Query.

    Args:
        device_id: whose rows.
        first: when the earliest of the letters was sent, aware.
        last: when the latest was.
        members: numbers of the messages it is about, as they were given.
        message_ids: of these messages; empty when one of them has none, and all rows are wanted.
    """

    device_id: str
    first: datetime
    last: datetime
    members: tuple[int, ...]
    message_ids: tuple[str, ...]


def make_looks(messages: Iterable[tuple[LostMessage, int]]) -> Iterator[Look]:
    """Divide messages among Queries.

    Args:
        messages: each with the time of its letter, in milliseconds since the epoch.
    """
    by_device: dict[str, list[tuple[int, int, str]]] = defaultdict(list)
    for number, (message, sent_at) in enumerate(messages):
        by_device[message.device_id].append((sent_at, number, message.message_id))
    for device_id, members in by_device.items():
        members.sort()
        while members:
            end = members[0][0] + _SPAN // timedelta(milliseconds=1)
            some = [each for each in members[:_MOST_IDS] if each[0] <= end]
            del members[: len(some)]
            ids = {message_id: None for _, _, message_id in some}
            yield Look(
                device_id=device_id,
                first=_EPOCH + timedelta(milliseconds=some[0][0]),
                last=_EPOCH + timedelta(milliseconds=some[-1][0]),
                members=tuple(number for _, number, _ in some),
                message_ids=() if "" in ids else tuple(ids),
            )


class StoredRows:
    """The rows of a table.

    Args:
        dynamodb: boto3's ``dynamodb`` client.
        table: its name.
    """

    def __init__(self, dynamodb: Any, table: str) -> None:
        self._dynamodb = dynamodb
        self._table = table

    def find(self, look: Look) -> frozenset[tuple[str, str]]:
        """Return (time of receipt in milliseconds since the epoch, message id) of the rows that a look is about.

        Raises:
            LeftAlone: the table cannot be asked.
        """
        query: dict[str, Any] = {
            "TableName": self._table,
            "ConsistentRead": True,
            "KeyConditionExpression": "deviceId = :device AND received_at BETWEEN :since AND :until",
            "ProjectionExpression": "received_at, message_id",
            "ExpressionAttributeValues": {
                ":device": {"S": look.device_id},
                ":since": {"S": _key(look.first - BEFORE)},
                ":until": {"S": f"{_key(look.last + BEHIND)}~"},  # sorts behind the `#` and the id that follow the time
            },
        }
        if look.message_ids:
            operands = {f":id{number}": {"S": each} for number, each in enumerate(look.message_ids)}
            query["FilterExpression"] = f"message_id IN ({', '.join(operands)})"
            query["ExpressionAttributeValues"] |= operands
        try:
            return frozenset(
                (_milliseconds(item["received_at"]["S"]), item["message_id"]["S"])
                for page in self._dynamodb.get_paginator("query").paginate(**query)
                for item in page["Items"]
                if "message_id" in item  # else not the receiver's
            )
        except (ClientError, BotoCoreError) as error:
            raise LeftAlone(f"the table cannot be asked ({error_name(error)})", is_final=False) from error


def _key(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _milliseconds(sort_key: str) -> str:
    """Return the time of a sort key as the rule sent it; nothing for a key without one."""
    with suppress(ValueError):
        at = datetime.fromisoformat(sort_key.partition("#")[0])
        if at.tzinfo is not None:
            return str((at - _EPOCH) // timedelta(milliseconds=1))
    return ""
