"""The plugin in suites of its own: silent where nobody asks for a target, at work where somebody does.

Every suite runs in a process of its own, with the plugin installed as an entry point, as `pip install` leaves it, or
loaded by the suite's conftest, as in a checkout.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import harness
import harness.plugin
from harness.plugin import TARGETS_IN_HELP
from harness.targets.registry import TARGETS

if TYPE_CHECKING:
    from collections.abc import Callable

    Suite = Callable[..., pytest.RunResult]

pytest_plugins = ["pytester"]

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

FAKE_PROBED_TARGET = f"""{FAKE_TARGET}
import harness.probing


def probe(environment, *, patience):
    log("probe")
    assert (environment.region, patience) == ("eu-central-1", 1.5)
    return {{Capability.POLICY: "a stranger was let in"}}


FakeTarget.is_probed = True
harness.probing.probe = probe
"""

FAKE_GUESTS = """
import asyncio

import harness.fixtures


class FakeClient:
    def __init__(self, number):
        self.client_id = f"public-{number}"
        self.calls = []

    async def connect(self, **_):
        self.loop = asyncio.get_running_loop()
        self.calls.append("connect")

    async def subscribe(self, topic, **_):
        self.calls.append(topic)

    async def has_stopped(self):
        assert asyncio.get_running_loop() is self.loop
        return self.client_id != "public-stubborn"


def make(self, *, client_id=None, **rest):
    return FakeClient(client_id.removeprefix("public-") if client_id else 1)


