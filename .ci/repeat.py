"""Run the end-to-end tests again and again, on several workers and in another order each time, and count what fails.

Usage: ``python .ci/repeat.py [--runs 50] [--workers 4] [--seed N] [-- ARGUMENT OF PYTEST…]``, in an environment with
pytest-randomly and pytest-xdist. Every run has a seed of its own, all of them drawn from one: ``--seed`` with what the
first line shows gives the same orders again, and below a failed run stand the command that repeats it alone and its
whole output. Ends with exit code 1 when one run failed.
"""

from __future__ import annotations

import argparse
import random
import re
import secrets
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass

SUITE = ("-m", "e2e", "tests/e2e")
FAILED = re.compile(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", re.MULTILINE)
SUMMARY = re.compile(r"^=+ (.*) in [0-9.]+s.* =+$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one run.

    Args:
        seed: of its order.
        code: pytest's exit code.
        output: standard output and error.
        seconds: how long it took.
    """

    seed: int
    code: int
    output: str
    seconds: float

    @property
    def failed(self) -> list[str]:
        """The tests that failed, as pytest names them."""
        return FAILED.findall(self.output)

    @property
    def summary(self) -> str:
        """Pytest's own last line, or that there is none."""
        last: list[str] = SUMMARY.findall(self.output)[-1:]
        return last[0] if last else f"no summary, exit code {self.code}"


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Runs the end-to-end tests in another order each time.")
    parser.add_argument("--runs", type=int, default=50, help="how many runs (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=4, help="of pytest-xdist (default: %(default)s)")
    parser.add_argument("--seed", type=int, help="of the runs' seeds (default: by chance)")
    parser.add_argument("rest", nargs="*", metavar="ARGUMENT", help="for pytest, after --")
    told = parser.parse_args(arguments)
    if told.runs < 1 or told.workers < 1:
        parser.error("--runs and --workers are at least 1")
    return told


def make_seeds(seed: int, runs: int) -> list[int]:
    """Return a seed for each run, all different, the same for the same seed."""
    return random.Random(seed).sample(range(2**32), runs)  # noqa: S311 - orders of tests, no secrets


def make_command(seed: int, *, workers: int, rest: list[str]) -> list[str]:
    """Return the command of one run, `rest` being further arguments of pytest."""
    shuffled = ["-n", str(workers), "-p", "randomly", f"--randomly-seed={seed}"]
    return [sys.executable, "-m", "pytest", *SUITE, *shuffled, *rest]


def run(seed: int, command: list[str]) -> Result:
    """Run a command to its end."""
    begun = time.monotonic()
    ran = subprocess.run(  # noqa: S603 - pytest, with what the caller asked for
        command, check=False, text=True, errors="replace", stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    return Result(seed, ran.returncode, ran.stdout, time.monotonic() - begun)


def main(arguments: list[str]) -> int:
    """Run as often as asked for, tell of each run in a line, and give 1 when one failed."""
    asked = parse(arguments)
    seed = secrets.randbits(32) if asked.seed is None else asked.seed
    print(f"{asked.runs} runs on {asked.workers} workers; their orders come from --seed {seed}", flush=True)  # noqa: T201 - a script
    results = []
    for number, one in enumerate(make_seeds(seed, asked.runs), 1):
        command = make_command(one, workers=asked.workers, rest=asked.rest)
        result = run(one, command)
        results.append(result)
        verdict = "passed" if result.code == 0 else "FAILED"
        print(f"{number:3}/{asked.runs} {verdict} in {result.seconds:.0f} s, seed {one}: {result.summary}", flush=True)  # noqa: T201 - a script
        if result.code:
            told = [*result.failed, f"again: {shlex.join(command[1:])}"]
            print(*(f"      {line}" for line in told), f"===== seed {one} =====", result.output, sep="\n", flush=True)  # noqa: T201 - a script
    broken = [result for result in results if result.code]
    print(f"{len(results) - len(broken)} of {len(results)} runs passed", flush=True)  # noqa: T201 - a script
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
