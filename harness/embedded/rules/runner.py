"""What a rule does with one message: its statement, its actions side by side, and its error action at most once.

Loaded with the first rule. `RuleRunner.begin` does what needs no waiting and says what is left to do; `finish` does
that, beside everything else.

Source: AWS IoT Core, "HTTP action", "Error handling (error action)".
Differs: the time an HTTP action has begins when its request gets its place among `REQUESTS_AT_ONCE` per receiver.
"""

from __future__ import annotations

import asyncio
import copy
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import urlsplit

from harness.embedded.link import LinkError
from harness.embedded.rules.exchange import Answer, NoAnswer
from harness.embedded.rules.places import Places
from harness.embedded.rules.records import ActionOutcome, ErrorActionOutcome, HttpTry, RuleOutcome, without_query
from harness.iot.principals import peer_address
from harness.iot.rules import (
    ActionFailed,
    EvaluationFailed,
    GivenUp,
    HttpRequest,
    HttpTries,
    NotMatched,
    RuleMessage,
    Succeeded,
    TryAgain,
    compile_rule,
    error_document,
    parse_statement,
    parse_template,
)
from harness.iot.rules.http_action import CANNOT_REQUEST, FAILED_ACTION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from harness.embedded.rules.engine import Ask
    from harness.embedded.rules.exchange import Poster
    from harness.embedded.rules.records import RuleRecord, Subject
    from harness.iot.quirks import Quirks
    from harness.iot.registry import RuleDestination, TopicRule
    from harness.iot.rules import CompiledRule, Step
    from harness.mqtt.events import Published

REQUESTS_AT_ONCE: Final = 100
"""Most HTTP requests to one receiver under way at the same time."""

