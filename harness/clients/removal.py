"""Taking things, certificates, policies, rules and destinations away again, in an account that others use as well.

AWS IoT deletes only what nothing holds any more, and a change takes a moment to be seen: a certificate that was
detached just now may still count as attached. So each removal goes in AWS's order (detach, deactivate, delete), begins
again after a conflict, a throttled call or a lost answer, and takes what is gone already for done. Whoever else removes
the same thing at the same time does no harm.

Every call blocks, and many threads may share one remover.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from botocore.exceptions import BotoCoreError, ClientError, ConnectTimeoutError, HTTPClientError, ReadTimeoutError

from harness.errors import TeardownError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

T = TypeVar("T")

PATIENCE: Final = 30.0
"""Seconds one removal may take: longer than AWS takes to see a change, most of the time."""

_GONE: Final = frozenset({"ResourceNotFoundException"})
_DENIED: Final = "UnauthorizedException"
_CONFLICTS: Final = frozenset(
    {
        "CertificateStateException",
        "ConflictException",
        "ConflictingResourceUpdateException",
        "DeleteConflictException",
        "VersionConflictException",
    }
)
_PASSING: Final = frozenset(
    {
        "InternalErrorException",
        "InternalException",
        "InternalFailureException",
        "RequestTimeout",
        "RequestTimeoutException",
        "ServiceUnavailableException",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
_PASSING_STATUSES: Final = frozenset({429, 500, 502, 503, 504})
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 4.0
_GROWTH: Final = 2.0
_IDENTITIES_AT_ONCE: Final = 60
"""What DeleteIdentities takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attached:
    """What is known of a certificate without asking, to begin with.

    Args:
        arn: its ARN.
        policies: names of the policies on it.
        things: names of the things it is attached to.
        is_active: whether it has to be deactivated before it can be deleted.
    """

    arn: str
    policies: Sequence[str] = ()
    things: Sequence[str] = ()
    is_active: bool = True


