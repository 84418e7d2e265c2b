"""The stack that users deploy: who may do what, and that its outputs are what the schema promises."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from harness.targets.embedded import DEFAULT_STACK
from harness.targets.outputs import StackOutputs, camel_case
from harness.targets.provisioning.program import deploy

INFRA = Path(__file__).resolve().parents[3] / "infra"


class RecordingAccount:
    """Answers as AWS does and keeps the parameters of every call by its operation."""

    region = "eu-central-1"

    def __init__(self) -> None:
        self.calls: dict[str, dict[str, Any]] = {}
        self.order: list[str] = []

    def call(self, _subject: str, _service: str, operation: str, **parameters: Any) -> dict[str, Any]:
        """Answer any call with all that any answer holds."""
        self.calls[operation] = {name: value for name, value in parameters.items() if value is not None}
        self.order.append(operation)
        name = parameters.get("RoleName") or parameters.get("policyName")
        return {
            "IdentityPoolId": "eu-central-1:00000000-0000-4000-8000-000000000001",
            "Role": {"RoleName": name, "Arn": f"arn:aws:iam::123456789012:role/{name}", "RoleId": "AROA1"},
            "policyName": name,
            "policyArn": f"arn:aws:iot:eu-central-1:123456789012:policy/{name}",
            "policyVersionId": "1",
            "endpointAddress": "localhost" if self.region != "us-east-1" else "abc-ats.iot.us-east-1.amazonaws.com",
            "Account": "123456789012",
            "Arn": "arn:aws:iam::123456789012:root",
            "UserId": "123456789012",
        }


LOCAL = {"iotMqttsPort": "40003", "iotWssPort": "40002", "caFile": "/somewhere/ca.pem"}


@pytest.fixture(scope="module")
def deployed() -> tuple[RecordingAccount, dict[str, Any]]:
    """The stack as the stand-in gets it."""
    account = RecordingAccount()
    return account, deploy(DEFAULT_STACK, account=account, stack="embedded", config=LOCAL)  # type: ignore[arg-type] # plays one


@pytest.fixture
def account(deployed: tuple[RecordingAccount, dict[str, Any]]) -> RecordingAccount:
    """What was asked of AWS."""
    return deployed[0]


@pytest.fixture
def outputs(deployed: tuple[RecordingAccount, dict[str, Any]]) -> dict[str, Any]:
    """What the stack tells of itself."""
    return deployed[1]


def statements(document: str) -> list[tuple[str, tuple[str, ...], str]]:
    """Return (effect, actions, resource without the ARN's head) of each statement."""
    found = []
    for statement in json.loads(document)["Statement"]:
        actions = statement["Action"]
        head = "arn:aws:iot:eu-central-1:123456789012:"
        assert statement["Resource"].startswith(head)
        assert set(statement) == {"Sid", "Effect", "Action", "Resource"}
        found.append(
            (
                statement["Effect"],
                (actions,) if isinstance(actions, str) else tuple(sorted(actions)),
                statement["Resource"].removeprefix(head),
            )
        )
    return found


def test_a_guest_may_broadcast_below_public_and_nothing_else(account: RecordingAccount) -> None:
    """The whole of the guest policy, word by word: retained messages are not in it."""
    assert statements(account.calls["PutRolePolicy"]["PolicyDocument"]) == [
        ("Allow", ("iot:Connect",), "client/public-*"),
        ("Allow", ("iot:Publish", "iot:Receive"), "topic/public/*"),
        ("Allow", ("iot:Subscribe",), "topicfilter/public/*"),
    ]
    assert account.calls["PutRolePolicy"]["RoleName"] == account.calls["CreateRole"]["RoleName"]


def test_a_device_may_be_itself_and_report(account: RecordingAccount) -> None:
    """The whole of the device policy: it neither listens nor retains."""
    assert statements(account.calls["CreatePolicy"]["policyDocument"]) == [
        ("Allow", ("iot:Connect",), "client/${iot:Connection.Thing.ThingName}"),
        ("Allow", ("iot:Publish",), "topic/things/telemetry"),
    ]


def test_the_guest_role_is_for_guests_of_this_pool(account: RecordingAccount, outputs: dict[str, Any]) -> None:
    """Cognito may assume it, for this pool and for identities without a login."""
    (statement,) = json.loads(account.calls["CreateRole"]["AssumeRolePolicyDocument"])["Statement"]
    assert statement == {
        "Effect": "Allow",
        "Principal": {"Federated": "cognito-identity.amazonaws.com"},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": {
            "StringEquals": {"cognito-identity.amazonaws.com:aud": outputs["identityPoolId"]},
            "ForAnyValue:StringLike": {"cognito-identity.amazonaws.com:amr": "unauthenticated"},
        },
    }


