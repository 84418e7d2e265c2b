"""A target of which nobody can say what it has before it was tried."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from harness.errors import TargetError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from harness.targets.base import Capability, Environment, Target

    Probe = Callable[[Environment], Mapping[Capability, str]]


class ProbedTarget:
    """A target whose capabilities are what it declares less what trying them has shown to be missing.

    Args:
        target: not yet started.
        probe: tries what a target that has started can do; capability → why it is missing.
    """

    is_probed: bool = True

    def __init__(self, target: Target, probe: Probe) -> None:
        self._target = target
        self._probe = probe
        self._found: Mapping[Capability, str] = {}

    @property
    def name(self) -> str:
        """As ``--target`` takes it."""
        return self._target.name

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What is left of them."""
        return self._target.capabilities - self.lacks.keys()

    @property
    def lacks(self) -> Mapping[Capability, str]:
        """Why each capability is missing; the target's own word, which knows the cause, before what was tried."""
        return MappingProxyType({**self._found, **self._target.lacks})

    @property
    def patience(self) -> float:
        """Seconds that a wait for something that should come may take here."""
        return self._target.patience

    def check_options(self) -> None:
        """Find what can be found wrong without starting anything.

        Raises:
            TargetError: as for the target.
        """
        self._target.check_options()

    def start(self) -> Environment:
        """Start the target and try what it can.

        Raises:
            TargetError: it did not start.
        """
        environment = self._target.start()
        try:
            self._found = self._probe(environment)
        except BaseException as error:
            try:
                self._target.stop()
            except TargetError as left:
                error.add_note(str(left))
            raise
        return environment

    def check(self) -> None:
        """Make sure that the target still runs.

        Raises:
            TargetError: it ended.
        """
        self._target.check()

    def stop(self) -> None:
        """Give back what `start` took.

        Raises:
            TargetError: something is left.
        """
        self._target.stop()
