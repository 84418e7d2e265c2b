"""Tells the broker what changed, and lets the caller go only when the broker has taken it.

One thread sends. What many callers changed meanwhile goes out as one change, so that two hundred guests who ask for
credentials at once cost a few messages. Only tables and keys that an operation can touch are read again and compared
with what was sent last.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from harness.embedded.control.broker_link import BrokerRefused
from harness.embedded.link import LinkError
from harness.iot.authorizer import RegistryAuthorizer
from harness.iot.registry import RegistryChange, RegistrySnapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from harness.embedded.control.outcome import Touched


class RegistryFeed:
    """The registry as the broker has it, kept in step with the state it is read from.

    Args:
        read: (table, keys or None for all) to records by key.
        send: puts a change in force at the broker before it returns; raises `LinkError` when it could not.
        account_id: 12 digits.
        region: of the registry.
    """

    def __init__(
        self,
        *,
        read: Callable[[str, Iterable[str] | None], dict[str, Any]],
        send: Callable[[RegistryChange], object],
        account_id: str,
        region: str,
    ) -> None:
        self._read = read
        self._send = send
        self.authorizer = RegistryAuthorizer(RegistrySnapshot(account_id=account_id, region=region))
        self._condition = threading.Condition()
        self._waiting: list[tuple[Touched, Future[None]]] = []
        self._missed: dict[str, set[str] | None] = {}
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="registry-feed", daemon=True)
        self._thread.start()

    def commit(self, touched: Touched) -> None:
        """Bring the broker up to date and wait for it.

        Args:
            touched: table to the keys that may have changed, or None for all keys.

        Raises:
            LinkError: the broker did not take the change.
        """
        if not touched:
            return
        done: Future[None] = Future()
        with self._condition:
            if self._closed:
                raise LinkError("the registry feed was closed")
            self._waiting.append((touched, done))
            self._condition.notify()
        done.result()

    def close(self) -> None:
        """Stop the thread; what waits fails."""
        with self._condition:
            self._closed = True
            self._condition.notify()
        self._thread.join(timeout=1.0)

    def _run(self) -> None:
        while True:
            with self._condition:
                while not self._waiting and not self._closed:
                    self._condition.wait()
                waiting, self._waiting = self._waiting, []
                closed = self._closed
            if closed:
                _tell(waiting, LinkError("the registry feed was closed"))
                return
            self._serve(waiting)

    def _serve(self, waiting: list[tuple[Touched, Future[None]]]) -> None:
        """Send all as one change; if the broker refuses it, one by one, so that one fails alone."""
        error = self._bring_up_to_date([touched for touched, _ in waiting])
        if isinstance(error, BrokerRefused) and len(waiting) > 1:
            for one in waiting:
                _tell([one], self._bring_up_to_date([one[0]]))
        else:
            _tell(waiting, error)

    def _bring_up_to_date(self, changes: list[Touched]) -> Exception | None:
        dirty = _union([self._missed, *changes])
        try:
            change = self._difference(dirty)
            if change:
                self._send(change)
                self.authorizer.update(self.authorizer.snapshot.apply(change))
        except BrokerRefused as refusal:
            return refusal  # it would be refused again
        except Exception as error:  # noqa: BLE001 - a thread's boundary: the error goes to those who wait
            self._missed = dirty  # the next change takes along what this one could not bring
            return error
        self._missed = {}
        return None

    def _difference(self, dirty: Mapping[str, set[str] | None]) -> RegistryChange:
        put: dict[str, tuple[Any, ...]] = {}
        drop: dict[str, tuple[str, ...]] = {}
        for table, keys in dirty.items():
            sent: Mapping[str, Any] = getattr(self.authorizer.snapshot, table)
            now = self._read(table, keys)
            if changed := tuple(record for key, record in now.items() if sent.get(key) != record):
                put[table] = changed
            if gone := tuple(key for key in (sent if keys is None else keys) if key in sent and key not in now):
                drop[table] = gone
        return RegistryChange(put=put, drop=drop)


def _union(changes: Iterable[Touched | dict[str, set[str] | None]]) -> dict[str, set[str] | None]:
    dirty: dict[str, set[str] | None] = {}
    for change in changes:
        for table, keys in change.items():
            known = dirty.get(table, set())
            dirty[table] = None if keys is None or known is None else known | set(keys)
    return dirty


def _tell(waiting: Iterable[tuple[Touched, Future[None]]], error: Exception | None) -> None:
    for _, done in waiting:
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)
