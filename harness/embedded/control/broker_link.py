"""The control plane's end of the line to the broker: any thread asks, one thread reads the answers.

The broker asks as well, for what a rule does in a role's name: its frames carry ``ask`` instead of ``id``, and are
answered from a few threads of their own, since such a call takes its time and may itself ask the broker.

    {"ask": 3, "op": "aws_call", ...}       {"ask": 3, "ok": true, "result": {...}}
"""

from __future__ import annotations

import itertools
import logging
import socket
import struct
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import TYPE_CHECKING, Any, Final

from harness.embedded.control.messages import ApiError
from harness.embedded.link import FrameDecoder, LinkError, encode_frame

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_log = logging.getLogger(__name__)

_READ_BYTES: Final = 256 * 1024
_ANSWER_WITHIN_SECONDS: Final = 30.0
_SEND_WITHIN_MICROSECONDS: Final = 30_000_000
_ASK_THREADS: Final = 4
MAX_ASKS: Final = 1_000
"""Questions of the broker that wait or are being answered; one more is refused."""


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
        self._asked: Callable[[Mapping[str, Any]], Mapping[str, Any]] = _refuse_asks
        self._asks = threading.BoundedSemaphore(MAX_ASKS)
        self._answerers = ThreadPoolExecutor(_ASK_THREADS, thread_name_prefix="broker-asks")
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

    def answer_asks(self, answer: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> None:
        """Say who answers what the broker asks.

        Args:
            answer: called from several threads with the frame; returns the result, or raises `ApiError`.
        """
        self._asked = answer

    def close(self) -> None:
        """Close the line; whoever waits gets a `LinkError`."""
        self._fail(LinkError("the line to the broker was closed"))
        self._answerers.shutdown(wait=False, cancel_futures=True)
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
                if "ask" in message:
                    self._take_ask(message)
                    continue
                with self._lock:
                    answer = self._waiting.pop(message.get("id", 0), None)
                if answer is not None:
                    answer.set_result(message)

    # --- the other direction
    # -----------------------------------------------------------------------------------------------------------------

    def _take_ask(self, message: Mapping[str, Any]) -> None:
        """Hand a question to the threads that answer; this one must go on reading."""
        if not self._asks.acquire(blocking=False):
            self._send_answer(message, {"ok": False, "error": _error("Throttled", f"{MAX_ASKS} calls wait already")})
            return
        try:
            self._answerers.submit(self._answer_ask, message)
        except RuntimeError:  # closed meanwhile: nobody is left to answer, or to be answered
            self._asks.release()

    def _answer_ask(self, message: Mapping[str, Any]) -> None:
        try:
            answer: dict[str, Any] = {"ok": True, "result": self._asked(message)}
        except ApiError as refusal:
            answer = {"ok": False, "error": _error(refusal.code, refusal.message)}
        except Exception:  # noqa: BLE001 - a thread's boundary: logged in full, and the broker is told that it failed
            _log.exception("an operation that the broker asked for failed")
            answer = {
                "ok": False,
                "error": _error("InternalFailure", "The control plane failed on it; its log says why"),
            }
        finally:
            self._asks.release()
        self._send_answer(message, answer)

    def _send_answer(self, message: Mapping[str, Any], answer: Mapping[str, Any]) -> None:
        try:
            frame = encode_frame({"ask": message["ask"], **answer})
            with self._lock:
                if self._failure is None:
                    self._sock.sendall(frame)
        except OSError as error:  # with half a frame sent, nothing more can be
            self._fail(LinkError(f"the broker is gone: {error}"))

    def _fail(self, error: LinkError) -> None:
        with self._lock:
            if self._failure is None:
                self._failure = error
            waiting, self._waiting = list(self._waiting.values()), {}
        for answer in waiting:
            answer.set_exception(error)


def _error(code: str, message: str) -> dict[str, str]:
    return {"code": code, "message": message}


def _refuse_asks(message: Mapping[str, Any]) -> Mapping[str, Any]:
    raise ApiError("UnknownOperation", f"nobody answers {message.get('op')!r} here")
