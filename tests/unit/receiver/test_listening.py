"""Sockets, TLS, and how many files a process may have."""

from __future__ import annotations

import errno
import resource
import socket
import ssl
from itertools import chain
from typing import TYPE_CHECKING, Any

import pytest

from receiver import listening as listening_module
from receiver.errors import SettingsError
from receiver.listening import MAX_CONNECTIONS, SPREADS, allow_files, bind, bind_beside, make_tls

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.receiver.conftest import Certificate


def ports_of(sockets: list[socket.socket]) -> set[int]:
    """Give the ports and close the sockets."""
    ports = {made.getsockname()[1] for made in sockets}
    for made in sockets:
        made.close()
    return ports


def test_all_addresses_share_one_port() -> None:
    """Whichever is free, or the one that is asked for."""
    (port,) = ports_of(bind(("127.0.0.1", "::1"), 0))

    assert port
    assert ports_of(bind(("127.0.0.1", "::1"), port)) == {port}


def test_a_name_stands_for_its_addresses() -> None:
    """Of this machine."""
    assert len(ports_of(bind(("localhost",), 0))) == 1


def test_every_ipv6_address_is_none_of_ipv4() -> None:
    """So that both wildcards can be listened at, with one port."""
    assert len(ports_of(bind(("0.0.0.0", "::"), 0))) == 1  # noqa: S104 - bound for a moment, never listened at


def test_a_port_that_is_taken_is_not_exchanged() -> None:
    """One that is asked for."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match="HOST and PORT cannot be listened at: Address already in use"):
            bind(("127.0.0.1",), port)


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid", "a..b", "a" * 64])
def test_an_address_of_another_machine_is_refused(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Documentation's own, a name that nobody has, and what can be none; nothing stays bound."""
    original = socket.getaddrinfo

    def resolve(name: str, *args: Any, **more: Any) -> Any:
        if name.endswith(".invalid"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return original(name, *args, **more)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    for port in (0, 1):
        with pytest.raises(SettingsError, match="HOST and PORT cannot be listened at: "):
            bind(("127.0.0.1", host) if not port else (host,), port)


def test_a_port_that_is_free_at_one_address_only_is_given_up_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second address may have it taken; that is not for ever."""
    original = listening_module._bind_one
    refusals = [2]

    def bind_one(place: Any) -> socket.socket:
        if place[1][1] and refusals[0]:
            refusals[0] -= 1
            raise OSError(errno.EADDRINUSE, "Address already in use")
        return original(place)

    monkeypatch.setattr(listening_module, "_bind_one", bind_one)
    assert len(ports_of(bind(("127.0.0.1", "::1"), 0))) == 1

    refusals[0] = 1000
    with pytest.raises(SettingsError, match="no port is free"):
        bind(("127.0.0.1", "::1"), 0)


def test_tls_is_not_older_than_1_2(certificate: Certificate) -> None:
    """And speaks HTTP/1.1."""
    assert make_tls(certificate.cert, certificate.key).minimum_version is ssl.TLSVersion.TLSv1_2


def test_files_that_make_no_tls_are_refused(certificate: Certificate, tmp_path: Path) -> None:
    """Missing, not PEM, not a pair, or locked: said in one sentence, and nobody is asked for a password."""
    (tmp_path / "none.pem").write_text("none")
    cases = [
        (tmp_path / "missing.pem", certificate.key, "No such file"),
        (tmp_path / "none.pem", certificate.key, ""),
        (certificate.cert, certificate.cert, ""),
        (certificate.cert, certificate.locked_key, "the key is encrypted"),
    ]
    for cert, key, because in cases:
        with pytest.raises(SettingsError, match=f"^TLS_CERT and TLS_KEY cannot be used: .*{because}"):
            make_tls(cert, key)


@pytest.mark.skipif(not SPREADS, reason="this system does not spread connections over sockets")
def test_connections_are_spread_over_sockets_beside_each_other() -> None:
    """Over those that listen: each worker has its own."""
    addresses = bind_beside(bind(("127.0.0.1", "::1"), 0), is_first=True)
    several = [bind_beside(addresses) for _ in range(3)]
    assert len({made.getsockname() for beside in several for made in beside}) == 2
    listening = [beside[0] for beside in several[:2]]  # the third one has not begun yet
    for made in listening:
        made.listen(128)
        made.setblocking(False)

    clients = [socket.create_connection(listening[0].getsockname()) for _ in range(64)]
    taken = []
    for made in listening:
        accepted = []
        while True:
            try:
                accepted.append(made.accept()[0])
            except BlockingIOError:
                break
        taken.append(accepted)
    counts = [len(accepted) for accepted in taken]
    for made in chain(clients, addresses, *taken, *several):
        made.close()

    assert sum(counts) == 64
    assert min(counts) > 0


def test_nothing_is_beside_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process's socket would get a part of the connections; what was bound is closed."""
    first = bind(("127.0.0.1", "::1"), 0)
    refusals = [False, True]
    original = listening_module._bind_one

    def bind_one(place: Any, **options: Any) -> socket.socket:
        if refusals.pop(0):
            raise OSError(errno.EADDRINUSE, "Address already in use")
        return original(place, **options)

    monkeypatch.setattr(listening_module, "_bind_one", bind_one)
    with pytest.raises(SettingsError, match="HOST and PORT cannot be listened at: Address already in use"):
        bind_beside(first, is_first=True)
    assert {made.fileno() for made in first} == {-1}


@pytest.mark.parametrize(
    ("soft", "hard", "after"),
    [
        (256, 1_048_576, MAX_CONNECTIONS + 256),
        (256, resource.RLIM_INFINITY, MAX_CONNECTIONS + 256),
        (256, 1024, 1024),
        (65_536, 1_048_576, None),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, None),
    ],
)
def test_a_process_may_have_as_many_files_as_connections(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, after: int | None
) -> None:
    """As far as the system allows it; a limit that is high enough stays."""
    told: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: told.append(limits))
    allow_files()

    assert told == ([] if after is None else [(after, hard)])


def test_a_limit_of_files_that_cannot_be_changed_is_lived_with(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first connections too many are refused then, nothing worse."""

    def refuse(*_: object) -> None:
        raise ValueError

    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 1024))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    allow_files()
