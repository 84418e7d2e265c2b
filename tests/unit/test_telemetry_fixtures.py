"""What the fixtures of readings make, and that nothing of it is left after the test, without a target."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections import Counter
from dataclasses import replace
from json import dumps
from typing import TYPE_CHECKING, Any
from unittest.mock import AsyncMock, MagicMock, Mock

import pytest
from botocore.exceptions import ClientError

from harness import telemetry_fixtures
from harness.clients.redriving import Outcome
from harness.clients.rules import Rule
from harness.errors import ExpectationError, TargetUnavailable, TeardownError
from harness.targets.base import Capability
from harness.targets.marks import find_mark
from harness.targets.names import Names, make_run_id
from harness.targets.outputs import StackOutputs
from harness.telemetry_fixtures import Telemetry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from harness import DeadLetters, ReceiverView, Rows, Stories
    from harness.telemetry_fixtures import MakeDestination, MakeReceiver, MakeRule, Redrive

STACK = StackOutputs(
    region="eu-central-1",
    iot_endpoint="broker.test",
    iot_mqtts_port=9883,
    iot_wss_url="wss://broker.test/mqtt",
    identity_pool_id="eu-central-1:pool",
    client_id_prefix="public-",
    topic_prefix="public/",
    telemetry_topic="things/telemetry",
    device_policy_name="devices",
    rule_name="telemetry",
    table_name="readings",
    receiver_url="https://127.0.0.1:1",
    dead_letter_queue_url="https://sqs.test/dead",
)
OWN = "https://127.0.0.1:2/ingest"


def letter_from(client_id: str) -> str:
    """Write a rule's error document."""
    document = {"ruleName": "telemetry", "topic": "things/telemetry", "clientId": client_id, "failures": []}
    return dumps({**document, "base64OriginalPayload": b64encode(b"{}").decode()})


def refusal(code: str) -> ClientError:
    """Make an error as AWS answers it."""
    return ClientError({"Error": {"Code": code, "Message": "no"}}, "Operation")


class FakeIot:
    """Plays boto3's ``iot`` client: what is made is kept, and a rule brings the destination that it lacks."""

    def __init__(self) -> None:
        self.rules = {"telemetry"}
        self.destinations: dict[str, str] = {}
        self.is_refusing = False
        self.is_interrupting = False

    def get_topic_rule(self, *, ruleName: str) -> dict[str, Any]:  # noqa: N803 - boto3's
        """Answer with the stack's rule, whichever is asked for; deny what is not there."""
        if ruleName not in self.rules:
            raise refusal("UnauthorizedException")
        actions = [{"http": {"url": "https://u/ingest"}}]
        return {"rule": {"ruleName": "telemetry", "sql": "SELECT * FROM 'things/telemetry'", "actions": actions}}

    def create_topic_rule(self, *, ruleName: str, topicRulePayload: dict[str, Any]) -> None:  # noqa: N803 - boto3's
        """Keep a rule, and what it needs."""
        self.rules.add(ruleName)
        if self.is_interrupting:
            raise KeyboardInterrupt
        url = topicRulePayload["actions"][0]["http"].get("confirmationUrl")
        if url and url not in self.destinations.values():
            self.destinations[f"arn:automatic/{url}"] = url

    def delete_topic_rule(self, *, ruleName: str) -> None:  # noqa: N803 - boto3's
        """Forget a rule, unless that is refused."""
        if self.is_refusing:
            raise refusal("AccessDeniedException")
        self.rules.remove(ruleName)

    def create_topic_rule_destination(self, *, destinationConfiguration: dict[str, Any]) -> dict[str, Any]:  # noqa: N803 - boto3's
        """Keep a destination."""
        arn = f"arn:made/{len(self.destinations)}"
        self.destinations[arn] = destinationConfiguration["httpUrlConfiguration"]["confirmationUrl"]
        if self.is_interrupting:
            raise KeyboardInterrupt
        return {"topicRuleDestination": {"arn": arn}}

    def get_topic_rule_destination(self, *, arn: str) -> dict[str, Any]:
        """Answer that it is confirmed, unless nobody is there to do so."""
        status = "ERROR" if "nobody" in self.destinations[arn] else "ENABLED"
        return {"topicRuleDestination": {"arn": arn, "status": status}}

    def delete_topic_rule_destination(self, *, arn: str) -> None:
        """Forget a destination."""
        del self.destinations[arn]

    def list_topic_rule_destinations(self) -> dict[str, Any]:
        """Answer with all."""
        items = self.destinations.items()
        return {"destinationSummaries": [{"arn": a, "httpUrlSummary": {"confirmationUrl": url}} for a, url in items]}

    def get_paginator(self, operation: str) -> Mock:
        """List all rules."""
        assert operation == "list_topic_rules"
        return Mock(paginate=lambda: [{"rules": [{"ruleName": name} for name in self.rules]}])

    def close(self) -> None:
        """Do nothing."""


