"""The receiver's OpenAPI document by schemathesis: it posts what the document allows, and what it does not."""

from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
import sys
import threading
import urllib.request
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import receiver
from receiver.openapi import make_document

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECRET = "hush-hush-hush"
ROOT = Path(receiver.__file__).parents[1]
CONFIGURATION = """
[[operations]]
include-path = "/"
# Whoever does not say that it is a confirmation finds nothing there.
checks.missing_required_header.expected-statuses = ["404"]
"""


@dataclass
class Surroundings:
    """Stands for DynamoDB and for what an enableUrl leads to.

    Args:
        url: of both.
        status: of DynamoDB's answers.
        calls: how many there were.
    """

    url: str = ""
    status: int = 200
    calls: int = 0


@dataclass
class Run:
    """What schemathesis found.

    Args:
        code: its exit code.
        output: what it printed.
        report: its report.
    """

    code: int
    output: str
    report: dict[str, Any]

    @property
    def kinds(self) -> set[str]:
        """Kinds of failures."""
        return {failure["type"] for failure in self.report["failures"]}


@pytest.fixture
def surroundings() -> Iterator[Surroundings]:
    """Listen on loopback."""
    told = Surroundings()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            told.calls += 1
            refusal = {"__type": "com.amazonaws.dynamodb.v20120810#AccessDeniedException", "message": "no"}
            self._answer(told.status, {"UnprocessedItems": {}} if told.status == 200 else refusal)

        def do_GET(self) -> None:
            self._answer(200, {})

        def _answer(self, status: int, content: dict[str, Any]) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("content-type", "application/x-amz-json-1.0")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Write nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        told.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield told
        server.shutdown()
        thread.join()


@pytest.fixture
def receiver_url(surroundings: Surroundings, tmp_path: Path) -> Iterator[str]:
    """Run a receiver in which every device may speak for every other, so that what is made up is stored."""
    report, report_end = os.pipe()
    settings = {
        "TABLE_NAME": "readings",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": surroundings.url,
        "CONFIRM_ORIGINS": surroundings.url,
        "IOT_SECRETS": SECRET,
        "REQUIRE_CLIENT_ID": "false",
        "PORT": "0",
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "made-up",
        "PYTHONPATH": str(ROOT),
        "PATH": os.environ["PATH"],
    }
    with (tmp_path / "receiver.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "receiver", "--report-fd", str(report_end)],
            env=settings,
            pass_fds=(report_end,),
            stdin=subprocess.DEVNULL,
            stderr=log,
            cwd=tmp_path,
        )
    os.close(report_end)
    try:
        with os.fdopen(report, encoding="utf-8") as reported:
            yield f"http://127.0.0.1:{json.loads(reported.readline())['port']}"
    finally:
        process.terminate()
        assert process.wait(30) == 0


@pytest.fixture
def run_schemathesis(surroundings: Surroundings, receiver_url: str, tmp_path: Path) -> Callable[..., Run]:
    """Run it with all of its checks against that receiver."""
    path = shutil.which("schemathesis") or shutil.which("schemathesis", path=str(Path(sys.executable).parent))
    if path is None:
        pytest.skip("not proven: there is no schemathesis")

    def run(document: dict[str, Any], *options: str) -> Run:
        (tmp_path / "openapi.json").write_text(json.dumps(document), "utf-8")
        (tmp_path / "schemathesis.toml").write_text(CONFIGURATION, "utf-8")
        command = [path, "run", "openapi.json", "--url", receiver_url, "--header", f"X-Iot-Secret: {SECRET}"]
        command += ["--checks", "all", "--seed", "1", "--generation-database", "none", "--no-color"]
        command += ["--report", "json", "--report-json-path", "report.json", *options]
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(tmp_path),
                "PYTHONPATH": str(Path(__file__).parent),
                "SCHEMATHESIS_HOOKS": "openapi_hooks",
                "TRUSTED_ORIGIN": surroundings.url,
            },
            check=False,
            capture_output=True,
            text=True,
            timeout=300,
        )
        output = done.stdout + done.stderr
        assert (tmp_path / "report.json").exists(), output
        return Run(done.returncode, output, json.loads((tmp_path / "report.json").read_text("utf-8")))

    return run


def metrics_of(url: str) -> dict[str, float]:
    """Read what the receiver has counted."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=30) as answer:  # noqa: S310 - the receiver above
        lines = answer.read().decode().splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[:1] != "#")}


def test_the_receiver_answers_as_its_document_says(
    run_schemathesis: Callable[..., Run], receiver_url: str, surroundings: Surroundings
) -> None:
    """What is allowed is accepted, what is not is refused, and every answer is one of those that are written down."""
    run = run_schemathesis(make_document(), "--max-examples", "60")

    assert (run.code, run.kinds) == (0, set()), run.output
    assert run.report["operations"] | {"skip_reasons": []} == {
        "total": 6,
        "selected": 6,
        "tested": 6,
        "errored": 0,
        "skipped": 0,
        "skip_reasons": [],
    }
    phases = {name: phase["status"] for name, phase in run.report["phases"].items()}
    assert phases == {"examples": "success", "coverage": "success", "fuzzing": "success", "stateful": "skip"}
    # All that can happen to a request has happened, most of it often.
    counted = metrics_of(receiver_url)
    for outcome, least in {"stored": 20, "invalid": 20, "wrong_secret": 1, "error": 0}.items():
        assert counted[f'receiver_requests_total{{outcome="{outcome}"}}'] >= least, (outcome, counted)
    for outcome in ("confirmed", "untrusted", "invalid"):
        assert counted[f'receiver_confirmations_total{{outcome="{outcome}"}}'] >= 1, (outcome, counted)
    assert surroundings.calls > 0


def test_an_answer_that_is_not_as_written_down_is_found(run_schemathesis: Callable[..., Run]) -> None:
    """The control: a document that says something else of an answer does not pass."""
    document = copy.deepcopy(make_document())
    document["components"]["schemas"]["Stored"]["properties"]["stored"] = {"type": "integer"}
    run = run_schemathesis(document, "--phases", "examples", "--include-path", "/ingest")

    assert run.code == 1
    assert run.kinds == {"JsonSchemaError"}, run.output


def test_a_message_that_is_accepted_unlike_written_down_is_found(run_schemathesis: Callable[..., Run]) -> None:
    """The control for requests: a document that allows less than the receiver takes does not pass either."""
    document = copy.deepcopy(make_document())
    document["components"]["schemas"]["Message"]["required"].append("ts")
    run = run_schemathesis(document, "--phases", "coverage", "--include-path", "/ingest")

    assert run.code == 1
    assert "AcceptedNegativeData" in run.kinds, run.output


def test_an_error_of_the_server_is_found(run_schemathesis: Callable[..., Run], surroundings: Surroundings) -> None:
    """The control for the rest: a table that may not be written to makes 503 of everything."""
    surroundings.status = 400
    run = run_schemathesis(make_document(), "--phases", "examples", "--include-path", "/ingest")

    assert run.code == 1
    assert run.kinds == {"ServerError"}, run.output
