"""Finds the rules that take a message, and keeps what waits for them within bounds.

A message is looked at when the broker reports it: for one that no rule takes, that is a look into a dictionary. The
others wait in a queue; once what the broker has to send is written, a few of them at a time are evaluated, and their
actions run as tasks beside the broker. So neither a delivery nor an acknowledgement waits for a rule, and a receiver
that never answers costs memory up to a limit: beyond it, messages are throttled, which the trace says.

What evaluates and acts (`harness.embedded.rules.runner`) is loaded with the first rule.

Source: AWS IoT Core, "Rules"; the log event RuleExecutionThrottled.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from harness.embedded.link import LinkError
from harness.embedded.rules.records import RuleOutcome, Subject
from harness.mqtt.topics import matches

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from harness.embedded.rules.lazy_client import LazyHttpClient
    from harness.embedded.rules.records import RuleRecord
    from harness.embedded.rules.runner import Job, RuleRunner
    from harness.iot.quirks import Quirks
    from harness.iot.registry import RegistryChange, RegistrySnapshot, RuleDestination, TopicRule
    from harness.iot.rules import CompiledRule, RuleMessage
    from harness.mqtt.events import Published

MAX_HELD_MESSAGES: Final = 50_000
"""Most messages that wait for their rules or whose actions have not ended, half a minute of the most it takes."""

MAX_HELD_BYTES: Final = 64 * 1024 * 1024
"""Most bytes of these messages; and, apart from that, of the requests made of them."""

_REMEMBERED_TOPICS: Final = 4_096
_MESSAGES_AT_ONCE: Final = 16  # evaluated between two turns of the loop
_SECONDS_AT_ONCE: Final = 0.001  # the same


class Ask(Protocol):
    """Asks the control plane for something and returns its answer."""

    async def __call__(self, op: str, **members: Any) -> Mapping[str, Any]:
        """Ask.

        Raises:
            LinkError: it refused, did not answer in time, or is gone.
        """
        ...


@dataclass(slots=True, kw_only=True, eq=False)
class _Held:
    """A message and the rules that take it, until all of them are done with it.

    Attributes:
        at: seconds since the epoch.
        unfinished: how many rules are at work on it.
    """

    event: Published
    rules: tuple[CompiledRule, ...]
    at: float
    held_bytes: int
    unfinished: int = 0


class RuleEngine:
    """The rules of one broker process.

    Args:
        quirks: how AWS is taken to behave where it is not known.
        client: sends HTTP requests.
        record: takes what is for the trace.
        make_id: makes UUIDs.
        loop: the running loop.
    """

    def __init__(
        self,
        *,
        quirks: Quirks,
        client: LazyHttpClient,
        record: Callable[[RuleRecord], object],
        make_id: Callable[[], str],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._quirks = quirks
        self._client = client
        self._record = record
        self._make_id = make_id
        self._loop = loop
        self._ask: Ask | None = None
        self._runner: RuleRunner | None = None
        self._account_id = ""
        self._records: Mapping[str, TopicRule] = {}
        self._destinations: Mapping[str, RuleDestination] = {}
        self._compiled: dict[str, CompiledRule] = {}
        self._prepared: dict[TopicRule, CompiledRule] = {}
        self._enabled: tuple[CompiledRule, ...] = ()
        self._matches: dict[str, tuple[CompiledRule, ...]] = {}
        self._waiting: deque[_Held] = deque()
        self._is_awake = False
        self._is_closed = False
        self._tasks: dict[asyncio.Task[None], None] = {}  # in order: giving up many waiters is cheap only then
        self._job_bytes = 0
        self.held_messages = 0
        self.held_bytes = 0
        self.throttled_messages = 0

    # -- rules -------------------------------------------------------------------------------------------------------

    @property
    def is_loaded(self) -> bool:
        """Whether a rule can be taken without loading anything first."""
        return self._runner is not None

    @staticmethod
    def load() -> type[RuleRunner]:
        """Load what evaluates rules; may be called on any thread."""
        from harness.embedded.rules.runner import RuleRunner, warm_up  # noqa: PLC0415 - loads a parser: takes its time

        warm_up()
        return RuleRunner

    def connect_control_plane(self, ask: Ask) -> None:
        """Let error actions ask the control plane."""
        self._ask = ask

    def prepare(self, change: RegistryChange) -> None:
        """Read the rules of a change that is to be put in force, now or later.

        Raises:
            HarnessError: a rule cannot be run; nothing changed.
        """
        records: tuple[TopicRule, ...] = change.put.get("rules", ())
        if records:
            runner = self._loaded_runner()
            self._prepared |= {record: runner.compile(record) for record in records}

    def update(self, snapshot: RegistrySnapshot) -> None:
        """Put the rules and destinations of a snapshot in force; only rules that changed are read anew."""
        self._account_id = snapshot.account_id
        self._destinations = snapshot.destinations
        if snapshot.rules is self._records:
            return
        before, self._records = self._records, snapshot.rules
        self._compiled = {
            name: self._compiled[name] if before.get(name) == record else self._take_prepared(record)
            for name, record in snapshot.rules.items()
        }
        self._enabled = tuple(rule for rule in self._compiled.values() if not rule.is_disabled)
        self._matches = {}
        if any(rule.actions for rule in self._enabled):
            self._client.load()

    def _take_prepared(self, record: TopicRule) -> CompiledRule:
        prepared = self._prepared.pop(record, None)
        return self._loaded_runner().compile(record) if prepared is None else prepared

    def _loaded_runner(self) -> RuleRunner:
        if self._runner is None:
            self._runner = self.load()(
                quirks=self._quirks,
                poster=self._client,
                ask=self._ask_control_plane,
                record=self._record,
                make_id=self._make_id,
            )
        return self._runner

    async def _ask_control_plane(self, op: str, **members: Any) -> Mapping[str, Any]:
        if self._ask is None:
            raise LinkError("there is no control plane to ask")
        return await self._ask(op, **members)

    # -- messages ----------------------------------------------------------------------------------------------------

    def offer(self, event: Published, at: float, held_bytes: int) -> None:
        """Look at a message that the broker accepted.

        Args:
            event: tells of it.
            at: seconds since the epoch.
            held_bytes: what it keeps in memory, about.
        """
        if not self._enabled:
            return
        rules = self._matches.get(event.topic_name)
        if rules is None:
            rules = self._find(event.topic_name)
        if rules and not self._is_closed:
            self._hold(_Held(event=event, rules=rules, at=at, held_bytes=held_bytes))

    def _find(self, topic_name: str) -> tuple[CompiledRule, ...]:
        """Find the rules of a topic and remember them, also that there are none."""
        if len(self._matches) >= _REMEMBERED_TOPICS:
            self._matches.clear()
        found = tuple(
            rule
            for rule in self._enabled
            if rule.topic_filter is not None and matches(rule.topic_filter, topic_name, parent_matches=False)
        )
        self._matches[topic_name] = found
        return found

    def _hold(self, held: _Held) -> None:
        if self.held_messages >= MAX_HELD_MESSAGES or self.held_bytes + held.held_bytes > MAX_HELD_BYTES:
            because = f"{self.held_messages} messages of {self.held_bytes} bytes wait for their actions, the limit"
            subject = _subject(held.event)
            self.throttled_messages += 1
            for rule in held.rules:
                self._record(RuleOutcome(subject=subject, rule=rule.name, outcome="throttled", because=because))
            return
        self.held_messages += 1
        self.held_bytes += held.held_bytes
        self._waiting.append(held)
        self._wake()

    def _wake(self) -> None:
        if not self._is_awake:
            self._is_awake = True
            self._loop.call_soon(self._work)

    # -- beside the broker -------------------------------------------------------------------------------------------

    def _work(self) -> None:
        """Evaluate a few messages, and come back for the others after a turn of the loop."""
        self._is_awake = False
        until = time.perf_counter() + _SECONDS_AT_ONCE
        for _ in range(_MESSAGES_AT_ONCE):
            if not self._can_work():
                return
            self._evaluate(self._waiting.popleft())
            if time.perf_counter() >= until:
                break
        if self._can_work():
            self._wake()

    def _can_work(self) -> bool:
        """Whether a message waits and there is room for the requests that may be made of it."""
        return bool(self._waiting) and (self._job_bytes < MAX_HELD_BYTES or not self._tasks)

    def _evaluate(self, held: _Held) -> None:
        subject = _subject(held.event)
        message = self._loaded_runner().message(held.event, at=held.at, account_id=self._account_id)
        held.unfinished = 1
        for rule in held.rules:
            job = self._begin(rule, message, subject)
            if job is not None:
                self._start(job, held)
        self._finish(held)

    def _begin(self, rule: CompiledRule, message: RuleMessage, subject: Subject) -> Job | None:
        try:
            return self._loaded_runner().begin(rule, message, subject, destinations=self._destinations.values())
        except Exception as error:  # noqa: BLE001 - one rule must not end the work on all others; the log is told
            self._loop.call_exception_handler({"message": f"rule {rule.name} failed", "exception": error})
            because = f"this stand-in failed: {type(error).__name__}: {error}"
            self._record(RuleOutcome(subject=subject, rule=rule.name, outcome="failed", because=because))
            return None

    def _start(self, job: Job, held: _Held) -> None:
        held.unfinished += 1
        self._job_bytes += job.held_bytes
        task = self._loop.create_task(self._loaded_runner().finish(job))
        self._tasks[task] = None

        def end(task: asyncio.Task[None]) -> None:
            del self._tasks[task]
            self._job_bytes -= job.held_bytes
            self._finish(held)
            if self._can_work():
                self._wake()

        task.add_done_callback(end)

    def _finish(self, held: _Held) -> None:
        held.unfinished -= 1
        if not held.unfinished:
            self._release(held)

    def _release(self, held: _Held) -> None:
        self.held_messages -= 1
        self.held_bytes -= held.held_bytes

    async def aclose(self) -> None:
        """Take no more messages, give up the actions under way and drop the connections."""
        self._is_closed = True
        while self._waiting:
            self._release(self._waiting.popleft())
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.aclose()


def _subject(event: Published) -> Subject:
    client_id = event.info.client_id if event.info is not None else None
    return Subject(client_id=client_id or None, topic=event.topic_name, message_id=event.message_id)
