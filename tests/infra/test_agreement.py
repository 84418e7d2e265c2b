"""Terraform, Kubernetes, Pulumi, Helm and the receiver are of one mind, and the installation guide names what is there.

Each of them has tests of its own; here it is about names that two of them have to agree on, since nothing else would
notice before a pod cannot take on its role or a command of the guide fails half way through an installation.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from typer.main import get_command

from harness.cli import app
from receiver.answers import REFUSALS
from receiver.errors import WrongSecret
from receiver.settings import Settings

hcl2 = pytest.importorskip("hcl2", reason="not proven: python-hcl2 is missing, which parses Terraform")

ROOT: Final = Path(__file__).resolve().parents[2]
INFRA: Final = ROOT / "infra"
README: Final = (INFRA / "README.md").read_text("utf-8")
PROGRAM: Final = (INFRA / "pulumi" / "__main__.py").read_text("utf-8")
SCHEMA: Final = json.loads((INFRA / "outputs.schema.json").read_text("utf-8"))
CHARTS: Final = {
    chart["release"]: chart
    for chart in yaml.safe_load((INFRA / "monitoring" / "charts.yaml").read_text("utf-8"))["charts"]
}
BLOCKS: Final = re.findall(r"^```sh\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
SHELL: Final = "".join(BLOCKS)
MINE: Final = "infra/k8s/overlays/mine"
MADE_ON_THE_WAY: Final = {MINE, f"{MINE}/kustomization.yaml", f"{MINE}/kustomization.yaml.bak", "infra/pulumi/.venv/"}
"""Paths that commands of the guide make."""

Document = dict[str, Any]


def _terraform() -> dict[str, Any]:
    options = hcl2.SerializationOptions(strip_string_quotes=True, explicit_blocks=False, with_comments=False)
    found: dict[str, Any] = {"variable": {}, "output": {}, "locals": {}, "resource": {}}
    for path in sorted((INFRA / "terraform").glob("*.tf")):
        parsed = hcl2.loads(path.read_text("utf-8"), serialization_options=options)
        for kind, into in found.items():
            for block in parsed.get(kind, []):
                for name, body in block.items():
                    into[name] = {**into.get(name, {}), **body} if kind == "resource" else body
    return found


TERRAFORM: Final = _terraform()
ACCOUNTS: Final = TERRAFORM["locals"]["service_accounts"]


def default(variable: str) -> Any:
    """Give the default of a variable of Terraform."""
    return TERRAFORM["variable"][variable]["default"]


def documents(folder: str) -> list[Document]:
    """Give the Kubernetes objects of a folder's files, as they are written."""
    paths = sorted((INFRA / "k8s" / folder).glob("*.yaml"))
    return [one for path in paths for one in yaml.safe_load_all(path.read_text("utf-8")) if one]


BASE: Final = {one["kind"]: one for one in documents("base")}
OVERLAYS: Final = {
    name: yaml.safe_load((INFRA / "k8s" / "overlays" / name / "kustomization.yaml").read_text("utf-8"))
    for name in ("dev", "production")  # and not a user's own, which the guide makes
}


def literals(kustomization: Document, name: str) -> dict[str, str]:
    """Give what a kustomization puts into a ConfigMap."""
    made = (one for one in kustomization["configMapGenerator"] if one["name"] == name)
    return dict(text.split("=", 1) for one in made for text in one["literals"])


# The parts.


def test_each_resource_has_one_owner() -> None:
    """Terraform makes nothing of AWS IoT, Cognito, DynamoDB or SQS; Pulumi no network, cluster, registry."""
    of_terraform = {name.split("_")[1] for name in TERRAFORM["resource"]}
    of_pulumi = set(re.findall(r"= aws\.(\w+)\.[A-Z]\w+\(", PROGRAM))

    assert of_terraform.isdisjoint({"cognito", "dynamodb", "iot", "sqs"})
    assert {"eks", "ecr", "vpc"} <= of_terraform
    assert of_pulumi.isdisjoint({"ec2", "ecr", "eks", "kms"})
    assert {"cognito", "dynamodb", "iot", "sqs"} <= of_pulumi


