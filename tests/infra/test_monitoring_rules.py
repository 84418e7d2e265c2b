"""The rules by promtool: they parse, each alert fires when it should, and does not when it nearly should."""

from __future__ import annotations

import json
import re
import runpy
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import jsonschema
import pytest
import yaml

MONITORING: Final = Path(__file__).parents[2] / "infra" / "monitoring"
CRDS: Final = Path(__file__).with_name("crds")
RESOURCE: Final = yaml.safe_load((MONITORING / "prometheus-rule.yaml").read_text("utf-8"))
TESTS: Final = yaml.safe_load((MONITORING / "rules.test.yaml").read_text("utf-8"))
RUNBOOK: Final = (MONITORING / "runbook.md").read_text("utf-8")

RULES: Final = [rule for group in RESOURCE["spec"]["groups"] for rule in group["rules"]]
ALERTS: Final = {rule["alert"]: rule for rule in RULES if "alert" in rule}

BROKEN: Final = [
    # alert, rule that is broken (an alert or a record), field, what stands there, what stands there then
    ("ReceiverDown", "ReceiverDown", "expr", "sum by", "min by"),
    ("ReceiverDown", "ReceiverDown", "expr", "or\n", "and\n"),
    ("ReceiverDown", "ReceiverDown", "for", "1m", "0s"),
    ("ReceiverDown", "ReceiverDown", "for", "1m", "10m"),
    ("ReceiverInstanceDown", "ReceiverInstanceDown", "expr", "== 0", "== 2"),
    ("ReceiverInstanceDown", "ReceiverInstanceDown", "for", "3m", "2m"),
    ("ReceiverRestarting", "ReceiverRestarting", "expr", "> 2.5", "> 1.5"),
    ("ReceiverRestarting", "ReceiverRestarting", "expr", "> 2.5", "> 3.5"),
    ("ReceiverErrors", "ReceiverErrors", "expr", "> 0.05", "> 0.035"),
    ("ReceiverErrors", "ReceiverErrors", "expr", "> 0.05", "> 0.11"),
    ("ReceiverErrors", "ReceiverErrors", "for", "5m", "1m"),
    ("ReceiverErrors", "job:receiver_request_errors:ratio_rate5m", "expr", "|abandoned", ""),
    ("ReceiverErrors", "job:receiver_request_errors:ratio_rate5m", "expr", "|error", ""),
    ("ReceiverErrors", "job:receiver_request_errors:ratio_rate5m", "expr", "|error", "|error|wrong_secret"),
    ("ReceiverRefusals", "ReceiverRefusals", "expr", "> 0.05", "> 0.035"),
    ("ReceiverRefusals", "ReceiverRefusals", "expr", "> 0.05", "> 0.11"),
    ("ReceiverRefusals", "ReceiverRefusals", "for", "10m", "2m"),
    ("ReceiverRefusals", "job:receiver_request_refusals:ratio_rate5m", "expr", "|invalid", ""),
    ("ReceiverSlowWrites", "ReceiverSlowWrites", "expr", "> 1", "> 0.9"),
    ("ReceiverSlowWrites", "ReceiverSlowWrites", "expr", "> 1", "> 2"),
    ("ReceiverSlowWrites", "job:receiver_write_seconds:p99_rate5m", "expr", "0.99", "0.5"),
    ("ReceiverThrottled", "ReceiverThrottled", "expr", "> 0.2", "> 0.1"),
    ("ReceiverThrottled", "ReceiverThrottled", "expr", "> 0.2", "> 0.5"),
    ("ReceiverThrottled", "job:receiver_throttles:rate5m", "expr", "sum by", "max by"),
    ("ReceiverQueueNearlyFull", "ReceiverQueueNearlyFull", "expr", "> 0.8", "> 0.65"),
    ("ReceiverQueueNearlyFull", "ReceiverQueueNearlyFull", "expr", "> 0.8", "> 0.95"),
    ("ReceiverQueueNearlyFull", "ReceiverQueueNearlyFull", "for", "2m", "1m"),
    ("ReceiverQueueNearlyFull", "job:receiver_queue:ratio_max", "expr", "max by", "avg by"),
    ("NoReadings", "NoReadings", "expr", "== 0", "< 0"),
    ("NoReadings", "NoReadings", "expr", 'job="iot-receiver"}[15m]', 'job="iot-receiver"}[5m]'),
    ("NoReadings", "NoReadings", "expr", ', outcome="stored"', ""),
    ("NoReadings", "NoReadings", "expr", "[6h]", "[1m]"),
    ("DestinationNotConfirmed", "DestinationNotConfirmed", "expr", "|not_confirmed", ""),
    ("DestinationNotConfirmed", "DestinationNotConfirmed", "expr", "|error", "|error|invalid"),
    ("DestinationNotConfirmed", "DestinationNotConfirmed", "expr", 'outcome="confirmed"', 'outcome="abandoned"'),
    ("DeadLetters", "DeadLetters", "expr", "> 0", "> 3"),
    ("DeadLetters", "DeadLetters", "for", "5m", "2m"),
    ("DeadLettersExpire", "DeadLettersExpire", "expr", "10 * 86400", "9 * 86400"),
    ("DeadLettersExpire", "DeadLettersExpire", "expr", "10 * 86400", "12 * 86400"),
    ("ReadingsLost", "ReadingsLost", "expr", "> 0", ">= 0"),
    ("ReadingsLost", "ReadingsLost", "expr", "> 0", "> 2"),
    ("ReadingsLost", "ReadingsLost", "expr", "failure", "success"),
    ("ReadingsLost", "ReadingsLost", "expr", "[10m]", "[5m]"),
    ("ReadingsLost", "ReadingsLost", "expr", "[10m]", "[1h]"),
    ("CloudWatchUnreadable", "CloudWatchUnreadable", "expr", "or absent", "and absent"),
    ("CloudWatchUnreadable", "CloudWatchUnreadable", "for", "15m", "5m"),
]


