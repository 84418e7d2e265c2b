"""The control plane's process: ``python -m harness.embedded.control --config FILE``.

The lifeline is watched before anything else, so that a parent that dies during the start takes this process along. Then
comes moto, whose import takes most of the start; what the first calls need is loaded after the process has said that it
is ready. Lifeline and SIGTERM end the process where it is: it keeps nothing that is worth writing down, and its threads
may be waiting for a broker that no longer answers.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import logging
import os
import signal
import socket
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from harness.embedded.control.config import ControlConfig, read_config
from harness.embedded.sockets import bind_all
from harness.errors import HarnessError


def main() -> int:
    """Run until the lifeline closes or SIGTERM comes; return only when there is no starting."""
    parser = argparse.ArgumentParser(
        prog="python -m harness.embedded.control", description="AWS APIs for the embedded target."
    )
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="JSON written by the supervisor")
    path = parser.parse_args().config
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to the whole group; the supervisor decides
    _end_on_sigterm()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # Neither the libraries' request lines nor their debug output belongs in a log: both can hold signatures.
    for name in ("werkzeug", "botocore", "moto", "urllib3"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        _run(read_config(path))
    except (HarnessError, OSError, ValueError) as error:
        print(f"control plane: {error}", file=sys.stderr)  # noqa: T201 - the supervisor shows it
    return 1


def _run(config: ControlConfig) -> NoReturn:
    if config.lifeline_fd is not None:
        threading.Thread(target=_follow_lifeline, args=(config.lifeline_fd,), name="lifeline", daemon=True).start()
    if config.link_fd is None:
        raise ValueError("link_fd is missing")
    # What an import makes stays: collecting it again and again is a fifth of the time moto's takes.
    gc.disable()
    # Imported here, since the lifeline comes first.
    from harness.embedded.control.app import ControlPlane  # noqa: PLC0415 - see above
    from harness.embedded.control.broker_link import BrokerLink  # noqa: PLC0415 - see above
    from harness.embedded.control.server import HttpServer  # noqa: PLC0415 - see above

    gc.freeze()
    gc.enable()
    listening = [socket.socket(fileno=each) for each in config.listen_fds]
    listening = listening or bind_all(config.host_addresses, config.port)
    if not config.url:
        config = replace(config, url=f"http://127.0.0.1:{listening[0].getsockname()[1]}")
    link = BrokerLink(socket.socket(fileno=config.link_fd))
    control_plane = ControlPlane(config, link, clock=time.time)
    server = HttpServer((), 0, answer=control_plane.answer, clock=time.time, sockets=listening)
    control_plane.start()
    server.start()
    _report(config.report_fd, server.port)
    threading.Thread(target=control_plane.warm_up, name="warm-up", daemon=True).start()
    while True:
        threading.Event().wait()


def _report(report_fd: int | None, port: int) -> None:
    if report_fd is not None:
        with os.fdopen(report_fd, "w", encoding="utf-8") as report:
            report.write(json.dumps({"port": port}) + "\n")


def _end_on_sigterm() -> None:
    """Have a thread of its own wait for SIGTERM: a handler would wait for the main thread, which may be in a lock."""
    signals = {signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)  # here and in every thread to come

    def wait() -> None:
        signal.sigwait(signals)
        os._exit(0)

    threading.Thread(target=wait, name="sigterm", daemon=True).start()


def _follow_lifeline(lifeline_fd: int) -> None:
    """End the process when its parent is gone, whatever else goes on."""
    with contextlib.suppress(OSError):
        while os.read(lifeline_fd, 1024):
            pass
    os._exit(0)


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads that serve a connection may still be inside moto: nothing of theirs is worth waiting for.
    os._exit(code)
