"""What dashboards and rules ask Prometheus: it parses, and it names only metrics, labels and values that exist.

Two checks, since each sees what the other cannot. A reader of PromQL, below, looks at every selector by itself, so that
a misspelt name is noticed wherever it stands. And promtool evaluates each query over one series of everything that
exists: a query without an answer asks for what cannot be, such as a sum by a label that nothing has in common.

What exists: the receiver's metrics as it exposes them, CloudWatch's as the exporter names what the chart's values ask
for, recorded rules, and the lists of foreign_metrics.yaml.
"""

from __future__ import annotations

import itertools
import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from receiver.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Iterator

MONITORING: Final = Path(__file__).parents[2] / "infra" / "monitoring"
FOREIGN: Final = yaml.safe_load(Path(__file__).with_name("foreign_metrics.yaml").read_text("utf-8"))
BOARDS: Final = {
    path.stem: json.loads(path.read_text("utf-8"))
    for path in sorted((MONITORING / "dashboards" / "json").glob("*.json"))
}
RULES: Final = [
    rule
    for group in yaml.safe_load((MONITORING / "prometheus-rule.yaml").read_text("utf-8"))["spec"]["groups"]
    for rule in group["rules"]
]

TARGET_LABELS: Final = {"namespace": "apps", "job": "iot-receiver", "service": "iot-receiver"} | {
    "pod": "iot-receiver-6d4cf56db6-abcde", "container": "receiver", "endpoint": "http", "instance": "10.0.1.5:8080"
}  # fmt: skip
"""What Prometheus adds to what it scrapes by a ServiceMonitor, and what it is for the receiver."""

SAMPLE_LABELS: Final = {
    "deployment": "iot-receiver",
    "horizontalpodautoscaler": "iot-receiver",
    "poddisruptionbudget": "iot-receiver",
    "reason": "CrashLoopBackOff",
    "rule_name": "thingwright_dev_telemetry",
    "queue_name": "dead-letters",
    "action_type": "HttpAction",
    "protocol": "MQTT",
}
"""Values of labels that may have any."""

Labels = dict[str, "set[str] | None"]
"""Labels of a metric; of those that have a closed set of values, which."""


# --- what exists -----------------------------------------------------------------------------------------------------


def known_metrics() -> dict[str, Labels]:
    """Return everything that can be asked for."""
    known: dict[str, Labels] = {}
    for family in text_string_to_metric_families(Metrics().expose("")[0].decode()):
        for sample in family.samples:
            labels = known.setdefault(sample.name, dict.fromkeys(TARGET_LABELS))
            for label, value in sample.labels.items():
                if label == "version":
                    labels[label] = None
                else:
                    labels[label] = (labels.get(label) or set()) | {value}
    for source in FOREIGN.values():
        for name, its in source.items():
            known[name] = dict.fromkeys(TARGET_LABELS) | {
                label: None if values is None else set(values) for label, values in its.items()
            }
    known |= {name: dict.fromkeys((*labels, "exported_job")) for name, labels in cloudwatch_metrics().items()}
    for rule in RULES:
        if "record" in rule:
            known[rule["record"]] = _recorded_labels(rule["expr"], known)
    return known


def cloudwatch_metrics() -> dict[str, list[str]]:
    """Return what the exporter calls the metrics that the chart's values ask for, with their labels.

    Names are namespace, metric and statistic in lower case, words parted by underscores, and whatever else is no letter
    or digit an underscore; labels are the dimensions in the same way.
    """
    found = {}
    for entry in exporter_config()["metrics"]:
        for statistic in entry["aws_statistics"]:
            name = f"{entry['aws_namespace'].lower()}_{_snake(entry['aws_metric_name'])}_{_snake(statistic)}"
            found[re.sub("__+", "_", re.sub(r"[^a-zA-Z0-9:_]", "_", name))] = [
                _snake(dimension) for dimension in entry["aws_dimensions"]
            ]
    return found


