"""The supervisor with children that take no time: up, down, and what it says when one of them dies."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import stat
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.errors import ProvisioningError, SettingsError, TargetDied, TargetUnavailable
from harness.targets.embedded import EmbeddedTarget, Supervisor, SupervisorOptions
from harness.targets.embedded import children as children_module
from harness.targets.embedded.briefing import Briefing
from harness.targets.embedded.children import Children, Interrupted
from harness.targets.embedded.deployment import Deployment

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.targets.embedded.process import Child

    MakeOptions = Callable[..., SupervisorOptions]
    Reports = dict[str, dict[str, Any]]


def watched(supervisor: Supervisor) -> list[Child]:
    """Give the children whose end would be a death; none before the start."""
    return supervisor._children._watched if supervisor._children is not None else []


def test_a_supervisor_tells_where_its_children_are(make_options: MakeOptions, private_temp: Path) -> None:
    """The ready file's content is put together from what the children report."""
    supervisor = Supervisor(make_options())
    ready = supervisor.start()
    try:
        assert ready.pid == os.getpid()
        assert (ready.mqtts_port, ready.wss_port) == (2, 3)
        assert ready.control_plane_url.startswith("http://127.0.0.1:")
        assert ready.admin_url == ready.control_plane_url + "/_thingwright"
        assert ready.iot_endpoint == "localhost"
        assert ready.outputs == {}
        assert ready.receiver_url is None
        supervisor.check()
    finally:
        supervisor.stop()
    assert list(private_temp.iterdir()) == []


def test_a_supervisor_keeps_its_files_to_itself(make_options: MakeOptions, private_temp: Path) -> None:
    """The folder is 0700 and what holds secrets 0600."""
    supervisor = Supervisor(make_options())
    supervisor.start()
    try:
        (folder,) = private_temp.iterdir()
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        secret = [*folder.glob("*.json"), folder / "server.key"]
        assert len(secret) == 3
        assert {stat.S_IMODE(file.stat().st_mode) for file in secret} == {0o600}
    finally:
        supervisor.stop()


def test_a_supervisor_makes_new_keys_for_every_start(make_options: MakeOptions) -> None:
    """Nobody gets in with the keys of another run."""
    keys = set()
    for _ in range(2):
        supervisor = Supervisor(make_options())
        ready = supervisor.start()
        supervisor.stop()
        assert ready.access_key_id.startswith("AKIA")
        assert len(ready.access_key_id) == 20
        keys |= {ready.access_key_id, ready.secret_access_key, ready.admin_token}
        assert ready.secret_access_key not in repr(ready)
        assert ready.admin_token not in repr(ready)
    assert len(keys) == 6


