"""The command-line guest: its lines in their order and spelling, and how it ends."""

from __future__ import annotations

import asyncio
import io
import re
import signal
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from harness.console import Heard, Identity, Role, run_guest
from harness.errors import ConnectionRefused, SettingsError, TeardownError
from harness.sdk_guest import SdkGuest
from harness.settings import ClientSettings
from harness.terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ARN = "arn:aws:sts::123456789012:assumed-role/public-iot-unauth-role/CognitoIdentityCredentials"


@pytest.fixture(autouse=True)
def _interruptible() -> Iterator[None]:
    """Ctrl+C means what it means in a terminal, also where whoever started the tests ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class FakeGuest:
    """A guest that hears what it says, then what it was given, then nothing.

    Args:
        client_id: its MQTT client id.
        heard: payloads to hear besides its own.
        refuses: the step that fails.
        interrupted_at: the step during which Ctrl+C is pressed.
        leaves: whether disconnecting works.
    """

    def __init__(
        self,
        client_id: str,
        heard: tuple[bytes, ...] = (),
        *,
        refuses: str | None = None,
        interrupted_at: str | None = None,
        leaves: bool = True,
    ) -> None:
        self.client_id = client_id
        self.steps: list[str] = []
        self._heard = [Heard("public/broadcast", payload, 0.0) for payload in heard]
        self._refuses = refuses
        self._interrupted_at = interrupted_at
        self._leaves = leaves

    async def _step(self, name: str) -> None:
        self.steps.append(name)
        if name == self._refuses:
            raise ConnectionRefused(self.client_id, how="upgrade-403", because="no statement allows iot:Connect")
        if name == self._interrupted_at:
            signal.raise_signal(signal.SIGINT)
        await asyncio.sleep(0)

    async def identify(self) -> Identity:
        """Give a role session's ARN."""
        await self._step("identify")
        return Identity(ARN, "ASIAXEXAMPLEKEY")

    async def connect(self) -> None:
        """Connect."""
        await self._step("connect")

    async def subscribe(self, topic: str) -> None:
        """Subscribe."""
        await self._step(f"subscribe {topic}")

    async def publish(self, topic: str, message: str) -> None:
        """Hear it oneself first."""
        await self._step(f"publish {topic} {message}")
        self._heard.insert(0, Heard(topic, message.encode(), 0.0))

    async def hear(self) -> Heard:
        """Give the next message, or wait for ever."""
        await self._step("hear")
        if self._heard:
            return self._heard.pop(0)
        return await asyncio.get_running_loop().create_future()

    async def stop(self) -> None:
        """Disconnect."""
        self.steps.append("stop")
        if not self._leaves:
            raise TeardownError([self.client_id], remedy="it did not stop")


@pytest.fixture
def run() -> Callable[..., tuple[int, list[str], FakeGuest]]:
    """Run a role with a fake guest; give exit code, printed lines and the guest."""

    def run(
        role: Role,
        *heard: bytes,
        refuses: str | None = None,
        interrupted_at: str | None = None,
        leaves: bool = True,
        **flags: object,
    ) -> tuple[int, list[str], FakeGuest]:
        out = io.StringIO()
        guests: list[FakeGuest] = []

        def make(_settings: ClientSettings, client_id: str) -> FakeGuest:
            guests.append(FakeGuest(client_id, heard, refuses=refuses, interrupted_at=interrupted_at, leaves=leaves))
            return guests[0]

        flags = {"endpoint": "localhost", "identity_pool_id": "us-east-1:1", "topic": "public/broadcast", **flags}
        settings = ClientSettings.of({"region": "us-east-1", **flags})
        try:
            code = run_guest(settings, Terminal(out, io.StringIO()), role=role, make_guest=make)
        finally:
            assert guests[0].steps[-1] == "stop"
        return code, out.getvalue().splitlines(), guests[0]

    return run


def test_client_prints_the_example_session_line_by_line(run: Callable[..., tuple[int, list[str], FakeGuest]]) -> None:
    """Every line of the documented session, in its order and spelling."""
    code, lines, guest = run("client", count=1, message="Hello, World!")

    assert code == 0
    assert re.fullmatch(r"public-[0-9a-f]{8}", guest.client_id)
    assert lines == [
        f"[setup] endpoint=localhost region=us-east-1 client_id={guest.client_id}",
        f"[debug] caller_identity: {ARN}",
        "[debug] access_key=ASIAX...",
        "[connecting]",
        "[connected]",
        "[subscribing] public/broadcast",
        "[subscribed] public/broadcast",
        "[publishing] public/broadcast: Hello, World!",
        "[published]",
        "[listening] Press Ctrl+C to exit...",
        "[message] topic=public/broadcast payload=Hello, World!",
    ]


