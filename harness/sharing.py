"""One target for all workers of a distributed run.

The controller of pytest-xdist collects no tests, so it cannot know whether any of them needs a target. It listens
instead: the first worker with such a test asks, the controller starts the target, and every worker that asks gets the
same environment, with what the target has and lacks. The controller owns the target, so a worker that ends early takes
nothing with it.

The two speak HTTP on loopback. The answer holds the target's keys, so it takes a token that the controller made and
handed to its workers.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import secrets
import threading
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final

from harness.errors import TargetError, TargetUnavailable, TeardownError
from harness.targets.base import Capability, Environment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.targets.base import Target
    from harness.targets.names import Names

_LONGER_THAN_ANY_START: Final = 900.0
"""Seconds: a container's image may have to be fetched."""
_POLL: Final = 0.05


class TargetServer:
    """The controller's side: starts the target when the first worker asks.

    Args:
        target: not yet started.
    """

    def __init__(self, target: Target) -> None:
        self.unavailable: str | None = None
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
        """Stop listening and stop the target, also when it is just starting; without effect when that has happened.

        Raises:
            TargetError: something of it is left.
        """
        if self._is_closed.is_set():
            return
        self._is_closed.set()
        self._http.shutdown()
        self._http.server_close()
        if self._lock.acquire(blocking=False):
            try:
                self._target.stop()
            finally:
                self._lock.release()
        else:
            # It is starting. Stopping breaks that off or waits for it, and the start then cleans up after itself as
            # well: whichever of the two comes second may find things gone.
            try:
                self._target.stop()
            except TeardownError:
                raise
            except Exception:  # noqa: BLE001, S110 - see above
                pass

    def _tell(self) -> dict[str, Any]:
        with self._lock:
            if self._is_closed.is_set():
                return {"error": "the run is over"}
            if self._answer is None:
                self._answer = self._start()
                if self._is_closed.is_set():
                    with contextlib.suppress(TargetError):  # whoever has closed tells of it
                        self._target.stop()
                    return {"error": "the run is over"}
            elif "environment" in self._answer:
                try:
                    self._target.check()
                except TargetError as error:
                    return {"error": str(error)}
            return self._answer

    def _start(self) -> dict[str, Any]:
        target = self._target
        try:
            environment = target.start()
        except TargetError as error:
            self.unavailable = str(error) if isinstance(error, TargetUnavailable) else None
            return {"error": str(error)}
        except Exception as error:  # noqa: BLE001 - a thread boundary: the workers get it
            return {"error": f"{type(error).__name__}: {error}"}
        return {
            "environment": environment.to_json(),
            "capabilities": sorted(target.capabilities),
            "lacks": dict(target.lacks),
        }

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
        owned: the target as this process would run it; tells name and patience, and what it has where that is known
            without starting it.
        address: as the controller gave it.
        names: makes the names of everything this worker creates.
    """

    def __init__(self, owned: Target, *, address: Mapping[str, Any], names: Names) -> None:
        self.name: str = owned.name
        self.is_probed: bool = owned.is_probed
        self.patience: float = owned.patience
        self._owned = owned
        self._address = address
        self._names = names
        self._told: tuple[frozenset[Capability], Mapping[Capability, str]] | None = None

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What the controller's target has; before anybody has asked for it, what it has in any case."""
        return self._told[0] if self._told else self._owned.capabilities

    @property
    def lacks(self) -> Mapping[Capability, str]:
        """The same for what is missing."""
        return self._told[1] if self._told else self._owned.lacks

    def check_options(self) -> None:
        """Leave it to the controller, which has done so."""

    def start(self) -> Environment:
        """Ask the controller for the target, which starts it for the first who asks.

        Raises:
            TargetError: it could not be started there.
        """
        answer = self._ask()
        capabilities = frozenset(map(Capability, answer["capabilities"]))
        self._told = capabilities, {Capability(name): why for name, why in answer["lacks"].items()}
        return Environment.from_json(answer["environment"], names=self._names)

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
            answer: dict[str, Any] = json.loads(connection.getresponse().read())
        except (OSError, HTTPException, ValueError) as error:
            raise TargetError(f"the controller of this run does not answer ({error!r})") from error
        finally:
            connection.close()
        if "error" in answer:
            raise TargetError(answer["error"])
        return answer