def _run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _rules_at(folder: Path, spec: dict[str, Any]) -> Path:
    path = folder / "rules.yaml"
    path.write_text(yaml.safe_dump(spec), "utf-8")
    return path


def _plain() -> dict[str, Any]:
    """Return the rules as the project's own script gives them: what a rule file holds."""
    groups: dict[str, Any] = runpy.run_path(str(MONITORING / "rules.py"))["rule_groups"]()
    return groups


def _tests_of(alert: str) -> list[dict[str, Any]]:
    return [test for test in TESTS["tests"] if any(case["alertname"] == alert for case in test["alert_rule_test"])]


def test_the_rules_are_what_promtool_takes(promtool: str, tmp_path: Path) -> None:
    """Every expression and every template parses, and no rule is there twice."""
    rules = _rules_at(tmp_path, _plain())

    checked = _run(promtool, "check", "rules", "--lint=all", "--lint-fatal", rules)

    assert checked.returncode == 0, checked.stderr
    assert f"{len(RULES)} rules found" in checked.stdout


@pytest.mark.parametrize("wrong", ["rate(up[)", "sum by namespace (up)", "up ==="])
def test_a_rule_that_does_not_parse_is_noticed(promtool: str, tmp_path: Path, wrong: str) -> None:
    """The control: promtool refuses an expression that is none."""
    spec = _plain()
    spec["groups"][0]["rules"][0]["expr"] = wrong

    checked = _run(promtool, "check", "rules", _rules_at(tmp_path, spec))

    assert checked.returncode != 0


def test_every_alert_fires_when_it_should_and_only_then(promtool: str, tmp_path: Path) -> None:
    """All cases of rules.test.yaml hold, as anybody can run them by hand."""
    _rules_at(tmp_path, _plain())
    shutil.copy(MONITORING / "rules.test.yaml", tmp_path)

    tested = _run(promtool, "test", "rules", tmp_path / "rules.test.yaml")

    assert tested.returncode == 0, tested.stdout + tested.stderr


@pytest.mark.parametrize("alert", sorted(ALERTS))
def test_an_alert_has_a_case_that_fires_it_and_one_that_nearly_does(alert: str) -> None:
    """A case that expects silence shows the alert something of what it looks at; an empty series proves nothing."""
    cases = [(test, case) for test in _tests_of(alert) for case in test["alert_rule_test"]]
    fires = [test for test, case in cases if case["alertname"] == alert and case["exp_alerts"]]
    silent = [test for test in _tests_of(alert) if all(not case["exp_alerts"] for case in test["alert_rule_test"])]

    assert fires
    assert silent
    shown = {re.split(r"[{ ]", series["series"])[0] for test in silent for series in test["input_series"]}
    assert (
        not [  # promtool takes 0x9 for a hexadecimal number, a single sample of the value 9
            series["values"]
            for test in fires + silent
            for series in test["input_series"]
            if " 0x" in f" {series['values']}"
        ]
    )
    wanted = {re.split(r"[{ ]", series["series"])[0] for test in fires for series in test["input_series"]}
    assert wanted <= shown


