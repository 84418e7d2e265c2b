"""Run `examples/own-suite` as its owner would: away from this checkout, with what is installed, and typed from outside.

Usage: ``python .ci/own_suite.py [ARGUMENT OF PYTEST]…``, with an interpreter that has Thingwright's wheel and mypy.
The suite has to pass, mypy has to accept it, and then its infrastructure is broken on purpose: a rule that matches
nothing, a display that may publish. Each has to fail the one test that promises otherwise, and no other.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

CHECKOUT = Path(__file__).resolve().parents[1]
SUITE = CHECKOUT / "examples" / "own-suite"


@dataclass(frozen=True, slots=True)
class Break:
    """Something wrong in the infrastructure program.

    Args:
        what: in words.
        old: what is replaced, once in the program.
        new: by what.
        fails: the test that has to notice it.
    """

    what: str
    old: str
    new: str
    fails: str


BREAKS = (
    Break("the rule matches nothing", "temp > {TOO_HOT}", "temp > {TOO_HOT}00", "test_hot_readings_alone_become_rows"),
    Break("the rule matches all", " WHERE temp > {TOO_HOT}", "", "test_hot_readings_alone_become_rows"),
    Break(
        "displays may publish",
        '("iot:Connect", f"client/{DISPLAY_IDS}*"),',
        '("iot:Connect", f"client/{DISPLAY_IDS}*"), ("iot:Publish", "topic/*"),',
        "test_a_display_makes_no_notice",
    ),
    Break(
        "displays hear nothing",
        '("iot:Receive", f"topic/{NOTICES}*"),',
        "",
        "test_a_notice_of_the_shop_reaches_every_display",
    ),
)


def run(command: list[str], *, folder: Path) -> int:
    """Run a command in a folder and return its exit code."""
    sys.stdout.flush()
    return subprocess.run(command, cwd=folder, check=False).returncode  # noqa: S603 - commands of this file


def failed_tests(results: Path) -> set[str]:
    """Return the names of the tests that did not pass, from JUnit's XML."""
    cases = ET.parse(results).iter("testcase")  # noqa: S314 - pytest wrote it just now
    return {case.get("name", "") for case in cases if any(case.find(tag) is not None for tag in ("failure", "error"))}


def main(arguments: list[str]) -> int:
    """Run the suite, its types and its breaks; give 0 when all is as it has to be."""
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() not in {CHECKOUT, CHECKOUT / ".ci"}]
    import harness  # noqa: PLC0415 - the installed one, if any

    if Path(harness.__file__).is_relative_to(CHECKOUT) and "site-packages" not in harness.__file__:
        sys.exit("This interpreter finds Thingwright in the checkout: install its wheel, and set PYTHONSAFEPATH=1.")
    os.environ["PYTHONSAFEPATH"] = "1"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "greenhouse")
        shutil.copytree(SUITE, folder, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        pytest = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"]
        if code := run([*pytest, *arguments], folder=folder):
            return code
        if code := run([sys.executable, "-m", "mypy", "--no-incremental"], folder=folder):
            return code
        program = folder / "infra" / "__main__.py"
        whole = program.read_text("utf-8")
        for each in BREAKS:
            if whole.count(each.old) != 1:
                sys.exit(f"{each.old!r} is not once in {program.name}: {each.what!r} cannot be tried")
            program.write_text(whole.replace(each.old, each.new), "utf-8")
            results = folder / "results.xml"
            code = run([*pytest, "-q", "--tb=no", "-rN", f"--junitxml={results}"], folder=folder)
            if code != 1 or failed_tests(results) != {each.fails}:
                sys.exit(f"{each.what}: {each.fails} alone had to fail; exit code {code}")
            print(f"own suite: noticed that {each.what}", flush=True)  # noqa: T201 - a script
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
