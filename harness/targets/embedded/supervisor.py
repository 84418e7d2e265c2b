"""Brings the processes of the stand-in up, side by side, and down again.

Up: the control plane first, since its imports take longest, then the process that deploys the stack, which imports
while it waits; then the certificates and the broker. When both have reported, the deployment gets the address to go
to. Down: everyone is asked to end, those who do not are killed, and the folder with their files goes.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import secrets
import selectors
import signal
import socket
import sys
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from harness.errors import ProvisioningError, SettingsError, TargetDied, TargetUnavailable
from harness.targets.embedded.folder import PrivateFolder, remove_abandoned
from harness.targets.embedded.process import Child, Lifeline
from harness.targets.ready import ReadyFile

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

DEFAULT_STACK: Final = Path(__file__).resolve().parents[3] / "infra" / "pulumi"
"""The program that the embedded target deploys unless told otherwise."""

_START_SECONDS: Final = 60.0
"""How long a start may take on the slowest machine; a healthy one takes about a second."""
_TERM_SECONDS: Final = 1.0
_KILL_SECONDS: Final = 0.5
_IOT_ENDPOINT: Final = "localhost"
_ADMIN_PATH: Final = "/_thingwright"

_CONTROL: Final = "control plane"
_BROKER: Final = "broker"
_DEPLOYMENT: Final = "deployment"


class Interrupted(Exception):  # noqa: N818 - not an error: the start was called off
    """The wake-up descriptor became readable while something was waited for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorOptions:
    """What to start.

    Args:
        stack: folder of the Pulumi program to deploy; None deploys nothing.
        quirks: switches of the stand-in that differ from their defaults, name to value as typed.
        region: AWS region to play.
        account_id: 12 digits.
        mqtts_port: 0 takes a free one, as for the other ports.
        wss_port: MQTT over WebSocket.
        control_port: the AWS APIs.
        control_command: arguments after the interpreter for the control plane.
        broker_command: the same for the broker.
        deployment_command: the same for the deployment.
    """

    stack: Path | None = DEFAULT_STACK
    quirks: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    region: str = "us-east-1"
    account_id: str = "123456789012"
    mqtts_port: int = 0
    wss_port: int = 0
    control_port: int = 0
    control_command: Sequence[str] = ("-m", "harness.embedded.control")
    broker_command: Sequence[str] = ("-m", "harness.embedded")
    deployment_command: Sequence[str] = ("-m", "harness.targets.provisioning")


