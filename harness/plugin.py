"""The pytest plugin: options, markers, and whether a suite asks for a target at all.

The plugin is loaded into every pytest run of the environment it is installed in, so it imports nothing but pytest until
a suite asks for a target: by ``--target``, by HARNESS_TARGET or by the ini option ``iot_target``. Only then are the
fixtures registered; their names are ordinary words that belong to everybody else's suites otherwise.

For the same reason ``--target``, ``--clients`` and ``--devices`` are added after the conftest files had their say: a
suite that has such options of its own keeps them, and asks by the other two ways.
"""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from harness.run import RunSettings

_INI_FILES = ("pytest.toml", "pytest.ini", "pyproject.toml", "tox.ini", "setup.cfg")

TARGETS_IN_HELP = "embedded (started for the run) or endpoint (a `thingwright serve` that runs already)"

MARKERS = (
    "e2e: end to end, against the target the run was pointed at",
    (
        "behaviour(id, source=, differs=None): proves a behaviour of AWS IoT Core; source says where it is documented,"
        " differs where the test stops short of it"
    ),
    "needs(*capabilities): skipped, and counted as not proven, at a target that lacks one of these capabilities",
)


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """Add ini options, and the one command-line option whose value is a path.

    pytest looks at paths on the command line before conftest files are loaded, so it has to know early that this one
    names no tests.
    """
    parser.addini(
        "iot_target", f"target to run at, unless --target or HARNESS_TARGET says: {TARGETS_IN_HELP}", default=""
    )
    parser.addini("iot_stack", "folder of the Pulumi program that the embedded target deploys", default="")
    if "--ready-file" not in _options_taken(parser):
        _group(parser).addoption(
            "--ready-file",
            dest="thingwright_ready_file",
            metavar="F",
            help="for --target endpoint: what `thingwright serve --ready-file F` wrote; also HARNESS_READY_FILE",
        )
    if any(str(getattr(each, "__file__", "")).endswith("conftest.py") for each in pluginmanager.get_plugins()):
        _add_common_options(parser)  # a conftest file is loading this plugin: the hook below was over before it came


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(parser: pytest.Parser) -> Generator[None, object, object]:
    """Add the options with everyday names once conftest files have added theirs."""
    result = yield
    _add_common_options(parser)
    return result


def pytest_configure(config: pytest.Config) -> None:
    """Register markers and, where the suite asks for a target, run and fixtures."""
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)
    if config.option.help:
        return  # whoever asks how to point at a target need not point at one
    settings = read_settings(config, os.environ)
    if settings is None:
        return
    # Nothing of this is imported for suites that ask for no target.
    from harness import device_fixtures, fixtures, telemetry_fixtures  # noqa: PLC0415 - see above
    from harness.errors import SettingsError, TargetUnavailable  # noqa: PLC0415 - the same
    from harness.run import NAME, Run  # noqa: PLC0415 - the same

    worker = getattr(config, "workerinput", None)
    try:
        if worker is None and not _only_lists(config):
            settings.check()
        run = Run(settings, worker=worker)
    except (SettingsError, TargetUnavailable) as error:
        raise pytest.UsageError(str(error)) from None
    config.pluginmanager.register(run, NAME)
    for module in (fixtures, device_fixtures, telemetry_fixtures):
        config.pluginmanager.register(module, module.__name__)


def read_settings(config: pytest.Config, environment: Mapping[str, str]) -> RunSettings | None:
    """Work out what the run was asked for: command line, then environment, then ini file.

    Args:
        config: pytest's.
        environment: variables by name.

    Returns:
        None when nobody asks for a target.

    Raises:
        pytest.UsageError: the settings contradict each other.
    """
    given = config.getoption("thingwright_ready_file", None)
    target = (
        config.getoption("thingwright_target", None) or environment.get("HARNESS_TARGET") or config.getini("iot_target")
    )
    if given and target != "endpoint":
        raise pytest.UsageError("--ready-file belongs to the endpoint target: add --target endpoint")
    if not target:
        return None
    if given and _took_for_tests(config, given):
        raise pytest.UsageError(f"pytest took {given} for a folder of tests: write --ready-file={given}")
    from harness.run import RunSettings  # noqa: PLC0415 - not for suites that ask for no target

    ready_file = given or environment.get("HARNESS_READY_FILE")
    base = config.inipath.parent if config.inipath else config.rootpath
    stack = config.getini("iot_stack")
    return RunSettings(
        target=target,
        clients=config.getoption("thingwright_clients", 3),
        devices=config.getoption("thingwright_devices", 2),
        ready_file=config.invocation_params.dir / ready_file if ready_file and target == "endpoint" else None,
        stack=base / stack if stack else None,
    )


def _only_lists(config: pytest.Config) -> bool:
    """Tell whether pytest is asked what there is, and runs nothing."""
    return any(
        getattr(config.option, name, False)
        for name in ("collectonly", "showfixtures", "show_fixtures_per_test", "markers")
    )


def _took_for_tests(config: pytest.Config, path: str) -> bool:
    """Tell whether pytest overlooked its ini file because of a path that stands alone on the command line.

    It looks for the file near the test paths, before any plugin can say which options take a value.
    """
    started_in = config.invocation_params.dir
    return (
        config.inipath is None
        and path in config.invocation_params.args
        and any((folder / name).is_file() for folder in (started_in, *started_in.parents) for name in _INI_FILES)
    )


def _group(parser: pytest.Parser) -> pytest.OptionGroup:
    return parser.getgroup("thingwright", "end-to-end tests for AWS IoT Core systems")


def _add_common_options(parser: pytest.Parser) -> None:
    options: dict[str, dict[str, Any]] = {
        "--target": {
            "metavar": "NAME",
            "help": f"where to run: {TARGETS_IN_HELP}; also HARNESS_TARGET, ini iot_target",
        },
        "--clients": {
            "metavar": "N",
            "type": int,
            "default": 3,
            "help": "how many broadcast clients make_broadcast_clients() makes where a test does not say (default: 3)",
        },
        "--devices": {
            "metavar": "N",
            "type": int,
            "default": 2,
            "help": "how many devices make_devices() makes where a test does not say (default: 2)",
        },
    }
    group = _group(parser)
    taken = _options_taken(parser)
    for name, attributes in options.items():
        if name not in taken:
            try:
                group.addoption(name, dest=f"thingwright_{name[2:]}", **attributes)
            except (ValueError, argparse.ArgumentError):
                continue  # somebody's option of the same name: theirs it is


def _options_taken(parser: pytest.Parser) -> set[str]:
    """Return the names of the options that somebody has added.

    pytest 8 notices two of the same name no sooner than it parses, and keeps those outside of groups apart.
    """
    groups = [*getattr(parser, "_groups", ()), getattr(parser, "_anonymous", None)]
    return {name for group in groups if group is not None for option in group.options for name in option.names()}
