"""A stack that is deployed into an account of others and taken away again: whatever happens, nothing is left."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from harness.errors import ProvisioningError, TeardownError
from harness.sweep.accounts import Account
from harness.sweep.finding import find_destinations
from harness.sweep.found import Criteria
from harness.targets.base import Credentials
from harness.targets.deploying import StackDeployment
from harness.targets.embedded import DEFAULT_STACK
from harness.targets.marks import TAG_EXPIRES, TAG_RUN, find_mark
from harness.targets.names import make_run_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from conftest import Place

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the stand-in needs Linux or macOS")

SECRET = "s3cret-of-the-rule"

DOCUMENT = json.dumps(
    {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "iot:Publish", "Resource": "*"}]}
)
"""A policy's."""


@pytest.fixture(autouse=True)
def as_it_was(place: Place) -> Iterator[None]:
    """Every test leaves the account as it found it."""
    before = place.content()
    yield
    place.admin.delete("faults")
    assert place.content() == before


@pytest.fixture
def make_deployment(place: Place) -> Iterator[Callable[..., StackDeployment]]:
    """Make a deployment at the stand-in; it is removed after the test, if that has not been done."""
    made = []

    def make(
        program: Path = DEFAULT_STACK, *, config: Mapping[str, str] | None = None, run_id: str | None = None
    ) -> StackDeployment:
        deployment = StackDeployment(
            program=program,
            region="us-east-1",
            endpoint_url=place.url,
            ca_file=None,
            credentials=place.credentials,
            run_id=run_id or make_run_id(),
            config=config if config is not None else {"receiverUrl": place.receiver_url, "iotSecret": SECRET},
        )
        made.append(deployment)
        return deployment

    yield make
    place.admin.delete("faults")
    for each in made:
        each.remove()


@pytest.fixture
def make_program(tmp_path: Path) -> Callable[[str], Path]:
    """Make a Pulumi program of the project ``sample`` from its source text."""

    def make(source: str) -> Path:
        folder = tmp_path / "a prögram"
        folder.mkdir()
        (folder / "Pulumi.yaml").write_text("name: sample\nruntime: python\n", "utf-8")
        (folder / "__main__.py").write_text(source, "utf-8")
        return folder

    return make


HALF_WAY = """
import json, os, pathlib, time
import pulumi, pulumi_aws as aws

def stop(_arn):
    here = pathlib.Path(pulumi.Config().require("here"))
    (here / "pid.new").write_text(str(os.getpid()))
    (here / "pid.new").rename(here / "pid")
    time.sleep(3600)

trust = {"Effect": "Allow", "Principal": {"Service": "iot.amazonaws.com"}, "Action": "sts:AssumeRole"}
role = aws.iam.Role("guest", assume_role_policy=json.dumps({"Version": "2012-10-17", "Statement": trust}))
may = {"Effect": "Allow", "Action": "iot:Publish", "Resource": "*"}
policy = aws.iam.RolePolicy("guest", role=role.id, policy=json.dumps({"Version": "2012-10-17", "Statement": may}))
queue = aws.sqs.Queue("letters", opts=pulumi.ResourceOptions(depends_on=[policy]))
queue.arn.apply(stop)
"""
"""Makes a role, a policy in it and a queue, tells its process id and does nothing more."""


TELLS_WHOSE = """
import json
import pulumi, pulumi_aws as aws

config = pulumi.Config()
url = f"{config.require('receiverUrl')}/ingest?for={config.require('runId')}"
state = json.dumps({"HttpUrlProperties": {"ConfirmationUrl": url}})
destination = aws.cloudcontrol.Resource("receiver", type_name="AWS::IoT::TopicRuleDestination", desired_state=state)
rule = aws.iot.TopicRule(
    "telemetry", enabled=True, sql="SELECT * FROM 'a'", sql_version="2016-03-23",
    https=[{"url": url, "confirmation_url": url}], opts=pulumi.ResourceOptions(depends_on=[destination]),
)
pulumi.export("destinationArn", destination.id)
"""
"""Makes a destination whose URL says which run it is for, and a rule that posts there."""


def test_a_program_is_told_for_which_run_it_makes_things(
    make_deployment: Callable[..., StackDeployment], make_program: Callable[[str], Path], place: Place
) -> None:
    """So that it can say so where only a URL can: of a destination that a killed run left, a sweep knows no more."""
    run_id = make_run_id()
    deployment = make_deployment(make_program(TELLS_WHOSE), run_id=run_id)

    arn = deployment.deploy()["destinationArn"]

    account = Account("the stand-in", region="us-east-1", make=place.client)
    marks = {each.name: each.mark for each in find_destinations(account, Criteria(now=0.0))}
    assert marks == {arn: find_mark(run_id)}


