"""The trace: read forward, quoted in failures, asked for causes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from harness.clients.trace import line

if TYPE_CHECKING:
    from conftest import FakeTarget

TOPIC = "arn:aws:iot:eu-central-1:1:topicfilter/things/telemetry"


def decision(action: str, resource: str, *, allowed: bool = False, because: str = "no statement") -> dict[str, Any]:
    """Make the detail of a decision."""
    return {"action": action, "resource": resource, "allowed": allowed, "because": because}


async def test_only_what_is_new_is_asked_for(fake_target: FakeTarget) -> None:
    """One reader per run keeps what it has read."""
    trace = fake_target.trace
    fake_target.add("connect", client_id="a")
    await trace.records()
    fake_target.add("disconnect", client_id="a")

    records = await trace.records()

    assert [each["kind"] for each in records] == ["connect", "disconnect"]
    assert [each["since"] for each in fake_target.asked] == [["0"], ["1"]]


async def test_what_came_since_is_told_apart(fake_target: FakeTarget) -> None:
    """Whoever has seen some asks for the rest."""
    for name in ("a", "b", "c"):
        fake_target.add("connect", client_id=name)

    assert [each["client_id"] for each in await fake_target.trace.since(1)] == ["b", "c"]
    assert await fake_target.trace.since(3) == []


async def test_the_tail_is_about_those_concerned(fake_target: FakeTarget) -> None:
    """Lines of the clients and of the topic, and nobody else's."""
    fake_target.add("connect", client_id="mine")
    fake_target.add("connect", client_id="other")
    fake_target.add("publish", client_id="other", topic="public/x")

    lines = await fake_target.trace.tail(client_ids=["mine"], topic="public/x")

    assert [each.split()[0] for each in lines] == ["#1", "#3"]


async def test_the_tail_shows_denials_that_are_further_back(fake_target: FakeTarget) -> None:
    """The one line that explains a missing message is not pushed out by many that do not."""
    fake_target.add("decision", client_id="mine", detail=decision("iot:Receive", "r", because="Deny in guest"))
    for _ in range(40):
        fake_target.add("publish", client_id="mine", topic="public/x")

    lines = await fake_target.trace.tail(client_ids=["mine"])

    assert "DENIED mine iot:Receive because Deny in guest" in lines[0]
    assert len(lines) == 16


async def test_the_tail_leaves_out_what_was_allowed(fake_target: FakeTarget) -> None:
    """What came of it has a line of its own."""
    fake_target.add("decision", client_id="mine", detail=decision("iot:Connect", "r", allowed=True))
    fake_target.add("connect", client_id="mine")

    assert len(await fake_target.trace.tail(client_ids=["mine"])) == 1


async def test_denials_are_told_by_cause(fake_target: FakeTarget) -> None:
    """One line for all clients that were denied the same for the same reason."""
    for client in ("a", "b", "a", "c"):
        because = "another statement" if client == "c" else "no statement"
        detail = decision("iot:Receive", "r", because=because)
        fake_target.add("decision", client_id=client, topic="t", detail=detail)
    fake_target.add("decision", client_id="a", topic="u", detail=decision("iot:Receive", "r"))
    fake_target.add("decision", client_id="d", topic="t", detail=decision("iot:Receive", "r"))

    assert await fake_target.trace.denials(client_ids=["a", "b", "c"], topic="t") == [
        "iot:Receive was denied to a, b: no statement",
        "iot:Receive was denied to c: another statement",
    ]
    fake_target.status = 500
    assert await fake_target.trace.denials(client_ids=["a"], topic="t") == []


async def test_the_tail_of_strangers_is_everybodys(fake_target: FakeTarget) -> None:
    """Where nothing concerns a client, what happened at all may still help."""
    fake_target.add("upgrade_refused", detail={"because": "expired"})

    assert "because=expired" in (await fake_target.trace.tail(client_ids=["nobody"]))[0]


async def test_a_trace_that_cannot_be_read_hides_no_failure(fake_target: FakeTarget) -> None:
    """The message of the failure says so and goes on without."""
    fake_target.status = 500

    assert (await fake_target.trace.tail())[0].startswith("(no trace:")
    assert await fake_target.trace.why_operation_refused(client_id="a", action="b", resource="c") is None


async def test_a_refused_subscription_is_explained_by_its_decision(fake_target: FakeTarget) -> None:
    """The decision about this client, this action and this resource; the newest of them."""
    deny = decision("iot:Subscribe", TOPIC, because="the nearest miss")
    fake_target.add("decision", client_id="mine", detail=decision("iot:Subscribe", TOPIC, because="an older one"))
    fake_target.add("decision", client_id="mine", detail=deny)
    fake_target.add("decision", client_id="other", detail=decision("iot:Subscribe", TOPIC, because="not mine"))
    fake_target.add("decision", client_id="mine", detail=decision("iot:Publish", TOPIC, because="not this"))
    fake_target.add("decision", client_id="mine", detail=decision("iot:Subscribe", TOPIC, allowed=True))

    because = await fake_target.trace.why_operation_refused(
        client_id="mine", action="iot:Subscribe", resource="things/telemetry"
    )

    assert because == "the nearest miss"