def test_the_pool_admits_guests_by_the_enhanced_flow_alone(account: RecordingAccount) -> None:
    """The classic flow would give credentials that AWS does not scope down."""
    assert account.calls["CreateIdentityPool"] == {
        "IdentityPoolName": "thingwright-embedded-guests",
        "AllowUnauthenticatedIdentities": True,
        "AllowClassicFlow": False,
    }


def test_the_pool_gets_its_role_when_the_role_has_its_policy(
    account: RecordingAccount, outputs: dict[str, Any]
) -> None:
    """Whoever gets credentials gets the permissions with them."""
    assert account.calls["SetIdentityPoolRoles"] == {
        "IdentityPoolId": outputs["identityPoolId"],
        "Roles": {"unauthenticated": f"arn:aws:iam::123456789012:role/{account.calls['CreateRole']['RoleName']}"},
    }
    assert account.order.index("PutRolePolicy") < account.order.index("SetIdentityPoolRoles")


def test_resources_have_names_of_their_own(account: RecordingAccount) -> None:
    """Two stacks fit into one account."""
    assert re.fullmatch(r"guest-[0-9a-f]{7}", account.calls["CreateRole"]["RoleName"])
    assert re.fullmatch(r"device-[0-9a-f]{7}", account.calls["CreatePolicy"]["policyName"])


def test_the_stack_asks_for_the_data_endpoint(account: RecordingAccount) -> None:
    """The endpoint type whose certificate browsers and SDKs trust."""
    assert account.calls["DescribeEndpoint"] == {"endpointType": "iot:Data-ATS"}


def test_the_outputs_are_what_the_schema_promises(outputs: dict[str, Any]) -> None:
    """Every required name is there, nothing unknown is, and every value has its type and form."""
    schema = json.loads((INFRA / "outputs.schema.json").read_text("utf-8"))
    types: dict[str, type | tuple[type, ...]] = {"string": str, "integer": int, "null": type(None)}
    assert set(schema["required"]) <= set(outputs) <= set(schema["properties"])
    for name, value in outputs.items():
        promised = schema["properties"][name]
        accepted = promised["type"] if isinstance(promised["type"], list) else [promised["type"]]
        assert any(isinstance(value, types[each]) for each in accepted), name
        assert re.search(promised.get("pattern", ""), str(value)), name


def test_the_schema_and_the_harness_know_the_same_names(outputs: dict[str, Any]) -> None:
    """Each field of the outputs in Python is a property of the schema, required where the field has no default."""
    schema = json.loads((INFRA / "outputs.schema.json").read_text("utf-8"))
    fields = {camel_case(name) for name in StackOutputs.__dataclass_fields__}
    assert fields <= set(schema["properties"])
    assert fields - {"caFile"} == set(schema["required"])
    assert StackOutputs.parse(outputs).to_json() == outputs


def test_local_ports_and_ca_are_inputs(outputs: dict[str, Any]) -> None:
    """What differs from AWS on a laptop is configuration of the same program."""
    parsed = StackOutputs.parse(outputs)
    assert (parsed.iot_mqtts_port, parsed.iot_wss_url, parsed.ca_file) == (
        40003,
        "wss://localhost:40002/mqtt",
        "/somewhere/ca.pem",
    )


def test_without_inputs_the_stack_is_awss_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """AWS's ports, and the system's CAs."""
    monkeypatch.setattr(RecordingAccount, "region", "us-east-1")

    outputs = deploy(DEFAULT_STACK, account=RecordingAccount(), stack="prod", config={})  # type: ignore[arg-type] # plays one

    assert "caFile" not in outputs
    assert outputs["iotMqttsPort"] == 8883
    assert outputs["iotWssUrl"] == "wss://abc-ats.iot.us-east-1.amazonaws.com/mqtt"
    assert StackOutputs.parse(outputs).ca_file is None


def test_the_program_imports_nothing_of_the_harness() -> None:
    """It is the program that users deploy with the CLI, without this project's packages."""
    source = (DEFAULT_STACK / "__main__.py").read_text("utf-8")
    assert not re.search(r"^\s*(from|import)\s+(harness|receiver)", source, re.MULTILINE)