_ERROR_ACTIONS_AT_ONCE: Final = 16
_MQTT: Final = frozenset({"mqtts", "wss"})  # transports, of others a message has neither trace id nor client id
_FIRST_REFUSAL: Final = 400
_SHORTEST_SECRET: Final = 4  # characters: whatever is shorter is none
_SHOWN_CHARACTERS: Final = 300  # of a refusal, so that a failure can say in the receiver's words what was wrong
_UNSENDABLE_METRIC: Final = "HttpInvalidUrl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is left to do of a rule and a message, beside the broker.

    Attributes:
        requests: one for each action; what could not be prepared has failed already.
        held_bytes: what the requests keep in memory, about.
    """

    rule: CompiledRule
    message: RuleMessage
    subject: Subject
    requests: tuple[HttpRequest | ActionFailed, ...]
    held_bytes: int


def warm_up() -> None:
    """Build what reads rules: it takes a tenth of a second, once."""
    parse_statement("SELECT * FROM 'a'")
    parse_template("${topic()}")


class RuleRunner:
    """Evaluates rules and carries out their actions.

    Args:
        quirks: how AWS is taken to behave where it is not known.
        poster: sends HTTP requests.
        ask: asks the control plane.
        record: takes what is for the trace.
        make_id: makes UUIDs.
    """

    def __init__(
        self,
        *,
        quirks: Quirks,
        poster: Poster,
        ask: Ask,
        record: Callable[[RuleRecord], object],
        make_id: Callable[[], str],
    ) -> None:
        self._quirks = quirks
        self._poster = poster
        self._ask = ask
        self._record = record
        self._make_id = make_id
        self._receivers = Places(REQUESTS_AT_ONCE)
        self._queues = Places(_ERROR_ACTIONS_AT_ONCE)

    @staticmethod
    def compile(record: TopicRule) -> CompiledRule:
        """Read a rule's statement and actions.

        Raises:
            HarnessError: it cannot be run.
        """
        return compile_rule(record)

    def message(self, event: Published, *, at: float, account_id: str) -> RuleMessage:
        """Make what rules see of a message.

        Args:
            event: tells of it.
            at: when it came, in seconds since the epoch.
            account_id: 12 digits.

        Source: AWS IoT Core, "Functions": without MQTT, ``traceid()`` is Undefined and ``clientid()`` is ``n/a``.
        """
        info = event.info
        is_mqtt = info is not None and info.transport in _MQTT
        return RuleMessage(
            topic=event.topic_name,
            payload=event.payload,
            timestamp=int(at * 1000),
            make_uuid=self._make_id,
            account_id=account_id,
            client_id=info.client_id if info is not None and is_mqtt else None,
            trace_id=event.message_id if is_mqtt else None,
            principal=None if info is None else getattr(info.principal, "lifecycle_id", None),
            remote=None if info is None else peer_address(info.remote) or None,
            properties=event.properties,
        )

    def begin(
        self, rule: CompiledRule, message: RuleMessage, subject: Subject, *, destinations: Iterable[RuleDestination]
    ) -> Job | None:
        """Evaluate a rule's statement and templates.

        Args:
            rule: whose topic filter matches.
            message: shared by all rules.
            subject: the same for the trace.
            destinations: all of the account.

        Returns:
            What is left to do, None for nothing.
        """
        evaluation = rule.statement.evaluate(message)
        if isinstance(evaluation, NotMatched):
            self._record_outcome(rule, subject, "not_matched", evaluation.because)
            return None
        if isinstance(evaluation, EvaluationFailed):
            self._record_outcome(rule, subject, "failed", f"{evaluation.kind}: {evaluation.because}")
            return None
        requests = tuple(
            action.prepare(message, evaluation, destinations=destinations, quirks=self._quirks)
            for action in rule.actions
        )
        self._record_outcome(rule, subject, "matched", f"{rule.topic_filter} matches the topic")
        if not requests:
            return None
        held_bytes = sum(_held_bytes(request) for request in requests if isinstance(request, HttpRequest))
        return Job(rule=rule, message=message, subject=subject, requests=requests, held_bytes=held_bytes)

    async def finish(self, job: Job) -> None:
        """Carry out the actions, and the error action if any of them failed."""
        if len(job.requests) == 1:
            outcomes = [await self._carry_out(job, job.requests[0])]
        else:
            outcomes = await asyncio.gather(*(self._carry_out(job, request) for request in job.requests))
        failures = [failure for failure in outcomes if failure is not None]
        if failures and job.rule.error_action is not None:
            await self._report_failures(job, failures)

    async def _carry_out(self, job: Job, request: HttpRequest | ActionFailed) -> ActionFailed | None:
        """Carry out one action; however it ends, the trace gets exactly one record of it."""
        ended = _Ended(because="the broker shut down", is_ok=False)
        try:
            ended = await self._perform(job, request)
        except Exception as error:  # noqa: BLE001 - the boundary of a task: the rule's error action is told, and the log
            asyncio.get_running_loop().call_exception_handler({"message": "an action failed", "exception": error})
            because = f"This stand-in failed: {type(error).__name__}: {error}"
            ended = _failed(_failure(request, because, metric="Failure"))
        finally:
            self._record(
                ActionOutcome(
                    subject=job.subject,
                    rule=job.rule.name,
                    action="http",
                    outcome="ok" if ended.is_ok else "failed",
                    because=ended.because,
                    tries=ended.tries,
                )
            )
        return ended.failure

    async def _perform(self, job: Job, request: HttpRequest | ActionFailed) -> _Ended:
        if isinstance(request, ActionFailed):
            return _failed(request)
        await self._poster.ready()
        async with self._receivers.one(urlsplit(request.url).netloc):
            return await self._post(job, request)

    async def _post(self, job: Job, request: HttpRequest) -> _Ended:
        """Send a request until it is done with or given up."""
        begun = time.monotonic()
        tries = HttpTries(request, started_at=begun)
        while True:
            exchange = _discreet(request, await self._poster.post(request, within=tries.next_timeout(begun)))
            before, ended = copy.copy(tries), time.monotonic()
            step = _next_step(request, tries, exchange, now=ended)
            if isinstance(step, TryAgain):
                await asyncio.sleep(step.after)
                if isinstance(exchange, Answer) and exchange.is_connection_closed():
                    # Closed after the answer, though it did not say so: known only now, and not tried again.
                    tries, step = before, _next_step(request, before, exchange, now=ended)
            self._record_try(
                job, request, tries.tries, exchange, seconds=ended - begun, again=isinstance(step, TryAgain)
            )
            if isinstance(step, Succeeded):
                assert isinstance(exchange, Answer)  # noqa: S101 - nothing else succeeds
                return _Ended(because=_answer_text(exchange), is_ok=True, tries=tries.tries)
            if isinstance(step, GivenUp):
                return _failed(step.failure, tries=tries.tries)
            begun = time.monotonic()

    async def _report_failures(self, job: Job, failures: list[ActionFailed]) -> None:
        """Run the error action once. Its own failure has no consequence but a record."""
        action = job.rule.error_action
        assert action is not None  # noqa: S101 - the caller has looked
        because, is_ok = "the broker shut down", False
        try:
            parameters = action.parameters(error_document(job.rule.name, job.message, failures))
            async with self._queues.one(action.queue_url):
                await self._ask(
                    "aws_call",
                    service="sqs",
                    operation="SendMessage",
                    params=parameters,
                    role_arn=action.role_arn,
                    session=job.rule.name,
                )
            because, is_ok = f"sent to {action.queue_url}", True
        except LinkError as error:
            because = str(error)
        finally:
            self._record(
                ErrorActionOutcome(
                    subject=job.subject,
                    rule=job.rule.name,
                    action="sqs",
                    outcome="ok" if is_ok else "failed",
                    because=because,
                )
            )

    def _record_outcome(
        self,
        rule: CompiledRule,
        subject: Subject,
        outcome: Literal["matched", "not_matched", "failed"],
        because: str,
    ) -> None:
        self._record(RuleOutcome(subject=subject, rule=rule.name, outcome=outcome, because=because))

    def _record_try(
        self, job: Job, request: HttpRequest, number: int, exchange: Answer | NoAnswer, *, seconds: float, again: bool
    ) -> None:
        self._record(
            HttpTry(
                subject=job.subject,
                rule=job.rule.name,
                number=number,
                url=without_query(request.url),
                status=exchange.status if isinstance(exchange, Answer) else None,
                error=exchange.message if isinstance(exchange, NoAnswer) else None,
                milliseconds=round(seconds * 1000, 1),
                again=again,
                answer=_refusal(request, exchange),
            )
        )


def _refusal(request: HttpRequest, exchange: Answer | NoAnswer) -> str | None:
    """Return what a receiver said when it refused, without what it may have repeated of the request's headers."""
    if not isinstance(exchange, Answer) or exchange.status < _FIRST_REFUSAL or not exchange.beginning:
        return None
    return _masked(request, exchange.beginning.decode("utf-8", "replace"))[:_SHOWN_CHARACTERS]