def exporter_config() -> dict[str, Any]:
    """Return the exporter's own configuration, as the chart's template makes it of the values."""
    values = yaml.safe_load((MONITORING / "values" / "prometheus-cloudwatch-exporter.yaml").read_text("utf-8"))
    filled = re.sub(
        r"\{\{ \.Values\.cloudwatch\.(\w+) \}\}", lambda match: str(values["cloudwatch"][match[1]]), values["config"]
    )
    assert "{{" not in filled
    config: dict[str, Any] = yaml.safe_load(filled)
    return config


def _snake(words: str) -> str:
    return re.sub("([a-z0-9])([A-Z])", r"\1_\2", words).lower()


def _recorded_labels(expression: str, known: dict[str, Labels]) -> Labels:
    """Return what is left of the labels: those that the expression groups by."""
    query = read(expression)
    sources = [known.get(selector.metric, {}) for selector in query.selectors]
    return {
        label: next((labels[label] for labels in sources if labels.get(label) is not None), None)
        for label in query.grouped_by
        if label != "le"
    }


# --- a reader of PromQL ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Selector:
    """``metric{label="value", …}``."""

    metric: str
    matchers: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class Query:
    """What an expression names."""

    selectors: tuple[Selector, ...]
    grouped_by: frozenset[str]


_TOKEN: Final = re.compile(
    r"""\s*(?:
        (?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
      | (?P<number>\d+(?:\.\d+)?(?:[a-z]+(?:\d+[a-z]+)*)?)
      | (?P<name>[A-Za-z_:][A-Za-z0-9_:]*)
      | (?P<sign>=~|!~|!=|==|>=|<=|[-+*/%^(){}\[\],=<>])
    )""",
    re.VERBOSE,
)
_LABEL_LISTS: Final = {"by", "without", "on", "ignoring", "group_left", "group_right"}
_WORDS: Final = {"and", "or", "unless", "bool", "offset"}


def read(expression: str) -> Query:
    """Return the selectors of an expression, and the labels it groups by."""
    tokens: list[str] = []
    at = 0
    while at < len(expression.rstrip()):
        match = _TOKEN.match(expression, at)
        assert match, f"no PromQL at {expression[at:]!r}"
        tokens.append(match[0].strip())
        at = match.end()
    tokens.append("")

    selectors, grouped, index = [], set(), 0
    while tokens[index]:
        token, following = tokens[index], tokens[index + 1]
        index += 1
        if token == "[":
            index = tokens.index("]", index) + 1
        elif token in _LABEL_LISTS:
            if following == "(":
                end = tokens.index(")", index)
                grouped |= {each for each in tokens[index + 1 : end] if each != ","}
                index = end + 1
        elif not re.match(r"[A-Za-z_:]", token) or token in _WORDS:
            assert token != "{", f"a selector without a metric's name in {expression!r}"
        elif following == "{":
            end = tokens.index("}", index)
            parts = [each for each in tokens[index + 1 : end] if each != ","]
            selectors.append(
                Selector(token, tuple(zip(parts[::3], parts[1::3], (text[1:-1] for text in parts[2::3]), strict=True)))
            )
            index = end + 1
        elif following not in {"(", *_LABEL_LISTS}:
            selectors.append(Selector(token, ()))
    return Query(tuple(selectors), frozenset(grouped))


def complaints(expression: str, known: dict[str, Labels]) -> list[str]:
    """Return what an expression names that does not exist."""
    query = read(expression)
    found = []
    there: set[str] = set()
    for selector in query.selectors:
        if selector.metric not in known:
            found.append(f"no metric {selector.metric}")
            continue
        labels = known[selector.metric]
        there |= set(labels)
        for label, operator, text in selector.matchers:
            if label not in labels:
                found.append(f"{selector.metric} has no label {label}")
                continue
            values = labels[label]
            wanted = text.split("|") if operator in {"=~", "!~"} else [text]
            if values is not None:
                found += [f"{label} of {selector.metric} is never {each}" for each in wanted if each not in values]
    if not found:
        found += [f"nothing to group by {label}" for label in sorted(query.grouped_by - there)]
    return found


