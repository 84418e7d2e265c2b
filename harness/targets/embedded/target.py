"""The ``embedded`` target of a test run: the stand-in, started for this run and stopped with it."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

from harness.targets.base import Capability, Environment
from harness.targets.embedded.options import DEFAULT_STACK, SupervisorOptions
from harness.targets.embedded.supervisor import Supervisor
from harness.targets.names import Names, make_run_id

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class EmbeddedTarget:
    """Starts the stand-in in processes of its own and deploys the stack to it.

    Args:
        stack: folder of the Pulumi program; None deploys none.
        quirks: switches of the stand-in that differ from their defaults, name to value as typed.
        names: makes the names of everything the run creates; fresh ones when None.
    """

    name: ClassVar[str] = "embedded"
    capabilities: ClassVar[frozenset[Capability]] = frozenset(Capability)
    lacks: ClassVar[Mapping[Capability, str]] = MappingProxyType({})
    is_probed: ClassVar[bool] = False
    patience: ClassVar[float] = 20.0

    def __init__(
        self,
        *,
        stack: Path | None = DEFAULT_STACK,
        quirks: Mapping[str, str] | None = None,
        names: Names | None = None,
    ) -> None:
        self._options = SupervisorOptions(stack=stack, quirks=dict(quirks or {}))
        self._supervisor = Supervisor(self._options)
        self._names = names or Names(make_run_id())

    def check_options(self) -> None:
        """Make sure that the stack is a program.

        Raises:
            SettingsError: it is not.
        """
        self._options.check()

    def start(self) -> Environment:
        """Start the stand-in and deploy the stack; about a second.

        Raises:
            TargetUnavailable: it cannot run here.
            SettingsError: the stack is not a program.
            TargetDied: a process ended before it was ready.
            ProvisioningError: the stack could not be deployed.
        """
        ready = self._supervisor.start()
        try:
            return Environment.from_ready(self.name, ready, names=self._names)
        except BaseException:
            self._supervisor.stop()
            raise

    def check(self) -> None:
        """Make sure that every process still runs.

        Raises:
            TargetDied: one ended; the message holds the tail of its log.
        """
        self._supervisor.check()

    def stop(self) -> None:
        """End every process within 2 s."""
        self._supervisor.stop()
