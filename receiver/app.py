"""The application: `POST /ingest`, the confirmation of a destination, `GET /metrics`, `/livez` and `/readyz`.

A message or a batch is checked in this order, and the first thing wrong is the answer: length as declared (413), secret
(403), length as read (413), JSON and fields (422), device (403); then the rows are written (200), or are not (503, so
that the rule tries again). No body is read before the secret is right.

The routes stand on ASGI itself: what FastAPI does for parameters and models takes longer than all that happens here.
"""

from __future__ import annotations

import contextlib
import logging
import time
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from fastapi import FastAPI
from starlette.routing import Route

from receiver.answers import CONFIRMATION_REFUSALS, REFUSALS, Answer, answer, fail, refuse
from receiver.confirmation import MAX_AT_ONCE, MAX_BYTES, HttpFetch, parse_confirmation
from receiver.errors import MessageRefused, NotConfirmed, TooManyAtOnce, WriteFailed, WrongSecret
from receiver.incoming import Incoming
from receiver.json_text import is_array
from receiver.messages import Messages
from receiver.metrics import Metrics
from receiver.origins import aws_iot_origin, url_to_fetch
from receiver.secret import SecretCheck
from receiver.store import DynamoStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from starlette.types import Receive, Scope, Send

    from receiver.confirmation import Fetch
    from receiver.reading import Row
    from receiver.settings import Settings
    from receiver.store import Store

_LOGGER: Final = logging.getLogger("receiver")


def make_app(
    settings: Settings,
    *,
    store: Store | None = None,
    fetch: Fetch | None = None,
    clock: Callable[[], datetime] | None = None,
) -> FastAPI:
    """Make an application; several may live side by side.

    Whoever serves it sets ``app.state.is_ending`` when no more requests should be sent here: `/readyz` says so.

    Args:
        settings: read once.
        store: where rows go; None: DynamoDB as the settings say.
        fetch: how an ``enableUrl`` is fetched; None: over HTTP.
        clock: the time, for messages that bring none.
    """
    closing: list[Callable[[], Awaitable[None]]] = []
    metrics = Metrics()
    warm_up: Callable[[], None] = _do_nothing
    if store is None:
        store = own_store = DynamoStore(settings, metrics=metrics)
        warm_up = own_store.warm_up
        closing.append(own_store.close)
    if fetch is None:
        fetch = own_fetch = HttpFetch()
        closing.append(own_fetch.close)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        for close in closing:
            await close()

    receiver = Receiver(settings, store=store, fetch=fetch, clock=clock or _now, metrics=metrics, warm_up=warm_up)

    async def readyz(_: Incoming) -> Answer:
        return receiver.tell_readiness(is_ending=app.state.is_ending)

    # No generated pages: they would tell anybody what is here. No redirects: a rule would not follow them.
    app = FastAPI(
        title="Receiver",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        routes=[
            Route("/ingest", _Endpoint(receiver.ingest), methods=["POST"]),
            Route("/ingest/", _Endpoint(receiver.ingest), methods=["POST"]),
            Route("/", _Endpoint(receiver.root), methods=["POST"]),
            Route("/metrics", _Endpoint(receiver.metrics_page), methods=["GET"]),
            Route("/livez", _Endpoint(receiver.livez), methods=["GET"]),
            Route("/readyz", _Endpoint(readyz), methods=["GET"]),
        ],
    )
    app.state.is_ending = False
    return app


