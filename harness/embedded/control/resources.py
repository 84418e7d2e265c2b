"""Which permissions a call needs: pairs of policy action and resource ARN.

Source: the Service Authorization Reference's table of each service. Where an operation has no resource of its own
there, or the resource cannot be worked out from the input alone, the pair is on ``*``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from harness.embedded.control.service_roles import role_arns
from harness.iot.arn import iot_arn, partition

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from harness.embedded.control.moto_backend import MotoBackend
    from harness.embedded.control.routing import ApiCall

Permission = tuple[str, str]

ANY: Final = "*"

_IOT_TARGETS: Final = frozenset(
    {"AttachPolicy", "DetachPolicy", "AttachPrincipalPolicy", "DetachPrincipalPolicy", "AttachThingPrincipal",
     "DetachThingPrincipal", "ListAttachedPolicies", "ListPrincipalPolicies", "ListPrincipalThings"}
)  # fmt: skip
_IOT_MEMBERS: Final = (
    ("thingName", "thing"),
    ("policyName", "policy"),
    ("thingTypeName", "thingtype"),
    ("ruleName", "rule"),
)
_IOT_DESTINATIONS: Final = frozenset(
    {"GetTopicRuleDestination", "UpdateTopicRuleDestination", "DeleteTopicRuleDestination"}
)
_NEW_DESTINATION: Final = "ruledestination/http/*"
"""What it will be called is not known yet; a statement about all of them covers it, one about a certain one does
not."""
_CA_OPERATIONS: Final = frozenset({"DescribeCACertificate", "UpdateCACertificate", "DeleteCACertificate"})
_TRANSACTION_ACTIONS: Final = {
    "Put": "PutItem",
    "Update": "UpdateItem",
    "Delete": "DeleteItem",
    "ConditionCheck": "ConditionCheckItem",
    "Get": "GetItem",
}
_PARTIQL_MEMBERS: Final = {
    "ExecuteStatement": "Statement",
    "BatchExecuteStatement": "Statements",
    "ExecuteTransaction": "TransactStatements",
}
_PARTIQL_KINDS: Final = ("Delete", "Insert", "Select", "Update")
_NEW_ENTITIES: Final = {"CreateRole": "role", "CreateUser": "user", "CreateGroup": "group", "CreatePolicy": "policy"}


def needed_permissions(call: ApiCall, backend: MotoBackend) -> list[Permission]:
    """Return the (action, resource) pairs that must all be allowed; at least one.

    Args:
        call: operation and input.
        backend: knows the ARN that an IAM name stands for.
    """
    found = _RULES[call.operation.service](call, backend)
    return list(dict.fromkeys(found)) or [(call.action, ANY)]


def _iot(call: ApiCall, backend: MotoBackend) -> Iterable[Permission]:
    def on(resource: str) -> Permission:
        return call.action, iot_arn(backend.region, backend.account_id, resource)

    params = call.params
    if call.operation.name in _IOT_TARGETS:
        target = params.get("target") or params.get("principal") or ""
        return [(call.action, target if target.startswith("arn:") else ANY)]
    if "certificateId" in params:
        kind = "cacert" if call.operation.name in _CA_OPERATIONS else "cert"
        return [on(f"{kind}/{params['certificateId']}")]
    if call.operation.name in _IOT_DESTINATIONS:
        return [(call.action, params["arn"])]
    if call.operation.name == "CreateTopicRuleDestination":
        return [on(_NEW_DESTINATION)]
    if "resourceArn" in params:
        return [(call.action, params["resourceArn"])]
    permissions = [on(f"{kind}/{params[member]}") for member, kind in _IOT_MEMBERS if member in params][:1]
    passed = role_arns(params.get("topicRulePayload") or {})
    return [*permissions, *(("iam:PassRole", role_arn) for role_arn in passed)]


def _iot_data(call: ApiCall, backend: MotoBackend) -> Iterable[Permission]:
    return [(call.action, iot_arn(backend.region, backend.account_id, f"topic/{call.params.get('topic', '')}"))]


def _iam(call: ApiCall, backend: MotoBackend) -> Iterable[Permission]:
    params = call.params
    made = _NEW_ENTITIES.get(call.operation.name)
    prefix = f"arn:{partition(backend.region)}:iam::{backend.account_id}:"
    if made is not None:
        name = params.get(f"{made.capitalize()}Name", "")
        return [(call.action, f"{prefix}{made}{params.get('Path') or '/'}{name}")]
    for kind in ("role", "group", "user"):
        name = params.get(f"{kind.capitalize()}Name")
        if name:
            return [(call.action, backend.iam_arn(kind, name) or f"{prefix}{kind}/{name}")]
    return [(call.action, params["PolicyArn"])] if params.get("PolicyArn") else []


def _sts(call: ApiCall, _backend: MotoBackend) -> Iterable[Permission]:
    return [(call.action, call.params["RoleArn"])] if call.params.get("RoleArn") else []


def _cognito_identity(call: ApiCall, backend: MotoBackend) -> Iterable[Permission]:
    pool_id = call.params.get("IdentityPoolId")
    resource = (
        _arn(backend, "cognito-identity", f"identitypool/{pool_id}") if pool_id else call.params.get("ResourceArn")
    )
    permissions = [(call.action, resource)] if resource else []
    if call.operation.name == "SetIdentityPoolRoles":
        permissions += [("iam:PassRole", str(role_arn)) for role_arn in (call.params.get("Roles") or {}).values()]
    return permissions


def _cognito_idp(call: ApiCall, backend: MotoBackend) -> Iterable[Permission]:
    pool_id = call.params.get("UserPoolId")
    return [(call.action, _arn(backend, "cognito-idp", f"userpool/{pool_id}"))] if isinstance(pool_id, str) else []


def _sqs(call: ApiCall, backend: MotoBackend) -> Iterable[Permission]:
    url, name = call.params.get("QueueUrl"), call.params.get("QueueName")
    if isinstance(url, str):
        name = url.rpartition("/")[2] if url.startswith(("http://", "https://")) else url
    action = call.action.removesuffix("Batch")  # a batch needs the permission of its single operation
    return [(action, _arn(backend, "sqs", name))] if isinstance(name, str) and name else [(action, ANY)]


def _dynamodb(call: ApiCall, backend: MotoBackend) -> Iterable[Permission]:
    params = call.params
    if call.operation.name in {"BatchGetItem", "BatchWriteItem"}:
        tables = params.get("RequestItems")
        return [(call.action, _table_arn(backend, table)) for table in tables] if isinstance(tables, dict) else []
    if call.operation.name in {"TransactGetItems", "TransactWriteItems"}:
        return list(_transaction(params.get("TransactItems"), backend))
    if call.operation.name in _PARTIQL_MEMBERS:
        return list(_partiql(params.get(_PARTIQL_MEMBERS[call.operation.name])))
    table = params.get("TableName")
    if not isinstance(table, str):
        arn = params.get("ResourceArn") or params.get("TableArn")
        return [(call.action, arn)] if isinstance(arn, str) else []
    index = params.get("IndexName")
    suffix = f"/index/{index}" if isinstance(index, str) and call.operation.name in {"Query", "Scan"} else ""
    return [(call.action, _table_arn(backend, table) + suffix)]


def _transaction(items: Any, backend: MotoBackend) -> Iterable[Permission]:
    for item in items if isinstance(items, list) else ():
        for kind, operation in item.items() if isinstance(item, dict) else ():
            if isinstance(operation, dict) and isinstance(operation.get("TableName"), str):
                yield f"dynamodb:{_TRANSACTION_ACTIONS.get(kind, kind)}", _table_arn(backend, operation["TableName"])


def _partiql(statements: Any) -> Iterable[Permission]:
    """Yield what PartiQL statements need; which tables they are about is not worked out."""
    for item in statements if isinstance(statements, list) else [statements]:
        text = item.get("Statement") if isinstance(item, dict) else item
        word = re.match(r"\s*(\w+)", text, re.ASCII) if isinstance(text, str) else None
        kind = word[1].capitalize() if word else ""
        for needed in (kind,) if kind in _PARTIQL_KINDS else _PARTIQL_KINDS:
            yield f"dynamodb:PartiQL{needed}", ANY


def _table_arn(backend: MotoBackend, table: str) -> str:
    return table if table.startswith("arn:") else _arn(backend, "dynamodb", f"table/{table}")


def _arn(backend: MotoBackend, service: str, resource: str) -> str:
    return f"arn:{partition(backend.region)}:{service}:{backend.region}:{backend.account_id}:{resource}"


_RULES: Final[Mapping[str, Callable[[ApiCall, MotoBackend], Iterable[Permission]]]] = {
    "iot": _iot,
    "iot-data": _iot_data,
    "iam": _iam,
    "sts": _sts,
    "cognito-identity": _cognito_identity,
    "cognito-idp": _cognito_idp,
    "dynamodb": _dynamodb,
    "sqs": _sqs,
}
