"""The guest, on a double of the runtime's client that calls back from another thread."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

import pytest
from awscrt import mqtt5
from awscrt.exceptions import AwsCrtError

from harness.clients import actor
from harness.clients.broadcast import BroadcastClient, WssEndpoint, make_client_id
from harness.clients.credentials import TemporaryCredentials
from harness.clients.refusal import Refusal
from harness.errors import (
    ConnectionRefused,
    ExpectationError,
    HarnessError,
    OperationRefused,
    TargetUnavailable,
    TeardownError,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from conftest import FakeNative, FakeTarget

    MakeClient = Callable[..., BroadcastClient]

UPGRADE = "AWS_ERROR_HTTP_WEBSOCKET_UPGRADE_FAILURE"
CONNACK = "AWS_ERROR_MQTT5_CONNACK_CONNECTION_REFUSED"
DISCONNECT = "AWS_ERROR_MQTT5_DISCONNECT_RECEIVED"
HANG_UP = "AWS_ERROR_MQTT_UNEXPECTED_HANGUP"


class CountingSource:
    """A source that makes new credentials whenever the last ones were discarded."""

    def __init__(self) -> None:
        self.made = 0
        self.current: TemporaryCredentials | None = None

    def get(self) -> TemporaryCredentials:
        """Make some unless there are some."""
        if self.current is None:
            self.made += 1
            self.current = TemporaryCredentials(access_key_id=f"ASIA{self.made}", secret_access_key="s")
        return self.current

    def peek(self) -> TemporaryCredentials | None:
        """Give what there is."""
        return self.current

    def discard(self, credentials: TemporaryCredentials) -> None:
        """Forget them."""
        if self.current is credentials:
            self.current = None


def test_a_guest_has_a_public_client_id() -> None:
    """Eight hexadecimal digits, never the same twice."""
    assert re.fullmatch(r"public-[0-9a-f]{8}", make_client_id())
    assert make_client_id() != make_client_id()
    assert make_client_id("other-").startswith("other-")


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [("wss://localhost:8443/mqtt", "localhost", 8443), ("wss://x.iot.test/mqtt", "x.iot.test", 443)],
)
def test_an_endpoint_is_read_from_the_stacks_url(url: str, host: str, port: int) -> None:
    """443 where the URL names none."""
    assert WssEndpoint.parse(url, region="r", ca_file="ca") == WssEndpoint(
        host=host, port=port, region="r", ca_file="ca"
    )


async def test_a_guest_connects_subscribes_and_hears(make_client: MakeClient, native: FakeNative) -> None:
    """The way of every test; the options are those AWS IoT Core wants."""
    async with make_client() as guest:
        await guest.subscribe("public/#", qos=0)
        message = await guest.publish("public/x", "hi")
        native.hear("public/x", b"hi", user_properties=[mqtt5.UserProperty(name="a", value="b")])
        (delivery,) = await message.reaches([guest])

        assert guest.condition() == "is connected, listens to public/#"

    options = native.options
    assert (options.host_name, options.port) == ("broker.test", 8443)
    assert options.connect_options.client_id == "public-1"
    assert options.http_proxy_options is None
    assert (delivery.qos, delivery.retain, delivery.properties) == (1, False, (("a", "b"),))
    assert native.subscribed == ["public/#"]
    assert (native.published[0].payload, int(native.published[0].qos)) == (b"hi", 1)
    assert native.stops == 1
    assert guest.condition().startswith("lost its connection (it was stopped)")


async def test_a_message_without_payload_is_empty(make_client: MakeClient, native: FakeNative) -> None:
    """The runtime says None."""
    async with make_client() as guest:
        native.hear("t", None)

        assert (await guest.inbox.expect(topic="t")).payload == b""


@pytest.mark.parametrize(
    ("error", "code", "how"),
    [(UPGRADE, None, "upgrade-403"), (CONNACK, 0x87, "connack"), (HANG_UP, None, "hang-up")],
)
async def test_a_refused_guest_says_how(
    make_client: MakeClient, native: FakeNative, error: str, code: int | None, how: str
) -> None:
    """And has stopped trying before the test goes on."""
    native.on_start = lambda: native.refuse(error, code)
    guest = make_client()

    with pytest.raises(ConnectionRefused, match="public-1 was refused") as refused:
        await guest.connect()

    assert refused.value.how == how
    assert native.stops == 1


async def test_a_refusal_to_connect_can_be_expected(
    make_client: MakeClient, native: FakeNative, fake_target: FakeTarget
) -> None:
    """With the cause where the target tells; the client has stopped."""
    native.on_start = lambda: native.refuse(CONNACK, 0x87)
    fake_target.add("connect_refused", client_id="public-1", detail={"because": "no statement allows it"})

    refusal = await make_client(trace=fake_target.trace).expect_refusal(connect=True)

    assert refusal == Refusal(
        action="iot:Connect", resource="public-1", how="connack", because="no statement allows it"
    )
    assert native.stops == 1


async def test_an_unreachable_endpoint_is_no_refusal(make_client: MakeClient, native: FakeNative) -> None:
    """Nobody is there who could have refused."""
    native.on_start = lambda: native.refuse("AWS_IO_SOCKET_CONNECTION_REFUSED")

    with pytest.raises(TargetUnavailable, match=r"public-1 cannot reach broker\.test:8443: AWS_IO_SOCKET"):
        await make_client().expect_refusal(connect=True)


async def test_an_endpoint_that_does_not_answer_is_given_up(make_client: MakeClient, native: FakeNative) -> None:
    """After the target's patience."""
    native.on_start = lambda: None

    with pytest.raises(TargetUnavailable, match=r"no answer within 0\.05 s"):
        await make_client(patience=0.05).connect()


