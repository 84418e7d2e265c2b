"""Dead letters: a message's own are taken out, all others given back."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.stub import ANY, Stubber

from harness.clients.dead_letters import DeadLetter, DeadLetters, Failure
from harness.clients.stories import Stories
from harness.errors import ExpectationError, TargetUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Scene
    from harness.clients.message import Message
    from harness.clients.rules import Rules

QUEUE = "https://sqs.test/dead"


def letter_about(message: Message, message_id: str = "message-1", **fields: Any) -> str:
    """Write what a rule's error action sends."""
    document = {
        "ruleName": "telemetry",
        "topic": message.topic,
        "cloudwatchTraceId": message_id,
        "clientId": message.sender,
        "base64OriginalPayload": b64encode(message.payload).decode(),
        "failures": [{"failedAction": "HttpAction", "failedResource": "https://u", "errorMessage": "StatusCode: 503."}],
    }
    return json.dumps({**document, **fields})


class FakeQueue:
    """Plays boto3's ``sqs`` client with one queue: what was received is hidden until it is given back.

    Attributes:
        bodies: by the queue's id.
        on_receive: called before each receive, with how many there were.
    """

    def __init__(self) -> None:
        self.bodies: dict[str, str] = {}
        self.hidden: set[str] = set()
        self.receives: list[dict[str, Any]] = []
        self.on_receive: Callable[[int], None] = lambda _: None

    def receive_message(self, **parameters: Any) -> dict[str, Any]:
        """Hand out what is not hidden, at most as many as asked for."""
        self.on_receive(len(self.receives))
        self.receives.append(parameters)
        ids = [each for each in self.bodies if each not in self.hidden][: parameters["MaxNumberOfMessages"]]
        self.hidden |= set(ids)
        received = [{"MessageId": each, "ReceiptHandle": f"handle-{each}", "Body": self.bodies[each]} for each in ids]
        return {"Messages": received} if received else {}

    def delete_message(self, **parameters: Any) -> None:
        """Forget one."""
        del self.bodies[parameters["ReceiptHandle"].removeprefix("handle-")]

    def change_message_visibility_batch(self, **parameters: Any) -> None:
        """Show some again."""
        assert 0 < len(parameters["Entries"]) <= 10
        for each in parameters["Entries"]:
            assert each["VisibilityTimeout"] == 0
            self.hidden.remove(each["ReceiptHandle"].removeprefix("handle-"))


@pytest.fixture
def queue() -> FakeQueue:
    """The stack's queue."""
    return FakeQueue()


@pytest.fixture
def dead_letters(queue: FakeQueue, scene: Scene) -> DeadLetters:
    """The dead letters in it."""
    return DeadLetters(sqs=queue, queue_url=QUEUE, stories=scene.stories, patience=0.1)


def given_up(scene: Scene, message: Message) -> str:
    """Let a message become a dead letter; return its id."""
    message_id = scene.publish(message)
    scene.rule(message_id)
    scene.http_try(message_id, 1, 503)
    scene.action(message_id, "failed", 1, "StatusCode: 503.")
    scene.error_action(message_id)
    return message_id


async def test_a_dead_letter_is_read_and_taken_out(dead_letters: DeadLetters, queue: FakeQueue, scene: Scene) -> None:
    """It holds what was published, and why it could not be delivered."""
    message = scene.message()
    message_id = given_up(scene, message)
    queue.bodies["1"] = letter_about(message, message_id)

    letter = await dead_letters.expect(message)

    assert letter == DeadLetter(
        rule_name="telemetry",
        topic="things/telemetry",
        trace_id=message_id,
        client_id="sensor-1",
        payload=message.payload,
        failures=(Failure(action="HttpAction", resource="https://u", message="StatusCode: 503."),),
    )
    assert queue.bodies == {}
    assert await dead_letters.expect(message) == letter  # it is this message's for good


