"""The broker process: ``python -m harness.embedded --config FILE``.

Started by the supervisor (`harness.targets.embedded`), not by people. It reports its ports on ``report_fd`` once it
accepts connections, ends itself when its lifeline closes, ends with exit code 0 on SIGTERM, and leaves SIGINT to the
supervisor.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import json
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

from harness.embedded.config import read_config
from harness.embedded.doors import Doors
from harness.embedded.hub import Hub
from harness.embedded.link_server import LinkServer
from harness.embedded.tls import TlsContexts
from harness.errors import HarnessError
from harness.iot.quirks import Quirks
from harness.mqtt.packets import ReasonCode

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.embedded.config import BrokerConfig

_FAREWELL_SECONDS: Final = 0.3
_MAX_FILES: Final = 65_536
_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD = -3, -1
_MMAP_THRESHOLD: Final = 4 << 20
_TRIM_THRESHOLD: Final = 256 << 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the broker until it is told to end; return the exit code."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    parser = argparse.ArgumentParser(prog="python -m harness.embedded", description="The broker process.")
    parser.add_argument("--config", type=Path, required=True, help="JSON file written by the supervisor")
    try:
        config = read_config(parser.parse_args(arguments).config)
        hold_to_lifeline(config.lifeline_fd)
        keep_freed_memory()
        raise_file_limit()
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(serve(config))
    except (HarnessError, OSError) as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 1
    return 0


async def serve(config: BrokerConfig) -> None:
    """Listen, report, and serve until SIGTERM."""
    loop = asyncio.get_running_loop()
    end = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, end.set)
    quirks = Quirks().with_mapping(config.quirks)
    contexts = TlsContexts(certificate_file=config.tls_cert, key_file=config.tls_key)
    hub = Hub(config=config, quirks=quirks, tls=contexts, loop=loop)
    doors = Doors(config, hub=hub, contexts=contexts, quirks=quirks)
    ports = doors.ports
    link = socket.socket(fileno=config.link_fd)
    _, control_plane = await loop.create_unix_connection(lambda: LinkServer(hub=hub, ports=ports), sock=link)
    hub.rules.connect_control_plane(control_plane.ask)
    report(config.report_fd, ports)
    await end.wait()
    await doors.aclose()
    farewell = _FAREWELL_SECONDS if hub.shut_down(reason_code=ReasonCode.SERVER_SHUTTING_DOWN) else 0.0
    await asyncio.gather(hub.rules.aclose(), asyncio.sleep(farewell))


def report(report_fd: int, ports: dict[str, int]) -> None:
    """Tell the supervisor, once, where connections are accepted."""
    with os.fdopen(report_fd, "w", encoding="utf-8") as stream:
        stream.write(json.dumps(ports) + "\n")


def hold_to_lifeline(lifeline_fd: int) -> None:
    """End this process at once when the other end of a pipe closes, whatever the event loop is doing."""

    def wait() -> None:
        with contextlib.suppress(OSError):
            while os.read(lifeline_fd, 4096):
                pass
        os._exit(0)

    threading.Thread(target=wait, name="lifeline", daemon=True).start()


def keep_freed_memory() -> None:
    """Let glibc keep what uvloop frees: its TLS takes and frees 256 KiB per read, and each would be a system call."""
    try:
        name = os.confstr("CS_GNU_LIBC_VERSION")
    except (AttributeError, ValueError, OSError):
        return  # another C library, another allocator
    if name:
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD)
        library.mallopt(_M_TRIM_THRESHOLD, _TRIM_THRESHOLD)


def raise_file_limit() -> None:
    """Let this process hold as many connections as the machine permits; the soft limit is often 1,024."""
    try:
        import resource  # noqa: PLC0415 - not there on Windows
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, _MAX_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop  # noqa: PLC0415 - not there on Windows
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


if __name__ == "__main__":
    sys.exit(main())
