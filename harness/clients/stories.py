"""Finds in the trace what became of the messages that a test published.

The trace knows messages by the broker's ids, which publishers never learn: a message is found by who sent it, where to,
what and when, and of two messages with the same words each gets a story of its own.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

from harness.clients.message import quoted
from harness.clients.story import TOLD_BY_RULES, Story
from harness.clients.trace import detail, is_denial
from harness.clients.waiting import PATIENCE, SharedLook, polled
from harness.errors import ExpectationError, TargetUnavailable

if TYPE_CHECKING:
    from collections.abc import Collection

    from harness.clients.message import Message
    from harness.clients.rules import Rules
    from harness.clients.trace import Record, Trace

_KEPT: Final = 20_000
_SHOWN_STORIES: Final = 4
_SHOWN_DENIALS: Final = 4
_TRACED_PAYLOAD_BYTES: Final = 256
"""As many bytes of a payload as the trace shows."""

_RESERVED: Final = "$aws/"
_CLOCK_SLACK: Final = 0.01
"""Seconds by which a time computed from the monotonic clock may be off."""

_CALLS_OUTLIVE_TRIES: Final = timedelta(seconds=1)
"""How much later than the last try a call is written down that this try was about."""


@dataclass(frozen=True, slots=True)
class _Call:
    at: datetime
    record: Record


class Stories:
    """Tells what became of messages.

    Args:
        trace: the target's; None where it has none, and nothing can be told.
        rules: those of the stack and of the test.
        patience: seconds to wait for a story's end.
    """

    def __init__(self, *, trace: Trace | None, rules: Rules, patience: float = PATIENCE) -> None:
        self._trace = trace
        self._rules = rules
        self._patience = patience
        self._seen = 0
        self._reading = SharedLook()
        self._published: deque[Record] = deque(maxlen=_KEPT)
        self._told: OrderedDict[str, list[Record]] = OrderedDict()
        self._denials: deque[Record] = deque(maxlen=_KEPT)
        self._calls: deque[_Call] = deque(maxlen=_KEPT)
        self._claimed: WeakKeyDictionary[Message, Record] = WeakKeyDictionary()

    @property
    def can_tell(self) -> bool:
        """Whether the target has a trace."""
        return self._trace is not None

    async def of(self, message: Message) -> Story | None:
        """Return the story of a message as it stands now; None when the broker has not published it.

        Raises:
            TargetUnavailable: the target has no trace, or does not answer.
        """
        await self._catch_up()
        publish = self._claim(message)
        return None if publish is None else self._story(publish)

    async def until_over(self, message: Message) -> Story:
        """Wait until nothing more will become of a message.

        Raises:
            ExpectationError: no rule listened to its topic when it was sent, so that its story has no end to wait for;
                or the end did not come in time.
            TargetUnavailable: the target has no trace, or does not answer.
        """
        __tracebackhide__ = True
        self._need_trace()
        rules = await self._rules.listening_to(message.topic, at=message.sent_at)
        if not rules:
            too_late = await self._rules.listening_to(message.topic)
            raise ExpectationError(
                f"{_named(message)} was to be taken up by a rule, and none listens to its topic"
                + (", or none did when it was sent" if too_late else ""),
                near_misses=await self._rules.described(message.topic),
            )

        async def look() -> Story | None:
            story = await self.of(message)
            return story if story is not None and story.is_over(rules) else None

        try:
            return await polled(look, within=self._patience)
        except TimeoutError:
            raise ExpectationError(
                f"what became of {_named(message)} was to be known within {self._patience:g} s",
                near_misses=await self.told(message),
                trace=await self.tail(message.sender),
            ) from None

    async def told(self, message: Message) -> list[str]:
        """Tell what is known of a message by now, for a failure message; never raises."""
        try:
            story = await self.of(message)
        except TargetUnavailable as error:
            return [f"(what became of it is not known: {error})"]
        if story is None:
            denied = self._denied(message.sender, topic=message.topic)
            return [f"the broker has not published {_named(message)}", *denied]
        return [*story.told(), *await self._why_unheard(story)]

    async def told_about(self, device_id: str, *, stored: Collection[str] = ()) -> list[str]:
        """Tell what became of all that a device published, or that others published about it; never raises.

        Messages that went the same way are told of once.

        Args:
            device_id: its client id, and what readings call it.
            stored: ids of messages that have a row: their stories are only counted.
        """
        try:
            await self._catch_up()
        except TargetUnavailable as error:
            return [f"(what became of its readings is not known: {error})"]
        mine = [self._story(each) for each in self._published if _concerns(each, device_id)]
        kept = sum(story.message_id in stored for story in mine)
        lines = self._denied(device_id)
        if not mine:
            lines.append(f"nothing was published by {device_id} or about it")
        elif kept:
            lines.append(f"{kept} of its {len(mine)} messages {'is' if kept == 1 else 'are'} in the table")
        alike: dict[tuple[object, ...], list[Story]] = {}
        for story in mine:
            if story.message_id not in stored:
                alike.setdefault(story.gist(), []).append(story)
        for stories in list(alike.values())[:_SHOWN_STORIES]:
            lines += stories[0].told()
            lines += await self._why_unheard(stories[0])
            if stories[0].was_delivered:
                lines.append("  yet no row has its message id: does the receiver write to another table?")
            if len(stories) > 1:
                lines.append(f"  the same became of {len(stories) - 1} more")
        if len(alike) > _SHOWN_STORIES:
            lines.append(f"and {len(alike) - _SHOWN_STORIES} more stories that went otherwise")
        return lines

    async def tail(self, client_id: str) -> list[str]:
        """Return the last lines of the trace about a client; never raises."""
        return [] if self._trace is None else await self._trace.tail(client_ids=[client_id])

    def _need_trace(self) -> Trace:
        if self._trace is None:
            raise TargetUnavailable(
                "This target has no trace, and only a trace tells what became of a message: mark the test with "
                "@pytest.mark.needs('TRACE')."
            )
        return self._trace

    async def _catch_up(self) -> None:
        await self._reading.take(self._read)

    async def _read(self) -> None:
        for record in await self._need_trace().since(self._seen):
            self._seen = record["seq"]
            self._take(record)

    def _take(self, record: Record) -> None:
        kind = record["kind"]
        if kind == "publish":
            self._published.append(record)
        elif kind in TOLD_BY_RULES:
            self._told.setdefault(str(record.get("message_id")), []).append(record)
            if len(self._told) > _KEPT:
                self._told.popitem(last=False)
        elif is_denial(record) or kind in {"refusal", "connect_refused"}:
            self._denials.append(record)
        elif kind == "api" and detail(record).get("because") and ":assumed-role/" in str(record.get("principal")):
            self._calls.append(_Call(datetime.fromisoformat(record["at"]), record))

    def _claim(self, message: Message) -> Record | None:
        """Return the record of a message's publication, always the same one."""
        if (publish := self._claimed.get(message)) is not None:
            return publish
        sent_at = time.time() - (time.monotonic() - message.sent_at)
        taken = {id(each) for each in self._claimed.values()}
        for slack in (0.0, _CLOCK_SLACK):  # what was said just before in the same words comes second
            for record in self._published_since(sent_at - slack):
                if id(record) not in taken and _is_publication_of(message, record):
                    self._claimed[message] = record
                    return record
        return None

    def _published_since(self, at: float) -> list[Record]:
        since = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        later = takewhile(lambda record: record["at"] >= since, reversed(self._published))
        return list(later)[::-1]

    def _story(self, publish: Record) -> Story:
        records = self._told.get(str(publish.get("message_id")), [])
        calls: list[Record] = []
        if any(each["kind"] == "http_try" for each in records):
            last = datetime.fromisoformat(records[-1]["at"]) + _CALLS_OUTLIVE_TRIES
            calls = [each.record for each in self._calls if publish["seq"] < each.record["seq"] and each.at <= last]
        return Story(publish=publish, records=tuple(records), calls=tuple(calls))

    def _denied(self, client_id: str, *, topic: str | None = None) -> list[str]:
        told: dict[str, None] = {}
        for record in self._denials:
            if record.get("client_id") == client_id and topic in (None, record.get("topic")):
                says = detail(record)
                what = says.get("action") or says.get("packet") or "to connect"
                where = f" on {record['topic']}" if record.get("topic") else ""
                told[f"{client_id} was refused {what}{where}: {says.get('because')}"] = None
        return list(told)[-_SHOWN_DENIALS:]

    async def _why_unheard(self, story: Story) -> list[str]:
        if story.records:
            return []
        return [f"  {line}" for line in await self._rules.described(story.topic)]


def _is_publication_of(message: Message, record: Record) -> bool:
    says = detail(record)
    shown = message.payload[:_TRACED_PAYLOAD_BYTES].decode(errors="replace")
    return (
        record.get("topic") == message.topic
        and record.get("client_id") in (None, message.sender)  # None: over HTTPS
        and says.get("payload") == shown
        and says.get("payload_bytes") == len(message.payload)
    )


def _concerns(publish: Record, device_id: str) -> bool:
    if str(publish.get("topic")).startswith(_RESERVED):  # AWS IoT's own messages tell of every device that connects
        return False
    return publish.get("client_id") == device_id or f'"{device_id}"' in str(detail(publish).get("payload"))


def _named(message: Message) -> str:
    sender = f" from {message.sender}" if message.sender else ""
    return f"{quoted(message.payload)}{sender} on {message.topic}"
