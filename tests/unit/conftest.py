"""What tests of several folders begin with: a stand-in that runs by itself, and a shell that takes it for AWS."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from harness.targets.ready import ReadyFile

    Serving = Callable[..., AbstractContextManager[Path]]
    LeadTo = Callable[[ReadyFile], pytest.MonkeyPatch]


@pytest.fixture(scope="session")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Serving:
    """Run ``thingwright serve`` in a process of its own, which has to end well; give its ready file."""

    @contextlib.contextmanager
    def serve(*options: str) -> Iterator[Path]:
        ready_file = tmp_path_factory.mktemp("serve") / "ready.json"
        command = [sys.executable, "-m", "harness", "serve", "--ready-file", str(ready_file), *options]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            assert any(str(ready_file) in line for line in server.stdout)
            try:
                yield ready_file
            finally:
                server.terminate()
        assert server.returncode == 0

    return serve


@pytest.fixture
def lead_to(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> LeadTo:
    """Make the environment a shell's whose AWS settings lead to a stand-in, with nothing of who runs the tests."""

    def lead(cloud: ReadyFile) -> pytest.MonkeyPatch:
        for name in list(os.environ):
            if name.startswith(("AWS_", "BOTO_", "HARNESS_", "PULUMI_")):
                monkeypatch.delenv(name)
        settings = {
            "AWS_ENDPOINT_URL": cloud.control_plane_url,
            "AWS_ACCESS_KEY_ID": cloud.access_key_id,
            "AWS_SECRET_ACCESS_KEY": cloud.secret_access_key,
            "AWS_REGION": cloud.region,
            "AWS_CONFIG_FILE": str(tmp_path / "config"),
            "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"),
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": "*",
        }
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        return monkeypatch

    return lead
