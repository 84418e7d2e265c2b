"""The resource types that a program may declare, each with the functions that make one and take it back.

`identity_resources`, `storage_resources` and `rule_resources` hold them.

An input that a function does not use is refused, like a type that is not in the table: nothing is left out in silence.
"""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from harness.errors import ProvisioningError
from harness.targets.provisioning.identity_resources import IDENTITY_TYPES
from harness.targets.provisioning.refusals import is_refusal
from harness.targets.provisioning.rule_resources import RULE_TYPES
from harness.targets.provisioning.storage_resources import STORAGE_TYPES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.targets.provisioning.account import Account
    from harness.targets.provisioning.declared import Declared, Made, ResourceType
    from harness.targets.provisioning.ledger import Ledger


def make_resource(
    account: Account, declared: Declared, *, existing_id: str | None = None, ledger: Ledger | None = None
) -> Made:
    """Make a resource.

    Args:
        account: where to make it.
        declared: what to make.
        existing_id: of a resource that the program reads or imports instead of making it: refused.
        ledger: what is made is noted there.

    Raises:
        ProvisioningError: its type or one of its inputs is not supported, or an AWS call failed.
    """
    if existing_id:
        raise ProvisioningError(declared.subject, reason="reading or importing what exists needs the Pulumi CLI")
    kind = RESOURCE_TYPES.get(declared.type)
    if kind is None:
        raise ProvisioningError(
            declared.subject,
            reason=f"this type needs the Pulumi CLI; supported without it are {', '.join(sorted(RESOURCE_TYPES))}",
        )
    declared.accept_only(kind.inputs)
    if kind.naming is not None and not declared.inputs.get("name"):
        name = account.auto_name(declared.name, longest=kind.naming.longest, separator=kind.naming.separator)
        declared = declared.with_inputs(name=name)
    return kind.make(account, declared) if ledger is None else _make_and_note(account, declared, kind, ledger)


def _make_and_note(account: Account, declared: Declared, kind: ResourceType, ledger: Ledger) -> Made:
    intent = kind.intend(account, declared)
    announcement = ledger.announce(declared.type, declared.name, intent)
    try:
        return kind.make(account, replace(declared, note_made=announcement.note_made))
    except ProvisioningError as error:
        # A thing whose name nobody else uses is looked for in any case: a call whose answer was lost was made again,
        # and then refused since the thing was there. Anything else that is there is somebody else's.
        is_sought = "name" in intent and account.owns(intent["name"])
        if not is_sought and not announcement.is_made and is_refusal(error):
            announcement.note_refused()
        raise


RESOURCE_TYPES: Final[Mapping[str, ResourceType]] = MappingProxyType({**IDENTITY_TYPES, **STORAGE_TYPES, **RULE_TYPES})
"""Type token to how it is made."""
