"""Running Pulumi programs without the CLI: values flow, and the first error is the one that is told."""

from __future__ import annotations

import asyncio
import re
import threading
from typing import TYPE_CHECKING, Any

import pytest

from harness.errors import ProvisioningError
from harness.targets.provisioning.invokes import answer_invoke
from harness.targets.provisioning.program import deploy

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    MakeProgram = Callable[[str], Path]


def run(program: Path, account: Any, **config: str) -> dict[str, Any]:
    """Deploy under the name every test here uses."""
    return deploy(program, account=account, stack="test", config=config)


def test_a_program_exports_what_its_resources_became(account: Any, make_program: MakeProgram) -> None:
    """An output of one resource is an input of the next, and both can be exported."""
    program = make_program(
        "import pulumi, pulumi_aws as aws\n"
        "role = aws.iam.Role('guest', assume_role_policy='{}')\n"
        "aws.iam.RolePolicy('guest', role=role.id, policy='{}')\n"
        "pulumi.export('arn', role.arn)\n"
        "pulumi.export('name', role.name)\n"
        "pulumi.export('upper', role.name.apply(str.upper))\n"
    )

    outputs = run(program, account)

    name = account.asked("CreateRole")["RoleName"]
    assert re.fullmatch(r"guest-[0-9a-f]{7}", name)
    assert outputs == {"arn": f"arn:aws:iam::123456789012:role/{name}", "name": name, "upper": name.upper()}
    assert account.asked("PutRolePolicy")["RoleName"] == name
    assert re.fullmatch(r"guest-[0-9a-f]{7}", account.asked("PutRolePolicy")["PolicyName"])


def test_a_program_reads_its_configuration(account: Any, make_program: MakeProgram) -> None:
    """Configuration is looked up under the project's name; an output without a value is none, as with the CLI."""
    program = make_program(
        "import pulumi\n"
        "config = pulumi.Config()\n"
        "pulumi.export('port', config.require_int('port'))\n"
        "pulumi.export('missing', config.get('missing'))\n"
        "pulumi.export('project', pulumi.get_project() + '/' + pulumi.get_stack())\n"
    )

    assert run(program, account, port="8884") == {"port": 8884, "project": "sample/test"}


def test_a_program_asks_its_provider(account: Any, make_program: MakeProgram) -> None:
    """Questions about endpoint, caller and region are answered by the account."""
    program = make_program(
        "import pulumi, pulumi_aws as aws\n"
        "pulumi.export('endpoint', aws.iot.get_endpoint(endpoint_type='iot:Data-ATS').endpoint_address)\n"
        "pulumi.export('account', aws.get_caller_identity_output().account_id)\n"
        "pulumi.export('region', aws.get_region().region)\n"
    )

    assert run(program, account) == {"endpoint": "localhost", "account": "123456789012", "region": "eu-central-1"}
    assert account.asked("DescribeEndpoint") == {"endpointType": "iot:Data-ATS"}


