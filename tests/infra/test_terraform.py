"""The platform in Terraform: parsed, compared with the provider's schema, and run as far as that goes without AWS.

The provider hashicorp/aws is not there, so nothing here is ``terraform plan`` of the whole. In its place stands what
can be known without it: the real binary evaluates variables and expressions, which need no provider; and the names of
arguments and attributes are compared with pulumi-aws, whose classes are made from the same provider's schema.
"""

from __future__ import annotations

import importlib
import ipaddress
import json
import re
import shutil
import subprocess
import warnings
from dataclasses import dataclass
from functools import cache
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import botocore.session
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

hcl2 = pytest.importorskip("hcl2", reason="not proven: python-hcl2 is missing, which parses Terraform")

STACK = Path(__file__).resolve().parents[2] / "infra" / "terraform"
FILES = sorted(STACK.glob("*.tf"))

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


def parse(text: str) -> Block:
    """Parse one file: texts without quotes, no marks of the parser's own, no comments."""
    options = hcl2.SerializationOptions(strip_string_quotes=True, explicit_blocks=False, with_comments=False)
    parsed: Block = hcl2.loads(text, serialization_options=options)
    return parsed


@dataclass(frozen=True, slots=True, kw_only=True)
class Terraform:
    """All files as one: blocks by their names."""

    resources: dict[tuple[str, str], Block]
    data: dict[tuple[str, str], Block]
    variables: dict[str, Block]
    outputs: dict[str, Block]
    locals: Block
    settings: Block


@cache
def terraform() -> Terraform:
    """Read the stack once."""
    found = Terraform(resources={}, data={}, variables={}, outputs={}, locals={}, settings={})
    for path in FILES:
        parsed = parse(path.read_text("utf-8"))
        for kind, into in (("resource", found.resources), ("data", found.data)):
            for block in parsed.get(kind, []):
                for type_name, named in block.items():
                    into.update({(type_name, name): body for name, body in named.items()})
        for kind, plain in (("variable", found.variables), ("output", found.outputs)):
            for block in parsed.get(kind, []):
                plain.update(block)
        for block in parsed.get("locals", []):
            found.locals.update(block)
        for block in parsed.get("terraform", []):
            found.settings.update(block)
    return found


def statements(name: str) -> list[Block]:
    """Give the statements of one policy document."""
    found: list[Block] = terraform().data["aws_iam_policy_document", name]["statement"]
    return found


def conditions(statement: Block) -> dict[str, tuple[str, list[str]]]:
    """Give a statement's conditions: the operator and the values, by variable."""
    return {one["variable"]: (one["test"], one["values"]) for one in statement.get("condition", [])}


def texts(value: object) -> Iterator[str]:
    """Give every text in a parsed value, keys too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from texts(inner)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_terraform_file_is_hcl(path: Path) -> None:
    """Each file parses, and says something."""
    assert parse(path.read_text("utf-8"))


@pytest.mark.parametrize("name", ["backend.tf.example", "terraform.tfvars.example"])
def test_example_is_hcl(name: str) -> None:
    """An example that somebody copies parses as well."""
    assert parse((STACK / name).read_text("utf-8"))


def test_a_broken_file_does_not_parse() -> None:
    """The parser refuses what is not HCL, so the tests above can fail."""
    with pytest.raises(Exception, match=r"(?i)unexpected"):
        parse('resource "aws_vpc" {{ "this"')


# What the provider's schema says.


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


@pytest.mark.parametrize("address", sorted(terraform().resources), ids=".".join)
def test_resource_has_arguments_of_the_schema(address: tuple[str, str]) -> None:
    """Each argument exists in the provider's schema, at its depth, and none that is required is missing."""
    assert _schema_problems("resource", address[0], terraform().resources[address]) == []


@pytest.mark.parametrize("address", sorted(terraform().data), ids=".".join)
def test_data_source_has_arguments_of_the_schema(address: tuple[str, str]) -> None:
    """The same for what is read."""
    assert _schema_problems("data", address[0], terraform().data[address]) == []


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


def references(value: object) -> Iterator[tuple[bool, str, str, str | None]]:
    """Give each reference to a resource or data source in a value: whether it is data, type, name, attribute."""
    for text in texts(value):
        for expression in re.findall(r"\$\{(.*)\}", text):
            for data, type_name, name, attribute in REFERENCE.findall(expression):
                yield bool(data), type_name, name, attribute or None


