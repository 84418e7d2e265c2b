"""Processes to be measured: started on one core, watched through /proc, ended with whoever started them.

Linux alone: elsewhere nothing here can be pinned or read.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parent

TABLE_NAME: Final = "readings"
SECRET: Final = "not-a-secret"  # noqa: S105 - it protects nothing
REGION: Final = "us-east-1"

_PATIENCE: Final = 30.0
_LAST_LINES: Final = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Cores:
    """Which core is whose.

    Args:
        measured: of the process under test alone.
        others: of the load and the database.
    """

    measured: int
    others: frozenset[int]

    @classmethod
    def choose(cls) -> Self:
        """Take one of those this process may use, and leave the rest."""
        first, *rest = sorted(os.sched_getaffinity(0))
        if not rest:
            sys.exit("two cores are needed: one for the process under test, one for load and database")
        return cls(measured=first, others=frozenset(rest))


class Process:
    """A process that tells its port, and ends when its lifeline does.

    Args:
        command: program and arguments; ``{report}`` and ``{lifeline}`` in them stand for descriptors. Without them the
            port is the first line of its standard output, and its standard input is its lifeline.
        cores: to run on.
        environment: all of it but PATH.
        folder: to work in, and so where ``-m`` looks first.
    """

    def __init__(
        self, command: Sequence[str], *, cores: set[int], environment: Mapping[str, str], folder: Path = ROOT
    ) -> None:
        report, told = os.pipe()
        held, self._lifeline = os.pipe()
        self._log: IO[str] = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 - closed by stop
        own = os.sched_getaffinity(0)
        os.sched_setaffinity(0, cores)  # inherited: before the process can start a thread
        try:
            self._process = subprocess.Popen(
                [part.replace("{report}", str(told)).replace("{lifeline}", str(held)) for part in command],
                stdin=held,
                stdout=told,
                stderr=self._log,
                pass_fds=(told, held),
                cwd=folder,
                env={"PATH": os.environ["PATH"], **environment},
            )
        finally:
            os.sched_setaffinity(0, own)
            os.close(told)
            os.close(held)
        self.pid = self._process.pid
        with os.fdopen(report, encoding="utf-8") as lines:
            line = lines.readline() if select.select([lines], [], [], _PATIENCE)[0] else ""
        if not line:
            self._process.kill()
            sys.exit(f"{' '.join(command)} did not start:\n{self.log()[-_LAST_LINES:]}")
        self.port = int(json.loads(line)["port"])

    def __enter__(self) -> Self:
        """Run."""
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self.stop()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def cpu_seconds(self) -> float:
        """Return what it and its children have used so far, the kernel's part included."""
        ticks = 0
        for pid in self._family():
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def resident_bytes(self) -> int:
        """Return the resident memory of it and its children."""
        pages = (int(Path(f"/proc/{pid}/statm").read_text(encoding="utf-8").split()[1]) for pid in self._family())
        return sum(pages) * os.sysconf("SC_PAGE_SIZE")

    def _family(self) -> list[int]:
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text(encoding="utf-8").split()
        return [self.pid, *map(int, children)]

    def log(self) -> str:
        """Return what it has written to its standard error."""
        self._log.seek(0)
        return self._log.read()

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._process.terminate()

    def wait(self) -> int:
        """Wait for its end and return its exit code."""
        return self._process.wait(_PATIENCE)

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def stop(self) -> None:
        """Close its lifeline and wait; kill it when that does not help."""
        with contextlib.suppress(OSError):
            os.close(self._lifeline)
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()


def settings(endpoint_url: str, **further: str) -> dict[str, str]:
    """Give the environment of a receiver or of what is measured beside it."""
    return {
        "TABLE_NAME": TABLE_NAME,
        "AWS_REGION": REGION,
        "AWS_ENDPOINT_URL": endpoint_url,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "IOT_SECRETS": SECRET,
        "PORT": "0",
        **further,
    }


def start_receiver(endpoint_url: str, *, cores: Cores, checkout: Path = ROOT, **further: str) -> Process:
    """Start the receiver of a checkout as it is shipped."""
    command = [sys.executable, "-m", "receiver", "--report-fd", "{report}", "--lifeline-fd", "{lifeline}"]
    return Process(command, cores={cores.measured}, environment=settings(endpoint_url, **further), folder=checkout)


def start_script(
    name: str, *arguments: str, endpoint_url: str, cores: Cores, checkout: Path = ROOT, python: str = sys.executable
) -> Process:
    """Start one of the scripts beside this one in the receiver's place; it imports the receiver of a checkout."""
    environment = settings(endpoint_url, PYTHONPATH=str(checkout))
    return Process([python, "-P", str(HERE / name), *arguments], cores={cores.measured}, environment=environment)
