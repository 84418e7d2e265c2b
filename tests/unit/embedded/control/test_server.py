"""The HTTP listener, byte by byte."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

import pytest

from harness.embedded.control import server as server_module
from harness.embedded.control.messages import HttpRequest, HttpResponse
from harness.embedded.control.server import MAX_BODY_BYTES, HttpServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def seen() -> list[HttpRequest]:
    """What the layer behind the listener was asked."""
    return []


@pytest.fixture
def http(seen: list[HttpRequest]) -> Iterator[HttpServer]:
    """A listener whose layer answers every request with its method."""

    def answer(request: HttpRequest) -> HttpResponse:
        seen.append(request)
        return HttpResponse(status=200, headers=(("x-a", "b"),), body=request.method.encode())

    server = HttpServer(("127.0.0.1",), 0, answer=answer, clock=lambda: 0.0)
    server.start()
    yield server
    server.close()


@pytest.fixture
def talk(http: HttpServer) -> Iterator[Callable[[bytes, int], bytes]]:
    """Return a function that sends bytes on one connection and reads until so many answers came, or the end."""
    with socket.create_connection(("127.0.0.1", http.port), timeout=10) as connection:

        def exchange(data: bytes, answers: int = 1) -> bytes:
            connection.sendall(data)
            received = b""
            while received.count(b"HTTP/1.1 ") < answers or not received.endswith((b"GET", b"POST", b"}", b"\r\n\r\n")):
                chunk = connection.recv(65536)
                if not chunk:
                    break
                received += chunk
            return received

        yield exchange


def test_a_connection_serves_requests_one_after_another(
    talk: Callable[[bytes, int], bytes], seen: list[HttpRequest]
) -> None:
    """Keep-alive: two requests sent at once are answered in order, the body of the first not taken for the second."""
    received = talk(b"POST /a%2Fb?x=%20#y HTTP/1.1\r\nContent-Length: 2\r\n\r\nhiGET / HTTP/1.1\r\n\r\n", 2)

    assert received.count(b"HTTP/1.1 200 OK\r\nx-a: b\r\ndate: Thu, 01 Jan 1970 00:00:00 GMT\r\ncontent-length:") == 2
    assert [(r.method, r.path, r.query, r.body) for r in seen] == [
        ("POST", "/a%2Fb", "x=%20", b"hi"),
        ("GET", "/", "", b""),
    ]


def test_a_head_request_gets_no_body(talk: Callable[[bytes, int], bytes]) -> None:
    """The answer ends with its headers."""
    assert talk(b"HEAD / HTTP/1.1\r\n\r\n", 1).endswith(b"content-length: 4\r\n\r\n")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (b"Transfer-Encoding: chunked", 501),
        (b"Content-Length: 1\r\nContent-Length: 2", 400),
        (b"Content-Length: -1", 400),
        (b"Content-Length: 1, 1", 400),
        (b"Content-Length: %d" % (MAX_BODY_BYTES + 1), 413),
        (b"Content-Length: " + b"9" * 5_000, 413),
        (b"Content-Length : 9", 400),
        (b"no header\r\nContent-Length: 9", 400),
        (b"X-Amz-Target: a\r\n b", 400),
    ],
)
def test_a_request_that_could_be_framed_in_two_ways_or_is_too_long_is_refused(
    talk: Callable[[bytes, int], bytes], seen: list[HttpRequest], headers: bytes, status: int
) -> None:
    """Refused before the layer sees it, and the connection ends."""
    received = talk(b"POST / HTTP/1.1\r\n" + headers + b"\r\n\r\n", 1)

    assert received.startswith(b"HTTP/1.1 %d " % status)
    assert b"connection: close" in received
    assert seen == []


def test_a_peer_that_leaves_inside_a_body_disturbs_nobody(http: HttpServer, seen: list[HttpRequest]) -> None:
    """Half a body is no request; the next connection is served."""
    with socket.create_connection(("127.0.0.1", http.port), timeout=10) as gone:
        gone.sendall(b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nhalf")
        gone.shutdown(socket.SHUT_WR)
        assert gone.recv(100) == b""
    with socket.create_connection(("127.0.0.1", http.port), timeout=10) as next_one:
        next_one.sendall(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
        assert next_one.recv(1000).startswith(b"HTTP/1.1 200")
    assert [request.method for request in seen] == ["GET"]


def test_a_server_listens_on_every_family_on_one_port() -> None:
    """IPv4 and, where there is one, IPv6 loopback have the same port."""
    server = HttpServer(("127.0.0.1", "::1"), 0, answer=lambda _: HttpResponse(status=204), clock=lambda: 0.0)
    server.start()
    try:
        addresses = {listening.getsockname()[:2] for listening in server._sockets}
        for address in addresses:
            with socket.create_connection(address, timeout=10) as connection:
                connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
                assert connection.recv(1000).startswith(b"HTTP/1.1 204 No Content")
        assert {port for _, port in addresses} == {server.port}
    finally:
        server.close()


def test_a_server_does_without_a_family_that_the_machine_lacks() -> None:
    """An address of documentation stands for a machine without IPv6."""
    server = HttpServer(("127.0.0.1", "2001:db8::1"), 0, answer=lambda _: HttpResponse(status=204), clock=lambda: 0.0)

    assert len(server._sockets) == 1
    server.close()


def test_a_server_takes_sockets_that_listen_already() -> None:
    """Whoever connected before it started is served; with it they are closed."""
    listening = socket.create_server(("127.0.0.1", 0))
    address = listening.getsockname()
    with socket.create_connection(address, timeout=10) as early:
        early.sendall(b"GET / HTTP/1.1\r\n\r\n")
        server = HttpServer((), 0, answer=lambda _: HttpResponse(status=204), clock=lambda: 0.0, sockets=(listening,))
        server.start()
        assert early.recv(1000).startswith(b"HTTP/1.1 204")
    assert server.port == address[1]
    server.close()

    assert listening.fileno() == -1
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, timeout=10)


def test_a_server_says_that_its_port_is_taken(http: HttpServer) -> None:
    """A port that was asked for is not exchanged for another."""
    with pytest.raises(OSError, match="in use"):
        HttpServer(("127.0.0.1",), http.port, answer=lambda _: HttpResponse(status=204), clock=lambda: 0.0)


class Scarce:
    """Stands for a listening socket: `accept` fails, then hands out connections, then waits for its closing."""

    def __init__(self, *accepted: object) -> None:
        self._accepted = list(accepted)
        self.was_emptied = threading.Event()
        self._closed = threading.Event()

    def accept(self) -> object:
        """Return or raise the next thing."""
        if self._accepted:
            following = self._accepted.pop(0)
            if isinstance(following, OSError):
                raise following
            return following, ("127.0.0.1", 1)
        self.was_emptied.set()
        self._closed.wait(10)
        raise OSError(9, "closed")

    def getsockname(self) -> tuple[str, int]:
        """Return where nobody listens."""
        self._closed.set()
        return "127.0.0.1", 9

    def close(self) -> None:
        """Nothing to close."""


def test_a_server_outlives_a_lack_of_files_and_of_threads(http: HttpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed accept is followed by a pause instead of a spin; a connection no thread can be had for is closed."""
    pauses: list[float] = []
    ours, theirs = socket.socketpair()
    scarce = Scarce(OSError(24, "Too many open files"), ours)
    start = threading.Thread.start

    def start_some(thread: threading.Thread) -> None:
        if thread.name == "http":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_some)
    monkeypatch.setattr(server_module.time, "sleep", pauses.append)
    server = HttpServer(("127.0.0.1",), 0, answer=http.answer, clock=http.clock)
    server._sockets[0].close()
    server._sockets = [scarce]  # type: ignore[list-item]  # what a listening socket is asked for
    server.start()

    assert scarce.was_emptied.wait(10)
    assert theirs.recv(1) == b""
    assert len(pauses) == 1
    server.close()
    theirs.close()
