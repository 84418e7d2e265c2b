"""Peers that are slow, silent or flooding; in this process, so that deadlines can be made short."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import time
from typing import TYPE_CHECKING, Any

import pytest

from harness.embedded import peer as peer_module
from harness.embedded.config import BrokerConfig
from harness.embedded.doors import Doors
from harness.embedded.hub import Hub
from harness.embedded.tls import TlsContexts
from harness.iot.quirks import Quirks
from harness.iot.registry import Certificate, Credential, IotPolicy, RegistryChange, Role
from harness.mqtt.codec import Decoder, encode
from harness.mqtt.events import DisconnectReason
from harness.mqtt.packets import NO_PROPERTIES, Connect, Properties, ProtocolVersion, Publish, Subscribe, Subscription

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

EVERYTHING = json.dumps(
    {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "iot:*", "Resource": "*"}]}
)
GUEST = Credential(
    access_key_id="ASIAGUEST",
    secret_access_key="secret",
    session_token="token",
    expires_at=time.time() + 3600,
    principal_arn="arn:aws:sts::123456789012:assumed-role/guest/session",
    principal_id="AROA:session",
    role_arn="arn:aws:iam::123456789012:role/guest",
)
ROLE = Role(arn="arn:aws:iam::123456789012:role/guest", unique_id="AROA", policies=(("all", EVERYTHING),))


class Served:
    """A hub with open doors in this loop, one guest and one device."""

    def __init__(self, certificates: Any) -> None:
        self.device = certificates.client("peer")
        config = BrokerConfig(
            region="eu-west-1",
            account_id="123456789012",
            access_key_id="AKIAROOT",
            secret_access_key="root",
            lifeline_fd=0,
            link_fd=0,
            report_fd=0,
            host_addresses=("127.0.0.1",),
            tls_cert=str(certificates.server_certificate),
            tls_key=str(certificates.server_key),
        )
        contexts = TlsContexts(certificate_file=config.tls_cert, key_file=config.tls_key)
        self.hub = Hub(config=config, quirks=Quirks(), tls=contexts, loop=asyncio.get_running_loop())
        self.doors = Doors(config, hub=self.hub, contexts=contexts, quirks=Quirks())
        certificate = Certificate(
            certificate_id=self.device.certificate_id, arn=self.device.arn, status="ACTIVE", pem=self.device.pem
        )
        policy = IotPolicy(name="all", document=EVERYTHING, targets=(self.device.arn,))
        self.hub.change_registry(
            RegistryChange(
                put={
                    "certificates": (certificate,),
                    "policies": (policy,),
                    "roles": (ROLE,),
                    "credentials": (GUEST,),
                }
            )
        )
        self._ca_file = certificates.ca_file
        self._writers: list[asyncio.StreamWriter] = []

    async def dial(self, door: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to a door: to ``mqtts`` as the device."""
        context = ssl.create_default_context(cafile=str(self._ca_file))
        if door == "mqtts":
            context.load_cert_chain(self.device.certificate_file, self.device.key_file)
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.doors.ports[f"{door}_port"], ssl=context, server_hostname="localhost"
        )
        self._writers.append(writer)
        return reader, writer

    async def aclose(self) -> None:
        """Close doors and connections, and wait until all is gone."""
        for writer in self._writers:
            writer.transport.abort()
        await self.doors.aclose()
        self.hub.shut_down(reason_code=0x8B)
        await until(lambda: not self.hub.broker.open_connections)

    def records(self, kind: str) -> list[dict[str, Any]]:
        """Return the records of a kind."""
        return [each for each in self.hub.trace.read(0) if each["kind"] == kind]


@pytest.fixture
async def served(certificates: Any) -> AsyncIterator[Served]:
    """A broker in this loop."""
    running = Served(certificates)
    yield running
    await running.aclose()


