"""A control plane on a real socket, a broker that takes everything, and boto3 clients that reach nothing else."""

from __future__ import annotations

import http.client
import json
import socket
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

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.embedded.control.messages import HttpRequest, HttpResponse

REGION = "eu-central-1"
ACCOUNT_ID = "111122223333"
ROOT_KEY = "AKIAROOTROOTROOTROOT"
ROOT_SECRET = "the secret of the root"
ADMIN_TOKEN = "the token of the harness"

SESSION = boto3.session.Session()
"""Shared, since it keeps the service models it has read."""


class FakeBroker:
    """The other end of the link: keeps the snapshot, records what was asked, answers as told."""

    def __init__(self, sock: socket.socket) -> None:
        self.snapshot = RegistrySnapshot()
        self.requests: list[dict[str, Any]] = []
        self.answers: dict[str, Any] = {}
        """op → members of the answer, or (code, message) of an error."""
        self.changed = threading.Condition()
        self._sock = sock
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def wait_for(self, op: str, count: int = 1) -> list[dict[str, Any]]:
        """Wait until an operation was asked for so often, and return those requests."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.of(op)) >= count, timeout=10)
        return self.of(op)

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


@pytest.fixture
def stand(front: Front) -> Iterator[Stand]:
    """A control plane with empty state, listening."""
    moto_reset()
    ours, theirs = socket.socketpair()
    broker = FakeBroker(theirs)
    link = BrokerLink(ours)
    config = ControlConfig(
        region=REGION,
        account_id=ACCOUNT_ID,
        access_key_id=ROOT_KEY,
        secret_access_key=ROOT_SECRET,
        admin_token=ADMIN_TOKEN,
        host_addresses=("127.0.0.1",),
    )
    control_plane = ControlPlane(config, link, clock=time.time)
    control_plane.start()
    front.control_plane = control_plane
    url = f"http://127.0.0.1:{front.server.port}"
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