def everything() -> dict[str, Any]:
    """Give all that may refer to something, by address."""
    stack = terraform()
    return {
        **{".".join(address): body for address, body in stack.resources.items()},
        **{f"data.{'.'.join(address)}": body for address, body in stack.data.items()},
        **{f"output.{name}": body for name, body in stack.outputs.items()},
        **{f"local.{name}": body for name, body in stack.locals.items()},
        **{f"var.{name}": body for name, body in stack.variables.items()},
    }


def test_references_lead_to_what_is_declared() -> None:
    """Every reference names a resource that is there and an attribute that the schema knows."""
    stack = terraform()
    seen = 0
    for where, body in everything().items():
        for is_data, type_name, name, attribute in references(body):
            seen += 1
            assert (type_name, name) in (stack.data if is_data else stack.resources), f"{where}: {type_name}.{name}"
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


@pytest.mark.parametrize(("kind", "pattern"), [("variables", r"\bvar\.(\w+)"), ("locals", r"\blocal\.(\w+)")])
def test_variables_and_locals_are_declared_and_used(kind: str, pattern: str) -> None:
    """What is used is declared, and what is declared is used by more than its own validation."""
    declared = set(getattr(terraform(), kind))
    used = set()
    for where, body in everything().items():
        if not where.startswith("var."):
            used |= {name for text in texts(body) for name in re.findall(pattern, text)}
    used |= set(re.findall(pattern, (STACK / "versions.tf").read_text("utf-8")))

    assert used == declared


def test_variables_say_what_they_are() -> None:
    """Each has a description that is a sentence, a type, and a rule for what it accepts if it can be wrong."""
    for name, variable in terraform().variables.items():
        assert variable["description"].endswith("."), name
        assert variable["type"], name
        if str(variable["type"]) not in {"${bool}", "bool"} and name != "tags":
            assert variable["validation"], name


def test_outputs_say_what_they_are() -> None:
    """Each has a description that is a sentence, and none is a secret."""
    for name, output in terraform().outputs.items():
        assert output["description"].endswith("."), name
        assert "sensitive" not in output, name


def test_example_values_are_the_defaults() -> None:
    """The example of variables names each, and says the truth about its default."""
    text = (STACK / "terraform.tfvars.example").read_text("utf-8")
    commented = parse(re.sub(r"^# (?=\w+ +=)", "", text, flags=re.MULTILINE))
    defaults = {name: one["default"] for name, one in terraform().variables.items() if "default" in one}

    assert {name: value for name, value in commented.items() if name in defaults} == defaults
    assert set(commented) == set(terraform().variables)


def test_versions_are_pinned() -> None:
    """Terraform and each provider may change a minor version, not a major one; nothing else is fetched."""
    settings = terraform().settings

    assert settings["required_version"] == "~> 1.11"
    assert {name: one["source"] for block in settings["required_providers"] for name, one in block.items()} == {
        "aws": "hashicorp/aws"
    }
    for block in settings["required_providers"]:
        assert all(re.fullmatch(r"~> \d+\.\d+", one["version"]) for one in block.values())
    used = {address[0].split("_")[0] for address in (*terraform().resources, *terraform().data)}
    assert used == {"aws"}
    assert not any("module" in parse(path.read_text("utf-8")) for path in FILES)


def test_state_example_locks_and_encrypts() -> None:
    """Shared state is locked by a file beside it and encrypted."""
    (settings,) = parse((STACK / "backend.tf.example").read_text("utf-8"))["terraform"]
    backend = settings["backend"][0]["s3"]

    assert backend["use_lockfile"] is True
    assert backend["encrypt"] is True


# What the load balancer controller, the pods and the world outside meet.


@pytest.mark.parametrize(
    ("subnet", "role", "other"),
    [("public", "kubernetes.io/role/elb", "internal-elb"), ("private", "kubernetes.io/role/internal-elb", "role/elb")],
)
def test_subnets_have_the_tags_of_discovery(subnet: str, role: str, other: str) -> None:
    """The controller finds public subnets for public load balancers and private ones for internal ones."""
    tags = terraform().resources["aws_subnet", subnet]["tags"]

    assert tags[role] == "1"
    assert tags["kubernetes.io/cluster/${var.cluster_name}"] == "shared"
    assert not any(name.endswith(other) for name in tags)


