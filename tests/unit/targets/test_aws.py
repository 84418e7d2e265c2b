"""The aws target, with a `thingwright serve` in AWS's role: the right account, the right stack, or a sentence.

What the target and the command line do here, they do with boto3's own settings, as at AWS.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from harness import cli
from harness.errors import SettingsError, TargetUnavailable
from harness.kit import read_kit
from harness.targets import ready
from harness.targets.aws import AwsTarget, read_outputs
from harness.targets.aws_clients import make_own_client, own_region
from harness.targets.base import Capability, Credentials
from harness.targets.marks import find_mark
from harness.targets.options import TargetOptions
from harness.targets.registry import make_target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness.targets.ready import ReadyFile
    from tests.unit.conftest import LeadTo, Serving

ACCOUNT = "123456789012"
OTHER_ACCOUNT = "210987654321"
FAKE_PULUMI = Path(__file__).with_name("fake_pulumi.py")


@pytest.fixture(scope="module")
def cloud(serving: Serving) -> Iterator[ReadyFile]:
    """A ``thingwright serve`` with its stack, in a process of its own; it has to end well."""
    with serving() as ready_file:
        yield ready.read(ready_file)


@pytest.fixture(autouse=True)
def shell(cloud: ReadyFile, lead_to: LeadTo) -> pytest.MonkeyPatch:
    """A shell whose AWS settings lead to the stand-in, and nothing of the person who runs the tests."""
    return lead_to(cloud)


@pytest.fixture
def make_file(cloud: ReadyFile, tmp_path: Path) -> Callable[..., Path]:
    """Write the stack's outputs, with other values where a test says so, and without those that are None there."""

    def make(**others: Any) -> Path:
        told = {name: value for name, value in (cloud.outputs | others).items() if value is not None}
        path = tmp_path / f"outputs ä {len(list(tmp_path.iterdir()))}.json"
        path.write_text(json.dumps(told), "utf-8")
        return path

    return make


@pytest.fixture
def make_aws(make_file: Callable[..., Path]) -> Callable[..., AwsTarget]:
    """Make a target by a file of outputs; whatever a test says goes into its options."""

    def make(**options: Any) -> AwsTarget:
        given: dict[str, Any] = {"stack_outputs": make_file(), "aws_accounts": (ACCOUNT,)} | options
        return AwsTarget(TargetOptions(**given))

    return make


def sentence(target: AwsTarget) -> str:
    """Start a target that cannot be used; give its one sentence."""
    with pytest.raises(TargetUnavailable) as caught:
        target.start()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_environment_is_what_the_outputs_tell(make_aws: Callable[..., AwsTarget], cloud: ReadyFile) -> None:
    """Ports, CA and names come from the outputs, the account from STS; clients are boto3's own."""
    environment = make_aws().start()

    assert (environment.target, environment.region, environment.account_id) == ("aws", cloud.region, ACCOUNT)
    assert (environment.iot_endpoint, environment.ca_file) == (cloud.iot_endpoint, cloud.ca_file)
    assert (environment.mqtts_port, environment.wss_port) == (cloud.mqtts_port, cloud.wss_port)
    assert environment.outputs.to_json() == cloud.outputs
    assert (environment.is_shared, environment.is_delayed, environment.has_own_settings) == (True, True, True)
    assert (environment.credentials, environment.control_plane_url, environment.admin_url) == (None, None, None)
    name = environment.outputs.device_policy_name
    assert environment.client("iot").get_policy(policyName=name)["policyName"] == name


def test_ports_of_aws_are_known_without_being_told(make_aws: Callable[..., AwsTarget], make_file: Any) -> None:
    """A URL without a port means 443, and a number that Pulumi has as a float is one."""
    file = make_file(iotWssUrl="wss://localhost/mqtt", iotMqttsPort=8883.0)

    environment = make_aws(stack_outputs=file).start()

    assert (environment.wss_port, environment.mqtts_port) == (443, 8883)


def test_registry_makes_it(make_file: Callable[..., Path]) -> None:
    """``--target aws`` is this target."""
    target = make_target("aws", TargetOptions(stack_outputs=make_file(), aws_accounts=(ACCOUNT,)))

    assert isinstance(target, AwsTarget)
    assert target.start().target == target.name == "aws"


def test_account_that_is_not_allowed_is_refused(make_aws: Callable[..., AwsTarget]) -> None:
    """Both ids are named, and nothing but STS was asked; one of several that are allowed will do."""
    said = sentence(make_aws(aws_accounts=(OTHER_ACCOUNT,)))

    assert ACCOUNT in said
    assert OTHER_ACCOUNT in said
    assert make_aws(aws_accounts=(OTHER_ACCOUNT, ACCOUNT)).start().account_id == ACCOUNT