def test_table_is_called_alike() -> None:
    """Terraform takes by name the table that Pulumi exports, and accepts every name that the schema of outputs does."""
    assert 'pulumi.export("tableName"' in PROGRAM
    assert "tableName" in TERRAFORM["variable"]["table_name"]["description"]
    assert TERRAFORM["locals"]["table_arn"].endswith("/${var.table_name}")
    condition = TERRAFORM["variable"]["table_name"]["validation"][0]["condition"]
    pattern = re.search(r'regex\("(.*?)", var', condition)
    assert pattern is not None
    for name in ("readings-0123abc", "a.b_c", "abc", "x" * 255):
        assert re.fullmatch(pattern[1], name)
        assert re.fullmatch(SCHEMA["properties"]["tableName"]["pattern"], name)
    assert not re.fullmatch(pattern[1], "ab")


def test_sort_key_is_called_alike() -> None:
    """The table that Pulumi makes, the receiver and its pods mean one sort key."""
    key = Settings.model_fields["sort_key"].default

    assert f'range_key="{key}"' in PROGRAM
    assert literals(BASE["Kustomization"], "iot-receiver")["SORT_KEY"] == key


def test_pods_are_given_settings_that_the_receiver_has() -> None:
    """Each variable of the ConfigMap and the secret is a setting of the receiver; none that it needs is missing."""
    known = {name.upper() for name in Settings.model_fields}
    (container,) = BASE["Deployment"]["spec"]["template"]["spec"]["containers"]
    secret = {variable["name"] for variable in container["env"]}
    assert container["ports"][0]["containerPort"] == int(literals(BASE["Kustomization"], "iot-receiver")["PORT"])
    needed = {name.upper() for name, field in Settings.model_fields.items() if field.is_required()}

    for overlay in OVERLAYS.values():
        given = {*literals(BASE["Kustomization"], "iot-receiver"), *literals(overlay, "iot-receiver"), *secret}
        assert given <= known
        assert needed <= given


def test_policy_allows_what_the_receiver_calls() -> None:
    """The shared policy has no action that the receiver's code does not name, and none is missing."""
    policy = json.loads((INFRA / "receiver-policy.json").read_text("utf-8"))
    allowed = {action.split(":")[1] for statement in policy["Statement"] for action in statement["Action"]}
    code = "".join(path.read_text("utf-8") for path in (ROOT / "receiver").glob("*.py"))
    called = {
        operation
        for operation in ("PutItem", "BatchWriteItem", "UpdateItem", "GetItem", "Query", "DescribeTable", "DeleteItem")
        if re.search(rf"""["'.]{operation}["']|\.{re.sub(r"(?<!^)(?=[A-Z])", "_", operation).lower()}\(""", code)
    }

    assert called
    assert called <= allowed
    assert allowed <= called


def test_roles_are_for_the_service_accounts_that_there_are() -> None:
    """Terraform's trust policies name the workload's service account and those of the charts."""
    workload = BASE["ServiceAccount"]["metadata"]["name"]
    assert ACCOUNTS["receiver"]["name"] == workload
    assert (
        ACCOUNTS["receiver"]["namespace"] == BASE["Kustomization"]["namespace"] == BASE["Namespace"]["metadata"]["name"]
    )
    assert BASE["Deployment"]["spec"]["template"]["spec"]["serviceAccountName"] == workload

    for account, release in (
        ("load-balancer-controller", "aws-load-balancer-controller"),
        ("cloudwatch-exporter", "prometheus-cloudwatch-exporter"),
    ):
        chart = CHARTS[release]
        values = yaml.safe_load((INFRA / "monitoring" / chart["values"]).read_text("utf-8"))
        assert ACCOUNTS[account]["namespace"] == chart["namespace"]
        assert ACCOUNTS[account]["name"] == values["serviceAccount"]["name"]


