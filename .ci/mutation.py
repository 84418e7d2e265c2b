"""Break the codec and the topics on purpose, one place at a time, and count how often their tests notice.

Ends with exit code 1 when fewer than nine of ten changes are noticed. ``[tool.mutmut]`` says what is broken and which
tests have to notice it.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

WANTED = 0.9


def main() -> int:
    """Run mutmut from nothing and judge its figures."""
    shutil.rmtree("mutants", ignore_errors=True)
    for command in ("run", "export-cicd-stats"):
        subprocess.run(["mutmut", command], check=True)  # noqa: S603, S607 - the environment's own
    figures = json.loads(Path("mutants/mutmut-cicd-stats.json").read_text("utf-8"))
    share = (figures["killed"] + figures["timeout"]) / figures["total"]
    print(f"{share:.1%} of {figures['total']} changes noticed, wanted {WANTED:.0%}; {figures['survived']} survived")  # noqa: T201 - a script
    return int(share < WANTED)


if __name__ == "__main__":
    sys.exit(main())
