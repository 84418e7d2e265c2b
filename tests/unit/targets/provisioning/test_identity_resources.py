"""Pools, roles and policies: the tags they get, and how they are taken back."""

from __future__ import annotations

import re
from typing import Any

import pytest

from harness.targets.marks import find_mark
from harness.targets.provisioning.declared import Declared
from harness.targets.provisioning.ledger import Noted
from harness.targets.provisioning.resources import RESOURCE_TYPES, make_resource

RUN_ID = "tw6b3f0a21-9c4e11d2"
POOL = "eu-central-1:00000000-0000-4000-8000-000000000001"
GONE = (404, "ResourceNotFoundException", "no")
NO_ENTITY = (404, "NoSuchEntity", "no")


def declare(kind: str, **inputs: Any) -> Declared:
    """Declare a resource of a type."""
    return Declared(type=kind, name="guest", inputs=inputs)


def remove(account: Any, kind: str, id_: str | None, **intent: Any) -> None:
    """Take back a resource."""
    RESOURCE_TYPES[kind].remove(account, Noted(type=kind, name="guest", intent=intent, id=id_))


POOL_TYPE = "aws:cognito/identityPool:IdentityPool"
ATTACHMENT = "aws:cognito/identityPoolRoleAttachment:IdentityPoolRoleAttachment"
ROLE = "aws:iam/role:Role"
ROLE_POLICY = "aws:iam/rolePolicy:RolePolicy"
IOT_POLICY = "aws:iot/policy:Policy"


def tags_of(parameters: dict[str, Any]) -> dict[str, str]:
    """Give the tags of a call that takes them as a list."""
    (listed,) = (parameters[key] for key in ("Tags", "tags") if key in parameters)
    return {each["Key"]: each["Value"] for each in listed}


def test_what_is_made_for_a_run_has_its_mark_in_name_and_tags(account: Any) -> None:
    """Beside the tags that the program declares; an inline policy has no tags."""
    account.mark = find_mark(RUN_ID)

    make_resource(account, declare(POOL_TYPE, identityPoolName="p", tags={"a": "b"}))
    make_resource(account, declare(ROLE, assumeRolePolicy="{}", tags={"a": "b"}))
    make_resource(account, declare(ROLE_POLICY, role="r", policy="{}"))
    make_resource(account, declare(IOT_POLICY, policy="{}", tags={"a": "b"}))

    tags = {"a": "b", **account.mark.tags}
    assert account.asked("CreateIdentityPool")["IdentityPoolTags"] == tags
    assert tags_of(account.asked("CreateRole")) == tags
    assert tags_of(account.asked("CreatePolicy")) == tags
    for operation, key in (("CreateRole", "RoleName"), ("PutRolePolicy", "PolicyName"), ("CreatePolicy", "policyName")):
        assert re.fullmatch(rf"guest-{RUN_ID}-[0-9a-f]{{7}}", account.asked(operation)[key])


def test_what_is_made_for_no_run_has_the_tags_that_are_declared(account: Any) -> None:
    """And none when none are."""
    make_resource(account, declare(ROLE, assumeRolePolicy="{}"))
    make_resource(account, declare(IOT_POLICY, policy="{}", tags={"a": "b"}))

    assert "Tags" not in account.asked("CreateRole")
    assert tags_of(account.asked("CreatePolicy")) == {"a": "b"}


def test_a_pool_is_removed_by_its_id(account: Any) -> None:
    """Pools of the same name may be somebody else's."""
    account.lists["ListIdentityPools"] = [{"IdentityPoolId": "other", "IdentityPoolName": "p"}]

    remove(account, POOL_TYPE, POOL, name="p")

    assert account.asked("DeleteIdentityPool") == {"IdentityPoolId": POOL}


