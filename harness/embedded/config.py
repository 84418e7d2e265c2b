"""What the broker process is told at its start: one JSON file, written by the supervisor, read once."""

from __future__ import annotations

import json
from dataclasses import MISSING, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final

from harness.errors import SettingsError

if TYPE_CHECKING:
    from pathlib import Path

_NOT_EMPTY: Final = frozenset({"host_addresses"})


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerConfig:
    """The settings of one broker process.

    Attributes:
        region: as in ARNs and signature scopes.
        account_id: 12 digits.
        access_key_id: the account's root key, valid until the control plane says otherwise.
        secret_access_key: its secret; never printed.
        quirks: name to value, as `harness.iot.quirks` knows them.
        lifeline_fd: read end of a pipe; the process ends itself when the other end closes.
        link_fd: one end of the socket pair to the control plane.
        report_fd: where one JSON line with the ports goes once connections are accepted.
        host_addresses: IP addresses to listen on, the first one mandatory.
        tls_cert: path of the server certificate and its chain, PEM.
        tls_key: path of its key, PEM.
        ca_file: path of the CA that signed the server certificates of this stand-in, PEM; HTTP actions trust it.
        http_ca_files: paths of further CAs that HTTP actions trust.
        mqtts_port: 0 for any.
        wss_port: 0 for any.
        iot_endpoint: the name clients connect to, besides ``localhost``.
        trace_capacity: records the trace keeps.
    """

    region: str
    account_id: str
    access_key_id: str
    secret_access_key: str = field(repr=False)
    lifeline_fd: int
    link_fd: int
    report_fd: int
    host_addresses: tuple[str, ...]
    tls_cert: str
    tls_key: str
    quirks: dict[str, str | float] = field(default_factory=dict)
    mqtts_port: int = 0
    wss_port: int = 0
    iot_endpoint: str = "localhost"
    ca_file: str = ""
    http_ca_files: tuple[str, ...] = ()
    trace_capacity: int = 100_000


def read_config(path: Path) -> BrokerConfig:
    """Read a configuration file; what only the control plane needs is passed over.

    Raises:
        SettingsError: a value is missing or not of its type; names it, never shows a secret.
        OSError: the file cannot be read.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SettingsError("--config", str(path), f"a file with one JSON object ({error})") from None
    if not isinstance(raw, dict):
        raise SettingsError("--config", str(path), "a file with one JSON object")
    values: dict[str, Any] = {}
    for entry in fields(BrokerConfig):
        if entry.name in raw:
            values[entry.name] = _checked(entry.name, entry.type, raw[entry.name])
        elif entry.default is MISSING and entry.default_factory is MISSING:
            raise SettingsError(entry.name, None, "a value in the configuration file")
    return BrokerConfig(**values)


def _checked(name: str, kind: object, value: object) -> object:
    """Return a value as its field holds it. Annotations are strings here."""
    if kind == "int" and isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if kind == "str" and isinstance(value, str):
        return value
    if kind == "tuple[str, ...]" and isinstance(value, list) and (value or name not in _NOT_EMPTY):
        texts = tuple(item for item in value if isinstance(item, str))
        if len(texts) == len(value):
            return texts
    if kind == "dict[str, str | float]" and isinstance(value, dict):
        return value
    raise SettingsError(name, "…", f"a value of type {kind}")