def test_nodes_have_no_public_address() -> None:
    """Nodes and the control plane's doors are in private subnets, and no subnet gives addresses away."""
    stack = terraform()

    for name in ("public", "private"):
        assert stack.resources["aws_subnet", name]["map_public_ip_on_launch"] is False
    cluster = stack.resources["aws_eks_cluster", "this"]["vpc_config"][0]
    for subnets in (stack.resources["aws_eks_node_group", "this"]["subnet_ids"], cluster["subnet_ids"]):
        assert "aws_subnet.private" in subnets
        assert "aws_subnet.public" not in subnets


def test_the_world_comes_in_nowhere() -> None:
    """All addresses stand where requests leave, in the two routes to the internet, and nowhere else."""
    anywhere = [where for where, body in everything().items() if {"0.0.0.0/0", "::/0"} & set(texts(body))]

    assert sorted(anywhere) == ["aws_route.private_to_internet", "aws_route.public_to_internet"]
    closed = terraform().resources["aws_default_security_group", "closed"]
    assert not {"ingress", "egress"} & set(closed)


def test_api_is_open_to_the_named_networks_alone() -> None:
    """The Kubernetes API is public only for the networks given, and there is no default for them."""
    cluster = terraform().resources["aws_eks_cluster", "this"]["vpc_config"][0]

    assert cluster["endpoint_private_access"] is True
    assert cluster["endpoint_public_access"] == "${length(var.public_access_cidrs) > 0}"
    assert "var.public_access_cidrs" in cluster["public_access_cidrs"]
    assert "default" not in terraform().variables["public_access_cidrs"]


def test_cluster_is_administered_by_access_entries() -> None:
    """Nobody is administrator by having made the cluster, secrets are encrypted, and all logs are kept."""
    cluster = terraform().resources["aws_eks_cluster", "this"]
    access = cluster["access_config"][0]

    assert (access["authentication_mode"], access["bootstrap_cluster_creator_admin_permissions"]) == ("API", False)
    assert cluster["encryption_config"][0]["resources"] == ["secrets"]
    assert len(cluster["enabled_cluster_log_types"]) == 5
    assert ("aws_eks_access_policy_association", "administrator") in terraform().resources


def test_nodes_ask_for_tokens_of_metadata() -> None:
    """A node's metadata needs a token, which does not reach a pod; its disk is encrypted."""
    template = terraform().resources["aws_launch_template", "node"]
    metadata = template["metadata_options"][0]

    assert (metadata["http_tokens"], metadata["http_put_response_hop_limit"]) == ("required", 1)
    assert template["block_device_mappings"][0]["ebs"][0]["encrypted"] is True


def test_network_of_pods_comes_before_the_nodes() -> None:
    """Nodes wait for the network add-on, which enforces network policies; what runs on nodes waits for them."""
    stack = terraform()
    before, after = (stack.resources["aws_eks_addon", name] for name in ("before_nodes", "on_nodes"))

    assert stack.resources["aws_eks_cluster", "this"]["bootstrap_self_managed_addons"] is False
    assert "${aws_eks_addon.before_nodes}" in stack.resources["aws_eks_node_group", "this"]["depends_on"]
    assert "${aws_eks_node_group.this}" in after["depends_on"]
    assert set(before["for_each"]) == {"kube-proxy", "vpc-cni"}
    assert set(after["for_each"]) == {"aws-ebs-csi-driver", "coredns", "metrics-server"}
    assert 'enableNetworkPolicy = "true"' in before["for_each"]["vpc-cni"]["configuration"]


def test_images_are_what_was_pushed() -> None:
    """A tag is one image for ever, looked through when it is pushed."""
    repository = terraform().resources["aws_ecr_repository", "receiver"]

    assert repository["name"] == "iot-receiver"
    assert repository["image_tag_mutability"] == "IMMUTABLE"
    assert repository["image_scanning_configuration"] == [{"scan_on_push": True}]


# Who may do what.


def test_roles_belong_to_one_service_account_each() -> None:
    """A role is for one exact service account of this cluster, by a token that is for AWS."""
    (statement,) = statements("service_account_trust")

    assert statement["actions"] == ["sts:AssumeRoleWithWebIdentity"]
    assert statement["principals"] == [
        {"type": "Federated", "identifiers": ["${aws_iam_openid_connect_provider.cluster.arn}"]}
    ]
    assert conditions(statement) == {
        "${local.oidc_issuer}:aud": ("StringEquals", ["sts.amazonaws.com"]),
        "${local.oidc_issuer}:sub": (
            "StringEquals",
            ["system:serviceaccount:${each.value.namespace}:${each.value.name}"],
        ),
    }
    accounts = terraform().locals["service_accounts"]
    assert (accounts["receiver"]["namespace"], accounts["receiver"]["name"]) == ("apps", "iot-receiver")
    assert not any("*" in text for text in texts(accounts))


