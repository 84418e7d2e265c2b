"""Evidence of suites that run in processes of their own: what is written, and what is not."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from xml.etree.ElementTree import parse

import boto3
import pytest

import harness
from harness.report import evidence_file, validation_file
from harness.report.promises import Outcome, Record
from harness.report.provenance import is_aws
from harness.targets.marks import find_mark

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.report.evidence_file import EvidenceFile

    Suite = Callable[..., pytest.RunResult]

pytest_plugins = ["pytester"]

SOURCES = Path(harness.__file__).parents[1]

CONFTEST = """
import os
from types import SimpleNamespace

import pytest

from harness.errors import SettingsError
from harness.evidence import make_evidence

TARGET = os.environ.get("HARNESS_TARGET", "embedded")


def pytest_addoption(parser):
    parser.addoption("--evidence", dest="thingwright_evidence")


def pytest_configure(config):
    config.addinivalue_line("markers", "lacks(capability, because): what the target lacks")
    try:
        plugin = make_evidence(config, target=TARGET)
    except SettingsError as error:
        raise pytest.UsageError(str(error)) from None
    if plugin is not None:
        config.pluginmanager.register(plugin, "harness.evidence")


def pytest_runtest_setup(item):  # as a run at a target does
    if "target" in item.fixturenames:
        item.user_properties.append(("thingwright-target", TARGET))
    for mark in item.iter_markers("lacks"):
        capability, because = mark.args
        item.user_properties += [("thingwright-lacks", capability), ("thingwright-because", because)]
        pytest.skip(f"not proven: the target lacks {capability}: {because}")


@pytest.fixture
def target():
    pass
"""
"""Registers the plugin, and does what a run at a target does to tests that use it."""

TESTS = '''
"""Promise: it all holds. Most of it."""

import pytest

def test_good(target):
    """It holds. Always."""

def test_without_words(target):
    pass

@pytest.mark.parametrize("number", [1, 2])
def test_many(target, number):
    """It holds
    for numbers.
    """

class TestClass:
    def test_in_class(self, target):
        """It holds in classes."""

def test_bad(target):
    """It does not hold."""
    assert False

@pytest.mark.lacks("POLICY", "everybody may do everything")
def test_lacking(target):
    """It may hold."""

def test_skipped(target):
    """It was not tried."""
    pytest.skip("not proven: there is no prometheus")

@pytest.mark.parametrize("number", [1, 2, 3])
def test_partly(target, number):
    """It holds for some."""
    if number == 3:
        pytest.skip("3 is too much")

@pytest.fixture
def broken():
    raise ValueError

@pytest.fixture
def untidy():
    yield
    raise ValueError

def test_set_up(target, broken):
    """It cannot start."""

def test_teardown(target, untidy):
    """It cannot end."""

@pytest.mark.xfail(reason="it never did")
def test_expected(target):
    """It is known not to hold."""
    assert False

def test_without_target():
    """It is somebody else's."""