class Supervisor:
    """Owns the processes of one stand-in.

    Args:
        options: what to start.
        wake_up: a descriptor that becomes readable when a wait is to be broken off; None when none is.
    """

    def __init__(self, options: SupervisorOptions | None = None, *, wake_up: int | None = None) -> None:
        self._options = options or SupervisorOptions()
        self._wake_up = wake_up
        self._children: list[Child] = []
        self._lifeline: Lifeline | None = None
        self._folder: PrivateFolder | None = None
        self._stopping = threading.Lock()

    def start(self) -> ReadyFile:
        """Start everything and deploy the stack.

        Returns:
            Where it is, once all of it accepts connections.

        Raises:
            TargetUnavailable: it cannot run here.
            SettingsError: an option has a value that cannot be.
            TargetDied: a process ended before it was ready.
            ProvisioningError: the stack could not be deployed.
            Interrupted: the wake-up descriptor became readable.
        """
        if sys.platform == "win32":
            raise TargetUnavailable("The embedded target needs Linux or macOS: on Windows, run it inside WSL.")
        if self._lifeline is not None:
            raise RuntimeError("already started")
        stack = self._options.stack
        if stack is not None and not (stack / "Pulumi.yaml").is_file():
            raise SettingsError("stack", str(stack), "the folder of a Pulumi program, with a Pulumi.yaml")
        try:
            return self._start()
        except BaseException as error:
            self.stop()
            if isinstance(error, TargetDied) and error.process == _DEPLOYMENT:
                raise _provisioning_error(error, stack) from None
            raise

    def check(self) -> None:
        """Make sure that every process still runs.

        Raises:
            TargetDied: one does not.
        """
        for child in self._children:
            if child.has_ended:
                raise child.death()

    def wait(self) -> None:
        """Wait until a process ends or the wake-up descriptor becomes readable.

        Raises:
            TargetDied: a process ended.
            Interrupted: the wake-up descriptor became readable.
        """
        with selectors.DefaultSelector() as selector:
            self._watch(selector)
            while True:
                for key, _events in selector.select():
                    self._look_at(key)

    def stop(self) -> None:
        """End every process within 2 s and remove their files; without effect when nothing runs.

        May be called from another thread while `start` is under way: that then fails.
        """
        with self._stopping:
            self._stop()

    def _stop(self) -> None:
        for child in self._children:
            # Whoever is still starting has nothing to put away, and may not listen before it has started.
            child.signal(signal.SIGTERM if child.has_reported else signal.SIGKILL)
        deadline = time.monotonic() + _TERM_SECONDS
        for child in self._children:
            child.wait(deadline - time.monotonic())
        if self._lifeline is not None:
            self._lifeline.cut()
            self._lifeline = None
        stubborn = [child for child in self._children if not child.has_ended]
        for child in stubborn:
            child.signal(signal.SIGKILL)
        deadline = time.monotonic() + _KILL_SECONDS
        for child in stubborn:
            child.wait(deadline - time.monotonic())
        for child in self._children:
            child.close()
        self._children.clear()
        if self._folder is not None:
            self._folder.remove()
            self._folder = None

    def _start(self) -> ReadyFile:
        options = self._options
        self._folder = PrivateFolder()
        self._lifeline = Lifeline()
        access_key_id = "AKIA" + base64.b32encode(secrets.token_bytes(10)).decode("ascii")
        keys = {"access_key_id": access_key_id, "secret_access_key": secrets.token_urlsafe(30)}
        admin_token = secrets.token_urlsafe(32)
        common = {
            "region": options.region,
            "account_id": options.account_id,
            **keys,
            "admin_token": admin_token,
            "quirks": dict(options.quirks),
            "host_addresses": _loopback_addresses(),
        }
        link = socket.socketpair()
        try:
            control = self._spawn_control(common, link[0])
            deployment, start_end = self._spawn_deployment(options.stack, keys) if options.stack else (None, -1)
            try:
                ca_file, broker = self._spawn_broker(common, link[1])
                remove_abandoned()  # while the children start
                reports = self._await_reports([control, broker])
                if deployment is not None:
                    _tell(start_end, _start_line(reports[control], reports[broker], ca_file=ca_file))
            finally:
                if deployment is not None:
                    os.close(start_end)
        finally:
            for end in link:
                end.close()
        url = f"http://127.0.0.1:{reports[control]['port']}"
        ready = ReadyFile(
            pid=os.getpid(),
            region=options.region,
            account_id=options.account_id,
            control_plane_url=url,
            iot_endpoint=_IOT_ENDPOINT,
            mqtts_port=reports[broker]["mqtts_port"],
            wss_port=reports[broker]["wss_port"],
            ca_file=str(ca_file),
            access_key_id=keys["access_key_id"],
            secret_access_key=keys["secret_access_key"],
            admin_url=url + _ADMIN_PATH,
            admin_token=admin_token,
        )
        if deployment is None:
            return ready
        return replace(ready, outputs=self._await_outputs(deployment))

    def _spawn_control(self, common: Mapping[str, Any], link: socket.socket) -> Child:
        assert self._folder is not None  # noqa: S101 - for the type checker: start made it
        config = {
            **common,
            "link_fd": link.fileno(),
            "port": self._options.control_port,
            "iot_endpoint": _IOT_ENDPOINT,
            "state_dir": str(self._folder.path),
        }
        return self._spawn(_CONTROL, self._options.control_command, config, inherits=[link.fileno()])

    def _spawn_broker(self, common: Mapping[str, Any], link: socket.socket) -> tuple[Path, Child]:
        from harness.targets.embedded.certificates import (  # noqa: PLC0415 - imported while the others start
            make_server_identity,
        )

        assert self._folder is not None  # noqa: S101 - for the type checker: start made it
        identity = make_server_identity(self._folder.path)
        config = {
            **common,
            "link_fd": link.fileno(),
            "tls_cert": str(identity.certificate),
            "tls_key": str(identity.key),
            "mqtts_port": self._options.mqtts_port,
            "wss_port": self._options.wss_port,
        }
        return identity.ca, self._spawn(_BROKER, self._options.broker_command, config, inherits=[link.fileno()])

    def _spawn_deployment(self, stack: Path, keys: Mapping[str, str]) -> tuple[Child, int]:
        start_read, start_write = os.pipe()
        config = {
            "program": str(stack.absolute()),
            "stack": "embedded",
            "region": self._options.region,
            **keys,
            "start_fd": start_read,
        }
        try:
            child = self._spawn(
                _DEPLOYMENT, self._options.deployment_command, config, inherits=[start_read], answers_on_stdout=True
            )
        except BaseException:
            os.close(start_write)
            raise
        finally:
            os.close(start_read)
        return child, start_write

    def _spawn(
        self,
        name: str,
        command: Sequence[str],
        config: Mapping[str, Any],
        *,
        inherits: Sequence[int],
        answers_on_stdout: bool = False,
    ) -> Child:
        assert self._folder is not None  # noqa: S101 - for the type checker: start made it
        assert self._lifeline is not None  # noqa: S101 - the same
        child = Child(
            name,
            command,
            config,
            folder=self._folder.path,
            lifeline=self._lifeline,
            inherits=inherits,
            answers_on_stdout=answers_on_stdout,
        )
        self._children.append(child)
        return child

    def _await_reports(self, awaited: Sequence[Child]) -> dict[Child, dict[str, Any]]:
        """Wait for the report of each child, while all of them live."""
        reports: dict[Child, dict[str, Any]] = {}
        deadline = time.monotonic() + _START_SECONDS
        with selectors.DefaultSelector() as selector:
            self._watch(selector)
            for child in awaited:
                selector.register(child.report_fd, selectors.EVENT_READ, child)
            while len(reports) < len(awaited):
                ready = selector.select(max(0.0, deadline - time.monotonic()))
                if not ready:
                    late = next(child for child in awaited if child not in reports)
                    raise TargetDied(late.name, f"was not ready within {_START_SECONDS:.0f} s", tail=late.tail())
                # Reports before ends: a process that has reported and then ended did report.
                for key, _events in sorted(ready, key=lambda each: not _is_report(each[0])):
                    if not _is_report(key):
                        self._look_at(key, reported=reports)
                    elif (report := key.data.read_report()) is not None:
                        reports[key.data] = report
                        selector.unregister(key.fd)
        return reports

    def _await_outputs(self, deployment: Child) -> dict[str, Any]:
        outputs = self._await_reports([deployment])[deployment]
        deployment.signal(signal.SIGKILL)  # it has said all it had to say
        deployment.wait(_KILL_SECONDS)
        deployment.close()
        self._children.remove(deployment)
        return outputs

    def _watch(self, selector: selectors.BaseSelector) -> None:
        for child in self._children:
            selector.register(child.presence_fd, selectors.EVENT_READ, child)
        if self._wake_up is not None:
            selector.register(self._wake_up, selectors.EVENT_READ)

    def _look_at(self, key: selectors.SelectorKey, *, reported: Collection[Child] = ()) -> None:
        """Raise what a readable descriptor means, unless it is the deployment's end after its report."""
        if key.fd == self._wake_up:
            raise Interrupted
        child: Child = key.data
        if child.name != _DEPLOYMENT or child not in reported:
            raise child.death()


