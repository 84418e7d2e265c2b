"""The platform in Terraform: it parses, says what its variables and outputs are, and is closed where it should be."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

STACK: Final = Path(__file__).resolve().parents[3] / "infra" / "terraform"

Block = dict[str, Any]


@pytest.mark.parametrize("path", sorted(STACK.glob("*.tf")), ids=lambda path: path.name)
def test_terraform_file_is_hcl(path: Path, parse: Callable[[str], Block]) -> None:
    """Each file parses, and says something."""
    assert parse(path.read_text("utf-8"))


@pytest.mark.parametrize("name", ["backend.tf.example", "terraform.tfvars.example"])
def test_example_is_hcl(name: str, parse: Callable[[str], Block]) -> None:
    """An example that somebody copies parses as well."""
    assert parse((STACK / name).read_text("utf-8"))


def test_a_broken_file_does_not_parse(parse: Callable[[str], Block]) -> None:
    """The parser refuses what is not HCL, so the tests above can fail."""
    with pytest.raises(Exception, match=r"(?i)unexpected"):
        parse('resource "aws_vpc" {{ "this"')


@pytest.mark.parametrize(("kind", "pattern"), [("variables", r"\bvar\.(\w+)"), ("locals", r"\blocal\.(\w+)")])
def test_variables_and_locals_are_declared_and_used(kind: str, pattern: str, terraform: Any) -> None:
    """What is used is declared, and what is declared is used by more than its own validation."""
    declared = set(getattr(terraform, kind))
    used = set()
    for where, body in terraform.everything().items():
        if not where.startswith("var."):
            used |= {name for text in terraform.texts(body) for name in re.findall(pattern, text)}
    used |= set(re.findall(pattern, (STACK / "versions.tf").read_text("utf-8")))

    assert used == declared


def test_variables_say_what_they_are(terraform: Any) -> None:
    """Each has a description that is a sentence, a type, and a rule for what it accepts if it can be wrong."""
    for name, variable in terraform.variables.items():
        assert variable["description"].endswith("."), name
        assert variable["type"], name
        if str(variable["type"]) not in {"${bool}", "bool"} and name != "tags":
            assert variable["validation"], name


def test_outputs_say_what_they_are(terraform: Any) -> None:
    """Each has a description that is a sentence, and none is a secret."""
    for name, output in terraform.outputs.items():
        assert output["description"].endswith("."), name
        assert "sensitive" not in output, name


def test_example_values_are_the_defaults(terraform: Any, parse: Callable[[str], Block]) -> None:
    """The example of variables names each, and says the truth about its default."""
    text = (STACK / "terraform.tfvars.example").read_text("utf-8")
    commented = parse(re.sub(r"^# (?=\w+ +=)", "", text, flags=re.MULTILINE))
    defaults = {name: one["default"] for name, one in terraform.variables.items() if "default" in one}

    assert {name: value for name, value in commented.items() if name in defaults} == defaults
    assert set(commented) == set(terraform.variables)


def test_versions_are_pinned(terraform: Any, parse: Callable[[str], Block]) -> None:
    """Terraform and each provider may change a minor version, not a major one; nothing else is fetched."""
    settings = terraform.settings

    assert settings["required_version"] == "~> 1.11"
    assert {name: one["source"] for block in settings["required_providers"] for name, one in block.items()} == {
        "aws": "hashicorp/aws"
    }
    for block in settings["required_providers"]:
        assert all(re.fullmatch(r"~> \d+\.\d+", one["version"]) for one in block.values())
    used = {address[0].split("_")[0] for address in (*terraform.resources, *terraform.data)}
    assert used == {"aws"}
    assert not any("module" in parse(path.read_text("utf-8")) for path in STACK.glob("*.tf"))


def test_state_example_locks_and_encrypts(terraform: Any, parse: Callable[[str], Block]) -> None:
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
def test_subnets_have_the_tags_of_discovery(subnet: str, role: str, other: str, terraform: Any) -> None:
    """The controller finds public subnets for public load balancers and private ones for internal ones."""
    tags = terraform.resources["aws_subnet", subnet]["tags"]

    assert tags[role] == "1"
    assert tags["kubernetes.io/cluster/${var.cluster_name}"] == "shared"
    assert not any(name.endswith(other) for name in tags)


def test_nodes_have_no_public_address(terraform: Any) -> None:
    """Nodes and the control plane's doors are in private subnets, and no subnet gives addresses away."""
    for name in ("public", "private"):
        assert terraform.resources["aws_subnet", name]["map_public_ip_on_launch"] is False
    cluster = terraform.resources["aws_eks_cluster", "this"]["vpc_config"][0]
    for subnets in (terraform.resources["aws_eks_node_group", "this"]["subnet_ids"], cluster["subnet_ids"]):
        assert "aws_subnet.private" in subnets
        assert "aws_subnet.public" not in subnets


