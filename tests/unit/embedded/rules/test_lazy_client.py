"""The HTTP client before there is one."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.embedded.rules.lazy_client import LazyHttpClient, receivers_tls

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def client(tls: ssl.SSLContext) -> AsyncIterator[LazyHttpClient]:
    """One that has not loaded anything."""
    made = LazyHttpClient(tls, loop=asyncio.get_running_loop())
    yield made
    await made.aclose()


async def test_requests_are_sent_once_the_client_is_loaded(
    client: LazyHttpClient, receiver: Any, request_to: Any
) -> None:
    """Whoever comes first; all share one client and its connections."""
    client.load()
    client.load()
    await asyncio.gather(client.ready(), client.ready())
    for _ in range(2):
        answer = await client.post(request_to(receiver.url), within=30.0)
        assert answer.status == 200

    assert receiver.connections == 1


async def test_a_client_that_was_never_needed_can_be_closed(client: LazyHttpClient) -> None:
    """There is nothing to close."""
    await client.aclose()


def test_no_authority_is_trusted_but_those_named(identity: Any) -> None:
    """Not the system's."""
    assert receivers_tls([]).cert_store_stats()["x509_ca"] == 0
    context = receivers_tls([str(identity.ca)])

    assert context.cert_store_stats()["x509_ca"] == 1
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


def test_an_authority_that_cannot_be_read_is_an_error_at_the_start(tmp_path: Path) -> None:
    """Not at the first message."""
    with pytest.raises(FileNotFoundError):
        receivers_tls([str(tmp_path / "nowhere.pem")])


def test_a_broker_without_rules_loads_neither_the_parser_nor_the_client() -> None:
    """Both take longer than the broker takes to start."""
    program = "import sys, harness.embedded.__main__; print(*sys.modules)"
    root = Path(__file__).parents[4]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, check=True, capture_output=True, text=True)
    loaded = set(done.stdout.split())

    assert "harness.embedded.rules.engine" in loaded
    assert loaded & {"aiohttp", "lark", "harness.iot.rules", "harness.embedded.rules.runner"} == set()
