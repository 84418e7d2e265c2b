"""Redriving against doubles that keep rows as the receiver does: nothing lost, nothing doubled, whatever happens."""

from __future__ import annotations

import hashlib
import itertools
import json
import socket
import ssl
import threading
import time
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import boto3
import httpx
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from botocore.stub import ANY, Stubber

from harness.clients import letter_box, redriving
from harness.clients.letter_box import LetterBox
from harness.clients.redriving import AT_ONCE, IN_VAIN, ROUND, Redriver
from harness.clients.stored import StoredRows, make_looks
from harness.clients.undelivered import LostMessage
from harness.errors import TargetUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

QUEUE = "https://sqs.test/dead"
URL = "https://receiver.test/ingest"
NOW = int(time.time() * 1000)
OLD = NOW - 3_600_000


def refused(code: str) -> ClientError:
    """Make what boto3 raises when AWS refuses a call."""
    return ClientError({"Error": {"Code": code, "Message": "secret things"}}, "Operation")


class World:
    """Queue, table, rule and receiver, as one run of redriving meets them; every method is safe to call from threads.

    Attributes:
        rows: (device, sort key) to message id.
        letters: the queue's id to body.
        sent_at: the queue's id to its time, in milliseconds.
        hidden: ids that have been received and not been given back.
        on_post: called with each request before it is answered; what it returns or raises is the answer, None: stored.
        answers: operation to what it raises.
        rules: name to what GetTopicRule answers.
    """

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], str] = {}
        self.letters: dict[str, str] = {}
        self.sent_at: dict[str, int] = {}
        self.hidden: set[str] = set()
        self.posted: list[httpx.Request] = []
        self.most_hidden = 0
        self.received: list[dict[str, Any]] = []
        self.queries: list[dict[str, Any]] = []
        self.on_post: Callable[[httpx.Request], httpx.Response | None] = lambda _: None
        self.on_delete: Callable[[list[str]], None] = lambda _: None
        self.answers: dict[str, Exception] = {}
        self.not_deleted: dict[str, str] = {}
        self.kept: dict[str, list[str]] = {}
        self.headers: dict[str, str] = {}
        self.rules = {"telemetry": rule()}
        self._lock = threading.RLock()
        self._numbers = itertools.count(1)

    # --- what tests do

    def lose(self, device_id: str = "dev-1", *, sent_at: int = OLD, **changes: Any) -> str:
        """Put a letter into the queue; return the message's id."""
        number = next(self._numbers)
        payload = json.dumps({"deviceId": device_id, "temp": number}).encode()
        told = {
            "ruleName": "telemetry",
            "topic": "things/telemetry",
            "cloudwatchTraceId": f"trace-{number}",
            "clientId": device_id,
            "base64OriginalPayload": b64encode(payload).decode(),
            "failures": [{"failedAction": "HttpAction", "failedResource": URL, "errorMessage": "503"}],
            **changes,
        }
        self.letters[f"letter-{number}"] = json.dumps(told)
        self.sent_at[f"letter-{number}"] = sent_at
        return str(told["cloudwatchTraceId"])

    def store(self, device_id: str, at: int, message_id: str) -> None:
        """Put a row there, as the receiver does."""
        moment = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=at)
        text = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        with self._lock:
            self.rows[device_id, f"{text}#{message_id}"] = message_id

    def show_again(self) -> None:
        """Let the time be over for which received letters are held back."""
        with self._lock:
            self.hidden.clear()

    @property
    def stored_ids(self) -> list[str]:
        """The message ids of all rows, sorted: twice what has two rows."""
        return sorted(self.rows.values())

    # --- boto3's clients

    def get_queue_attributes(self, **parameters: Any) -> dict[str, Any]:
        """Count what is hidden."""
        (name,) = parameters["AttributeNames"]
        assert name == "ApproximateNumberOfMessagesNotVisible"
        with self._lock:
            return {"Attributes": {name: str(len(self.hidden & set(self.letters)))}}

    def receive_message(self, **parameters: Any) -> dict[str, Any]:
        """Hand out what is not hidden."""
        self._answer("receive")
        with self._lock:
            self.received.append(parameters)
            ids = [each for each in self.letters if each not in self.hidden][: parameters["MaxNumberOfMessages"]]
            self.hidden |= set(ids)
            self.most_hidden = max(self.most_hidden, len(self.hidden & set(self.letters)))
            messages = [
                {
                    "MessageId": each,
                    "ReceiptHandle": f"handle-{each}",
                    "Body": self.letters[each],
                    "Attributes": {"SentTimestamp": str(self.sent_at[each])},
                }
                for each in ids
            ]
        answer: dict[str, Any] = {"ResponseMetadata": {"HTTPHeaders": self.headers}}
        return {**answer, "Messages": messages} if messages else answer

    def delete_message_batch(self, **parameters: Any) -> dict[str, Any]:
        """Forget letters."""
        self._answer("delete")
        ids = {each["Id"]: each["ReceiptHandle"].removeprefix("handle-") for each in parameters["Entries"]}
        assert 0 < len(ids) <= 10
        self.on_delete(list(ids.values()))
        with self._lock:
            for its_id in ids.values():
                if its_id not in self.not_deleted:
                    self.letters.pop(its_id, None)  # deleting one twice is no mistake
        failed = [
            {"Id": each, "Code": self.not_deleted[its_id]} for each, its_id in ids.items() if its_id in self.not_deleted
        ]
        return {"Failed": failed} if failed else {}

    def change_message_visibility_batch(self, **parameters: Any) -> dict[str, Any]:
        """Show letters again."""
        self._answer("give back")
        ids = {each["Id"]: each["ReceiptHandle"].removeprefix("handle-") for each in parameters["Entries"]}
        assert 0 < len(ids) <= 10
        failed = [
            {"Id": each, "Code": codes.pop(0)} for each, its_id in ids.items() if (codes := self.kept.get(its_id))
        ]
        with self._lock:
            self.hidden -= {its_id for each, its_id in ids.items() if each not in {one["Id"] for one in failed}}
        return {"Failed": failed} if failed else {}

    def get_topic_rule(self, *, ruleName: str) -> dict[str, Any]:  # noqa: N803 - AWS's name
        """Describe a rule."""
        if ruleName not in self.rules:
            raise refused("UnauthorizedException")
        return {"rule": self.rules[ruleName]}

    def get_paginator(self, operation: str) -> World:
        """Give what pages the only operation there is."""
        assert operation == "query"
        return self

    def paginate(self, **query: Any) -> list[dict[str, Any]]:
        """Answer a Query, one row a page."""
        self._answer("query")
        assert query["ConsistentRead"]
        values = {name: value["S"] for name, value in query["ExpressionAttributeValues"].items()}
        ids = {value for name, value in values.items() if name.startswith(":id")}
        with self._lock:
            self.queries.append(query)
            found = [
                {"Items": [{"received_at": {"S": key}, "message_id": {"S": message_id}}]}
                for (device, key), message_id in self.rows.items()
                if device == values[":device"]
                and values[":since"] <= key <= values[":until"]
                and (not ids or message_id in ids)
            ]
        return [{"Items": []}, *found]

    # --- the receiver

    def answer_post(self, request: httpx.Request) -> httpx.Response:
        """Take a reading as the receiver does: the same key for the same id and time."""
        with self._lock:
            self.posted.append(request)
        if (answer := self.on_post(request)) is None:
            self.take(request)
            answer = httpx.Response(200)
        return httpx.Response(answer.status_code, stream=answer.stream)  # not read yet

    def take(self, request: httpx.Request) -> None:
        """Store what a request brings."""
        assert str(request.url) == URL
        assert request.headers["x-iot-secret"] == "s3cret"
        at = request.headers["x-received-at"]
        made_up = hashlib.sha256(at.encode() + request.content).hexdigest()[:32]
        message_id = request.headers["x-message-id"] or made_up
        self.store(json.loads(request.content)["deviceId"], int(at), message_id)

    def _answer(self, operation: str) -> None:
        if operation in self.answers:
            raise self.answers[operation]