def test_a_table_tells_which_run_made_it(make_deployment: Callable[..., StackDeployment], place: Place) -> None:
    """By its tag, to other runs as well; one of somebody else's tells nothing, nor does one that is not there."""
    run_id, dynamodb = make_run_id(), place.client("dynamodb")
    deployment, other = make_deployment(config={"tableName": "readings"}, run_id=run_id), make_deployment(config={})
    deployment.deploy()
    keys = {"KeySchema": [{"AttributeName": "k", "KeyType": "HASH"}], "BillingMode": "PAY_PER_REQUEST"}
    types = [{"AttributeName": "k", "AttributeType": "S"}]
    dynamodb.create_table(TableName="somebody-elses", AttributeDefinitions=types, **keys)

    told = [other.mark_of_table(name) for name in ("readings", "somebody-elses", "nobodys")]

    dynamodb.delete_table(TableName="somebody-elses")
    assert told == [find_mark(run_id), None, None]


def test_what_is_deployed_says_whose_it_is_and_until_when(
    make_deployment: Callable[..., StackDeployment], place: Place
) -> None:
    """Every name holds the run id, and what takes tags has both, beside those that the program declares."""
    before = place.content()
    run_id = make_run_id()
    deployment = make_deployment(
        config={"receiverUrl": place.receiver_url, "iotSecret": SECRET, "guestsAreSwept": "true"}, run_id=run_id
    )

    outputs = deployment.deploy()

    names = {kind: [each for each in every if each not in before[kind]] for kind, every in place.content().items()}
    assert {kind: len(every) for kind, every in names.items()} == {
        **dict.fromkeys(before, 1),
        "roles": 3,
    }
    del names["destinations"]  # AWS gives them their names
    for name in (each for every in names.values() for each in every):
        mark = find_mark(name)
        assert mark is not None
        assert mark.run_id == run_id
    mark = find_mark(run_id)
    assert mark is not None
    pool = place.client("cognito-identity").describe_identity_pool(IdentityPoolId=outputs["identityPoolId"])
    assert pool["IdentityPoolTags"] == {**mark.tags, "thingwright:guests": "swept"}
    for role in names["roles"]:
        tags = place.client("iam").list_role_tags(RoleName=role)["Tags"]
        assert {each["Key"]: each["Value"] for each in tags} == mark.tags
    table = place.client("dynamodb").describe_table(TableName=outputs["tableName"])["Table"]["TableArn"]
    tags = place.client("dynamodb").list_tags_of_resource(ResourceArn=table)["Tags"]
    assert {each["Key"] for each in tags} == {TAG_RUN, TAG_EXPIRES}
    assert place.client("sqs").list_queue_tags(QueueUrl=outputs["deadLetterQueueUrl"])["Tags"] == mark.tags
    assert deployment.lacking == {}
    assert outputs["ruleName"] == names["rules"][0]


def test_a_stack_is_taken_away_again(make_deployment: Callable[..., StackDeployment], place: Place) -> None:
    """All of it, what is attached to it and kept in it included; a second time there is nothing to do."""
    before = place.content()
    deployment = make_deployment()
    outputs = deployment.deploy()
    iot = place.client("iot")
    certificate = iot.create_keys_and_certificate(setAsActive=True)
    policy = outputs["devicePolicyName"]
    iot.attach_policy(policyName=policy, target=certificate["certificateArn"])
    iot.create_policy_version(policyName=policy, policyDocument=DOCUMENT)
    role = next(each for each in place.content()["roles"] if each.startswith("guest-"))
    place.client("iam").put_role_policy(RoleName=role, PolicyName="by-hand", PolicyDocument=DOCUMENT)

    deployment.remove()
    deployment.remove()

    assert place.content() == before
    iot.update_certificate(certificateId=certificate["certificateId"], newStatus="INACTIVE")
    iot.delete_certificate(certificateId=certificate["certificateId"])


def test_two_deployments_do_not_see_each_other(make_deployment: Callable[..., StackDeployment], place: Place) -> None:
    """Each takes away its own and nothing else."""
    first, second = make_deployment(config={}), make_deployment(config={})
    before = place.content()
    first.deploy()
    with_first = place.content()
    second.deploy()

    second.remove()

    assert place.content() == with_first
    first.remove()
    assert place.content() == before


