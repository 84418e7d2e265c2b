"""The guest of the command line and of the demonstration, on the AWS SDKs: Cognito, STS, and a broadcast client.

Everything heavy is imported here, and this module only when a guest is made.
"""

from __future__ import annotations

import asyncio
from contextlib import closing
from typing import TYPE_CHECKING, Any, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from harness.clients.admin import AdminApi
from harness.clients.broadcast import BroadcastClient, WssEndpoint
from harness.clients.credentials import CognitoCredentials
from harness.clients.handover import Handover
from harness.clients.removal import remove_guests
from harness.clients.tls import shared_context
from harness.clients.trace import Trace
from harness.console import Heard, Identity
from harness.errors import ConnectionRefused, SettingsError, TargetUnavailable
from harness.targets.aws_clients import make_client, make_own_client
from harness.targets.base import Credentials

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.clients.credentials import TemporaryCredentials
    from harness.console import Guest
    from harness.settings import ClientSettings
    from harness.targets.base import Environment

T = TypeVar("T")

_PATIENCE = 35.0
"""Seconds; the SDK tells only after 10 to 30 s that it does not trust an endpoint, a reason worth waiting for."""

_SETTLES_WITHIN = 10.0
"""Seconds for which a guest at AWS takes no refusal for an answer: its credentials are fresh, and may not yet hold."""


class SdkGuest:
    """A broadcast client, step by step.

    Args:
        client: not yet connected.
        credentials: the same as the client's.
        make_sts: makes boto3's ``sts`` client for credentials.
    """

    def __init__(
        self,
        client: BroadcastClient,
        *,
        credentials: CognitoCredentials,
        make_sts: Callable[[TemporaryCredentials], Any],
    ) -> None:
        self.client_id = client.client_id
        self._client = client
        self._credentials = credentials
        self._make_sts = make_sts
        self._deliveries = aiter(client.inbox)

    async def identify(self) -> Identity:
        """Get credentials and ask STS whose they are.

        Raises:
            TargetUnavailable: Cognito gives none, or STS does not know them.
        """
        return await asyncio.to_thread(_asked, "Cognito and STS", self._identify)

    def _identify(self) -> Identity:
        credentials = self._credentials.get()
        answer = self._make_sts(credentials).get_caller_identity()
        return Identity(answer["Arn"], credentials.access_key_id)

    async def connect(self) -> None:
        """Connect over WebSocket.

        Raises:
            ConnectionRefused: not let in.
            TargetUnavailable: nobody there, or no credentials.
        """
        await asyncio.to_thread(_asked, "Cognito", self._credentials.get)
        try:
            await self._client.connect(insist=True)
        except ConnectionRefused as refusal:
            if refusal.how != "tls" or refusal.because:
                raise
            because = (
                "the endpoint's certificate names another host, or no CA of --ca-file (else the system's) signed it"
            )
            raise ConnectionRefused(self.client_id, how="tls", because=because) from refusal

    async def subscribe(self, topic: str) -> None:
        """Subscribe with QoS 1.

        Raises:
            OperationRefused: not granted.
        """
        await self._client.subscribe(topic)

    async def publish(self, topic: str, message: str) -> None:
        """Publish with QoS 1.

        Raises:
            OperationRefused: not granted.
        """
        await self._client.publish(topic, message)

    async def hear(self) -> Heard:
        """Wait for the next message.

        Raises:
            TargetUnavailable: the client was stopped.
        """
        try:
            delivery = await anext(self._deliveries)
        except StopAsyncIteration:
            raise TargetUnavailable(f"{self.client_id} was stopped") from None
        return Heard(delivery.topic, delivery.payload, delivery.received_at)

    async def stop(self) -> None:
        """Disconnect.

        Raises:
            TeardownError: it does not stop.
        """
        await self._client.stop()