def test_a_deployment_is_told_where_to_go_and_its_outputs_are_handed_on(
    make_options: MakeOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The deployment starts before there is an endpoint and gets it when there is one."""
    options = make_options(stack=True)
    monkeypatch.chdir(tmp_path)
    supervisor = Supervisor(replace(options, stack=Path("a program")))
    ready = supervisor.start()
    try:
        assert ready.outputs["start"]["endpoint_url"] == ready.control_plane_url
        config = ready.outputs["start"]["config"]
        assert config == {
            "iotMqttsPort": "2",
            "iotWssPort": "3",
            "caFile": ready.ca_file,
            "tableName": config["tableName"],
            "receiverUrl": ready.receiver_url,
            "iotSecret": config["iotSecret"],
            "receiverRoleName": config["receiverRoleName"],
            "requireClientId": "true",
            "guestsAreSwept": "true",
        }
        assert re.fullmatch(r"readings-[0-9a-f]{8}", config["tableName"])
        assert len(config["iotSecret"]) > 40
        assert ready.outputs["program"] == str(options.stack)  # absolute: the child is in another folder
        supervisor.check()
    finally:
        supervisor.stop()


def test_a_receiver_is_told_what_the_stack_is_told(make_options: MakeOptions, reports: Reports) -> None:
    """Table and secret are the same on both sides; the control plane gives the role to who has the receiver's token."""
    supervisor = Supervisor(make_options(stack=True))
    ready = supervisor.start()
    supervisor.stop()

    stack = ready.outputs["start"]["config"]
    seen = reports["receiver"]["environment"]
    control = reports["control plane"]["config"]
    url = ready.control_plane_url
    assert ready.receiver_url == f"https://localhost:{reports['receiver']['port']}"
    assert (seen["TABLE_NAME"], seen["IOT_SECRETS"]) == (stack["tableName"], stack["iotSecret"])
    assert (seen["AWS_REGION"], seen["AWS_ENDPOINT_URL"], seen["CONFIRM_ORIGINS"]) == ("us-east-1", url, url)
    assert seen["AWS_CONTAINER_CREDENTIALS_FULL_URI"] == f"{url}/v1/credentials"
    assert seen["AWS_CONTAINER_AUTHORIZATION_TOKEN"] == control["receiver_token"]
    assert (seen["REQUIRE_CLIENT_ID"], seen["TTL_DAYS"], seen["PORT"]) == ("true", "30", "0")
    assert seen["HOST"].split(",") == control["host_addresses"]
    assert seen["TLS_CERT"] == reports["broker"]["config"]["tls_cert"]
    assert seen["TLS_KEY"] == reports["broker"]["config"]["tls_key"]
    assert not {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} & set(seen)
    assert control["receiver_role_name"] == stack["receiverRoleName"]
    assert control["url"] == url


def test_secrets_of_a_start_are_in_no_log_and_in_no_other_childs_hands(
    make_options: MakeOptions, reports: Reports, private_temp: Path
) -> None:
    """The rule's secret goes to the deployment and the receiver, the receiver's token to it and the control plane."""
    supervisor = Supervisor(make_options(stack=True))
    ready = supervisor.start()
    try:
        secret = ready.outputs["start"]["config"]["iotSecret"]
        token = reports["control plane"]["config"]["receiver_token"]
        files = {path.name: path.read_text("utf-8") for path in private_temp.glob("*/*") if path.suffix != ".lock"}
    finally:
        supervisor.stop()

    assert {name for name, text in files.items() if token in text} == {"control-plane.json"}
    assert {name for name, text in files.items() if secret in text} == set()
    assert token not in json.dumps([reports["broker"], reports["deployment"]])
    assert secret not in json.dumps([reports["broker"], reports["control plane"], reports["deployment"]["config"]])
    assert secret not in repr(ready).replace(repr(ready.outputs), "")


def test_a_child_gets_the_descriptors_meant_for_it_and_no_others(make_options: MakeOptions, reports: Reports) -> None:
    """Standard ones, those it is told of, and one unnamed by which its end is noticed."""
    supervisor = Supervisor(make_options(stack=True))
    supervisor.start()
    supervisor.stop()

    assert set(reports) == {"control plane", "broker", "receiver", "deployment"}
    for who, report in reports.items():
        config = report["config"]
        told = {value for name, value in config.items() if name.endswith("_fd")} | set(config.get("listen_fds", ()))
        assert told <= set(report["descriptors"]), who
        assert len(set(report["descriptors"]) - told - {0, 1, 2}) == (2 if who == "deployment" else 1), who
    assert {"supervisor_fd", "listen_fds", "link_fd"} <= set(reports["control plane"]["config"])


def test_a_start_without_a_stack_has_no_receiver(
    make_options: MakeOptions, reports: Reports, private_temp: Path, processes_of: Callable[[Path], list[int]]
) -> None:
    """Nor a line to ask for one, nor a token to get its credentials with."""
    supervisor = Supervisor(make_options())
    supervisor.start()
    try:
        assert set(reports) == {"control plane", "broker"}
        assert not {"supervisor_fd", "receiver_token", "receiver_role_name"} & set(reports["control plane"]["config"])
        assert len(processes_of(private_temp.parent)) == 2
    finally:
        supervisor.stop()


def test_the_control_planes_port_is_known_before_it_starts_and_free_after_it(
    make_options: MakeOptions, reports: Reports
) -> None:
    """It gets listening sockets; when it is gone, nobody else keeps the port."""
    supervisor = Supervisor(make_options())
    port = int(supervisor.start().control_plane_url.rpartition(":")[2])
    socket.create_connection(("127.0.0.1", port), timeout=10).close()
    assert len(reports["control plane"]["config"]["listen_fds"]) == len(reports["broker"]["config"]["host_addresses"])
    supervisor.stop()

    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=10)


