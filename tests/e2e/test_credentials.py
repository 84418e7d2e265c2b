"""Promise: only live credentials, signed as they must be, get anybody in; each refusal with the twin that is let in."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from harness import Faults, StackOutputs, TemporaryCredentials, Topics
    from harness.fixtures import MakeBroadcastClient

pytestmark = [pytest.mark.e2e, pytest.mark.needs("AUTHENTICATION")]


async def credentials_of_a_guest(make_broadcast_client: MakeBroadcastClient) -> TemporaryCredentials:
    """Give credentials that have just let a guest in: the allowed twin of every refusal here."""
    guest = await make_broadcast_client()
    assert guest.credentials is not None
    return guest.credentials


@pytest.mark.behaviour("wss.credentials.expired", source="DG:cwl-format")
async def test_expired_credentials_let_nobody_in(
    make_broadcast_client: MakeBroadcastClient, faults: Faults, topics: Topics
) -> None:
    """Credentials that let a guest in are refused once they have expired; the connection they opened lives on."""
    guest = await make_broadcast_client(subscribe=topics.broadcast)
    assert guest.credentials is not None

    await faults.expire_credentials(guest.credentials.access_key_id)
    late = await make_broadcast_client(credentials=guest.credentials, connect=False)
    refusal = await late.expect_refusal(connect=True)

    assert (refusal.action, refusal.how) == ("iot:Connect", "upgrade-403")
    message = await guest.publish(topics.broadcast, "still connected")
    await message.reaches([guest])


@pytest.mark.behaviour("wss.signature.mismatch", source="DG:protocols")
async def test_a_changed_signature_lets_nobody_in(make_broadcast_client: MakeBroadcastClient) -> None:
    """One digit of the signature replaced, and the credentials that let a guest in no longer do."""
    credentials = await credentials_of_a_guest(make_broadcast_client)

    forger = await make_broadcast_client(credentials=credentials, signature="changed", connect=False)
    refusal = await forger.expect_refusal(connect=True)

    assert refusal.how == "upgrade-403"


async def test_a_wrong_secret_lets_nobody_in(make_broadcast_client: MakeBroadcastClient) -> None:
    """A key that exists, with another secret, signs nothing that is accepted."""
    credentials = await credentials_of_a_guest(make_broadcast_client)

    guesser = await make_broadcast_client(credentials=replace(credentials, secret_access_key="0" * 40), connect=False)
    refusal = await guesser.expect_refusal(connect=True)

    assert refusal.how == "upgrade-403"


async def test_a_missing_session_token_lets_nobody_in(make_broadcast_client: MakeBroadcastClient) -> None:
    """Temporary credentials are three: key and secret without their session token are refused."""
    credentials = await credentials_of_a_guest(make_broadcast_client)

    forgetful = await make_broadcast_client(credentials=replace(credentials, session_token=None), connect=False)
    refusal = await forgetful.expect_refusal(connect=True)

    assert refusal.how == "upgrade-403"


@pytest.mark.behaviour("wss.signature.region", source="DG:protocols")
async def test_a_key_signed_for_another_region_lets_nobody_in(
    make_broadcast_client: MakeBroadcastClient, stack: StackOutputs
) -> None:
    """A correct signature whose scope names another region than the endpoint's is refused."""
    credentials = await credentials_of_a_guest(make_broadcast_client)
    elsewhere = next(region for region in ("eu-west-1", "us-east-1") if region != stack.region)

    foreigner = await make_broadcast_client(credentials=credentials, region=elsewhere, connect=False)
    refusal = await foreigner.expect_refusal(connect=True)

    assert refusal.how == "upgrade-403"


async def test_an_unknown_key_lets_nobody_in(make_broadcast_client: MakeBroadcastClient) -> None:
    """A key that nobody issued is refused, however well it signs."""
    credentials = await credentials_of_a_guest(make_broadcast_client)

    nobody = await make_broadcast_client(
        credentials=replace(credentials, access_key_id="ASIA" + "Z" * 16), connect=False
    )
    refusal = await nobody.expect_refusal(connect=True)

    assert refusal.how == "upgrade-403"


@pytest.mark.behaviour("wss.signature.missing", source="DG:protocols")
async def test_no_signature_lets_nobody_in(make_broadcast_client: MakeBroadcastClient) -> None:
    """Nobody is admitted without a principal: an upgrade without a signature is refused, one with it is not."""
    await credentials_of_a_guest(make_broadcast_client)

    anonymous = await make_broadcast_client(signature="missing", connect=False)
    refusal = await anonymous.expect_refusal(connect=True)

    assert refusal.how == "upgrade-403"


@pytest.mark.needs("TRACE")
async def test_a_refused_upgrade_says_why(make_broadcast_client: MakeBroadcastClient) -> None:
    """AWS answers 403 to everything; where the target tells, the refusal says what was wrong."""
    credentials = await credentials_of_a_guest(make_broadcast_client)

    forger = await make_broadcast_client(credentials=credentials, signature="changed", connect=False)
    refusal = await forger.expect_refusal(connect=True)

    assert "signature" in (refusal.because or "")
