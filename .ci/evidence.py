"""Run the promises on every target that needs neither account nor token, and make the table of what each proved.

Usage: ``MINISTACK_PYTHON=E/bin/python python .ci/evidence.py``, as for ``.ci/with_ministack.py``. Writes
``docs/evidence/*.json`` and ``docs/promises.md``. A promise that failed is in the table
too; the exit code is then 1. A run that could not even begin leaves nothing, so there is no page either: what an
earlier one has proven does not pass for it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

FOLDER = "docs/evidence"
PAGE = "docs/promises.md"
PYTEST = ("pytest", "-m", "e2e", "tests/e2e")

RUNS = {
    "embedded": ("embedded", PYTEST),
    "serve": ("thingwright serve", (sys.executable, ".ci/with_serve.py", *PYTEST, "--target", "endpoint")),
    "ministack": ("ministack", (sys.executable, ".ci/with_ministack.py", *PYTEST, "--target", "endpoint")),
}
"""Name of the evidence's file → the column's heading, without somebody else's version, and what runs it."""


def version_of_ministack() -> str:
    """Return which ministack it is; end with a sentence where there is none."""
    python = os.environ.get("MINISTACK_PYTHON")
    if not python:
        sys.exit(
            "MINISTACK_PYTHON has to be the interpreter of an environment with ministack: see the top of this file."
        )
    ask = [python, "-c", "import importlib.metadata as metadata; print(metadata.version('ministack'))"]
    return subprocess.run(ask, check=True, capture_output=True, text=True).stdout.strip()  # noqa: S603 - the interpreter that the caller named


def main() -> int:
    """Run all, then make the page; give 1 when a run or the page failed."""
    codes = []
    versions = {"ministack": version_of_ministack()}
    for name, (heading, command) in RUNS.items():
        label = f"{heading} {versions.get(name, '')}".strip()
        evidence = Path(FOLDER, f"{name}.json")
        evidence.unlink(missing_ok=True)
        environment = os.environ | {"HARNESS_EVIDENCE": os.fspath(evidence), "HARNESS_EVIDENCE_LABEL": label}
        codes.append(subprocess.run(command, env=environment, check=False).returncode)  # noqa: S603 - commands of this file
    files = [f"{FOLDER}/{name}.json" for name in RUNS]
    report = ["thingwright", "report", *files, "--markdown", PAGE]
    codes.append(subprocess.run(report, check=False).returncode)  # noqa: S603 - the project's own command
    return int(any(codes))


if __name__ == "__main__":
    sys.exit(main())