def rule(name: str = "telemetry") -> dict[str, Any]:
    """Describe the stack's rule under a name."""
    headers = {
        "X-Iot-Secret": "s3cret",
        "X-Message-Id": "${traceid()}",
        "X-Received-At": "${timestamp()}",
        "X-Client-Id": "${clientid()}",
    }
    listed = [{"key": key, "value": value} for key, value in headers.items()]
    sql = "SELECT * FROM 'things/telemetry'"
    return {"ruleName": name, "sql": sql, "actions": [{"http": {"url": URL, "headers": listed}}]}


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """Where a run happens; its posts go to no network."""
    world = World()
    client = httpx.Client

    def make_client(**settings: Any) -> httpx.Client:
        assert settings["trust_env"] is False
        assert isinstance(settings["verify"], ssl.SSLContext)
        return client(transport=httpx.MockTransport(world.answer_post), timeout=settings["timeout"])

    monkeypatch.setattr("harness.clients.redriving.httpx.Client", make_client)
    return world


@pytest.fixture
def make_redriver(world: World) -> Callable[..., Redriver]:
    """Makes runs of redriving."""
    tls = ssl.create_default_context()

    def make(**settings: Any) -> Redriver:
        return Redriver(box=LetterBox(world, QUEUE), rows=StoredRows(world, "readings"), iot=world, tls=tls, **settings)

    return make


