"""The control plane's end of the line to the broker: any thread asks, one thread reads the answers."""

from __future__ import annotations

import itertools
import socket
import struct
import threading
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any, Final

from harness.embedded.link import FrameDecoder, LinkError, encode_frame

_READ_BYTES: Final = 256 * 1024
_ANSWER_WITHIN_SECONDS: Final = 30.0
_SEND_WITHIN_MICROSECONDS: Final = 30_000_000


class BrokerRefused(LinkError):  # noqa: N818 - says what happened, as the other refusals do
    """The broker took a request and said no.

    Args:
        code: the broker's word for it, for example ``UnknownFault``.
        message: its sentence.
    """

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        self.message = message
        super().__init__(f"{code}: {message}")


class BrokerLink:
    """Asks the broker and waits for its answers; safe to use from many threads at once.

    Args:
        sock: this process's end of the socket pair; the link owns it from now on.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        # A broker that hangs without dying must not hold whoever sends, and all who wait for the lock, for ever.
        sock.setsockopt(
            socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", *divmod(_SEND_WITHIN_MICROSECONDS, 1_000_000))
        )
        self._ids = itertools.count(1)
        self._lock = threading.Lock()
        self._waiting: dict[int, Future[dict[str, Any]]] = {}
        self._failure: LinkError | None = None
        self._reader = threading.Thread(target=self._read, name="broker-link", daemon=True)
        self._reader.start()

    def request(self, op: str, *, within: float = _ANSWER_WITHIN_SECONDS, **members: Any) -> dict[str, Any]:
        """Send one request and return its answer's members.

        Args:
            op: the operation's name.
            within: seconds to wait for the answer.
            members: the request's further members, as JSON.

        Raises:
            BrokerRefused: the broker answered with an error.
            LinkError: the line is gone, or no answer came in time.
        """
        number = next(self._ids)
        frame = encode_frame({"id": number, "op": op, **members})
        answer: Future[dict[str, Any]] = Future()
        try:
            with self._lock:
                if self._failure is not None:
                    raise self._failure
                self._waiting[number] = answer
                self._sock.sendall(frame)
        except OSError as error:  # with half a frame sent, nothing more can be
            self._fail(LinkError(f"the broker is gone: {error}"))
        try:
            message = answer.result(timeout=within)
        except FutureTimeoutError:
            raise LinkError(f"the broker did not answer {op!r} within {within:g} s") from None
        finally:
            with self._lock:
                self._waiting.pop(number, None)
        if not message.get("ok"):
            error_members = message.get("error") or {}
            raise BrokerRefused(
                str(error_members.get("code", "Error")), str(error_members.get("message", "no reason given"))
            )
        return message

    def close(self) -> None:
        """Close the line; whoever waits gets a `LinkError`."""
        self._fail(LinkError("the line to the broker was closed"))
        self._sock.close()

    def _read(self) -> None:
        decoder = FrameDecoder()
        while True:
            try:
                data = self._sock.recv(_READ_BYTES)
                messages = decoder.receive_data(data)
            except (OSError, LinkError) as error:
                self._fail(LinkError(f"the broker is gone: {error}"))
                return
            if not data:
                self._fail(LinkError("the broker is gone: it closed the line"))
                return
            for message in messages:
                with self._lock:
                    answer = self._waiting.pop(message.get("id", 0), None)
                if answer is not None:
                    answer.set_result(message)

    def _fail(self, error: LinkError) -> None:
        with self._lock:
            if self._failure is None:
                self._failure = error
            waiting, self._waiting = list(self._waiting.values()), {}
        for answer in waiting:
            answer.set_exception(error)
