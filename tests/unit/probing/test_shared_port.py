"""MQTT and WebSocket on one port, as LocalStack has them: what a client names in its TLS handshake tells them apart.

The door before the stand-in is as strict as one can be: whoever names no protocol is not let in at all.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from harness.clients.broadcast import BroadcastClient, WssEndpoint
from harness.clients.credentials import GivenCredentials
from harness.clients.device import Device, MqttsEndpoint
from harness.console import run_guest
from harness.device_fixtures import Devices
from harness.errors import ConnectionRefused
from harness.fixtures import Guests
from harness.kit import SCRIPT, read_kit
from harness.probing import probe
from harness.registration import make_kit
from harness.settings import ClientSettings
from harness.simulator import run_device
from harness.terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from harness.targets.base import Environment

PATIENCE = 20.0
MQTT = "x-amzn-mqtt-ca"
WEBSOCKET = "http/1.1"


@pytest.fixture
async def devices(shared_port: Environment) -> AsyncIterator[Devices]:
    """Makes the devices of the fixtures."""
    iot = shared_port.client("iot")
    made = Devices(shared_port, stack=shared_port.outputs, patience=PATIENCE, trace=None, iot=iot)
    yield made
    await made.close()
    iot.close()


@pytest.fixture
async def guest(shared_port: Environment) -> AsyncIterator[BroadcastClient]:
    """A guest of the fixtures, connected."""
    guests = Guests(shared_port, stack=shared_port.outputs, patience=PATIENCE, trace=None)
    async with guests.make() as guest:
        yield guest
    guests.close()


async def test_device_says_that_it_speaks_mqtt(devices: Devices, named: list[str | None]) -> None:
    """Its certificate lets it in, and the broker takes its reading."""
    device = await devices.make()

    await device.publish_reading(21.5)

    assert named == [MQTT]


async def test_guest_says_that_it_speaks_http(
    shared_port: Environment, guest: BroadcastClient, named: list[str | None]
) -> None:
    """Its signature lets it in, and it hears what it says."""
    topic = shared_port.outputs.topic_prefix + "shared-port"
    await guest.subscribe(topic)

    await guest.publish(topic, "hello")

    assert (await guest.inbox.expect_next()).text == "hello"
    assert named == [WEBSOCKET]


async def test_who_names_nothing_is_not_let_in(
    devices: Devices, guest: BroadcastClient, named: list[str | None]
) -> None:
    """The door is as strict as it has to be for the other tests to show anything."""
    known = await devices.make()
    port = known.endpoint.port
    device = Device(
        endpoint=MqttsEndpoint(host="localhost", port=port, ca_file=known.endpoint.ca_file),
        identity=known.identity,
        patience=PATIENCE,
    )
    assert guest.credentials is not None
    stranger = BroadcastClient(
        endpoint=WssEndpoint(host="localhost", region="us-east-1", port=port, ca_file=known.endpoint.ca_file),
        credentials=GivenCredentials(guest.credentials),
        patience=PATIENCE,
    )

    for each in (device, stranger):
        with pytest.raises(ConnectionRefused):
            await each.connect()

    assert named[:2] == [WEBSOCKET, MQTT]
    assert set(named[2:]) == {None}


async def test_server_that_negotiates_nothing_serves_who_names_something(environment: Environment) -> None:
    """The stand-in's own ports take no notice of what is named."""
    iot = environment.client("iot")
    devices = Devices(environment, stack=environment.outputs, patience=PATIENCE, trace=None, iot=iot)
    guests = Guests(environment, stack=environment.outputs, patience=PATIENCE, trace=None)
    device, guest = await devices.make(connect=False), guests.make()
    for each in (device, guest):
        each.endpoint = replace(each.endpoint, is_port_shared=True)

    async with device, guest:
        await device.publish_reading(21.5)

    await devices.close()
    guests.close()
    iot.close()


def test_probes_find_everything(shared_port: Environment) -> None:
    """Nothing is said to be missing because a port is shared."""
    assert probe(shared_port, patience=PATIENCE) == {}


def test_outputs_tell_the_guest_of_the_command_line(
    shared_port: Environment, tmp_path: Path, named: list[str | None]
) -> None:
    """Which has nothing but the outputs of the stack."""
    path = tmp_path / "outputs.json"
    path.write_text(json.dumps(shared_port.outputs.to_json()), "utf-8")
    settings = ClientSettings.of({"endpoint_url": shared_port.control_plane_url}, stack_outputs=path)
    out = io.StringIO()

    assert run_guest(settings, Terminal(out, io.StringIO()), role="publish") == 0

    assert out.getvalue().endswith("[published]\n")
    assert named == [WEBSOCKET]


def test_kit_tells_the_simulator(shared_port: Environment, tmp_path: Path, named: list[str | None]) -> None:
    """Which has nothing but the kit's files."""
    made = make_kit(shared_port, "dev-shared-1", out=tmp_path / "kit")
    out = io.StringIO()

    assert run_device(Terminal(out, io.StringIO()), made.path, count=1) == 0

    assert read_kit(made.path).kit.is_port_shared
    assert "[published] " in out.getvalue()
    assert named == [MQTT]


def test_kit_tells_mosquitto_pub(shared_port: Environment, tmp_path: Path, named: list[str | None]) -> None:
    """The script of the kit does, where thingwright is not installed."""
    if not shutil.which("mosquitto_pub"):
        pytest.skip("mosquitto_pub (Debian: mosquitto-clients) is not installed")
    made = make_kit(shared_port, "dev-shared-2", out=tmp_path / "kit")
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("sh", "dirname", "mosquitto_pub"):
        (tools / name).symlink_to(shutil.which(name) or name)

    done = subprocess.run(
        ["sh", made.path / SCRIPT],
        env={**os.environ, "PATH": str(tools)},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert named == [MQTT]
