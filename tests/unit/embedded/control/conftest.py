"""A control plane on a real socket, a broker that takes everything, and boto3 clients that reach nothing else."""

from __future__ import annotations

import contextlib
import http.client
import json
import queue
import socket
import ssl
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import boto3
import botocore.config
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from harness.embedded.control.app import ControlPlane
from harness.embedded.control.broker_link import BrokerLink
from harness.embedded.control.config import ControlConfig
from harness.embedded.control.server import HttpServer
from harness.embedded.link import FrameDecoder, encode_frame
from harness.iot.registry import RegistryChange, RegistrySnapshot
from harness.targets.embedded.certificates import make_server_identity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness.embedded.control.messages import HttpRequest, HttpResponse
    from harness.targets.embedded.certificates import ServerIdentity

REGION = "eu-central-1"
ACCOUNT_ID = "111122223333"
ROOT_KEY = "AKIAROOTROOTROOTROOT"
ROOT_SECRET = "the secret of the root"
ADMIN_TOKEN = "the token of the harness"
RECEIVER_TOKEN = "the token of the receiver"
RECEIVER_ROLE = "receiver"

SESSION = boto3.session.Session()
"""Shared, since it keeps the service models it has read."""


class FakeBroker:
    """The other end of the link: keeps the snapshot, records what was asked, answers as told."""

    def __init__(self, sock: socket.socket) -> None:
        self.snapshot = RegistrySnapshot()
        self.requests: list[dict[str, Any]] = []
        self.answers: dict[str, Any] = {}
        """op → members of the answer, or (code, message) of an error."""
        self.asked: dict[int, dict[str, Any] | None] = {}
        self.changed = threading.Condition()
        self._sock = sock
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def wait_for(self, op: str, count: int = 1) -> list[dict[str, Any]]:
        """Wait until an operation was asked for so often, and return those requests."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.of(op)) >= count, timeout=10)
        return self.of(op)

    def until(self, holds: Callable[[RegistrySnapshot], bool]) -> RegistrySnapshot:
        """Wait until something holds of the snapshot, and return it."""
        with self.changed:
            assert self.changed.wait_for(lambda: holds(self.snapshot), timeout=10)
        return self.snapshot

    def ask(self, **members: Any) -> dict[str, Any]:
        """Ask the control plane as the broker does, and return its answer."""
        with self.changed:
            number = len(self.asked) + 1
            self.asked[number] = None
        self._sock.sendall(encode_frame({"ask": number, **members}))
        with self.changed:
            assert self.changed.wait_for(lambda: self.asked[number] is not None, timeout=10)
        answer = self.asked[number]
        assert answer is not None
        return answer

    def of(self, op: str) -> list[dict[str, Any]]:
        """Return the requests of one operation so far."""
        return [request for request in self.requests if request["op"] == op]

    def trace(self) -> list[dict[str, Any]]:
        """Return all trace records so far."""
        return [record for request in self.of("trace_append") for record in request["records"]]

    def close(self) -> None:
        """Go away, as a broker does that dies."""
        self._sock.shutdown(socket.SHUT_RDWR)
        self._thread.join(timeout=10)
        self._sock.close()

    def _receive(self) -> bytes:
        try:
            return self._sock.recv(65536)
        except ConnectionError:  # the control plane ended with something of ours unread
            return b""

    def _run(self) -> None:
        decoder = FrameDecoder()
        while data := self._receive():
            for message in decoder.receive_data(data):
                if "ask" in message:
                    with self.changed:
                        self.asked[message["ask"]] = message
                        self.changed.notify_all()
                    continue
                answer = self.answers.get(message["op"], {})
                if message["op"] == "registry" and not isinstance(answer, tuple):
                    self.snapshot = self.snapshot.apply(RegistryChange.from_json(message["change"]))
                with self.changed:
                    self.requests.append(message)
                    self.changed.notify_all()
                if isinstance(answer, tuple):
                    members = {"ok": False, "error": {"code": answer[0], "message": answer[1]}}
                else:
                    members = {"ok": True, **answer}
                self._sock.sendall(encode_frame({"id": message["id"], **members}))


@dataclass
class Stand:
    """A running control plane and what a test needs to talk to it."""

    broker: FakeBroker
    control_plane: ControlPlane
    url: str
    config: ControlConfig
    clients: list[Any] = field(default_factory=list)
    of_root: dict[tuple[str, str], Any] = field(default_factory=dict)

    def post(
        self, body: bytes = b"", *, path: str = "/", method: str = "POST", **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Send one request as it is; header names with ``_`` for ``-``, and in lower case when they come back."""
        host, port = self.url.removeprefix("http://").split(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=30)
        try:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            response = connection.getresponse()
            return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
        finally:
            connection.close()

    def sign(
        self,
        method: str,
        path: str,
        *,
        service: str,
        body: bytes = b"",
        region: str = REGION,
        key: tuple[str, str, str | None] = (ROOT_KEY, ROOT_SECRET, None),
        **headers: str,
    ) -> dict[str, str]:
        """Return the headers of a request signed by botocore, for any service, path and body."""
        request = AWSRequest(method, self.url + path, {n.replace("_", "-"): v for n, v in headers.items()}, body)
        SigV4Auth(Credentials(*key), service, region).add_auth(request)
        return dict(request.headers.items())

    def send_signed(
        self, method: str, path: str, *, body: bytes = b"", **how: Any
    ) -> tuple[int, dict[str, str], bytes]:
        """Sign one request and send it."""
        return self.post(body, path=path, method=method, **self.sign(method, path, body=body, **how))

    def client(self, service: str, credentials: dict[str, str] | None = None, *, region: str = REGION) -> Any:
        """Make a boto3 client; credentials as the APIs answer them, the root's by default."""
        key = (service, region)
        if credentials is None and key in self.of_root:
            return self.of_root[key]
        chosen = credentials or {"AccessKeyId": ROOT_KEY, "SecretAccessKey": ROOT_SECRET}
        client = SESSION.client(
            service,
            region_name=region,
            endpoint_url=self.url,
            aws_access_key_id=chosen["AccessKeyId"],
            aws_secret_access_key=chosen.get("SecretAccessKey") or chosen["SecretKey"],
            aws_session_token=chosen.get("SessionToken"),
            config=botocore.config.Config(retries={"total_max_attempts": 1}, proxies={}, max_pool_connections=50),
        )
        if credentials is None:
            self.of_root[key] = client
        else:
            self.clients.append(client)
        return client


