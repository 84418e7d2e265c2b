"""What the fixtures of guests make and take away again, without a target: boto3 is a double."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import pytest
from botocore.exceptions import ClientError

from harness.clients.credentials import TemporaryCredentials
from harness.errors import TeardownError
from harness.fixtures import Guests, _marks, _settles_within
from harness.targets.names import Names
from harness.targets.outputs import StackOutputs

STACK = StackOutputs(
    region="eu-central-1",
    iot_endpoint="broker.test",
    iot_mqtts_port=9883,
    iot_wss_url="wss://broker.test/mqtt",
    identity_pool_id="eu-central-1:pool",
    client_id_prefix="public-",
    topic_prefix="public/",
    telemetry_topic="my/telemetry",
    device_policy_name="the-device-policy",
)


class FakeCognito:
    """Plays boto3's ``cognito-identity`` client."""

    def __init__(self) -> None:
        self.identities: set[str] = set()
        self.error: Exception | None = None
        self.undeletable: set[str] = set()
        self.is_closed = False

    def get_id(self, **_: Any) -> dict[str, str]:
        """Make an identity."""
        name = f"eu-central-1:{len(self.identities)}"
        self.identities.add(name)
        return {"IdentityId": name}

    def get_credentials_for_identity(self, **_: Any) -> dict[str, Any]:
        """Give keys."""
        keys = {"AccessKeyId": "ASIA", "SecretKey": "s", "SessionToken": "t", "Expiration": None}
        return {"Credentials": keys}

    def delete_identities(self, *, IdentityIdsToDelete: list[str]) -> dict[str, Any]:  # noqa: N803 - boto3's spelling
        """Forget them, but for some."""
        if self.error is not None:
            raise self.error
        self.identities -= set(IdentityIdsToDelete) - self.undeletable
        left = self.undeletable & set(IdentityIdsToDelete)
        return {"UnprocessedIdentityIds": [{"IdentityId": each, "ErrorCode": "InternalServerError"} for each in left]}

    def close(self) -> None:
        """Remember that."""
        self.is_closed = True


@pytest.fixture
def cognito() -> FakeCognito:
    """The identity pools of one test."""
    return FakeCognito()


def make_guests(cognito: FakeCognito, *, is_shared: bool, made: list[bool] | None = None) -> Guests:
    """Make what is tested; `made` gets whether each of its clients sends no signature."""

    def client(_service: str, *, unsigned: bool = False) -> FakeCognito:
        if made is not None:
            made.append(unsigned)
        return cognito

    environment = Mock(names=Names("run"), is_shared=is_shared, owns_stack=False, is_delayed=False, client=client)
    return Guests(environment, stack=STACK, patience=0.0, trace=None)


def get_credentials(guests: Guests, count: int) -> None:
    """Make guests and let each of them ask for credentials."""
    for _ in range(count):
        guests.make()._credentials.get()


async def test_guests_take_their_identities_with_them(cognito: FakeCognito) -> None:
    """In an account that outlives the run; the operator deletes them, since no guest may."""
    made: list[bool] = []
    guests = make_guests(cognito, is_shared=True, made=made)
    get_credentials(guests, 3)
    guests.make()  # this one never asks for credentials

    assert len(cognito.identities) == 3
    guests.close()

    assert (cognito.identities, cognito.is_closed, made) == (set(), True, [True, False])


async def test_where_all_ends_with_the_run_nothing_is_deleted(cognito: FakeCognito) -> None:
    """It would only take time."""
    made: list[bool] = []
    guests = make_guests(cognito, is_shared=False, made=made)
    get_credentials(guests, 2)

    guests.close()

    assert (len(cognito.identities), cognito.is_closed, made) == (2, True, [True])


async def test_guests_without_an_identity_leave_none(cognito: FakeCognito) -> None:
    """Nobody asks Cognito to delete nothing."""
    guests = make_guests(cognito, is_shared=True)
    guests.make(credentials=TemporaryCredentials(access_key_id="ASIA", secret_access_key="s"))._credentials.get()
    cognito.error = AssertionError()

    guests.close()

    assert cognito.is_closed


@pytest.mark.parametrize("is_refused", [True, False])
async def test_identities_that_stay_are_told_of(cognito: FakeCognito, *, is_refused: bool) -> None:
    """How many, in which pool, and what removes them; the connections are closed all the same."""
    guests = make_guests(cognito, is_shared=True)
    get_credentials(guests, 2)
    if is_refused:
        cognito.error = ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "DeleteIdentities")
    else:
        cognito.undeletable = {"eu-central-1:1"}

    with pytest.raises(TeardownError) as failure:
        guests.close()

    count, why = (2, "AccessDeniedException") if is_refused else (1, "such as eu-central-1:1")
    assert f"{count} guest identities of the pool eu-central-1:pool" in str(failure.value)
    assert why in str(failure.value)
    assert "`thingwright sweep --delete --identity-pool-id eu-central-1:pool` removes them" in str(failure.value)
    assert cognito.is_closed


@pytest.mark.parametrize(("is_delayed", "expected"), [(True, 45.0), (False, 0.0)])
def test_changes_settle_within_patience_where_they_take_time(*, is_delayed: bool, expected: float) -> None:
    """And at once anywhere else."""
    assert _settles_within(Mock(is_delayed=is_delayed), 45.0) == expected


@pytest.mark.parametrize(
    ("run_id", "is_shared", "is_marked"),
    [("tw6b3f0a21-9c4e11d2", True, True), ("tw6b3f0a21-9c4e11d2", False, False), ("my-own-run", True, False)],
)
def test_a_run_is_marked_in_a_shared_account(run_id: str, *, is_shared: bool, is_marked: bool) -> None:
    """By its id, where that says when it is over."""
    marks = _marks(Mock(names=Names(run_id), is_shared=is_shared))

    assert marks == ({"thingwright:run": run_id, "thingwright:expires": "2027-01-07T03:44:33Z"} if is_marked else {})
