"""Listening sockets: the same port on every address."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

import pytest

from harness.embedded import sockets
from harness.embedded.sockets import bind_all

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator


@pytest.fixture
def bind() -> Iterator[Callable[..., list[socket.socket]]]:
    """Bind, and close what was bound."""
    bound: list[socket.socket] = []

    def call(*args: Any) -> list[socket.socket]:
        listening = bind_all(*args)
        bound.extend(listening)
        return listening

    yield call
    for each in bound:
        each.close()


def test_a_port_is_the_same_on_every_address(bind: Callable[..., list[socket.socket]]) -> None:
    """Whatever port was free on the first."""
    ports = {each.getsockname()[1] for each in bind(["127.0.0.1", "127.0.0.2"], 0)}

    assert len(ports) == 1
    assert ports != {0}


def test_an_address_that_the_machine_does_not_have_is_left_out(bind: Callable[..., list[socket.socket]]) -> None:
    """As ::1 in a container without IPv6; 192.0.2.1 is nobody's."""
    assert len(bind(["127.0.0.1", "192.0.2.1"], 0)) == 1


def test_the_first_address_is_needed(bind: Callable[..., list[socket.socket]]) -> None:
    """Without it there is nothing to connect to."""
    with pytest.raises(OSError, match="assign"):
        bind(["192.0.2.1"], 0)


def test_a_port_that_is_taken_on_another_address_is_exchanged(
    bind: Callable[..., list[socket.socket]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two clashes, and the third port is free on both."""
    original, clashes = sockets._listen, iter([True, True, False])

    def listen(address: str, port: int) -> socket.socket:
        if port and next(clashes):
            raise OSError(errno.EADDRINUSE, "in use")
        return original(address, port)

    monkeypatch.setattr(sockets, "_listen", listen)

    assert len(bind(["127.0.0.1", "127.0.0.2"], 0)) == 2


def test_a_port_is_not_sought_for_ever(
    bind: Callable[..., list[socket.socket]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After some tries the clash is reported."""

    def listen(address: str, port: int) -> socket.socket:
        raise OSError(errno.EADDRINUSE, "in use")

    monkeypatch.setattr(sockets, "_listen", listen)

    with pytest.raises(OSError, match="in use"):
        bind(["127.0.0.1"], 0)


def test_a_port_that_was_asked_for_is_named_when_it_is_taken(bind: Callable[..., list[socket.socket]]) -> None:
    """It is not exchanged for another, and whoever asked for it learns which one it was."""
    (taken,) = bind(["127.0.0.1"], 0)
    port = taken.getsockname()[1]

    with pytest.raises(OSError, match=f"port {port} is already in use"):
        bind(["127.0.0.1"], port)
