"""Runs of `pytest --target aws` against a `thingwright serve` in AWS's role, with everything that goes wrong at AWS.

Each run is a process of its own, as a user starts it. What it leaves is asked of boto3 alone.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import boto3
import pytest
from botocore.exceptions import ClientError

from harness.clients.admin import AdminApi
from harness.targets import ready
from harness.targets.marks import find_mark

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from harness.targets.ready import ReadyFile

ROOT: Final = Path(__file__).resolve().parents[3]
ACCOUNT: Final = "123456789012"
OTHER_ACCOUNT: Final = "210987654321"
MANY: Final = 100_000
"""Times a call fails that is to fail until somebody says otherwise."""

BEARABLE: Final = (
    ("iot", "CreateThing", "ThrottlingException", 2, 429),
    ("iot", "AttachPolicy", "ThrottlingException", 2, 429),
    ("iot", "CreateTopicRule", "InternalException", 1, 500),
    ("iot", "DetachPolicy", "ThrottlingException", 2, 429),
    ("iot", "UpdateCertificate", "ServiceUnavailableException", 1, 503),
    ("iot", "DeleteCertificate", "DeleteConflictException", 3, 409),
    ("iot", "DeletePolicy", "DeleteConflictException", 3, 409),
    ("iot", "DeleteThing", "ConflictException", 2, 409),
    ("iot", "DeleteTopicRule", "ConflictingResourceUpdateException", 2, 409),
    ("iot", "DeleteTopicRuleDestination", "ConflictingResourceUpdateException", 2, 409),
    ("cognito-identity", "DeleteIdentities", "TooManyRequestsException", 2, 429),
)
"""What passes: service, operation, error, times, HTTP status."""

TESTS: Final = '''
"""What makes and removes everything that a test may have."""

import pytest


@pytest.mark.e2e
async def test_all(environment, stack, topics, make_device, make_rule, make_destination, broadcast_client):
    """A device with a policy of its own, a guest, a destination, a rule with it and one that brings its own along."""
    urls = [f"{stack.receiver_url}/ingest?for={environment.names.unique()}" for _ in range(2)]
    device = await make_device(may_publish=topics.own_telemetry)
    await make_destination(urls[0])
    for url in urls:
        await make_rule(topic=topics.own_telemetry, url=url)
    await broadcast_client.subscribe(topics.broadcast)
    message = await broadcast_client.publish(topics.broadcast, "Hello, World!")
    await message.reaches([broadcast_client])
    await device.publish(topics.own_telemetry, "{}")
'''


COMMANDS: Final = (
    "test_the_demonstration_loses_nothing",
    "test_a_kit_holds_nothing_of_its_target_s_secrets",
    "test_a_redrive_tells_what_it_would_do",
)
"""Promises of the commands that make or look at something in the account."""


class Cloud:
    """A ``thingwright serve`` whose changes take their time, and how a shell sees it as AWS.

    Args:
        told: what it wrote.
        folder: for the files of runs.
    """

    def __init__(self, told: ReadyFile, folder: Path) -> None:
        self.told = told
        self.admin = AdminApi(told.admin_url, told.admin_token)
        self.tests = folder / "test_everything.py"
        self.tests.write_text(TESTS, "utf-8")
        self.keys = {"AWS_ACCESS_KEY_ID": told.access_key_id, "AWS_SECRET_ACCESS_KEY": told.secret_access_key}
        self._outputs = folder / "outputs.json"
        self._outputs.write_text(json.dumps(told.outputs), "utf-8")

    @property
    def shell(self) -> Mapping[str, str]:
        """What a shell has that is logged in to this account, and nothing of the user's own."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "HARNESS_", "BOTO_"))}
        return kept | {
            "AWS_ENDPOINT_URL": self.told.control_plane_url,
            **self.keys,
            "AWS_REGION": self.told.region,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": "*",
        }

    def start(self, *options: str, account: str = ACCOUNT, tests: Sequence[str] = ()) -> subprocess.Popen[str]:
        """Start a run, of the tests of this file unless others are named."""
        command = ["-m", "pytest", "-n", "0", "-p", "harness.plugin", "-p", "no:cacheprovider", "-c", "pyproject.toml"]
        command += ["--rootdir", ".", *(tests or [os.fspath(self.tests)]), "-m", "e2e", "--target", "aws"]
        command += ["--stack-outputs", os.fspath(self._outputs), "--aws-account", account]
        return self._start(*command, *options)

    def demonstrate(self, *options: str) -> subprocess.Popen[str]:
        """Start a demonstration."""
        at = ("--stack-outputs", os.fspath(self._outputs), "--aws-account", ACCOUNT)
        return self._start("-m", "harness", "demo", *at, *options)

    def sweep(self, *options: str) -> str:
        """Sweep, guests of any age too; what it says, which has to be that all went well."""
        pool = str(self.told.outputs["identityPoolId"])
        command = ["-m", "harness", "sweep", "--delete", "--aws-account", ACCOUNT, *options]
        return said_by(self._start(*command, "--identity-pool-id", pool, "--older-than", "0s"), code=0)

    def fail(self, service: str, operation: str, code: str, *, times: int, status: int = 400) -> None:
        """Let the next calls of an operation fail."""
        fault = {"kind": "fail_call", "service": service, "operation": operation, "code": code, "times": times}
        self.admin.post("faults", {**fault, "status": status})

    def operations(self, *, since: int = 0, wait: float = 0.0) -> list[dict[str, Any]]:
        """Return what the trace says of API calls after a record, and wait for the first if there is none yet."""
        records = self.admin.get_lines("trace", since=since, wait=wait)
        return [each["detail"] | {"seq": each["seq"]} for each in records if each["kind"] == "api"]

    def await_failure(self, operation: str, *, since: int) -> None:
        """Wait until a call of an operation has been made to fail after a record."""
        has_failed = False
        while not has_failed:
            calls = self.operations(since=since, wait=10.0)
            since = calls[-1]["seq"] if calls else since
            has_failed = any(_was_made_to_fail(each, operation) for each in calls)

    def inventory(self) -> dict[str, set[str]]:
        """List what the account has that tests make, by kind."""
        iot, cognito = self._client("iot"), self._client("cognito-identity")
        destinations = iot.list_topic_rule_destinations()["destinationSummaries"]
        guests = cognito.list_identities(IdentityPoolId=self.told.outputs["identityPoolId"], MaxResults=60)
        return {
            "things": {each["thingName"] for each in iot.list_things()["things"]},
            "certificates": {each["certificateId"] for each in iot.list_certificates()["certificates"]},
            "policies": {each["policyName"] for each in iot.list_policies()["policies"]},
            "rules": {each["ruleName"] for each in iot.list_topic_rules()["rules"]},
            "destinations": {each["arn"] for each in destinations},
            "guests": {each["IdentityId"] for each in guests["Identities"]},
        }

    def _client(self, service: str) -> Any:
        return boto3.client(
            service,
            region_name=self.told.region,
            endpoint_url=self.told.control_plane_url,
            aws_access_key_id=self.told.access_key_id,
            aws_secret_access_key=self.told.secret_access_key,
        )

    def _start(self, *command: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            env=self.shell,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


def said_by(process: subprocess.Popen[str], *, code: int) -> str:
    """Wait for a process, which has to end with an exit code; return what it said."""
    said, _ = process.communicate()
    assert process.returncode == code, said
    return said


def _was_made_to_fail(call: Mapping[str, Any], operation: str) -> bool:
    return call["operation"] == operation and "made to fail" in (call["because"] or "")


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """An account whose changes are seen after a while."""
    folder = tmp_path_factory.mktemp("cloud")
    ready_file = folder / "ready.json"
    command = ["-m", "harness", "serve", "--ready-file", str(ready_file), "--quirk", "propagation-delay=0.5"]
    with subprocess.Popen([sys.executable, *command], cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert any(str(ready_file) in line for line in server.stdout)
        try:
            yield Cloud(ready.read(ready_file), folder)
        finally:
            server.terminate()
    assert server.returncode == 0


@pytest.fixture(scope="module")
def keys_of_nightly(cloud: Cloud) -> Mapping[str, str]:
    """The keys of a user that has `infra/test-run-policy.json` and nothing else."""
    iam = cloud._client("iam")
    policy = (ROOT / "infra" / "test-run-policy.json").read_text("utf-8").replace("${ACCOUNT_ID}", ACCOUNT)
    iam.create_user(UserName="nightly")
    iam.put_user_policy(UserName="nightly", PolicyName="test-run", PolicyDocument=policy)
    key = iam.create_access_key(UserName="nightly")["AccessKey"]
    return {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}


@pytest.fixture
def nightly(cloud: Cloud, keys_of_nightly: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> Mapping[str, str]:
    """Let the shell be logged in as that user; its keys."""
    monkeypatch.setattr(cloud, "keys", keys_of_nightly)
    return keys_of_nightly


@pytest.fixture(autouse=True)
def _nothing_is_left(cloud: Cloud) -> Iterator[None]:
    """After each test the account is as it was, and nothing fails on purpose any more."""
    before = cloud.inventory()
    yield
    cloud.admin.delete("faults")
    assert cloud.inventory() == before


def test_a_run_bears_what_aws_answers_at_times(cloud: Cloud) -> None:
    """Throttling, conflicts and failures of a while, on the way in and out, cost a run nothing but time."""
    for service, operation, code, times, status in BEARABLE:
        cloud.fail(service, operation, code, times=times, status=status)

    said = said_by(cloud.start(), code=0)

    assert "thingwright on aws: 1 passed" in said
    assert "at most 200 things (--max-things) and 20,000 messages (--max-messages)" in said
    calls = cloud.operations()
    for service, operation, _, times, _ in BEARABLE:
        failed = [each for each in calls if each["service"] == service and _was_made_to_fail(each, operation)]
        assert len(failed) == times, operation


def test_a_run_that_is_killed_while_it_removes_is_swept_up_after(cloud: Cloud) -> None:
    """What it leaves stays until its time is over or somebody says that it is dead; then nothing is left of it."""
    before = cloud.inventory()
    since = cloud.operations()[-1]["seq"]
    cloud.fail("iot", "DeleteCertificate", "ThrottlingException", times=MANY, status=429)
    with cloud.start() as run:
        cloud.await_failure("DeleteCertificate", since=since)
        run.kill()
    cloud.admin.delete("faults")
    left = {kind: names - before[kind] for kind, names in cloud.inventory().items()}
    assert left["certificates"]
    assert left["things"]
    (thing_name,) = left["things"]
    mark = find_mark(thing_name)
    assert mark is not None

    said = cloud.sweep()

    assert f"of {mark.run_id} stay until it expires" in said
    assert {kind: names - before[kind] for kind, names in cloud.inventory().items()} == left | {"guests": set()}
    cloud.sweep("--run", mark.run_id)  # and then it is as it was before


def test_what_a_run_may_not_remove_is_named_and_costs_nothing_else(cloud: Cloud) -> None:
    """The run fails and says what is left and what removes it; all the rest is gone, and the sweep takes that."""
    cloud.fail("iot", "DeletePolicy", "UnauthorizedException", times=MANY, status=403)
    before = cloud.inventory()

    said = said_by(cloud.start(), code=1)

    left = {kind: names - before[kind] for kind, names in cloud.inventory().items()}
    (policy_name,) = left.pop("policies")
    assert not any(left.values())
    assert f"policy {policy_name}" in said
    assert "`thingwright sweep --delete` removes it" in said
    cloud.admin.delete("faults")
    mark = find_mark(policy_name)
    assert mark is not None
    cloud.sweep("--run", mark.run_id)


def test_a_run_that_sends_too_much_is_stopped(cloud: Cloud) -> None:
    """It says by which option it might send more, and takes away what it had made."""
    said = said_by(cloud.start("--max-messages", "1"), code=1)

    assert "BudgetExceeded" in said
    assert "--max-messages" in said


def test_a_run_in_another_account_makes_nothing(cloud: Cloud) -> None:
    """It asks who it is, and no more."""
    since = cloud.operations()[-1]["seq"]

    said = said_by(cloud.start(account=OTHER_ACCOUNT), code=4)

    assert OTHER_ACCOUNT in said
    assert [each["operation"] for each in cloud.operations(since=since)] == ["GetCallerIdentity"]


def test_a_run_and_a_sweep_need_no_more_than_their_policy(cloud: Cloud, nightly: Mapping[str, str]) -> None:
    """A user with `infra/test-run-policy.json` alone runs and sweeps, and can touch nothing that carries no mark."""
    assert "thingwright on aws: 1 passed" in said_by(cloud.start(), code=0)
    cloud.sweep()

    client = boto3.client(
        "iot",
        region_name=cloud.told.region,
        endpoint_url=cloud.told.control_plane_url,
        aws_access_key_id=nightly["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=nightly["AWS_SECRET_ACCESS_KEY"],
    )
    with pytest.raises(ClientError) as refused:
        client.delete_policy(policyName=cloud.told.outputs["devicePolicyName"])
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


@pytest.mark.usefixtures("nightly")
def test_the_commands_keep_their_promises_with_that_policy_too(cloud: Cloud) -> None:
    """This project's own tests of its commands run as they are, told by the outputs; nothing is left, nor any guest."""
    tests = [f"tests/e2e/test_command_line.py::{name}" for name in COMMANDS]

    said = said_by(cloud.start(tests=tests), code=0)

    assert f"thingwright on aws: {len(COMMANDS)} passed" in said


def test_a_demonstration_that_is_interrupted_leaves_nothing(cloud: Cloud) -> None:
    """While devices register and wait to be let in: they are taken back, and the guests from before with them."""
    with cloud.demonstrate("--clients", "1", "--devices", "2") as demonstration:
        assert demonstration.stdout is not None
        assert any(line.startswith("[demo] rule ") for line in demonstration.stdout)
        demonstration.send_signal(signal.SIGINT)
        said = said_by(demonstration, code=130)

    assert said.endswith("Interrupted.\n")


def test_a_demonstration_says_what_it_could_not_take_back(cloud: Cloud) -> None:
    """All was shown, and guests are left: exit code 1, and a sentence that ends with the command that removes them."""
    cloud.fail("cognito-identity", "DeleteIdentities", "NotAuthorizedException", times=MANY)

    said = said_by(cloud.demonstrate("--clients", "1", "--devices", "0"), code=1)

    assert "[demo] delivered 1 of 1, missing 0" in said
    assert "left behind: 2 guest identities" in said
    assert "thingwright sweep --delete --identity-pool-id" in said
    cloud.admin.delete("faults")
    cloud.sweep()
