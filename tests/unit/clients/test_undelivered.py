"""Letters as they are read: what they hold, how they would be posted, and when they are left alone."""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from bisect import bisect_left
from typing import TYPE_CHECKING, Any

import pytest

from harness.clients.undelivered import LeftAlone, LostMessage, Posting, UndeliveredLetter

if TYPE_CHECKING:
    from collections.abc import Callable

PAYLOAD = b'{"deviceId": "dev-1", "temp": 21.50, "ts": "2026-11-21T20:01:02Z"}'
URL = "https://receiver.test/ingest"
HEADERS = {
    "content-type": "application/json",
    "X-Iot-Secret": "s3cret",
    "X-Message-Id": "${traceid()}",
    "X-Received-At": "${timestamp()}",
    "X-Client-Id": "${clientid()}",
}
FAILURE = {"failedAction": "HttpAction", "failedResource": URL, "errorMessage": "StatusCode: 503."}
BATCHING = (
    "SELECT *, traceid() AS message_id, timestamp() AS received_at, clientid() AS client_id FROM 'things/telemetry'"
)
SENT_AT = 1_764_000_000_123


def element(payload: bytes = PAYLOAD, **members: Any) -> dict[str, Any]:
    """Describe a message as error documents do."""
    told = {"cloudwatchTraceId": "trace-1", "clientId": "dev-1", "base64OriginalPayload": b64encode(payload).decode()}
    return {name: value for name, value in {**told, **members}.items() if value is not None}


def document(**members: Any) -> dict[str, Any]:
    """Write an error document with something changed; what is None is left out."""
    told = {"ruleName": "telemetry", "topic": "things/telemetry", **element(), "failures": [FAILURE], **members}
    return {name: value for name, value in told.items() if value is not None}


def rule(*, sql: str = "SELECT * FROM 'things/telemetry'", url: str = URL, **headers: str | None) -> dict[str, Any]:
    """Describe a rule with something changed about its HTTP action; headers that are None are left out."""
    changed = {**HEADERS, **{name.replace("_", "-"): value for name, value in headers.items()}}
    listed = [{"key": name, "value": value} for name, value in changed.items() if value is not None]
    return {"ruleName": "telemetry", "sql": sql, "actions": [{"http": {"url": url, "headers": listed}}]}


def parse(**members: Any) -> UndeliveredLetter:
    """Read an error document with something changed."""
    return UndeliveredLetter.parse(json.dumps(document(**members)))


def deeper(do: Callable[[], bool], calls: int = 20) -> bool:
    """Do something with so many calls more below it."""
    return do() if not calls else deeper(do, calls - 1)


def test_a_letter_is_posted_as_its_rule_would_post_it() -> None:
    """The rule's headers, the secret among them, with the message's id and the letter's time in them."""
    letter = parse()

    posting = Posting.of(rule(), letter)

    (message,) = letter.messages
    assert (posting.url, message.payload, message.device_id) == (URL, PAYLOAD, "dev-1")
    assert dict(posting.headers_for(message, sent_at=SENT_AT, is_batch=False)) == {
        b"content-type": b"application/json",
        b"X-Iot-Secret": b"s3cret",
        b"X-Client-Id": b"dev-1",
        b"X-Message-Id": b"trace-1",
        b"X-Received-At": b"1764000000123",
    }
    assert "s3cret" not in repr(posting)
    assert "temp" not in repr(letter)


def test_templates_are_filled_in_wherever_they_are() -> None:
    """In any case and spacing, as SQL takes them, and between other text; a client id may have any character."""
    letter = parse(clientId="dev-ä")
    posting = Posting.of(rule(X_Message_Id="${ TraceId( ) }", X_Other="a-${clientid()}-${timestamp()}$"), letter)

    headers = dict(posting.headers_for(letter.messages[0], sent_at=SENT_AT, is_batch=False))

    assert headers[b"X-Other"] == f"a-dev-ä-{SENT_AT}$".encode()


def test_a_letter_in_base64_is_read() -> None:
    """An error action may have been told to send it so."""
    plain = json.dumps(document())

    assert UndeliveredLetter.parse(b64encode(plain.encode()).decode()) == UndeliveredLetter.parse(plain)