@pytest.mark.parametrize(
    ("told", "host"),
    [
        ("a1-ats.iot.us-east-1.amazonaws.com", "a1-ats.iot.us-east-1.amazonaws.com"),
        ("a1-ats.iot.us-east-1.localhost:4566", "a1-ats.iot.us-east-1.localhost"),
        ("[::1]:4566", "[::1]"),
        ("::1", "::1"),
    ],
)
def test_an_endpoint_is_a_bare_host(told: str, host: str, account: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Emulators tell a port as well; a program is told what AWS would tell it."""
    monkeypatch.setattr(account, "call", lambda *_asked, **_parameters: {"endpointAddress": told})

    answer = answer_invoke(account, "aws:iot/getEndpoint:getEndpoint", {"endpointType": "iot:Data-ATS"})

    assert answer["endpointAddress"] == host


def test_secrets_arrive_bare(account: Any, make_program: MakeProgram) -> None:
    """A secret is wrapped on its way through Pulumi and plain in the AWS call and in the outputs."""
    program = make_program(
        "import pulumi, pulumi_aws as aws\n"
        "policy = aws.iot.Policy('device', policy=pulumi.Output.secret('{\"a\": 1}'))\n"
        "pulumi.export('document', policy.policy)\n"
        "pulumi.export('numbers', [1, 2.5, {'three': pulumi.Output.secret(3)}])\n"
    )

    assert run(program, account) == {"document": '{"a": 1}', "numbers": [1, 2.5, {"three": 3}]}
    assert account.asked("CreatePolicy")["policyDocument"] == '{"a": 1}'


DESTINATION_AND_POLICY = (
    "import pulumi, pulumi_aws as aws\n"
    "aws.cloudcontrol.Resource('receiver', type_name='AWS::IoT::TopicRuleDestination',\n"
    '    desired_state=\'{"HttpUrlProperties": {"ConfirmationUrl": "https://localhost:1"}}\')\n'
    "aws.iot.Policy('device', policy='{}')\n"
    "pulumi.export('a', 1)\n"
)


def test_what_takes_its_time_is_awaited_at_the_end(account: Any, make_program: MakeProgram) -> None:
    """While AWS is at it, the other resources are made."""
    account.destination_states = ["IN_PROGRESS", "IN_PROGRESS", "ENABLED"]

    assert run(make_program(DESTINATION_AND_POLICY), account) == {"a": 1}

    made = ["CreateTopicRuleDestination", "CreatePolicy"]
    assert account.operations() == [*made, "GetTopicRuleDestination", "GetTopicRuleDestination"]


def test_what_does_not_come_to_an_end_fails_the_deployment(account: Any, make_program: MakeProgram) -> None:
    """With the error of the resource that was awaited."""
    account.destination_states = ["IN_PROGRESS", "ERROR"]

    with pytest.raises(ProvisioningError, match=r"Resource receiver .*its status is ERROR"):
        run(make_program(DESTINATION_AND_POLICY), account)


def test_a_component_groups_and_is_not_made(account: Any, make_program: MakeProgram) -> None:
    """Only resources of a provider lead to AWS calls."""
    program = make_program(
        "import pulumi, pulumi_aws as aws\n"
        "group = pulumi.ComponentResource('sample:index:Group', 'group')\n"
        "aws.iot.Policy('device', policy='{}', opts=pulumi.ResourceOptions(parent=group))\n"
    )

    assert run(program, account) == {}
    assert [call[2] for call in account.calls] == ["CreatePolicy"]


def test_an_unknown_type_is_refused_by_name(account: Any, make_program: MakeProgram) -> None:
    """What cannot be deployed is named, with what can."""
    program = make_program(
        "import pulumi, pulumi_aws as aws\n"
        "bucket = aws.iot.Thing('lamp')\n"
        "for name in ('a', 'b'):\n"
        "    pulumi.export(name, bucket.arn.apply(str.upper))\n"
    )

    with pytest.raises(ProvisioningError, match=r"needs the Pulumi CLI.*aws:iam/role:Role") as caught:
        run(program, account)

    assert caught.value.resource == "aws:iot/thing:Thing lamp"
    assert account.calls == []


def test_an_unknown_input_is_refused_by_name(account: Any, make_program: MakeProgram) -> None:
    """A setting that would be left out is an error instead."""
    program = make_program(
        "import pulumi_aws as aws\naws.iam.Role('guest', assume_role_policy='{}', permissions_boundary='arn:x')\n"
    )

    with pytest.raises(ProvisioningError, match="input permissionsBoundary is not supported"):
        run(program, account)


def test_an_unknown_question_is_refused_by_name(account: Any, make_program: MakeProgram) -> None:
    """The same holds for what a program asks."""
    program = make_program("import pulumi_aws as aws\naws.get_availability_zones()\n")

    with pytest.raises(ProvisioningError, match="getAvailabilityZones"):
        run(program, account)


def test_an_unknown_argument_is_refused_by_name(account: Any, make_program: MakeProgram) -> None:
    """And for what it asks with."""
    program = make_program("import pulumi_aws as aws\naws.get_region(name='eu-west-1')\n")

    with pytest.raises(ProvisioningError, match="argument name is not supported"):
        run(program, account)


def test_reading_what_exists_is_refused(account: Any, make_program: MakeProgram) -> None:
    """There is no state here to read from."""
    program = make_program("import pulumi_aws as aws\naws.iam.Role.get('guest', 'guest-1')\n")

    with pytest.raises(ProvisioningError, match="reading or importing"):
        run(program, account)


def test_a_failed_call_is_the_error_that_is_told(account: Any, make_program: MakeProgram) -> None:
    """Everything that depends on the resource fails too, and nobody hears of it."""
    account.refuses = "CreateRole"
    program = make_program(
        "import pulumi, pulumi_aws as aws\n"
        "role = aws.iam.Role('guest', assume_role_policy='{}')\n"
        "aws.iam.RolePolicy('guest', role=role.id, policy='{}')\n"
        "pulumi.export('arn', role.arn)\n"
    )

    with pytest.raises(
        ProvisioningError, match=r"aws:iam/role:Role guest \(iam:CreateRole\): Denied: no \[request r-7\]"
    ):
        run(program, account)


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("import json\n1 / 0", r"ZeroDivisionError: division by zero \(__main__\.py, line \d+\)"),
        ("import pulumi\npulumi.Config().require('port')", "port"),
        ("raise SystemExit(3)", "SystemExit"),
        ("import pulumi\npulumi.export('x', pulumi.Output.from_input(1).apply(lambda _: {}['no']))", "KeyError"),
    ],
)
def test_a_program_that_fails_is_named(source: str, told: str, account: Any, make_program: MakeProgram) -> None:
    """The error holds the program's folder and what it raised."""
    program = make_program(source)

    with pytest.raises(ProvisioningError, match=told) as caught:
        run(program, account)

    assert str(program) in caught.value.resource


def test_a_program_that_fails_makes_nothing_more(account: Any, make_program: MakeProgram) -> None:
    """What does not depend on the failed value is not made either, once the failure is known; no loop is left open."""
    program = make_program(
        "import pulumi, pulumi_aws as aws\n"
        "role = aws.iam.Role('first', assume_role_policy='{}')\n"
        "def fail(name):\n"
        "    raise ValueError('not this name')\n"
        "pulumi.export('name', role.name.apply(fail))\n"
        "for number in range(20):\n"
        "    role = aws.iam.Role(f'further-{number}', assume_role_policy=role.arn)\n"
    )

    with pytest.raises(ProvisioningError, match=r"(?s)ValueError.*not this name"):
        run(program, account)

    assert 0 < len(account.calls) < 21
    assert "pulumi-program" not in [thread.name for thread in threading.enumerate()]


def test_a_program_runs_again_after_a_failure(account: Any, make_program: MakeProgram) -> None:
    """Nothing of one run is left for the next, in the same process and from inside a running loop."""
    program = make_program("import pulumi_aws as aws\naws.iot.Policy('device', policy='{}')\n")
    account.refuses = "CreatePolicy"
    with pytest.raises(ProvisioningError):
        run(program, account)
    account.refuses = ""

    async def inside() -> dict[str, Any]:
        return await asyncio.to_thread(run, program, account)

    assert run(program, account) == {}
    assert asyncio.run(inside()) == {}
    assert "pulumi-program" not in [thread.name for thread in threading.enumerate()]


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({}, "cannot be read"),
        ({"Pulumi.yaml": "runtime: python"}, "cannot be read"),
        ({"Pulumi.yaml": "{"}, "cannot be read"),
        ({"Pulumi.yaml": "name: x"}, "no __main__"),
    ],
)
def test_a_folder_without_a_program_is_refused(files: dict[str, str], told: str, account: Any, tmp_path: Path) -> None:
    """What is missing is named."""
    for name, text in files.items():
        (tmp_path / name).write_text(text, "utf-8")

    with pytest.raises(ProvisioningError, match=told):
        run(tmp_path, account)