harness.fixtures.Guests.make = make
"""


def write_entry_point(folder: Path) -> None:
    """Write what an installer leaves of the distribution."""
    info = folder / "thingwright-0.1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: thingwright\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text("[pytest11]\nharness.plugin = harness.plugin\n")


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Suite:
    """Runs a suite, by default with the fake target and with none of the environment's other plugins.

    ``loaded="entry point"`` loads everything that is installed, the plugin among it; ``"conftest"`` leaves that to the
    suite's conftest.
    """
    installed = tmp_path / "installed"
    write_entry_point(installed)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(SOURCES), str(installed)]))
    for name in list(os.environ):
        if name.startswith("HARNESS_") or name in ("PYTEST_ADDOPTS", "PYTEST_PLUGINS", "TROUBLE"):
            monkeypatch.delenv(name)

    def run(
        tests: str, *arguments: str, conftest: str = FAKE_TARGET, ini: str = "", mode: str = "auto", loaded: str = "-p"
    ) -> pytest.RunResult:
        pytester.makepyprojecttoml(
            "[tool.pytest.ini_options]\n"
            'addopts = ["--strict-markers", "--strict-config"]\nfilterwarnings = ["error"]\n'
            f'asyncio_mode = "{mode}"\nasyncio_default_fixture_loop_scope = "function"\n{ini}'
        )
        if conftest:
            pytester.makeconftest(conftest)
        pytester.makepyfile(tests)
        if loaded != "entry point":
            monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
            arguments += ("-p", "pytest_asyncio.plugin", "-p", "xdist.plugin")
            arguments += ("-p", "harness.plugin") if loaded == "-p" else ()
        return pytester.runpytest_subprocess(*arguments)

    return run


def log_of(pytester: pytest.Pytester) -> list[str]:
    """What the fake target was asked, without process ids."""
    path = pytester.path / "target.log"
    return [line.split()[0] for line in path.read_text().splitlines()] if path.exists() else []


# Nobody asks for a target.


def test_a_suite_that_asks_for_no_target_keeps_its_names_and_options(suite: Suite) -> None:
    """Its own fixtures, options and option values, although they are called like ours."""
    result = suite(
        """
        import sys

        def test_mine(target, operator, topics, device, rows, request):
            assert (target, operator, topics, device, rows) == ("esp32", "plus", ["a"], "cuda", 7)
            assert request.config.getoption("--clients") == "many"
            assert request.config.getoption("--devices") == "cuda:0"
            assert request.config.getoption("--ca-file") == "mine.pem"
            assert not {"boto3", "awscrt", "harness.run", "harness.fixtures", "pydantic"} & set(sys.modules)
            assert not {"harness.device_fixtures", "harness.telemetry_fixtures"} & set(sys.modules)
        """,
        "--target=esp32",
        "--clients=many",
        "--devices=cuda:0",
        "--ca-file=mine.pem",
        conftest="""
        import pytest

        def pytest_addoption(parser):
            parser.addoption("--target", help="the board")
            parser.addoption("--clients", help="how many")
            parser.addoption("--devices", help="which GPUs")
            parser.addoption("--ca-file", help="of the company")

        @pytest.fixture
        def target(request):
            return request.config.getoption("--target")

        @pytest.fixture
        def operator():
            return "plus"

        @pytest.fixture
        def topics():
            return ["a"]

        @pytest.fixture
        def device(request):
            return request.config.getoption("--devices").partition(":")[0]

        @pytest.fixture
        def rows():
            return 7
        """,
        loaded="entry point",
    )

    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("thingwright*")


def test_a_suite_that_asks_for_no_target_sees_no_fixture_of_ours(suite: Suite) -> None:
    """An unknown fixture stays unknown."""
    result = suite("def test_mine(broadcast_client): pass", conftest="")

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines("*fixture 'broadcast_client' not found")


def test_the_plugin_imports_next_to_nothing() -> None:
    """It is loaded by every pytest of the environment."""
    program = "import sys, pytest; before = set(sys.modules); import harness.plugin; print(*set(sys.modules) - before)"

    loaded = subprocess.run(
        [sys.executable, "-c", program], cwd=SOURCES, capture_output=True, text=True, check=True
    ).stdout.split()

    assert set(loaded) <= {"harness", "harness.plugin", "argparse"}


def test_help_explains_every_option(suite: Suite) -> None:
    """Options and ini settings of the plugin, and nothing crashes on the way."""
    result = suite("", "--help")

    text = re.sub(r"\s+", " ", result.stdout.str())
    for words in (
        *("--target", "--clients", "--devices", "--ready-file", "--endpoint-url", "--iot-endpoint", "--mqtts-port"),
        *("--wss-port", "--ca-file", "--receiver-url", "--stack-outputs", "--pulumi-stack", "--aws-account"),
        *("--max-things", "--max-messages", "--evidence", "iot_target", "iot_stack"),
    ):
        assert words in text
    assert "how many broadcast clients" in text
    assert "how many devices" in text
    assert all(name in TARGETS_IN_HELP for name in TARGETS)


def test_options_outside_of_groups_are_seen_too() -> None:
    """With pytest 8, which keeps them apart and notices two of the same name no sooner than it parses."""

    class Option:
        def __init__(self, name: str) -> None:
            self.name = name

        def names(self) -> list[str]:
            return [self.name]

    class Group:
        def __init__(self, *names: str) -> None:
            self.options = [Option(name) for name in names]

        def addoption(self, name: str, **_: object) -> None:
            self.options.append(Option(name))

    class Parser8:
        def __init__(self) -> None:
            self._anonymous = Group("--target", "--ca-file")
            self._groups = [Group("--ready-file")]

        def getgroup(self, *_: object) -> Group:
            return self._groups[0]

    parser = Parser8()
    harness.plugin._add_common_options(parser)  # type: ignore[arg-type] # plays one

    names = [option.name for option in parser._groups[0].options]
    assert names[:3] == ["--ready-file", "--clients", "--devices"]
    assert "--wss-port" in names
    assert not {"--target", "--ca-file"} & set(names)


def test_a_plugin_with_a_ready_file_of_its_own_keeps_it(suite: Suite, pytester: pytest.Pytester) -> None:
    """Whoever came first has the name."""
    pytester.makepyfile(other="def pytest_addoption(parser): parser.addoption('--ready-file', default='mine')")

    result = suite(
        "def test_mine(request): assert request.config.getoption('--ready-file') == 'mine'", "-p", "other", conftest=""
    )

    result.assert_outcomes(passed=1)


# Somebody does.


@pytest.mark.parametrize("way", ["option", "environment", "ini"])
def test_a_suite_asks_for_a_target_in_three_ways(suite: Suite, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """Each of them registers the fixtures."""
    if way == "environment":
        monkeypatch.setenv("HARNESS_TARGET", "embedded")

    result = suite(
        """
        def test_it(target, stack, topics, environment):
            assert target.name == environment.target == "embedded"
            assert stack.identity_pool_id == "eu-central-1:pool"
            assert topics.broadcast.startswith("public/it-")
        """,
        *(["--target", "embedded"] if way == "option" else []),
        ini='iot_target = "embedded"' if way == "ini" else "",
    )

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        [
            "thingwright: target embedded, 3 clients and 2 devices where a test does not say",
            "thingwright on embedded: 1 passed",
        ]
    )


def test_the_command_line_wins_over_environment_and_ini(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the environment over the ini file."""
    monkeypatch.setenv("HARNESS_TARGET", "from-environment")
    ini = 'iot_target = "from-ini"'

    by_option = suite("", "--target", "from-option", ini=ini)
    by_environment = suite("", ini=ini)
    monkeypatch.delenv("HARNESS_TARGET")
    by_ini = suite("", ini=ini)

    by_option.stderr.fnmatch_lines("ERROR: target='from-option' is not accepted: the targets are *, aws")
    by_environment.stderr.fnmatch_lines("ERROR: target='from-environment' *")
    by_ini.stderr.fnmatch_lines("ERROR: target='from-ini' *")
    assert by_option.ret == by_environment.ret == by_ini.ret == pytest.ExitCode.USAGE_ERROR


