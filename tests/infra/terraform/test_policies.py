"""Who may do what by Terraform's policies: each role for one service account, each statement for what it needs."""

from __future__ import annotations

import json
import re
from typing import Any, Final

import botocore.session
import pytest

Block = dict[str, Any]

MANAGED_POLICY: Final = "arn:${local.partition}:iam::aws:policy/"


def statements(terraform: Any, name: str) -> list[Block]:
    """Give the statements of one policy document."""
    found: list[Block] = terraform.data["aws_iam_policy_document", name]["statement"]
    return found


def conditions(statement: Block) -> dict[str, tuple[str, list[str]]]:
    """Give a statement's conditions: the operator and the values, by variable."""
    return {one["variable"]: (one["test"], one["values"]) for one in statement.get("condition", [])}


def test_roles_belong_to_one_service_account_each(terraform: Any) -> None:
    """A role is for one exact service account of this cluster, by a token that is for AWS."""
    (statement,) = statements(terraform, "service_account_trust")

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
    accounts = terraform.locals["service_accounts"]
    assert {name: f"{one['namespace']}/{one['name']}" for name, one in accounts.items()} == {
        "receiver": "apps/iot-receiver",
        "load-balancer-controller": "kube-system/aws-load-balancer-controller",
        "cloudwatch-exporter": "monitoring/prometheus-cloudwatch-exporter",
        # What EKS's add-ons call theirs.
        "vpc-cni": "kube-system/aws-node",
        "ebs-csi-driver": "kube-system/ebs-csi-controller-sa",
    }
    assert not any("*" in text for text in terraform.texts(accounts))


def test_outputs_name_the_roles_that_they_say(terraform: Any) -> None:
    """Each role that a command of the guide asks for is the one of that service account."""
    roles = {name: one["value"] for name, one in terraform.outputs.items() if name.endswith("_role_arn")}

    assert len(roles) == 3
    for name, value in roles.items():
        account = name.removesuffix("_role_arn").replace("_", "-")
        assert value == f'${{aws_iam_role.service_account["{account}"].arn}}'


def test_services_of_aws_take_on_their_own_roles(terraform: Any) -> None:
    """Control plane, nodes, flow logs and log groups are each what AWS calls its service."""
    services = {
        (name, service)
        for (kind, name), body in terraform.data.items()
        if kind == "aws_iam_policy_document"
        for statement in body["statement"]
        for principal in statement.get("principals", [])
        if principal["type"] == "Service"
        for service in principal["identifiers"]
    }

    assert services == {
        ("cluster_trust", "eks.amazonaws.com"),
        ("node_trust", "ec2.amazonaws.com"),
        ("flow_logs_trust", "vpc-flow-logs.amazonaws.com"),
        ("platform_key", "logs.${var.region}.amazonaws.com"),
    }


def test_every_service_account_has_exactly_one_policy(terraform: Any) -> None:
    """No role of a service account is without rights, and none has two sources of them."""
    own = [
        match[1]
        for (type_name, _), body in terraform.resources.items()
        if type_name == "aws_iam_role_policy" and (match := re.search(r'service_account\["([a-z-]+)"\]', body["role"]))
    ]
    of_aws = list(terraform.resources["aws_iam_role_policy_attachment", "addon"]["for_each"])

    assert sorted(own + of_aws) == sorted(terraform.locals["service_accounts"])


def test_receiver_may_do_what_the_shared_file_says(terraform: Any) -> None:
    """Its policy is the file that the embedded target uses too, for the table that was named."""
    policy = terraform.resources["aws_iam_role_policy", "receiver"]

    assert (
        policy["policy"] == '${templatefile("${path.module}/../receiver-policy.json", {TABLE_ARN = local.table_arn})}'
    )
    assert terraform.locals["table_arn"].endswith(":table/${var.table_name}")


EVERYTHING_ALLOWED = {
    ("platform_key", "TheAccountOwnsTheKey"): "in a key policy it is the key itself",
    ("platform_key", "CloudWatchEncryptsTheseLogs"): "the same",
    ("load_balancer_controller", "Look"): "reads that know no resources",
    ("cloudwatch_exporter", "ReadFigures"): "reads that know no resources",
}
"""Statements for every resource, each with its reason."""