async def test_a_dead_letter_is_waited_for(dead_letters: DeadLetters, queue: FakeQueue, scene: Scene) -> None:
    """The queue may hand it out later."""
    message = scene.message()
    body = letter_about(message, given_up(scene, message))
    queue.on_receive = lambda receives: queue.bodies.update({"1": body} if receives == 2 else {})

    assert (await dead_letters.expect(message)).client_id == "sensor-1"


async def test_letters_of_others_are_given_back(dead_letters: DeadLetters, queue: FakeQueue, scene: Scene) -> None:
    """However many lie before one's own, and whatever they are."""
    message, other = scene.message(), scene.message()
    message_id = given_up(scene, message)
    queue.bodies = {str(number): letter_about(other, f"other-{number}") for number in range(23)}
    queue.bodies |= {
        "not ours": "no JSON",
        "a number": "7",
        "a list": "[]",
        "elsewhere": letter_about(message, message_id, topic="elsewhere"),
    }
    foreign = dict(queue.bodies)
    queue.bodies["mine"] = letter_about(message, message_id)

    await dead_letters.expect(message)

    assert queue.bodies == foreign
    assert queue.hidden == {"mine"}


async def test_many_who_wait_share_the_looks(dead_letters: DeadLetters, queue: FakeQueue, scene: Scene) -> None:
    """Each gets its own letter, and the queue is not read once for each."""
    messages = [scene.message(f"number {number}") for number in range(40)]
    for each in messages:
        message_id = given_up(scene, each)
        queue.bodies[message_id] = letter_about(each, message_id)

    letters = await asyncio.gather(*(dead_letters.expect(each) for each in messages))

    assert [each.payload for each in letters] == [each.payload for each in messages]
    assert queue.bodies == {}
    assert len(queue.receives) < 40


async def test_a_queue_full_of_other_letters_is_named(
    dead_letters: DeadLetters, queue: FakeQueue, scene: Scene
) -> None:
    """Where not all can be looked at, that is why one's own is missing."""
    message = scene.message()
    message_id = given_up(scene, message)
    queue.bodies = {str(number): "old" for number in range(500)}
    queue.bodies["mine"] = letter_about(message, message_id)

    with pytest.raises(ExpectationError) as failure:
        await dead_letters.expect(message)

    assert failure.value.near_misses[0] == (
        "the queue holds 500 letters of others or more, and not all were looked at: purge it"
    )


async def test_one_letter_means_one(dead_letters: DeadLetters, queue: FakeQueue, scene: Scene) -> None:
    """Two are two, however late the second comes."""
    message = scene.message()
    body = letter_about(message, given_up(scene, message))
    queue.bodies = {"1": body}
    queue.on_receive = lambda receives: queue.bodies.update({"2": body} if receives == 2 else {})

    with pytest.raises(ExpectationError) as failure:
        await dead_letters.expect(message)

    assert failure.value.wanted == (
        '\'{"deviceId":"sensor-1","temp":21.5}\' was to become one dead letter, and has become 2'
    )
    assert failure.value.near_misses[0] == (
        'dead letter: telemetry \'{"deviceId":"sensor-1","temp":21.5}\' from sensor-1 on things/telemetry: '
        "StatusCode: 503."
    )


async def test_a_letter_that_is_handed_out_twice_is_one(
    dead_letters: DeadLetters, queue: FakeQueue, scene: Scene
) -> None:
    """Queues may do that."""
    message = scene.message()
    body = letter_about(message, given_up(scene, message))

    def hand_out(receives: int) -> None:
        if receives in {0, 2}:
            queue.bodies["1"] = body
            queue.hidden.clear()

    queue.on_receive = hand_out

    await dead_letters.expect(message)


