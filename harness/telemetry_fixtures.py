"""The fixtures of the way a reading goes: rows, receiver, dead letters, and rules and receivers of a test's own.

As in `harness.fixtures`, whatever a fixture made is gone after the test, and what could not be removed is an error of
the test that made it.
"""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Protocol

import pytest
import pytest_asyncio

from harness.errors import ExpectationError, TargetUnavailable, TeardownError
from harness.fixtures import _marks
from harness.run import needs
from harness.targets.base import Capability

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Iterable, Iterator, Mapping

    from harness.clients.dead_letters import DeadLetters
    from harness.clients.destinations import Destination, Status
    from harness.clients.faults import Faults
    from harness.clients.receiver import ReceiverView, RunningReceiver
    from harness.clients.redriving import Outcome
    from harness.clients.rows import Rows
    from harness.clients.rules import Rule, Rules
    from harness.clients.stories import Stories
    from harness.clients.trace import Trace
    from harness.targets.base import Environment, Target
    from harness.targets.outputs import StackOutputs

_QUEUE_PATIENCE: Final = 3
"""How much longer the queue is waited for: all tests share it, and who goes through it holds back others' letters."""

_SECONDS_PER_LETTER: Final = 0.1
"""More of it for each letter: to go through the queue takes its time where letters are many."""


class MakeRule(Protocol):
    """The type of the fixture `make_rule`."""

    async def __call__(
        self,
        *,
        topic: str | None = None,
        where: str | None = None,
        sql: str | None = None,
        secret: str | None = None,
        url: str | None = None,
        confirmation_url: str | None = None,
        headers: Mapping[str, str | None] | None = None,
    ) -> Rule:
        """Create a copy of the stack's rule with something changed.

        AWS IoT makes the destination that a URL lacks, so what is said of URLs in `MakeDestination` is true here.

        Args:
            topic: topic filter it listens to, instead of the stack's; ``topics.own_telemetry`` is nobody else's.
            where: condition; None keeps the stack's.
            sql: whole statement, in place of `topic` and `where`.
            secret: what it presents to the receiver; None keeps the stack's.
            url: where it posts, for example the `ingest_url` of a receiver; None keeps the stack's.
            confirmation_url: beginning of the destination; None keeps the stack's, or is `url` where that is given.
            headers: added or replaced; those that are None are left out.
        """
        ...


class MakeDestination(Protocol):
    """The type of the fixture `make_destination`."""

    async def __call__(self, url: str, *, status: Status = "ENABLED") -> Destination:
        """Create a destination for HTTP actions.

        A destination has neither name nor tags, and the URL is asked for as it is. In an account that outlives the run
        it had better hold a name that this run has made, ``f"{url}?for={environment.names.unique()}"``: by that alone
        `thingwright sweep` finds the destination should the run be killed. The `ingest_url` of a further receiver does.

        Args:
            url: confirmation URL: rules may post to what begins with it.
            status: to wait for; ``IN_PROGRESS`` waits for nothing.
        """
        ...


class MakeReceiver(Protocol):
    """The type of the fixture `make_receiver`."""

    async def __call__(self) -> RunningReceiver:
        """Start a further receiver, like the stack's, with a destination that is ready for use."""
        ...


class Redrive(Protocol):
    """The type of the fixture `redrive`."""

    async def __call__(self, *rules: Rule, letters: int) -> Outcome:
        """Redrive dead letters, however young, until so many were dealt with.

        Args:
            rules: whose letters; the queue is everybody's, so those of others are given back.
            letters: how many there are to be; other tests may have one of them in hand for a moment.

        Raises:
            ExpectationError: there are fewer in time, or more; or some could not be given back.
        """
        ...


class Telemetry:
    """What a run needs to follow readings, made when it is first needed.

    Args:
        environment: where everything is.
        stack: whose rule, table and queue.
        patience: seconds that expectations wait.
        trace: the target's, where it has one.
    """

    def __init__(self, environment: Environment, *, stack: StackOutputs, patience: float, trace: Trace | None) -> None:
        from harness.clients.rules import Rules  # noqa: PLC0415 - clients are imported by the tests that use them
        from harness.clients.stories import Stories  # noqa: PLC0415 - the same

        self.stack = stack
        self.patience = patience
        self.queue_patience = _QUEUE_PATIENCE * patience
        self._environment = environment
        self.rules: Rules = Rules(
            make_iot=lambda: environment.client("iot"),
            make_name=environment.names.unique,
            stack_rule=stack.rule_name,
            tags=_marks(environment),
            patience=patience,
        )
        self.stories: Stories = Stories(trace=trace, rules=self.rules, patience=patience)

    @cached_property
    def dynamodb(self) -> Any:
        """boto3's client."""
        return self._environment.client("dynamodb")

    @cached_property
    def sqs(self) -> Any:
        """boto3's client."""
        return self._environment.client("sqs")

    @cached_property
    def iot(self) -> Any:
        """boto3's client."""
        return self._environment.client("iot")

    @cached_property
    def tls(self) -> ssl.SSLContext:
        """What the receivers' certificates are checked with."""
        return ssl.create_default_context(cafile=self.stack.ca_file)

    def receiver_name(self) -> str:
        """Return a name for a further receiver."""
        return self._environment.names.unique("r").lower()

    def close(self) -> None:
        """Take what is left of this run out of the queue, and close the connections to AWS."""
        if self.stack.dead_letter_queue_url:
            from harness.clients.dead_letters import remove_letters  # noqa: PLC0415 - as above

            remove_letters(self.sqs, self.stack.dead_letter_queue_url, mark=self._environment.names.mark)
        self.rules.close()
        for name in ("dynamodb", "iot", "sqs"):
            if name in self.__dict__:
                getattr(self, name).close()


