"""Stand-ins to probe: one that has everything, and doors before it that let in who should stay outside."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import re
import ssl
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.targets.embedded.certificates import make_server_identity
from harness.targets.embedded.target import EmbeddedTarget

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from harness.targets.base import Environment

    Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

CONNACK = bytes.fromhex("20 03 00 00 00")
"""MQTT 5.0 §3.2: no session, success, no properties."""
BINARY_FRAME = bytes((0x82, len(CONNACK)))
"""RFC 6455 §5.2: the last fragment, binary, not masked, of this length."""
HANDSHAKE_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""RFC 6455 §1.3."""


@pytest.fixture(scope="package")
def environment() -> Iterator[Environment]:
    """Where a stand-in is that has everything."""
    target = EmbeddedTarget()
    yield target.start()
    target.stop()


@pytest.fixture
def open_environment() -> Iterator[Environment]:
    """Where a stand-in is whose stack allows everybody everything."""
    target = EmbeddedTarget(stack=Path(__file__).with_name("open_stack"))
    yield target.start()
    target.stop()


@pytest.fixture
def quiet_environment() -> Iterator[Environment]:
    """Where a stand-in is whose stack lets guests listen and never speak: the sample suite's."""
    target = EmbeddedTarget(stack=Path(__file__).parents[3] / "examples" / "own-suite" / "infra")
    yield target.start()
    target.stop()