def test_what_has_no_row_is_posted_and_its_letter_deleted(world: World, make_redriver: Callable[..., Redriver]) -> None:
    """And what has one is not, whenever in the hour before its letter it was received."""
    lost = [world.lose("dev-1"), world.lose("dev-2")]
    stored = [world.lose("dev-1"), world.lose("dev-3")]
    world.store("dev-1", OLD - 2_900, stored[0])
    world.store("dev-3", OLD - 3_599_000, stored[1])

    outcome = make_redriver().run()

    assert str(outcome) == "redriven 2, already stored 2, left 0"
    assert not outcome.can_go_on
    assert world.stored_ids == sorted(lost + stored)
    assert world.letters == {}
    assert sorted(each.headers["x-message-id"] for each in world.posted) == sorted(lost)
    assert {each.headers["x-received-at"] for each in world.posted} == {str(OLD)}


@pytest.mark.parametrize(
    ("apart", "is_found"), [(-3_600_000, True), (-3_600_001, False), (60_000, True), (60_001, False)]
)
def test_a_row_counts_from_an_hour_before_its_letter(
    apart: int,
    is_found: bool,  # noqa: FBT001 - a column
    world: World,
    make_redriver: Callable[..., Redriver],
) -> None:
    """Until a minute behind it, when another letter of the same message may have been redriven; both ends included."""
    world.store("dev-1", OLD + apart, world.lose())

    assert make_redriver().run().stored == is_found


def test_a_second_run_finds_nothing_to_do(world: World, make_redriver: Callable[..., Redriver]) -> None:
    """An empty queue is success."""
    world.lose()
    make_redriver().run()

    outcome = make_redriver().run()

    assert (outcome.seen, outcome.can_go_on, len(world.posted)) == (0, False, 1)


def test_a_young_letter_is_given_back(world: World, make_redriver: Callable[..., Redriver]) -> None:
    """By the clock of the queue, which stamps the letters; a later run takes it."""
    world.headers["date"] = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    at = int(time.time() * 1000) + 3_600_000
    young = world.lose(sent_at=at - 50_000)
    old = world.lose(sent_at=at - 70_000)

    outcome = make_redriver().run()

    assert outcome.left == {"younger than 60 s": 1}
    assert outcome.can_go_on
    assert world.stored_ids == [old]
    assert world.hidden & set(world.letters) == set()
    assert make_redriver(min_age=40).run().redriven == 1
    assert world.stored_ids == sorted([old, young])


def test_without_a_minimum_the_age_is_not_asked_for(world: World, make_redriver: Callable[..., Redriver]) -> None:
    """A clock that cuts seconds off cannot make a letter younger than that; and an answer may have no date."""
    world.lose(sent_at=int(time.time() * 1000) + 900)

    assert make_redriver(min_age=0).run().redriven == 1


def test_a_run_that_is_killed_after_the_post_is_made_good(world: World, make_redriver: Callable[..., Redriver]) -> None:
    """The next one finds the row: nothing is posted again."""
    lost = world.lose()

    def killed(_: list[str]) -> None:
        raise KeyboardInterrupt

    world.on_delete = killed
    with pytest.raises(KeyboardInterrupt):
        make_redriver().run()
    assert list(world.letters) == ["letter-1"]
    world.on_delete = lambda _: None

    outcome = make_redriver().run()

    assert (outcome.redriven, outcome.stored) == (0, 1)
    assert world.stored_ids == [lost]
    assert world.letters == {}


def test_a_run_that_is_killed_while_it_posts_is_made_good(world: World, make_redriver: Callable[..., Redriver]) -> None:
    """Whether or not the receiver has taken it; the letter is given back at once."""
    lost = [world.lose(), world.lose()]

    def killed(request: httpx.Request) -> None:
        if request.headers["x-message-id"] == lost[0]:
            world.take(request)
        raise KeyboardInterrupt

    world.on_post = killed
    with pytest.raises(KeyboardInterrupt):
        make_redriver().run()
    assert world.hidden == set()
    world.on_post = lambda _: None

    outcome = make_redriver().run()

    assert outcome.redriven + outcome.stored == 2
    assert outcome.stored >= 1
    assert world.stored_ids == sorted(lost)


def test_an_answer_that_gets_lost_doubles_nothing(world: World, make_redriver: Callable[..., Redriver]) -> None:
    """The row is there, the letter stays, and the next run sees that."""
    lost = world.lose()

    def lose_answer(request: httpx.Request) -> None:
        world.take(request)
        raise httpx.ReadTimeout("late", request=request)

    world.on_post = lose_answer
    first = make_redriver().run()
    world.on_post = lambda _: None

    second = make_redriver().run()

    assert first.left == {"no answer (ReadTimeout)": 1}
    assert first.can_go_on
    assert (second.redriven, second.stored) == (0, 1)
    assert world.stored_ids == [lost]