def test_controller_does_without_what_its_policy_lacks() -> None:
    """WAF and Shield, which the policy does not allow, are off in the chart's values; the Ingress asks for none."""
    values = yaml.safe_load((INFRA / "monitoring" / "values" / "aws-load-balancer-controller.yaml").read_text("utf-8"))

    assert [values[name] for name in ("enableShield", "enableWaf", "enableWafv2")] == [False, False, False]
    annotations = BASE["Ingress"]["metadata"]["annotations"]
    assert annotations["alb.ingress.kubernetes.io/target-type"] == "ip"
    assert not any(re.search("waf|shield|auth|mutual", name) for name in annotations)
    policy = (INFRA / "terraform" / "load_balancer_controller.tf").read_text("utf-8")
    assert not re.search(r'"(waf|wafv2|waf-regional|shield|cognito-idp):', policy)


def test_images_and_regions_are_alike() -> None:
    """The overlays name the registry's repository and the default region, and the pods its image."""
    repository = TERRAFORM["resource"]["aws_ecr_repository"]["receiver"]["name"]
    (container,) = BASE["Deployment"]["spec"]["template"]["spec"]["containers"]

    assert container["image"].split(":")[0] == repository
    for overlay in OVERLAYS.values():
        (image,) = overlay["images"]
        assert image["name"] == repository
        assert image["newName"].endswith(f".dkr.ecr.{default('region')}.amazonaws.com/{repository}")
        assert literals(overlay, "iot-receiver")["AWS_REGION"] == default("region")
        assert f":{default('region')}:" in literals(overlay, "places")["certificateArn"]
    exporter = yaml.safe_load(
        (INFRA / "monitoring" / "values" / "prometheus-cloudwatch-exporter.yaml").read_text("utf-8")
    )
    assert exporter["cloudwatch"]["region"] == default("region")


def test_kubernetes_is_one_version() -> None:
    """The cluster, the pod security standard and the guide mean the same Kubernetes."""
    version = default("kubernetes_version")
    labels = BASE["Namespace"]["metadata"]["labels"]

    assert {value for name, value in labels.items() if name.endswith("-version")} == {f"v{version}"}
    assert f"the cluster's {version}" in README


# The guide.


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_block_is_valid_shell(number: int) -> None:
    """Bash accepts each block."""
    answer = subprocess.run(["bash", "-n"], input=BLOCKS[number], capture_output=True, text=True, check=False)

    assert (answer.returncode, answer.stderr) == (0, "")


def test_a_broken_block_is_not_valid_shell() -> None:
    """Bash refuses an open quote, so the test above can fail."""
    answer = subprocess.run(["bash", "-n"], input='echo "', capture_output=True, text=True, check=False)

    assert answer.returncode != 0


def test_guide_uses_variables_after_setting_them() -> None:
    """No command uses a variable that no earlier line of the guide has set: an empty one could name something else."""
    guide = "".join(
        re.findall(r"^```sh\n(.*?)^```$", README.split("## The Pulumi program")[0], re.MULTILINE | re.DOTALL)
    )
    known: set[str] = set()
    for line in guide.splitlines():
        # Within single quotes, and after `\`, it is not this shell's.
        text = re.sub(r"'[^']*'", "", line)
        assert set(re.findall(r"(?<!\\)\$\{?(\w+)", text)) <= known, line
        known |= set(re.findall(r"^(?:export )?(\w+)=", line))

    assert {"cluster", "repository", "certificate", "secret", "thing", "principal"} <= known


def test_guide_names_outputs_of_terraform() -> None:
    """Each output that a command asks for exists."""
    asked = set(re.findall(r"terraform -chdir=infra/terraform output (?:-raw )?(\w+)", SHELL))

    assert asked <= set(TERRAFORM["output"])
    assert {"cluster_name", "ecr_repository_url", "receiver_role_arn", "load_balancer_cidr", "vpc_id"} <= asked


def test_guide_names_outputs_of_pulumi() -> None:
    """Each output that a command asks for is exported, and the schema knows it."""
    asked = set(re.findall(r"pulumi (?:-C infra/pulumi )?stack output (\w+)", SHELL))
    exported = set(re.findall(r'pulumi\.export\("(\w+)"', PROGRAM))

    assert asked <= exported
    assert exported <= set(SCHEMA["properties"])
    assert {"tableName", "destinationArn", "devicePolicyName", "deadLetterQueueUrl"} <= asked


