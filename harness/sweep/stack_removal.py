"""Taking away what a stack has beside AWS IoT: identity pools, roles, tables, queues.

As `harness.clients.removal` does with the rest: what is gone is fine, conflicts and throttling pass, two at once do no
harm.
"""

from __future__ import annotations

import random
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError, HTTPClientError

from harness.sweep.listing import code_of, is_gone, list_all

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.sweep.accounts import Account

_PASSING: Final = frozenset(
    {
        "ConcurrentModification",
        "ConcurrentModificationException",
        "DeleteConflict",
        "EntityTemporarilyUnmodifiable",
        "InternalErrorException",
        "InternalFailure",
        "InternalServerError",
        "LimitExceededException",  # of DynamoDB: too many tables at once
        "RequestThrottled",
        "ResourceConflictException",
        "ResourceInUseException",
        "ServiceFailure",
        "ServiceUnavailable",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
_IS_GOING: Final = "DELETING"
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 4.0


class StackRemover:
    """Removes what a stack is made of, each by its name alone.

    Each method gives True when it was there, and raises boto3's error when it was refused for good.

    Args:
        account: where it is.
        patience: seconds one removal may be tried again for.
        now: a clock that only goes forward, seconds.
        pause: waits for some seconds.
    """

    def __init__(
        self,
        account: Account,
        *,
        patience: float,
        now: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._account = account
        self._patience = patience
        self._now = now
        self._pause = pause

    def pool(self, pool_id: str) -> bool:
        """Delete an identity pool with its identities."""
        cognito = self._account.client("cognito-identity")
        return self._insist(lambda: cognito.delete_identity_pool(IdentityPoolId=pool_id))

    def role(self, role_name: str) -> bool:
        """Delete a role with its own policies, detached from all others."""
        iam = self._account.client("iam")

        def remove() -> None:
            for name in list(list_all(iam, "list_role_policies", "PolicyNames", RoleName=role_name)):
                _unless_gone(partial(iam.delete_role_policy, RoleName=role_name, PolicyName=name))
            for policy in list(list_all(iam, "list_attached_role_policies", "AttachedPolicies", RoleName=role_name)):
                _unless_gone(partial(iam.detach_role_policy, RoleName=role_name, PolicyArn=policy["PolicyArn"]))
            iam.delete_role(RoleName=role_name)

        return self._insist(remove)

    def table(self, table_name: str) -> bool:
        """Delete a table with its rows; one that is being deleted counts as gone."""
        dynamodb = self._account.client("dynamodb")

        def remove() -> bool:
            try:
                dynamodb.delete_table(TableName=table_name)
            except dynamodb.exceptions.ResourceInUseException:
                if dynamodb.describe_table(TableName=table_name)["Table"]["TableStatus"] != _IS_GOING:
                    raise
                return False
            return True

        return self._insist(remove)

    def queue(self, queue_url: str) -> bool:
        """Delete a queue with its messages."""
        sqs = self._account.client("sqs")
        return self._insist(lambda: sqs.delete_queue(QueueUrl=queue_url))

    def _insist(self, attempt: Callable[[], Any]) -> bool:
        """Try again what failed for a reason that passes, after a pause that grows, until patience is over."""
        deadline = self._now() + self._patience
        longest = _FIRST_PAUSE
        while True:
            try:
                return attempt() is not False
            except (ClientError, HTTPClientError) as error:
                if is_gone(error):
                    return False
                seconds = longest * random.uniform(0.5, 1.0)  # noqa: S311 - no secret: keeps out of step with others
                may_pass = isinstance(error, HTTPClientError) or code_of(error) in _PASSING
                if not may_pass or self._now() + seconds > deadline:
                    raise
            self._pause(seconds)
            longest = min(longest * 2, _LONGEST_PAUSE)


def _unless_gone(call: Callable[[], Any]) -> None:
    try:
        call()
    except ClientError as error:
        if not is_gone(error):
            raise
