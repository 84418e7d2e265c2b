"""A resource as a program declares it, and as it was made: what the functions that make resources have in common.

Making a resource has three moments: its physical name is settled (`ResourceType.naming`); what will find it again is
told (`ResourceType.intend`), for a ledger; and it is made, of which `Declared.note_made` tells at once, before the
calls that complete it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.errors import ProvisioningError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from harness.targets.provisioning.account import Account
    from harness.targets.provisioning.ledger import Noted


class Made(NamedTuple):
    """A resource that was made.

    Args:
        id: what Pulumi calls its id.
        outputs: properties beyond the inputs, by their names in Pulumi's schema.
        settle: waits until AWS has done what it does with the resource in its own time, or raises ProvisioningError;
            called when all resources are made. None: there is nothing to wait for.
    """

    id: str
    outputs: dict[str, Any]
    settle: Callable[[], None] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """A resource as the program declares it.

    Args:
        type: type token, for example ``aws:iam/role:Role``.
        name: logical name.
        inputs: by their names in Pulumi's schema.
        note_made: to be called with what Pulumi calls its id, as soon as there is something to take back.
    """

    type: str
    name: str
    inputs: Mapping[str, Any]
    note_made: Callable[[str], None] = field(default=lambda _id: None, compare=False, repr=False)

    @property
    def subject(self) -> str:
        """The resource as errors name it."""
        return f"{self.type} {self.name}"

    def with_inputs(self, **more: Any) -> Declared:
        """Return the same resource with further inputs."""
        return replace(self, inputs={**self.inputs, **more})

    def accept_only(self, accepted: Iterable[str], *, given: Mapping[str, Any] | None = None, inside: str = "") -> None:
        """Refuse what the function that makes the resource would leave out in silence.

        Args:
            accepted: names of the inputs that it uses.
            given: the inputs to look at; all of the resource's when left out.
            inside: the input that ``given`` is the value of, for the message.

        Raises:
            ProvisioningError: an input has another name.
        """
        names = set(accepted)
        if unknown := sorted(set(self.inputs if given is None else given) - names):
            what = ", ".join(f"{inside}.{name}" if inside else name for name in unknown)
            raise ProvisioningError(
                self.subject,
                reason=f"input {what} is not supported; supported are {', '.join(sorted(names))}",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Naming:
    """How physical names of one type look that a program leaves open.

    Args:
        longest: characters that AWS allows.
        separator: what stands between the parts of a name.
    """

    longest: int
    separator: str = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceType:
    """How resources of one type are made and taken back.

    Args:
        make: makes one; where there is a ``naming``, its inputs have a ``name``.
        intend: tells what finds the resource again should its maker die over it, without any secret; a ``name`` in
            it is the physical one. It may look at the account, and refuses what would take over a thing of somebody
            else.
        remove: takes one back, whatever of it is there; without effect when nothing is. May be called again.
        inputs: names of the inputs that ``make`` uses.
        services: boto3's names of the services it calls.
        naming: None for types without a name of their own.
    """

    make: Callable[[Account, Declared], Made]
    intend: Callable[[Account, Declared], dict[str, Any]]
    remove: Callable[[Account, Noted], None]
    inputs: frozenset[str]
    services: tuple[str, ...]
    naming: Naming | None = None


def intend_name(_account: Account, declared: Declared) -> dict[str, Any]:
    """Tell the physical name, which is all that finds most resources again."""
    return {"name": declared.inputs["name"]}


def as_tag_list(tags: Mapping[str, str]) -> list[dict[str, str]] | None:
    """Return tags as most services take them; None when there are none."""
    return [{"Key": key, "Value": value} for key, value in tags.items()] or None
