"""The command line: what it accepts, what it passes on, and how it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from harness import cli
from harness.clients.redriving import MIN_AGE_SECONDS
from harness.errors import ConnectionRefused, SettingsError, TargetUnavailable
from harness.registration import MadeKit
from harness.targets import ready
from harness.targets.options import TargetOptions

COMMANDS = [
    *("client", "demo", "deploy", "destroy", "device", "kit", "listen", "outputs", "publish", "redrive", "report"),
    *("serve", "sweep"),
]
OUTPUTS = {"more": [1], "iotMqttsPort": 8883, "caFile": None, "identityPoolId": "us-east-1:1", "region": "us-east-1"}


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of the person who runs the tests counts."""
    named = ("IOT_ENDPOINT_HOST", "AWS_REGION", "IDENTITY_POOL_ID", "PUBLIC_TOPIC")
    for name in [name for name in os.environ if name in named or name.startswith("HARNESS_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def ready_file(tmp_path: Path) -> Path:
    """A ready file of this very process, which therefore runs."""
    path = tmp_path / "ready file ä.json"
    content = ready.ReadyFile(
        pid=os.getpid(),
        region="us-east-1",
        account_id="123456789012",
        control_plane_url="http://127.0.0.1:1",
        iot_endpoint="localhost",
        mqtts_port=40003,
        wss_port=40002,
        ca_file=__file__,
        access_key_id="AKIAEXAMPLE",
        secret_access_key="s3cret",
        admin_url="http://127.0.0.1:1/_thingwright",
        admin_token="t0ken",
        outputs=dict(OUTPUTS),
    )
    ready.write(path, content)
    return path


def invoke(*arguments: str) -> Result:
    """Run the command line in this process."""
    return CliRunner().invoke(cli.app, list(arguments))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Record what the guest's commands would run, instead of running it."""
    recorded: list[dict[str, Any]] = []

    def run_guest(settings: Any, _terminal: Any, *, role: str) -> int:
        recorded.append({"settings": settings, "role": role})
        return 0

    monkeypatch.setattr("harness.console.run_guest", run_guest)
    return recorded


def test_command_line_prints_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """The version is the installed distribution's."""
    monkeypatch.setattr(cli, "version", {"thingwright": "1.2.3"}.__getitem__)

    assert invoke("--version").output == "thingwright 1.2.3\n"


def test_command_line_lists_its_commands() -> None:
    """Help names every command, and calling it without one helps too."""
    for result in (invoke("--help"), invoke()):
        assert [name for name in COMMANDS if f"\n  {name} " not in result.output] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_explained(command: str) -> None:
    """No option stands in a help text without a word on what it does."""
    context = cli.typer.main.get_command(cli.app).commands[command]

    assert [option.name for option in context.params if not getattr(option, "help", None)] == []
    assert invoke(command, "--help").exit_code == 0


def test_client_passes_its_flags_on(calls: list[dict[str, Any]], tmp_path: Path) -> None:
    """Every flag of the documented client arrives."""
    ca_file = tmp_path / "ca.pem"
    ca_file.touch()
    result = invoke(
        *("client", "--endpoint", "a1-ats.iot.us-east-1.amazonaws.com", "--region", "us-east-1"),
        *("--identity-pool-id", "us-east-1:fb81", "--topic", "public/broadcast", "--message", "Hello, World!"),
        *("--port", "8443", "--ca-file", str(ca_file), "--endpoint-url", "http://127.0.0.1:4566", "--count", "2"),
    )

    assert result.exit_code == 0, result.output
    settings = calls[0]["settings"]
    assert calls[0]["role"] == "client"
    assert settings.endpoint == "a1-ats.iot.us-east-1.amazonaws.com"
    assert (settings.topic, settings.message) == ("public/broadcast", "Hello, World!")
    assert (settings.port, settings.ca_file, settings.count) == (8443, ca_file, 2)
    assert settings.endpoint_url == "http://127.0.0.1:4566"


def test_client_refuses_a_ca_file_without_certificates(ready_file: Path, tmp_path: Path) -> None:
    """A file that is no PEM is named, before anything is connected."""
    ca_file = tmp_path / "ca.pem"
    ca_file.write_text("no certificate", encoding="utf-8")

    result = invoke("client", "--ready-file", str(ready_file), "--ca-file", str(ca_file))

    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "--ca-file=" in result.stderr


def test_listener_publishes_nothing(calls: list[dict[str, Any]], ready_file: Path) -> None:
    """The listen command is the client with an empty message."""
    assert invoke("listen", "--ready-file", str(ready_file)).exit_code == 0

    assert (calls[0]["role"], calls[0]["settings"].message) == ("listen", "")


def test_publisher_is_told_what_to_say(
    calls: list[dict[str, Any]], ready_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The publish command takes its stand-in from the environment as well."""
    monkeypatch.setenv("HARNESS_READY_FILE", str(ready_file))

    assert invoke("publish", "--message", "Hi").exit_code == 0
    assert (calls[0]["role"], calls[0]["settings"].message, calls[0]["settings"].port) == ("publish", "Hi", 40002)


def test_guest_takes_the_outputs_of_a_stack(
    calls: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of outputs says what a ready file says, but not where an admin API would be; typed, it alone counts."""
    file = tmp_path / "outputs.json"
    file.write_text(json.dumps(STACK), "utf-8")

    monkeypatch.setenv("HARNESS_READY_FILE", str(tmp_path / "of something else.json"))
    assert invoke("listen", "--stack-outputs", str(file)).exit_code == 0

    settings = calls[0]["settings"]
    assert (settings.endpoint, settings.port, settings.region) == ("localhost", 40002, "us-east-1")
    assert (settings.topic, settings.client_id_prefix, settings.admin_url) == ("public/broadcast", "public-", None)


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (ConnectionRefused("public-1", how="upgrade-403", because="why"), 1, "public-1 was refused (upgrade-403): why"),
        (SettingsError("--topic", "#", "a topic name"), 2, "--topic='#' is not accepted: a topic name"),
        (TargetUnavailable("Nobody there."), 4, "Nobody there."),
        (PermissionError(13, "Permission denied", "x"), 1, "[Errno 13] Permission denied: 'x'"),
        (KeyboardInterrupt(), 130, "Interrupted."),
    ],
)
def test_failure_is_one_sentence(
    error: BaseException, code: int, sentence: str, ready_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What goes wrong is said in one line on standard error, with an exit code that tells the kinds apart."""

    def fail(*_: Any, **__: Any) -> int:
        raise error

    monkeypatch.setattr("harness.console.run_guest", fail)

    result = invoke("client", "--ready-file", str(ready_file))

    assert (result.exit_code, result.stderr.count("\n")) == (code, 1)
    assert result.stderr.removeprefix("thingwright: ") == f"{sentence}\n"


def test_client_says_what_it_needs() -> None:
    """Without an endpoint the sentence names the option, the variable and the shortcut."""
    result = invoke("client")

    assert result.exit_code == 2
    assert "--endpoint" in result.stderr
    assert "IOT_ENDPOINT_HOST" in result.stderr
    assert "--ready-file" in result.stderr


def test_outputs_are_lines(ready_file: Path) -> None:
    """One output per line in the documented order, whatever order they came in; text bare, everything else as JSON."""
    result = invoke("outputs", "--ready-file", str(ready_file))

    assert result.output.splitlines() == [
        "region: us-east-1",
        "iotMqttsPort: 8883",
        "caFile: null",
        "identityPoolId: us-east-1:1",
        "more: [1]",
    ]


def test_outputs_are_one_json_object(ready_file: Path) -> None:
    """A program reads the same as JSON."""
    told = json.loads(invoke("outputs", "--json", "--ready-file", str(ready_file)).output)

    assert told == OUTPUTS
    assert list(told) == ["region", "iotMqttsPort", "caFile", "identityPoolId", "more"]


def test_outputs_ask_which_stack() -> None:
    """Without any the sentence says how to name a stack, in each of the three ways."""
    result = invoke("outputs")

    assert (result.exit_code, result.stderr.count("\n")) == (4, 1)
    for way in ("--ready-file FILE", "--stack-outputs FILE", "--pulumi-stack NAME"):
        assert way in result.stderr


def test_demo_and_serve_pass_their_options_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Numbers, paths and quirks arrive, and the exit code comes back."""
    seen: dict[str, Any] = {}

    def record(name: str) -> Any:
        def run(*_: Any, **options: Any) -> int:
            seen[name] = options
            return 7

        return run

    monkeypatch.setattr("harness.demo.run_demo", record("demo"))
    monkeypatch.setattr("harness.targets.embedded.serve", record("serve"))

    assert invoke("demo", "--clients", "5", "--messages", "2", "--devices", "0").exit_code == 7
    served = invoke(
        *("serve", "--ready-file", str(tmp_path / "r.json"), "--no-stack", "--quirk", "A=1", "--quirk", "B=2"),
        *("--wss-port", "8443", "--region", "eu-west-1"),
    )

    assert served.exit_code == 7
    assert seen["demo"] == {"clients": 5, "messages": 2, "devices": 0, "options": TargetOptions()}
    assert (seen["serve"]["ready_file"], seen["serve"]["no_stack"]) == (tmp_path / "r.json", True)
    assert list(seen["serve"]["quirks"]) == ["A=1", "B=2"]
    assert (seen["serve"]["options"].wss_port, seen["serve"]["options"].region) == (8443, "eu-west-1")


def test_command_ends_quietly_when_its_reader_has_enough(ready_file: Path) -> None:
    """A closed pipe is no failure to complain about, only the exit code of one."""
    program = "from harness.cli import main; main()"
    with subprocess.Popen(
        [sys.executable, "-c", program, "outputs", "--ready-file", str(ready_file)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        complaint = process.stderr.read()

    assert (process.returncode, complaint) == (141, b"")


def test_command_line_survives_an_encoding_without_emoji(ready_file: Path) -> None:
    """ASCII-only output loses a character, not the command."""
    content = json.loads(ready_file.read_text("utf-8"))
    content["outputs"]["topicPrefix"] = "grüße/✅"
    ready_file.write_text(json.dumps(content), encoding="utf-8")
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}

    done = subprocess.run(
        [sys.executable, "-m", "harness", "outputs", "--ready-file", str(ready_file)],
        env=environment,
        capture_output=True,
        check=True,
    )

    assert b"topicPrefix: gr??e/?\n" in done.stdout


STACK = {
    "region": "us-east-1",
    "iotEndpoint": "localhost",
    "iotMqttsPort": 40003,
    "iotWssUrl": "wss://localhost:40002/mqtt",
    "caFile": __file__,
    "identityPoolId": "us-east-1:1",
    "clientIdPrefix": "public-",
    "topicPrefix": "public/",
    "telemetryTopic": "things/telemetry",
    "devicePolicyName": "device-policy",
}


@pytest.fixture
def kits(monkeypatch: pytest.MonkeyPatch, ready_file: Path) -> list[dict[str, Any]]:
    """Record what kits would be made of, at a stand-in with a stack, instead of registering anything."""
    content = json.loads(ready_file.read_text("utf-8"))
    ready_file.write_text(json.dumps(content | {"outputs": STACK}), encoding="utf-8")
    recorded: list[dict[str, Any]] = []

    def make_kit(environment: Any, name: str, *, out: Path, as_zip: bool) -> MadeKit:
        recorded.append({"at": environment.control_plane_url, "name": name, "out": out, "as_zip": as_zip})
        path = out / "kit.zip" if as_zip else out
        return MadeKit(path=path, names=("a", "b"), certificate_id="0123", is_new_thing=name != "old")

    monkeypatch.setattr("harness.registration.make_kit", make_kit)
    return recorded


def test_kit_says_what_it_made(kits: list[dict[str, Any]], ready_file: Path) -> None:
    """Four lines: the thing, its certificate, the files, and a command that can be pasted as it is."""
    result = invoke("kit", "dev-1", "--out", "mein kit", "--ready-file", str(ready_file))

    assert result.exit_code == 0, result.output
    assert kits == [{"at": "http://127.0.0.1:1", "name": "dev-1", "out": Path("mein kit"), "as_zip": False}]
    assert result.output.splitlines() == [
        "[kit] dev-1 registered",
        "[kit] certificate 0123 with policy device-policy",
        "[kit] written to mein kit: a, b",
        "[kit] try: thingwright device --kit 'mein kit'",
    ]


def test_kit_as_an_archive_is_not_tried_as_it_is(kits: list[dict[str, Any]], ready_file: Path) -> None:
    """An archive has to be unpacked first, and a thing that was there is told."""
    result = invoke("kit", "old", "--out", "o", "--zip", "--ready-file", str(ready_file))

    assert kits[0]["as_zip"] is True
    assert result.output.splitlines() == [
        "[kit] old was there before: it has one more certificate now",
        "[kit] certificate 0123 with policy device-policy",
        "[kit] written to o/kit.zip: a, b",
    ]


@pytest.fixture
def redrives(monkeypatch: pytest.MonkeyPatch, ready_file: Path) -> list[dict[str, Any]]:
    """Record what would be redriven, at a stand-in with a stack, instead of doing so."""
    content = json.loads(ready_file.read_text("utf-8"))
    ready_file.write_text(json.dumps(content | {"outputs": STACK}), encoding="utf-8")
    recorded: list[dict[str, Any]] = []

    def run_redrive(_terminal: Any, environment: Any, *, min_age: float, is_dry: bool) -> int:
        recorded.append({"at": environment.control_plane_url, "min_age": min_age, "is_dry": is_dry})
        return 7

    monkeypatch.setattr("harness.redrive.run_redrive", run_redrive)
    return recorded


def test_redrive_passes_its_flags_on(redrives: list[dict[str, Any]], ready_file: Path) -> None:
    """Letters are left alone for a minute unless said otherwise; the exit code is the work's."""
    first = invoke("redrive", "--ready-file", str(ready_file))
    second = invoke("redrive", "--ready-file", str(ready_file), "--min-age", "0", "--dry-run")

    assert (first.exit_code, second.exit_code) == (7, 7)
    at = "http://127.0.0.1:1"
    assert redrives == [
        {"at": at, "min_age": MIN_AGE_SECONDS, "is_dry": False},
        {"at": at, "min_age": 0.0, "is_dry": True},
    ]


def test_redrive_asks_which_target(redrives: list[dict[str, Any]], ready_file: Path) -> None:
    """Without a ready file and without a stack: a sentence and exit code 4; a negative age is none."""
    content = json.loads(ready_file.read_text("utf-8"))
    sentences = {"--ready-file FILE": invoke("redrive")}
    ready_file.write_text(json.dumps(content | {"outputs": {}}), encoding="utf-8")
    sentences["which has the queue: start"] = invoke("redrive", "--ready-file", str(ready_file))

    for sentence, result in sentences.items():
        assert (result.exit_code, result.stderr.count("\n"), sentence in result.stderr) == (4, 1, True), result.stderr
    assert invoke("redrive", "--ready-file", str(ready_file), "--min-age", "-1").exit_code == 2
    assert redrives == []


def test_kit_asks_which_target(kits: list[dict[str, Any]], ready_file: Path) -> None:
    """Without a ready file, with one of a target that is gone, and without a stack: a sentence and exit code 4."""
    content = json.loads(ready_file.read_text("utf-8"))
    sentences = {"--ready-file FILE": invoke("kit", "dev-1", "--out", "o")}
    ready_file.write_text(json.dumps(content | {"outputs": {}}), encoding="utf-8")
    sentences["without --no-stack"] = invoke("kit", "dev-1", "--out", "o", "--ready-file", str(ready_file))
    ready_file.write_text(json.dumps(content | {"pid": 0}), encoding="utf-8")
    sentences["which is gone"] = invoke("kit", "dev-1", "--out", "o", "--ready-file", str(ready_file))

    for sentence, result in sentences.items():
        assert (result.exit_code, result.stderr.count("\n"), sentence in result.stderr) == (4, 1, True), result.stderr
    assert kits == []


def test_demo_may_be_at_any_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a ready file, by outputs or by a stack's name, each typed before any variable; accounts and program too."""
    seen: list[TargetOptions] = []

    def run_demo(*_: Any, options: TargetOptions, **__: Any) -> int:
        seen.append(options)
        return 0

    monkeypatch.setattr("harness.demo.run_demo", run_demo)
    monkeypatch.setenv("HARNESS_READY_FILE", "serve.json")

    assert invoke("demo").exit_code == 0
    assert invoke("demo", "--stack-outputs", "o.json", "--aws-account", "123456789012").exit_code == 0
    assert invoke("demo", "--pulumi-stack", "dev", "--aws-account", "1,2", "--program", "p").exit_code == 0

    assert seen == [
        TargetOptions(ready_file=Path("serve.json")),
        TargetOptions(stack_outputs=Path("o.json"), aws_accounts=("123456789012",)),
        TargetOptions(pulumi_stack="dev", aws_accounts=("1", "2"), stack=Path("p")),
    ]


def test_demo_in_an_account_needs_a_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who types an account does not get a stand-in instead; who has one exported does."""
    monkeypatch.setattr("harness.demo.run_demo", lambda *_, **__: 0)

    refused = invoke("demo", "--aws-account", "123456789012")

    assert (refused.exit_code, refused.output.count("\n")) == (4, 1)
    assert "--stack-outputs" in refused.output
    monkeypatch.setenv("HARNESS_AWS_ACCOUNT", "123456789012")
    assert invoke("demo").exit_code == 0


@pytest.mark.parametrize("command", [("demo",), ("kit", "dev-1", "--out", "o"), ("redrive",)])
def test_commands_refuse_two_targets(
    kits: list[dict[str, Any]], redrives: list[dict[str, Any]], ready_file: Path, command: tuple[str, ...]
) -> None:
    """Whichever was meant, nothing happens at the other."""
    result = invoke(*command, "--ready-file", str(ready_file), "--stack-outputs", "outputs.json")

    assert (result.exit_code, "More than one was given" in result.stderr) == (4, True)
    assert (kits, redrives) == ([], [])


def test_device_passes_its_options_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Folder, rate, count and temperature arrive, and the exit code comes back."""
    seen: list[Any] = []

    def run_device(_: Any, folder: Path, **options: Any) -> int:
        seen.append((folder, options))
        return 7

    monkeypatch.setattr("harness.simulator.run_device", run_device)

    assert invoke("device", "--kit", str(tmp_path)).exit_code == 7
    assert invoke("device", "--kit", "k", "--rate", "0.5", "--count", "3", "--temp", "-1.5").exit_code == 7
    assert seen == [
        (tmp_path, {"rate": 1.0, "count": None, "temp": None}),
        (Path("k"), {"rate": 0.5, "count": 3, "temp": -1.5}),
    ]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("--rate", value) for value in ("0", "-1", "101", "inf", "nan", "x")),
        *(("--count", value) for value in ("0", "-1", "1.5")),
        *(("--temp", value) for value in ("nan", "inf", "1e999", "warm")),
    ],
)
def test_device_refuses_numbers_that_are_none(monkeypatch: pytest.MonkeyPatch, option: str, value: str) -> None:
    """A rate AWS does not allow and a temperature JSON does not have are told before anything is connected."""
    monkeypatch.setattr("harness.simulator.run_device", lambda *_, **__: 0)

    result = invoke("device", "--kit", "k", option, value)

    assert result.exit_code == 2
    assert option in result.stderr
