"""Adds what the control plane did to the broker's trace, in order and without keeping callers waiting."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from harness.embedded.link import LinkError

if TYPE_CHECKING:
    from harness.embedded.control.broker_link import BrokerLink

_MAX_WAITING: Final = 10_000
"""Records kept while the broker is busy; the oldest go first."""


class Tracer:
    """Sends records in batches from a thread of its own.

    Args:
        link: to the broker, which keeps the trace.
    """

    def __init__(self, link: BrokerLink) -> None:
        self._link = link
        self._condition = threading.Condition()
        self._records: deque[dict[str, Any]] = deque(maxlen=_MAX_WAITING)
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="tracer", daemon=True)
        self._thread.start()

    def append(self, kind: str, *, principal: str | None, detail: dict[str, Any]) -> None:
        """Add one record.

        Args:
            kind: what happened, for example ``api``.
            principal: who did it.
            detail: anything JSON; never a secret.
        """
        record = {
            "actor": "control",
            "kind": kind,
            "client_id": None,
            "principal": principal,
            "topic": None,
            "message_id": None,
            "detail": detail,
        }
        with self._condition:
            self._records.append(record)
            self._condition.notify()

    def close(self) -> None:
        """Stop; what was not sent is lost."""
        with self._condition:
            self._closed = True
            self._condition.notify()
        self._thread.join(timeout=1.0)

    def _run(self) -> None:
        while True:
            with self._condition:
                while not self._records and not self._closed:
                    self._condition.wait()
                if self._closed:
                    return
                batch = list(self._records)
                self._records.clear()
            try:
                self._link.request("trace_append", records=batch)
            except LinkError:
                continue  # these records are lost; if the broker is there, it may take later ones