def test_nobody_runs_without_saying_where(make_aws: Callable[..., AwsTarget], make_file: Callable[..., Path]) -> None:
    """No account, no stack, two stacks, an id that is none: told before anything is asked."""
    with pytest.raises(TargetUnavailable, match="--aws-account"):
        make_aws(aws_accounts=()).check_options()
    for ids in (("12345678901",), ("12345678901x",), (ACCOUNT, "")):
        with pytest.raises(SettingsError, match="--aws-account"):
            make_aws(aws_accounts=ids).check_options()
    for options in ({"stack_outputs": None}, {"stack_outputs": make_file(), "pulumi_stack": "dev"}):
        with pytest.raises(TargetUnavailable, match=r"--stack-outputs FILE .* --pulumi-stack NAME"):
            make_aws(**options).check_options()
    make_aws().check_options()


def test_no_credentials_are_a_sentence(make_aws: Callable[..., AwsTarget], shell: pytest.MonkeyPatch) -> None:
    """Who is not logged in is told how to be; who named a profile that is not there, its name."""
    shell.delenv("AWS_ACCESS_KEY_ID")
    shell.delenv("AWS_SECRET_ACCESS_KEY")
    assert "set AWS_PROFILE" in sentence(make_aws())

    shell.setenv("AWS_PROFILE", "nobody")
    assert "nobody" in sentence(make_aws())


def test_wrong_key_is_a_sentence_without_it(make_aws: Callable[..., AwsTarget], shell: pytest.MonkeyPatch) -> None:
    """What AWS says of a key that does not count is passed on; the key is not."""
    shell.setenv("AWS_SECRET_ACCESS_KEY", "n0t-the-key")

    said = sentence(make_aws())

    assert "GetCallerIdentity" in said
    assert "n0t-the-key" not in said


def test_profile_gives_credentials(
    make_aws: Callable[..., AwsTarget], shell: pytest.MonkeyPatch, cloud: ReadyFile, tmp_path: Path
) -> None:
    """Credentials come by boto3's chain: here from a profile of the shared file."""
    shell.delenv("AWS_ACCESS_KEY_ID")
    shell.delenv("AWS_SECRET_ACCESS_KEY")
    shell.setenv("AWS_PROFILE", "nightly")
    keys = f"aws_access_key_id={cloud.access_key_id}\naws_secret_access_key={cloud.secret_access_key}\n"
    (tmp_path / "credentials").write_text(f"[nightly]\n{keys}", "utf-8")

    assert make_aws().start().account_id == ACCOUNT


def test_outputs_of_another_account_are_refused(make_aws: Callable[..., AwsTarget], make_file: Any) -> None:
    """The account is right and the stack is another's: its endpoint gives it away."""
    file = make_file(iotEndpoint="a1b2c3-ats.iot.us-east-1.amazonaws.com")

    said = sentence(make_aws(stack_outputs=file))

    assert "another account or region" in said
    assert "a1b2c3-ats.iot.us-east-1.amazonaws.com" in said
    assert "localhost" in said


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "There is no file"),
        ("not JSON", "not a JSON object"),
        ("[]", "not a JSON object"),
        ('{"control_plane_url": "http://127.0.0.1:1"}', "--ready-file"),
        ('{"region": "us-east-1"}', "iotEndpoint is missing"),
        ("", "not a JSON object"),
    ],
)
def test_file_that_holds_no_outputs_is_refused_at_once(
    make_aws: Callable[..., AwsTarget], tmp_path: Path, content: str | None, complaint: str
) -> None:
    """A run that cannot be ends before it begins."""
    file = tmp_path / "other.json"
    if content is not None:
        file.write_text(content, "utf-8")

    with pytest.raises(TargetUnavailable, match=complaint):
        make_aws(stack_outputs=file).check_options()


def test_outputs_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    """A folder is no file, and nothing at all is no stack."""
    with pytest.raises(TargetUnavailable, match="cannot be read"):
        read_outputs(tmp_path)
    with pytest.raises(TargetUnavailable, match="Which stack"):
        read_outputs()


def test_ca_file_that_is_not_there_is_named(make_aws: Callable[..., AwsTarget], make_file: Any) -> None:
    """Outputs from another machine name a file of that machine."""
    with pytest.raises(TargetUnavailable, match=r"caFile names /nowhere/ca\.pem"):
        make_aws(stack_outputs=make_file(caFile="/nowhere/ca.pem")).check_options()


