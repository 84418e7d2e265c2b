"""One child process of the supervisor: how it is started, how it reports, how its end is noticed.

A child is a Python interpreter with an environment of its own: nothing of the user's AWS, proxy or Python settings
reaches it. Its configuration is a file only this user can read, or, for a program that knows nothing of this package,
further environment variables. It gets file descriptors for the lifeline, for its one line of report, and for what else
the supervisor gives it. Besides, it holds, without knowing, the write end of a pipe that nobody writes to: when the
read end shows end of file the process has ended, whatever the reason.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import site
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from harness.errors import TargetDied

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_KEPT_VARIABLES: Final = frozenset(
    {
        *(
            "PATH",
            "HOME",
            "USER",
            "LOGNAME",
            "TMPDIR",
            "TEMP",
            "TMP",
            "TZ",
            "SYSTEMROOT",
            "NIX_LD",
            "NIX_LD_LIBRARY_PATH",
        ),
        *("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH", "LANG", "LC_ALL", "LC_CTYPE"),
        *("PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX", "COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG"),
    }
)
"""What a child may see of the user's environment: what running a program takes, and nothing that changes what it
does."""

_TAIL_LINES: Final = 30
_TAIL_BYTES: Final = 8192
_REPORT_BYTES: Final = 1 << 20


class Lifeline:
    """A pipe whose write end lives exactly as long as this process, or until `cut`."""

    def __init__(self) -> None:
        self.read_end, self._write_end = os.pipe()
        # A fork of this process, without an exec, would keep the write end open and so the children alive.
        os.register_at_fork(after_in_child=self._close_write_end)

    def cut(self) -> None:
        """Let every child end itself."""
        if self.read_end >= 0:
            os.close(self.read_end)
            self.read_end = -1
        self._close_write_end()

    def _close_write_end(self) -> None:
        if self._write_end >= 0:
            os.close(self._write_end)
            self._write_end = -1


class Child:
    """A process that the supervisor started.

    Args:
        name: for messages and file names, for example ``broker``.
        command: arguments after the interpreter; ``--config FILE`` is added, or without a ``config``
            ``--lifeline-fd N --report-fd N``.
        config: goes into the file; ``lifeline_fd`` and, unless ``answers_on_stdout``, ``report_fd`` are added. None:
            there is no file.
        environment: variables besides those that every child gets.
        folder: where configuration and log go.
        lifeline: the supervisor's.
        inherits: further file descriptors that the child gets, under the same numbers.
        answers_on_stdout: its report is what it prints, instead of what it writes to ``report_fd``, and then it ends.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        config: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
        folder: Path,
        lifeline: Lifeline,
        inherits: Sequence[int] = (),
        answers_on_stdout: bool = False,
    ) -> None:
        self.name = name
        slug = name.replace(" ", "-")
        self.log = folder / f"{slug}.log"
        self.has_reported = False
        self._ends_after_report = answers_on_stdout
        self._received = b""
        self.report_fd, report_end = os.pipe()
        try:
            self.presence_fd, presence_end = os.pipe()
        except BaseException:
            os.close(self.report_fd)
            os.close(report_end)
            raise
        try:
            if config is None:
                arguments = ["--lifeline-fd", str(lifeline.read_end), "--report-fd", str(report_end)]
            else:
                settings = {**config, "lifeline_fd": lifeline.read_end}
                if not answers_on_stdout:
                    settings["report_fd"] = report_end
                file = folder / f"{slug}.json"
                _write_privately(file, settings)
                arguments = ["--config", str(file)]
            with self.log.open("wb") as log:
                self.process = subprocess.Popen(  # noqa: S603 - our own interpreter and modules
                    [sys.executable, "-P", *command, *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=report_end if answers_on_stdout else log,
                    stderr=log,
                    pass_fds=(lifeline.read_end, report_end, presence_end, *inherits),
                    env={**make_environment(os.environ), **(environment or {})},
                    cwd=folder,
                    process_group=0,  # the terminal's Ctrl-C is for the supervisor alone
                )
        except BaseException:
            os.close(self.report_fd)
            os.close(self.presence_fd)
            raise
        finally:
            os.close(report_end)
            os.close(presence_end)

    def read_report(self) -> dict[str, Any] | None:
        """Read what has come of the report; to be called when ``report_fd`` is readable.

        Returns:
            The report, or None when more must come.

        Raises:
            TargetDied: the child closed its side before it had reported.
        """
        data = os.read(self.report_fd, 65536)
        self._received += data
        if b"\n" not in self._received and data and len(self._received) < _REPORT_BYTES:
            return None
        try:
            report = json.loads(self._received)
        except ValueError:
            report = None
        if not isinstance(report, dict):
            raise self.death()
        self.has_reported = True
        return report

    @property
    def has_ended(self) -> bool:
        """Whether the process is gone."""
        return self.process.poll() is not None

    @property
    def may_end(self) -> bool:
        """Whether its end means nothing, since it has done all it was started for."""
        return self._ends_after_report and self.has_reported

    def death(self) -> TargetDied:
        """Return the error that says how the process ended, with the tail of its log."""
        try:
            code = self.process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            return TargetDied(self.name, "reported nothing that can be understood", tail=self.tail())
        if code < 0:
            with contextlib.suppress(ValueError):
                return TargetDied(self.name, f"was ended by {signal.Signals(-code).name}", tail=self.tail())
        return TargetDied(self.name, f"ended with exit code {code}", tail=self.tail())

    def tail(self) -> tuple[str, ...]:
        """Return the last lines of the log."""
        try:
            with self.log.open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
                text = file.read().decode("utf-8", "replace")
        except OSError:
            return ()
        return tuple(text.splitlines()[-_TAIL_LINES:])

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, unless the process has ended already."""
        self.process.send_signal(number)

    def wait(self, timeout: float) -> bool:
        """Wait for the end of the process; whether it came within ``timeout`` seconds."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=max(0.0, timeout))
        return self.has_ended

    def close(self) -> None:
        """Close the pipes of a process that has ended; without effect when that has happened."""
        for descriptor in (self.report_fd, self.presence_fd):
            if descriptor >= 0:
                os.close(descriptor)
        self.report_fd = self.presence_fd = -1


def _write_privately(file: Path, settings: Mapping[str, Any]) -> None:
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
        json.dump(settings, stream)


def make_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a child.

    Args:
        environment: the user's.
    """
    kept = {name: value for name, value in environment.items() if name in _KEPT_VARIABLES}
    kept |= {
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "BOTO_DISABLE_CRT": "true",  # takes time to import and signs nothing that is needed here
        "NO_PROXY": "*",
        "PYTHONUTF8": "1",
        "PYTHONUNBUFFERED": "1",
    }
    if (path := _python_path(environment.get("PYTHONPATH", ""))) is not None:
        kept["PYTHONPATH"] = path
    return kept


def _python_path(given: str) -> str | None:
    """Return the module path a child needs to find this package: None when it is installed."""
    root = str(Path(__file__).resolve().parents[3])
    entries = given.split(os.pathsep)
    if given and root in map(os.path.realpath, entries):
        # The user's own way to this package, which its dependencies may lie on as well; a child is in another folder.
        return os.pathsep.join(map(os.path.abspath, entries))
    installed = [*site.getsitepackages(), site.getusersitepackages()]
    return None if root in map(os.path.realpath, installed) else root
