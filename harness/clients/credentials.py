"""Credentials for guests: an identity of a Cognito identity pool and its temporary keys.

A source is asked on every connection attempt, from the threads of the AWS Common Runtime, so it is thread-safe and
knows when what it has is still good. It is asked again after the broker refused what it gave.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

REFRESH_MARGIN: Final = timedelta(minutes=5)
"""Credentials with less left to live are replaced before they are used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TemporaryCredentials:
    """Keys that sign a connection; the secrets are never printed.

    Args:
        access_key_id: ``ASIA…`` for temporary keys.
        secret_access_key: the key to it.
        session_token: None for a long-lived key.
        expires_at: aware; None for a long-lived key.
    """

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)
    expires_at: datetime | None = None


class CredentialSource(Protocol):
    """Where a client's credentials come from; every method may be called from any thread."""

    def get(self) -> TemporaryCredentials:
        """Return credentials that are good for a while, fetching them if need be: may block."""
        ...

    def peek(self) -> TemporaryCredentials | None:
        """Return what `get` would return without fetching, None when it would have to fetch: never blocks."""
        ...

    def discard(self, credentials: TemporaryCredentials) -> None:
        """Forget credentials that were refused, so that the next `get` fetches others."""
        ...


class GivenCredentials:
    """Credentials that someone handed over; they are all there is."""

    def __init__(self, credentials: TemporaryCredentials) -> None:
        self._credentials = credentials

    def get(self) -> TemporaryCredentials:
        """Return them."""
        return self._credentials

    def peek(self) -> TemporaryCredentials:
        """Return them."""
        return self._credentials

    def discard(self, credentials: TemporaryCredentials) -> None:
        """Keep them: there are no others."""


class CognitoCredentials:
    """Credentials of one fresh guest identity of an identity pool, got as a browser gets them.

    The calls are GetId, once, and GetCredentialsForIdentity.

    Args:
        identity_pool_id: ``region:uuid``.
        client: boto3's ``cognito-identity`` client.
        clock: gives the current time, aware.
        margin: credentials with less left to live are replaced.
    """

    def __init__(
        self,
        *,
        identity_pool_id: str,
        client: Any,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        margin: timedelta = REFRESH_MARGIN,
    ) -> None:
        self.identity_pool_id = identity_pool_id
        self.identity_id: str | None = None
        self._client = client
        self._clock = clock
        self._margin = margin
        self._lock = threading.Lock()
        self._current: TemporaryCredentials | None = None

    def get(self) -> TemporaryCredentials:
        """Return credentials with more than the margin left.

        At most one thread fetches; the others wait for what it gets.

        Raises:
            botocore.exceptions.ClientError: Cognito gives this pool's guests none.
        """
        with self._lock:
            if (current := self.peek()) is None:
                current = self._current = self._fetch()
            return current

    def peek(self) -> TemporaryCredentials | None:
        """Return the current credentials unless they are about to expire."""
        current = self._current
        if current is None or current.expires_at is None or current.expires_at - self._clock() > self._margin:
            return current
        return None

    def discard(self, credentials: TemporaryCredentials) -> None:
        """Fetch others next time, unless that has happened already."""
        with self._lock:
            if self._current is credentials:
                self._current = None

    def _fetch(self) -> TemporaryCredentials:
        if self.identity_id is None:
            self.identity_id = self._client.get_id(IdentityPoolId=self.identity_pool_id)["IdentityId"]
        answer = self._client.get_credentials_for_identity(IdentityId=self.identity_id)["Credentials"]
        return TemporaryCredentials(
            access_key_id=answer["AccessKeyId"],
            secret_access_key=answer["SecretKey"],
            session_token=answer["SessionToken"],
            expires_at=answer["Expiration"],
        )
