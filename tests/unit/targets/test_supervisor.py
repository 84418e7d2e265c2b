"""The supervisor with children that take no time: up, down, and what it says when one of them dies."""

from __future__ import annotations

import json
import os
import stat
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.errors import ProvisioningError, SettingsError, TargetDied, TargetUnavailable
from harness.targets.embedded import EmbeddedTarget, Supervisor, SupervisorOptions
from harness.targets.embedded import supervisor as supervisor_module
from harness.targets.embedded.supervisor import Interrupted

if TYPE_CHECKING:
    from collections.abc import Callable

    MakeOptions = Callable[..., SupervisorOptions]


def test_a_supervisor_tells_where_its_children_are(make_options: MakeOptions, private_temp: Path) -> None:
    """The ready file's content is put together from what the children report."""
    supervisor = Supervisor(make_options())
    ready = supervisor.start()
    try:
        assert ready.pid == os.getpid()
        assert (ready.control_plane_url, ready.mqtts_port, ready.wss_port) == ("http://127.0.0.1:1", 2, 3)
        assert ready.admin_url == "http://127.0.0.1:1/_thingwright"
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
        assert ready.outputs["start"] == {
            "endpoint_url": "http://127.0.0.1:1",
            "config": {"iotMqttsPort": "2", "iotWssPort": "3", "caFile": ready.ca_file},
        }
        assert ready.outputs["program"] == str(options.stack)  # absolute: the child is in another folder
        supervisor.check()
    finally:
        supervisor.stop()


def test_children_see_nothing_of_the_users_settings(make_options: MakeOptions, monkeypatch: pytest.MonkeyPatch) -> None:
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
    reports: list[dict[str, dict[str, str]]] = []
    await_reports = supervisor._await_reports
    monkeypatch.setattr(
        supervisor, "_await_reports", lambda children: [got := await_reports(children), reports.extend(got.values())][0]
    )
    supervisor.start()
    supervisor.stop()

    for report in reports[:2]:
        seen = report["environment"]
        assert not set(hostile) & set(seen)
        assert seen["AWS_CONFIG_FILE"] == seen["AWS_SHARED_CREDENTIALS_FILE"] == os.devnull
        assert seen["NO_PROXY"] == "*"


@pytest.mark.parametrize("who", ["control", "broker"])
def test_a_start_fails_with_the_tail_of_the_log_when_a_child_dies(
    who: str, make_options: MakeOptions, private_temp: Path
) -> None:
    """Whoever reads the error knows which process it was and what it said; nothing stays behind."""
    supervisor = Supervisor(make_options(**{who: "dies"}))

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

    assert processes_of(private_temp) == []


def test_a_start_fails_when_a_child_takes_for_ever(
    make_options: MakeOptions, monkeypatch: pytest.MonkeyPatch, private_temp: Path
) -> None:
    """Waiting has an end, and the error says for whom."""
    monkeypatch.setattr(supervisor_module, "_START_SECONDS", 0.3)

    with pytest.raises(TargetDied, match="The broker was not ready within 0 s"):
        Supervisor(make_options(broker="hangs")).start()

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
        eventually(lambda: any(child.has_ended for child in supervisor._children))
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
    assert len(processes_of(private_temp)) == 2

    supervisor.stop()
    supervisor.stop()

    assert processes_of(private_temp) == []


def test_a_start_that_another_thread_stops_fails(
    make_options: MakeOptions,
    private_temp: Path,
    processes_of: Callable[[Path], list[int]],
    eventually: Callable[[Callable[[], object]], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Wherever the two meet, nobody and nothing is left."""
    monkeypatch.setattr(supervisor_module, "_START_SECONDS", 5)
    supervisor = Supervisor(make_options(broker="hangs"))
    outcome: list[Exception] = []

    def start() -> None:
        try:
            supervisor.start()
        except Exception as error:  # noqa: BLE001 - a thread boundary: the test gets it
            outcome.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    eventually(lambda: len(supervisor._children) == 2)
    supervisor.stop()
    thread.join(timeout=30)

    assert len(outcome) == 1
    eventually(lambda: processes_of(private_temp) == [])
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


def test_a_machine_without_ipv6_gets_one_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """The addresses to listen on are those this machine has."""

    def refuse(*_arguments: object) -> None:
        raise OSError

    monkeypatch.setattr("socket.socket", refuse)

    assert supervisor_module._loopback_addresses() == ["127.0.0.1"]


def test_the_embedded_target_stops_when_the_outputs_are_wrong(
    make_options: MakeOptions, private_temp: Path, processes_of: Callable[[Path], list[int]]
) -> None:
    """A program that exports something else is an error of the start, not of the first test."""
    target = EmbeddedTarget()
    target._supervisor = Supervisor(make_options(stack=True))

    with pytest.raises(TargetUnavailable, match="output region is missing"):
        target.start()

    assert processes_of(private_temp) == []


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
