"""The targets that exist, by the names that ``--target`` takes."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from harness.errors import SettingsError
from harness.targets.options import TargetOptions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.targets.base import Target
    from harness.targets.names import Names

TARGETS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "embedded": "the stand-in, started for this run: no account, no Docker, no token",
        "endpoint": "a stand-in or an emulator that already runs, known by its ready file or its URL",
        "localstack": "a LocalStack container, started for this run: Docker and a token",
        "aws": "the stack that was deployed to an AWS account, known by its outputs",
    }
)
"""Name to what it is, in words for help texts."""


def make_target(name: str, options: TargetOptions | None = None, *, names: Names | None = None) -> Target:
    """Return the target of a name, not yet started.

    Args:
        name: one of `TARGETS`.
        options: what it is told; nothing when None.
        names: makes the names of everything the run creates; fresh ones when None.

    Raises:
        SettingsError: there is no such target.
    """
    options = options or TargetOptions()
    # A run uses one of them, and imports no other.
    if name == "embedded":
        from harness.targets.embedded import DEFAULT_STACK, EmbeddedTarget  # noqa: PLC0415 - see above

        return EmbeddedTarget(stack=options.stack or DEFAULT_STACK, names=names)
    if name == "endpoint":
        from harness.targets.endpoint import EndpointTarget  # noqa: PLC0415 - see above

        return EndpointTarget(options, names=names)
    if name == "localstack":
        from harness.targets.localstack import LocalStackTarget  # noqa: PLC0415 - see above

        return LocalStackTarget(options, names=names)
    if name == "aws":
        from harness.targets.aws import AwsTarget  # noqa: PLC0415 - see above

        return AwsTarget(options, names=names)
    raise SettingsError("--target", name, f"one of {', '.join(TARGETS)}")
