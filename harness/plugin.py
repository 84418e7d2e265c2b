"""The pytest plugin: options, markers, and whether a suite asks for a target at all.

The plugin is loaded into every pytest run of the environment it is installed in, so it imports nothing but pytest until
a suite asks for a target: by ``--target``, by HARNESS_TARGET or by the ini option ``iot_target``. Only then are the
fixtures registered; their names are ordinary words that belong to everybody else's suites otherwise.

For the same reason all options but two are added after the conftest files had their say: a suite that has such options
of its own, ``--target`` or ``--ca-file``, keeps them, and asks by environment variable or ini option. A value on the
command line stands above the environment, and one that is not for the chosen target is refused there; in the
environment it may lie ready for another run.
"""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping
    from pathlib import Path

    from harness.run import RunSettings
    from harness.targets.options import TargetOptions

_INI_FILES = ("pytest.toml", "pytest.ini", "pyproject.toml", "tox.ini", "setup.cfg")

TARGETS_IN_HELP = (
    "embedded (a stand-in started for the run), endpoint (a `thingwright serve` or an emulator that runs already), "
    "localstack (a container started for the run) or aws (a deployed stack)"
)

_OWNERS = {
    "ready_file": ("endpoint",),
    "endpoint_url": ("endpoint",),
    "iot_endpoint": ("endpoint",),
    "mqtts_port": ("endpoint",),
    "wss_port": ("endpoint",),
    "ca_file": ("endpoint",),
    "receiver_url": ("endpoint", "localstack"),
    "receiver_table": ("endpoint", "localstack"),
    "stack_outputs": ("aws",),
    "pulumi_stack": ("aws",),
    "aws_account": ("aws",),
}
"""Option, in Python's spelling → the targets that it is for."""

_PATHS = ("ready_file", "ca_file", "stack_outputs", "evidence")
_EARLY = ("ready_file", "stack_outputs")
_ENDPOINT = ("endpoint_url", "iot_endpoint", "mqtts_port", "wss_port", "ca_file", "receiver_url", "receiver_table")

MARKERS = (
    "e2e: end to end, against the target the run was pointed at",
    (
        "behaviour(id, source=, differs=None): proves a behaviour of AWS IoT Core; source says where it is documented,"
        " differs where the test stops short of it"
    ),
    "needs(*capabilities): skipped, and counted as not proven, at a target that lacks one of these capabilities",
)


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """Add ini options, and the command-line options of no everyday name whose value is a path.

    pytest looks at paths on the command line before conftest files are loaded, so it has to know early that these name
    no tests.
    """
    parser.addini(
        "iot_target", f"target to run at, unless --target or HARNESS_TARGET says: {TARGETS_IN_HELP}", default=""
    )
    parser.addini(
        "iot_stack",
        "folder of the Pulumi program that is deployed instead of this project's; for aws, whose outputs are asked for",
        default="",
    )
    _add_options(parser, _EARLY)
    if any(str(getattr(each, "__file__", "")).endswith("conftest.py") for each in pluginmanager.get_plugins()):
        _add_common_options(parser)  # a conftest file is loading this plugin: the hook below was over before it came


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(parser: pytest.Parser) -> Generator[None, object, object]:
    """Add the options with everyday names once conftest files have added theirs."""
    result = yield
    _add_common_options(parser)
    return result


def pytest_configure(config: pytest.Config) -> None:
    """Register markers and, where the suite asks for a target, run, fixtures and evidence."""
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
    from harness.secrecy import VARIABLES, Secrecy  # noqa: PLC0415 - the same

    worker = getattr(config, "workerinput", None)
    try:
        if worker is None and not _only_lists(config):
            settings.check()
        run = Run(settings, worker=worker)
        evidence = _make_evidence(config, target=settings.target)
    except (SettingsError, TargetUnavailable) as error:
        raise pytest.UsageError(str(error)) from None
    config.pluginmanager.register(run, NAME)
    given = tuple(os.environ.get(name) for name in VARIABLES)
    config.pluginmanager.register(Secrecy(config, lambda: (*given, *run.secrets())), "harness.secrecy")
    for module in (fixtures, device_fixtures, telemetry_fixtures):
        config.pluginmanager.register(module, module.__name__)
    if evidence is not None:
        config.pluginmanager.register(evidence, "harness.evidence")


