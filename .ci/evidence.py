"""Run the promises on every target that needs neither account nor token, and make the table of what each proved.

Usage: ``MINISTACK_PYTHON=E/bin/python python .ci/evidence.py``, as for ``.ci/with_ministack.py``. Writes
``docs/evidence/*.json`` and ``docs/promises.md``. A promise that failed is in the table
too; the exit code is then 1.
"""

from __future__ import annotations

import os
import subprocess
import sys

FOLDER = "docs/evidence"
PAGE = "docs/promises.md"
PYTEST = ("pytest", "-m", "e2e", "tests/e2e")

RUNS = {
    "embedded": ("embedded", PYTEST),
    "serve": ("thingwright serve", (sys.executable, ".ci/with_serve.py", *PYTEST, "--target", "endpoint")),
    "ministack": ("ministack", (sys.executable, ".ci/with_ministack.py", *PYTEST, "--target", "endpoint")),
}
"""Name of the evidence's file → the column's heading, and what runs it."""


def main() -> int:
    """Run all, then make the page; give 1 when a run or the page failed."""
    codes = []
    for name, (label, command) in RUNS.items():
        environment = os.environ | {"HARNESS_EVIDENCE": f"{FOLDER}/{name}.json", "HARNESS_EVIDENCE_LABEL": label}
        codes.append(subprocess.run(command, env=environment, check=False).returncode)  # noqa: S603 - commands of this file
    files = [f"{FOLDER}/{name}.json" for name in RUNS]
    report = ["thingwright", "report", *files, "--markdown", PAGE]
    codes.append(subprocess.run(report, check=False).returncode)  # noqa: S603 - the project's own command
    return int(any(codes))


if __name__ == "__main__":
    sys.exit(main())
