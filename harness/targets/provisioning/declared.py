"""A resource as a program declares it, and as it was made: what the functions that make resources have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.errors import ProvisioningError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from harness.targets.provisioning.account import Account


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
    """

    type: str
    name: str
    inputs: Mapping[str, Any]

    @property
    def subject(self) -> str:
        """The resource as errors name it."""
        return f"{self.type} {self.name}"

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
class ResourceType:
    """How resources of one type are made.

    Args:
        make: makes one.
        inputs: names of the inputs that ``make`` uses.
        services: boto3's names of the services it calls.
    """

    make: Callable[[Account, Declared], Made]
    inputs: frozenset[str]
    services: tuple[str, ...]