def test_every_service_account_has_exactly_one_policy() -> None:
    """No role of a service account is without rights, and none has two sources of them."""
    stack = terraform()
    own = [
        match[1]
        for (type_name, _), body in stack.resources.items()
        if type_name == "aws_iam_role_policy" and (match := re.search(r'service_account\["([a-z-]+)"\]', body["role"]))
    ]
    of_aws = list(stack.resources["aws_iam_role_policy_attachment", "addon"]["for_each"])

    assert sorted(own + of_aws) == sorted(stack.locals["service_accounts"])


def test_receiver_may_do_what_the_shared_file_says() -> None:
    """Its policy is the file that the embedded target uses too, for the table that was named."""
    policy = terraform().resources["aws_iam_role_policy", "receiver"]

    assert (
        policy["policy"] == '${templatefile("${path.module}/../receiver-policy.json", {TABLE_ARN = local.table_arn})}'
    )
    assert terraform().locals["table_arn"].endswith(":table/${var.table_name}")


EVERYTHING_ALLOWED = {
    ("platform_key", "TheAccountOwnsTheKey"): "in a key policy it is the key itself",
    ("platform_key", "CloudWatchEncryptsTheseLogs"): "the same",
    ("load_balancer_controller", "Look"): "reads that know no resources",
    ("cloudwatch_exporter", "ReadFigures"): "reads that know no resources",
}
"""Statements for every resource, each with its reason."""


def test_statements_name_their_resources() -> None:
    """Where a resource is known it is named; all resources are for key policies and for reads that know none."""
    documents = {
        name: body["statement"] for (_, name), body in terraform().data.items() if _ == "aws_iam_policy_document"
    }
    wide = set()
    for name, body in documents.items():
        for statement in body:
            assert "not_actions" not in statement
            assert "not_resources" not in statement
            if "*" in statement.get("resources", []):
                wide.add((name, statement["sid"]))
                if name != "platform_key":
                    reading = re.compile(r"[a-z0-9]+:(Describe|Get|List)\w*\*?")
                    assert all(reading.fullmatch(action) for action in statement["actions"]), name

    assert wide == set(EVERYTHING_ALLOWED)


def test_actions_exist() -> None:
    """Each action that a policy names is an operation of AWS's API, so none is misspelt."""
    models = {
        "acm": "acm",
        "cloudwatch": "cloudwatch",
        "ec2": "ec2",
        "elasticloadbalancing": "elbv2",
        "iam": "iam",
        "kms": "kms",
        "logs": "logs",
        "sts": "sts",
        "tag": "resourcegroupstaggingapi",
    }
    without_an_operation = {"kms:ReEncryptFrom", "kms:ReEncryptTo", "kms:*"}  # one operation, two permissions; all
    session = botocore.session.get_session()
    named = {
        action
        for (type_name, _), body in terraform().data.items()
        if type_name == "aws_iam_policy_document"
        for statement in body["statement"]
        for action in statement["actions"]
    }
    for action in named - without_an_operation:
        service, operation = action.split(":")
        known = session.get_service_model(models[service]).operation_names
        assert any(
            one.startswith(operation.removesuffix("*")) if "*" in operation else one == operation for one in known
        ), action

    assert len(named) > 50
    assert "DescribeLoadBalancer" not in session.get_service_model("elbv2").operation_names


def test_controller_changes_only_what_it_made() -> None:
    """Load balancers, target groups and security groups of others it may see but not change, nor call its own."""
    by_sid = {statement["sid"]: statement for statement in statements("load_balancer_controller")}
    ours = ("StringEquals", ["${var.cluster_name}"])
    request, owned = "aws:RequestTag/${local.cluster_tag}", "aws:ResourceTag/${local.cluster_tag}"

    for sid in ("MakeSecurityGroupsOfThisCluster", "MakeLoadBalancersAndTargetGroups"):
        assert conditions(by_sid[sid])[request] == ours
    for sid in ("ChangeItsSecurityGroups", "ChangeItsLoadBalancersAndTargetGroups"):
        assert conditions(by_sid[sid])[owned] == ours
    for sid in ("TagItsSecurityGroups", "TagItsLoadBalancersAndTargetGroups"):
        assert conditions(by_sid[sid]) == {owned: ours, request: ("Null", ["true"])}
    for sid in ("TagSecurityGroupsWhileMakingThem", "TagThemWhileMakingThem"):
        assert {"ec2:CreateAction", "elasticloadbalancing:CreateAction"} & set(conditions(by_sid[sid]))
        assert conditions(by_sid[sid])[request] == ours
    assert terraform().locals["cluster_tag"] == "elbv2.k8s.aws/cluster"


