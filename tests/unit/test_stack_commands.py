"""Deploying, telling and removing the stack on AWS: the Pulumi CLI is played by a program that keeps a record.

AWS is a `thingwright serve` of this module, which says whose credentials these are.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner, Result

from harness import cli
from harness.command_options import accounts_of
from harness.targets import ready
from harness.targets.embedded.options import DEFAULT_STACK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.targets.ready import ReadyFile
    from tests.unit.conftest import LeadTo, Serving

ACCOUNT = "123456789012"
OTHER_ACCOUNT = "210987654321"
FAKE_PULUMI = Path(__file__).parent / "targets" / "fake_pulumi.py"
OUTPUTS = {
    "tableName": "readings-1",
    "region": "us-east-1",
    "iotEndpoint": "localhost",
    "iotMqttsPort": 8883,
    "iotWssUrl": "wss://localhost/mqtt",
    "identityPoolId": "us-east-1:1",
    "clientIdPrefix": "public-",
    "topicPrefix": "public/",
    "telemetryTopic": "things/telemetry",
    "devicePolicyName": "device-policy",
}
WITH_RULE = OUTPUTS | {"ruleName": "thingwright_dev_telemetry"}


class Pulumi:
    """The record of the program that plays the CLI, and its state.

    Args:
        folder: where both are.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.write(stacks={}, outputs=OUTPUTS)

    def write(self, **state: Any) -> None:
        """Change some of its state."""
        file = self.folder / "state.json"
        before = json.loads(file.read_text("utf-8")) if file.exists() else {}
        file.write_text(json.dumps(before | state), "utf-8")

    @property
    def config(self) -> dict[str, Any]:
        """What the stack ``dev`` is configured with, secrets too."""
        stacks = json.loads((self.folder / "state.json").read_text("utf-8"))["stacks"]
        return {key: each["value"] for key, each in stacks["dev"]["config"].items()}

    @property
    def calls(self) -> list[list[str]]:
        """The arguments of each call, without what all have in common."""
        file = self.folder / "calls.jsonl"
        lines = file.read_text("utf-8").splitlines() if file.exists() else []
        return [json.loads(line)["argv"] for line in lines]

    @property
    def verbs(self) -> list[str]:
        """What each call was for, in its first words."""
        return [" ".join(word for word in call[: call.index("--stack")] if word[0] not in "-/") for call in self.calls]


@pytest.fixture(scope="module")
def cloud(serving: Serving) -> Iterator[ReadyFile]:
    """A ``thingwright serve --no-stack`` in a process of its own; it has to end well."""
    with serving("--no-stack") as ready_file:
        yield ready.read(ready_file)


@pytest.fixture(autouse=True)
def shell(cloud: ReadyFile, lead_to: LeadTo) -> pytest.MonkeyPatch:
    """A shell whose AWS settings lead to the stand-in, and nothing of the person who runs the tests."""
    shell = lead_to(cloud)
    shell.setenv("COLUMNS", "200")
    return shell


@pytest.fixture
def pulumi(shell: pytest.MonkeyPatch, tmp_path: Path) -> Pulumi:
    """The fake CLI on PATH, logged in, without any stack."""
    folder = tmp_path / "bin"
    folder.mkdir()
    command = folder / "pulumi"
    # Through sh, since an interpreter whose path has a space cannot stand after `#!`.
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{FAKE_PULUMI}" "$@"\n', "utf-8")
    command.chmod(0o755)
    shell.setenv("FAKE_PULUMI", str(folder))
    shell.setenv("PATH", str(folder), prepend=os.pathsep)
    return Pulumi(folder)


def invoke(*arguments: str | Path) -> Result:
    """Run the command line in this process."""
    return CliRunner().invoke(cli.app, list(map(str, arguments)))


