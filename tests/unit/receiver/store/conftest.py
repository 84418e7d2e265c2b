"""A DynamoDB on loopback that does as it is told, and what the tests of the way there have in common."""

from __future__ import annotations

import json
import threading
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any, TypeAlias

import boto3
import botocore.session
import pytest
from moto import mock_aws

from receiver.metrics import Metrics
from receiver.reading import Reading, Row, Stamp, make_row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.unit.receiver.conftest import Answering

Item: TypeAlias = dict[str, Any]


@dataclass
class FakeDynamo:
    """Answers BatchWriteItem: as it is told for the next calls, then as it should.

    Args:
        url: where it is.
        calls: message ids of each call, in the order of their arrival.
        rows: items written, in order.
        targets: what each call asked for.
        arrived: a call is there.
        gate: open unless a test closes it; answers wait for it.
        drips: answers come byte by byte, with pauses, until it ends.
    """

    url: str = ""
    calls: list[list[str]] = field(default_factory=list)
    rows: list[Item] = field(default_factory=list)
    targets: list[str | None] = field(default_factory=list)
    arrived: threading.Event = field(default_factory=threading.Event)
    gate: threading.Event = field(default_factory=threading.Event)
    drips: bool = False
    ended: threading.Event = field(default_factory=threading.Event)
    _steps: deque[Callable[[list[Item]], tuple[int, bytes]]] = field(default_factory=deque)

    @property
    def ids(self) -> list[str]:
        """Message ids of the rows written."""
        return [item["message_id"]["S"] for item in self.rows]

    def fail(self, status: int, code: str, words: str = "some words") -> None:
        """Answer a call with an error."""
        self.answer(status, json.dumps({"__type": f"x#{code}", "message": words}).encode())

    def answer(self, status: int, body: bytes) -> None:
        """Answer a call with these bytes, without writing anything; with status 0 hang up instead."""
        self._steps.append(lambda _: (status, body))

    def give_back(self, *ids: str) -> None:
        """Answer a call by writing all but these."""

        def step(items: list[Item]) -> tuple[int, bytes]:
            back = [item for item in items if item["message_id"]["S"] in ids]
            self.rows += [item for item in items if item not in back]
            unprocessed = {"readings": [{"PutRequest": {"Item": item}} for item in back]} if back else {}
            return 200, json.dumps({"UnprocessedItems": unprocessed}).encode()

        self._steps.append(step)

    def refuse_if_there(self, bad: str, *, calls: int) -> None:
        """Answer so many calls as usual, but with a ValidationException if this row is among theirs."""

        def step(items: list[Item]) -> tuple[int, bytes]:
            ids = [item["message_id"]["S"] for item in items]
            if bad in ids:
                return 400, b'{"__type":"x#ValidationException","message":"its temperature is 37.25"}'
            self.rows += items
            return 200, b'{"UnprocessedItems":{}}'

        self._steps.extend([step] * calls)

    def take(self, target: str | None, body: bytes) -> tuple[int, bytes]:
        """Take a call; give status and body of the answer."""
        items = [put["PutRequest"]["Item"] for puts in json.loads(body)["RequestItems"].values() for put in puts]
        self.calls.append([item["message_id"]["S"] for item in items])
        self.targets.append(target)
        self.arrived.set()
        self.gate.wait(30)
        if self._steps:
            return self._steps.popleft()(items)
        self.rows += items
        return 200, b'{"UnprocessedItems":{}}'


@pytest.fixture
def dynamo(answering: Answering) -> Iterator[FakeDynamo]:
    """Listen on loopback."""
    fake = FakeDynamo()
    fake.gate.set()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            status, answer = fake.take(self.headers["x-amz-target"], body)
            if not status:
                self.close_connection = True
                return
            self.send_response(status)
            self.send_header("content-type", "application/x-amz-json-1.0")
            self.send_header("content-length", str(len(answer) + fake.drips * 1_000_000))
            self.end_headers()
            self.wfile.write(answer)
            while fake.drips and not fake.ended.wait(0.01):
                self.wfile.write(b" ")

    with answering(Handler) as fake.url:
        yield fake
        fake.gate.set()
        fake.ended.set()


@pytest.fixture(scope="session")
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
def metrics() -> Metrics:
    """What is counted in this test."""
    return Metrics()


@pytest.fixture
def row_of() -> Callable[..., Row]:
    """Make rows of one device and one moment."""

    def make(
        message_id: str = "m", *, temp: str = "21.5", ts: str | Decimal | None = None, ttl: int | None = None
    ) -> Row:
        reading = Reading(device_id="d", temperature=Decimal(temp), ts=ts)
        stamp = Stamp(received_at=datetime(2026, 11, 21, 20, 1, 2, 123_000, tzinfo=UTC), message_id=message_id)
        return make_row(reading, stamp, ttl_days=ttl)

    return make
