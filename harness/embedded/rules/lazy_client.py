"""The HTTP client before there is one: loaded beside the event loop, once somebody may need it."""

from __future__ import annotations

import asyncio
import gc
import importlib
import ssl
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import ModuleType

    from harness.embedded.rules.exchange import Answer, NoAnswer, Poster
    from harness.iot.rules import HttpRequest

_MODULE: Final = "harness.embedded.rules.http_client"


class LazyHttpClient:
    """Posts as `harness.embedded.rules.http_client.HttpClient` does, which it loads on a thread.

    Args:
        tls: whom servers are believed.
        loop: the running loop.
    """

    def __init__(self, tls: ssl.SSLContext, *, loop: asyncio.AbstractEventLoop) -> None:
        self._tls = tls
        self._loop = loop
        self._loading: asyncio.Future[Any] | None = None
        self._client: Poster | None = None

    def load(self) -> None:
        """Begin to load, unless that was done; return at once."""
        if self._loading is None:
            self._loading = self._loop.run_in_executor(None, _load)

    async def ready(self) -> None:
        """Return once the client is loaded."""
        if self._client is not None:
            return
        self.load()
        assert self._loading is not None  # noqa: S101 - load() has just seen to it
        module = await asyncio.shield(self._loading)
        if self._client is None:
            self._client = module.HttpClient(self._tls)

    async def post(self, request: HttpRequest, *, within: float) -> Answer | NoAnswer:
        """Send one request, once; see `harness.embedded.rules.exchange.Poster`."""
        await self.ready()
        assert self._client is not None  # noqa: S101 - ready() has seen to it
        return await self._client.post(request, within=within)

    async def aclose(self) -> None:
        """Drop all connections; nothing may be sent any more."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()


def _load() -> ModuleType:
    module = importlib.import_module(_MODULE)
    # What was loaded up to now, rules included, stays: each full collection would hold the broker up to walk it.
    gc.freeze()
    return module


def receivers_tls(ca_files: Iterable[str]) -> ssl.SSLContext:
    """Make the TLS context of HTTP actions: servers are verified against these CAs and no others.

    Args:
        ca_files: paths, PEM.

    Raises:
        OSError: a file cannot be read (`ssl.SSLError`: holds no certificate).
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for file in ca_files:
        context.load_verify_locations(cafile=file)
    return context
