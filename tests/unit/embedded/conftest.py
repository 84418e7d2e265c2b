"""A broker process of its own, fed over its link as the control plane feeds it, and peers that speak to it raw."""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from harness.embedded.link import FrameDecoder, encode_frame
from harness.iot.registry import Certificate, Credential, IotPolicy, RegistryChange, Role
from harness.mqtt.codec import Decoder, encode
from harness.mqtt.packets import ProtocolVersion
from harness.targets.embedded.certificates import make_server_identity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from harness.mqtt.packets import Packet

REGION = "eu-west-1"
ACCOUNT = "123456789012"
PATIENCE = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A client certificate with its key, in memory and as files."""

    certificate_id: str
    pem: str
    certificate_file: Path
    key_file: Path

    @property
    def arn(self) -> str:
        """Its ARN once it is registered."""
        return f"arn:aws:iot:{REGION}:{ACCOUNT}:cert/{self.certificate_id}"


class CertificateMaker:
    """Makes a server certificate under a CA of its own, and self-signed client certificates."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._numbers = itertools.count()
        self.ca_file, self.server_certificate, self.server_key = make_server_identity(directory)

    def client(self, name: str, *, is_expired: bool = False) -> Identity:
        """Make a self-signed client certificate."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _builder(_name(name), _name(name), key, is_expired=is_expired).sign(key, hashes.SHA256())
        stem = f"client-{next(self._numbers)}"
        certificate_file, key_file = self._directory / f"{stem}.pem", self._directory / f"{stem}.key"
        certificate_file.write_bytes(_pem(certificate))
        key_file.write_bytes(_key_pem(key))
        der = certificate.public_bytes(serialization.Encoding.DER)
        return Identity(
            certificate_id=hashlib.sha256(der).hexdigest(),
            pem=_pem(certificate).decode(),
            certificate_file=certificate_file,
            key_file=key_file,
        )


class BrokerProcess:
    """A started broker and this side of its link.

    Attributes:
        process: the child.
        lifeline: the end whose closing ends the child.
        ports: what it reported.
        asked: what it asked of the control plane; each was answered at once by ``result``.
    """

    def __init__(self, directory: Path, certificates: CertificateMaker, **changes: Any) -> None:
        self.certificates = certificates
        self._requests = itertools.count(1)
        self._decoder = FrameDecoder()
        self._answers: dict[int, dict[str, Any]] = {}
        self.asked: list[dict[str, Any]] = []
        self.result: dict[str, Any] = {"ok": True, "result": {"MessageId": "m-1"}}
        self.link, child_link = socket.socketpair()
        self.link.settimeout(PATIENCE)
        lifeline, self.lifeline = os.pipe()
        report, child_report = os.pipe()
        config = {
            "region": REGION,
            "account_id": ACCOUNT,
            "access_key_id": "AKIAROOT",
            "secret_access_key": "root-secret",
            "admin_token": "token",
            "quirks": {},
            "lifeline_fd": lifeline,
            "link_fd": child_link.fileno(),
            "report_fd": child_report,
            "host_addresses": ["127.0.0.1", "::1"],
            "tls_cert": str(certificates.server_certificate),
            "tls_key": str(certificates.server_key),
            "ca_file": str(certificates.ca_file),
            "mqtts_port": 0,
            "wss_port": 0,
            **changes,
        }
        config_file = directory / "broker.json"
        config_file.write_text(json.dumps(config))
        self.errors_file = directory / "broker.err"
        with self.errors_file.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "harness.embedded", "--config", str(config_file)],
                stdin=subprocess.DEVNULL,
                stderr=errors,
                pass_fds=(lifeline, child_link.fileno(), child_report),
            )
        child_link.close()
        os.close(lifeline)
        os.close(child_report)
        with os.fdopen(report, encoding="utf-8") as stream:
            line = stream.readline()
        self.ports: dict[str, int] = json.loads(line) if line else {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.cut_lifeline()
        self.link.close()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def cut_lifeline(self) -> None:
        """Close the pipe that keeps the child alive, as the death of its parent does."""
        if self.lifeline >= 0:
            os.close(self.lifeline)
            self.lifeline = -1

    def stop(self) -> int:
        """End it as the supervisor does; return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)

    def send(self, op: str, **members: Any) -> int:
        """Send a request over the link; return its id."""
        number = next(self._requests)
        self.link.sendall(encode_frame({"id": number, "op": op, **members}))
        return number

    def answer(self, number: int) -> dict[str, Any]:
        """Wait for the answer to a request."""
        while number not in self._answers:
            data = self.link.recv(65536)
            assert data, self.errors_file.read_text()
            for message in self._decoder.receive_data(data):
                if "ask" in message:
                    self.asked.append(message)
                    self.link.sendall(encode_frame({"ask": message["ask"], **self.result}))
                else:
                    self._answers[message["id"]] = message
        return self._answers.pop(number)

    def ask(self, op: str, **members: Any) -> dict[str, Any]:
        """Send a request that must succeed; return its answer."""
        answer = self.answer(self.send(op, **members))
        assert answer["ok"], answer
        return answer

    def change(self, change: RegistryChange, **more: Any) -> int:
        """Put a registry change in force."""
        return int(self.ask("registry", change=change.to_json(), **more)["version"])

    def admit(self, identity: Identity, *, status: str = "ACTIVE", may: str = "iot:*", on: str = "*") -> None:
        """Register a certificate with a policy of its own."""
        certificate = Certificate(
            certificate_id=identity.certificate_id, arn=identity.arn, status=status, pem=identity.pem
        )
        policy = IotPolicy(name=identity.certificate_id[:8], document=allow(may, on), targets=(identity.arn,))
        self.change(RegistryChange(put={"certificates": (certificate,), "policies": (policy,)}))

    def make_guest(self, access_key_id: str, *, may: str = "iot:*", on: str = "*", **more: Any) -> Credential:
        """Make a temporary credential of a role of its own."""
        role = Role(
            arn=f"arn:aws:iam::{ACCOUNT}:role/{access_key_id}",
            unique_id=f"AROA{access_key_id}",
            policies=(("guest", allow(may, on)),),
        )
        details: dict[str, Any] = {
            "access_key_id": access_key_id,
            "secret_access_key": f"secret of {access_key_id}",
            "session_token": f"token+of/{access_key_id}=",
            "expires_at": time.time() + 3600,
            "principal_arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/{access_key_id}/session",
            "principal_id": f"AROA{access_key_id}:session",
            "role_arn": role.arn,
            **more,
        }
        credential = Credential(**details)
        self.change(RegistryChange(put={"roles": (role,), "credentials": (credential,)}))
        return credential

    def trace(self, since: int = 0, *, wait: float = 0.0) -> list[dict[str, Any]]:
        """Read the trace."""
        records: list[dict[str, Any]] = self.ask("trace", since=since, wait=wait)["records"]
        return records

    def awaited(self, fits: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait for a record of the trace."""
        since, deadline = 0, time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            for record in self.trace(since, wait=1.0):
                since = record["seq"]
                if fits(record):
                    return record
        raise AssertionError(f"not in the trace: {self.trace()[-20:]}")

    def tls(self, identity: Identity | None = None) -> ssl.SSLContext:
        """Make a client's TLS context that trusts this broker."""
        context = ssl.create_default_context(cafile=str(self.certificates.ca_file))
        if identity is not None:
            context.load_cert_chain(identity.certificate_file, identity.key_file)
        return context

    def dial(self, door: str, identity: Identity | None = None, *, name: str = "localhost") -> ssl.SSLSocket:
        """Connect to a listener and shake hands."""
        raw = socket.create_connection(("127.0.0.1", self.ports[f"{door}_port"]), timeout=PATIENCE)
        context = self.tls(identity)
        context.check_hostname = name == "localhost"
        try:
            return context.wrap_socket(raw, server_hostname=name or None)
        except BaseException:
            raw.close()
            raise

    def signed_path(self, credential: Credential, **changes: str) -> str:
        """Sign ``/mqtt`` as browsers do: host only, the token appended after signing."""
        return presigned_path(credential, host=f"localhost:{self.ports['wss_port']}", **changes)


class RawPeer:
    """The client's end of a connection, byte by byte."""

    def __init__(self, tls: ssl.SSLSocket) -> None:
        self.tls = tls
        self.decoder = Decoder(version=ProtocolVersion.V5)

    def send(self, data: bytes) -> None:
        """Send bytes."""
        self.tls.sendall(data)

    def receive(self) -> bytes:
        """Receive some bytes; none at the end, however it came."""
        try:
            return self.tls.recv(65536)
        except (ConnectionError, ssl.SSLError):
            return b""

    def receive_all(self) -> bytes:
        """Receive until the other side closes."""
        return b"".join(iter(self.receive, b""))

    def receive_answer(self) -> tuple[int, dict[str, str], bytes]:
        """Receive an HTTP answer; return status, headers by name in lower case, body."""
        data = b""
        while b"\r\n\r\n" not in data:
            more = self.receive()
            assert more, data
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        while len(body) < int(headers.get("content-length", "0")):
            body += self.receive()
        return int(status.split()[1]), headers, body

    def send_packet(self, packet: Packet, version: ProtocolVersion = ProtocolVersion.V5) -> None:
        """Send an MQTT packet."""
        self.decoder = self.decoder if self.decoder.version is version else Decoder(version=version)
        self.send(encode(packet, version))

    def receive_packet(self) -> Packet | None:
        """Receive an MQTT packet; None at the end."""
        while (packet := self.decoder.next_packet()) is None and (data := self.receive()):
            self.decoder.receive_data(data)
        return packet

    def upgrade(self, request: bytes) -> None:
        """Become a WebSocket; bytes after the answer are kept."""
        self.send(request)
        status, headers, rest = self.receive_answer()
        assert (status, headers["sec-websocket-protocol"], rest) == (101, "mqtt", b"")

    def receive_frame(self) -> tuple[int, bytes]:
        """Receive one whole short frame, unmasked; (0, empty) at the end."""
        data = self.receive()
        while data and len(data) < 2 + (data[1] if len(data) > 1 else 0):
            data += self.receive()
        return (data[0], data[2:]) if data else (0, b"")


def masked(payload: bytes, *, first: int = 0x82) -> bytes:
    """Write a short WebSocket frame as a client does."""
    mask = b"mask"
    return bytes((first, 0x80 | len(payload))) + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(payload))