class Front:
    """One listener for all tests: clients are slow to make and bound to their URL."""

    def __init__(self) -> None:
        self.control_plane: ControlPlane | None = None
        self.clients: dict[tuple[str, str], Any] = {}
        self.server = HttpServer(("127.0.0.1",), 0, answer=self._answer, clock=time.time)
        self.server.start()

    def _answer(self, request: HttpRequest) -> HttpResponse:
        assert self.control_plane is not None
        return self.control_plane.answer(request)


@pytest.fixture(scope="session")
def front() -> Iterator[Front]:
    """The listener, and the root's clients of it."""
    front = Front()
    yield front
    for client in front.clients.values():
        client.close()
    front.server.close()


@pytest.fixture(autouse=True)
def no_settings_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever AWS settings the machine has, tests do not see them."""
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_CA_BUNDLE", "AWS_REGION", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)


class Receiver:
    """Something that speaks TLS and HTTP, keeps what it was sent and answers as told."""

    def __init__(self, identity: ServerIdentity) -> None:
        self.requests: queue.Queue[tuple[str, dict[str, str], bytes]] = queue.Queue()
        self.answer: Callable[[str], bytes] = lambda _: b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
        """First line of the request → all that is sent back."""
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(identity.certificate, identity.key)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://localhost:{self._listening.getsockname()[1]}"
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def receive(self) -> tuple[str, dict[str, str], dict[str, Any]]:
        """Wait for the next request: first line, headers in lower case, JSON."""
        line, headers, body = self.requests.get(timeout=10)
        return line, headers, json.loads(body)

    def close(self) -> None:
        """Listen no more."""
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(timeout=10)

    def _run(self) -> None:
        while True:
            try:
                plain, _ = self._listening.accept()
            except OSError:
                return
            with contextlib.suppress(OSError), plain:
                plain.settimeout(10)
                with self._tls.wrap_socket(plain, server_side=True) as sock, sock.makefile("rb") as stream:
                    self._serve(sock, stream)

    def _serve(self, sock: ssl.SSLSocket, stream: Any) -> None:
        line = stream.readline().decode().strip()
        headers = {name.lower(): str(value) for name, value in http.client.parse_headers(stream).items()}
        self.requests.put((line, headers, stream.read(int(headers["content-length"]))))
        sock.sendall(self.answer(line))


@pytest.fixture(scope="session")
def server_identity(tmp_path_factory: pytest.TempPathFactory) -> ServerIdentity:
    """A certificate for localhost, and the CA that the control plane trusts."""
    return make_server_identity(tmp_path_factory.mktemp("identity"))


@pytest.fixture
def receiver(server_identity: ServerIdentity) -> Iterator[Receiver]:
    """A receiver whose certificate the control plane trusts."""
    receiver = Receiver(server_identity)
    yield receiver
    receiver.close()


@pytest.fixture
def settings() -> dict[str, Any]:
    """What is different in this module's configuration of the control plane."""
    return {}


