"""The guest of the command line and of the demonstration, on the AWS SDKs: Cognito, STS, and a broadcast client.

Everything heavy is imported here, and this module only when a guest is made.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from harness.clients.admin import AdminApi
from harness.clients.broadcast import BroadcastClient, WssEndpoint
from harness.clients.credentials import CognitoCredentials
from harness.clients.handover import Handover
from harness.clients.tls import shared_context
from harness.clients.trace import Trace
from harness.console import Heard, Identity
from harness.errors import ConnectionRefused, SettingsError, TargetUnavailable
from harness.targets.aws_clients import make_client
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
            await self._client.connect()
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

    Raises:
        SettingsError: the CA file holds no certificate.
        TargetUnavailable: none was given, and the system's cannot be loaded.
    """
    region = settings.identity_pool_id.partition(":")[0]
    cognito = make_client("cognito-identity", region=region, endpoint_url=settings.endpoint_url, credentials=None)
    credentials = CognitoCredentials(identity_pool_id=settings.identity_pool_id, client=cognito)
    ca_file = None if settings.ca_file is None else str(settings.ca_file)
    try:
        shared_context(ca_file, port=settings.port)  # kept there for the client
    except RuntimeError:  # all that the SDK says of it
        if ca_file is None:
            raise TargetUnavailable("The system's certificate authorities cannot be loaded; give --ca-file.") from None
        raise SettingsError("--ca-file", ca_file, "a PEM file with certificates") from None
    endpoint = WssEndpoint(host=settings.endpoint, region=settings.region, port=settings.port, ca_file=ca_file)
    token = settings.admin_token.get_secret_value() if settings.admin_token else None
    trace = Trace(AdminApi(settings.admin_url, token)) if settings.admin_url and token else None

    def make_sts(own: TemporaryCredentials) -> Any:
        return make_client(
            "sts", region=settings.region, endpoint_url=settings.endpoint_url, credentials=_as_operator(own)
        )

    client = BroadcastClient(
        endpoint=endpoint, credentials=credentials, client_id=client_id, patience=_PATIENCE, trace=trace
    )
    return SdkGuest(client, credentials=credentials, make_sts=make_sts)


def make_demo_guests(environment: Environment, *, patience: float) -> Callable[[str], Guest]:
    """Give a factory for guests of one environment, which takes a hint for their client ids; called on the event loop.

    Args:
        environment: where they connect to.
        patience: seconds that anything of theirs may take.
    """
    outputs = environment.outputs
    cognito = environment.client("cognito-identity", unsigned=True)
    endpoint = WssEndpoint.parse(outputs.iot_wss_url, region=outputs.region, ca_file=outputs.ca_file)
    has_trace = environment.admin_url and environment.admin_token
    trace = Trace(AdminApi(environment.admin_url or "", environment.admin_token or "")) if has_trace else None
    handover: Handover | None = None

    def make_sts(own: TemporaryCredentials) -> Any:
        return environment.client("sts", credentials=_as_operator(own))

    def make(hint: str) -> Guest:
        nonlocal handover
        handover = handover or Handover()  # shared: a broadcast to many wakes the loop once
        credentials = CognitoCredentials(identity_pool_id=outputs.identity_pool_id, client=cognito)
        client = BroadcastClient(
            endpoint=endpoint,
            credentials=credentials,
            client_id=environment.names.client_id(outputs.client_id_prefix, hint),
            patience=patience,
            trace=trace,
            handover=handover,
        )
        return SdkGuest(client, credentials=credentials, make_sts=make_sts)

    return make


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
