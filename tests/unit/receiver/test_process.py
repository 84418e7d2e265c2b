"""The process: how it starts, what it tells its supervisor, what its log holds, and how it ends."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

import receiver
from receiver.__main__ import Ending, follow_lifeline, main

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.unit.receiver.conftest import Certificate, DynamoEndpoint

SECRET = "hush-hush-hush"
NEEDED = {
    "TABLE_NAME": "readings",
    "AWS_REGION": "us-east-1",
    "IOT_SECRETS": SECRET,
    "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "made-up",
    "PORT": "0",
}
HEADERS = {"x-iot-secret": SECRET, "x-client-id": "device-1", "x-message-id": "message-1", "x-received-at": "1"}


@dataclass
class Process:
    """A receiver that a test started."""

    process: subprocess.Popen[bytes]
    errors_file: Path
    lifeline: int | None
    port: int | None = None
    client: httpx.Client = field(default_factory=httpx.Client)

    def post(self, reading: dict[str, Any], **options: Any) -> httpx.Response:
        """Post a reading."""
        return self.client.post("/ingest", json=reading, headers=HEADERS, **options)

    def errors(self) -> str:
        """Give what it wrote to stderr."""
        return self.errors_file.read_text("utf-8")

    def cut_lifeline(self) -> None:
        """Close the supervisor's end."""
        if self.lifeline is not None:
            os.close(self.lifeline)
            self.lifeline = None


@pytest.fixture
def start(tmp_path: Path, certificate: Certificate) -> Iterator[Callable[..., Process]]:
    """Start receivers with an environment of their own, and end them."""
    started: list[Process] = []

    def run(*, lifeline: bool = True, **environment: str) -> Process:
        report, report_end = os.pipe()
        lifeline_end, held = os.pipe()
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "COVERAGE_PROCESS_START") if name in os.environ}
        arguments = ["--report-fd", str(report_end), *(["--lifeline-fd", str(lifeline_end)] if lifeline else [])]
        errors_file = tmp_path / f"{len(started)}.log"
        with errors_file.open("wb") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "receiver", *arguments],
                env={**kept, **NEEDED, "PYTHONPATH": str(Path(receiver.__file__).parents[1]), **environment},
                pass_fds=(report_end, lifeline_end),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                cwd=tmp_path,
            )
        os.close(report_end)
        os.close(lifeline_end)
        made = Process(process, errors_file, held)
        started.append(made)
        with os.fdopen(report, "r", encoding="utf-8") as reported:
            if line := reported.readline():
                made.port = json.loads(line)["port"]
        scheme = "https" if "TLS_CERT" in environment else "http"
        made.client = httpx.Client(
            base_url=f"{scheme}://localhost:{made.port or 0}", verify=certificate.trust(), trust_env=False, timeout=30
        )
        return made

    yield run
    for made in started:
        made.process.kill()
        made.process.wait()
        made.client.close()
        made.cut_lifeline()


def test_a_receiver_writes_rows_behind_tls(
    start: Callable[..., Process], endpoint: DynamoEndpoint, certificate: Certificate
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


def test_a_receiver_confirms_a_destination(start: Callable[..., Process], endpoint: DynamoEndpoint) -> None:
    """By a real request to a trusted origin."""
    process = start(CONFIRM_ORIGINS=endpoint.url)
    question = {"messageType": "DestinationConfirmation", "enableUrl": f"{endpoint.url}/confirmdestination/token"}
    headers = {"x-amz-rules-engine-message-type": "DestinationConfirmation"}

    assert process.client.post("/ingest/", json=question, headers=headers).status_code == 200
    assert endpoint.requests == ["GET /confirmdestination/token None"]


def test_a_receiver_finishes_what_it_accepted(start: Callable[..., Process], endpoint: DynamoEndpoint) -> None:
    """SIGTERM while a row is being written: the row, the answer, exit code 0."""
    process = start(AWS_ENDPOINT_URL=endpoint.url)
    process.client.get("/metrics")  # an idle connection besides
    endpoint.gate.clear()
    answers: list[int] = []

    def post() -> None:
        with httpx.Client(base_url=process.client.base_url, trust_env=False, timeout=30) as client:
            answer = client.post("/ingest", json={"deviceId": "device-1", "temp": 1}, headers=HEADERS)
            answers.append(answer.status_code)

    posting = threading.Thread(target=post)
    posting.start()
    assert endpoint.arrived.wait(30)
    process.process.send_signal(signal.SIGTERM)
    with contextlib.suppress(ConnectionError):
        while True:
            socket.create_connection(("127.0.0.1", process.port), timeout=30).close()
    endpoint.gate.set()
    posting.join()

    assert answers == [200]
    assert len(endpoint.rows) == 1
    assert process.process.wait(30) == 0


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


def test_a_log_holds_no_payload_and_no_secret(start: Callable[..., Process], endpoint: DynamoEndpoint) -> None:
    """Not even at the level that says most; every line is a JSON object."""
    process = start(AWS_ENDPOINT_URL=endpoint.url, CONFIRM_ORIGINS=endpoint.url, LOG_LEVEL="debug")
    endpoint.answers = [(200, b"{}"), (400, b'{"__type":"x#ValidationException","message":"37.25 is too hot"}')]
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


@pytest.mark.usefixtures("_signals")
@pytest.mark.parametrize("secure", [False, True])
def test_main_runs_to_its_end(monkeypatch: pytest.MonkeyPatch, certificate: Certificate, *, secure: bool) -> None:
    """In this process, for once: from the environment to the exit code."""
    for name, value in {**NEEDED, "LOG_LEVEL": "warning"}.items():
        monkeypatch.setenv(name, value)
    if secure:
        monkeypatch.setenv("TLS_CERT", str(certificate.cert))
        monkeypatch.setenv("TLS_KEY", str(certificate.key))
    monkeypatch.setattr("receiver.logs.set_up_logging", lambda _: None)
    report, report_end = os.pipe()
    lifeline_end, held = os.pipe()

    def stop_when_ready() -> None:
        with os.fdopen(report) as reported:
            reported.readline()
        os.kill(os.getpid(), signal.SIGTERM)

    stopping = threading.Thread(target=stop_when_ready)
    stopping.start()
    # The lifeline's thread outlives this test, and would end this process with the pipe: it watches one that stays.
    monkeypatch.setattr("receiver.__main__.follow_lifeline", lambda _: None)
    assert main(["--report-fd", str(report_end), "--lifeline-fd", str(lifeline_end)]) == 0
    stopping.join()
    os.close(lifeline_end)
    os.close(held)


@pytest.mark.usefixtures("_signals")
def test_main_says_why_it_cannot_run(capsys: pytest.CaptureFixture[str]) -> None:
    """Without an environment."""
    assert main([]) == 2
    assert capsys.readouterr().err.startswith("receiver: TABLE_NAME is not set")
