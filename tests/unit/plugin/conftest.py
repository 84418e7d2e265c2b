"""Suites of their own with the plugin, each in a process of its own, at a target that is made up.

The plugin is installed as an entry point, as `pip install` leaves it, or loaded by the suite's conftest, as in a
checkout.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

import pytest

import harness

SOURCES = Path(harness.__file__).parents[1]

FAKE_TARGET = """
import os
from pathlib import Path

import harness.run
from harness.errors import ProvisioningError, TargetDied, TargetUnavailable, TeardownError
from harness.targets.base import Capability, Environment
from harness.targets.ready import ReadyFile

LOG = Path(__file__).with_name("target.log")
OUTPUTS = {
    "region": "eu-central-1", "iotEndpoint": "localhost", "iotMqttsPort": 8883, "iotWssUrl": "wss://localhost:8443/mqtt",
    "caFile": None, "identityPoolId": "eu-central-1:pool", "clientIdPrefix": "public-", "topicPrefix": "public/",
    "telemetryTopic": "things/telemetry", "devicePolicyName": "device",
}
READY = ReadyFile(
    pid=os.getpid(), region="eu-central-1", account_id="123456789012", control_plane_url="http://127.0.0.1:9",
    iot_endpoint="localhost", mqtts_port=8883, wss_port=8443, ca_file="", access_key_id="AKIA",
    secret_access_key="secret", admin_url="http://127.0.0.1:9/_thingwright", admin_token="token", outputs=OUTPUTS,
)


def log(line):
    with LOG.open("a") as file:
        file.write(f"{line} {os.getpid()}\\n")


class FakeTarget:
    name = "embedded"
    lacks = {
        each: f"nobody made {each.lower()} here"
        for each in Capability
        if each not in (Capability.GUESTS, Capability.DEVICES, Capability.POLICY, Capability.TRACE)
    }
    capabilities = frozenset(Capability) - lacks.keys()
    is_probed = False
    patience = 1.5
    is_dead = False

    def __init__(self, options, names):
        self.options = options
        self.names = names

    def check_options(self):
        if os.environ.get("TROUBLE") == "options":
            raise TargetUnavailable("A token is missing: set it.")

    def start(self):
        log("start")
        trouble = os.environ.get("TROUBLE")
        if trouble == "unavailable":
            raise TargetUnavailable("Docker is missing: install it.")
        if trouble == "provisioning":
            raise ProvisioningError("aws:iam/role:Role guest", reason="no such thing", call="CreateRole")
        return Environment.from_ready(self.name, READY, names=self.names)

    def check(self):
        if self.is_dead:
            raise TargetDied("broker", "ended with exit code 3", tail=["last words"])

    def stop(self):
        log("stop")
        if os.environ.get("TROUBLE") == "left":
            raise TeardownError(["policy device"], remedy="`thingwright sweep`")


harness.run.make_target = lambda name, options, *, names=None: FakeTarget(options, names)
"""

PROBED = """
import harness.probing


def probe(environment, *, patience):
    log("probe")
    assert (environment.region, patience) == ("eu-central-1", 1.5)
    return {Capability.POLICY: "a stranger was let in"}


FakeTarget.is_probed = True
harness.probing.probe = probe
"""


class Suite(Protocol):
    """The type of the fixture `suite`."""

    def __call__(
        self,
        tests: str,
        *arguments: str,
        conftest: str = FAKE_TARGET,
        further: str = "",
        ini: str = "",
        mode: str = "auto",
        loaded: str = "-p",
    ) -> pytest.RunResult:
        """Run a suite.

        Args:
            tests: its one module.
            arguments: pytest's.
            conftest: of the suite; by default it makes up a target.
            further: what the conftest has besides.
            ini: lines of its ini file.
            mode: of pytest-asyncio.
            loaded: ``entry point`` loads everything that is installed, the plugin among it; ``conftest`` leaves that to
                the suite's conftest.
        """
        ...


class TargetLog(Protocol):
    """The type of the fixture `target_log`."""

    def __call__(self) -> list[str]:
        """Tell what the made-up target was asked, without process ids."""
        ...


def write_entry_point(folder: Path) -> None:
    """Write what an installer leaves of the distribution."""
    info = folder / "thingwright-0.1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: thingwright\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text("[pytest11]\nharness.plugin = harness.plugin\n")


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Suite:
    """Runs a suite, by default with the made-up target and with none of the environment's other plugins."""
    installed = tmp_path / "installed"
    write_entry_point(installed)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(SOURCES), str(installed)]))
    for name in list(os.environ):
        if name.startswith("HARNESS_") or name in ("PYTEST_ADDOPTS", "PYTEST_PLUGINS", "TROUBLE"):
            monkeypatch.delenv(name)

    def run(
        tests: str,
        *arguments: str,
        conftest: str = FAKE_TARGET,
        further: str = "",
        ini: str = "",
        mode: str = "auto",
        loaded: str = "-p",
    ) -> pytest.RunResult:
        pytester.makepyprojecttoml(
            "[tool.pytest.ini_options]\n"
            'addopts = ["--strict-markers", "--strict-config"]\nfilterwarnings = ["error"]\n'
            f'asyncio_mode = "{mode}"\nasyncio_default_fixture_loop_scope = "function"\n{ini}'
        )
        if conftest:
            pytester.makeconftest(f"{conftest}\n{further}")
        pytester.makepyfile(tests)
        if loaded != "entry point":
            monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
            arguments += ("-p", "pytest_asyncio.plugin", "-p", "xdist.plugin")
            arguments += ("-p", "harness.plugin") if loaded == "-p" else ()
        return pytester.runpytest_subprocess(*arguments)

    return run


@pytest.fixture
def target_log(pytester: pytest.Pytester) -> TargetLog:
    """What the made-up target was asked so far."""

    def read() -> list[str]:
        path = pytester.path / "target.log"
        return [line.split()[0] for line in path.read_text().splitlines()] if path.exists() else []

    return read


@pytest.fixture
def probed() -> str:
    """Makes the made-up target one that is tried; for a conftest."""
    return PROBED
