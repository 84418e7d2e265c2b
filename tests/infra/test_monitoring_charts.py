"""Charts, their values, and what kustomize makes of the rest: pinned, consistent, complete.

The charts themselves are not here: that they take these values is not proven, only that the values are of one mind with
the rest of the repository.
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

INFRA: Final = Path(__file__).parents[2] / "infra"
MONITORING: Final = INFRA / "monitoring"
CHARTS: Final = yaml.safe_load((MONITORING / "charts.yaml").read_text("utf-8"))["charts"]
VALUES: Final[dict[str, dict[str, Any]]] = {
    chart["release"]: yaml.safe_load((MONITORING / chart["values"]).read_text("utf-8")) for chart in CHARTS
}
EXPORTER_SETTINGS: Final = {  # of cloudwatch_exporter's README
    "aws_namespace",
    "aws_metric_name",
    "aws_dimensions",
    "aws_dimension_select_regex",
    "aws_statistics",
    "set_timestamp",
}


def test_every_chart_is_pinned() -> None:
    """Each version is exact, each release in its namespace, and no values lie about unused."""
    assert {chart["release"]: chart["namespace"] for chart in CHARTS} == {
        "aws-load-balancer-controller": "kube-system",
        "prometheus": "monitoring",
        "prometheus-cloudwatch-exporter": "monitoring",
    }
    for chart in CHARTS:
        assert re.fullmatch(r"\d+\.\d+\.\d+", chart["version"])
        assert chart["chart"].startswith(chart["repository"]["name"] + "/")
        assert chart["repository"]["url"].startswith("https://")
    used = {MONITORING / chart["values"] for chart in CHARTS}
    assert used == set((MONITORING / "values").glob("*.yaml"))


def test_prometheus_takes_what_carries_its_release() -> None:
    """ServiceMonitors and rules are selected by the label of the release, from every namespace."""
    spec = VALUES["prometheus"]["prometheus"]["prometheusSpec"]

    assert spec["serviceMonitorSelectorNilUsesHelmValues"] is spec["ruleSelectorNilUsesHelmValues"] is True
    assert spec["serviceMonitorNamespaceSelector"] == spec["ruleNamespaceSelector"] == {}
    assert VALUES["prometheus-cloudwatch-exporter"]["serviceMonitor"]["labels"] == {"release": "prometheus"}


@pytest.mark.parametrize("release", ["aws-load-balancer-controller", "prometheus-cloudwatch-exporter"])
def test_a_service_account_is_called_as_its_role_expects(release: str) -> None:
    """The role's trust policy, which Terraform makes, names the service account: here it is that name."""
    assert VALUES[release]["serviceAccount"] == {"create": True, "name": release}


def test_the_exporter_asks_for_what_the_stack_has() -> None:
    """Queue and rule are selected by patterns that fit the names which the Pulumi program gives."""
    settings = VALUES["prometheus-cloudwatch-exporter"]["cloudwatch"]
    program = (INFRA / "pulumi" / "__main__.py").read_text("utf-8")

    assert 'aws.sqs.Queue("dead-letters"' in program
    assert re.fullmatch(settings["deadLetterQueue"], "dead-letters-1a2b3c4")
    assert not re.fullmatch(settings["deadLetterQueue"], "somebody-elses-queue")
    assert '+ "_telemetry"' in program
    assert re.fullmatch(settings["rule"], "thingwright_dev_telemetry")
    assert not re.fullmatch(settings["rule"], "somebody_elses_rule")


def test_the_exporters_configuration_is_one() -> None:
    """Filled in as Helm does it, it is YAML with settings that the exporter knows."""
    values = VALUES["prometheus-cloudwatch-exporter"]
    filled = re.sub(
        r"\{\{ \.Values\.cloudwatch\.(\w+) \}\}", lambda match: values["cloudwatch"][match[1]], values["config"]
    )
    config = yaml.safe_load(filled)

    assert "{{" not in filled
    assert config["region"] == "us-east-2"
    for metric in config["metrics"]:
        assert set(metric) <= EXPORTER_SETTINGS
        # The exporter repeats the newest figure of its range: a sum must come with its own time, or is counted again.
        has_own_time = metric.get("set_timestamp", config["set_timestamp"])
        assert has_own_time is (metric["aws_statistics"] == ["Sum"])
        assert set(metric["aws_statistics"]) <= {"Sum", "Maximum"}
        assert set(metric.get("aws_dimension_select_regex", {})) <= set(metric["aws_dimensions"])
    names = [(metric["aws_namespace"], metric["aws_metric_name"]) for metric in config["metrics"]]
    assert sorted(set(names)) == sorted(names)


def test_kustomize_brings_rules_and_dashboards(kubectl: str) -> None:
    """One PrometheusRule, and each dashboard's JSON in a ConfigMap that Grafana's sidecar picks up."""
    built = subprocess.run([kubectl, "kustomize", MONITORING], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    documents = list(yaml.safe_load_all(built.stdout))

    assert {document["metadata"]["namespace"] for document in documents} == {"monitoring"}
    (rule,) = (document for document in documents if document["kind"] == "PrometheusRule")
    assert rule["spec"] == yaml.safe_load((MONITORING / "prometheus-rule.yaml").read_text("utf-8"))["spec"]
    maps = [document for document in documents if document["kind"] == "ConfigMap"]
    assert len(maps) == len(documents) - 1
    sidecar = VALUES["prometheus"]["grafana"]["sidecar"]["dashboards"]
    loaded = {}
    for each in maps:
        assert each["metadata"]["labels"][sidecar["label"]] == sidecar["labelValue"]
        assert each["metadata"]["annotations"][sidecar["folderAnnotation"]] == "Thingwright"
        assert len(json.dumps(each)) < 2**20  # what a ConfigMap can hold
        loaded |= each["data"]
    files = {path.name: path for path in (MONITORING / "dashboards" / "json").glob("*.json")}
    assert set(loaded) == set(files)
    for name, path in files.items():
        assert json.loads(loaded[name]) == json.loads(path.read_text("utf-8"))
