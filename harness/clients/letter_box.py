"""A dead-letter queue that is gone through once: letters are held back until the end, and those that stay given back.

What is held back is met by nobody else meanwhile, and not twice by the same run. After a run that was killed, SQS gives
it back by itself.
"""

from __future__ import annotations

import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from harness.errors import TargetUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

VISIBILITY_SECONDS: Final = 180
"""How long a letter is held back; longer than the work on it takes."""

MOST_HELD: Final = 20_000
"""Letters that are held at once; SQS refuses to hold back more than 120,000."""

_HIDDEN: Final = "ApproximateNumberOfMessagesNotVisible"
_BATCH: Final = 10
_TRIES: Final = 2
"""To give letters back, beyond the tries of boto3 itself: one that stays held back is met by nobody for minutes."""

_NOT_HELD: Final = ("MessageNotInflight", "ReceiptHandleIsInvalid")
"""Answers about letters that are visible again, or gone."""

_WAIT_SECONDS: Final = 1
"""Has SQS ask all its servers: without a wait, a queue may seem empty that is not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A letter as the queue hands it out.

    Args:
        its_id: the queue's.
        sent_at: when it was put there, in milliseconds since the epoch; always the same.
        age: how many seconds that was ago, by the queue's clock.
        body: what it says.
    """

    its_id: str
    sent_at: int
    age: float
    body: str = field(repr=False)


class LetterBox:
    """A queue while it is gone through.

    Args:
        sqs: boto3's ``sqs`` client.
        queue_url: of the queue.

    Attributes:
        is_empty: whether the end was reached.
    """

    def __init__(self, sqs: Any, queue_url: str) -> None:
        self._sqs = sqs
        self._queue_url = queue_url
        self._held: dict[str, str] = {}
        self._again = 0
        self.is_empty = False

    @property
    def is_over(self) -> bool:
        """Whether going on makes no sense.

        The end was reached, or no more may be held; or all that is held came again, and nothing new with it: then there
        is more of it than can be gone through while it is held back, and the end will never be reached.
        """
        return self.is_empty or len(self._held) >= MOST_HELD or 0 < len(self._held) < self._again

    def count_hidden(self) -> int:
        """Return how many letters somebody else holds back, about; only before any is received.

        Raises:
            TargetUnavailable: the queue cannot be read.
        """
        try:
            answer = self._sqs.get_queue_attributes(QueueUrl=self._queue_url, AttributeNames=[_HIDDEN])
        except (ClientError, BotoCoreError) as error:
            raise _not_read(error) from error
        return int(answer["Attributes"][_HIDDEN])

    def receive(self, most: int) -> list[Received]:
        """Take the next letters out, each only once.

        Args:
            most: how many, in tens.

        Raises:
            TargetUnavailable: the queue cannot be read.
        """
        new: list[Received] = []
        while len(new) < most and not self.is_over:
            try:
                answer = self._sqs.receive_message(
                    QueueUrl=self._queue_url,
                    MaxNumberOfMessages=_BATCH,
                    VisibilityTimeout=VISIBILITY_SECONDS,
                    WaitTimeSeconds=_WAIT_SECONDS,
                    MessageSystemAttributeNames=["SentTimestamp"],
                )
            except (ClientError, BotoCoreError) as error:
                raise _not_read(error) from error
            if not (messages := answer.get("Messages")):
                self.is_empty = True
                break
            now = _now_by(answer)
            unknown = {each["MessageId"]: each for each in messages if each["MessageId"] not in self._held}
            new += [_received(each, now) for each in unknown.values()]
            # One that comes again, its time being over, has another handle now.
            self._held |= {each["MessageId"]: each["ReceiptHandle"] for each in messages}
            self._again = 0 if unknown else self._again + len(messages)
        return new

    def delete(self, letters: Sequence[Received]) -> dict[str, str]:
        """Delete letters; return those that are still there: the queue's id, and why."""
        left: dict[str, str] = {}
        remaining = iter(letters)
        while some := list(islice(remaining, _BATCH)):
            entries = [
                {"Id": str(number), "ReceiptHandle": self._held[each.its_id]} for number, each in enumerate(some)
            ]
            try:
                answer = self._sqs.delete_message_batch(QueueUrl=self._queue_url, Entries=entries)
                failed = {each["Id"]: str(each["Code"]) for each in answer.get("Failed", [])}
            except (ClientError, BotoCoreError) as error:
                failed = {each["Id"]: error_name(error) for each in entries}
            for number, each in enumerate(some):
                if str(number) in failed:
                    left[each.its_id] = failed[str(number)]
                else:
                    del self._held[each.its_id]
        return left

    def give_back(self) -> Counter[str]:
        """Let others see at once what was not deleted; never raises, since SQS does so itself a little later.

        Returns:
            Why letters stay held back until then, to the number of them.
        """
        handles, kept = list(self._held.values()), Counter[str]()
        for _ in range(_TRIES):
            answered = list(self._give_back(handles))
            handles = [handle for handle, _ in answered]
            kept = Counter(why for _, why in answered)
        return kept

    def _give_back(self, handles: Iterable[str]) -> Iterator[tuple[str, str]]:
        """Try to give letters back; yield the handles of those that stay, and why."""
        remaining = iter(handles)
        while some := list(islice(remaining, _BATCH)):
            entries = [
                {"Id": str(number), "ReceiptHandle": handle, "VisibilityTimeout": 0}
                for number, handle in enumerate(some)
            ]
            try:
                answer = self._sqs.change_message_visibility_batch(QueueUrl=self._queue_url, Entries=entries)
                failed = {each["Id"]: str(each["Code"]) for each in answer.get("Failed", [])}
            except (ClientError, BotoCoreError) as error:
                failed = {each["Id"]: error_name(error) for each in entries}
            for number, handle in enumerate(some):
                why = failed.get(str(number))
                if why is not None and why not in _NOT_HELD:
                    yield handle, why


def error_name(error: ClientError | BotoCoreError) -> str:
    """Return what AWS calls an error, or what kept AWS from answering: to be counted, so it names nothing else."""
    if isinstance(error, ClientError):
        return str(error.response.get("Error", {}).get("Code", "Unknown"))
    return type(error).__name__


def _not_read(error: ClientError | BotoCoreError) -> TargetUnavailable:
    return TargetUnavailable(f"The dead-letter queue cannot be read: {error_name(error)}")


def _received(message: dict[str, Any], now: float) -> Received:
    sent_at = int(message["Attributes"]["SentTimestamp"])
    return Received(
        its_id=message["MessageId"],
        sent_at=sent_at,
        age=now - sent_at / 1000,
        body=message["Body"],
    )


def _now_by(answer: dict[str, Any]) -> float:
    """Return the time by the clock of who answered, which also stamps the letters; by ours if the answer has none."""
    with suppress(KeyError, ValueError, TypeError):
        return parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"]).timestamp()
    return time.time()