class Remover:
    """Removes what AWS IoT keeps, each by its name alone.

    Args:
        iot: boto3's ``iot`` client.
        patience: seconds one removal may be tried again for.
        now: a clock that only goes forward, seconds.
        pause: waits for some seconds.
    """

    def __init__(
        self,
        iot: Any,
        *,
        patience: float = PATIENCE,
        now: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._iot = iot
        self._patience = patience
        self._now = now
        self._pause = pause

    def certificate(self, certificate_id: str, *, known: Attached | None = None) -> bool:
        """Detach, deactivate and delete a certificate.

        It is deactivated even when it cannot be detached: nobody gets in with it any more.

        Args:
            certificate_id: 64 hexadecimal digits.
            known: what it holds, so that AWS IoT is asked only if that turns out to be too little.

        Returns:
            Whether it was there.

        Raises:
            botocore.exceptions.ClientError: AWS IoT refused one of the calls for good, or until patience was over.
            botocore.exceptions.BotoCoreError: AWS IoT cannot be reached.
        """
        to_begin_with = [known] if known is not None else []

        def remove() -> bool:
            held = to_begin_with.pop() if to_begin_with else self._holdings(certificate_id)
            return held is not None and self._remove_certificate(certificate_id, held)

        return self._insist(remove)

    def thing(self, thing_name: str) -> bool:
        """Delete a thing, detached from whatever certificates it still has; these stay.

        Returns:
            Whether it was there.

        Raises:
            botocore.exceptions.ClientError: as `certificate`.
            botocore.exceptions.BotoCoreError: AWS IoT cannot be reached.
        """
        was_there = self._insist(lambda: self._is_done(self._iot.describe_thing, thingName=thing_name))

        def remove() -> None:
            try:
                self._is_done(self._iot.delete_thing, thingName=thing_name)
            except ClientError as error:
                if not _is_attached(error):
                    raise
                for principal in self._all("list_thing_principals", "principals", thingName=thing_name):
                    self._is_done(self._iot.detach_thing_principal, thingName=thing_name, principal=principal)
                self._is_done(self._iot.delete_thing, thingName=thing_name)

        self._insist(remove)  # even if it was not to be seen: whatever was made a moment ago may not yet be
        return was_there

    def policy(self, policy_name: str) -> bool:
        """Delete a policy, detached from whatever has it, with all its versions.

        Returns:
            Whether it was there.

        Raises:
            botocore.exceptions.ClientError: as `certificate`.
            botocore.exceptions.BotoCoreError: AWS IoT cannot be reached.
        """

        def remove() -> bool:
            try:
                return self._is_done(self._iot.delete_policy, policyName=policy_name)
            except ClientError as error:
                if _code(error) not in _CONFLICTS:
                    raise
                self._is_done(self._clear_policy, policy_name=policy_name)  # somebody may be faster
                return self._is_done(self._iot.delete_policy, policyName=policy_name)

        return self._insist(remove)

    def rule(self, rule_name: str) -> bool:
        """Delete a topic rule.

        Returns:
            Whether it was there.

        Raises:
            botocore.exceptions.ClientError: as `certificate`.
            botocore.exceptions.BotoCoreError: AWS IoT cannot be reached.
        """
        get, delete = self._iot.get_topic_rule, self._iot.delete_topic_rule
        return self._delete_listed(get, delete, "list_topic_rules", "rules", ruleName=rule_name)

    def destination(self, arn: str) -> bool:
        """Delete a destination of HTTP actions.

        Returns:
            Whether it was there.

        Raises:
            botocore.exceptions.ClientError: as `certificate`.
            botocore.exceptions.BotoCoreError: AWS IoT cannot be reached.
        """
        get, delete = self._iot.get_topic_rule_destination, self._iot.delete_topic_rule_destination
        return self._delete_listed(get, delete, "list_topic_rule_destinations", "destinationSummaries", arn=arn)

    def _delete_listed(
        self, get: Callable[..., Any], delete: Callable[..., Any], operation: str, member: str, **named: str
    ) -> bool:
        """Delete what AWS IoT, asked by name, denies instead of saying that it is not there: lists tell which it is."""
        ((key, name),) = named.items()

        def remove() -> bool:
            try:
                is_there = self._is_done(get, **named)
            except ClientError as error:
                if _code(error) != _DENIED:
                    raise
                is_there = name in (each[key] for each in self._all(operation, member))
            return is_there and self._is_done(delete, **named)

        return self._insist(remove)

    def _holdings(self, certificate_id: str) -> Attached | None:
        """Ask what a certificate holds; None when there is no such certificate."""
        try:
            described = self._iot.describe_certificate(certificateId=certificate_id)["certificateDescription"]
            arn = described["certificateArn"]
            policies = self._all("list_attached_policies", "policies", target=arn)
            return Attached(
                arn=arn,
                policies=[each["policyName"] for each in policies],
                things=list(self._all("list_principal_things", "things", principal=arn)),
                is_active=described["status"] == "ACTIVE",
            )
        except ClientError as error:
            if _code(error) in _GONE:
                return None
            raise

    def _remove_certificate(self, certificate_id: str, held: Attached) -> bool:
        iot, arn = self._iot, held.arn
        errors: list[ClientError] = []

        def step(call: Callable[..., Any], **parameters: Any) -> None:
            try:
                self._is_done(call, **parameters)
            except ClientError as error:
                errors.append(error)

        for policy_name in held.policies:
            step(iot.detach_policy, policyName=policy_name, target=arn)
        if held.is_active:
            step(iot.update_certificate, certificateId=certificate_id, newStatus="INACTIVE")
        for thing_name in held.things:  # last: a sweep may know by them alone whose it is, if this is broken off
            step(iot.detach_thing_principal, thingName=thing_name, principal=arn)
        if errors:
            raise next((each for each in errors if not _may_pass(each)), errors[0])
        return self._is_done(iot.delete_certificate, certificateId=certificate_id)

    def _clear_policy(self, policy_name: str) -> None:
        for target in self._all("list_targets_for_policy", "targets", policyName=policy_name):
            self._is_done(self._iot.detach_policy, policyName=policy_name, target=target)
        for version in self._iot.list_policy_versions(policyName=policy_name)["policyVersions"]:  # five at most
            if not version["isDefaultVersion"]:
                its_id = version["versionId"]
                self._is_done(self._iot.delete_policy_version, policyName=policy_name, policyVersionId=its_id)

    def _all(self, operation: str, member: str, **parameters: Any) -> Iterator[Any]:
        """Give what an operation lists, page by page; nothing where what it asks about is gone."""
        try:
            for page in self._iot.get_paginator(operation).paginate(**parameters):
                yield from page.get(member, ())
        except ClientError as error:
            if _code(error) not in _GONE:
                raise

    @staticmethod
    def _is_done(call: Callable[..., Any], **parameters: Any) -> bool:
        """Call an operation and tell whether there was something to do it to."""
        try:
            call(**parameters)
        except ClientError as error:
            if _code(error) in _GONE:
                return False
            raise
        return True

    def _insist(self, attempt: Callable[[], T]) -> T:
        return _insist(attempt, patience=self._patience, now=self._now, pause=self._pause)


def remove_identities(
    cognito_identity: Any,
    identity_ids: Sequence[str],
    *,
    patience: float = PATIENCE,
    now: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> list[str]:
    """Delete identities of Cognito identity pools, as many at once as Cognito takes.

    Args:
        cognito_identity: boto3's ``cognito-identity`` client, with credentials that may do this.
        identity_ids: ``region:uuid`` each; those that are gone do no harm.
        patience: seconds the calls may be tried again for, each.
        now: a clock that only goes forward, seconds.
        pause: waits for some seconds.

    Returns:
        Those that Cognito did not delete.

    Raises:
        botocore.exceptions.ClientError: Cognito refused a call for good, or until patience was over.
        botocore.exceptions.BotoCoreError: Cognito cannot be reached.
    """

    def delete(batch: Sequence[str]) -> list[str]:
        call = partial(cognito_identity.delete_identities, IdentityIdsToDelete=list(batch))
        answer = _insist(call, patience=patience, now=now, pause=pause)
        return [each["IdentityId"] for each in answer.get("UnprocessedIdentityIds", ())]

    left: list[str] = []
    for begin in range(0, len(identity_ids), _IDENTITIES_AT_ONCE):
        unprocessed = delete(identity_ids[begin : begin + _IDENTITIES_AT_ONCE])
        left += delete(unprocessed) if unprocessed else []  # what Cognito stumbles over once it may do at a second try
    return left


def remove_guests(
    cognito_identity: Any, identity_ids: Sequence[str], *, identity_pool_id: str, patience: float = PATIENCE
) -> None:
    """Delete the identities that the guests of a run got.

    Args:
        cognito_identity: as for `remove_identities`.
        identity_ids: the same.
        identity_pool_id: whose they are.
        patience: seconds.

    Raises:
        TeardownError: some are left; it names the command that removes them.
    """
    left, why = list(identity_ids), ""
    try:
        left = remove_identities(cognito_identity, left, patience=patience)
    except (BotoCoreError, ClientError) as error:
        why = f" ({error})"
    if left:
        what = f"{len(left)} guest identities of the pool {identity_pool_id}, such as {left[0]}{why}"
        remedy = f"`thingwright sweep --delete --identity-pool-id {identity_pool_id}` removes them"
        raise TeardownError([what], remedy=remedy)


def _insist(
    attempt: Callable[[], T], *, patience: float, now: Callable[[], float], pause: Callable[[float], None]
) -> T:
    """Try again what failed for a reason that passes, after a pause that grows, until patience is over."""
    deadline = now() + patience
    longest = _FIRST_PAUSE
    while True:
        try:
            return attempt()
        except (BotoCoreError, ClientError) as error:
            seconds = longest * random.uniform(0.5, 1.0)  # noqa: S311 - no secret: keeps out of step with others
            if not _may_pass(error) or now() + seconds > deadline:
                raise
        pause(seconds)
        longest = min(longest * _GROWTH, _LONGEST_PAUSE)


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _is_attached(error: ClientError) -> bool:
    """Tell whether a thing was not deleted because a certificate is attached to it, for which there is no own code."""
    return _code(error) == "InvalidRequestException" and "attached" in str(error).lower()


def _may_pass(error: BotoCoreError | ClientError) -> bool:
    """Tell whether the same call may succeed in a moment; a host that cannot be reached at all is not among these."""
    if isinstance(error, ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        return _code(error) in _CONFLICTS | _PASSING or status in _PASSING_STATUSES or _is_attached(error)
    return isinstance(error, HTTPClientError | ConnectTimeoutError | ReadTimeoutError)