'''

SUMS = {
    "test_good": ("It holds.", "proven", (1, 0, 0, 0), None, None),
    "test_without_words": ("without words", "proven", (1, 0, 0, 0), None, None),
    "test_many": ("It holds for numbers.", "proven", (2, 0, 0, 0), None, None),
    "TestClass::test_in_class": ("It holds in classes.", "proven", (1, 0, 0, 0), None, None),
    "test_bad": ("It does not hold.", "failed", (0, 1, 0, 0), None, "the test failed"),
    "test_lacking": ("It may hold.", "not proven", (0, 0, 1, 0), "POLICY", "everybody may do everything"),
    "test_skipped": ("It was not tried.", "not proven", (0, 0, 1, 0), None, "there is no prometheus"),
    "test_partly": ("It holds for some.", "not proven", (2, 0, 1, 0), None, "3 is too much (1 of 3 cases)"),
    "test_set_up": ("It cannot start.", "failed", (0, 1, 0, 0), None, "its set-up failed"),
    "test_teardown": ("It cannot end.", "failed", (0, 1, 0, 0), None, "its teardown failed"),
    "test_expected": ("It is known not to hold.", "not proven", (0, 0, 1, 0), None, "expected to fail: it never did"),
}
"""What `TESTS` prove, in their order: claim, outcome, cases, capability, reason."""


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Suite:
    """Runs tests that leave their evidence in `made/run.json`."""
    monkeypatch.setenv("PYTHONPATH", os.fspath(SOURCES))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    mine = ("HARNESS_", "AWS_ENDPOINT_URL", "PYTEST_ADDOPTS", "PYTEST_PLUGINS", "PYTEST_XDIST")
    for name in [name for name in os.environ if name.startswith(mine)]:
        monkeypatch.delenv(name)

    def run(tests: str, *arguments: str, conftest: str = CONFTEST, evidence: str = "made/run.json") -> pytest.RunResult:
        pytester.makeconftest(conftest)
        pytester.makepyfile(test_it=tests)
        asked = (f"--evidence={evidence}",) if evidence else ()
        return pytester.runpytest_subprocess("-p", "xdist.plugin", *asked, *arguments)

    return run


def evidence_of(pytester: pytest.Pytester) -> EvidenceFile:
    """What the suite left."""
    return evidence_file.read(pytester.path / "made" / "run.json")


def summed(record: Record) -> tuple[Any, ...]:
    """What a record says, without durations."""
    cases = record.cases
    counts = (cases.passed, cases.failed, cases.skipped, cases.not_run)
    return record.claim, record.outcome.value, counts, record.lacks, record.because


# What is written.


@pytest.mark.parametrize("distributed", [(), ("-n2",)], ids=["one process", "xdist"])
def test_each_promise_is_written_with_what_became_of_it(
    suite: Suite, pytester: pytest.Pytester, distributed: tuple[str, ...]
) -> None:
    """In the tests' order, on one process and on several; tests without the target are left out."""
    result = suite(TESTS, *distributed)

    run = evidence_of(pytester)
    assert {each.id.removeprefix("test_it.py::"): summed(each) for each in run.promises} == SUMS
    assert [each.id.removeprefix("test_it.py::") for each in run.promises] == list(SUMS)
    assert {each.chapter for each in run.promises} == {"it all holds."}
    assert (run.target, run.label, run.exit_status, run.complete) == ("embedded", "embedded", 1, True)
    assert run.started <= run.ended
    assert {"python", "platform", "pytest", "boto3", "awscrt", "awsiotsdk", "moto"} <= run.versions.keys()
    result.stdout.fnmatch_lines("thingwright evidence: 4 proven, 3 failed, 4 not proven; written to *run.json")


def test_junit_xml_carries_the_promises(suite: Suite, pytester: pytest.Pytester) -> None:
    """As properties of each case, for readers that know nothing of evidence files."""
    suite(TESTS, "--junitxml=junit.xml")

    root = parse(pytester.path / "junit.xml").getroot()  # noqa: S314 - just written
    cases = {case.get("name"): case for case in root.iter("testcase")}
    properties = {each.get("name"): each.get("value") for each in cases["test_many[1]"].iter("property")}
    assert properties == {
        "thingwright-target": "embedded",
        "thingwright-promise": "test_it.py::test_many",
        "thingwright-claim": "It holds for numbers.",
        "thingwright-cases": "2",
        "thingwright-chapter": "it all holds.",
    }
    assert list(cases["test_without_target"].iter("property")) == []


@pytest.mark.parametrize("asked", [("-k", "1"), ("test_it.py::test_it[1]",)])
def test_a_selected_case_does_not_prove_the_promise(
    suite: Suite, pytester: pytest.Pytester, asked: tuple[str, ...]
) -> None:
    """Whoever asks for one of two cases has seen one of two."""
    suite(
        """
        import pytest

        @pytest.mark.parametrize("number", [1, 2])
        def test_it(target, number):
            "It holds."
        """,
        *asked,
    )

    (record,) = evidence_of(pytester).promises
    assert summed(record)[1:] == ("not proven", (1, 0, 0, 1), None, "1 of 2 cases did not run")


INTERRUPTED = """
def test_one(target): pass

def test_two(target):
    raise KeyboardInterrupt

def test_three(target): pass
"""


@pytest.mark.parametrize("distributed", [(), ("-n1",)], ids=["one process", "xdist"])
def test_an_interrupted_run_says_so(suite: Suite, pytester: pytest.Pytester, distributed: tuple[str, ...]) -> None:
    """What was over by then counts, and what was under way does not."""
    suite(INTERRUPTED, *distributed)

    run = evidence_of(pytester)
    assert (run.complete, run.incomplete_because, run.exit_status) == (False, "it was interrupted", 2)
    assert [(each.outcome, each.because) for each in run.promises] == [
        (Outcome.PROVEN, None),
        (Outcome.NOT_PROVEN, "it did not run to its end"),
    ]


@pytest.mark.parametrize("distributed", [(), ("-n1",)], ids=["one process", "xdist"])
def test_a_run_that_stops_at_the_first_failure_says_so(
    suite: Suite, pytester: pytest.Pytester, distributed: tuple[str, ...]
) -> None:
    """Its exit code alone would not tell."""
    suite(TESTS, "-x", *distributed)

    run = evidence_of(pytester)
    assert not run.complete
    assert run.incomplete_because is not None
    assert "stopping after 1 failures" in run.incomplete_because


def test_a_run_that_is_killed_does_not_pass_for_the_one_before(suite: Suite, pytester: pytest.Pytester) -> None:
    """Nobody could write anything at its end, so what is there was written at its start."""
    suite("def test_it(target): pass")
    assert [each.outcome for each in evidence_of(pytester).promises] == [Outcome.PROVEN]

    suite("import os, signal\ndef test_it(target): os.kill(os.getpid(), signal.SIGKILL)")

    run = evidence_of(pytester)
    assert (run.complete, run.incomplete_because, run.promises) == (False, "it was killed, or is not over yet", ())


def test_evidence_that_goes_to_a_stream_is_written_once(suite: Suite, pytester: pytest.Pytester) -> None:
    """What reads it gets one document."""
    os.mkfifo(pytester.path / "stream")
    reader = subprocess.Popen(["cat", pytester.path / "stream"], stdout=subprocess.PIPE)

    suite("def test_it(target): pass", evidence="stream")

    told, _ = reader.communicate()
    assert json.loads(told)["complete"] is True


def test_a_skipped_subtest_is_not_proven(suite: Suite, pytester: pytest.Pytester) -> None:
    """For pytest the test around it has passed."""
    suite(
        """
        import pytest

        def test_it(target, subtests):
            with subtests.test("one"):
                pytest.skip("there is none")
        """
    )

    (record,) = evidence_of(pytester).promises
    assert summed(record)[1:] == ("not proven", (0, 0, 1, 0), None, "there is none")


def test_a_run_whose_target_cannot_be_used_says_so(suite: Suite, pytester: pytest.Pytester) -> None:
    """Exit code 4, and nothing proven."""
    suite("import pytest\ndef test_it(target): pytest.exit('Docker is missing: install it.', returncode=4)")

    run = evidence_of(pytester)
    assert (run.complete, run.exit_status) == (False, 4)
    assert [each.outcome for each in run.promises] == [Outcome.NOT_PROVEN]


def test_a_test_whose_worker_died_has_failed(suite: Suite, pytester: pytest.Pytester) -> None:
    """pytest-xdist goes on with another worker; the evidence says that one was lost."""
    suite(
        """
        import os

        def test_deadly(target): os._exit(3)

        def test_good(target): pass
        """,
        "-n1",
    )

    run = evidence_of(pytester)
    assert (run.complete, run.incomplete_because) == (False, "a process that ran tests died")
    assert {each.id: (each.outcome, each.because) for each in run.promises} == {
        "test_it.py::test_deadly": (Outcome.FAILED, "its process died"),
        "test_it.py::test_good": (Outcome.PROVEN, None),
    }


RERUNS = (
    CONFTEST
    + """

@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item, nextitem):  # as pytest-rerunfailures does
    from _pytest.runner import runtestprotocol

    for attempt in (1, 2, 3):
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
        has_failed = any(report.failed for report in reports)
        for report in reports:
            if report.failed and attempt < 3:
                report.outcome = "rerun"
            item.ihook.pytest_runtest_logreport(report=report)
        if not has_failed:
            break
        item._initrequest()
    return True
"""
)


def test_what_passed_only_when_tried_again_says_so(suite: Suite, pytester: pytest.Pytester) -> None:
    """The last attempt counts, and the others are counted."""
    suite(
        """
        tries = []

        def test_flaky(target):
            tries.append(1)
            assert len(tries) == 2

        def test_bad(target):
            assert False

        def test_good(target): pass
        """,
        conftest=RERUNS,
    )

    ends = {each.id.rpartition("::")[2]: (each.outcome.value, each.reruns) for each in evidence_of(pytester).promises}
    assert ends == {"test_flaky": ("proven", 1), "test_bad": ("failed", 2), "test_good": ("proven", 0)}


def test_nothing_in_it_tells_of_machine_or_account(suite: Suite, pytester: pytest.Pytester) -> None:
    """Whatever a skip's reason or a failure says; a claim is the author's own."""
    suite(
        """
        import pytest

        @pytest.mark.lacks("POLICY", "GET http://mine.example.org:1 of 123456789012 with AKIAIOSFODNN7EXAMPLE failed")
        def test_lacking(target): pass

        def test_skipped(target): pytest.skip("no file /srv/me/ca.pem for arn:aws:iot:x:123456789012:thing/t")

        def test_bad(target): raise ValueError("hunter2")
        """
    )

    text = (pytester.path / "made" / "run.json").read_text("utf-8")
    for secret in ("mine.example", "123456789012", "AKIA", "/home", "hunter2", os.fspath(pytester.path)):
        assert secret not in text
    assert [each.because for each in evidence_of(pytester).promises] == [
        "GET … of … with … failed",
        "no file … for …",
        "the test failed",
    ]


def test_the_environment_may_ask_and_name_the_server(
    suite: Suite, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a workflow, where several servers are run against as one target."""
    monkeypatch.setenv("HARNESS_EVIDENCE", "made/run.json")
    monkeypatch.setenv("HARNESS_EVIDENCE_LABEL", "ministack")
    monkeypatch.setenv("HARNESS_TARGET", "endpoint")

    suite("def test_it(target): pass", evidence="")

    run = evidence_of(pytester)
    assert (run.target, run.label) == ("endpoint", "ministack")
    assert "moto" not in run.versions  # if it is used there, nobody here knows which


# What is not.


@pytest.mark.parametrize("arguments", [("--collect-only",), ("--markers",), ("--fixtures",)])
def test_whoever_only_asks_what_there_is_keeps_the_last_evidence(
    suite: Suite, pytester: pytest.Pytester, arguments: tuple[str, ...]
) -> None:
    """A listing proves nothing and takes nothing back."""
    suite(TESTS)
    before = evidence_of(pytester)

    suite(TESTS, *arguments)

    assert evidence_of(pytester) == before


def test_nobody_asks_and_nothing_is_written(suite: Suite, pytester: pytest.Pytester) -> None:
    """Neither a file nor a property."""
    suite("def test_it(target): pass", "--junitxml=junit.xml", evidence="")

    assert not (pytester.path / "made").exists()
    root = parse(pytester.path / "junit.xml").getroot()  # noqa: S314 - just written
    names = {each.get("name") for each in root.iter("property")}
    assert names == {"thingwright-target"}


@pytest.mark.parametrize(
    ("place", "label", "sentence"),
    [
        (".", "", "*--evidence=*: a file to write, and this is a folder"),
        ("test_it.py/run.json", "", "*--evidence=*: a file to write (*"),
        ("run.json", "two\nlines", "*HARNESS_EVIDENCE_LABEL=* is not accepted: at most 60 characters on one line"),
        ("run.json", "x" * 61, "*HARNESS_EVIDENCE_LABEL=* is not accepted: at most 60 characters on one line"),
    ],
)
def test_evidence_that_could_not_be_written_stops_the_run_before_it_starts(
    suite: Suite, monkeypatch: pytest.MonkeyPatch, place: str, label: str, sentence: str
) -> None:
    """A sentence at once is better than a night's run lost."""
    monkeypatch.setenv("HARNESS_EVIDENCE_LABEL", label)

    result = suite("def test_it(target): pass", evidence=place)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(sentence)


def test_evidence_that_cannot_be_written_in_the_end_is_a_failure(suite: Suite) -> None:
    """Green without evidence would be taken for evidence."""
    result = suite(
        """
        from pathlib import Path

        def test_it(target):
            Path("made/run.json").unlink()
            Path("made").rmdir()
            Path("made").write_text("in its way")
        """
    )

    assert result.ret == pytest.ExitCode.INTERNAL_ERROR
    result.stdout.fnmatch_lines("thingwright evidence: no evidence: *run.json cannot be written (*")


# AWS itself.

AWS_CONFTEST = (
    CONFTEST
    + """

class Environment:
    target = "aws"
    control_plane_url = None
    iot_endpoint = "abc-ats.iot.eu-central-1.amazonaws.com"

    def client(self, service):
        url = os.environ.get("URL", "https://{}.eu-central-1.amazonaws.com").format(service)
        return SimpleNamespace(meta=SimpleNamespace(endpoint_url=url), close=lambda: None)


def environment(target):
    return Environment()


environment.__module__ = "harness.fixtures"
environment = pytest.fixture(environment)
"""
)

AWS_TESTS = '''
import pytest