def test_first_deployment_makes_the_stack_without_a_rule(pulumi: Pulumi) -> None:
    """Stack, region, the leave to sweep guests; then what Pulumi says, the outputs, and what comes next."""
    done = invoke("deploy", "--aws-account", ACCOUNT)

    assert (done.exit_code, done.stderr) == (0, "")
    assert pulumi.verbs == [
        "config",
        "stack init",
        "config set aws:region",
        "config set guestsAreSwept",
        "up",
        "stack output",
    ]
    assert pulumi.config == {"aws:region": "us-east-1", "thingwright:guestsAreSwept": "true"}
    lines = done.stdout.splitlines()
    assert lines[0] == f"[deploy] stack dev in account {ACCOUNT}, us-east-1"
    assert lines[1:3] == ["Updating (dev):", " +  aws:iot:Policy device created"]
    assert lines[6:8] == ["region: us-east-1", "iotEndpoint: localhost"]
    assert f"next: pytest --target aws --pulumi-stack dev --aws-account {ACCOUNT} " in lines[-2]
    assert "TABLE_NAME=readings-1" in lines[-1]
    assert f"thingwright deploy --pulumi-stack dev --aws-account {ACCOUNT} --receiver-url" in lines[-1]


def test_second_deployment_makes_the_rule_and_hides_the_secret(pulumi: Pulumi, shell: pytest.MonkeyPatch) -> None:
    """The secret goes from the variable through stdin into Pulumi, and is in no argument and no line."""
    shell.setenv("HARNESS_IOT_SECRET", "v3ry-s3cret")
    pulumi.write(stacks={"dev": {"config": {}, "outputs": OUTPUTS}}, outputs=WITH_RULE)

    done = invoke("deploy", "--aws-account", ACCOUNT, "--receiver-url", "https://telemetry.example.com")

    assert (done.exit_code, done.stderr) == (0, "")
    assert "stack init" not in pulumi.verbs
    assert pulumi.config["thingwright:receiverUrl"] == "https://telemetry.example.com"
    assert pulumi.config["thingwright:iotSecret"] == "v3ry-s3cret"
    assert "s3cret" not in json.dumps(pulumi.calls) + done.output
    assert "[deploy] iotSecret is what HARNESS_IOT_SECRET says\n" in done.stdout
    assert [call for call in pulumi.calls if "iotSecret" in call and "--secret" not in call] == []
    assert done.stdout.splitlines()[-1].endswith(
        f"next: pytest --target aws --pulumi-stack dev --aws-account {ACCOUNT}"
    )


def test_rule_without_a_secret_is_refused_before_anything_is_made(pulumi: Pulumi) -> None:
    """Once Pulumi has it, nobody has to give it again."""
    url = ("--receiver-url", "https://telemetry.example.com")
    refused = invoke("deploy", "--aws-account", ACCOUNT, *url)
    assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1)
    assert "HARNESS_IOT_SECRET" in refused.stderr
    assert pulumi.verbs == ["config"]

    has_it = {"thingwright:iotSecret": {"value": "s3cret", "secret": True}}
    pulumi.write(stacks={"dev": {"config": has_it, "outputs": {}}})
    assert invoke("deploy", "--aws-account", ACCOUNT, *url).exit_code == 0
    assert pulumi.config["thingwright:iotSecret"] == "s3cret"


def test_deployment_takes_another_program_name_and_file(pulumi: Pulumi, tmp_path: Path) -> None:
    """All calls are for the one stack of the one program, with its configuration where the user wants it."""
    (tmp_path / "Pulumi.yaml").touch()
    file = tmp_path / "mine.yaml"

    done = invoke(
        *("deploy", "--aws-account", ACCOUNT, "--pulumi-stack", "acme/nightly", "--program", tmp_path),
        *("--config-file", file, "--region", "eu-west-1"),
    )

    assert done.exit_code == 0, done.stderr
    where = ["--stack", "acme/nightly", "--cwd", str(tmp_path), "--non-interactive"]
    assert [call for call in pulumi.calls if call[-5:] != where] == []
    with_file = [
        call
        for call in pulumi.calls
        if call[call.index("--stack") - 2 : call.index("--stack")] == ["--config-file", str(file)]
    ]
    assert len(with_file) == len(pulumi.calls) - 2  # neither `stack init` nor `stack output` knows the option
    assert "in account 123456789012, eu-west-1" in done.stdout


def test_stack_does_not_move_to_another_region(pulumi: Pulumi, shell: pytest.MonkeyPatch) -> None:
    """The stack's own region counts more than the shell's, and an option that differs is refused."""
    region = {"aws:region": {"value": "us-east-1", "secret": False}}
    pulumi.write(stacks={"dev": {"config": region, "outputs": {}}})
    shell.setenv("AWS_REGION", "eu-west-1")

    refused = invoke("deploy", "--aws-account", ACCOUNT, "--region", "eu-west-1")
    done = invoke("deploy", "--aws-account", ACCOUNT)

    assert (refused.exit_code, "is in us-east-1" in refused.stderr) == (2, True)
    assert done.exit_code == 0
    assert pulumi.config["aws:region"] == "us-east-1"