class Receiver:
    """What the application's routes do.

    Args:
        settings: as for `make_app`, and so are the following three.
        store: where rows go.
        fetch: how an ``enableUrl`` is fetched.
        clock: the time.
        metrics: what is counted.
        warm_up: called with the first sign of life from outside that is no message, so that the first message finds
            all that it needs loaded, and the start does not wait for it.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        store: Store,
        fetch: Fetch,
        clock: Callable[[], datetime],
        metrics: Metrics,
        warm_up: Callable[[], None],
    ) -> None:
        self._store = store
        self._fetch = fetch
        self._clock = clock
        self._metrics = metrics
        self._warm_up = warm_up
        self._messages = Messages(require_client_id=settings.require_client_id, ttl_days=settings.ttl_days)
        self._secrets = SecretCheck(settings.iot_secrets)
        self._trusted = settings.confirm_origins or (aws_iot_origin(settings.aws_region),)
        self._confirming = 0

    async def ingest(self, request: Incoming) -> Answer:
        """Take a message or a batch, or a confirmation."""
        if request.is_confirmation:
            return await self._answer_confirmation(request)
        self._metrics.in_progress.inc()
        try:
            return await self._answer_message(request)
        finally:
            self._metrics.in_progress.dec()

    async def root(self, request: Incoming) -> Answer:
        """Take a confirmation for a destination that names no path."""
        if request.is_confirmation:
            return await self._answer_confirmation(request)
        return answer({"detail": "Not Found"}, 404)

    async def metrics_page(self, request: Incoming) -> Answer:
        """Tell Prometheus, and the load balancer that this process is there."""
        self._warm_up()
        body, content_type = self._metrics.expose(request.accept)
        return Answer(200, body, ((b"content-type", content_type.encode()),))

    async def livez(self, _: Incoming) -> Answer:
        """Tell that the event loop turns."""
        self._warm_up()
        return answer({"live": True})

    def tell_readiness(self, *, is_ending: bool) -> Answer:
        """Tell whether a message that came now would be taken."""
        self._warm_up()
        if is_ending:
            return answer({"ready": False, "detail": "this process is ending"}, 503)
        if self._store.is_full:
            return answer({"ready": False, "detail": "as many rows wait as may"}, 503)
        return answer({"ready": True})

    async def _answer_message(self, request: Incoming) -> Answer:
        about: dict[str, Any] = {"message_id": request.message_id_for_log()}
        try:
            stored = await self._store_message(request, about)
        except tuple(REFUSALS) as error:
            outcome, status = REFUSALS[type(error)]
            about["outcome"] = outcome
            if isinstance(error, WriteFailed):
                self._metrics.write_failures[error.kind].inc()
                about |= {"kind": error.kind, "code": error.code, "because": error.because}
            else:
                about["because"] = str(error)
            if isinstance(error, MessageRefused) and error.element is not None:
                about["element"] = error.element
            level = logging.WARNING if status >= 500 else logging.INFO
            _LOGGER.log(level, "message refused", extra={"about": about})
            self._metrics.requests[outcome].inc()
            return refuse(error, status, is_length_known=request.has_declared_length)
        except Exception:
            about["outcome"] = "error"
            _LOGGER.exception("message not taken", extra={"about": about})
            self._metrics.requests["error"].inc()
            return fail()
        _LOGGER.debug("rows written", extra={"about": about})
        self._metrics.requests["stored"].inc()
        return answer({"stored": stored})

    async def _store_message(self, request: Incoming, about: dict[str, Any]) -> str | list[str]:
        """Write the rows of a message or a batch; give its id, or theirs."""
        rows, stored = await self._read_rows(request, about)
        start = time.perf_counter()
        try:
            await self._store.put(rows, arrived_at=request.arrived_at)
        finally:
            self._metrics.write_seconds.observe(time.perf_counter() - start)
        return stored

    async def _read_rows(self, request: Incoming, about: dict[str, Any]) -> tuple[list[Row], str | list[str]]:
        """Give the rows, and the id or ids. Nothing else of the body is kept while they wait to be written."""
        request.check_declared_length()
        if not self._secrets.allows(request.secrets):
            raise WrongSecret("X-Iot-Secret is missing or wrong")
        body = await request.read_body()
        if is_array(body):
            rows = self._messages.rows_of(body, request.told(), now=self._clock())
            about["message_ids"] = ids = [row.message_id for row in rows]
            return rows, ids
        row = self._messages.row_of(body, request.told(), now=self._clock())
        about["message_id"] = row.message_id
        return [row], row.message_id

    async def _answer_confirmation(self, request: Incoming) -> Answer:
        about: dict[str, Any] = {}
        try:
            await self._confirm(request, about)
        except tuple(CONFIRMATION_REFUSALS) as error:
            outcome, status = CONFIRMATION_REFUSALS[type(error)]
            made = refuse(error, status, is_length_known=request.has_declared_length)
            about |= {"outcome": outcome, "because": str(error)}
            _LOGGER.warning("destination not confirmed", extra={"about": about})
        except Exception:
            outcome, made = "error", fail()
            _LOGGER.exception("destination not confirmed", extra={"about": {"outcome": outcome}})
        else:
            outcome, made = "confirmed", answer({"confirmed": True})
            _LOGGER.info("destination confirmed", extra={"about": about})
        self._metrics.confirmations[outcome].inc()
        self._warm_up()  # not before: whoever waits for the confirmation would wait for it as well
        return made

    async def _confirm(self, request: Incoming, about: dict[str, Any]) -> None:
        request.check_declared_length(MAX_BYTES)
        confirmation = parse_confirmation(await request.read_body(MAX_BYTES))
        about["destination"] = confirmation.arn
        url = url_to_fetch(confirmation.enable_url, trusted=self._trusted)
        if self._confirming >= MAX_AT_ONCE:
            raise TooManyAtOnce("other confirmations are under way")
        self._confirming += 1
        try:
            status = await self._fetch(url)
        finally:
            self._confirming -= 1
        if status != HTTPStatus.OK:
            raise NotConfirmed(f"enableUrl answered {status}")


class _Endpoint:
    """An ASGI application of one route. An object, since Starlette gives functions a request of its own making."""

    def __init__(self, handle: Callable[[Incoming], Awaitable[Answer]]) -> None:
        self._handle = handle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        made = await self._handle(Incoming(scope, receive))
        await made.send(send)


def _do_nothing() -> None:
    """Load nothing: a store of somebody else's making is loaded already."""


def _now() -> datetime:
    return datetime.now(UTC)
