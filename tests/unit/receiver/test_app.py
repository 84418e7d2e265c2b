"""The routes: in which order a message is checked, what is answered, counted and logged, and when a row is written."""

from __future__ import annotations

import asyncio
import json
import logging
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from receiver import app as app_module
from receiver.app import MAX_BODY_BYTES, make_app
from receiver.confirmation import MAX_AT_ONCE, HttpFetch
from receiver.errors import NotConfirmed, WriteFailed
from receiver.reading import Row
from receiver.store import DynamoStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from receiver.settings import Settings
    from tests.unit.receiver.conftest import Service

SECRET = "the-current-secret"
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
    assert await service.metric("receiver_rows_written_total") == 1
    assert await service.metric("receiver_write_seconds_count") == 1


async def test_a_message_without_time_and_id_gets_both(service: Service) -> None:
    """A rule sends empty headers for a message that was published over HTTPS."""
    await service.post(X_Message_Id="", X_Received_At="", X_Client_Id="n/a")
    await service.post(X_Message_Id=None, X_Received_At=None, X_Client_Id="n/a")

    one, other = service.store.rows
    assert one == other
    assert one.sort_key == f"2026-11-21T20:01:02.123Z#{one.message_id}"
    assert len(one.message_id) == 32


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
        (b'{"temp":' + b"9" * 130_000 + b"}", "deviceId is missing"),
        (b"", "the body is not JSON, at line 1, column 1"),
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


async def test_the_longest_message_is_taken(service: Service) -> None:
    """As long as AWS IoT takes it."""
    frame = b'{"deviceId":"device-1","temp":1,"ts":"%s"}'
    content = frame % (b"x" * (MAX_BODY_BYTES - len(frame) + 2))
    assert len(content) == MAX_BODY_BYTES

    assert (await service.post(content=content)).status_code == 200
    answer = await service.post(content=content + b" ")
    assert (answer.status_code, answer.headers["connection"]) == (413, "close")
    assert await service.metric("receiver_requests_total", outcome="too_large") == 1
    assert len(service.store.rows) == 1


async def test_a_declared_length_is_enough_to_refuse(service: Service) -> None:
    """Before anything is read, and whatever the secret."""
    answer = await service.post(content=b"", Content_Length="131073", X_Iot_Secret="wrong")
    assert answer.status_code == 413

    for odd in ("-1", "1e3", "9" * 5000):
        assert (await service.post(content=b"", Content_Length=odd)).status_code == 413


class Pieces:
    """A body without a declared length."""

    def __init__(self, piece: bytes, count: int) -> None:
        self.piece = piece
        self.count = count
        self.taken = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Give the pieces."""
        for _ in range(self.count):
            self.taken += 1
            yield self.piece


async def test_an_endless_body_is_not_read_to_its_end(service: Service) -> None:
    """Reading stops where it is too much, and the connection ends."""
    pieces = Pieces(b"x" * 1024, 100_000)
    answer = await service.client.post("/ingest", content=pieces, headers={"x-iot-secret": SECRET})

    assert (answer.status_code, answer.headers["connection"]) == (413, "close")
    assert pieces.taken <= MAX_BODY_BYTES // 1024 + 2


async def test_nothing_is_read_of_who_has_no_secret(service: Service) -> None:
    """Their connection ends when nobody knows how much there is to come."""
    pieces = Pieces(b"x" * 1024, 100_000)
    answer = await service.client.post("/ingest", content=pieces)

    assert (answer.status_code, answer.headers["connection"]) == (403, "close")
    assert pieces.taken == 0


async def test_a_body_in_pieces_is_one_body(service: Service) -> None:
    """As HTTP/1.1 may send it."""
    pieces = Pieces(b'{"deviceId":"n", "temp" : 1}', 1)
    answer = await service.client.post(
        "/ingest", content=pieces, headers={"x-iot-secret": SECRET, "x-client-id": "n/a"}
    )

    assert answer.status_code == 200


async def call(service: Service, events: list[dict[str, Any]], *, path: str = "/ingest") -> list[dict[str, Any]]:
    """Call the application as a server does, with what its client sends; waits for ever after the last event."""
    sent: list[dict[str, Any]] = []
    coming = iter(events)

    async def receive() -> dict[str, Any]:
        event = next(coming, None)
        return event if event is not None else await asyncio.Event().wait() and {}

    async def send(message: Any) -> None:
        sent.append(dict(message))

    headers = [(b"x-iot-secret", SECRET.encode()), (b"content-length", b"100")]
    scope = {"type": "http", "method": "POST", "path": path, "headers": headers, "query_string": b""}
    await service.app(scope, receive, send)
    return sent


async def test_a_client_that_leaves_is_counted(service: Service) -> None:
    """It writes nothing, and is no error."""
    events = [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}]
    await call(service, events)

    assert await service.metric("receiver_requests_total", outcome="abandoned") == 1
    assert service.store.rows == []


async def test_a_client_that_dawdles_is_left(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret is no licence to hold a request open."""
    monkeypatch.setattr(app_module, "_BODY_SECONDS", 0)
    sent = await call(service, [])

    assert sent[0]["status"] == 408
    assert (b"connection", b"close") in sent[0]["headers"]
    assert await service.metric("receiver_requests_total", outcome="abandoned") == 1


@pytest.mark.parametrize("kind", ["throttled", "denied", "no_table", "refused", "unavailable", "busy"])
async def test_a_row_that_cannot_be_written_is_asked_for_again(service: Service, kind: Any) -> None:
    """503 lets the rule try again, on the same connection."""
    service.store.error = WriteFailed(kind, "SomeException", "User arn:aws:… is not authorized")
    answer = await service.post()

    assert (answer.status_code, answer.json()) == (503, {"detail": "the row was not written (SomeException)"})
    assert answer.headers["retry-after"] == "1"
    assert "connection" not in answer.headers
    assert await service.metric("receiver_requests_total", outcome="write_failed") == 1
    assert await service.metric("receiver_write_failures_total", kind=kind) == 1
    assert await service.metric("receiver_rows_written_total") == 0
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
        ("DEBUG", "row written", {"message_id": message_id}),
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
    assert (await confirm(service, content=b"x" * (MAX_BODY_BYTES + 1))).status_code == 413
    pieces = Pieces(b"x" * 1024, 100_000)
    answer = await confirm(service, content=pieces)

    assert (answer.status_code, answer.headers["connection"]) == (413, "close")
    assert pieces.taken <= MAX_BODY_BYTES // 1024 + 2
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

    assert (await confirm(service)).status_code == 503
    gate.set()
    assert {answer.status_code for answer in await asyncio.gather(*waiting)} == {200}
    assert await service.metric("receiver_confirmations_total", outcome="busy") == 1
    assert (await confirm(service)).status_code == 200


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
            await client.get("/metrics")
        assert done == ["warm"]
    assert done == ["warm", "DynamoStore", "HttpFetch"]


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


async def test_the_clock_is_the_world_s_unless_told_otherwise() -> None:
    """In UTC."""
    assert app_module._now().utcoffset().total_seconds() == 0  # type: ignore[union-attr] # it is aware