def test_region_has_to_be_known(pulumi: Pulumi, shell: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nobody deploys to wherever; the profile's region is one."""
    shell.delenv("AWS_REGION")
    refused = invoke("deploy", "--aws-account", ACCOUNT)
    assert (refused.exit_code, "--region" in refused.stderr) == (2, True)

    (tmp_path / "with region").write_text("[default]\nregion = eu-central-1\n", "utf-8")
    shell.setenv("AWS_CONFIG_FILE", str(tmp_path / "with region"))
    assert "eu-central-1" in invoke("deploy", "--aws-account", ACCOUNT).stdout
    assert pulumi.config["aws:region"] == "eu-central-1"


@pytest.mark.parametrize("command", [("deploy",), ("destroy", "--yes")])
def test_account_is_looked_at_first(pulumi: Pulumi, shell: pytest.MonkeyPatch, command: tuple[str, ...]) -> None:
    """No account, another's, no credentials, credentials of Pulumi's own: exit code 4, and nothing was changed."""
    profile = {"aws:profile": {"value": "prod", "secret": False}}
    pulumi.write(stacks={"dev": {"config": {}, "outputs": OUTPUTS}, "prod": {"config": profile, "outputs": OUTPUTS}})
    sentences = {
        "--aws-account ID": invoke(*command),
        f"of account {ACCOUNT}, and allowed is {OTHER_ACCOUNT}": invoke(*command, "--aws-account", OTHER_ACCOUNT),
        "`pulumi config rm aws:profile`": invoke(*command, "--aws-account", ACCOUNT, "--pulumi-stack", "prod"),
    }
    shell.delenv("AWS_SECRET_ACCESS_KEY")
    shell.delenv("AWS_ACCESS_KEY_ID")
    sentences["There are no AWS credentials"] = invoke(*command, "--aws-account", ACCOUNT)

    for sentence, result in sentences.items():
        assert (result.exit_code, result.stderr.count("\n"), sentence in result.stderr) == (4, 1, True), result.stderr
    assert set(pulumi.verbs) == {"config"}


@pytest.mark.parametrize("command", [("deploy",), ("destroy", "--yes"), ("outputs", "--pulumi-stack", "dev")])
def test_no_pulumi_cli_is_a_sentence(shell: pytest.MonkeyPatch, tmp_path: Path, command: tuple[str, ...]) -> None:
    """Exit code 4, and what to install."""
    shell.setenv("PATH", str(tmp_path))
    shell.setenv("HARNESS_AWS_ACCOUNT", ACCOUNT if command[0] != "outputs" else "")

    result = invoke(*command)

    assert (result.exit_code, result.stderr.count("\n")) == (4, 1)
    assert "install `pulumi`" in result.stderr


def test_failed_deployment_ends_with_its_last_words(pulumi: Pulumi) -> None:
    """Exit code 1; what Pulumi said was shown, and its end stands in the complaint; no outputs are told."""
    pulumi.write(fails={"up": "error: update failed"})

    done = invoke("deploy", "--aws-account", ACCOUNT)

    assert done.exit_code == 1
    assert done.stdout.splitlines()[1:] == ["the last thing it did", "error: update failed"]
    assert "`pulumi up`, ended with exit code 255" in done.stderr
    assert done.stderr.endswith("  the last thing it did\n  error: update failed\n")


def test_interrupt_reaches_pulumi_once(pulumi: Pulumi) -> None:
    """Ctrl+C cancels the update in Pulumi's own way, and the command ends after it with 130."""
    pulumi.write(hangs=True)
    command = [sys.executable, "-m", "harness", "deploy", "--aws-account", ACCOUNT]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert any(line == "Updating (dev):\n" for line in process.stdout)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        rest, complaint = process.stdout.read(), process.stderr.read()

    assert (process.returncode, rest, complaint) == (130, "error: update cancelled\n", "Interrupted.\n")
    assert (pulumi.folder / "interrupts").read_text("utf-8") == "SIGINT\n"


def test_destroying_takes_a_yes(pulumi: Pulumi) -> None:
    """Nothing is asked, so it has to be said; without it not even Pulumi is."""
    pulumi.write(stacks={"dev": {"config": {}, "outputs": OUTPUTS}})

    refused = invoke("destroy", "--aws-account", ACCOUNT)
    assert (refused.exit_code, "--yes" in refused.stderr, pulumi.calls) == (2, True, [])

    done = invoke("destroy", "--aws-account", ACCOUNT, "--yes")
    assert (done.exit_code, done.stderr) == (0, "")
    assert pulumi.verbs == ["config", "stack output", "destroy"]
    assert done.stdout.splitlines()[1] == "Destroying (dev):"
    assert "pulumi stack rm dev" in done.stdout.splitlines()[-1]


def test_stack_of_another_account_is_not_destroyed(pulumi: Pulumi) -> None:
    """With this account's credentials Pulumi would find nothing there, and forget what it has made."""
    foreign = OUTPUTS | {"iotEndpoint": "a1-ats.iot.us-east-1.amazonaws.com"}
    pulumi.write(stacks={"dev": {"config": {}, "outputs": foreign}})

    done = invoke("destroy", "--aws-account", ACCOUNT, "--yes")

    assert (done.exit_code, "another account or region" in done.stderr) == (4, True)
    assert "destroy" not in pulumi.verbs


def test_stack_that_is_not_there_cannot_be_destroyed(pulumi: Pulumi) -> None:
    """The sentence says how to list those that are."""
    done = invoke("destroy", "--aws-account", ACCOUNT, "--yes", "--pulumi-stack", "gone")

    assert (done.exit_code, "pulumi stack ls" in done.stderr) == (4, True)
    assert "destroy" not in pulumi.verbs


def test_outputs_come_from_a_file_and_from_pulumi(pulumi: Pulumi, tmp_path: Path) -> None:
    """All three ways tell the same, in the documented order; what one prints as JSON the other reads."""
    pulumi.write(stacks={"dev": {"config": {}, "outputs": OUTPUTS}})

    by_name = invoke("outputs", "--pulumi-stack", "dev", "--json")
    file = tmp_path / "outputs.json"
    file.write_text(by_name.stdout, "utf-8")
    by_file = invoke("outputs", "--stack-outputs", file)

    assert json.loads(by_name.stdout) == OUTPUTS
    assert by_file.stdout.splitlines()[:2] == ["region: us-east-1", "iotEndpoint: localhost"]
    assert pulumi.calls == [
        ["stack", "output", "--json", "--stack", "dev", "--cwd", str(DEFAULT_STACK), "--non-interactive"]
    ]


def test_two_stacks_at_once_are_refused(shell: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Typed or by variables: the sentence names all ways."""
    typed = invoke("outputs", "--stack-outputs", tmp_path / "outputs.json", "--pulumi-stack", "dev")
    shell.setenv("HARNESS_READY_FILE", str(tmp_path / "ready.json"))
    shell.setenv("HARNESS_STACK_OUTPUTS", str(tmp_path / "outputs.json"))
    by_variables = invoke("outputs")

    for result in (typed, by_variables):
        assert (result.exit_code, result.stderr.count("\n")) == (4, 1)
        for way in ("HARNESS_READY_FILE", "HARNESS_STACK_OUTPUTS", "HARNESS_PULUMI_STACK"):
            assert way in result.stderr


def test_what_is_typed_counts_more_than_variables_of_other_ways(shell: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A variable that was exported for something else has not to be unset."""
    shell.setenv("HARNESS_READY_FILE", str(tmp_path / "ready.json"))
    shell.setenv("HARNESS_PULUMI_STACK", "dev")
    file = tmp_path / "outputs.json"
    file.write_text(json.dumps(OUTPUTS), "utf-8")

    assert json.loads(invoke("outputs", "--json", "--stack-outputs", file).stdout) == OUTPUTS


@pytest.mark.parametrize(
    ("given", "ids"),
    [
        (None, ()),
        ([], ()),
        ([ACCOUNT], (ACCOUNT,)),
        ([f"{ACCOUNT},{OTHER_ACCOUNT}"], (ACCOUNT, OTHER_ACCOUNT)),
        ([f"{ACCOUNT},", OTHER_ACCOUNT, ACCOUNT], (ACCOUNT, OTHER_ACCOUNT)),
    ],
)
def test_accounts_may_be_separated_by_commas(given: list[str] | None, ids: tuple[str, ...]) -> None:
    """A variable holds several where an option is repeated; each counts once."""
    assert accounts_of(given) == ids
