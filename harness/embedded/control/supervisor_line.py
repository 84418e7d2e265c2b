"""Asks the supervisor to stop, start, freeze and thaw receivers: JSON, one object a line, over a socket pair.

{"id": 1, "op": "stop_receiver", "name": "main", "how": "kill"}     {"id": 1, "ok": true, "url": "https://…"}
{"id": 2, "op": "start_receiver", "name": "extra-1"}                {"id": 2, "ok": false, "error": "…"}
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from harness.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Iterator

_ANSWER_WITHIN_SECONDS: Final = 30.0
_READ_BYTES: Final = 4096
_MAX_LINE_BYTES: Final = 65_536


class SupervisorRefused(HarnessError):  # noqa: N818 - says what happened, as the other refusals do
    """The supervisor took a request and said no; its sentence is the message."""


class SupervisorGone(HarnessError):  # noqa: N818 - says what happened
    """The supervisor does not answer."""


class SupervisorLine:
    """Asks one thing at a time; safe to use from many threads.

    Args:
        sock: this process's end of the socket pair; the line owns it from now on.
        within: seconds to wait for an answer.
    """

    def __init__(self, sock: socket.socket, *, within: float = _ANSWER_WITHIN_SECONDS) -> None:
        self._sock = sock
        self._within = within
        self._lock = threading.Lock()
        self._unread = b""
        self._number = 0

    def ask(self, op: str, **members: str) -> dict[str, Any]:
        """Send one request and return its answer's members.

        Args:
            op: ``stop_receiver``, ``start_receiver``, ``freeze_receiver`` or ``thaw_receiver``.
            members: the request's further members.

        Raises:
            SupervisorRefused: it said no.
            SupervisorGone: the line is gone, or no answer came in time.
        """
        with self._lock:
            self._number += 1
            request = json.dumps({"id": self._number, "op": op, **members}) + "\n"
            deadline = time.monotonic() + self._within
            try:
                self._sock.settimeout(self._within)
                self._sock.sendall(request.encode())
                # An answer that came too late for an earlier request may stand before this one's.
                answer = next(one for one in self._answers(deadline) if one.get("id") == self._number)
            except TimeoutError:
                raise SupervisorGone(f"the supervisor did not answer {op} within {self._within:g} s") from None
            except (OSError, ValueError, StopIteration) as error:
                raise SupervisorGone(f"the supervisor is gone: {error or 'it closed the line'}") from None
        if not answer.get("ok"):
            raise SupervisorRefused(str(answer.get("error") or "the supervisor gave no reason"))
        return answer

    def close(self) -> None:
        """Close the line."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()

    def _answers(self, deadline: float) -> Iterator[dict[str, Any]]:
        while True:
            line, newline, rest = self._unread.partition(b"\n")
            if newline:
                self._unread = rest
                answer = json.loads(line)
                if isinstance(answer, dict):
                    yield answer
                continue
            if len(line) > _MAX_LINE_BYTES:
                raise ValueError("it sent no line")
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self._sock.settimeout(left)
            data = self._sock.recv(_READ_BYTES)
            if not data:
                return
            self._unread += data
