"""What a stranger can hold of this process, who has not said a secret yet.

Connections are bounded in number, and each in what it may send before that has led to something, and in the time that
it may take. uvicorn bounds neither: its one timer runs between an answer and the next byte.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from receiver.listening import MAX_CONNECTIONS

if TYPE_CHECKING:
    import asyncio

MAX_HEAD_BYTES: Final = 65_536
"""Of a request line with its headers, and of trailers; a load balancer lets no more through either."""

HEAD_SECONDS: Final = 10
"""From the first byte of a request until its headers are whole."""

BODY_SECONDS: Final = 30
"""From there until the body's end, where the answer has been given without it."""

IDLE_SECONDS: Final = 90
"""Before a request's first byte, whatever else comes, and for an answer that is not read; longer than uvicorn's own
timer takes where nothing comes."""

MAX_PENDING_REQUESTS: Final = 32
"""Behind the one that is being answered. uvicorn reads on with each answer, so these would pile up."""


class TooManyPending(Exception):  # noqa: N818 - says what happened
    """A client sends requests and does not wait for answers."""


class BoundedProtocol(HttpToolsProtocol):
    """Counts the bytes since the last that led to something, to within what one read gives, and the seconds.

    The seconds are told by `pass_second`, so that a request costs no timer.
    """

    _idle_bytes = 0
    _seconds = 0
    _max_seconds = IDLE_SECONDS

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        """Take a connection, or one too many to its end."""
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.close()

    def on_message_begin(self) -> None:
        """Expect headers."""
        self._seconds, self._max_seconds = 0, HEAD_SECONDS
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Expect a body, or refuse to read on."""
        if len(self.pipeline) >= MAX_PENDING_REQUESTS:
            raise TooManyPending
        self._idle_bytes = 0
        self._seconds, self._max_seconds = 0, BODY_SECONDS
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of a body."""
        self._idle_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Expect the next request."""
        self._idle_bytes = 0
        self._seconds, self._max_seconds = 0, IDLE_SECONDS
        super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        """Take bytes, as long as they lead to something."""
        self._idle_bytes += len(data)
        super().data_received(data)
        if self._idle_bytes > MAX_HEAD_BYTES:
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no request; just hang up while another answer is due, since this would be taken for it."""
        if self.cycle is None or self.cycle.response_complete:
            super().send_400_response(msg)
        else:
            self.transport.close()

    def pass_second(self) -> bool:
        """Let a second pass; tell whether it was one too many. While an answer is due that is read, none is."""
        if self.cycle is None or self.cycle.response_complete or self.flow.write_paused:
            self._seconds += 1
        return self._seconds > self._max_seconds
