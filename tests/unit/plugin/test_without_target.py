"""The plugin in suites that ask for no target: silent, and in nobody's way."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import harness.plugin
from harness.plugin import TARGETS_IN_HELP
from harness.targets.registry import TARGETS

if TYPE_CHECKING:
    import pytest

    from tests.unit.plugin.conftest import Suite

pytest_plugins = ["pytester"]


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
        [sys.executable, "-c", program],
        cwd=Path(harness.__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
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
