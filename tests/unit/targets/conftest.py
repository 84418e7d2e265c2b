"""Children that take no time to start, in the place of the stand-in's own, and a look at who is running.

Also a stand-in in the role of a foreign emulator, which stacks are deployed into.
"""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from harness.clients.admin import AdminApi
from harness.targets.aws_clients import make_client
from harness.targets.base import Credentials
from harness.targets.embedded import Supervisor, SupervisorOptions
from harness.targets.embedded.certificates import make_server_identity
from harness.targets.embedded.children import Children

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness.targets.ready import ReadyFile

FAKE_CHILD = '''
"""A child that follows the supervisor's contract: fake.py ROLE MODE and --config FILE, or the two descriptors."""
import json, os, signal, socket, sys, threading, time

def follow(lifeline):
    while os.read(lifeline, 1):
        pass
    os._exit(1)

def is_open(descriptor):
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True

descriptors = [number for number in range(256) if is_open(number)]
role, mode, *rest = sys.argv[1:]
if role == "receiver":
    config = {"lifeline_fd": int(rest[rest.index("--lifeline-fd") + 1]),
              "report_fd": int(rest[rest.index("--report-fd") + 1])}
else:
    with open(rest[1], encoding="utf-8") as file:
        config = json.load(file)
threading.Thread(target=follow, args=(config["lifeline_fd"],), daemon=True).start()
signal.signal(signal.SIGINT, signal.SIG_IGN)
if mode == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
else:
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
if mode == "dies" or mode == "dies-further" and os.environ["PORT"] == "0" and os.path.exists("receiver.pid"):
    sys.exit(role + " cannot bind its port")
if mode == "silent":
    os.close(config["report_fd"])
if mode in ("hangs", "silent") or mode == "hangs-further" and os.path.exists("receiver.pid"):
    with open("hangs", "w"):
        time.sleep(3600)
if role == "deployment":
    start = json.loads(os.fdopen(config["start_fd"]).readline())
    if mode == "fails":
        sys.stderr.write(json.dumps({"resource": "aws:iam/role:Role guest", "call": "iam:CreateRole",
                                     "reason": "EntityAlreadyExists: it is there", "request_id": "r-1"}) + "\\n")
        sys.exit(1)
    print(json.dumps({"identityPoolId": "us-east-1:0", "start": start, "program": config["program"],
                      "descriptors": descriptors, "config": config}))
    sys.exit(0)
if role == "receiver":
    listening = socket.create_server(("127.0.0.1", int(os.environ["PORT"])))
    report = {"port": listening.getsockname()[1]} if mode != "portless" else {}
    with open("receiver.pid", "w") as file:
        file.write(str(os.getpid()))
else:
    report = {"port": 1} if role == "control" else {"mqtts_port": 2, "wss_port": 3}
report.update(environment=dict(os.environ), descriptors=descriptors, config=config)
os.write(config["report_fd"], json.dumps(report).encode() + b"\\n")
os.close(config["report_fd"])
if mode == "leaves":
    time.sleep(0.1)
    sys.exit("had enough")
if mode == "asks":
    answers = []
    with socket.socket(fileno=config["supervisor_fd"]) as line, line.makefile("rw") as both:
        for request in ({"id": 1, "op": "stop_receiver", "name": "main", "how": "kill"},
                        {"id": 2, "op": "start_receiver", "name": "extra-1"},
                        {"id": 3, "op": "start_receiver", "name": "main"}):
            both.write(json.dumps(request) + "\\n")
            both.flush()
            answers.append(json.loads(both.readline()))
        with open("answers.new", "w") as file:
            json.dump(answers, file)
        os.rename("answers.new", "answers")
        time.sleep(3600)
while True:
    time.sleep(3600)
'''.replace("\\\\n", "\\n")


@pytest.fixture
def make_options(tmp_path: Path) -> Callable[..., SupervisorOptions]:
    """Make options for fake children: ``make_options(control="dies")`` and the like; no stack unless asked for."""
    script = tmp_path / "fäke child.py"
    script.write_text(FAKE_CHILD, "utf-8")
    program = tmp_path / "a program"
    program.mkdir()
    (program / "Pulumi.yaml").write_text("name: made-up\n")

    def make(
        *,
        control: str = "lives",
        broker: str = "lives",
        deployment: str = "lives",
        receiver: str = "lives",
        stack: bool = False,
    ) -> SupervisorOptions:
        return SupervisorOptions(
            stack=program if stack else None,
            control_command=(str(script), "control", control),
            broker_command=(str(script), "broker", broker),
            deployment_command=(str(script), "deployment", deployment),
            receiver_command=(str(script), "receiver", receiver),
        )

    return make