@pytest.mark.parametrize(
    ("answer", "how"), [(0x87, "suback"), (0x80, "suback"), (DISCONNECT, "disconnect"), (HANG_UP, "hang-up")]
)
async def test_a_refused_subscription_raises(
    make_client: MakeClient, native: FakeNative, answer: int | str, how: str
) -> None:
    """Whether the broker acknowledges with a failure, disconnects, or hangs up."""
    native.answers["things/telemetry"] = answer
    async with make_client() as guest:
        with pytest.raises(OperationRefused, match=r"iot:Subscribe on 'things/telemetry'") as refused:
            await guest.subscribe("things/telemetry")

        assert refused.value.how == how
        assert "has not subscribed" in guest.condition()


@pytest.mark.parametrize(("answer", "how"), [(0x87, "puback"), (DISCONNECT, "disconnect"), (HANG_UP, "hang-up")])
async def test_a_refused_publish_raises(
    make_client: MakeClient, native: FakeNative, fake_target: FakeTarget, answer: int | str, how: str
) -> None:
    """The runtime's future succeeds on a PUBACK with a failure: the code is what counts."""
    native.answers["things/telemetry"] = answer
    decision = {"action": "iot:Publish", "resource": "…/things/telemetry", "allowed": False, "because": "not yours"}
    fake_target.add("decision", client_id="public-1", detail=decision)
    async with make_client(trace=fake_target.trace) as guest:
        with pytest.raises(OperationRefused) as refused:
            await guest.publish("things/telemetry", "x")

        assert (refused.value.how, refused.value.because) == (how, "not yours")


async def test_a_qos_0_publish_is_refused_by_the_end_of_the_connection(
    make_client: MakeClient, native: FakeNative
) -> None:
    """It has no acknowledgement to carry a reason code."""
    async with make_client() as guest:
        refusing = asyncio.create_task(guest.expect_refusal(publish="things/telemetry", qos=0))
        while not native.published:  # noqa: ASYNC110 - the double has no event to wait for
            await asyncio.sleep(0)
        native.go_down(DISCONNECT, 0x87)

        assert (await refusing).how == "disconnect"


@pytest.mark.parametrize(
    ("attempt", "tried"),
    [
        ({"subscribe": "a"}, "subscribe to 'a'"),
        ({"publish": "a"}, "publish to 'a'"),
        ({"publish": "a", "qos": 0}, "publish to 'a'"),
    ],
)
async def test_what_was_to_be_refused_and_was_granted_fails(
    make_client: MakeClient, fake_target: FakeTarget, attempt: dict[str, Any], tried: str
) -> None:
    """The failure says what was allowed."""
    async with make_client(patience=0.05, trace=fake_target.trace) as guest:
        with pytest.raises(ExpectationError, match=f"public-1 was to be refused to {tried}, and was allowed to"):
            await guest.expect_refusal(**attempt)


