"""``thingwright serve``: the stand-in in the foreground, until a signal or the death of one of its processes.

Signals only set a flag and wake the loop: nothing is interrupted half done, and whatever has been started is stopped.
SIGTERM ends with exit code 0, Ctrl-C with 130, a closed terminal with 129. Standard input is never read.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from harness.errors import HarnessError, SettingsError, TargetUnavailable
from harness.targets import ready as ready_files
from harness.targets.embedded.children import Interrupted
from harness.targets.embedded.options import SupervisorOptions
from harness.targets.embedded.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from types import FrameType

    from harness.targets.ready import ReadyFile

_EXIT_FAILED: Final = 1
_EXIT_CODES: Final = {"SIGTERM": 0, "SIGINT": 130, "SIGHUP": 129}


def serve(
    *,
    ready_file: Path | None = None,
    no_stack: bool = False,
    quirks: Sequence[str] = (),
    echo: Callable[[str], None] | None = None,
    options: SupervisorOptions | None = None,
) -> int:
    """Run the stand-in until it is told to end.

    Args:
        ready_file: written, mode 0600, once everything accepts connections, and removed at the end; None writes none.
        no_stack: deploy nothing.
        quirks: ``NAME=VALUE`` for each switch that differs from its default.
        echo: prints one line for the user; standard output, flushed, when None.
        options: everything else about the stand-in.

    Returns:
        The exit code: 0 after SIGTERM, 130 after Ctrl-C, 129 after SIGHUP; 1 when a process ended by itself, the stack
        could not be deployed or the stand-in cannot run here, with the reason on standard error.
    """
    say = _patiently(echo or _print)
    with _signals() as received:
        try:
            with contextlib.suppress(Interrupted):
                options = replace(options or SupervisorOptions(), quirks=_parse_quirks(quirks))
                if no_stack:
                    options = replace(options, stack=None)
                _run(options, ready_file, say, wake_up=received.descriptor)
        except (HarnessError, OSError) as error:
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.write(f"{error}\n")
                sys.stderr.flush()
            return _EXIT_FAILED
        if received.first == "SIGINT":
            say("Stopped.")
        return _EXIT_CODES[received.first]


def _run(options: SupervisorOptions, ready_file: Path | None, say: Callable[[str], None], *, wake_up: int) -> None:
    """Start, tell, wait, and stop whatever happens."""
    began = time.monotonic()
    _clear_the_way(ready_file)
    say("Starting the stand-in for AWS IoT Core; Ctrl-C stops it.")
    supervisor = Supervisor(options, wake_up=wake_up)
    try:
        ready = supervisor.start()
        if ready_file is not None:
            ready_files.write(ready_file, ready)
        for line in _describe(ready, ready_file, seconds=time.monotonic() - began):
            say(line)
        supervisor.wait()
    finally:
        if ready_file is not None:
            ready_files.remove(ready_file, pid=os.getpid())
        supervisor.stop()


class _Received:
    """The first signal that came, and a descriptor that becomes readable with it."""

    def __init__(self, wake_up: socket.socket) -> None:
        self._wake_up = wake_up
        self.descriptor = wake_up.fileno()
        self.first = ""

    def on_signal(self, number: int, _frame: FrameType | None) -> None:
        self.first = self.first or signal.Signals(number).name


@contextlib.contextmanager
def _signals() -> Iterator[_Received]:
    """Collect the signals that end the command, instead of being ended by them."""
    reader, writer = socket.socketpair()
    with reader, writer:
        reader.setblocking(False)
        writer.setblocking(False)
        received = _Received(reader)
        handled = [getattr(signal, name) for name in _EXIT_CODES if hasattr(signal, name)]
        before = {number: signal.signal(number, received.on_signal) for number in handled}
        descriptor_before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        try:
            yield received
        finally:
            signal.set_wakeup_fd(descriptor_before)
            for number, handler in before.items():
                signal.signal(number, handler)


def _parse_quirks(given: Sequence[str]) -> dict[str, str]:
    quirks: dict[str, str] = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not name or not equals:
            raise SettingsError("--quirk", each, "NAME=VALUE")
        quirks[name] = value
    return quirks


def _clear_the_way(ready_file: Path | None) -> None:
    """Remove a ready file left behind, so that whoever waits for one does not take the old.

    Raises:
        SettingsError: the path cannot take a ready file.
        TargetUnavailable: it is the ready file of one that runs.
    """
    if ready_file is None:
        return
    if not ready_file.absolute().parent.is_dir():
        raise SettingsError("--ready-file", str(ready_file), "a path in a folder that exists")
    if not ready_file.exists():
        return
    try:
        other = ready_files.read(ready_file, check_running=False)
    except TargetUnavailable:
        raise SettingsError(
            "--ready-file", str(ready_file), "a path where nothing is yet, or an old ready file"
        ) from None
    if other.is_running:
        raise TargetUnavailable(
            f"{ready_file} is the ready file of process {other.pid}, which still runs: take another path."
        )
    ready_file.unlink(missing_ok=True)


def _describe(ready: ReadyFile, ready_file: Path | None, *, seconds: float) -> Iterator[str]:
    yield f"Ready in {seconds:.1f} s."
    yield f"  AWS APIs          {ready.control_plane_url}  (region {ready.region}, account {ready.account_id})"
    yield f"  MQTT, WebSocket   wss://{ready.iot_endpoint}:{ready.wss_port}/mqtt"
    yield f"  MQTT, certificate mqtts://{ready.iot_endpoint}:{ready.mqtts_port}"
    yield f"  CA certificate    {ready.ca_file}"
    if ready.receiver_url is not None:
        yield f"  Receiver          {ready.receiver_url}"
    if pool := ready.outputs.get("identityPoolId"):
        yield f"  Identity pool     {pool}"
    if ready_file is not None:
        yield f"  Ready file        {ready_file}  (addresses and keys, for --ready-file)"
    else:
        yield "  No ready file: start with --ready-file PATH to get the keys."


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _patiently(echo: Callable[[str], None]) -> Callable[[str], None]:
    """Print, as long as somebody reads: that nobody does any more is no reason to end."""

    def say(line: str) -> None:
        try:
            echo(line)
        except BrokenPipeError:
            nowhere = os.open(os.devnull, os.O_WRONLY)  # else the interpreter complains when it flushes at its end
            os.dup2(nowhere, sys.stdout.fileno())
            os.close(nowhere)

    return say