def test_a_control_port_in_use_is_said_before_anything_starts(make_options: MakeOptions, private_temp: Path) -> None:
    """One sentence, no log; nothing stays behind."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(TargetUnavailable, match=f"port {port} "):
            Supervisor(replace(make_options(), control_port=port)).start()

    assert list(private_temp.iterdir()) == []


def test_a_further_ca_is_trusted_by_who_makes_requests(
    make_options: MakeOptions, reports: Reports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker posts and the control plane confirms; a relative path means the same file to both."""
    first = Supervisor(make_options())
    (tmp_path / "own ca.pem").write_bytes(Path(first.start().ca_file).read_bytes())
    first.stop()
    assert "http_ca_files" not in reports["broker"]["config"]
    assert len(reports["control plane"]["config"]["http_ca_files"]) == 1
    monkeypatch.chdir(tmp_path)

    second = Supervisor(replace(make_options(), http_ca_file=Path("own ca.pem")))
    ready = second.start()
    second.stop()

    assert reports["broker"]["config"]["ca_file"] == ready.ca_file
    assert reports["broker"]["config"]["http_ca_files"] == [str(tmp_path / "own ca.pem")]
    assert reports["control plane"]["config"]["http_ca_files"] == [ready.ca_file, str(tmp_path / "own ca.pem")]


@pytest.mark.parametrize("content", [None, b"", b"-----BEGIN CERTIFICATE-----\nnone\n-----END CERTIFICATE-----\n"])
def test_a_further_ca_that_is_none_is_refused(content: bytes | None, make_options: MakeOptions, tmp_path: Path) -> None:
    """A missing file, an empty one, and one without a certificate, before anything is started."""
    file = tmp_path / "own.pem"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(SettingsError, match=r"http_ca_file=.*PEM file"):
        Supervisor(replace(make_options(), http_ca_file=file)).start()


def test_a_receiver_without_a_port_is_a_death(make_options: MakeOptions, private_temp: Path) -> None:
    """A program in the receiver's place that does not follow its contract is named."""
    with pytest.raises(TargetDied, match="The receiver reported no port"):
        Supervisor(make_options(receiver="portless", stack=True)).start()

    assert list(private_temp.iterdir()) == []


def test_the_control_plane_stops_and_starts_receivers(
    make_options: MakeOptions, private_temp: Path, eventually: Callable[[Callable[[], object]], None]
) -> None:
    """Over its own line, while the supervisor waits; a receiver stopped on purpose is no death, its end later is."""
    supervisor = Supervisor(make_options(control="asks", stack=True))
    ready = supervisor.start()
    outcome: list[TargetDied] = []

    def wait() -> None:
        try:
            supervisor.wait()
        except TargetDied as death:
            outcome.append(death)

    thread = threading.Thread(target=wait)
    thread.start()
    try:
        (folder,) = private_temp.iterdir()
        eventually((folder / "answers").exists)
        stopped, further, started = json.loads((folder / "answers").read_text("utf-8"))
        assert stopped == {"id": 1, "ok": True, "url": ready.receiver_url}
        assert started == {"id": 3, "ok": True, "url": ready.receiver_url}
        assert further["ok"]
        assert further["url"] != ready.receiver_url
        supervisor.check()
        assert outcome == []

        os.kill(int((folder / "receiver.pid").read_text("utf-8")), 9)
        thread.join(timeout=30)
        assert outcome[0].process == "receiver"
        assert outcome[0].how == "was ended by SIGKILL"
        with pytest.raises(TargetDied, match="The receiver was ended by SIGKILL"):
            supervisor.check()
    finally:
        supervisor.stop()


