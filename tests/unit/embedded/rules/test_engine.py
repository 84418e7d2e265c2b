"""Which messages are held for which rules, and how much of them."""

from __future__ import annotations

import asyncio
import json
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from harness.embedded.rules import engine as engine_module
from harness.embedded.rules.engine import RuleEngine
from harness.embedded.rules.exchange import Answer, NoAnswer
from harness.embedded.trace_records import Descriptions
from harness.errors import HarnessError
from harness.iot.principals import CertificatePrincipal
from harness.iot.quirks import Quirks
from harness.iot.registry import RegistryChange, RegistrySnapshot, RuleDestination, TopicRule
from harness.mqtt.authorization import ConnectionInfo
from harness.mqtt.events import Published
from harness.mqtt.packets import NO_PROPERTIES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from harness.iot.rules import HttpRequest

URL = "https://localhost:9999/ingest"
INFO = ConnectionInfo(
    connection_id="c-1",
    principal=CertificatePrincipal(certificate_id="c" * 64, arn="arn:aws:iot:::cert/c"),
    transport="mqtts",
    remote="127.0.0.1:5",
    client_id="device-1",
)
DESTINATION = RuleDestination(arn="arn:destination", confirmation_url=URL, status="ENABLED")


class HeldPoster:
    """Answers nobody until it is told to.

    Attributes:
        under_way: requests without an answer.
        requests: all that came.
        status: of its answers.
        is_loading: whether it was told that it will be needed.
    """

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.requests: list[HttpRequest] = []
        self.under_way = 0
        self.status = 200
        self.is_loading = False
        self.is_closed = False

    def load(self) -> None:
        """Note it."""
        self.is_loading = True

    async def ready(self) -> None:
        """Return."""

    async def post(self, request: HttpRequest, *, within: float) -> Answer | NoAnswer:
        """Wait, then answer."""
        assert within <= 3.0
        self.requests.append(request)
        self.under_way += 1
        try:
            await self.gate.wait()
        finally:
            self.under_way -= 1
        return Answer(status=self.status, reason="", body_bytes=0, is_connection_closed=lambda: False)

    async def aclose(self) -> None:
        """Note it."""
        self.is_closed = True


class Engine:
    """An engine, its poster and what it wrote into the trace."""

    def __init__(self) -> None:
        self._records: list[Any] = []
        self._ids = iter(range(1_000_000))
        self.asked: list[dict[str, Any]] = []
        self.poster = HeldPoster()
        self.engine = RuleEngine(
            quirks=Quirks(),
            client=self.poster,  # type: ignore[arg-type] # does what it does
            record=self._records.append,
            make_id=lambda: "uuid",
            loop=asyncio.get_running_loop(),
        )
        self.snapshot = RegistrySnapshot(destinations={DESTINATION.arn: DESTINATION})

    def change(self, *rules: TopicRule, drop: tuple[str, ...] = ()) -> None:
        """Put rules in force, as the hub does."""
        change = RegistryChange(put={"rules": rules}, drop={"rules": drop})
        self.engine.prepare(change)
        self.snapshot = self.snapshot.apply(change)
        self.engine.update(self.snapshot)

    def offer(self, topic: str = "a", *, payload: bytes = b"{}", info: ConnectionInfo | None = INFO) -> str:
        """Publish a message; return its id."""
        event = Published(
            info=info,
            message_id=f"m-{next(self._ids)}",
            topic_name=topic,
            payload=payload,
            qos=0,
            retain=False,
            properties=NO_PROPERTIES,
            received_at=1.0,
        )
        self.engine.offer(event, 1.0, len(payload))
        return event.message_id

    def records(self, kind: str) -> list[dict[str, Any]]:
        """Return what the trace got of a kind."""
        descriptions = Descriptions(region="eu-west-1", account_id="123456789012")
        described = [made for record in self._records for made in descriptions.describe(record)]
        return [made for made in described if made["kind"] == kind]

    def outcomes(self, kind: str = "rule") -> list[tuple[str, str]]:
        """Return rule and outcome of each record of a kind."""
        return [(made["detail"]["rule"], made["detail"]["outcome"]) for made in self.records(kind)]

    async def ask(self, op: str, **members: Any) -> dict[str, Any]:
        """Be the control plane."""
        self.asked.append({"op": op, **members})
        return {}


async def until(holds: Callable[[], bool]) -> None:
    """Let the loop turn until something holds."""
    async with asyncio.timeout(30.0):
        while not holds():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0)


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    """An engine in this loop."""
    made = Engine()
    made.engine.connect_control_plane(made.ask)
    yield made
    await made.engine.aclose()
    assert made.poster.is_closed


def rule(name: str = "one", topic_filter: str = "a", **changes: Any) -> TopicRule:
    """Make a rule that posts everything of a topic."""
    members: dict[str, Any] = {
        "name": name,
        "arn": f"arn:aws:iot:eu-west-1:123456789012:rule/{name}",
        "sql": f"SELECT * FROM '{topic_filter}'",  # noqa: S608 - no database reads it
        "sql_version": "2016-03-23",
        "actions": (json.dumps({"http": {"url": URL}}),),
        **changes,
    }
    return TopicRule(**members)


