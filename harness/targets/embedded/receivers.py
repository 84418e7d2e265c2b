"""The receivers of one stand-in: ``main``, which the stack's rule posts to, and those that tests ask for by name.

All have the same table, role, secrets and certificate, and each a port of its own, which it keeps when it is stopped
and started again. After the start only one thread comes here.
"""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from harness.errors import TargetDied

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.targets.embedded.children import Children
    from harness.targets.embedded.process import Child

MAIN: Final = "main"
MAX_FURTHER: Final = 8
"""How many may run at once beside ``main``."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}")
_HOST: Final = "localhost"
_START_SECONDS: Final = 20.0
_TERM_SECONDS: Final = 10.0
"""How long a receiver may take to answer what it has accepted, once it is asked to end."""

How = Literal["kill", "term"]


class ReceiverRefused(Exception):  # noqa: N818 - says what happened
    """A receiver could not be started or stopped; the message is one sentence, or a death with its log."""


@dataclass(slots=True)
class _Receiver:
    port: int
    child: Child | None = None

    @property
    def url(self) -> str:
        return f"https://{_HOST}:{self.port}"


class Receivers:
    """Starts and stops receivers.

    Args:
        children: what they are among.
        command: arguments after the interpreter.
        environment: their settings, without ``PORT``; holds secrets.
        main_port: port of ``main``; 0 for any free one.
    """

    def __init__(
        self, children: Children, *, command: Sequence[str], environment: Mapping[str, str], main_port: int
    ) -> None:
        self._children = children
        self._command = command
        self._environment = environment
        self._receivers: dict[str, _Receiver] = {MAIN: _Receiver(main_port)}

    def spawn_main(self) -> Child:
        """Start ``main`` beside the other processes; its report goes to `take_main`."""
        child = self._spawn(MAIN, is_watched=True)
        self._receivers[MAIN].child = child
        return child

    def take_main(self, report: Mapping[str, Any]) -> str:
        """Take the report of ``main`` and return its base URL.

        Raises:
            TargetDied: it is not a receiver's report.
        """
        main = self._receivers[MAIN]
        if main.child is None:
            raise RuntimeError("main was not started")
        main.port = _port_in(report, main.child)
        return main.url

    def start(self, name: str) -> str:
        """Start a receiver, unless it runs, and wait until it accepts connections.

        Args:
            name: ``main``, or letters, digits and hyphens; new or known.

        Returns:
            Its base URL: the same each time.

        Raises:
            ReceiverRefused: it cannot be had; those that run go on.
            Interrupted: all are told to end.
        """
        if not _NAME.fullmatch(name):
            raise ReceiverRefused(f"{name!r} is no name of a receiver: at most 64 letters, digits and -, no - first")
        receiver = self._receivers.get(name) or _Receiver(0)
        if receiver.child is not None:
            self._check_living(receiver.child)
            return receiver.url
        further = [each for each in self._receivers.values() if each.child is not None]
        if name != MAIN and len(further) - (self._receivers[MAIN].child is not None) >= MAX_FURTHER:
            raise ReceiverRefused(f"{MAX_FURTHER} receivers run beside {MAIN} already: stop one of them first")
        try:
            child = self._spawn(name, port=receiver.port, is_watched=False)
        except OSError as error:
            raise ReceiverRefused(f"the receiver {name} could not be started: {error}") from None
        try:
            receiver.port = _port_in(self._children.await_report(child, within=_START_SECONDS), child)
        except TargetDied as death:
            self._children.end(child, signal.SIGKILL)
            raise ReceiverRefused(str(death)) from None
        self._children.watch(child)
        receiver.child = child
        self._receivers[name] = receiver
        return receiver.url

    def stop(self, name: str, *, how: How) -> str:
        """End a receiver on purpose, unless it is stopped already, and wait until it is gone.

        Args:
            name: ``main``, or one that was started.
            how: ``term`` lets it answer what it has accepted, ``kill`` does not.

        Returns:
            Its base URL, where nobody listens now.

        Raises:
            ReceiverRefused: there is no such receiver, or it has ended by itself, which ends all.
            Interrupted: all are told to end.
        """
        receiver = self._receivers.get(name)
        if receiver is None:
            raise ReceiverRefused(f"there is no receiver {name!r}; there is {', '.join(self._receivers)}")
        if (child := receiver.child) is not None:
            self._check_living(child)
            receiver.child = None
            self._children.end(child, signal.SIGKILL if how == "kill" else signal.SIGTERM, within=_TERM_SECONDS)
        return receiver.url

    def freeze(self, name: str) -> str:
        """Let a receiver stand still, connections and all, until `thaw`; `stop` ends it all the same.

        Args:
            name: one that was started; not ``main``, which others need.

        Returns:
            Its base URL.

        Raises:
            ReceiverRefused: there is no such receiver, or it does not run.
            Interrupted: all are told to end.
        """
        return self._signal(name, signal.SIGSTOP)

    def thaw(self, name: str) -> str:
        """Let a receiver that stands still go on; the arguments are those of `freeze`."""
        return self._signal(name, signal.SIGCONT)

    def _signal(self, name: str, number: signal.Signals) -> str:
        if name == MAIN:
            raise ReceiverRefused(f"{MAIN} is everybody's: start a receiver of your own")
        receiver = self._receivers.get(name)
        if receiver is None or receiver.child is None:
            raise ReceiverRefused(f"no receiver {name!r} runs")
        self._check_living(receiver.child)
        receiver.child.signal(number)
        return receiver.url

    def _check_living(self, child: Child) -> None:
        """Leave a receiver that has ended by itself to who watches the processes."""
        try:
            self._children.check_one(child)
        except TargetDied as death:
            raise ReceiverRefused(str(death)) from None

    def _spawn(self, name: str, *, port: int | None = None, is_watched: bool) -> Child:
        return self._children.spawn(
            "receiver" if name == MAIN else f"receiver {name}",
            self._command,
            environment={
                **self._environment,
                "PORT": str(self._receivers[MAIN].port if port is None else port),
            },
            is_watched=is_watched,
        )


def _port_in(report: Mapping[str, Any], child: Child) -> int:
    port = report.get("port")
    if not isinstance(port, int):
        raise TargetDied(child.name, "reported no port", tail=child.tail())
    return port
