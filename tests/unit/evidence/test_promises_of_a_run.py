"""What evidence says of each promise of a run."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any
from xml.etree.ElementTree import parse

import pytest

if TYPE_CHECKING:
    from harness.report.promises import Record
    from tests.unit.evidence.conftest import ReadEvidence, Suite

pytest_plugins = ["pytester"]


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


def summed(record: Record) -> tuple[Any, ...]:
    """What a record says, without durations."""
    cases = record.cases
    counts = (cases.passed, cases.failed, cases.skipped, cases.not_run)
    return record.claim, record.outcome.value, counts, record.lacks, record.because


@pytest.mark.parametrize("distributed", [(), ("-n2",)], ids=["one process", "xdist"])
def test_each_promise_is_written_with_what_became_of_it(
    suite: Suite, distributed: tuple[str, ...], read_evidence: ReadEvidence, all_ends: str
) -> None:
    """In the tests' order, on one process and on several; tests without the target are left out."""
    result = suite(all_ends, *distributed)

    run = read_evidence()
    assert {each.id.removeprefix("test_it.py::"): summed(each) for each in run.promises} == SUMS
    assert [each.id.removeprefix("test_it.py::") for each in run.promises] == list(SUMS)
    assert {each.chapter for each in run.promises} == {"it all holds."}
    assert (run.target, run.label, run.exit_status, run.complete) == ("embedded", "embedded", 1, True)
    assert run.started <= run.ended
    assert {"python", "platform", "pytest", "boto3", "awscrt", "awsiotsdk", "moto"} <= run.versions.keys()
    result.stdout.fnmatch_lines("thingwright evidence: 4 proven, 3 failed, 4 not proven; written to *run.json")


def test_junit_xml_carries_the_promises(suite: Suite, pytester: pytest.Pytester, all_ends: str) -> None:
    """As properties of each case, for readers that know nothing of evidence files."""
    suite(all_ends, "--junitxml=junit.xml")

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
    suite: Suite, asked: tuple[str, ...], read_evidence: ReadEvidence
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

    (record,) = read_evidence().promises
    assert summed(record)[1:] == ("not proven", (1, 0, 0, 1), None, "1 of 2 cases did not run")


def test_a_skipped_subtest_is_not_proven(suite: Suite, read_evidence: ReadEvidence) -> None:
    """For pytest the test around it has passed."""
    suite(
        """
        import pytest

        def test_it(target, subtests):
            with subtests.test("one"):
                pytest.skip("there is none")
        """
    )

    (record,) = read_evidence().promises
    assert summed(record)[1:] == ("not proven", (0, 0, 1, 0), None, "there is none")


RERUNS = """
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


def test_what_passed_only_when_tried_again_says_so(suite: Suite, read_evidence: ReadEvidence) -> None:
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
        further=RERUNS,
    )

    ends = {each.id.rpartition("::")[2]: (each.outcome.value, each.reruns) for each in read_evidence().promises}
    assert ends == {"test_flaky": ("proven", 1), "test_bad": ("failed", 2), "test_good": ("proven", 0)}


def test_nothing_in_it_tells_of_machine_or_account(
    suite: Suite, pytester: pytest.Pytester, read_evidence: ReadEvidence
) -> None:
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
    assert [each.because for each in read_evidence().promises] == [
        "GET … of … with … failed",
        "no file … for …",
        "the test failed",
    ]


def test_the_environment_may_ask_and_name_the_server(
    suite: Suite, monkeypatch: pytest.MonkeyPatch, read_evidence: ReadEvidence
) -> None:
    """As in a workflow, where several servers are run against as one target."""
    monkeypatch.setenv("HARNESS_EVIDENCE", "made/run.json")
    monkeypatch.setenv("HARNESS_EVIDENCE_LABEL", "ministack")
    monkeypatch.setenv("HARNESS_TARGET", "endpoint")

    suite("def test_it(target): pass", evidence="")

    run = read_evidence()
    assert (run.target, run.label) == ("endpoint", "ministack")
    assert "moto" not in run.versions  # if it is used there, nobody here knows which
