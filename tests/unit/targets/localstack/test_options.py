"""What the LocalStack target is told, and what it needs, before Docker is asked."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import SettingsError, TargetUnavailable
from harness.targets import localstack
from harness.targets.localstack import LocalStackTarget
from harness.targets.options import TargetOptions


def test_the_target_without_a_token_says_so_before_docker_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a token the run stops with one sentence, whether there is a Docker or not."""
    monkeypatch.setattr("docker.from_env", lambda **_: pytest.fail("Docker was asked"))

    for ask in (LocalStackTarget(TargetOptions()).check_options, LocalStackTarget(TargetOptions()).start):
        with pytest.raises(TargetUnavailable, match=r"set LOCALSTACK_AUTH_TOKEN.*--target embedded") as told:
            ask()
        assert "\n" not in str(told.value)


def test_the_target_without_testcontainers_names_the_command(
    options: TargetOptions, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    """Who has not installed the extra reads what to install."""
    find = importlib.util.find_spec
    monkeypatch.setattr(localstack, "find_spec", lambda name: None if name == "testcontainers" else find(name))

    with pytest.raises(TargetUnavailable, match=r'`pip install "thingwright\[localstack\]"`'):
        LocalStackTarget(options).check_options()
    with pytest.raises(TargetUnavailable, match="needs testcontainers"):
        localstack.make_container(token)


def test_testcontainers_is_not_imported_before_it_is_needed() -> None:
    """Importing the target, and asking it whether its options are right, loads neither testcontainers nor docker."""
    program = (
        "import sys\n"
        "from harness.targets.localstack import LocalStackTarget\n"
        "from harness.targets.options import TargetOptions\n"
        "LocalStackTarget(TargetOptions(localstack_token='t')).check_options()\n"
        "print(sorted({'testcontainers.core.container', 'docker'} & sys.modules.keys()))\n"
    )

    ran = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)

    assert ran.stdout == "[]\n"


@pytest.mark.parametrize(
    ("field", "value", "option"),
    [
        ("ready_file", Path("ready.json"), "--ready-file"),
        ("endpoint_url", "http://127.0.0.1:4566", "--endpoint-url"),
        ("iot_endpoint", "localhost", "--iot-endpoint"),
        ("mqtts_port", 8883, "--mqtts-port"),
        ("wss_port", 443, "--wss-port"),
        ("ca_file", Path("ca.pem"), "--ca-file"),
        ("stack_outputs", Path("outputs.json"), "--stack-outputs"),
        ("pulumi_stack", "dev", "--pulumi-stack"),
    ],
)
def test_the_target_refuses_to_be_told_where_something_is(
    options: TargetOptions, field: str, value: object, option: str
) -> None:
    """The container is where this run puts it: an option that says otherwise is a mistake."""
    told = replace(options, **{field: value})  # type: ignore[arg-type] # the field's own type

    with pytest.raises(SettingsError, match="starts a container of its own") as refused:
        LocalStackTarget(told).check_options()

    assert refused.value.variable == option


def test_the_token_is_not_shown_by_the_options(options: TargetOptions, token: str) -> None:
    """Whoever prints the options does not print the token."""
    assert token not in repr(options)
