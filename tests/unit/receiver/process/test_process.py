"""The process: how it starts, what it tells its supervisor, what its log holds, and how it ends."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import values

import receiver
from receiver.__main__ import Ending, Leaving, follow_lifeline, main
from receiver.openapi import make_document

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.unit.receiver.conftest import Certificate
    from tests.unit.receiver.process.conftest import Endpoint, Process

SECRET = "hush-hush-hush"
NEEDED = {
    "TABLE_NAME": "readings",
    "AWS_REGION": "us-east-1",
    "IOT_SECRETS": SECRET,
    "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "made-up",
    "PORT": "0",
}


def test_a_receiver_writes_rows_behind_tls(
    start: Callable[..., Process], endpoint: Endpoint, certificate: Certificate
) -> None:
    """From its environment alone, at every address with the port that it reports."""
    process = start(
        AWS_ENDPOINT_URL=endpoint.url,
        HOST="127.0.0.1,::1",
        TLS_CERT=str(certificate.cert),
        TLS_KEY=str(certificate.key),
        TTL_DAYS="1",
    )
    for host in ("127.0.0.1", "::1"):
        socket.create_connection((host, process.port), timeout=30).close()

    assert process.client.get("/metrics").status_code == 200
    assert process.post({"deviceId": "device-1", "temp": 21.5}).status_code == 200
    assert endpoint.rows == [
        {
            "deviceId": {"S": "device-1"},
            "received_at": {"S": "1970-01-01T00:00:00.001Z#message-1"},
            "message_id": {"S": "message-1"},
            "temperature": {"N": "21.5"},
            "ttl": {"N": "86400"},
        }
    ]


def test_a_receiver_confirms_a_destination(start: Callable[..., Process], endpoint: Endpoint) -> None:
    """By a real request to a trusted origin."""
    process = start(CONFIRM_ORIGINS=endpoint.url)
    question = {"messageType": "DestinationConfirmation", "enableUrl": f"{endpoint.url}/confirmdestination/token"}
    headers = {"x-amz-rules-engine-message-type": "DestinationConfirmation"}

    assert process.client.post("/ingest/", json=question, headers=headers).status_code == 200
    assert endpoint.requests == ["GET /confirmdestination/token None"]


def test_a_receiver_does_not_wait_for_what_nobody_waits_for(start: Callable[..., Process]) -> None:
    """DynamoDB answers byte by byte: the rule is told in time that its row may not be there, and SIGTERM still ends."""
    with socket.create_server(("127.0.0.1", 0)) as dynamodb:

        def drip() -> None:
            connection, _ = dynamodb.accept()
            with connection, contextlib.suppress(OSError):
                connection.recv(65_536)
                connection.settimeout(0.5)  # well below the time that one byte may take
                while True:
                    connection.sendall(b"H")
                    with contextlib.suppress(TimeoutError):
                        if not connection.recv(65_536):
                            return

        thread = threading.Thread(target=drip)
        thread.start()
        process = start(AWS_ENDPOINT_URL=f"http://127.0.0.1:{dynamodb.getsockname()[1]}")

        assert process.post({"deviceId": "device-1", "temp": 1}).status_code == 503
        process.process.send_signal(signal.SIGTERM)
        assert process.process.wait(30) == 0
        thread.join()


def test_a_receiver_ends_when_its_lifeline_closes(start: Callable[..., Process]) -> None:
    """A parent that dies takes its children along."""
    process = start()
    process.cut_lifeline()

    assert process.process.wait(30) == 0


def test_a_receiver_with_a_lifeline_leaves_ctrl_c_to_its_supervisor(start: Callable[..., Process]) -> None:
    """The terminal sends SIGINT to the whole group."""
    process = start()
    process.process.send_signal(signal.SIGINT)

    assert process.client.get("/metrics").status_code == 200
    process.process.send_signal(signal.SIGTERM)
    assert process.process.wait(30) == 0


def test_a_receiver_of_its_own_ends_on_ctrl_c(start: Callable[..., Process]) -> None:
    """With the exit code that shells give it, and without a traceback."""
    process = start(lifeline=False)
    process.process.send_signal(signal.SIGINT)

    assert process.process.wait(30) == 130
    assert "Traceback" not in process.errors()


@pytest.mark.parametrize(
    ("environment", "because"),
    [
        ({"TABLE_NAME": ""}, "receiver: TABLE_NAME is not set: give the name of a DynamoDB table.\n"),
        ({"PORT": "http"}, "receiver: PORT must be a port number, 0 for any free one, not 'http'.\n"),
        ({"IOT_SECRETS": "hush-hush,"}, "receiver: IOT_SECRETS must be one or more texts of visible ASCII"),
        (
            {"TLS_CERT": "x", "TLS_KEY": "y"},
            "receiver: TLS_CERT and TLS_KEY cannot be used: No such file or directory.\n",
        ),
        ({"HOST": "192.0.2.1"}, "receiver: HOST and PORT cannot be listened at: "),
        ({"HOST": "a..b"}, "receiver: HOST and PORT cannot be listened at: "),
    ],
)
def test_a_receiver_with_wrong_settings_says_so(
    start: Callable[..., Process], environment: dict[str, str], because: str
) -> None:
    """One sentence on stderr, exit code 2, no report."""
    process = start(**environment)

    assert process.process.wait(30) == 2
    assert process.port is None
    assert process.errors().startswith(because)
    assert process.errors().count("\n") == 1
    assert "hush-hush" not in process.errors()


def test_a_log_holds_no_payload_and_no_secret(start: Callable[..., Process], endpoint: Endpoint) -> None:
    """Not even at the level that says most; every line is a JSON object."""
    process = start(AWS_ENDPOINT_URL=endpoint.url, CONFIRM_ORIGINS=endpoint.url, LOG_LEVEL="debug")
    endpoint.answers += [
        (200, b'{"UnprocessedItems":{}}'),
        (400, b'{"__type":"x#ValidationException","message":"37.25 is too hot"}'),
    ]
    for temp in ("37.25", 37.25, 37.25):
        process.post({"deviceId": "device-1", "temp": temp})
    process.post({"deviceId": "device-1", "temp": 37.25, "ts": "x" * 131_072})
    question = {"messageType": "DestinationConfirmation", "enableUrl": f"{endpoint.url}/confirmdestination/a-token"}
    headers = {"x-amz-rules-engine-message-type": "DestinationConfirmation"}
    process.client.post("/?confirmationToken=a-token", json=question, headers=headers)
    with socket.create_connection(("127.0.0.1", process.port), timeout=30) as raw:
        raw.sendall(b"a-token is no HTTP\r\n\r\n")
        raw.recv(1024)
    process.process.send_signal(signal.SIGTERM)
    assert process.process.wait(30) == 0

    lines = [json.loads(line) for line in process.errors().splitlines()]
    outcomes = [line.get("outcome") for line in lines if line["message"] == "message refused"]
    assert outcomes == ["invalid", "write_failed", "too_large"]
    for word in (SECRET, "37.25", "device-1", "a-token", "made-up"):
        assert word not in process.errors()


@pytest.fixture
def _signals() -> Iterator[None]:
    """Put this process's own handlers back."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