@pytest.fixture
def without_signatures(environment: Environment, tmp_path: Path) -> Iterator[Environment]:
    """Where whoever signs is passed on to the stand-in, and whoever does not is let in at once."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if b"X-Amz-Signature=" in head:
            context = ssl.create_default_context(cafile=environment.outputs.ca_file)
            await relay(head, reader, writer, port=environment.wss_port, context=context)
            return
        (key,) = re.findall(rb"(?im)^sec-websocket-key: (.*?)\r$", head)
        accept = base64.b64encode(hashlib.sha1(key + HANDSHAKE_GUID, usedforsecurity=False).digest())
        upgraded = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        writer.write(upgraded + b"Sec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Accept: " + accept + b"\r\n\r\n")
        await reader.read(1)
        writer.write(BINARY_FRAME + CONNACK)
        await reader.read()

    with door(serve, folder=tmp_path) as (port, ca_file):
        outputs = replace(
            environment.outputs,
            iot_wss_url=f"wss://localhost:{port}/mqtt",
            ca_file=together(tmp_path, ca_file, environment.outputs.ca_file),
        )
        yield replace(environment, stack_outputs=outputs)


class Forgetful:
    """An ``iot`` client of an emulator that says yes to the first change of a certificate's status and makes none.

    Args:
        iot: boto3's.
    """

    def __init__(self, iot: Any) -> None:
        self._iot = iot
        self._asked: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._iot, name)

    def update_certificate(self, **parameters: str) -> None:
        """Change a status when asked again."""
        if parameters["certificateId"] in self._asked:
            self._iot.update_certificate(**parameters)
        self._asked.add(parameters["certificateId"])


@pytest.fixture
def without_statuses(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> Environment:
    """Where a certificate that was made INACTIVE still lets its device in."""
    make = type(environment).client

    def client(self: Environment, service: str, **more: Any) -> Any:
        made = make(self, service, **more)
        return Forgetful(made) if service == "iot" else made

    monkeypatch.setattr(type(environment), "client", client)
    return environment


class Unheard:
    """An ``iot-data`` client of an emulator that takes what is published and tells nobody."""

    def publish(self, **_: object) -> None:
        """Do nothing with it."""

    def close(self) -> None:
        """There is nothing to close."""


@pytest.fixture
def deaf_to_the_operator(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> Environment:
    """Where the AWS API publishes into the void."""
    make = type(environment).client

    def client(self: Environment, service: str, **more: Any) -> Any:
        return Unheard() if service == "iot-data" else make(self, service, **more)

    monkeypatch.setattr(type(environment), "client", client)
    return environment


@pytest.fixture
def silent(environment: Environment) -> Iterator[Environment]:
    """Where the broker's ports take connections and never say a word."""

    async def serve(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    with listening(serve) as port:
        outputs = replace(environment.outputs, iot_mqtts_port=port, iot_wss_url=f"wss://localhost:{port}/mqtt")
        yield replace(environment, stack_outputs=outputs)


@pytest.fixture
def named() -> list[str | None]:
    """What each connection to the shared port named, in the order they came; None: nothing that is known there."""
    return []


@pytest.fixture
def shared_port(environment: Environment, named: list[str | None], tmp_path: Path) -> Iterator[Environment]:
    """Where MQTT and WebSocket are on one port, as LocalStack has them, and whoever names neither is not let in.

    A connection goes on, still encrypted, to the port of the stand-in that speaks what its ClientHello names.
    """
    ports = {"x-amzn-mqtt-ca": environment.mqtts_port, "http/1.1": environment.wss_port}
    context, _ = make_context(tmp_path)
    context.set_alpn_protocols(list(ports))
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # TLS 1.3 might ask for a second ClientHello before it chooses

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hello, protocol = await read_hello(reader, context)
        named.append(protocol)
        if protocol is not None:
            await relay(hello, reader, writer, port=ports[protocol])

    with listening(serve) as port:
        outputs = replace(environment.outputs, iot_mqtts_port=port, iot_wss_url=f"wss://localhost:{port}/mqtt")
        yield replace(environment, mqtts_port=port, wss_port=port, stack_outputs=outputs)


@contextlib.contextmanager
def door(serve: Serve, *, folder: Path) -> Iterator[tuple[int, Path]]:
    """Listen with TLS and a certificate of one's own; give the port and the CA's file."""
    context, ca_file = make_context(folder)
    with listening(serve, context=context) as port:
        yield port, ca_file


def make_context(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """Make what a TLS server needs, with a certificate of its own; give the CA's file, too."""
    identity = make_server_identity(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.certificate, identity.key)
    return context, identity.ca


@contextlib.contextmanager
def listening(serve: Serve, *, context: ssl.SSLContext | None = None) -> Iterator[int]:
    """Listen on a port of 127.0.0.1, on a loop and a thread of its own; give the port."""
    loop = asyncio.new_event_loop()

    async def serve_and_close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):  # whoever goes away has had enough
                await serve(reader, writer)
        finally:
            writer.transport.abort()

    async def end() -> None:
        server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await asyncio.sleep(0)  # what was aborted is closed in the next turn of the loop
        loop.stop()

    server = loop.run_until_complete(asyncio.start_server(serve_and_close, "127.0.0.1", 0, ssl=context))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        asyncio.run_coroutine_threadsafe(end(), loop)
        thread.join()
        loop.close()


async def read_hello(reader: asyncio.StreamReader, context: ssl.SSLContext) -> tuple[bytes, str | None]:
    """Read a ClientHello; give it with the protocol that a server with this context would choose from it."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    negotiation = context.wrap_bio(incoming, outgoing, server_side=True)
    hello = b""
    while not outgoing.pending:  # the ServerHello, as soon as the ClientHello is complete
        if not (data := await reader.read(65_536)):
            return hello, None
        hello += data
        incoming.write(data)
        with contextlib.suppress(ssl.SSLWantReadError):
            negotiation.do_handshake()
    return hello, negotiation.selected_alpn_protocol()


async def relay(
    head: bytes,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    *,
    port: int,
    context: ssl.SSLContext | None = None,
) -> None:
    """Pass a connection on to a port of the stand-in, from its first bytes on."""
    from_broker, to_broker = await asyncio.open_connection("localhost", port, ssl=context)

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65_536):
                sink.write(data)
                await sink.drain()
        sink.close()

    try:
        to_broker.write(head)
        await asyncio.gather(pump(reader, to_broker), pump(from_broker, writer))
    finally:
        to_broker.transport.abort()


def together(folder: Path, *authorities: Path | str | None) -> str:
    """Write one file of several CAs; return its path."""
    path = folder / "authorities.pem"
    path.write_bytes(b"".join(Path(each).read_bytes() for each in authorities if each is not None))
    return str(path)