def test_a_pool_is_found_by_a_name_that_nobody_else_uses(account: Any) -> None:
    """Also when a call whose answer was lost was made twice; one that is gone does no harm."""
    account.mark = find_mark(RUN_ID)
    name = f"thingwright-{RUN_ID}-guests"
    account.lists["ListIdentityPools"] = [
        {"IdentityPoolId": "other", "IdentityPoolName": "p"},
        {"IdentityPoolId": "second", "IdentityPoolName": name},
        {"IdentityPoolId": POOL, "IdentityPoolName": name},
    ]
    account.refusals["DeleteIdentityPool"] = [GONE]

    remove(account, POOL_TYPE, POOL, name=name)
    remove(account, POOL_TYPE, None, name=name)

    deleted = [each[3]["IdentityPoolId"] for each in account.calls if each[2] == "DeleteIdentityPool"]
    assert deleted == [POOL, "second", "second", POOL]


def test_the_identities_of_a_pool_lose_their_roles(account: Any) -> None:
    """Unless the pool is gone."""
    account.refusals["SetIdentityPoolRoles"] = [None, GONE]

    remove(account, ATTACHMENT, POOL, identityPoolId=POOL)
    remove(account, ATTACHMENT, None, identityPoolId=POOL)

    assert [each[3] for each in account.calls] == [{"IdentityPoolId": POOL, "Roles": {}}] * 2


def test_a_role_goes_with_what_it_holds(account: Any) -> None:
    """IAM refuses to delete a role that has policies; one of them may just have gone."""
    account.lists["ListRolePolicies"] = ["first", "second"]
    account.lists["ListAttachedRolePolicies"] = [{"PolicyName": "x", "PolicyArn": "arn:x"}]
    account.refusals["DeleteRolePolicy"] = [NO_ENTITY]

    remove(account, ROLE, "r", name="r")

    assert [(each[2], each[3]) for each in account.calls if not each[2].startswith("List")] == [
        ("DeleteRolePolicy", {"RoleName": "r", "PolicyName": "first"}),
        ("DeleteRolePolicy", {"RoleName": "r", "PolicyName": "second"}),
        ("DetachRolePolicy", {"RoleName": "r", "PolicyArn": "arn:x"}),
        ("DeleteRole", {"RoleName": "r"}),
    ]


def test_a_policy_of_iot_goes_with_its_versions_and_targets(account: Any) -> None:
    """AWS IoT refuses to delete one that is attached or has further versions."""
    account.lists["ListTargetsForPolicy"] = ["arn:cert"]
    account.lists["ListPolicyVersions"] = [
        {"versionId": "1"},
        {"versionId": "2", "isDefaultVersion": True},
        {"versionId": "3", "isDefaultVersion": False},
    ]

    remove(account, IOT_POLICY, "p", name="p")

    assert [(each[2], each[3]) for each in account.calls if not each[2].startswith("List")] == [
        ("DetachPolicy", {"policyName": "p", "target": "arn:cert"}),
        ("DeletePolicyVersion", {"policyName": "p", "policyVersionId": "1"}),
        ("DeletePolicyVersion", {"policyName": "p", "policyVersionId": "3"}),
        ("DeletePolicy", {"policyName": "p"}),
    ]


@pytest.mark.parametrize(
    ("kind", "intent", "refusal"),
    [
        (ROLE, {"name": "r"}, NO_ENTITY),
        (ROLE_POLICY, {"name": "p", "role": "r"}, NO_ENTITY),
        (IOT_POLICY, {"name": "p"}, GONE),
    ],
)
def test_what_is_gone_is_removed(
    kind: str, intent: dict[str, str], refusal: tuple[int, str, str], account: Any
) -> None:
    """Whoever took it away; no call about it fails the removal."""
    for operation in (
        *("ListRolePolicies", "ListAttachedRolePolicies", "DeleteRole", "DeleteRolePolicy"),
        *("ListTargetsForPolicy", "ListPolicyVersions", "DeletePolicy"),
    ):
        account.refusals[operation] = [refusal]

    remove(account, kind, None, **intent)

    assert account.operations()[-1].startswith("Delete")
