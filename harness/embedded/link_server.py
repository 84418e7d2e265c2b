"""The broker's end of the private link: what the control plane asks for, one method per operation, and how it is asked.

Requests are answered in the order they came, except `trace`, which may wait. A request that cannot be served is
answered with an error; bytes that are no frames end the link. The first change that brings a rule holds up those behind
it, not the broker, until what evaluates rules is loaded.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import ssl
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, cast

from harness.embedded.hub import UnknownAccessKeyError
from harness.embedded.link import FrameDecoder, LinkError, encode_frame
from harness.embedded.trace import FIELDS
from harness.errors import HarnessError
from harness.iot.registry import RegistryChange
from harness.mqtt.packets import Properties, Publish

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from harness.embedded.hub import Hub

MAX_TRACE_WAIT: Final = 60.0
"""Longest a reader of the trace waits in one request, in seconds."""

MAX_TRACE_RECORDS: Final = 50_000
"""Most records in one answer; a reader gets the rest by asking again."""

MAX_ASK_WAIT: Final = 10.0
"""Longest the control plane has to answer what it is asked, in seconds."""

_SLICE: Final = 500  # records made between two turns of the loop

FAULTS: Final = ("disconnect",)
"""The faults the broker can make."""


class RequestError(HarnessError):
    """A request of the control plane cannot be served.

    Args:
        code: one word for programs.
        reason: one sentence for people.
    """

    def __init__(self, code: str, reason: str) -> None:
        self.code = code
        self.reason = reason
        super().__init__(f"{code}: {reason}")


class AskRefusedError(LinkError):
    """The control plane took what it was asked and said no.

    Args:
        code: its word for it, for example ``AccessDenied``.
        reason: its sentence.
    """

    def __init__(self, code: str, reason: str) -> None:
        self.code = code
        self.reason = reason
        super().__init__(f"{code}: {reason}")


class LinkServer(asyncio.Protocol):
    """Serves the control plane, and asks it.

    Args:
        hub: what it asks about.
        ports: ``mqtts_port`` and ``wss_port``, for the status.
    """

    def __init__(self, *, hub: Hub, ports: Mapping[str, int]) -> None:
        self._hub = hub
        self._ports = dict(ports)
        self._decoder = FrameDecoder()
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._arrived: deque[Mapping[str, Any]] = deque()
        self._loading: asyncio.Future[Any] | None = None
        self._asks = 0
        self._asked: dict[int, asyncio.Future[Mapping[str, Any]]] = {}
        self._faults = 0
        self._operations: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
            "ping": lambda _: {},
            "status": self._status,
            "registry": self._registry,
            "publish": self._publish,
            "trace_append": self._trace_append,
            "faults_set": self._faults_set,
            "faults_clear": lambda _: {},
        }

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport for the answers."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting for anybody: the supervisor decides what the end of the control plane means."""
        del exc
        for task in self._tasks:
            task.cancel()
        for answer in self._asked.values():
            if not answer.done():
                answer.set_exception(LinkError("the control plane is gone"))

    def data_received(self, data: bytes) -> None:
        """Serve the requests that are complete."""
        try:
            messages = self._decoder.receive_data(data)
        except LinkError:
            self._transport.abort()
            return
        for message in messages:
            if "ask" in message:
                self._take_answer(message)
            else:
                self._arrived.append(message)
        self._serve_arrived()

    def _serve_arrived(self) -> None:
        """Serve what has come, in order; a rule waits for what evaluates it, and all behind it wait too."""
        while self._arrived and self._loading is None:
            if _brings_rules(self._arrived[0]) and not self._hub.rules.is_loaded:
                self._loading = self._loop.run_in_executor(None, self._hub.rules.load)
                self._loading.add_done_callback(self._serve_after_loading)
                return
            self._serve(self._arrived.popleft())

    def _serve_after_loading(self, loading: asyncio.Future[Any]) -> None:
        self._loading = None
        if not loading.cancelled() and loading.exception() is None:
            self._serve(self._arrived.popleft())
            self._serve_arrived()
        else:  # nothing that was asked for since can be relied on
            self._transport.abort()

    def _serve(self, request: Mapping[str, Any]) -> None:
        if request.get("op") == "trace":
            task = self._loop.create_task(self._trace(request))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return
        try:
            answer = self._operations.get(str(request.get("op")), _unknown)(request)
        except RequestError as error:
            self._refuse(request, error.code, error.reason)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            self._refuse(request, "InvalidRequest", f"{type(error).__name__}: {error}")
        else:
            self._answer(request, answer)

    # -- operations --------------------------------------------------------------------------------------------------

    def _status(self, _: Mapping[str, Any]) -> dict[str, Any]:
        broker = self._hub.broker
        return {
            "connections": len(broker.connections),
            "sessions": len(broker.sessions),
            "retained": len(broker.retained),
            "registry_version": self._hub.snapshot.version,
            "trace_seq": self._hub.trace.last_seq,
            "held_messages": self._hub.rules.held_messages,
            "throttled_messages": self._hub.rules.throttled_messages,
            "faults": [],
            **self._ports,
        }

    def _registry(self, request: Mapping[str, Any]) -> dict[str, Any]:
        account = {name: str(request[name]) for name in ("account_id", "region") if request.get(name)}
        delay = request.get("propagation")
        try:
            version = self._hub.change_registry(
                RegistryChange.from_json(request["change"]),
                account=account,
                delay=None if delay is None else float(delay),
            )
        except ssl.SSLError as error:
            raise RequestError("InvalidCertificate", f"a certificate cannot be read: {error.reason or error}") from None
        except HarnessError as error:
            raise RequestError("InvalidRule", f"a rule cannot be run: {error}") from None
        return {"version": version}

    def _publish(self, request: Mapping[str, Any]) -> dict[str, Any]:
        qos = int(request.get("qos") or 0)
        publish = Publish(
            topic_name=str(request["topic"]),
            payload=_bytes(request.get("payload") or ""),
            qos=qos,
            retain=bool(request.get("retain")),
            packet_id=1 if qos else None,
            properties=_properties(request.get("properties") or {}),
        )
        try:
            result = self._hub.publish_as(str(request["access_key_id"]), publish)
        except UnknownAccessKeyError as error:
            raise RequestError("UnknownAccessKey", str(error)) from None
        return {
            "allowed": result.decision is None or result.decision.allowed,
            "because": result.because,
            "message_id": result.message_id,
            "reason_code": int(result.reason_code),
        }

    def _trace_append(self, request: Mapping[str, Any]) -> dict[str, Any]:
        for given in request["records"]:
            record = {name: given.get(name) for name in FIELDS}
            record["actor"] = record["actor"] or "control"
            record["detail"] = record["detail"] or {}
            self._hub.record(record)
        return {"seq": self._hub.trace.last_seq}

    def _faults_set(self, request: Mapping[str, Any]) -> dict[str, Any]:
        fault = request["fault"]
        if fault.get("kind") != "disconnect":
            known = ", ".join(FAULTS)
            raise RequestError("UnknownFault", f"the broker has no fault {fault.get('kind')!r}; it has: {known}")
        client_id = fault.get("client_id")
        if not isinstance(client_id, str) or not self._hub.disconnect(client_id):
            raise RequestError("NoSuchClient", f"no client {client_id!r} is connected")
        self._faults += 1
        return {"fault_id": f"disconnect-{self._faults}"}

    # -- the other direction -----------------------------------------------------------------------------------------

    async def ask(self, op: str, **members: Any) -> Mapping[str, Any]:
        """Ask the control plane for something and return its answer's result.

        Args:
            op: the operation's name.
            members: what else it has to know, as JSON.

        Raises:
            AskRefusedError: the control plane says no.
            LinkError: it is gone, or does not answer within `MAX_ASK_WAIT`.
        """
        self._asks += 1
        number = self._asks
        frame = encode_frame({"ask": number, "op": op, **members})
        if self._transport.is_closing():
            raise LinkError("the control plane is gone")
        answer = self._asked[number] = self._loop.create_future()
        try:
            self._transport.write(frame)
            async with asyncio.timeout(MAX_ASK_WAIT):
                message = await answer
        except TimeoutError:
            raise LinkError(f"the control plane did not answer {op!r} within {MAX_ASK_WAIT:g} s") from None
        finally:
            del self._asked[number]
        if not message.get("ok"):
            error = message.get("error") or {}
            raise AskRefusedError(str(error.get("code", "Error")), str(error.get("message", "no reason given")))
        return cast("Mapping[str, Any]", message.get("result") or {})

    def _take_answer(self, message: Mapping[str, Any]) -> None:
        answer = self._asked.get(message["ask"])
        if answer is not None and not answer.done():
            answer.set_result(message)

    # -- the one that waits ------------------------------------------------------------------------------------------

    async def _trace(self, request: Mapping[str, Any]) -> None:
        """Answer with the records after ``since``; when there are none, wait for the next ones."""
        try:
            since = int(request.get("since") or 0)
            wait = min(float(request.get("wait") or 0.0), MAX_TRACE_WAIT)
        except (TypeError, ValueError) as error:
            self._refuse(request, "InvalidRequest", str(error))
            return
        if self._hub.trace.last_seq <= since and wait > 0:
            reader = self._hub.next_record()
            await asyncio.wait([reader], timeout=wait)
            reader.cancel()
        records: list[dict[str, Any]] = []
        reading = islice(self._hub.trace.read(since), MAX_TRACE_RECORDS)
        while some := list(islice(reading, _SLICE)):
            records += some
            await asyncio.sleep(0)
        answer = {"records": records, "next": records[-1]["seq"] if records else since}
        message = {"id": request.get("id"), "ok": True, **answer}
        self._transport.write(await self._loop.run_in_executor(None, encode_frame, message))

    def _answer(self, request: Mapping[str, Any], answer: Mapping[str, Any]) -> None:
        self._transport.write(encode_frame({"id": request.get("id"), "ok": True, **answer}))

    def _refuse(self, request: Mapping[str, Any], code: str, message: str) -> None:
        error = {"code": code, "message": message}
        self._transport.write(encode_frame({"id": request.get("id"), "ok": False, "error": error}))


def _brings_rules(request: Mapping[str, Any]) -> bool:
    """Whether a request, valid or not, is a change of the registry with a rule in it."""
    change = request.get("change")
    put = change.get("put") if isinstance(change, dict) else None
    return request.get("op") == "registry" and isinstance(put, dict) and bool(put.get("rules"))


def _unknown(request: Mapping[str, Any]) -> dict[str, Any]:
    raise RequestError("UnknownOperation", f"the broker has no operation {request.get('op')!r}")


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise RequestError("InvalidRequest", "bytes are sent as base64") from None


def _properties(raw: Mapping[str, Any]) -> Properties:
    correlation_data = raw.get("correlation_data")
    return Properties(
        content_type=raw.get("content_type"),
        response_topic=raw.get("response_topic"),
        message_expiry_interval=raw.get("message_expiry_interval"),
        payload_format_indicator=raw.get("payload_format_indicator"),
        correlation_data=None if correlation_data is None else _bytes(correlation_data),
        user_properties=tuple((str(name), str(value)) for name, value in raw.get("user_properties") or ()),
    )
