"""The HTTP client of rules: one pool of connections for the process, made for servers on this machine.

Loaded with the first rule, since aiohttp takes longer to load than the broker takes to start.

It sends what it is given and nothing else: no cookies, no redirects, no proxies, no netrc, no decompression, no retries
(aiohttp repeats a request on a connection that was closed while idle only for idempotent methods; POST is none), no
header beyond those of HTTP itself and a neutral ``User-Agent``. Answers are counted, not kept.

Source: AWS IoT Core, "HTTP action": TLS is verified, only the status matters.
Differs: opens connections to loopback addresses only; IPv4 goes first, and IPv6 is tried where IPv4 is refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import socket
import ssl
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from harness.embedded.rules.exchange import KEPT_ANSWER_BYTES, Answer, NoAnswer
from harness.iot.rules import MAX_ANSWER_BYTES
from harness.mqtt.events import shown

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiohttp import AddrInfoType
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.connector import Connection

    from harness.embedded.rules.exchange import NoAnswerKind
    from harness.iot.rules import HttpRequest

USER_AGENT: Final = "iot-http-action"
"""What requests say they come from, unless the rule says otherwise. AWS does not document its own."""

LOOPBACK_ONLY: Final = "it is not on this machine, and this stand-in opens no connection that is not loopback"

_LOCALHOST: Final = ("127.0.0.1", "::1")
_ONLY_WHAT_RULES_SAY: Final = ("Accept", "Accept-Encoding")
_READ_BYTES: Final = 16 * 1024


class NotLoopbackError(OSError):
    """A name has no loopback address."""


class HttpClient:
    """Sends requests over kept connections; made within a running loop.

    Args:
        tls: whom servers are believed.
    """

    def __init__(self, tls: ssl.SSLContext) -> None:
        self._session = aiohttp.ClientSession(
            connector=_LoopConnector(ssl=tls, resolver=LoopbackResolver(), use_dns_cache=False, limit=0),
            response_class=_WatchedResponse,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": USER_AGENT},
            skip_auto_headers=_ONLY_WHAT_RULES_SAY,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
            auto_decompress=False,
            trust_env=False,
            read_bufsize=_READ_BYTES,
        )

    async def ready(self) -> None:
        """Return: there is nothing to wait for."""

    async def post(self, request: HttpRequest, *, within: float) -> Answer | NoAnswer:
        """Send one request, once; see `harness.embedded.rules.exchange.Poster`."""
        try:
            url = _url(request)
        except NotLoopbackError as error:
            return NoAnswer(kind="name", message=str(error))
        except ValueError:
            return NoAnswer(kind="unsendable", message="the URL is not valid")
        try:
            async with asyncio.timeout(within):
                return await self._exchange(request, url)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            kind, reason = _explain(error, within=within)
            return NoAnswer(kind=kind, message=f"{url.host}:{url.port} {reason}")

    async def aclose(self) -> None:
        """Drop all connections, whoever uses them."""
        await self._session.close()

    async def _exchange(self, request: HttpRequest, url: URL) -> Answer:
        answer = await self._session.post(url, data=request.body, headers=request.headers, allow_redirects=False)
        assert isinstance(answer, _WatchedResponse)  # noqa: S101 - the session's response class
        try:
            body_bytes, beginning = 0, b""
            while body_bytes <= MAX_ANSWER_BYTES and (some := await answer.content.readany()):
                body_bytes += len(some)
                if len(beginning) < KEPT_ANSWER_BYTES:
                    beginning = (beginning + some[:KEPT_ANSWER_BYTES])[:KEPT_ANSWER_BYTES]
        finally:
            answer.abort()
        return Answer(
            status=answer.status,
            reason=shown(answer.reason or ""),
            body_bytes=min(body_bytes, MAX_ANSWER_BYTES + 1),
            beginning=beginning,
            is_connection_closed=answer.is_connection_closed,
        )


class _LoopConnector(aiohttp.TCPConnector):
    """Lets the event loop open the connections, address by address.

    aiohttp would connect sockets of its own, and close one that was refused or given up while the loop still watches
    it. libuv ends the process when it comes upon such a socket, which happened where a receiver was killed under load.

    Source: https://github.com/libuv/libuv/issues/5130 (uvloop and aiohttp; closed as not libuv's to mend).
    """

    async def _wrap_create_connection(
        self,
        *args: Any,
        addr_infos: list[AddrInfoType],
        req: aiohttp.ClientRequest,
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's; ours is around the whole request
        client_error: type[Exception] = aiohttp.ClientConnectorError,
        **kwargs: Any,
    ) -> tuple[asyncio.Transport, ResponseHandler]:
        del timeout
        connect: Any = self._loop.create_connection  # what aiohttp hands over besides the address is its affair
        refused: OSError | None = None
        for _family, _kind, _protocol, _name, address in addr_infos:
            host, port = address[0], address[1]
            try:
                connected: tuple[asyncio.Transport, ResponseHandler] = await connect(
                    *args, host=host, port=port, **kwargs
                )
            except ssl.CertificateError as error:
                raise aiohttp.ClientConnectorCertificateError(req.connection_key, error) from error
            except ssl.SSLError as error:
                raise aiohttp.ClientConnectorSSLError(req.connection_key, error) from error
            except OSError as error:
                refused = error
            else:
                return connected
        assert refused is not None  # noqa: S101 - for the type checker: the resolver gives one address at least
        raise client_error(req.connection_key, refused) from refused


class _WatchedResponse(aiohttp.ClientResponse):
    """A response that remembers its connection beyond its end, to tell whether the server closed it.

    The connection may serve other requests by then: what becomes of it after that says nothing about this response.
    """

    _wire: ResponseHandler | None = None
    _use = 0

    async def start(self, connection: Connection) -> aiohttp.ClientResponse:
        """Begin to wait for the answer; the request is on its way."""
        self._wire = connection.protocol
        if self._wire is not None:
            self._use = _uses[self._wire] = _uses.get(self._wire, 0) + 1
        try:
            return await super().start(connection)
        except BaseException:
            self.abort()
            raise

    def abort(self) -> None:
        """Cut the connection off, unless it went back to the pool at the end of the body.

        Without a TLS farewell: for the answer to that, a receiver that hangs would be waited for, half a minute.
        """
        if self.connection is not None and self.connection.transport is not None:
            self.connection.transport.abort()
        self.close()

    def is_connection_closed(self) -> bool:
        """Whether the server has said that it closes the connection, or has done so by now."""
        if self._wire is None:
            return True
        return _uses.get(self._wire) == self._use and (self._wire.should_close or not self._wire.is_connected())


_uses: WeakKeyDictionary[ResponseHandler, int] = WeakKeyDictionary()  # how many requests a connection has served


class LoopbackResolver(AbstractResolver):
    """Looks names up and keeps their loopback addresses, IPv4 first.

    ``localhost`` and what ends in ``.localhost`` needs no looking up. Source: RFC 6761 §6.3.
    """

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the loopback addresses of a name.

        Raises:
            NotLoopbackError: it has others only.
            OSError: it has none, or looking it up failed.
        """
        name = host.rstrip(".").lower()
        if name == "localhost" or name.endswith(".localhost"):
            addresses: Iterable[str] = _LOCALHOST
        else:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
            addresses = dict.fromkeys(str(info[4][0]) for info in found)
        own = sorted((address for address in addresses if _is_loopback(address)), key=lambda address: ":" in address)
        if not own:
            raise NotLoopbackError(LOOPBACK_ONLY)
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for address in own
        ]

    async def close(self) -> None:
        """Do nothing: it holds nothing."""