@pytest.mark.parametrize(("alert", "name", "field", "old", "new"), BROKEN, ids=lambda value: str(value)[:28])
def test_a_rule_that_is_broken_fails_its_cases(
    promtool: str, tmp_path: Path, alert: str, name: str, field: str, old: str, new: str
) -> None:
    """Each threshold, time and label value matters: changed a little, a case that fired is silent or the reverse."""
    spec = _plain()
    (rule,) = (
        rule for group in spec["groups"] for rule in group["rules"] if name in {rule.get("alert"), rule.get("record")}
    )
    assert old in rule[field]
    rule[field] = rule[field].replace(old, new, 1)
    _rules_at(tmp_path, spec)
    cases = tmp_path / "broken.test.yaml"
    cases.write_text(yaml.safe_dump({**TESTS, "tests": _tests_of(alert)}), "utf-8")

    tested = _run(promtool, "test", "rules", cases)

    assert "FAILED" in tested.stdout + tested.stderr
    assert f"alertname: {alert}" in tested.stdout + tested.stderr


def test_every_alert_is_broken_somewhere() -> None:
    """The table of broken rules leaves no alert out."""
    assert {alert for alert, *_ in BROKEN} == set(ALERTS)


@pytest.mark.parametrize("alert", sorted(ALERTS))
def test_an_alert_says_how_bad_it_is_and_what_to_do(alert: str) -> None:
    """Each has a severity that Alertmanager knows, a summary, a description, and its section of the runbook."""
    rule = ALERTS[alert]

    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert set(rule["annotations"]) == {"summary", "description", "runbook"}
    path, _, anchor = rule["annotations"]["runbook"].partition("#")
    assert (MONITORING.parents[1] / path).read_text("utf-8") == RUNBOOK
    assert anchor == alert.lower()  # as GitHub and GitLab make a heading's anchor


def test_the_runbook_has_a_section_for_each_alert() -> None:
    """No alert without a section, no section without an alert; each says what it means, where to look, what to do."""
    sections = dict(re.findall(r"^## (.+)\n((?:(?!## ).*\n?)*)", RUNBOOK, re.MULTILINE))

    assert list(sections) == list(ALERTS)
    for text in sections.values():
        assert re.findall(r"^\*\*(.+?)\*\*", text, re.MULTILINE) == ["Meaning.", "First look.", "What to do."]
    links = re.findall(r"\]\(#(.+?)\)", RUNBOOK)
    assert set(links) <= {alert.lower() for alert in ALERTS}


def test_the_resource_is_one_that_our_prometheus_selects() -> None:
    """It carries the label of the Helm release, and lies in its namespace."""
    assert RESOURCE["kind"] == "PrometheusRule"
    assert RESOURCE["metadata"]["namespace"] == "monitoring"
    assert RESOURCE["metadata"]["labels"]["release"] == "prometheus"


def test_the_resource_is_one_that_the_operator_takes() -> None:
    """It fits the schema of its kind, with no field that the operator would drop."""
    schema = _strict(json.loads((CRDS / "prometheusrule.json").read_text("utf-8")))

    jsonschema.validate(RESOURCE, schema)

    with pytest.raises(
        jsonschema.ValidationError, match="summary"
    ):  # the control: as if an annotation stood too far left
        jsonschema.validate(
            {**RESOURCE, "spec": {"groups": [{"name": "a", "rules": [{"expr": "up", "summary": ""}]}]}}, schema
        )


def _strict(schema: Any) -> Any:
    """Return a schema that refuses what it does not name."""
    if isinstance(schema, list):
        return [_strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    strict = {key: _strict(value) for key, value in schema.items()}
    return {"additionalProperties": False, **strict} if isinstance(strict.get("properties"), dict) else strict
