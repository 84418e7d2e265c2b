"""DynamoDB as this service needs it: one call that writes rows, BatchWriteItem, and what its answers mean.

botocore's low-level client, called in threads. It tries once: what is tried again, and with which rows, is decided in
`receiver.batches`. It is handed the body as bytes, since its own way to it, which looks each attribute of each row up
in the service's description, takes a quarter of the CPU of a whole call. It signs, sends and reads.

botocore is imported with the first row, or by `Table.load`: it takes longer than all the rest of the start.
"""

from __future__ import annotations

import gc
import json
import threading
import time
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from receiver.errors import FailureKind, WriteFailed
from receiver.reading import number_text
from receiver.waiting import Key, Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from receiver.reading import Row
    from receiver.settings import Settings

CONNECT_SECONDS: Final = 0.9
READ_SECONDS: Final = 1.9
"""Between any two parts of an answer."""

_KINDS: Final[Mapping[str, FailureKind]] = {
    "ProvisionedThroughputExceededException": "throttled",
    "RequestLimitExceeded": "throttled",
    "ThrottlingException": "throttled",
    "AccessDeniedException": "denied",
    "ExpiredTokenException": "denied",
    "IncompleteSignatureException": "denied",
    "InvalidSignatureException": "denied",
    "MissingAuthenticationTokenException": "denied",
    "UnrecognizedClientException": "denied",
    "ResourceNotFoundException": "no_table",
    "ItemCollectionSizeLimitExceededException": "refused",
    "ValidationException": "refused",
}
"""Source: DynamoDB Developer Guide, "Error handling", and API Reference, "Common errors"."""

_ENCODE: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class _TooLate(Exception):  # noqa: N818 - says what happened
    """A call was about to be sent after one of its rows had been given up."""


class Table:
    """Rows in a DynamoDB table; its methods are called in threads, several at once.

    Args:
        settings: names table, sort key, region and endpoint.
        connections: kept open, as many as there are threads.
        session: a botocore session; None makes one of the process's credentials.
    """

    def __init__(self, settings: Settings, *, connections: int, session: Any = None) -> None:
        self._table_name = settings.table_name
        self._sort_key = settings.sort_key
        self._region = settings.aws_region
        self._endpoint_url = settings.aws_endpoint_url
        self._connections = connections
        self._making = threading.Lock()
        self._session = session
        self._client: Any = None
        self._call = threading.local()

    def write(self, rows: Sequence[Row], *, send_by: float) -> Outcome:
        """Write rows, each over the one with the same key if there is one.

        Args:
            rows: 1 to 25, no key twice.
            send_by: nothing is sent when `time.monotonic` gives this or more by then, whatever took so long.
        """
        from botocore.exceptions import BotoCoreError, ClientError, ConnectionError, HTTPClientError  # noqa: A004, PLC0415 - see the module's docstring

        self._call.send_by = send_by
        self._call.body = self._body_of(rows)
        try:
            answer = self._made_client().batch_write_item(RequestItems={self._table_name: []})
        except _TooLate:
            return Outcome(failure=WriteFailed("busy", "WaitedTooLong"), remedy="now")
        except ClientError as error:
            return _refusal(error.response)
        except (ConnectionError, HTTPClientError) as error:
            return Outcome(failure=WriteFailed("unavailable", type(error).__name__), remedy="later")
        except BotoCoreError as error:
            return Outcome(failure=WriteFailed("unavailable", type(error).__name__))
        finally:
            self._call.body = b""
        return self._outcome(answer, rows)

    def load(self) -> None:
        """Read the service's description from disk; made-up keys keep this from asking for the real ones."""
        with self._making:
            self._make_client(aws_access_key_id="warm-up", aws_secret_access_key="warm-up")  # noqa: S106 - no secret
        gc.freeze()  # what was loaded stays: each full collection would hold all requests up to walk it

    def _body_of(self, rows: Sequence[Row]) -> bytes:
        puts = [{"PutRequest": {"Item": make_item(row, self._sort_key)}} for row in rows]
        return _ENCODE({"RequestItems": {self._table_name: puts}}).encode()

    def _outcome(self, answer: Mapping[str, Any], rows: Sequence[Row]) -> Outcome:
        if "UnprocessedItems" not in answer:  # a 200 of somebody else
            return Outcome(failure=WriteFailed("unavailable", "NoAnswerOfDynamoDB"), remedy="later")
        puts = [put["PutRequest"]["Item"] for of_table in answer["UnprocessedItems"].values() for put in of_table]
        if not puts:
            return Outcome()
        keys = frozenset((item["deviceId"]["S"], item[self._sort_key]["S"]) for item in puts)
        known = keys <= {key_of(row) for row in rows}
        failure = WriteFailed("throttled", "UnprocessedItems")
        return Outcome(failure=failure, keys=keys if known else None, remedy="later")

    def _made_client(self) -> Any:
        # Credentials are looked up while a client is made. A client that could not be made is tried anew.
        with self._making:
            if self._client is None:
                self._client = self._make_client()
            return self._client

    def _make_client(self, **keys: str) -> Any:
        import botocore.session  # noqa: PLC0415 - see the module's docstring
        from botocore.config import Config  # noqa: PLC0415 - see the module's docstring

        if self._session is None:
            self._session = botocore.session.Session()
        client = self._session.create_client(
            "dynamodb",
            region_name=self._region,
            endpoint_url=self._endpoint_url,
            config=Config(
                connect_timeout=CONNECT_SECONDS,
                read_timeout=READ_SECONDS,
                retries={"total_max_attempts": 1, "mode": "standard"},
                max_pool_connections=self._connections,
                parameter_validation=False,  # there is nothing to validate
                user_agent="thingwright-receiver",  # putting its own together takes a tenth of a call's CPU
            ),
            **keys,
        )
        client.meta.events.register("before-call.dynamodb.BatchWriteItem", self._give_body)
        client.meta.events.register("before-send.dynamodb.BatchWriteItem", self._check_time)
        return client

    def _give_body(self, params: dict[str, Any], **_: Any) -> None:
        params["body"] = self._call.body

    def _check_time(self, **_: Any) -> None:
        if time.monotonic() >= self._call.send_by:
            raise _TooLate


def key_of(row: Row) -> Key:
    """Give a row's key."""
    return (row.device_id, row.sort_key)


def make_item(row: Row, sort_key: str) -> dict[str, dict[str, str]]:
    """Give a row as DynamoDB's API takes it."""
    item = {
        "deviceId": {"S": row.device_id},
        sort_key: {"S": row.sort_key},
        "message_id": {"S": row.message_id},
        "temperature": {"N": number_text(row.temperature)},
    }
    if row.ts is not None:
        item["ts"] = {"N": number_text(row.ts)} if isinstance(row.ts, Decimal) else {"S": row.ts}
    if row.ttl is not None:
        item["ttl"] = {"N": str(row.ttl)}
    return item


def _refusal(answer: Mapping[str, Any]) -> Outcome:
    error = answer.get("Error", {})
    code = str(error.get("Code", "Unknown"))
    kind = _KINDS.get(code, "unavailable")
    # Only this message is known to hold nothing of the row: it names the principal, the action and the table.
    failure = WriteFailed(kind, code, str(error.get("Message", "")) if code == "AccessDeniedException" else None)
    if kind == "refused":
        return Outcome(failure=failure, remedy="apart")
    status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return Outcome(failure=failure, remedy="later" if kind == "throttled" or status >= 500 else "none")
