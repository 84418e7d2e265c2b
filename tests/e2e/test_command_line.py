"""Promise: the commands show what the tests prove, against whatever target the run is at."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import shutil
import signal
import stat
import sys
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest
import pytest_asyncio

import harness
from harness.clients.device import Device, MqttsEndpoint
from harness.clients.identities import DeviceIdentity
from harness.clients.removal import Remover
from harness.kit import read_kit
from harness.targets import ready
from harness.targets.aws_clients import own_session

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from harness import Rows, Topics
    from harness.budget import Budget
    from harness.targets.base import Environment, Target

Options = list[str | Path]
"""Options of a command."""


class MakeKit(Protocol):
    """The type of the fixture `make_kit`."""

    async def __call__(self, *options: str) -> tuple[str, Path]:
        """Make a kit with further options of the command; give the device's name and the folder it is in."""
        ...


class SetStatus(Protocol):
    """The type of the fixture `set_status`."""

    async def __call__(self, folder: Path, status: str) -> None:
        """Set the status of a kit's certificate; return when it holds."""
        ...


pytestmark = [pytest.mark.e2e, pytest.mark.needs("COMMANDS")]

PACKAGES = Path(harness.__file__).parents[1]
"""Where the package is, installed or not."""


@pytest.fixture
def as_guest(environment: Environment, tmp_path: Path) -> Options:
    """What tells a guest's command where the target is: the file that `serve`, or whoever deployed, would have."""
    if environment.ready is not None:
        path = tmp_path / "ready file ä.json"
        ready.write(path, environment.ready)
        return ["--ready-file", path]
    path = tmp_path / "outputs ä.json"
    path.write_text(json.dumps(environment.outputs.to_json()), "utf-8")
    return ["--stack-outputs", path]


@pytest.fixture
def as_operator(environment: Environment, as_guest: Options) -> Options:
    """The same for a command that makes or looks at something in the account, which it may where that is named."""
    if not environment.has_own_settings:
        return as_guest
    return [*as_guest, "--aws-account", str(environment.account_id)]


@pytest.fixture
def secrets(environment: Environment) -> list[str]:
    """What is the operator's alone: keys, and the admin API's address and token where there is one."""
    told: list[str | None] = [environment.admin_url, environment.admin_token]
    if environment.credentials is not None:
        told += [environment.credentials.access_key_id, environment.credentials.secret_access_key]
    elif (found := own_session().get_credentials()) is not None:
        told += found.get_frozen_credentials()
    return [each for each in told if each]


@pytest.fixture
def kit_device(environment: Environment, target: Target) -> Callable[[Path], Device]:
    """Makes a client of a kit's device that knows how long changes take here; not connected."""

    def make(folder: Path) -> Device:
        files = read_kit(folder)
        kit = files.kit
        return Device(
            endpoint=MqttsEndpoint(
                host=kit.endpoint,
                port=kit.mqtts_port,
                ca_file=str(files.authority),
                is_port_shared=kit.is_port_shared,
            ),
            identity=DeviceIdentity(
                thing_name=kit.thing_name,
                certificate_id="of the kit",
                certificate_arn=None,
                certificate_pem=files.certificate_pem,
                private_key_pem=files.private_key_pem,
            ),
            patience=target.patience,
            settles_within=target.patience,
        )

    return make


@pytest_asyncio.fixture
async def make_kit(
    environment: Environment,
    target: Target,
    as_operator: Options,
    kit_device: Callable[[Path], Device],
    run_budget: Budget | None,
    tmp_path: Path,
) -> AsyncIterator[MakeKit]:
    """Makes kits by the command, under names of this test alone; what they registered is removed after it.

    Where a registration takes a while to hold, a kit is given out when its device is let in.
    """
    names: list[str] = []

    async def make(*options: str) -> tuple[str, Path]:
        if run_budget is not None:
            run_budget.take_things()
        names.append(environment.names.thing_name("kit"))
        folder = tmp_path / f"mein Kit ä {len(names)}"
        code, lines, err = await run("kit", names[-1], "--out", folder, *as_operator, *options)
        assert (code, err) == (0, "")
        assert lines[0] == f"[kit] {names[-1]} registered"
        if environment.is_delayed:
            await settle(folder)
        return names[-1], folder

    def unpacked(folder: Path) -> Path:
        for archive in folder.glob("*.zip"):
            folder = folder.with_name(f"{folder.name} to settle")
            shutil.unpack_archive(archive, folder)
        return folder

    async def settle(folder: Path) -> None:
        device = kit_device(await asyncio.to_thread(unpacked, folder))
        await device.connect(insist=True)
        await device.stop()

    yield make
    await asyncio.to_thread(remove, environment, names, patience=target.patience)


