"""The HTTP listener: HTTP/1.1 with keep-alive, one thread a connection, one write an answer.

Not WSGI: what stands between the socket and our layer is kept so thin that the layer sees the raw path, as a signature
check must, and that no second parser has an opinion. Bodies are bounded and read before the layer is asked; a request
that could be framed in two ways (``Transfer-Encoding``, two lengths, headers that are none) is refused.
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any, Final
from wsgiref.handlers import format_date_time

from harness.embedded.control.messages import HttpRequest, HttpResponse, json_response
from harness.embedded.sockets import bind_all

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MAX_BODY_BYTES: Final = 20 * 1024 * 1024
"""Longest request body; every API served here stays below it (the longest is BatchWriteItem's: 16 MiB of items)."""

_IDLE_SECONDS: Final = 120.0
_PAUSE_SECONDS: Final = 0.05
_HEADER_NAME: Final = re.compile(r"[\w!#$%&'*+.^`|~-]+", re.ASCII)


class HttpServer:
    """Listens on every given address, on one port, or on sockets that somebody else made listen.

    Args:
        addresses: numeric loopback addresses; the first must exist, a further one is left out where the machine has no
            such family.
        port: 0 for any free one.
        sockets: listen already, all on one port, and are owned from now on; `addresses` and `port` then do not count.
        answer: called once for each request, from many threads.
        clock: seconds since the epoch, for the ``Date`` header.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        port: int,
        *,
        answer: Callable[[HttpRequest], HttpResponse],
        clock: Callable[[], float],
        sockets: Sequence[socket.socket] = (),
    ) -> None:
        self.answer = answer
        self.clock = clock
        self._sockets = list(sockets) or bind_all(addresses, port)
        self.port: int = self._sockets[0].getsockname()[1]
        self._closed = False
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Accept connections, in threads of their own."""
        for listening in self._sockets:
            thread = threading.Thread(target=self._accept, args=(listening,), name="http-accept", daemon=True)
            thread.start()
            self._threads.append(thread)

    def close(self) -> None:
        """Stop accepting and end every connection."""
        self._closed = True
        for listening in self._sockets:
            # A thread that waits in accept() is not woken everywhere by closing its socket: let it accept something.
            with contextlib.suppress(OSError), socket.create_connection(listening.getsockname()[:2], timeout=1.0):
                pass
        for thread in self._threads:
            thread.join(timeout=1.0)
        for listening in self._sockets:
            listening.close()
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                connection, address = listening.accept()
            except OSError:
                if self._closed:
                    return
                time.sleep(_PAUSE_SECONDS)  # the peer was gone before we looked, or there is no file left for it
                continue
            if self._closed:
                connection.close()
                return
            try:
                threading.Thread(target=self._serve, args=(connection, address), name="http", daemon=True).start()
            except RuntimeError:  # no thread left: this peer is turned away, the next one may have more luck
                connection.close()

    def _serve(self, connection: socket.socket, address: Any) -> None:
        with self._lock:
            self._connections.add(connection)
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _Connection(connection, address, self)  # type: ignore[arg-type]  # needs no more of a server than this
        except OSError:
            pass  # the peer went away: nobody is left to tell
        finally:
            with self._lock:
                self._connections.discard(connection)
            connection.close()


class _Connection(BaseHTTPRequestHandler):
    """Reads requests off one connection and writes the answers."""

    protocol_version = "HTTP/1.1"
    timeout = _IDLE_SECONDS
    server: HttpServer  # type: ignore[assignment]  # needs no more of a server than `answer` and `clock`

    def __getattr__(self, name: str) -> Any:
        """Answer every method alike; the base class looks for ``do_<METHOD>``."""
        if name.startswith("do_"):
            return self._do
        raise AttributeError(name)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's own parameter name
        """Log nothing: request lines can hold signatures."""

    def _do(self) -> None:
        refusal = self._read_body()
        if isinstance(refusal, HttpResponse):
            self.close_connection = True
            self._write(refusal)
            return
        path, _, query = self.path.partition("?")
        request = HttpRequest(
            method=self.command,
            path=path,
            query=query.partition("#")[0],
            headers=tuple((name, value) for name, value in self.headers.items()),
            body=refusal,
            remote=str(self.client_address[0]),
        )
        self._write(self.server.answer(request))

    def _read_body(self) -> bytes | HttpResponse:
        if self.headers.defects or not all(
            _HEADER_NAME.fullmatch(name) and "\r" not in value and "\n" not in value
            for name, value in self.headers.items()
        ):
            return json_response({"message": "a header is a name, a colon and a value on one line"}, status=400)
        if self.headers.get("transfer-encoding") is not None:
            return json_response({"message": "Transfer-Encoding is not served: send a Content-Length"}, status=501)
        lengths = self.headers.get_all("content-length", ["0"])
        if len(lengths) != 1 or not (lengths[0].isascii() and lengths[0].isdigit()):
            return json_response({"message": "Content-Length must be one number"}, status=400)
        length = int(lengths[0][:16])  # more digits are more than enough, and int() refuses thousands
        if length > MAX_BODY_BYTES:
            return json_response({"message": f"the body is longer than {MAX_BODY_BYTES} bytes"}, status=413)
        body = self.rfile.read(length)
        if len(body) < length:
            raise ConnectionResetError("the peer went away inside a body")
        return body

    def _write(self, response: HttpResponse) -> None:
        phrase = HTTPStatus(response.status).phrase
        lines = [f"HTTP/1.1 {response.status} {phrase}"]
        lines += [f"{name}: {value}" for name, value in response.headers]
        lines.append(f"date: {format_date_time(self.server.clock())}")
        lines.append(f"content-length: {len(response.body)}")
        if self.close_connection:
            lines.append("connection: close")
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")
        self.wfile.write(head if self.command == "HEAD" else head + response.body)