@pytest.mark.parametrize("when", ["before", "after"])
def test_two_runs_with_the_same_letter_make_one_row(
    when: str, world: World, make_redriver: Callable[..., Redriver]
) -> None:
    """The queue hands it out again while the first run is posting it, before or after the receiver took it."""
    lost = world.lose()
    others: list[redriving.Outcome] = []

    def meanwhile(request: httpx.Request) -> None:
        world.on_post = lambda _: None
        if when == "after":
            world.take(request)
        world.show_again()
        others.append(make_redriver().run())

    world.on_post = meanwhile

    outcome = make_redriver().run()

    (other,) = others
    assert (other.redriven, other.stored) == ((1, 0) if when == "before" else (0, 1))
    assert outcome.redriven == 1
    assert world.stored_ids == [lost]
    assert world.letters == {}


@pytest.mark.parametrize("apart", [0, 700, -700])
def test_two_letters_of_one_message_make_one_row(
    apart: int, world: World, make_redriver: Callable[..., Redriver]
) -> None:
    """Two rules lost it; whichever letter comes first, the second finds its row, though their times differ."""
    world.rules["other"] = rule("other")
    lost = world.lose()
    payload = json.loads(world.letters["letter-1"])["base64OriginalPayload"]
    world.lose(sent_at=OLD + apart, ruleName="other", cloudwatchTraceId=lost, base64OriginalPayload=payload)

    outcome = make_redriver().run()

    assert (outcome.redriven, outcome.stored) == (1, 1)
    assert world.stored_ids == [lost]


def test_a_message_over_https_is_known_by_its_bytes(world: World, make_redriver: Callable[..., Redriver]) -> None:
    """It is redriven without an id, and a run that was killed then does not double it either."""
    world.lose(clientId="n/a")
    world.not_deleted = {"letter-1": "InternalError"}

    first = make_redriver().run()
    world.not_deleted = {}
    second = make_redriver().run()

    assert first.left == {"stored, not deleted (InternalError)": 1}
    assert first.can_go_on
    assert (second.redriven, second.stored) == (0, 1)
    assert len(world.rows) == 1
    assert world.posted[0].headers["x-message-id"] == ""
    assert "FilterExpression" not in world.queries[0]


def test_of_a_batch_only_what_is_missing_is_posted(world: World, make_redriver: Callable[..., Redriver]) -> None:
    """Its letter goes once all have rows."""
    world.rules["telemetry"]["sql"] = "SELECT *, traceid() AS message_id, timestamp() AS received_at FROM 'a'"
    names = ["dev-1", "dev-2", "dev-3"]
    elements = [
        {
            "cloudwatchTraceId": f"t-{name}",
            "clientId": name,
            "base64OriginalPayload": b64encode(json.dumps({"deviceId": name, "temp": 1}).encode()).decode(),
        }
        for name in names
    ]
    world.lose(payloadsWithMetadata=elements)
    world.store("dev-2", OLD - 100, "t-dev-2")
    world.on_post = lambda request: httpx.Response(503) if request.headers["x-client-id"] == "dev-3" else None

    first = make_redriver().run()
    world.on_post = lambda _: None
    second = make_redriver().run()

    assert (first.left, second.redriven) == ({"answered 503": 1}, 1)
    assert world.stored_ids == [f"t-{name}" for name in names]
    assert [each.headers["x-client-id"] for each in world.posted] == ["dev-1", "dev-3", "dev-3"]


def batch_of(*names: str, **payloads: bytes) -> list[dict[str, Any]]:
    """Describe the messages of a batch, one of each device, as error documents do; some with another payload."""
    made = {name: json.dumps({"deviceId": name, "temp": 1}).encode() for name in names} | payloads
    return [
        {
            "cloudwatchTraceId": f"t-{name}",
            "clientId": name,
            "base64OriginalPayload": b64encode(payload).decode(),
        }
        for name, payload in made.items()
    ]


@pytest.mark.parametrize("spoilt", [b"hello", b'{"deviceId": "one", "temp": "hot"}'])
def test_one_message_of_a_batch_that_is_no_good_does_not_keep_the_others(
    spoilt: bytes, world: World, make_redriver: Callable[..., Redriver]
) -> None:
    """The receiver refused the whole batch for it: the others get their rows, and the letter stays."""
    world.rules["telemetry"]["sql"] = "SELECT *, traceid() AS message_id, timestamp() AS received_at FROM 'a'"
    world.lose(payloadsWithMetadata=batch_of("one", "two", "three", one=spoilt))
    world.on_post = lambda request: httpx.Response(422) if request.content == spoilt else None

    would = make_redriver(is_dry=True).run()
    first = make_redriver().run()
    second = make_redriver().run()

    assert would.redriven == 1
    assert world.stored_ids == ["t-three", "t-two"]
    assert list(world.letters) == ["letter-1"]
    for outcome in (first, second):
        assert set(outcome.left) <= {"no reading of a device", "answered 422"}
        assert (outcome.left.total(), outcome.can_go_on) == (1, False)