def test_the_reader_finds_every_selector() -> None:
    """The control of the reader: what it gives for an expression with a bit of everything."""
    query = read(
        'histogram_quantile(0.99, sum by (le, pod) (rate(a_bucket{x="1", y=~"b|c"}[5m] offset 1h))) > bool 2'
        " unless on (z) d:e:f or absent(g{}) and sum without (i) (h) / 10"
    )

    assert query.selectors == (
        Selector("a_bucket", (("x", "=", "1"), ("y", "=~", "b|c"))),
        Selector("d:e:f", ()),
        Selector("g", ()),
        Selector("h", ()),
    )
    assert query.grouped_by == {"le", "pod", "z", "i"}


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ("rate(receiver_row_written_total[5m])", "no metric receiver_row_written_total"),
        ('receiver_requests_total{outcom="stored"}', "receiver_requests_total has no label outcom"),
        ('receiver_requests_total{outcome="storde"}', "outcome of receiver_requests_total is never storde"),
        ('receiver_requests_total{outcome=~"stored|eror"}', "outcome of receiver_requests_total is never eror"),
        ('receiver_write_failures_total{kind="throtled"}', "kind of receiver_write_failures_total is never throtled"),
        ("up or receiver_queued_row", "no metric receiver_queued_row"),
        ("sum by (outcomes) (receiver_requests_total)", "nothing to group by outcomes"),
        ('job_outcome:receiver_requests:rate5m{outcome="storde"}', "job_outcome:receiver_requests:rate5m is never"),
        ("job:receiver_rows_written:rate1m", "no metric job:receiver_rows_written:rate1m"),
        ("aws_iot_errors_action_failure_sum", "no metric aws_iot_errors_action_failure_sum"),
        ('aws_iot_error_action_failure_sum{rule="a"}', "aws_iot_error_action_failure_sum has no label rule"),
        ('kube_pod_status_phase{phase="pending"}', "phase of kube_pod_status_phase is never pending"),
    ],
)
def test_a_name_that_is_wrong_is_noticed(wrong: str, complaint: str) -> None:
    """The control of the checks below: a misspelt metric, label or value has something said about it."""
    (said,) = complaints(wrong, known_metrics())

    assert complaint in said


def test_cloudwatch_metrics_are_named_as_the_exporter_does() -> None:
    """Namespace, metric, statistic: the exporter's own example, and one with a dot."""
    assert _snake("RequestCount") == "request_count"
    assert _snake("LoadBalancerName") == "load_balancer_name"
    assert cloudwatch_metrics()["aws_iot_publish_in_success_sum"] == ["protocol"]
    assert cloudwatch_metrics()["aws_sqs_approximate_number_of_messages_visible_maximum"] == ["queue_name"]


# --- what is asked ---------------------------------------------------------------------------------------------------


def _targets() -> Iterator[tuple[str, str]]:
    """Give each query of each panel, variables replaced as Grafana does."""
    for name, board in BOARDS.items():
        for panel in board["panels"]:
            for target in panel.get("targets", []):
                yield f"{name}: {panel['title']}: {target['refId']}", _replaced(target["expr"], board)


def _replaced(expression: str, board: dict[str, Any]) -> str:
    values = {each["name"]: each.get("current", {}).get("value") for each in board["templating"]["list"]}
    values |= {"__rate_interval": "5m", "__range": "1h"}
    return re.sub(r"\$\{?(\w+)\}?", lambda match: values[match[1]], expression)


TARGETS: Final = dict(_targets())


@pytest.mark.parametrize("target", TARGETS)
def test_a_panel_names_only_what_exists(target: str) -> None:
    """No panel asks for a metric, a label or a value that nothing has."""
    assert complaints(TARGETS[target], known_metrics()) == []


@pytest.mark.parametrize("rule", [rule.get("alert") or rule["record"] for rule in RULES])
def test_a_rule_names_only_what_exists(rule: str) -> None:
    """Nor does a rule."""
    (expression,) = (each["expr"] for each in RULES if rule in {each.get("alert"), each.get("record")})

    assert complaints(expression, known_metrics()) == []


