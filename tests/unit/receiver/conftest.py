"""The application without sockets: a store that keeps rows in a list, and an enableUrl that answers what it is told."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from receiver.app import make_app
from receiver.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from receiver.reading import Row

    Answering = Callable[[type[BaseHTTPRequestHandler]], AbstractContextManager[str]]

SECRET = "the-current-secret"
OLD_SECRET = "the-old-secret"
NOW = datetime(2026, 11, 21, 20, 1, 2, 123_456, tzinfo=UTC)
READING = {"deviceId": "device-1", "temp": 21.5, "ts": "2026-11-21T20:01:00Z"}
HEADERS = {
    "X-Iot-Secret": SECRET,
    "X-Client-Id": "device-1",
    "X-Message-Id": "11111111-2222-3333-4444-555555555555",
    "X-Received-At": "1795291262123",
}


@dataclass(frozen=True)
class Certificate:
    """Files of one server."""

    cert: Path
    key: Path
    locked_key: Path

    def trust(self) -> ssl.SSLContext:
        """Give the client's side."""
        return ssl.create_default_context(cafile=str(self.cert))


@dataclass
class ListStore:
    """Keeps rows; fails as it is told.

    Args:
        puts: rows by request.
        error: raised instead.
        gate: open unless a test closes it; a request waits for it.
        arrived: counts requests.
        is_full: as a store says it.
        arrived_at: what was said of the last request.
    """

    puts: list[list[Row]] = field(default_factory=list)
    error: Exception | None = None
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    arrived: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    is_full: bool = False
    arrived_at: float | None = None

    def __post_init__(self) -> None:
        self.gate.set()

    @property
    def rows(self) -> list[Row]:
        """All rows, in order."""
        return [row for rows in self.puts for row in rows]

    async def put(self, rows: Sequence[Row], *, arrived_at: float | None = None) -> None:
        """Keep rows."""
        self.arrived_at = arrived_at
        self.arrived.release()
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        self.puts.append(list(rows))


@dataclass
class Enabler:
    """Stands for what an enableUrl leads to."""

    urls: list[str] = field(default_factory=list)
    status: int = 200
    error: Exception | None = None

    async def __call__(self, url: str) -> int:
        """Answer."""
        self.urls.append(url)
        if self.error is not None:
            raise self.error
        return self.status


@dataclass
class Service:
    """One application with its surroundings."""

    client: httpx.AsyncClient
    store: ListStore
    enabler: Enabler
    app: Any

    async def post(
        self, reading: Any = None, *, content: bytes | None = None, path: str = "/ingest", **headers: str | None
    ) -> httpx.Response:
        """Post a reading as the rule does; header names with underscores, None leaves one out."""
        changed = {name.replace("_", "-").lower(): value for name, value in headers.items()}
        sent = {name.lower(): value for name, value in HEADERS.items()} | changed
        body = json.dumps(READING if reading is None else reading).encode() if content is None else content
        given = {name: value for name, value in sent.items() if value is not None}
        return await self.client.post(path, content=body, headers=given)

    async def metric(self, name: str, **labels: str) -> float:
        """Give one sample of the exposition."""
        wanted = name + ("{" + ",".join(f'{key}="{value}"' for key, value in labels.items()) + "}" if labels else "")
        lines = (await self.client.get("/metrics")).text.splitlines()
        (value,) = [line.removeprefix(wanted + " ") for line in lines if line.startswith(wanted + " ")]
        return float(value)


def make_settings(**changes: Any) -> Settings:
    """Make settings that need nothing of the environment."""
    given = {"table_name": "readings", "aws_region": "us-east-1", "iot_secrets": (SECRET, OLD_SECRET), **changes}
    return Settings(**given)


@pytest.fixture
def settings_of() -> Callable[..., Settings]:
    """Make settings."""
    return make_settings


@dataclass
class Endpoint:
    """What a confirmation leads to, or a table that takes everything: answers over HTTP as it is told, when it is let.

    Args:
        url: where it is.
        requests: methods and paths, in order.
        answers: status and body of the next answers; then 200, and DynamoDB's word that all is written.
        arrived: a request is there.
        gate: open unless a test closes it; answers wait for it.
    """

    url: str = ""
    requests: list[str] = field(default_factory=list)
    answers: list[tuple[int, bytes]] = field(default_factory=list)
    arrived: threading.Event = field(default_factory=threading.Event)
    gate: threading.Event = field(default_factory=threading.Event)


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: object) -> None:
        """Say nothing of clients that left, which is what some tests are about."""


@pytest.fixture(scope="session")
def answering() -> Answering:
    """Answer HTTP requests on loopback, on a thread of its own and without a log; give the URL."""

    @contextlib.contextmanager
    def answer(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
        quiet = type("Handler", (handler,), {"log_message": lambda *_: None})
        with _Quiet(("127.0.0.1", 0), quiet) as server:
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            try:
                yield f"http://127.0.0.1:{server.server_port}"
            finally:
                server.shutdown()
                thread.join()

    return answer


@pytest.fixture
def endpoint(answering: Answering) -> Iterator[Endpoint]:
    """Listen on loopback."""
    told = Endpoint()
    told.gate.set()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"] or 0))
            told.requests.append(f"{self.command} {self.path}")
            told.arrived.set()
            told.gate.wait(30)
            status, answer = told.answers.pop(0) if told.answers else (200, b'{"UnprocessedItems":{}}')
            if not status:
                self.close_connection = True
                return
            self.send_response(status)
            self.send_header("content-type", "application/x-amz-json-1.0")
            if status == 302:
                self.send_header("location", "/elsewhere")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST  # noqa: N815 - as the base class has it

    with answering(Handler) as told.url:
        yield told
        told.gate.set()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """Make a certificate of its own issuing for this machine."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    addresses = [x509.IPAddress(ip_address(address)) for address in ("127.0.0.1", "::1")]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - timedelta(days=1))
        .not_valid_after(datetime.now(UTC) + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost"), *addresses]), critical=False)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("tls")
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (folder / "cert.pem").write_bytes(made.public_bytes(pem))
    (folder / "key.pem").write_bytes(key.private_bytes(pem, pkcs8, serialization.NoEncryption()))
    locked = key.private_bytes(pem, pkcs8, serialization.BestAvailableEncryption(b"word"))
    (folder / "locked.pem").write_bytes(locked)
    return Certificate(cert=folder / "cert.pem", key=folder / "key.pem", locked_key=folder / "locked.pem")


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the user's environment becomes a setting."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
async def make_service() -> AsyncIterator[Callable[..., Service]]:
    """Make applications with settings of their own."""
    made: list[Service] = []

    def make(**changes: Any) -> Service:
        store, enabler = ListStore(), Enabler()
        app = make_app(make_settings(**changes), store=store, fetch=enabler, clock=lambda: NOW)
        client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://receiver")
        made.append(Service(client=client, store=store, enabler=enabler, app=app))
        return made[-1]

    yield make
    for service in made:
        await service.client.aclose()


@pytest.fixture
def service(make_service: Callable[..., Service]) -> Service:
    """One application as shipped: the device must be the client."""
    return make_service()
