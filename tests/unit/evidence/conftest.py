"""Suites that leave evidence, each in a process of its own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest

import harness
from harness.report import evidence_file

if TYPE_CHECKING:
    from harness.report.evidence_file import EvidenceFile

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


class Suite(Protocol):
    """The type of the fixture `suite`."""

    def __call__(
        self,
        tests: str,
        *arguments: str,
        conftest: str = CONFTEST,
        further: str = "",
        evidence: str = "made/run.json",
    ) -> pytest.RunResult:
        """Run a suite.

        Args:
            tests: its one module, `test_it.py`.
            arguments: pytest's.
            conftest: of the suite.
            further: what the conftest has besides.
            evidence: file to leave; nobody asks for one when empty.
        """
        ...


class ReadEvidence(Protocol):
    """The type of the fixture `read_evidence`."""

    def __call__(self) -> EvidenceFile:
        """Read what the suite left."""
        ...


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Suite:
    """Runs tests that leave their evidence in `made/run.json`."""
    monkeypatch.setenv("PYTHONPATH", os.fspath(SOURCES))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    mine = ("HARNESS_", "AWS_ENDPOINT_URL", "PYTEST_ADDOPTS", "PYTEST_PLUGINS", "PYTEST_XDIST")
    for name in [name for name in os.environ if name.startswith(mine)]:
        monkeypatch.delenv(name)

    def run(
        tests: str,
        *arguments: str,
        conftest: str = CONFTEST,
        further: str = "",
        evidence: str = "made/run.json",
    ) -> pytest.RunResult:
        pytester.makeconftest(f"{conftest}\n{further}")
        pytester.makepyfile(test_it=tests)
        asked = (f"--evidence={evidence}",) if evidence else ()
        return pytester.runpytest_subprocess("-p", "xdist.plugin", *asked, *arguments)

    return run


@pytest.fixture
def read_evidence(pytester: pytest.Pytester) -> ReadEvidence:
    """What the suite left."""
    return lambda: evidence_file.read(pytester.path / "made" / "run.json")


@pytest.fixture
def all_ends() -> str:
    """Tests that end in every way there is."""
    return TESTS
