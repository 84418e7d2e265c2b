"""The routes: in which order a message is checked, what is answered, counted and logged, and when a row is written."""

from __future__ import annotations

import asyncio
import logging
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from receiver import app as app_module
from receiver.app import make_app
from receiver.confirmation import HttpFetch
from receiver.errors import WriteFailed
from receiver.metrics import Metrics
from receiver.reading import Row
from receiver.store import DynamoStore
from receiver.waiting import Limits

if TYPE_CHECKING:
    from collections.abc import Callable

    from receiver.settings import Settings
    from tests.unit.receiver.conftest import Endpoint, Service

SECRET = "the-current-secret"
READING = {"deviceId": "device-1", "temp": 21.5, "ts": "2026-11-21T20:01:00Z"}


async def test_a_message_becomes_a_row(service: Service) -> None:
    """With the time and id that the rule sends, and answered after the write."""
    answer = await service.post()

    assert (answer.status_code, answer.json()) == (200, {"stored": "11111111-2222-3333-4444-555555555555"})
    assert service.store.rows == [
        Row(
            device_id="device-1",
            sort_key="2026-11-21T20:01:02.123Z#11111111-2222-3333-4444-555555555555",
            message_id="11111111-2222-3333-4444-555555555555",
            temperature=Decimal("21.5"),
            ts="2026-11-21T20:01:00Z",
            ttl=None,
        )
    ]
    assert await service.metric("receiver_requests_total", outcome="stored") == 1
    assert await service.metric("receiver_write_seconds_count") == 1
    assert await service.metric("receiver_requests_in_progress") == 0


async def test_a_message_without_time_and_id_gets_both(service: Service) -> None:
    """A rule sends empty headers for a message that was published over HTTPS."""
    await service.post(X_Message_Id="", X_Received_At="", X_Client_Id="n/a")
    await service.post(X_Message_Id=None, X_Received_At=None, X_Client_Id="n/a")

    one, other = service.store.rows
    assert one == other
    assert one.sort_key == f"2026-11-21T20:01:02.123Z#{one.message_id}"
    assert len(one.message_id) == 32


async def test_what_a_device_says_of_id_time_and_client_is_not_heard(service: Service) -> None:
    """Of a single message these are in headers, which the rule makes."""
    forged = {"message_id": "forged", "received_at": 1, "client_id": "forged"}
    assert (await service.post({**READING, **forged})).json() == {"stored": "11111111-2222-3333-4444-555555555555"}
    await service.post({**READING, **forged}, X_Message_Id=None, X_Received_At=None)
    await service.post({**READING, "client_id": "device-1"}, X_Client_Id="device-2")

    one, other = service.store.rows
    assert one.sort_key == "2026-11-21T20:01:02.123Z#11111111-2222-3333-4444-555555555555"
    assert other.sort_key == f"2026-11-21T20:01:02.123Z#{other.message_id}"
    assert len(other.message_id) == 32
    assert await service.metric("receiver_requests_total", outcome="foreign_device") == 1


async def test_another_try_is_the_same_row(service: Service) -> None:
    """So that it is rewritten, not added."""
    await service.post()
    await service.post()

    assert service.store.rows[0] == service.store.rows[1]


async def test_a_row_expires_when_it_should(make_service: Callable[..., Service]) -> None:
    """TTL_DAYS after it was received."""
    service = make_service(ttl_days=30)
    await service.post()

    assert service.store.rows[0].ttl == 1_795_291_262 + 30 * 86_400


@pytest.mark.parametrize("secret", ["the-current-secret", "the-old-secret"])
async def test_every_accepted_secret_lets_in(service: Service, secret: str) -> None:
    """The current one and those that are going."""
    assert (await service.post(X_Iot_Secret=secret)).status_code == 200


@pytest.mark.parametrize("secret", [None, "", "wrong", "the-current-secret,the-old-secret"])
async def test_a_wrong_secret_writes_nothing(service: Service, secret: str | None) -> None:
    """Missing, empty or wrong: one answer for all."""
    answer = await service.post(X_Iot_Secret=secret)

    assert (answer.status_code, answer.json()) == (403, {"detail": "X-Iot-Secret is missing or wrong"})
    assert "connection" not in answer.headers
    assert service.store.rows == []
    assert await service.metric("receiver_requests_total", outcome="wrong_secret") == 1


async def test_two_copies_of_the_secret_are_one_too_many(service: Service) -> None:
    """Even if both are right."""
    headers = [("x-iot-secret", SECRET), ("x-iot-secret", SECRET), ("x-client-id", "device-1")]
    answer = await service.client.post("/ingest", json={"deviceId": "device-1", "temp": 1}, headers=headers)

    assert answer.status_code == 403
    assert service.store.rows == []


@pytest.mark.parametrize("name", ["X-Client-Id", "X-Message-Id", "X-Received-At"])
async def test_two_copies_of_a_header_are_one_too_many(service: Service, name: str) -> None:
    """Which of them the rule meant cannot be known."""
    headers = [("x-iot-secret", SECRET), ("x-client-id", "device-1"), (name, "1"), (name, "1")]
    answer = await service.client.post("/ingest", json={"deviceId": "device-1", "temp": 1}, headers=headers)

    assert (answer.status_code, answer.json()) == (422, {"detail": f"{name} is there more than once"})
    assert service.store.rows == []