async def test_a_connection_that_was_to_be_refused_and_was_granted_fails(make_client: MakeClient) -> None:
    """The client is connected then, and its maker stops it."""
    guest = make_client()

    with pytest.raises(ExpectationError, match="refused to connect"):
        await guest.expect_refusal(connect=True)

    await guest.stop()


@pytest.mark.parametrize("attempt", [{}, {"connect": True, "subscribe": "a"}, {"subscribe": "a", "publish": "b"}])
async def test_one_thing_is_tried_at_a_time(make_client: MakeClient, attempt: dict[str, Any]) -> None:
    """Else nobody could say which was refused."""
    with pytest.raises(ValueError, match="exactly one"):
        await make_client().expect_refusal(**attempt)


async def test_a_packet_the_runtime_does_not_send_is_its_error(make_client: MakeClient, native: FakeNative) -> None:
    """A topic too long for AWS is rejected before it reaches the broker: that is no refusal."""
    native.answers["public/x"] = "local:AWS_ERROR_MQTT5_PUBLISH_OPTIONS_VALIDATION"
    async with make_client() as guest:
        with pytest.raises(AwsCrtError, match="VALIDATION"):
            await guest.publish("public/x", "x")


@pytest.mark.parametrize(
    ("operation", "arguments", "awaited"),
    [
        ("subscribe", ["public/x"], "a SUBACK for 'public/x'"),
        ("unsubscribe", ["public/x"], "an UNSUBACK for 'public/x'"),
        ("publish", ["public/x", "hi"], "a PUBACK for 'public/x'"),
    ],
)
async def test_an_unacknowledged_operation_is_given_up(
    make_client: MakeClient,
    native: FakeNative,
    fake_target: FakeTarget,
    operation: str,
    arguments: list[str],
    awaited: str,
) -> None:
    """After the target's patience; the failure says who waited for what, how the client stands and what was traced."""
    native.answers["public/x"] = "silence"
    fake_target.add("connect", client_id="public-1")
    async with make_client(patience=0.02, trace=fake_target.trace) as guest:
        with pytest.raises(ExpectationError) as failure:
            await getattr(guest, operation)(*arguments)

    wanted = f"public-1 was to get {awaited} within 0.02 s; it is connected, has not subscribed"
    assert failure.value.wanted == wanted
    assert len(failure.value.trace) == 1


async def test_a_publish_waits_for_a_connection_and_says_so(make_client: MakeClient, native: FakeNative) -> None:
    """At QoS 0 nothing is acknowledged: what was missing is the connection."""
    async with make_client(patience=0.02) as guest:
        native.go_down(HANG_UP)
        while guest.condition().startswith("is connected"):  # noqa: ASYNC110 - the double has no event to wait for
            await asyncio.sleep(0)
        with pytest.raises(ExpectationError, match=r"a connection to publish to 'public/x' .* it lost its connection"):
            await guest.publish("public/x", "hi", qos=0)


async def test_a_guest_unsubscribes(make_client: MakeClient, native: FakeNative) -> None:
    """And is told when the broker does not accept it."""
    async with make_client() as guest:
        await guest.subscribe("public/x")
        await guest.unsubscribe("public/x")
        native.answers["public/y"] = 0x87

        with pytest.raises(HarnessError, match=r"could not unsubscribe from 'public/y': 135"):
            await guest.unsubscribe("public/y")

        assert guest.condition() == "is connected, has not subscribed"
    assert native.unsubscribed == ["public/x", "public/y"]


async def test_a_guest_that_lost_its_connection_subscribes_again(make_client: MakeClient, native: FakeNative) -> None:
    """Coming back means hearing again."""
    async with make_client() as guest:
        await guest.subscribe("public/x")
        async with guest.expect_reconnect():
            native.go_down(HANG_UP)
            native.come_up()

        assert guest.connections == 2
        assert guest.condition() == "is connected for the 2. time, listens to public/x"
    assert native.subscribed == ["public/x", "public/x"]


@pytest.mark.parametrize("session_present", [True, False])
async def test_a_guest_without_lost_subscriptions_is_back_at_once(
    make_client: MakeClient, native: FakeNative, *, session_present: bool
) -> None:
    """Because it had none, or because the broker kept them."""
    async with make_client() as guest:
        if session_present:
            await guest.subscribe("public/x")
        async with guest.expect_reconnect():
            native.go_down(HANG_UP)
            native.come_up(session_present=session_present)
    assert native.subscribed == (["public/x"] if session_present else [])


