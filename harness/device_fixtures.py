"""The fixtures of devices: things with certificates of their own, made for one test and removed after it.

Registering and removing are blocking calls of boto3, so they run on threads; what connects belongs to one test, as in
`harness.fixtures`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Literal, Protocol

import pytest
import pytest_asyncio

from harness.errors import HarnessError
from harness.fixtures import _check_loop, _marks, _run, _settles_within
from harness.run import needs
from harness.targets.base import Capability

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from harness.budget import Budget
    from harness.clients.device import Device
    from harness.clients.identities import DeviceIdentity
    from harness.clients.trace import Trace
    from harness.targets.base import Environment, Target
    from harness.targets.outputs import StackOutputs

CertificateKind = Literal["registered", "unregistered", "forged"]
Status = Literal["ACTIVE", "INACTIVE", "REVOKED"]


class MakeDevice(Protocol):
    """The type of the fixture `make_device`."""

    async def __call__(
        self,
        *,
        connect: bool = True,
        client_id: str | None = None,
        certificate: CertificateKind = "registered",
        status: Status = "ACTIVE",
        may_publish: str | None = None,
    ) -> Device:
        """Register a device of this test and make its client.

        Args:
            connect: False leaves connecting to the test.
            client_id: another one than the name of its Thing.
            certificate: what it presents. ``registered``: its own. ``unregistered``: one that nobody knows, under its
                own name. ``forged``: one that was signed with its own registered key. Whatever it presents, its Thing
                and its own certificate are there: nothing else is wrong with an impostor.
            status: what is made of its own certificate before it connects.
            may_publish: a further topic that it may publish to, by a policy of its own; wildcards ``*`` and ``?`` of
                policies allowed.
        """
        ...


class MakeDevices(Protocol):
    """The type of the fixture `make_devices`."""

    async def __call__(self, count: int | None = None) -> list[Device]:
        """Register many devices side by side and connect them at once.

        Args:
            count: ``--devices`` many when None.
        """
        ...


@pytest.fixture(scope="session")
def device_registry(environment: Environment) -> Iterator[Any]:
    """boto3's ``iot`` client, as the operator: where devices are registered."""
    iot = environment.client("iot")
    yield iot
    iot.close()


@pytest_asyncio.fixture
@needs(Capability.DEVICES)
async def device_factory(
    environment: Environment,
    stack: StackOutputs,
    target: Target,
    trace: Trace | None,
    device_registry: Any,
    run_budget: Budget | None,
) -> AsyncIterator[Devices]:
    """Makes the devices of one test; after it they are stopped and all that was registered is removed."""
    devices = Devices(
        environment, stack=stack, patience=target.patience, trace=trace, iot=device_registry, budget=run_budget
    )
    yield devices
    await devices.close()


@pytest_asyncio.fixture
async def make_device(device_factory: Devices) -> MakeDevice:
    """Makes one device, on request with a certificate that should not get in; removed after the test."""
    return device_factory.make


@pytest_asyncio.fixture
async def make_devices(request: pytest.FixtureRequest, device_factory: Devices) -> MakeDevices:
    """Makes many devices, ``--devices`` unless told how many, connected at once; removed after the test."""

    async def make(count: int | None = None) -> list[Device]:
        return await device_factory.make_many(_run(request).settings.devices if count is None else count)

    return make


@pytest_asyncio.fixture
async def device(make_device: MakeDevice) -> Device:
    """One device: registered, connected, and nothing sent yet."""
    return await make_device()