def _url(request: HttpRequest) -> URL:
    """Read where a request goes. It is sent as it stands: what was compared with a destination is what arrives.

    Raises:
        NotLoopbackError: it names an address that is not loopback.
        ValueError: it is no https URL with a host.
    """
    url = URL(request.url, encoded=True)
    if url.scheme != "https" or not url.host:
        raise ValueError("not https, or no host")
    with contextlib.suppress(ValueError):
        if not ipaddress.ip_address(url.host).is_loopback:
            raise NotLoopbackError(f"{url.host}:{url.port} is not asked: {LOOPBACK_ONLY}")
    return url


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def _explain(error: Exception, *, within: float) -> tuple[NoAnswerKind, str]:
    """Say what kind of failure an exception stands for, and in words that follow the receiver's name.

    Neither the URL nor anything that the receiver wrote is quoted.
    """
    found: tuple[NoAnswerKind, str]
    match error:
        case aiohttp.InvalidURL(description=description):
            found = "unsendable", f"is no host of a request: {description or 'its name is not valid'}"
        case aiohttp.ClientConnectorError():
            found = _explain_connecting(error)
        case TimeoutError():
            found = "timeout", f"did not answer within {within:.2f} s"
        case aiohttp.ServerDisconnectedError():
            found = "lost", "closed the connection without an answer"
        case aiohttp.ClientPayloadError():
            found = "lost", "cut its answer short"
        case aiohttp.ClientResponseError():
            found = "lost", "did not answer with HTTP"
        case OSError():
            found = "lost", f"lost the connection: {_reason(error)}"
        case ValueError():
            found = "unsendable", f"is not asked: the request cannot be written as HTTP ({error})"
        case _:
            found = "lost", f"was lost: {type(error).__name__}"
    return found


def _explain_connecting(error: aiohttp.ClientConnectorError) -> tuple[NoAnswerKind, str]:
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError):
        return "tls", f"is not to be trusted: {_tls_reason(error)}"
    if isinstance(error.os_error, NotLoopbackError):
        return "name", f"is not asked: {error.os_error}"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "name", f"cannot be found: {_reason(error.os_error)}"
    return "connect", f"cannot be reached: {_reason(error.os_error)}"


def _tls_reason(error: aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError) -> str:
    cause = error.certificate_error if isinstance(error, aiohttp.ClientConnectorCertificateError) else error.os_error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return cause.verify_message
    return str(getattr(cause, "reason", None) or cause)


def _reason(error: OSError) -> str:
    """Say why an operation of the system failed; errors of name look-ups have negative numbers of their own."""
    if error.errno and error.errno > 0:
        return os.strerror(error.errno)
    return error.strerror or str(error) or type(error).__name__
