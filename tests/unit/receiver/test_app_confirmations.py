"""The routes, asked to confirm a destination: who is believed, what is fetched, answered, counted and logged."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from receiver.app import make_app
from receiver.confirmation import MAX_AT_ONCE, MAX_BYTES
from receiver.errors import NotConfirmed
from receiver.store import DynamoStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from receiver.settings import Settings
    from tests.unit.receiver.conftest import Service

QUESTION = {
    "arn": "arn:aws:iot:us-east-1:123456789012:ruledestination/http/1f0f5e3c-0000-4000-8000-000000000000",
    "confirmationToken": "AYADeM-token",
    "enableUrl": "https://iot.us-east-1.amazonaws.com/confirmdestination/AYADeM-token",
    "messageType": "DestinationConfirmation",
}


async def confirm(service: Service, question: Any = None, *, path: str = "/ingest/", **options: Any) -> Any:
    """Post a destination's confirmation as AWS IoT does: without a secret."""
    options.setdefault("content", json.dumps(QUESTION if question is None else question))
    headers = {"x-amz-rules-engine-message-type": "DestinationConfirmation"}
    return await service.client.post(path, params={"confirmationToken": "AYADeM-token"}, headers=headers, **options)


async def pieces_of(piece: bytes, taken: list[int]) -> AsyncIterator[bytes]:
    """Give a body without a declared length, and without an end."""
    while True:
        taken.append(len(piece))
        yield piece


@pytest.mark.parametrize("path", ["/", "/ingest", "/ingest/"])
async def test_a_destination_is_confirmed(service: Service, path: str) -> None:
    """By fetching its enableUrl, without a secret, wherever the question comes."""
    answer = await confirm(service, path=path)

    assert (answer.status_code, answer.json()) == (200, {"confirmed": True})
    assert service.enabler.urls == ["https://iot.us-east-1.amazonaws.com:443/confirmdestination/AYADeM-token"]
    assert await service.metric("receiver_confirmations_total", outcome="confirmed") == 1
    assert service.store.rows == []


async def test_only_configured_origins_are_trusted(make_service: Callable[..., Service]) -> None:
    """Once there are some, AWS's own is none of them."""
    service = make_service(confirm_origins=("http://127.0.0.1:4001",))
    answer = await confirm(service)
    assert answer.status_code == 403
    assert "CONFIRM_ORIGINS" in answer.json()["detail"]
    assert service.enabler.urls == []
    assert await service.metric("receiver_confirmations_total", outcome="untrusted") == 1

    answer = await confirm(service, {**QUESTION, "enableUrl": "http://127.0.0.1:4001/confirmdestination/t"})
    assert answer.status_code == 200
    assert service.enabler.urls == ["http://127.0.0.1:4001/confirmdestination/t"]


@pytest.mark.parametrize(
    "question",
    [
        {**QUESTION, "messageType": "Other"},
        {**QUESTION, "enableUrl": None},
        {**QUESTION, "enableUrl": 7},
        {"messageType": "DestinationConfirmation"},
        [QUESTION],
        {},
    ],
)
async def test_a_question_that_is_none_is_refused(service: Service, question: Any) -> None:
    """Header and body must agree."""
    assert (await confirm(service, question)).status_code == 422
    assert service.enabler.urls == []
    assert await service.metric("receiver_confirmations_total", outcome="invalid") == 1


async def test_a_question_has_a_bounded_length(service: Service) -> None:
    """It is anybody's who asks."""
    assert (await confirm(service, content=b"{}".ljust(MAX_BYTES))).status_code == 422
    assert (await confirm(service, content=b"{}".ljust(MAX_BYTES + 1))).status_code == 413
    taken: list[int] = []
    answer = await confirm(service, content=pieces_of(b"x" * 1024, taken))

    assert (answer.status_code, answer.headers["connection"]) == (413, "close")
    assert len(taken) <= MAX_BYTES // 1024 + 2
    assert await service.metric("receiver_confirmations_total", outcome="too_large") == 2


@pytest.mark.parametrize("status", [201, 302, 400, 500])
async def test_an_enable_url_that_does_not_say_200_confirms_nothing(service: Service, status: int) -> None:
    """The question is answered with 502, so that AWS IoT's side shows it."""
    service.enabler.status = status
    answer = await confirm(service)

    assert (answer.status_code, answer.json()) == (502, {"detail": f"enableUrl answered {status}"})
    assert await service.metric("receiver_confirmations_total", outcome="not_confirmed") == 1