@pytest.fixture
def set_status(environment: Environment, kit_device: Callable[[Path], Device]) -> SetStatus:
    """Changes the status of a kit's certificate, as its owner would, and waits until that is so."""

    def change(name: str, status: str) -> None:
        iot = environment.client("iot")
        for arn in iot.list_thing_principals(thingName=name)["principals"]:
            iot.update_certificate(certificateId=arn.rpartition("/")[2], newStatus=status)

    async def set_status(folder: Path, status: str) -> None:
        device = kit_device(folder)
        await asyncio.to_thread(change, device.thing_name, status)
        if not environment.is_delayed:
            return
        if status == "ACTIVE":
            await device.connect(insist=True)
        else:
            await device.expect_refusal(connect=True)
        await device.stop()

    return set_status


def remove(environment: Environment, names: list[str], *, patience: float) -> None:
    """Remove what kits registered, as far as there is anything: a command that fails has taken it back."""
    iot = environment.client("iot")
    remover = Remover(iot, patience=patience)
    for name in names:
        with contextlib.suppress(iot.exceptions.ResourceNotFoundException):
            for arn in iot.list_thing_principals(thingName=name)["principals"]:
                remover.certificate(arn.rpartition("/")[2])
        remover.thing(name)


async def start(*command: str | Path, **options: Any) -> asyncio.subprocess.Process:
    """Start a process whose output is read here."""
    pipes = {"stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.PIPE}
    return await asyncio.create_subprocess_exec(*map(str, command), **pipes, **options)


async def finish(process: asyncio.subprocess.Process) -> tuple[int | None, list[str], str]:
    """Await a process; give exit code, lines of standard output, and standard error."""
    out, err = await process.communicate()
    return process.returncode, out.decode().splitlines(), err.decode()


async def run(*arguments: str | Path) -> tuple[int | None, list[str], str]:
    """Run a command to its end; give exit code, lines of standard output, and standard error."""
    return await finish(await start(sys.executable, "-m", "harness", *arguments))


def make_path(folder: Path, **tools: str) -> dict[str, str]:
    """Make an environment whose PATH has what a script needs of the system and these tools, and nothing else."""
    folder.mkdir()
    for name in ("sh", "dirname"):
        (folder / name).symlink_to(shutil.which(name) or name)
    for name, text in tools.items():
        (folder / name).write_text(f'#!/bin/sh\nexec {text} "$@"\n', "utf-8")
        (folder / name).chmod(0o755)
    return {"PATH": str(folder), "PYTHONPATH": str(PACKAGES), "LC_ALL": "C"}


async def test_the_client_holds_its_example_session(as_guest: Options, topics: Topics) -> None:
    """Every line of the documented session appears, in its order, and the client hears itself."""
    topic = topics.broadcast

    code, lines, err = await run("client", *as_guest, "--topic", topic, "--message", "Hello, World!", "--count", "1")

    assert (code, err) == (0, "")
    patterns = [
        r"\[setup\] endpoint=\S+ region=\S+ client_id=public-[0-9a-f]{8}",
        r"\[debug\] caller_identity: arn:aws:sts::\d{12}:assumed-role/[\w-]+/CognitoIdentityCredentials",
        r"\[debug\] access_key=ASIA\w\.\.\.",
        r"\[connecting\]",
        r"\[connected\]",
        rf"\[subscribing\] {topic}",
        rf"\[subscribed\] {topic}",
        rf"\[publishing\] {topic}: Hello, World!",
        r"\[published\]",
        r"\[listening\] Press Ctrl\+C to exit\.\.\.",
        rf"\[message\] topic={topic} payload=Hello, World!",
    ]
    assert len(lines) == len(patterns)
    assert [line for line, pattern in zip(lines, patterns, strict=True) if not re.fullmatch(pattern, line)] == []


@pytest.mark.needs("POLICY")
async def test_the_client_says_why_it_was_refused(as_guest: Options, topics: Topics) -> None:
    """A refusal is one sentence and an exit code; what is allowed was, in the same breath."""
    code, lines, err = await run("listen", *as_guest, "--topic", topics.telemetry, "--count", "1")

    assert code == 1
    assert lines[-2:] == ["[connected]", f"[subscribing] {topics.telemetry}"]
    assert "was refused iot:Subscribe" in err
    assert err.count("\n") == 1


@pytest.mark.needs("HTTP_ACTION")
async def test_the_demonstration_loses_nothing(as_operator: Options) -> None:
    """Every listener shows every message and every device its row, and both counts have nothing missing."""
    code, lines, err = await run("demo", *as_operator, "--clients", "4", "--messages", "2", "--devices", "3")

    assert (code, err) == (0, "")
    assert sum("✅ Received: 🎉 Hello from the broadcaster!" in line for line in lines) == 8
    assert any(line.startswith("[demo] delivered 8 of 8, missing 0, latency p50 ") for line in lines)
    stored = [
        line for line in lines if re.search(r"✅ Stored: deviceId=\S+ received_at=\S+Z temperature=[\d.]+$", line)
    ]
    assert len(stored) == 3
    assert lines[-1].startswith("[demo] stored 3 of 3, missing 0, publish to row p50 ")


async def test_the_demonstration_can_do_without_devices(as_operator: Options) -> None:
    """With no device only the first path is told."""
    code, lines, err = await run("demo", *as_operator, "--clients", "1", "--devices", "0")

    assert (code, err) == (0, "")
    assert lines[-1].startswith("[demo] delivered 1 of 1, missing 0")


@pytest.mark.needs("HTTP_ACTION")
async def test_a_kit_reports_readings_that_become_rows(make_kit: MakeKit, rows: Rows) -> None:
    """A kit is all a device needs: its key is its owner's alone, and each reading it reports is stored once."""
    name, folder = await make_kit()

    code, lines, err = await run("device", "--kit", folder, "--count", "3", "--rate", "50", "--temp", "19.25")

    assert (code, err) == (0, "")
    assert (lines[1:3], lines[-1]) == (["[connecting]", "[connected]"], "[done] 3 readings")
    assert all(line.startswith("[published] things/telemetry: {") for line in lines[3:-1])
    stored = await rows.expect_all(device_id=name, count=3)
    assert [row.temperature for row in stored] == [Decimal("19.25")] * 3
    assert sorted(path.name for path in folder.iterdir()) == [
        *("AmazonRootCA1.pem", "device.pem.crt", "kit.json", "private.pem.key", "public.pem.key", "start.sh")
    ]
    assert stat.S_IMODE((folder / "private.pem.key").stat().st_mode) == 0o600


@pytest.mark.needs("HTTP_ACTION")
async def test_a_kit_can_be_sent_as_an_archive(make_kit: MakeKit, rows: Rows, tmp_path: Path) -> None:
    """One archive, readable by its owner alone, is a kit again once it is unpacked."""
    name, folder = await make_kit("--zip")
    (archive,) = folder.iterdir()
    assert (archive.name, stat.S_IMODE(archive.stat().st_mode)) == (f"connection-kit-{name}.zip", 0o600)

    await asyncio.to_thread(shutil.unpack_archive, archive, tmp_path / "unpacked")
    code, _, err = await run("device", "--kit", tmp_path / "unpacked", "--count", "1", "--temp", "20.5")

    assert (code, err) == (0, "")
    assert (await rows.expect(device_id=name)).temperature == Decimal("20.5")


async def test_a_kit_is_not_written_over_another(make_kit: MakeKit, as_operator: Options) -> None:
    """A folder with files in it is refused, before anything is registered and without touching one of them."""
    _, folder = await make_kit()
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    code, lines, err = await run("kit", "another", "--out", folder, *as_operator)

    assert (code, lines, err.count("\n")) == (2, [], 1)
    assert "a folder that is new or empty" in err
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.needs("HTTP_ACTION", "CERTIFICATES")
async def test_a_kit_whose_certificate_is_inactive_is_refused(
    make_kit: MakeKit, set_status: SetStatus, rows: Rows
) -> None:
    """The device says in one sentence what lets it in; once its certificate is active again, it is let in."""
    name, folder = await make_kit()
    await set_status(folder, "INACTIVE")

    code, lines, err = await run("device", "--kit", folder, "--count", "1")

    assert (code, lines[1:], err.count("\n")) == (1, ["[connecting]"], 1)
    assert err.startswith(f"thingwright: {name} was refused (")
    assert "has to be ACTIVE" in err
    await set_status(folder, "ACTIVE")
    assert (await run("device", "--kit", folder, "--count", "1", "--temp", "21"))[0] == 0
    assert (await rows.expect(device_id=name)).temperature == Decimal(21)


@pytest.mark.needs("HTTP_ACTION")
async def test_a_device_reports_until_it_is_interrupted(make_kit: MakeKit, rows: Rows) -> None:
    """Ctrl+C is how reporting ends: exit code 0, after a line that counts what was acknowledged."""
    name, folder = await make_kit()
    process = await start(sys.executable, "-m", "harness", "device", "--kit", folder, "--rate", "0.001")
    assert process.stdout is not None
    async for line in process.stdout:
        if line.startswith(b"[published]"):
            break

    process.send_signal(signal.SIGINT)

    assert await finish(process) == (0, ["[done] 1 reading"], "")
    await rows.expect(device_id=name)


async def test_a_device_ends_quietly_when_its_reader_has_enough(make_kit: MakeKit) -> None:
    """As before `| head -1`: the exit code of a closed pipe, and no complaint."""
    _, folder = await make_kit()
    command = [sys.executable, "-m", "harness", "device", "--kit", str(folder), "--rate", "100"]

    process = await start("sh", "-c", '("$@"; echo "code $?" >&2) | head -1', "sh", *command)

    code, lines, err = await finish(process)
    assert (code, [line.partition(" ")[0] for line in lines], err) == (0, ["[setup]"], "code 141\n")


@pytest.mark.needs("HTTP_ACTION")
async def test_the_kit_s_script_starts_the_simulator(make_kit: MakeKit, rows: Rows, tmp_path: Path) -> None:
    """Through sh, with an empty environment but for PATH, from another folder: its options are the simulator's."""
    name, folder = await make_kit()
    variables = make_path(tmp_path / "bin", thingwright=f"'{sys.executable}' -m harness")

    process = await start("sh", folder / "start.sh", "--count", "1", "--temp", "18", cwd=tmp_path, env=variables)

    code, lines, err = await finish(process)
    assert (code, lines[-1], err) == (0, "[done] 1 reading", "")
    assert (await rows.expect(device_id=name)).temperature == Decimal(18)


@pytest.mark.needs("HTTP_ACTION")
async def test_the_kit_works_with_mosquitto(make_kit: MakeKit, rows: Rows, tmp_path: Path) -> None:
    """Where thingwright is not installed the script publishes one reading with mosquitto_pub: one row."""
    if not (tool := shutil.which("mosquitto_pub")):
        pytest.skip("mosquitto_pub (Debian: mosquitto-clients) is not installed")
    name, folder = await make_kit()
    variables = make_path(tmp_path / "bin", mosquitto_pub=tool)

    code, lines, err = await finish(await start("sh", folder / "start.sh", cwd=tmp_path, env=variables))

    assert (code, lines, err) == (0, ["thingwright is not installed: one reading by mosquitto_pub."], "")
    assert (await rows.expect(device_id=name)).temperature == Decimal("21.5")


async def test_a_kit_holds_nothing_of_its_target_s_secrets(
    make_kit: MakeKit, environment: Environment, secrets: list[str]
) -> None:
    """Neither the operator's keys nor the admin API's token are in any file of a kit."""
    _, folder = await make_kit()

    everything = "".join(path.read_text("utf-8") for path in folder.iterdir())

    assert environment.iot_endpoint in everything
    assert len(secrets) >= 2
    assert not any(secret in everything for secret in secrets)


async def test_a_redrive_tells_what_it_would_do(as_operator: Options, environment: Environment) -> None:
    """The command finds the stack's queue and table; it sees what other tests have lost, all of it too young."""
    code, lines, err = await run("redrive", *as_operator, "--dry-run", "--min-age", "100000")

    assert (code in (0, 1), err) == (True, "")
    assert lines[0].startswith("[redrive] queue=")
    assert lines[0].endswith(f"table={environment.outputs.table_name} (dry run)")
    assert re.match(r"\[done\] would be redriven 0, already stored 0, left \d+", lines[-1])
    assert "could not be given back" not in lines[-1]
