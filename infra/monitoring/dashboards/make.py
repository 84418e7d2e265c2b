"""Make the dashboards' JSON, which is in version control: what a cluster gets needs no Python.

```
python infra/monitoring/dashboards/make.py            # writes json/
python infra/monitoring/dashboards/make.py --check    # exit status 1 where json/ says something else
```

Needs grafana-foundation-sdk, of the project's dependency group `infra`.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Final

from grafana_foundation_sdk.cog.encoder import JSONEncoder

HERE: Final = Path(__file__).resolve().parent
BOARDS: Final = {"receiver": "receiver", "fleet_run": "fleet-run", "workload": "workload"}
"""Modules, and the names of their files."""


def texts() -> dict[Path, str]:
    """Return what each file is to say."""
    sys.path.insert(0, str(HERE))  # found also where Python was told not to look beside the script
    try:
        made = {name: importlib.import_module(module).make() for module, name in BOARDS.items()}
    finally:
        sys.path.remove(str(HERE))
    encoder = JSONEncoder(sort_keys=True, indent=2)
    return {HERE / "json" / f"{name}.json": encoder.encode(board) + "\n" for name, board in made.items()}


def main(arguments: list[str]) -> int:
    """Write the files, or compare them; return the exit status."""
    if arguments == ["--check"]:
        stale = [path.name for path, text in texts().items() if not path.exists() or path.read_text("utf-8") != text]
        if stale:
            print(f"stale: {', '.join(stale)}; run python infra/monitoring/dashboards/make.py", file=sys.stderr)  # noqa: T201 - a script's output
        return 1 if stale else 0
    if arguments:
        print(__doc__, file=sys.stderr)  # noqa: T201 - the same
        return 2
    for path, text in texts().items():
        path.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
