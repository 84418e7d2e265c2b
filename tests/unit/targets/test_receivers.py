"""Receivers by name: each on a port of its own, stopped and started again, and what is refused."""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from harness.errors import TargetDied
from harness.targets.embedded import receivers as receivers_module
from harness.targets.embedded.children import Children, Interrupted
from harness.targets.embedded.receivers import MAX_FURTHER, ReceiverRefused, Receivers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness.targets.embedded import SupervisorOptions

    MakeReceivers = Callable[..., Receivers]


@pytest.fixture
def children(private_temp: Path) -> Iterator[Children]:
    """What the receivers are among; all ended afterwards."""
    children = Children()
    yield children
    children.call_off()
    children.put_away()
    assert list(private_temp.iterdir()) == []


@pytest.fixture
def make_receivers(children: Children, make_options: Callable[..., SupervisorOptions]) -> MakeReceivers:
    """Make receivers of fake children, ``main`` started."""

    def make(mode: str = "lives") -> Receivers:
        command = make_options(receiver=mode).receiver_command
        receivers = Receivers(children, command=command, environment={"IOT_SECRETS": "s3cret"}, main_port=0)
        main = receivers.spawn_main()
        receivers.take_main(children.await_reports([main])[main])
        return receivers

    return make


def is_open(url: str) -> bool:
    """Whether somebody listens at a URL's port."""
    try:
        socket.create_connection(("127.0.0.1", urlsplit(url).port or 0), timeout=10).close()
    except ConnectionRefusedError:
        return False
    return True


@pytest.mark.parametrize("how", ["kill", "term"])
@pytest.mark.parametrize("name", ["main", "extra-1"])
def test_a_stopped_receiver_comes_back_where_it_was(
    name: str, how: receivers_module.How, make_receivers: MakeReceivers, children: Children
) -> None:
    """In between nobody listens there, and no death is told of."""
    receivers = make_receivers()
    url = receivers.start(name)
    assert is_open(url)

    assert receivers.stop(name, how=how) == url
    assert not is_open(url)
    children.check()

    assert receivers.start(name) == url
    assert is_open(url)
    children.check()


def test_starting_and_stopping_twice_is_no_mistake(make_receivers: MakeReceivers) -> None:
    """What is asked for is how it shall be, not what shall happen."""
    receivers = make_receivers()
    assert receivers.start("main") == receivers.start("main")
    assert receivers.stop("main", how="term") == receivers.stop("main", how="kill")


def test_a_further_receiver_has_a_port_of_its_own(make_receivers: MakeReceivers) -> None:
    """And is stopped alone."""
    receivers = make_receivers()
    urls = {receivers.start("main"), receivers.start("a"), receivers.start("b")}
    assert len(urls) == 3

    receivers.stop("a", how="kill")

    assert sorted(map(is_open, urls)) == [False, True, True]


def test_a_receiver_that_does_not_listen_to_sigterm_is_killed(
    make_receivers: MakeReceivers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asking has an end."""
    monkeypatch.setattr(receivers_module, "_TERM_SECONDS", 0.05)
    receivers = make_receivers("stubborn")

    assert not is_open(receivers.stop("main", how="term"))


def test_receivers_have_a_limit(make_receivers: MakeReceivers) -> None:
    """The limit counts those that run, and never ``main``."""
    receivers = make_receivers()
    for number in range(MAX_FURTHER):
        receivers.start(f"extra-{number}")
    with pytest.raises(ReceiverRefused, match="8 receivers run beside main already"):
        receivers.start("one-more")
    receivers.stop("main", how="kill")
    with pytest.raises(ReceiverRefused, match="8 receivers run"):
        receivers.start("one-more")

    receivers.start("main")
    receivers.start("extra-0")
    receivers.stop("extra-0", how="kill")
    receivers.start("one-more")


@pytest.mark.parametrize("name", ["", "-a", "a.b", "a/b", "..", "a" * 65, "a\n", "ä"])
def test_a_name_that_is_none_is_refused(name: str, make_receivers: MakeReceivers) -> None:
    """Names become names of files."""
    with pytest.raises(ReceiverRefused, match="no name of a receiver"):
        make_receivers().start(name)


def state_of(receivers: Receivers, name: str) -> str:
    """The state of a receiver's process, as the system calls it: ``T`` is stopped."""
    child = receivers._receivers[name].child
    assert child is not None
    stat = Path(f"/proc/{child.process.pid}/stat").read_text("utf-8")
    return stat.rpartition(")")[2].split()[0]


def until(state: bool, receivers: Receivers, name: str) -> None:  # noqa: FBT001 - reads as a sentence
    """Wait until a receiver stands still, or does not: a signal is delivered a moment after it is sent."""
    deadline = time.monotonic() + 30
    while (state_of(receivers, name) == "T") is not state:
        assert time.monotonic() < deadline
        os.sched_yield()


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="not proven: how a process stands is read from /proc")
def test_a_frozen_receiver_stands_still_until_it_is_thawed(make_receivers: MakeReceivers, children: Children) -> None:
    """Nobody takes that for a death, and it answers where it was."""
    receivers = make_receivers()
    url = receivers.start("extra-1")

    assert receivers.freeze("extra-1") == url
    until(True, receivers, "extra-1")
    children.check()
    assert receivers.thaw("extra-1") == url
    until(False, receivers, "extra-1")
    assert is_open(url)


