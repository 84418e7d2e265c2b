"""The Pulumi CLI, played by a program that keeps a record: what it is asked for, and what becomes of its answers."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.errors import SettingsError, TargetDied, TargetUnavailable
from harness.targets.embedded.options import DEFAULT_STACK
from harness.targets.pulumi_cli import PulumiStack

if TYPE_CHECKING:
    from collections.abc import Callable

FAKE = Path(__file__).with_name("fake_pulumi.py")


@pytest.fixture
def pulumi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Callable[[], list[dict[str, Any]]]]:
    """Put the fake CLI on PATH, in a state of the test's choice; what comes back tells what it was asked for."""

    def install(script: str | None = None, **state: Any) -> Callable[[], list[dict[str, Any]]]:
        folder = tmp_path / "bin ä"
        folder.mkdir()
        (folder / "state.json").write_text(json.dumps({"stacks": {}, "outputs": {}} | state), "utf-8")
        command = folder / "pulumi"
        program = folder / "program.py"
        program.write_text(script or FAKE.read_text("utf-8"), "utf-8")
        # Through sh, since an interpreter whose path has a space cannot stand after `#!`.
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{program}" "$@"\n', "utf-8")
        command.chmod(0o755)
        monkeypatch.setenv("FAKE_PULUMI", str(folder))
        monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
        return lambda: [json.loads(line) for line in (folder / "calls.jsonl").read_text("utf-8").splitlines()]

    return install


def test_outputs_are_asked_for_without_a_question(pulumi: Callable[..., Any]) -> None:
    """The call names stack and program, never prompts, and what it prints is what is told."""
    calls = pulumi(stacks={"dev": {"config": {}, "outputs": {"region": "eu-west-1", "iotMqttsPort": 8883}}})

    assert PulumiStack("dev").outputs() == {"region": "eu-west-1", "iotMqttsPort": 8883}
    where = ["--stack", "dev", "--cwd", str(DEFAULT_STACK), "--non-interactive"]
    assert [call["argv"] for call in calls()] == [["stack", "output", "--json", *where]]


