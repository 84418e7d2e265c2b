"""The application: `POST /ingest`, the confirmation of a destination, `GET /metrics`.

A message is checked in this order, and the first thing wrong is the answer: length as declared (413), secret (403),
length as read (413), JSON and fields (422), device (403); then the row is written (200), or is not (503, so that the
rule tries again). No body is read before the secret is right.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from receiver.confirmation import (
    MAX_AT_ONCE,
    MESSAGE_TYPE,
    MESSAGE_TYPE_HEADER,
    HttpFetch,
    parse_confirmation,
)
from receiver.errors import (
    BodyTooLarge,
    ClientGone,
    ForeignDevice,
    InvalidMessage,
    NotConfirmed,
    TooManyAtOnce,
    UntrustedUrl,
    WriteFailed,
    WrongSecret,
)
from receiver.metrics import ConfirmationOutcome, Metrics, RequestOutcome
from receiver.origins import aws_iot_origin, url_to_fetch
from receiver.reading import check_device, is_message_id, make_row, parse_reading, parse_stamp
from receiver.secret import SecretCheck
from receiver.store import DynamoStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from receiver.confirmation import Fetch
    from receiver.reading import Row
    from receiver.settings import Settings
    from receiver.store import Store

MAX_BODY_BYTES: Final = 131_072
"""The longest message AWS IoT takes. Source: AWS General Reference, AWS IoT Core quotas, message size."""

_TOO_LARGE: Final = f"the body must have at most {MAX_BODY_BYTES} bytes"
_BODY_SECONDS: Final = 10.0
_LOGGER: Final = logging.getLogger("receiver")


def make_app(
    settings: Settings,
    *,
    store: Store | None = None,
    fetch: Fetch | None = None,
    clock: Callable[[], datetime] | None = None,
) -> FastAPI:
    """Make an application; several may live side by side.

    Args:
        settings: read once.
        store: where rows go; None: DynamoDB as the settings say.
        fetch: how an ``enableUrl`` is fetched; None: over HTTP.
        clock: the time, for messages that bring none.
    """
    closing: list[Callable[[], Awaitable[None]]] = []
    warm_up = None
    if store is None:
        store = own_store = DynamoStore(settings)
        warm_up = own_store.warm_up
        closing.append(own_store.close)
    if fetch is None:
        fetch = own_fetch = HttpFetch()
        closing.append(own_fetch.close)
    receiver = Receiver(settings, store=store, fetch=fetch, clock=clock or _now, warm_up=warm_up)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        for close in closing:
            await close()

    # No generated pages: they would tell anybody what is here. No redirects: a rule would not follow them.
    app = FastAPI(
        title="Receiver",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    app.add_api_route("/ingest", receiver.ingest, methods=["POST"])
    app.add_api_route("/ingest/", receiver.ingest, methods=["POST"])
    app.add_api_route("/", receiver.root, methods=["POST"])
    app.add_api_route("/metrics", receiver.metrics_page, methods=["GET"])
    return app


class Receiver:
    """What the application's routes do.

    Args:
        settings: as for `make_app`, and so are the following three.
        store: where rows go.
        fetch: how an ``enableUrl`` is fetched.
        clock: the time.
        warm_up: called with the first sign of life from outside that is no message, so that the first message finds
            all that it needs loaded, and the start does not wait for it; None: nothing to load.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        store: Store,
        fetch: Fetch,
        clock: Callable[[], datetime],
        warm_up: Callable[[], None] | None = None,
    ) -> None:
        self._require_client_id = settings.require_client_id
        self._ttl_days = settings.ttl_days
        self._store = store
        self._fetch = fetch
        self._clock = clock
        self._warm_up = warm_up or (lambda: None)
        self._secrets = SecretCheck(settings.iot_secrets)
        self._trusted = settings.confirm_origins or (aws_iot_origin(settings.aws_region),)
        self._metrics = Metrics()
        self._confirming = 0

    async def ingest(self, request: Request) -> Response:
        """Take a message, or a confirmation."""
        headers = _headers_of(request)
        if _is_confirmation(headers):
            return await self._answer_confirmation(request, headers)
        with self._metrics.in_progress.track_inprogress():
            return await self._answer_message(request, headers)

    async def root(self, request: Request) -> Response:
        """Take a confirmation for a destination that names no path."""
        headers = _headers_of(request)
        if _is_confirmation(headers):
            return await self._answer_confirmation(request, headers)
        return JSONResponse({"detail": "Not Found"}, 404)

    async def metrics_page(self, request: Request) -> Response:
        """Tell Prometheus, and the load balancer that this process is there."""
        self._warm_up()
        body, content_type = self._metrics.expose(request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type})

    async def _answer_message(self, request: Request, headers: _Headers) -> Response:
        message_id = _for_log(headers)
        outcome: RequestOutcome
        try:
            row = await self._row_of(request, headers)
            message_id = row.message_id
            with self._metrics.write_seconds.time():
                await self._store.put(row)
        except tuple(_REFUSALS) as error:
            outcome, status = _REFUSALS[type(error)]
            about: dict[str, Any] = {"outcome": outcome, "message_id": message_id}
            if isinstance(error, WriteFailed):
                self._metrics.write_failures[error.kind].inc()
                about |= {"kind": error.kind, "code": error.code, "because": error.because}
                answer = _answer(status, f"the row was not written ({error.code})", {"retry-after": "1"})
            else:
                about["because"] = str(error)
                answer = _answer(status, str(error), _closing(error, headers))
            level = logging.WARNING if status >= 500 else logging.INFO
            _LOGGER.log(level, "message refused", extra={"about": about})
        except Exception:
            outcome, answer = "error", _answer(500, "something went wrong here; the log says what", {})
            _LOGGER.exception("message not taken", extra={"about": {"outcome": outcome, "message_id": message_id}})
        else:
            outcome, answer = "stored", JSONResponse({"stored": row.message_id})
            self._metrics.rows_written.inc()
            _LOGGER.debug("row written", extra={"about": {"message_id": message_id}})
        self._metrics.requests[outcome].inc()
        return answer

    async def _row_of(self, request: Request, headers: _Headers) -> Row:
        _check_declared_length(headers)
        if not self._secrets.allows(headers.get(b"x-iot-secret", ())):
            raise WrongSecret("X-Iot-Secret is missing or wrong")
        body = await _read_body(request)
        reading = parse_reading(body)
        stamp = parse_stamp(
            message_id=_text(headers, b"x-message-id"),
            received_at=_text(headers, b"x-received-at"),
            body=body,
            now=self._clock(),
        )
        if self._require_client_id:
            check_device(reading, _text(headers, b"x-client-id"))
        return make_row(reading, stamp, ttl_days=self._ttl_days)

    async def _answer_confirmation(self, request: Request, headers: _Headers) -> Response:
        about: dict[str, Any] = {}
        outcome: ConfirmationOutcome
        try:
            await self._confirm(request, headers, about)
        except tuple(_CONFIRMATION_REFUSALS) as error:
            outcome, status = _CONFIRMATION_REFUSALS[type(error)]
            answer = _answer(status, str(error), _closing(error, headers))
            about |= {"outcome": outcome, "because": str(error)}
            _LOGGER.warning("destination not confirmed", extra={"about": about})
        except Exception:
            outcome, answer = "error", _answer(500, "something went wrong here; the log says what", {})
            _LOGGER.exception("destination not confirmed", extra={"about": {"outcome": outcome}})
        else:
            outcome, answer = "confirmed", JSONResponse({"confirmed": True})
            _LOGGER.info("destination confirmed", extra={"about": about})
        self._metrics.confirmations[outcome].inc()
        self._warm_up()  # not before: whoever waits for the confirmation would wait for it as well
        return answer

    async def _confirm(self, request: Request, headers: _Headers, about: dict[str, Any]) -> None:
        _check_declared_length(headers)
        if self._confirming >= MAX_AT_ONCE:
            raise TooManyAtOnce("other confirmations are under way")
        self._confirming += 1
        try:
            confirmation = parse_confirmation(await _read_body(request))
            about["destination"] = confirmation.arn
            url = url_to_fetch(confirmation.enable_url, trusted=self._trusted)
            status = await self._fetch(url)
        finally:
            self._confirming -= 1
        if status != HTTPStatus.OK:
            raise NotConfirmed(f"enableUrl answered {status}")


