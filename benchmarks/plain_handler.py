"""What a developer writes first: a FastAPI handler that puts one row with boto3. The receiver is measured beside it.

    TABLE_NAME=… AWS_REGION=… AWS_ENDPOINT_URL=… IOT_SECRETS=… python benchmarks/plain_handler.py [--style table] …

Settings are those of the receiver, as far as this has them. It checks the secret and reads the body with a pydantic
model, and that is all. ``--style table`` is boto3's `Table` with everything as it comes: 40 threads, 10 connections.
``--style client`` is the low-level client, which has less to convert, and as many threads and connections as are asked
for. Prints ``{"port": N}`` once it listens on loopback, and ends when its standard input does.
"""

from __future__ import annotations

import argparse
import asyncio
import hmac
import json
import os
import socket
import sys
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal  # noqa: TC003 - pydantic reads the annotation
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import anyio.to_thread
import boto3
import uvicorn
from botocore.config import Config
from fastapi import FastAPI, Header, HTTPException
from pydantic import BaseModel

sys.path.insert(0, str(Path(__file__).parent))  # not there where Python is told to be safe

from dynamodb_stub import until_input_ends

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

SECRET = os.environ["IOT_SECRETS"]
TABLE_NAME = os.environ["TABLE_NAME"]
AWS = {"region_name": os.environ["AWS_REGION"], "endpoint_url": os.environ["AWS_ENDPOINT_URL"]}


class Reading(BaseModel):
    """What a device says."""

    deviceId: str  # noqa: N815 - the message's name for it
    temp: Decimal
    ts: str | None = None


def make_app(put: Callable[[Reading, str, str], Any], *, threads: int | None) -> FastAPI:
    """Make the application.

    Args:
        put: writes a reading by its sort key and message id.
        threads: handlers at once; None: as many as come by themselves.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        if threads is not None:
            anyio.to_thread.current_default_thread_limiter().total_tokens = threads
        yield

    app = FastAPI(lifespan=lifespan)

    @app.post("/ingest")
    def ingest(
        reading: Reading,
        x_message_id: Annotated[str, Header()],
        x_received_at: Annotated[int, Header()],
        x_iot_secret: Annotated[str, Header()],
    ) -> dict[str, str]:
        if not hmac.compare_digest(x_iot_secret, SECRET):
            raise HTTPException(403)
        at = datetime.fromtimestamp(x_received_at / 1000, UTC).isoformat(timespec="milliseconds")
        put(reading, f"{at}#{x_message_id}", x_message_id)
        return {"stored": x_message_id}

    return app


def putting_by_table() -> Callable[[Reading, str, str], Any]:
    """Write through boto3's `Table`."""
    table = boto3.resource("dynamodb", **AWS).Table(TABLE_NAME)

    def put(reading: Reading, sort_key: str, message_id: str) -> None:
        item = {"deviceId": reading.deviceId, "received_at": sort_key, "temperature": reading.temp}
        table.put_item(Item={**item, "message_id": message_id, "ts": reading.ts})

    return put


def putting_by_client(connections: int) -> Callable[[Reading, str, str], Any]:
    """Write through the low-level client, with so many connections."""
    client = boto3.client("dynamodb", **AWS, config=Config(max_pool_connections=connections))

    def put(reading: Reading, sort_key: str, message_id: str) -> None:
        item = {
            "deviceId": {"S": reading.deviceId},
            "received_at": {"S": sort_key},
            "temperature": {"N": str(reading.temp)},
            "message_id": {"S": message_id},
            "ts": {"S": reading.ts or ""},
        }
        client.put_item(TableName=TABLE_NAME, Item=item)

    return put


async def serve(app: FastAPI) -> None:
    """Serve an application at a free port with uvicorn, until standard input ends."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=4096)
    # uvloop and httptools are what it takes by itself where they are installed; its access log would cost the most.
    server = uvicorn.Server(uvicorn.Config(app, access_log=False, log_level="warning", loop="uvloop", http="httptools"))
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    print(json.dumps({"port": listening.getsockname()[1]}), flush=True)  # who connects early waits
    await until_input_ends()
    server.should_exit = True
    await serving


def main() -> None:
    """Serve by the command line's choices."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--style", choices=("table", "client"), default="table")
    parser.add_argument("--threads", type=int, help="handlers at once; connections for style client; default 40 and 10")
    options = parser.parse_args()
    put = putting_by_table() if options.style == "table" else putting_by_client(options.threads or 10)
    app = make_app(put, threads=options.threads)
    with asyncio.Runner(loop_factory=uvicorn.Config(app, loop="uvloop").get_loop_factory()) as runner:
        runner.run(serve(app))


if __name__ == "__main__":
    main()
