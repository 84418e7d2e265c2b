"""Children that take no time to start, in the place of the stand-in's own, and a look at who is running."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.targets.embedded import SupervisorOptions

if TYPE_CHECKING:
    from collections.abc import Callable

FAKE_CHILD = '''
"""A child that follows the supervisor's contract: fake.py ROLE MODE --config FILE."""
import json, os, signal, sys, threading, time

def follow(lifeline):
    while os.read(lifeline, 1):
        pass
    os._exit(1)

role, mode, _, file = sys.argv[1:]
config = json.load(open(file, encoding="utf-8"))
threading.Thread(target=follow, args=(config["lifeline_fd"],), daemon=True).start()
signal.signal(signal.SIGINT, signal.SIG_IGN)
if mode == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
else:
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
if mode == "dies":
    sys.exit(role + " cannot bind its port")
if mode == "silent":
    os.close(config["report_fd"])
if mode in ("hangs", "silent"):
    time.sleep(3600)
if role == "deployment":
    start = json.loads(os.fdopen(config["start_fd"]).readline())
    if mode == "fails":
        sys.stderr.write(json.dumps({"resource": "aws:iam/role:Role guest", "call": "iam:CreateRole",
                                     "reason": "EntityAlreadyExists: it is there", "request_id": "r-1"}) + "\\\\n")
        sys.exit(1)
    print(json.dumps({"identityPoolId": "us-east-1:0", "start": start, "program": config["program"]}))
    sys.exit(0)
report = {"port": 1} if role == "control" else {"mqtts_port": 2, "wss_port": 3}
report["environment"] = dict(os.environ)
os.write(config["report_fd"], json.dumps(report).encode() + b"\\\\n")
os.close(config["report_fd"])
if mode == "leaves":
    time.sleep(0.1)
    sys.exit("had enough")
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
        *, control: str = "lives", broker: str = "lives", deployment: str = "lives", stack: bool = False
    ) -> SupervisorOptions:
        return SupervisorOptions(
            stack=program if stack else None,
            control_command=(str(script), "control", control),
            broker_command=(str(script), "broker", broker),
            deployment_command=(str(script), "deployment", deployment),
        )

    return make


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