def test_good(environment):
    """It holds."""

@pytest.mark.parametrize("number", [1, 2])
def test_many(environment, number):
    """It holds for numbers."""

def test_bad(environment):
    assert False

@pytest.mark.parametrize("number", [1, 2])
def test_partly(environment, number):
    if number == 2:
        pytest.skip("2 is too much")
'''


@pytest.mark.parametrize("distributed", [(), ("-n2",)], ids=["one process", "xdist"])
def test_what_passes_on_aws_is_noted(
    suite: Suite, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, distributed: tuple[str, ...]
) -> None:
    """Promises proven there, and nothing else; what was noted before stays."""
    path = pytester.path / "aws.json"
    monkeypatch.setenv("HARNESS_TARGET", "aws")
    monkeypatch.setenv("HARNESS_AWS_VALIDATION", "aws.json")
    validation_file.write(path, validation_file.make({}))

    suite(AWS_TESTS, "-k", "good", conftest=AWS_CONFTEST)
    first = validation_file.read(path).validations
    result = suite(AWS_TESTS, *distributed, "--deselect=test_it.py::test_good", conftest=AWS_CONFTEST)

    after = validation_file.read(path).validations
    assert after["test_it.py::test_good"] == first["test_it.py::test_good"]
    assert {name: (each.claim, each.cases) for name, each in after.items()} == {
        "test_it.py::test_good": ("It holds.", 1),
        "test_it.py::test_many": ("It holds for numbers.", 2),
    }
    assert after["test_it.py::test_many"].passed_at == evidence_of(pytester).ended
    assert all(each.on_aws for each in evidence_of(pytester).promises)
    result.stdout.fnmatch_lines("thingwright evidence: 1 passed on AWS, noted in *aws.json")


@pytest.mark.parametrize(
    "variables",
    [
        {"HARNESS_TARGET": "endpoint"},
        {"URL": "http://127.0.0.1:4566"},
        {"URL": "https://{}.amazonaws.com.example.org"},
        {"AWS_ENDPOINT_URL": "http://127.0.0.1:4566"},
        {"AWS_ENDPOINT_URL_COGNITO_IDENTITY": "http://127.0.0.1:4566"},
    ],
)
def test_what_passes_anywhere_else_is_not(
    suite: Suite, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    """Neither another target nor an emulator in the place of AWS."""
    path = pytester.path / "aws.json"
    for name, value in {"HARNESS_TARGET": "aws", "HARNESS_AWS_VALIDATION": "aws.json", **variables}.items():
        monkeypatch.setenv(name, value)

    suite(AWS_TESTS, conftest=AWS_CONFTEST)

    assert not any(each.on_aws for each in evidence_of(pytester).promises)
    assert Outcome.PROVEN in {each.outcome for each in evidence_of(pytester).promises}
    assert not path.exists()


def test_a_file_about_aws_that_was_changed_by_hand_is_left_alone(
    suite: Suite, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run says so, and is not green."""
    path = pytester.path / "aws.json"
    monkeypatch.setenv("HARNESS_TARGET", "aws")
    monkeypatch.setenv("HARNESS_AWS_VALIDATION", "aws.json")
    validation_file.write(path, validation_file.make({}))
    path.write_text(path.read_text("utf-8").replace("sha256:", "sha256:0"), "utf-8")
    before = path.read_bytes()

    result = suite(AWS_TESTS, "-k", "good", conftest=AWS_CONFTEST)

    assert result.ret == pytest.ExitCode.INTERNAL_ERROR
    result.stdout.fnmatch_lines("thingwright evidence: what passed on AWS was not noted: *changed it by hand*")
    assert path.read_bytes() == before


@pytest.mark.parametrize(("region", "domain"), [("eu-central-1", "amazonaws.com"), ("cn-north-1", "amazonaws.com.cn")])
def test_boto3s_own_endpoints_are_aws(region: str, domain: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """For every service, in every partition with IoT; an endpoint of one service elsewhere is enough to doubt."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    def client(service: str, **where: str) -> Any:
        return boto3.client(
            service, region_name=region, aws_access_key_id="test", aws_secret_access_key="test", **where
        )

    def environment(**facts: Any) -> SimpleNamespace:
        host = f"abc-ats.iot.{region}.{domain}"
        return SimpleNamespace(
            **{"target": "aws", "control_plane_url": None, "iot_endpoint": host, "client": client, **facts}
        )

    def elsewhere(service: str) -> Any:
        return client(service, **({"endpoint_url": "http://127.0.0.1:4566"} if service == "sqs" else {}))

    assert is_aws(environment(), {"AWS_REGION": region, "AWS_ENDPOINT_URL": ""})
    assert not is_aws(environment(client=elsewhere), {})
    assert not is_aws(environment(iot_endpoint="localhost"), {})
    assert not is_aws(environment(control_plane_url="http://127.0.0.1:4566"), {})
    assert not is_aws(environment(target="endpoint"), {})
    assert not is_aws(environment(), {"AWS_ENDPOINT_URL_SQS": "http://127.0.0.1:4566"})


# Registered by the plugin that suites load.

REAL_CONFTEST = """
import harness.run
from harness.targets.base import Capability


class FakeTarget:
    name = "embedded"
    capabilities = frozenset({Capability.POLICY})
    lacks = {Capability.FAULTS: "it has no admin API at http://127.0.0.1:1"}
    is_probed = False
    patience = 1.5

    def start(self): ...
    def check(self): ...
    def stop(self): ...
    def check_options(self): ...


harness.run.make_target = lambda *_, **__: FakeTarget()
"""


def test_the_plugin_registers_it(suite: Suite, pytester: pytest.Pytester) -> None:
    """With `--evidence`, in a run that was pointed at a target; what that lacks is not proven."""
    result = suite(
        """
        import pytest

        @pytest.mark.needs("POLICY")
        def test_good(target): pass

        @pytest.mark.needs("FAULTS")
        def test_lacking(target): pass
        """,
        *("-p", "pytest_asyncio.plugin", "-p", "harness.plugin", "--target=embedded"),
        *("-o", "asyncio_default_fixture_loop_scope=function"),
        conftest=REAL_CONFTEST,
    )

    result.assert_outcomes(passed=1, skipped=1)
    assert [(each.outcome, each.lacks, each.because) for each in evidence_of(pytester).promises] == [
        (Outcome.PROVEN, None, None),
        (Outcome.NOT_PROVEN, "FAULTS", "it has no admin API at …"),
    ]
    assert evidence_of(pytester).target == "embedded"
    assert find_mark(evidence_of(pytester).run_id or "") is not None