def test_a_deployment_is_made_again_after_it_was_removed(make_deployment: Callable[..., StackDeployment]) -> None:
    """But not on top of itself, which would forget what there is."""
    deployment = make_deployment(config={})
    first = deployment.deploy()
    with pytest.raises(RuntimeError, match="remove first"):
        deployment.deploy()

    deployment.remove()

    assert deployment.deploy()["tableName"] != first["tableName"]


def test_what_a_failed_deployment_made_is_taken_away(
    make_deployment: Callable[..., StackDeployment], make_program: Callable[[str], Path], place: Place
) -> None:
    """The error is the program's; what came before it is known."""
    source = HALF_WAY.replace("queue.arn.apply(stop)", "queue.arn.apply(lambda arn: aws.iot.Thing('lamp'))")
    deployment = make_deployment(make_program(source), config={})
    before = place.content()

    with pytest.raises(ProvisioningError, match="Thing lamp: this type needs the Pulumi CLI"):
        deployment.deploy()

    assert len(place.content()["roles"]) == len(before["roles"]) + 1
    assert len(place.content()["queues"]) == len(before["queues"]) + 1
    deployment.remove()
    assert place.content() == before


def test_what_a_killed_deployment_made_is_taken_away(
    make_deployment: Callable[..., StackDeployment],
    make_program: Callable[[str], Path],
    place: Place,
    tmp_path: Path,
    eventually: Callable[[Callable[[], object]], None],
) -> None:
    """A process that is killed while it deploys has noted what it made."""
    deployment = make_deployment(make_program(HALF_WAY), config={"here": str(tmp_path)})
    before = place.content()

    with ThreadPoolExecutor(1) as executor:
        deploying = executor.submit(deployment.deploy)
        eventually((tmp_path / "pid").exists)
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
        with pytest.raises(ProvisioningError, match="was ended by SIGKILL"):
            deploying.result()

    assert len(place.content()["roles"]) == len(before["roles"]) + 1
    deployment.remove()
    assert place.content() == before