_Headers: TypeAlias = dict[bytes, list[bytes]]

_REFUSALS: Final[Mapping[type[Exception], tuple[RequestOutcome, int]]] = {
    WrongSecret: ("wrong_secret", 403),
    BodyTooLarge: ("too_large", 413),
    ClientGone: ("abandoned", 408),
    InvalidMessage: ("invalid", 422),
    ForeignDevice: ("foreign_device", 403),
    WriteFailed: ("write_failed", 503),
}

_CONFIRMATION_REFUSALS: Final[Mapping[type[Exception], tuple[ConfirmationOutcome, int]]] = {
    BodyTooLarge: ("too_large", 413),
    ClientGone: ("abandoned", 408),
    InvalidMessage: ("invalid", 422),
    UntrustedUrl: ("untrusted", 403),
    NotConfirmed: ("not_confirmed", 502),
    TooManyAtOnce: ("busy", 503),
}


def _headers_of(request: Request) -> _Headers:
    headers: _Headers = {}
    for name, value in request.scope["headers"]:
        headers.setdefault(name, []).append(value)
    return headers


def _is_confirmation(headers: _Headers) -> bool:
    return headers.get(MESSAGE_TYPE_HEADER) == [MESSAGE_TYPE.encode()]


def _text(headers: _Headers, name: bytes) -> str:
    """Give a header's text; empty when it is absent, since a rule sends an empty one for what is not there."""
    values = headers.get(name, [b""])
    if len(values) > 1:
        raise InvalidMessage(f"{name.decode().title()} is there more than once")
    try:
        return values[0].decode("utf-8").strip(" \t")
    except UnicodeDecodeError:
        raise InvalidMessage(f"{name.decode().title()} is not UTF-8") from None


