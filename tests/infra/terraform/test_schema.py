"""Arguments and attributes of Terraform's files, held against the provider's schema as pulumi-aws carries it."""

from __future__ import annotations

import importlib
import re
import warnings
from inspect import signature
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import ModuleType

Block = dict[str, Any]

META_ARGUMENTS = {"count", "depends_on", "dynamic", "for_each", "lifecycle", "provider"}
"""What Terraform itself reads in a block; a ``dynamic`` block is looked at by its content."""

RESOURCES = {
    "aws_cloudwatch_log_group": ("cloudwatch", "LogGroup"),
    "aws_default_security_group": ("ec2", "DefaultSecurityGroup"),
    "aws_ecr_lifecycle_policy": ("ecr", "LifecyclePolicy"),
    "aws_ecr_repository": ("ecr", "Repository"),
    "aws_eip": ("ec2", "Eip"),
    "aws_eks_access_entry": ("eks", "AccessEntry"),
    "aws_eks_access_policy_association": ("eks", "AccessPolicyAssociation"),
    "aws_eks_addon": ("eks", "Addon"),
    "aws_eks_cluster": ("eks", "Cluster"),
    "aws_eks_node_group": ("eks", "NodeGroup"),
    "aws_flow_log": ("ec2", "FlowLog"),
    "aws_iam_openid_connect_provider": ("iam", "OpenIdConnectProvider"),
    "aws_iam_role": ("iam", "Role"),
    "aws_iam_role_policy": ("iam", "RolePolicy"),
    "aws_iam_role_policy_attachment": ("iam", "RolePolicyAttachment"),
    "aws_internet_gateway": ("ec2", "InternetGateway"),
    "aws_kms_alias": ("kms", "Alias"),
    "aws_kms_key": ("kms", "Key"),
    "aws_launch_template": ("ec2", "LaunchTemplate"),
    "aws_nat_gateway": ("ec2", "NatGateway"),
    "aws_route": ("ec2", "Route"),
    "aws_route_table": ("ec2", "RouteTable"),
    "aws_route_table_association": ("ec2", "RouteTableAssociation"),
    "aws_subnet": ("ec2", "Subnet"),
    "aws_vpc": ("ec2", "Vpc"),
    "aws_vpc_endpoint": ("ec2", "VpcEndpoint"),
}
"""Where pulumi-aws keeps the class that is made from a resource's schema."""

DATA_SOURCES = {
    "aws_availability_zones": ("", "get_availability_zones"),
    "aws_caller_identity": ("", "get_caller_identity"),
    "aws_eks_addon_version": ("eks", "get_addon_version"),
    "aws_iam_policy_document": ("iam", "get_policy_document"),
    "aws_iam_session_context": ("iam", "get_session_context"),
    "aws_partition": ("", "get_partition"),
}
"""The same for data sources."""


