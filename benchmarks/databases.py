"""What stands for DynamoDB while the receiver is measured: a stub that costs next to nothing, or moto's server."""

from __future__ import annotations

import json
import sys
import urllib.request
from typing import Any, Final, Protocol, Self

import boto3
from processes import HERE, REGION, TABLE_NAME, Cores, Process

_MOTO: Final = """
import json, sys
from moto.moto_server.threaded_moto_server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(json.dumps({"port": server.get_host_and_port()[1]}), flush=True)
sys.stdin.read()
"""
_KEYS: Final = {"deviceId": "HASH", "received_at": "RANGE"}


class Database(Protocol):
    """A process with the table of readings."""

    url: str

    def rows(self) -> int:
        """Return how many different rows were written so far."""

    def calls(self) -> int:
        """Return how many calls wrote them; 0 where nobody counts them."""

    def __enter__(self) -> Self:
        """Run."""

    def __exit__(self, *_: object) -> None:
        """End."""


class Stub:
    """`dynamodb_stub` in a process of its own.

    Args:
        cores: where it runs.
        milliseconds: until each answer.
    """

    def __init__(self, cores: Cores, *, milliseconds: float = 5.0) -> None:
        command = [sys.executable, str(HERE / "dynamodb_stub.py"), "--milliseconds", str(milliseconds)]
        self._process = Process(command, cores=set(cores.others), environment={})
        self.url = self._process.url

    def __enter__(self) -> Self:
        """Run."""
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._process.stop()

    def rows(self) -> int:
        """Return how many different rows were written so far."""
        return self.counted()["distinct"]

    def calls(self) -> int:
        """Return how many calls wrote them."""
        counted = self.counted()
        return counted["puts"] + counted["batches"]

    def counted(self) -> dict[str, int]:
        """Return all that it has counted."""
        return self._ask(None)

    def behave(self, **how: float) -> None:
        """Change how calls are answered; see `dynamodb_stub.Behaviour`."""
        self._ask(json.dumps(how).encode())

    def _ask(self, body: bytes | None) -> dict[str, int]:
        with urllib.request.urlopen(self.url, body) as answer:  # noqa: S310 - on loopback
            told: dict[str, int] = json.load(answer)
            return told


class Moto:
    """moto's server in a process of its own, with the table.

    Args:
        cores: where it runs.
    """

    def __init__(self, cores: Cores) -> None:
        self._process = Process([sys.executable, "-c", _MOTO], cores=set(cores.others), environment={})
        self.url = self._process.url
        self._client: Any = boto3.client(
            "dynamodb",
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id="testing",
            aws_secret_access_key="testing",  # noqa: S106 - no secret
        )
        self._client.create_table(
            TableName=TABLE_NAME,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in _KEYS],
            KeySchema=[{"AttributeName": name, "KeyType": kind} for name, kind in _KEYS.items()],
        )

    def __enter__(self) -> Self:
        """Run."""
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._process.stop()

    def rows(self) -> int:
        """Return how many rows the table has."""
        count: int = self._client.describe_table(TableName=TABLE_NAME)["Table"]["ItemCount"]
        return count

    def calls(self) -> int:
        """Return nothing: moto counts none."""
        return 0
