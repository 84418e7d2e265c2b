"""A pytest run that was pointed at a target: settings, the target's life, capability skips, the count at the end.

`Run` is registered with pytest only where the suite asks for a target, so none of its hooks runs anywhere else.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, TypeVar

import pytest

from harness.errors import SettingsError, TargetError, TargetUnavailable, TeardownError
from harness.report.summary import RunSummary
from harness.sharing import SharedTarget, TargetServer
from harness.targets.base import Capability, Versioned
from harness.targets.names import Names, make_run_id
from harness.targets.options import TargetOptions
from harness.targets.probed import ProbedTarget
from harness.targets.registry import TARGETS, make_target

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping

    from harness.budget import Budget
    from harness.targets.base import Environment, Target

NAME: Final = "harness.run"
"""Under which pytest knows the run."""

_WORKER_KEY: Final = "thingwright"
_TARGET_PROPERTY: Final = "thingwright-target"
_LACKS_PROPERTY: Final = "thingwright-lacks"
_BECAUSE_PROPERTY: Final = "thingwright-because"
_NEEDS_ATTRIBUTE: Final = "__thingwright_needs__"

Fixture = TypeVar("Fixture", bound="Callable[..., object]")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """What a run was asked for.

    Args:
        target: one of `harness.targets.registry.TARGETS`.
        clients: how many broadcast clients are made where a test does not say.
        devices: how many devices are made where a test does not say.
        options: what the target is told.
        max_things: how many things the run may make; None: on ``aws`` as many as `harness.budget` says, else any.
        max_messages: how many messages it may send; None: the same.
    """

    target: str
    clients: int
    devices: int = 2
    options: TargetOptions = field(default_factory=TargetOptions)
    max_things: int | None = None
    max_messages: int | None = None

    def check(self) -> None:
        """Find what can be found wrong without starting anything.

        Raises:
            SettingsError: a value is not accepted.
            TargetUnavailable: something that the target needs is missing.
        """
        if self.target not in TARGETS:
            raise SettingsError("target", self.target, f"the targets are {', '.join(TARGETS)}")
        for option, count in (
            ("--clients", self.clients),
            ("--devices", self.devices),
            ("--max-things", self.max_things),
            ("--max-messages", self.max_messages),
        ):
            if count is not None and count < 1:
                raise SettingsError(option, count, "at least 1")
        stack = self.options.stack
        if stack is not None and not (stack / "Pulumi.yaml").is_file():
            raise SettingsError("iot_stack", str(stack), "the folder of a Pulumi program, with a Pulumi.yaml")
        make_target(self.target, self.options).check_options()

    def make_budget(self, *, workers: int = 1) -> Budget | None:
        """Return what the run may make and send; None where nobody counts.

        Args:
            workers: how many processes share the run; each may have an equal part, at least 1 of each.
        """
        if self.target != "aws" and self.max_things is None and self.max_messages is None:
            return None
        from harness.budget import MAX_MESSAGES, MAX_THINGS, Budget  # noqa: PLC0415 - only where somebody counts

        things = MAX_THINGS if self.max_things is None else self.max_things
        messages = MAX_MESSAGES if self.max_messages is None else self.max_messages
        return Budget(things=max(1, things // workers), messages=max(1, messages // workers))


class Run:
    """A run at a target; a pytest plugin.

    Args:
        settings: checked.
        worker: what pytest-xdist's controller handed to this worker; None in any other process.

    Attributes:
        versions: of the servers that the target starts, by name, where it knows them.
    """

    def __init__(self, settings: RunSettings, *, worker: Mapping[str, Any] | None = None) -> None:
        self.settings = settings
        given = (worker or {}).get(_WORKER_KEY)
        self.names = Names(given["run_id"] if given else make_run_id(), worker=worker["workerid"] if worker else "")
        target = make_target(settings.target, settings.options, names=self.names)
        self.versions: Mapping[str, str] = target.versions if isinstance(target, Versioned) else {}
        self.target: Target = SharedTarget(target, address=given, names=self.names) if given else _probed(target)
        self.environment: Environment | None = None
        self._last_environment: Environment | None = None
        self._token: str | None = given["token"] if given else None
        self._workers = int(worker["workercount"]) if worker else 1
        self._is_worker = worker is not None
        self._summary = RunSummary(target=settings.target)
        self._server: TargetServer | None = None
        self._is_to_be_stopped = False
        self._is_budget_told = False
        self._failure: TargetError | None = None
        self._trouble: list[str] = []

    @cached_property
    def budget(self) -> Budget | None:
        """What this process may make and send of what the run may; None where nobody counts."""
        return self.settings.make_budget(workers=self._workers)

    def secrets(self) -> Iterator[str | None]:
        """Give what no report may show: what the run was given, and what its target told, even after its end."""
        options, environment = self.settings.options, self._last_environment
        yield from (options.receiver_secret, options.secret_access_key, options.localstack_token, self._token)
        if environment is not None:
            yield environment.admin_token
            if environment.credentials is not None:
                yield from (environment.credentials.secret_access_key, environment.credentials.session_token)

    def start(self) -> Environment:
        """Start the target, once: what did not start is not tried again for every test.

        A target that cannot be used here ends the whole run with exit code 4.

        Raises:
            TargetError: it did not start, or its stack could not be deployed.
        """
        __tracebackhide__ = True
        if self._failure is not None:
            raise self._failure.with_traceback(None) from None
        if self.environment is None:
            self._is_to_be_stopped = True
            try:
                self.environment = self._last_environment = self.target.start()
            except TargetUnavailable as error:
                pytest.exit(str(error), returncode=pytest.ExitCode.USAGE_ERROR)
            except TargetError as error:
                self._failure = error
                raise error.with_traceback(None) from None  # the message names the cause; the way there does not
        return self.environment

    def stop(self) -> None:
        """Stop the target, if it was started.

        Raises:
            TargetError: something of it is left.
        """
        self.environment = None
        if self._is_to_be_stopped:
            self._is_to_be_stopped = False
            try:
                self.target.stop()
            except KeyboardInterrupt:
                self._is_to_be_stopped = True  # pytest ends its session in two steps, and the second tries again
                raise

    def require(self, node: pytest.Item, capability: str) -> None:
        """Skip a test as not proven where the target lacks a capability.

        Raises:
            SettingsError: there is no such capability.
        """
        wanted = parse_capability(capability)
        if wanted not in self.target.capabilities:
            why = self.target.lacks.get(wanted, "")
            node.user_properties.append((_LACKS_PROPERTY, str(wanted)))
            node.user_properties.append((_BECAUSE_PROPERTY, why))
            pytest.skip(f"not proven: the {self.target.name} target lacks {wanted}{': ' if why else ''}{why}")

    # Hooks of pytest.

    def pytest_report_header(self) -> list[str]:
        """Say what the run is about, and what it may cost."""
        settings = self.settings
        crowd = f"{settings.clients} clients and {settings.devices} devices"
        lines = [f"thingwright: target {settings.target}, {crowd} where a test does not say"]
        self._is_budget_told = True
        return [*lines, f"thingwright: {self.budget.line()}"] if self.budget is not None else lines

    @pytest.hookimpl(wrapper=True)
    def pytest_sessionstart(self, session: pytest.Session) -> Generator[None, object, object]:
        """Say what the run may cost where there was no header to say it in, as with ``-q``."""
        result = yield
        terminal = session.config.pluginmanager.get_plugin("terminalreporter")
        is_told = self._is_budget_told or self._is_worker or session.config.option.collectonly
        if self.budget is not None and terminal is not None and not is_told:
            terminal.write_line(f"thingwright: {self.budget.line()}")
        return result

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
        wanted = list(dict.fromkeys(needs_of(item)))
        if wanted and self.target.is_probed:
            self.start()  # nobody can say what it has before
        for capability in wanted:
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
            self._summary.count(
                report.nodeid,
                report.outcome,
                lacks=None if lacks is None else str(lacks),
                because=str(properties.get(_BECAUSE_PROPERTY, "")),
            )

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Write the count, and what became of the target where no test could tell."""
        for line in self._summary.lines() if self._summary.outcomes else ():
            terminalreporter.write_line(line)
        for line in self._trouble:
            terminalreporter.write_line(f"thingwright: {line}", red=True)

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tell a new worker of pytest-xdist where to ask for the target."""
        if self._server is None:
            self._server = TargetServer(self.target)
        node.workerinput[_WORKER_KEY] = {**self._server.address(), "run_id": self.names.run_id}

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Stop the target: in a distributed run before pytest-xdist waits for workers that take their time.

        Where the target could not be used, the exit code is 4, as in any other run; where something of it is left, the
        run has failed.
        """
        if self._is_worker:
            return
        try:
            if self._server is not None:
                self._server.close()
            else:
                self.stop()  # no fixture's end has done so where all tests were skipped
        except TeardownError as error:
            self._trouble.append(str(error))
            if session.exitstatus == pytest.ExitCode.OK:
                session.exitstatus = pytest.ExitCode.TESTS_FAILED
        if self._server is not None and self._server.unavailable is not None:
            self._trouble.append(self._server.unavailable)
            session.exitstatus = pytest.ExitCode.USAGE_ERROR

    def pytest_unconfigure(self) -> None:
        """Stop what nothing else has stopped."""
        if self._server is not None:
            self._server.close()
        elif not self._is_worker:
            self.stop()


