"""`harness.mqtt` and `harness.iot` are pure: loading all of them loads no I/O, no chance and no AWS library."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

PROGRAM = """
import importlib, pkgutil, sys
for name in ("harness.mqtt", "harness.iot"):
    package = importlib.import_module(name)
    for module in pkgutil.walk_packages(package.__path__, f"{name}."):
        importlib.import_module(module.name)
print(*sys.modules)
"""

WORLD = {
    "_socket",
    "_ssl",
    "asyncio",
    "concurrent",
    "multiprocessing",
    "random",
    "select",
    "selectors",
    "socket",
    "ssl",
    "subprocess",
    "uuid",
}
LIBRARIES = {
    "aiohttp",
    "awscrt",
    "awsiot",
    "boto3",
    "botocore",
    "cryptography",
    "httpx",
    "moto",
    "paho",
    "pulumi",
    "pulumi_aws",
    "s3transfer",
    "uvloop",
    "werkzeug",
}
EVERY_PART = {
    "harness.mqtt.broker",
    "harness.mqtt.codec",
    "harness.iot.authorizer",
    "harness.iot.policy.evaluation",
    "harness.iot.rules.statement",
    "harness.iot.sigv4",
}


def test_the_pure_packages_load_neither_io_nor_chance_nor_aws() -> None:
    """What is not loaded cannot be called: they take bytes, values and a time passed in."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, check=True, capture_output=True, text=True)
    loaded = set(done.stdout.split())

    assert loaded >= EVERY_PART
    assert sorted({name.partition(".")[0] for name in loaded} & (WORLD | LIBRARIES)) == []
