"""The stack that users deploy: who may broadcast and report, and that its outputs are what the schema promises."""

from __future__ import annotations

import json
import re
from dataclasses import MISSING
from pathlib import Path
from typing import Any

from harness.targets.embedded import DEFAULT_STACK
from harness.targets.outputs import StackOutputs, camel_case

INFRA = Path(__file__).resolve().parents[3] / "infra"


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


def test_a_guest_may_broadcast_below_public_and_nothing_else(account: Any) -> None:
    """The whole of the guest policy, word by word: retained messages are not in it."""
    assert statements(account.asked("PutRolePolicy", of="guest")["PolicyDocument"]) == [
        ("Allow", ("iot:Connect",), "client/public-*"),
        ("Allow", ("iot:Publish", "iot:Receive"), "topic/public/*"),
        ("Allow", ("iot:Subscribe",), "topicfilter/public/*"),
    ]
    role_name = account.asked("CreateRole", of="guest")["RoleName"]
    assert account.asked("PutRolePolicy", of="guest")["RoleName"] == role_name


def test_a_device_may_be_itself_and_report(account: Any) -> None:
    """The whole of the device policy: it neither listens nor retains."""
    assert statements(account.asked("CreatePolicy")["policyDocument"]) == [
        ("Allow", ("iot:Connect",), "client/${iot:Connection.Thing.ThingName}"),
        ("Allow", ("iot:Publish",), "topic/things/telemetry"),
    ]


def test_the_guest_role_is_for_guests_of_this_pool(account: Any, outputs: dict[str, Any]) -> None:
    """Cognito may assume it, for this pool and for identities without a login."""
    (statement,) = json.loads(account.asked("CreateRole", of="guest")["AssumeRolePolicyDocument"])["Statement"]
    assert statement == {
        "Effect": "Allow",
        "Principal": {"Federated": "cognito-identity.amazonaws.com"},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": {
            "StringEquals": {"cognito-identity.amazonaws.com:aud": outputs["identityPoolId"]},
            "ForAnyValue:StringLike": {"cognito-identity.amazonaws.com:amr": "unauthenticated"},
        },
    }


def test_the_pool_admits_guests_by_the_enhanced_flow_alone(account: Any) -> None:
    """The classic flow would give credentials that AWS does not scope down."""
    assert account.asked("CreateIdentityPool") == {
        "IdentityPoolName": "thingwright-embedded-guests",
        "AllowUnauthenticatedIdentities": True,
        "AllowClassicFlow": False,
    }


def test_the_pool_says_whether_its_guests_may_be_swept(make_account: Any) -> None:
    """Only on request: guests may be people."""
    account = make_account()

    account.deploy(guestsAreSwept="true")

    assert account.asked("CreateIdentityPool")["IdentityPoolTags"] == {"thingwright:guests": "swept"}
    account = make_account()
    account.deploy(guestsAreSwept="false")
    assert "IdentityPoolTags" not in account.asked("CreateIdentityPool")


def test_the_pool_gets_its_role_when_the_role_has_its_policy(account: Any, outputs: dict[str, Any]) -> None:
    """Whoever gets credentials gets the permissions with them."""
    role_name = account.asked("CreateRole", of="guest")["RoleName"]
    assert account.asked("SetIdentityPoolRoles") == {
        "IdentityPoolId": outputs["identityPoolId"],
        "Roles": {"unauthenticated": f"arn:aws:iam::123456789012:role/{role_name}"},
    }
    assert account.place("PutRolePolicy", of="guest") < account.place("SetIdentityPoolRoles")


def test_resources_have_names_of_their_own(account: Any) -> None:
    """Two stacks fit into one account."""
    assert re.fullmatch(r"guest-[0-9a-f]{7}", account.asked("CreateRole", of="guest")["RoleName"])
    assert re.fullmatch(r"device-[0-9a-f]{7}", account.asked("CreatePolicy")["policyName"])


def test_the_stack_asks_for_the_data_endpoint(account: Any) -> None:
    """The endpoint type whose certificate browsers and SDKs trust."""
    assert account.asked("DescribeEndpoint") == {"endpointType": "iot:Data-ATS"}


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
    required = {
        camel_case(name) for name, field in StackOutputs.__dataclass_fields__.items() if field.default is MISSING
    }
    assert required == set(schema["required"])
    assert StackOutputs.parse(outputs).to_json() == outputs


def test_local_ports_and_ca_are_inputs(outputs: dict[str, Any]) -> None:
    """What differs from AWS on a laptop is configuration of the same program."""
    parsed = StackOutputs.parse(outputs)
    assert (parsed.iot_mqtts_port, parsed.iot_wss_url, parsed.ca_file) == (
        40003,
        "wss://localhost:40002/mqtt",
        "/somewhere/ca.pem",
    )


def test_without_inputs_the_stack_is_awss_own(make_account: Any) -> None:
    """AWS's ports, and the system's CAs."""
    outputs = make_account("us-east-1").deploy("prod")

    assert "caFile" not in outputs
    assert outputs["iotMqttsPort"] == 8883
    assert outputs["iotWssUrl"] == "wss://abc-ats.iot.us-east-1.amazonaws.com/mqtt"
    assert StackOutputs.parse(outputs).ca_file is None


def test_the_program_imports_nothing_of_the_harness() -> None:
    """It is the program that users deploy with the CLI, without this project's packages."""
    source = (DEFAULT_STACK / "__main__.py").read_text("utf-8")
    assert not re.search(r"^\s*(from|import)\s+(harness|receiver)", source, re.MULTILINE)