def test_policies_fit() -> None:
    """A policy within a role has at most 10,240 characters, without spaces; the longest stays well below."""
    longest = statements("load_balancer_controller")

    # As JSON it has the names that the references stand for, hence the room.
    assert len(json.dumps(longest, separators=(",", ":"))) < 9_000


# What the real binary says, without a provider.


@pytest.fixture(scope="session")
def binary() -> str:
    """Give the terraform on PATH."""
    found = shutil.which("terraform")
    if found is None:
        pytest.skip("not proven: terraform is missing, which would format, validate and evaluate")
    return found


def run(binary: str, *arguments: str, cwd: Path, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run terraform without colours, questions and calls home."""
    environment = {"CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1", "PATH": "/usr/bin:/bin", "HOME": str(cwd)}
    return subprocess.run(
        [binary, *arguments], cwd=cwd, env=environment, input=stdin, capture_output=True, text=True, check=False
    )


def test_files_are_formatted(binary: str, tmp_path: Path) -> None:
    """``terraform fmt`` would change nothing, and would change a file that is not formatted."""
    assert run(binary, "fmt", "-check", "-recursive", "-diff", cwd=STACK).stdout == ""

    (tmp_path / "bad.tf").write_text('locals {\n  a   = 1\n  bcd = "x" \n}\n', "utf-8")
    assert run(binary, "fmt", "-check", cwd=tmp_path).stdout.strip() == "bad.tf"


def test_stack_is_valid(binary: str) -> None:
    """``terraform validate`` finds nothing, where `terraform init` has put the provider beside the files."""
    if not (STACK / ".terraform" / "providers").is_dir():
        pytest.skip(
            "not proven: terraform validate needs the provider hashicorp/aws; "
            "`terraform -chdir=infra/terraform init -backend=false` fetches it"
        )
    answer = run(binary, "validate", "-no-color", cwd=STACK)
    assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.fixture(scope="session")
def variables_alone(binary: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with the variables and no provider, beside the receiver's policy."""
    root = tmp_path_factory.mktemp("infra")
    shutil.copy(STACK.parent / "receiver-policy.json", root)
    folder = root / "terraform"
    folder.mkdir()
    shutil.copy(STACK / "variables.tf", folder)
    answer = run(binary, "init", "-backend=false", "-input=false", "-no-color", cwd=folder)
    assert answer.returncode == 0, answer.stderr
    return folder


NEEDED = {"table_name": "readings-0123abc", "public_access_cidrs": ["203.0.113.7/32"]}


def _flags(values: Block) -> list[str]:
    as_text = {name: value if isinstance(value, str) else json.dumps(value) for name, value in values.items()}
    return [f"-var={name}={text}" for name, text in as_text.items()]


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"public_access_cidrs": []},
        {"public_access_cidrs": ["203.0.113.0/24", "198.51.100.7/32"]},
        {"region": "eu-central-1", "cluster_name": "telemetry-2", "kubernetes_version": "1.34"},
        {"vpc_cidr": "172.20.0.0/19", "zone_count": 4, "nat_gateway_per_zone": True},
        {"node_count": {"min": 1, "desired": 1, "max": 1}, "node_disk_gib": 20, "log_retention_days": 365},
        {"cluster_admin_arns": ["arn:aws:iam::111122223333:role/path/admin"]},
        {"addon_versions": {"vpc-cni": "v1.21.1-eksbuild.1"}},
    ],
    ids=lambda values: ",".join(values) or "defaults",
)
def test_good_values_are_accepted(binary: str, variables_alone: Path, values: Block) -> None:
    """Terraform accepts what a user may want."""
    answer = run(binary, "plan", "-input=false", "-no-color", *_flags(NEEDED | values), cwd=variables_alone)

    assert answer.returncode == 0, answer.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("table_name", "arn:aws:dynamodb:us-east-2:111122223333:table/readings"),
        ("table_name", "x"),
        ("public_access_cidrs", ["0.0.0.0/0"]),
        ("public_access_cidrs", ["0.0.0.0/1", "128.0.0.0/1"]),
        ("public_access_cidrs", ["203.0.113.7"]),
        ("public_access_cidrs", ["::/0"]),
        ("region", "Ohio"),
        ("cluster_name", "demo_eks"),
        ("cluster_name", "c" * 40),
        ("kubernetes_version", "1.35.1"),
        ("vpc_cidr", "10.0.0.0/8"),
        ("vpc_cidr", "10.0.0.0/24"),
        ("zone_count", 1),
        ("node_instance_types", []),
        ("node_count", {"min": 3, "desired": 2, "max": 4}),
        ("node_disk_gib", 8),
        ("cluster_admin_arns", ["arn:aws:sts::111122223333:assumed-role/admin/me"]),
        ("addon_versions", {"coredn": "v1"}),
        ("log_retention_days", 31),
    ],
)
def test_bad_values_are_refused(binary: str, variables_alone: Path, name: str, value: object) -> None:
    """Terraform refuses a value by the variable's own rule, before anything is asked of AWS."""
    answer = run(binary, "plan", "-input=false", "-no-color", *_flags(NEEDED | {name: value}), cwd=variables_alone)

    assert answer.returncode == 1
    assert "Invalid value for variable" in answer.stderr
    assert f'variable "{name}"' in answer.stderr


