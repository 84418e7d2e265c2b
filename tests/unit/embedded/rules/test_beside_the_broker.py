"""Rules in a broker process of its own: what they do not delay, what they ask for, and how they end."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from harness.iot.registry import RegistryChange, RuleDestination, TopicRule
from harness.mqtt.packets import Connect, PubAck, Publish, Subscribe, Subscription

if TYPE_CHECKING:
    from collections.abc import Callable

QUEUE = {"queueUrl": "http://127.0.0.1:4566/123456789012/letters", "roleArn": "arn:aws:iam::123456789012:role/letters"}
COUNT = 40


class Stand:
    """A broker with a rule that posts to a receiver, and one device."""

    def __init__(self, broker: Any, device: Any) -> None:
        self.broker = broker
        self.device = device

    def publish(self, count: int, *, first: int = 1) -> None:
        """Publish so many messages of QoS 1."""
        for number in range(first, first + count):
            payload = json.dumps({"number": number}).encode()
            self.device.send_packet(Publish(topic_name="telemetry", payload=payload, qos=1, packet_id=number))

    def receive(self, count: int) -> tuple[int, int]:
        """Receive so many packets; return how many acknowledgements and how many messages they are."""
        packets = [self.device.receive_packet() for _ in range(count)]
        acknowledged = sum(isinstance(packet, PubAck) for packet in packets)
        return acknowledged, sum(isinstance(packet, Publish) for packet in packets)

    def kinds(self, *kinds: str) -> list[dict[str, Any]]:
        """Return the trace's records of some kinds about the topic."""
        return [each for each in self.broker.trace() if each["kind"] in kinds and each["topic"] == "telemetry"]

    async def ended(self, count: int) -> list[dict[str, Any]]:
        """Wait until so many actions have ended."""

        def wait() -> list[dict[str, Any]]:
            since = 0
            while len(found := self.kinds("action")) < count:
                since = self.broker.trace(since, wait=1.0)[-1]["seq"] if since else 1
            return found

        return await asyncio.to_thread(wait)


def rule(url: str, **changes: Any) -> TopicRule:
    """Make a rule with an error action."""
    members: dict[str, Any] = {
        "name": "telemetry",
        "arn": "arn:aws:iot:eu-west-1:123456789012:rule/telemetry",
        "sql": "SELECT * FROM 'telemetry'",
        "sql_version": "2016-03-23",
        "actions": (json.dumps({"http": {"url": f"{url}/ingest"}}),),
        "error_action": json.dumps({"sqs": QUEUE}),
        **changes,
    }
    return TopicRule(**members)


@pytest.fixture
def stand(
    start_broker: Callable[..., Any], certificates: Any, identity: Any, raw_peer: Callable[..., Any]
) -> Callable[[str], Stand]:
    """Start a broker with a rule for a receiver's URL; connect and subscribe a device."""

    def start(url: str) -> Stand:
        broker = start_broker(http_ca_files=[str(identity.ca)])
        device = certificates.client("device")
        broker.admit(device)
        destination = RuleDestination(arn="arn:destination", confirmation_url=url, status="ENABLED")
        broker.change(RegistryChange(put={"rules": (rule(url),), "destinations": (destination,)}))
        peer = raw_peer(broker, device)
        peer.send_packet(Connect(client_id="device-1"))
        peer.receive_packet()
        peer.send_packet(Subscribe(packet_id=1, subscriptions=(Subscription(topic_filter="telemetry", qos=0),)))
        peer.receive_packet()
        return Stand(broker, peer)

    return start


