"""What the supervisor tells this process, read once."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.errors import SettingsError
from harness.iot.quirks import Quirks

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlConfig:
    """The configuration of the control plane.

    Args:
        region: the only region served.
        account_id: 12 digits.
        access_key_id: the account's root key.
        secret_access_key: its secret.
        admin_token: for the admin API.
        iot_endpoint: the bare host that DescribeEndpoint answers.
        host_addresses: where to listen; all on one port.
        port: 0 for any free one.
        listen_fds: sockets that listen already, all on one port; then `host_addresses` and `port` are not looked at.
        url: base URL of this process for others on this machine, without a trailing slash; empty for one made of the
            port.
        http_ca_files: PEM files of the CAs that the confirmation of a rule destination trusts.
        receiver_token: what the receiver authorises itself with for credentials; empty when there is no receiver.
        receiver_role_name: the role whose credentials it gets; empty when there is no receiver.
        supervisor_fd: this process's end of a socket pair on which the supervisor starts and stops receivers; None
            where there is no supervisor to ask.
        lifeline_fd: read end of a pipe whose closing ends this process; None in tests.
        link_fd: this process's end of the socket pair to the broker.
        report_fd: where one line says that all accepts connections; None in tests.
        quirks: switches.
    """

    region: str
    account_id: str
    access_key_id: str
    secret_access_key: str = field(repr=False)
    admin_token: str = field(repr=False)
    iot_endpoint: str = "localhost"
    host_addresses: tuple[str, ...] = ("127.0.0.1", "::1")
    port: int = 0
    listen_fds: tuple[int, ...] = ()
    url: str = ""
    http_ca_files: tuple[str, ...] = ()
    receiver_token: str = field(default="", repr=False)
    receiver_role_name: str = ""
    supervisor_fd: int | None = None
    lifeline_fd: int | None = None
    link_fd: int | None = None
    report_fd: int | None = None
    quirks: Quirks = field(default_factory=Quirks)


_REQUIRED = ("region", "account_id", "access_key_id", "secret_access_key", "admin_token")
_OPTIONAL = (
    *("iot_endpoint", "port", "url", "receiver_token", "receiver_role_name"),
    *("supervisor_fd", "lifeline_fd", "link_fd", "report_fd"),
)


def read_config(path: Path) -> ControlConfig:
    """Read a configuration file; members meant for others are left alone.

    Raises:
        SettingsError: a member is missing or of the wrong type.
        OSError: the file cannot be read.
    """
    members: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    for name in _REQUIRED:
        if not isinstance(members.get(name), str) or not members[name]:
            raise SettingsError(name, "missing" if name not in members else "…", "a string")
    return ControlConfig(
        **{name: members[name] for name in _REQUIRED},
        **{name: members[name] for name in _OPTIONAL if members.get(name) is not None},
        host_addresses=tuple(members.get("host_addresses") or ("127.0.0.1", "::1")),
        listen_fds=tuple(members.get("listen_fds") or ()),
        http_ca_files=tuple(members.get("http_ca_files") or ()),
        quirks=Quirks().with_mapping(members.get("quirks") or {}),
    )
