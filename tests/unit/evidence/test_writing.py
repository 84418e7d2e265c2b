"""Where evidence is written, by whom it is asked for, and what happens when it cannot be written."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING
from xml.etree.ElementTree import parse

import pytest

from harness.report.promises import Outcome
from harness.targets.marks import find_mark

if TYPE_CHECKING:
    from tests.unit.evidence.conftest import ReadEvidence, Suite

pytest_plugins = ["pytester"]


def test_evidence_that_goes_to_a_stream_is_written_once(suite: Suite, pytester: pytest.Pytester) -> None:
    """What reads it gets one document."""
    os.mkfifo(pytester.path / "stream")
    reader = subprocess.Popen(["cat", pytester.path / "stream"], stdout=subprocess.PIPE)

    suite("def test_it(target): pass", evidence="stream")

    told, _ = reader.communicate()
    assert json.loads(told)["complete"] is True


# What is not.


@pytest.mark.parametrize("arguments", [("--collect-only",), ("--markers",), ("--fixtures",)])
def test_whoever_only_asks_what_there_is_keeps_the_last_evidence(
    suite: Suite, arguments: tuple[str, ...], read_evidence: ReadEvidence, all_ends: str
) -> None:
    """A listing proves nothing and takes nothing back."""
    suite(all_ends)
    before = read_evidence()

    suite(all_ends, *arguments)

    assert read_evidence() == before


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


def test_the_plugin_registers_it(suite: Suite, read_evidence: ReadEvidence) -> None:
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
    assert [(each.outcome, each.lacks, each.because) for each in read_evidence().promises] == [
        (Outcome.PROVEN, None, None),
        (Outcome.NOT_PROVEN, "FAULTS", "it has no admin API at …"),
    ]
    assert read_evidence().target == "embedded"
    assert find_mark(read_evidence().run_id or "") is not None


def test_the_version_of_a_server_that_the_target_starts_is_told(suite: Suite, read_evidence: ReadEvidence) -> None:
    """By the target, which knows it, beside those of this project's own packages."""
    suite(
        "def test_it(target): pass",
        *("-p", "pytest_asyncio.plugin", "-p", "harness.plugin", "--target=embedded"),
        *("-o", "asyncio_default_fixture_loop_scope=function", "-n1"),
        conftest=REAL_CONFTEST,
        further='FakeTarget.versions = {"emulator": "registry/emulator:2026.01.0"}',
    )

    assert read_evidence().versions["emulator"] == "registry/emulator:2026.01.0"
    assert "pytest" in read_evidence().versions