def test_statements_name_their_resources(terraform: Any) -> None:
    """Where a resource is known it is named; all resources are for key policies and for reads that know none."""
    documents = {
        name: body["statement"] for (_, name), body in terraform.data.items() if _ == "aws_iam_policy_document"
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


def test_actions_exist(terraform: Any) -> None:
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
        for (type_name, _), body in terraform.data.items()
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


def test_controller_changes_only_what_it_made(terraform: Any) -> None:
    """Load balancers, target groups and security groups of others it may see but not change, nor call its own."""
    by_sid = {statement["sid"]: statement for statement in statements(terraform, "load_balancer_controller")}
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
    assert terraform.locals["cluster_tag"] == "elbv2.k8s.aws/cluster"


PUBLISHED: Final = {
    "acm": "DescribeCertificate ListCertificates",
    "ec2": "AuthorizeSecurityGroupIngress CreateSecurityGroup CreateTags DeleteSecurityGroup DeleteTags "
    "DescribeAccountAttributes DescribeAvailabilityZones DescribeInstances DescribeInternetGateways "
    "DescribeNetworkInterfaces DescribeRouteTables DescribeSecurityGroups DescribeSubnets DescribeTags "
    "DescribeVpcPeeringConnections DescribeVpcs GetSecurityGroupsForVpc RevokeSecurityGroupIngress",
    "elasticloadbalancing": "AddListenerCertificates AddTags CreateListener CreateLoadBalancer CreateRule "
    "CreateTargetGroup DeleteListener DeleteLoadBalancer DeleteRule DeleteTargetGroup DeregisterTargets Describe* "
    "ModifyListener ModifyListenerAttributes ModifyLoadBalancerAttributes ModifyRule ModifyTargetGroup "
    "ModifyTargetGroupAttributes RegisterTargets RemoveListenerCertificates RemoveTags SetIpAddressType "
    "SetRulePriorities SetSecurityGroups SetSubnets",
    "iam": "CreateServiceLinkedRole",
}
"""What the controller's project publishes for it (docs/install/iam_policy.json), less what our policy is to leave out:
WAF, Shield, Cognito, certificates of IAM, Outposts, address pools, reserved capacity, Network Load Balancers.
"""


def test_controller_may_do_what_an_ingress_needs(terraform: Any) -> None:
    """No action that its project publishes for an Application Load Balancer is missing, and none is there besides."""
    allowed = {action for one in statements(terraform, "load_balancer_controller") for action in one["actions"]}

    assert allowed == {f"{service}:{name}" for service, names in PUBLISHED.items() for name in names.split()}


def test_managed_policies_exist(terraform: Any) -> None:
    """Each policy of AWS that a role gets is one that AWS has, under that path."""
    known = json.loads(pytest.importorskip("moto.iam.aws_managed_policies").aws_managed_policies_data)
    named = list(terraform.resources["aws_iam_role_policy_attachment", "addon"]["for_each"].values())
    named += re.findall(r'"(\w+)"', terraform.resources["aws_iam_role_policy_attachment", "node"]["for_each"])
    named.append(
        terraform.resources["aws_iam_role_policy_attachment", "cluster"]["policy_arn"].removeprefix(MANAGED_POLICY)
    )

    assert len(named) == 5
    for path, name in (text.rpartition("/")[::2] for text in named):
        assert known[name]["Path"].strip("/") == path, name
    assert "AmazonEC2ContainerRegistryPull" not in known


def test_policies_fit(terraform: Any) -> None:
    """A role's own policies have at most 10,240 characters in all; the longest fits with the longest names."""
    longest = "".join(json.dumps(statements(terraform, "load_balancer_controller"), separators=(",", ":")))
    values = {"var.region": "ap-southeast-2", "var.cluster_name": "c" * 39, "local.account_id": "1" * 12}
    values |= {f"local.{name}": value for name, value in terraform.locals.items() if isinstance(value, str)} | values
    values |= {"local.partition": "aws-us-gov"}
    while found := re.search(r"\$\{([^{}]*)\}", longest):
        longest = longest.replace(found[0], values.get(found[1], "x" * 90))  # 90: an ARN of this account

    assert "loadbalancer/app/" in longest
    assert len(longest) < 10_240
