"""What a target is, and what a run gets from one that has started.

A `Target` starts and stops; `start` gives an `Environment`: where everything is, and boto3 clients that reach it.
Clients made here take nothing from the user's own AWS settings: no profile, environment variable, shared file, proxy
or CA bundle can lead a run elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

from harness.errors import TargetUnavailable
from harness.targets.outputs import StackOutputs

if TYPE_CHECKING:
    from harness.targets.names import Names
    from harness.targets.ready import ReadyFile


class Capability(StrEnum):
    """What a test may need of a target; a test that needs more than a target has is skipped as not proven."""

    GUESTS = "GUESTS"
    """An identity pool gives guests credentials, and these connect them over WebSocket."""
    DEVICES = "DEVICES"
    """A registered certificate connects a device over mutual TLS."""
    OPERATOR = "OPERATOR"
    """What the AWS API publishes reaches who is subscribed."""
    AUTHENTICATION = "AUTHENTICATION"
    """Who has no valid signature or no registered certificate is refused."""
    POLICY = "POLICY"
    """Policies decide who may do what, as on AWS."""
    TRACE = "TRACE"
    """The target tells why it decided what."""
    FAULTS = "FAULTS"
    """Credentials can be made to expire, connections to drop, AWS calls to fail and receivers to die."""
    HTTP_ACTION = "HTTP_ACTION"
    """Topic rules post to HTTPS endpoints."""
    DESTINATION_CONFIRMATION = "DESTINATION_CONFIRMATION"
    """Rules post only to destinations that have confirmed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """AWS credentials; the secrets are never printed.

    Args:
        access_key_id: ``AKIA…`` or ``ASIA…``.
        secret_access_key: the key to it.
        session_token: None for a long-lived key.
    """

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """A target that has started: where everything is.

    Args:
        target: the target's name.
        region: AWS region.
        account_id: 12 digits; None when not known without asking.
        iot_endpoint: bare host of the broker.
        mqtts_port: MQTT with client certificate.
        wss_port: MQTT over WebSocket.
        names: makes the names of everything this run creates.
        control_plane_url: base URL of the AWS APIs; None on AWS.
        ca_file: PEM file that the broker's certificate is checked with; None: the system's.
        credentials: the operator's; None: whatever the user's AWS settings say.
        admin_url: base URL of the stand-in's admin API; None where there is none.
        admin_token: its bearer token; never printed.
        stack_outputs: None when no stack was deployed; see `outputs`.
        ready: the ready file's content where the target has one, to be handed to other processes.
        is_shared: the account outlives the run, so that whatever the run makes has to be taken away again, Cognito
            identities included.
        is_delayed: a change of certificates, attachments and policies takes effect some time after its call has
            returned, as on AWS.
        has_own_settings: clients are boto3's own, with the user's AWS settings: credentials by its chain, endpoints
            as configured; `control_plane_url` and `credentials` are None then.
    """

    target: str
    region: str
    account_id: str | None = None
    iot_endpoint: str
    mqtts_port: int
    wss_port: int
    names: Names
    control_plane_url: str | None = None
    ca_file: str | None = None
    credentials: Credentials | None = None
    admin_url: str | None = None
    admin_token: str | None = field(default=None, repr=False)
    stack_outputs: StackOutputs | None = None
    ready: ReadyFile | None = field(default=None, repr=False)
    is_shared: bool = False
    is_delayed: bool = False
    has_own_settings: bool = False

    @property
    def outputs(self) -> StackOutputs:
        """What the stack tells of itself.

        Raises:
            TargetUnavailable: no stack was deployed here.
        """
        if self.stack_outputs is None:
            raise TargetUnavailable(
                f"The {self.target} target was started without a stack, and guests need its identity pool: "
                "start `thingwright serve` without --no-stack."
            )
        return self.stack_outputs

    def client(
        self, service: str, *, credentials: Credentials | None = None, unsigned: bool = False, region: str | None = None
    ) -> Any:
        """Return a boto3 client of this environment.

        Args:
            service: boto3's name, for example ``iot`` or ``cognito-identity``; ``iot-data`` goes to the live broker.
            credentials: None means the operator's.
            unsigned: send no signature, as a guest does before there are credentials.
            region: another region than the environment's, to be refused.
        """
        from harness.targets.aws_clients import make_client  # noqa: PLC0415 - boto3 takes 0.2 s to import

        return make_client(
            service,
            region=region or self.region,
            endpoint_url=self.control_plane_url,
            credentials=None if unsigned else credentials or self.credentials,
        )

    def with_names(self, names: Names) -> Environment:
        """Return the same environment for another worker or run."""
        return replace(self, names=names)

    @classmethod
    def from_ready(cls, target: str, ready: ReadyFile, *, names: Names) -> Environment:
        """Return the environment that a ready file tells of.

        Raises:
            TargetUnavailable: the stack's outputs are not what a stack of this project gives.
        """
        return cls(
            target=target,
            region=ready.region,
            account_id=ready.account_id,
            iot_endpoint=ready.iot_endpoint,
            mqtts_port=ready.mqtts_port,
            wss_port=ready.wss_port,
            names=names,
            control_plane_url=ready.control_plane_url,
            ca_file=ready.ca_file,
            credentials=Credentials(access_key_id=ready.access_key_id, secret_access_key=ready.secret_access_key),
            admin_url=ready.admin_url,
            admin_token=ready.admin_token,
            stack_outputs=StackOutputs.parse(ready.outputs) if ready.outputs else None,
            ready=ready,
        )


class Target(Protocol):
    """A place to run at."""

    @property
    def name(self) -> str:
        """As ``--target`` takes it."""
        ...

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What tests may need and this target has."""
        ...

    @property
    def patience(self) -> float:
        """Seconds that a wait for something that should come may take here."""
        ...

    def start(self) -> Environment:
        """Make the target ready.

        Raises:
            TargetError: it cannot be used here, or its stack could not be deployed.
        """
        ...

    def check(self) -> None:
        """Make sure that the target still runs; cheap enough for every test.

        Raises:
            TargetError: it ended; the message holds the tail of its log.
        """
        ...

    def stop(self) -> None:
        """Give back what `start` took; without effect when not started or already stopped."""
        ...
