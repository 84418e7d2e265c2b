"""How a suite asks for a target, and what the target is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.unit.plugin.conftest import Suite, TargetLog

pytest_plugins = ["pytester"]


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
    suite: Suite, monkeypatch: pytest.MonkeyPatch, target_log: TargetLog
) -> None:
    """It finds out itself, without being started; in a distributed run the controller asks, once."""
    monkeypatch.setenv("TROUBLE", "options")

    for arguments in ([], ["-n2"]):
        result = suite("def test_it(target): pass", "--target=embedded", *arguments)

        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines("ERROR: A token is missing: set it.")
    assert target_log() == []


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
        further="pytest_plugins = ['harness.plugin']",
        loaded="conftest",
    )

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines("thingwright: target embedded, 7 clients and 8 devices *")
