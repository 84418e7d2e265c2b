"""What a rule does with one message: statement, tries, and the error action once."""

from __future__ import annotations

import asyncio
import base64
import json
from collections import deque
from typing import TYPE_CHECKING, Any

import pytest

from harness.embedded.link import LinkError
from harness.embedded.rules import runner as runner_module
from harness.embedded.rules.exchange import Answer, NoAnswer
from harness.embedded.rules.http_client import HttpClient
from harness.embedded.rules.records import Subject
from harness.embedded.rules.runner import RuleRunner
from harness.embedded.trace_records import Descriptions
from harness.iot.principals import CertificatePrincipal
from harness.iot.quirks import Quirks
from harness.iot.registry import RuleDestination, TopicRule
from harness.mqtt.authorization import ConnectionInfo
from harness.mqtt.events import Published
from harness.mqtt.packets import NO_PROPERTIES

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable

    from harness.iot.rules import HttpRequest

URL = "https://localhost:9999/ingest"
QUEUE = "http://127.0.0.1:4566/123456789012/letters"
ROLE = "arn:aws:iam::123456789012:role/letters"
HTTP_ACTION = {"http": {"url": URL, "headers": [{"key": "X-Iot-Secret", "value": "very-secret"}]}}
SUBJECT = Subject(client_id="device-1", topic="things/telemetry", message_id="m-1")


def topic_rule(**changes: Any) -> TopicRule:
    """Make a rule that posts everything and has an error action."""
    members: dict[str, Any] = {
        "name": "telemetry",
        "arn": "arn:aws:iot:eu-west-1:123456789012:rule/telemetry",
        "sql": "SELECT * FROM 'things/telemetry'",
        "sql_version": "2016-03-23",
        "actions": (json.dumps(HTTP_ACTION),),
        "error_action": json.dumps({"sqs": {"queueUrl": QUEUE, "roleArn": ROLE, "useBase64": False}}),
        **changes,
    }
    return TopicRule(**members)


def published(payload: bytes = b'{"temp": 21.5}', *, transport: str = "mqtts", **changes: Any) -> Published:
    """Make the event of a message."""
    info = ConnectionInfo(
        connection_id="c-1",
        principal=CertificatePrincipal(certificate_id="c" * 64, arn="arn:aws:iot:::cert/c"),
        transport=transport,
        remote="127.0.0.1:5",
        client_id="device-1" if transport in {"mqtts", "wss"} else "",
    )
    members: dict[str, Any] = {
        "info": info,
        "message_id": "m-1",
        "topic_name": "things/telemetry",
        "payload": payload,
        "qos": 1,
        "retain": False,
        "properties": NO_PROPERTIES,
        "received_at": 1.0,
        **changes,
    }
    return Published(**members)


def answer(status: int, *, closed: Callable[[], bool] = lambda: False, body_bytes: int = 0) -> Answer:
    """Make an answer of a receiver."""
    return Answer(status=status, reason=f"Reason {status}", body_bytes=body_bytes, is_connection_closed=closed)


class ScriptedPoster:
    """Answers as it is told; then 200.

    Attributes:
        requests: what was sent.
        within: how long each had.
    """

    def __init__(self) -> None:
        self.script: deque[Answer | NoAnswer | Exception] = deque()
        self.requests: list[HttpRequest] = []
        self.within: list[float] = []

    async def ready(self) -> None:
        """Return."""

    async def post(self, request: HttpRequest, *, within: float) -> Answer | NoAnswer:
        """Answer from the script."""
        self.requests.append(request)
        self.within.append(within)
        outcome = self.script.popleft() if self.script else answer(200)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def aclose(self) -> None:
        """Do nothing."""