async def test_a_guest_that_does_not_come_back_says_how_it_stands(
    make_client: MakeClient, native: FakeNative, fake_target: FakeTarget
) -> None:
    """With what ended its connection."""
    async with make_client(patience=0.05, trace=fake_target.trace) as guest:
        with pytest.raises(ExpectationError, match=r"lost its connection \(AWS_ERROR_MQTT5_DISCONNECT_RECEIVED 0x8E\)"):
            async with guest.expect_reconnect():
                native.go_down(DISCONNECT, 0x8E)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (0x87, r"connected for the 2\. time, could not subscribe again to public/x \(0x87\)"),
        ("local:AWS_ERROR_MADE_UP", r"could not subscribe again to public/x \(AwsCrtError\)"),
    ],
)
async def test_a_guest_whose_subscription_is_not_restored_is_not_back(
    make_client: MakeClient, native: FakeNative, answer: int | str, told: str
) -> None:
    """Being connected and deaf is not being back; the failure says what was not restored, until it is."""
    async with make_client(patience=0.05) as guest:
        await guest.subscribe("public/x")
        native.answers["public/x"] = answer
        with pytest.raises(ExpectationError, match=told):  # noqa: PT012 - what happens within the block is the subject
            async with guest.expect_reconnect():
                native.go_down(HANG_UP)
                native.come_up()

        native.answers.clear()
        async with guest.expect_reconnect():
            native.go_down(HANG_UP)
            native.come_up()
        assert guest.condition() == "is connected for the 3. time, listens to public/x"


async def test_refused_credentials_are_replaced(make_client: MakeClient, native: FakeNative) -> None:
    """An upgrade refused on the way back makes the next attempt fetch others."""
    source = CountingSource()
    async with make_client(credentials=source) as guest:
        guest._signer.used = source.get()
        async with guest.expect_reconnect():
            native.go_down(HANG_UP)
            native.refuse(UPGRADE)
            native.come_up()

        assert source.current is None
        assert source.get().access_key_id == "ASIA2"


async def test_a_guest_connects_once(make_client: MakeClient) -> None:
    """And does nothing before that, or afterwards."""
    guest = make_client()
    with pytest.raises(HarnessError, match="await its connect"):
        await guest.subscribe("public/x")
    assert guest.condition() == "is not connected"
    assert guest.connections == 0
    await guest.connect()
    with pytest.raises(HarnessError, match="connects once"):
        await guest.connect()
    await guest.stop()
    await guest.stop()
    with pytest.raises(HarnessError, match="was stopped"):
        await guest.publish("public/x", "x")


async def test_a_failed_entry_leaves_nothing_behind(make_client: MakeClient, native: FakeNative) -> None:
    """The context manager stops what it could not enter."""
    native.on_start = lambda: native.refuse(UPGRADE)

    with pytest.raises(ConnectionRefused):
        await make_client().__aenter__()

    assert native.stops == 1


@pytest.mark.parametrize("enter", [BroadcastClient.connect, BroadcastClient.__aenter__], ids=["connect", "async with"])
async def test_a_refusal_is_told_although_the_guest_does_not_stop(
    make_client: MakeClient,
    native: FakeNative,
    monkeypatch: pytest.MonkeyPatch,
    enter: Callable[[BroadcastClient], Awaitable[object]],
) -> None:
    """Why it was not let in matters more than that leaving failed as well."""
    monkeypatch.setattr(actor, "STOP_WITHIN", 0.02)
    native.on_start = lambda: native.refuse(UPGRADE)
    native.does_stop = False

    with pytest.raises(ConnectionRefused, match="upgrade-403"):
        await enter(make_client())


async def test_a_guest_that_does_not_stop_is_an_error(
    make_client: MakeClient, native: FakeNative, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would go on in the next test."""
    monkeypatch.setattr(actor, "STOP_WITHIN", 0.02)
    native.does_stop = False
    guest = make_client()
    await guest.connect()

    with pytest.raises(TeardownError, match="public-1"):
        await guest.stop()


async def test_an_unsigned_guest_needs_no_credentials(make_client: MakeClient) -> None:
    """It asks for none."""
    source = CountingSource()

    async with make_client(credentials=source, signature="missing") as guest:
        assert guest.access_key_id is None
        assert guest.credentials is None
    assert source.made == 0
    assert repr(guest) == f"{type(guest).__name__}('public-1')"
