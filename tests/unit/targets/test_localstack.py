"""The LocalStack target, with the real testcontainers above a Docker that is made up: no daemon, no image, no token."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer, Reaper

from harness.errors import ProvisioningError, SettingsError, TargetDied, TargetUnavailable, TeardownError
from harness.targets import localstack
from harness.targets.base import Capability, Environment
from harness.targets.embedded.certificates import make_server_identity
from harness.targets.endpoint import EndpointTarget
from harness.targets.localstack import LocalStackTarget
from harness.targets.names import Names
from harness.targets.options import TargetOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

TOKEN = "ls-made-up-token"
READY = b"LocalStack version: 2026.9.0\nReady.\n"
NAMES = Names("run-1")


class MadeUpContainer:
    """What docker's own library gives for a container."""

    def __init__(self, log: bytes) -> None:
        self.id = "0123456789abcdef"
        self.short_id = "0123456789ab"
        self.status = "created"
        self.status_when_started = "running"
        self.log = log
        self.attrs: dict[str, Any] = {"State": {"ExitCode": 55}}
        self.start_error: Exception | None = None
        self.remove_error: Exception | None = None
        self.removed: list[dict[str, bool]] = []

    def start(self) -> None:
        """Start, or fail as it was told to."""
        if self.start_error:
            raise self.start_error
        self.status = self.status_when_started

    def reload(self) -> None:
        """Nothing is remembered that could be stale."""

    def logs(self, *, stdout: bool = True, stderr: bool = True) -> bytes:
        """Give all as standard output."""
        assert stdout or stderr
        return self.log if stdout else b""

    def remove(self, **how: bool) -> None:
        """Note that it was asked for, or fail as it was told to."""
        if self.remove_error:
            raise self.remove_error
        self.removed.append(how)


class MadeUpDocker:
    """What docker's own library gives for a daemon."""

    def __init__(self) -> None:
        self.api = SimpleNamespace(headers={}, base_url="http+docker://localhost")
        self.container = MadeUpContainer(READY)
        self.created: list[tuple[str, dict[str, Any]]] = []
        self.pull_error: Exception | None = None
        self.is_reaper_asked = False
        self.images = SimpleNamespace(get=self._get_image)
        self.images.pull = self._pull
        self.containers = SimpleNamespace(create=self._create)
        self.networks = SimpleNamespace(list=lambda **_: [])

    def _get_image(self, _name: str) -> None:
        if self.pull_error:
            raise ImageNotFound("not here yet")

    def _pull(self, _name: str) -> None:
        assert self.pull_error
        raise self.pull_error

    def _create(self, image: str, **settings: Any) -> MadeUpContainer:
        self.created.append((image, settings))
        return self.container

    def close(self) -> None:
        """There is no connection."""


@pytest.fixture
def docker(monkeypatch: pytest.MonkeyPatch) -> MadeUpDocker:
    """A Docker daemon that does what it is told to."""
    daemon = MadeUpDocker()
    monkeypatch.setattr("docker.from_env", lambda **_: daemon)
    monkeypatch.setattr(testcontainers_config, "_ryuk_disabled", False)
    monkeypatch.setattr(Reaper, "get_instance", lambda: setattr(daemon, "is_reaper_asked", True))
    return daemon


@pytest.fixture
def options() -> TargetOptions:
    """What a run needs at least."""
    return TargetOptions(localstack_token=TOKEN)


