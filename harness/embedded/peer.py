"""One accepted connection, from the end of its TLS handshake to its close: `asyncio.Protocol`, no streams.

Theory of operation. After the handshake the peer is who its certificate says (mutual TLS) or nobody yet (``wss``). What
it sends goes through one *reader* at a time:

    mqtts:  first byte ── a letter ──► HTTP: publishes, one after the other
                       └─ other ────► MQTT
    wss:    HTTP ── upgrade with a valid signature ──► WebSocket ──► MQTT

Whatever breaks the rules of its layer ends this connection and nothing else. Every state before MQTT has a deadline;
MQTT has its own in the broker.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final, Literal, cast

from harness.embedded import tls
from harness.embedded.aws_answers import failure
from harness.embedded.data_api import Caller, Upgrade
from harness.embedded.http import HttpConnection, HttpError
from harness.embedded.hub import make_id
from harness.embedded.listeners import remote_text
from harness.embedded.websocket import WebSocket, frame
from harness.iot.limits import MAX_PAYLOAD_BYTES, WEBSOCKET_MAX_SECONDS
from harness.iot.principals import CertificatePrincipal
from harness.mqtt.events import DisconnectReason

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from harness.embedded.data_api import DataApi
    from harness.embedded.hub import Hub
    from harness.mqtt.connection import Connection

REQUEST_TIMEOUT: Final = 10.0
"""Seconds for the first byte on mqtts, and for a whole HTTP request."""

IDLE_TIMEOUT: Final = 60.0
"""Seconds an HTTP connection is kept between two requests."""

CLOSE_TIMEOUT: Final = 3.0
"""Seconds a peer has to read what it was still sent, once its connection is to end; longer than the end of the TLS
session may take, which does not wait for a peer that has closed its own side."""

WEBSOCKET_LIFE: Final = float(WEBSOCKET_MAX_SECONDS)
"""Seconds a WebSocket lives."""

_WRITE_HIGH: Final = 256 * 1024
_MAX_UNREAD_ANSWERS: Final = 1024 * 1024


class Peer(asyncio.Protocol):
    """The protocol of one connection.

    Args:
        hub: where it belongs.
        api: answers its HTTP requests.
        contexts: knows the server name it asked for.
        door: which listener it came to.
        server_names: the names this server answers to.
        accepts_missing_name: whether a client may name no server.
    """

    def __init__(
        self,
        *,
        hub: Hub,
        api: DataApi,
        contexts: tls.TlsContexts,
        door: Literal["mqtts", "wss"],
        server_names: frozenset[str],
        accepts_missing_name: bool,
    ) -> None:
        self._hub = hub
        self._api = api
        self._contexts = contexts
        self._door = door
        self._server_names = server_names
        self._accepts_missing_name = accepts_missing_name
        self._loop = asyncio.get_running_loop()
        self._read: Callable[[bytes], None] = self._ignore
        self._http = HttpConnection(max_body_bytes=MAX_PAYLOAD_BYTES)
        self._websocket: WebSocket | None = None
        self._connection: Connection | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_paused = False
        self._is_closed = False

    # -- asyncio -----------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Find out who it is, after the handshake."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=_WRITE_HIGH)
        self._remote = remote_text(transport.get_extra_info("peername"))
        tls_object: ssl.SSLObject = transport.get_extra_info("ssl_object")
        self._server_name = self._contexts.server_name(tls_object)
        self._certificate: CertificatePrincipal | None = None
        because = self._why_wrong_name()
        if because is None and self._door == "mqtts":
            because = self._identify(tls_object)
        if because is not None:
            self._hub.record_refusal("tls_refused", because=because, door=self._door, remote=self._remote)
            self._close()
            return
        self._caller = Caller(
            certificate=self._certificate,
            remote=self._remote,
            server_name=self._server_name,
            port=int(transport.get_extra_info("sockname")[1]),
        )
        self._read = self._read_first if self._door == "mqtts" else self._read_http
        self._set_timer(REQUEST_TIMEOUT, self._give_up)

    def data_received(self, data: bytes) -> None:
        """Take bytes; what they are depends on what came before."""
        self._read(data)

    def eof_received(self) -> None:
        """Let the transport close: nobody here speaks after the peer has stopped speaking."""
        self._set_timer(CLOSE_TIMEOUT, self.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the broker, unless it was the broker that closed."""
        del exc
        self._is_closed = True
        self._read = self._ignore
        self._set_timer(None)
        if self._connection is not None:
            client_initiated = self._websocket is not None and self._websocket.is_closed_by_client
            self._connection.connection_lost(self._loop.time(), client_initiated=client_initiated)
            self._connection.shell = None
            self._connection = None
            self._hub.wake()

    def pause_writing(self) -> None:
        """Let the broker know that this client reads too slowly."""
        self._is_paused = True
        if self._connection is not None:
            self._connection.unsent_bytes = self._transport.get_write_buffer_size()

    def resume_writing(self) -> None:
        """Let the broker know that this client has caught up."""
        self._is_paused = False
        if self._connection is not None:
            self._connection.unsent_bytes = 0
            self._hub.wake()

    # -- the hub's side ----------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Write what the broker has for this client: one frame, one write."""
        connection = self._connection
        if connection is None:
            return
        data = connection.data_to_send()
        if data:
            self._transport.write(frame(data) if self._websocket is not None else data)
            connection.unsent_bytes = self._transport.get_write_buffer_size() if self._is_paused else 0
        if connection.is_closing:
            if self._websocket is not None:
                self._websocket.close()
                self._transport.write(self._websocket.data_to_send())
            self._close()

    def abort(self) -> None:
        """Cut the connection off at once."""
        self._is_closed = True
        self._read = self._ignore
        self._transport.abort()

    # -- who is it ---------------------------------------------------------------------------------------------------

    def _why_wrong_name(self) -> str | None:
        """Check the server name of the handshake. Source: AWS IoT Core, "Transport security": it is the endpoint's."""
        name = self._server_name
        if name is None:
            return None if self._accepts_missing_name else "SNI_MISUSED: the client named no server (quirk missing-sni)"
        if name.rstrip(".").lower() in self._server_names or tls.is_ip_literal(name):
            return None
        return f"SNI_MISUSED: the client asked for {name[:255]!r}"

    def _identify(self, tls_object: ssl.SSLObject) -> str | None:
        """Look the certificate presented up in the registry; return why it is not let in, or None."""
        presented = tls.client_certificate(tls_object)
        if presented is None:
            return "NOT_AUTHENTICATED: no client certificate was presented"
        certificate = self._hub.snapshot.certificates.get(presented.certificate_id)
        if certificate is None:
            return f"DEVICE_CERTIFICATE_NOT_REGISTERED: certificate {presented.certificate_id} is not registered"
        if presented.expires_at <= time.time():
            return f"DEVICE_CERTIFICATE_EXPIRED: certificate {presented.certificate_id} has expired"
        principal = CertificatePrincipal.of(certificate)
        if because := self._hub.why_not_live(principal):
            return f"DEVICE_CERTIFICATE_{certificate.status}: {because}"
        self._certificate = principal
        return None

    def _is_still_live(self) -> bool:
        """Check the certificate again: the registry may have changed since the handshake or the last request."""
        if self._certificate is None or (because := self._hub.why_not_live(self._certificate)) is None:
            return True
        self._hub.record_refusal(
            "tls_refused", because=because, door=self._door, remote=self._remote, principal=self._certificate.display
        )
        self._close()
        return False

    # -- readers -----------------------------------------------------------------------------------------------------

    def _ignore(self, data: bytes) -> None:
        """Drop what comes after the end."""

    def _read_first(self, data: bytes) -> None:
        """Tell HTTP from MQTT: a method begins with a letter, and no packet a client may begin with looks like one."""
        if not self._is_still_live():
            return
        if data[:1].isalpha():
            self._read = self._read_http
        else:
            self._start_mqtt(self._certificate, "mqtts")
            self._read = self._read_mqtt
        self._read(data)

    def _read_mqtt(self, data: bytes) -> None:
        if self._connection is not None:
            self._connection.receive_data(data, self._loop.time())
            self._hub.wake()

    def _read_websocket(self, data: bytes) -> None:
        websocket, connection = self._websocket, self._connection
        if websocket is None or connection is None:
            return
        if packets := websocket.receive_data(data):
            connection.receive_data(packets, self._loop.time())
            self._hub.wake()
        if (control := websocket.data_to_send()) and self._has_room():
            self._transport.write(control)
        if websocket.is_closed:
            connection.connection_lost(
                self._loop.time(), client_initiated=websocket.is_closed_by_client, breach=websocket.because
            )
            self._hub.wake()
            self._close()

    def _read_http(self, data: bytes) -> None:
        was_idle = self._http.is_idle
        self._http.receive_data(data)
        if was_idle and not self._http.is_idle:
            self._set_timer(REQUEST_TIMEOUT, self._give_up)
        try:
            while not self._is_closed and (request := self._http.next_request()) is not None:
                if not self._is_still_live():
                    return
                answer = self._api.answer(request, self._caller)
                if isinstance(answer, Upgrade):
                    self._upgrade(answer)
                    return
                self._transport.write(self._http.answer(answer))
                if not self._has_room():
                    return
                if self._http.is_idle:
                    self._set_timer(IDLE_TIMEOUT, self.abort)
                else:
                    self._set_timer(REQUEST_TIMEOUT, self._give_up)
        except HttpError as error:
            self._record_end(error.reason)
            refusal = failure(error.status, error.reason, trace_id=make_id(), must_close=True)
            self._transport.write(self._http.answer(refusal))
            self._close()
            return
        if control := self._http.data_to_send():
            self._transport.write(control)
        if self._http.is_done:
            self._close()

    def _upgrade(self, upgrade: Upgrade) -> None:
        data, early = self._http.switch_protocol(upgrade.headers)
        self._transport.write(data)
        self._websocket = WebSocket()
        self._start_mqtt(upgrade.principal, "wss")
        self._set_timer(WEBSOCKET_LIFE, self._end_of_life)
        self._read = self._read_websocket
        if early:
            self._read(early)

    # -- ends --------------------------------------------------------------------------------------------------------

    def _start_mqtt(self, principal: object, transport: str) -> None:
        self._set_timer(None)
        self._connection = self._hub.open_connection(
            self, principal=principal, transport=transport, remote=self._remote, server_name=self._server_name
        )

    def _end_of_life(self) -> None:
        """End a WebSocket that has lived as long as AWS lets it."""
        connection = self._connection
        if connection is None or self._websocket is None:
            return
        self._hub.broker.disconnect(
            connection.info.client_id,
            reason=DisconnectReason.WEBSOCKET_TTL_EXPIRATION,
            reason_code=None,
            now=self._loop.time(),
            because=f"a WebSocket lives {WEBSOCKET_LIFE:g} s",
        )
        self._hub.wake()

    def _give_up(self) -> None:
        """Cut off a peer that has not said what it wants."""
        self._record_end(f"nothing complete was received within {REQUEST_TIMEOUT:g} s")
        self.abort()

    def _record_end(self, because: str) -> None:
        """Write into the trace that a connection ends before anybody could answer it."""
        principal = self._certificate.display if self._certificate is not None else None
        self._hub.record_refusal(
            "http_refused", because=because, door=self._door, remote=self._remote, principal=principal
        )

    def _has_room(self) -> bool:
        """Cut off a peer that lets answers pile up; MQTT bytes are bounded by the broker."""
        if self._is_paused and self._transport.get_write_buffer_size() > _MAX_UNREAD_ANSWERS:
            self.abort()
            return False
        return True

    def _close(self) -> None:
        """Close after what was written has gone out, or soon if the peer does not take it; nothing is read any more."""
        if self._is_closed:
            return
        self._is_closed = True
        self._read = self._ignore
        self._set_timer(CLOSE_TIMEOUT, self.abort)
        self._transport.close()

    def _set_timer(self, seconds: float | None, action: Callable[[], None] | None = None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if seconds is not None and action is not None:
            self._timer = self._loop.call_later(seconds, action)
