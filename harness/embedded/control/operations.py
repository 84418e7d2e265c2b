"""Which operations are served, and which registry records each can change.

For services whose operations bear on who may do what, the table is exhaustive: an operation that moto has and this
table lacks is refused by name, since its effect would be missing at the broker. DynamoDB, SQS and user pools are moto's
as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.embedded.control.messages import ApiError, not_served

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.embedded.control.outcome import Touched
    from harness.embedded.control.routing import ApiCall, Operation

_READS: Final = {
    "iot": (
        "ConfirmTopicRuleDestination CreateTopicRule CreateTopicRuleDestination DeleteTopicRule "
        "DeleteTopicRuleDestination DisableTopicRule EnableTopicRule GetTopicRule GetTopicRuleDestination "
        "ListTopicRuleDestinations ListTopicRules ReplaceTopicRule UpdateTopicRuleDestination "
        "CreateThingType DeleteCACertificate DeleteThingType DeprecateThingType DescribeCACertificate "
        "DescribeCertificate DescribeEndpoint DescribeThing DescribeThingType GetPolicy GetPolicyVersion "
        "GetRegistrationCode ListAttachedPolicies ListCertificates ListCertificatesByCA ListPolicies "
        "ListPolicyPrincipals ListPolicyVersions ListPrincipalPolicies ListPrincipalThings ListTargetsForPolicy "
        "ListTagsForResource ListThingPrincipals ListThingTypes ListThings RegisterCACertificate TagResource "
        "UntagResource UpdateCACertificate"
    ),
    "iot-data": "Publish",
    "iam": (
        "CreateGroup CreatePolicy GetAccessKeyLastUsed GetGroup GetGroupPolicy GetPolicy GetPolicyVersion GetRole "
        "GetRolePolicy GetUser GetUserPolicy ListAccessKeys ListAttachedGroupPolicies ListAttachedRolePolicies "
        "ListAttachedUserPolicies ListEntitiesForPolicy ListGroupPolicies ListGroups ListGroupsForUser "
        "ListInstanceProfilesForRole ListPolicies ListPolicyTags ListPolicyVersions ListRolePolicies ListRoleTags "
        "ListRoles ListUserPolicies ListUserTags ListUsers TagPolicy TagRole TagUser UntagPolicy UntagRole UntagUser "
        "UpdateRole UpdateRoleDescription"
    ),
    "sts": "AssumeRole GetCallerIdentity",
    "cognito-identity": (
        "CreateIdentityPool DeleteIdentities DeleteIdentityPool DescribeIdentity DescribeIdentityPool "
        "GetCredentialsForIdentity GetId GetIdentityPoolRoles ListIdentities ListIdentityPools ListTagsForResource "
        "SetIdentityPoolRoles TagResource UntagResource UpdateIdentityPool"
    ),
}
"""Change nothing that the broker must know, or say themselves what they change."""

_THING_OPERATIONS: Final = ["CreateThing", "UpdateThing", "DeleteThing", "AttachThingPrincipal", "DetachThingPrincipal"]
_POLICY_OPERATIONS: Final = [
    "CreatePolicy",
    "DeletePolicy",
    "CreatePolicyVersion",
    "SetDefaultPolicyVersion",
    "DeletePolicyVersion",
    "AttachPolicy",
    "DetachPolicy",
    "AttachPrincipalPolicy",
    "DetachPrincipalPolicy",
]
_CERTIFICATE_OPERATIONS: Final = [
    "CreateKeysAndCertificate",
    "CreateCertificateFromCsr",
    "RegisterCertificate",
    "RegisterCertificateWithoutCA",
    "UpdateCertificate",
    "DeleteCertificate",
]
_ROLE_OPERATIONS: Final = [
    "CreateRole",
    "UpdateAssumeRolePolicy",
    "PutRolePolicy",
    "DeleteRolePolicy",
    "AttachRolePolicy",
    "DetachRolePolicy",
    "CreateUser",
    "PutUserPolicy",
    "DeleteUserPolicy",
    "AttachUserPolicy",
    "DetachUserPolicy",
    "PutGroupPolicy",
    "DeleteGroupPolicy",
    "AttachGroupPolicy",
    "DetachGroupPolicy",
    "DeleteGroup",
    "AddUserToGroup",
    "RemoveUserFromGroup",
    "CreatePolicyVersion",
    "SetDefaultPolicyVersion",
    "DeletePolicyVersion",
    "DeletePolicy",
]
_KEY_OPERATIONS: Final = ["DeleteRole", "DeleteUser", "CreateAccessKey", "UpdateAccessKey", "DeleteAccessKey"]

_CHANGES: Final[Mapping[tuple[str, str], tuple[tuple[str, str | None], ...]]] = {
    **{("iot", name): (("things", "thingName"),) for name in _THING_OPERATIONS},
    **{("iot", name): (("policies", "policyName"),) for name in _POLICY_OPERATIONS},
    **{("iot", name): (("certificates", "certificateId"),) for name in _CERTIFICATE_OPERATIONS},
    **{("iam", name): (("roles", None),) for name in _ROLE_OPERATIONS},
    **{("iam", name): (("roles", None), ("credentials", None)) for name in _KEY_OPERATIONS},
}
"""Operation to (registry table, the input member that is the record's key; None: any record)."""

_SERVED: Final = (
    frozenset((service, name) for service, names in _READS.items() for name in names.split()) | _CHANGES.keys()
)

WHOLE_SERVICES: Final = frozenset({"dynamodb", "sqs", "cognito-idp"})
"""Served as moto has them: the broker need not know what they change."""

_NEEDS_S3: Final = frozenset({("dynamodb", "ImportTable"), ("dynamodb", "ExportTableToPointInTime")})


def check_served(operation: Operation) -> None:
    """Refuse an operation that is not served.

    Raises:
        ApiError: 501, naming it.
    """
    key = (operation.service, operation.name)
    if key not in _SERVED and (operation.service not in WHOLE_SERVICES or key in _NEEDS_S3):
        raise not_served(f"{operation.name} of {operation.service}" if operation.service != "iot" else operation.name)


def refuse_service(signing_name: str) -> ApiError:
    """Return the error for a service that is not served."""
    return not_served(f"the service {signing_name!r}")


def is_served(operation: Operation) -> bool:
    """Return whether an operation is served."""
    try:
        check_served(operation)
    except ApiError:
        return False
    return True


def touched_by(call: ApiCall) -> Touched:
    """Return the registry records that an operation can change, from its input alone."""
    touched: dict[str, frozenset[str] | None] = {}
    for table, member in _CHANGES.get((call.operation.service, call.operation.name), ()):
        key = call.params.get(member) if member is not None else None
        touched[table] = frozenset({key}) if isinstance(key, str) else None
    return touched
