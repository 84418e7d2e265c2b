"""The receiver with what was not chosen: another store below it, or another server above it.

    TABLE_NAME=… AWS_REGION=… … python -P benchmarks/receiver_variants.py [--store single] [--server granian]

``--store single`` puts each row by itself with aiobotocore, ``--store batched`` gathers the rows of the requests of one
moment into BatchWriteItem calls. Neither tries again, bounds its queue or keeps to a budget, so that both are faster
here than they would be in the receiver. ``--store none`` writes nothing: what a request costs without its row. For
aiobotocore and granian this is run by an interpreter that has them, with this checkout on PYTHONPATH, since they cannot
be installed beside the project. Prints ``{"port": N}`` once it listens on loopback, and ends when its standard input
does.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import socket
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from receiver.app import make_app
from receiver.dynamodb import make_item
from receiver.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fastapi import FastAPI

    from receiver.reading import Row
    from receiver.store import Store

MAX_BATCH_ROWS: Final = 25
CONNECTIONS: Final = 200
BATCHES_AT_ONCE: Final = 8


class NoStore:
    """Rows that are written by saying so."""

    is_full = False

    async def put(self, rows: Sequence[Row], *, arrived_at: float | None = None) -> None:
        """Do nothing."""


class SingleStore:
    """One PutItem for each row.

    Args:
        settings: as for the receiver's own.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stack = contextlib.AsyncExitStack()
        self._making: asyncio.Task[Any] | None = None

    is_full = False

    async def put(self, rows: Sequence[Row], *, arrived_at: float | None = None) -> None:  # noqa: ARG002 - no budget
        """Write rows."""
        client = await self._client()
        table, sort_key = self._settings.table_name, self._settings.sort_key
        await asyncio.gather(*(client.put_item(TableName=table, Item=make_item(row, sort_key)) for row in rows))

    async def close(self) -> None:
        """Close the connections."""
        await self._stack.aclose()

    async def _client(self) -> Any:
        if self._making is None:
            self._making = asyncio.create_task(self._make_client())
        return await asyncio.shield(self._making)

    async def _make_client(self) -> Any:
        from aiobotocore.config import AioConfig  # noqa: PLC0415 - not there for the other server alone
        from aiobotocore.session import get_session  # noqa: PLC0415 - the same

        config = AioConfig(
            max_pool_connections=CONNECTIONS, parameter_validation=False, retries={"total_max_attempts": 1}
        )
        settings = self._settings
        making = get_session().create_client(
            "dynamodb", region_name=settings.aws_region, endpoint_url=settings.aws_endpoint_url, config=config
        )
        return await self._stack.enter_async_context(making)


class BatchedStore(SingleStore):
    """Requests of one moment share calls.

    Args:
        settings: as for the receiver's own.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._waiting: deque[tuple[Row, asyncio.Future[None]]] = deque()
        self._writing: set[asyncio.Task[None]] = set()
        self._is_due = False

    async def put(self, rows: Sequence[Row], *, arrived_at: float | None = None) -> None:  # noqa: ARG002 - no budget
        """Write rows with those of other requests."""
        loop = asyncio.get_running_loop()
        written = [loop.create_future() for _ in rows]
        self._waiting.extend(zip(rows, written, strict=True))
        if not self._is_due:
            self._is_due = True
            loop.call_soon(self._flush)
        await asyncio.gather(*written)

    def _flush(self) -> None:
        self._is_due = False
        while self._waiting and len(self._writing) < BATCHES_AT_ONCE:
            batch = [self._waiting.popleft() for _ in range(min(MAX_BATCH_ROWS, len(self._waiting)))]
            task = asyncio.create_task(self._write(batch))
            self._writing.add(task)
            task.add_done_callback(self._go_on)

    def _go_on(self, task: asyncio.Task[None]) -> None:
        self._writing.discard(task)
        self._flush()

    async def _write(self, batch: list[tuple[Row, asyncio.Future[None]]]) -> None:
        client = await self._client()
        table, sort_key = self._settings.table_name, self._settings.sort_key
        try:
            requests = [{"PutRequest": {"Item": make_item(row, sort_key)}} for row, _ in batch]
            await client.batch_write_item(RequestItems={table: requests})
        except Exception as error:  # noqa: BLE001 - whatever it is, the requests fail with it
            for _, written in batch:
                written.set_exception(error)
        else:
            for _, written in batch:
                written.set_result(None)


def application() -> FastAPI:
    """Make the application that the environment and ``STORE`` ask for."""
    settings = Settings.read()
    stores: dict[str, Callable[[Settings], Store | None]] = {
        "shipped": lambda _: None,
        "none": lambda _: NoStore(),
        "single": SingleStore,
        "batched": BatchedStore,
    }
    return make_app(settings, store=stores[os.environ["STORE"]](settings))


def serve_with_uvicorn() -> None:
    """Serve as the receiver does."""
    from receiver.server import Server, make_loop  # noqa: PLC0415 - the other server needs neither

    listening = socket.create_server(("127.0.0.1", 0), backlog=4096)
    server = Server(application(), tls=None, on_ready=lambda: tell(listening.getsockname()[1]))
    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(server.serve(sockets=[listening]))


def serve_with_granian() -> None:
    """Serve with one worker of granian's, on its fastest loop."""
    from granian.constants import Interfaces, Loops  # noqa: PLC0415 - not there for the other server alone
    from granian.server import Server  # noqa: PLC0415 - the same

    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    server = Server(
        f"{__file__}:application",
        address="127.0.0.1",
        port=port,
        interface=Interfaces.ASGI,
        factory=True,
        loop=Loops.uvloop,
        log_enabled=False,
        backlog=4096,
    )
    threading.Thread(target=tell_once_listening, args=(port,), daemon=True).start()
    server.serve()


def tell_once_listening(port: int) -> None:
    """Say where it listens, as soon as its worker does."""
    while True:
        with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
            tell(port)
            return
        time.sleep(0.05)


def tell(port: int) -> None:
    """Say where it listens."""
    print(json.dumps({"port": port}), flush=True)


def follow_input() -> None:
    """End with standard input, and have granian end its worker."""
    while os.read(0, 1024):  # not by `sys.stdin`: its lock would go into granian's worker, which is forked, held
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    """Serve by the command line's choices."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", choices=("shipped", "none", "single", "batched"), default="shipped")
    parser.add_argument("--server", choices=("uvicorn", "granian"), default="uvicorn")
    options = parser.parse_args()
    os.environ["STORE"] = options.store
    threading.Thread(target=follow_input, daemon=True).start()
    {"uvicorn": serve_with_uvicorn, "granian": serve_with_granian}[options.server]()


if __name__ == "__main__":
    main()
