"""What a run proved, collected while it runs and written at its end; a pytest plugin.

At its start it writes that it is not over: a run that is killed leaves that, and not what an earlier run has proven.

`harness.plugin` registers it where evidence is asked for. In the process that runs the tests it puts what it knows of
each test that uses the target into the test's user properties: pytest carries these from the workers of pytest-xdist to
their controller, and writes them to JUnit XML. In the process that reports (the controller, or the only one) it reads
them from the reports. So workers write no file, and a run on one process and one on many give the same evidence.
"""

from __future__ import annotations

import os
from collections import defaultdict
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import pytest

from harness.errors import HarnessError, SettingsError
from harness.report import validation_file
from harness.report.evidence_file import EvidenceFile
from harness.report.promises import Outcome, chapter_of, claim_of
from harness.report.provenance import AWS, is_aws, versions
from harness.report.scrubbing import scrubbed
from harness.report.tally import PHASES, PromiseTally
from harness.report.validation_file import Validation

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

TARGET: Final = "thingwright-target"
LACKS: Final = "thingwright-lacks"
BECAUSE: Final = "thingwright-because"
PROMISE: Final = "thingwright-promise"
CLAIM: Final = "thingwright-claim"
CHAPTER: Final = "thingwright-chapter"
CASES: Final = "thingwright-cases"
ON_AWS: Final = "thingwright-on-aws"
"""Names of user properties. The first three are the run's (`harness.run`), the others are written here."""

_LONGEST_LABEL: Final = 60
_RUN: Final = "harness.run"
"""The plugin's name that knows the run's id, and which server it starts."""


def make_evidence(config: pytest.Config, *, target: str) -> Evidence | None:
    """Make the plugin if the run is to leave evidence: ``--evidence FILE`` or HARNESS_EVIDENCE.

    HARNESS_EVIDENCE_LABEL names the server. HARNESS_AWS_VALIDATION is the file that runs on AWS write what passed to.

    Args:
        config: pytest's.
        target: the one the run is pointed at.

    Returns:
        None when no evidence is wanted, or nothing is going to run.

    Raises:
        SettingsError: the file cannot be written, or the label is no heading.
    """
    given = config.getoption("thingwright_evidence", None) or os.environ.get("HARNESS_EVIDENCE")
    lists = ("collectonly", "showfixtures", "show_fixtures_per_test", "markers")
    if not given or any(getattr(config.option, name, False) for name in lists):
        return None
    label = os.environ.get("HARNESS_EVIDENCE_LABEL") or target
    if len(label) > _LONGEST_LABEL or not label.isprintable() or label != label.strip():
        raise SettingsError("HARNESS_EVIDENCE_LABEL", label, f"at most {_LONGEST_LABEL} characters on one line")
    path = config.invocation_params.dir / given
    is_worker = hasattr(config, "workerinput")
    if not is_worker:
        _check_writable(path)
    validations = os.environ.get("HARNESS_AWS_VALIDATION") if target == AWS else None
    return Evidence(
        path,
        settings_target=target,
        label=label,
        validation_path=config.invocation_params.dir / validations if validations else None,
        is_worker=is_worker,
    )


def _check_writable(path: Path) -> None:
    """Find out at the start what would otherwise be lost at the end.

    Raises:
        SettingsError: the file could not be written.
    """
    if path.is_dir():
        raise SettingsError("--evidence", str(path), "a file to write, and this is a folder")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError("--evidence", str(path), f"a file to write ({error.strerror})") from None
    if not os.access(path.parent, os.W_OK):
        raise SettingsError("--evidence", str(path), "a file in a folder that can be written to")