def test_client_publishes_nothing_when_the_message_is_empty(
    run: Callable[..., tuple[int, list[str], FakeGuest]],
) -> None:
    """An empty message makes a listener, which ends after the number of messages it was given."""
    code, lines, guest = run("client", b"one", b"two", b"three", count=2, message="")

    assert code == 0
    assert not any(step.startswith("publish") for step in guest.steps)
    assert lines[-3:] == [
        "[listening] Press Ctrl+C to exit...",
        "[message] topic=public/broadcast payload=one",
        "[message] topic=public/broadcast payload=two",
    ]


def test_publisher_ends_after_its_acknowledgement(run: Callable[..., tuple[int, list[str], FakeGuest]]) -> None:
    """The publish command neither subscribes nor listens."""
    code, lines, guest = run("publish", message="Hi")

    assert code == 0
    assert lines[-3:] == ["[connected]", "[publishing] public/broadcast: Hi", "[published]"]
    assert guest.steps == ["identify", "connect", "publish public/broadcast Hi", "stop"]


def test_publisher_needs_something_to_say() -> None:
    """Publishing an empty message by mistake is refused before anything is connected."""
    settings = ClientSettings.of({"endpoint": "localhost", "identity_pool_id": "us-east-1:1", "message": ""})

    with pytest.raises(SettingsError, match="--message"):
        run_guest(settings, Terminal(io.StringIO(), io.StringIO()), role="publish")


def test_client_shows_a_payload_that_is_not_text(run: Callable[..., tuple[int, list[str], FakeGuest]]) -> None:
    """Bytes that are not UTF-8 and escape sequences of strangers are shown, not obeyed."""
    _, lines, _ = run("listen", b"\xff\x1b[2J", count=1, message="")

    assert lines[-1] == "[message] topic=public/broadcast payload=\ufffd\\x1b[2J"


def test_client_ends_well_when_listening_is_interrupted(run: Callable[..., tuple[int, list[str], FakeGuest]]) -> None:
    """Ctrl+C is how listening ends: exit code 0, after a clean disconnect."""
    code, lines, guest = run("client", message="", interrupted_at="hear")

    assert (code, lines[-1]) == (0, "[listening] Press Ctrl+C to exit...")
    assert guest.steps[-2:] == ["hear", "stop"]


def test_client_reports_an_interruption_before_it_listens(
    run: Callable[..., tuple[int, list[str], FakeGuest]],
) -> None:
    """Ctrl+C before anything was achieved is an interruption, and still disconnects."""
    with pytest.raises(KeyboardInterrupt):
        run("client", interrupted_at="connect")


def test_client_stops_when_a_step_is_refused(run: Callable[..., tuple[int, list[str], FakeGuest]]) -> None:
    """A refusal ends the conversation with its reason."""
    with pytest.raises(ConnectionRefused, match="no statement allows iot:Connect"):
        run("client", refuses="connect")


def test_client_names_the_refusal_when_leaving_fails_as_well(
    run: Callable[..., tuple[int, list[str], FakeGuest]],
) -> None:
    """A client that does not stop is an error of its own, and never hides the one before it."""
    with pytest.raises(ConnectionRefused):
        run("client", refuses="connect", leaves=False)
    with pytest.raises(TeardownError):
        run("publish", leaves=False)


@pytest.mark.parametrize(
    ("how", "because", "hint"),
    [("tls", None, "--ca-file"), ("tls", "known", r"\(tls\): known$"), ("hang-up", None, r"\(hang-up\)$")],
)
async def test_guest_says_what_to_check_when_nobody_vouches_for_the_endpoint(
    how: str, because: str | None, hint: str
) -> None:
    """TLS tells no reason, so the sentence names the option that is most likely wrong; known reasons stay."""

    async def connect(*, insist: bool) -> None:
        assert insist
        raise ConnectionRefused("public-1", how=how, because=because)

    client: Any = SimpleNamespace(client_id="public-1", inbox=_Silence(), connect=connect)
    credentials: Any = SimpleNamespace(get=lambda: None)

    with pytest.raises(ConnectionRefused, match=hint):
        await SdkGuest(client, credentials=credentials, make_sts=lambda _: None).connect()


class _Silence:
    """An inbox in which nothing arrives."""

    def __aiter__(self) -> _Silence:
        return self

    async def __anext__(self) -> Heard:
        raise StopAsyncIteration