@pytest.mark.parametrize(
    ("arguments", "ini", "sentence"),
    [
        (["--target=endpoint"], "", "The endpoint target needs a server that runs: *"),
        (
            ["--target=embedded", "--wss-port=443"],
            "",
            "--wss-port belongs to the endpoint target: add --target endpoint",
        ),
        (["--target=endpoint", "--aws-account=1"], "", "--aws-account belongs to the aws target: add --target aws"),
        (
            ["--target=endpoint", "--endpoint-url=http://127.0.0.1:1", "--ready-file=x"],
            "",
            "--ready-file='*/x' is not accepted: either a ready file or --endpoint-url, not both",
        ),
        (
            ["--target=endpoint", "--endpoint-url=https://iot.us-east-1.amazonaws.com"],
            "",
            "--endpoint-url=*: an emulator's URL; AWS itself is --target aws",
        ),
        (["--target=localstack"], "", "*LOCALSTACK_AUTH_TOKEN*"),
        (["--target=aws"], "", "*--aws-account*"),
        (["--target=embedded", "--max-things=0"], "", "--max-things=0 is not accepted: at least 1"),
        (["--target=embedded", "--max-messages=0"], "", "--max-messages=0 is not accepted: at least 1"),
        (["--target=embedded", "--evidence=."], "", "--evidence=* is not accepted: a file to write*"),
        (["--target=endpoint", "--ready-file=gone.json"], "", "There is no ready file */gone.json: *"),
        (["--target=embedded", "--ready-file=x"], "", "--ready-file belongs to the endpoint target*"),
        (["--ready-file=x"], "", "--ready-file belongs to the endpoint target*"),
        (["--target=embedded", "--clients=0"], "", "--clients=0 is not accepted: at least 1"),
        (["--target=embedded", "--devices=-1"], "", "--devices=-1 is not accepted: at least 1"),
        (
            ["--target=embedded"],
            'iot_stack = "nowhere"',
            "iot_stack='*/nowhere' is not accepted: the folder of a Pulumi*",
        ),
    ],
)
def test_wrong_settings_stop_the_run_with_one_sentence(
    suite: Suite, arguments: list[str], ini: str, sentence: str
) -> None:
    """Exit code 4, before anything is collected."""
    result = suite("def test_it(target): pass", *arguments, conftest="", ini=ini)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(f"ERROR: {sentence}")
    result.stderr.no_fnmatch_line("*Traceback*")


def test_what_a_target_misses_is_told_before_anything_is_collected(
    suite: Suite, monkeypatch: pytest.MonkeyPatch, pytester: pytest.Pytester
) -> None:
    """It finds out itself, without being started; in a distributed run the controller asks, once."""
    monkeypatch.setenv("TROUBLE", "options")

    for arguments in ([], ["-n2"]):
        result = suite("def test_it(target): pass", "--target=embedded", *arguments)

        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines("ERROR: A token is missing: set it.")
    assert log_of(pytester) == []


OPTIONS_TEST = """
from pathlib import Path

from harness.run import NAME
from harness.targets.options import TargetOptions

def test_it(request):
    options = request.config.pluginmanager.get_plugin(NAME).settings.options
    here = request.config.invocation_params.dir
    assert options == TargetOptions({expected})
"""

IN_ENVIRONMENT = {
    "HARNESS_READY_FILE": "env.json",
    "HARNESS_ENDPOINT_URL": "http://env:1",
    "HARNESS_IOT_ENDPOINT": "env",
    "HARNESS_CA_FILE": "env.pem",
    "HARNESS_RECEIVER_URL": "https://env",
    "HARNESS_IOT_SECRET": "env-secret",
    "HARNESS_RECEIVER_TABLE": "env-table",
    "HARNESS_ACCESS_KEY_ID": "env-id",
    "HARNESS_SECRET_ACCESS_KEY": "env-key",
    "HARNESS_STACK_OUTPUTS": "env-outputs.json",
    "HARNESS_PULUMI_STACK": "env-stack",
    "HARNESS_AWS_ACCOUNT": "111111111111, 222222222222",
    "LOCALSTACK_AUTH_TOKEN": "env-token",
}