class Devices:
    """Makes devices for one test; belongs to the event loop it is made on.

    Args:
        environment: gives names, and says whose the account is.
        stack: where they connect to, and the policy they get.
        patience: seconds they wait for what should come, and that removing something may be tried again for.
        trace: the target's, where it has one.
        iot: boto3's ``iot`` client.
        budget: how many things and messages the run may have; None: as many as it likes.
    """

    def __init__(
        self,
        environment: Environment,
        *,
        stack: StackOutputs,
        patience: float,
        trace: Trace | None,
        iot: Any,
        budget: Budget | None = None,
    ) -> None:
        from harness.clients.handover import Handover  # noqa: PLC0415 - clients are imported by the tests that use them
        from harness.clients.identities import Identities  # noqa: PLC0415 - the same

        self.identities = Identities(
            iot=iot,
            policy_name=stack.device_policy_name,
            names=environment.names,
            tags=_marks(environment),
            budget=budget,
            patience=patience,
        )
        self._settles_within = _settles_within(environment, patience)
        self._budget = budget
        self._stack = stack
        self._patience = patience
        self._trace = trace
        self._loop = asyncio.get_running_loop()
        self._handover = Handover(self._loop)
        self._made: list[Device] = []

    async def make(
        self,
        *,
        connect: bool = True,
        client_id: str | None = None,
        certificate: CertificateKind = "registered",
        status: Status = "ACTIVE",
        may_publish: str | None = None,
    ) -> Device:
        """Make one device; the arguments are those of the fixture `make_device`."""
        __tracebackhide__ = True
        _check_loop(self._loop)
        identity = await asyncio.to_thread(self._register, certificate, status, may_publish)
        device = self._device(identity, client_id=client_id)
        if connect:
            await device.connect(insist=(certificate, status, client_id) == ("registered", "ACTIVE", None))
        return device

    async def make_many(self, count: int) -> list[Device]:
        """Make many devices, connected."""
        __tracebackhide__ = True
        from harness.clients.crowd import connect_all  # noqa: PLC0415 - as above

        _check_loop(self._loop)
        devices = [self._device(each) for each in await asyncio.to_thread(self.identities.make, count)]
        await connect_all(devices)
        return devices

    async def close(self) -> None:
        """Stop all devices and remove what was registered for them, the one whatever becomes of the other.

        Raises:
            TeardownError: some did not stop, or something is left.
        """
        from harness.clients.crowd import stop_all  # noqa: PLC0415 - as above
        from harness.clients.waiting import to_the_end  # noqa: PLC0415 - as above

        errors: list[BaseException] = []
        try:
            await stop_all(self._made)
        except BaseException as error:  # noqa: BLE001 - raised below, once the rest is done
            errors.append(error)
        try:
            await to_the_end(self.identities.remove)
        except BaseException as error:  # noqa: BLE001 - the same
            errors.append(error)
        if len(errors) == 1:
            raise errors[0]
        if errors:
            raise BaseExceptionGroup("while devices were stopped and removed", errors)

    def _register(self, certificate: CertificateKind, status: Status, may_publish: str | None) -> DeviceIdentity:
        kinds = ("registered", "unregistered", "forged")
        if certificate not in kinds:
            raise HarnessError(f"certificate={certificate!r} is not one of {', '.join(kinds)}")
        (identity,) = self.identities.make(1, may_publish=may_publish)
        if status != "ACTIVE":
            self.identities.set_status(identity, status)
        if certificate == "registered":
            return identity
        return identity.unregistered() if certificate == "unregistered" else identity.forged()

    def _device(self, identity: DeviceIdentity, *, client_id: str | None = None) -> Device:
        from harness.clients.device import Device, MqttsEndpoint  # noqa: PLC0415 - as above

        stack = self._stack
        device = Device(
            endpoint=MqttsEndpoint(
                host=stack.iot_endpoint,
                port=stack.iot_mqtts_port,
                ca_file=stack.ca_file,
                is_port_shared=stack.is_port_shared,
            ),
            identity=identity,
            client_id=client_id,
            telemetry_topic=stack.telemetry_topic,
            patience=self._patience,
            trace=self._trace,
            handover=self._handover,
            settles_within=self._settles_within,
            budget=self._budget,
        )
        self._made.append(device)
        return device