def test_guide_sets_what_pulumi_reads() -> None:
    """Each configuration that a command sets is read by the program."""
    asked = set(re.findall(r"config set (?:--secret )?([a-z]\w*)\b(?!:)", SHELL))

    assert asked == {"receiverUrl", "iotSecret"}
    assert all(re.search(rf'config\.(get|require_secret)\("{name}"\)', PROGRAM) for name in asked)


def test_guide_sets_variables_of_terraform() -> None:
    """The variables that the guide writes down exist, and are all that have no default, besides the region."""
    (block,) = re.findall(r"terraform\.tfvars <<EOF\n(.*?)^EOF$", SHELL, re.MULTILINE | re.DOTALL)
    given = {line.split()[0] for line in block.splitlines()}
    needed = {name for name, variable in TERRAFORM["variable"].items() if "default" not in variable}

    assert given == needed | {"region"}


def test_guide_names_files_that_exist() -> None:
    """Each path of the repository in a command, and each link of the page, leads somewhere."""
    paths = set(re.findall(r"(?<![\w/.-])(?:infra|receiver)/[\w./-]*[\w/]", SHELL)) - MADE_ON_THE_WAY
    assert "infra/terraform" in paths
    for path in paths:
        assert (ROOT / path).exists() or path.startswith(("infra/pulumi/.venv", "infra/terraform/terraform.tfvars")), (
            path
        )
    headings = {
        re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", README, re.MULTILINE)
    }
    for link in re.findall(r"\]\(([^)]+)\)", README):
        if link.startswith("#"):
            assert link[1:] in headings
        elif not link.startswith("https://"):
            assert (INFRA / link).exists(), link
    for name in re.findall(r"`((?:pulumi|terraform|k8s|monitoring|harness)/[\w./-]*)`", README):
        assert (INFRA / name).exists() or (ROOT / name).exists(), name


def test_guide_names_objects_that_exist() -> None:
    """Each object of Kubernetes in a command is made by the workload, by a chart, or by the guide itself."""
    stack = yaml.safe_load((INFRA / "monitoring" / "values" / "kube-prometheus-stack.yaml").read_text("utf-8"))
    made = set(re.findall(r"create secret generic ([\w-]+)", SHELL))
    (container,) = BASE["Deployment"]["spec"]["template"]["spec"]["containers"]

    assert made == {
        container["env"][0]["valueFrom"]["secretKeyRef"]["name"],
        stack["grafana"]["admin"]["existingSecret"],
        *stack["alertmanager"]["alertmanagerSpec"]["secrets"],
    }
    named = set(re.findall(r"\b(deployment|service)/([\w-]+)", SHELL))
    named |= set(re.findall(r"(?:get|delete) (ingress|secret) ([\w-]+)", SHELL))
    known = {(kind.lower(), one["metadata"]["name"]) for kind, one in BASE.items() if "metadata" in one}
    known |= {
        ("deployment", "aws-load-balancer-controller"),
        ("service", "prometheus-grafana"),
    }  # RELEASE and RELEASE-grafana
    known |= {("secret", name) for name in made}
    assert {"aws-load-balancer-controller", "prometheus"} <= set(CHARTS)
    assert named <= known
    namespaces = set(re.findall(r"(?:-n|--namespace|create namespace) ([a-z][\w-]*)", SHELL))
    assert namespaces == {chart["namespace"] for chart in CHARTS.values()} | {BASE["Namespace"]["metadata"]["name"]}


