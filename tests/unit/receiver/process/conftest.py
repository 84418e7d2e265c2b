"""Real processes of the receiver, and a table that answers them over HTTP when a test lets it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

import receiver

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator

    from tests.unit.receiver.conftest import Answering, Certificate

SECRET = "hush-hush-hush"
NEEDED = {
    "TABLE_NAME": "readings",
    "AWS_REGION": "us-east-1",
    "IOT_SECRETS": SECRET,
    "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "made-up",
    "PORT": "0",
}


@dataclass
class Endpoint:
    """Takes the place of DynamoDB over real HTTP: answers what it is told, when it is let.

    Args:
        url: where it is.
        rows: items written, in order; each is there before it is answered.
        requests: method, path and operation of each request.
        answers: status and body of the next answers; then 200.
        arrived: a request is there.
        gate: open unless a test closes it; a request waits for it before anything is written.
    """

    url: str = ""
    rows: list[dict[str, Any]] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    answers: deque[tuple[int, bytes]] = field(default_factory=deque)
    arrived: threading.Event = field(default_factory=threading.Event)
    gate: threading.Event = field(default_factory=threading.Event)

    def message_ids(self) -> set[str]:
        """Give the messages whose rows are there."""
        return {row["message_id"]["S"] for row in self.rows.copy()}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    told: Endpoint

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"] or 0))
        self.told.requests.append(f"{self.command} {self.path} {self.headers['x-amz-target']}")
        self.told.arrived.set()
        self.told.gate.wait(30)
        status, answer = self.told.answers.popleft() if self.told.answers else (200, b'{"UnprocessedItems":{}}')
        if status == 200 and body:
            puts = json.loads(body)["RequestItems"]["readings"]
            self.told.rows.extend(put["PutRequest"]["Item"] for put in puts)
        with suppress(ConnectionError):  # a receiver that a test has killed
            self.send_response(status)
            self.send_header("content-type", "application/x-amz-json-1.0")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

    def do_GET(self) -> None:
        self.headers["content-length"] = "0"
        self.do_POST()


@pytest.fixture
def endpoint(answering: Answering) -> Iterator[Endpoint]:
    """Listen on loopback for what a DynamoDB client or a confirmation sends."""
    told = Endpoint()
    told.gate.set()
    with answering(type("Handler", (_Handler,), {"told": told})) as told.url:
        yield told
        told.gate.set()


@dataclass
class Process:
    """A receiver that a test started."""

    process: subprocess.Popen[bytes]
    errors_file: Path
    lifeline: int | None
    trust: ssl.SSLContext
    port: int | None = None
    client: httpx.Client = field(default_factory=httpx.Client)

    def post(
        self, reading: dict[str, Any], *, message_id: str = "message-1", client: httpx.Client | None = None
    ) -> httpx.Response:
        """Post a reading, on the connection that this keeps or that of another client."""
        headers = {"x-iot-secret": SECRET, "x-client-id": "device-1", "x-message-id": message_id, "x-received-at": "1"}
        return (client or self.client).post("/ingest", json=reading, headers=headers)

    def new_client(self) -> httpx.Client:
        """Make a client with connections of its own."""
        return httpx.Client(base_url=self.client.base_url, verify=self.trust, trust_env=False, timeout=30)

    def metric(self, name: str) -> float:
        """Give one sample, asked for on a connection of its own, so by whichever worker gets that."""
        with self.new_client() as client:
            lines = client.get("/metrics").text.splitlines()
        (value,) = [line.removeprefix(name + " ") for line in lines if line.startswith(name + " ")]
        return float(value)

    def errors(self) -> str:
        """Give what it wrote to stderr."""
        return self.errors_file.read_text("utf-8")

    def lines(self, message: str) -> list[dict[str, Any]]:
        """Give its log's lines with a message."""
        whole, _, _ = self.errors().rpartition("\n")
        lines = [json.loads(line) for line in whole.splitlines()]
        return [line for line in lines if line["message"] == message]

    def worker_pids(self) -> dict[int, int]:
        """Give the workers by number, each as it started last."""
        return {line["worker"]: line["pid"] for line in self.lines("listening") if "worker" in line}

    def is_listening(self) -> bool:
        """Tell whether anybody accepts connections."""
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=30).close()
        except ConnectionRefusedError:
            return False
        except ConnectionResetError:  # it was just closed while this waited to be accepted
            return True
        return True

    def cut_lifeline(self) -> None:
        """Close the supervisor's end."""
        if self.lifeline is not None:
            os.close(self.lifeline)
            self.lifeline = None


@pytest.fixture
def start(tmp_path: Path, certificate: Certificate) -> Iterator[Callable[..., Process]]:
    """Start receivers with an environment of their own, and end them."""
    started: list[Process] = []
    trust = certificate.trust()  # once: it takes longer than many a test's requests

    def run(*, lifeline: bool = True, **environment: str) -> Process:
        report, report_end = os.pipe()
        lifeline_end, held = os.pipe()
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "COVERAGE_PROCESS_START") if name in os.environ}
        arguments = ["--report-fd", str(report_end), *(["--lifeline-fd", str(lifeline_end)] if lifeline else [])]
        errors_file = tmp_path / f"{len(started)}.log"
        with errors_file.open("wb") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "receiver", *arguments],
                env={
                    **kept,
                    **NEEDED,
                    "PYTHONPATH": str(Path(receiver.__file__).parents[1]),
                    "TMPDIR": str(tmp_path),
                    **environment,
                },
                pass_fds=(report_end, lifeline_end),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                cwd=tmp_path,
            )
        os.close(report_end)
        os.close(lifeline_end)
        made = Process(process, errors_file, held, trust)
        started.append(made)
        with os.fdopen(report, "r", encoding="utf-8") as reported:
            if line := reported.readline():
                made.port = json.loads(line)["port"]
        scheme = "https" if "TLS_CERT" in environment else "http"
        made.client = httpx.Client(
            base_url=f"{scheme}://localhost:{made.port or 0}", verify=trust, trust_env=False, timeout=30
        )
        return made

    yield run
    for made in started:
        made.process.kill()
        made.process.wait()
        made.client.close()
        made.cut_lifeline()