async def test_a_client_id_is_utf_8(service: Service) -> None:
    """MQTT's client ids are, and a header carries their bytes."""
    reading = {"deviceId": "föhn", "temp": 1}
    headers = {b"x-iot-secret": SECRET.encode(), b"x-client-id": "föhn".encode()}
    assert (await service.client.post("/ingest", json=reading, headers=headers)).status_code == 200

    headers[b"x-client-id"] = "föhn".encode("latin-1")
    answer = await service.client.post("/ingest", json=reading, headers=headers)
    assert (answer.status_code, answer.json()) == (422, {"detail": "X-Client-Id is not UTF-8"})


@pytest.mark.parametrize("client_id", ["device-2", "", None])
async def test_a_foreign_device_writes_nothing(service: Service, client_id: str | None) -> None:
    """Nor does one of which the rule tells nothing."""
    answer = await service.post(X_Client_Id=client_id)

    assert answer.status_code == 403
    assert service.store.rows == []
    assert await service.metric("receiver_requests_total", outcome="foreign_device") == 1


@pytest.mark.parametrize("client_id", ["device-2", None])
async def test_a_foreign_device_is_taken_where_that_is_wanted(
    make_service: Callable[..., Service], client_id: str | None
) -> None:
    """REQUIRE_CLIENT_ID=false: gateways speak for many."""
    service = make_service(require_client_id=False)

    assert (await service.post(X_Client_Id=client_id)).status_code == 200
    assert len(service.store.rows) == 1


@pytest.mark.parametrize(
    ("content", "detail"),
    [
        (b"sensitive", "the body is not JSON, at line 1, column 1"),
        (b'{"deviceId":"device-1","temp":"sensitive"}', "temp must be a number"),
        (b'{"deviceId":"device-1","temp":true}', "temp must be a number"),
        (b"[" * 130_000, "the body is nested too deeply"),
        (b'{"temp":' + b"9" * 130_000 + b"}", "a number is beyond every range"),
        (b"", "the body is not JSON, at line 1, column 1"),
        (b"null", "the body must be a JSON object"),
    ],
)
async def test_an_invalid_message_writes_nothing(service: Service, content: bytes, detail: str) -> None:
    """What is wrong is said, what was sent is not repeated."""
    answer = await service.post(content=content)

    assert (answer.status_code, answer.json()) == (422, {"detail": detail})
    assert service.store.rows == []
    assert await service.metric("receiver_requests_total", outcome="invalid") == 1


async def test_fields_come_before_the_device(service: Service) -> None:
    """The first thing wrong is the answer."""
    answer = await service.post({"deviceId": "device-1", "temp": None}, X_Client_Id="device-2")
    assert answer.status_code == 422

    answer = await service.post(content=b"{", X_Iot_Secret="wrong")
    assert answer.status_code == 403


@pytest.mark.parametrize("kind", ["throttled", "denied", "no_table", "refused", "unavailable", "busy"])
async def test_a_row_that_cannot_be_written_is_asked_for_again(service: Service, kind: Any) -> None:
    """503 lets the rule try again, on the same connection."""
    service.store.error = WriteFailed(kind, "SomeException", "User arn:aws:… is not authorized")
    answer = await service.post()

    assert (answer.status_code, answer.json()) == (503, {"detail": "not known to be written (SomeException)"})
    assert answer.headers["retry-after"] == "1"
    assert "connection" not in answer.headers
    assert await service.metric("receiver_requests_total", outcome="write_failed") == 1
    assert await service.metric("receiver_write_failures_total", kind=kind) == 1
    assert await service.metric("receiver_write_seconds_count") == 1
    service.store.error = None
    assert (await service.post()).status_code == 200