def test_each_kind_of_subnet_has_its_way_out(terraform: Any) -> None:
    """Public subnets lead to the internet, private ones to a NAT gateway, which itself is in a public one."""
    resources = terraform.resources

    assert "aws_subnet.public[" in resources["aws_nat_gateway", "this"]["subnet_id"]
    assert "aws_internet_gateway." in resources["aws_route", "public_to_internet"]["gateway_id"]
    assert "aws_nat_gateway." in resources["aws_route", "private_to_internet"]["nat_gateway_id"]
    for kind in ("public", "private"):
        association = resources["aws_route_table_association", kind]
        assert association["for_each"] == f"${{aws_subnet.{kind}}}"
        assert f"aws_route_table.{kind}" in association["route_table_id"]


def test_the_world_comes_in_nowhere(terraform: Any) -> None:
    """All addresses stand where requests leave, in the two routes to the internet, and nowhere else."""
    anywhere = [
        where for where, body in terraform.everything().items() if {"0.0.0.0/0", "::/0"} & set(terraform.texts(body))
    ]

    assert sorted(anywhere) == ["aws_route.private_to_internet", "aws_route.public_to_internet"]
    closed = terraform.resources["aws_default_security_group", "closed"]
    assert not {"ingress", "egress"} & set(closed)


def test_api_is_open_to_the_named_networks_alone(terraform: Any) -> None:
    """The Kubernetes API is public only for the networks given, and there is no default for them."""
    cluster = terraform.resources["aws_eks_cluster", "this"]["vpc_config"][0]

    assert cluster["endpoint_private_access"] is True
    assert cluster["endpoint_public_access"] == "${length(var.public_access_cidrs) > 0}"
    assert "var.public_access_cidrs" in cluster["public_access_cidrs"]
    assert "default" not in terraform.variables["public_access_cidrs"]


def test_cluster_is_administered_by_access_entries(terraform: Any) -> None:
    """Nobody is administrator by having made the cluster, secrets are encrypted, and all logs are kept."""
    cluster = terraform.resources["aws_eks_cluster", "this"]
    access = cluster["access_config"][0]

    assert (access["authentication_mode"], access["bootstrap_cluster_creator_admin_permissions"]) == ("API", False)
    assert cluster["encryption_config"][0]["resources"] == ["secrets"]
    assert len(cluster["enabled_cluster_log_types"]) == 5
    association = terraform.resources["aws_eks_access_policy_association", "administrator"]
    assert association["policy_arn"].endswith(":eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy")


def test_nodes_ask_for_tokens_of_metadata(terraform: Any) -> None:
    """A node's metadata needs a token, which does not reach a pod; its disk is encrypted."""
    template = terraform.resources["aws_launch_template", "node"]
    metadata = template["metadata_options"][0]

    assert (metadata["http_tokens"], metadata["http_put_response_hop_limit"]) == ("required", 1)
    assert template["block_device_mappings"][0]["ebs"][0]["encrypted"] is True


def test_network_of_pods_comes_before_the_nodes(terraform: Any) -> None:
    """Nodes wait for the network add-on, which enforces network policies; what runs on nodes waits for them."""
    before, after = (terraform.resources["aws_eks_addon", name] for name in ("before_nodes", "on_nodes"))

    assert terraform.resources["aws_eks_cluster", "this"]["bootstrap_self_managed_addons"] is False
    assert "${aws_eks_addon.before_nodes}" in terraform.resources["aws_eks_node_group", "this"]["depends_on"]
    assert "${aws_eks_node_group.this}" in after["depends_on"]
    assert set(before["for_each"]) == {"kube-proxy", "vpc-cni"}
    assert set(after["for_each"]) == {"aws-ebs-csi-driver", "coredns", "metrics-server"}
    assert before["for_each"]["vpc-cni"]["configuration"] == '${jsonencode({enableNetworkPolicy = "true"})}'
    of_disks = after["for_each"]["aws-ebs-csi-driver"]["configuration"]
    assert re.sub(r"\s", "", of_disks) == "${jsonencode({defaultStorageClass={enabled=true}})}"


def test_nodes_have_the_internet_as_long_as_they_live(terraform: Any) -> None:
    """The ways out are made before the nodes, which fetch images by them, and go after them, which detach disks."""
    waits_for = terraform.resources["aws_eks_node_group", "this"]["depends_on"]

    for way in ("route.private_to_internet", "route.public_to_internet"):
        assert f"${{aws_{way}}}" in waits_for
    for kind in ("private", "public"):
        assert f"${{aws_route_table_association.{kind}}}" in waits_for


def test_images_are_what_was_pushed(terraform: Any) -> None:
    """A tag is one image for ever, looked through when it is pushed."""
    repository = terraform.resources["aws_ecr_repository", "receiver"]

    assert repository["name"] == "iot-receiver"
    assert repository["image_tag_mutability"] == "IMMUTABLE"
    assert repository["image_scanning_configuration"] == [{"scan_on_push": True}]