@pytest.mark.parametrize("how", ["kill", "term"])
def test_a_frozen_receiver_is_stopped_all_the_same(
    how: receivers_module.How, make_receivers: MakeReceivers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked or not: what stands still does not listen, so asking has an end."""
    monkeypatch.setattr(receivers_module, "_TERM_SECONDS", 0.05)
    receivers = make_receivers()
    receivers.start("extra-1")
    receivers.freeze("extra-1")

    assert not is_open(receivers.stop("extra-1", how=how))


def test_a_receiver_that_cannot_be_frozen_is_refused(make_receivers: MakeReceivers) -> None:
    """Neither everybody's, nor one that does not run."""
    receivers = make_receivers()
    receivers.start("extra-1")
    receivers.stop("extra-1", how="kill")

    with pytest.raises(ReceiverRefused, match="main is everybody's"):
        receivers.freeze("main")
    for name in ("extra-1", "extra-2"):
        with pytest.raises(ReceiverRefused, match=f"no receiver '{name}' runs"):
            receivers.freeze(name)
        with pytest.raises(ReceiverRefused, match=f"no receiver '{name}' runs"):
            receivers.thaw(name)


def test_an_unknown_receiver_cannot_be_stopped(make_receivers: MakeReceivers) -> None:
    """The refusal names those there are."""
    receivers = make_receivers()
    receivers.start("extra-1")
    with pytest.raises(ReceiverRefused, match="no receiver 'extra-2'; there is main, extra-1"):
        receivers.stop("extra-2", how="kill")


def test_a_receiver_that_cannot_start_is_refused_and_ends_nobody_else(
    make_receivers: MakeReceivers, children: Children
) -> None:
    """The refusal holds its log; the others go on."""
    receivers = make_receivers("dies-further")

    with pytest.raises(ReceiverRefused, match="receiver cannot bind its port"):
        receivers.start("extra-1")

    children.check()
    assert is_open(receivers.start("main"))
    with pytest.raises(ReceiverRefused, match="there is main"):
        receivers.stop("extra-1", how="kill")


def test_a_receiver_that_takes_for_ever_is_refused(
    make_receivers: MakeReceivers, children: Children, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And killed; whoever asked is told before it gives up itself."""
    receivers = make_receivers("hangs-further")
    monkeypatch.setattr(receivers_module, "_START_SECONDS", 0.05)

    with pytest.raises(ReceiverRefused, match="was not ready within"):
        receivers.start("extra-1")

    assert children._unwatched == []
    children.check()


def test_a_program_that_is_not_there_is_refused(
    make_receivers: MakeReceivers, children: Children, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system's word for it is handed on."""
    receivers = make_receivers()
    monkeypatch.setattr("sys.executable", "/nonexistent")

    with pytest.raises(ReceiverRefused, match=r"receiver extra-1 could not be started: .*No such file"):
        receivers.start("extra-1")
    children.check()


@pytest.mark.parametrize("name", ["main", "extra-1"])
def test_a_receiver_that_ended_by_itself_is_a_death(
    name: str, make_receivers: MakeReceivers, children: Children
) -> None:
    """Neither starting nor stopping it covers that up."""
    receivers = make_receivers()
    receivers.start(name)
    child = receivers._receivers[name].child
    assert child is not None
    child.signal(signal.SIGKILL)
    assert child.wait(30)

    with pytest.raises(ReceiverRefused, match="was ended by SIGKILL"):
        receivers.start(name)
    with pytest.raises(ReceiverRefused, match="was ended by SIGKILL"):
        receivers.stop(name, how="kill")
    with pytest.raises(TargetDied, match="was ended by SIGKILL"):
        children.check()


def test_nothing_starts_or_stops_once_all_are_told_to_end(make_receivers: MakeReceivers, children: Children) -> None:
    """Who asks then is answered no more."""
    receivers = make_receivers()
    children.call_off()

    with pytest.raises(Interrupted):
        receivers.start("extra-1")
    with pytest.raises(Interrupted):
        receivers.stop("main", how="kill")


def test_receivers_show_no_secret(make_receivers: MakeReceivers) -> None:
    """Their environment is theirs."""
    assert "s3cret" not in repr(make_receivers())


def test_a_main_that_was_never_started_reports_nothing(children: Children) -> None:
    """A mistake of the caller."""
    receivers = Receivers(children, command=(), environment={}, main_port=0)
    with pytest.raises(RuntimeError, match="not started"):
        receivers.take_main({"port": 1})
