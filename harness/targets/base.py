"""What a target is, and what a run gets from one that has started.

A `Target` starts and stops; `start` gives an `Environment`: where everything is, and boto3 clients that reach it.
Clients made here take nothing from the user's own AWS settings: no profile, environment variable, shared file, proxy
or CA bundle can lead a run elsewhere.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from harness.errors import TargetUnavailable
from harness.targets.outputs import StackOutputs
from harness.targets.ready import ReadyFile

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.targets.names import Names


class Capability(StrEnum):
    """What a test may need of a target; a test that needs more than a target has is skipped as not proven."""

    GUESTS = "GUESTS"
    """An identity pool gives guests credentials, and these connect them over WebSocket."""
    DEVICES = "DEVICES"
    """A registered certificate connects a device over mutual TLS."""
    OPERATOR = "OPERATOR"
    """What the AWS API publishes reaches who is subscribed."""
    AUTHENTICATION = "AUTHENTICATION"
    """Who has no valid signature is refused."""
    CERTIFICATES = "CERTIFICATES"
    """Who presents no registered, ACTIVE certificate is refused."""
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
    COMMANDS = "COMMANDS"
    """This project's commands can be told where it is: by a ready file, or by the outputs of a stack on AWS."""


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
        ca_file: PEM file that the broker's certificate is checked with, and the control plane's where its URL is https;
            None: the system's.
        credentials: the operator's; None: whatever the user's AWS settings say.
        admin_url: base URL of the stand-in's admin API; None where there is none.
        admin_token: its bearer token; never printed.
        stack_outputs: None when no stack was deployed; see `outputs`.
        ready: the ready file's content where the target has one, to be handed to other processes.
        is_shared: the account outlives the run, so that whatever the run makes has to be taken away again, Cognito
            identities included.
        owns_stack: the run deployed the stack and removes it, its identity pool with all guests included.
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
    owns_stack: bool = False
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
        # boto3 takes 0.2 s to import: not before somebody makes a client
        from harness.targets.aws_clients import make_client, make_own_client  # noqa: PLC0415 - see above

        if self.has_own_settings:
            return make_own_client(
                service,
                region=region or self.region,
                unsigned=unsigned,
                iot_endpoint=self.iot_endpoint,
                credentials=credentials,
            )
        is_https = (self.control_plane_url or "").startswith("https:")
        return make_client(
            service,
            region=region or self.region,
            endpoint_url=self.control_plane_url,
            credentials=None if unsigned else credentials or self.credentials,
            ca_file=self.ca_file if is_https else None,
        )

    def with_names(self, names: Names) -> Environment:
        """Return the same environment for another worker or run."""
        return replace(self, names=names)

    def to_json(self) -> dict[str, Any]:
        """Return everything but the names, secrets included, as JSON can carry it to another process of this run."""
        told = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "names"}
        return told | {
            "credentials": asdict(self.credentials) if self.credentials else None,
            "stack_outputs": self.stack_outputs.to_json() if self.stack_outputs else None,
            "ready": asdict(self.ready) if self.ready else None,
        }

    @classmethod
    def from_json(cls, told: Mapping[str, Any], *, names: Names) -> Environment:
        """Return the environment that `to_json` told of.

        Args:
            told: by a process of the same run and version.
            names: makes the names of everything that this process creates.
        """
        credentials, outputs, ready = told["credentials"], told["stack_outputs"], told["ready"]
        made = {
            "names": names,
            "credentials": Credentials(**credentials) if credentials else None,
            "stack_outputs": StackOutputs.parse(outputs) if outputs else None,
            "ready": ReadyFile(**ready) if ready else None,
        }
        return cls(**{**told, **made})

    @classmethod
    def from_ready(cls, target: str, ready: ReadyFile, *, names: Names, is_shared: bool = False) -> Environment:
        """Return the environment that a ready file tells of.

        Args:
            target: the target's name.
            ready: the file's content.
            names: makes the names of everything this run creates.
            is_shared: the stand-in outlives the run.

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
            is_shared=is_shared,
        )


class Target(Protocol):
    """A place to run at."""

    @property
    def name(self) -> str:
        """As ``--target`` takes it."""
        ...

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What tests may need and this target has; known only after `start` where `is_probed`."""
        ...

    @property
    def lacks(self) -> Mapping[Capability, str]:
        """Why each capability that is missing is missing, in words; known only after `start` where `is_probed`."""
        ...

    @property
    def is_probed(self) -> bool:
        """Whether nobody can say what it has before it was started and tried (`harness.targets.probed`)."""
        ...

    @property
    def patience(self) -> float:
        """Seconds that a wait for something that should come may take here."""
        ...

    def check_options(self) -> None:
        """Find what can be found wrong without starting, asking or making anything.

        Raises:
            SettingsError: an option has a value that is not accepted.
            TargetUnavailable: something that the target needs is missing.
        """
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


@runtime_checkable
class Versioned(Protocol):
    """A target that starts somebody else's server, and knows which."""

    @property
    def versions(self) -> Mapping[str, str]:
        """What is started, by name; known before `Target.start`."""
        ...
