"""The targets that exist, by the names that ``--target`` takes."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from harness.errors import SettingsError
from harness.targets.embedded.options import DEFAULT_STACK
from harness.targets.embedded.target import EmbeddedTarget
from harness.targets.endpoint import EndpointTarget

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from harness.targets.base import Target
    from harness.targets.names import Names

TARGETS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "embedded": "the stand-in, started for this run: no account, no Docker, no token",
        "endpoint": "a stand-in that already runs, known by its ready file",
    }
)
"""Name to what it is, in words for help texts."""


def make_target(
    name: str, *, ready_file: Path | None = None, stack: Path | None = None, names: Names | None = None
) -> Target:
    """Return the target of a name, not yet started.

    Args:
        name: one of `TARGETS`.
        ready_file: for ``endpoint``.
        stack: for ``embedded``: folder of another Pulumi program than this project's.
        names: makes the names of everything the run creates; fresh ones when None.

    Raises:
        SettingsError: there is no such target.
    """
    if name == "embedded":
        return EmbeddedTarget(stack=stack or DEFAULT_STACK, names=names)
    if name == "endpoint":
        return EndpointTarget(ready_file, names=names)
    raise SettingsError("--target", name, f"one of {', '.join(TARGETS)}")