class Running:
    """A runner with everything around it made up.

    Attributes:
        asked: what the control plane was asked.
        refusal: what it answers with, if not with success.
        status: of the destination.
    """

    def __init__(self, poster: Any) -> None:
        self._records: list[Any] = []
        self.asked: list[dict[str, Any]] = []
        self.refusal: Exception | None = None
        self.status = "ENABLED"
        self.confirmation_url = URL
        self.runner = RuleRunner(
            quirks=Quirks(), poster=poster, ask=self._ask, record=self._records.append, make_id=lambda: "uuid"
        )

    async def _ask(self, op: str, **members: Any) -> dict[str, Any]:
        self.asked.append({"op": op, **members})
        if self.refusal is not None:
            raise self.refusal
        return {"MessageId": "1"}

    async def run(self, rule: TopicRule, event: Published | None = None) -> None:
        """Give one message to one rule, to the end."""
        message = self.runner.message(event or published(), at=1_795_291_262.123, account_id="123456789012")
        destination = RuleDestination(arn="arn:destination", confirmation_url=self.confirmation_url, status=self.status)
        job = self.runner.begin(self.runner.compile(rule), message, SUBJECT, destinations=[destination])
        if job is not None:
            await self.runner.finish(job)

    def records(self, kind: str | None = None) -> list[dict[str, Any]]:
        """Return what the trace got."""
        descriptions = Descriptions(region="eu-west-1", account_id="123456789012")
        described = [made for record in self._records for made in descriptions.describe(record)]
        return [made for made in described if kind in (None, made["kind"])]

    def details(self, kind: str) -> list[dict[str, Any]]:
        """Return the details of the records of a kind."""
        return [made["detail"] for made in self.records(kind)]


@pytest.fixture
def poster() -> ScriptedPoster:
    """A poster without a network."""
    return ScriptedPoster()