def test_a_batch_is_posted_message_by_message() -> None:
    """Each with its own id and client id as headers, whether or not the rule sends any."""
    letter = parse(
        payloadsWithMetadata=[
            element(),
            element(PAYLOAD.replace(b"dev-1", b"dev-2"), cloudwatchTraceId="t-2", clientId="dev-2"),
        ]
    )
    posting = Posting.of(rule(sql=BATCHING, X_Message_Id=None, X_Received_At=None, X_Client_Id=None), letter)

    second = dict(posting.headers_for(letter.messages[1], sent_at=SENT_AT, is_batch=True))

    assert letter.is_batch
    assert [each.device_id for each in letter.messages] == ["dev-1", "dev-2"]
    assert second[b"X-Message-Id"] == b"t-2"
    assert second[b"X-Client-Id"] == b"dev-2"
    assert second[b"X-Received-At"] == str(SENT_AT).encode()


def test_a_message_is_known_by_its_id() -> None:
    """Whenever its row was received, and whatever else was."""
    (message,) = parse().messages

    assert message.is_among({("1", "other"), ("2", "trace-1")})
    assert not message.is_among({("1", "other")})
    assert not message.is_among(set())


@pytest.mark.parametrize(
    "body",
    [
        PAYLOAD,
        b'{"deviceId":"dev-1","temp":21.50,"ts":"2026-11-21T20:01:02Z"}',
        b'{"deviceId":"dev-1","temp":21.5,"ts":"2026-11-21T20:01:02Z"}',
    ],
)
def test_a_message_without_an_id_is_known_by_time_and_bytes(body: bytes) -> None:
    """As the receiver makes one up from what the rule posted, which may have written the JSON anew."""
    (message,) = parse(clientId="n/a").messages
    made_up = hashlib.sha256(b"1763999999000" + body).hexdigest()[:32]

    assert message.is_among({("5", "other"), ("1763999999000", made_up)})
    assert not message.is_among({("1763999999001", made_up)})
    assert not parse().messages[0].is_among({("1763999999000", made_up)}), "one with an id is known by that alone"
    headers = dict(Posting.of(rule(), parse(clientId="n/a")).headers_for(message, sent_at=7, is_batch=False))
    assert headers[b"X-Message-Id"] == b""
    assert headers[b"X-Client-Id"] == b"n/a"


def test_a_message_of_any_depth_without_an_id_can_be_looked_for() -> None:
    """What can just be read may be too deep to be written anew: then no receiver took it either, and no run ends."""

    def read(depth: int) -> LostMessage | None:
        payload = b'{"deviceId":"dev-1","a":%s%s}' % (b"[" * depth, b"]" * depth)
        try:
            (message,) = parse(**element(payload, clientId="n/a")).messages
        except LeftAlone:
            return None
        return message

    too_deep = bisect_left(range(100_000), True, key=lambda depth: read(depth) is None)  # other for each Python

    assert 100 < too_deep < 100_000, "the deepest that can be read is among them"
    for depth in range(too_deep - 40, too_deep):
        message = read(depth)
        assert message is not None
        assert not deeper(lambda message=message: message.is_among({("5", "other")}))


def test_a_message_over_https_may_have_its_trace_id_after_all() -> None:
    """What AWS puts there is not documented."""
    (message,) = parse(clientId="n/a").messages

    assert message.is_among({("1", "trace-1")})
    assert not parse(clientId="n/a", cloudwatchTraceId=None).messages[0].is_among({("1", "trace-1")})


