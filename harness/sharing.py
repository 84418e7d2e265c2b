"""One target for all workers of a distributed run.

The controller of pytest-xdist collects no tests, so it cannot know whether any of them needs a target. It listens
instead: the first worker with such a test asks, the controller starts the target, and every worker that asks gets the
same ready file. The controller owns the target, so a worker that ends early takes nothing with it.

The two speak HTTP on loopback. The answer holds the stand-in's keys, so it takes a token that the controller made and
handed to its workers.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import secrets
import threading
from dataclasses import asdict
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final

from harness.errors import TargetError, TargetUnavailable
from harness.targets.base import Environment
from harness.targets.ready import ReadyFile

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.targets.base import Capability, Target
    from harness.targets.names import Names

_LONGER_THAN_ANY_START: Final = 120.0
_POLL: Final = 0.05


class TargetServer:
    """The controller's side: starts the target when the first worker asks.

    Args:
        target: not yet started.
    """

    def __init__(self, target: Target) -> None:
        self.is_unavailable = False
        self._target = target
        self._token = secrets.token_urlsafe(32)
        self._lock = threading.Lock()
        self._answer: dict[str, Any] | None = None
        self._is_closed = threading.Event()
        self._http = _Server(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": _POLL}, daemon=True)
        self._thread.start()

    def address(self) -> dict[str, Any]:
        """Return what a worker needs to ask, in types that pytest-xdist carries over."""
        return {"port": self._http.server_port, "token": self._token}

    def close(self) -> None:
        """Stop listening and stop the target, also when it is just starting; without effect when that has happened."""
        if self._is_closed.is_set():
            return
        self._is_closed.set()
        self._http.shutdown()
        self._http.server_close()
        if self._lock.acquire(blocking=False):
            self._target.stop()
            self._lock.release()
        else:
            # It is starting. Stopping breaks that off, and the start then cleans up after itself as well: whichever
            # of the two comes second may find things gone.
            with contextlib.suppress(Exception):
                self._target.stop()

    def _tell(self) -> dict[str, Any]:
        with self._lock:
            if self._is_closed.is_set():
                return {"error": "the run is over"}
            if self._answer is None:
                self._answer = self._start()
                if self._is_closed.is_set():
                    self._target.stop()
                    return {"error": "the run is over"}
            elif "ready" in self._answer:
                try:
                    self._target.check()
                except TargetError as error:
                    return {"error": str(error)}
            return self._answer

    def _start(self) -> dict[str, Any]:
        try:
            ready = self._target.start().ready
        except TargetError as error:
            self.is_unavailable = isinstance(error, TargetUnavailable)
            return {"error": str(error)}
        except Exception as error:  # noqa: BLE001 - a thread boundary: the workers get it
            return {"error": f"{type(error).__name__}: {error}"}
        return {"ready": asdict(ready)} if ready else {"error": f"the {self._target.name} target cannot be shared"}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                given = (self.headers.get("Authorization") or "").encode()
                is_ours = hmac.compare_digest(given, f"Bearer {server._token}".encode())
                content = json.dumps(server._tell() if is_ours else {"error": "not for you"}).encode()
                self.send_response(200 if is_ours else 401)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                """Keep pytest's output clean."""

        return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a target that is starting is stopped, not waited for

    def handle_error(self, *_: object) -> None:
        """A worker that went away needs no answer."""


class SharedTarget:
    """A worker's side: the target that the controller runs.

    Args:
        owned: the target as this process would run it; tells name, capabilities and patience.
        address: as the controller gave it.
        names: makes the names of everything this worker creates.
    """

    def __init__(self, owned: Target, *, address: Mapping[str, Any], names: Names) -> None:
        self.name: str = owned.name
        self.capabilities: frozenset[Capability] = owned.capabilities
        self.patience: float = owned.patience
        self._address = address
        self._names = names

    def start(self) -> Environment:
        """Ask the controller for the target, which starts it for the first who asks.

        Raises:
            TargetError: it could not be started there.
        """
        return Environment.from_ready(self.name, ReadyFile(**self._ask()), names=self._names)

    def check(self) -> None:
        """Ask whether the target still runs.

        Raises:
            TargetError: it ended.
        """
        self._ask()

    def stop(self) -> None:
        """Leave it to the controller."""

    def _ask(self) -> dict[str, Any]:
        connection = HTTPConnection("127.0.0.1", self._address["port"], timeout=_LONGER_THAN_ANY_START)
        try:
            connection.request("GET", "/", headers={"Authorization": f"Bearer {self._address['token']}"})
            answer = json.loads(connection.getresponse().read())
        except (OSError, HTTPException, ValueError) as error:
            raise TargetError(f"the controller of this run does not answer ({error!r})") from error
        finally:
            connection.close()
        if "error" in answer:
            raise TargetError(answer["error"])
        ready: dict[str, Any] = answer["ready"]
        return ready