@pytest.mark.parametrize("missing", NEEDED)
def test_two_variables_have_to_be_given(binary: str, variables_alone: Path, missing: str) -> None:
    """There is no table and no network that everybody has."""
    given = {name: value for name, value in NEEDED.items() if name != missing}
    answer = run(binary, "plan", "-input=false", "-no-color", *_flags(given), cwd=variables_alone)

    assert answer.returncode == 1
    assert "No value for required variable" in answer.stderr


def evaluate(binary: str, folder: Path, expression: str, **values: object) -> Any:
    """Let Terraform evaluate an expression, such as stands in the files, with the defaults and these variables."""
    command = f"jsonencode({expression})\n"
    answer = run(binary, "console", *_flags(NEEDED | values), cwd=folder, stdin=command)
    assert answer.returncode == 0, answer.stderr
    return json.loads(json.loads(answer.stdout))


@pytest.mark.parametrize("cidr", ["10.0.0.0/16", "172.20.32.0/19"])
def test_subnets_do_not_overlap(binary: str, variables_alone: Path, cidr: str) -> None:
    """Subnets of all zones lie in the VPC and apart, are large enough, and the public ones fill the network outside."""
    expressions = {
        name: terraform().resources["aws_subnet", name]["cidr_block"][2:-1] for name in ("public", "private")
    }
    subnets = {
        name: [
            ipaddress.IPv4Network(
                evaluate(binary, variables_alone, expression.replace("each.value", str(zone)), vpc_cidr=cidr)
            )
            for zone in range(4)
        ]
        for name, expression in expressions.items()
    }
    everything = [network for networks in subnets.values() for network in networks]
    outside = ipaddress.IPv4Network(
        evaluate(binary, variables_alone, terraform().locals["load_balancer_cidr"][2:-1], vpc_cidr=cidr)
    )

    assert all(network.subnet_of(ipaddress.IPv4Network(cidr)) for network in everything)
    assert not any(one.overlaps(other) for one in everything for other in everything if one is not other)
    assert all(network.prefixlen <= 27 for network in subnets["public"])  # what a load balancer accepts
    assert list(ipaddress.collapse_addresses(subnets["public"])) == [outside]


def test_receivers_policy_is_for_its_table(binary: str, variables_alone: Path) -> None:
    """Rendered by Terraform, the policy is JSON and allows writes to one table."""
    expression = terraform().resources["aws_iam_role_policy", "receiver"]["policy"][2:-1]
    arn = "arn:aws:dynamodb:us-east-2:111122223333:table/readings-0123abc"
    policy = json.loads(evaluate(binary, variables_alone, expression.replace("local.table_arn", json.dumps(arn))))

    assert {statement["Resource"] for statement in policy["Statement"]} == {arn}
    assert all(
        action.startswith("dynamodb:") and "*" not in action
        for statement in policy["Statement"]
        for action in statement["Action"]
    )


def test_lifecycle_policy_is_json(binary: str, variables_alone: Path) -> None:
    """The registry's rules have distinct priorities, with the one for all images last, as ECR demands."""
    expression = terraform().resources["aws_ecr_lifecycle_policy", "receiver"]["policy"][2:-1]
    rules = json.loads(evaluate(binary, variables_alone, expression))["rules"]

    assert [rule["rulePriority"] for rule in rules] == [1, 2]
    assert rules[-1]["selection"]["tagStatus"] == "any"