@pytest.fixture
def open_websocket(
    served: Served, presign: Callable[..., str], upgrade: Callable[..., bytes], client_frame: Callable[..., bytes]
) -> Callable[..., Any]:
    """Open a WebSocket, connected as a client unless told otherwise."""

    async def connect(client_id: str | None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await served.dial("wss")
        writer.write(upgrade(presign(GUEST, host="localhost"), "localhost"))
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        if client_id is not None:
            writer.write(client_frame(encode(Connect(client_id=client_id), ProtocolVersion.V5)))
            head = await reader.readexactly(2)
            await reader.readexactly(head[1])
        return reader, writer

    return connect


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something in this loop to have happened."""
    while not condition():  # noqa: ASYNC110 - nothing there tells anybody
        await asyncio.sleep(0)


async def rest(reader: asyncio.StreamReader) -> bytes:
    """Read to the end, however it comes."""
    try:
        return await reader.read()
    except (ConnectionError, ssl.SSLError):
        return b""


@pytest.mark.parametrize("door", ["mqtts", "wss"])
async def test_a_peer_that_says_nothing_is_dropped(served: Served, monkeypatch: pytest.MonkeyPatch, door: str) -> None:
    """A handshake is no ticket to stay."""
    monkeypatch.setattr(peer_module, "REQUEST_TIMEOUT", 0.05)
    reader, _ = await served.dial(door)

    assert await rest(reader) == b""
    (record,) = served.records("http_refused")
    assert record["detail"]["because"] == "nothing complete was received within 0.05 s"


async def test_a_peer_that_sends_its_request_too_slowly_is_dropped(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes that trickle in do not prolong the deadline."""
    monkeypatch.setattr(peer_module, "REQUEST_TIMEOUT", 0.2)
    reader, writer = await served.dial("wss")

    reading = asyncio.ensure_future(rest(reader))
    while not reading.done():
        writer.write(b"G")
        await asyncio.wait([reading], timeout=0.01)

    assert reading.result() == b""


async def test_a_peer_that_stays_idle_between_requests_is_dropped(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After its answer."""
    monkeypatch.setattr(peer_module, "IDLE_TIMEOUT", 0.05)
    reader, writer = await served.dial("mqtts")

    writer.write(b"POST /topics/peer/idle HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")

    assert (await rest(reader)).startswith(b"HTTP/1.1 200 OK")


async def test_a_peer_is_told_to_go_on_when_it_asks_before_its_body(served: Served) -> None:
    """Expect: 100-continue."""
    reader, writer = await served.dial("mqtts")

    writer.write(
        b"POST /topics/peer/expect HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    )
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
    writer.write(b"ok")
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")


async def test_a_websocket_ends_when_its_life_is_over(
    served: Served, open_websocket: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """24 hours on AWS; one that never sent CONNECT has ended long before."""
    monkeypatch.setattr(peer_module, "WEBSOCKET_LIFE", 0.05)
    reader, _ = await open_websocket("peer-old")

    assert await rest(reader) == b"\x88\x00"
    (record,) = served.records("disconnect")
    assert record["detail"]["reason"] == "WEBSOCKET_TTL_EXPIRATION"


async def test_a_peer_that_does_not_read_is_cut_off_when_its_pongs_pile_up(
    served: Served,
    open_websocket: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    client_frame: Callable[..., bytes],
) -> None:
    """What is to be sent is bounded, below MQTT too; here nothing at all may wait."""
    monkeypatch.setattr(peer_module, "_MAX_UNREAD_ANSWERS", -1)
    reader, writer = await open_websocket("peer-pings")
    (connection,) = served.hub.broker.connections.values()
    connection.shell.pause_writing()

    writer.write(client_frame(b"hello", first=0x89))

    assert await rest(reader) == b""
    await until(lambda: connection.close_reason == "CONNECTION_LOST")


async def test_a_peer_that_does_not_read_is_known_to_the_broker(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker learns how much is unsent, and goes on when there is room again: nothing of QoS 1 is lost."""
    monkeypatch.setattr(peer_module, "_WRITE_HIGH", 10_000)
    reader, writer = await served.dial("mqtts")
    writer.write(encode(Connect(client_id="peer-slow"), ProtocolVersion.V5))
    writer.write(
        encode(
            Subscribe(packet_id=1, subscriptions=(Subscription(topic_filter="peer/slow", qos=1),)), ProtocolVersion.V5
        )
    )
    await until(lambda: bool(served.records("subscribe")))
    (connection,) = served.hub.broker.connections.values()
    writer.transport.pause_reading()

    sent = 0
    while not connection.unsent_bytes and sent < 100:
        served.hub.publish_as("AKIAROOT", Publish(topic_name="peer/slow", payload=b"x" * 120_000, qos=1, packet_id=1))
        sent += 1
        await asyncio.sleep(0)
    assert connection.unsent_bytes
    writer.transport.resume_reading()

    decoder, received = Decoder(version=ProtocolVersion.V5), 0
    while received < sent:
        decoder.receive_data(await reader.read(65536))
        while (packet := decoder.next_packet()) is not None:
            received += isinstance(packet, Publish)
    await until(lambda: not connection.unsent_bytes)


@pytest.mark.parametrize("ends_first", ["peer", "broker"])
async def test_a_peer_that_never_reads_is_cut_off_when_its_connection_ends(
    served: Served, monkeypatch: pytest.MonkeyPatch, ends_first: str
) -> None:
    """Whoever ends it, and also when the peer has closed its side of TCP: neither socket nor buffer stays."""
    monkeypatch.setattr(peer_module, "CLOSE_TIMEOUT", 0.1)
    monkeypatch.setattr(peer_module, "_WRITE_HIGH", 10_000)
    _, writer = await served.dial("mqtts")
    writer.write(encode(Connect(client_id="peer-deaf"), ProtocolVersion.V5))
    writer.write(
        encode(Subscribe(packet_id=1, subscriptions=(Subscription(topic_filter="peer/deaf"),)), ProtocolVersion.V5)
    )
    await until(lambda: bool(served.records("subscribe")))
    (connection,) = served.hub.broker.connections.values()
    writer.transport.pause_reading()
    while not connection.unsent_bytes:
        served.hub.publish_as("AKIAROOT", Publish(topic_name="peer/deaf", payload=b"x" * 120_000))
        await asyncio.sleep(0)

    if ends_first == "broker":
        reason, now = DisconnectReason.SERVER_ERROR, asyncio.get_running_loop().time()
        served.hub.broker.disconnect("peer-deaf", reason=reason, reason_code=None, now=now)
        served.hub.wake()
    writer.transport.get_extra_info("socket").shutdown(socket.SHUT_WR)

    await asyncio.wait_for(until(lambda: connection.shell is None), 10)


async def test_what_messages_hold_in_memory_counts_with_their_properties(served: Served) -> None:
    """The trace keeps both alive, and is bounded by what it keeps."""
    before = served.hub.trace.held_bytes
    properties = Properties(correlation_data=b"c" * 100, user_properties=(("k" * 10, "v" * 10),))
    for each in (properties, NO_PROPERTIES):
        served.hub.publish_as("AKIAROOT", Publish(topic_name="peer/held", payload=b"x" * 1_000, properties=each))
    await until(lambda: len(served.records("publish")) == 2)

    assert served.hub.trace.held_bytes - before == 2_120


async def test_a_peer_that_goes_without_a_word_has_its_will_published(served: Served) -> None:
    """A reset connection is a lost one."""
    reader, writer = await served.dial("mqtts")
    writer.write(encode(Connect(client_id="peer-lost"), ProtocolVersion.V5))
    await reader.readexactly(2)

    writer.transport.abort()

    await until(lambda: bool(served.records("disconnect")))
    assert served.records("disconnect")[0]["detail"]["reason"] == "CONNECTION_LOST"
