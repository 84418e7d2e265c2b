"""Several processes that answer at the same addresses, and the first one, which keeps them.

The first process binds the addresses and starts the workers, each a process of its own (`python -m receiver`, not a
fork) that inherits sockets. On Linux each has its own at the same addresses, and the system spreads connections over
those that listen; elsewhere all have the same.

They count in files of one folder, which nobody else can read and which is new with every start, so that nothing of a
former run is counted. A worker that dies is started anew, the later the more often it has died soon after its start.
One that does not even come to accept connections, `FAILED_STARTS` times in a row, ends the whole: nothing that another
start would change, and whoever started this process is to know.

A worker ends when told (SIGTERM) or when the pipe closes whose other end the first process holds: even SIGKILL, which
leaves no time to say anything, leaves no workers behind.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import sys
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from receiver.errors import SettingsError
from receiver.listening import SPREADS, bind_beside

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator, Sequence

FAILED_STARTS: Final = 5
START_SECONDS: Final = 60
"""For a worker to accept connections; it takes one on an idle machine."""

STOP_SECONDS: Final = 15
"""For a worker to finish what it has accepted: its own patience and what its store may still need."""

_FIRST_DELAY: Final = 0.1
_LONGEST_DELAY: Final = 10.0
_STEADY_SECONDS: Final = 60
_EXIT_SECONDS: Final = 1.0
_LOGGER: Final = logging.getLogger("receiver.workers")


class Workers:
    """Keeps workers running until it is told to end.

    Args:
        count: how many.
        sockets: bound, alone at their addresses; closed at the end.
        folder: where workers keep what they count.
        on_ready: called once all workers accept connections.
        command: what a worker is started with, before its options.
    """

    def __init__(
        self,
        count: int,
        *,
        sockets: Sequence[socket.socket],
        folder: Path,
        on_ready: Callable[[], None],
        command: Sequence[str] = (sys.executable, "-m", "receiver"),
    ) -> None:
        self.should_exit = False
        self._count = count
        self._sockets = bind_beside(sockets, is_first=True) if SPREADS else list(sockets)
        self._folder = folder
        self._on_ready = on_ready
        self._command = command
        self._running: dict[int, asyncio.subprocess.Process] = {}
        self._not_ready = set(range(count))
        self._has_failed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._told = asyncio.Event()

    def end(self) -> None:
        """Let the workers finish what they have accepted, and return from `run`. Safe in a signal handler."""
        self.should_exit = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._told.set)

    async def run(self) -> bool:
        """Run to the end; tell whether that went well: no worker was given up, none had to be killed."""
        self._loop = asyncio.get_running_loop()
        if self.should_exit:
            self._told.set()
        lifeline, held = os.pipe()
        try:
            keeping = [asyncio.create_task(self._keep(number, lifeline)) for number in range(self._count)]
            telling = asyncio.create_task(self._told.wait())
            # A task that raises ends the others as well: it should not, and nobody would notice otherwise.
            await asyncio.wait([telling, *keeping], return_when=asyncio.FIRST_COMPLETED)
            self.should_exit = True
            self._told.set()
            await self._stop(keeping)
            await asyncio.gather(*keeping)
        finally:
            os.close(lifeline)
            os.close(held)
        return not self._has_failed

    async def _stop(self, keeping: Sequence[asyncio.Task[None]]) -> None:
        for bound in self._sockets:
            bound.close()  # else connections would go on being taken where the workers share it
        self._signal_all(signal.SIGTERM)
        _, late = await asyncio.wait(keeping, timeout=STOP_SECONDS)
        if late:
            self._has_failed = True
            _LOGGER.error("workers do not end, and are killed", extra={"about": {"workers": sorted(self._running)}})
            self._signal_all(signal.SIGKILL)

    def _signal_all(self, number: signal.Signals) -> None:
        for process in self._running.values():
            with suppress(ProcessLookupError):
                process.send_signal(number)

    async def _keep(self, number: int, lifeline: int) -> None:
        """Have one worker running, whichever process that is."""
        from receiver.metrics import forget  # noqa: PLC0415 - here it takes its time while the workers start

        failed_starts = quick_deaths = 0
        while not self._told.is_set():
            started_at = asyncio.get_running_loop().time()
            is_ready, code = await self._run_one(number, lifeline)
            forget(self._folder, worker=number)
            if self._told.is_set():
                return
            failed_starts = 0 if is_ready else failed_starts + 1
            lived = asyncio.get_running_loop().time() - started_at
            quick_deaths = quick_deaths + 1 if lived < _STEADY_SECONDS else 1
            about = {"worker": number, "code": code, "was_ready": is_ready}
            if failed_starts == FAILED_STARTS:
                self._has_failed = True
                _LOGGER.error("worker does not start, given up", extra={"about": about})
                return
            delay = delay_after(quick_deaths)
            _LOGGER.error("worker died, is started anew", extra={"about": about | {"in_seconds": delay}})
            with suppress(TimeoutError):
                await asyncio.wait_for(self._told.wait(), delay)

    async def _run_one(self, number: int, lifeline: int) -> tuple[bool, int | str]:
        """Run one process to its end; tell whether it accepted connections, and its exit code."""
        report, report_end = os.pipe()
        try:
            process = await self._start(number, lifeline, report_end)
        except (OSError, SettingsError) as error:
            os.close(report)
            return False, str(error)
        finally:
            os.close(report_end)
        self._running[number] = process
        try:
            if self._told.is_set():  # told while it was being started
                process.terminate()
            is_ready = await _has_report(report, within=START_SECONDS)
            if is_ready:
                self._count_ready(number)
            elif not self._told.is_set():
                await _end(process)
            return is_ready, await process.wait()
        finally:
            del self._running[number]

    async def _start(self, number: int, lifeline: int, report_end: int) -> asyncio.subprocess.Process:
        sockets = bind_beside(self._sockets) if SPREADS else self._sockets
        listening = [bound.fileno() for bound in sockets]
        try:
            return await asyncio.create_subprocess_exec(
                *self._command,
                *("--worker", str(number)),
                *("--listen-fds", ",".join(map(str, listening))),
                *("--metrics-folder", str(self._folder)),
                *("--lifeline-fd", str(lifeline)),
                *("--report-fd", str(report_end)),
                pass_fds=(*listening, lifeline, report_end),
                stdin=asyncio.subprocess.DEVNULL,
            )
        finally:
            if SPREADS:  # the worker's alone from here on: no connection waits here when it dies
                for bound in sockets:
                    bound.close()

    def _count_ready(self, number: int) -> None:
        if self._not_ready:
            self._not_ready.discard(number)
            if not self._not_ready:
                self._on_ready()


def delay_after(quick_deaths: int) -> float:
    """Give the seconds until a worker is started anew that has died soon after its start this many times in a row."""
    return min(_FIRST_DELAY * 2.0 ** min(quick_deaths - 1, 16), _LONGEST_DELAY)


@contextmanager
def make_folder() -> Iterator[Path]:
    """Make a folder for what workers count; remove it at the end.

    Raises:
        SettingsError: there is no place for it.
    """
    try:
        folder = Path(tempfile.mkdtemp(prefix="receiver-"))  # for nobody else: mode 0700
    except OSError as error:
        raise SettingsError(
            f"WORKERS needs a folder for temporary files, named by TMPDIR: {error.strerror or error}."
        ) from None
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _end(process: asyncio.subprocess.Process) -> None:
    """End a process, which may just have done so itself: a signal sent right then would lose its exit code."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_EXIT_SECONDS):
            await process.wait()
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.kill()


async def _has_report(report: int, *, within: float) -> bool:
    """Wait for a line; without one the other end is closed, or the time over."""
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(report, "rb", buffering=0)
    )
    try:
        async with asyncio.timeout(within):
            return bool(await reader.readline())
    except TimeoutError:
        return False
    finally:
        transport.close()
