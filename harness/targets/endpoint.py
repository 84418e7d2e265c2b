"""The ``endpoint`` target: a stand-in that already runs, known by its ready file and by nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from harness.errors import TargetUnavailable
from harness.targets import ready
from harness.targets.base import Capability, Environment
from harness.targets.names import Names, make_run_id

if TYPE_CHECKING:
    from pathlib import Path


class EndpointTarget:
    """Runs at what ``thingwright serve --ready-file`` started elsewhere; it starts, deploys and stops nothing.

    Args:
        ready_file: the file that ``serve`` wrote.
        names: makes the names of everything the run creates; fresh ones when None.
        name: the target that the file's owner plays: workers of one run share what its controller started as
            ``embedded``.
    """

    capabilities: ClassVar[frozenset[Capability]] = frozenset(Capability)
    patience: ClassVar[float] = 20.0

    def __init__(self, ready_file: Path | None, *, names: Names | None = None, name: str = "endpoint") -> None:
        self.name = name
        self._ready_file = ready_file
        self._names = names or Names(make_run_id())

    def start(self) -> Environment:
        """Read the ready file.

        Raises:
            TargetUnavailable: none was given, or it does not tell of a stand-in that runs.
        """
        return Environment.from_ready(self.name, self._read(), names=self._names)

    def check(self) -> None:
        """Make sure that the supervisor still runs.

        Raises:
            TargetUnavailable: it is gone, or another one took its place.
        """
        self._read()

    def stop(self) -> None:
        """Leave everything as it is: whoever started it stops it."""

    def _read(self) -> ready.ReadyFile:
        if self._ready_file is None:
            raise TargetUnavailable(
                "The endpoint target needs a ready file: start `thingwright serve --ready-file F` "
                "and give --ready-file F or HARNESS_READY_FILE=F."
            )
        return ready.read(self._ready_file)
