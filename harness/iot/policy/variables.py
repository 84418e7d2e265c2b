"""Which policy variables and condition keys have a value here, per dialect.

Everything else is refused when a document is made.

Source: basic-policy-variables and thing-policy-variables in the AWS IoT developer guide;
reference_policies_variables in the IAM user guide.
Differs: variables of the X.509 certificate (``iot:Certificate.…``), tags and multi-factor keys have no value here and
are refused by name.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal

from harness.errors import PolicyDocumentError

if TYPE_CHECKING:
    from collections.abc import Mapping

Dialect = Literal["iam", "iot", "trust"]

CLIENT_ID: Final = "iot:ClientId"
DOMAIN_NAME: Final = "iot:DomainName"
SOURCE_IP: Final = "aws:SourceIp"
USER_ID: Final = "aws:userid"
USER_NAME: Final = "aws:username"
PRINCIPAL_ARN: Final = "aws:PrincipalArn"
COGNITO_SUB: Final = "cognito-identity.amazonaws.com:sub"
COGNITO_AUD: Final = "cognito-identity.amazonaws.com:aud"
COGNITO_AMR: Final = "cognito-identity.amazonaws.com:amr"
EXTERNAL_ID: Final = "sts:ExternalId"
SOURCE_ACCOUNT: Final = "aws:SourceAccount"
SOURCE_ARN: Final = "aws:SourceArn"
THING_NAME: Final = "iot:Connection.Thing.ThingName"
THING_TYPE: Final = "iot:Connection.Thing.ThingTypeName"
THING_ATTACHED: Final = "iot:Connection.Thing.IsAttached"
_THING_ATTRIBUTE: Final = "iot:Connection.Thing.Attributes["

KNOWN: Final[Mapping[Dialect, frozenset[str]]] = MappingProxyType(
    {
        "iam": frozenset({CLIENT_ID, DOMAIN_NAME, SOURCE_IP, USER_ID, USER_NAME, PRINCIPAL_ARN, COGNITO_SUB}),
        "iot": frozenset({CLIENT_ID, DOMAIN_NAME, SOURCE_IP, COGNITO_SUB, THING_NAME, THING_TYPE, THING_ATTACHED}),
        "trust": frozenset(
            {SOURCE_IP, PRINCIPAL_ARN, COGNITO_SUB, COGNITO_AUD, COGNITO_AMR, EXTERNAL_ID, SOURCE_ACCOUNT, SOURCE_ARN}
        ),
    }
)
"""Names with one value each, except `COGNITO_AMR`; besides, ``iot:Connection.Thing.Attributes[<name>]`` in IoT
policies."""

MULTI_VALUED: Final = frozenset({COGNITO_AMR})
"""Keys that may have several values and so need ``ForAnyValue:`` or ``ForAllValues:``."""

_FOLDED: Final = {dialect: {name.lower(): name for name in names} for dialect, names in KNOWN.items()}


def thing_attribute(name: str) -> str:
    """Return the variable that holds an attribute of the connecting thing."""
    return f"{_THING_ATTRIBUTE}{name}]"


def canonical_name(name: str, *, dialect: Dialect, pointer: str) -> str:
    """Return a variable's name as contexts spell it.

    Args:
        name: as written, without ``${`` and ``}``; letter case does not matter, except inside ``Attributes[…]``.
        dialect: whose names hold.
        pointer: where the name stands in the document.

    Raises:
        PolicyDocumentError: no such name here.

    Source: condition keys are not case-sensitive (IAM user guide, reference_policies_elements_condition).
    """
    if known := _FOLDED[dialect].get(name.lower()):
        return known
    if dialect == "iot" and name.startswith(_THING_ATTRIBUTE) and name.endswith("]"):
        return name
    accepted = ", ".join(sorted(KNOWN[dialect]))
    raise PolicyDocumentError(pointer, f"{name} is not evaluated here; known are {accepted}")
