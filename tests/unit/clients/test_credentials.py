"""Guest credentials: fetched once, renewed in time, never printed."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

from harness.clients.credentials import CognitoCredentials, GivenCredentials, TemporaryCredentials

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


class FakeCognito:
    """Plays boto3's ``cognito-identity`` client; credentials live for an hour from `now`."""

    def __init__(self) -> None:
        self.now = NOON
        self.identities: list[str] = []
        self.fetched: list[str] = []
        self.gate = threading.Event()
        self.gate.set()

    def get_id(self, IdentityPoolId: str) -> dict[str, Any]:  # noqa: N803 - boto3's spelling
        """Make an identity."""
        self.identities.append(IdentityPoolId)
        return {"IdentityId": f"{IdentityPoolId}/{len(self.identities)}"}

    def get_credentials_for_identity(self, IdentityId: str) -> dict[str, Any]:  # noqa: N803 - boto3's spelling
        """Give credentials once the gate is open."""
        self.gate.wait()
        self.fetched.append(IdentityId)
        return {
            "Credentials": {
                "AccessKeyId": f"ASIA{len(self.fetched)}",
                "SecretKey": "very secret",
                "SessionToken": "a token",
                "Expiration": self.now + timedelta(hours=1),
            }
        }


def make_source(cognito: FakeCognito) -> CognitoCredentials:
    """Make a source whose clock is the fake's."""
    return CognitoCredentials(identity_pool_id="pool", client=cognito, clock=lambda: cognito.now)


def test_a_guest_gets_credentials_of_one_identity() -> None:
    """One GetId for a lifetime, and what Cognito answered under our own names."""
    cognito = FakeCognito()
    source = make_source(cognito)

    credentials = source.get()

    assert cognito.identities == ["pool"]
    assert source.identity_id == "pool/1"
    assert credentials == TemporaryCredentials(
        access_key_id="ASIA1",
        secret_access_key="very secret",
        session_token="a token",
        expires_at=NOON + timedelta(hours=1),
    )


def test_credentials_are_fetched_once_while_they_are_good() -> None:
    """Many connection attempts share them, up to the margin before they expire."""
    cognito = FakeCognito()
    source = make_source(cognito)

    first = source.get()
    cognito.now += timedelta(minutes=54, seconds=59)

    assert source.get() is first
    assert source.peek() is first


def test_credentials_are_renewed_within_the_margin() -> None:
    """Five minutes before they expire they are replaced, for the same identity."""
    cognito = FakeCognito()
    source = make_source(cognito)
    source.get()

    cognito.now += timedelta(minutes=55)

    assert source.peek() is None
    assert source.get().access_key_id == "ASIA2"
    assert cognito.fetched == ["pool/1", "pool/1"]


def test_peeking_never_fetches() -> None:
    """Before the first fetch there is nothing to see."""
    cognito = FakeCognito()

    assert make_source(cognito).peek() is None
    assert cognito.fetched == []


def test_refused_credentials_are_replaced_once() -> None:
    """Discarding them makes the next caller fetch; discarding them again does not throw away the new ones."""
    cognito = FakeCognito()
    source = make_source(cognito)
    old = source.get()

    source.discard(old)
    new = source.get()
    source.discard(old)

    assert new.access_key_id == "ASIA2"
    assert source.get() is new


def test_many_threads_fetch_once() -> None:
    """Those who come while one fetches wait for what it gets."""
    cognito = FakeCognito()
    cognito.gate.clear()
    source = make_source(cognito)

    with ThreadPoolExecutor(8) as threads:
        waiting = [threads.submit(source.get) for _ in range(8)]
        cognito.gate.set()
        keys = {each.result().access_key_id for each in waiting}

    assert keys == {"ASIA1"}
    assert len(cognito.fetched) == 1


def test_given_credentials_are_all_there_is() -> None:
    """They are neither renewed nor given up."""
    given = TemporaryCredentials(access_key_id="AKIA", secret_access_key="secret")
    source = GivenCredentials(given)

    source.discard(given)

    assert source.get() is source.peek() is given


def test_secrets_are_not_printed() -> None:
    """The text of credentials holds the key's id and nothing that signs."""
    text = repr(TemporaryCredentials(access_key_id="AKIA", secret_access_key="hush", session_token="mum"))

    assert "AKIA" in text
    assert "hush" not in text
    assert "mum" not in text
