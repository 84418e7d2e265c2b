"""The command-line guest: one broadcast client whose steps are printed line by line.

Its lines are an interface: people read them, scripts match them. Order and spelling stay.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from harness.errors import HarnessError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.settings import ClientSettings
    from harness.terminal import Terminal

Role = Literal["client", "listen", "publish"]

_SHOWN_OF_A_KEY = 5
"""Characters of an access key id that are printed: its kind (``ASIA``) and one more."""


class Identity(NamedTuple):
    """Who AWS takes a guest for."""

    arn: str
    access_key_id: str


class Heard(NamedTuple):
    """A message that arrived, and the `time.monotonic` second at which the SDK had it."""

    topic: str
    payload: bytes
    at: float

    @property
    def text(self) -> str:
        """The payload as UTF-8, with replacement characters for what is not."""
        return self.payload.decode("utf-8", errors="replace")


class Guest(Protocol):
    """The steps of a guest, each returning when the other side has confirmed it."""

    client_id: str

    async def identify(self) -> Identity:
        """Get credentials and ask whose they are."""
        ...

    async def connect(self) -> None:
        """Connect over WebSocket."""
        ...

    async def subscribe(self, topic: str) -> None:
        """Subscribe."""
        ...

    async def publish(self, topic: str, message: str) -> None:
        """Publish with QoS 1."""
        ...

    async def hear(self) -> Heard:
        """Wait for the next message."""
        ...

    async def stop(self) -> None:
        """Disconnect; also when never connected."""
        ...


class _Progress:
    """How far a conversation got: interrupting a listener is how listening ends, interrupting anything else is not."""

    is_listening = False


def run_guest(
    settings: ClientSettings,
    terminal: Terminal,
    *,
    role: Role,
    make_guest: Callable[[ClientSettings, str], Guest] | None = None,
) -> int:
    """Run one guest until it is done.

    Args:
        settings: where to, and what to say.
        terminal: where its lines go.
        role: ``client`` subscribes, publishes unless the message is empty, and listens; ``publish`` only publishes.
        make_guest: makes the guest from settings and client id; None makes the one that uses the AWS SDKs.

    Returns:
        0, also when listening was interrupted.

    Raises:
        KeyboardInterrupt: interrupted before it listened.
        HarnessError: a step was refused.
    """
    if role == "publish" and not settings.message:
        raise SettingsError("--message", "", "something to publish")
    client_id = f"{settings.client_id_prefix}{secrets.token_hex(4)}"
    terminal.line(f"[setup] endpoint={settings.endpoint} region={settings.region} client_id={client_id}")
    progress = _Progress()
    try:
        guest = (make_guest or _make_sdk_guest)(settings, client_id)
        asyncio.run(_converse(guest, settings, terminal, role=role, progress=progress))
    except KeyboardInterrupt:
        if not progress.is_listening:
            raise
    return 0


def _make_sdk_guest(settings: ClientSettings, client_id: str) -> Guest:
    from harness.sdk_guest import make_guest  # noqa: PLC0415 - the SDKs take longer to import than a first line may

    return make_guest(settings, client_id)


async def _converse(
    guest: Guest, settings: ClientSettings, terminal: Terminal, *, role: Role, progress: _Progress
) -> None:
    topic = settings.topic
    try:
        identity = await guest.identify()
        terminal.line(f"[debug] caller_identity: {identity.arn}")
        terminal.line(f"[debug] access_key={identity.access_key_id[:_SHOWN_OF_A_KEY]}...")
        terminal.line("[connecting]")
        await guest.connect()
        terminal.line("[connected]")
        if role != "publish":
            terminal.line(f"[subscribing] {topic}")
            await guest.subscribe(topic)
            terminal.line(f"[subscribed] {topic}")
        if settings.message:
            terminal.line(f"[publishing] {topic}: {settings.message}")
            await guest.publish(topic, settings.message)
            terminal.line("[published]")
        if role != "publish":
            progress.is_listening = True
            terminal.line("[listening] Press Ctrl+C to exit...")
            await _listen(guest, terminal, count=settings.count)
    except (HarnessError, OSError):
        with contextlib.suppress(HarnessError):  # why it ended matters more than that leaving failed as well
            await guest.stop()
        raise
    except BaseException:  # interrupted, which is how listening ends
        await guest.stop()
        raise
    await guest.stop()


async def _listen(guest: Guest, terminal: Terminal, *, count: int | None) -> None:
    """Print what arrives, until interrupted or that many messages came."""
    heard = 0
    while count is None or heard < count:
        message = await guest.hear()
        heard += 1
        terminal.line(f"[message] topic={message.topic} payload={message.text}")
