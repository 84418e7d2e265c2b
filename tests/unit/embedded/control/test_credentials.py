"""The store of access keys."""

from __future__ import annotations

import pytest

from harness.embedded.control import credentials as module
from harness.embedded.control.credentials import CredentialStore
from harness.iot.registry import Credential

ROLE = "arn:aws:iam::1:role/r"


def key(access_key_id: str, role_arn: str | None = None) -> Credential:
    """Return a long-lived key."""
    return Credential(
        access_key_id=access_key_id, secret_access_key="s", principal_arn="arn", principal_id="id", role_arn=role_arn
    )


@pytest.fixture
def store() -> CredentialStore:
    """A store with the root's key, at second 1000."""
    return CredentialStore(key("ROOT"), clock=lambda: 1000.0)


def session(store: CredentialStore, role_arn: str = ROLE) -> str:
    """Make a session and return its key."""
    return store.make_session(principal_arn="arn", principal_id="id", role_arn=role_arn, seconds=60)[0].access_key_id


def test_a_session_has_the_shape_of_awss(store: CredentialStore) -> None:
    """ASIA and sixteen more, forty of secret, a long token; found until it is forgotten."""
    made, forgotten = store.make_session(principal_arn="arn", principal_id="id", role_arn=ROLE, seconds=60)

    assert (made.access_key_id[:4], len(made.access_key_id), len(made.secret_access_key)) == ("ASIA", 20, 40)
    assert len(made.session_token or "") > 200
    assert (made.expires_at, forgotten) == (1060.0, [])
    assert store.find(made.access_key_id) is made


def test_the_oldest_sessions_are_forgotten(store: CredentialStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store is bounded; the root's key is not among what goes."""
    monkeypatch.setattr(module, "MAX_SESSIONS", 1)
    first = session(store)

    _, forgotten = store.make_session(principal_arn="arn", principal_id="id", role_arn=ROLE, seconds=60)

    assert forgotten == [first]
    assert (store.find(first), store.find("ROOT") is not None) == (None, True)


def test_users_keys_replace_each_other_and_leave_others_alone(store: CredentialStore) -> None:
    """What is new, changed or gone is named."""
    made = session(store)
    assert store.replace_access_keys([key("A"), key("B")]) == {"A", "B"}

    assert store.replace_access_keys([key("B", ROLE), key("C")]) == {"A", "B", "C"}

    assert set(store.records(None)) == {"ROOT", made, "B", "C"}
    assert set(store.records(["B", "A"])) == {"B"}


def test_sessions_end_with_their_role(store: CredentialStore) -> None:
    """Others stay."""
    gone, stays = session(store, "other"), session(store)

    assert store.end_sessions_without_role([ROLE]) == {gone}
    assert (store.find(gone), store.find(stays) is not None) == (None, True)


def test_sessions_expire_on_demand(store: CredentialStore) -> None:
    """One, or all; never the root's key."""
    one, other = session(store), session(store)

    assert store.expire(one) == {one}
    assert store.expire("ROOT") == set()
    assert [store.records([k])[k].expires_at for k in (one, other)] == [999.0, 1060.0]
    assert store.expire(None) == {one, other}
