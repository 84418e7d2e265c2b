"""Where the command begins."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

STUB = """
import signal, sys, types
cli = types.ModuleType("harness.cli")
{body}
sys.modules["harness.cli"] = cli
from harness.__main__ import main
main()
"""
INTERRUPTED_IN_ITS_IMPORT = (
    "cli.__class__ = type('M', (types.ModuleType,), {'main': property(lambda _: signal.raise_signal(2))})"
)
INTERRUPTED_BEFORE_ITS_WORK = "cli.main = lambda: signal.raise_signal(signal.SIGINT)"


@pytest.mark.parametrize("body", [INTERRUPTED_IN_ITS_IMPORT, INTERRUPTED_BEFORE_ITS_WORK], ids=["import", "parsing"])
@pytest.mark.parametrize("has_stderr", [True, False])
def test_an_interruption_before_the_work_is_one_line(body: str, has_stderr: bool) -> None:  # noqa: FBT001 - a parameter
    """No traceback, and the exit code of an interruption; closed standard error changes nothing."""
    ended = subprocess.run(
        [sys.executable, "-c", STUB.format(body=body)],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        preexec_fn=None if has_stderr else lambda: os.close(2),
    )

    assert (ended.returncode, ended.stderr) == (130, "Interrupted.\n" if has_stderr else "")


def test_an_ignored_interruption_stays_ignored() -> None:
    """A shell starts background jobs that way: Ctrl-C is for the job in front."""
    body = "cli.main = lambda: (signal.raise_signal(signal.SIGINT), print('went on'))"
    program = f"import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n{STUB.format(body=body)}"

    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert ended.stdout == "went on\n"
    assert signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
