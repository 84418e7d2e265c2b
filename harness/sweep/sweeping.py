"""A sweep: look everywhere, decide, remove.

Each kind is looked for and removed on its own: what fails with one does not keep the others. Kinds go in AWS's order,
one after the other, what is of one kind side by side. Nothing is remembered between sweeps, so one that was killed is
finished by the next, and two at once only find more gone already.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    ProxyConnectionError,
    SSLError,
)
from botocore.parsers import ResponseParserError

from harness.clients.removal import Remover, remove_identities
from harness.errors import TargetUnavailable
from harness.sweep.finding import find_certificates, find_destinations, find_policies, find_rules, find_things
from harness.sweep.found import Found, Kind, NotLookedAt
from harness.sweep.listing import AT_ONCE, is_not_offered
from harness.sweep.stack_finding import find_identities, find_pools, find_queues, find_roles, find_tables
from harness.sweep.stack_removal import StackRemover

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from harness.sweep.accounts import Account
    from harness.sweep.found import Criteria

    Finder = Callable[[Account, Criteria], Iterable[Found]]

PATIENCE: Final = 60.0
"""Seconds one removal may take: nobody waits for a sweep, and AWS may take that long to see a change."""

_FINDERS: Final[Mapping[Kind, Finder]] = {
    Kind.RULE: find_rules,
    Kind.DESTINATION: find_destinations,
    Kind.CERTIFICATE: find_certificates,
    Kind.THING: find_things,
    Kind.POLICY: find_policies,
    Kind.IDENTITY: find_identities,
    Kind.POOL: find_pools,
    Kind.ROLE: find_roles,
    Kind.TABLE: find_tables,
    Kind.QUEUE: find_queues,
}

_BATCH: Final = 60
"""Identities that Cognito deletes at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a look around found.

    Args:
        due: what goes, in AWS's order.
        staying: what has a mark and stays, since its run is not over or something else uses it.
        not_looked_at: what could not be listed.
    """

    due: Sequence[Found]
    staying: Sequence[Found]
    not_looked_at: Sequence[NotLookedAt]


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """What became of one thing that was to go.

    Args:
        found: what it is.
        outcome: ``removed``; ``gone``: somebody else had removed it; ``left``: it could not be removed.
        because: why it is left; empty otherwise.
    """

    found: Found
    outcome: Literal["removed", "gone", "left"]
    because: str = field(default="")


def look(account: Account, criteria: Criteria) -> Finding:
    """Look for everything that has a mark; changes nothing.

    Raises:
        TargetUnavailable: nothing answers there.
    """
    found: list[Found] = []
    missing: list[NotLookedAt] = []
    with ThreadPoolExecutor(len(_FINDERS), thread_name_prefix="look") as threads:
        looks = {kind: threads.submit(_look_for, kind, account, criteria) for kind in _FINDERS}
    for kind in Kind:
        seen = looks[kind].result()
        if isinstance(seen, NotLookedAt):
            missing.append(seen)
        else:
            found += sorted(seen, key=lambda one: one.name)
    return Finding(
        due=[one for one in found if criteria.is_due(one)],
        staying=[one for one in found if not criteria.is_due(one)],
        not_looked_at=missing,
    )


def remove(account: Account, due: Sequence[Found], *, patience: float = PATIENCE) -> Iterator[Removal]:
    """Remove what is to go, and say of each what became of it.

    Args:
        account: where it is.
        due: as `look` found it.
        patience: seconds one removal may be tried again for.
    """
    ways = _ways(account, patience)
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="sweep") as threads:
        for kind in Kind:
            of_kind = [one for one in due if one.kind is kind]
            size = _BATCH if kind is Kind.IDENTITY else 1
            batches = [of_kind[begin : begin + size] for begin in range(0, len(of_kind), size)]
            waiting = [threads.submit(_remove, ways[kind], batch) for batch in batches]
            try:
                for done in as_completed(waiting):
                    yield from done.result()
            except BaseException:
                threads.shutdown(wait=False, cancel_futures=True)
                raise


def _look_for(kind: Kind, account: Account, criteria: Criteria) -> list[Found] | NotLookedAt:
    try:
        return list(_FINDERS[kind](account, criteria))
    except (ConnectTimeoutError, EndpointConnectionError, ProxyConnectionError, SSLError) as error:
        raise TargetUnavailable(f"{account.place} cannot be reached, so nothing was swept: {error}") from error
    except (BotoCoreError, ClientError, ResponseParserError) as error:
        return NotLookedAt(what=kind.plural, because=str(error), is_offered=not is_not_offered(error))


def _ways(account: Account, patience: float) -> dict[Kind, Callable[[Sequence[str]], Mapping[str, bool | None]]]:
    """Return how names of each kind are removed: name to whether it was there; None for one that was not removed."""
    remover = Remover(account.client("iot"), patience=patience)
    stack = StackRemover(account, patience=patience)

    def one(remove: Callable[[str], bool]) -> Callable[[Sequence[str]], Mapping[str, bool | None]]:
        return lambda names: {name: remove(name) for name in names}

    def identities(names: Sequence[str]) -> Mapping[str, bool | None]:
        left = set(remove_identities(account.client("cognito-identity"), names, patience=patience))
        return {name: None if name in left else True for name in names}

    return {
        Kind.RULE: one(remover.rule),
        Kind.DESTINATION: one(remover.destination),
        Kind.CERTIFICATE: one(remover.certificate),
        Kind.THING: one(remover.thing),
        Kind.POLICY: one(remover.policy),
        Kind.IDENTITY: identities,
        Kind.POOL: one(stack.pool),
        Kind.ROLE: one(stack.role),
        Kind.TABLE: one(stack.table),
        Kind.QUEUE: one(stack.queue),
    }


def _remove(way: Callable[[Sequence[str]], Mapping[str, bool | None]], batch: Sequence[Found]) -> list[Removal]:
    try:
        outcomes = way([one.name for one in batch])
    except (BotoCoreError, ClientError, ResponseParserError) as error:
        return [Removal(found=one, outcome="left", because=str(error)) for one in batch]
    removals: list[Removal] = []
    for one in batch:
        was_there = outcomes[one.name]
        if was_there is None:
            removals.append(Removal(found=one, outcome="left", because="Cognito did not delete it"))
        else:
            removals.append(Removal(found=one, outcome="removed" if was_there else "gone"))
    return removals
