"""The fixtures: thin wrappers that hand the target's coordinates to the clients.

Session fixtures are plain, so that no event loop outlives a test; what connects belongs to one test. Whatever a fixture
made it stops, all at once, and a client that does not stop is an error of the test that made it.
"""

from __future__ import annotations

import asyncio
from contextlib import closing
from typing import TYPE_CHECKING, Protocol

import pytest
import pytest_asyncio

from harness.errors import HarnessError
from harness.run import NAME, Run, needs
from harness.targets.base import Capability, Environment, Target
from harness.targets.marks import find_mark

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from harness.budget import Budget
    from harness.clients.broadcast import BroadcastClient
    from harness.clients.credentials import CognitoCredentials, TemporaryCredentials
    from harness.clients.faults import Faults
    from harness.clients.handover import Handover
    from harness.clients.operator import Operator
    from harness.clients.topics import Topics
    from harness.clients.trace import Trace
    from harness.targets.outputs import StackOutputs


class MakeBroadcastClient(Protocol):
    """The type of the fixture `make_broadcast_client`."""

    async def __call__(
        self,
        *,
        client_id: str | None = None,
        subscribe: str | None = None,
        connect: bool = True,
        credentials: TemporaryCredentials | None = None,
        region: str | None = None,
        signature: str = "right",
    ) -> BroadcastClient:
        """Make one client.

        Args:
            client_id: ``public-`` and eight hexadecimal digits when None.
            subscribe: topic filter to subscribe to.
            connect: False leaves connecting to the test.
            credentials: other ones than a fresh guest identity's.
            region: AWS region to sign for, to be refused when it is not the stack's.
            signature: ``right``, ``changed`` or ``missing``.
        """
        ...


class MakeBroadcastClients(Protocol):
    """The type of the fixture `make_broadcast_clients`."""

    async def __call__(self, count: int | None = None, *, subscribe: str | None = None) -> list[BroadcastClient]:
        """Make many clients and connect them at once.

        Args:
            count: ``--clients`` many when None.
            subscribe: topic filter that each of them subscribes to.
        """
        ...


@pytest.fixture(scope="session")
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    """The target of this run, started: its name, its capabilities, its patience in seconds."""
    run = _run(request)
    run.start()
    yield run.target
    run.stop()


@pytest.fixture(scope="session")
def environment(request: pytest.FixtureRequest, target: Target) -> Environment:
    """Where everything of the target is, and boto3 clients that reach it."""
    del target
    return _run(request).start()


@pytest.fixture(scope="session")
def run_budget(request: pytest.FixtureRequest) -> Budget | None:
    """What this run may make and send; None: as much as it likes."""
    return _run(request).budget


@pytest.fixture(scope="session")
def stack(environment: Environment) -> StackOutputs:
    """The outputs of the stack under test: identity pool, endpoints, topic and client id prefixes."""
    return environment.outputs


@pytest.fixture(scope="session")
def trace(environment: Environment) -> Trace | None:
    """The target's record of what it decided and why; None where the target has none."""
    if not environment.admin_url or not environment.admin_token:
        return None
    from harness.clients.admin import AdminApi  # noqa: PLC0415 - clients are imported by the tests that use them
    from harness.clients.trace import Trace  # noqa: PLC0415 - the same

    return Trace(AdminApi(environment.admin_url, environment.admin_token))


@pytest.fixture
def topics(request: pytest.FixtureRequest, environment: Environment, stack: StackOutputs) -> Topics:
    """Topics of this test alone, below the stack's public prefix: ``topics.broadcast``, ``topics.named("x")``."""
    from harness.clients.topics import Topics  # noqa: PLC0415 - clients are imported by the tests that use them

    hint = request.node.name.partition("[")[0].removeprefix("test_")[:40]
    return Topics(environment.names.topic_prefix(stack.topic_prefix, hint), telemetry=stack.telemetry_topic)