@pytest.fixture
def iot() -> FakeIot:
    """AWS IoT."""
    return FakeIot()


@pytest.fixture
def environment(iot: FakeIot) -> Mock:
    """An environment whose clients are doubles."""
    clients = {"iot": iot, "dynamodb": MagicMock(), "sqs": Mock()}
    client = Mock(side_effect=clients.__getitem__)
    return Mock(names=Names("run"), client=client, clients=clients, is_shared=False, is_delayed=False)


@pytest.fixture
def telemetry(environment: Mock) -> Telemetry:
    """What the run's fixture of that name gives, in front of doubles."""
    return Telemetry(environment, stack=STACK, patience=0.1, trace=None)


@pytest.fixture
def faults() -> AsyncMock:
    """The faults of a target with further receivers."""
    return AsyncMock(start_receiver=AsyncMock(return_value=OWN.removesuffix("/ingest")))


@pytest.fixture
def left(iot: FakeIot) -> Iterator[None]:
    """Look, when all other fixtures are gone, at what is left."""
    yield
    assert iot.rules == {"telemetry"}
    assert iot.destinations in ({}, {"arn:stack": "https://u/ingest"})


@pytest.fixture
async def left_running(faults: AsyncMock) -> AsyncIterator[None]:
    """Look, when all other fixtures are gone, at which receivers run."""
    yield
    started = [call.args[0] for call in faults.start_receiver.await_args_list]
    assert [call.args[0] for call in faults.stop_receiver.await_args_list] == started


async def test_rules_and_what_they_brought_are_deleted(left: None, make_rule: MakeRule, iot: FakeIot) -> None:
    """Destinations that AWS IoT made for a rule of the test's own, and no others."""
    iot.destinations["arn:stack"] = "https://u/ingest"

    own = await make_rule(topic="mine", url=OWN)
    await make_rule(topic="mine", url="https://u/ingest")
    await make_rule(topic="mine", where="temp > 1")

    assert own.urls == (OWN,)
    assert iot.rules == {"telemetry", "rule_run_1", "rule_run_2", "rule_run_3"}
    assert set(iot.destinations) == {"arn:stack", f"arn:automatic/{OWN}"}


async def test_destinations_are_deleted(left: None, make_destination: MakeDestination, iot: FakeIot) -> None:
    """Also one that was not confirmed, which is an error unless the test wants that."""
    assert await (await make_destination(OWN)).status() == "ENABLED"
    await make_destination("https://nobody/ingest", status="ERROR")
    with pytest.raises(ExpectationError, match=r"was to become ENABLED .* and is ERROR"):
        await make_destination("https://nobody/ingest")

    assert len(iot.destinations) == 3


