"""The control plane's sockets: one port on every loopback address that there is."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING, Any

import pytest

from harness.errors import TargetUnavailable
from harness.targets.embedded import loopback
from harness.targets.embedded.loopback import listen_on_loopback

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def listen() -> Iterator[Callable[[int], list[socket.socket]]]:
    """Listen, and close what listens afterwards."""
    opened: list[socket.socket] = []

    def call(port: int) -> list[socket.socket]:
        opened.extend(sockets := listen_on_loopback(port))
        return sockets

    yield call
    for each in opened:
        each.close()


@pytest.fixture
def fail_on_ipv6(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[int]]:
    """Let listening on ::1 fail with the given errors, one after the other; returns the ports that were tried."""
    listen_really = loopback._listen

    def prepare(*numbers: int) -> list[int]:
        tried: list[int] = []
        left = list(numbers)

        def listen(address: str, port: int) -> socket.socket:
            if address != "::1":
                return listen_really(address, port)
            tried.append(port)
            if left:
                raise OSError(left.pop(0), "no")
            return listen_really("127.0.0.2", port)

        monkeypatch.setattr(loopback, "_listen", listen)
        return tried

    return prepare


def test_every_address_has_the_same_port(listen: Callable[[int], list[socket.socket]]) -> None:
    """IPv4 comes first; the sockets are closed to programs that were not given them."""
    sockets = listen(0)

    assert sockets[0].getsockname()[0] == "127.0.0.1"
    assert len({each.getsockname()[1] for each in sockets}) == 1
    assert not any(each.get_inheritable() for each in sockets)
    for each in sockets:
        socket.create_connection(each.getsockname()[:2], timeout=10).close()


@pytest.mark.parametrize("number", [errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EACCES])
def test_a_machine_without_ipv6_gets_one_address(
    number: int, listen: Callable[[int], list[socket.socket]], fail_on_ipv6: Callable[..., list[int]]
) -> None:
    """Whatever stands in the way of ::1 but a taken port."""
    fail_on_ipv6(number)

    assert [each.getsockname()[0] for each in listen(0)] == ["127.0.0.1"]


def test_a_port_taken_on_one_address_is_exchanged_for_another(
    listen: Callable[[int], list[socket.socket]], fail_on_ipv6: Callable[..., list[int]]
) -> None:
    """Any port will do, as long as it is the same on both."""
    tried = fail_on_ipv6(errno.EADDRINUSE, errno.EADDRINUSE)

    sockets = listen(0)

    assert len(tried) == 3
    assert {each.getsockname()[1] for each in sockets} == {tried[-1]}


def test_a_port_that_was_asked_for_is_not_exchanged(
    listen: Callable[[int], list[socket.socket]], fail_on_ipv6: Callable[..., list[int]]
) -> None:
    """Taken on one address is taken; on none of them anybody listens then."""
    port = listen(0)[0].getsockname()[1]
    with pytest.raises(TargetUnavailable, match=f"cannot listen on port {port} "):
        listen_on_loopback(port)

    with socket.create_server(("127.0.0.1", 0)) as probe:
        free = probe.getsockname()[1]
    tried = fail_on_ipv6(errno.EADDRINUSE)
    with pytest.raises(TargetUnavailable, match=f"port {free} "):
        listen_on_loopback(free)
    assert tried == [free]


def test_a_machine_without_a_free_port_is_told_so(fail_on_ipv6: Callable[..., list[int]]) -> None:
    """The search has an end."""
    tried = fail_on_ipv6(*[errno.EADDRINUSE] * 100)

    with pytest.raises(TargetUnavailable, match="any port"):
        listen_on_loopback(0)

    assert len(tried) == 20


def test_a_socket_that_cannot_listen_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever goes wrong, no descriptor is left; the sentence says what the system said."""
    made: list[socket.socket] = []

    class Unwilling(socket.socket):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            made.append(self)

        def listen(self, _backlog: int = 0, /) -> None:
            raise OSError(errno.EACCES, "no")

    monkeypatch.setattr("socket.socket", Unwilling)

    with pytest.raises(TargetUnavailable, match="Permission denied"):
        listen_on_loopback(0)
    assert [each.fileno() for each in made] == [-1]
