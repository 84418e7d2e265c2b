"""All processes of one start: their common folder and lifeline, who waits for them, and how they end together.

Two threads come here: the one that started everything and then waits or looks from time to time, and the one that
starts and ends receivers on request. What they share is changed under one lock; no wait happens under it. A wait is a
`select` on what tells of the awaited, on a pipe that says that all is over, and, for the first thread, on one that says
that the processes to watch are others now.

A child is *watched* or not. The end of a watched one is a death and ends all. One that was started on request is not
watched before it has reported, nor is one that ends on purpose.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from harness.errors import TargetDied
from harness.targets.embedded.folder import PrivateFolder
from harness.targets.embedded.process import Child, Lifeline

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

_START_SECONDS: Final = 60.0
"""How long a start may take on the slowest machine; a healthy one takes about a second."""
_TERM_SECONDS: Final = 1.0
_KILL_SECONDS: Final = 0.5


class Interrupted(Exception):  # noqa: N818 - not an error: what was waited for was called off
    """The wake-up descriptor became readable while something was waited for, or all children are told to end."""


class Children:
    """The processes of one start.

    Args:
        wake_up: a descriptor that becomes readable when the first thread's waits are to be broken off; None when none
            is.
    """

    def __init__(self, *, wake_up: int | None = None) -> None:
        self._wake_up = wake_up
        self._lock = threading.Lock()
        self._watched: list[Child] = []
        self._unwatched: list[Child] = []
        self._is_over = False
        self._folder = PrivateFolder()
        try:
            self._lifeline = Lifeline()
            self._over = _Flag()
            self._changed = _Flag()
        except BaseException:
            self._folder.remove()
            raise

    @property
    def folder(self) -> Path:
        """Where configurations and logs are; private to this user."""
        return self._folder.path

    def spawn(
        self,
        name: str,
        command: Sequence[str],
        *,
        config: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
        inherits: Sequence[int] = (),
        answers_on_stdout: bool = False,
        is_watched: bool = True,
    ) -> Child:
        """Start a process; the arguments are those of `Child`, and whether its end is a death from the first.

        Raises:
            Interrupted: all children are told to end.
            OSError: it cannot be started.
        """
        with self._lock:
            if self._is_over:
                raise Interrupted
            child = Child(
                name,
                command,
                config=config,
                environment=environment,
                folder=self.folder,
                lifeline=self._lifeline,
                inherits=inherits,
                answers_on_stdout=answers_on_stdout,
            )
            (self._watched if is_watched else self._unwatched).append(child)
        return child

    def watch(self, child: Child) -> None:
        """Take the end of a child for a death from now on."""
        self._move(child, self._unwatched, self._watched)

    def check(self) -> None:
        """Make sure that every watched process still runs.

        Raises:
            TargetDied: one does not.
        """
        with self._lock:
            dead = next((child for child in self._watched if child.has_ended), None)
        if dead is not None:
            raise dead.death()

    def check_one(self, child: Child) -> None:
        """Make sure that a process still runs, watched or not.

        Raises:
            TargetDied: it does not.
            Interrupted: all children are told to end, so that its end would mean nothing.
        """
        with self._lock:
            if self._is_over:
                raise Interrupted
            is_dead = child.has_ended
        if is_dead:
            raise child.death()

    def wait(self) -> None:
        """Wait until a watched process ends or the wait is broken off.

        Raises:
            TargetDied: a process ended.
            Interrupted: the wait was broken off.
        """
        while True:
            self._changed.lower()
            with self._lock:
                watched = tuple(self._watched)
            # A new one each time: descriptors of children that are gone may have been given out again.
            with selectors.DefaultSelector() as selector:
                self._register(selector, watched, wake_up=self._wake_up)
                selector.register(self._changed.descriptor, selectors.EVENT_READ)
                for key in sorted((key for key, _events in selector.select()), key=_rank):
                    self._look_at(key)

    def await_reports(self, awaited: Sequence[Child]) -> dict[Child, dict[str, Any]]:
        """Wait for the report of each child, while all that are watched live; for the first thread.

        Raises:
            TargetDied: a process ended, said something else, or took too long.
            Interrupted: the wait was broken off.
        """
        with self._lock:
            watched = tuple(self._watched)
        return self._collect(awaited, watched, wake_up=self._wake_up, within=_START_SECONDS)

    def await_report(self, child: Child, *, within: float) -> dict[str, Any]:
        """Wait for the report of one child, at most ``within`` seconds and while it lives; for any thread.

        Raises:
            TargetDied: it ended, said something else, or took too long.
            Interrupted: all children are told to end.
        """
        return self._collect([child], [child], wake_up=None, within=within)[child]

    def end(self, child: Child, number: signal.Signals, *, within: float = _KILL_SECONDS) -> None:
        """End one child on purpose, with SIGKILL when it has not ended ``within`` seconds.

        Raises:
            Interrupted: all children are told to end; this one has been told as well.
        """
        self._move(child, self._watched, self._unwatched)
        child.signal(number)
        if not self._is_gone(child, within):
            child.signal(signal.SIGKILL)
            self._is_gone(child, _KILL_SECONDS)
        with self._lock:
            if not self._is_over:  # else all of them are being put away
                self._unwatched.remove(child)
                child.close()

    def call_off(self) -> None:
        """Break every wait off, refuse new children and tell those there are to end."""
        with self._lock:
            self._is_over = True
            self._over.raise_()
            for child in (*self._watched, *self._unwatched):
                # Whoever is still starting has nothing to put away, and may not listen before it has started.
                child.signal(signal.SIGTERM if child.has_reported else signal.SIGKILL)

    def put_away(self) -> None:
        """See to it that all have ended, 1.5 s after the latest, and remove their files; after `call_off`."""
        with self._lock:
            children = (*self._watched, *self._unwatched)
        _await_ends(children, within=_TERM_SECONDS)
        self._lifeline.cut()
        stubborn = [child for child in children if not child.has_ended]
        for child in stubborn:
            child.signal(signal.SIGKILL)
        _await_ends(stubborn, within=_KILL_SECONDS)
        for child in children:
            child.close()
        self._folder.remove()
        self._over.close()
        self._changed.close()

    def _move(self, child: Child, source: list[Child], destination: list[Child]) -> None:
        with self._lock:
            if self._is_over:
                raise Interrupted
            if child in source:
                source.remove(child)
                destination.append(child)
                self._changed.raise_()

    def _is_gone(self, child: Child, within: float) -> bool:
        """Wait for the end of a child; whether it came in time."""
        with selectors.DefaultSelector() as selector:
            selector.register(child.presence_fd, selectors.EVENT_READ)
            selector.register(self._over.descriptor, selectors.EVENT_READ)
            ready = selector.select(within)
        if any(key.fd == self._over.descriptor for key, _events in ready):
            raise Interrupted
        return bool(ready) and child.wait(_KILL_SECONDS)

    def _collect(
        self, awaited: Sequence[Child], watched: Iterable[Child], *, wake_up: int | None, within: float
    ) -> dict[Child, dict[str, Any]]:
        reports: dict[Child, dict[str, Any]] = {}
        deadline = time.monotonic() + within
        with selectors.DefaultSelector() as selector:
            self._register(selector, watched, wake_up=wake_up)
            for child in awaited:
                selector.register(child.report_fd, selectors.EVENT_READ, child)
            while len(reports) < len(awaited):
                ready = selector.select(max(0.0, deadline - time.monotonic()))
                if not ready:
                    late = next(child for child in awaited if child not in reports)
                    raise TargetDied(late.name, f"was not ready within {within:.0f} s", tail=late.tail())
                for key in sorted((key for key, _events in ready), key=_rank):
                    if not _is_report(key):
                        self._look_at(key)
                    elif (report := key.data.read_report()) is not None:
                        reports[key.data] = report
                        selector.unregister(key.fd)
        return reports

    def _register(self, selector: selectors.BaseSelector, watched: Iterable[Child], *, wake_up: int | None) -> None:
        for child in watched:
            selector.register(child.presence_fd, selectors.EVENT_READ, child)
        selector.register(self._over.descriptor, selectors.EVENT_READ)
        if wake_up is not None:
            selector.register(wake_up, selectors.EVENT_READ)

    def _look_at(self, key: selectors.SelectorKey) -> None:
        """Raise what a readable descriptor means, if it means anything."""
        if key.fd in (self._wake_up, self._over.descriptor):
            raise Interrupted
        child: Child | None = key.data
        if child is None or child.may_end:
            return
        with self._lock:
            is_death = child in self._watched or (child in self._unwatched and not child.has_reported)
        if is_death:
            raise child.death()


class _Flag:
    """A pipe that is readable while the flag is up."""

    def __init__(self) -> None:
        self.descriptor, self._write_end = os.pipe()
        os.set_blocking(self.descriptor, False)
        os.set_blocking(self._write_end, False)

    def raise_(self) -> None:
        with contextlib.suppress(BlockingIOError):  # full: it is up
            os.write(self._write_end, b"!")

    def lower(self) -> None:
        with contextlib.suppress(BlockingIOError):  # empty: it is down
            while os.read(self.descriptor, 4096):
                pass

    def close(self) -> None:
        os.close(self.descriptor)
        os.close(self._write_end)


def _is_report(key: selectors.SelectorKey) -> bool:
    return key.data is not None and key.fd == key.data.report_fd


def _rank(key: selectors.SelectorKey) -> int:
    """Order what is ready: first what calls a wait off, since then the ends are ours; then reports; then ends.

    Reports before ends: a process that has reported and then ended did report.
    """
    if key.data is None:
        return 0
    return 1 if _is_report(key) else 2


def _await_ends(children: Iterable[Child], *, within: float) -> None:
    deadline = time.monotonic() + within
    for child in children:
        child.wait(deadline - time.monotonic())