def make_guest(settings: ClientSettings, client_id: str) -> Guest:
    """Make the guest that the command line asked for.

    Where no URL says where Cognito and STS are, they are AWS's, reached with the user's own settings (endpoints,
    proxies, CA bundle) and without the user's credentials: a guest has none but its own.

    Raises:
        SettingsError: the CA file holds no certificate.
        TargetUnavailable: none was given, and the system's cannot be loaded; or the user's settings cannot be used.
    """
    region = settings.identity_pool_id.partition(":")[0]
    url = settings.endpoint_url
    cognito = (
        make_own_client("cognito-identity", region=region, unsigned=True)
        if url is None
        else make_client("cognito-identity", region=region, endpoint_url=url, credentials=None)
    )
    credentials = CognitoCredentials(identity_pool_id=settings.identity_pool_id, client=cognito)
    ca_file = None if settings.ca_file is None else str(settings.ca_file)
    endpoint = WssEndpoint(
        host=settings.endpoint,
        region=settings.region,
        port=settings.port,
        ca_file=ca_file,
        is_port_shared=settings.is_port_shared,
    )
    try:
        shared_context(ca_file, port=settings.port, is_port_shared=settings.is_port_shared)  # kept there for the client
    except RuntimeError:  # all that the SDK says of it
        if ca_file is None:
            raise TargetUnavailable("The system's certificate authorities cannot be loaded; give --ca-file.") from None
        raise SettingsError("--ca-file", ca_file, "a PEM file with certificates") from None
    token = settings.admin_token.get_secret_value() if settings.admin_token else None
    trace = Trace(AdminApi(settings.admin_url, token)) if settings.admin_url and token else None

    def make_sts(own: TemporaryCredentials) -> Any:
        its = _as_operator(own)
        if url is None:
            return make_own_client("sts", region=settings.region, credentials=its)
        return make_client("sts", region=settings.region, endpoint_url=url, credentials=its)

    client = BroadcastClient(
        endpoint=endpoint,
        credentials=credentials,
        client_id=client_id,
        patience=_PATIENCE,
        trace=trace,
        settles_within=_SETTLES_WITHIN if url is None else 0.0,
    )
    return SdkGuest(client, credentials=credentials, make_sts=make_sts)


class DemoGuests:
    """Makes guests of one environment, and takes back what they leave in it.

    Args:
        environment: where they connect to.
        patience: seconds that anything of theirs may take.
    """

    def __init__(self, environment: Environment, *, patience: float) -> None:
        outputs = environment.outputs
        self._environment = environment
        self._patience = patience
        self._cognito = environment.client("cognito-identity", unsigned=True)
        self._endpoint = WssEndpoint.parse(
            outputs.iot_wss_url,
            region=outputs.region,
            ca_file=outputs.ca_file,
            is_port_shared=outputs.is_port_shared,
        )
        has_trace = environment.admin_url and environment.admin_token
        self._trace = Trace(AdminApi(environment.admin_url or "", environment.admin_token or "")) if has_trace else None
        self._handover: Handover | None = None
        self._sources: list[CognitoCredentials] = []

    def make(self, hint: str) -> Guest:
        """Make a guest; called on the event loop.

        Args:
            hint: what it is for; becomes a part of its client id.
        """
        environment, outputs = self._environment, self._environment.outputs
        self._handover = self._handover or Handover()  # shared: a broadcast to many wakes the loop once
        credentials = CognitoCredentials(identity_pool_id=outputs.identity_pool_id, client=self._cognito)
        self._sources.append(credentials)
        client = BroadcastClient(
            endpoint=self._endpoint,
            credentials=credentials,
            client_id=environment.names.client_id(outputs.client_id_prefix, hint),
            patience=self._patience,
            trace=self._trace,
            handover=self._handover,
            settles_within=self._patience if environment.is_delayed else 0.0,
        )
        return SdkGuest(client, credentials=credentials, make_sts=self._make_sts)

    def close(self) -> None:
        """Delete the identities that guests got, where the pool outlives them, and close the connections to Cognito.

        Raises:
            TeardownError: some identities are left.
        """
        try:
            if self._environment.is_shared and not self._environment.owns_stack:
                self._remove_identities()
        finally:
            self._cognito.close()

    def _remove_identities(self) -> None:
        guests = [each.identity_id for each in self._sources if each.identity_id is not None]
        if guests:
            pool = self._environment.outputs.identity_pool_id
            with closing(self._environment.client("cognito-identity")) as client:
                remove_guests(client, guests, identity_pool_id=pool, patience=self._patience)

    def _make_sts(self, own: TemporaryCredentials) -> Any:
        return self._environment.client("sts", credentials=_as_operator(own))


def _as_operator(own: TemporaryCredentials) -> Credentials:
    return Credentials(
        access_key_id=own.access_key_id, secret_access_key=own.secret_access_key, session_token=own.session_token
    )


def _asked(whom: str, call: Callable[[], T]) -> T:
    """Call an AWS API; what it refuses is one sentence."""
    try:
        return call()
    except (BotoCoreError, ClientError) as error:
        raise TargetUnavailable(f"{whom} gave this guest no credentials: {error}") from error
