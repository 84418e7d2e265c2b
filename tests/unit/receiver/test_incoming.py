"""Bodies as they come: too long, in pieces, not at all."""

from __future__ import annotations

import asyncio
import time
import tracemalloc
from typing import TYPE_CHECKING, Any

from receiver import incoming
from receiver.incoming import MAX_BODY_BYTES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    import pytest

    from tests.unit.receiver.conftest import Service

SECRET = "the-current-secret"


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

    for odd in ("-1", "1e3", "9" * 5000, "0" * 30 + "131073", "131073.0"):
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

    async def pieces() -> AsyncIterator[bytes]:
        for piece in (b'{"devic', b'eId":"n", "te', b"", b'mp" : 1}'):
            yield piece

    headers = {"x-iot-secret": SECRET, "x-client-id": "n/a"}
    answer = await service.client.post("/ingest", content=pieces(), headers=headers)

    assert answer.status_code == 200
    assert [row.device_id for row in service.store.rows] == ["n"]


async def call(service: Service, events: list[dict[str, Any]], *, path: str = "/ingest") -> list[dict[str, Any]]:
    """Call the application as a server does, with what its client sends; waits for ever after the last event."""
    coming = iter(events)

    async def receive() -> dict[str, Any]:
        event = next(coming, None)
        return event if event is not None else await asyncio.Event().wait() and {}

    return await serve(service, receive, path=path)


async def serve(
    service: Service, receive: Callable[[], Awaitable[dict[str, Any]]], *, path: str = "/ingest"
) -> list[dict[str, Any]]:
    """Call the application with whatever `receive` gives."""
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(dict(message))

    headers = [(b"x-iot-secret", SECRET.encode()), (b"content-length", b"100"), (b"x-client-id", b"n/a")]
    scope = {"type": "http", "method": "POST", "path": path, "headers": headers, "query_string": b""}
    await service.app(scope, receive, send)
    return sent


async def test_a_client_that_leaves_is_counted(service: Service) -> None:
    """It writes nothing, and is no error."""
    events = [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}]
    await call(service, events)

    assert await service.metric("receiver_requests_total", outcome="abandoned") == 1
    assert service.store.rows == []


async def test_the_time_of_a_request_begins_with_its_headers(service: Service) -> None:
    """However long its body takes: a rule that waits for the answer has begun to wait by then."""
    began = time.monotonic()
    last_came: list[float] = []

    async def receive() -> dict[str, Any]:
        last_came.append(time.monotonic())
        return {"type": "http.request", "body": b'{"deviceId":"n","temp":1}', "more_body": False}

    await serve(service, receive)

    assert service.store.arrived_at is not None
    assert began <= service.store.arrived_at <= last_came[0]
    assert len(service.store.rows) == 1


async def test_a_body_is_not_kept_while_its_row_waits(service: Service) -> None:
    """As many wait as may, and what a row does not hold would be the most of it."""
    padding = MAX_BODY_BYTES - 100

    async def receive() -> dict[str, Any]:
        body = b'{"deviceId":"n","temp":1,"other":"%s"}' % (b"x" * padding)
        return {"type": "http.request", "body": body, "more_body": False}

    async def wait() -> asyncio.Task[Any]:
        task = asyncio.create_task(serve(service, receive))
        await service.store.arrived.acquire()
        return task

    await (await wait())
    service.store.gate.clear()
    tracemalloc.start()
    waiting = [await wait() for _ in range(10)]
    taken, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    service.store.gate.set()
    await asyncio.gather(*waiting)

    assert most > padding
    assert taken < len(waiting) * padding / 2
    assert len(service.store.rows) == 11


async def test_a_client_that_dawdles_is_left(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret is no licence to hold a request open."""
    monkeypatch.setattr(incoming, "BODY_SECONDS", 0)
    sent = await call(service, [])

    assert sent[0]["status"] == 408
    assert (b"connection", b"close") in sent[0]["headers"]
    assert await service.metric("receiver_requests_total", outcome="abandoned") == 1
