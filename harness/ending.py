"""How a command ends: its work's exit code, or one sentence and the exit code of what went wrong."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Final

import typer

from harness.errors import HarnessError, SettingsError, TargetUnavailable
from harness.terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Callable

EXIT_CODES: Final = {SettingsError: 2, TargetUnavailable: 4}
INTERRUPTED: Final = 130
BROKEN_PIPE: Final = 141


def end(work: Callable[[Terminal], int]) -> None:
    """Run a command's work and end with its exit code; what went wrong is one sentence, not a traceback."""
    if callable(signal.getsignal(signal.SIGINT)):
        signal.signal(signal.SIGINT, signal.default_int_handler)  # from here on there is something to clean up
    terminal = Terminal()
    try:
        code = work(terminal)
    except KeyboardInterrupt:
        terminal.error("Interrupted.")
        code = INTERRUPTED
    except (
        BrokenPipeError
    ):  # the reader of a pipe had enough; the interpreter's own last flush must not complain either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = BROKEN_PIPE
    except (HarnessError, OSError) as error:
        terminal.error(f"thingwright: {error}")
        code = next((code for kind, code in EXIT_CODES.items() if isinstance(error, kind)), 1)
    raise typer.Exit(code)