def test_missing_capabilities_say_why(make_aws: Callable[..., AwsTarget], make_file: Any) -> None:
    """AWS has neither trace nor faults; rule and destination are there when the stack has a receiver."""
    whole = make_aws()
    never = {Capability.TRACE, Capability.FAULTS}
    assert whole.capabilities == frozenset(Capability) - never
    assert whole.lacks.keys() == never

    half = make_aws(stack_outputs=make_file(ruleName=None, destinationArn=None, receiverUrl=None))
    missing = never | {Capability.HTTP_ACTION, Capability.DESTINATION_CONFIRMATION}
    assert half.capabilities == frozenset(Capability) - missing
    assert "--receiver-url" in half.lacks[Capability.HTTP_ACTION]
    assert half.lacks.keys() == missing


def test_stack_that_cannot_be_read_is_not_said_to_lack_a_rule(
    make_aws: Callable[..., AwsTarget], tmp_path: Path
) -> None:
    """No test is skipped for a reason that is none: the start of the target ends the run."""
    target = make_aws(stack_outputs=tmp_path / "gone.json")

    assert Capability.HTTP_ACTION in target.capabilities
    assert "There is no file" in sentence(target)


def test_check_asks_again_and_remembers(make_file: Callable[..., Path], shell: pytest.MonkeyPatch) -> None:
    """Credentials that ended fail the tests after them, with one question a minute and not one a test."""
    now = [0.0]
    options = TargetOptions(stack_outputs=make_file(), aws_accounts=(ACCOUNT,))
    target = AwsTarget(options, now=lambda: now[0])
    target.start()
    key = os.environ["AWS_SECRET_ACCESS_KEY"]

    shell.setenv("AWS_SECRET_ACCESS_KEY", "ended")
    target.check()  # the answer of the start still counts
    now[0] = 60.0
    for _ in range(2):
        with pytest.raises(TargetUnavailable, match="GetCallerIdentity"):
            target.check()

    shell.setenv("AWS_SECRET_ACCESS_KEY", key)
    with pytest.raises(TargetUnavailable, match="GetCallerIdentity"):
        target.check()
    now[0] = 120.0
    target.check()
    target.stop()


def test_outputs_come_from_the_pulumi_cli(
    make_aws: Callable[..., AwsTarget], shell: pytest.MonkeyPatch, cloud: ReadyFile, tmp_path: Path
) -> None:
    """A stack's name is enough: the CLI tells the rest; what it cannot tell is a sentence."""
    command = tmp_path / "pulumi"
    # Through sh, since an interpreter whose path has a space cannot stand after `#!`.
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{FAKE_PULUMI}" "$@"\n', "utf-8")
    command.chmod(0o755)
    stacks = {"dev": {"config": {}, "outputs": cloud.outputs}, "new": {"config": {}, "outputs": {}}}
    (tmp_path / "state.json").write_text(json.dumps({"stacks": stacks}), "utf-8")
    shell.setenv("FAKE_PULUMI", str(tmp_path))
    shell.setenv("PATH", str(tmp_path), prepend=os.pathsep)

    environment = make_aws(stack_outputs=None, pulumi_stack="dev").start()

    assert environment.outputs.to_json() == cloud.outputs
    assert "no Pulumi stack prod" in sentence(make_aws(stack_outputs=None, pulumi_stack="prod"))
    assert "thingwright deploy --pulumi-stack new" in sentence(make_aws(stack_outputs=None, pulumi_stack="new"))
    (tmp_path / "state.json").write_text(json.dumps({"stacks": {}, "fails": {"stack": "error: log in first"}}), "utf-8")
    with pytest.raises(TargetUnavailable, match="log in first"):
        make_aws(stack_outputs=None, pulumi_stack="dev").start()