def test_stop_ends_a_receiver_that_is_just_being_started(
    make_options: MakeOptions,
    private_temp: Path,
    processes_of: Callable[[Path], list[int]],
    eventually: Callable[[Callable[[], object]], None],
) -> None:
    """Whatever the other thread waits for, nobody and nothing is left."""
    others = set(threading.enumerate())
    supervisor = Supervisor(make_options(control="asks", receiver="hangs-further", stack=True))
    supervisor.start()
    (folder,) = private_temp.iterdir()
    eventually((folder / "hangs").exists)

    supervisor.stop()

    assert processes_of(private_temp.parent) == []
    assert list(private_temp.iterdir()) == []
    eventually(lambda: "control-requests" not in {each.name for each in set(threading.enumerate()) - others})


def test_a_supervisor_leaves_no_descriptors(make_options: MakeOptions) -> None:
    """However often it starts and stops, and also when a start fails."""
    Supervisor(make_options()).stop()
    before = open_files()
    for modes in ({}, {"receiver": "dies"}, {"deployment": "fails"}, {"control": "asks"}):
        supervisor = Supervisor(make_options(stack=True, **modes))
        with contextlib.suppress(TargetDied, ProvisioningError):
            supervisor.start()
        supervisor.stop()
    assert open_files() - before == set()


def open_files() -> set[tuple[str, str]]:
    """Give what is open, by number and file: what others close meanwhile covers up nothing."""
    found = set()
    for number in os.listdir("/dev/fd"):  # noqa: PTH208 - numbers, not paths
        with contextlib.suppress(OSError):  # the listing's own is closed by now
            found.add((number, os.readlink(f"/dev/fd/{number}")))  # noqa: PTH115 - the target as text
    return found


def test_children_see_nothing_of_the_users_settings(
    make_options: MakeOptions, monkeypatch: pytest.MonkeyPatch, reports: Reports
) -> None:
    """AWS keys, proxies, CA bundles and Python's own variables stay outside."""
    hostile = {
        "AWS_ACCESS_KEY_ID": "AKIAREAL",
        "AWS_PROFILE": "nobody",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_CA_BUNDLE": "/nonexistent",
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "https_proxy": "http://127.0.0.1:9",
        "MOTO_ACCOUNT_ID": "999999999999",
        "SSL_CERT_FILE": "/nonexistent",
        "PYTHONSTARTUP": "/nonexistent",
        "PYTHONHASHSEED": "7",
    }
    for name, value in hostile.items():
        monkeypatch.setenv(name, value)
    supervisor = Supervisor(make_options(stack=True))
    supervisor.start()
    supervisor.stop()

    for who in ("control plane", "broker", "receiver"):
        seen = reports[who]["environment"]
        assert not set(hostile.items()) & set(seen.items())
        assert seen["AWS_CONFIG_FILE"] == seen["AWS_SHARED_CREDENTIALS_FILE"] == os.devnull
        assert seen["NO_PROXY"] == "*"
    assert not set(hostile) & set(reports["broker"]["environment"])


@pytest.mark.parametrize("who", ["control", "broker", "receiver"])
def test_a_start_fails_with_the_tail_of_the_log_when_a_child_dies(
    who: str, make_options: MakeOptions, private_temp: Path
) -> None:
    """Whoever reads the error knows which process it was and what it said; nothing stays behind."""
    supervisor = Supervisor(make_options(**{who: "dies"}, stack=True))

    with pytest.raises(TargetDied, match=f"{who} cannot bind its port") as caught:
        supervisor.start()

    assert caught.value.process.startswith(who)
    assert "exit code 1" in caught.value.how
    assert list(private_temp.iterdir()) == []