async def test_a_further_receiver_is_made_and_stopped(
    left: None, left_running: None, make_receiver: MakeReceiver, faults: AsyncMock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has a destination, and it ends with the test whether or not the test has ended it."""
    monkeypatch.setattr("harness.clients.receiver.ReceiverView.metrics", AsyncMock(return_value={}))

    first, second = await make_receiver(), await make_receiver()
    await first.stop("term")

    assert (first.ingest_url, first.name, second.name) == (f"{OWN}?for=r-run-1", "r-run-1", "r-run-2")
    assert first.destination is not None
    assert await first.destination.status() == "ENABLED"
    faults.stop_receiver.assert_awaited_once_with("r-run-1", how="term")


async def test_what_a_further_receiver_is_posted_to_by_says_whose_it_is(
    left: None,
    left_running: None,
    make_receiver: MakeReceiver,
    make_rule: MakeRule,
    environment: Mock,
    iot: FakeIot,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its destination has no name but its URL, which is all that a sweep knows of one that a killed run left."""
    monkeypatch.setattr("harness.clients.receiver.ReceiverView.metrics", AsyncMock(return_value={}))
    environment.names = Names(run_id := make_run_id(), worker="gw0")

    own = await make_receiver()
    rule = await make_rule(topic="mine", url=own.ingest_url)

    (url,) = iot.destinations.values()
    mark = find_mark(url)
    assert mark is not None
    assert mark.run_id == run_id
    assert rule.urls == (url,)


async def test_the_views_are_of_the_stacks_own(
    rows: Rows, receiver: ReceiverView, dead_letters: DeadLetters, stories: Stories, telemetry: Telemetry
) -> None:
    """Table, receiver and queue; a receiver that is down does not keep a test from beginning."""
    with pytest.raises(ExpectationError, match="sensor-1 was to have 1 row in the table readings within"):
        await rows.expect("sensor-1")
    telemetry.dynamodb.get_paginator.assert_called_with("query")
    with pytest.raises(TargetUnavailable, match=r"The receiver at https://127\.0\.0\.1:1 does not answer"):
        await receiver.metrics()
    telemetry.sqs.receive_message.return_value = {}
    assert await dead_letters.of(Mock(topic="t", payload=b"p")) == []
    assert telemetry.sqs.receive_message.call_args.kwargs["QueueUrl"] == "https://sqs.test/dead"
    assert stories is telemetry.stories


def test_clients_are_made_when_they_are_needed(environment: Mock) -> None:
    """And closed with the run, if they were."""
    telemetry = Telemetry(environment, stack=replace(STACK, dead_letter_queue_url=None), patience=0.1, trace=None)
    telemetry.close()
    environment.client.assert_not_called()

    assert telemetry.dynamodb is telemetry.dynamodb
    telemetry.close()

    environment.client.assert_called_once_with("dynamodb")
    environment.clients["dynamodb"].close.assert_called_once_with()
    environment.clients["sqs"].close.assert_not_called()


def test_letters_of_the_run_do_not_stay_in_the_queue(telemetry: Telemetry, environment: Mock) -> None:
    """Those that no test asked for are removed when it ends; those of other runs stay."""
    letters = [{"MessageId": each, "ReceiptHandle": each, "Body": letter_from(each)} for each in ("s-run-1", "s-ran-1")]
    sqs = environment.clients["sqs"]
    sqs.receive_message.side_effect = [{"Messages": letters}, {}]

    telemetry.close()

    sqs.delete_message.assert_called_once_with(QueueUrl="https://sqs.test/dead", ReceiptHandle="s-run-1")
    given_back = sqs.change_message_visibility_batch.call_args.kwargs["Entries"]
    assert [each["ReceiptHandle"] for each in given_back] == ["s-ran-1"]
    sqs.close.assert_called_once_with()


async def test_one_rule_that_stays_keeps_nothing_else_there(telemetry: Telemetry, iot: FakeIot) -> None:
    """Every step of the removal is done: the destination that came with the rule is gone all the same."""
    making = telemetry_fixtures.make_rule.__wrapped__(telemetry)
    make_rule = await anext(making)
    await make_rule(topic="mine", url=OWN)
    iot.is_refusing = True

    with pytest.raises(TeardownError, match=r"rule rule_run_1 \(.*AccessDenied.*`thingwright sweep --delete`"):
        await anext(making)

    assert iot.destinations == {}


async def test_a_rule_that_somebody_else_has_deleted_is_gone(telemetry: Telemetry, iot: FakeIot) -> None:
    """That is all a removal wants."""
    making = telemetry_fixtures.make_rule.__wrapped__(telemetry)
    make_rule = await anext(making)
    await make_rule(topic="mine")
    iot.rules.remove("rule_run_1")

    with pytest.raises(StopAsyncIteration):
        await anext(making)


@pytest.mark.parametrize(("name", "arguments"), [("make_rule", {"topic": "mine"}), ("make_destination", {"url": OWN})])
async def test_what_an_interrupted_call_has_made_is_removed(
    telemetry: Telemetry, iot: FakeIot, name: str, arguments: dict[str, str]
) -> None:
    """Nobody was told of it, and it was foreseen; what others made for the same URL before stays."""
    iot.destinations["arn:others"] = OWN
    making = getattr(telemetry_fixtures, name).__wrapped__(telemetry)
    make = await anext(making)
    iot.is_interrupting = True

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("asyncio.to_thread", _at_once)
        with pytest.raises(Interrupted):
            await make(**arguments)
    assert len(iot.rules) + len(iot.destinations) == 3

    with pytest.raises(StopAsyncIteration):
        await anext(making)
    assert iot.rules == {"telemetry"}
    assert iot.destinations == {"arn:others": OWN}


class Interrupted(Exception):  # noqa: N818 - says what happened
    """Stands for an interrupt."""


async def _at_once(call: Any, *arguments: Any, **more: Any) -> Any:
    """Call a function here and now; an interrupt in it becomes an error that a test may await."""
    try:
        return call(*arguments, **more)
    except KeyboardInterrupt:
        raise Interrupted from None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("stories", Capability.TRACE),
        ("receiver", Capability.HTTP_ACTION),
        ("rows", Capability.HTTP_ACTION),
        ("dead_letters", Capability.HTTP_ACTION),
        ("redrive", Capability.HTTP_ACTION),
        ("make_rule", Capability.HTTP_ACTION),
        ("make_receiver", Capability.HTTP_ACTION),
        ("make_destination", Capability.DESTINATION_CONFIRMATION),
        ("faults", Capability.FAULTS),
        ("operator", Capability.OPERATOR),
        ("guest_factory", Capability.GUESTS),
        ("device_factory", Capability.DEVICES),
    ],
)
def test_a_fixture_says_what_it_needs(request: pytest.FixtureRequest, name: str, expected: Capability) -> None:
    """So that a test is skipped before anything is asked of a target that lacks it."""
    definition, *_ = request.session._fixturemanager.getfixturedefs(name, request.node) or ()

    assert definition.func.__module__.startswith("harness.")
    assert definition.func.__thingwright_needs__ == (expected,)