def _for_log(headers: _Headers) -> str | None:
    """Give the message's id as the log may have it before anything is checked."""
    text = headers.get(b"x-message-id", [b""])[0].decode("latin-1")
    return text if is_message_id(text) else None


def _check_declared_length(headers: _Headers) -> None:
    for value in headers.get(b"content-length", ()):
        if not value.isdigit() or int(value[:20]) > MAX_BODY_BYTES:
            raise BodyTooLarge(_TOO_LARGE)


async def _read_body(request: Request) -> bytes:
    """Read a body to its end, or as far as it is acceptable."""
    body = bytearray()
    more = True
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            while more:
                event = await request.receive()
                if event["type"] != "http.request":
                    raise ClientGone("the body did not come to its end")
                body += event.get("body", b"")
                if len(body) > MAX_BODY_BYTES:
                    raise BodyTooLarge(_TOO_LARGE)
                more = event.get("more_body", False)
    except TimeoutError:
        raise ClientGone("the body took too long") from None
    return bytes(body)


def _closing(error: Exception, headers: _Headers) -> dict[str, str]:
    """Close a connection on which more may come than anybody wants to read."""
    unread = isinstance(error, BodyTooLarge | ClientGone) or b"content-length" not in headers
    return {"connection": "close"} if unread else {}


def _answer(status: int, detail: str, headers: dict[str, str]) -> Response:
    return JSONResponse({"detail": detail}, status, headers)


def _now() -> datetime:
    return datetime.now(UTC)
