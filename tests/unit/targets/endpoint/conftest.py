"""An emulator and deployments in the place of real ones, for the tests of the endpoint target."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from harness.targets.endpoint import EndpointTarget
from harness.targets.names import Names
from harness.targets.options import TargetOptions

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator

    from harness.targets.marks import Mark

OUTPUTS: dict[str, Any] = {
    "region": "us-east-1",
    "iotEndpoint": "as-described",
    "iotMqttsPort": 1.0,
    "iotWssUrl": "wss://as-described:1/mqtt",
    "caFile": None,
    "identityPoolId": "us-east-1:1",
    "clientIdPrefix": "public-",
    "topicPrefix": "public/",
    "telemetryTopic": "things/telemetry",
    "devicePolicyName": "device-1",
}


class FakeEmulator:
    """Answers DescribeEndpoint and GetCallerIdentity as told, and keeps who asked.

    Args:
        tls: to speak HTTPS.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.address: str | None = "localhost"
        self.account: str | None = "000000000000"
        self.asked: list[tuple[str, str]] = []
        emulator = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                emulator.asked.append(("DescribeEndpoint", self.headers["Authorization"]))
                told = {} if emulator.address is None else {"endpointAddress": emulator.address}
                self.answer(json.dumps(told), status=403 if emulator.address is None else 200)

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                emulator.asked.append(("GetCallerIdentity", self.headers["Authorization"]))
                result = f"<GetCallerIdentityResult><Account>{emulator.account}</Account></GetCallerIdentityResult>"
                wanted = f"<GetCallerIdentityResponse>{result}</GetCallerIdentityResponse>"
                refusal = "<ErrorResponse><Error><Code>InvalidClientTokenId</Code></Error></ErrorResponse>"
                self.answer(wanted if emulator.account else refusal, status=200 if emulator.account else 403)

            def answer(self, text: str, *, status: int) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: object) -> None:
                """Keep the output clean."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if tls:
            self._http.socket = tls.wrap_socket(self._http.socket, server_side=True)
        self.url = f"{'https' if tls else 'http'}://localhost:{self._http.server_port}"
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def close(self) -> None:
        """Answer nobody any more."""
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


@pytest.fixture
def make_emulator() -> Iterator[Callable[..., FakeEmulator]]:
    """Make an emulator on loopback; it is closed after the test, if that has not been done."""
    made = []

    def make(tls: ssl.SSLContext | None = None) -> FakeEmulator:
        made.append(FakeEmulator(tls))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def emulator(make_emulator: Callable[..., FakeEmulator]) -> FakeEmulator:
    """An emulator on loopback."""
    return make_emulator()


class FakeDeployment:
    """Deploys nothing, and says what it was told; tests set how it goes on the class, which is each test's own."""

    made: list[FakeDeployment]
    outputs: dict[str, Any] = OUTPUTS
    lacking: dict[str, str] = {}  # noqa: RUF012 - replaced by tests, never changed
    trouble: Exception | None = None
    left: BaseException | None = None
    mark: Mark | None = None

    def __init__(self, **told: Any) -> None:
        self.told = told
        self.removals = 0
        self.asked_for: list[str] = []
        self.made.append(self)

    def deploy(self) -> dict[str, Any]:
        """Deploy."""
        if self.trouble:
            raise self.trouble
        return self.outputs

    def remove(self) -> None:
        """Remove."""
        self.removals += 1
        if self.left:
            raise self.left

    def mark_of_table(self, name: str) -> Mark | None:
        """Tell whose a table is."""
        self.asked_for.append(name)
        return self.mark


@pytest.fixture
def deployment_type(monkeypatch: pytest.MonkeyPatch) -> type[FakeDeployment]:
    """What stands in the place of real deployments."""

    class Fresh(FakeDeployment):
        made: list[FakeDeployment] = []  # noqa: RUF012 - of this test alone

    monkeypatch.setattr("harness.targets.deploying.StackDeployment", Fresh)
    return Fresh


@pytest.fixture
def deployments(deployment_type: type[FakeDeployment]) -> list[FakeDeployment]:
    """In the place of real ones: those that were made."""
    return deployment_type.made


@pytest.fixture
def make_target() -> Callable[..., EndpointTarget]:
    """Make the target for an emulator: ``make_target(emulator, wss_port=1)``."""

    def make(emulator: FakeEmulator, *, now: Any = None, **options: Any) -> EndpointTarget:
        more = {"now": now} if now else {}
        return EndpointTarget(TargetOptions(endpoint_url=emulator.url, **options), names=Names("r"), **more)

    return make


@pytest.fixture
def outputs() -> dict[str, Any]:
    """What a stack without a rule tells of itself."""
    return OUTPUTS