def _schema(folder: str, name: str) -> Any:
    """Give a class or function of pulumi-aws, whose modules are loaded when something of theirs is asked for."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of resources that nobody here uses, at import
        return getattr(importlib.import_module(f"pulumi_aws.{folder}" if folder else "pulumi_aws"), name)


def _plural(name: str) -> set[str]:
    """Give the names that pulumi may have made of a Terraform name: lists are plural there."""
    return {name, f"{name}s", f"{name}es", re.sub(r"y$", "ies", name)}


def problems(module: ModuleType, arguments: Any, body: Block, where: str) -> Iterator[str]:
    """Give what the schema says against a block, and against the blocks in it.

    Args:
        module: where the classes of nested blocks are.
        arguments: class or function whose parameters are the schema.
        body: the block, as parsed.
        where: its address, for the sentences.
    """
    parameters = {name: one for name, one in signature(arguments).parameters.items() if name not in {"self", "opts"}}
    meta_arguments = META_ARGUMENTS if "." not in where.removeprefix("data.") else {"dynamic"}
    given = {name: value for name, value in body.items() if name not in meta_arguments}
    for dynamic in body.get("dynamic", []):
        given.update({name: block["content"] for name, block in dynamic.items()})
    named = {}
    for name, value in given.items():
        known = _plural(name) & set(parameters)
        if not known:
            yield f"{where} has no argument {name}"
            continue
        named[known.pop()] = value
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD and name not in named:
            yield f"{where} needs an argument {name}"
    for name, value in named.items():
        nested = re.search(r"ForwardRef\('(\w+Args)'\)", str(parameters[name].annotation))
        blocks = [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, dict)]
        if nested and hasattr(module, nested[1]):
            for block in blocks:
                yield from problems(module, getattr(module, nested[1]), block, f"{where}.{name}")


def _schema_problems(kind: str, type_name: str, body: Block) -> list[str]:
    folder, name = (RESOURCES if kind == "resource" else DATA_SOURCES)[type_name]
    schema = _schema(folder, name)
    module = importlib.import_module(f"pulumi_aws.{folder}" if folder else "pulumi_aws")
    if kind == "data":
        return list(problems(module, schema, body, f"data.{type_name}"))
    arguments = getattr(importlib.import_module(schema.__module__), f"{name}Args")
    return list(problems(module, arguments, body, type_name))


def test_blocks_have_arguments_of_the_schema(terraform: Any) -> None:
    """Each argument exists in the provider's schema, at its depth, and none that is required is missing."""
    found = [
        problem
        for kind, blocks in (("resource", terraform.resources), ("data", terraform.data))
        for (type_name, _), body in blocks.items()
        for problem in _schema_problems(kind, type_name, body)
    ]

    assert found == []
    assert len(terraform.resources) > 40


def test_a_wrong_argument_is_noticed() -> None:
    """A misspelt argument, one at the wrong depth and one that is missing are found, so the tests above can fail."""
    wrong = {"vpc_config": [{"subnets": "x"}], "encription_config": [{}]}

    assert sorted(_schema_problems("resource", "aws_eks_cluster", wrong)) == [
        "aws_eks_cluster has no argument encription_config",
        "aws_eks_cluster needs an argument role_arn",
        "aws_eks_cluster.vpc_config has no argument subnets",
        "aws_eks_cluster.vpc_config needs an argument subnet_ids",
    ]


REFERENCE = re.compile(
    r"(?<![\w.\"/:-])(data\.)?(aws_[a-z_]+)\.([a-z_]+)(?:\[(?:[^\[\]]|\[[^\]]*\])*\])?(?:\.([a-z_]+))?"
)


def references(texts: Iterable[str]) -> Iterator[tuple[bool, str, str, str | None]]:
    """Give each reference to a resource or data source in texts: whether it is data, type, name, attribute."""
    for text in texts:
        for expression in re.findall(r"\$\{(.*)\}", text):
            for data, type_name, name, attribute in REFERENCE.findall(expression):
                yield bool(data), type_name, name, attribute or None


def test_references_lead_to_what_is_declared(terraform: Any) -> None:
    """Every reference names a resource that is there and an attribute that the schema knows."""
    seen = 0
    for where, body in terraform.everything().items():
        for is_data, type_name, name, attribute in references(terraform.texts(body)):
            seen += 1
            assert (type_name, name) in (terraform.data if is_data else terraform.resources), (
                f"{where}: {type_name}.{name}"
            )
            if attribute is None:
                continue
            folder, class_name = (DATA_SOURCES if is_data else RESOURCES)[type_name]
            if is_data:
                result = "".join(part.title() for part in class_name.split("_")) + "Result"
                owner = _schema(folder, result)
            else:
                owner = _schema(folder, class_name)
            known = {one for one in dir(owner) if not one.startswith("_")} | {"id"}
            assert _plural(attribute) & known, f"{where}: {type_name}.{name} has no attribute {attribute}"

    assert seen > 60