@pytest.fixture
def running(poster: ScriptedPoster) -> Running:
    """A runner that posts nowhere."""
    return Running(poster)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What is waited between tries, without waiting."""
    waited: list[float] = []

    class NoWaiting:
        """asyncio, but sleeping takes no time."""

        def __getattr__(self, name: str) -> Any:
            return getattr(asyncio, name)

        async def sleep(self, seconds: float) -> None:
            """Note it."""
            waited.append(seconds)

    monkeypatch.setattr(runner_module, "asyncio", NoWaiting())
    return waited


async def test_a_message_is_posted_once(running: Running, poster: ScriptedPoster) -> None:
    """The body is what the statement selects; the trace tells the whole way."""
    await running.run(topic_rule(sql="SELECT temp AS t FROM 'things/telemetry'"))

    (request,) = poster.requests
    assert json.loads(request.body) == {"t": 21.5}
    assert [record["kind"] for record in running.records()] == ["rule", "http_try", "action"]
    assert running.details("rule") == [
        {"rule": "telemetry", "outcome": "matched", "because": "things/telemetry matches the topic"}
    ]
    assert running.details("action") == [
        {"rule": "telemetry", "action": "http", "outcome": "ok", "because": "200 Reason 200", "tries": 1}
    ]
    assert running.asked == []


@pytest.mark.parametrize(
    ("sql", "payload", "outcome", "because"),
    [
        ("SELECT * FROM 'things/telemetry' WHERE temp > 100", b'{"temp": 21.5}', "not_matched", "temp > 100"),
        ("SELECT * FROM 'things/telemetry' WHERE temp > 100", b"nonsense", "failed", "ParseError"),
    ],
)
async def test_a_message_that_the_statement_does_not_take_is_not_posted(
    running: Running, poster: ScriptedPoster, sql: str, payload: bytes, outcome: str, because: str
) -> None:
    """The trace says why; that is no failure of an action, so there is no error action."""
    await running.run(topic_rule(sql=sql), published(payload))

    (record,) = running.records()
    assert (record["kind"], record["detail"]["outcome"]) == ("rule", outcome)
    assert because in record["detail"]["because"]
    assert (poster.requests, running.asked) == ([], [])


async def test_a_rule_without_actions_only_matches(running: Running) -> None:
    """AWS takes such rules."""
    await running.run(topic_rule(actions=()))

    assert [record["kind"] for record in running.records()] == ["rule"]


@pytest.mark.parametrize("refusal", [answer(503), answer(429), NoAnswer(kind="connect", message="refused")])
async def test_a_try_that_failed_is_repeated_within_the_time(
    running: Running, poster: ScriptedPoster, pauses: list[float], refusal: Any
) -> None:
    """The same request, and what is left of the time."""
    poster.script.append(refusal)

    await running.run(topic_rule())

    first, second = poster.requests
    assert first is second
    assert poster.within[1] < poster.within[0] <= 3.0
    assert len(pauses) == 1
    assert [(each["number"], each["status"], each["again"]) for each in running.details("http_try")] == [
        (1, getattr(refusal, "status", None), True),
        (2, 200, False),
    ]
    assert running.details("action")[0]["tries"] == 2
    assert running.asked == []


@pytest.mark.parametrize(
    ("refusal", "because"),
    [
        (answer(400), "StatusCode: 400"),
        (answer(302), "StatusCode: 302"),
        (answer(503, body_bytes=16_385), "StatusCode: 503"),
        (answer(503, closed=lambda: True), "StatusCode: 503"),
        (NoAnswer(kind="timeout", message="localhost:9999 did not answer within 3.00 s"), "did not answer"),
        (NoAnswer(kind="tls", message="localhost:9999 is not to be trusted: expired"), "expired"),
        (NoAnswer(kind="unsendable", message="the URL is not valid"), "the URL is not valid"),
    ],
)
async def test_what_cannot_be_repeated_fails_at_once_and_asks_for_the_error_action_once(
    running: Running, poster: ScriptedPoster, pauses: list[float], refusal: Any, because: str
) -> None:
    """In the name of the role of the error action, with the document that AWS sends."""
    poster.script.append(refusal)

    await running.run(topic_rule())

    assert len(poster.requests) == 1
    assert pauses == []
    (action,) = running.details("action")
    assert action["outcome"] == "failed"
    assert because in action["because"]
    (asked,) = running.asked
    letter = json.loads(asked["params"].pop("MessageBody"))
    assert asked == {
        "op": "aws_call",
        "service": "sqs",
        "operation": "SendMessage",
        "params": {"QueueUrl": QUEUE},
        "role_arn": ROLE,
        "session": "telemetry",
    }
    assert (letter["ruleName"], letter["clientId"], letter["cloudwatchTraceId"]) == ("telemetry", "device-1", "m-1")
    assert base64.b64decode(letter["base64OriginalPayload"]) == b'{"temp": 21.5}'
    assert [failure["errorMessage"] for failure in letter["failures"]] == [action["because"]]
    assert running.details("error_action") == [
        {"rule": "telemetry", "action": "sqs", "outcome": "ok", "because": f"sent to {QUEUE}"}
    ]


@pytest.mark.parametrize("refusal", [answer(503), NoAnswer(kind="connect", message="refused")])
async def test_three_tries_are_the_last(
    running: Running, poster: ScriptedPoster, pauses: list[float], refusal: Any
) -> None:
    """One record per try, one for the action, one dead letter."""
    poster.script.extend([refusal] * 5)

    await running.run(topic_rule())

    assert len(pauses) == 2
    assert [(each["number"], each["again"]) for each in running.details("http_try")] == [
        (1, True),
        (2, True),
        (3, False),
    ]
    assert [each["tries"] for each in running.details("action")] == [3]
    assert len(running.asked) == 1


async def test_a_connection_that_is_closed_between_two_tries_ends_them(
    running: Running, poster: ScriptedPoster, pauses: list[float]
) -> None:
    """AWS does not try again after a receiver that closed its connection; the answer need not have said so."""
    poster.script.append(answer(503, closed=lambda: bool(pauses)))

    await running.run(topic_rule())

    assert len(poster.requests) == 1
    assert [(each["number"], each["again"]) for each in running.details("http_try")] == [(1, False)]
    assert [(each["outcome"], each["tries"]) for each in running.details("action")] == [("failed", 1)]
    assert len(running.asked) == 1


@pytest.mark.parametrize(
    ("status", "confirmation_url"), [("IN_PROGRESS", URL), ("DISABLED", URL), ("ENABLED", "https://localhost:1/")]
)
async def test_nothing_is_posted_where_no_destination_is_enabled(
    running: Running, poster: ScriptedPoster, status: str, confirmation_url: str
) -> None:
    """That is a failure of the action, without any try."""
    running.status, running.confirmation_url = status, confirmation_url

    await running.run(topic_rule())

    assert poster.requests == []
    assert [(each["outcome"], each["tries"]) for each in running.details("action")] == [("failed", 0)]
    assert len(running.asked) == 1


async def test_actions_run_independently_and_fail_into_one_letter(running: Running, poster: ScriptedPoster) -> None:
    """One record of its end for each, one dead letter with all that failed."""
    poster.script.extend([answer(400), answer(200), answer(404)])

    await running.run(topic_rule(actions=tuple(json.dumps(HTTP_ACTION) for _ in range(3))))

    assert [each["outcome"] for each in running.details("action")] == ["failed", "ok", "failed"]
    (asked,) = running.asked
    assert len(json.loads(asked["params"]["MessageBody"])["failures"]) == 2


async def test_a_failure_without_an_error_action_is_only_told(running: Running, poster: ScriptedPoster) -> None:
    """In the trace."""
    poster.script.append(answer(400))

    await running.run(topic_rule(error_action=None))

    assert [record["kind"] for record in running.records()] == ["rule", "http_try", "action"]


async def test_an_error_action_that_fails_is_only_told(running: Running, poster: ScriptedPoster) -> None:
    """It is not repeated, and nothing else follows."""
    poster.script.append(answer(400))
    running.refusal = LinkError("AccessDenied: may not send")

    await running.run(topic_rule())

    assert len(running.asked) == 1
    assert running.details("error_action") == [
        {"rule": "telemetry", "action": "sqs", "outcome": "failed", "because": "AccessDenied: may not send"}
    ]


async def test_an_error_of_this_program_is_a_failure_of_the_action(
    running: Running, poster: ScriptedPoster, caplog: pytest.LogCaptureFixture
) -> None:
    """The message still ends in one record and one letter, and the log has the traceback."""
    poster.script.append(RuntimeError("a mistake"))

    await running.run(topic_rule())

    (action,) = running.details("action")
    assert action["outcome"] == "failed"
    assert "RuntimeError: a mistake" in action["because"]
    assert len(running.asked) == 1
    assert "a mistake" in caplog.text


async def test_an_action_that_is_cancelled_is_told(running: Running, poster: ScriptedPoster) -> None:
    """The broker shuts down: one record, no letter."""
    begun = asyncio.Event()

    async def never(request: HttpRequest, *, within: float) -> Answer:
        begun.set()
        await asyncio.Event().wait()
        return answer(200)

    poster.post = never  # type: ignore[method-assign] # a receiver that does not answer
    task = asyncio.create_task(running.run(topic_rule()))
    await begun.wait()

    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert [(each["outcome"], each["because"]) for each in running.details("action")] == [
        ("failed", "the broker shut down")
    ]
    assert running.asked == []


@pytest.mark.parametrize(
    ("transport", "expected"),
    [
        ("mqtts", ("m-1", "device-1")),
        ("wss", ("m-1", "device-1")),
        ("https", ("", "n/a")),
        ("iot-data", ("", "n/a")),
        (None, ("", "n/a")),
    ],
)
async def test_what_a_rule_sees_of_a_message(
    running: Running, poster: ScriptedPoster, transport: str | None, expected: tuple[str, str]
) -> None:
    """Trace id and client id exist over MQTT alone; the time is the wall clock's."""
    names = {"X-Message-Id": "traceid()", "X-Client-Id": "clientid()", "X-Received-At": "timestamp()"}
    headers = [{"key": key, "value": f"${{{function}}}"} for key, function in names.items()]
    event = published(transport=transport) if transport else published(info=None)

    await running.run(topic_rule(actions=(json.dumps({"http": {"url": URL, "headers": headers}}),)), event)

    sent = dict(poster.requests[0].headers)
    assert (sent["X-Message-Id"], sent["X-Client-Id"], sent["X-Received-At"]) == (*expected, "1795291262123")