class Answers(BaseHTTPRequestHandler):
    """LocalStack's gateway, as far as this target itself asks it."""

    address: ClassVar[str]
    status: ClassVar[int]
    ca: ClassVar[bytes]

    def do_GET(self) -> None:
        """Answer DescribeEndpoint, and give the CA."""
        if self.path.startswith("/endpoint?endpointType=iot"):
            code, body = self.status, json.dumps({"endpointAddress": self.address}).encode()
        elif self.path == "/_aws/iot/LocalStackIoTRootCA.pem" and self.ca:
            code, body = 200, self.ca
        else:
            code, body = 404, b"{}"
        self.send_response(code)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[type[Answers]]:
    """A gateway on a port of its own; what it answers can be changed."""
    make_server_identity(tmp_path)

    class ItsAnswers(Answers):
        address = "000000000000.iot.us-east-1.localhost:4510"
        status = 200
        ca = (tmp_path / "ca.pem").read_bytes()

    monkeypatch.setattr("socket.getaddrinfo", resolve_to("127.0.0.1"))
    with ThreadingHTTPServer(("127.0.0.1", 0), ItsAnswers) as server:
        monkeypatch.setattr(localstack, "_URL", f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield ItsAnswers
        server.shutdown()
        thread.join()


def resolve_to(address: str) -> Any:
    """Give a name server that answers everything alike."""
    return lambda _host, port, *_, **__: [(2, 1, 6, "", (address, int(port)))]


class MadeUpEndpoint(EndpointTarget):
    """The emulator's target, without a stack to deploy: what it was told is checked by the real one."""

    told: ClassVar[list[TargetOptions]] = []
    start_error: ClassVar[Exception | None] = None
    stop_error: ClassVar[Exception | None] = None
    checks: ClassVar[int] = 0

    def __init__(self, options: TargetOptions, *, names: Names, name: str) -> None:
        super().__init__(options, names=names, name=name)
        self.told.append(options)

    @property
    def lacks(self) -> dict[Capability, str]:
        """One, so that it can be seen from outside."""
        return {Capability.HTTP_ACTION: "nobody posts"}

    def start(self) -> Environment:
        """Check the options and make an environment of them."""
        self.check_options()
        if self.start_error:
            raise self.start_error
        told = self._options
        assert told.iot_endpoint
        assert told.mqtts_port
        assert told.wss_port
        return Environment(
            target=self.name,
            region="us-east-1",
            iot_endpoint=told.iot_endpoint,
            mqtts_port=told.mqtts_port,
            wss_port=told.wss_port,
            names=self._names,
            is_shared=True,
        )

    def check(self) -> None:
        """Count."""
        type(self).checks += 1

    def stop(self) -> None:
        """Fail as it was told to."""
        if self.stop_error:
            raise self.stop_error


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch, gateway: type[Answers]) -> type[MadeUpEndpoint]:
    """What becomes of the container's address: nothing is deployed."""
    assert gateway

    class ItsEndpoint(MadeUpEndpoint):
        told: ClassVar[list[TargetOptions]] = []

    monkeypatch.setattr(localstack, "EndpointTarget", ItsEndpoint)
    return ItsEndpoint


def test_the_target_without_a_token_says_so_before_docker_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a token the run stops with one sentence, whether there is a Docker or not."""
    monkeypatch.setattr("docker.from_env", lambda **_: pytest.fail("Docker was asked"))

    for ask in (LocalStackTarget(TargetOptions()).check_options, LocalStackTarget(TargetOptions()).start):
        with pytest.raises(TargetUnavailable, match=r"set LOCALSTACK_AUTH_TOKEN.*--target embedded") as told:
            ask()
        assert "\n" not in str(told.value)


def test_the_target_without_docker_says_so(options: TargetOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon that does not answer is one sentence that says what to do, and nothing is left to stop."""

    def refuse(**_: Any) -> None:
        raise DockerException("Error while fetching server API version: no such file\nand a second line")

    monkeypatch.setattr("docker.from_env", refuse)
    target = LocalStackTarget(options)

    with pytest.raises(TargetUnavailable, match=r"needs Docker, and it does not answer \(Error.*no such file\): start"):
        target.start()

    target.stop()


