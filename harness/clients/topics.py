"""The topics of one test, apart from every other test's."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Topics:
    """Topics below a prefix that nobody else uses.

    Args:
        prefix: ends with ``/``, for example ``public/fan-out-1f2e3d4c-7/``.
        telemetry: the stack's topic for readings, where guests may not go.
    """

    prefix: str
    telemetry: str = "things/telemetry"

    @property
    def broadcast(self) -> str:
        """The topic everybody of the test listens to."""
        return self.prefix + "broadcast"

    @property
    def own_telemetry(self) -> str:
        """A topic beside the stack's telemetry topic, for a rule of the test's own and the devices that may use it."""
        return f"{self.telemetry}/{self.prefix.rstrip('/').rpartition('/')[2]}"

    @property
    def everything(self) -> str:
        """The topic filter of all topics of the test."""
        return self.prefix + "#"

    def named(self, name: str) -> str:
        """Return another topic of the test."""
        return self.prefix + name
