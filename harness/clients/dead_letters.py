"""The queue of messages that a rule could not deliver, as its error action puts them there.

Tests that run at the same time share the queue: what is not a test's own is given back at once. What no test asked for
is removed at the end of the run, since a queue that fills up keeps later runs from finding theirs.
"""

from __future__ import annotations

import asyncio
from base64 import b64decode
from contextlib import suppress
from dataclasses import dataclass
from json import loads
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from botocore.exceptions import BotoCoreError, ClientError

from harness.clients.message import quoted
from harness.clients.waiting import PATIENCE, SharedLook, polled
from harness.errors import ExpectationError, TargetUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from harness.clients.message import Message
    from harness.clients.stories import Stories

_VISIBILITY_SECONDS: Final = 10
_MOST_AT_ONCE: Final = 10
_MOST_PASSES: Final = 50
"""How many times ten letters are looked at before those that are not ours are given back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One action that failed.

    Args:
        action: for example ``HttpAction``.
        resource: for example the URL.
        message: why.
    """

    action: str
    resource: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A message that a rule could not deliver.

    Args:
        rule_name: the rule.
        topic: where the message was published.
        trace_id: the broker's id of the message, ``cloudwatchTraceId``.
        client_id: who published it; ``n/a`` when not over MQTT.
        payload: as it was published.
        failures: the rule's actions that failed.
    """

    rule_name: str
    topic: str
    trace_id: str
    client_id: str
    payload: bytes
    failures: tuple[Failure, ...] = ()

    @classmethod
    def parse(cls, body: str) -> DeadLetter | None:
        """Read the body of a queue's message; None when it is not a rule's error document."""
        try:
            document = loads(body)
            return cls(
                rule_name=document["ruleName"],
                topic=document["topic"],
                trace_id=document.get("cloudwatchTraceId") or "",
                client_id=document.get("clientId") or "",
                payload=b64decode(document["base64OriginalPayload"], validate=True),
                failures=tuple(
                    Failure(
                        action=each.get("failedAction", ""),
                        resource=each.get("failedResource", ""),
                        message=each.get("errorMessage", ""),
                    )
                    for each in document["failures"]
                ),
            )
        except (ValueError, TypeError, KeyError, AttributeError):
            return None

    def __str__(self) -> str:
        why = "; ".join(each.message for each in self.failures)
        return f"{self.rule_name} {quoted(self.payload)} from {self.client_id} on {self.topic}: {why}"


class DeadLetters:
    """The stack's queue of dead letters.

    Args:
        sqs: boto3's ``sqs`` client.
        queue_url: of the queue.
        stories: what became of messages.
        patience: seconds that expectations wait.
    """

    def __init__(self, *, sqs: Any, queue_url: str, stories: Stories, patience: float = PATIENCE) -> None:
        self._sqs = sqs
        self._queue_url = queue_url
        self._stories = stories
        self._patience = patience
        self._wanted: WeakKeyDictionary[Message, str | None] = WeakKeyDictionary()
        self._taken: WeakKeyDictionary[Message, dict[str, DeadLetter]] = WeakKeyDictionary()
        self._looking = SharedLook()
        self._is_crowded = False

    async def expect(self, message: Message) -> DeadLetter:
        """Wait until a message has become exactly one dead letter, and take that out of the queue.

        Raises:
            ExpectationError: it has not in time, or will not; or there are several.
        """
        __tracebackhide__ = True
        wanted = f"{quoted(message.payload)} was to become one dead letter"
        if self._stories.can_tell and not (await self._stories.until_over(message)).became_dead_letter:
            raise await self._failure(f"{wanted}, and has become none", message)

        async def look() -> list[DeadLetter] | None:
            return await self.of(message) or None

        try:
            await polled(look, within=self._patience)
        except TimeoutError:
            raise await self._failure(f"{wanted} within {self._patience:g} s, and there is none", message) from None
        letters = await self.of(message)  # once more: what came right behind the first counts
        if len(letters) > 1:
            raise await self._failure(f"{wanted}, and has become {len(letters)}", message, letters)
        return letters[0]

    async def expect_none(self, message: Message) -> None:
        """Wait until nothing more will become of a message, and make sure that it has become no dead letter.

        Raises:
            ExpectationError: it has, or it is still on its way.
            TargetUnavailable: the target has no trace.
        """
        __tracebackhide__ = True
        story = await self._stories.until_over(message)
        letters = await self.of(message)
        if letters or story.became_dead_letter:
            wanted = f"{quoted(message.payload)} was to become no dead letter, and has become {len(letters) or 'one'}"
            raise await self._failure(wanted, message, letters)

    async def of(self, message: Message) -> list[DeadLetter]:
        """Return the dead letters of a message, taking those out of the queue that are there now.

        Raises:
            TargetUnavailable: there is no such queue, or it may not be read.
        """
        story = await self._stories.of(message) if self._stories.can_tell else None
        message_id = story.message_id if story else None
        self._wanted[message] = message_id
        await self._looking.take(self._look)
        return list(self._taken.get(message, {}).values())

    async def _look(self) -> None:
        """Go through the queue for all messages that were asked about so far, whoever asked."""
        wanted = dict(self._wanted)

        def whose(letter: DeadLetter) -> Message | None:
            return next((each for each, message_id in wanted.items() if _is_about(each, message_id, letter)), None)

        try:
            taken, self._is_crowded = await asyncio.to_thread(
                _take, self._sqs, self._queue_url, lambda letter: whose(letter) is not None
            )
        except ClientError as error:
            raise TargetUnavailable(f"The dead-letter queue cannot be read: {error}") from error
        for its_id, letter in taken.items():  # by the queue's own ids: it may hand out one twice
            if (message := whose(letter)) is not None:
                self._taken.setdefault(message, {})[its_id] = letter

    async def _failure(self, wanted: str, message: Message, letters: Sequence[DeadLetter] = ()) -> ExpectationError:
        told = await self._stories.told(message) if self._stories.can_tell else []
        if self._is_crowded and not letters:
            looked_at = _MOST_PASSES * _MOST_AT_ONCE
            told.insert(
                0, f"the queue holds {looked_at} letters of others or more, and not all were looked at: purge it"
            )
        return ExpectationError(
            wanted,
            near_misses=[*(f"dead letter: {each}" for each in letters), *told],
            trace=await self._stories.tail(message.sender),
        )


def remove_letters(sqs: Any, queue_url: str, *, mark: str) -> None:
    """Take the letters of a run out of the queue; never raises, since nothing depends on it.

    Args:
        sqs: boto3's ``sqs`` client.
        queue_url: of the queue.
        mark: what the names of the run hold: the client id, the topic or the payload of its letters does.
    """
    with suppress(BotoCoreError, ClientError):
        _take(sqs, queue_url, lambda letter: mark in f"{letter.client_id} {letter.topic} {letter.payload!r}")


def _take(sqs: Any, queue_url: str, is_own: Callable[[DeadLetter], bool]) -> tuple[dict[str, DeadLetter], bool]:
    """Go through a queue once: delete one's own letters, give back all others.

    Returns:
        Letters by the queue's own ids, and whether there are more than were looked at.
    """
    own: dict[str, DeadLetter] = {}
    foreign: list[str] = []
    is_crowded = True
    for _ in range(_MOST_PASSES):
        answer = sqs.receive_message(
            QueueUrl=queue_url, MaxNumberOfMessages=_MOST_AT_ONCE, VisibilityTimeout=_VISIBILITY_SECONDS
        )
        if not (received := answer.get("Messages")):
            is_crowded = False
            break
        for each in received:
            letter = DeadLetter.parse(each["Body"])
            if letter is not None and is_own(letter):
                own[each["MessageId"]] = letter
                sqs.delete_message(QueueUrl=queue_url, ReceiptHandle=each["ReceiptHandle"])
            else:
                foreign.append(each["ReceiptHandle"])
    for entries in _to_give_back(foreign):
        sqs.change_message_visibility_batch(QueueUrl=queue_url, Entries=entries)
    return own, is_crowded


def _to_give_back(handles: Sequence[str]) -> Iterator[list[dict[str, Any]]]:
    for start in range(0, len(handles), _MOST_AT_ONCE):
        yield [
            {"Id": str(number), "ReceiptHandle": handle, "VisibilityTimeout": 0}
            for number, handle in enumerate(handles[start : start + _MOST_AT_ONCE])
        ]


def _is_about(message: Message, message_id: str | None, letter: DeadLetter) -> bool:
    if (letter.topic, letter.payload) != (message.topic, message.payload):
        return False
    if message_id and letter.trace_id:
        return letter.trace_id == message_id
    return letter.client_id in {message.sender, "n/a", ""}