async def test_a_message_that_was_delivered_becomes_no_letter(
    dead_letters: DeadLetters, queue: FakeQueue, scene: Scene
) -> None:
    """To be told of at once: nothing more will come."""
    message = scene.message()
    scene.stored(message)

    await dead_letters.expect_none(message)
    with pytest.raises(ExpectationError) as failure:
        await dead_letters.expect(message)

    assert failure.value.wanted.endswith("was to become one dead letter, and has become none")
    assert failure.value.near_misses[-1] == "  rule telemetry delivered it after 1 try"


async def test_a_letter_that_was_not_to_be_is_told_of(
    dead_letters: DeadLetters, queue: FakeQueue, scene: Scene
) -> None:
    """Also when another reader has it."""
    message, taken = scene.message("1"), scene.message("2")
    queue.bodies["1"] = letter_about(message, given_up(scene, message))
    given_up(scene, taken)

    with pytest.raises(ExpectationError, match="was to become no dead letter, and has become 1"):
        await dead_letters.expect_none(message)
    with pytest.raises(ExpectationError, match="was to become no dead letter, and has become one"):
        await dead_letters.expect_none(taken)


async def test_a_letter_that_was_sent_and_is_not_there_is_missed(dead_letters: DeadLetters, scene: Scene) -> None:
    """The trace says that it was sent."""
    message = scene.message()
    given_up(scene, message)

    with pytest.raises(ExpectationError, match=r"was to become one dead letter within 0\.1 s, and there is none"):
        await dead_letters.expect(message)


async def test_without_a_trace_a_letter_is_known_by_what_it_holds(queue: FakeQueue, scene: Scene, rules: Rules) -> None:
    """Who published what where; and that there is none cannot be claimed."""
    dead_letters = DeadLetters(
        sqs=queue, queue_url=QUEUE, stories=Stories(trace=None, rules=rules, patience=0.1), patience=0.1
    )
    message = scene.message()
    queue.bodies = {"1": letter_about(message), "2": letter_about(scene.message(sender="sensor-2"))}

    await dead_letters.expect(message)

    assert list(queue.bodies) == ["2"]
    with pytest.raises(TargetUnavailable, match="TRACE"):
        await dead_letters.expect_none(message)
    with pytest.raises(ExpectationError, match="and there is none"):
        await dead_letters.expect(scene.message("other"))


async def test_the_calls_are_those_that_sqs_takes(scene: Scene) -> None:
    """As boto3 checks them; a queue that is not there is named."""
    message = scene.message()
    message_id = given_up(scene, message)
    sqs = boto3.client("sqs", region_name="eu-central-1", aws_access_key_id="a", aws_secret_access_key="b")
    dead_letters = DeadLetters(sqs=sqs, queue_url=QUEUE, stories=scene.stories, patience=0.1)
    received = [
        {"MessageId": "1", "ReceiptHandle": "h1", "Body": letter_about(message, message_id)},
        {"MessageId": "2", "ReceiptHandle": "h2", "Body": letter_about(message, "another")},
    ]
    asked = {"QueueUrl": QUEUE, "MaxNumberOfMessages": 10, "VisibilityTimeout": ANY}
    entries = [{"Id": "0", "ReceiptHandle": "h2", "VisibilityTimeout": 0}]
    with Stubber(sqs) as stub:
        stub.add_response("receive_message", {"Messages": received}, asked)
        stub.add_response("delete_message", {}, {"QueueUrl": QUEUE, "ReceiptHandle": "h1"})
        stub.add_response("receive_message", {}, asked)
        stub.add_response(
            "change_message_visibility_batch", {"Successful": [], "Failed": []}, {"QueueUrl": QUEUE, "Entries": entries}
        )

        assert len(await dead_letters.of(message)) == 1

        stub.assert_no_pending_responses()
        stub.add_client_error("receive_message", "QueueDoesNotExist", "no such queue")
        with pytest.raises(TargetUnavailable, match=r"The dead-letter queue cannot be read: .*QueueDoesNotExist"):
            await dead_letters.of(message)
    sqs.close()
