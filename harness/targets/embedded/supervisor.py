"""Brings the processes of the stand-in up, side by side, and down again.

Up: the control plane first, since its imports take longest, on sockets that listen before it does; then the process
that deploys the stack, which imports while it waits; then the certificates, the receiver and the broker. When these
have reported, the deployment is told where they are. Down: everyone is asked to end, those who do not are killed, and
the folder with their files goes.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from harness.errors import TargetDied, TargetUnavailable
from harness.targets.embedded.briefing import IOT_ENDPOINT, Briefing
from harness.targets.embedded.children import Children
from harness.targets.embedded.control_requests import ControlRequests
from harness.targets.embedded.deployment import NAME as DEPLOYMENT
from harness.targets.embedded.deployment import Deployment, provisioning_error
from harness.targets.embedded.folder import remove_abandoned
from harness.targets.embedded.loopback import listen_on_loopback
from harness.targets.embedded.options import SupervisorOptions
from harness.targets.embedded.receivers import Receivers
from harness.targets.ready import ReadyFile

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from harness.targets.embedded.certificates import ServerIdentity
    from harness.targets.embedded.process import Child

_ADMIN_PATH: Final = "/_thingwright"
_JOIN_SECONDS: Final = 0.2
"""How long `Supervisor.stop` waits for other threads to have noticed; they do at once."""


class Supervisor:
    """Owns the processes of one stand-in.

    Args:
        options: what to start.
        wake_up: a descriptor that becomes readable when a wait is to be broken off; None when none is.
    """

    def __init__(self, options: SupervisorOptions | None = None, *, wake_up: int | None = None) -> None:
        self._options = options or SupervisorOptions()
        self._wake_up = wake_up
        self._children: Children | None = None
        self._requests: ControlRequests | None = None
        self._starting = threading.Lock()
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
            Interrupted: the wake-up descriptor became readable, or another thread called `stop`.
        """
        if sys.platform == "win32":
            raise TargetUnavailable("The embedded target needs Linux or macOS: on Windows, run it inside WSL.")
        if self._children is not None:
            raise RuntimeError("already started")
        self._options.check()
        try:
            with self._starting:
                return self._start()
        except BaseException as error:
            self.stop()
            if isinstance(error, TargetDied) and error.process == DEPLOYMENT:
                raise provisioning_error(error, self._options.stack) from None
            raise

    def check(self) -> None:
        """Make sure that every process still runs, but for receivers that were stopped on request.

        Raises:
            TargetDied: one does not.
        """
        if self._children is not None:
            self._children.check()

    def wait(self) -> None:
        """Wait until a process ends by itself or the wake-up descriptor becomes readable.

        Raises:
            TargetDied: a process ended.
            Interrupted: the wake-up descriptor became readable.
        """
        if self._children is None:
            raise RuntimeError("not started")
        self._children.wait()

    def stop(self) -> None:
        """End every process within 2 s and remove their files; without effect when nothing runs.

        May be called from another thread while `start` is under way: that then fails.
        """
        with self._stopping:
            children = self._children
            if children is None:
                return
            children.call_off()
            if self._requests is not None:
                self._requests.close(within=_JOIN_SECONDS)
                self._requests = None
            if self._starting.acquire(timeout=_JOIN_SECONDS):  # another thread's start has noticed
                self._starting.release()
            children.put_away()
            self._children = None

    def _start(self) -> ReadyFile:
        options = self._options
        children = self._children = Children(wake_up=self._wake_up)
        with contextlib.ExitStack() as handed_on:  # what the children have is closed here
            listening = [handed_on.enter_context(each) for each in listen_on_loopback(options.control_port)]
            link = [handed_on.enter_context(each) for each in socket.socketpair()]
            briefing = Briefing.make(
                options,
                folder=children.folder,
                addresses=[each.getsockname()[0] for each in listening],
                control_port=listening[0].getsockname()[1],
            )
            if options.stack is None:
                control = _spawn_control(children, briefing, listening, link[0])
                broker = _spawn_broker(children, briefing, _make_identity(children.folder), link[1])
                remove_abandoned()  # while the children start
                reports = children.await_reports([control, broker])
                return _ready(briefing, reports[broker])
            requests = self._requests = ControlRequests()
            asking = handed_on.enter_context(requests.other_side)
            control = _spawn_control(children, briefing, listening, link[0], asking)
            deployment = Deployment(children, briefing, options.stack)
            handed_on.callback(deployment.close)
            identity = _make_identity(children.folder)
            receivers = Receivers(
                children,
                command=options.receiver_command,
                environment=briefing.for_receiver(identity),
                main_port=options.receiver_port,
            )
            receiver = receivers.spawn_main()
            broker = _spawn_broker(children, briefing, identity, link[1])
            remove_abandoned()  # while the children start
            reports = children.await_reports([control, broker, receiver])
            receiver_url = receivers.take_main(reports[receiver])
            ready = _ready(briefing, reports[broker], receiver_url=receiver_url)
            start_line = briefing.start_line(
                mqtts_port=ready.mqtts_port, wss_port=ready.wss_port, receiver_url=receiver_url
            )
            ready = replace(ready, outputs=deployment.run(start_line))
        requests.serve(receivers)
        return ready


def _make_identity(folder: Path) -> ServerIdentity:
    # Imported while the control plane starts: it takes a while itself.
    from harness.targets.embedded.certificates import make_server_identity  # noqa: PLC0415 - see above

    return make_server_identity(folder)


def _spawn_control(
    children: Children,
    briefing: Briefing,
    listening: Sequence[socket.socket],
    link: socket.socket,
    asking: socket.socket | None = None,
) -> Child:
    listen_fds = [each.fileno() for each in listening]
    supervisor_fd = asking.fileno() if asking is not None else None
    return children.spawn(
        "control plane",
        briefing.options.control_command,
        config=briefing.for_control(link_fd=link.fileno(), listen_fds=listen_fds, supervisor_fd=supervisor_fd),
        inherits=[link.fileno(), *listen_fds, *([supervisor_fd] if supervisor_fd is not None else [])],
    )


def _spawn_broker(children: Children, briefing: Briefing, identity: ServerIdentity, link: socket.socket) -> Child:
    return children.spawn(
        "broker",
        briefing.options.broker_command,
        config=briefing.for_broker(identity, link_fd=link.fileno()),
        inherits=[link.fileno()],
    )


def _ready(briefing: Briefing, broker: Mapping[str, Any], *, receiver_url: str | None = None) -> ReadyFile:
    return ReadyFile(
        pid=os.getpid(),
        region=briefing.options.region,
        account_id=briefing.options.account_id,
        control_plane_url=briefing.control_url,
        iot_endpoint=IOT_ENDPOINT,
        mqtts_port=broker["mqtts_port"],
        wss_port=broker["wss_port"],
        ca_file=briefing.ca_file,
        access_key_id=briefing.access_key_id,
        secret_access_key=briefing.secret_access_key,
        admin_url=briefing.control_url + _ADMIN_PATH,
        admin_token=briefing.admin_token,
        receiver_url=receiver_url,
    )
