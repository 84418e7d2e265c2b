"""What a run met: the versions that took part, and whether it was AWS itself."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

AWS: Final = "aws"
"""Target of runs on AWS."""

_PACKAGES: Final = ("pytest", "boto3", "awscrt", "awsiotsdk")
_AWS_DOMAINS: Final = (".amazonaws.com", ".amazonaws.com.cn")
_AWS_SERVICES: Final = ("iot", "iot-data", "cognito-identity", "dynamodb", "sqs")
"""What tests on AWS talk to; each of them must be AWS's own."""


def versions(target: str) -> dict[str, str]:
    """Return the versions of what takes part in a run at a target, by name; no name of a machine."""
    found = {"thingwright": _version("thingwright") or "checkout", "python": platform.python_version()}
    found["platform"] = f"{platform.system()} {platform.machine()}"
    packages = (*_PACKAGES, "moto") if target == "embedded" else _PACKAGES
    return found | {name: known for name in packages if (known := _version(name)) is not None}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def is_aws(environment: Any, variables: Mapping[str, str]) -> bool:
    """Tell whether an environment is AWS itself, for every service that tests talk to.

    In doubt it is not: an endpoint that is overridden anywhere, for one service or in a profile, is an emulator's.

    Args:
        environment: a `harness.targets.base.Environment`.
        variables: environment variables by name.
    """
    if environment.target != AWS or environment.control_plane_url is not None:
        return False
    if any(name.upper().startswith("AWS_ENDPOINT_URL") and value for name, value in variables.items()):
        return False
    hosts = [environment.iot_endpoint]
    for service in _AWS_SERVICES:
        client = environment.client(service)
        hosts.append(urlsplit(client.meta.endpoint_url).hostname or "")
        client.close()
    return all(host.lower().endswith(_AWS_DOMAINS) for host in hosts)