@pytest_asyncio.fixture
@needs(Capability.FAULTS)
async def faults(environment: Environment) -> AsyncIterator[Faults]:
    """Makes credentials expire, connections break, AWS calls fail and receivers die; needs the capability FAULTS."""
    from harness.clients.admin import AdminApi  # noqa: PLC0415 - clients are imported by the tests that use them
    from harness.clients.faults import Faults  # noqa: PLC0415 - the same

    made = Faults(AdminApi(environment.admin_url or "", environment.admin_token or ""))
    yield made
    await made.clear()


@pytest.fixture(scope="session")
@needs(Capability.OPERATOR)
def operator(
    environment: Environment, target: Target, trace: Trace | None, run_budget: Budget | None
) -> Iterator[Operator]:
    """The back office: publishes through the AWS API."""
    from harness.clients.operator import Operator  # noqa: PLC0415 - clients are imported by the tests that use them

    iot_data = environment.client("iot-data")
    yield Operator(iot_data=iot_data, patience=target.patience, trace=trace, budget=run_budget)
    iot_data.close()


@pytest.fixture(scope="session")
@needs(Capability.GUESTS)
def guest_factory(
    environment: Environment, target: Target, stack: StackOutputs, trace: Trace | None, run_budget: Budget | None
) -> Iterator[Guests]:
    """Makes broadcast clients that know where to connect; not connected, and not stopped by anybody."""
    guests = Guests(environment, stack=stack, patience=target.patience, trace=trace, budget=run_budget)
    yield guests
    guests.close()


@pytest_asyncio.fixture
async def make_broadcast_client(guest_factory: Guests) -> AsyncIterator[MakeBroadcastClient]:
    """Makes one broadcast client, on request with wrong keys or a wrong signature; stopped after the test."""
    from harness.clients.crowd import connect_all, stop_all  # noqa: PLC0415 - 0.1 s, not for tests without clients

    made: list[BroadcastClient] = []
    loop = asyncio.get_running_loop()

    async def make(
        *,
        client_id: str | None = None,
        subscribe: str | None = None,
        connect: bool = True,
        credentials: TemporaryCredentials | None = None,
        region: str | None = None,
        signature: str = "right",
    ) -> BroadcastClient:
        _check_loop(loop)
        client = guest_factory.make(client_id=client_id, credentials=credentials, region=region, signature=signature)
        made.append(client)
        if connect:
            is_wanted = credentials is None and region is None and signature == "right"
            await connect_all([client], subscribe=subscribe, insist=is_wanted)
        return client

    yield make
    await stop_all(made)


@pytest_asyncio.fixture
async def make_broadcast_clients(
    request: pytest.FixtureRequest, guest_factory: Guests
) -> AsyncIterator[MakeBroadcastClients]:
    """Makes many broadcast clients, ``--clients`` unless told how many, connected at once; stopped after the test."""
    from harness.clients.crowd import connect_all, stop_all  # noqa: PLC0415 - 0.1 s, not for tests without clients

    made: list[BroadcastClient] = []
    loop = asyncio.get_running_loop()

    async def make(count: int | None = None, *, subscribe: str | None = None) -> list[BroadcastClient]:
        _check_loop(loop)
        clients = [guest_factory.make() for _ in range(_run(request).settings.clients if count is None else count)]
        made.extend(clients)
        await connect_all(clients, subscribe=subscribe)
        return clients

    yield make
    await stop_all(made)


@pytest_asyncio.fixture
async def broadcast_client(make_broadcast_client: MakeBroadcastClient) -> BroadcastClient:
    """One broadcast client, connected as a guest, subscribed to nothing."""
    return await make_broadcast_client()