@pytest.mark.parametrize(
    ("topic_filter", "topic", "takes"),
    [
        ("a", "a", True),
        ("a", "b", False),
        ("+/b", "a/b", True),
        ("a/#", "a/b/c", True),
        ("a/#", "a", False),
        ("#", "a", True),
        ("#", "$aws/events/presence/connected/a", False),
        ("$aws/events/#", "$aws/events/presence/connected/a", True),
    ],
)
async def test_a_rule_takes_the_messages_of_its_topics(
    engine: Engine, topic_filter: str, topic: str, *, takes: bool
) -> None:
    """As a subscription does, the broker's own messages included."""
    engine.change(rule("one", topic_filter), rule("twin", topic))

    engine.offer(topic, info=None)
    await until(lambda: ("twin", "matched") in engine.outcomes())

    assert (("one", "matched") in engine.outcomes()) is takes


async def test_nothing_is_loaded_for_rules_that_post_nothing(engine: Engine) -> None:
    """The HTTP client is, with the first rule that posts."""
    assert not engine.engine.is_loaded
    engine.change(rule(actions=()))
    assert engine.engine.is_loaded
    engine.change(rule(is_disabled=True))
    assert not engine.poster.is_loading

    engine.change(rule())

    assert engine.poster.is_loading


async def test_rules_change_while_messages_come(engine: Engine) -> None:
    """A topic's rules are remembered only until any of them changes."""
    engine.change(rule("one"))
    engine.offer()
    engine.change(rule("two"))
    engine.offer()
    engine.change(rule("one", is_disabled=True))
    engine.offer()
    engine.change(drop=("two",))
    engine.offer()
    await until(lambda: len(engine.outcomes()) == 4)

    assert [name for name, _ in engine.outcomes()] == ["one", "one", "two", "two"]