async def test_what_cannot_be_removed_is_told_of_in_the_end() -> None:
    """Every step is done, whatever became of the others."""
    done: list[str] = []

    async def fine() -> None:
        await asyncio.sleep(0)
        done.append("fine")

    async def broken() -> None:
        raise TargetUnavailable("The target is gone.")

    with pytest.raises(TeardownError) as failure:
        await telemetry_fixtures._remove([("rule a", broken()), ("rule b", fine())])

    assert done == ["fine"]
    assert failure.value.left_behind == ("rule a (The target is gone.)",)


async def test_an_interrupted_removal_does_the_other_steps() -> None:
    """And then ends as it was told to, with a word on what is left."""
    done: list[str] = []

    async def fine() -> None:
        await asyncio.sleep(0)
        done.append("fine")

    async def interrupted() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError) as failure:
        await telemetry_fixtures._remove([("rule a", interrupted()), ("rule b", fine())])

    assert done == ["fine"]
    assert "left behind: rule a (interrupted)" in failure.value.__notes__[0]


class FakeRedriver:
    """Plays a run over the queue: gives the outcomes it is told, one for each run."""

    outcomes: list[Outcome]
    made: list[dict[str, Any]]

    def __init__(self, **settings: Any) -> None:
        self.made.append(settings)

    def run(self) -> Outcome:
        """Give the next outcome; the last one again and again."""
        return self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]


@pytest.fixture
def redriver(monkeypatch: pytest.MonkeyPatch) -> type[FakeRedriver]:
    """What the fixture `redrive` runs."""
    FakeRedriver.outcomes, FakeRedriver.made = [], []
    monkeypatch.setattr("harness.clients.redriving.Redriver", FakeRedriver)
    return FakeRedriver


async def test_letters_are_redriven_until_all_are_dealt_with(
    redriver: type[FakeRedriver], redrive: Redrive, telemetry: Telemetry
) -> None:
    """Those of the test's own rules, however young; what was left is not counted twice."""
    telemetry.patience = 30.0
    redriver.outcomes += [
        Outcome(redriven=1, left=Counter(later=1), can_go_on=True),
        Outcome(stored=1, left=Counter(later=1), can_go_on=True),
    ]

    outcome = await redrive(Rule(name="mine", sql=""), letters=3)

    assert (outcome.redriven, outcome.stored, outcome.left, outcome.can_go_on) == (1, 1, {"later": 1}, True)
    first, _ = redriver.made
    assert first["min_age"] == 0
    assert [name for name in ("mine", "telemetry") if first["is_wanted"](name)] == ["mine"]


@pytest.mark.parametrize(("there", "told"), [(0, "within 0.4 s, and it is: redriven 0"), (2, "it is: redriven 2")])
async def test_another_number_of_letters_is_told(
    there: int, told: str, redriver: type[FakeRedriver], redrive: Redrive
) -> None:
    """A test says how many there are to be, so that none is missed."""
    redriver.outcomes += [Outcome(redriven=there), Outcome()]

    with pytest.raises(ExpectationError, match=f"1 dead letters of mine were to be dealt with.*{told}"):
        await redrive(Rule(name="mine", sql=""), letters=1)


async def test_letters_that_a_redrive_could_not_give_back_are_told_at_once(
    redriver: type[FakeRedriver], redrive: Redrive
) -> None:
    """And not by the next who waits for one of them: nobody sees them for minutes."""
    redriver.outcomes += [Outcome(left=Counter(later=1), kept=Counter(InternalError=7))]

    with pytest.raises(ExpectationError, match=r"could not be given back, .* \(InternalError\): 7"):
        await redrive(Rule(name="mine", sql=""), letters=1)