class Guests:
    """Makes broadcast clients for one environment.

    Args:
        environment: where they connect to.
        stack: whose guests they are.
        patience: seconds they wait for what should come.
        trace: the target's, where it has one.
        budget: how many messages the run may have; None: as many as it likes.
    """

    def __init__(
        self,
        environment: Environment,
        *,
        stack: StackOutputs,
        patience: float,
        trace: Trace | None,
        budget: Budget | None = None,
    ) -> None:
        self._environment = environment
        self._stack = stack
        self._patience = patience
        self._trace = trace
        self._budget = budget
        self._sources: list[CognitoCredentials] = []
        self._cognito = environment.client("cognito-identity", unsigned=True)
        self._handover: Handover | None = None

    def make(
        self,
        *,
        client_id: str | None = None,
        credentials: TemporaryCredentials | None = None,
        region: str | None = None,
        signature: str = "right",
    ) -> BroadcastClient:
        """Make a client; the arguments are those of the fixture `make_broadcast_client`."""
        from harness.clients.broadcast import BroadcastClient, WssEndpoint, make_client_id  # noqa: PLC0415 - as above
        from harness.clients.credentials import GivenCredentials  # noqa: PLC0415 - as above

        stack = self._stack
        return BroadcastClient(
            endpoint=WssEndpoint.parse(
                stack.iot_wss_url,
                region=region or stack.region,
                ca_file=stack.ca_file,
                is_port_shared=stack.is_port_shared,
            ),
            credentials=GivenCredentials(credentials) if credentials else self._new_identity(),
            client_id=client_id or make_client_id(stack.client_id_prefix),
            signature=signature,
            patience=self._patience,
            trace=self._trace,
            handover=self._shared_handover(),
            settles_within=_settles_within(self._environment, self._patience),
            budget=self._budget,
        )

    def close(self) -> None:
        """Delete the identities that guests got, where they would stay, and close the connections to Cognito.

        Raises:
            TeardownError: some identities are left.
        """
        try:
            if self._keeps_identities:
                self._remove_identities()
        finally:
            self._cognito.close()

    @property
    def _keeps_identities(self) -> bool:
        """Whether the pool, and so whoever is in it, outlives the run."""
        return self._environment.is_shared and not self._environment.owns_stack

    def _new_identity(self) -> CognitoCredentials:
        from harness.clients.credentials import CognitoCredentials  # noqa: PLC0415 - as above

        source = CognitoCredentials(identity_pool_id=self._stack.identity_pool_id, client=self._cognito)
        if self._keeps_identities:
            self._sources.append(source)
        return source

    def _remove_identities(self) -> None:
        sources, self._sources = self._sources, []
        guests = [each.identity_id for each in sources if each.identity_id is not None]
        if not guests:
            return
        from harness.clients.removal import remove_guests  # noqa: PLC0415 - only where something is to remove

        with closing(self._environment.client("cognito-identity")) as client:
            remove_guests(client, guests, identity_pool_id=self._stack.identity_pool_id, patience=self._patience)

    def _shared_handover(self) -> Handover:
        from harness.clients.handover import Handover  # noqa: PLC0415 - as above

        loop = asyncio.get_running_loop()
        if self._handover is None or self._handover.loop is not loop:
            self._handover = Handover(loop)
        return self._handover


def _settles_within(environment: Environment, patience: float) -> float:
    """Return for how many seconds a change may not yet hold at a target."""
    return patience if environment.is_delayed else 0.0


def _marks(environment: Environment) -> dict[str, str]:
    """Return the tags for what a run makes in an account that others use as well; empty anywhere else."""
    mark = find_mark(environment.names.run_id) if environment.is_shared else None
    return mark.tags if mark else {}


def _check_loop(fixtures_loop: asyncio.AbstractEventLoop) -> None:
    """Make sure that a test runs on the loop that its clients will be stopped on.

    Raises:
        HarnessError: pytest-asyncio gave them different ones.
    """
    if asyncio.get_running_loop() is not fixtures_loop:
        raise HarnessError(
            "this test and its fixtures run on two event loops, and a client belongs to one: set pytest-asyncio's "
            "asyncio_default_fixture_loop_scope to the loop scope of the test (function, unless you changed it)"
        )


def _run(request: pytest.FixtureRequest) -> Run:
    run = request.config.pluginmanager.get_plugin(NAME)
    assert isinstance(run, Run)  # noqa: S101 - for the type checker: the run registered this module
    return run
