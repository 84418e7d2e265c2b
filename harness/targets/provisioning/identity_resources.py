"""Makes what says who may do what: identity pools and their roles, IAM roles, policies of AWS IoT."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from harness.targets.provisioning.declared import Declared, Made, Naming, ResourceType, as_tag_list, intend_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from harness.targets.provisioning.account import Account
    from harness.targets.provisioning.ledger import Noted

_MOST_POOLS_A_PAGE: Final = 60


def make_identity_pool(account: Account, declared: Declared) -> Made:
    """Make an identity pool of Cognito."""
    inputs = declared.inputs
    pool_id = account.call(
        declared.subject,
        "cognito-identity",
        "CreateIdentityPool",
        IdentityPoolName=inputs["identityPoolName"],
        AllowUnauthenticatedIdentities=inputs.get("allowUnauthenticatedIdentities", False),
        AllowClassicFlow=inputs.get("allowClassicFlow"),
        IdentityPoolTags=account.tags(inputs.get("tags")) or None,
    )["IdentityPoolId"]
    declared.note_made(pool_id)
    return Made(pool_id, {})


def _intend_identity_pool(_account: Account, declared: Declared) -> dict[str, Any]:
    return {"name": declared.inputs["identityPoolName"]}


def remove_identity_pool(account: Account, noted: Noted) -> None:
    """Remove an identity pool with its identities.

    Names of pools are not unique. A call that made one and whose answer was lost was made again, so of a name that
    nobody else uses all pools are removed.
    """
    name = noted.intent["name"]
    pools = [noted.id] if noted.id is not None else []
    if account.owns(name):
        listed = account.every_if_there(
            noted.subject, "cognito-identity", "ListIdentityPools", "IdentityPools", MaxResults=_MOST_POOLS_A_PAGE
        )
        pools += [each["IdentityPoolId"] for each in listed if each["IdentityPoolName"] == name]
    for pool in dict.fromkeys(pools):
        account.call_if_there(noted.subject, "cognito-identity", "DeleteIdentityPool", IdentityPoolId=pool)


def make_role_attachment(account: Account, declared: Declared) -> Made:
    """Say which roles the identities of a pool get."""
    inputs = declared.inputs
    account.call(
        declared.subject,
        "cognito-identity",
        "SetIdentityPoolRoles",
        IdentityPoolId=inputs["identityPoolId"],
        Roles=inputs["roles"],
    )
    declared.note_made(inputs["identityPoolId"])
    return Made(inputs["identityPoolId"], {})


def _intend_role_attachment(_account: Account, declared: Declared) -> dict[str, Any]:
    return {"identityPoolId": declared.inputs["identityPoolId"]}


def remove_role_attachment(account: Account, noted: Noted) -> None:
    """Leave the identities of a pool without roles."""
    account.call_if_there(
        noted.subject,
        "cognito-identity",
        "SetIdentityPoolRoles",
        IdentityPoolId=noted.intent["identityPoolId"],
        Roles={},
    )


def make_role(account: Account, declared: Declared) -> Made:
    """Make a role of IAM."""
    inputs = declared.inputs
    role = account.call(
        declared.subject,
        "iam",
        "CreateRole",
        RoleName=inputs["name"],
        AssumeRolePolicyDocument=inputs["assumeRolePolicy"],
        Description=inputs.get("description"),
        Path=inputs.get("path"),
        MaxSessionDuration=inputs.get("maxSessionDuration"),
        Tags=as_tag_list(account.tags(inputs.get("tags"))),
    )["Role"]
    declared.note_made(role["RoleName"])
    return Made(role["RoleName"], {"name": role["RoleName"], "arn": role["Arn"], "uniqueId": role["RoleId"]})


def remove_role(account: Account, noted: Noted) -> None:
    """Remove a role with its inline policies; managed ones are detached."""
    subject, name = noted.subject, noted.intent["name"]
    for policy in account.every_if_there(subject, "iam", "ListRolePolicies", "PolicyNames", RoleName=name):
        account.call_if_there(subject, "iam", "DeleteRolePolicy", RoleName=name, PolicyName=policy)
    attached = account.every_if_there(subject, "iam", "ListAttachedRolePolicies", "AttachedPolicies", RoleName=name)
    for policy in attached:
        account.call_if_there(subject, "iam", "DetachRolePolicy", RoleName=name, PolicyArn=policy["PolicyArn"])
    account.call_if_there(subject, "iam", "DeleteRole", RoleName=name)


def make_role_policy(account: Account, declared: Declared) -> Made:
    """Write a policy into a role."""
    inputs = declared.inputs
    made = Made(f"{inputs['role']}:{inputs['name']}", {"name": inputs["name"]})
    account.call(
        declared.subject,
        "iam",
        "PutRolePolicy",
        RoleName=inputs["role"],
        PolicyName=inputs["name"],
        PolicyDocument=inputs["policy"],
    )
    declared.note_made(made.id)
    return made


def _intend_role_policy(_account: Account, declared: Declared) -> dict[str, Any]:
    return {"name": declared.inputs["name"], "role": declared.inputs["role"]}


def remove_role_policy(account: Account, noted: Noted) -> None:
    """Remove a policy from its role."""
    account.call_if_there(
        noted.subject,
        "iam",
        "DeleteRolePolicy",
        RoleName=noted.intent["role"],
        PolicyName=noted.intent["name"],
    )


def make_iot_policy(account: Account, declared: Declared) -> Made:
    """Make a policy of AWS IoT."""
    inputs = declared.inputs
    policy = account.call(
        declared.subject,
        "iot",
        "CreatePolicy",
        policyName=inputs["name"],
        policyDocument=inputs["policy"],
        tags=as_tag_list(account.tags(inputs.get("tags"))),
    )
    declared.note_made(policy["policyName"])
    return Made(
        policy["policyName"],
        {"name": policy["policyName"], "arn": policy["policyArn"], "defaultVersionId": policy["policyVersionId"]},
    )


def remove_iot_policy(account: Account, noted: Noted) -> None:
    """Detach a policy of AWS IoT from whatever it is attached to, and remove it with all its versions."""
    name = noted.intent["name"]

    def every(operation: str, member: str) -> Iterable[Any]:
        return account.every_if_there(noted.subject, "iot", operation, member, policyName=name)

    for target in every("ListTargetsForPolicy", "targets"):
        account.call_if_there(noted.subject, "iot", "DetachPolicy", policyName=name, target=target)
    for version in every("ListPolicyVersions", "policyVersions"):
        if not version.get("isDefaultVersion"):
            number = version["versionId"]
            account.call_if_there(noted.subject, "iot", "DeletePolicyVersion", policyName=name, policyVersionId=number)
    account.call_if_there(noted.subject, "iot", "DeletePolicy", policyName=name)


IDENTITY_TYPES: Final[Mapping[str, ResourceType]] = MappingProxyType(
    {
        "aws:cognito/identityPool:IdentityPool": ResourceType(
            make=make_identity_pool,
            intend=_intend_identity_pool,
            remove=remove_identity_pool,
            inputs=frozenset({"identityPoolName", "allowUnauthenticatedIdentities", "allowClassicFlow", "tags"}),
            services=("cognito-identity",),
        ),
        "aws:cognito/identityPoolRoleAttachment:IdentityPoolRoleAttachment": ResourceType(
            make=make_role_attachment,
            intend=_intend_role_attachment,
            remove=remove_role_attachment,
            inputs=frozenset({"identityPoolId", "roles"}),
            services=("cognito-identity",),
        ),
        "aws:iam/role:Role": ResourceType(
            make=make_role,
            intend=intend_name,
            remove=remove_role,
            inputs=frozenset({"name", "assumeRolePolicy", "description", "path", "maxSessionDuration", "tags"}),
            services=("iam",),
            naming=Naming(longest=64),
        ),
        "aws:iam/rolePolicy:RolePolicy": ResourceType(
            make=make_role_policy,
            intend=_intend_role_policy,
            remove=remove_role_policy,
            inputs=frozenset({"name", "role", "policy"}),
            services=("iam",),
            naming=Naming(longest=128),
        ),
        "aws:iot/policy:Policy": ResourceType(
            make=make_iot_policy,
            intend=intend_name,
            remove=remove_iot_policy,
            inputs=frozenset({"name", "policy", "tags"}),
            services=("iot",),
            naming=Naming(longest=128),
        ),
    }
)
"""Type token to how it is made."""