@pytest.mark.parametrize(("action", "because"), [("iot:Subscribe", "not served yet"), ("iot:Publish", "reserved")])
async def test_what_no_policy_was_asked_about_is_explained_too(
    fake_target: FakeTarget, action: str, because: str
) -> None:
    """Limits, reserved topics and what is not served yet refuse by themselves: for this client, topic and packet."""
    topic = "$share/group/a"
    fake_target.add(
        "refusal", client_id="mine", topic=topic, detail={"packet": "subscribe", "because": "not served yet"}
    )
    fake_target.add("refusal", client_id="mine", topic=topic, detail={"packet": "publish", "because": "reserved"})
    fake_target.add("refusal", client_id="mine", topic="b", detail={"packet": "subscribe", "because": "another filter"})
    fake_target.add("refusal", client_id="other", topic=topic, detail={"packet": "subscribe", "because": "not mine"})

    assert await fake_target.trace.why_operation_refused(client_id="mine", action=action, resource=topic) == because


async def test_a_refused_retained_message_is_explained_by_the_second_permission(fake_target: FakeTarget) -> None:
    """Publishing it takes two, and either may be what was lacking."""
    deny = decision("iot:RetainPublish", TOPIC, because="it may not stay")
    fake_target.add("decision", client_id="mine", detail=decision("iot:Publish", TOPIC, allowed=True))
    fake_target.add("decision", client_id="mine", detail=deny)

    because = await fake_target.trace.why_operation_refused(
        client_id="mine", action="iot:Publish", resource="things/telemetry"
    )

    assert because == "it may not stay"


@pytest.mark.parametrize(
    ("how", "access_key_id", "because"),
    [
        ("upgrade-403", "ASIA1", "it expired"),
        ("upgrade-403", None, "it was not signed"),
        ("connack", "ASIA1", "not this client id"),
        ("tls", None, "no certificate"),
    ],
)
async def test_a_refused_connection_is_explained_by_the_step_that_refused(
    fake_target: FakeTarget, how: Any, access_key_id: str | None, because: str
) -> None:
    """Before CONNECT the target knows the key and not the client id."""
    fake_target.add("upgrade_refused", detail={"because": "it expired", "access_key_id": "ASIA1"})
    fake_target.add("upgrade_refused", detail={"because": "unknown", "access_key_id": "ASIA2"})
    fake_target.add("upgrade_refused", detail={"because": "it was not signed", "access_key_id": None})
    fake_target.add("tls_refused", detail={"because": "no certificate"})
    fake_target.add("connect_refused", client_id="mine", detail={"because": "not this client id"})
    fake_target.add("connect_refused", client_id="other", detail={"because": "not that one"})

    found = await fake_target.trace.why_connection_refused(client_id="mine", how=how, access_key_id=access_key_id)

    assert found == because


async def test_a_cause_that_comes_late_is_waited_for(fake_target: FakeTarget) -> None:
    """The target is asked once at once and once with a wait."""
    because = await fake_target.trace.why_operation_refused(client_id="a", action="b", resource="c", within=0.5)

    assert because is None
    at_once, patiently = (float(each["wait"][0]) for each in fake_target.asked)
    assert at_once == 0
    assert 0 < patiently <= 0.5


async def test_many_who_wait_for_a_cause_wait_together(fake_target: FakeTarget) -> None:
    """A hundred clients refused without a cause do not hold the failure back a hundred times as long."""
    fake_target.does_wait = True
    trace = fake_target.trace

    await asyncio.gather(
        *(trace.why_operation_refused(client_id=str(n), action="b", resource="c", within=0.2) for n in range(30))
    )

    assert sum(float(each["wait"][0]) for each in fake_target.asked) < 1


def test_a_line_says_when_who_and_what() -> None:
    """Short enough for a failure message, and without what is empty or too long."""
    record = {
        "seq": 7,
        "at": "2026-11-21T20:01:02.123Z",
        "actor": "broker",
        "kind": "publish",
        "client_id": "a",
        "topic": "t",
        "detail": {"qos": 1, "nothing": None, "granted": [{"topic_filter": "x" * 200}]},
    }

    assert line(record) == f'#7 20:01:02.123 broker publish a t qos=1 granted=[{{"topic_filter": "{"x" * 101}…'


def test_a_reason_is_told_at_length() -> None:
    """What AWS has to say about a refused call is longer than any other value."""
    record = {"seq": 1, "at": "", "actor": "control", "kind": "api", "detail": {"because": "b" * 500, "x": "x" * 500}}

    written = line(record)

    assert "because=" + "b" * 500 in written
    assert written.endswith("x=" + "x" * 120 + "…")
