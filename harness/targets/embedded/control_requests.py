"""Serves the control plane, which asks for receivers to be stopped and started: JSON lines on a socket pair.

``{"id": 1, "op": "stop_receiver", "name": "main", "how": "kill"}`` and ``{"id": 2, "op": "start_receiver", "name":
"extra-1"}`` are answered, one after the other, by ``{"id": …, "ok": true, "url": …}`` or ``{"id": …, "ok": false,
"error": …}``. ``how`` is ``term`` when it is left out. ``freeze_receiver`` and ``thaw_receiver`` have a name as well.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from typing import TYPE_CHECKING, Any, Final

from harness.targets.embedded.children import Interrupted
from harness.targets.embedded.receivers import ReceiverRefused

if TYPE_CHECKING:
    from harness.targets.embedded.receivers import Receivers

_MAX_LINE_BYTES: Final = 65_536
_MEMBERS: Final = {
    "stop_receiver": {"name", "how"},
    "start_receiver": {"name"},
    "freeze_receiver": {"name"},
    "thaw_receiver": {"name"},
}


class ControlRequests:
    """Answers in a thread of its own, from `serve` until the other side closes, or `close`; what comes before waits."""

    def __init__(self) -> None:
        self._sock, self.other_side = socket.socketpair()
        self._thread: threading.Thread | None = None

    def serve(self, receivers: Receivers) -> None:
        """Begin to answer.

        Args:
            receivers: what is asked for.
        """
        self._receivers = receivers
        self._thread = threading.Thread(target=self._serve, name="control-requests", daemon=True)
        self._thread.start()

    def close(self, *, within: float) -> None:
        """End the thread; what it waits for must have been called off.

        Args:
            within: seconds after which it is left to itself.
        """
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        if self._thread is not None:
            self._thread.join(within)
        self._sock.close()
        self.other_side.close()

    def _serve(self) -> None:
        # The control plane may be gone, or be going, at any moment: that is for who watches the processes.
        with contextlib.suppress(OSError, Interrupted), self._sock.makefile("rb") as lines:
            while line := lines.readline(_MAX_LINE_BYTES):
                self._sock.sendall(json.dumps(self._answer(line)).encode() + b"\n")

    def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
        except (ValueError, RecursionError):
            request = None
        if not isinstance(request, dict):
            return {"id": None, "ok": False, "error": "a request is a JSON object on one line"}
        number = request.pop("id", None)
        try:
            return {"id": number, "ok": True, "url": self._run(request)}
        except ReceiverRefused as refusal:
            return {"id": number, "ok": False, "error": str(refusal)}
        except Interrupted:
            raise
        except Exception as error:  # noqa: BLE001 - the thread's boundary: who asked is told
            return {"id": number, "ok": False, "error": f"{type(error).__name__}: {error}"}

    def _run(self, request: dict[str, Any]) -> str:
        """Do what a request asks for and return the receiver's URL."""
        op = request.pop("op", None)
        if not isinstance(op, str) or op not in _MEMBERS:
            raise ReceiverRefused(f"there is no request {op!r}; there is {', '.join(_MEMBERS)}")
        if unknown := request.keys() - _MEMBERS[op]:
            raise ReceiverRefused(f"{op} has no member {', '.join(sorted(unknown))}")
        name, how = request.get("name"), request.get("how", "term")
        if not isinstance(name, str):
            raise ReceiverRefused("name is a receiver's name")
        if how not in ("kill", "term"):
            raise ReceiverRefused(f"how is kill or term, not {how!r}")
        if op == "stop_receiver":
            return self._receivers.stop(name, how=how)
        do = {
            "start_receiver": self._receivers.start,
            "freeze_receiver": self._receivers.freeze,
            "thaw_receiver": self._receivers.thaw,
        }
        return do[op](name)