def _is_report(key: selectors.SelectorKey) -> bool:
    return key.data is not None and key.fd == key.data.report_fd


def _tell(descriptor: int, line: Mapping[str, Any]) -> None:
    """Give the deployment the address to go to; whether it still lives shows when its answer is awaited."""
    with contextlib.suppress(BrokenPipeError):
        os.write(descriptor, json.dumps(line).encode() + b"\n")


def _start_line(control: Mapping[str, Any], broker: Mapping[str, Any], *, ca_file: Path) -> dict[str, Any]:
    return {
        "endpoint_url": f"http://127.0.0.1:{control['port']}",
        "config": {
            "iotMqttsPort": str(broker["mqtts_port"]),
            "iotWssPort": str(broker["wss_port"]),
            "caFile": str(ca_file),
        },
    }


def _provisioning_error(error: TargetDied, stack: Path | None) -> ProvisioningError:
    """Turn the end of the deployment into the error it left as the last line of its log."""
    try:
        told = json.loads(error.tail[-1])
        return ProvisioningError(
            told["resource"], reason=told["reason"], call=told["call"], request_id=told["request_id"]
        )
    except (IndexError, ValueError, KeyError, TypeError):
        return ProvisioningError(f"program {stack}", reason=str(error))


def _loopback_addresses() -> list[str]:
    """Return the loopback addresses of this machine: 127.0.0.1 and, where there is one, ::1."""
    addresses = ["127.0.0.1"]
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
        probe.bind(("::1", 0))
        addresses.append("::1")
    return addresses