async def test_no_secret_comes_into_the_trace(running: Running, poster: ScriptedPoster, pauses: list[float]) -> None:
    """Neither a header nor a query, whatever goes wrong."""
    secret = {"http": {"url": f"{URL}?token=very-secret", "headers": HTTP_ACTION["http"]["headers"]}}
    running.confirmation_url = "https://localhost:9999/"
    poster.script.extend([answer(503), NoAnswer(kind="lost", message="localhost:9999 closed"), answer(500)])

    await running.run(topic_rule(actions=(json.dumps(secret),)))

    assert len(poster.requests) == 3
    assert "very-secret" in repr(poster.requests[0].headers)
    assert "very-secret" not in repr(running.records())
    assert running.details("http_try")[0]["url"] == URL


async def test_a_refusal_is_quoted_without_what_it_repeats_of_the_headers(
    running: Running, poster: ScriptedPoster
) -> None:
    """The trace says in the receiver's words what was wrong; the secret it was sent does not come along."""
    refusal = Answer(
        status=403,
        reason="Forbidden",
        body_bytes=80,
        is_connection_closed=lambda: False,
        beginning=b'{"detail": "very-secret is not a secret of this receiver"}' + b" " * 500,
    )
    poster.script.append(refusal)

    await running.run(topic_rule())

    quoted = running.details("http_try")[0]["answer"]
    assert quoted.startswith('{"detail": "*** is not a secret of this receiver"}')
    assert len(quoted) == 300


