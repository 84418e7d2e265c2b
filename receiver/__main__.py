"""The receiver's process: ``python -m receiver``, settings from the environment.

It ends in four ways. SIGTERM: what was accepted is finished, exit code 0. SIGINT: the same with 130, and a second one
ends it at once; with a lifeline SIGINT is ignored, since the terminal sends it to the whole group and the supervisor
decides. The lifeline closes: at once, code 0, since nobody is left to answer to. It cannot start: one sentence on
stderr, code 2.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import logging
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Final

from receiver.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType

    from receiver.server import Server

SETTINGS_ERROR: Final = 2
INTERRUPTED: Final = 130


class Ending:
    """What the signals of this process lead to.

    Args:
        has_lifeline: a supervisor decides about Ctrl-C.
        end: ends the process at once.
    """

    def __init__(self, *, has_lifeline: bool, end: Callable[[int], object] = os._exit) -> None:
        self.code = 0
        self._server: Server | None = None
        self._end = end
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, signal.SIG_IGN if has_lifeline else self._on_signal)

    def follow(self, server: Server) -> None:
        """Let signals end this server, instead of a process that has not accepted anything yet."""
        self._server = server

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        code = INTERRUPTED if number == signal.SIGINT else 0
        if self._server is None or (number == signal.SIGINT and self._server.should_exit):
            self._end(code)
            return
        self.code = code
        self._server.should_exit = True


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until the end; give the exit code."""
    parser = argparse.ArgumentParser(prog="python -m receiver", description="Writes one row per message of a rule.")
    parser.add_argument("--lifeline-fd", type=int, metavar="N", help="for supervisors: end when this pipe closes")
    parser.add_argument("--report-fd", type=int, metavar="N", help='for supervisors: write {"port": N} once ready')
    options = parser.parse_args(arguments)
    ending = Ending(has_lifeline=options.lifeline_fd is not None)
    if options.lifeline_fd is not None:
        threading.Thread(target=follow_lifeline, args=(options.lifeline_fd,), name="lifeline", daemon=True).start()
    try:
        _run(ending, report_fd=options.report_fd)
    except SettingsError as error:
        print(f"receiver: {error}", file=sys.stderr)  # noqa: T201 - there may be no log yet
        return SETTINGS_ERROR
    return ending.code


def _run(ending: Ending, *, report_fd: int | None) -> None:
    # What an import makes stays: collecting it again and again takes a good part of the start.
    gc.disable()
    # Imported here, since lifeline and signals come first.
    from receiver.app import make_app  # noqa: PLC0415 - see above
    from receiver.logs import set_up_logging  # noqa: PLC0415 - see above
    from receiver.server import Server, bind, make_loop, make_tls  # noqa: PLC0415 - see above
    from receiver.settings import Settings  # noqa: PLC0415 - see above

    gc.freeze()
    gc.enable()
    settings = Settings.read()
    set_up_logging(settings.log_level)
    tls = make_tls(settings.tls_cert, settings.tls_key) if settings.tls_cert and settings.tls_key else None
    sockets = bind(settings.host, settings.port)
    port = sockets[0].getsockname()[1]
    server = Server(make_app(settings), tls=tls, on_ready=lambda: _tell(port, report_fd))
    ending.follow(server)
    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(server.serve(sockets=sockets))


def _tell(port: int, report_fd: int | None) -> None:
    logging.getLogger("receiver").info("listening", extra={"about": {"port": port}})
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