async def test_a_receiver_that_never_answers_delays_no_delivery_and_no_acknowledgement(
    stand: Any, receiver: Any, raw_reply: Any
) -> None:
    """All is acknowledged and delivered before any action has ended; each message still ends in exactly one."""
    receiver.answers(*[raw_reply(then="hang")] * COUNT)
    running = await asyncio.to_thread(stand, receiver.url)

    await asyncio.to_thread(running.publish, COUNT)
    packets = await asyncio.to_thread(running.receive, 2 * COUNT)

    assert packets == (COUNT, COUNT)
    await receiver.until(lambda: len(receiver.requests) == COUNT)
    assert await asyncio.to_thread(running.kinds, "action") == []

    await receiver.drop()
    actions = await running.ended(COUNT)
    records = running.kinds("publish", "delivery", "rule")
    assert len({each["message_id"] for each in actions}) == len(actions) == COUNT
    assert {each["detail"]["outcome"] for each in actions} == {"ok"}
    for published in (each for each in records if each["kind"] == "publish"):
        mine = [each["kind"] for each in records if each["message_id"] == published["message_id"]]
        assert mine == ["publish", "delivery", "rule"]


async def test_a_receiver_that_is_not_there_costs_one_letter_per_message(stand: Any, nowhere: str) -> None:
    """And neither a delivery nor an acknowledgement."""
    running = await asyncio.to_thread(stand, nowhere)

    await asyncio.to_thread(running.publish, COUNT)
    assert await asyncio.to_thread(running.receive, 2 * COUNT) == (COUNT, COUNT)

    actions = await running.ended(COUNT)
    running.broker.awaited(lambda each: each["kind"] == "error_action" and len(running.broker.asked) == COUNT)
    letters = [json.loads(each["params"]["MessageBody"]) for each in running.broker.asked]
    assert sorted(each["cloudwatchTraceId"] for each in letters) == sorted(each["message_id"] for each in actions)
    assert {each["detail"]["outcome"] for each in actions} == {"failed"}
    assert {each["service"] for each in running.broker.asked} == {"sqs"}


async def test_a_broker_ends_although_actions_are_under_way(stand: Any, receiver: Any, raw_reply: Any) -> None:
    """They are given up."""
    receiver.answers(raw_reply(then="hang"))
    running = await asyncio.to_thread(stand, receiver.url)
    await asyncio.to_thread(running.publish, 1)
    await receiver.until(lambda: len(receiver.requests) == 1)

    assert await asyncio.to_thread(running.broker.stop) == 0

    assert running.broker.errors_file.read_text() == ""


async def test_a_rule_is_in_force_when_its_change_is_answered(stand: Any, receiver: Any) -> None:
    """Also the first one, for which a good deal is loaded; what was asked for behind it came after it."""
    running = await asyncio.to_thread(stand, receiver.url)

    await asyncio.to_thread(running.publish, 1)
    await receiver.until(lambda: len(receiver.requests) == 1)

    assert receiver.requests[0].body == b'{"number":1}'
    (action,) = await running.ended(1)
    assert (action["client_id"], action["actor"]) == ("device-1", "rules")


def test_requests_behind_the_first_rule_keep_their_order(start_broker: Callable[..., Any]) -> None:
    """Although the broker goes on while it loads."""
    broker = start_broker()
    numbers = [
        broker.send("ping"),
        broker.send("registry", change=RegistryChange(put={"rules": (rule("https://h"),)}).to_json()),
    ]
    numbers += [
        broker.send("registry", change=RegistryChange(drop={"rules": ("telemetry",)}).to_json()),
        broker.send("status"),
    ]

    _, first, second, status = (broker.answer(number) for number in numbers)

    assert (first["version"], second["version"], status["registry_version"]) == (1, 2, 2)


def test_a_rule_that_cannot_run_is_refused_by_the_broker(start_broker: Callable[..., Any]) -> None:
    """The control plane would not send one; nothing changes."""
    broker = start_broker()
    change = RegistryChange(put={"rules": (rule("https://h", sql="SELECT"),)})

    answer = broker.answer(broker.send("registry", change=change.to_json()))

    assert answer["error"]["code"] == "InvalidRule"
    assert broker.ask("status")["registry_version"] == 0


def test_a_broker_does_not_start_without_its_authorities(start_broker: Callable[..., Any]) -> None:
    """Better than failing at the first message."""
    broker = start_broker(http_ca_files=["nowhere.pem"])

    assert broker.process.wait(10) == 1
    assert "No such file" in broker.errors_file.read_text()