@pytest.mark.parametrize(
    ("arguments", "variables", "expected"),
    [
        (["--target=embedded"], IN_ENVIRONMENT, ""),
        (["--target=endpoint"], {"HARNESS_READY_FILE": "env.json"}, "ready_file=here / 'env.json'"),
        (["--target=endpoint", "--ready-file=cli.json"], IN_ENVIRONMENT, "ready_file=here / 'cli.json'"),
        (
            [
                *("--target=endpoint", "--endpoint-url=http://cli:2", "--iot-endpoint=cli", "--mqtts-port=3"),
                *("--wss-port=4", "--ca-file=cli.pem", "--receiver-url=https://cli", "--receiver-table=cli"),
            ],
            {},
            (
                "endpoint_url='http://cli:2', iot_endpoint='cli', mqtts_port=3, wss_port=4, "
                "ca_file=here / 'cli.pem', receiver_url='https://cli', receiver_table='cli'"
            ),
        ),
        (
            ["--target=endpoint", "--endpoint-url=http://cli:2"],
            IN_ENVIRONMENT,
            (
                "endpoint_url='http://cli:2', iot_endpoint='env', ca_file=here / 'env.pem', "
                "receiver_url='https://env', receiver_secret='env-secret', receiver_table='env-table', "
                "access_key_id='env-id', secret_access_key='env-key'"
            ),
        ),
        (
            ["--target=localstack"],
            IN_ENVIRONMENT,
            (
                "localstack_token='env-token', receiver_url='https://env', receiver_secret='env-secret', "
                "receiver_table='env-table'"
            ),
        ),
        (
            ["--target=aws", "--aws-account=3", "--aws-account=4", "--pulumi-stack=cli"],
            IN_ENVIRONMENT,
            "pulumi_stack='cli', aws_accounts=('3', '4')",
        ),
        (
            ["--target=aws"],
            IN_ENVIRONMENT,
            (
                "stack_outputs=here / 'env-outputs.json', pulumi_stack='env-stack', "
                "aws_accounts=('111111111111', '222222222222')"
            ),
        ),
        (
            ["--target=aws", "--stack-outputs=cli.json"],
            {"HARNESS_PULUMI_STACK": "env-stack"},
            "stack_outputs=here / 'cli.json'",
        ),
    ],
)
def test_a_target_is_told_what_is_for_it(
    suite: Suite,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    variables: dict[str, str],
    expected: str,
) -> None:
    """Command line before environment; and whoever names one way there is not told of the other."""
    monkeypatch.delenv("LOCALSTACK_AUTH_TOKEN", raising=False)

    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    result = suite(OPTIONS_TEST.format(expected=expected), *arguments)

    result.assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("argument", "shows"),
    [("--help", "*--ready-file*"), ("--fixtures", "broadcast_client*"), ("--markers", "@pytest.mark.e2e*")],
)
def test_whoever_asks_what_there_is_needs_no_target(
    suite: Suite, monkeypatch: pytest.MonkeyPatch, argument: str, shows: str
) -> None:
    """The way to the explanation does not lead through what is to be explained."""
    monkeypatch.setenv("HARNESS_TARGET", "endpoint")

    result = suite("def test_it(target): pass", argument, conftest="")

    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(shows)


