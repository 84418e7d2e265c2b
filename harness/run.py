"""A pytest run that was pointed at a target: settings, the target's life, capability skips, the count at the end.

`Run` is registered with pytest only where the suite asks for a target, so none of its hooks runs anywhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pytest

from harness.errors import SettingsError, TargetError, TargetUnavailable
from harness.report.summary import RunSummary
from harness.sharing import SharedTarget, TargetServer
from harness.targets import ready
from harness.targets.base import Capability
from harness.targets.names import Names, make_run_id
from harness.targets.registry import TARGETS, make_target

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from pathlib import Path

    from harness.targets.base import Environment, Target

NAME: Final = "harness.run"
"""Under which pytest knows the run."""

_WORKER_KEY: Final = "thingwright"
_TARGET_PROPERTY: Final = "thingwright-target"
_LACKS_PROPERTY: Final = "thingwright-lacks"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """What a run was asked for.

    Args:
        target: one of `harness.targets.registry.TARGETS`.
        clients: how many broadcast clients are made where a test does not say.
        devices: how many devices are made where a test does not say.
        ready_file: for the ``endpoint`` target.
        stack: folder of another Pulumi program for the ``embedded`` target.
    """

    target: str
    clients: int
    devices: int = 2
    ready_file: Path | None = None
    stack: Path | None = None

    def check(self) -> None:
        """Find what can be found wrong without starting anything.

        Raises:
            SettingsError: a value is not accepted.
            TargetUnavailable: the ready file is missing or its stand-in is gone.
        """
        if self.target not in TARGETS:
            raise SettingsError("target", self.target, f"the targets are {', '.join(TARGETS)}")
        for option, count in (("--clients", self.clients), ("--devices", self.devices)):
            if count < 1:
                raise SettingsError(option, count, "at least 1")
        if self.target == "endpoint":
            if self.ready_file is None:
                raise TargetUnavailable(
                    "The endpoint target needs a ready file: start `thingwright serve --ready-file F` "
                    "and give --ready-file=F or HARNESS_READY_FILE=F."
                )
            ready.read(self.ready_file)
        if self.stack is not None and not (self.stack / "Pulumi.yaml").is_file():
            raise SettingsError("iot_stack", str(self.stack), "the folder of a Pulumi program, with a Pulumi.yaml")


class Run:
    """A run at a target; a pytest plugin.

    Args:
        settings: checked.
        worker: what pytest-xdist's controller handed to this worker; None in any other process.
    """

    def __init__(self, settings: RunSettings, *, worker: Mapping[str, Any] | None = None) -> None:
        self.settings = settings
        given = (worker or {}).get(_WORKER_KEY)
        self.names = Names(given["run_id"] if given else make_run_id(), worker=worker["workerid"] if worker else "")
        self.target: Target = self._make_target()
        if given:
            self.target = SharedTarget(self.target, address=given, names=self.names)
        self.environment: Environment | None = None
        self._is_worker = worker is not None
        self._summary = RunSummary(target=settings.target)
        self._server: TargetServer | None = None

    def start(self) -> Environment:
        """Start the target, once.

        A target that cannot be used here ends the whole run with exit code 4.

        Raises:
            TargetError: it did not start, or its stack could not be deployed.
        """
        __tracebackhide__ = True
        if self.environment is None:
            try:
                self.environment = self.target.start()
            except TargetUnavailable as error:
                pytest.exit(str(error), returncode=pytest.ExitCode.USAGE_ERROR)
            except TargetError as error:
                raise error.with_traceback(None) from None  # the message names the cause; the way there does not
        return self.environment

    def stop(self) -> None:
        """Stop the target."""
        self.environment = None
        self.target.stop()

    def require(self, node: pytest.Item, capability: str) -> None:
        """Skip a test as not proven where the target lacks a capability.

        Raises:
            SettingsError: there is no such capability.
        """
        try:
            wanted = Capability(capability)
        except ValueError:
            raise SettingsError("capability", capability, f"one of {', '.join(Capability)}") from None
        if wanted not in self.target.capabilities:
            node.user_properties.append((_LACKS_PROPERTY, str(wanted)))
            pytest.skip(f"not proven: the {self.target.name} target lacks {wanted}")

    def _make_target(self) -> Target:
        settings = self.settings
        return make_target(settings.target, ready_file=settings.ready_file, stack=settings.stack, names=self.names)

    # Hooks of pytest.

    def pytest_report_header(self) -> str:
        """Say what the run is about."""
        settings = self.settings
        crowd = f"{settings.clients} clients and {settings.devices} devices"
        return f"thingwright: target {settings.target}, {crowd} where a test does not say"

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Refuse behaviour markers that name no source."""
        if not self._is_worker:  # a worker that breaks off its collection breaks the controller: there, test by test
            for item in items:
                check_behaviour(item)

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Skip what the target cannot prove, and fail at once when it has ended."""
        check_behaviour(item)
        if not uses_target(item):
            return
        item.user_properties.append((_TARGET_PROPERTY, self.settings.target))
        for mark in item.iter_markers("needs"):
            for capability in mark.args:
                self.require(item, capability)
        if self.environment is not None:
            self.target.check()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Add to a failure that the target has ended, if it has and the failure does not say so itself."""
        report = yield
        if report.failed and self.environment is not None and uses_target(item):
            try:
                self.target.check()
            except TargetError as error:
                if call.excinfo is None or str(call.excinfo.value) != str(error):
                    report.sections.append(("thingwright target", str(error)))
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a test that used the target."""
        properties = dict(report.user_properties)
        is_told = report.when == "call" or not report.passed  # who was interrupted after his setup has proven nothing
        if _TARGET_PROPERTY in properties and is_told:
            lacks = properties.get(_LACKS_PROPERTY) if report.skipped else None
            self._summary.count(report.nodeid, report.outcome, lacks=None if lacks is None else str(lacks))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Write the count."""
        if self._summary.outcomes:
            terminalreporter.write_line(self._summary.line())

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tell a new worker of pytest-xdist where to ask for the target."""
        if self._server is None:
            self._server = TargetServer(self.target)
        node.workerinput[_WORKER_KEY] = {**self._server.address(), "run_id": self.names.run_id}

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """End a distributed run: stop the target before pytest-xdist waits for workers that take their time.

        Where the target could not be used, the exit code is 4, as in any other run.
        """
        if self._server is not None:
            self._server.close()
            if self._server.is_unavailable:
                session.exitstatus = pytest.ExitCode.USAGE_ERROR

    def pytest_unconfigure(self) -> None:
        """Stop what no fixture's end has stopped."""
        if self._server is not None:
            self._server.close()
        elif not self._is_worker:
            self.target.stop()


def uses_target(item: pytest.Item) -> bool:
    """Tell whether a test asks, directly or not, for this plugin's target, and not for a namesake of its own."""
    definitions = getattr(item, "_fixtureinfo", None)
    found = definitions.name2fixturedefs.get("target", ()) if definitions else ()
    return any(definition.func.__module__ == "harness.fixtures" for definition in found)


def check_behaviour(item: pytest.Item) -> None:
    """Make sure that what a test says it proves has a source.

    Raises:
        pytest.UsageError: a behaviour marker is not what it has to be.
    """
    for mark in item.iter_markers("behaviour"):
        if len(mark.args) != 1 or not mark.kwargs.get("source") or set(mark.kwargs) - {"source", "differs"}:
            raise pytest.UsageError(f"{item.nodeid}: behaviour takes one id and source=…, and may take differs=…")