def _probed(target: Target) -> Target:
    """Return a target that tries what it has, if nobody can say what that is."""
    if not target.is_probed:
        return target

    def probe(environment: Environment) -> Mapping[Capability, str]:
        from harness.probing import probe as try_capabilities  # noqa: PLC0415 - only where something is to be tried

        return try_capabilities(environment, patience=target.patience)

    return ProbedTarget(target, probe)


def needs(*capabilities: str) -> Callable[[Fixture], Fixture]:
    """Declare what a fixture needs: a test that uses it is skipped, before any fixture is set up, where it is missing.

    It stands directly on the function, below ``@pytest.fixture``.

    Args:
        capabilities: of `harness.targets.base.Capability`.

    Raises:
        SettingsError: there is no such capability.
    """
    wanted = tuple(parse_capability(each) for each in capabilities)

    def declare(fixture: Fixture) -> Fixture:
        setattr(fixture, _NEEDS_ATTRIBUTE, wanted)
        return fixture

    return declare


def parse_capability(name: str) -> Capability:
    """Return the capability of a name.

    Raises:
        SettingsError: there is none.
    """
    try:
        return Capability(name)
    except ValueError:
        raise SettingsError("capability", name, f"one of {', '.join(Capability)}") from None


def needs_of(item: pytest.Item) -> Iterator[Capability]:
    """Find what a test needs: by its markers, and by the fixtures it uses, directly or not.

    Raises:
        SettingsError: a marker names a capability that does not exist.
    """
    for mark in item.iter_markers("needs"):
        yield from map(parse_capability, mark.args)
    definitions = getattr(item, "_fixtureinfo", None)
    for name, found in definitions.name2fixturedefs.items() if definitions else ():
        for definition in reversed(found):  # the last one overrides the others, and may build on the one before it
            yield from getattr(definition.func, _NEEDS_ATTRIBUTE, ())
            if name not in definition.argnames:
                break


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