async def test_an_enable_url_that_does_not_answer_confirms_nothing(service: Service) -> None:
    """The kind of failure is told, the URL is not."""
    service.enabler.error = NotConfirmed("enableUrl gave no answer (ConnectError)")
    answer = await confirm(service)

    assert (answer.status_code, answer.json()) == (502, {"detail": "enableUrl gave no answer (ConnectError)"})


async def test_a_fault_of_our_own_confirms_nothing(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    """500, counted, in the log."""
    service.enabler.error = RuntimeError("AYADeM-token")

    assert (await confirm(service)).status_code == 500
    assert await service.metric("receiver_confirmations_total", outcome="error") == 1
    assert [record.getMessage() for record in caplog.records if record.exc_info] == ["destination not confirmed"]


async def test_few_confirmations_run_at_once(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anybody can ask; further ones are told to come again, and can once the others are through."""
    gate = asyncio.Event()
    under_way = asyncio.Semaphore(0)

    async def wait(self: Any, url: str) -> int:
        under_way.release()
        await gate.wait()
        return 200

    monkeypatch.setattr(type(service.enabler), "__call__", wait)
    waiting = [asyncio.create_task(confirm(service)) for _ in range(MAX_AT_ONCE)]
    for _ in waiting:
        await under_way.acquire()

    answer = await confirm(service)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert "connection" not in answer.headers
    gate.set()
    assert {answer.status_code for answer in await asyncio.gather(*waiting)} == {200}
    assert await service.metric("receiver_confirmations_total", outcome="busy") == 1
    assert (await confirm(service)).status_code == 200


async def test_who_dawdles_holds_up_no_confirmation(service: Service) -> None:
    """Strangers may open connections; those that send nothing take no place from one that does."""
    asked = asyncio.Semaphore(0)

    async def receive() -> Any:
        asked.release()
        return await asyncio.Event().wait()

    headers = [(b"x-amz-rules-engine-message-type", b"DestinationConfirmation"), (b"content-length", b"100")]
    scope = {"type": "http", "method": "POST", "path": "/", "headers": headers, "query_string": b""}
    dawdling = [asyncio.create_task(service.app(dict(scope), receive, None)) for _ in range(MAX_AT_ONCE)]
    for _ in dawdling:
        await asked.acquire()
    try:
        assert (await confirm(service)).status_code == 200
    finally:
        for task in dawdling:
            task.cancel()
        await asyncio.gather(*dawdling, return_exceptions=True)


async def test_a_confirmation_s_log_has_no_token(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    """The token is as good as the confirmation itself."""
    caplog.set_level(logging.DEBUG, "receiver")
    await confirm(service)
    await confirm(service, {**QUESTION, "enableUrl": "https://evil.example/AYADeM-token", "arn": "AYADeM-token"})

    told = str([record.__dict__ for record in caplog.records if record.name == "receiver"])
    assert "ruledestination/http/1f0f5e3c" in told
    assert "AYADeM-token" not in told


@pytest.mark.parametrize("value", ["Other", "destinationconfirmation", ""])
async def test_what_is_no_confirmation_is_a_message(service: Service, value: str) -> None:
    """Another type in that header opens no door: the secret is asked for."""
    answer = await service.client.post("/ingest", json=QUESTION, headers={"x-amz-rules-engine-message-type": value})

    assert answer.status_code == 403
    assert service.enabler.urls == []


async def test_what_rows_need_is_loaded_after_a_confirmation(
    settings_of: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for it: neither who waits for the confirmation nor, later, the first row."""
    done: list[str] = []

    async def fetch(_: str) -> int:
        done.append("confirmed")
        return 200

    monkeypatch.setattr(DynamoStore, "warm_up", lambda _: done.append("warm"))
    app = make_app(settings_of(), fetch=fetch)
    question = {
        "messageType": "DestinationConfirmation",
        "enableUrl": "https://iot.us-east-1.amazonaws.com/confirmdestination/token",
    }
    headers = {"x-amz-rules-engine-message-type": "DestinationConfirmation"}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://receiver") as client:
        assert (await client.post("/ingest/", json=question, headers=headers)).status_code == 200
    assert done == ["confirmed", "warm"]
