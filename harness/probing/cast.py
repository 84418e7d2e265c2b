"""Who plays in the probes: guests, devices and an operator, made for them and taken away after them."""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from botocore.exceptions import ClientError

from harness.clients.broadcast import BroadcastClient, WssEndpoint, make_client_id
from harness.clients.credentials import CognitoCredentials
from harness.clients.device import Device, MqttsEndpoint
from harness.clients.handover import Handover
from harness.clients.identities import Identities
from harness.clients.operator import Operator
from harness.clients.removal import remove_identities
from harness.targets.base import Capability
from harness.targets.marks import find_mark

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.clients.actor import Actor
    from harness.clients.identities import DeviceIdentity
    from harness.targets.base import Environment

T = TypeVar("T")

_HINT: Final = "probe"
_THREADS: Final = 16
_LONGER_THAN_ANY_PROBE: Final = 10
"""Times the patience: a probe's own limit ends it, not one of the waits within it, which would seem to be a reason."""

TIMEOUT: Final = "_TIMEOUT"
"""How the names of the AWS Common Runtime's errors end that tell of a peer which did not answer."""


@dataclass(frozen=True, slots=True)
class Silence:
    """Somebody did not answer in time, so that nobody knows whether something is missing.

    Args:
        words: who, or within what.
    """

    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Clients:
    """boto3's clients of one cast."""

    iot: Any
    iot_data: Any
    cognito: Any
    unsigned_cognito: Any

    @classmethod
    def make(cls, environment: Environment) -> _Clients:
        return cls(
            iot=environment.client("iot"),
            iot_data=environment.client("iot-data"),
            cognito=environment.client("cognito-identity"),
            unsigned_cognito=environment.client("cognito-identity", unsigned=True),
        )

    def close(self) -> None:
        for each in (self.iot, self.iot_data, self.cognito, self.unsigned_cognito):
            each.close()


class Cast:
    """Makes the clients of one environment's probes; belongs to the event loop it is made on.

    What blocks runs on threads of its own. A probe that is out of patience does not end a call that is under way: the
    call goes on until it has its answer, and only then is removed what it made.

    Args:
        environment: with a stack.
        patience: seconds that a message may take to come, and removing everything.
    """

    def __init__(self, environment: Environment, *, patience: float) -> None:
        self.patience = patience
        self._environment = environment
        self._stack = environment.outputs
        self._handover = Handover()
        self._threads = ThreadPoolExecutor(max_workers=_THREADS, thread_name_prefix=_HINT)
        self._calls: list[Future[Any]] = []
        self._actors: list[Actor] = []
        self._credentials: list[CognitoCredentials] = []
        self._clients = self._threads.submit(_Clients.make, environment)
        self._identities: Identities | None = None

    async def guest(self, *, client_id: str | None = None, signature: str = "right") -> BroadcastClient:
        """Make a guest, not connected."""
        stack = self._stack
        clients = await asyncio.wrap_future(self._clients)
        credentials = CognitoCredentials(identity_pool_id=stack.identity_pool_id, client=clients.unsigned_cognito)
        self._credentials.append(credentials)
        if signature != "missing":
            await self._call(credentials.get)
        guest = BroadcastClient(
            endpoint=WssEndpoint.parse(
                stack.iot_wss_url,
                region=stack.region,
                ca_file=stack.ca_file,
                is_port_shared=stack.is_port_shared,
            ),
            credentials=credentials,
            client_id=client_id or make_client_id(stack.client_id_prefix),
            signature=signature,
            patience=_LONGER_THAN_ANY_PROBE * self.patience,
            handover=self._handover,
        )
        self._actors.append(guest)
        return guest

    async def register(self, *, status: str = "ACTIVE", may_publish: str | None = None) -> DeviceIdentity:
        """Register a device.

        Args:
            status: of its certificate.
            may_publish: a topic that it may publish to besides the stack's.
        """
        clients = await asyncio.wrap_future(self._clients)
        if self._identities is None:
            names = self._environment.names
            mark = find_mark(names.run_id)
            self._identities = Identities(
                iot=clients.iot,
                policy_name=self._stack.device_policy_name,
                names=names,
                tags=mark.tags if mark else None,
                patience=self.patience,
            )
        identities = self._identities

        def register() -> DeviceIdentity:
            identity = identities.register(self._environment.names.thing_name(_HINT))
            if may_publish is not None:
                identities.let_publish(identity, may_publish)
            if status != "ACTIVE":
                identities.set_status(identity, status)
            return identity

        return await self._call(register)

    def device(self, identity: DeviceIdentity, *, client_id: str | None = None) -> Device:
        """Make a device's client, not connected."""
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
            patience=_LONGER_THAN_ANY_PROBE * self.patience,
            handover=self._handover,
        )
        self._actors.append(device)
        return device

    async def operator(self) -> Operator:
        """Make the back office."""
        clients = await asyncio.wrap_future(self._clients)
        return Operator(iot_data=clients.iot_data, patience=_LONGER_THAN_ANY_PROBE * self.patience)

    def public_topic(self) -> str:
        """Return a topic of nobody else's that guests may use."""
        return self._environment.names.topic_prefix(self._stack.topic_prefix, _HINT) + "said"

    def private_name(self) -> str:
        """Return a name of nobody else's that begins with no prefix of guests: a topic, a client id."""
        return self._environment.names.unique(_HINT)

    def unanswered(self) -> dict[Capability, Silence]:
        """Tell of connections on which the peer was silent.

        They count here and not only where they were tried: a handshake over TLS that is not answered looks like one
        that is refused.
        """
        found: dict[Capability, Silence] = {}
        for each in self._actors:
            if TIMEOUT in (condition := each.condition()):
                capability = Capability.DEVICES if isinstance(each, Device) else Capability.GUESTS
                found[capability] = Silence(f"{each.client_id} {condition}")
        return found

    async def dismiss(self) -> str | Silence | None:
        """Stop everybody and remove what was made.

        Returns:
            What is left of the devices and why, in words; None when nothing is.
        """
        # Whether or not they do: who does not stop is soon without a certificate.
        await asyncio.gather(*(each.has_stopped() for each in self._actors), return_exceptions=True)
        self._threads.shutdown(wait=False)
        remover = ThreadPoolExecutor(max_workers=1, thread_name_prefix=_HINT)  # the other threads may all be busy
        removal = remover.submit(self._remove)
        remover.shutdown(wait=False)  # it goes on when nobody waits for it any more
        try:
            async with asyncio.timeout(self.patience):
                return await asyncio.wrap_future(removal)
        except TimeoutError:
            return Silence(f"removing what was registered took longer than {self.patience:g} s")

    async def _call(self, call: Callable[[], T]) -> T:
        future = self._threads.submit(call)
        self._calls.append(future)
        return await asyncio.wrap_future(future)

    def _remove(self) -> str | None:
        wait([self._clients, *self._calls])
        if self._clients.exception() is not None:
            return None  # nothing could be made
        clients = self._clients.result()
        try:
            if self._identities is not None:
                self._identities.remove()
            if self._environment.is_shared and not self._environment.owns_stack:
                made = [each.identity_id for each in self._credentials if each.identity_id is not None]
                with contextlib.suppress(ClientError):  # not every emulator removes one guest: they go with their pool
                    remove_identities(clients.cognito, made)
        except Exception as error:  # noqa: BLE001 - a thread boundary: the probes tell it
            return str(error)
        finally:
            clients.close()
        return None