def test_a_letter_of_an_empty_batch_is_not_taken_for_stored(
    world: World, make_redriver: Callable[..., Redriver]
) -> None:
    """Nobody's rule writes one, so somebody should see it."""
    world.lose(payloadsWithMetadata=[])

    outcome = make_redriver().run()

    assert outcome.left == {"no reading of a device": 1}
    assert list(world.letters) == ["letter-1"]


def test_letters_that_make_no_http_keep_nobody_from_going_on(
    world: World, make_redriver: Callable[..., Redriver], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client id may hold a line's end: it gets into no header, and does not count as a receiver that is silent."""
    monkeypatch.setattr(redriving, "AT_ONCE", 1)  # so that all of these come before the good one
    for _ in range(IN_VAIN):
        world.lose(clientId="dev-1\r\nX-Iot-Secret: other")
    good = world.lose()

    def refuse(request: httpx.Request) -> None:
        if any(b"\n" in value for _, value in request.headers.raw):
            raise httpx.LocalProtocolError("Illegal header value", request=request)

    world.on_post = refuse
    outcome = make_redriver().run()

    assert outcome.left == {"what its rule would send is no HTTP": IN_VAIN}
    assert (outcome.can_go_on, world.stored_ids) == (False, [good])


@pytest.mark.parametrize("end", ["\n", "\r\n", "\0"])
def test_httpx_lets_no_line_s_end_into_a_header(end: str) -> None:
    """What the doubles above play is what it does, and nothing of the request is sent."""
    with socket.create_server(("127.0.0.1", 0)) as listening, httpx.Client(trust_env=False) as http:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        with pytest.raises(httpx.LocalProtocolError):
            http.post(url, headers=[(b"X-Client-Id", f"a{end}b".encode())])
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.recv(1) == b""


def test_a_letter_that_the_queue_hands_out_twice_at_once_is_one(
    world: World, make_redriver: Callable[..., Redriver], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Queues of SQS may deliver twice, in one answer as well."""
    lost = world.lose()
    once = world.receive_message

    def twice(**parameters: Any) -> dict[str, Any]:
        answer = once(**parameters)
        return {**answer, "Messages": 2 * answer["Messages"]} if "Messages" in answer else answer

    monkeypatch.setattr(world, "receive_message", twice)

    assert str(make_redriver().run()) == "redriven 1, already stored 0, left 0"
    assert world.stored_ids == [lost]


def test_a_run_ends_where_letters_come_back_faster_than_it_gets_through_them(
    world: World, make_redriver: Callable[..., Redriver], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that is held came again and nothing new: it has seen all, and the queue will never seem empty."""
    for _ in range(25):
        world.lose(ruleName="gone")
    once, calls = world.receive_message, itertools.count()

    def turning(**parameters: Any) -> dict[str, Any]:
        assert next(calls) < 100, "it goes round and round"
        answer = once(**parameters)
        for its_id in [each["MessageId"] for each in answer.get("Messages", [])]:
            world.letters[its_id] = world.letters.pop(its_id)  # to the end
        if len(world.hidden) == 25:
            world.show_again()
        return answer

    monkeypatch.setattr(world, "receive_message", turning)

    outcome = make_redriver().run()

    assert (outcome.left.total(), outcome.can_go_on) == (25, True)
    assert world.hidden == set()


def test_letters_that_a_killed_run_still_hides_are_told(world: World, make_redriver: Callable[..., Redriver]) -> None:
    """The queue seems empty, and is not: another run, later, will do better."""
    lost = world.lose()
    world.hidden.add("letter-1")

    first = make_redriver().run()
    world.show_again()
    second = make_redriver().run()

    assert str(first) == "redriven 0, already stored 0, left 0; held back by another run, or by one that was killed: 1"
    assert first.can_go_on
    assert (str(second), second.can_go_on) == ("redriven 1, already stored 0, left 0", False)
    assert world.stored_ids == [lost]


@pytest.mark.parametrize(
    ("status", "can_go_on"),
    [(503, True), (500, True), (429, True), (403, True), (404, True), (301, True), (422, False), (413, False)],
)
def test_a_refusal_leaves_the_letter(
    status: int,
    can_go_on: bool,  # noqa: FBT001 - a column
    world: World,
    make_redriver: Callable[..., Redriver],
) -> None:
    """Counted by status; one that is about the message itself is final."""
    world.lose()
    taken = world.lose("dev-2")
    world.on_post = lambda each: httpx.Response(status) if each.headers["x-client-id"] == "dev-1" else None

    outcome = make_redriver().run()

    assert str(outcome) == f"redriven 1, already stored 0, left 1 (answered {status}: 1)"
    assert outcome.can_go_on is can_go_on
    assert list(world.letters) == ["letter-1"]
    assert world.hidden & set(world.letters) == set()
    assert world.stored_ids == [taken]


def test_letters_that_cannot_be_redriven_are_counted_by_name(
    world: World, make_redriver: Callable[..., Redriver]
) -> None:
    """A rule that is gone may come back; a letter that is none never will be one."""
    world.lose(ruleName="gone")
    world.letters["letter-x"], world.sent_at["letter-x"] = "hello", OLD

    outcome = make_redriver().run()

    assert outcome.left == {"its rule cannot be read (UnauthorizedException)": 1, "no error document of a rule": 1}
    assert outcome.can_go_on
    assert world.posted == []
    del world.letters["letter-1"]
    assert not make_redriver().run().can_go_on


def test_a_table_that_cannot_be_asked_leaves_the_letters(world: World, make_redriver: Callable[..., Redriver]) -> None:
    """Nothing is posted then: nobody knows whether it is there."""
    world.lose()
    world.answers["query"] = refused("AccessDeniedException")

    outcome = make_redriver().run()

    assert outcome.left == {"the table cannot be asked (AccessDeniedException)": 1}
    assert (outcome.can_go_on, world.posted) == (True, [])


def test_a_queue_that_cannot_be_read_is_told(world: World, make_redriver: Callable[..., Redriver]) -> None:
    """By AWS's name for it, or by what kept AWS from answering."""
    for error, named in (
        (refused("AccessDenied"), "AccessDenied"),
        (EndpointConnectionError(endpoint_url="u"), "Endp"),
    ):
        world.answers["receive"] = error
        with pytest.raises(TargetUnavailable, match=f"cannot be read: {named}"):
            make_redriver().run()


def test_letters_that_cannot_be_deleted_are_told(world: World, make_redriver: Callable[..., Redriver]) -> None:
    """They are stored, and the next run will see that; what cannot be given back comes back by itself."""
    world.lose()
    world.answers |= {"delete": refused("AccessDenied"), "give back": refused("AccessDenied")}

    outcome = make_redriver().run()

    assert outcome.left == {"stored, not deleted (AccessDenied)": 1}
    assert outcome.can_go_on
    assert str(outcome).endswith("could not be given back, and can be seen again in 180 s (AccessDenied): 1")


def test_what_cannot_be_given_back_keeps_nothing_else_and_is_tried_again(
    world: World, make_redriver: Callable[..., Redriver]
) -> None:
    """One letter fails once and one for good; two that somebody else has taken or deleted are nobody's concern."""
    for _ in range(14):
        world.lose(ruleName="another's")
    world.kept = {
        "letter-1": ["InternalError"],
        "letter-2": ["InternalError"] * 9,
        "letter-3": ["MessageNotInflight"],
        "letter-4": ["ReceiptHandleIsInvalid"],
    }

    outcome = make_redriver(is_wanted={"telemetry"}.__contains__).run()

    assert world.hidden == {"letter-2", "letter-3", "letter-4"}
    assert outcome.kept == {"InternalError": 1}


def test_a_batch_that_cannot_be_given_back_does_not_keep_the_next(
    world: World, make_redriver: Callable[..., Redriver]
) -> None:
    """What is refused as a whole is tried again, behind the others."""
    for _ in range(11):
        world.lose(ruleName="another's")
    answer, calls = world.change_message_visibility_batch, []

    def fail_first(**parameters: Any) -> dict[str, Any]:
        calls.append(len(parameters["Entries"]))
        if len(calls) == 1:
            raise refused("InternalError")
        return answer(**parameters)

    world.change_message_visibility_batch = fail_first  # type: ignore[method-assign] # the first call is another

    outcome = make_redriver(is_wanted={"telemetry"}.__contains__).run()

    assert (calls, world.hidden, outcome.kept) == ([10, 1, 10], set(), {})


def test_a_dry_run_changes_nothing(world: World, make_redriver: Callable[..., Redriver]) -> None:
    """It tells what would be done."""
    world.lose()
    world.store("dev-1", OLD, world.lose())
    rows = dict(world.rows)

    outcome = make_redriver(is_dry=True).run()

    assert (outcome.redriven, outcome.stored) == (1, 1)
    assert (world.rows, world.posted, len(world.letters), world.hidden) == (rows, [], 2, set())


def test_only_letters_of_wanted_rules_are_looked_at(world: World, make_redriver: Callable[..., Redriver]) -> None:
    """The others are given back, and not counted, whatever they are."""
    world.rules["mine"] = rule("mine")
    world.lose()
    mine = world.lose(ruleName="mine")
    world.lose(base64OriginalPayload="")
    world.letters["letter-x"], world.sent_at["letter-x"] = "hello", OLD
    world.lose(ruleName=["mine"])

    outcome = make_redriver(is_wanted="mine".__eq__).run()

    assert (outcome.seen, world.stored_ids) == (1, [mine])
    assert list(world.letters) == ["letter-1", "letter-3", "letter-x", "letter-4"]
    assert world.hidden & set(world.letters) == set()


def test_many_letters_go_in_rounds(world: World, make_redriver: Callable[..., Redriver]) -> None:
    """So many are held at once as a round takes; devices share Queries; progress is told after each round."""
    lost = [world.lose(f"dev-{number % 5}") for number in range(2 * ROUND + 50)]
    told: list[int] = []

    outcome = make_redriver(on_round=lambda so_far: told.append(so_far.seen)).run()

    assert outcome.redriven == len(lost)
    assert world.stored_ids == sorted(lost)
    assert told == [ROUND, 2 * ROUND, 2 * ROUND + 50]
    assert world.most_hidden == ROUND
    assert len(world.queries) == 3 * 5


def test_no_more_than_so_many_posts_at_once(world: World, make_redriver: Callable[..., Redriver]) -> None:
    """All of these at once, since the first waits for the last of them."""
    together = threading.Barrier(AT_ONCE, timeout=30)
    for _ in range(2 * AT_ONCE):
        world.lose()

    def meet(_: httpx.Request) -> None:
        together.wait()

    world.on_post = meet

    assert make_redriver().run().redriven == 2 * AT_ONCE


def test_a_receiver_that_never_answers_is_not_waited_for_again_and_again(
    world: World, make_redriver: Callable[..., Redriver]
) -> None:
    """After some posts in vain the rest of the queue is left."""
    for _ in range(ROUND):
        world.lose()

    def nobody(request: httpx.Request) -> None:
        raise httpx.ConnectError("refused", request=request)

    world.on_post = nobody
    outcome = make_redriver().run()

    unanswered = outcome.left["no answer (ConnectError)"]
    assert IN_VAIN <= unanswered < IN_VAIN + AT_ONCE
    assert outcome.left["not posted, since nobody answered before"] == ROUND - unanswered
    assert outcome.can_go_on
    world.on_post = lambda _: None
    assert make_redriver().run().redriven == ROUND


def test_an_answer_without_an_end_is_not_waited_for(world: World, make_redriver: Callable[..., Redriver]) -> None:
    """Its status is known; what comes behind it is cut off."""
    lost = world.lose()
    pieces: list[int] = []

    def endless() -> Iterator[bytes]:
        for number in range(1000):
            pieces.append(number)
            yield b"x"

    def answer(request: httpx.Request) -> httpx.Response:
        world.take(request)
        return httpx.Response(200, content=endless())

    world.on_post = answer

    assert (make_redriver().run().redriven, world.stored_ids) == (1, [lost])
    assert len(pieces) < 10


def test_an_answer_now_and_then_is_enough_to_go_on(
    world: World, make_redriver: Callable[..., Redriver], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only posts in a row count."""
    monkeypatch.setattr(redriving, "AT_ONCE", 1)  # else it is not known which posts are in a row
    for _ in range(3 * IN_VAIN):
        world.lose()

    def seldom(request: httpx.Request) -> None:
        if len(world.posted) % IN_VAIN:
            raise httpx.ConnectError("refused", request=request)

    world.on_post = seldom

    assert str(make_redriver().run()) == "redriven 3, already stored 0, left 45 (no answer (ConnectError): 45)"


def test_a_round_ends_before_its_letters_come_back(
    world: World, make_redriver: Callable[..., Redriver], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was not posted by then is left; the whole round takes less time than letters are held back."""
    assert redriving._ROUND_SECONDS + redriving._POST_SECONDS < letter_box.VISIBILITY_SECONDS
    monkeypatch.setattr(redriving, "_ROUND_SECONDS", -1.0)
    world.lose()

    outcome = make_redriver().run()

    assert (outcome.left, world.posted) == ({"no time left for it": 1}, [])
    assert outcome.can_go_on


def test_a_letter_that_comes_again_in_the_same_run_is_not_taken_twice(
    world: World, make_redriver: Callable[..., Redriver]
) -> None:
    """It was left already; the run goes on behind it and ends."""
    for _ in range(ROUND):
        world.lose("dev-1")
    behind = world.lose("dev-2")
    world.on_post = lambda each: httpx.Response(503) if each.headers["x-client-id"] == "dev-1" else None
    rounds: list[int] = []

    def show_again_once(_: redriving.Outcome) -> None:
        if not rounds:
            world.show_again()
        rounds.append(1)

    outcome = make_redriver(on_round=show_again_once).run()

    assert outcome.left == {"answered 503": ROUND}
    assert world.stored_ids == [behind]
    assert len(world.posted) == ROUND + 1


def test_a_queue_of_hopeless_letters_ends_the_run(
    world: World, make_redriver: Callable[..., Redriver], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is held has an end; another run may get further."""
    monkeypatch.setattr(letter_box, "MOST_HELD", ROUND)
    for number in range(ROUND + 10):
        world.letters[f"x-{number}"], world.sent_at[f"x-{number}"] = "hello", OLD

    outcome = make_redriver().run()

    assert (outcome.seen, outcome.can_go_on) == (ROUND, True)
    assert world.hidden == set()


def test_letters_of_different_times_have_queries_of_their_own() -> None:
    """A Query reads all that a device has stored in its time, so it spans little more than one letter needs."""
    messages = [
        (LostMessage(device_id=device, trace_id=f"t{at}", client_id=device, payload=b"{}"), at * 60_000)
        for device, at in (("a", 20), ("a", 0), ("b", 0), ("a", 10), ("a", 11))
    ]

    looks = list(make_looks(messages))

    assert [(each.device_id, each.members, each.message_ids) for each in looks] == [
        ("a", (1, 3), ("t0", "t10")),
        ("a", (4, 0), ("t11", "t20")),
        ("b", (2,), ("t0",)),
    ]


def test_a_query_has_no_more_operands_than_it_may() -> None:
    """One more message takes another Query."""
    messages = [
        (LostMessage(device_id="a", trace_id=f"t{number}", client_id="a", payload=b"{}"), 0) for number in range(101)
    ]

    assert [len(each.message_ids) for each in make_looks(messages)] == [100, 1]


def test_the_calls_are_those_that_aws_takes(world: World) -> None:
    """Parameters and answers go through botocore's own checks."""
    keys = {"region_name": "us-east-1", "aws_access_key_id": "a", "aws_secret_access_key": "b"}
    sqs, dynamodb = boto3.client("sqs", **keys), boto3.client("dynamodb", **keys)
    message = {"MessageId": "1", "ReceiptHandle": "h", "Body": "b", "Attributes": {"SentTimestamp": "1000"}}
    hidden = "ApproximateNumberOfMessagesNotVisible"
    with Stubber(sqs) as queue, Stubber(dynamodb) as table:
        queue.add_response(
            "get_queue_attributes",
            {"Attributes": {hidden: "3"}},
            {"QueueUrl": QUEUE, "AttributeNames": [hidden]},
        )
        queue.add_response(
            "receive_message",
            {"Messages": [message, {**message, "MessageId": "2"}]},
            {
                "QueueUrl": QUEUE,
                "MaxNumberOfMessages": 10,
                "VisibilityTimeout": ANY,
                "WaitTimeSeconds": 1,
                "MessageSystemAttributeNames": ["SentTimestamp"],
            },
        )
        queue.add_response(
            "delete_message_batch", {"Successful": [{"Id": "0"}], "Failed": []}, {"QueueUrl": QUEUE, "Entries": ANY}
        )
        queue.add_response(
            "change_message_visibility_batch",
            {"Successful": [{"Id": "0"}], "Failed": []},
            {"QueueUrl": QUEUE, "Entries": [{"Id": "0", "ReceiptHandle": "h", "VisibilityTimeout": 0}]},
        )
        box = LetterBox(sqs, QUEUE)
        assert box.count_hidden() == 3
        first, _ = box.receive(2)
        assert box.delete([first]) == {}
        box.give_back()
        (look,) = make_looks([(LostMessage(device_id="a", trace_id="t", client_id="a", payload=b"{}"), first.sent_at)])
        item = {"received_at": {"S": "1970-01-01T00:00:00.998Z#t"}, "message_id": {"S": "t"}}
        odd = [{"received_at": {"S": at}, "message_id": {"S": "t"}} for at in ("yesterday", "1970-01-01T00:00:00#t")]
        table.add_response("query", {"Items": [item, *odd, {"received_at": {"S": "not the receiver's"}}]}, None)
        assert StoredRows(dynamodb, "readings").find(look) == {("998", "t"), ("", "t")}
        queue.assert_no_pending_responses()
