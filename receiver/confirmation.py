"""The confirmation of a destination: AWS IoT asks once whether this receiver wants what rules will post to it.

The question is a POST with an `enableUrl`; the answer is to fetch that URL. It comes without the shared secret, so
anybody can ask: `receiver.origins` decides what may be fetched, and little at a time is.

Source: AWS IoT Developer Guide, "Creating an HTTP action destination", confirmation of ownership.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import Any, Final, Protocol

from receiver.errors import InvalidMessage, NotConfirmed
from receiver.json_text import parse_object

MESSAGE_TYPE_HEADER: Final = b"x-amz-rules-engine-message-type"
MESSAGE_TYPE: Final = "DestinationConfirmation"
MAX_BYTES: Final = 16_384
"""Of a question, which holds two names, a token of at most 2048 characters and a URL with that token."""

MAX_AT_ONCE: Final = 8
"""Fetches under way, each for up to `_SECONDS`."""

_SECONDS: Final = 5.0
_ARN: Final = re.compile(r"arn:[a-z-]+:iot:[a-z0-9-]+:[0-9]{12}:ruledestination/[a-z]+/[0-9A-Za-z-]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """What AWS IoT asks.

    Args:
        enable_url: to be fetched, as it came.
        arn: of the destination, for the log; None when it does not look like one.
    """

    enable_url: str
    arn: str | None


class Fetch(Protocol):
    """Fetches a URL."""

    async def __call__(self, url: str) -> int:
        """Give the status of the answer.

        Raises:
            NotConfirmed: there was no answer.
        """


def parse_confirmation(body: bytes) -> Confirmation:
    """Read the question.

    Raises:
        InvalidMessage: it is none.
    """
    fields = parse_object(body)
    if fields.get("messageType") != MESSAGE_TYPE:
        raise InvalidMessage(f"messageType must be {MESSAGE_TYPE}")
    enable_url = fields.get("enableUrl")
    if not isinstance(enable_url, str):
        raise InvalidMessage("enableUrl must be a string")
    arn = fields.get("arn")
    return Confirmation(enable_url=enable_url, arn=arn if isinstance(arn, str) and _ARN.fullmatch(arn) else None)


class HttpFetch:
    """Fetches with httpx: no redirect is followed, no proxy asked, nothing of the environment used, no body read.

    httpx is imported with the first confirmation: most receivers live their whole lives without one.
    """

    def __init__(self) -> None:
        self._client: Any = None
        self._making = asyncio.Lock()

    async def __call__(self, url: str) -> int:
        """Fetch a URL within five seconds in all; see `Fetch`.

        Raises:
            NotConfirmed: there was no answer.
        """
        import httpx  # noqa: PLC0415 - see the class's docstring

        try:
            async with asyncio.timeout(_SECONDS):
                async with self._making:
                    if self._client is None:
                        self._client = await asyncio.to_thread(_make_client)
                async with self._client.stream("GET", url) as answer:
                    return int(answer.status_code)
        except (httpx.HTTPError, httpx.InvalidURL, OSError, TimeoutError) as error:
            raise NotConfirmed(f"enableUrl gave no answer ({type(error).__name__})") from error

    async def close(self) -> None:
        """Close what connections there are."""
        if self._client is not None:
            await self._client.aclose()


def _make_client() -> Any:
    """Make the client off the event loop: it reads a file of certificates."""
    import httpx  # noqa: PLC0415 - see `HttpFetch`

    return httpx.AsyncClient(
        trust_env=False,
        follow_redirects=False,
        timeout=_SECONDS,
        limits=httpx.Limits(max_connections=MAX_AT_ONCE, max_keepalive_connections=0),
        headers={"user-agent": "thingwright-receiver", "accept": "*/*"},
    )
