"""What each process of one start is told: names, addresses and secrets, all made before the first process starts.

Everything is new for every start. Secrets go where only this user can look: into configuration files of mode 0600, the
environment of a process, a pipe; never into a log or a representation.
"""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from harness.targets.embedded.certificates import ServerIdentity
    from harness.targets.embedded.options import SupervisorOptions

IOT_ENDPOINT: Final = "localhost"
CREDENTIALS_PATH: Final = "/v1/credentials"
"""Where the control plane hands out a role's credentials, as the agent of EKS Pod Identity does."""
CA_FILE: Final = "ca.pem"
"""What the stand-in's CA is called in the folder of a start."""
_TTL_DAYS: Final = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Briefing:
    """What was decided for one start.

    Args:
        options: what was asked for.
        folder: private to this start.
        addresses: loopback addresses to listen on.
        control_port: where the control plane listens already.
        table_name: the receiver's table, which the stack makes.
        receiver_role_name: the receiver's role, which the stack makes as well.
        access_key_id: the account's root key.
        secret_access_key: its secret.
        admin_token: for the admin API.
        receiver_token: what the receiver asks the control plane for credentials with.
        iot_secret: what the rule sends along and the receiver insists on.
    """

    options: SupervisorOptions
    folder: Path
    addresses: Sequence[str]
    control_port: int
    table_name: str
    receiver_role_name: str
    access_key_id: str
    secret_access_key: str = field(repr=False)
    admin_token: str = field(repr=False)
    receiver_token: str = field(repr=False)
    iot_secret: str = field(repr=False)

    @classmethod
    def make(cls, options: SupervisorOptions, *, folder: Path, addresses: Sequence[str], control_port: int) -> Briefing:
        """Make up names and secrets."""
        suffix = secrets.token_hex(4)
        return cls(
            options=options,
            folder=folder,
            addresses=tuple(addresses),
            control_port=control_port,
            table_name=f"readings-{suffix}",
            receiver_role_name=f"receiver-{suffix}",
            access_key_id="AKIA" + base64.b32encode(secrets.token_bytes(10)).decode("ascii"),
            secret_access_key=secrets.token_urlsafe(30),
            admin_token=secrets.token_urlsafe(32),
            receiver_token=secrets.token_urlsafe(32),
            iot_secret=secrets.token_urlsafe(32),
        )

    @property
    def control_url(self) -> str:
        """Base URL of the control plane."""
        return f"http://127.0.0.1:{self.control_port}"

    @property
    def ca_file(self) -> str:
        """The PEM file of the stand-in's CA; there before the first process reports."""
        return str(self.folder / CA_FILE)

    def for_control(self, *, link_fd: int, listen_fds: Sequence[int], supervisor_fd: int | None) -> dict[str, Any]:
        """Return the control plane's configuration; the CA's file need not be there yet."""
        config = {
            **self._common(),
            "link_fd": link_fd,
            "listen_fds": list(listen_fds),
            "url": self.control_url,
            "iot_endpoint": IOT_ENDPOINT,
            "http_ca_files": [self.ca_file, *self._further_ca_files()],
        }
        if supervisor_fd is not None:
            config |= {
                "supervisor_fd": supervisor_fd,
                "receiver_token": self.receiver_token,
                "receiver_role_name": self.receiver_role_name,
            }
        return config

    def for_broker(self, identity: ServerIdentity, *, link_fd: int) -> dict[str, Any]:
        """Return the broker's configuration."""
        config = {
            **self._common(),
            "link_fd": link_fd,
            "tls_cert": str(identity.certificate),
            "tls_key": str(identity.key),
            "ca_file": self.ca_file,
            "mqtts_port": self.options.mqtts_port,
            "wss_port": self.options.wss_port,
        }
        if further := self._further_ca_files():
            config["http_ca_files"] = further
        return config

    def for_deployment(self, stack: Path, *, start_fd: int) -> dict[str, Any]:
        """Return the deployment's configuration; `start_line` comes later, through ``start_fd``."""
        return {
            "program": str(stack.absolute()),
            "stack": "embedded",
            "region": self.options.region,
            "access_key_id": self.access_key_id,
            "secret_access_key": self.secret_access_key,
            "start_fd": start_fd,
        }

    def start_line(self, *, mqtts_port: int, wss_port: int, receiver_url: str) -> dict[str, Any]:
        """Return what the deployment needs besides: where everybody is, and the program's configuration."""
        return {
            "endpoint_url": self.control_url,
            "config": {
                "iotMqttsPort": str(mqtts_port),
                "iotWssPort": str(wss_port),
                "caFile": self.ca_file,
                "tableName": self.table_name,
                "receiverUrl": receiver_url,
                "iotSecret": self.iot_secret,
                "receiverRoleName": self.receiver_role_name,
                "requireClientId": "true",
                "guestsAreSwept": "true",
            },
        }

    def for_receiver(self, identity: ServerIdentity) -> dict[str, str]:
        """Return the environment of a receiver, without its ``PORT``.

        It has no AWS keys: it asks the control plane for its role's, as a pod asks its agent.
        """
        return {
            "TABLE_NAME": self.table_name,
            "AWS_REGION": self.options.region,
            "AWS_ENDPOINT_URL": self.control_url,
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": self.control_url + CREDENTIALS_PATH,
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": self.receiver_token,
            "IOT_SECRETS": self.iot_secret,
            "CONFIRM_ORIGINS": self.control_url,
            "REQUIRE_CLIENT_ID": "true",
            "TTL_DAYS": str(_TTL_DAYS),
            "HOST": ",".join(self.addresses),
            "TLS_CERT": str(identity.certificate),
            "TLS_KEY": str(identity.key),
        }

    def _common(self) -> dict[str, Any]:
        return {
            "region": self.options.region,
            "account_id": self.options.account_id,
            "access_key_id": self.access_key_id,
            "secret_access_key": self.secret_access_key,
            "admin_token": self.admin_token,
            "quirks": dict(self.options.quirks),
            "host_addresses": list(self.addresses),
        }

    def _further_ca_files(self) -> list[str]:
        return [str(self.options.http_ca_file.absolute())] if self.options.http_ca_file is not None else []
