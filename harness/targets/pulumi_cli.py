"""The Pulumi CLI, asked about one stack: what it is configured with, what it tells of itself; up and down.

No shell takes part, nothing is asked of a person, and no secret stands on a command line: it goes through stdin. What
the CLI inherits is this process's environment, which has the AWS credentials and the login of Pulumi's backend.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import deque
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from harness.errors import SettingsError, TargetDied, TargetUnavailable
from harness.targets.embedded.options import DEFAULT_STACK

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from types import FrameType

_PATIENCE: Final = 120.0
"""Seconds for a question; an update takes as long as it takes."""

_TAIL_LINES: Final = 20
_NO_SUCH_STACK: Final = re.compile(r"no stack named .* found")
_STACK_NAME: Final = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.-]*(/[A-Za-z0-9_.-]+){0,2}")
_OURS_ALONE: Final = "HARNESS_IOT_SECRET"


class PulumiStack:
    """One stack of a Pulumi program, through the CLI.

    Args:
        name: of the stack: ``dev``, ``organisation/dev`` or ``organisation/project/dev``.
        program: the folder with its ``Pulumi.yaml``; None: this project's own.
        config_file: where the stack's configuration is kept; None: ``Pulumi.<name>.yaml`` beside the program.

    Raises:
        SettingsError: that is no name, or no folder of a program.
        TargetUnavailable: there is no Pulumi CLI.
    """

    def __init__(self, name: str, *, program: Path | None = None, config_file: Path | None = None) -> None:
        if not _STACK_NAME.fullmatch(name):
            raise SettingsError("--pulumi-stack", name, "the name of a Pulumi stack, such as dev or organisation/dev")
        self.name = name
        self.program = (program or DEFAULT_STACK).absolute()
        if not (self.program / "Pulumi.yaml").is_file():
            raise SettingsError("--program", str(self.program), "the folder of a Pulumi program, with a Pulumi.yaml")
        command = shutil.which("pulumi")
        if command is None:
            raise TargetUnavailable(
                "There is no Pulumi CLI on PATH: install `pulumi` as https://www.pulumi.com/docs/install/ says, "
                "and log in with `pulumi login`."
            )
        self._command = command
        self._config_file = config_file.absolute() if config_file else None

    def outputs(self) -> dict[str, Any]:
        """Return the stack's outputs by their names; empty before it was deployed.

        Raises:
            TargetUnavailable: there is no such stack.
            TargetDied: the CLI failed.
        """
        return self._ask_json("stack", "output", "--json")

    def config(self) -> dict[str, str | None] | None:
        """Return what the stack is configured with, by key (``aws:region``); a secret's value is None.

        Returns:
            None when there is no such stack.

        Raises:
            TargetDied: the CLI failed.
        """
        try:
            told = self._ask_json("config", "--json", *self._with_config_file())
        except _NoSuchStack:
            return None
        return {key: None if entry.get("secret") else entry.get("value") for key, entry in told.items()}

    def create(self) -> None:
        """Make the stack, empty; what stack the user has selected stays.

        Raises:
            TargetDied: the CLI failed.
        """
        self._ask("stack", "init", "--no-select")

    def set(self, key: str, value: str, *, is_secret: bool = False) -> None:
        """Configure the stack.

        Args:
            key: with its namespace, unless that is the program's own.
            value: goes through stdin.
            is_secret: Pulumi keeps it encrypted.

        Raises:
            TargetDied: the CLI failed.
        """
        kind = "--secret" if is_secret else "--plaintext"
        self._ask("config", "set", key, kind, *self._with_config_file(), given=value)

    def up(self, echo: Callable[[str], None]) -> None:
        """Deploy, and show what the CLI says of it.

        Args:
            echo: takes each line as it comes.

        Raises:
            TargetDied: the CLI failed; what it made stays known to it.
            KeyboardInterrupt: Ctrl+C was passed on, and the CLI has ended.
        """
        self._run(echo, "up", "--yes", *self._with_config_file())

    def destroy(self, echo: Callable[[str], None]) -> None:
        """Remove all that the stack has; the stack itself, empty, stays.

        Args:
            echo: takes each line as it comes.

        Raises:
            TargetDied: the CLI failed; what is left stays known to it.
            KeyboardInterrupt: Ctrl+C was passed on, and the CLI has ended.
        """
        self._run(echo, "destroy", "--yes", *self._with_config_file())

    def _with_config_file(self) -> tuple[str, ...]:
        return ("--config-file", str(self._config_file)) if self._config_file else ()

    def _arguments(self, *asked: str) -> list[str]:
        return [self._command, *asked, "--stack", self.name, "--cwd", str(self.program), "--non-interactive"]

    def _environment(self) -> Mapping[str, str]:
        """Return what the CLI inherits: all but our own secret; our program runs with our own interpreter."""
        kept = {name: value for name, value in os.environ.items() if name != _OURS_ALONE}
        # This interpreter has pulumi and pulumi-aws. Pulumi lists what it needs by pip, which some environments lack.
        if self.program == DEFAULT_STACK and find_spec("pip") is not None:
            kept.setdefault("PULUMI_PYTHON_CMD", sys.executable)
        return kept

    def _ask(self, *asked: str, given: str = "") -> str:
        """Run a command that takes no time; return what it prints."""
        try:
            done = subprocess.run(  # noqa: S603 - the Pulumi CLI, no shell
                self._arguments(*asked),
                input=given,
                capture_output=True,
                check=False,
                text=True,
                encoding="utf-8",
                errors="replace",
                env=self._environment(),
                timeout=_PATIENCE,
            )
        except subprocess.TimeoutExpired:
            raise TargetUnavailable(
                f"`pulumi {' '.join(asked[:2])}` gave no answer within {_PATIENCE:.0f} s: look with `pulumi whoami` "
                "whether its backend can be reached."
            ) from None
        except OSError as error:
            raise TargetUnavailable(f"The Pulumi CLI {self._command} cannot be run ({error.strerror}).") from None
        if done.returncode == 0:
            return done.stdout
        if _NO_SUCH_STACK.search(done.stderr):
            raise _NoSuchStack(
                f"There is no Pulumi stack {self.name} of the program {self.program}: `thingwright deploy "
                f"--pulumi-stack {self.name}` makes it, `pulumi stack ls --all` lists those that are there."
            )
        raise self._death(asked, done.returncode, (done.stdout + done.stderr).splitlines())

    def _ask_json(self, *asked: str) -> dict[str, Any]:
        text = self._ask(*asked)
        try:
            told = json.loads(text or "{}")
        except ValueError:
            told = None
        if not isinstance(told, dict):
            raise TargetDied(
                "Pulumi CLI", f"answered `pulumi {' '.join(asked[:2])}` with something that is no JSON object"
            )
        return told

    def _run(self, echo: Callable[[str], None], *asked: str) -> None:
        """Run a command that takes long, in this process's main thread, and pass on its lines and Ctrl+C.

        The CLI is in a process group of its own: from a terminal it would get each Ctrl+C twice, and the second means
        that it shall not clean up. It also goes on when nobody reads its lines any more.
        """
        running: list[subprocess.Popen[str]] = []
        interrupts: list[int] = []
        unread: OSError | None = None
        tail: deque[str] = deque(maxlen=_TAIL_LINES)

        def pass_on(number: int, _frame: FrameType | None) -> None:
            interrupts.append(number)
            for process in running:
                process.send_signal(number)

        before = signal.signal(signal.SIGINT, pass_on)
        try:
            with self._start(*asked) as process:
                running.append(process)
                if interrupts:
                    process.send_signal(signal.SIGINT)
                for line in process.stdout or ():
                    tail.append(line.rstrip("\n"))
                    try:
                        if unread is None:
                            echo(tail[-1])
                    except OSError as error:
                        unread = error
        finally:
            signal.signal(signal.SIGINT, before)
        if interrupts:
            raise KeyboardInterrupt
        if process.returncode:
            raise self._death(asked, process.returncode, list(tail))
        if unread is not None:
            raise unread

    def _start(self, *asked: str) -> subprocess.Popen[str]:
        return subprocess.Popen(  # noqa: S603 - the Pulumi CLI, no shell
            self._arguments(*asked),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            env=self._environment(),
            process_group=0,
        )

    def _death(self, asked: tuple[str, ...], code: int, lines: list[str]) -> TargetDied:
        words = [word for word in asked[:3] if not word.startswith("-")]
        how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        said = [line for line in lines if line.strip()]
        return TargetDied(f"Pulumi CLI, asked for `pulumi {' '.join(words)}`,", how, tail=said[-_TAIL_LINES:])


class _NoSuchStack(TargetUnavailable):
    """The CLI knows no stack of that name."""