class Evidence:
    """Collects what tests at a target proved, and writes it down.

    Args:
        path: of the evidence file.
        settings_target: the target the run is pointed at.
        label: which server that is, as a heading.
        validation_path: where a run on AWS notes what passed; None: nowhere.
        is_worker: this process runs tests for a controller, which writes the file.
    """

    def __init__(
        self,
        path: Path,
        *,
        settings_target: str,
        label: str,
        validation_path: Path | None = None,
        is_worker: bool = False,
    ) -> None:
        self._path = path
        self._target = settings_target
        self._label = label
        self._validation_path = validation_path
        self._is_worker = is_worker
        self._started = _now()
        self._case_ids: dict[str, set[str]] = defaultdict(set)
        self._promises: dict[str, PromiseTally] = {}
        self._is_on_aws = False
        self._lost_worker = False
        self._not_collected: set[str] = set()
        self._is_interrupted = False
        self._interrupted_nodes: list[object] = []
        self._lines: list[str] = []

    # In the process that runs the tests.

    @pytest.hookimpl(wrapper=True)
    def pytest_pycollect_makeitem(self) -> Generator[None, object, object]:
        """Count the cases that a test has, whether they are selected or not."""
        made = yield
        for item in made if isinstance(made, list) else ():
            if isinstance(item, pytest.Function):
                self._case_ids[_promise_id(item)].add(item.nodeid)
        return made

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> Generator[None, object, object]:
        """Look at the environment of a run on AWS: is it AWS?"""
        made = yield
        is_ours = fixturedef.argname == "environment" and fixturedef.func.__module__ == "harness.fixtures"
        if is_ours and self._target == AWS:
            self._is_on_aws = is_aws(made, os.environ)
        return made

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Put what a test promises into the properties that its reports carry."""
        properties = dict(item.user_properties)
        if TARGET in properties:
            if PROMISE not in properties:
                item.user_properties.extend(self._facts_of(item).items())
            if self._is_on_aws and ON_AWS not in properties:
                item.user_properties.append((ON_AWS, "yes"))
        return (yield)

    def _facts_of(self, item: pytest.Item) -> dict[str, str]:
        promise = _promise_id(item)
        function, module = getattr(item, "function", None), getattr(item, "module", None)
        name = getattr(item, "originalname", None) or item.name
        facts = {
            PROMISE: promise,
            CLAIM: claim_of(name, getattr(function, "__doc__", None)),
            CASES: str(len(self._case_ids[promise]) or 1),
        }
        chapter = chapter_of(getattr(module, "__doc__", None))
        return facts | ({CHAPTER: chapter} if chapter else {})

    # In the process that reports.

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note one phase of one case."""
        if self._is_worker:
            return
        if report.when not in PHASES:  # pytest-xdist reports so whose worker died with it
            self._note_crash(report)
            return
        properties = {name: str(value) for name, value in report.user_properties}
        if PROMISE not in properties:
            return
        promise = self._promises.setdefault(
            properties[PROMISE],
            PromiseTally(
                claim=properties[CLAIM],
                chapter=properties.get(CHAPTER),
                line=report.location[1] or 0,
                total=int(properties[CASES]),
            ),
        )
        case = promise.cases[report.nodeid, getattr(report, "worker_id", "")]
        case.note(report.when, report.outcome, seconds=report.duration)
        promise.is_on_aws &= ON_AWS in properties
        if report.skipped:
            case.lacks = properties.get(LACKS)
            case.because = properties.get(BECAUSE) or _reason(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note what could not be collected; in a distributed run the controller hears of it once."""
        if report.failed:
            self._not_collected.add(report.nodeid)

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Keep apart who was interrupted from what pytest or pytest-xdist broke off, each by an error of its own."""
        is_own = excinfo.type is not KeyboardInterrupt and issubclass(excinfo.type, KeyboardInterrupt)
        self._is_interrupted = not is_own

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: object, error: object) -> None:
        """Keep apart workers of pytest-xdist that somebody interrupted."""
        if error == "keyboard-interrupt":
            self._interrupted_nodes.append(node)

    def _note_crash(self, report: pytest.TestReport) -> None:
        """Note that a worker died; what it was at has failed, if it is known to be about the target.

        Who was interrupted is reported in the same way, and has not failed.
        """
        if getattr(report, "node", None) in self._interrupted_nodes:
            return
        self._lost_worker = True
        for promise in self._promises.values():
            for (node_id, _), case in promise.cases.items():
                if node_id == report.nodeid:
                    case.note_crash()

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Put into the place of what an earlier run has proven that this one is not over."""
        is_stream = self._path.exists() and not self._path.is_file()
        if not self._is_worker and not is_stream:
            with suppress(OSError):  # the end of the run tells
                self._content(session, incomplete="it was killed, or is not over yet").write(self._path)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the file, whatever the run's end."""
        if self._is_worker:
            return
        content = self._content(session, incomplete=self._incomplete_because(session))
        try:
            content.write(self._path)
        except OSError as error:
            self._fail(session, f"no evidence: {self._path} cannot be written ({error.strerror or error})")
        else:
            counts = {outcome: sum(each.outcome is outcome for each in content.promises) for outcome in Outcome}
            told = ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count)
            end = "" if content.complete else f"; the run is incomplete: {content.incomplete_because}"
            self._lines.append(f"thingwright evidence: {told or 'no promise was tried'}{end}; written to {self._path}")
        self._validate(session, content)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say what was written, and where to."""
        for line in self._lines:
            terminalreporter.write_line(line)

    def _content(self, session: pytest.Session, *, incomplete: str | None) -> EvidenceFile:
        run = session.config.pluginmanager.get_plugin(_RUN)
        names = getattr(run, "names", None)
        in_order = sorted(self._promises.items(), key=lambda item: (item[0].partition("::")[0], item[1].line))
        return EvidenceFile(
            format="thingwright-evidence/1",
            target=self._target,
            label=self._label,
            started=self._started,
            ended=_now(),
            run_id=getattr(names, "run_id", None),
            exit_status=int(session.exitstatus),
            complete=incomplete is None,
            incomplete_because=incomplete,
            versions=versions(self._target) | dict(getattr(run, "versions", {})),
            promises=tuple(promise.record(name) for name, promise in in_order),
        )

    def _incomplete_because(self, session: pytest.Session) -> str | None:
        stopped: object = session.shouldfail or session.shouldstop
        errors = len(self._not_collected)
        ends: dict[int, str] = {
            pytest.ExitCode.INTERRUPTED: "it was interrupted",
            pytest.ExitCode.INTERNAL_ERROR: "pytest failed",
            pytest.ExitCode.USAGE_ERROR: "the target or an option could not be used",
            pytest.ExitCode.NO_TESTS_COLLECTED: "it had no tests",
        }
        if errors and not self._is_interrupted:
            return f"tests could not be collected ({errors} error{'s' if errors > 1 else ''})"
        if isinstance(stopped, str):
            return scrubbed(stopped)
        if session.exitstatus not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
            return ends.get(session.exitstatus, "it ended early")
        return "a process that ran tests died" if self._lost_worker else None

    def _validate(self, session: pytest.Session, content: EvidenceFile) -> None:
        """Note what was proven on AWS itself."""
        path = self._validation_path
        proven = {
            record.id: Validation(
                claim=record.claim,
                passed_at=content.ended,
                cases=record.cases.passed,
                seconds=record.seconds,
                versions=content.versions,
            )
            for record in content.promises
            if record.outcome is Outcome.PROVEN and self._promises[record.id].is_on_aws
        }
        if path is None or not proven:
            return
        try:
            before = validation_file.read(path) if path.exists() else validation_file.make({})
            validation_file.write(path, before.with_further(proven))
        except (HarnessError, OSError) as error:
            self._fail(session, f"what passed on AWS was not noted: {error}")
        else:
            self._lines.append(f"thingwright evidence: {len(proven)} passed on AWS, noted in {path}")

    def _fail(self, session: pytest.Session, sentence: str) -> None:
        """Make sure that a run which could not leave its evidence is not green."""
        self._lines.append(f"thingwright evidence: {sentence}")
        if session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.INTERNAL_ERROR


def _promise_id(item: pytest.Item) -> str:
    """Return a test's id without parameters."""
    parent = item.parent.nodeid if item.parent is not None else ""
    return f"{parent}::{getattr(item, 'originalname', None) or item.name}"


def _reason(report: pytest.TestReport) -> str:
    """Return why a test was skipped, or expected to fail."""
    expected = getattr(report, "wasxfail", None)
    if expected is not None:
        return f"expected to fail: {expected}" if expected else "expected to fail"
    told = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext
    return told.removeprefix("Skipped: ").removeprefix("not proven: ")


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)
