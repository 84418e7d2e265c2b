"""What can be chosen about a stand-in before it starts."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from harness.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DEFAULT_STACK: Final = Path(__file__).resolve().parents[3] / "infra" / "pulumi"
"""The program that the embedded target deploys unless told otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorOptions:
    """What to start.

    Args:
        stack: folder of the Pulumi program to deploy; None deploys nothing and starts no receiver.
        quirks: switches of the stand-in that differ from their defaults, name to value as typed.
        region: AWS region to play.
        account_id: 12 digits.
        mqtts_port: 0 takes a free one, as for the other ports.
        wss_port: MQTT over WebSocket.
        control_port: the AWS APIs.
        receiver_port: the receiver's HTTPS.
        http_ca_file: PEM file of a further CA that HTTP actions and the confirmation of destinations trust, for a
            receiver of the user's own; None trusts the stand-in's alone.
        control_command: arguments after the interpreter for the control plane.
        broker_command: the same for the broker.
        deployment_command: the same for the deployment.
        receiver_command: the same for the receiver.
    """

    stack: Path | None = DEFAULT_STACK
    quirks: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    region: str = "us-east-1"
    account_id: str = "123456789012"
    mqtts_port: int = 0
    wss_port: int = 0
    control_port: int = 0
    receiver_port: int = 0
    http_ca_file: Path | None = None
    control_command: Sequence[str] = ("-m", "harness.embedded.control")
    broker_command: Sequence[str] = ("-m", "harness.embedded")
    deployment_command: Sequence[str] = ("-m", "harness.targets.provisioning")
    receiver_command: Sequence[str] = ("-m", "receiver")

    def check(self) -> None:
        """Make sure that the files exist and are what they should be.

        Raises:
            SettingsError: one is not; names it.
        """
        if self.stack is not None and not (self.stack / "Pulumi.yaml").is_file():
            raise SettingsError("stack", str(self.stack), "the folder of a Pulumi program, with a Pulumi.yaml")
        if self.http_ca_file is not None:
            import ssl  # noqa: PLC0415 - only who names such a file waits for the import

            try:
                ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(self.http_ca_file)
            except OSError:  # ssl.SSLError is one
                raise SettingsError("http_ca_file", str(self.http_ca_file), "a PEM file of CA certificates") from None