def test_the_target_without_testcontainers_names_the_command(
    options: TargetOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has not installed the extra reads what to install."""
    find = importlib.util.find_spec
    monkeypatch.setattr(localstack, "find_spec", lambda name: None if name == "testcontainers" else find(name))

    with pytest.raises(TargetUnavailable, match=r'`pip install "thingwright\[localstack\]"`'):
        LocalStackTarget(options).check_options()
    with pytest.raises(TargetUnavailable, match="needs testcontainers"):
        localstack.make_container(TOKEN)


def test_testcontainers_is_not_imported_before_it_is_needed() -> None:
    """Importing the target, and asking it whether its options are right, loads neither testcontainers nor docker."""
    program = (
        "import sys\n"
        "from harness.targets.localstack import LocalStackTarget\n"
        "from harness.targets.options import TargetOptions\n"
        "LocalStackTarget(TargetOptions(localstack_token='t')).check_options()\n"
        "print(sorted({'testcontainers.core.container', 'docker'} & sys.modules.keys()))\n"
    )

    ran = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)

    assert ran.stdout == "[]\n"


@pytest.mark.parametrize(
    ("field", "value", "option"),
    [
        ("ready_file", Path("ready.json"), "--ready-file"),
        ("endpoint_url", "http://127.0.0.1:4566", "--endpoint-url"),
        ("iot_endpoint", "localhost", "--iot-endpoint"),
        ("mqtts_port", 8883, "--mqtts-port"),
        ("wss_port", 443, "--wss-port"),
        ("ca_file", Path("ca.pem"), "--ca-file"),
        ("stack_outputs", Path("outputs.json"), "--stack-outputs"),
        ("pulumi_stack", "dev", "--pulumi-stack"),
    ],
)
def test_the_target_refuses_to_be_told_where_something_is(
    options: TargetOptions, field: str, value: object, option: str
) -> None:
    """The container is where this run puts it: an option that says otherwise is a mistake."""
    told = replace(options, **{field: value})  # type: ignore[arg-type] # the field's own type

    with pytest.raises(SettingsError, match="starts a container of its own") as refused:
        LocalStackTarget(told).check_options()

    assert refused.value.variable == option


def test_the_token_is_not_shown_by_the_options(options: TargetOptions) -> None:
    """Whoever prints the options does not print the token."""
    assert TOKEN not in repr(options)


def test_the_container_is_the_pinned_image_with_its_environment() -> None:
    """Image and version are ours, IAM is enforced, and the gateway and the broker's ports are where we look."""
    name, _, tag = localstack.IMAGE.partition(":")
    environment = localstack.make_environment(TOKEN)

    assert name == "localstack/localstack"
    assert [part.isdecimal() for part in tag.split(".")] == [True, True, True]
    assert environment["LOCALSTACK_AUTH_TOKEN"] == TOKEN
    assert environment["ENFORCE_IAM"] == "1"
    assert environment["GATEWAY_LISTEN"] == "0.0.0.0:4566"
    assert environment["LOCALSTACK_HOST"] == "localhost.localstack.cloud:4566"
    assert environment["AWS_DEFAULT_REGION"] == "us-east-1"
    assert (environment["EXTERNAL_SERVICE_PORTS_START"], environment["EXTERNAL_SERVICE_PORTS_END"]) == ("4510", "4560")


def test_the_container_is_created_as_described(
    docker: MadeUpDocker, options: TargetOptions, emulator: type[MadeUpEndpoint]
) -> None:
    """Docker gets image, environment and ports, these on loopback alone; the reaper of testcontainers is on."""
    target = LocalStackTarget(options, names=NAMES)
    target.start()
    target.stop()

    assert emulator.told
    ((image, settings),) = docker.created
    assert image == localstack.IMAGE
    assert settings["command"] is None  # the image's own
    assert settings["environment"] == localstack.make_environment(TOKEN)
    wanted = [4566, *range(4510, 4560)]
    assert settings["ports"] == {f"{port}/tcp": ("127.0.0.1", port) for port in wanted}
    assert settings["extra_hosts"] == {"host.docker.internal": "host-gateway"}
    assert settings["volumes"] == {}  # the daemon's socket least of all
    assert docker.is_reaper_asked


def test_start_hands_the_emulator_what_it_found(
    docker: MadeUpDocker, options: TargetOptions, emulator: type[MadeUpEndpoint], tmp_path: Path
) -> None:
    """Broker and CA are where LocalStack says; stack and receiver are the user's; the environment is the run's."""
    (tmp_path / "Pulumi.yaml").write_text("name: made-up\n")
    receiver = {"receiver_url": "https://host.docker.internal:4", "receiver_secret": "shh", "receiver_table": "rows"}
    target = LocalStackTarget(replace(options, stack=tmp_path, **receiver), names=NAMES)  # type: ignore[arg-type] # of text

    environment = target.start()

    (found,) = emulator.told
    assert environment.target == "localstack"
    assert environment.names is NAMES
    assert environment.iot_endpoint == "000000000000.iot.us-east-1.localhost"
    assert (environment.mqtts_port, environment.wss_port) == (4510, 4510)
    assert not environment.is_shared
    assert found.stack == tmp_path
    assert {name: getattr(found, name) for name in receiver} == receiver
    assert found.ca_file
    assert found.ca_file.read_bytes().startswith(b"-----BEGIN CERTIFICATE-----")
    assert target.is_probed
    assert target.capabilities == frozenset(Capability) - {Capability.HTTP_ACTION}
    assert target.lacks == {Capability.HTTP_ACTION: "nobody posts"}

    target.stop()
    target.stop()

    assert not found.ca_file.exists()
    assert docker.container.removed == [{"force": True, "v": True}]


def test_before_the_start_nothing_is_known() -> None:
    """A target that was not started promises nothing to be missing, and cannot be checked."""
    target = LocalStackTarget(TargetOptions(localstack_token=TOKEN))

    assert target.capabilities == frozenset(Capability)
    assert target.lacks == {}
    with pytest.raises(TargetUnavailable, match="was not started"):
        target.check()


def test_a_container_that_ends_tells_the_end_of_its_log(docker: MadeUpDocker, options: TargetOptions) -> None:
    """A token that is refused shows in the message, though not itself, and the container is taken away."""
    lines = [f"line {number}" for number in range(50)]
    docker.container.log = "\n".join([*lines, f"License activation failed for {TOKEN}"]).encode()
    docker.container.status_when_started = "exited"

    with pytest.raises(TargetDied) as died:
        LocalStackTarget(options).start()

    assert str(died.value).startswith("The LocalStack container ended before it was ready; the end of its log:\n")
    assert died.value.tail[-2:] == ("line 49", "License activation failed for ***")
    assert len(died.value.tail) == 30
    assert died.value.__suppress_context__
    assert docker.container.removed


def test_a_container_that_is_never_ready_is_given_up(
    docker: MadeUpDocker, options: TargetOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wait has an end, tells the log, and takes the container away; a line that only holds the word is not it."""
    monkeypatch.setattr(localstack, "READY_WITHIN", 0.0)
    docker.container.log = f"Not Ready. yet, {TOKEN}\n".encode()

    with pytest.raises(TargetDied, match="was not ready within 0 s") as died:
        LocalStackTarget(options).start()

    assert died.value.tail == ("Not Ready. yet, ***",)
    assert docker.container.removed


def test_the_wait_has_a_bound() -> None:
    """Nobody waits longer than some minutes for a container, and no pull counts as waiting."""
    assert 60 <= localstack.READY_WITHIN <= 300


def test_the_wait_strategy_gets_its_bound(docker: MadeUpDocker) -> None:
    """The log line and the bound are what testcontainers waits by."""
    assert docker
    strategy = localstack.make_container(TOKEN)._wait_strategy

    assert strategy is not None
    assert strategy._startup_timeout == localstack.READY_WITHIN


def test_an_image_that_cannot_be_pulled_is_one_sentence(docker: MadeUpDocker, options: TargetOptions) -> None:
    """Without the image the run stops with its name and what to see to."""
    docker.pull_error = APIError(f"toomanyrequests: pull rate limit, {TOKEN}")

    with pytest.raises(TargetUnavailable, match=r"could not start localstack/localstack:.*pull rate limit") as told:
        LocalStackTarget(options).start()

    assert TOKEN not in str(told.value)
    assert docker.created == []


def test_a_port_that_is_taken_is_one_sentence_and_the_container_goes(
    docker: MadeUpDocker, options: TargetOptions
) -> None:
    """Another LocalStack has the ports: it is said which, and the container that was created is taken away."""
    docker.container.start_error = APIError("Bind for 127.0.0.1:4566 failed: port is already allocated")

    with pytest.raises(TargetUnavailable, match=r"already allocated\).*4566 and 4510 to 4559"):
        LocalStackTarget(options).start()

    assert docker.container.removed


def test_a_reaper_that_cannot_be_reached_is_not_taken_for_the_container(
    docker: MadeUpDocker, options: TargetOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What goes wrong before there is a container is Docker's affair."""
    from testcontainers.core.exceptions import ContainerConnectException  # noqa: PLC0415 - only here

    def refuse() -> None:
        raise ContainerConnectException("Could not obtain network details")

    monkeypatch.setattr(Reaper, "get_instance", refuse)

    with pytest.raises(TargetUnavailable, match=r"could not start .*Could not obtain network details"):
        LocalStackTarget(options).start()

    assert docker.created == []


@pytest.mark.parametrize("error", [ProvisioningError("aws:iam/role:Role guest", reason="no"), KeyboardInterrupt()])
def test_a_start_that_fails_or_is_interrupted_takes_the_container_away(
    docker: MadeUpDocker,
    options: TargetOptions,
    emulator: type[MadeUpEndpoint],
    error: Exception,
) -> None:
    """Whatever goes wrong after the container runs, it does not stay, and the error is the first one."""
    emulator.start_error = error

    with pytest.raises(type(error)):
        LocalStackTarget(options).start()

    assert docker.container.removed
    assert not any(found.ca_file and found.ca_file.exists() for found in emulator.told)


def test_a_failed_start_does_not_hide_what_it_left_behind(
    docker: MadeUpDocker, options: TargetOptions, emulator: type[MadeUpEndpoint]
) -> None:
    """The error that is told is the start's own; a container that could not be removed is a note to it."""
    emulator.start_error = ProvisioningError("aws:iam/role:Role guest", reason="no")
    docker.container.remove_error = APIError("the daemon went away")

    with pytest.raises(ProvisioningError) as failed:
        LocalStackTarget(options).start()

    (note,) = failed.value.__notes__
    assert "docker rm --force --volumes 0123456789ab" in note


@pytest.mark.parametrize(
    ("remove_error", "raises"),
    [(None, False), (NotFound("somebody was faster"), False), (APIError("the daemon went away"), True)],
)
def test_stop_removes_the_container_though_the_stack_stays(
    docker: MadeUpDocker,
    options: TargetOptions,
    emulator: type[MadeUpEndpoint],
    remove_error: Exception | None,
    raises: bool,  # noqa: FBT001 - pytest hands it over by its name
) -> None:
    """A stack that cannot be removed goes with the container; only a container that stays is an error."""
    emulator.stop_error = TeardownError(["a policy"], remedy="remove it")
    target = LocalStackTarget(options)
    target.start()
    docker.container.remove_error = remove_error

    if raises:
        with pytest.raises(TeardownError, match=r"0123456789ab.*the daemon went away.*docker rm --force"):
            target.stop()
    else:
        target.stop()

    assert bool(docker.container.removed) == (remove_error is None)
    assert not any(found.ca_file and found.ca_file.exists() for found in emulator.told)


def test_check_asks_docker_and_then_the_emulator(
    docker: MadeUpDocker, options: TargetOptions, emulator: type[MadeUpEndpoint]
) -> None:
    """A container that ended is told of with the end of its log; one that runs is asked further."""
    target = LocalStackTarget(options)
    target.start()
    target.check()
    asked = emulator.checks

    docker.container.status = "exited"
    docker.container.log = f"killed, {TOKEN}".encode()
    with pytest.raises(TargetDied, match="LocalStack container is exited instead of running") as died:
        target.check()

    assert asked == 1
    assert died.value.tail == ("killed, ***",)
    assert emulator.checks == 1
    target.stop()


def test_check_of_a_container_that_somebody_removed_says_so(
    docker: MadeUpDocker, options: TargetOptions, emulator: type[MadeUpEndpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Docker does not know the container any more: that is what is said, log or not."""

    def refuse() -> None:
        raise NotFound("No such container")

    target = LocalStackTarget(options)
    target.start()
    monkeypatch.setattr(docker.container, "reload", refuse)
    monkeypatch.setattr(docker.container, "logs", lambda **_: refuse())

    with pytest.raises(TargetDied, match=r"cannot be found any more \(No such container\), without a word"):
        target.check()

    assert emulator.checks == 0
    target.stop()


def test_a_service_that_the_plan_lacks_is_one_sentence(
    docker: MadeUpDocker, options: TargetOptions, gateway: type[Answers]
) -> None:
    """LocalStack refuses calls of services that the token does not pay for."""
    gateway.status = 400

    with pytest.raises(TargetUnavailable, match=r"IoT service does not answer .*not part of every plan"):
        LocalStackTarget(options).start()

    assert docker.container.removed


def test_an_endpoint_without_a_port_is_refused(
    docker: MadeUpDocker, options: TargetOptions, gateway: type[Answers]
) -> None:
    """LocalStack names the port of its broker; an answer without one is not guessed at."""
    gateway.address = "somewhere.localhost"

    with pytest.raises(TargetUnavailable, match=r"'somewhere\.localhost' to DescribeEndpoint"):
        LocalStackTarget(options).start()

    assert docker.container.removed


@pytest.mark.parametrize("address", ["192.0.2.1", ""])
def test_a_name_that_does_not_lead_to_this_machine_is_refused(
    docker: MadeUpDocker, gateway: type[Answers], options: TargetOptions, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name server that filters loopback answers, or a wrong one, is told of with the line that mends it."""

    def fail(*_: Any, **__: Any) -> Any:
        raise OSError("Name or service not known")

    lead = resolve_to(address) if address else fail
    here = resolve_to("127.0.0.1")
    monkeypatch.setattr(
        "socket.getaddrinfo", lambda host, *a, **k: (here if host == "127.0.0.1" else lead)(host, *a, **k)
    )

    with pytest.raises(
        TargetUnavailable, match=rf"(it leads to {address}|is not known).*`127.0.0.1 {gateway.address[:-5]}`"
    ):
        LocalStackTarget(options).start()

    assert docker.container.removed


@pytest.mark.parametrize(("ca", "why"), [(b"", "does not give the CA"), (b"<html>", "no certificate in PEM")])
def test_a_ca_that_is_none_is_refused(
    docker: MadeUpDocker, gateway: type[Answers], options: TargetOptions, ca: bytes, why: str
) -> None:
    """Without LocalStack's CA no client can connect, so nothing is deployed."""
    gateway.ca = ca

    with pytest.raises(TargetUnavailable, match=why):
        LocalStackTarget(options).start()

    assert docker.container.removed


def test_the_reaper_is_not_turned_off(docker: MadeUpDocker) -> None:
    """Making a container changes nothing of testcontainers' own settings."""
    assert isinstance(localstack.make_container(TOKEN), DockerContainer)
    assert docker
    assert not testcontainers_config.ryuk_disabled
