"""A Docker that is made up below the real testcontainers, and LocalStack's gateway: no daemon, no image, no token."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from docker.errors import ImageNotFound
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import Reaper

from harness.targets import localstack
from harness.targets.base import Capability, Environment
from harness.targets.embedded.certificates import make_server_identity
from harness.targets.endpoint import EndpointTarget
from harness.targets.options import TargetOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from harness.targets.names import Names

    ResolveTo = Callable[[str], Any]

READY = b"LocalStack version: 2026.9.0\nReady.\n"


class MadeUpContainer:
    """What docker's own library gives for a container."""

    def __init__(self, log: bytes) -> None:
        self.id = "0123456789abcdef"
        self.short_id = "0123456789ab"
        self.status = "created"
        self.status_when_started = "running"
        self.log = log
        self.attrs: dict[str, Any] = {"State": {"ExitCode": 55}}
        self.start_error: Exception | None = None
        self.remove_error: Exception | None = None
        self.removed: list[dict[str, bool]] = []

    def start(self) -> None:
        """Start, or fail as it was told to."""
        if self.start_error:
            raise self.start_error
        self.status = self.status_when_started

    def reload(self) -> None:
        """Nothing is remembered that could be stale."""

    def logs(self, *, stdout: bool = True, stderr: bool = True) -> bytes:
        """Give all as standard output."""
        assert stdout or stderr
        return self.log if stdout else b""

    def remove(self, **how: bool) -> None:
        """Note that it was asked for, or fail as it was told to."""
        if self.remove_error:
            raise self.remove_error
        self.removed.append(how)


class MadeUpDocker:
    """What docker's own library gives for a daemon."""

    def __init__(self) -> None:
        self.api = SimpleNamespace(headers={}, base_url="http+docker://localhost")
        self.container = MadeUpContainer(READY)
        self.created: list[tuple[str, dict[str, Any]]] = []
        self.pull_error: Exception | None = None
        self.is_reaper_asked = False
        self.images = SimpleNamespace(get=self._get_image)
        self.images.pull = self._pull
        self.containers = SimpleNamespace(create=self._create)
        self.networks = SimpleNamespace(list=lambda **_: [])

    def _get_image(self, _name: str) -> None:
        if self.pull_error:
            raise ImageNotFound("not here yet")

    def _pull(self, _name: str) -> None:
        assert self.pull_error
        raise self.pull_error

    def _create(self, image: str, **settings: Any) -> MadeUpContainer:
        self.created.append((image, settings))
        return self.container

    def close(self) -> None:
        """There is no connection."""


@pytest.fixture
def docker(monkeypatch: pytest.MonkeyPatch) -> MadeUpDocker:
    """A Docker daemon that does what it is told to."""
    daemon = MadeUpDocker()
    monkeypatch.setattr("docker.from_env", lambda **_: daemon)
    monkeypatch.setattr(testcontainers_config, "_ryuk_disabled", False)
    monkeypatch.setattr(Reaper, "get_instance", lambda: setattr(daemon, "is_reaper_asked", True))
    return daemon


@pytest.fixture
def token() -> str:
    """LocalStack's auth token, or what looks like one."""
    return "ls-made-up-token"


@pytest.fixture
def options(token: str) -> TargetOptions:
    """What a run needs at least."""
    return TargetOptions(localstack_token=token)


class Answers(BaseHTTPRequestHandler):
    """LocalStack's gateway, as far as this target itself asks it."""

    address: ClassVar[str]
    status: ClassVar[int]
    ca: ClassVar[bytes]

    def do_GET(self) -> None:
        """Answer DescribeEndpoint, and give the CA."""
        if self.path.startswith("/endpoint?endpointType=iot"):
            code, body = self.status, json.dumps({"endpointAddress": self.address}).encode()
        elif self.path == "/_aws/iot/LocalStackIoTRootCA.pem" and self.ca:
            code, body = 200, self.ca
        else:
            code, body = 404, b"{}"
        self.send_response(code)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def resolve_to() -> ResolveTo:
    """Makes a name server that answers everything with one address."""

    def make(address: str) -> Any:
        return lambda _host, port, *_, **__: [(2, 1, 6, "", (address, int(port)))]

    return make


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, resolve_to: ResolveTo) -> Iterator[type[Answers]]:
    """A gateway on a port of its own; what it answers can be changed."""
    make_server_identity(tmp_path)

    class ItsAnswers(Answers):
        address = "000000000000.iot.us-east-1.localhost:4510"
        status = 200
        ca = (tmp_path / "ca.pem").read_bytes()

    monkeypatch.setattr("socket.getaddrinfo", resolve_to("127.0.0.1"))
    with ThreadingHTTPServer(("127.0.0.1", 0), ItsAnswers) as server:
        monkeypatch.setattr(localstack, "_URL", f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield ItsAnswers
        server.shutdown()
        thread.join()


class MadeUpEndpoint(EndpointTarget):
    """The emulator's target, without a stack to deploy: what it was told is checked by the real one."""

    told: ClassVar[list[TargetOptions]] = []
    start_error: ClassVar[Exception | None] = None
    stop_error: ClassVar[Exception | None] = None
    checks: ClassVar[int] = 0

    def __init__(self, options: TargetOptions, *, names: Names, name: str) -> None:
        super().__init__(options, names=names, name=name)
        self.told.append(options)

    @property
    def lacks(self) -> dict[Capability, str]:
        """One, so that it can be seen from outside."""
        return {Capability.HTTP_ACTION: "nobody posts"}

    def start(self) -> Environment:
        """Check the options and make an environment of them."""
        self.check_options()
        if self.start_error:
            raise self.start_error
        told = self._options
        assert told.iot_endpoint
        assert told.mqtts_port
        assert told.wss_port
        return Environment(
            target=self.name,
            region="us-east-1",
            iot_endpoint=told.iot_endpoint,
            mqtts_port=told.mqtts_port,
            wss_port=told.wss_port,
            names=self._names,
            is_shared=True,
        )

    def check(self) -> None:
        """Count."""
        type(self).checks += 1

    def stop(self) -> None:
        """Fail as it was told to."""
        if self.stop_error:
            raise self.stop_error


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch, gateway: type[Answers]) -> type[MadeUpEndpoint]:
    """What becomes of the container's address: nothing is deployed."""
    assert gateway

    class ItsEndpoint(MadeUpEndpoint):
        told: ClassVar[list[TargetOptions]] = []

    monkeypatch.setattr(localstack, "EndpointTarget", ItsEndpoint)
    return ItsEndpoint