class Stoppable:
    """Stands for a server."""

    should_exit = False

    def end(self) -> None:
        """Be told."""
        self.should_exit = True


@pytest.mark.usefixtures("_signals")
def test_signals_end_what_there_is() -> None:
    """Before there is a server the process, then the server; Ctrl-C twice the process again."""
    ends: list[int] = []
    ending = Ending(has_lifeline=False, end=ends.append)
    signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGINT)
    assert ends == [0, 130]

    server: Any = Stoppable()
    ending.follow(server)
    signal.raise_signal(signal.SIGINT)
    assert (server.should_exit, ending.code, ends) == (True, 130, [0, 130])
    signal.raise_signal(signal.SIGTERM)
    assert (ending.code, ends) == (0, [0, 130])
    signal.raise_signal(signal.SIGINT)
    assert ends == [0, 130, 130]


def test_a_lifeline_is_followed_to_its_end() -> None:
    """What comes through it means nothing; an end that is none ends too."""
    ends: list[int] = []
    read_end, write_end = os.pipe()
    os.write(write_end, b"x")
    os.close(write_end)
    follow_lifeline(read_end, end=ends.append)
    os.close(read_end)
    follow_lifeline(read_end, end=ends.append)

    assert ends == [0, 0]


@pytest.fixture
def settle(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Let `main` run in this process, which has a log, threads and counters of its own; give what stops it.

    Once it has reported, it is told to end.
    """
    for name, value in {**NEEDED, "LOG_LEVEL": "warning", "PROMETHEUS_MULTIPROC_DIR": ""}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYTHONPATH", str(Path(receiver.__file__).parents[1]))
    monkeypatch.setattr(values, "ValueClass", values.ValueClass)
    monkeypatch.setattr("receiver.logs.set_up_logging", lambda _: None)
    # The lifeline's thread outlives a test, and would end this process with the pipe: it watches one that stays.
    monkeypatch.setattr("receiver.__main__.follow_lifeline", lambda _, **__: None)
    report, report_end = os.pipe()
    lifeline_end, held = os.pipe()

    def stop_when_ready() -> None:
        with os.fdopen(report) as reported:
            if reported.readline():
                os.kill(os.getpid(), signal.SIGTERM)

    stopping = threading.Thread(target=stop_when_ready, daemon=True)
    stopping.start()
    yield ["--report-fd", str(report_end), "--lifeline-fd", str(lifeline_end)]
    stopping.join(30)
    os.close(lifeline_end)
    os.close(held)


@pytest.mark.usefixtures("_signals")
@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("secure", [False, True])
def test_main_runs_to_its_end(
    settle: list[str], monkeypatch: pytest.MonkeyPatch, certificate: Certificate, workers: str, *, secure: bool
) -> None:
    """In this process, for once: from the environment to the exit code."""
    monkeypatch.setenv("WORKERS", workers)
    if secure:
        monkeypatch.setenv("TLS_CERT", str(certificate.cert))
        monkeypatch.setenv("TLS_KEY", str(certificate.key))

    assert main(settle) == 0


@pytest.mark.usefixtures("_signals")
def test_a_worker_runs_to_its_end(settle: list[str], tmp_path: Path) -> None:
    """At the socket that it was given, counting where it was told to."""
    bound = socket.create_server(("127.0.0.1", 0))
    own = ["--worker", "3", "--listen-fds", str(bound.detach()), "--metrics-folder", str(tmp_path)]

    assert main([*settle, *own]) == 0
    assert (tmp_path / "counter_3.db").exists()


def test_leaving_takes_what_was_kept_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that the workers count in; without one there is nothing to remove."""
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "counter_0.db").touch()
    leaving = Leaving()
    leaving(3)
    assert (tmp_path / "kept").exists()
    leaving.folder = tmp_path / "kept"
    leaving(4)

    assert not (tmp_path / "kept").exists()
    assert codes == [3, 4]


@pytest.mark.usefixtures("_signals")
def test_main_says_why_it_cannot_run(capsys: pytest.CaptureFixture[str]) -> None:
    """Without an environment."""
    assert main([]) == 2
    assert gc.isenabled()
    assert capsys.readouterr().err.startswith("receiver: TABLE_NAME is not set")


def test_main_prints_the_document_without_settings(capsys: pytest.CaptureFixture[str]) -> None:
    """The same as the module gives, and nothing else: whoever wants it may have no table yet."""
    assert main(["--openapi"]) == 0
    told = capsys.readouterr()

    assert json.loads(told.out) == make_document()
    assert told.err == ""
