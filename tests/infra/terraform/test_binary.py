"""What the real binary says without a provider: formatting, the rules of variables, and expressions evaluated."""

from __future__ import annotations

import ipaddress
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest

STACK: Final = Path(__file__).resolve().parents[3] / "infra" / "terraform"

Block = dict[str, Any]


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


def test_stack_is_valid(binary: str, terraform: Any) -> None:
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
def test_subnets_do_not_overlap(binary: str, variables_alone: Path, cidr: str, terraform: Any) -> None:
    """Subnets of all zones lie in the VPC and apart, are large enough, and the public ones fill the network outside."""
    expressions = {name: terraform.resources["aws_subnet", name]["cidr_block"][2:-1] for name in ("public", "private")}
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
        evaluate(binary, variables_alone, terraform.locals["load_balancer_cidr"][2:-1], vpc_cidr=cidr)
    )

    assert all(network.subnet_of(ipaddress.IPv4Network(cidr)) for network in everything)
    assert not any(one.overlaps(other) for one in everything for other in everything if one is not other)
    assert all(network.prefixlen <= 27 for network in subnets["public"])  # what a load balancer accepts
    assert list(ipaddress.collapse_addresses(subnets["public"])) == [outside]


def test_receivers_policy_is_for_its_table(binary: str, variables_alone: Path, terraform: Any) -> None:
    """Rendered by Terraform, the policy is JSON and allows writes to one table."""
    expression = terraform.resources["aws_iam_role_policy", "receiver"]["policy"][2:-1]
    arn = "arn:aws:dynamodb:us-east-2:111122223333:table/readings-0123abc"
    policy = json.loads(evaluate(binary, variables_alone, expression.replace("local.table_arn", json.dumps(arn))))

    assert {statement["Resource"] for statement in policy["Statement"]} == {arn}
    assert all(
        action.startswith("dynamodb:") and "*" not in action
        for statement in policy["Statement"]
        for action in statement["Action"]
    )


def test_lifecycle_policy_is_json(binary: str, variables_alone: Path, terraform: Any) -> None:
    """The registry's rules have distinct priorities, with the one for all images last, as ECR demands."""
    expression = terraform.resources["aws_ecr_lifecycle_policy", "receiver"]["policy"][2:-1]
    rules = json.loads(evaluate(binary, variables_alone, expression))["rules"]

    assert [rule["rulePriority"] for rule in rules] == [1, 2]
    assert rules[-1]["selection"]["tagStatus"] == "any"