def _discreet(request: HttpRequest, exchange: Answer | NoAnswer) -> Answer | NoAnswer:
    """Return an exchange whose phrase can be quoted: without what it may have repeated of the request's headers."""
    return replace(exchange, reason=_masked(request, exchange.reason)) if isinstance(exchange, Answer) else exchange


def _masked(request: HttpRequest, text: str) -> str:
    """Return a text without the values of a request's headers; long ones first, since one may hold another."""
    for value in sorted((value for _, value in request.headers), key=len, reverse=True):
        if len(value) >= _SHORTEST_SECRET:
            text = text.replace(value, "***")
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ended:
    """How an action ended; without a failure and not ok when it was not for the receiver to say."""

    because: str
    is_ok: bool
    tries: int = 0
    failure: ActionFailed | None = None


def _failed(failure: ActionFailed, *, tries: int = 0) -> _Ended:
    return _Ended(because=failure.message, is_ok=False, tries=tries, failure=failure)


def _failure(request: HttpRequest | ActionFailed, message: str, *, metric: str) -> ActionFailed:
    resource = request.url if isinstance(request, HttpRequest) else request.resource
    return ActionFailed(action=FAILED_ACTION, resource=resource, message=f"{CANNOT_REQUEST} {message}.", metric=metric)


def _next_step(request: HttpRequest, tries: HttpTries, exchange: Answer | NoAnswer, *, now: float) -> Step:
    """Decide what follows a try."""
    if isinstance(exchange, Answer):
        return tries.answered(
            exchange.status, exchange.reason, exchange.body_bytes, exchange.is_connection_closed(), now
        )
    if exchange.kind == "unsendable":
        return GivenUp(failure=_failure(request, exchange.message, metric=_UNSENDABLE_METRIC))
    return tries.failed(exchange.kind, exchange.message, now)


def _answer_text(answer: Answer) -> str:
    return f"{answer.status} {answer.reason}".strip()


def _held_bytes(request: HttpRequest) -> int:
    """Count what a request keeps in memory, about."""
    headers = sum(len(name) + len(value) for name, value in request.headers)
    return len(request.body) + len(request.url) + headers
