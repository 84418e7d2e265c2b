"""Where rows go: DynamoDB, one PutItem per row.

The protocol `Store` is all that the application knows. `DynamoStore` calls botocore's low-level client in a pool of
threads, off the event loop. It tries once: the rule that posted the message tries again by itself, within a budget of
three seconds in which two slow tries of ours would already be too many. Whatever holds a row up (others before it,
credentials that do not come, an answer that comes byte by byte), the answer is there within that budget, and a row
whose turn comes later is not written any more: its rule has sent it to the dead letters by then.

botocore is imported with the first row, or by `DynamoStore.warm_up`: it takes longer than all the rest of the start.
"""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Protocol

from receiver.errors import FailureKind, WriteFailed
from receiver.reading import number_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from receiver.reading import Row
    from receiver.settings import Settings

_THREADS: Final = 16
_MAX_WAITING: Final = 512
_CONNECT_SECONDS: Final = 0.9
_READ_SECONDS: Final = 1.9
_PUT_SECONDS: Final = _CONNECT_SECONDS + _READ_SECONDS

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


class Store(Protocol):
    """Takes rows."""

    async def put(self, row: Row) -> None:
        """Write a row, over the one with the same key if there is one; return when it is written.

        Raises:
            WriteFailed: it is not, or nobody knows.
        """


class DynamoStore:
    """Rows in a DynamoDB table.

    Args:
        settings: names table, sort key, region and endpoint.
        session: a botocore session; None makes one of the process's credentials.
    """

    def __init__(self, settings: Settings, *, session: Any = None) -> None:
        self._table_name = settings.table_name
        self._sort_key = settings.sort_key
        self._region = settings.aws_region
        self._endpoint_url = settings.aws_endpoint_url
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="dynamodb")
        self._waiting = 0
        self._making = threading.Lock()
        self._session = session
        self._client: Any = None
        self._is_warm = False

    async def put(self, row: Row) -> None:
        """Write a row; see `Store`. Refused at once when more rows wait than can be written before their rule gives up.

        Raises:
            WriteFailed: it is not written, or nobody knows.
        """
        if self._waiting >= _MAX_WAITING:
            raise WriteFailed("busy", "TooManyRowsWaiting")
        self._waiting += 1
        writing = asyncio.get_running_loop().run_in_executor(
            self._threads, self._put, make_item(row, self._sort_key), time.monotonic() + _PUT_SECONDS
        )
        writing.add_done_callback(self._forget)
        done, _ = await asyncio.wait([writing], timeout=_PUT_SECONDS)
        if not done:
            raise WriteFailed("unavailable", "TookTooLong")
        await writing

    def warm_up(self) -> None:
        """Load what the first row needs, beside everything else; from the second call on, do nothing."""
        if not self._is_warm:
            self._is_warm = True
            # What goes wrong here goes wrong again with the first row, and is told there.
            self._threads.submit(self._load)

    async def close(self) -> None:
        """Take no more rows; nobody waits any more for those under way."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _forget(self, writing: asyncio.Future[None]) -> None:
        """Count a row no more, which may be long after its answer."""
        self._waiting -= 1
        if not writing.cancelled():
            writing.exception()  # nobody may be waiting for it any more

    def _put(self, item: dict[str, Any], deadline: float) -> None:
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - see the module's docstring

        if time.monotonic() >= deadline:
            raise WriteFailed("busy", "WaitedTooLong")
        try:
            self._made_client().put_item(TableName=self._table_name, Item=item)
        except ClientError as error:
            raise _failure(error.response) from error
        except BotoCoreError as error:
            raise WriteFailed("unavailable", type(error).__name__) from error

    def _made_client(self) -> Any:
        # Credentials are looked up while a client is made. A client that could not be made is tried anew.
        with self._making:
            if self._client is None:
                self._client = self._make_client()
            return self._client

    def _load(self) -> None:
        """Read the service's description from disk; made-up keys keep this from asking for the real ones."""
        with self._making:
            self._make_client(aws_access_key_id="warm-up", aws_secret_access_key="warm-up")  # noqa: S106 - no secret
        gc.freeze()  # what was loaded stays: each full collection would hold all requests up to walk it

    def _make_client(self, **keys: str) -> Any:
        import botocore.session  # noqa: PLC0415 - see the module's docstring
        from botocore.config import Config  # noqa: PLC0415 - see the module's docstring

        if self._session is None:
            self._session = botocore.session.Session()
        return self._session.create_client(
            "dynamodb",
            region_name=self._region,
            endpoint_url=self._endpoint_url,
            config=Config(
                connect_timeout=_CONNECT_SECONDS,
                read_timeout=_READ_SECONDS,
                retries={"total_max_attempts": 1, "mode": "standard"},
                max_pool_connections=_THREADS,
                parameter_validation=False,  # `make_item` gives one shape; its messages would repeat the row
                user_agent_extra="thingwright-receiver",
            ),
            **keys,
        )


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


def _failure(answer: Mapping[str, Any]) -> WriteFailed:
    error = answer.get("Error", {})
    code = str(error.get("Code", "Unknown"))
    kind = _KINDS.get(code, "unavailable")
    # Only this message is known to hold nothing of the row: it names the principal, the action and the table.
    return WriteFailed(kind, code, str(error.get("Message", "")) if code == "AccessDeniedException" else None)