def test_ctrl_c_ends_the_deploying_process_and_what_it_made_is_taken_away(
    make_deployment: Callable[..., StackDeployment],
    make_program: Callable[[str], Path],
    place: Place,
    tmp_path: Path,
    eventually: Callable[[Callable[[], object]], None],
) -> None:
    """Nobody makes anything more when the call is over."""
    deployment = make_deployment(make_program(HALF_WAY), config={"here": str(tmp_path)})
    before = place.content()
    us = threading.get_ident()

    def interrupt() -> None:
        eventually((tmp_path / "pid").exists)
        signal.pthread_kill(us, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        deployment.deploy()
    thread.join()

    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
    deployment.remove()
    assert place.content() == before


def test_what_a_deployment_died_over_is_found_by_its_name(
    make_deployment: Callable[..., StackDeployment], place: Place
) -> None:
    """Where only the intention was noted, what was made of it is found; nothing else is touched."""
    other = make_deployment()
    deployment = make_deployment(
        config={"receiverUrl": place.receiver_url.replace("localhost", "127.0.0.1"), "iotSecret": SECRET}
    )
    other.deploy()
    before = place.content()
    deployment.deploy()
    assert len(place.content()["destinations"]) == len(before["destinations"]) + 1
    deployment._ledger = [replace(each, id=None) for each in deployment._ledger]

    deployment.remove()

    assert place.content() == before


def test_nothing_private_is_left_in_files_or_shown(
    make_deployment: Callable[..., StackDeployment], private_temp: Path, place: Place
) -> None:
    """The folder with configuration, log and ledger goes with the process."""
    deployment = make_deployment()

    deployment.deploy()

    assert list(private_temp.iterdir()) == []
    assert SECRET not in repr(deployment)
    assert SECRET not in repr(deployment._ledger)
    assert place.credentials.secret_access_key not in repr(vars(deployment))


def test_conflicts_and_throttling_are_put_up_with(
    make_deployment: Callable[..., StackDeployment], place: Place
) -> None:
    """AWS answers so for a while after something was detached, or when it is asked too much."""
    deployment = make_deployment(config={})
    deployment.deploy()
    for service, operation, code, status in (
        ("iam", "DeleteRole", "DeleteConflict", 409),
        ("iot", "DeletePolicy", "DeleteConflictException", 409),
        ("iam", "ListRolePolicies", "Throttling", 400),
        ("iot", "ListTargetsForPolicy", "ThrottlingException", 429),
        ("dynamodb", "DeleteTable", "ResourceInUseException", 400),
        ("cognito-identity", "SetIdentityPoolRoles", "InvalidIdentityPoolConfigurationException", 400),
        ("cognito-identity", "DeleteIdentityPool", "TooManyRequestsException", 400),
        ("sqs", "DeleteQueue", "ServiceUnavailable", 503),
    ):
        fault = {"service": service, "operation": operation, "code": code, "status": status, "times": 4}
        place.admin.post("faults", {"kind": "fail_call", **fault})

    deployment.remove()


def test_what_cannot_be_removed_is_named_and_the_rest_goes(
    make_deployment: Callable[..., StackDeployment], place: Place
) -> None:
    """A refusal that no patience helps against is told at once; a further call takes what was left."""
    deployment = make_deployment(config={})
    outputs = deployment.deploy()
    table = outputs["tableName"]
    fault = {"service": "dynamodb", "operation": "DeleteTable", "code": "AccessDeniedException", "times": 1000}
    place.admin.post("faults", {"kind": "fail_call", **fault})

    with pytest.raises(TeardownError) as caught:
        deployment.remove()

    (left,) = caught.value.left_behind
    assert left.startswith(f"aws:dynamodb/table:Table readings ({table}): dynamodb:DeleteTable: AccessDeniedException")
    assert place.url in caught.value.remedy
    assert place.content()["tables"] == [table]
    assert not [each for each in place.content()["roles"] if outputs["tableName"].split("-", 1)[1][:19] in each]
    place.admin.delete("faults")
    deployment.remove()
    assert place.content()["tables"] == []


@pytest.mark.parametrize("operation", ["ListTopicRuleDestinations", "CreateTopicRuleDestination"])
def test_where_there_are_no_destinations_there_is_no_rule(
    operation: str, make_deployment: Callable[..., StackDeployment], place: Place
) -> None:
    """All else is deployed, and what came back is told in one sentence."""
    fault = {"service": "iot", "operation": operation, "code": "NotImplementedException", "status": 501}
    place.admin.post("faults", {"kind": "fail_call", **fault})
    deployment = make_deployment()

    outputs = deployment.deploy()

    assert not {"ruleName", "destinationArn", "receiverUrl"} & set(outputs)
    (why,) = deployment.lacking.values()
    assert set(deployment.lacking) == {"ruleName"}
    assert why.startswith(f"iot:{operation} was answered: NotImplementedException: ")
    assert why.endswith(".")
    assert outputs["devicePolicyName"] in place.content()["policies"]


@pytest.mark.parametrize("operation", ["ListTopicRuleDestinations", "CreateTopicRuleDestination"])
def test_another_refusal_of_destinations_fails_the_deployment(
    operation: str, make_deployment: Callable[..., StackDeployment], place: Place
) -> None:
    """What is known and refused is no lack of the other side's."""
    fault = {"service": "iot", "operation": operation, "code": "AccessDeniedException", "status": 403, "times": 9}
    place.admin.post("faults", {"kind": "fail_call", **fault})
    deployment = make_deployment()

    with pytest.raises(ProvisioningError, match=f"iot:{operation}.*AccessDeniedException"):
        deployment.deploy()

    assert deployment.lacking == {}


def test_nobody_there_is_told_at_once(make_program: Callable[[str], Path]) -> None:
    """By deployment and by removal, which has nothing to remove."""
    deployment = StackDeployment(
        program=make_program(""),
        region="us-east-1",
        endpoint_url="http://127.0.0.1:9",
        ca_file=None,
        credentials=Credentials(access_key_id="test", secret_access_key="test"),
        run_id=make_run_id(),
        config={},
    )

    with pytest.raises(ProvisioningError, match=r"ListTopicRuleDestinations.*127\.0\.0\.1"):
        deployment.deploy()
    deployment.remove()


@pytest.mark.parametrize("run_id", ["", "mine", "tw00000000-0000000", "x-tw6b3f0a21-9c4e11d2", "TW6B3F0A21-9C4E11D2"])
def test_a_run_id_has_to_say_when_it_expires(run_id: str) -> None:
    """Else nobody would know when what is left may be swept."""
    with pytest.raises(ValueError, match="not a run id"):
        StackDeployment(
            program=DEFAULT_STACK,
            region="us-east-1",
            endpoint_url="http://127.0.0.1:9",
            ca_file=None,
            credentials=Credentials(access_key_id="test", secret_access_key="test"),
            run_id=run_id,
            config={},
        )
