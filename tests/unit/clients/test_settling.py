"""Where changes take their time, what should come is tried again; where they do not, the first answer is the answer."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest

from harness.clients import settling
from harness.clients.credentials import GivenCredentials, TemporaryCredentials
from harness.clients.crowd import connect_all
from harness.errors import BudgetExceeded, ConnectionRefused, ExpectationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import FakeNative
    from harness.clients.broadcast import BroadcastClient

    MakeClient = Callable[..., BroadcastClient]

UPGRADE = "AWS_ERROR_HTTP_WEBSOCKET_UPGRADE_FAILURE"
KEYS = TemporaryCredentials(access_key_id="ASIATEST", secret_access_key="secret")
LONG = 20.0
NOT_AUTHORIZED = 0x87


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again at once: nobody is spared here."""
    monkeypatch.setattr(settling, "SETTLING_PAUSE", 0.0)


class Spending:
    """Counts, and lets so many messages be sent."""

    def __init__(self, messages: int) -> None:
        self.messages = messages
        self.delivered = 0

    def take_things(self, n: int = 1) -> None:
        """Refuse: clients register nothing."""
        raise AssertionError(n)

    def take_messages(self, n: int = 1) -> None:
        """Take some."""
        if n > self.messages:
            raise BudgetExceeded("messages", limit=0, option="--max-messages")
        self.messages -= n

    def count_delivery(self) -> None:
        """Count one."""
        self.delivered += 1


def refuse_twice(native: FakeNative) -> None:
    """Refuse two attempts of a connection and let the third in, as the runtime goes on trying."""
    for _ in range(2):
        native.refuse(UPGRADE)
    native.come_up()


async def test_a_client_that_should_get_in_is_let_in_later(make_client: MakeClient, native: FakeNative) -> None:
    """The runtime goes on trying, with the same client."""
    native.on_start = lambda: refuse_twice(native)
    guest = make_client(settles_within=LONG)

    await connect_all([guest], subscribe="public/#")

    assert guest.condition() == "is connected, listens to public/#"
    await guest.stop()


async def test_credentials_that_do_not_hold_yet_are_kept(make_client: MakeClient, native: FakeNative) -> None:
    """Fresh ones would not hold either; once they have, a refusal means that they hold no more."""
    source = Mock(wraps=GivenCredentials(KEYS))
    native.on_start = lambda: refuse_twice(native)
    guest = make_client(settles_within=LONG, credentials=source)
    guest._signer.used = KEYS

    await guest.connect(insist=True)
    source.discard.assert_not_called()
    async with guest.expect_reconnect():
        native.refuse(UPGRADE)
        native.come_up()

    source.discard.assert_called_once_with(KEYS)
    await guest.stop()


async def test_a_client_that_is_never_let_in_says_how(make_client: MakeClient, native: FakeNative) -> None:
    """When the time is over; and it has stopped."""
    native.on_start = lambda: native.refuse(UPGRADE)
    guest = make_client(settles_within=0.01)

    with pytest.raises(ConnectionRefused) as refused:
        await connect_all([guest])

    assert refused.value.how == "upgrade-403"
    assert native.stops == 1


@pytest.mark.parametrize(("settles_within", "insist"), [(0.0, True), (LONG, False)])
async def test_the_first_refusal_is_the_answer(
    make_client: MakeClient, native: FakeNative, *, settles_within: float, insist: bool
) -> None:
    """Where changes hold at once, and for whoever is not said to get in."""
    native.on_start = lambda: native.refuse(UPGRADE)
    guest = make_client(settles_within=settles_within)

    with pytest.raises(ConnectionRefused):
        await connect_all([guest], insist=insist)


async def test_a_connection_is_tried_until_it_is_refused(make_client: MakeClient, native: FakeNative) -> None:
    """What let it in may not be gone yet: it leaves, and tries again."""
    starts: list[Callable[[], None]] = [native.come_up, native.come_up, lambda: native.refuse(UPGRADE)]

    def start() -> None:
        starts.pop(0)()

    native.on_start = start
    guest = make_client(settles_within=LONG)

    refusal = await guest.expect_refusal(connect=True)

    assert (refusal.action, refusal.how) == ("iot:Connect", "upgrade-403")
    assert (starts, native.stops) == ([], 3)


def refuse_the_third(native: FakeNative, operation: str, topic: str) -> None:
    """Grant an operation twice, and not again."""
    original, calls = getattr(native, operation), itertools.count(1)

    def refuse(packet: Any) -> Any:
        native.answers = {topic: NOT_AUTHORIZED} if next(calls) == 3 else {}
        return original(packet)

    setattr(native, operation, refuse)


async def test_a_subscription_is_tried_until_it_is_refused(make_client: MakeClient, native: FakeNative) -> None:
    """Each one that was granted is given back first, so that nothing arrives by it."""
    refuse_the_third(native, "subscribe", "things/#")
    async with make_client(settles_within=LONG) as guest:
        refusal = await guest.expect_refusal(subscribe="things/#")

        assert (refusal.action, refusal.how) == ("iot:Subscribe", "suback")
        assert (len(native.subscribed), len(native.unsubscribed)) == (3, 2)
        assert guest.condition() == "is connected, has not subscribed"


async def test_a_publish_is_tried_until_it_is_refused(make_client: MakeClient, native: FakeNative) -> None:
    """And every try is paid for."""
    refuse_the_third(native, "publish", "things/telemetry")
    budget = Spending(5)
    async with make_client(settles_within=LONG, budget=budget) as guest:
        refusal = await guest.expect_refusal(publish="things/telemetry", payload="p")

    assert (refusal.action, refusal.how) == ("iot:Publish", "puback")
    assert [bytes(each.payload) for each in native.published] == [b"p"] * 3
    assert budget.messages == 2


@pytest.mark.parametrize(
    "arguments", [{"subscribe": "things/#"}, {"publish": "things/telemetry"}], ids=["subscribe", "publish"]
)
async def test_what_is_never_refused_is_told_with_its_time(
    make_client: MakeClient, native: FakeNative, arguments: dict[str, str]
) -> None:
    """The last try is granted like the first."""
    async with make_client(settles_within=0.01) as guest:
        with pytest.raises(ExpectationError, match=r"was to be refused to .* within 0.01 s, and was allowed to"):
            await guest.expect_refusal(**arguments)  # type: ignore[arg-type] # one of three texts

    assert len(native.subscribed) + len(native.published) >= 2


async def test_where_changes_hold_at_once_one_try_is_enough(make_client: MakeClient, native: FakeNative) -> None:
    """What is granted is an answer, and no time is told of."""
    async with make_client() as guest:
        with pytest.raises(ExpectationError, match=r"was to be refused to subscribe to 'x', and was allowed to"):
            await guest.expect_refusal(subscribe="x")

    assert native.subscribed == ["x"]
    assert native.unsubscribed == []


async def test_a_message_beyond_the_budget_is_not_sent(make_client: MakeClient, native: FakeNative) -> None:
    """The one before is; what arrives is counted and never refused."""
    budget = Spending(1)
    async with make_client(budget=budget) as guest:
        await guest.publish("public/x", "one")
        with pytest.raises(BudgetExceeded, match="raise --max-messages"):
            await guest.publish("public/x", "two")
        native.hear("public/x", b"one")
        native.hear("public/x", b"one")
        for _ in range(2):
            await guest.inbox.expect(payload="one")

    assert [bytes(each.payload) for each in native.published] == [b"one"]
    assert (budget.messages, budget.delivered) == (0, 2)
