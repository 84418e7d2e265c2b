"""A receiver of the test's own: HTTPS on loopback, answering from a script."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from harness.embedded.rules.lazy_client import receivers_tls
from harness.iot.rules import HttpRequest
from harness.targets.embedded.certificates import make_server_identity

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from harness.targets.embedded.certificates import ServerIdentity


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """A request as it came."""

    line: str
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> list[str]:
        """Return all values of a header."""
        return [value for key, value in self.headers if key.lower() == name]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What is answered: bytes as they go out, or nothing at all.

    Attributes:
        then: ``keep`` the connection, ``close`` it, or ``hang`` on to it without reading on.
    """

    data: bytes = b""
    then: str = "keep"


def reply(status: int = 200, body: bytes = b"", *, then: str = "keep", version: str = "1.1", **headers: str) -> Reply:
    """Write an answer."""
    lines = [f"HTTP/{version} {status} Reason {status}", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return Reply(data="\r\n".join([*lines, "", ""]).encode() + body, then=then)


class Receiver:
    """An HTTPS server in the test's loop; answers 200 when its script has ended.

    Attributes:
        requests: what came, in order.
        connections: how many finished their TLS handshake.
        closed: how many of them have ended.
    """

    def __init__(self, identity: ServerIdentity) -> None:
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(identity.certificate, identity.key)
        self._script: deque[Reply] = deque()
        self._peers: set[asyncio.Task[None]] = set()
        self._news = asyncio.Condition()
        self.requests: list[Arrived] = []
        self.connections = 0
        self.closed = 0

    async def start(self) -> None:
        """Listen on any port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.port: int = self._server.sockets[0].getsockname()[1]
        self.url = f"https://localhost:{self.port}"

    def answers(self, *replies: Reply) -> None:
        """Answer the next requests like this, then 200."""
        self._script.extend(replies)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait for something about this receiver."""
        async with self._news:
            await self._news.wait_for(holds)

    async def drop(self) -> None:
        """Cut all connections, and serve new ones."""
        for peer in self._peers:
            peer.cancel()
        await asyncio.gather(*self._peers, return_exceptions=True)

    async def aclose(self) -> None:
        """Stop, whatever is under way."""
        self._server.close()
        await self.drop()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._peers.add(task)
        self.connections += 1
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError, asyncio.CancelledError):
                while await self._answer_one(reader, writer):
                    pass
        finally:
            self._peers.discard(task)
            writer.transport.abort()
            async with self._news:
                self.closed += 1
                self._news.notify_all()

    async def _answer_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().rstrip("\r\n").split("\r\n")
        headers = [(name, value) for name, _, value in (text.partition(": ") for text in lines)]
        size = next((int(value) for name, value in headers if name.lower() == "content-length"), 0)
        body = await reader.readexactly(size)
        async with self._news:
            self.requests.append(Arrived(line=line, headers=headers, body=body))
            self._news.notify_all()
        answer = self._script.popleft() if self._script else reply()
        writer.write(answer.data)
        await writer.drain()
        if answer.then == "hang":
            await asyncio.Event().wait()
        if answer.then == "close":
            writer.close()
            await writer.wait_closed()
        return answer.then == "keep"


@pytest.fixture(scope="session")
def identity(tmp_path_factory: pytest.TempPathFactory) -> ServerIdentity:
    """A CA and a server certificate for localhost."""
    return make_server_identity(tmp_path_factory.mktemp("receiver"))


@pytest.fixture(scope="session")
def foreign_identity(tmp_path_factory: pytest.TempPathFactory) -> ServerIdentity:
    """The same, of a CA that nobody trusts."""
    return make_server_identity(tmp_path_factory.mktemp("foreign"))


@pytest.fixture
def tls(identity: ServerIdentity) -> ssl.SSLContext:
    """What trusts the receiver's CA."""
    return receivers_tls([str(identity.ca)])


@pytest.fixture
async def make_receiver(identity: ServerIdentity) -> AsyncIterator[Callable[..., Awaitable[Receiver]]]:
    """Start receivers, ended after the test."""
    async with AsyncExitStack() as stack:

        async def make(of: ServerIdentity = identity) -> Receiver:
            receiver = Receiver(of)
            await receiver.start()
            stack.push_async_callback(receiver.aclose)
            return receiver

        yield make


@pytest.fixture
async def receiver(make_receiver: Callable[..., Awaitable[Receiver]]) -> Receiver:
    """A receiver that the client trusts."""
    return await make_receiver()


@pytest.fixture(scope="session", name="reply")
def make_reply() -> Callable[..., Reply]:
    """Write answers of a receiver."""
    return reply


@pytest.fixture(scope="session")
def raw_reply() -> type[Reply]:
    """Write what is no proper answer; without bytes, no answer at all."""
    return Reply


@pytest.fixture(scope="session")
def request_to() -> Callable[..., HttpRequest]:
    """Make requests as actions do."""

    def make(url: str, **more: Any) -> HttpRequest:
        members: dict[str, Any] = {
            "url": url,
            "headers": (("content-type", "application/json"),),
            "body": b"{}",
            "destination_arn": "arn:aws:iot:eu-west-1:123456789012:ruledestination/http/1",
            **more,
        }
        return HttpRequest(**members)

    return make


@pytest.fixture
def nowhere(tmp_path: Path) -> str:
    """A URL on this machine where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return f"https://localhost:{probe.getsockname()[1]}"
