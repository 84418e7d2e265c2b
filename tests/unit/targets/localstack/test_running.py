"""The LocalStack target as it runs: what a failed start leaves, checking, stopping."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from docker.errors import APIError, NotFound

from harness.errors import ProvisioningError, TargetDied, TargetUnavailable, TeardownError
from harness.targets.base import Capability
from harness.targets.localstack import LocalStackTarget

if TYPE_CHECKING:
    from harness.targets.options import TargetOptions
    from tests.unit.targets.localstack.conftest import MadeUpDocker, MadeUpEndpoint


def test_before_the_start_nothing_is_known(options: TargetOptions) -> None:
    """A target that was not started promises nothing to be missing, and cannot be checked."""
    target = LocalStackTarget(options)

    assert target.capabilities == frozenset(Capability)
    assert target.lacks == {}
    with pytest.raises(TargetUnavailable, match="was not started"):
        target.check()


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
    docker: MadeUpDocker, options: TargetOptions, emulator: type[MadeUpEndpoint], token: str
) -> None:
    """A container that ended is told of with the end of its log; one that runs is asked further."""
    target = LocalStackTarget(options)
    target.start()
    target.check()
    asked = emulator.checks

    docker.container.status = "exited"
    docker.container.log = f"killed, {token}".encode()
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
