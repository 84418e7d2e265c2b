"""Give the rules of the PrometheusRule as a plain rule file, for promtool and for a Prometheus without the operator.

```
python infra/monitoring/rules.py > /tmp/rules.yaml
promtool check rules /tmp/rules.yaml
```
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml

SOURCE = Path(__file__).with_name("prometheus-rule.yaml")


def rule_groups() -> dict[str, Any]:
    """Return what a rule file says, ``{"groups": […]}``: the custom resource's spec is exactly that."""
    spec: dict[str, Any] = yaml.safe_load(SOURCE.read_text("utf-8"))["spec"]
    return spec


if __name__ == "__main__":
    yaml.safe_dump(rule_groups(), sys.stdout, sort_keys=False, allow_unicode=True, width=120)
