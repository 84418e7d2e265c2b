"""The ready file: written in one step, read with suspicion."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from harness.errors import TargetUnavailable
from harness.targets import ready as ready_files
from harness.targets.ready import ReadyFile

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def make_ready() -> Callable[..., ReadyFile]:
    """Make the content of a ready file, of this process unless said otherwise."""

    def make(**more: Any) -> ReadyFile:
        values: dict[str, Any] = {
            "pid": os.getpid(),
            "region": "us-east-1",
            "account_id": "123456789012",
            "control_plane_url": "http://127.0.0.1:1",
            "iot_endpoint": "localhost",
            "mqtts_port": 2,
            "wss_port": 3,
            "ca_file": "/somewhere/ä/ca.pem",
            "access_key_id": "AKIAOWN",
            "secret_access_key": "secret-of-the-key",
            "admin_url": "http://127.0.0.1:1/_thingwright",
            "admin_token": "token-of-the-admin",
            **more,
        }
        return ReadyFile(**values)

    return make


@pytest.fixture
def dead_pid(python: str) -> int:
    """The pid of a process that has ended."""
    process = subprocess.Popen([python, "-c", ""])
    process.wait()
    return process.pid


def test_what_was_written_is_read(make_ready: Callable[..., ReadyFile], tmp_path: Path) -> None:
    """Everything comes back, and the file is its owner's alone, whatever was there before."""
    path = tmp_path / "ready.json"
    path.write_text("old")
    path.chmod(0o644)
    ready = make_ready(outputs={"identityPoolId": "us-east-1:1"})

    ready_files.write(path, ready)

    assert ready_files.read(path) == ready
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["ready.json"]


def test_a_failed_write_leaves_nothing(make_ready: Callable[..., ReadyFile], tmp_path: Path) -> None:
    """The file that was to be renamed goes away with the error."""
    target = tmp_path / "ready.json"
    target.mkdir()

    with pytest.raises(OSError, match="director"):
        ready_files.write(target, make_ready())

    assert list(tmp_path.iterdir()) == [target]


def test_secrets_are_not_printed(make_ready: Callable[..., ReadyFile]) -> None:
    """Neither the key's secret nor the admin's token."""
    shown = repr(make_ready())
    assert "secret-of-the-key" not in shown
    assert "token-of-the-admin" not in shown


def test_a_newer_ready_file_is_read(make_ready: Callable[..., ReadyFile], tmp_path: Path) -> None:
    """Fields that this version does not know are passed over; a receiver and outputs may be absent."""
    path = tmp_path / "ready.json"
    ready_files.write(path, make_ready())
    content = json.loads(path.read_text("utf-8"))
    del content["outputs"], content["receiver_url"]
    path.write_text(json.dumps({**content, "colour": "blue"}), "utf-8")

    assert ready_files.read(path) == make_ready()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"mqtts_port": "2"}, "mqtts_port is of another type"),
        ({"pid": True}, "pid is of another type"),
        ({"outputs": []}, "outputs is of another type"),
        ({"admin_token": None}, "admin_token is of another type"),
    ],
)
def test_a_wrong_value_is_named(
    change: dict[str, Any], told: str, make_ready: Callable[..., ReadyFile], tmp_path: Path
) -> None:
    """The reader learns which field is wrong."""
    path = tmp_path / "ready.json"
    ready_files.write(path, make_ready(**change))

    with pytest.raises(TargetUnavailable, match=told):
        ready_files.read(path)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "not a JSON object"),
        (b'{"pid": ', "not a JSON object"),
        (b"[]", "not a JSON object"),
        (b"{}", "pid is missing"),
        (b"\xff\xfe", "not UTF-8"),
    ],
)
def test_another_file_is_refused(content: bytes, told: str, tmp_path: Path) -> None:
    """Whatever it is, the error is one sentence."""
    path = tmp_path / "ready.json"
    path.write_bytes(content)
    path.chmod(0o600)

    with pytest.raises(TargetUnavailable, match=told) as caught:
        ready_files.read(path)

    assert "\n" not in str(caught.value)


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    """The command that makes one is in the message."""
    with pytest.raises(TargetUnavailable, match=r"start `thingwright serve --ready-file .*ready\.json` first"):
        ready_files.read(tmp_path / "ready.json")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    """It cannot be read as a file."""
    with pytest.raises(TargetUnavailable, match="Is a directory"):
        ready_files.read(tmp_path)


def test_a_file_that_others_can_read_is_refused(make_ready: Callable[..., ReadyFile], tmp_path: Path) -> None:
    """Its keys may be in other hands."""
    path = tmp_path / "ready.json"
    ready_files.write(path, make_ready())
    path.chmod(0o640)

    with pytest.raises(TargetUnavailable, match="mode 0640"):
        ready_files.read(path)


def test_a_file_of_a_dead_process_is_refused(
    make_ready: Callable[..., ReadyFile], dead_pid: int, tmp_path: Path
) -> None:
    """Unless it is wanted for clearing up."""
    path = tmp_path / "ready.json"
    ready_files.write(path, make_ready(pid=dead_pid))

    with pytest.raises(TargetUnavailable, match=f"process {dead_pid}, which is gone"):
        ready_files.read(path)

    assert not ready_files.read(path, check_running=False).is_running


def test_whether_a_process_runs(make_ready: Callable[..., ReadyFile], monkeypatch: pytest.MonkeyPatch) -> None:
    """One of another user does; a number that cannot be a process does not."""

    def refuse(_pid: int, _signal: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    assert make_ready(pid=4711).is_running
    assert not make_ready(pid=0).is_running
    assert not make_ready(pid=-1).is_running


def test_only_the_owner_removes_a_ready_file(make_ready: Callable[..., ReadyFile], tmp_path: Path) -> None:
    """Another that took the path meanwhile keeps its file; a missing one is no error."""
    path = tmp_path / "ready.json"
    ready_files.write(path, make_ready())

    ready_files.remove(path, pid=os.getpid() + 1)
    assert path.exists()
    ready_files.remove(path, pid=os.getpid())
    assert not path.exists()
    ready_files.remove(path, pid=os.getpid())
