"""Alertmanager's configuration: amtool takes it, each alert goes where its severity says, it holds no secret."""

from __future__ import annotations

import json
import re
import subprocess
import threading
import urllib.request
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from typing import TYPE_CHECKING, Any, Final

import pytest
import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

MONITORING: Final = Path(__file__).parents[2] / "infra" / "monitoring"
VALUES: Final = yaml.safe_load((MONITORING / "values" / "kube-prometheus-stack.yaml").read_text("utf-8"))
CONFIG: Final[dict[str, Any]] = VALUES["alertmanager"]["config"]
ALERTS: Final = {
    rule["alert"]: rule["labels"]["severity"]
    for group in yaml.safe_load((MONITORING / "prometheus-rule.yaml").read_text("utf-8"))["spec"]["groups"]
    for rule in group["rules"]
    if "alert" in rule
}
PATIENCE: Final = 20.0
"""Seconds for a notification that should come."""


def _config_at(folder: Path, config: dict[str, Any]) -> Path:
    path = folder / "alertmanager.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False), "utf-8")
    return path


def _run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _route(amtool: str, config: Path, **labels: str) -> str:
    found = _run(
        amtool,
        "config",
        "routes",
        "test",
        f"--config.file={config}",
        *(f"{key}={text}" for key, text in labels.items()),
    )
    assert found.returncode == 0, found.stderr
    return found.stdout.strip()


def test_amtool_takes_the_configuration(amtool: str, tmp_path: Path) -> None:
    """It is a configuration of Alertmanager, with three receivers and four inhibitions."""
    checked = _run(amtool, "check-config", _config_at(tmp_path, CONFIG))

    assert checked.returncode == 0, checked.stderr
    assert "3 receivers" in checked.stdout
    assert "4 inhibit rules" in checked.stdout


def test_amtool_refuses_a_configuration_that_is_wrong(amtool: str, tmp_path: Path) -> None:
    """The control: a route to a receiver that does not exist is refused."""
    wrong = _config_at(tmp_path, {**CONFIG, "route": {**CONFIG["route"], "receiver": "warnings"}})

    assert _run(amtool, "check-config", wrong).returncode != 0


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_goes_to_the_receiver_of_its_severity(amtool: str, tmp_path: Path, alert: str) -> None:
    """Each of our alerts reaches the one receiver that is called like its severity."""
    config = _config_at(tmp_path, CONFIG)

    assert _route(amtool, config, alertname=alert, severity=ALERTS[alert], namespace="apps") == ALERTS[alert]


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        ({"alertname": "Watchdog", "severity": "none"}, "null"),
        ({"alertname": "InfoInhibitor", "severity": "none"}, "null"),
        ({"alertname": "CPUThrottlingHigh", "severity": "info"}, "null"),
        ({"alertname": "KubePodCrashLooping", "severity": "warning"}, "warning"),
        ({"alertname": "KubeAPIDown", "severity": "critical"}, "critical"),
        ({"alertname": "WithoutSeverity"}, "warning"),
        ({"alertname": "WithAnother", "severity": "page"}, "warning"),
    ],
)
def test_other_alerts_are_not_forgotten(amtool: str, tmp_path: Path, labels: dict[str, str], receiver: str) -> None:
    """Those of the chart go by their severity as well, and one of unknown severity is a warning."""
    assert _route(amtool, _config_at(tmp_path, CONFIG), **labels) == receiver


def test_no_secret_is_in_the_values() -> None:
    """Receivers read their tokens from files of a Secret that is mounted; no key that holds one itself is used."""
    for path in (MONITORING / "values").glob("*.yaml"):
        text = path.read_text("utf-8")
        keys = {re.sub(r"[^a-z]", "", key.lower()) for key in _keys(yaml.safe_load(text))}
        assert not keys & {
            "credentials", "password", "adminpassword", "token", "apikey", "apiurl", "bearertoken", "routingkey",
            "servicekey", "smtpauthpassword", "secretkey", "accesskey", "awsaccesskeyid", "awssecretaccesskey",
        }  # fmt: skip
    (mounted,) = VALUES["alertmanager"]["alertmanagerSpec"]["secrets"]
    for receiver in CONFIG["receivers"]:
        for webhook in receiver.get("webhook_configs", []):
            file = webhook["http_config"]["authorization"]["credentials_file"]
            assert file.startswith(f"/etc/alertmanager/secrets/{mounted}/")


