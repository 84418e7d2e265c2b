"""Run a command beside a `thingwright serve`: start it, wait for its ready file, run, stop it whatever happened.

Usage: ``python .ci/with_serve.py COMMAND [ARGUMENT]…``. The command finds the ready file in ``HARNESS_READY_FILE``;
its exit code is ours.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

READY_WITHIN = 120.0
STOPPED_WITHIN = 10.0


def await_ready(server: subprocess.Popen[bytes], ready_file: Path) -> None:
    """Return when the ready file is there; end with a sentence when the server died or took too long."""
    deadline = time.monotonic() + READY_WITHIN
    while not ready_file.exists():
        if (code := server.poll()) is not None:
            sys.exit(f"thingwright serve ended with exit code {code} before it was ready.")
        if time.monotonic() > deadline:
            sys.exit(f"thingwright serve was not ready within {READY_WITHIN:.0f} s.")
        time.sleep(0.05)


def stop(server: subprocess.Popen[bytes]) -> int:
    """End the server as an operator would, and make sure of it; give its exit code."""
    if server.poll() is None:
        server.send_signal(signal.SIGTERM)
    try:
        return server.wait(timeout=STOPPED_WITHIN)
    except subprocess.TimeoutExpired:
        server.kill()
        return server.wait()


def main(command: Sequence[str]) -> int:
    """Run the command beside a server and give its exit code, or 1 when the server did not end cleanly."""
    with tempfile.TemporaryDirectory() as folder:
        ready_file = Path(folder, "ready.json")
        serve = ["thingwright", "serve", "--ready-file", os.fspath(ready_file)]
        server = subprocess.Popen(serve, stdin=subprocess.DEVNULL)  # noqa: S603 - the project's own command
        try:
            await_ready(server, ready_file)
            environment = {**os.environ, "HARNESS_READY_FILE": os.fspath(ready_file)}
            code = subprocess.run(command, env=environment, check=False).returncode  # noqa: S603 - what the caller asked for
        finally:
            ended = stop(server)
    if ended != 0:
        print(f"thingwright serve ended with exit code {ended} instead of 0.", file=sys.stderr)  # noqa: T201 - a script
    return code or min(abs(ended), 1)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that `finally` runs and the server does not stay
    sys.exit(main(sys.argv[1:]))
