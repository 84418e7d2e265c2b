"""The process that deploys the stack: started early, told late where to deploy to, gone once it has answered."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from typing import TYPE_CHECKING, Any, Final

from harness.errors import ProvisioningError, TargetDied

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from harness.targets.embedded.briefing import Briefing
    from harness.targets.embedded.children import Children

NAME: Final = "deployment"


class Deployment:
    """A program that is to be deployed; to be closed.

    Args:
        children: what its process is among.
        briefing: what was decided for this start.
        stack: folder of the program.
    """

    def __init__(self, children: Children, briefing: Briefing, stack: Path) -> None:
        self._children = children
        start_fd, self._start_end = os.pipe()
        try:
            self._child = children.spawn(
                NAME,
                briefing.options.deployment_command,
                config=briefing.for_deployment(stack, start_fd=start_fd),
                inherits=[start_fd],
                answers_on_stdout=True,
            )
        except BaseException:
            self.close()
            raise
        finally:
            os.close(start_fd)

    def run(self, start_line: Mapping[str, Any]) -> dict[str, Any]:
        """Deploy; returns the outputs of the stack.

        Args:
            start_line: where to and with which configuration.

        Raises:
            TargetDied: a process ended, this one included: see `provisioning_error`.
            Interrupted: the wait was broken off.
        """
        with contextlib.suppress(BrokenPipeError):  # whether it still lives shows when its answer is awaited
            os.write(self._start_end, json.dumps(start_line).encode() + b"\n")
        self.close()
        outputs = self._children.await_reports([self._child])[self._child]
        self._children.end(self._child, signal.SIGKILL)  # it has said all it had to say
        return outputs

    def close(self) -> None:
        """Give up telling it more."""
        start_end, self._start_end = self._start_end, -1
        if start_end >= 0:
            os.close(start_end)


def provisioning_error(error: TargetDied, stack: Path | None) -> ProvisioningError:
    """Turn the end of the deployment into the error it left as the last line of its log."""
    try:
        told = json.loads(error.tail[-1])
        return ProvisioningError(
            told["resource"], reason=told["reason"], call=told["call"], request_id=told["request_id"]
        )
    except (IndexError, ValueError, KeyError, TypeError):
        return ProvisioningError(f"program {stack}", reason=str(error))