@pytest.fixture(scope="session")
def telemetry(
    environment: Environment, target: Target, stack: StackOutputs, trace: Trace | None
) -> Iterator[Telemetry]:
    """What the fixtures that follow readings share; not for tests."""
    made = Telemetry(environment, stack=stack, patience=target.patience, trace=trace)
    yield made
    made.close()


@pytest.fixture
@needs(Capability.TRACE)
def stories(telemetry: Telemetry) -> Stories:
    """Tells what became of a message: ``await stories.until_over(reading)``; needs the capability TRACE."""
    return telemetry.stories


@pytest_asyncio.fixture
@needs(Capability.HTTP_ACTION)
async def receiver(telemetry: Telemetry) -> ReceiverView:
    """The stack's receiver: what was posted to it, how it answered, what it has counted since the test began."""
    from harness.clients.receiver import ReceiverView  # noqa: PLC0415 - clients are imported by the tests that use them

    stack = telemetry.stack
    view = ReceiverView(
        stack.need("receiver_url"), stories=telemetry.stories, tls=telemetry.tls, patience=telemetry.patience
    )
    with suppress(TargetUnavailable):  # the test's own claims will say so, and some are about a receiver that is down
        await view.begin_counting()
    return view


@pytest_asyncio.fixture
@needs(Capability.HTTP_ACTION)
async def rows(telemetry: Telemetry, receiver: ReceiverView) -> Rows:
    """The rows of the stack's table: ``await rows.expect(device_id=…)``."""
    from harness.clients.rows import Rows  # noqa: PLC0415 - clients are imported by the tests that use them

    return Rows(
        dynamodb=await asyncio.to_thread(lambda: telemetry.dynamodb),
        table=telemetry.stack.need("table_name"),
        stories=telemetry.stories,
        receiver=receiver,
        patience=telemetry.patience,
    )


@pytest_asyncio.fixture
@needs(Capability.HTTP_ACTION)
async def dead_letters(telemetry: Telemetry) -> DeadLetters:
    """The stack's queue of readings that could not be delivered: ``await dead_letters.expect(reading)``."""
    from harness.clients.dead_letters import DeadLetters  # noqa: PLC0415 - clients are imported by the tests that use them

    return DeadLetters(
        sqs=await asyncio.to_thread(lambda: telemetry.sqs),
        queue_url=telemetry.stack.need("dead_letter_queue_url"),
        stories=telemetry.stories,
        patience=telemetry.queue_patience,
    )


@pytest.fixture
@needs(Capability.HTTP_ACTION)
def redrive(telemetry: Telemetry) -> Redrive:
    """Delivers the dead letters of a test's own rules, as `thingwright redrive` does those of all.

    ``await redrive(rule, letters=1)``; a letter is not left alone for its age, so the test has to know that neither its
    rule nor the receiver still work on the message.
    """
    from harness.clients.letter_box import LetterBox  # noqa: PLC0415 - clients are imported by the tests that use them
    from harness.clients.redriving import Outcome, Redriver  # noqa: PLC0415 - the same
    from harness.clients.stored import StoredRows  # noqa: PLC0415 - the same
    from harness.clients.waiting import polled  # noqa: PLC0415 - the same

    stack = telemetry.stack

    def redrive_once(names: frozenset[str]) -> Outcome:
        return Redriver(
            box=LetterBox(telemetry.sqs, stack.need("dead_letter_queue_url")),
            rows=StoredRows(telemetry.dynamodb, stack.need("table_name")),
            iot=telemetry.iot,
            tls=telemetry.tls,
            min_age=0,
            is_wanted=names.__contains__,
        ).run()

    async def go_on(*rules: Rule, letters: int) -> Outcome:
        __tracebackhide__ = True
        total = Outcome()

        async def look() -> Outcome | None:
            total.go_on(await asyncio.to_thread(redrive_once, frozenset(rule.name for rule in rules)))
            return total if total.seen >= letters else None

        names = ", ".join(rule.name for rule in rules)
        wanted = f"{letters} dead letters of {names} were to be dealt with"
        within = telemetry.queue_patience + letters * _SECONDS_PER_LETTER
        try:
            await polled(look, within=within)
        except TimeoutError:
            raise ExpectationError(f"{wanted} within {within:g} s, and it is: {total}") from None
        if total.seen > letters or total.kept:  # what was not given back, the next who wants it would miss
            raise ExpectationError(f"{wanted}, and it is: {total}")
        return total

    return go_on


