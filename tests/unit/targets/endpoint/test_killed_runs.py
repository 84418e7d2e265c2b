"""What runs that were killed left at the endpoint target: what has their mark is swept, and the next run can begin.

Each run is a process of its own and ends by SIGKILL. What it leaves is asked of boto3 alone.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from harness.errors import TargetUnavailable
from harness.targets import ready as ready_files
from harness.targets.embedded import Supervisor, SupervisorOptions
from harness.targets.endpoint import EndpointTarget
from harness.targets.names import Names, make_run_id
from harness.targets.options import TargetOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from conftest import Place

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the stand-in needs Linux or macOS")

ROOT: Final = Path(__file__).resolve().parents[4]

BY_URL: Final = """
import json, sys
from harness.targets.endpoint import EndpointTarget
from harness.targets.names import Names
from harness.targets.options import TargetOptions

run_id, options = json.loads(sys.stdin.readline())
EndpointTarget(TargetOptions(**options), names=Names(run_id)).start()
print("started", flush=True)
sys.stdin.read()
"""
"""A run by URL that deploys its stack and goes no further."""

TESTS: Final = '''
"""Makes what has no name of its own, and goes no further."""

import asyncio
from pathlib import Path

import pytest


@pytest.mark.e2e
async def test_all(make_receiver, make_rule, topics):
    """A further receiver with its destination, and a rule that posts there."""
    own = await make_receiver()
    await make_rule(topic=topics.own_telemetry, url=own.ingest_url)
    Path(__file__).with_name("made").touch()
    await asyncio.Event().wait()
'''


def shell(**more: str) -> Mapping[str, str]:
    """Return an environment without anything of the user's own settings for AWS or this project."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "HARNESS_", "BOTO_"))}
    return {**kept, "NO_PROXY": "*", **more}


def said_by(command: list[str], environment: Mapping[str, str]) -> str:
    """Run the project's command line, which has to end well; return what it said."""
    whole = [sys.executable, "-m", "harness", *command]
    ended = subprocess.run(whole, cwd=ROOT, env=environment, check=False, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.mark.parametrize(
    ("lifetime", "told"), [(-1, "left it, which is over"), (3600, "made it. A receiver serves one run at a time")]
)
def test_a_run_by_url_that_was_killed_is_swept_as_the_next_one_says(place: Place, lifetime: float, told: str) -> None:
    """The table that the receiver needs is in the way; the command in the complaint removes all that has the mark."""
    before = place.content()
    keys = {"access_key_id": place.ready.access_key_id, "secret_access_key": place.ready.secret_access_key}
    receiver = {"receiver_url": place.receiver_url, "receiver_secret": "s", "receiver_table": "readings"}
    options = {"endpoint_url": place.url, **keys, **receiver}
    run_id = make_run_id(lifetime=lifetime)
    with subprocess.Popen(
        [sys.executable, "-c", BY_URL], cwd=ROOT, env=shell(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as run:
        assert run.stdin is not None
        assert run.stdout is not None
        run.stdin.write(json.dumps([run_id, options]) + "\n")
        run.stdin.flush()
        said = run.stdout.readline()
        run.kill()
    assert said == "started\n"
    assert place.content()["tables"] == ["readings"]
    following = EndpointTarget(TargetOptions(**options), names=Names(make_run_id()))

    with pytest.raises(TargetUnavailable, match=told) as refused:
        following.start()

    program, *command = shlex.split(str(refused.value).split("`")[1])
    assert program == "thingwright"
    variables = {f"HARNESS_{name.upper()}": value for name, value in keys.items()}
    swept = said_by(command, shell(**variables))
    assert f"removed  table         readings  {run_id}" in swept
    assert place.content() == before
    environment = following.start()
    following.stop()
    assert environment.outputs.table_name == "readings"
    assert place.content() == before


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[Path]:
    """The ready file of a stand-in with its stack."""
    supervisor = Supervisor(SupervisorOptions())
    try:
        ready_files.write(tmp_path / "ready.json", supervisor.start())
        yield tmp_path / "ready.json"
    finally:
        supervisor.stop()


def test_destinations_of_a_killed_runs_receivers_are_swept(
    stand: Path, tmp_path: Path, eventually: Callable[[Callable[[], object]], None]
) -> None:
    """Their URL says whose they are; that of the stack stays, which has no mark."""
    environment = EndpointTarget(stand).start()
    iot = environment.client("iot")

    def destinations() -> dict[str, Any]:
        listed = iot.list_topic_rule_destinations()["destinationSummaries"]
        return {each["httpUrlSummary"]["confirmationUrl"]: each["status"] for each in listed}

    before = destinations()
    (tmp_path / "test_everything.py").write_text(TESTS, "utf-8")
    command = ["-m", "pytest", "-n", "0", "-p", "harness.plugin", "-p", "no:cacheprovider", "-c", "pyproject.toml"]
    command += ["--rootdir", ".", os.fspath(tmp_path / "test_everything.py"), "-m", "e2e"]
    command += ["--target", "endpoint", "--ready-file", os.fspath(stand)]
    with (
        (tmp_path / "log").open("w") as log,
        subprocess.Popen([sys.executable, *command], cwd=ROOT, env=shell(), stdout=log, stderr=log) as run,
    ):
        try:
            eventually(lambda: (tmp_path / "made").exists() or run.poll() is not None)
        finally:
            run.kill()
    assert (tmp_path / "made").exists(), (tmp_path / "log").read_text()
    assert len(destinations()) == len(before) + 1
    sweep = ["sweep", "--json", "--ready-file", os.fspath(stand)]
    (run_id,) = {json.loads(line)["run"] for line in said_by(sweep, shell()).splitlines()}

    swept = [json.loads(line) for line in said_by([*sweep, "--delete", "--run", run_id], shell()).splitlines()]

    assert {each["kind"] for each in swept} == {"rule", "destination"}
    assert destinations() == before
    iot.close()
