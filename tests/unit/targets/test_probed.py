"""A target that is tried: what it lacks is known after its start, and a start that fails leaves nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.errors import TargetDied, TargetError, TeardownError
from harness.targets.base import Capability, Environment
from harness.targets.names import Names
from harness.targets.probed import ProbedTarget

if TYPE_CHECKING:
    from collections.abc import Mapping

ENVIRONMENT = Environment(
    target="fake", region="us-east-1", iot_endpoint="localhost", mqtts_port=1, wss_port=2, names=Names("r")
)


class FakeTarget:
    """A target that lacks what it is told to."""

    name = "fake"
    is_probed = True
    patience = 2.0

    def __init__(self, lacks: Mapping[Capability, str] | None = None) -> None:
        self.lacks = dict(lacks or {})
        self.calls: list[str] = []
        self.left: TeardownError | None = None

    @property
    def capabilities(self) -> frozenset[Capability]:
        """All others."""
        return frozenset(Capability) - self.lacks.keys()

    def check_options(self) -> None:
        """Note it."""
        self.calls.append("check_options")

    def start(self) -> Environment:
        """Note it."""
        self.calls.append("start")
        return ENVIRONMENT

    def check(self) -> None:
        """Note it, and be dead."""
        self.calls.append("check")
        raise TargetDied("broker", "ended")

    def stop(self) -> None:
        """Note it."""
        self.calls.append("stop")
        if self.left:
            raise self.left


def test_what_was_tried_in_vain_is_missing() -> None:
    """From the start on; the target's own word for why, which knows the cause, stands above what showed."""
    tried: list[Environment] = []

    def probe(environment: Environment) -> dict[Capability, str]:
        tried.append(environment)
        return {Capability.POLICY: "a stranger was let in", Capability.HTTP_ACTION: "there is no rule"}

    target = ProbedTarget(FakeTarget({Capability.HTTP_ACTION: "no receiver was named"}), probe)
    before = target.capabilities

    assert target.start() is ENVIRONMENT
    assert tried == [ENVIRONMENT]
    assert before == frozenset(Capability) - {Capability.HTTP_ACTION}
    assert target.capabilities == before - {Capability.POLICY}
    assert target.lacks == {
        Capability.POLICY: "a stranger was let in",
        Capability.HTTP_ACTION: "no receiver was named",
    }


def test_everything_else_is_the_targets() -> None:
    """Name, patience, options, death and end."""
    fake = FakeTarget()
    target = ProbedTarget(fake, lambda _: {})

    target.check_options()
    with pytest.raises(TargetDied):
        target.check()
    target.stop()

    assert (target.name, target.patience, target.is_probed) == ("fake", 2.0, True)
    assert fake.calls == ["check_options", "check", "stop"]


@pytest.mark.parametrize("left", [None, TeardownError(["policy device"], remedy="delete it")])
def test_a_target_that_cannot_be_tried_is_stopped(left: TeardownError | None) -> None:
    """Nobody else would; what it leaves is added to why."""

    def fail(_: Environment) -> dict[Capability, str]:
        raise KeyboardInterrupt

    fake = FakeTarget()
    fake.left = left

    with pytest.raises(KeyboardInterrupt) as interrupted:
        ProbedTarget(fake, fail).start()

    assert fake.calls == ["start", "stop"]
    assert getattr(interrupted.value, "__notes__", []) == ([str(left)] if left else [])


def test_a_target_that_does_not_start_is_not_tried() -> None:
    """There is nothing to try."""

    class Broken(FakeTarget):
        def start(self) -> Environment:
            raise TargetError("no")

    def probe(_: Environment) -> dict[Capability, str]:
        raise AssertionError("tried")

    with pytest.raises(TargetError, match="no"):
        ProbedTarget(Broken(), probe).start()