@pytest.mark.parametrize("name", BOARDS)
def test_a_variable_lists_values_of_a_label_that_exists(name: str) -> None:
    """The drop-down lists ask for labels that their metrics have."""
    known = known_metrics()
    queries = [each["query"] for each in BOARDS[name]["templating"]["list"] if each["type"] == "query"]

    assert queries
    for query in queries:
        match = re.fullmatch(r"label_values\((.+), (\w+)\)", query)
        assert match
        (selector,) = read(_replaced(match[1], BOARDS[name])).selectors
        assert complaints(_replaced(match[1], BOARDS[name]), known) == []
        assert match[2] in known[selector.metric]


def test_promtool_parses_every_query(promtool: str, tmp_path: Path) -> None:
    """Each query of a panel is PromQL to Prometheus itself."""
    rules = tmp_path / "queries.yaml"

    assert _check_rules(promtool, rules, list(TARGETS.values())).returncode == 0
    assert _check_rules(promtool, rules, [*TARGETS.values(), "sum(rate(up[5m])"]).returncode != 0


def _check_rules(promtool: str, rules: Path, expressions: list[str]) -> subprocess.CompletedProcess[str]:
    recorded = [{"record": f"query_{index}", "expr": each} for index, each in enumerate(expressions)]
    rules.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": recorded}]}), "utf-8")
    return subprocess.run([promtool, "check", "rules", rules], capture_output=True, text=True, check=False)


def test_every_query_has_an_answer_where_everything_exists(promtool: str, tmp_path: Path) -> None:
    """Over one series of each metric with each closed value of its labels, no panel stays empty."""
    assert _unanswered(promtool, tmp_path, list(TARGETS.values())) == []


@pytest.mark.parametrize(
    "wrong",
    [
        'sum(receiver_queued_rows{job="iot-receivr"})',
        'rate(receiver_requests_total{outcome="storde"}[5m])',
        "receiver_queued_rows / on (pod, reason) kube_pod_container_status_waiting_reason",
    ],
)
def test_a_query_without_an_answer_is_noticed(promtool: str, tmp_path: Path, wrong: str) -> None:
    """The control: a query for what cannot be has no answer."""
    assert _unanswered(promtool, tmp_path, ["up", wrong]) == [wrong]


def _unanswered(promtool: str, folder: Path, expressions: list[str]) -> list[str]:
    """Return the expressions that give nothing."""
    recorded = [rule for rule in RULES if "record" in rule]
    (folder / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "records", "rules": recorded}]}), "utf-8")
    case = {
        "interval": "1m",
        "input_series": list(_one_of_each()),
        "promql_expr_test": [
            {"expr": f"absent({each})", "eval_time": "40m", "exp_samples": []} for each in expressions
        ],
    }
    (folder / "test.yaml").write_text(
        yaml.safe_dump({"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": [case]}), "utf-8"
    )
    tested = subprocess.run(
        [promtool, "test", "rules", folder / "test.yaml"], capture_output=True, text=True, check=False
    )
    said = tested.stdout + tested.stderr
    missed = [each for each in expressions if f"expr: {json.dumps(f'absent({each})')}," in said]
    assert bool(missed) == bool(tested.returncode), said
    return missed


def _one_of_each() -> Iterator[dict[str, str]]:
    """Give one growing series of each metric and each of the values that its closed labels have."""
    recorded = {rule.get("record") for rule in RULES}
    for metric, labels in known_metrics().items():
        if metric in recorded:
            continue
        choices = [
            [(label, value) for value in (sorted(values) if values else [_any_value(label)])]
            for label, values in labels.items()
        ]
        for chosen in itertools.product(*choices):
            shown = ", ".join(f'{label}="{value}"' for label, value in chosen)
            yield {"series": f"{metric}{{{shown}}}", "values": "1+1x60"}


def _any_value(label: str) -> str:
    return TARGET_LABELS.get(label) or SAMPLE_LABELS.get(label) or "any"
