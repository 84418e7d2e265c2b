"""LocalStack's container: how it is made, what it is awaited by, and how it fails to start."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from docker.errors import APIError, DockerException
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer, Reaper

from harness.errors import TargetDied, TargetUnavailable
from harness.targets import localstack
from harness.targets.localstack import LocalStackTarget

if TYPE_CHECKING:
    from harness.targets.options import TargetOptions
    from tests.unit.targets.localstack.conftest import MadeUpDocker, MadeUpEndpoint


def test_the_target_without_docker_says_so(options: TargetOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon that does not answer is one sentence that says what to do, and nothing is left to stop."""

    def refuse(**_: Any) -> None:
        raise DockerException("Error while fetching server API version: no such file\nand a second line")

    monkeypatch.setattr("docker.from_env", refuse)
    target = LocalStackTarget(options)

    with pytest.raises(TargetUnavailable, match=r"needs Docker, and it does not answer \(Error.*no such file\): start"):
        target.start()

    target.stop()


def test_the_container_is_the_pinned_image_with_its_environment(token: str) -> None:
    """Image and version are ours, IAM is enforced, and the gateway and the broker's ports are where we look."""
    name, _, tag = localstack.IMAGE.partition(":")
    environment = localstack.make_environment(token)

    assert name == "localstack/localstack"
    assert [part.isdecimal() for part in tag.split(".")] == [True, True, True]
    assert environment["LOCALSTACK_AUTH_TOKEN"] == token
    assert environment["ENFORCE_IAM"] == "1"
    assert environment["GATEWAY_LISTEN"] == "0.0.0.0:4566"
    assert environment["LOCALSTACK_HOST"] == "localhost.localstack.cloud:4566"
    assert environment["AWS_DEFAULT_REGION"] == "us-east-1"
    assert (environment["EXTERNAL_SERVICE_PORTS_START"], environment["EXTERNAL_SERVICE_PORTS_END"]) == ("4510", "4560")


def test_the_container_is_created_as_described(
    docker: MadeUpDocker, options: TargetOptions, emulator: type[MadeUpEndpoint], token: str
) -> None:
    """Docker gets image, environment and ports, these on loopback alone; the reaper of testcontainers is on."""
    target = LocalStackTarget(options)
    target.start()
    target.stop()

    assert emulator.told
    ((image, settings),) = docker.created
    assert image == localstack.IMAGE
    assert settings["command"] is None  # the image's own
    assert settings["environment"] == localstack.make_environment(token)
    wanted = [4566, *range(4510, 4560)]
    assert settings["ports"] == {f"{port}/tcp": ("127.0.0.1", port) for port in wanted}
    assert settings["extra_hosts"] == {"host.docker.internal": "host-gateway"}
    assert settings["volumes"] == {}  # the daemon's socket least of all
    assert docker.is_reaper_asked


def test_the_reaper_is_not_turned_off(docker: MadeUpDocker, token: str) -> None:
    """Making a container changes nothing of testcontainers' own settings."""
    assert isinstance(localstack.make_container(token), DockerContainer)
    assert docker
    assert not testcontainers_config.ryuk_disabled


def test_a_container_that_ends_tells_the_end_of_its_log(
    docker: MadeUpDocker, options: TargetOptions, token: str
) -> None:
    """A token that is refused shows in the message, though not itself, and the container is taken away."""
    lines = [f"line {number}" for number in range(50)]
    docker.container.log = "\n".join([*lines, f"License activation failed for {token}"]).encode()
    docker.container.status_when_started = "exited"

    with pytest.raises(TargetDied) as died:
        LocalStackTarget(options).start()

    assert str(died.value).startswith("The LocalStack container ended before it was ready; the end of its log:\n")
    assert died.value.tail[-2:] == ("line 49", "License activation failed for ***")
    assert len(died.value.tail) == 30
    assert died.value.__suppress_context__
    assert docker.container.removed


def test_a_container_that_is_never_ready_is_given_up(
    docker: MadeUpDocker, options: TargetOptions, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    """The wait has an end, tells the log, and takes the container away; a line that only holds the word is not it."""
    monkeypatch.setattr(localstack, "READY_WITHIN", 0.0)
    docker.container.log = f"Not Ready. yet, {token}\n".encode()

    with pytest.raises(TargetDied, match="was not ready within 0 s") as died:
        LocalStackTarget(options).start()

    assert died.value.tail == ("Not Ready. yet, ***",)
    assert docker.container.removed


def test_the_wait_has_a_bound() -> None:
    """Nobody waits longer than some minutes for a container, and no pull counts as waiting."""
    assert 60 <= localstack.READY_WITHIN <= 300


def test_the_wait_strategy_gets_its_bound(docker: MadeUpDocker, token: str) -> None:
    """The log line and the bound are what testcontainers waits by."""
    assert docker
    strategy = localstack.make_container(token)._wait_strategy

    assert strategy is not None
    assert strategy._startup_timeout == localstack.READY_WITHIN


def test_an_image_that_cannot_be_pulled_is_one_sentence(
    docker: MadeUpDocker, options: TargetOptions, token: str
) -> None:
    """Without the image the run stops with its name and what to see to."""
    docker.pull_error = APIError(f"toomanyrequests: pull rate limit, {token}")

    with pytest.raises(TargetUnavailable, match=r"could not start localstack/localstack:.*pull rate limit") as told:
        LocalStackTarget(options).start()

    assert token not in str(told.value)
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
