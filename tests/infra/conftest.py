"""Where the tools are that check the platform. One that is missing makes its tests *not proven*, never passed."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest


def _tool(*names: str) -> str:
    """Return the path of a tool under the first of its names that is there, or skip."""
    beside = str(Path(sys.executable).parent)  # an environment that is not activated
    for name in names:
        if path := shutil.which(name) or shutil.which(name, path=beside):
            return path
    pytest.skip(f"not proven: there is no {names[0]}")


@pytest.fixture(scope="session")
def promtool() -> str:
    """Prometheus's tool for rules; Debian's package `prometheus` brings it."""
    return _tool("promtool")


@pytest.fixture(scope="session")
def amtool() -> str:
    """Alertmanager's tool for its configuration; Debian's package `prometheus-alertmanager` brings it."""
    return _tool("amtool")


@pytest.fixture(scope="session")
def alertmanager() -> str:
    """Alertmanager itself; Debian calls it `prometheus-alertmanager`."""
    return _tool("alertmanager", "prometheus-alertmanager")


@pytest.fixture(scope="session")
def kubectl() -> str:
    """The Kubernetes command, whose `kustomize` needs no cluster."""
    return _tool("kubectl")
