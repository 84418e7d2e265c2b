"""The device simulator: its lines in their order and spelling, its pace, and how it ends."""

from __future__ import annotations

import asyncio
import io
import itertools
import re
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from harness.clients.certificates import certificate_id, make_key, make_self_signed, private_pem
from harness.errors import ConnectionRefused, OperationRefused, SettingsError, TargetUnavailable
from harness.kit import AUTHORITY, CERTIFICATE, DESCRIPTION, PRIVATE_KEY, Kit, KitFolder
from harness.simulator import Pace, run_device
from harness.terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from harness.kit import KitFiles

KIT = Kit(
    thing_name="dev-1",
    client_id="dev-1",
    endpoint="localhost",
    mqtts_port=40003,
    region="us-east-1",
    telemetry_topic="things/telemetry",
)
SETUP = "[setup] endpoint=localhost port=40003 thing=dev-1"


@pytest.fixture(autouse=True)
def _interruptible() -> Iterator[None]:
    """Ctrl+C means what it means in a terminal, also where whoever started the tests ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[..., Path]:
    """Write a kit that differs in what a test says."""

    def make(**changes: Any) -> Path:
        key = make_key()
        files = {
            CERTIFICATE: make_self_signed(key),
            PRIVATE_KEY: private_pem(key),
            AUTHORITY: make_self_signed(make_key()),
            DESCRIPTION: replace(KIT, **changes).to_json(),
        }
        return KitFolder(tmp_path / f"kit {next(numbers)}").write(files)

    numbers = itertools.count()
    return make


class FakeDevice:
    """A device whose readings are always taken.

    Args:
        fails: step to what happens in it; a reading's step is ``publish N``.
        interrupted_at: the step during which Ctrl+C is pressed.
    """

    def __init__(self, fails: dict[str, Exception] | None = None, interrupted_at: str | None = None) -> None:
        self.steps: list[str] = []
        self.temperatures: list[float] = []
        self._fails = fails or {}
        self._interrupted_at = interrupted_at

    async def _step(self, name: str) -> None:
        self.steps.append(name)
        if name in self._fails:
            raise self._fails[name]
        if name == self._interrupted_at:
            signal.raise_signal(signal.SIGINT)
        await asyncio.sleep(0)

    async def connect(self) -> None:
        """Connect."""
        await self._step("connect")

    async def publish_reading(self, temp: float) -> Any:
        """Take it."""
        self.temperatures.append(temp)
        await self._step(f"publish {len(self.temperatures)}")
        return SimpleNamespace(topic="things/telemetry", text=f'{{"temp":{temp}}}')

    async def has_stopped(self) -> bool:
        """Fail to disconnect, which hides nothing."""
        self.steps.append("stop")
        return False


@pytest.fixture
def run(make_folder: Callable[..., Path]) -> Callable[..., tuple[int, list[str]]]:
    """Run the simulator with a fake device; give exit code and printed lines."""

    def run(device: FakeDevice, **options: Any) -> tuple[int, list[str]]:
        out = io.StringIO()
        try:
            terminal = Terminal(out, io.StringIO())
            code = run_device(terminal, make_folder(), rate=100, make_device=lambda _: device, **options)
        finally:
            run.lines = out.getvalue().splitlines()
            assert device.steps[-1] == "stop"
        return code, run.lines

    return run


def test_device_prints_its_session_line_by_line(run: Callable[..., tuple[int, list[str]]]) -> None:
    """Every line in its order and spelling; it ends after the number of readings it was given."""
    device = FakeDevice()

    code, lines = run(device, count=2, temp=19.5)

    assert code == 0
    assert lines == [
        SETUP,
        "[connecting]",
        "[connected]",
        '[published] things/telemetry: {"temp":19.5}',
        '[published] things/telemetry: {"temp":19.5}',
        "[done] 2 readings",
    ]
    assert device.steps == ["connect", "publish 1", "publish 2", "stop"]


def test_device_counts_one_reading_in_the_singular(run: Callable[..., tuple[int, list[str]]]) -> None:
    """One is one reading."""
    assert run(FakeDevice(), count=1)[1][-1] == "[done] 1 reading"


def test_temperature_swings_within_its_bounds(run: Callable[..., tuple[int, list[str]]]) -> None:
    """Without --temp readings differ, go up and down again, and stay between 20 and 23."""
    device = FakeDevice()

    run(device, count=60)

    assert (device.temperatures[0], max(device.temperatures), min(device.temperatures)) == (21.5, 23.0, 20.0)
    assert len(set(device.temperatures)) > 15


def test_device_ends_well_when_reporting_is_interrupted(run: Callable[..., tuple[int, list[str]]]) -> None:
    """Ctrl+C is how reporting ends: exit code 0, what was acknowledged is counted, and it disconnects."""
    device = FakeDevice(interrupted_at="publish 3")

    code, lines = run(device)

    assert (code, lines[3], lines[-1]) == (0, "[reporting] Press Ctrl+C to exit...", "[done] 2 readings")
    assert device.steps[-2:] == ["publish 3", "stop"]


def test_device_ends_well_when_it_is_interrupted_between_readings(make_folder: Callable[..., Path]) -> None:
    """Ctrl+C during the pause between two readings, where it is most of the time, ends it in the same way."""
    device = FakeDevice()

    class Keyboard(io.StringIO):
        """Presses Ctrl+C once a reading is shown."""

        def write(self, text: str) -> int:
            if text.startswith("[published]"):
                asyncio.get_running_loop().call_later(0, signal.raise_signal, signal.SIGINT)
            return super().write(text)

    out = Keyboard()

    assert run_device(Terminal(out, io.StringIO()), make_folder(), rate=0.001, make_device=lambda _: device) == 0
    assert out.getvalue().splitlines()[-1] == "[done] 1 reading"
    assert device.steps == ["connect", "publish 1", "stop"]


def test_device_reports_an_interruption_before_it_reports(run: Callable[..., tuple[int, list[str]]]) -> None:
    """Ctrl+C while it connects is an interruption, and still disconnects."""
    with pytest.raises(KeyboardInterrupt):
        run(FakeDevice(interrupted_at="connect"))

    assert run.lines == [SETUP, "[connecting]"]


def test_device_reports_an_interruption_while_the_sdk_is_loaded(make_folder: Callable[..., Path]) -> None:
    """Ctrl+C before there is a device is an interruption as well."""

    def load(_: KitFiles) -> FakeDevice:
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("not interrupted")

    out = io.StringIO()
    with pytest.raises(KeyboardInterrupt):
        run_device(Terminal(out, io.StringIO()), make_folder(), make_device=load)

    assert out.getvalue().splitlines() == [SETUP]


@pytest.mark.parametrize(("how", "names_authority"), [("hang-up", False), ("connack", False), ("tls", True)])
def test_device_says_what_lets_it_in_when_nobody_tells(
    make_folder: Callable[..., Path], how: str, *, names_authority: bool
) -> None:
    """A kit has no way to ask why, so the sentence names what has to be right; over TLS the authority as well."""
    folder = make_folder()
    device = FakeDevice({"connect": ConnectionRefused("dev-1", how=how)})

    with pytest.raises(ConnectionRefused) as caught:
        run_device(Terminal(io.StringIO(), io.StringIO()), folder, make_device=lambda _: device)

    its_id = certificate_id((folder / CERTIFICATE).read_text("ascii"))
    said = str(caught.value)
    assert said.startswith(f"dev-1 was refused ({how}): the broker does not tell why; ")
    assert f"certificate {its_id} has to be ACTIVE and attached to thing dev-1, with a policy " in said
    assert (AUTHORITY in said) is names_authority
    assert "\n" not in said
    assert device.steps == ["connect", "stop"]


def test_device_keeps_a_reason_that_is_known(run: Callable[..., tuple[int, list[str]]]) -> None:
    """Who knows why it was refused is not talked over."""
    with pytest.raises(ConnectionRefused, match=r"\(connack\): known$"):
        run(FakeDevice({"connect": ConnectionRefused("dev-1", how="connack", because="known")}))
    refused = OperationRefused("dev-1", action="iot:Publish", resource="t", how="puback", because="known")
    with pytest.raises(OperationRefused, match=r"\(puback\): known$"):
        run(FakeDevice({"publish 1": refused}))


def test_device_says_that_its_target_is_gone(run: Callable[..., tuple[int, list[str]]]) -> None:
    """Every stand-in has ports and keys of its own, so a kit ends with the one it was made for: that is said."""
    with pytest.raises(TargetUnavailable, match=r"^cannot reach localhost:40003; a kit is of use while the target "):
        run(FakeDevice({"connect": TargetUnavailable("cannot reach localhost:40003")}))


def test_device_says_which_right_a_reading_takes(run: Callable[..., tuple[int, list[str]]]) -> None:
    """A reading that is refused without a reason ends it with what to look at; those before are shown."""
    refused = OperationRefused("dev-1", action="iot:Publish", resource="things/telemetry", how="hang-up")

    with pytest.raises(OperationRefused, match=r"iot:Publish on 'things/telemetry' \(hang-up\): .* has to allow it"):
        run(FakeDevice({"publish 2": refused}))

    assert [line.partition(" ")[0] for line in run.lines[4:]] == ["[published]"]


def test_folder_without_a_kit_prints_nothing(tmp_path: Path) -> None:
    """What is wrong with the folder is all that is told."""
    out = io.StringIO()

    with pytest.raises(SettingsError, match="--kit="):
        run_device(Terminal(out, io.StringIO()), tmp_path)

    assert out.getvalue() == ""


def test_pace_has_no_drift() -> None:
    """Being late a little, each time, does not add up: readings stay on the grid that began with the first."""
    pace, now, published_at = Pace(4, began=10.0), 10.0, []

    for _ in range(100):
        published_at.append(now)
        now += 0.0625  # the broker's answer takes its time
        now += pace.pause(now) + 0.03125  # and so does the system to wake somebody up

    assert published_at[0] == 10.0
    assert published_at[1:] == [10.0 + number / 4 + 0.03125 for number in range(1, 100)]


def test_pace_makes_up_for_nothing() -> None:
    """After a stall the next reading is due at once and those after it as far apart as ever: there is no burst."""
    pace = Pace(1, began=0.0)

    assert pace.pause(0.25) == 0.75
    assert pace.pause(30.5) == 0.0
    assert pace.pause(30.75) == 0.75
    assert pace.pause(31.5) == 1.0


def test_pace_lets_a_slow_broker_set_it() -> None:
    """Where every answer takes longer than the interval, the next reading follows at once."""
    pace = Pace(100, began=0.0)

    assert [pace.pause(now) for now in (0.5, 1.0, 1.5)] == [0.0, 0.0, 0.0]


def test_process_that_is_interrupted_while_it_connects_ends_with_130(make_folder: Callable[..., Path]) -> None:
    """The real device, at a server that says nothing, ends on Ctrl+C with one line and the exit code of one."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        folder = make_folder(endpoint="127.0.0.1", mqtts_port=server.getsockname()[1])
        with subprocess.Popen(
            [sys.executable, "-m", "harness", "device", "--kit", str(folder)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            connection, _ = server.accept()
            process.send_signal(signal.SIGINT)
            out, err = process.communicate()
            connection.close()

    assert (process.returncode, err) == (130, "Interrupted.\n")
    assert out.splitlines()[1:] == ["[connecting]"]


def test_process_says_that_nobody_is_there(make_folder: Callable[..., Path]) -> None:
    """The real device, where nothing listens, ends with one sentence and the exit code for what is not there."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    folder = make_folder(endpoint="127.0.0.1", mqtts_port=port)

    done = subprocess.run(
        [sys.executable, "-m", "harness", "device", "--kit", str(folder)], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr.count("\n")) == (4, 1)
    assert re.match(rf"thingwright: dev-1 cannot reach 127\.0\.0\.1:{port}: \w+; a kit is of use while", done.stderr)