def test_guide_installs_the_pinned_charts() -> None:
    """Each chart is installed as it is pinned, in the order of the list, and all go in the other one."""
    installed = re.findall(
        r"helm upgrade --install (\S+) (\S+) --version (\S+) --namespace (\S+) --values (\S+)",
        re.sub(r"\s+\\\n\s+", " ", SHELL),
    )

    assert installed == [
        (release, one["chart"], one["version"], one["namespace"], f"infra/monitoring/{one['values']}")
        for release, one in CHARTS.items()
    ]
    added = dict(re.findall(r"helm repo add ([\w-]+) (\S+)", SHELL))
    assert added == {one["repository"]["name"]: one["repository"]["url"] for one in CHARTS.values()}
    removed = re.findall(r"helm -n ([\w-]+) uninstall ([\w-]+)", SHELL)
    assert removed == [(one["namespace"], release) for release, one in reversed(CHARTS.items())]


def test_guide_comes_back_in_the_right_order() -> None:
    """Load balancer and disks go before who deletes them, the cluster before the table, devices before their policy."""
    steps = [
        "aws iot delete-thing",
        "kubectl -n apps delete ingress iot-receiver",
        f"kubectl delete --ignore-not-found -k {MINE}",  # the Ingress is gone by then
        "kubectl delete -k infra/monitoring",
        "helm -n monitoring uninstall prometheus\n",
        "delete pvc --all",
        "kubectl wait --for=delete pv --all",
        "helm -n kube-system uninstall aws-load-balancer-controller",
        "terraform -chdir=infra/terraform destroy",
        "aws acm delete-certificate",
        "pulumi -C infra/pulumi destroy",
    ]
    places = [SHELL.index(step) for step in steps]

    assert places == sorted(places)


def test_guide_goes_there_in_the_right_order() -> None:
    """What something needs is there before it: table, kinds, image, certificate, secret, a receiver that answers."""
    steps = [
        "pulumi -C infra/pulumi up",
        "terraform apply",
        "--install aws-load-balancer-controller",
        "--install prometheus ",
        "kubectl apply --server-side -k infra/monitoring",
        "docker push",
        "aws acm wait certificate-validated",
        "create secret generic iot-receiver",
        f"kubectl apply -k {MINE}",
        "kubectl -n apps wait ingress/iot-receiver --for=jsonpath='{.status.loadBalancer.ingress[0].hostname}'",
        "CNAME",
        "https://$HOST_NAME/metrics",
        "config set receiverUrl",
        "thingwright kit",
        "thingwright device",
        "aws dynamodb query",
    ]
    places = [SHELL.index(step) for step in steps]

    assert places == sorted(places)
    assert SHELL.count("pulumi -C infra/pulumi up\n") == 2
    assert SHELL.rindex("pulumi -C infra/pulumi up\n") > SHELL.index("config set receiverUrl")


def test_guide_says_what_the_receiver_answers() -> None:
    """The status that shows a receiver which is there and closed is that of a request without the secret."""
    (status,) = re.findall(r"-X POST .*/ingest\" +# (\d+):", SHELL)

    assert int(status) == REFUSALS[WrongSecret][1]


@pytest.mark.parametrize("command", ["kit", "device", "redrive"])
def test_guide_uses_commands_and_options_that_exist(command: str) -> None:
    """What the guide says to Thingwright, Thingwright understands."""
    known = {option for each in get_command(app).commands[command].params for option in each.opts}
    (call,) = re.findall(rf"^thingwright {command}\b(.*)$", SHELL, re.MULTILINE)

    assert set(re.findall(r"(?<!\S)--[a-z-]+", call)) <= known


def test_guide_makes_the_kit_where_the_device_looks() -> None:
    """One folder, of one thing, in the one account."""
    assert 'thingwright kit "$thing" --out kit ' in SHELL
    assert "thingwright device --kit kit " in SHELL
    assert SHELL.index("account=$(aws sts get-caller-identity") < SHELL.index('--aws-account "$account"')