async def test_only_rules_that_changed_are_read_anew(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once each, when they come."""
    engine.change(rule("one"), rule("two"))
    read: list[str] = []
    runner = type(engine.engine._loaded_runner())
    compile_rule = runner.compile

    def compile_and_note(record: TopicRule) -> Any:
        read.append(record.name)
        return compile_rule(record)

    monkeypatch.setattr(runner, "compile", staticmethod(compile_and_note))
    engine.change(rule("two", "b"), rule("three"))
    engine.snapshot = engine.snapshot.apply(RegistryChange())
    engine.engine.update(engine.snapshot)

    assert read == ["two", "three"]


async def test_a_rule_that_cannot_run_changes_nothing(engine: Engine) -> None:
    """It is refused when it comes, not when a message does."""
    engine.change(rule("one"))
    with pytest.raises(HarnessError):
        engine.change(rule("two", sql="SELECT nonsense("), rule("three"))

    engine.offer()
    await until(lambda: len(engine.outcomes()) == 1)


async def test_destinations_hold_from_the_moment_they_change(engine: Engine) -> None:
    """What is evaluated afterwards goes by the new status."""
    engine.change(rule())
    disabled = RuleDestination(arn=DESTINATION.arn, confirmation_url=URL, status="DISABLED")
    engine.snapshot = engine.snapshot.apply(RegistryChange(put={"destinations": (disabled,)}))
    engine.engine.update(engine.snapshot)

    engine.offer()
    await until(lambda: bool(engine.records("action")))

    assert engine.outcomes("action") == [("one", "failed")]
    assert engine.poster.requests == []


async def test_a_receiver_gets_so_many_requests_at_once_and_every_message_ends_once(engine: Engine) -> None:
    """The others wait their turn; nothing is lost and nothing sent twice."""
    engine.change(rule())
    ids = [engine.offer() for _ in range(250)]
    await until(lambda: len(engine.outcomes()) == 250)
    assert engine.poster.under_way == 100
    assert engine.engine.held_messages == 250

    engine.poster.gate.set()
    await until(lambda: not engine.engine.held_messages)

    assert [record["message_id"] for record in engine.records("action")] == ids
    assert set(engine.outcomes("action")) == {("one", "ok")}
    assert len(engine.poster.requests) == 250
    assert engine.engine.held_bytes == 0


async def test_a_receiver_that_does_not_answer_holds_up_no_other(engine: Engine) -> None:
    """Each has its own places."""
    other = RuleDestination(arn="arn:other", confirmation_url="https://localhost:1", status="ENABLED")
    engine.snapshot = engine.snapshot.apply(RegistryChange(put={"destinations": (other,)}))
    elsewhere = json.dumps({"http": {"url": "https://localhost:1/ingest"}})
    engine.change(rule("slow"), rule("other", "b", actions=(elsewhere,)))
    for _ in range(150):
        engine.offer("a")

    engine.offer("b")
    await until(lambda: len(engine.poster.requests) == 101)

    assert engine.poster.requests[-1].url == "https://localhost:1/ingest"


@pytest.mark.parametrize(
    ("limit", "value", "payload"),
    [("MAX_HELD_MESSAGES", 5, b"{}"), ("MAX_HELD_BYTES", 5_000, json.dumps({"a": "x" * 990}).encode())],
)
async def test_what_waits_is_bounded_and_what_is_not_taken_is_told(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, limit: str, value: int, payload: bytes
) -> None:
    """Neither many messages nor large ones can fill the memory; afterwards messages are taken as before."""
    monkeypatch.setattr(engine_module, limit, value)
    engine.change(rule("one"), rule("two", "+"))

    refused = [engine.offer(payload=payload) for _ in range(8)][5:]

    throttled = [made for made in engine.records("rule") if made["detail"]["outcome"] == "throttled"]
    assert [(made["message_id"], made["detail"]["rule"]) for made in throttled[-6:]] == [
        (message_id, name) for message_id in refused for name in ("one", "two")
    ]
    assert "the limit" in throttled[0]["detail"]["because"]
    assert engine.engine.throttled_messages == len({made["message_id"] for made in throttled}) >= 3
    engine.poster.gate.set()
    await until(lambda: not engine.engine.held_messages)
    engine.offer(payload=payload)
    await until(lambda: not engine.engine.held_messages)
    taken = {made["message_id"] for made in engine.records("action")}
    assert taken.isdisjoint({made["message_id"] for made in throttled})
    assert len(engine.records("action")) == 2 * len(taken)
    assert "m-8" in taken


async def test_requests_made_of_messages_are_bounded_too(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A statement may make much of little: then it is evaluated no sooner than there is room."""
    engine.change(rule(sql="SELECT '" + "x" * 1_000 + "' AS long FROM 'a'"))
    monkeypatch.setattr(engine_module, "MAX_HELD_BYTES", 3_000)
    for _ in range(10):
        engine.offer()
    await until(lambda: engine.poster.under_way == 3)
    for _ in range(50):
        await asyncio.sleep(0)
    assert len(engine.outcomes()) == 3

    engine.poster.gate.set()
    await until(lambda: not engine.engine.held_messages)

    assert len(engine.outcomes("action")) == 10
    engine.poster.gate.clear()
    for _ in range(3):
        engine.offer()
    await until(lambda: engine.poster.under_way == 3)


async def test_a_few_messages_are_evaluated_between_two_turns_of_the_loop(engine: Engine) -> None:
    """So that what the broker has to send does not wait for a crowd of them."""
    engine.change(rule())
    for _ in range(100):
        engine.offer()
    assert engine.outcomes() == []

    seen = [0]
    while seen[-1] < 100:
        await asyncio.sleep(0)
        seen.append(len(engine.outcomes()))

    assert max(after - before for before, after in pairwise(seen)) <= 16


async def test_topics_without_a_rule_are_forgotten_before_they_fill_the_memory(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever invents topics gains nothing."""
    monkeypatch.setattr(engine_module, "_REMEMBERED_TOPICS", 10)
    engine.change(rule("one", "known"))
    for number in range(100):
        engine.offer(f"topic/{number}")
        assert len(engine.engine._matches) <= 10

    engine.offer("known")
    await until(lambda: engine.outcomes() == [("one", "matched")])


async def test_a_mistake_in_one_rule_is_told_and_does_not_end_the_others(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Evaluation is ours: it may be wrong."""
    engine.change(rule("one"), rule("two"))
    runner = engine.engine._loaded_runner()
    begin = runner.begin

    def fail_for_one(compiled: Any, *rest: Any, **more: Any) -> Any:
        if compiled.name == "one":
            raise RuntimeError("a mistake")
        return begin(compiled, *rest, **more)

    monkeypatch.setattr(runner, "begin", fail_for_one)
    engine.poster.gate.set()
    engine.offer()
    engine.offer()
    await until(lambda: not engine.engine.held_messages)

    assert engine.outcomes() == [("one", "failed"), ("two", "matched")] * 2
    assert "a mistake" in caplog.text


async def test_an_error_action_without_a_control_plane_fails() -> None:
    """It is not connected yet, or never."""
    alone = Engine()
    alone.poster.status = 400
    alone.poster.gate.set()
    queue = {"queueUrl": "http://127.0.0.1/1/q", "roleArn": "arn:aws:iam::123456789012:role/r"}
    alone.change(rule(error_action=json.dumps({"sqs": queue})))

    alone.offer()
    await until(lambda: not alone.engine.held_messages)

    assert alone.outcomes("error_action") == [("one", "failed")]
    await alone.engine.aclose()


async def test_an_engine_that_is_closed_gives_up_what_is_under_way(engine: Engine) -> None:
    """At once, and takes nothing more."""
    engine.change(rule())
    for _ in range(150):
        engine.offer()
    await until(lambda: engine.poster.under_way == 100)

    await engine.engine.aclose()
    engine.offer()

    assert engine.poster.under_way == 0
    assert engine.engine.held_messages == 0
    assert set(engine.outcomes("action")) == {("one", "failed")}