def test_no_pulumi_cli_is_known_before_the_start(
    make_aws: Callable[..., AwsTarget], shell: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Nobody waits for a collection to learn that a program is missing."""
    shell.setenv("PATH", str(tmp_path))

    with pytest.raises(TargetUnavailable, match="no Pulumi CLI on PATH"):
        make_aws(stack_outputs=None, pulumi_stack="dev").check_options()


# boto3's own clients.


def test_own_client_follows_the_endpoint_of_the_stack(shell: pytest.MonkeyPatch) -> None:
    """iot-data goes to the account's endpoint, unless the settings name another; each service may have its own."""

    def url(service: str = "iot-data") -> str:
        client = make_own_client(service, region="eu-west-1", iot_endpoint="a1-ats.iot.eu-west-1.amazonaws.com")
        return str(client.meta.endpoint_url)

    assert url() == os.environ["AWS_ENDPOINT_URL"]
    shell.setenv("AWS_ENDPOINT_URL_IOT_DATA_PLANE", "http://127.0.0.1:2")
    assert url() == "http://127.0.0.1:2"
    shell.setenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")
    assert url() == "https://a1-ats.iot.eu-west-1.amazonaws.com"
    assert url("iot") == "https://iot.eu-west-1.amazonaws.com"


def test_own_client_is_as_patient_as_a_throttled_account_needs() -> None:
    """Standard retries, and more of them than a stand-in gets; the region is what the caller says."""
    client = make_own_client("iot", region="eu-west-1")

    assert client.meta.region_name == "eu-west-1"
    assert (client.meta.config.retries["mode"], client.meta.config.retries["total_max_attempts"]) == ("standard", 8)


def test_own_client_may_be_unsigned_or_somebody_elses(cloud: ReadyFile, shell: pytest.MonkeyPatch) -> None:
    """A guest needs no AWS login of the person, before and after Cognito has given credentials."""
    own = Credentials(access_key_id=cloud.access_key_id, secret_access_key=cloud.secret_access_key)
    shell.delenv("AWS_ACCESS_KEY_ID")
    shell.delenv("AWS_SECRET_ACCESS_KEY")

    cognito = make_own_client("cognito-identity", region=cloud.region, unsigned=True)
    sts = make_own_client("sts", region=cloud.region, credentials=own)

    assert cognito.get_id(IdentityPoolId=cloud.outputs["identityPoolId"])["IdentityId"].startswith(cloud.region)
    assert sts.get_caller_identity()["Account"] == ACCOUNT
    with pytest.raises(TargetUnavailable, match="There are no AWS credentials"):
        make_own_client("sts", region=cloud.region)


def test_own_client_refuses_settings_that_are_none(shell: pytest.MonkeyPatch) -> None:
    """An endpoint that is no URL is named, by one sentence."""
    shell.setenv("AWS_ENDPOINT_URL", "not a URL")

    with pytest.raises(TargetUnavailable, match=r"cannot be used: .*not a URL"):
        make_own_client("sts", region="eu-west-1")


def test_own_region_is_the_shells_or_the_profiles(shell: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """AWS_REGION, which boto3 does not read, counts first; a file that is none is a sentence."""
    config = tmp_path / "mine"
    config.write_text("[default]\nregion = eu-central-1\n", "utf-8")
    shell.setenv("AWS_CONFIG_FILE", str(config))
    shell.setenv("AWS_REGION", "eu-west-1")
    assert own_region() == "eu-west-1"

    shell.delenv("AWS_REGION")
    assert own_region() == "eu-central-1"

    (tmp_path / "broken").write_text("region", "utf-8")
    shell.setenv("AWS_CONFIG_FILE", str(tmp_path / "broken"))
    with pytest.raises(TargetUnavailable, match="cannot be used: Unable to parse config file"):
        own_region()


# The command line at AWS.


@dataclass(frozen=True)
class Done:
    """What a command said, and how it ended."""

    code: int
    out: str
    err: str


def run(*arguments: str | Path) -> Done:
    """Run the command line in this process."""
    result = CliRunner().invoke(cli.app, list(map(str, arguments)))
    return Done(result.exit_code, result.stdout, result.stderr)


def test_kit_made_on_aws_connects(make_file: Callable[..., Path], tmp_path: Path) -> None:
    """Registered with the user's own AWS login, the device reports with its kit alone."""
    made = run("kit", "aws-dev-1", "--out", tmp_path / "kit", "--stack-outputs", make_file(), "--aws-account", ACCOUNT)

    assert (made.code, made.err) == (0, "")
    assert made.out.startswith("[kit] aws-dev-1 registered\n")
    assert read_kit(tmp_path / "kit").kit.endpoint == "localhost"
    reported = run("device", "--kit", tmp_path / "kit", "--count", "1")
    assert reported.code == 0, reported.err
    assert "connected" in reported.out


def test_kit_is_not_made_in_an_account_that_is_not_allowed(make_file: Callable[..., Path], tmp_path: Path) -> None:
    """Neither in another's nor in one that nobody named; no folder is made."""
    at = ("kit", "aws-dev-2", "--out", tmp_path / "kit", "--stack-outputs", make_file())

    other, none = run(*at, "--aws-account", OTHER_ACCOUNT), run(*at)

    assert (other.code, none.code) == (4, 4)
    assert f"of account {ACCOUNT}" in other.err
    assert "--aws-account ID" in none.err
    assert not (tmp_path / "kit").exists()
    iot = make_own_client("iot", region="us-east-1")
    with pytest.raises(iot.exceptions.ResourceNotFoundException):
        iot.describe_thing(thingName="aws-dev-2")


def test_redrive_looks_at_the_queue_of_the_stack(make_file: Callable[..., Path], shell: pytest.MonkeyPatch) -> None:
    """Accounts in the variable are separated by commas."""
    shell.setenv("HARNESS_AWS_ACCOUNT", f"{OTHER_ACCOUNT}, {ACCOUNT}")

    done = run("redrive", "--dry-run", "--stack-outputs", make_file())

    assert (done.code, done.err) == (0, "")
    assert "(dry run)" in done.out


def test_guest_of_the_command_line_connects_by_the_outputs(
    make_file: Callable[..., Path], cloud: ReadyFile, shell: pytest.MonkeyPatch
) -> None:
    """Endpoint, port, CA and pool are the stack's; Cognito is where the shell says, and nobody's login is needed."""
    shell.delenv("AWS_ACCESS_KEY_ID")
    shell.delenv("AWS_SECRET_ACCESS_KEY")

    done = run("publish", "--stack-outputs", make_file())

    assert (done.code, done.err) == (0, "")
    assert f"{cloud.outputs['topicPrefix']}broadcast" in done.out


def test_guest_may_be_told_where_cognito_is(
    make_file: Callable[..., Path], cloud: ReadyFile, shell: pytest.MonkeyPatch
) -> None:
    """What is typed counts more than what the shell says."""
    shell.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")

    done = run("publish", "--stack-outputs", make_file(), "--endpoint-url", cloud.control_plane_url)

    assert (done.code, done.err) == (0, "")


def guests(cloud: ReadyFile) -> set[str]:
    """Give the identities that the stack's pool has."""
    cognito = make_own_client("cognito-identity", region=cloud.region)
    found = cognito.list_identities(IdentityPoolId=cloud.outputs["identityPoolId"], MaxResults=60)["Identities"]
    return {each["IdentityId"] for each in found}


def test_demo_at_a_stack_leaves_nothing_there(make_file: Callable[..., Path], cloud: ReadyFile) -> None:
    """Both paths are shown under names that carry a run's mark; things, certificates and guests are gone at the end."""
    before, iot = guests(cloud), make_own_client("iot", region=cloud.region)
    registered = {each["certificateId"] for each in iot.list_certificates()["certificates"]}
    things = iot.list_things()["things"]

    at = ("--stack-outputs", make_file(), "--aws-account", ACCOUNT)
    done = run("demo", "--clients", "1", "--devices", "1", *at)

    assert (done.code, done.err) == (0, "")
    first, *_, last = done.out.splitlines()
    assert first == f"[demo] using the stack on AWS: {at[1]}"
    assert last.startswith("[demo] stored 1 of 1, missing 0")
    assert find_mark(next(line for line in done.out.splitlines() if line.startswith("[demo] topic "))) is not None
    assert (
        find_mark(next(line for line in done.out.splitlines() if line.startswith("[Device 1] connected"))) is not None
    )
    assert guests(cloud) == before
    assert {each["certificateId"] for each in iot.list_certificates()["certificates"]} == registered
    assert iot.list_things()["things"] == things


def test_demo_at_a_stack_without_a_rule_says_so_first(make_file: Callable[..., Path], cloud: ReadyFile) -> None:
    """One sentence before anybody hears anything; without devices the first path is shown as ever."""
    before = guests(cloud)
    at = ("demo", "--clients", "1", "--aws-account", ACCOUNT)
    half = make_file(ruleName=None, destinationArn=None, receiverUrl=None)

    refused, done = run(*at, "--stack-outputs", half), run(*at, "--stack-outputs", half, "--devices", "0")

    assert (refused.code, refused.out, refused.err.count("\n")) == (4, f"[demo] using the stack on AWS: {half}\n", 1)
    assert "no output ruleName" in refused.err
    assert "--devices 0" in refused.err
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[-1].startswith("[demo] delivered 1 of 1, missing 0")
    assert guests(cloud) == before


def test_demo_needs_an_account_that_may_be_touched(make_file: Callable[..., Path], cloud: ReadyFile) -> None:
    """Neither another's nor one that nobody named: no guest comes into being."""
    before = guests(cloud)
    at = ("demo", "--stack-outputs", make_file())

    other, none = run(*at, "--aws-account", OTHER_ACCOUNT), run(*at)

    assert (other.code, none.code) == (4, 4)
    assert f"of account {ACCOUNT}" in other.err
    assert "--aws-account ID" in none.err
    assert guests(cloud) == before
