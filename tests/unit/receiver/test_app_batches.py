"""The route, given a batch: all of it is stored or nothing, and what is answered, counted and logged."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Any

import pytest

from receiver.errors import WriteFailed

if TYPE_CHECKING:
    from tests.unit.receiver.conftest import Service

NO_HEADERS: dict[str, Any] = {"X_Message_Id": None, "X_Received_At": None, "X_Client_Id": None}
BATCH = [
    {
        "deviceId": f"device-{number}",
        "temp": number,
        "message_id": f"m{number}",
        "received_at": 1795291262123,
        "client_id": f"device-{number}",
    }
    for number in range(1, 4)
]


@pytest.mark.parametrize("path", ["/ingest", "/ingest/"])
async def test_a_batch_is_stored_in_one_go(service: Service, path: str) -> None:
    """The store is given all rows at once, and the answer names them."""
    answer = await service.post(BATCH, path=path, **NO_HEADERS)

    assert (answer.status_code, answer.json()) == (200, {"stored": ["m1", "m2", "m3"]})
    assert [[row.message_id for row in rows] for rows in service.store.puts] == [["m1", "m2", "m3"]]
    assert await service.metric("receiver_requests_total", outcome="stored") == 1
    assert await service.metric("receiver_write_seconds_count") == 1


async def test_a_batch_of_one_is_a_batch(service: Service) -> None:
    """Also with space before it; and the headers of its last message are no hindrance."""
    content = b"\r\n\t " + json.dumps(BATCH[:1]).encode()
    answer = await service.post(content=content, X_Message_Id="m1")

    assert (answer.status_code, answer.json()) == (200, {"stored": ["m1"]})


async def test_a_batch_is_answered_when_it_is_durable(service: Service) -> None:
    """Not before."""
    service.store.gate.clear()
    posting = asyncio.create_task(service.post(BATCH, **NO_HEADERS))
    await service.store.arrived.acquire()
    assert not posting.done()

    service.store.gate.set()
    assert (await posting).status_code == 200


@pytest.mark.parametrize(
    ("changes", "status", "detail", "outcome"),
    [
        ({"temp": "hot"}, 422, "element 2: temp must be a number", "invalid"),
        (
            {"client_id": "device-1"},
            403,
            "element 2: deviceId is not the client id of the connection that the message came over",
            "foreign_device",
        ),
    ],
)
async def test_one_wrong_element_refuses_the_batch(
    service: Service, changes: dict[str, Any], status: int, detail: str, outcome: str
) -> None:
    """It is named; nothing is written of the others."""
    answer = await service.post([*BATCH[:2], {**BATCH[2], **changes}], **NO_HEADERS)

    assert (answer.status_code, answer.json()) == (status, {"detail": detail, "element": 2})
    assert "connection" not in answer.headers
    assert service.store.puts == []
    assert await service.metric("receiver_requests_total", outcome=outcome) == 1
    assert (await service.post(BATCH, **NO_HEADERS)).status_code == 200


@pytest.mark.parametrize(
    ("content", "detail"),
    [
        (b"[]", "the body must not be an empty array"),
        (b" [ ] ", "the body must not be an empty array"),
        (b"[" + b"0," * 26 + b"0]", "element 0: a message must be a JSON object"),
        (b'[{"deviceId":"d","temp":1}', "the body is not JSON, at line 1, column 27"),
    ],
)
async def test_what_is_no_batch_is_refused(service: Service, content: bytes, detail: str) -> None:
    """As what is no message."""
    answer = await service.post(content=content, **NO_HEADERS)

    assert (answer.status_code, answer.json()["detail"]) == (422, detail)
    assert service.store.puts == []


async def test_a_batch_is_secret_s_affair_too(service: Service) -> None:
    """Nothing is read before."""
    answer = await service.post(BATCH, X_Iot_Secret="wrong", **NO_HEADERS)

    assert (answer.status_code, answer.json()) == (403, {"detail": "X-Iot-Secret is missing or wrong"})


async def test_an_array_of_a_device_is_refused(service: Service) -> None:
    """With the headers of a rule that makes no batches."""
    answer = await service.post(BATCH, X_Client_Id="device-1")

    assert answer.status_code == 422
    assert "it is no batch" in answer.json()["detail"]
    assert service.store.puts == []


async def test_a_batch_that_cannot_be_written_is_asked_for_again(service: Service) -> None:
    """As a whole: a row that is there already is rewritten."""
    service.store.error = WriteFailed("throttled", "ThrottlingException")
    answer = await service.post(BATCH, **NO_HEADERS)

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json() == {"detail": "not known to be written (ThrottlingException)"}
    assert "connection" not in answer.headers


async def test_a_log_names_the_messages_of_a_batch(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    """Or the element that is wrong; no device, no value."""
    caplog.set_level(logging.DEBUG, "receiver")
    await service.post(BATCH, **{**NO_HEADERS, "X_Message_Id": "m3"})
    await service.post([BATCH[0], {**BATCH[1], "temp": "hot"}], **NO_HEADERS)
    service.store.error = WriteFailed("busy", "TooManyRowsWaiting")
    await service.post(BATCH, **NO_HEADERS)

    told = [record.__dict__["about"] for record in caplog.records if record.name == "receiver"]
    assert told == [
        {"message_id": "m3", "message_ids": ["m1", "m2", "m3"]},
        {"message_id": None, "outcome": "invalid", "because": "element 1: temp must be a number", "element": 1},
        {
            "message_id": None,
            "message_ids": ["m1", "m2", "m3"],
            "outcome": "write_failed",
            "kind": "busy",
            "code": "TooManyRowsWaiting",
            "because": None,
        },
    ]