@pytest.fixture
def stand(front: Front, server_identity: ServerIdentity, settings: dict[str, Any]) -> Iterator[Stand]:
    """A control plane with empty state, listening."""
    moto_reset()
    ours, theirs = socket.socketpair()
    broker = FakeBroker(theirs)
    link = BrokerLink(ours)
    url = f"http://127.0.0.1:{front.server.port}"
    members = {
        "region": REGION,
        "account_id": ACCOUNT_ID,
        "access_key_id": ROOT_KEY,
        "secret_access_key": ROOT_SECRET,
        "admin_token": ADMIN_TOKEN,
        "host_addresses": ("127.0.0.1",),
        "url": url,
        "http_ca_files": (str(server_identity.ca),),
        "receiver_token": RECEIVER_TOKEN,
        "receiver_role_name": RECEIVER_ROLE,
    }
    config = ControlConfig(**{**members, **settings})
    control_plane = ControlPlane(config, link, clock=time.time)
    control_plane.start()
    front.control_plane = control_plane
    stand = Stand(broker=broker, control_plane=control_plane, url=url, config=config, of_root=front.clients)
    yield stand
    for client in stand.clients:
        client.close()
    control_plane.close()
    link.close()
    broker.close()


def moto_reset() -> None:
    """Forget what earlier tests left in moto, whose state is the process's."""
    from moto.backends import get_backend  # noqa: PLC0415 - moto is slow to import

    for service in ("iot", "iam", "cognito-identity", "dynamodb", "sqs"):
        get_backend(service).reset()


@pytest.fixture
def make_guest(stand: Stand) -> Any:
    """Return a function that makes a pool, a role for its guests with the given statements, and one guest."""

    def make(*statements: dict[str, Any], name: str = "guest") -> dict[str, Any]:
        cognito, iam = stand.client("cognito-identity"), stand.client("iam")
        pool_id = cognito.create_identity_pool(IdentityPoolName=name, AllowUnauthenticatedIdentities=True)[
            "IdentityPoolId"
        ]
        trust = {
            "Version": "2012-10-17",
            "Statement": {
                "Effect": "Allow",
                "Principal": {"Federated": "cognito-identity.amazonaws.com"},
                "Action": "sts:AssumeRoleWithWebIdentity",
                "Condition": {
                    "StringEquals": {"cognito-identity.amazonaws.com:aud": pool_id},
                    "ForAnyValue:StringLike": {"cognito-identity.amazonaws.com:amr": "unauthenticated"},
                },
            },
        }
        role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))["Role"]
        if statements:
            document = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
            iam.put_role_policy(RoleName=name, PolicyName="allowed", PolicyDocument=document)
        cognito.set_identity_pool_roles(IdentityPoolId=pool_id, Roles={"unauthenticated": role["Arn"]})
        identity_id = cognito.get_id(IdentityPoolId=pool_id)["IdentityId"]
        credentials = cognito.get_credentials_for_identity(IdentityId=identity_id)["Credentials"]
        return {"pool_id": pool_id, "identity_id": identity_id, "role": role, "credentials": credentials}

    return make


@pytest.fixture
def make_user(stand: Stand) -> Callable[..., dict[str, str]]:
    """Return a function that makes an IAM user with a policy of the given statements and gives its access key."""

    def make(*statements: dict[str, Any], name: str = "u") -> dict[str, str]:
        iam = stand.client("iam")
        iam.create_user(UserName=name)
        if statements:
            document = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
            iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=document)
        key: dict[str, str] = iam.create_access_key(UserName=name)["AccessKey"]
        return key

    return make


@pytest.fixture
def make_role(stand: Stand) -> Callable[..., str]:
    """Return a function that makes a role which a service may assume and gives its ARN."""

    def make(name: str, *statements: dict[str, Any], service: str = "iot.amazonaws.com", **trust: Any) -> str:
        iam = stand.client("iam")
        statement = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole", **trust}
        document = json.dumps({"Version": "2012-10-17", "Statement": statement})
        role_arn: str = iam.create_role(RoleName=name, AssumeRolePolicyDocument=document)["Role"]["Arn"]
        if statements:
            allowed = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
            iam.put_role_policy(RoleName=name, PolicyName="allowed", PolicyDocument=allowed)
        return role_arn

    return make
