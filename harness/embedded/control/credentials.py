"""Access keys that may sign: the root key of the configuration, IAM users' keys, and session credentials made here.

Session credentials are ours alone, in one dictionary, since moto has none for Cognito and looks its own up by walking a
list.
"""

from __future__ import annotations

import secrets
import string
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from harness.iot.registry import Credential

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_KEY_ALPHABET: Final = string.ascii_uppercase + "234567"
_SECRET_ALPHABET: Final = string.ascii_letters + string.digits + "+/"
_TOKEN_BYTES: Final = 240
MAX_SESSIONS: Final = 50_000
"""Oldest sessions are forgotten beyond this."""


class CredentialStore:
    """Every credential of the account; safe to use from many threads.

    Args:
        root: the key pair of the configuration; it may do everything.
        clock: seconds since the epoch.
    """

    def __init__(self, root: Credential, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._root_key = root.access_key_id
        self._credentials: dict[str, Credential] = {root.access_key_id: root}
        self._sessions: dict[str, None] = {}

    def find(self, access_key_id: str) -> Credential | None:
        """Return a credential, expired or not; None when there is no such key."""
        return self._credentials.get(access_key_id)

    def records(self, keys: Iterable[str] | None) -> dict[str, Credential]:
        """Return all credentials, or those with the given keys that exist."""
        with self._lock:
            if keys is None:
                return dict(self._credentials)
            return {key: self._credentials[key] for key in keys if key in self._credentials}

    def make_session(
        self,
        *,
        principal_arn: str,
        principal_id: str,
        role_arn: str,
        seconds: float,
        session_policies: tuple[tuple[str, str], ...] = (),
        identity_id: str | None = None,
    ) -> tuple[Credential, list[str]]:
        """Make temporary credentials.

        Args:
            principal_arn: ``arn:aws:sts::<account>:assumed-role/<role name>/<session name>``.
            principal_id: ``<role's unique id>:<session name>``.
            role_arn: the role that limits them.
            seconds: how long they last.
            session_policies: (name, document) that limit them further.
            identity_id: the Cognito identity they are made for.

        Returns:
            The credentials, and the keys of sessions that were forgotten to make room.
        """
        credential = Credential(
            access_key_id="ASIA" + _choose(_KEY_ALPHABET, 16),
            secret_access_key=_choose(_SECRET_ALPHABET, 40),
            session_token=secrets.token_urlsafe(_TOKEN_BYTES),
            expires_at=self._clock() + seconds,
            principal_arn=principal_arn,
            principal_id=principal_id,
            role_arn=role_arn,
            session_policies=session_policies,
            identity_id=identity_id,
        )
        with self._lock:
            self._credentials[credential.access_key_id] = credential
            self._sessions[credential.access_key_id] = None
            forgotten = []
            while len(self._sessions) > MAX_SESSIONS:
                oldest = next(iter(self._sessions))
                forgotten.append(oldest)
                del self._sessions[oldest], self._credentials[oldest]
        return credential, forgotten

    def replace_access_keys(self, access_keys: Iterable[Credential]) -> set[str]:
        """Make the given keys of IAM users the only ones.

        Returns:
            The keys that are new, changed or gone.
        """
        new = {credential.access_key_id: credential for credential in access_keys}
        with self._lock:
            old = {
                key: one
                for key, one in self._credentials.items()
                if key != self._root_key and key not in self._sessions
            }
            changed = {key for key in old.keys() | new.keys() if old.get(key) != new.get(key)}
            for key in old.keys() - new.keys():
                del self._credentials[key]
            self._credentials.update(new)
        return changed

    def end_sessions_without_role(self, role_arns: Iterable[str]) -> set[str]:
        """Forget the sessions of roles that are gone; return their keys."""
        living = set(role_arns)
        with self._lock:
            gone = {key for key in self._sessions if self._credentials[key].role_arn not in living}
            for key in gone:
                del self._sessions[key], self._credentials[key]
        return gone

    def expire(self, access_key_id: str | None) -> set[str]:
        """Let one session's credentials, or those of all, be expired from now on.

        Args:
            access_key_id: None for all sessions.

        Returns:
            The keys that expired; empty when there is no such session.
        """
        past = self._clock() - 1.0
        with self._lock:
            keys = set(self._sessions) if access_key_id is None else {access_key_id} & self._sessions.keys()
            for key in keys:
                self._credentials[key] = replace(
                    self._credentials[key], expires_at=min(past, self._credentials[key].expires_at or past)
                )
        return keys


def _choose(alphabet: str, length: int) -> str:
    return "".join(secrets.choice(alphabet) for _ in range(length))
