"""The resource types that a program may declare, each with the function that makes one.

Those of identity are made here, `storage_resources` and `rule_resources` make the others.

An input that a function does not use is refused, like a type that is not in the table: nothing is left out in silence.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from harness.errors import ProvisioningError
from harness.targets.provisioning.account import auto_name
from harness.targets.provisioning.declared import Declared, Made, ResourceType
from harness.targets.provisioning.rule_resources import RULE_TYPES
from harness.targets.provisioning.storage_resources import STORAGE_TYPES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.targets.provisioning.account import Account


def make_resource(account: Account, declared: Declared, *, existing_id: str | None = None) -> Made:
    """Make a resource.

    Args:
        account: where to make it.
        declared: what to make.
        existing_id: of a resource that the program reads or imports instead of making it: refused.

    Raises:
        ProvisioningError: its type or one of its inputs is not supported, or an AWS call failed.
    """
    if existing_id:
        raise ProvisioningError(declared.subject, reason="reading or importing what exists needs the Pulumi CLI")
    kind = RESOURCE_TYPES.get(declared.type)
    if kind is None:
        raise ProvisioningError(
            declared.subject,
            reason=f"this type needs the Pulumi CLI; supported without it are {', '.join(sorted(RESOURCE_TYPES))}",
        )
    declared.accept_only(kind.inputs)
    return kind.make(account, declared)


def _make_identity_pool(account: Account, declared: Declared) -> Made:
    inputs = declared.inputs
    answer = account.call(
        declared.subject,
        "cognito-identity",
        "CreateIdentityPool",
        IdentityPoolName=inputs["identityPoolName"],
        AllowUnauthenticatedIdentities=inputs.get("allowUnauthenticatedIdentities", False),
        AllowClassicFlow=inputs.get("allowClassicFlow"),
    )
    pool_id = answer["IdentityPoolId"]
    return Made(pool_id, {})


def _make_role_attachment(account: Account, declared: Declared) -> Made:
    inputs = declared.inputs
    account.call(
        declared.subject,
        "cognito-identity",
        "SetIdentityPoolRoles",
        IdentityPoolId=inputs["identityPoolId"],
        Roles=inputs["roles"],
    )
    return Made(inputs["identityPoolId"], {})


def _make_role(account: Account, declared: Declared) -> Made:
    inputs = declared.inputs
    role = account.call(
        declared.subject,
        "iam",
        "CreateRole",
        RoleName=inputs.get("name") or auto_name(declared.name, longest=64),
        AssumeRolePolicyDocument=inputs["assumeRolePolicy"],
        Description=inputs.get("description"),
        Path=inputs.get("path"),
        MaxSessionDuration=inputs.get("maxSessionDuration"),
    )["Role"]
    return Made(role["RoleName"], {"name": role["RoleName"], "arn": role["Arn"], "uniqueId": role["RoleId"]})


def _make_role_policy(account: Account, declared: Declared) -> Made:
    inputs = declared.inputs
    name = inputs.get("name") or auto_name(declared.name, longest=128)
    account.call(
        declared.subject,
        "iam",
        "PutRolePolicy",
        RoleName=inputs["role"],
        PolicyName=name,
        PolicyDocument=inputs["policy"],
    )
    return Made(f"{inputs['role']}:{name}", {"name": name})


def _make_iot_policy(account: Account, declared: Declared) -> Made:
    inputs = declared.inputs
    policy = account.call(
        declared.subject,
        "iot",
        "CreatePolicy",
        policyName=inputs.get("name") or auto_name(declared.name, longest=128),
        policyDocument=inputs["policy"],
    )
    return Made(
        policy["policyName"],
        {"name": policy["policyName"], "arn": policy["policyArn"], "defaultVersionId": policy["policyVersionId"]},
    )


RESOURCE_TYPES: Final[Mapping[str, ResourceType]] = MappingProxyType(
    {
        "aws:cognito/identityPool:IdentityPool": ResourceType(
            make=_make_identity_pool,
            inputs=frozenset({"identityPoolName", "allowUnauthenticatedIdentities", "allowClassicFlow"}),
            services=("cognito-identity",),
        ),
        "aws:cognito/identityPoolRoleAttachment:IdentityPoolRoleAttachment": ResourceType(
            make=_make_role_attachment,
            inputs=frozenset({"identityPoolId", "roles"}),
            services=("cognito-identity",),
        ),
        "aws:iam/role:Role": ResourceType(
            make=_make_role,
            inputs=frozenset({"name", "assumeRolePolicy", "description", "path", "maxSessionDuration"}),
            services=("iam",),
        ),
        "aws:iam/rolePolicy:RolePolicy": ResourceType(
            make=_make_role_policy,
            inputs=frozenset({"name", "role", "policy"}),
            services=("iam",),
        ),
        "aws:iot/policy:Policy": ResourceType(
            make=_make_iot_policy,
            inputs=frozenset({"name", "policy"}),
            services=("iot",),
        ),
        **STORAGE_TYPES,
        **RULE_TYPES,
    }
)
"""Type token to how it is made."""
