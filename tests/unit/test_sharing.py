"""One target for many processes: who asks, who starts, who may know."""

from __future__ import annotations

import os
import threading
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any

import pytest

from harness.errors import TargetDied, TargetError, TargetUnavailable, TeardownError
from harness.sharing import SharedTarget, TargetServer
from harness.targets.base import Capability, Credentials, Environment
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


ENVIRONMENT = Environment.from_ready("embedded", READY, names=Names("controller"))


class FakeTarget:
    """A target whose start can be held up, and fail."""

    name = "embedded"
    is_probed = True
    patience = 1.0

    def __init__(self) -> None:
        self.lacks: dict[Capability, str] = {Capability.FAULTS: "declared"}
        self.starts = 0
        self.stops = 0
        self.start_with: Callable[[], Any] = lambda: ENVIRONMENT
        self.trouble: TargetError | None = None
        self.death: TargetError | None = None
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.is_starting = threading.Event()

    @property
    def capabilities(self) -> frozenset[Capability]:
        """All others."""
        return frozenset(Capability) - self.lacks.keys()

    def check_options(self) -> None:
        """Ask nothing of whoever runs it."""

    def start(self) -> Environment:
        """Start as told."""
        self.starts += 1
        self.is_starting.set()
        self.may_go_on.wait()
        environment: Environment = self.start_with()
        return environment

    def check(self) -> None:
        """Be dead or alive."""
        if self.death:
            raise self.death

    def stop(self) -> None:
        """Stop, and break a start off."""
        self.stops += 1
        self.may_go_on.set()
        if self.trouble:
            raise self.trouble


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


def ask(server: TargetServer, owned: FakeTarget, told: list[str]) -> None:
    """Ask for a target that does not start; note what is told."""
    try:
        make_worker(server, owned).start()
    except TargetError as error:
        told.append(str(error))


def test_the_first_who_asks_starts_the_target(server: TargetServer, owned: FakeTarget) -> None:
    """The second gets the same one, under names of its own."""
    assert owned.starts == 0

    environments = [make_worker(server, owned, name).start() for name in ("gw0", "gw1")]

    assert owned.starts == 1
    assert [type(each) for each in environments] == [Environment] * 2
    assert {each.admin_token for each in environments} == {"token"}
    assert [each.names.unique() for each in environments] == ["run-gw0-1", "run-gw1-1"]


def test_a_worker_knows_what_the_target_has_in_any_case(server: TargetServer, owned: FakeTarget) -> None:
    """Without asking: where nothing is to be tried, that decides about skips before anything is started."""
    worker = make_worker(server, owned)
    worker.check_options()

    assert (worker.name, worker.is_probed, worker.patience) == ("embedded", True, 1.0)
    assert (worker.capabilities, worker.lacks) == (owned.capabilities, {Capability.FAULTS: "declared"})
    assert owned.starts == 0


def test_a_worker_is_told_what_was_tried(server: TargetServer, owned: FakeTarget) -> None:
    """Its own copy of the target has tried nothing."""

    def find_out() -> Environment:
        owned.lacks = {Capability.POLICY: "a stranger was let in"}
        return ENVIRONMENT

    owned.start_with = find_out
    worker = make_worker(server, FakeTarget())
    worker.start()

    assert worker.lacks == {Capability.POLICY: "a stranger was let in"}
    assert worker.capabilities == frozenset(Capability) - {Capability.POLICY}


def test_a_target_of_any_kind_can_be_shared(server: TargetServer, owned: FakeTarget) -> None:
    """Also one that has no ready file, as in an account, secrets included."""
    environment = Environment(
        target="aws",
        region="eu-west-1",
        iot_endpoint="broker.example.com",
        mqtts_port=8883,
        wss_port=443,
        names=Names("controller"),
        credentials=Credentials(access_key_id="ASIA", secret_access_key="own", session_token="t"),
        is_shared=True,
        is_delayed=True,
        has_own_settings=True,
    )
    owned.start_with = lambda: environment
    names = Names("run", worker="gw0")

    shared = SharedTarget(owned, address=server.address(), names=names).start()

    assert shared == environment.with_names(names)


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
    assert server.unavailable == (str(error) if is_unavailable else None)


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
    asking = threading.Thread(target=lambda: ask(server, owned, told))
    asking.start()
    owned.is_starting.wait()

    server.close()
    asking.join()

    assert told == ["the run is over"]
    assert owned.stops == 2  # the second time after the start had come to its end all the same


@pytest.mark.parametrize("is_starting", [False, True])
def test_what_is_left_behind_is_told_of(server: TargetServer, owned: FakeTarget, *, is_starting: bool) -> None:
    """To whoever ends the run, also when the start is broken off by it."""
    owned.trouble = TeardownError(["policy device"], remedy="delete it")
    told: list[str] = []
    asking = threading.Thread(target=lambda: ask(server, owned, told))
    if is_starting:
        owned.may_go_on.clear()
        asking.start()
        owned.is_starting.wait()

    with pytest.raises(TeardownError, match="policy device"):
        server.close()
    if is_starting:
        asking.join()
    assert told == (["the run is over"] if is_starting else [])


def test_a_broken_off_start_may_find_things_gone(server: TargetServer, owned: FakeTarget) -> None:
    """Both sides clean up, and whoever comes second does not complain of it."""
    owned.trouble = TargetError("gone already")
    told: list[str] = []
    owned.may_go_on.clear()
    asking = threading.Thread(target=lambda: ask(server, owned, told))
    asking.start()
    owned.is_starting.wait()

    server.close()
    asking.join()

    assert told == ["the run is over"]
    assert owned.stops == 2