async def test_a_phrase_is_quoted_without_what_it_repeats_of_the_headers(
    running: Running, poster: ScriptedPoster
) -> None:
    """In the trace and in the dead letter; of two values, the one that holds the other goes as a whole."""
    poster.script.append(
        Answer(
            status=403,
            reason="wrong very-secret of very",
            body_bytes=4,
            is_connection_closed=lambda: False,
            beginning=b"very-secret",
        )
    )
    headers = [{"key": "X-Short", "value": "very"}, *HTTP_ACTION["http"]["headers"]]

    await running.run(topic_rule(actions=(json.dumps({"http": {"url": URL, "headers": headers}}),)))

    assert running.details("action")[0]["because"].endswith("StatusCode: 403. Reason: wrong *** of ***.")
    assert running.details("http_try")[0]["answer"] == "***"
    assert "secret" not in repr((running.records(), running.asked))


async def test_what_a_receiver_says_to_a_success_is_not_kept(running: Running, poster: ScriptedPoster) -> None:
    """Only refusals are quoted."""
    poster.script.append(
        Answer(status=200, reason="OK", body_bytes=2, is_connection_closed=lambda: False, beginning=b"{}")
    )

    await running.run(topic_rule())

    assert running.details("http_try")[0]["answer"] is None


class TestWithReceiver:
    """The same with a real client and a real receiver."""

    @pytest.fixture
    async def real(self, tls: ssl.SSLContext) -> AsyncIterator[Running]:
        """A runner that posts over HTTPS."""
        client = HttpClient(tls)
        yield Running(client)
        await client.aclose()

    async def test_a_receiver_that_is_busy_once_gets_the_message_by_the_second_try(
        self, real: Running, receiver: Any, reply: Any
    ) -> None:
        """503, then 200: one row more, and two tries in the trace."""
        receiver.answers(reply(503))
        real.confirmation_url = receiver.url

        await real.run(topic_rule(actions=(json.dumps({"http": {"url": f"{receiver.url}/ingest"}}),)))

        assert [each.body for each in receiver.requests] == [b'{"temp":21.5}'] * 2
        assert [each["status"] for each in real.details("http_try")] == [503, 200]
        assert [each["outcome"] for each in real.details("action")] == ["ok"]

    async def test_a_receiver_that_closes_after_its_answer_is_not_tried_again(
        self, real: Running, receiver: Any, reply: Any
    ) -> None:
        """Although it does not say so."""
        receiver.answers(reply(503, then="close"))
        real.confirmation_url = receiver.url

        await real.run(topic_rule(actions=(json.dumps({"http": {"url": receiver.url}}),)))

        assert len(receiver.requests) == 1
        assert [each["again"] for each in real.details("http_try")] == [False]
        assert len(real.asked) == 1

    async def test_a_receiver_that_is_not_there_fails_after_three_tries(self, real: Running, nowhere: str) -> None:
        """Within the time, and with one letter."""
        real.confirmation_url = nowhere

        await real.run(topic_rule(actions=(json.dumps({"http": {"url": nowhere}}),)))

        assert [each["number"] for each in real.details("http_try")] == [1, 2, 3]
        assert "Connection refused" in real.details("action")[0]["because"]
        assert len(real.asked) == 1