def _make_evidence(config: pytest.Config, *, target: str) -> object | None:
    """Return the plugin that writes down what the run proved; None when nobody wants to know."""
    if not _given(config, "evidence") and not os.environ.get("HARNESS_EVIDENCE"):
        return None
    from harness.evidence import make_evidence  # noqa: PLC0415 - only where it is asked for

    evidence: object | None = make_evidence(config, target=target)
    return evidence


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
    target = _given(config, "target") or environment.get("HARNESS_TARGET") or config.getini("iot_target")
    for name, owners in _OWNERS.items():
        if _given(config, name) and target not in owners:
            whose = " or ".join(owners)
            raise pytest.UsageError(f"{_option(name)} belongs to the {whose} target: add --target {whose}")
    if not target:
        return None
    for name in _PATHS:
        path = _given(config, name)
        if path and _took_for_tests(config, path):
            raise pytest.UsageError(f"pytest took {path} for a folder of tests: write {_option(name)}={path}")
    from harness.run import RunSettings  # noqa: PLC0415 - not for suites that ask for no target

    return RunSettings(
        target=target,
        clients=config.getoption("thingwright_clients", 3),
        devices=config.getoption("thingwright_devices", 2),
        options=_read_options(config, environment, target=target),
        max_things=_given(config, "max_things"),
        max_messages=_given(config, "max_messages"),
    )


def _read_options(config: pytest.Config, environment: Mapping[str, str], *, target: str) -> TargetOptions:
    """Read what the target is told; nothing that is for others."""
    from harness.targets.options import TargetOptions  # noqa: PLC0415 - not for suites that ask for no target

    def path(text: str | None) -> Path | None:
        return config.invocation_params.dir / text if text else None

    def said(name: str, told: Mapping[str, str] = environment) -> Any:
        return _given(config, name) or told.get(f"HARNESS_{name.upper()}") or None

    base = config.inipath.parent if config.inipath else config.rootpath
    ini = config.getini("iot_stack")
    stack = base / ini if ini else None
    if target == "localstack":
        return TargetOptions(
            stack=stack,
            localstack_token=environment.get("LOCALSTACK_AUTH_TOKEN") or None,
            receiver_url=said("receiver_url"),
            receiver_secret=environment.get("HARNESS_IOT_SECRET") or None,
            receiver_table=said("receiver_table"),
        )
    if target == "aws":
        accounts = _given(config, "aws_account") or environment.get("HARNESS_AWS_ACCOUNT", "").split(",")
        # One way on the command line: what the environment says of the other one is not asked for.
        told = {} if _given(config, "stack_outputs") or _given(config, "pulumi_stack") else environment
        return TargetOptions(
            stack=stack,
            stack_outputs=path(said("stack_outputs", told)),
            pulumi_stack=said("pulumi_stack", told),
            aws_accounts=tuple(account.strip() for account in accounts if account.strip()),
        )
    if target != "endpoint":
        return TargetOptions(stack=stack)
    by_url = any(_given(config, name) for name in _ENDPOINT)
    from_file = {} if by_url else environment
    from_urls = {} if _given(config, "ready_file") and not by_url else environment
    return TargetOptions(
        stack=stack,
        ready_file=path(said("ready_file", from_file)),
        endpoint_url=said("endpoint_url", from_urls),
        iot_endpoint=said("iot_endpoint", from_urls),
        mqtts_port=_given(config, "mqtts_port"),
        wss_port=_given(config, "wss_port"),
        ca_file=path(said("ca_file", from_urls)),
        access_key_id=from_urls.get("HARNESS_ACCESS_KEY_ID") or None,
        secret_access_key=from_urls.get("HARNESS_SECRET_ACCESS_KEY") or None,
        receiver_url=said("receiver_url", from_urls),
        receiver_secret=from_urls.get("HARNESS_IOT_SECRET") or None,
        receiver_table=said("receiver_table", from_urls),
    )


def _given(config: pytest.Config, name: str) -> Any:
    """Return what the command line says of an option of ours; None when it says nothing."""
    return config.getoption(f"thingwright_{name}", None)


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


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


