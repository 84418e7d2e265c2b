"""The questions that a program may ask its provider (Pulumi's *invokes*), each with the function that answers."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from harness.errors import ProvisioningError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from harness.targets.provisioning.account import Account

_PORT: Final = re.compile(r"^([^:]+|\[.*\]):\d+$")
"""A host with a port: emulators tell one, AWS does not."""


def answer_invoke(account: Account, token: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Answer a question.

    Args:
        account: where to ask.
        token: function token, for example ``aws:iot/getEndpoint:getEndpoint``.
        arguments: by their names in Pulumi's schema.

    Raises:
        ProvisioningError: the function or one of its arguments is not supported, or an AWS call failed.
    """
    known = INVOKES.get(token)
    if known is None:
        raise ProvisioningError(
            token,
            reason=f"this function needs the Pulumi CLI; supported without it are {', '.join(sorted(INVOKES))}",
        )
    answer, accepted = known
    given = {name: value for name, value in arguments.items() if value is not None}
    if unknown := sorted(set(given) - accepted):
        raise ProvisioningError(token, reason=f"argument {', '.join(unknown)} is not supported")
    return answer(account, token, given)


def _get_endpoint(account: Account, token: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    endpoint_type = arguments.get("endpointType", "iot:Data")
    answer = account.call(token, "iot", "DescribeEndpoint", endpointType=endpoint_type)
    address = _PORT.sub(r"\1", answer["endpointAddress"])
    return {"endpointAddress": address, "endpointType": endpoint_type, "id": address, "region": account.region}


def _get_caller_identity(account: Account, token: str, _arguments: Mapping[str, Any]) -> dict[str, Any]:
    answer = account.call(token, "sts", "GetCallerIdentity")
    return {"accountId": answer["Account"], "arn": answer["Arn"], "userId": answer["UserId"], "id": answer["Account"]}


def _get_region(account: Account, _token: str, _arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "region": account.region,
        "name": account.region,
        "id": account.region,
        "endpoint": f"ec2.{account.region}.amazonaws.com",
        "description": account.region,
    }


INVOKES: Final[Mapping[str, tuple[Callable[[Account, str, Mapping[str, Any]], dict[str, Any]], frozenset[str]]]] = (
    MappingProxyType(
        {
            "aws:iot/getEndpoint:getEndpoint": (_get_endpoint, frozenset({"endpointType"})),
            "aws:index/getCallerIdentity:getCallerIdentity": (_get_caller_identity, frozenset()),
            "aws:index/getRegion:getRegion": (_get_region, frozenset()),
        }
    )
)
"""Function token to (function, names of the arguments it uses)."""
