"""Promise: the commands show what the tests prove, against whatever target the run is at."""

from __future__ import annotations

import asyncio
import re
import sys
from typing import TYPE_CHECKING

import pytest

from harness.targets import ready

if TYPE_CHECKING:
    from pathlib import Path

    from harness import Topics
    from harness.targets.base import Environment

pytestmark = pytest.mark.e2e


@pytest.fixture
def ready_file(environment: Environment, tmp_path: Path) -> Path:
    """Where this run's target is, as `thingwright serve` would have written it."""
    if environment.ready is None:
        pytest.skip("not proven: this target has no ready file")
    path = tmp_path / "ready file ä.json"
    ready.write(path, environment.ready)
    return path


async def run(*arguments: str | Path) -> tuple[int | None, list[str], str]:
    """Run a command to its end; give exit code, lines of standard output, and standard error."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "harness"),
        *map(str, arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode, out.decode().splitlines(), err.decode()


async def test_the_client_holds_its_example_session(ready_file: Path, topics: Topics) -> None:
    """Every line of the documented session appears, in its order, and the client hears itself."""
    topic = topics.broadcast

    code, lines, err = await run(
        "client", "--ready-file", ready_file, "--topic", topic, "--message", "Hello, World!", "--count", "1"
    )

    assert (code, err) == (0, "")
    patterns = [
        r"\[setup\] endpoint=\S+ region=\S+ client_id=public-[0-9a-f]{8}",
        r"\[debug\] caller_identity: arn:aws:sts::\d{12}:assumed-role/[\w-]+/CognitoIdentityCredentials",
        r"\[debug\] access_key=ASIA\w\.\.\.",
        r"\[connecting\]",
        r"\[connected\]",
        rf"\[subscribing\] {topic}",
        rf"\[subscribed\] {topic}",
        rf"\[publishing\] {topic}: Hello, World!",
        r"\[published\]",
        r"\[listening\] Press Ctrl\+C to exit\.\.\.",
        rf"\[message\] topic={topic} payload=Hello, World!",
    ]
    assert len(lines) == len(patterns)
    assert [line for line, pattern in zip(lines, patterns, strict=True) if not re.fullmatch(pattern, line)] == []


async def test_the_client_says_why_it_was_refused(ready_file: Path, topics: Topics) -> None:
    """A refusal is one sentence and an exit code; what is allowed was, in the same breath."""
    code, lines, err = await run("listen", "--ready-file", ready_file, "--topic", topics.telemetry, "--count", "1")

    assert code == 1
    assert lines[-2:] == ["[connected]", f"[subscribing] {topics.telemetry}"]
    assert "was refused iot:Subscribe" in err
    assert err.count("\n") == 1


async def test_the_demonstration_loses_nothing(ready_file: Path) -> None:
    """Every listener shows every message, and the last line counts none as missing."""
    code, lines, err = await run("demo", "--ready-file", ready_file, "--clients", "4", "--messages", "2")

    assert (code, err) == (0, "")
    assert sum("✅ Received: 🎉 Hello from the broadcaster!" in line for line in lines) == 8
    assert lines[-1].startswith("[demo] delivered 8 of 8, missing 0, latency p50 ")
