"""One target for many processes: who asks, who starts, who may know."""

from __future__ import annotations

import os
import threading
from http.client import HTTPConnection
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from harness.errors import TargetDied, TargetError, TargetUnavailable
from harness.sharing import SharedTarget, TargetServer
from harness.targets.base import Capability, Environment
from harness.targets.names import Names
from harness.targets.ready import ReadyFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

READY = ReadyFile(
    pid=os.getpid(),
    region="eu-central-1",
    account_id="123456789012",
    control_plane_url="http://127.0.0.1:9",
    iot_endpoint="localhost",
    mqtts_port=8883,
    wss_port=8443,
    ca_file="",
    access_key_id="AKIA",
    secret_access_key="secret",
    admin_url="http://127.0.0.1:9/_thingwright",
    admin_token="token",
)


class FakeTarget:
    """A target whose start can be held up, and fail."""

    name = "embedded"
    capabilities = frozenset({Capability.POLICY})
    patience = 1.0

    def __init__(self) -> None:
        self.starts = 0
        self.stops = 0
        self.start_with: Callable[[], Any] = lambda: READY
        self.death: TargetError | None = None
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.is_starting = threading.Event()

    def start(self) -> Any:
        """Start as told."""
        self.starts += 1
        self.is_starting.set()
        self.may_go_on.wait()
        ready = self.start_with()
        return SimpleNamespace(ready=ready)

    def check(self) -> None:
        """Be dead or alive."""
        if self.death:
            raise self.death

    def stop(self) -> None:
        """Stop, and break a start off."""
        self.stops += 1
        self.may_go_on.set()


@pytest.fixture
def owned() -> FakeTarget:
    """The controller's target."""
    return FakeTarget()


@pytest.fixture
def server(owned: FakeTarget) -> Iterator[TargetServer]:
    """The controller."""
    server = TargetServer(owned)
    yield server
    server.close()


def make_worker(server: TargetServer, owned: FakeTarget, name: str = "gw0") -> SharedTarget:
    """Make a worker's view of the target."""
    return SharedTarget(owned, address=server.address(), names=Names("run", worker=name))


def test_the_first_who_asks_starts_the_target(server: TargetServer, owned: FakeTarget) -> None:
    """The second gets the same one, under names of its own."""
    assert owned.starts == 0

    environments = [make_worker(server, owned, name).start() for name in ("gw0", "gw1")]

    assert owned.starts == 1
    assert [type(each) for each in environments] == [Environment] * 2
    assert {each.admin_token for each in environments} == {"token"}
    assert [each.names.unique() for each in environments] == ["run-gw0-1", "run-gw1-1"]


def test_a_worker_knows_what_the_target_can(server: TargetServer, owned: FakeTarget) -> None:
    """Without asking: capabilities decide about skips before anything is started."""
    worker = make_worker(server, owned)

    assert (worker.name, worker.capabilities, worker.patience) == ("embedded", owned.capabilities, 1.0)
    assert owned.starts == 0


def test_a_worker_stops_nothing(server: TargetServer, owned: FakeTarget) -> None:
    """Others are still at work."""
    worker = make_worker(server, owned)
    worker.start()

    worker.stop()
    worker.check()

    assert owned.stops == 0


@pytest.mark.parametrize(
    ("error", "is_unavailable"),
    [(TargetUnavailable("Install Docker."), True), (TargetError("Broken."), False), (ZeroDivisionError("Oh."), False)],
)
def test_a_target_that_does_not_start_is_tried_once(
    server: TargetServer, owned: FakeTarget, error: Exception, *, is_unavailable: bool
) -> None:
    """Every worker gets the message; the controller knows whether to end the run for it."""

    def fail() -> None:
        raise error

    owned.start_with = fail

    for name in ("gw0", "gw1"):
        with pytest.raises(TargetError, match=str(error)):
            make_worker(server, owned, name).start()

    assert owned.starts == 1
    assert server.is_unavailable is is_unavailable


def test_a_target_without_a_ready_file_cannot_be_shared(server: TargetServer, owned: FakeTarget) -> None:
    """There would be nothing to hand over."""
    owned.start_with = lambda: None

    with pytest.raises(TargetError, match="embedded target cannot be shared"):
        make_worker(server, owned).start()


def test_a_worker_learns_that_the_target_ended(server: TargetServer, owned: FakeTarget) -> None:
    """With the words of whoever watched it."""
    worker = make_worker(server, owned)
    worker.start()
    owned.death = TargetDied("broker", "ended with exit code 3")

    with pytest.raises(TargetError, match="The broker ended with exit code 3"):
        worker.check()


def test_nobody_else_is_told(server: TargetServer, owned: FakeTarget) -> None:
    """The ready file holds keys: without the controller's token there is no answer and no start."""
    port = server.address()["port"]
    stranger = SharedTarget(owned, address={"port": port, "token": "guess"}, names=Names("run"))
    connection = HTTPConnection("127.0.0.1", port)
    connection.request("GET", "/")
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (401, b'{"error": "not for you"}')
    connection.close()

    with pytest.raises(TargetError, match="not for you"):
        stranger.start()
    assert owned.starts == 0


def test_the_end_of_the_run_stops_the_target_once(server: TargetServer, owned: FakeTarget) -> None:
    """A worker that asks afterwards hears that nobody is there."""
    worker = make_worker(server, owned)
    worker.start()

    server.close()
    server.close()

    assert owned.stops == 1
    with pytest.raises(TargetError, match="does not answer"):
        worker.check()


def test_the_end_of_the_run_breaks_a_start_off(server: TargetServer, owned: FakeTarget) -> None:
    """Whoever interrupts a run does not wait until the target is up."""
    owned.may_go_on.clear()
    told: list[str] = []

    def ask() -> None:
        try:
            make_worker(server, owned).start()
        except TargetError as error:
            told.append(str(error))

    asking = threading.Thread(target=ask)
    asking.start()
    owned.is_starting.wait()

    server.close()
    asking.join()

    assert told == ["the run is over"]
    assert owned.stops == 2  # the second time after the start had come to its end all the same
