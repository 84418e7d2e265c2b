"""The deploying process as its parent sees it: a line of JSON, or an error as JSON, and no life without the parent."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import harness
from harness.errors import ProvisioningError
from harness.targets.provisioning import __main__ as command
from harness.targets.provisioning import process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def make_config(make_program: Callable[[str], Path], tmp_path: Path) -> Callable[..., Path]:
    """Write the configuration for a program given by its source."""

    def make(source: str, **more: Any) -> Path:
        config = {
            "program": str(make_program(source)),
            "stack": "test",
            "region": "eu-central-1",
            "access_key_id": "AKIAOWN",
            "secret_access_key": "own",
            "endpoint_url": "http://127.0.0.1:9",
            "config": {"port": "1"},
            **more,
        }
        file = tmp_path / "config.json"
        file.write_text(json.dumps(config), "utf-8")
        return file

    return make


@pytest.fixture(autouse=True)
def same_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Undo what the process does to its working directory, and to Ctrl-C."""
    monkeypatch.chdir(tmp_path)
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


def test_the_process_prints_the_outputs_alone(
    make_config: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """What the program prints goes elsewhere."""
    file = make_config("import pulumi, os\nprint('hello')\npulumi.export('here', os.path.basename(os.getcwd()))\n")

    assert command.main(["--config", str(file)]) == 0

    out, err = capsys.readouterr()
    assert json.loads(out) == {"here": "a prögram"}
    assert out.count("\n") == 1
    assert "hello" in err


def test_the_process_gets_its_endpoint_through_a_pipe(make_config: Callable[..., Path]) -> None:
    """It warms up first and reads where to go when its parent knows."""
    read_end, write_end = os.pipe()
    file = make_config("import pulumi\npulumi.export('port', pulumi.Config().get_int('port'))\n", start_fd=read_end)
    os.write(write_end, json.dumps({"endpoint_url": "http://127.0.0.1:9", "config": {"port": "77"}}).encode() + b"\n")
    os.close(write_end)

    assert process._run(json.loads(file.read_text("utf-8"))) == {"port": 77}


def test_the_process_ends_when_it_is_told_nothing(make_config: Callable[..., Path]) -> None:
    """A parent that went away is no endpoint."""
    read_end, write_end = os.pipe()
    os.close(write_end)
    file = make_config("", start_fd=read_end)

    with pytest.raises(ProvisioningError, match="went away"):
        process._run(json.loads(file.read_text("utf-8")))


def test_an_error_is_the_last_line_of_stderr(
    make_config: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """The parent reads it there and raises it again."""
    file = make_config("import pulumi_aws as aws\naws.iot.Thing('lamp')\n")

    assert command.main(["--config", str(file)]) == 1

    out, err = capsys.readouterr()
    assert out == ""
    told = json.loads(err.splitlines()[-1])
    assert told["resource"] == "aws:iot/thing:Thing lamp"
    assert set(told) == {"resource", "call", "reason", "request_id", "is_unknown_operation"}


def test_the_command_line_is_checked(capsys: pytest.CaptureFixture[str]) -> None:
    """Its one option is not optional."""
    assert command.main([]) == 2
    assert "--config" in capsys.readouterr().err


def test_the_process_dies_with_its_parent(make_config: Callable[..., Path], python: str) -> None:
    """The end of the lifeline ends it, while it waits and whatever it does."""
    read_end, write_end = os.pipe()
    start_read, start_write = os.pipe()
    file = make_config("", lifeline_fd=read_end, start_fd=start_read)
    child = subprocess.Popen(
        [python, "-m", "harness.targets.provisioning", "--config", str(file)],
        pass_fds=(read_end, start_read),
        env={**os.environ, "PYTHONPATH": str(Path(harness.__file__).parents[1])},
    )
    os.close(write_end)

    assert child.wait(timeout=30) == 1

    for descriptor in (read_end, start_read, start_write):
        os.close(descriptor)
