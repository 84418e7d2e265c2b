"""Runs a Pulumi program against a monitor of our own, in place of the Pulumi engine.

Pulumi's SDK talks to a *monitor*: it registers resources, asks questions and at the end registers the stack's
outputs. Its package for tests lets a program talk to a monitor in the same process; here that monitor makes the
resources for real. Two properties of the SDK shape what follows: its state hangs on the thread and the event loop, so
each run has a thread of its own, and one failed resource fails every value that depends on it, so only the first
error counts and the others are kept quiet.
"""

from __future__ import annotations

import asyncio
import runpy
import sys
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pulumi
import yaml
from pulumi.runtime import mocks, rpc, settings
from pulumi.runtime.config import set_all_config
from pulumi.runtime.stack import run_in_stack

from harness.errors import ProvisioningError
from harness.targets.provisioning.declared import Declared
from harness.targets.provisioning.invokes import answer_invoke
from harness.targets.provisioning.resources import make_resource

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from harness.targets.provisioning.account import Account
    from harness.targets.provisioning.ledger import Ledger

_SECRET_SIGNATURE: Final = "4dabf18193072939515e22adb298388d"  # noqa: S105 - Pulumi's public marker, no secret
_SECRET_VALUE: Final = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105 - the marker's value for "a secret follows"


def deploy(
    program: Path, *, account: Account, stack: str, config: Mapping[str, str], ledger: Ledger | None = None
) -> dict[str, Any]:
    """Deploy a Pulumi program.

    Args:
        program: folder with ``Pulumi.yaml`` and ``__main__.py``.
        account: where to make its resources.
        stack: name of the stack, for example ``embedded``.
        config: values of the project's configuration, without the project's name before them.
        ledger: every resource is noted there before it is made and after; None: nobody will take them back.

    Returns:
        The outputs that the program exports.

    Raises:
        ProvisioningError: the program failed, or a resource could not be made.
    """
    project = _project_name(program)
    result: list[dict[str, Any]] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            monitor = _Monitor(account, ledger)
            result.append(asyncio.run(_run(program, project=project, stack=stack, config=config, monitor=monitor)))
        except BaseException as error:  # noqa: BLE001 - handed to the thread that waits
            failure.append(error)

    thread = threading.Thread(target=run, name="pulumi-program")
    thread.start()
    thread.join()
    if not failure:
        return result[0]
    error = failure[0]
    if isinstance(error, ProvisioningError):
        raise error
    raise ProvisioningError(
        f"program {program}", reason=f"{type(error).__name__}: {error}{_place(error, program)}"
    ) from error


def _place(error: BaseException, program: Path) -> str:
    """Tell where in a program an error arose, in words that follow it; nothing when it arose elsewhere."""
    frames = [each for each in traceback.extract_tb(error.__traceback__) if Path(each.filename).is_relative_to(program)]
    return f" ({Path(frames[-1].filename).relative_to(program)}, line {frames[-1].lineno})" if frames else ""


async def _run(
    program: Path, *, project: str, stack: str, config: Mapping[str, str], monitor: _Monitor
) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, _context: None)  # the values that failed along with the first error
    executor = ThreadPoolExecutor(1)  # one resource at a time, always in the same order
    loop.set_default_executor(executor)
    try:
        mocks.set_mocks(_Unused(), project=project, stack=stack, preview=False, monitor=monitor)
        settings.SETTINGS.rpc_manager.clear()
        settings.SETTINGS.outputs.clear()
        settings.set_root_resource(None)  # type: ignore[arg-type] # what a fresh run has
        set_all_config({f"{project}:{name}": value for name, value in config.items()})
        await run_in_stack(lambda: _execute(program))
        for settle in monitor.unsettled:
            await loop.run_in_executor(executor, settle)
    except Exception:
        if monitor.failure is not None:
            raise monitor.failure from monitor.cause
        raise
    finally:
        await _cancel_others()
        await loop.run_in_executor(executor, _close_thread_loop)
    return monitor.outputs


