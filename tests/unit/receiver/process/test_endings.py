"""How a process ends: what was accepted is answered, and what was answered is in the table."""

from __future__ import annotations

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import TYPE_CHECKING

import httpx
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.receiver.process.conftest import Endpoint, Process

WORKERS = ("1", "2")
POSTS = 40
READING = {"deviceId": "device-1", "temp": 1}


def post(process: Process, message_id: str) -> tuple[str, int]:
    """Post one message on a connection of its own; give its id and the answer's status."""
    with process.new_client() as client:
        return message_id, process.post(READING, message_id=message_id, client=client).status_code


@pytest.mark.parametrize("workers", WORKERS)
def test_a_receiver_that_is_told_to_end_answers_what_it_has_accepted(
    start: Callable[..., Process], endpoint: Endpoint, workers: str
) -> None:
    """SIGTERM while rows wait: no new connection, all rows, all answers, exit code 0, nothing left behind."""
    process = start(AWS_ENDPOINT_URL=endpoint.url, WORKERS=workers)
    process.client.get("/metrics")  # an idle connection besides
    endpoint.gate.clear()
    with ThreadPoolExecutor(POSTS) as threads:
        answers = [threads.submit(post, process, f"message-{number}") for number in range(POSTS)]
        while process.metric("receiver_requests_in_progress") < POSTS:
            pass
        assert endpoint.rows == []
        process.process.send_signal(signal.SIGTERM)
        while process.is_listening():
            pass
        assert not any(answer.done() for answer in answers)
        endpoint.gate.set()
        statuses = dict(answer.result() for answer in answers)

    assert statuses == {f"message-{number}": 200 for number in range(POSTS)}
    assert endpoint.message_ids() == statuses.keys()
    assert process.process.wait(30) == 0
    assert list(process.errors_file.parent.glob("receiver-*")) == []


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_receiver_that_ends_under_load_has_the_row_of_every_message_it_took(
    start: Callable[..., Process], endpoint: Endpoint, how: signal.Signals, workers: str
) -> None:
    """Whichever way it ends: a 200 was never too early. What got no answer the rule sends again."""
    process = start(AWS_ENDPOINT_URL=endpoint.url, WORKERS=workers)
    stored: list[str] = []
    numbers = count()
    is_busy = threading.Event()

    def post_until_nobody_answers() -> None:
        with process.new_client() as client:
            for number in numbers:  # bounded by the receiver's end, which comes after the first hundred answers
                try:
                    answer = process.post(READING, message_id=f"message-{number}", client=client)
                except httpx.TransportError:
                    return
                assert answer.status_code in {200, 503}, answer.text  # 503: the machine was too busy for the budget
                if answer.status_code == 200:
                    stored.append(f"message-{number}")
                if len(stored) >= 100:
                    is_busy.set()

    with ThreadPoolExecutor(8) as threads:
        posting = [threads.submit(post_until_nobody_answers) for _ in range(8)]
        assert is_busy.wait(30)
        process.process.send_signal(how)
        for one in posting:
            one.result()

    assert process.process.wait(30) == (0 if how == signal.SIGTERM else -how)
    assert len(stored) >= 100
    assert set(stored) <= endpoint.message_ids()


def test_a_worker_that_is_killed_takes_no_row_along_that_it_has_answered_for(
    start: Callable[..., Process], endpoint: Endpoint
) -> None:
    """The others go on, its place is taken, and whoever posts again is answered."""
    process = start(AWS_ENDPOINT_URL=endpoint.url, WORKERS="2")
    killed = process.worker_pids()[0]
    stored: list[str] = []
    is_over = threading.Event()
    is_busy = threading.Event()
    numbers = count()

    def post_again_and_again() -> None:
        while not is_over.is_set():
            message_id = f"message-{next(numbers)}"
            try:
                _, status = post(process, message_id)
            except httpx.TransportError:
                continue  # it was with the one that was killed
            assert status in {200, 503}  # 503: the machine was too busy for the budget
            if status == 200:
                stored.append(message_id)
            if len(stored) >= 50:
                is_busy.set()

    with ThreadPoolExecutor(4) as threads:
        posting = [threads.submit(post_again_and_again) for _ in range(4)]
        assert is_busy.wait(30)
        os.kill(killed, signal.SIGKILL)
        while process.worker_pids()[0] == killed:
            assert not any(one.done() for one in posting)
        is_over.set()
        for one in posting:
            one.result()

    assert set(stored) <= endpoint.message_ids()
    process.process.send_signal(signal.SIGTERM)
    assert process.process.wait(30) == 0
