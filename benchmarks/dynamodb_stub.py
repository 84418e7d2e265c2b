"""A DynamoDB front that answers every call after a fixed time, counts rows and keeps none of them.

    python benchmarks/dynamodb_stub.py [--milliseconds 5]

Prints ``{"port": N}`` once it listens on loopback, and ends when its standard input does. Any number of calls may be
under way at once, and each is answered so many milliseconds after it came, as DynamoDB would with capacity to spare;
signatures are not looked at. As in DynamoDB a batch of more than 25 rows, or with the same key twice, is refused, and
a row is there when its call is answered. Of each row's key a hash is kept, so that rows written twice are told from
rows.

``GET /`` gives what was counted; ``POST /`` with some of the fields of `Behaviour` in a JSON object changes how calls
are answered from now on.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

import httptools
import uvloop

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_BATCH_ROWS: Final = 25
"""Source: DynamoDB API Reference, BatchWriteItem."""

_KEY_NAMES: Final = ("deviceId", "received_at")
_PREFIX: Final = "com.amazonaws.dynamodb.v20120810#"

_Answer: TypeAlias = tuple[int, dict[str, Any]]
_Item: TypeAlias = dict[str, dict[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """How calls are answered.

    Args:
        seconds: until the answer.
        throttled: the share of calls, 0 to 1, that get an error for throttling and write nothing.
        unprocessed: the share of a batch's rows that come back unprocessed; of single rows, that are throttled.
    """

    seconds: float
    throttled: float = 0.0
    unprocessed: float = 0.0


class Table:
    """What was written and how, and how the next call is answered.

    Args:
        behaviour: at first.
    """

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self._keys: set[int] = set()
        self._rows = 0
        self._puts = 0
        self._batches = 0
        self._batched_rows = 0
        self._throttled = 0
        self._under_way = 0
        self._most_under_way = 0

    def begin(self) -> None:
        """Count a call that came."""
        self._under_way += 1
        self._most_under_way = max(self._most_under_way, self._under_way)

    def end(self, body: bytes) -> _Answer:
        """Carry out a call whose time has come."""
        self._under_way -= 1
        call = json.loads(body)
        if self._is_throttled(self.behaviour.throttled):
            return self._throttling()
        if "RequestItems" in call:
            return self._batch(call["RequestItems"])
        if "Item" in call:
            self._puts += 1
            if self._is_throttled(self.behaviour.unprocessed):
                return self._throttling()
            self._write([call["Item"]])
        return 200, {}

    def counted(self) -> dict[str, float]:
        """Give what was counted since the start."""
        return {
            "rows": self._rows,
            "distinct": len(self._keys),
            "puts": self._puts,
            "batches": self._batches,
            "batched_rows": self._batched_rows,
            "throttled": self._throttled,
            "most_under_way": self._most_under_way,
        }

    def _batch(self, tables: dict[str, list[dict[str, Any]]]) -> _Answer:
        self._batches += 1
        items = [(name, request["PutRequest"]["Item"]) for name, requests in tables.items() for request in requests]
        if not 0 < len(items) <= MAX_BATCH_ROWS or len({_key_of(item) for _, item in items}) < len(items):
            return _error("com.amazon.coral.validate#ValidationException", "too many rows, or one of them twice")
        kept: list[_Item] = []
        unprocessed: dict[str, list[Any]] = {}
        for name, item in items:
            if self._is_throttled(self.behaviour.unprocessed):
                unprocessed.setdefault(name, []).append({"PutRequest": {"Item": item}})
            else:
                kept.append(item)
        self._batched_rows += len(kept)
        self._throttled += bool(unprocessed)
        self._write(kept)
        return 200, {"UnprocessedItems": unprocessed}

    def _write(self, items: Iterable[_Item]) -> None:
        for item in items:
            self._rows += 1
            self._keys.add(hash(_key_of(item)))

    def _throttling(self) -> _Answer:
        self._throttled += 1
        return _error(f"{_PREFIX}ProvisionedThroughputExceededException", "the level was exceeded")

    def _is_throttled(self, share: float) -> bool:
        return share > 0 and random.random() < share  # noqa: S311 - nothing depends on its being unforeseeable


def _key_of(item: _Item) -> tuple[str, ...]:
    return tuple(item[name]["S"] for name in _KEY_NAMES)


def _error(kind: str, message: str) -> _Answer:
    return 400, {"__type": kind, "message": message}


class Front(asyncio.Protocol):
    """One connection; calls on it come one after another, as from every client that does not pipeline.

    Args:
        table: shared by all.
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._body: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Read on."""
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        """Collect."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """Answer later; what is asked of the stub itself, at once."""
        body = b"".join(self._body)
        self._body.clear()
        # Everything of DynamoDB is a POST with a JSON object, and names a table.
        if b'"TableName"' not in body and b'"RequestItems"' not in body:
            if body:
                self._table.behaviour = replace(self._table.behaviour, **json.loads(body))
            self._answer(200, self._table.counted())
            return
        self._table.begin()
        self._loop.call_later(self._table.behaviour.seconds, self._finish, body)

    def _finish(self, body: bytes) -> None:
        self._answer(*self._table.end(body))

    def _answer(self, status: int, answer: dict[str, Any]) -> None:
        body = json.dumps(answer).encode()
        head = b"HTTP/1.1 %d -\r\ncontent-type: application/x-amz-json-1.0\r\ncontent-length: %d\r\n\r\n"
        if not self._transport.is_closing():
            self._transport.write(head % (status, len(body)) + body)


async def until_input_ends() -> None:
    """Wait until standard input is closed: whoever started this is gone, or wants it to end."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()


async def _serve(seconds: float) -> None:
    table = Table(Behaviour(seconds=seconds))
    server = await asyncio.get_running_loop().create_server(lambda: Front(table), "127.0.0.1", 0, backlog=4096)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await until_input_ends()


def main() -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--milliseconds", type=float, default=5.0, help="until each answer")
    options = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(options.milliseconds / 1000))


if __name__ == "__main__":
    main()