def test_a_start_fails_when_a_child_reports_nothing(
    make_options: MakeOptions, private_temp: Path, processes_of: Callable[[Path], list[int]]
) -> None:
    """A child that closes its report without a word is not waited for."""
    with pytest.raises(TargetDied, match="reported nothing"):
        Supervisor(make_options(broker="silent")).start()

    assert processes_of(private_temp.parent) == []


def test_a_start_fails_when_a_child_takes_for_ever(
    make_options: MakeOptions, monkeypatch: pytest.MonkeyPatch, private_temp: Path
) -> None:
    """Waiting has an end, and the error says for whom."""
    monkeypatch.setattr(children_module, "_START_SECONDS", 0.3)

    with pytest.raises(TargetDied, match="The control plane was not ready within 0 s"):
        Supervisor(make_options(control="hangs")).start()

    assert list(private_temp.iterdir()) == []


def test_a_failed_deployment_names_resource_call_and_request(make_options: MakeOptions) -> None:
    """The deployment's own error comes back as it was raised there."""
    with pytest.raises(ProvisioningError) as caught:
        Supervisor(make_options(stack=True, deployment="fails")).start()

    error = caught.value
    assert (error.resource, error.call, error.request_id) == ("aws:iam/role:Role guest", "iam:CreateRole", "r-1")
    assert "EntityAlreadyExists" in str(error)


def test_a_deployment_that_dies_shows_its_log(make_options: MakeOptions) -> None:
    """Also without a word of its own, the failure names the program."""
    with pytest.raises(ProvisioningError, match="a program") as caught:
        Supervisor(make_options(stack=True, deployment="dies")).start()

    assert "deployment cannot bind its port" in caught.value.reason


def test_check_tells_of_a_child_that_died_later(
    make_options: MakeOptions, eventually: Callable[[Callable[[], object]], None]
) -> None:
    """A death between two tests is noticed and explained."""
    supervisor = Supervisor(make_options(broker="leaves"))
    supervisor.start()
    try:
        eventually(lambda: any(child.has_ended for child in watched(supervisor)))
        with pytest.raises(TargetDied, match="had enough"):
            supervisor.check()
    finally:
        supervisor.stop()


def test_wait_ends_when_a_child_dies(make_options: MakeOptions) -> None:
    """The supervisor in the foreground does not go on with half of its processes."""
    supervisor = Supervisor(make_options(control="leaves"))
    try:
        supervisor.start()
        with pytest.raises(TargetDied, match="control plane ended with exit code 1"):
            supervisor.wait()
    finally:
        supervisor.stop()


def test_a_start_can_be_called_off(make_options: MakeOptions, private_temp: Path) -> None:
    """A readable wake-up descriptor ends every wait."""
    read_end, write_end = os.pipe()
    os.write(write_end, b"!")
    try:
        with pytest.raises(Interrupted):
            Supervisor(make_options(broker="hangs"), wake_up=read_end).start()
    finally:
        os.close(read_end)
        os.close(write_end)
    assert list(private_temp.iterdir()) == []


def test_stop_ends_also_children_that_do_not_listen(
    make_options: MakeOptions, private_temp: Path, processes_of: Callable[[Path], list[int]]
) -> None:
    """SIGTERM first, then the lifeline, then SIGKILL."""
    supervisor = Supervisor(make_options(broker="stubborn"))
    supervisor.start()
    assert len(processes_of(private_temp.parent)) == 2

    supervisor.stop()
    supervisor.stop()

    assert processes_of(private_temp.parent) == []