@pytest_asyncio.fixture
@needs(Capability.HTTP_ACTION)
async def make_rule(telemetry: Telemetry) -> AsyncIterator[MakeRule]:
    """Makes rules of the test's own, copies of the stack's with something changed; deleted after the test."""
    from harness.clients.destinations import destinations_at  # noqa: PLC0415 - as above

    rules = telemetry.rules
    made: list[str] = []
    foreseen: dict[str, set[str]] = {}

    async def make(**changes: Any) -> Rule:
        __tracebackhide__ = True
        url = changes.get("confirmation_url") or changes.get("url")
        if url is not None and url not in foreseen:
            foreseen[url] = {each.arn for each in await destinations_at(url, rules=rules)}
        made.append(rules.new_name())  # before there is a rule: whoever is interrupted has it removed all the same
        return await rules.make(name=made[-1], **changes)

    yield make
    steps = [(f"rule {name}", rules.remove(name)) for name in made]
    # AWS IoT makes destinations that a rule lacks, and keeps them.
    steps += [(f"destinations at {url}", _remove_extra(url, arns, rules)) for url, arns in foreseen.items()]
    await _remove(steps)


@pytest_asyncio.fixture
@needs(Capability.DESTINATION_CONFIRMATION)
async def make_destination(telemetry: Telemetry) -> AsyncIterator[MakeDestination]:
    """Makes destinations for HTTP actions; deleted after the test."""
    from harness.clients import destinations  # noqa: PLC0415 - as above

    rules = telemetry.rules
    made: list[Destination] = []
    begun: dict[str, set[str]] = {}

    async def make(url: str, *, status: Status = "ENABLED") -> Destination:
        if url not in begun:
            begun[url] = {each.arn for each in await destinations.destinations_at(url, rules=rules)}
        made.append(await destinations.make_destination(url, rules=rules, patience=telemetry.patience))
        del begun[url]
        await made[-1].expect(status)
        return made[-1]

    yield make
    steps = [(f"destination {each.arn}", each.delete()) for each in made]
    # A destination has no name before it is there: what came of a call that was interrupted is known by its URL.
    steps += [(f"destinations at {url}", _remove_extra(url, arns, rules)) for url, arns in begun.items()]
    await _remove(steps)


@pytest_asyncio.fixture
@needs(Capability.HTTP_ACTION)
async def make_receiver(
    telemetry: Telemetry, make_destination: MakeDestination, faults: Faults
) -> AsyncIterator[MakeReceiver]:
    """Starts further receivers for the test to stop and start; needs the capability FAULTS, and stopped after the test.

    A rule posts to one by ``make_rule(topic=…, url=made.ingest_url)``.
    """
    from harness.clients.receiver import RunningReceiver  # noqa: PLC0415 - as above

    made: list[RunningReceiver] = []

    async def make() -> RunningReceiver:
        name = telemetry.receiver_name()
        running = RunningReceiver(
            name,
            await faults.start_receiver(name),
            faults=faults,
            stories=telemetry.stories,
            tls=telemetry.tls,
            patience=telemetry.patience,
        )
        made.append(running)
        running.destination = await make_destination(running.ingest_url)
        await running.begin_counting()
        return running

    yield make
    await _remove((f"receiver {each.name}", each.stop()) for each in made if each.is_running)


async def _remove_extra(url: str, arns: set[str], rules: Rules) -> None:
    """Delete the destinations with a confirmation URL, but for those of some ARNs."""
    from harness.clients.destinations import destinations_at  # noqa: PLC0415 - as above

    extra = [each for each in await destinations_at(url, rules=rules) if each.arn not in arns]
    await _remove((f"destination {each.arn}", each.delete()) for each in extra)


async def _remove(steps: Iterable[tuple[str, Awaitable[None]]]) -> None:
    """Do every step, whatever becomes of the others.

    Raises:
        TeardownError: some failed; says what is left and why.
    """
    left: list[str] = []
    interrupts: list[BaseException] = []
    for name, step in steps:
        try:
            await step
        except Exception as error:  # noqa: BLE001 - told of below, with those of the other steps
            left.append(f"{name} ({error})")
        except BaseException as error:  # noqa: BLE001 - raised below, once all the other steps are done
            interrupts.append(error)
            left.append(f"{name} (interrupted)")
    failure = TeardownError(left, remedy="`thingwright sweep --delete` removes it once the run's time is over")
    if interrupts:
        interrupts[0].add_note(str(failure))
        raise interrupts[0]
    if left:
        raise failure
