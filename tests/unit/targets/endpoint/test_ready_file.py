"""The endpoint target by ready file: a stand-in of this project, stack included."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from harness.errors import SettingsError, TargetUnavailable
from harness.targets import ready as ready_files
from harness.targets.base import Capability, Credentials
from harness.targets.endpoint import EndpointTarget
from harness.targets.names import Names
from harness.targets.options import TargetOptions
from harness.targets.ready import ReadyFile

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def ready_file(tmp_path: Path, outputs: dict[str, Any]) -> Path:
    """A ready file of this process."""
    path = tmp_path / "ready.json"
    ready = ReadyFile(
        pid=os.getpid(),
        region="us-east-1",
        account_id="123456789012",
        control_plane_url="http://127.0.0.1:1",
        iot_endpoint="localhost",
        mqtts_port=2,
        wss_port=3,
        ca_file="ca.pem",
        access_key_id="AKIAOWN",
        secret_access_key="own-secret",
        admin_url="http://127.0.0.1:1/_thingwright",
        admin_token="own-token",
        outputs=outputs,
    )
    ready_files.write(path, ready)
    return path


def test_it_knows_what_the_ready_file_says(ready_file: Path) -> None:
    """And nothing else; stopping it stops nothing."""
    target = EndpointTarget(TargetOptions(ready_file=ready_file), names=Names("r"))
    target.check_options()
    environment = target.start()
    target.check()
    target.stop()

    assert environment.target == "endpoint"
    assert environment.is_shared
    assert environment.outputs.identity_pool_id == "us-east-1:1"
    assert environment.credentials == Credentials(access_key_id="AKIAOWN", secret_access_key="own-secret")
    assert environment.admin_url == "http://127.0.0.1:1/_thingwright"
    assert environment.names.unique() == "r-1"
    assert environment.with_names(Names("s")).names.run_id == "s"
    assert "own-secret" not in repr(environment)
    assert "own-token" not in repr(environment)
    assert ready_file.exists()
    assert (target.is_probed, target.lacks, target.capabilities) == (False, {}, frozenset(Capability))


def test_it_needs_a_server_that_runs() -> None:
    """It says how to get one."""
    target = EndpointTarget(TargetOptions())

    for step in (target.check_options, target.start):
        with pytest.raises(TargetUnavailable, match=r"HARNESS_READY_FILE.*HARNESS_ENDPOINT_URL"):
            step()


def test_it_notices_that_the_stand_in_is_gone(ready_file: Path) -> None:
    """A ready file that is removed means an end; a path alone is a ready file."""
    target = EndpointTarget(ready_file)
    target.start()
    ready_file.unlink()

    for step in (target.check, target.check_options):
        with pytest.raises(TargetUnavailable):
            step()


def test_it_may_play_another_target(ready_file: Path) -> None:
    """One that starts a server and leaves the rest to this one."""
    target = EndpointTarget(TargetOptions(ready_file=ready_file), name="localstack")

    assert target.name == target.start().target == "localstack"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("iot_endpoint", "localhost"),
        ("mqtts_port", 8883),
        ("wss_port", 443),
        ("receiver_url", "https://localhost"),
        ("receiver_table", "readings"),
    ],
)
def test_a_ready_file_leaves_nothing_to_be_said(ready_file: Path, name: str, value: Any) -> None:
    """What goes with a URL is refused, not ignored."""
    target = EndpointTarget(TargetOptions(ready_file=ready_file, **{name: value}))

    with pytest.raises(SettingsError, match=f"--{name.replace('_', '-')}=.*goes with --endpoint-url"):
        target.check_options()