def test_the_letter_of_one_of_several_http_actions_goes_where_that_one_posts() -> None:
    """Known by its URL; of a single one the URL may have changed since."""
    two = rule()
    two["actions"] = [*rule(url="https://other.test/ingest")["actions"], {"s3": {}}, *two["actions"]]

    assert Posting.of(two, parse()).url == URL
    assert Posting.of(rule(url="https://moved.test/ingest"), parse()).url == "https://moved.test/ingest"
    elsewhere = parse(failures=[{**FAILURE, "failedResource": "https://gone.test/"}])
    with pytest.raises(LeftAlone, match="not clear which failed"):
        Posting.of(two, elsewhere)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("hello", "no error document of a rule"),
        ("[]", "no error document of a rule"),
        ("[" * 100_000, "no error document of a rule"),
        (json.dumps(document(failures=None)), "no error document of a rule"),
        (json.dumps(document(failures="x")), "no error document of a rule"),
        (json.dumps(document(ruleName=None)), "no error document of a rule"),
        (json.dumps(document(ruleName=1)), "no error document of a rule"),
        (json.dumps(document(clientId=1)), "no error document of a rule"),
        (json.dumps(document(clientId="\ud800")), "no error document of a rule"),
        (json.dumps(document(cloudwatchTraceId="\ud800")), "no error document of a rule"),
        (json.dumps(document(ruleName="\ud800")), "no error document of a rule"),
        (json.dumps(document(base64OriginalPayload="ä")), "no error document of a rule"),
        (json.dumps(document(payloadsWithMetadata={"a": 1})), "no error document of a rule"),
        (json.dumps(document(**element(b"\xff"))), "no reading of a device"),
        (json.dumps(document(**element(b"[" * 100_000))), "no reading of a device"),
        (json.dumps(document(**element(b"[1]"))), "no reading of a device"),
        (json.dumps(document(**element(b'{"temp": 1}'))), "no reading of a device"),
        (json.dumps(document(**element(b'{"deviceId": ""}'))), "no reading of a device"),
        (json.dumps(document(**element(b'{"deviceId": 1}'))), "no reading of a device"),
        (json.dumps(document(**element(b'{"deviceId": "\\ud800"}'))), "no reading of a device"),
    ],
)
def test_what_no_receiver_would_take_is_left_for_good(body: str, reason: str) -> None:
    """The reason names neither the device nor what it said, and no other run will do better."""
    with pytest.raises(LeftAlone) as left:
        UndeliveredLetter.parse(body)

    assert (left.value.reason, left.value.is_final) == (reason, True)


def other_action(action: dict[str, Any]) -> dict[str, Any]:
    """Describe a rule with another action."""
    return {**rule(), "actions": [action]}


SIGNED = {"http": {"url": URL, "headers": [], "auth": {"sigv4": {}}}}


@pytest.mark.parametrize(
    ("made", "letter", "reason"),
    [
        (rule(sql="SELECT temp FROM 'a'"), {}, "selects something else"),
        (rule(sql="SELECT *, temp * 2 AS double FROM 'a'"), {}, "selects something else"),
        (rule(sql="nonsense"), {}, "selects something else"),
        (other_action(SIGNED), {}, "signs what it posts"),
        (rule(url="https://${clientid()}.test/ingest"), {}, "URL is a template"),
        (rule(url="http://receiver.test/ingest"), {}, "URL is not https"),
        (rule(X_Other="${topic()}"), {}, "a template that is not"),
        (rule(X_Message_Id="${newuuid()}"), {}, "a template that is not"),
        (rule(X_Message_Id="constant"), {}, "as id and time"),
        (rule(X_Message_Id=None), {}, "as id and time"),
        (rule(X_Received_At=None), {}, "as id and time"),
        (rule(sql=BATCHING, X_Message_Id=None), {}, "as id and time"),
        (rule(X_Message_Id=None), {"payloadsWithMetadata": [element()]}, "as id and time"),
        (rule(sql=BATCHING), {"payloadsWithMetadata": [element(), element(clientId="n/a")]}, "not published over MQTT"),
        (rule(), {"failures": []}, "another action than the HTTP action"),
        (rule(), {"failures": [FAILURE, {"failedAction": "S3Action"}]}, "another action than the HTTP action"),
        (rule(), {"failures": [FAILURE, {**FAILURE, "failedResource": "https://b/"}]}, "several HTTP actions failed"),
    ],
)
def test_what_the_rule_would_not_post_like_that_is_left_for_good(
    made: dict[str, Any], letter: dict[str, Any], reason: str
) -> None:
    """Rather than to make a row that the rule would not have made."""
    with pytest.raises(LeftAlone, match=reason) as left:
        Posting.of(made, parse(**letter))

    assert left.value.is_final
    assert Posting.of(rule(), parse()).url == URL


def test_a_rule_that_has_no_http_action_may_get_it_back() -> None:
    """So its letters wait."""
    with pytest.raises(LeftAlone, match="no HTTP action any more") as left:
        Posting.of(other_action({"s3": {}}), parse())

    assert not left.value.is_final