def test_own_program_runs_with_the_own_interpreter(
    pulumi: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Pulumi's SDK is where this package is; another program brings its own, and the user's word counts more.

    Where there is no pip, Pulumi could not use our interpreter.
    """
    monkeypatch.delenv("PULUMI_PYTHON_CMD", raising=False)
    found = {"pip": object()}
    monkeypatch.setattr("harness.targets.pulumi_cli.find_spec", found.get)
    calls = pulumi(stacks={"dev": {"config": {}, "outputs": {}}})
    (tmp_path / "Pulumi.yaml").touch()

    PulumiStack("dev").outputs()
    PulumiStack("dev", program=tmp_path).outputs()
    monkeypatch.setenv("PULUMI_PYTHON_CMD", "python3.12")
    PulumiStack("dev").outputs()

    monkeypatch.delenv("PULUMI_PYTHON_CMD")
    found.clear()
    PulumiStack("dev").outputs()

    assert [call["python"] for call in calls()] == [sys.executable, None, "python3.12", None]


def test_configuration_blinds_secrets_and_a_value_is_never_an_argument(
    pulumi: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whoever lists processes sees no secret, and the CLI inherits none; what was set can be told apart."""
    monkeypatch.setenv("HARNESS_IOT_SECRET", "v3ry-s3cret")
    calls = pulumi(stacks={"dev": {"config": {}, "outputs": {}}})
    stack = PulumiStack("dev", config_file=tmp_path / "mine.yaml")

    stack.set("iotSecret", "v3ry-s3cret", is_secret=True)
    stack.set("aws:region", "eu-west-1")

    assert stack.config() == {"thingwright:iotSecret": None, "aws:region": "eu-west-1"}
    assert [(call["stdin"], call["secret"]) for call in calls()] == [
        ("v3ry-s3cret", None),
        ("eu-west-1", None),
        ("", None),
    ]
    assert "s3cret" not in json.dumps([call["argv"] for call in calls()])
    assert all(["--config-file", str(tmp_path / "mine.yaml")] == call["argv"][-7:-5] for call in calls())


def test_stack_that_is_not_there_has_no_configuration_until_it_is_created(pulumi: Callable[..., Any]) -> None:
    """A deployment asks first and makes it then, without moving the user's selection."""
    calls = pulumi()
    stack = PulumiStack("organisation/dev")

    assert stack.config() is None
    with pytest.raises(
        TargetUnavailable, match=r"no Pulumi stack organisation/dev .*thingwright deploy --pulumi-stack"
    ):
        stack.outputs()
    stack.create()

    assert stack.config() == {}
    assert calls()[2]["argv"][:3] == ["stack", "init", "--no-select"]


def test_update_passes_its_lines_on(pulumi: Callable[..., Any]) -> None:
    """Whoever deploys sees what Pulumi says, line by line, and has to answer nothing."""
    calls = pulumi(stacks={"dev": {"config": {}, "outputs": {}}}, outputs={"region": "eu-west-1"})
    lines: list[str] = []
    stack = PulumiStack("dev")

    stack.up(lines.append)
    assert lines == ["Updating (dev):", " +  aws:iot:Policy device created", "", "Resources:", "    + 1 created"]
    assert stack.outputs() == {"region": "eu-west-1"}

    stack.destroy(lines.append)
    assert lines[-1] == "    - 1 deleted"
    assert [call["argv"][:2] for call in calls()][::2] == [["up", "--yes"], ["destroy", "--yes"]]


def test_update_goes_on_when_nobody_reads_its_lines(pulumi: Callable[..., Any]) -> None:
    """A reader who had enough ends the command, not the update in its middle."""
    pulumi(stacks={"dev": {"config": {}, "outputs": {}}}, outputs={"region": "eu-west-1"})
    stack = PulumiStack("dev")

    def refuse(_: str) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        stack.up(refuse)

    assert stack.outputs() == {"region": "eu-west-1"}


@pytest.mark.parametrize("asked", ["up", "config"])
def test_failure_is_told_with_the_end_of_what_was_said(pulumi: Callable[..., Any], asked: str) -> None:
    """The exit code, and the CLI's own last lines."""
    pulumi(
        stacks={"dev": {"config": {}, "outputs": {}}},
        fails={asked: "error: the stack is currently locked by 1 lock(s)"},
    )
    stack = PulumiStack("dev")

    with pytest.raises(TargetDied) as caught:
        _ = stack.up(lambda _: None) if asked == "up" else stack.config()

    assert f"`pulumi {asked}`, ended with exit code 255" in str(caught.value)
    assert caught.value.tail == ("the last thing it did", "error: the stack is currently locked by 1 lock(s)")


@pytest.mark.parametrize(
    ("script", "complaint"),
    [
        ("print('Please log in')", "no JSON object"),
        ("print('[1]')", "no JSON object"),
        ("import os; os.abort()", "signal 6"),
    ],
)
def test_answer_that_is_none_is_told(pulumi: Callable[..., Any], script: str, complaint: str) -> None:
    """What is not JSON, not an object, or not said at all does not become outputs."""
    pulumi(script=script)

    with pytest.raises(TargetDied, match=complaint):
        PulumiStack("dev").outputs()


def test_cli_that_never_answers_is_given_up(pulumi: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A backend out of reach does not hold up a run for ever."""
    monkeypatch.setattr("harness.targets.pulumi_cli._PATIENCE", 0.01)
    pulumi(script="import signal; signal.pause()")

    with pytest.raises(TargetUnavailable, match=r"`pulumi stack output` gave no answer .* `pulumi whoami`"):
        PulumiStack("dev").outputs()


def test_no_cli_is_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Who has no Pulumi is told what to install; who has a broken one, that it cannot be run."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TargetUnavailable, match=r"no Pulumi CLI on PATH: install `pulumi`"):
        PulumiStack("dev")

    (tmp_path / "pulumi").write_text("#!/nowhere/at/all\n")
    (tmp_path / "pulumi").chmod(0o755)
    with pytest.raises(TargetUnavailable, match="cannot be run"):
        PulumiStack("dev").outputs()


def test_names_and_folders_that_are_none_are_refused(pulumi: Callable[..., Any], tmp_path: Path) -> None:
    """A name can be no option, and a folder without a program is named."""
    pulumi()

    for name in ("", "--yes", "a b", "a/b/c/d"):
        with pytest.raises(SettingsError, match="--pulumi-stack"):
            PulumiStack(name)
    with pytest.raises(SettingsError, match=r"--program.*Pulumi\.yaml"):
        PulumiStack("dev", program=tmp_path)