def test_a_start_that_another_thread_stops_fails(
    make_options: MakeOptions,
    private_temp: Path,
    processes_of: Callable[[Path], list[int]],
    eventually: Callable[[Callable[[], object]], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Wherever the two meet, nobody and nothing is left."""
    monkeypatch.setattr(children_module, "_START_SECONDS", 5)
    supervisor = Supervisor(make_options(broker="hangs"))
    outcome: list[Exception] = []

    def start() -> None:
        try:
            supervisor.start()
        except Exception as error:  # noqa: BLE001 - a thread boundary: the test gets it
            outcome.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    eventually(lambda: len(watched(supervisor)) == 2)
    supervisor.stop()
    thread.join(timeout=30)

    assert len(outcome) == 1
    eventually(lambda: processes_of(private_temp.parent) == [])
    assert list(private_temp.iterdir()) == []


def test_a_supervisor_starts_once(make_options: MakeOptions) -> None:
    """A second start of the same supervisor is a mistake of the caller."""
    supervisor = Supervisor(make_options())
    supervisor.start()
    try:
        with pytest.raises(RuntimeError, match="already started"):
            supervisor.start()
        supervisor.check()
    finally:
        supervisor.stop()


def test_a_supervisor_that_was_not_started_has_nothing_to_wait_for(make_options: MakeOptions) -> None:
    """Waiting is a mistake of the caller; looking and stopping are not."""
    supervisor = Supervisor(make_options())
    supervisor.check()
    supervisor.stop()
    with pytest.raises(RuntimeError, match="not started"):
        supervisor.wait()


def test_a_deployment_that_cannot_be_started_leaves_no_descriptors(make_options: MakeOptions, tmp_path: Path) -> None:
    """The pipe it was to be told through is closed with the error."""
    children = Children()
    briefing = Briefing.make(make_options(), folder=children.folder, addresses=["127.0.0.1"], control_port=1)
    children.call_off()
    before = len(list(Path("/dev/fd").iterdir()))
    with pytest.raises(Interrupted):
        Deployment(children, briefing, tmp_path)
    assert len(list(Path("/dev/fd").iterdir())) == before
    children.put_away()


def test_two_supervisors_live_side_by_side(make_options: MakeOptions) -> None:
    """Neither knows of the other."""
    options = make_options()
    first, second = Supervisor(options), Supervisor(options)
    try:
        assert first.start().ca_file != second.start().ca_file
        first.stop()
        second.check()
    finally:
        first.stop()
        second.stop()


def test_a_stack_without_a_program_is_refused(tmp_path: Path) -> None:
    """The mistake is named before anything is started."""
    with pytest.raises(SettingsError, match=r"Pulumi\.yaml"):
        Supervisor(SupervisorOptions(stack=tmp_path)).start()


def test_windows_is_refused_in_one_sentence(make_options: MakeOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the stand-in cannot run it says so, and what to do."""
    monkeypatch.setattr(sys, "platform", "win32")

    with pytest.raises(TargetUnavailable, match="WSL") as caught:
        Supervisor(make_options()).start()

    assert "\n" not in str(caught.value)


def test_the_embedded_target_stops_when_the_outputs_are_wrong(
    make_options: MakeOptions, private_temp: Path, processes_of: Callable[[Path], list[int]]
) -> None:
    """A program that exports something else is an error of the start, not of the first test."""
    target = EmbeddedTarget()
    target._supervisor = Supervisor(make_options(stack=True))

    with pytest.raises(TargetUnavailable, match="output region is missing"):
        target.start()

    assert processes_of(private_temp.parent) == []


def test_the_embedded_target_gives_an_environment(make_options: MakeOptions) -> None:
    """What the supervisor started is what the run gets."""
    target = EmbeddedTarget(stack=None)
    target._supervisor = Supervisor(make_options())
    environment = target.start()
    try:
        target.check()
        assert environment.target == "embedded"
        assert environment.ready is not None
        assert json.loads(json.dumps(environment.ready.outputs)) == {}
    finally:
        target.stop()
