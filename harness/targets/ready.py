"""The ready file: how a running stand-in tells others where it is and with what they get in.

It holds secrets, so it is written with mode 0600, aside, and renamed: a reader sees all of it or nothing. A reader
refuses one that others could have written or read.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import stat
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, get_type_hints

from harness.errors import TargetUnavailable

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyFile:
    """What a running stand-in accepts connections with.

    Args:
        pid: the supervisor's process.
        region: AWS region it plays.
        account_id: 12 digits.
        control_plane_url: base URL of the AWS APIs for boto3, without a trailing slash.
        iot_endpoint: bare host of the broker, as DescribeEndpoint answers.
        mqtts_port: MQTT and HTTPS with client certificate.
        wss_port: MQTT over WebSocket and HTTPS with SigV4.
        ca_file: PEM file of the CA that signed the server certificate.
        access_key_id: of the account's root, which may do everything.
        secret_access_key: the key to it; never printed.
        admin_url: base URL of the admin API.
        admin_token: bearer token of the admin API; never printed.
        receiver_url: base URL of the receiver; None when there is none.
        outputs: outputs of the stack by their names there; empty when no stack was deployed.
    """

    pid: int
    region: str
    account_id: str
    control_plane_url: str
    iot_endpoint: str
    mqtts_port: int
    wss_port: int
    ca_file: str
    access_key_id: str
    secret_access_key: str = field(repr=False)
    admin_url: str
    admin_token: str = field(repr=False)
    receiver_url: str | None = None
    outputs: dict[str, Any] = field(default_factory=dict)

    @property
    def is_running(self) -> bool:
        """Whether the supervisor's process is there."""
        return _is_running(self.pid)


def write(path: Path, ready: ReadyFile) -> None:
    """Write a ready file, mode 0600, in one step for whoever looks.

    Raises:
        OSError: the folder does not exist or cannot be written.
    """
    path = path.absolute()
    aside = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(asdict(ready), file, indent=1)
            file.write("\n")
        aside.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            aside.unlink()
        raise


def remove(path: Path, *, pid: int) -> None:
    """Remove a ready file, unless it meanwhile belongs to another process."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        if json.loads(path.read_text("utf-8"))["pid"] == pid:
            path.unlink()


def read(path: Path, *, check_running: bool = True) -> ReadyFile:
    """Read a ready file and check that what it tells of is running.

    Unknown fields are ignored: the writer may be newer.

    Args:
        path: of the file.
        check_running: False also reads the file of one that is gone.

    Raises:
        TargetUnavailable: there is no such file, others may read it, it is not a ready file, or its process is gone.
    """
    serve = f"start `thingwright serve --ready-file {path}`"
    try:
        with path.open(encoding="utf-8") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            text = file.read()
    except FileNotFoundError:
        raise TargetUnavailable(f"There is no ready file {path}: {serve} first.") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise TargetUnavailable(f"The ready file {path} cannot be read ({reason}).") from None
    if os.name == "posix" and mode & 0o077:
        raise TargetUnavailable(
            f"The ready file {path} has mode {mode:04o}, so others on this machine could use its keys: `chmod 600` it."
        )
    ready = _parse(path, text)
    if check_running and not ready.is_running:
        raise TargetUnavailable(f"The ready file {path} is of process {ready.pid}, which is gone: {serve} again.")
    return ready


def _parse(path: Path, text: str) -> ReadyFile:
    try:
        data = json.loads(text)
    except ValueError:
        data = None
    if not isinstance(data, dict):
        raise TargetUnavailable(f"{path} is not a ready file of `thingwright serve` (it is not a JSON object).")
    accepted = get_type_hints(ReadyFile)
    accepted["outputs"] = dict  # the one parametrised type: isinstance takes the bare one
    values: dict[str, Any] = {}
    for each in fields(ReadyFile):
        if each.name in data:
            values[each.name] = data[each.name]
            if not isinstance(data[each.name], accepted[each.name]) or isinstance(data[each.name], bool):
                raise TargetUnavailable(
                    f"{path} is not a ready file of `thingwright serve` ({each.name} is of another type)."
                )
        elif each.name not in ("receiver_url", "outputs"):
            raise TargetUnavailable(f"{path} is not a ready file of `thingwright serve` ({each.name} is missing).")
    return ReadyFile(**values)


def _is_running(pid: int) -> bool:
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # it exists and belongs to someone else, or this system cannot tell
    return True