_OPTIONS: dict[str, dict[str, Any]] = {
    "target": {"metavar": "NAME", "help": f"where to run: {TARGETS_IN_HELP}; also HARNESS_TARGET, ini iot_target"},
    "clients": {
        "metavar": "N",
        "type": int,
        "default": 3,
        "help": "how many broadcast clients make_broadcast_clients() makes where a test does not say (default: 3)",
    },
    "devices": {
        "metavar": "N",
        "type": int,
        "default": 2,
        "help": "how many devices make_devices() makes where a test does not say (default: 2)",
    },
    "ready_file": {
        "metavar": "F",
        "help": "for --target endpoint: what `thingwright serve --ready-file F` wrote; also HARNESS_READY_FILE",
    },
    "endpoint_url": {
        "metavar": "URL",
        "help": "for --target endpoint: base URL of an emulator's AWS APIs; also HARNESS_ENDPOINT_URL; its keys in "
        "HARNESS_ACCESS_KEY_ID and HARNESS_SECRET_ACCESS_KEY (default: test and test)",
    },
    "iot_endpoint": {
        "metavar": "HOST",
        "help": "with --endpoint-url: its broker (default: what DescribeEndpoint says); also HARNESS_IOT_ENDPOINT",
    },
    "mqtts_port": {
        "metavar": "PORT",
        "type": int,
        "help": "with --endpoint-url: MQTT with client certificate (default: 8883)",
    },
    "wss_port": {
        "metavar": "PORT",
        "type": int,
        "help": "with --endpoint-url: MQTT over WebSocket (default: what DescribeEndpoint says, else 443)",
    },
    "ca_file": {
        "metavar": "F",
        "help": "with --endpoint-url: PEM file of the CA of its servers (default: the system's); also HARNESS_CA_FILE",
    },
    "receiver_url": {
        "metavar": "URL",
        "help": "with --endpoint-url: a receiver that the stack's rule posts to (default: no rule); also "
        "HARNESS_RECEIVER_URL; the secret that it expects in HARNESS_IOT_SECRET",
    },
    "receiver_table": {
        "metavar": "NAME",
        "help": "with --receiver-url: the receiver's TABLE_NAME; the stack makes this table and takes it away again; "
        "also HARNESS_RECEIVER_TABLE",
    },
    "stack_outputs": {
        "metavar": "F",
        "help": "for --target aws: what `pulumi stack output --json` wrote; also HARNESS_STACK_OUTPUTS",
    },
    "pulumi_stack": {
        "metavar": "NAME",
        "help": "for --target aws: the Pulumi stack whose outputs are asked for; also HARNESS_PULUMI_STACK",
    },
    "aws_account": {
        "metavar": "ID",
        "action": "append",
        "help": "for --target aws: an account that the run may touch, may be given again; also HARNESS_AWS_ACCOUNT, "
        "separated by commas",
    },
    "max_things": {
        "metavar": "N",
        "type": int,
        "help": "how many things the run may make (default: 200 for --target aws, else any)",
    },
    "max_messages": {
        "metavar": "N",
        "type": int,
        "help": "how many messages the run may send (default: 20,000 for --target aws, else any)",
    },
    "evidence": {
        "metavar": "F",
        "help": "file that says afterwards what this run proved, for `thingwright report`; also HARNESS_EVIDENCE",
    },
}
"""Option, in Python's spelling → what argparse is told."""


def _add_common_options(parser: pytest.Parser) -> None:
    _add_options(parser, [name for name in _OPTIONS if name not in _EARLY])


def _add_options(parser: pytest.Parser, names: Iterable[str]) -> None:
    group = _group(parser)
    taken = _options_taken(parser)
    for name in names:
        if _option(name) not in taken:
            try:
                group.addoption(_option(name), dest=f"thingwright_{name}", **_OPTIONS[name])
            except (ValueError, argparse.ArgumentError):
                continue  # somebody's option of the same name: theirs it is


def _options_taken(parser: pytest.Parser) -> set[str]:
    """Return the names of the options that somebody has added.

    pytest 8 notices two of the same name no sooner than it parses, and keeps those outside of groups apart.
    """
    groups = [*getattr(parser, "_groups", ()), getattr(parser, "_anonymous", None)]
    return {name for group in groups if group is not None for option in group.options for name in option.names()}
