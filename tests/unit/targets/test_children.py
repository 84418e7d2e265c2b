"""All processes of one start: whose end is a death, who is waited for, and how waits are broken off."""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from harness.errors import TargetDied
from harness.targets.embedded import children as children_module
from harness.targets.embedded.children import Children, Interrupted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from harness.targets.embedded import SupervisorOptions
    from harness.targets.embedded.process import Child

    Spawn = Callable[..., Child]


@pytest.fixture
def children(private_temp: Path, processes_of: Callable[[Path], list[int]]) -> Iterator[Children]:
    """The processes of a start; none is left afterwards, and no file."""
    children = Children()
    yield children
    if children.folder.exists():
        children.call_off()
        children.put_away()
    assert processes_of(private_temp.parent) == []
    assert list(private_temp.iterdir()) == []


@pytest.fixture
def spawn(children: Children, make_options: Callable[..., SupervisorOptions]) -> Spawn:
    """Start a fake receiver."""

    def run(mode: str = "lives", *, name: str = "one", is_watched: bool = True) -> Child:
        command = make_options(receiver=mode).receiver_command
        return children.spawn(name, command, environment={"PORT": "0"}, is_watched=is_watched)

    return run


class Waiting:
    """`Children.wait` in a thread, and what it raised."""

    def __init__(self, children: Children) -> None:
        self.outcome: list[Exception] = []
        self._children = children
        self._thread = threading.Thread(target=self._wait)
        self._thread.start()

    def end(self) -> Exception:
        """Wait for the end of the wait and return what it raised."""
        self._thread.join(timeout=30)
        return self.outcome[0]

    def _wait(self) -> None:
        try:
            self._children.wait()
        except (TargetDied, Interrupted) as raised:
            self.outcome.append(raised)


def test_a_child_that_is_not_watched_may_end(children: Children, spawn: Spawn) -> None:
    """Until it is watched; then its end counts."""
    child = spawn(is_watched=False)
    children.await_report(child, within=30)
    child.signal(signal.SIGKILL)
    assert child.wait(30)
    children.check()

    children.watch(child)
    with pytest.raises(TargetDied, match="The one was ended by SIGKILL"):
        children.check()


def test_who_waits_sees_the_end_of_a_child_that_came_later(children: Children, spawn: Spawn) -> None:
    """The wait goes on when one ends on purpose and notices the one that took its place."""
    first = spawn()
    children.await_reports([first])
    waiting = Waiting(children)

    children.end(first, signal.SIGTERM, within=30)
    second = spawn(name="two", is_watched=False)
    children.await_report(second, within=30)
    children.watch(second)
    assert waiting.outcome == []
    second.signal(signal.SIGKILL)

    death = waiting.end()
    assert isinstance(death, TargetDied)
    assert death.process == "two"


def test_an_end_on_purpose_is_noticed_by_nobody(children: Children, spawn: Spawn) -> None:
    """Many in a row, while somebody waits."""
    waiting = Waiting(children)
    for number in range(10):
        child = spawn(name=f"number {number}")
        children.await_report(child, within=30)
        children.end(child, signal.SIGKILL)
        children.check()
    assert waiting.outcome == []

    children.call_off()
    assert isinstance(waiting.end(), Interrupted)


def test_a_child_that_will_not_end_is_killed(children: Children, spawn: Spawn) -> None:
    """After the time it was given."""
    child = spawn("stubborn")
    children.await_report(child, within=30)

    children.end(child, signal.SIGTERM, within=0.05)

    assert child.process.returncode == -signal.SIGKILL


def test_a_report_is_waited_for_so_long_and_no_longer(children: Children, spawn: Spawn) -> None:
    """The error says for whom and how long."""
    child = spawn("hangs", is_watched=False)
    with pytest.raises(TargetDied, match="The one was not ready within 0 s"):
        children.await_report(child, within=0.05)


def test_a_report_on_request_is_not_disturbed_by_another_childs_death(children: Children, spawn: Spawn) -> None:
    """Who watches the others is told; who asked for this one gets its report."""
    dead = spawn("dies", name="other")
    assert dead.wait(30)

    assert children.await_report(spawn(is_watched=False), within=30)["port"]


def test_once_called_off_nothing_begins_and_nothing_is_waited_for(children: Children, spawn: Spawn) -> None:
    """Each way in is closed, each wait broken off."""
    child = spawn()
    children.await_report(child, within=30)
    hanging = spawn("hangs", name="two", is_watched=False)
    waiting = Waiting(children)

    children.call_off()

    assert isinstance(waiting.end(), Interrupted)
    for attempt in (
        lambda: spawn(name="three"),
        lambda: children.watch(hanging),
        lambda: children.end(child, signal.SIGKILL),
        lambda: children.await_report(hanging, within=30),
        lambda: children.await_reports([hanging]),
    ):
        with pytest.raises(Interrupted):
            attempt()


def test_ending_a_child_is_broken_off_when_all_are_told_to_end(
    children: Children, spawn: Spawn, eventually: Callable[[Callable[[], object]], None]
) -> None:
    """It was told before; whoever ends all sees to it that it does."""
    child = spawn("stubborn")
    children.await_report(child, within=30)
    raised: list[Exception] = []

    def end() -> None:
        try:
            children.end(child, signal.SIGTERM, within=30)
        except Interrupted as error:
            raised.append(error)

    thread = threading.Thread(target=end)
    thread.start()
    eventually(lambda: children._unwatched == [child])
    children.call_off()
    thread.join(timeout=30)
    assert len(raised) == 1

    children.put_away()
    assert child.has_ended


def test_a_readable_wake_up_breaks_off_only_the_first_threads_waits(
    private_temp: Path, make_options: Callable[..., SupervisorOptions]
) -> None:
    """A receiver that is being started on request is waited for until all are told to end."""
    read_end, write_end = os.pipe()
    os.write(write_end, b"!")
    children = Children(wake_up=read_end)
    try:
        child = children.spawn("one", make_options().receiver_command, environment={"PORT": "0"}, is_watched=False)
        with pytest.raises(Interrupted):
            children.wait()
        with pytest.raises(Interrupted):
            children.await_reports([child])
        assert children.await_report(child, within=30)["port"]
    finally:
        children.call_off()
        children.put_away()
        os.close(read_end)
        os.close(write_end)


def test_a_folder_goes_when_there_are_no_descriptors_left(private_temp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start that fails this early leaves nothing either."""

    def refuse() -> tuple[int, int]:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("os.pipe", refuse)
    with pytest.raises(OSError, match="Too many"):
        Children()
    assert list(private_temp.iterdir()) == []


def test_a_change_that_nobody_reads_of_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test run never waits, and its receivers may come and go for days."""
    flag = children_module._Flag()
    for _ in range(100_000):
        flag.raise_()
    flag.lower()
    with pytest.raises(BlockingIOError):
        os.read(flag.descriptor, 1)
    flag.close()
    assert sys.platform != "win32"