def presigned_path(
    credential: Credential,
    *,
    host: str,
    region: str = REGION,
    service: str = "iotdevicegateway",
    at: str | None = None,
    path: str = "/mqtt",
) -> str:
    """Sign a WebSocket URL by the published recipe, written independently of the verifier."""
    at = at or datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    scope = f"{at[:8]}/{region}/{service}/aws4_request"
    query = (
        "X-Amz-Algorithm=AWS4-HMAC-SHA256"
        f"&X-Amz-Credential={quote(f'{credential.access_key_id}/{scope}', safe='')}"
        f"&X-Amz-Date={at}&X-Amz-SignedHeaders=host"
    )
    canonical = f"GET\n{path}\n{query}\nhost:{host}\n\nhost\n{hashlib.sha256().hexdigest()}"
    to_sign = f"AWS4-HMAC-SHA256\n{at}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = f"AWS4{credential.secret_access_key}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    query += f"&X-Amz-Signature={hmac.digest(key, to_sign.encode(), 'sha256').hex()}"
    if credential.session_token:
        query += f"&X-Amz-Security-Token={quote(credential.session_token, safe='')}"
    return f"{path}?{query}"


def allow(action: str, resource: str) -> str:
    """Write a policy of one statement."""
    statement = {"Effect": "Allow", "Action": action, "Resource": resource}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def upgrade_request(path: str, host: str, **changes: str | None) -> bytes:
    """Write the opening handshake of a WebSocket; a header changed to None is left out."""
    headers: dict[str, str | None] = {
        "Host": host,
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": base64.b64encode(b"0123456789abcdef").decode(),
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Protocol": "mqtt",
        **{name.replace("_", "-"): value for name, value in changes.items()},
    }
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items() if value is not None)]
    return "\r\n".join([*lines, "", ""]).encode()


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, *, is_expired: bool = False
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    start, end = (now - timedelta(days=2), now - timedelta(days=1)) if is_expired else (now, now + timedelta(days=1))
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start - timedelta(minutes=5))
        .not_valid_after(end)
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> CertificateMaker:
    """A CA with a server certificate, and client certificates on demand."""
    return CertificateMaker(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def start_broker(tmp_path: Path, certificates: CertificateMaker) -> Iterator[Callable[..., BrokerProcess]]:
    """Start a broker process for one test, with changes to its configuration."""
    with ExitStack() as stack:

        def start(**changes: Any) -> BrokerProcess:
            return stack.enter_context(BrokerProcess(tmp_path, certificates, **changes))

        yield start


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory, certificates: CertificateMaker) -> Iterator[BrokerProcess]:
    """A broker process that tests share; each has names of its own."""
    with BrokerProcess(tmp_path_factory.mktemp("broker"), certificates) as started:
        yield started


@pytest.fixture(scope="session")
def upgrade() -> Callable[..., bytes]:
    """Write opening handshakes of WebSockets."""
    return upgrade_request


@pytest.fixture(scope="session")
def client_frame() -> Callable[..., bytes]:
    """Write WebSocket frames as a client does."""
    return masked


@pytest.fixture(scope="session")
def presign() -> Callable[..., str]:
    """Sign WebSocket URLs, independently of the verifier."""
    return presigned_path


@pytest.fixture
def raw(broker: BrokerProcess) -> Iterator[Callable[..., RawPeer]]:
    """Open raw connections to the shared broker: to ``mqtts`` with a certificate, to ``wss`` without."""
    with ExitStack() as stack:

        def dial(door: str, identity: Identity | None = None, **more: Any) -> RawPeer:
            return RawPeer(stack.enter_context(broker.dial(door, identity, **more)))

        yield dial


@pytest.fixture
def raw_peer() -> Iterator[Callable[..., RawPeer]]:
    """Open raw connections of devices to any broker."""
    with ExitStack() as stack:

        def dial(broker: BrokerProcess, identity: Identity) -> RawPeer:
            return RawPeer(stack.enter_context(broker.dial("mqtts", identity)))

        yield dial