@pytest.fixture
def overlay_of_the_guide(kubectl: str, tmp_path: Path) -> list[Document]:
    """Run the block that writes an overlay, with made-up outputs, and build what it wrote."""
    shutil.copytree(INFRA / "k8s", tmp_path / "infra" / "k8s")
    answers = {name: f"the-{name}" for name in TERRAFORM["output"]} | {
        "tableName": "readings-0123abc",
        "receiver_role_arn": "arn:aws:iam::444455556666:role/demo-eks-iot-receiver",
        "load_balancer_cidr": "10.9.128.0/22",
    }
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool in ("terraform", "pulumi"):
        lines = "".join(f"  {name}) printf %s '{value}';;\n" for name, value in answers.items())
        (tools / tool).write_text(f'#!/bin/bash\ncase "${{@: -1}}" in\n{lines}  *) exit 1;;\nesac\n', "utf-8")
        (tools / tool).chmod(0o755)
    (block,) = [block for block in BLOCKS if "sed -i.bak" in block]
    environment = os.environ | {
        "PATH": f"{tools}:{Path(kubectl).parent}:{os.environ['PATH']}",
        "AWS_REGION": "eu-central-1",
        "HOST_NAME": "telemetry.example.net",
        "certificate": "arn:aws:acm:eu-central-1:444455556666:certificate/11111111-2222-3333-4444-555555555555",
        "repository": "444455556666.dkr.ecr.eu-central-1.amazonaws.com/iot-receiver",
        "tag": "12e4567890ab",
    }
    answer = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    assert "EDIT: Terraform" not in (tmp_path / MINE / "kustomization.yaml").read_text("utf-8")
    return [one for one in yaml.safe_load_all(answer.stdout) if one]


def test_guide_writes_an_overlay(overlay_of_the_guide: list[Document]) -> None:
    """What the guide's commands write is built, and has every value in its place."""
    objects = {one["kind"]: one for one in overlay_of_the_guide if one["metadata"]["name"] != "default-deny"}
    settings = objects["ConfigMap"]["data"]
    ingress = objects["Ingress"]

    assert (settings["AWS_REGION"], settings["TABLE_NAME"]) == ("eu-central-1", "readings-0123abc")
    (container,) = objects["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "444455556666.dkr.ecr.eu-central-1.amazonaws.com/iot-receiver:12e4567890ab"
    assert objects["ServiceAccount"]["metadata"]["annotations"]["eks.amazonaws.com/role-arn"].endswith(
        ":role/demo-eks-iot-receiver"
    )
    assert ingress["spec"]["rules"][0]["host"] == "telemetry.example.net"
    assert "444455556666" in ingress["metadata"]["annotations"]["alb.ingress.kubernetes.io/certificate-arn"]
    assert objects["NetworkPolicy"]["spec"]["ingress"][0]["from"][0]["ipBlock"]["cidr"] == "10.9.128.0/22"
    assert "111122223333" not in yaml.safe_dump_all(overlay_of_the_guide)


def test_cost_adds_up() -> None:
    """The table of a day has the sum that it says, and the defaults that it counts are Terraform's."""
    (table,) = re.findall(r"^\| Resource \| Rate \| A day \|\n(.*?)\n\n", README, re.MULTILINE | re.DOTALL)
    amounts = [float(number) for number in re.findall(r"\| \**([\d.]+)\** \|$", table, re.MULTILINE)]
    *parts, total = amounts

    assert len(parts) == 10
    assert round(sum(parts), 2) == total
    nodes, disk = default("node_count")["desired"], default("node_disk_gib")
    assert f"{nodes} nodes `{default('node_instance_types')[0]}`" in table
    assert f"{nodes} \N{MULTIPLICATION SIGN} {disk} for nodes" in table
    stack = yaml.safe_load((INFRA / "monitoring" / "values" / "kube-prometheus-stack.yaml").read_text("utf-8"))
    claims = [
        spec["volumeClaimTemplate"]["spec"]["resources"]["requests"]["storage"]
        for spec in (
            stack["prometheus"]["prometheusSpec"]["storageSpec"],
            stack["alertmanager"]["alertmanagerSpec"]["storage"],
        )
    ]
    assert claims == ["20Gi", "1Gi"]
    assert f"{nodes * disk + 21} GiB of disks" in table
    assert not default("nat_gateway_per_zone")
    assert 1 + default("zone_count") == int(re.findall(r"(\d) public IPv4", table)[0])
