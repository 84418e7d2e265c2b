"""Several workers: they answer and count as one, take each other's place, and never outlive the first process."""

from __future__ import annotations

import os
import signal
import stat
import threading
from typing import TYPE_CHECKING

import httpx
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.unit.receiver.process.conftest import Endpoint, Process

READING = {"deviceId": "device-1", "temp": 1}
REFUSED = 'receiver_requests_total{outcome="wrong_secret"}'


def refuse(process: Process, times: int) -> None:
    """Post without the secret, on a connection each, so to whichever worker gets that."""
    for _ in range(times):
        with process.new_client() as client:
            assert client.post("/ingest", json=READING).status_code == 403


def folder_of(process: Process) -> Path:
    """Give the folder that the workers share."""
    (folder,) = process.errors_file.parent.glob("receiver-*")
    return folder


def wait_for(is_so: Callable[[], bool]) -> None:
    """Wait as long as the test may take."""
    while not is_so():
        pass


def counted_by(folder: Path) -> set[str]:
    """Give the workers that have files."""
    return {file.stem.rpartition("_")[2] for file in folder.glob("counter_*.db")}


def test_workers_answer_and_count_as_one(start: Callable[..., Process]) -> None:
    """One port, one report, and whoever is asked knows of all; nobody else reads what they keep for that."""
    process = start(WORKERS="3")
    assert len(set(process.worker_pids().values())) == 3
    refuse(process, 30)

    with process.new_client() as client:
        pages = {client.get("/metrics").text for _ in range(5)}
    (page,) = pages
    assert f"{REFUSED} 30.0" in page
    assert page.count("\nreceiver_build_info{") == 1
    assert [line for line in page.splitlines() if line.startswith("process_")] == []
    folder = folder_of(process)
    assert counted_by(folder) == {"0", "1", "2"}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_the_metrics_of_workers_can_be_asked_for_as_openmetrics(start: Callable[..., Process]) -> None:
    """As Prometheus asks, with an end that tells that nothing was cut off."""
    process = start(WORKERS="2")
    answer = process.client.get("/metrics", headers={"accept": "application/openmetrics-text;version=1.0.0"})

    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert answer.text.endswith("\n# EOF\n")


def test_a_worker_takes_a_dead_ones_place(start: Callable[..., Process], endpoint: Endpoint) -> None:
    """It counts on where that one ended; what that one was doing is done no more."""
    process = start(WORKERS="2", AWS_ENDPOINT_URL=endpoint.url)
    refuse(process, 20)
    endpoint.gate.clear()

    def post() -> None:
        with process.new_client() as client, pytest.raises(httpx.TransportError):
            process.post(READING, client=client)

    posting = threading.Thread(target=post)
    posting.start()
    wait_for(lambda: process.metric("receiver_requests_in_progress") == 1)
    killed = process.worker_pids()
    for pid in killed.values():  # both: which of them has the request is left to chance
        os.kill(pid, signal.SIGKILL)
    posting.join()
    wait_for(lambda: not set(process.worker_pids().values()) & set(killed.values()))

    assert process.metric(REFUSED) == 20
    assert process.metric("receiver_requests_in_progress") == 0
    assert process.metric("receiver_queued_rows") == 0
    limit = process.metric("receiver_queue_limit_rows")
    assert limit > 0
    refuse(process, 5)
    assert process.metric(REFUSED) == 25
    died = process.lines("worker died, is started anew")
    assert {(line["worker"], line["code"], line["was_ready"]) for line in died} == {(0, -9, True), (1, -9, True)}


def test_what_a_former_run_counted_is_not_counted(start: Callable[..., Process], tmp_path: Path) -> None:
    """Nor what lies in a folder that the environment names for something else."""
    old = start(WORKERS="2")
    refuse(old, 3)
    left = tmp_path / "left"
    left.mkdir()
    for file in folder_of(old).iterdir():
        (left / file.name).write_bytes(file.read_bytes())
    old.process.kill()
    old.process.wait(30)

    for workers in ("1", "2"):
        process = start(WORKERS=workers, PROMETHEUS_MULTIPROC_DIR=str(left))
        refuse(process, 1)
        assert process.metric(REFUSED) == 1
        process.process.send_signal(signal.SIGTERM)
        assert process.process.wait(30) == 0


def test_one_worker_alone_tells_of_its_process(start: Callable[..., Process]) -> None:
    """Its memory, its files, its start; several cannot, since whoever is asked knows only its own."""
    process = start()

    assert process.metric("process_open_fds") > 0
    assert list(process.errors_file.parent.glob("receiver-*")) == []


@pytest.mark.parametrize("end", ["kill", "cut_lifeline"])
def test_workers_end_with_the_first_process(start: Callable[..., Process], end: str) -> None:
    """However it ended, even without a word; they take the folder along."""
    process = start(WORKERS="2", lifeline=end == "cut_lifeline")
    folder = folder_of(process)
    assert process.is_listening()
    if end == "kill":
        process.process.kill()
    else:
        process.cut_lifeline()

    assert process.process.wait(30) == (-signal.SIGKILL if end == "kill" else 0)
    wait_for(lambda: not process.is_listening())
    wait_for(lambda: not folder.exists())


def test_workers_end_on_ctrl_c(start: Callable[..., Process]) -> None:
    """With the exit code that shells give the first process, and without a traceback."""
    process = start(WORKERS="2", lifeline=False)
    for pid in process.worker_pids().values():  # a terminal sends it to all of them
        os.kill(pid, signal.SIGINT)
    process.process.send_signal(signal.SIGINT)

    assert process.process.wait(30) == 130
    assert not process.is_listening()
    assert "Traceback" not in process.errors()
    assert list(process.errors_file.parent.glob("receiver-*")) == []


def test_workers_do_not_share_a_port_with_another_receiver(start: Callable[..., Process]) -> None:
    """The second one says so, and the first one goes on."""
    process = start(WORKERS="2")
    other = start(WORKERS="2", PORT=str(process.port))

    assert other.process.wait(30) == 2
    assert other.errors() == "receiver: HOST and PORT cannot be listened at: Address already in use.\n"
    refuse(process, 1)
