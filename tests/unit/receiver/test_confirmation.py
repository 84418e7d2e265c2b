"""Fetching an enableUrl over real HTTP: no redirect, no proxy, no reading, no waiting."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING

import pytest

from receiver import confirmation as confirmation_module
from receiver.confirmation import HttpFetch, parse_confirmation
from receiver.errors import NotConfirmed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.unit.receiver.conftest import Endpoint


@pytest.fixture
async def fetch() -> AsyncIterator[HttpFetch]:
    """Make what fetches."""
    made = HttpFetch()
    yield made
    await made.close()


@pytest.fixture(autouse=True)
def _quick_trust_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """These URLs are HTTP: nothing of the public CAs is needed."""
    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", lambda *_, **__: None)


async def test_a_url_is_fetched(fetch: HttpFetch, endpoint: Endpoint) -> None:
    """Again and again, with one client."""
    assert await fetch(f"{endpoint.url}/confirmdestination/a%2Fb") == 200
    assert await fetch(f"{endpoint.url}/confirmdestination/c") == 200
    assert endpoint.requests == ["GET /confirmdestination/a%2Fb", "GET /confirmdestination/c"]


async def test_first_fetches_at_once_share_one_client(
    fetch: HttpFetch, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was made beside it would never be closed."""
    made: list[object] = []
    make = confirmation_module._make_client
    monkeypatch.setattr(confirmation_module, "_make_client", lambda: made.append(None) or make())

    urls = [f"{endpoint.url}/confirmdestination/{number}" for number in range(4)]
    assert await asyncio.gather(*map(fetch, urls)) == [200] * 4
    assert len(made) == 1


async def test_a_redirect_is_an_answer(fetch: HttpFetch, endpoint: Endpoint) -> None:
    """Not a way to elsewhere."""
    endpoint.answers = [(302, b"")]

    assert await fetch(f"{endpoint.url}/confirmdestination/a") == 302
    assert len(endpoint.requests) == 1


async def test_a_proxy_is_not_asked(fetch: HttpFetch, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is anything else of the environment."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    assert await fetch(f"{endpoint.url}/confirmdestination/a") == 200


async def test_a_long_answer_is_not_read(fetch: HttpFetch, endpoint: Endpoint) -> None:
    """Its status is all that is wanted."""
    endpoint.answers = [(500, b"x" * 10_000_000)]

    assert await fetch(f"{endpoint.url}/confirmdestination/a") == 500


async def test_nobody_there_is_told_without_the_url(fetch: HttpFetch) -> None:
    """Its token may still be used."""
    with pytest.raises(NotConfirmed, match=r"^enableUrl gave no answer \(ConnectError\)$"):
        await fetch("http://127.0.0.1:9/confirmdestination/a")


async def test_an_answer_that_does_not_come_is_not_waited_for(
    fetch: HttpFetch, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is a time for all of it together."""
    await fetch(f"{endpoint.url}/confirmdestination/a")
    monkeypatch.setattr(confirmation_module, "_SECONDS", 0.05)
    endpoint.gate.clear()

    with pytest.raises(NotConfirmed, match="TimeoutError"):
        await fetch(f"{endpoint.url}/confirmdestination/b")


async def test_an_answer_that_breaks_off_is_told(fetch: HttpFetch, endpoint: Endpoint) -> None:
    """By its kind."""
    endpoint.answers = [(0, b"")]

    with pytest.raises(NotConfirmed, match="RemoteProtocolError"):
        await fetch(f"{endpoint.url}/confirmdestination/a")


async def test_closing_without_having_fetched_is_nothing() -> None:
    """Most receivers never confirm anything."""
    await HttpFetch().close()


def test_a_destination_is_told_if_it_is_one() -> None:
    """What goes into the log has a destination's shape."""
    body = b'{"messageType":"DestinationConfirmation","enableUrl":"u","arn":%s}'
    arn = "arn:aws:iot:us-east-1:123456789012:ruledestination/http/1f0f5e3c-0000"

    assert parse_confirmation(body % f'"{arn}"'.encode()).arn == arn
    for other in (b'"a secret"', b"7", b"null"):
        assert parse_confirmation(body % other).arn is None
