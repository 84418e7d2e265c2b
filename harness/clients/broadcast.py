"""`BroadcastClient`: anyone on the internet, with guest credentials, over MQTT 5 in a WebSocket signed with SigV4."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from harness.clients.actor import Actor
from harness.clients.refusal import how_refused
from harness.clients.signing import HandshakeSigner, Signature
from harness.clients.tls import shared_context
from harness.clients.waiting import PATIENCE

if TYPE_CHECKING:
    from awscrt import io, mqtt5

    from harness.clients.connection import Ended
    from harness.clients.credentials import CredentialSource, TemporaryCredentials
    from harness.clients.handover import Handover
    from harness.clients.refusal import How
    from harness.clients.spending import Budget
    from harness.clients.trace import Trace

CLIENT_ID_PREFIX: Final = "public-"


@dataclass(frozen=True, slots=True, kw_only=True)
class WssEndpoint:
    """Where guests connect to.

    Args:
        host: bare host name or address.
        region: AWS region that the signature names.
        port: 443 on AWS.
        ca_file: PEM file that checks the server certificate; None means the system's authorities.
        is_port_shared: whether MQTT is served on this port as well, so that a guest has to say that it speaks HTTP; on
            443 it does so anyway.
    """

    host: str
    region: str
    port: int = 443
    ca_file: str | None = None
    is_port_shared: bool = False

    @classmethod
    def parse(cls, url: str, *, region: str, ca_file: str | None = None, is_port_shared: bool = False) -> WssEndpoint:
        """Read a stack's ``iotWssUrl``, ``wss://host[:port]/mqtt``; the rest is as for the class."""
        parts = urlsplit(url)
        return cls(
            host=parts.hostname or "",
            port=parts.port or 443,
            region=region,
            ca_file=ca_file,
            is_port_shared=is_port_shared,
        )


class BroadcastClient(Actor):
    """A guest: connects, subscribes, publishes, and remembers what it heard.

    It reconnects by itself when its connection breaks, with fresh credentials when the broker refuses the old ones, and
    subscribes again to what it had subscribed to. One client belongs to the event loop it connects on.

    Args:
        endpoint: where to connect to.
        credentials: where its credentials come from.
        client_id: ``public-`` and eight hexadecimal digits when None.
        signature: what kind of signature to put on the handshake.
        patience: seconds a wait for something that should come may take.
        trace: the target's trace, where it has one: refusals and failures quote it.
        handover: shared by the clients of one test; one of its own when None.
        has_metrics: whether to name the SDK in the user name, as AWS's builders do.
        settles_within: seconds it may take until a change of what it may do holds, as on AWS; 0: it holds at once.
        budget: how many messages the run may have; None: as many as it likes.
    """

    endpoint: WssEndpoint

    def __init__(  # noqa: PLR0913 - all but the first two have defaults, and are told by name
        self,
        *,
        endpoint: WssEndpoint,
        credentials: CredentialSource,
        client_id: str | None = None,
        signature: Signature | str = Signature.RIGHT,
        patience: float = PATIENCE,
        trace: Trace | None = None,
        handover: Handover | None = None,
        has_metrics: bool = True,
        settles_within: float = 0.0,
        budget: Budget | None = None,
    ) -> None:
        super().__init__(
            client_id=client_id or make_client_id(),
            endpoint=endpoint,
            patience=patience,
            trace=trace,
            handover=handover,
            has_metrics=has_metrics,
            settles_within=settles_within,
            budget=budget,
        )
        self._credentials = credentials
        self._signer = HandshakeSigner(
            source=credentials, host=endpoint.host, region=endpoint.region, signature=Signature(signature)
        )

    @property
    def credentials(self) -> TemporaryCredentials | None:
        """What its last handshake was signed with, None before the first and when it does not sign."""
        return self._signer.used

    @property
    def access_key_id(self) -> str | None:
        """Access key of its last handshake, None before the first and when it does not sign."""
        return self._signer.used.access_key_id if self._signer.used else None

    async def connect(self, *, insist: bool = False) -> None:
        """Get credentials, connect and wait for the CONNACK.

        Args:
            insist: take no refusal for an answer as long as what lets this one in may not yet hold; without effect
                where changes hold at once.

        Raises:
            ConnectionRefused: the broker, or what stands before it, did not let this client in; says how and, where
                known, why.
            TargetUnavailable: the endpoint cannot be reached.
            botocore.exceptions.ClientError: there are no credentials for this guest.
        """
        __tracebackhide__ = True
        await super().connect(insist=insist)

    async def _prepare(self) -> None:
        if self._signer.signature is not Signature.MISSING:
            await asyncio.to_thread(self._credentials.get)  # an error of Cognito's reaches the test as it is

    def _tls_context(self) -> io.ClientTlsContext:
        endpoint = self.endpoint
        return shared_context(endpoint.ca_file, port=endpoint.port, is_port_shared=endpoint.is_port_shared)

    def _options(self) -> mqtt5.ClientOptions:
        options = super()._options()
        options.websocket_handshake_transform = self._signer
        return options

    async def _why_not_let_in(self, trace: Trace, how: How) -> str | None:
        return await trace.why_connection_refused(client_id=self.client_id, how=how, access_key_id=self.access_key_id)

    def _went_down(self, ended: Ended) -> None:
        if how_refused(ended.error_name) != "upgrade-403" or self._signer.used is None:
            return
        if self._settles_within and not self.connections:
            return  # they are fresh and may hold in a moment, as others would have to
        self._credentials.discard(self._signer.used)


def make_client_id(prefix: str = CLIENT_ID_PREFIX) -> str:
    """Return a fresh client id of a guest: a prefix and eight hexadecimal digits."""
    return prefix + secrets.token_hex(4)
