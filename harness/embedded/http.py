"""HTTP/1.1 of one connection, server side: bytes in, whole requests out, bytes back. No sockets; h11 does the parsing.

Bounded on every side: the head of a request by `MAX_HEAD_BYTES`, its body by what the caller says. A request that is
too large or is not HTTP raises `HttpError`, which says how to answer; after that the connection is to be closed.
"""

from __future__ import annotations

from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from typing import Final

import h11

from harness.errors import HarnessError

MAX_HEAD_BYTES: Final = 16_384
"""Longest request line and headers together; a signed URL with its session token takes 2 to 4 KB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """One request as it came: nothing decoded, so that a signature over it can be checked.

    Attributes:
        path: percent-encoded.
        query: percent-encoded, without the question mark; empty without one.
        headers: (name in lower case, value), in the order received.
        asks_for_upgrade: whether it has an Upgrade header.
    """

    method: str
    path: str
    query: str
    http_version: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""
    asks_for_upgrade: bool = False

    def header(self, name: str) -> str | None:
        """Return the first header of a name given in lower case, or None."""
        return next((value for key, value in self.headers if key == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpAnswer:
    """An answer. Content-Length, Date and, when it is the last one, ``Connection: close`` are added on sending.

    Attributes:
        must_close: no further request is taken after it.
    """

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    must_close: bool = False


class HttpError(HarnessError):
    """A request cannot be read.

    Args:
        status: the HTTP status to answer with.
        reason: what was wrong with it.
    """

    def __init__(self, status: int, reason: str) -> None:
        self.status = status
        self.reason = reason
        super().__init__(reason)


class HttpConnection:
    """The server's side of one connection.

    Args:
        max_body_bytes: a request with a longer body raises `HttpError` 413.

    Attributes:
        is_idle: no byte of a next request has come.
        is_done: no further request can come; close when all is sent.
    """

    __slots__ = ("_body", "_control", "_h11", "_max_body_bytes", "_request", "is_done", "is_idle")

    def __init__(self, *, max_body_bytes: int) -> None:
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
        self._max_body_bytes = max_body_bytes
        self._request: h11.Request | None = None
        self._body = bytearray()
        self._control = b""
        self.is_idle = True
        self.is_done = False

    def receive_data(self, data: bytes) -> None:
        """Take bytes off the wire; empty at the end of the stream."""
        if data:
            self.is_idle = False
        try:
            self._h11.receive_data(data)
        except RuntimeError:  # data after the end: h11 says so by this
            self.is_done = True

    def next_request(self) -> HttpRequest | None:
        """Return the next whole request; None when bytes are missing or the last one is not answered yet.

        Raises:
            HttpError: what came is no request, or too large.
        """
        while not self.is_done:
            try:
                event = self._h11.next_event()
            except h11.RemoteProtocolError as error:
                reason = str(error).partition(": ")[0]  # what follows quotes the request, which may be a signed URL
                raise HttpError(error.error_status_hint, reason) from error
            if event is h11.NEED_DATA:
                if self._h11.they_are_waiting_for_100_continue:
                    self._control += self._sent(h11.InformationalResponse(status_code=100, headers=[]))
                return None
            if event is h11.PAUSED:
                return None
            if isinstance(event, h11.Request):
                self._request = event
            elif isinstance(event, h11.Data):
                self._body += event.data
                if len(self._body) > self._max_body_bytes:
                    raise HttpError(413, f"the body is longer than {self._max_body_bytes} bytes")
            elif isinstance(event, h11.EndOfMessage):
                return self._take_request()
            else:
                self.is_done = True
        return None

    def data_to_send(self) -> bytes:
        """Return what is to be sent before any answer (``100 Continue``), and forget it."""
        data, self._control = self._control, b""
        return data

    def answer(self, answer: HttpAnswer) -> bytes:
        """Return the bytes of an answer to the request last returned, or to the one that raised `HttpError`."""
        if self._h11.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            self.is_done = True
            return b""
        headers = [*answer.headers, ("Content-Length", str(len(answer.body))), ("Date", formatdate(usegmt=True))]
        if answer.must_close or self._h11.their_state is h11.ERROR:
            headers.append(("Connection", "close"))
        response = h11.Response(
            status_code=answer.status, headers=headers, reason=HTTPStatus(answer.status).phrase.encode()
        )
        head_only = self._request_method() == "HEAD"
        data = self._sent(response)
        if answer.body and not head_only:
            data += self._sent(h11.Data(data=answer.body))
        data += self._sent(h11.EndOfMessage())
        self._request = None
        if set(self._h11.states.values()) == {h11.DONE}:
            self._h11.start_next_cycle()
            self.is_idle = not self._h11.trailing_data[0]
        else:
            self.is_done = True
        return data

    def switch_protocol(self, headers: list[tuple[str, str]]) -> tuple[bytes, bytes]:
        """Answer an upgrade with 101.

        Returns:
            (bytes to send, bytes already received of the new protocol).
        """
        response = h11.InformationalResponse(status_code=101, headers=headers, reason=b"Switching Protocols")
        data = self._sent(response)
        self.is_done = True
        return data, self._h11.trailing_data[0]

    def _take_request(self) -> HttpRequest:
        request = self._request
        assert request is not None  # noqa: S101 - h11 gives EndOfMessage only after a Request
        body = bytes(self._body)
        self._body.clear()
        path, _, query = request.target.decode("ascii").partition("?")
        headers = tuple((name.decode("ascii"), value.decode("latin-1")) for name, value in request.headers)
        return HttpRequest(
            method=request.method.decode("ascii"),
            path=path,
            query=query,
            http_version=request.http_version.decode("ascii"),
            headers=headers,
            body=body,
            asks_for_upgrade=any(name == "upgrade" for name, _ in headers),
        )

    def _request_method(self) -> str:
        return self._request.method.decode("ascii") if self._request else ""

    def _sent(self, event: h11.Event) -> bytes:
        return self._h11.send(event) or b""
