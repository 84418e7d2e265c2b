"""Fan-out of the embedded broker: one publisher, N subscribers over WSS, thousand deliveries per second.

``python benchmarks/fanout.py [--subscribers 100] [--seconds 3] [--payload 200]``

W1: the next message goes out when every subscriber has the last one. W64: up to 64 messages are outstanding. The broker
runs in a process of its own, this process is the load: bare asyncio protocols on uvloop that do no more than count
packets and, for QoS 1, acknowledge them, so that the broker is the bottleneck. Ratios carry over to other machines,
figures do not.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import hmac
import json
import os
import resource
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

import uvloop

from harness.embedded.__main__ import keep_freed_memory
from harness.embedded.link import FrameDecoder, encode_frame
from harness.iot.registry import Credential, RegistryChange, Role
from harness.targets.embedded.certificates import make_server_identity

if TYPE_CHECKING:
    from collections.abc import Iterator

REGION = "eu-west-1"
TOPIC = "public/fanout"


class Client(asyncio.Protocol):
    """An MQTT 5 client over WebSocket that counts what it gets."""

    def __init__(self, load: Load, handshake: bytes, client_id: str) -> None:
        self._load = load
        self._handshake = handshake
        self._client_id = client_id.encode()
        self._buffer = bytearray()
        self._is_open = False
        self.ready = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the upgrade."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(self._handshake)

    def send(self, packets: bytes) -> None:
        """Send MQTT bytes in one frame, masked with zeros: valid, and free of cost."""
        size = len(packets)
        length = bytes((0x80 | size,)) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
        self.transport.write(b"\x82" + length + b"\0\0\0\0" + packets)

    def data_received(self, data: bytes) -> None:
        """Read frames; before the upgrade, the answer to it."""
        self._buffer += data
        if not self._is_open:
            head, separator, rest = bytes(self._buffer).partition(b"\r\n\r\n")
            if not separator:
                return
            if b" 101 " not in head.split(b"\r\n")[0]:
                raise SystemExit(head.decode())
            self._is_open = True
            self._buffer[:] = rest
            size = 10 + 1 + 2 + len(self._client_id)
            connect = b"\x10" + bytes((size,)) + b"\x00\x04MQTT\x05\x02\x00\x00\x00"
            self.send(connect + len(self._client_id).to_bytes(2, "big") + self._client_id)
        buffer, position, have = self._buffer, 0, len(self._buffer)
        while have - position >= 2:
            length, start = buffer[position + 1], position + 2
            if length == 126:
                length, start = int.from_bytes(buffer[position + 2 : position + 4], "big"), position + 4
            elif length == 127:
                length, start = int.from_bytes(buffer[position + 2 : position + 10], "big"), position + 10
            if start + length > have:
                break
            self._read_packets(bytes(buffer[start : start + length]))
            position = start + length
        del buffer[:position]

    def _read_packets(self, data: bytes) -> None:
        """Read a frame: PUBLISH packets, all of one size, or a single CONNACK or SUBACK."""
        if data[0] == 0x20:
            self.ready.set_result(None)
        if data[0] & 0xF0 != 0x30:
            return
        count, rest = divmod(len(data), self._load.packet_size)
        if rest:
            raise SystemExit(f"a frame of {len(data)} bytes, {rest} too many")
        if data[0] & 0x06:
            acknowledgements = bytearray(b"\x40\x02\x00\x00" * count)
            acknowledgements[2::4] = data[self._load.packet_id_at :: self._load.packet_size]
            acknowledgements[3::4] = data[self._load.packet_id_at + 1 :: self._load.packet_size]
            self.send(bytes(acknowledgements))
        self._load.delivered(count)


class Load:
    """Publishes to N subscribers with so many messages outstanding, and counts deliveries."""

    def __init__(self, subscribers: int, payload: int, qos: int) -> None:
        self._subscribers = subscribers
        topic = len(TOPIC).to_bytes(2, "big") + TOPIC.encode()
        body = topic + (b"\x00\x01" if qos else b"") + b"\x00" + b"x" * payload
        size = bytes((len(body) & 0x7F | 0x80, len(body) >> 7)) if len(body) > 127 else bytes((len(body),))
        self._packet = bytes((0x30 | qos << 1,)) + size + body
        self.packet_size = len(self._packet)
        self.packet_id_at = 1 + len(size) + len(topic)
        self._room = 0
        self._sent = 0
        self.deliveries = 0
        self._drained = asyncio.Event()
        self.publisher: Client

    def start(self, outstanding: int) -> None:
        """Begin."""
        self._room = outstanding
        self._publish(outstanding)

    def stop(self) -> None:
        """Publish no more."""
        self._room = 0

    async def drained(self) -> None:
        """Wait until all that was published has arrived."""
        if self.deliveries < self._sent * self._subscribers:
            await self._drained.wait()

    def delivered(self, count: int) -> None:
        """Count, and publish as many as have arrived everywhere."""
        self.deliveries += count
        if not self._room and self.deliveries >= self._sent * self._subscribers:
            self._drained.set()
        finished = self.deliveries // self._subscribers
        if free := max(self._room - (self._sent - finished), 0):
            self._publish(free)

    def _publish(self, count: int) -> None:
        self._sent += count
        for _ in range(0, count, 64):
            self.publisher.send(self._packet * min(count, 64))
            count -= 64


async def measure(broker: Broker, *, subscribers: int, payload: int, seconds: float) -> None:
    """Run every case and print a line for each."""
    print(f"{subscribers} subscribers over WSS, {payload} bytes, thousand deliveries per second (broker CPU us each)")
    for qos in (0, 1):
        for outstanding in (1, 64):
            load = Load(subscribers, payload, qos)
            clients = await asyncio.gather(
                *(broker.connect(load, f"q{qos}-w{outstanding}-{number}") for number in range(subscribers + 1))
            )
            load.publisher = clients[-1]
            subscribe = b"\x00\x01\x00" + len(TOPIC).to_bytes(2, "big") + TOPIC.encode() + bytes((qos,))
            for client in clients[:-1]:
                client.send(b"\x82" + bytes((len(subscribe),)) + subscribe)
            await asyncio.sleep(0.5)
            load.start(outstanding)
            await asyncio.sleep(0.5)
            before, cpu_before, started = load.deliveries, broker.cpu_seconds(), time.perf_counter()
            await asyncio.sleep(seconds)
            count, cpu = load.deliveries - before, broker.cpu_seconds() - cpu_before
            elapsed = time.perf_counter() - started
            load.stop()
            await load.drained()
            for client in clients:
                client.transport.abort()
            print(
                f"  W{outstanding:<3} QoS {qos}: {count / elapsed / 1000:8.1f}   ({cpu / count * 1e6:.2f})", flush=True
            )
            await asyncio.sleep(0.3)


class Broker:
    """The broker process, fed with one credential that may do everything."""

    def __init__(self, directory: Path) -> None:
        authority, certificate, key = make_server_identity(directory)
        self._link, child_link = socket.socketpair()
        lifeline, self._lifeline = os.pipe()
        report, child_report = os.pipe()
        config = {
            "region": REGION,
            "account_id": "123456789012",
            "access_key_id": "AKIAROOT",
            "secret_access_key": "root",
            "host_addresses": ["127.0.0.1"],
            "lifeline_fd": lifeline,
            "link_fd": child_link.fileno(),
            "report_fd": child_report,
            "tls_cert": str(certificate),
            "tls_key": str(key),
        }
        (directory / "config.json").write_text(json.dumps(config), encoding="utf-8")
        command = [sys.executable, "-m", "harness.embedded", "--config", str(directory / "config.json")]
        self.process = subprocess.Popen(command, pass_fds=(lifeline, child_link.fileno(), child_report))
        os.close(child_report)
        with os.fdopen(report, encoding="utf-8") as stream:
            self._port = json.loads(stream.readline())["wss_port"]
        statement = {"Effect": "Allow", "Action": "iot:*", "Resource": "*"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        role = Role(arn="arn:aws:iam::123456789012:role/load", unique_id="AROALOAD", policies=(("all", policy),))
        self._credential = Credential(
            access_key_id="ASIALOAD",
            secret_access_key="load",  # noqa: S106 - made up
            principal_arn="arn:aws:sts::123456789012:assumed-role/load/load",
            principal_id="AROALOAD:load",
            role_arn=role.arn,
        )
        change = RegistryChange(put={"roles": (role,), "credentials": (self._credential,)})
        self._link.sendall(encode_frame({"id": 1, "op": "registry", "change": change.to_json()}))
        decoder = FrameDecoder()
        while not decoder.receive_data(self._link.recv(65536)):
            pass
        self._tls = ssl.create_default_context(cafile=str(authority))

    def cpu_seconds(self) -> float:
        """Return what the broker has used so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    async def connect(self, load: Load, client_id: str) -> Client:
        """Connect one client."""
        _, client = await asyncio.get_running_loop().create_connection(
            lambda: Client(load, self._handshake(), client_id),
            "127.0.0.1",
            self._port,
            ssl=self._tls,
            server_hostname="localhost",
        )
        await client.ready
        return client

    def stop(self) -> None:
        """End it."""
        os.close(self._lifeline)
        self.process.wait()

    def _handshake(self) -> bytes:
        key, host, at = self._credential, f"localhost:{self._port}", datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        scope = f"{at[:8]}/{REGION}/iotdevicegateway/aws4_request"
        query = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=" + quote(f"{key.access_key_id}/{scope}", safe="")
        query += f"&X-Amz-Date={at}&X-Amz-SignedHeaders=host"
        canonical = f"GET\n/mqtt\n{query}\nhost:{host}\n\nhost\n{hashlib.sha256().hexdigest()}"
        to_sign = f"AWS4-HMAC-SHA256\n{at}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        signing_key = f"AWS4{key.secret_access_key}".encode()
        for part in scope.split("/"):
            signing_key = hmac.digest(signing_key, part.encode(), "sha256")
        query += f"&X-Amz-Signature={hmac.digest(signing_key, to_sign.encode(), 'sha256').hex()}"
        lines = [
            f"GET /mqtt?{query} HTTP/1.1",
            f"Host: {host}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Protocol: mqtt",
        ]
        return "\r\n".join([*lines, "", ""]).encode()


@contextmanager
def running_broker() -> Iterator[Broker]:
    """Start a broker and end it."""
    with tempfile.TemporaryDirectory() as directory:
        broker = Broker(Path(directory))
        try:
            yield broker
        finally:
            broker.stop()


def main() -> None:
    """Measure by the command line's numbers."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--subscribers", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each case")
    parser.add_argument("--payload", type=int, default=200, help="bytes")
    options: Any = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    keep_freed_memory()
    with running_broker() as broker, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(measure(broker, subscribers=options.subscribers, payload=options.payload, seconds=options.seconds))


if __name__ == "__main__":
    main()
