"""The receiver's process: ``python -m receiver``, settings from the environment.

It ends in four ways. SIGTERM: what was accepted is finished, exit code 0. SIGINT: the same with 130, and a second one
ends it at once; with a lifeline SIGINT is ignored, since the terminal sends it to the whole group and the supervisor
decides. The lifeline closes: at once, code 0, since nobody is left to answer to. It cannot start: one sentence on
stderr, code 2.

With ``WORKERS`` above 1 it keeps that many processes like itself (`receiver.workers`) and answers nothing by itself; it
also ends, with code 1, when a worker does not start at all, or has to be killed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import logging
import os
import shutil
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from receiver.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType

    from receiver.settings import Settings

FAILED: Final = 1
SETTINGS_ERROR: Final = 2
INTERRUPTED: Final = 130

GC_THRESHOLDS: Final = (10_000, 10, 10)
"""Of Python's collections. With its own, each few hundred requests that wait bring about a full one, which walks them
all: with 2,000 of them several a second, each holding everything up for a quarter of one. What a request leaves behind
goes without."""


class Endable(Protocol):
    """What runs until it is told to end: a server, or the workers."""

    should_exit: bool

    def end(self) -> None:
        """Finish what was accepted."""


class Ending:
    """What the signals of this process lead to.

    Args:
        has_lifeline: a supervisor decides about Ctrl-C.
        end: ends the process at once.
    """

    def __init__(self, *, has_lifeline: bool, end: Callable[[int], object] = os._exit) -> None:
        self.code = 0
        self._followed: Endable | None = None
        self._end = end
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, signal.SIG_IGN if has_lifeline else self._on_signal)

    def follow(self, running: Endable) -> None:
        """Let signals end this, instead of a process that has not accepted anything yet."""
        self._followed = running

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        code = INTERRUPTED if number == signal.SIGINT else 0
        if self._followed is None or (number == signal.SIGINT and self._followed.should_exit):
            self._end(code)
            return
        self.code = code
        self._followed.end()


class Leaving:
    """Ends the process at once, without leaving files behind."""

    def __init__(self) -> None:
        self.folder: Path | None = None

    def __call__(self, code: int) -> None:
        """End."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
        os._exit(code)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until the end; give the exit code."""
    options = _parser().parse_args(arguments)
    if options.openapi:
        from receiver.openapi import make_document  # noqa: PLC0415 - needed for this alone

        print(json.dumps(make_document(), indent=2))  # noqa: T201 - what was asked for
        return 0
    leaving = Leaving()
    is_worker = options.worker is not None
    # A worker's folder is its parent's to remove, unless the parent is gone.
    ending = Ending(has_lifeline=options.lifeline_fd is not None, end=os._exit if is_worker else leaving)
    if is_worker:
        leaving.folder = options.metrics_folder
    if options.lifeline_fd is not None:
        threading.Thread(
            target=follow_lifeline, args=(options.lifeline_fd,), kwargs={"end": leaving}, name="lifeline", daemon=True
        ).start()
    try:
        if is_worker:
            return _run_worker(ending, options)
        return _run_first(ending, leaving, report_fd=options.report_fd)
    except SettingsError as error:
        print(f"receiver: {error}", file=sys.stderr)  # noqa: T201 - there may be no log yet
        return SETTINGS_ERROR
    finally:
        gc.enable()  # however far the start came


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m receiver", description="Writes one row per message of a rule.")
    parser.add_argument(
        "--openapi", action="store_true", help="print what it answers to as an OpenAPI document, and end"
    )
    parser.add_argument("--lifeline-fd", type=int, metavar="N", help="for supervisors: end when this pipe closes")
    parser.add_argument("--report-fd", type=int, metavar="N", help='for supervisors: write {"port": N} once ready')
    # What the first process says to its workers.
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--listen-fds", help=argparse.SUPPRESS)
    parser.add_argument("--metrics-folder", type=Path, help=argparse.SUPPRESS)
    return parser


def _run_first(ending: Ending, leaving: Leaving, *, report_fd: int | None) -> int:
    # What an import makes stays: collecting it again and again takes a good part of the start.
    gc.disable()
    # Imported here, since lifeline and signals come first.
    from receiver.listening import bind, make_tls  # noqa: PLC0415 - see above
    from receiver.logs import set_up_logging  # noqa: PLC0415 - see above
    from receiver.settings import Settings  # noqa: PLC0415 - see above

    settings = Settings.read()
    set_up_logging(settings.log_level)
    if settings.tls_cert and settings.tls_key:
        make_tls(settings.tls_cert, settings.tls_key)  # what is wrong with it is said before anything starts
    sockets = bind(settings.host, settings.port)
    port = sockets[0].getsockname()[1]
    if settings.workers > 1:
        gc.enable()
        return _run_workers(ending, leaving, settings, sockets, on_ready=lambda: _tell(port, report_fd))

    from receiver.metrics import keep  # noqa: PLC0415 - see above

    keep()
    _serve(ending, settings, sockets, on_ready=lambda: _tell(port, report_fd))
    return ending.code


def _run_workers(
    ending: Ending,
    leaving: Leaving,
    settings: Settings,
    sockets: Sequence[socket.socket],
    *,
    on_ready: Callable[[], None],
) -> int:
    from receiver.workers import Workers, make_folder  # noqa: PLC0415 - needed for this alone

    with make_folder() as folder, asyncio.Runner() as runner:
        leaving.folder = folder
        workers = Workers(settings.workers, sockets=sockets, folder=folder, on_ready=on_ready)
        ending.follow(workers)
        is_well = runner.run(workers.run())
    return ending.code if is_well else FAILED


def _run_worker(ending: Ending, options: argparse.Namespace) -> int:
    gc.disable()  # as above
    from receiver.logs import set_up_logging  # noqa: PLC0415 - as above
    from receiver.metrics import share  # noqa: PLC0415 - as above
    from receiver.settings import Settings  # noqa: PLC0415 - as above

    settings = Settings.read()
    set_up_logging(settings.log_level)
    share(options.metrics_folder, worker=options.worker)
    sockets = [socket.socket(proto=socket.IPPROTO_TCP, fileno=int(number)) for number in options.listen_fds.split(",")]
    port = sockets[0].getsockname()[1]
    _serve(ending, settings, sockets, on_ready=lambda: _tell(port, options.report_fd, worker=options.worker))
    return ending.code


def _serve(ending: Ending, settings: Settings, sockets: list[socket.socket], *, on_ready: Callable[[], None]) -> None:
    from receiver.app import make_app  # noqa: PLC0415 - as above
    from receiver.listening import allow_files, make_tls  # noqa: PLC0415 - as above
    from receiver.server import Server, make_loop  # noqa: PLC0415 - as above

    gc.freeze()
    gc.enable()
    gc.set_threshold(*GC_THRESHOLDS)
    allow_files()
    tls = make_tls(settings.tls_cert, settings.tls_key) if settings.tls_cert and settings.tls_key else None
    server = Server(make_app(settings), tls=tls, on_ready=on_ready)
    ending.follow(server)
    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(server.serve(sockets=sockets))


def _tell(port: int, report_fd: int | None, **about: int) -> None:
    logging.getLogger("receiver").info("listening", extra={"about": {"port": port, "pid": os.getpid(), **about}})
    if report_fd is not None:
        with os.fdopen(report_fd, "w", encoding="utf-8") as report:
            report.write(json.dumps({"port": port}) + "\n")


def follow_lifeline(lifeline_fd: int, *, end: Callable[[int], object] = os._exit) -> None:
    """End the process when its parent is gone, whatever else goes on."""
    with contextlib.suppress(OSError):
        while os.read(lifeline_fd, 1024):
            pass
    end(0)


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    # Everybody has been answered. A thread that DynamoDB or a provider of credentials keeps waiting is not waited for.
    os._exit(code)