@pytest.fixture
def reports(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    """What the fake children reported during a start, by their names; filled as it comes."""
    told: dict[str, dict[str, Any]] = {}
    await_reports = Children.await_reports

    def listen(children: Children, awaited: Any) -> Any:
        got = await_reports(children, awaited)
        told.update({child.name: report for child, report in got.items()})
        return got

    monkeypatch.setattr(Children, "await_reports", listen)
    return told


@pytest.fixture
def private_temp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own for temporary files, by which a test knows its processes."""
    folder = tmp_path / "temp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    return folder


@pytest.fixture
def processes_of() -> Callable[[Path], list[int]]:
    """Find the processes whose command line names something in a folder."""

    def find(folder: Path) -> list[int]:
        if Path("/proc/self/cmdline").exists():
            found = []
            for entry in Path("/proc").iterdir():
                if entry.name.isdigit():
                    try:
                        line = (entry / "cmdline").read_bytes()
                    except OSError:
                        continue
                    if os.fsencode(folder) in line:
                        found.append(int(entry.name))
            return found
        lines = subprocess.run(["ps", "-axo", "pid=,command="], capture_output=True, check=True).stdout.splitlines()
        return [int(line.split()[0]) for line in lines if os.fsencode(folder) in line]

    return find


@pytest.fixture
def eventually() -> Callable[[Callable[[], object]], None]:
    """Wait until something holds; give up after what no machine needs."""

    def wait(condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < deadline, "it never came true"
            time.sleep(0.01)

    return wait


@pytest.fixture
def python() -> str:
    """The interpreter under test."""
    return sys.executable


def _fetch(url: str) -> None:
    urllib.request.urlopen(url).close()  # noqa: S310 - the stand-in's, on loopback


class _Receiver(BaseHTTPRequestHandler):
    """Confirms whatever asks for it, as a receiver does that trusts the stand-in."""

    def do_POST(self) -> None:
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
        if "enableUrl" in message:
            threading.Thread(target=_fetch, args=(message["enableUrl"],)).start()

    def log_message(self, *_arguments: Any) -> None:
        pass


class Place(NamedTuple):
    """A stand-in in the role of a foreign emulator, and a receiver that it trusts."""

    url: str
    credentials: Credentials
    admin: AdminApi
    receiver_url: str
    ready: ReadyFile

    def client(self, service: str) -> Any:
        """Return a boto3 client of the account."""
        return make_client(service, region="us-east-1", endpoint_url=self.url, credentials=self.credentials)

    def content(self) -> dict[str, list[str]]:
        """List everything that a stack may make."""
        iot = self.client("iot")
        roles = [each["RoleName"] for each in self.client("iam").list_roles()["Roles"]]
        pools = self.client("cognito-identity").list_identity_pools(MaxResults=60)["IdentityPools"]
        return {
            "pools": sorted(each["IdentityPoolName"] for each in pools),
            "roles": sorted(roles),
            "policies": sorted(each["policyName"] for each in iot.list_policies()["policies"]),
            "rules": sorted(each["ruleName"] for each in iot.list_topic_rules()["rules"]),
            "destinations": sorted(each["arn"] for each in iot.list_topic_rule_destinations()["destinationSummaries"]),
            "tables": sorted(self.client("dynamodb").list_tables()["TableNames"]),
            "queues": sorted(self.client("sqs").list_queues().get("QueueUrls", [])),
        }


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A stand-in without a stack in the role of a foreign emulator, for all tests of a file."""
    identity = make_server_identity(tmp_path_factory.mktemp("receiver"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.certificate, identity.key)
    receiver = ThreadingHTTPServer(("127.0.0.1", 0), _Receiver)
    receiver.socket = context.wrap_socket(receiver.socket, server_side=True)
    thread = threading.Thread(target=receiver.serve_forever)
    thread.start()
    supervisor = Supervisor(SupervisorOptions(stack=None, http_ca_file=identity.ca))
    try:
        ready = supervisor.start()
        yield Place(
            url=ready.control_plane_url,
            credentials=Credentials(access_key_id=ready.access_key_id, secret_access_key=ready.secret_access_key),
            admin=AdminApi(ready.admin_url, ready.admin_token),
            receiver_url=f"https://localhost:{receiver.server_address[1]}",
            ready=ready,
        )
    finally:
        supervisor.stop()
        receiver.shutdown()
        thread.join()
        receiver.server_close()