async def test_a_fault_of_our_own_is_told_to_the_log_alone(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    """500, counted; the connection and the next message are none the worse."""
    service.store.error = RuntimeError("device-1 said 21.5")
    answer = await service.post()

    assert (answer.status_code, answer.json()) == (500, {"detail": "something went wrong here; the log says what"})
    assert await service.metric("receiver_requests_total", outcome="error") == 1
    assert [record.getMessage() for record in caplog.records if record.exc_info] == ["message not taken"]


async def test_a_log_names_messages_and_no_more(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    """The id, what became of it and why; no device, no value, no secret."""
    caplog.set_level(logging.DEBUG, "receiver")
    await service.post()
    await service.post(X_Iot_Secret="a-wrong-secret", X_Message_Id="evil\tid")
    await service.post(content=b'{"deviceId":"device-1","temp":"hot"}')
    service.store.error = WriteFailed("denied", "AccessDeniedException", "User arn:aws:… is not authorized")
    await service.post()

    records = [record for record in caplog.records if record.name == "receiver"]
    told = [(record.levelname, record.getMessage(), record.__dict__["about"]) for record in records]
    message_id = "11111111-2222-3333-4444-555555555555"
    assert told == [
        ("DEBUG", "rows written", {"message_id": message_id}),
        (
            "INFO",
            "message refused",
            {"outcome": "wrong_secret", "message_id": None, "because": "X-Iot-Secret is missing or wrong"},
        ),
        (
            "INFO",
            "message refused",
            {"outcome": "invalid", "message_id": message_id, "because": "temp must be a number"},
        ),
        (
            "WARNING",
            "message refused",
            {
                "outcome": "write_failed",
                "message_id": message_id,
                "kind": "denied",
                "code": "AccessDeniedException",
                "because": "User arn:aws:… is not authorized",
            },
        ),
    ]


async def test_a_process_is_live_and_ready(service: Service) -> None:
    """From the start."""
    for path, content in (("/livez", {"live": True}), ("/readyz", {"ready": True})):
        answer = await service.client.get(path)
        assert (answer.status_code, answer.json()) == (200, content)


@pytest.mark.parametrize("reason", ["ending", "full"])
async def test_a_process_that_takes_nothing_more_is_live_and_not_ready(service: Service, reason: str) -> None:
    """It should not be killed for that, only left alone; the load balancer's check stays as it is."""
    service.app.state.is_ending = reason == "ending"
    service.store.is_full = reason == "full"
    answer = await service.client.get("/readyz")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json()["ready"] is False
    assert [(await service.client.get(path)).status_code for path in ("/livez", "/metrics")] == [200, 200]

    service.app.state.is_ending = service.store.is_full = False
    assert (await service.client.get("/readyz")).status_code == 200


async def test_metrics_are_there_while_nothing_can_be_written(service: Service) -> None:
    """However many requests wait."""
    service.store.gate.clear()
    service.store.is_full = True
    waiting = [asyncio.create_task(service.post()) for _ in range(200)]
    for _ in waiting:
        await service.store.arrived.acquire()
    assert await service.metric("receiver_requests_in_progress") == 200
    assert {task.done() for task in waiting} == {False}

    service.store.gate.set()
    assert {answer.status_code for answer in await asyncio.gather(*waiting)} == {200}


async def test_a_table_that_does_not_answer_holds_up_nothing_else(
    settings_of: Callable[..., Settings], endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many rows wait as may, further ones are refused at once, and everything that tells of it is there."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "made-up")
    endpoint.gate.clear()
    settings = settings_of(aws_endpoint_url=endpoint.url, require_client_id=False)
    store = DynamoStore(settings, metrics=Metrics(), limits=Limits(rows=100, budget=60))
    transport = httpx.ASGITransport(make_app(settings, store=store))
    async with httpx.AsyncClient(transport=transport, base_url="http://receiver") as client:
        client.headers["x-iot-secret"] = SECRET
        waiting = []
        while (await client.get("/readyz")).status_code == 200:
            batch = [{"deviceId": f"{len(waiting)}-{number}", "temp": number} for number in range(25)]
            waiting.append(asyncio.create_task(client.post("/ingest", json=batch)))
            await asyncio.sleep(0)
        await asyncio.to_thread(endpoint.arrived.wait, 30)

        refused = await client.post("/ingest", json=READING)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert [(await client.get(path)).status_code for path in ("/livez", "/metrics")] == [200, 200]
        assert [task.done() for task in waiting] == [False] * 4

        endpoint.gate.set()
        assert [answer.status_code for answer in await asyncio.gather(*waiting)] == [200] * 4
        assert (await client.get("/readyz")).status_code == 200
    await store.close()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/", 404),
        ("POST", "/metrics", 405),
        ("GET", "/ingest", 405),
        ("GET", "/", 405),
        ("POST", "/ingest//", 404),
        ("GET", "/docs", 404),
        ("GET", "/openapi.json", 404),
        ("GET", "/metrics/", 404),
        ("GET", "/openapi", 404),
        ("POST", "/livez", 405),
        ("POST", "/readyz", 405),
    ],
)
async def test_there_is_nothing_else(service: Service, method: str, path: str, status: int) -> None:
    """No redirect, no generated page."""
    answer = await service.client.request(method, path, headers={"x-iot-secret": SECRET})

    assert answer.status_code == status
    assert service.store.rows == []


async def test_an_application_brings_its_own_store(
    settings_of: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    """DynamoDB and HTTP unless told otherwise, closed with the application; loaded by the first look from outside."""
    done: list[str] = []

    async def closed(self: object) -> None:
        done.append(type(self).__name__)

    monkeypatch.setattr(DynamoStore, "close", closed)
    monkeypatch.setattr(DynamoStore, "warm_up", lambda _: done.append("warm"))
    monkeypatch.setattr(HttpFetch, "close", closed)
    app = make_app(settings_of())
    async with app.router.lifespan_context(app):
        assert done == []
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://receiver") as client:
            for path in ("/metrics", "/livez", "/readyz"):
                await client.get(path)
        assert done == ["warm"] * 3
    assert done == ["warm"] * 3 + ["DynamoStore", "HttpFetch"]


async def test_the_clock_is_the_world_s_unless_told_otherwise() -> None:
    """In UTC."""
    assert app_module._now().utcoffset().total_seconds() == 0  # type: ignore[union-attr] # it is aware