def _keys(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from value
        for each in value.values():
            yield from _keys(each)
    elif isinstance(value, list):
        for each in value:
            yield from _keys(each)


@pytest.mark.parametrize("cause", ["ReceiverDown", "ReceiverErrors"])
def test_a_real_alertmanager_tells_who_should_know_and_mutes_the_rest(
    alertmanager: str, tmp_path: Path, cause: str
) -> None:
    """Critical and warning arrive at their receivers with their tokens; what the cause explains does not."""
    with _inbox() as (port, arrived):
        config = json.loads(json.dumps(CONFIG))
        for receiver in config["receivers"]:
            for webhook in receiver.get("webhook_configs", []):
                token = tmp_path / f"{receiver['name']}-token"
                token.write_text(f"token-of-{receiver['name']}", "utf-8")
                webhook["url"] = f"http://127.0.0.1:{port}/{receiver['name']}"
                webhook["http_config"]["authorization"]["credentials_file"] = str(token)
        for route in (config["route"], *config["route"]["routes"]):
            route["group_wait"] = "200ms"  # instead of ten and thirty seconds
        with _running(alertmanager, _config_at(tmp_path, config), tmp_path) as url:
            _post(f"{url}/api/v2/alerts", [_alert(cause), _alert("NoReadings")])
            first = arrived.get(timeout=PATIENCE)
            _post(f"{url}/api/v2/alerts", [_alert("DeadLetters")])
            second = arrived.get(timeout=PATIENCE)
            muted = {each["labels"]["alertname"]: each["status"]["state"] for each in _get(f"{url}/api/v2/alerts")}

    assert first == ("/critical", "Bearer token-of-critical", [cause])
    assert second == ("/warning", "Bearer token-of-warning", ["DeadLetters"])
    assert muted == {cause: "active", "NoReadings": "suppressed", "DeadLetters": "active"}


def _alert(name: str) -> dict[str, Any]:
    labels = {"alertname": name, "severity": ALERTS[name], "namespace": "apps", "job": "iot-receiver"}
    now = datetime.now(UTC)
    return {
        "labels": labels,
        "annotations": {},
        "startsAt": now.isoformat(),
        "endsAt": (now + timedelta(hours=1)).isoformat(),
    }


def _post(url: str, document: Any) -> None:
    request = urllib.request.Request(  # noqa: S310 - the address of a process started here
        url, data=json.dumps(document).encode(), headers={"content-type": "application/json"}
    )
    _open(request).close()


def _get(url: str) -> Any:
    with _open(url) as response:
        return json.load(response)


def _open(request: Any) -> Any:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # whatever proxy this machine uses
    return opener.open(request, timeout=PATIENCE)


@contextmanager
def _inbox() -> Iterator[tuple[int, Queue[tuple[str, str, list[str]]]]]:
    """Listen for notifications: path, authorization, and the names of the alerts."""
    arrived: Queue[tuple[str, str, list[str]]] = Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            names = [each["labels"]["alertname"] for each in body["alerts"]]
            self.send_response(200)
            self.end_headers()
            arrived.put((self.path, self.headers["authorization"], names))

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port, arrived
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def _running(alertmanager: str, config: Path, folder: Path) -> Iterator[str]:
    """Run Alertmanager, alone and on a port of its own choice, and give its URL once it listens."""
    command = [
        alertmanager,
        f"--config.file={config}",
        f"--storage.path={folder / 'data'}",
        "--web.listen-address=127.0.0.1:0",
        "--cluster.listen-address=",
    ]
    log: list[str] = []
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        listening: Queue[str] = Queue()

        def read() -> None:
            for line in process.stderr or ():
                log.append(line)
                if match := re.search(r'msg="Listening on" address=(127\.0\.0\.1:[1-9]\d*)', line):
                    listening.put(match[1])
            listening.put("")

        reader = threading.Thread(target=read)
        reader.start()
        try:
            address = listening.get(timeout=PATIENCE)
            assert address, "".join(log)
            yield f"http://{address}"
        finally:
            process.terminate()
            process.wait(PATIENCE)
            reader.join()