async def _cancel_others() -> None:
    """End what a program that failed still has under way, so that it makes nothing more."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def _execute(program: Path) -> None:
    writes_bytecode, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # the program's folder stays as it is
    try:
        runpy.run_path(str(program), run_name="__main__")
    finally:
        sys.dont_write_bytecode = writes_bytecode


def _close_thread_loop() -> None:
    """Close the event loop that the SDK leaves behind in the thread that talked to the monitor."""
    try:
        loop = asyncio.get_event_loop_policy().get_event_loop()
    except RuntimeError:
        return
    loop.close()
    asyncio.set_event_loop(None)


class _Monitor(mocks.MockMonitor):
    """Makes what the program registers and keeps what it exports."""

    def __init__(self, account: Account, ledger: Ledger | None) -> None:
        super().__init__(_Provider(account, self, ledger))
        self.outputs: dict[str, Any] = {}
        self.failure: ProvisioningError | None = None
        self.cause: BaseException | None = None  # of the failure, which tells what it means; Pulumi overwrites it
        self.unsettled: list[Callable[[], None]] = []

    def note_failure(self, error: ProvisioningError) -> None:
        """Keep the first error: others follow from it."""
        if self.failure is None:
            self.failure, self.cause = error, error.__cause__

    def RegisterResourceOutputs(self, request: Any) -> Any:  # noqa: N802 - Pulumi's name
        if request.urn.split("::")[-2] == "pulumi:pulumi:Stack":
            self.outputs = _plain(rpc.deserialize_properties(request.outputs))
        return super().RegisterResourceOutputs(request)  # type: ignore[no-untyped-call] # Pulumi's


class _Provider(mocks.Mocks):
    """The provider behind the monitor: one call for each resource and each question."""

    def __init__(self, account: Account, monitor: _Monitor, ledger: Ledger | None) -> None:
        self._account = account
        self._monitor = monitor
        self._ledger = ledger

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[Any, Any]]:
        inputs = _plain(args.inputs)
        if args.custom is False:
            return args.name, inputs  # a component: it only groups others
        declared = Declared(type=args.typ, name=args.name, inputs=inputs)
        try:
            made = make_resource(self._account, declared, existing_id=args.resource_id, ledger=self._ledger)
        except ProvisioningError as error:
            self._monitor.note_failure(error)
            raise
        if made.settle is not None:
            self._monitor.unsettled.append(made.settle)
        return made.id, {**inputs, **made.outputs}

    def call(self, args: mocks.MockCallArgs) -> tuple[dict[Any, Any], list[tuple[str, str]] | None]:
        try:
            return answer_invoke(self._account, args.token, _plain(args.args)), []
        except ProvisioningError as error:
            self._monitor.note_failure(error)
            raise


class _Unused(mocks.Mocks):
    """What `set_mocks` demands besides a monitor and never asks."""

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[Any, Any]]:
        raise NotImplementedError(args.typ)

    def call(self, args: mocks.MockCallArgs) -> tuple[dict[Any, Any], list[tuple[str, str]] | None]:
        raise NotImplementedError(args.token)


def _plain(value: Any) -> Any:
    """Return a value without Pulumi's wrapping: secrets bare, whole numbers as int."""
    if isinstance(value, dict):
        if value.get(_SECRET_SIGNATURE) == _SECRET_VALUE:
            return _plain(value.get("value"))
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, pulumi.Output):
        raise ProvisioningError("stack outputs", reason="an output is not known after the deployment")
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _project_name(program: Path) -> str:
    """Return the project's name, which the program's configuration is looked up under.

    Raises:
        ProvisioningError: the folder holds no Python program of Pulumi's.
    """
    file = program / "Pulumi.yaml"
    try:
        project = yaml.safe_load(file.read_text("utf-8"))
        name = project["name"]
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise ProvisioningError(f"program {program}", reason=f"{file.name} cannot be read: {error}") from error
    if not (program / "__main__.py").is_file():
        raise ProvisioningError(f"program {program}", reason="there is no __main__.py")
    return str(name)