def test_collecting_needs_no_target(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    """An editor lists the tests of a suite that cannot run just now."""
    monkeypatch.setenv("HARNESS_TARGET", "endpoint")

    result = suite("def test_it(target): pass", "--collect-only", conftest="")

    assert result.ret == pytest.ExitCode.OK


def test_a_ready_file_that_pytest_took_for_tests_is_explained(
    suite: Suite, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The ini file is looked for beside a path it cannot place; the sentence says what to write."""
    ready_file = tmp_path_factory.mktemp("elsewhere") / "ready.json"
    ready_file.touch(mode=0o600)

    result = suite("", "--target", "endpoint", "--ready-file", str(ready_file), conftest="")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(f"ERROR: pytest took * for a folder of tests: write --ready-file={ready_file}")


def test_another_stack_is_found_beside_the_ini_file(suite: Suite, pytester: pytest.Pytester) -> None:
    """The ini option names a folder relative to the file it stands in."""
    (pytester.mkdir("mystack") / "Pulumi.yaml").touch()

    result = suite("def test_it(target): pass", "--target=embedded", ini='iot_stack = "mystack"')

    result.assert_outcomes(passed=1)


def test_the_plugin_can_be_loaded_by_a_conftest(suite: Suite) -> None:
    """As in a checkout that is not installed: all options are there as well."""
    result = suite(
        "def test_it(target): pass",
        "--target=embedded",
        "--clients=7",
        "--devices=8",
        conftest=f"pytest_plugins = ['harness.plugin']\n{FAKE_TARGET}",
        loaded="conftest",
    )

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines("thingwright: target embedded, 7 clients and 8 devices *")


# The target's life.


def test_a_target_that_no_test_needs_is_not_started(suite: Suite, pytester: pytest.Pytester) -> None:
    """Asking for it costs nothing until a selected test does."""
    result = suite(
        """
        def test_without(): pass
        def test_with(target): pass
        """,
        "--target=embedded",
        "-k=without",
    )

    result.assert_outcomes(passed=1, deselected=1)
    assert "start" not in log_of(pytester)
    result.stdout.no_fnmatch_line("thingwright on *")


def test_a_target_is_started_once_and_stopped(suite: Suite, pytester: pytest.Pytester) -> None:
    """However many tests use it; an interrupt stops it like any other end, and what it hit is not counted as passed."""
    result = suite(
        """
        def test_one(target): pass
        def test_two(stack): pass
        def test_interrupted(target): raise KeyboardInterrupt
        """,
        "--target=embedded",
    )

    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert log_of(pytester)[:2] == ["start", "stop"]
    result.stdout.fnmatch_lines("thingwright on embedded: 2 passed")


def test_a_target_that_cannot_be_used_ends_the_run(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 4 and the sentence that says what to do, once."""
    monkeypatch.setenv("TROUBLE", "unavailable")

    result = suite(
        """
        def test_one(target): pass
        def test_two(target): pass
        """,
        "--target=embedded",
    )

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert result.stdout.str().count("Docker is missing: install it.") == 1


def test_a_stack_that_cannot_be_deployed_fails_tests_with_its_message(
    suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Resource, call and reason, without the way there."""
    monkeypatch.setenv("TROUBLE", "provisioning")

    result = suite("def test_one(stack): pass", "--target=embedded")

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines("E *ProvisioningError: aws:iam/role:Role guest (CreateRole): no such thing")
    result.stdout.no_fnmatch_line("*def start(self):*")


@pytest.mark.parametrize("workers", [0, 2])
def test_a_target_that_does_not_start_is_not_tried_again(
    suite: Suite, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    """Every test fails with the same message, and the stack was deployed once, which may take minutes."""
    monkeypatch.setenv("TROUBLE", "provisioning")

    result = suite(
        """
        import pytest

        @pytest.mark.needs("POLICY")
        @pytest.mark.parametrize("number", range(3))
        def test_it(target, number): pass
        """,
        "--target=embedded",
        f"-n{workers}",
        conftest=FAKE_PROBED_TARGET,
    )

    result.assert_outcomes(errors=3)
    assert len(re.findall("^E .*Error: aws:iam.*no such thing", result.stdout.str(), re.MULTILINE)) == 3
    assert log_of(pytester).count("start") == 1


def test_tests_after_the_targets_end_say_so(suite: Suite) -> None:
    """The failing test shows it beside its failure, the next ones instead of failing in ways of their own."""
    result = suite(
        """
        def test_dies(target):
            type(target).is_dead = True
            assert False

        def test_next(target): pass
        """,
        "--target=embedded",
    )

    result.assert_outcomes(failed=1, errors=1)
    result.stdout.fnmatch_lines(
        [
            "*thingwright target*",
            "The broker ended with exit code 3*",
            "*last words*",
            "thingwright on *: 0 passed, 2 failed",
        ],
        consecutive=False,
    )


def test_a_set_up_that_fails_with_the_target_shows_it(suite: Suite) -> None:
    """A fixture notices in a way of its own; the reason stands beside it, once."""
    result = suite(
        """
        import pytest
        from harness.errors import TargetUnavailable

        @pytest.fixture
        def client(target):
            type(target).is_dead = True
            raise TargetUnavailable("a client cannot reach it")

        def test_it(client): pass

        def test_next(target): pass
        """,
        "--target=embedded",
    )

    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(
        ["*TargetUnavailable: a client cannot reach it", "*thingwright target*", "The broker ended with exit*"]
    )
    assert result.stdout.str().count("- thingwright target -") == 1


# Capabilities, markers, the count.


def test_what_a_target_cannot_prove_is_skipped_and_counted(suite: Suite) -> None:
    """By marker or by fixture, with the capability's name; an ordinary skip is an ordinary skip."""
    result = suite(
        """
        import pytest
        from harness.run import needs

        @pytest.fixture
        @needs("POLICY", "HTTP_ACTION")
        def own(target):
            raise AssertionError("set up although it cannot work")

        @pytest.mark.needs("POLICY", "FAULTS")
        def test_marked(target): pass

        def test_fixture(faults): pass

        def test_own(own): pass

        def test_can(target): pass

        def test_other(target): pytest.skip("for another reason")

        def test_without_target(): pass
        """,
        "--target=embedded",
        "-rs",
    )

    result.assert_outcomes(passed=2, skipped=4)
    result.stdout.fnmatch_lines(
        [
            "thingwright on embedded: 1 passed, 1 skipped, 3 not proven (lacking FAULTS 2, HTTP_ACTION 1)",
            "SKIPPED *not proven: the embedded target lacks FAULTS: nobody made faults here",
        ]
    )


def test_a_report_holds_what_the_target_lacks_and_why(suite: Suite, pytester: pytest.Pytester) -> None:
    """As properties of the test, for whoever reads reports."""
    suite(
        """
        import pytest

        @pytest.mark.needs("FAULTS")
        def test_it(target): pass
        """,
        "--target=embedded",
        "--junit-xml=report.xml",
        "-o",
        "junit_family=xunit1",
    )

    report = (pytester.path / "report.xml").read_text("utf-8")
    for name, value in (("target", "embedded"), ("lacks", "FAULTS"), ("because", "nobody made faults here")):
        assert f'<property name="thingwright-{name}" value="{value}" />' in report


def test_a_fixture_that_replaces_another_has_needs_of_its_own(suite: Suite, pytester: pytest.Pytester) -> None:
    """Those of the replaced one count only where it is used after all."""
    pytester.makepyfile(
        test_extending="""
        import pytest

        @pytest.fixture
        def own(own): pass

        def test_it(own): pass
        """
    )

    result = suite(
        """
        import pytest

        @pytest.fixture
        def own(target): pass

        def test_it(own): pass
        """,
        "--target=embedded",
        "-v",
        conftest=f"""{FAKE_TARGET}
import pytest
from harness.run import needs

@pytest.fixture
@needs("FAULTS")
def own(target): pass
""",
    )

    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines("test_extending.py::test_it SKIPPED*")


@pytest.mark.parametrize("workers", [0, 2])
def test_a_target_that_nobody_knows_is_tried_before_tests_are_skipped(
    suite: Suite, pytester: pytest.Pytester, workers: int
) -> None:
    """Once, by whoever runs it; what was found missing is skipped with the reason, and so is what it lacks anyway."""
    result = suite(
        """
        import pytest

        @pytest.mark.needs("POLICY")
        def test_probed(target): pass

        @pytest.mark.needs("FAULTS")
        def test_declared(target): pass

        @pytest.mark.needs("TRACE")
        def test_can(target):
            assert "POLICY" not in target.capabilities
        """,
        "--target=embedded",
        "-rs",
        f"-n{workers}",
        conftest=FAKE_PROBED_TARGET,
    )

    result.assert_outcomes(passed=1, skipped=2)
    result.stdout.fnmatch_lines_random(
        [
            "SKIPPED *not proven: the embedded target lacks POLICY: a stranger was let in",
            "SKIPPED *not proven: the embedded target lacks FAULTS: nobody made faults here",
        ]
    )
    assert log_of(pytester)[:3] == ["start", "probe", "stop"]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("needed", ["POLICY", "TRACE"])
def test_what_is_left_behind_fails_the_run(
    suite: Suite, monkeypatch: pytest.MonkeyPatch, needed: str, workers: int
) -> None:
    """Also where every test was skipped, and where no process that runs tests has the target."""
    monkeypatch.setenv("TROUBLE", "left")

    result = suite(
        f"""
        import pytest

        @pytest.mark.needs("{needed}")
        def test_it(target): pass
        """,
        "--target=embedded",
        f"-n{workers}",
        conftest=FAKE_PROBED_TARGET,
    )

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines("*left behind: policy device; `thingwright sweep`")
    result.stdout.no_fnmatch_line("*INTERNALERROR*")
    result.stderr.no_fnmatch_line("*Traceback*")


def test_an_unknown_capability_is_an_error(suite: Suite) -> None:
    """A misspelt one would skip nothing, or everything."""
    result = suite(
        """
        import pytest

        @pytest.mark.needs("POLICIES")
        def test_marked(target): pass
        """,
        "--target=embedded",
    )

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines("*capability='POLICIES' is not accepted: one of GUESTS, *")


@pytest.mark.parametrize(
    ("arguments", "is_accepted"),
    [
        ('"mqtt.takeover", source="DG:mqtt"', True),
        ('"mqtt.takeover", source="DG:mqtt", differs="one copy only"', True),
        ('"mqtt.takeover"', False),
        ('source="DG:mqtt"', False),
        ('"mqtt.takeover", source="DG:mqtt", note="x"', False),
    ],
)
def test_a_behaviour_names_its_source(suite: Suite, arguments: str, *, is_accepted: bool) -> None:
    """What has no source is nobody's behaviour."""
    result = suite(
        f"""
        import pytest

        @pytest.mark.behaviour({arguments})
        def test_it(target): pass
        """,
        "--target=embedded",
    )

    assert result.ret == (pytest.ExitCode.OK if is_accepted else pytest.ExitCode.USAGE_ERROR)


def test_a_behaviour_without_a_source_is_named_by_a_worker_too(suite: Suite) -> None:
    """A distributed run goes on with its other tests."""
    result = suite(
        """
        import pytest

        @pytest.mark.behaviour("mqtt.takeover")
        def test_it(target): pass

        def test_other(): pass
        """,
        "--target=embedded",
        "-n2",
    )

    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines("*test_it: behaviour takes one id and source=*")


# What a run may cost, and what it leaves to read.


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--target=embedded", "--max-things=11"], (11, 20_000)),
        (["--target=embedded", "--max-messages=7", "-n2"], (100, 3)),
        (["--target=embedded", "--max-messages=1", "-n2"], (100, 1)),
        (["--target=aws", "--aws-account=123456789012"], (200, 20_000)),
        (["--target=embedded"], None),
    ],
)
def test_a_run_may_be_given_a_budget(suite: Suite, arguments: list[str], told: tuple[int, int] | None) -> None:
    """On AWS always; workers have equal parts of it, and the header says what all of them have."""
    result = suite(
        f"""
        from harness.run import NAME

        def test_it(request):
            budget = request.config.pluginmanager.get_plugin(NAME).budget
            assert (budget and (budget.things, budget.messages)) == {told}
        """,
        *arguments,
    )

    result.assert_outcomes(passed=1)
    if told:
        result.stdout.fnmatch_lines("thingwright: at most *--max-things*--max-messages*USD*")
    else:
        result.stdout.no_fnmatch_line("*USD*")


@pytest.mark.parametrize("way", ["option", "environment"])
def test_a_run_leaves_evidence_where_it_is_asked_to(
    suite: Suite, monkeypatch: pytest.MonkeyPatch, pytester: pytest.Pytester, way: str
) -> None:
    """A file that tells what was proven at which target."""
    if way == "environment":
        monkeypatch.setenv("HARNESS_EVIDENCE", "evidence.json")

    result = suite(
        "def test_it(target): pass",
        "--target=embedded",
        *(["--evidence=evidence.json"] if way == "option" else []),
    )

    result.assert_outcomes(passed=1)
    assert "embedded" in (pytester.path / "evidence.json").read_text("utf-8")


# Clients.


@pytest.mark.parametrize("mode", ["auto", "strict"])
def test_clients_work_in_both_modes_of_pytest_asyncio(suite: Suite, mode: str) -> None:
    """As many as the command line says, or as the test says, connected and subscribed on the test's loop."""
    mark = "" if mode == "auto" else "@pytest.mark.asyncio"
    result = suite(
        f"""
        import asyncio
        import pytest

        {mark}
        async def test_many(make_broadcast_clients):
            assert len(await make_broadcast_clients()) == 4
            clients = await make_broadcast_clients(2, subscribe="public/x")
            assert [client.calls for client in clients] == [["connect", "public/x"]] * 2
            assert clients[0].loop is asyncio.get_running_loop()

        {mark}
        async def test_one(broadcast_client, make_broadcast_client):
            assert broadcast_client.calls == ["connect"]
            other = await make_broadcast_client(client_id="public-7", connect=False)
            assert (other.client_id, other.calls) == ("public-7", [])
            await other.connect()
        """,
        "--target=embedded",
        "--clients=4",
        conftest=FAKE_TARGET + FAKE_GUESTS,
        mode=mode,
    )

    result.assert_outcomes(passed=2)


def test_devices_are_made_as_many_as_the_run_was_asked_for(suite: Suite) -> None:
    """Unless a test says how many; what was made is taken away after its test."""
    result = suite(
        """
        import harness.device_fixtures

        counts, closed = [], []

        async def make_many(self, count):
            counts.append(count)
            return []

        async def close(self):
            closed.append(len(counts))

        harness.device_fixtures.Devices.make_many = make_many
        harness.device_fixtures.Devices.close = close

        async def test_many(make_devices):
            await make_devices()
            await make_devices(3)
            assert (counts, closed) == ([5, 3], [])

        def test_afterwards():
            assert closed == [2]
        """,
        "--target=embedded",
        "--devices=5",
    )

    result.assert_outcomes(passed=2)


@pytest.mark.parametrize("scope", ["fixture", "test"])
def test_a_test_on_another_loop_than_its_fixtures_is_told_what_to_set(suite: Suite, scope: str) -> None:
    """Its clients could not be stopped: better no clients than clients that are left behind."""
    result = suite(
        """
        async def test_one(make_broadcast_client):
            await make_broadcast_client(connect=False)

        async def test_many(make_broadcast_clients):
            await make_broadcast_clients(2)

        async def test_device(make_device):
            await make_device(connect=False)

        async def test_devices(make_devices):
            await make_devices(2)
        """,
        "--target=embedded",
        "-o",
        f"asyncio_default_{scope}_loop_scope=session",
        conftest=FAKE_TARGET + FAKE_GUESTS,
    )

    result.assert_outcomes(failed=4)
    result.stdout.fnmatch_lines("E *HarnessError: *asyncio_default_fixture_loop_scope*")


def test_a_client_that_does_not_stop_is_an_error_of_its_test(suite: Suite) -> None:
    """Beside the test's own failure, which stays the first thing to read."""
    result = suite(
        """
        async def test_it(make_broadcast_client):
            await make_broadcast_client(client_id="public-stubborn")
            assert "the test" == "failed"
        """,
        "--target=embedded",
        conftest=FAKE_TARGET + FAKE_GUESTS,
    )

    result.assert_outcomes(failed=1, errors=1)
    result.stdout.fnmatch_lines("*TeardownError: left behind: public-stubborn; they did not stop within 2 s")


# Distributed runs.


def test_workers_share_one_target_that_the_controller_runs(suite: Suite, pytester: pytest.Pytester) -> None:
    """Started once, by none of them; each has names of its own."""
    result = suite(
        """
        import os
        import pytest

        @pytest.mark.parametrize("number", range(4))
        def test_it(target, stack, environment, topics, number):
            assert target.name == "embedded"
            assert target.patience == 1.5
            assert stack.identity_pool_id == "eu-central-1:pool"
            assert environment.admin_token == "token"
            assert os.environ["PYTEST_XDIST_WORKER"] in topics.broadcast
            assert environment.ready.pid != os.getpid()

        def test_cannot(faults): pass
        """,
        "--target=embedded",
        "-n2",
    )

    result.assert_outcomes(passed=4, skipped=1)
    result.stdout.fnmatch_lines("thingwright on embedded: 4 passed, 1 not proven (lacking FAULTS 1)")
    assert log_of(pytester) == ["start", "stop"]


def test_workers_without_a_need_start_no_target(suite: Suite, pytester: pytest.Pytester) -> None:
    """The controller waits to be asked."""
    result = suite("def test_it(): pass", "--target=embedded", "-n2")

    result.assert_outcomes(passed=1)
    assert "start" not in log_of(pytester)


def test_a_distributed_run_whose_target_cannot_be_used_exits_the_same_way(
    suite: Suite, monkeypatch: pytest.MonkeyPatch, pytester: pytest.Pytester
) -> None:
    """Exit code 4; it is tried once, not once per worker."""
    monkeypatch.setenv("TROUBLE", "unavailable")

    result = suite(
        """
        def test_one(target): pass
        def test_two(target): pass
        """,
        "--target=embedded",
        "-n2",
    )

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stdout.fnmatch_lines(["*TargetError: Docker is missing: install it.", "thingwright: Docker is missing: *"])
    assert log_of(pytester).count("start") == 1
