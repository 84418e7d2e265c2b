"""Destinations of topic rules: created, asked, confirmed, switched."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import botocore.exceptions
import pytest

from harness.embedded.control import destinations
from harness.embedded.control.confirmation import ConfirmationFailed
from harness.iot.quirks import Quirks

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.embedded.control.confirmation import Confirmation

URL = "https://localhost:1/ingest"


def error_of(call: Callable[[], object]) -> tuple[str, str, int]:
    """Return code, message and HTTP status of a call that is refused."""
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        call()
    response = caught.value.response
    return response["Error"]["Code"], response["Error"]["Message"], response["ResponseMetadata"]["HTTPStatusCode"]


class Postman:
    """Takes confirmation requests instead of the network, and hands them to the test."""

    def __init__(self) -> None:
        self.sent: list[Confirmation] = []
        self.arrived = threading.Condition()
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.failure: Exception | None = None

    def __call__(self, confirmation: Confirmation, *, ca_files: object) -> None:
        """Be sent, and answer when the test lets it."""
        assert ca_files
        failure = self.failure
        with self.arrived:
            self.sent.append(confirmation)
            self.arrived.notify_all()
        assert self.may_answer.wait(10)
        if failure is not None:
            raise failure

    def wait(self, count: int = 1) -> Confirmation:
        """Wait until so many were sent, and return the last one."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.sent) >= count, timeout=10)
        return self.sent[count - 1]


@pytest.fixture
def iot(stand: Any) -> Any:
    """The account's root as a client of ``iot``."""
    return stand.client("iot")


@pytest.fixture
def postman(stand: Any) -> Postman:
    """What destinations are asked by."""
    postman = stand.control_plane._destinations._send = Postman()
    return postman


@pytest.fixture
def clock(stand: Any) -> list[float]:
    """The time by which destinations live; the test moves it."""
    time = [1_000_000.0]
    stand.control_plane._destinations._clock = lambda: time[0]
    return time


def create(iot: Any, url: str = URL) -> dict[str, Any]:
    """Create a destination and return what the API answers."""
    configuration = {"httpUrlConfiguration": {"confirmationUrl": url}}
    made: dict[str, Any] = iot.create_topic_rule_destination(destinationConfiguration=configuration)
    return made["topicRuleDestination"]


def status_of(iot: Any, arn: str) -> str:
    """Return a destination's status."""
    status: str = iot.get_topic_rule_destination(arn=arn)["topicRuleDestination"]["status"]
    return status


def test_a_destination_is_asked_over_tls_and_enabled_by_the_url_it_was_sent(
    iot: Any, stand: Any, receiver: Any
) -> None:
    """The whole way: created, asked, fetched without a signature; ENABLED at the broker when that fetch returns."""
    made = create(iot, f"{receiver.url}/ingest")
    assert made["status"] == "IN_PROGRESS"
    assert made["httpUrlProperties"] == {"confirmationUrl": f"{receiver.url}/ingest"}
    assert made["arn"].startswith(f"arn:aws:iot:{stand.config.region}:{stand.config.account_id}:ruledestination/http/")
    line, _, body = receiver.receive()
    assert line == f"POST /ingest/?confirmationToken={body['confirmationToken']} HTTP/1.1"
    assert (body["arn"], status_of(iot, made["arn"])) == (made["arn"], "IN_PROGRESS")
    assert body["enableUrl"] == f"{stand.url}/confirmdestination/{body['confirmationToken']}"

    status, _, answer = stand.post(path=body["enableUrl"].removeprefix(stand.url), method="GET")

    assert (status, answer) == (200, b"")
    assert stand.broker.snapshot.destinations[made["arn"]].status == "ENABLED"
    assert status_of(iot, made["arn"]) == "ENABLED"


def test_a_receiver_that_confirms_while_it_is_asked_stays_enabled(iot: Any, stand: Any, receiver: Any) -> None:
    """Whatever it answers in the end: it brought the token back."""

    def confirm(line: str) -> bytes:
        token = line.partition("confirmationToken=")[2].partition(" ")[0]
        assert stand.post(path=f"/confirmdestination/{token}", method="GET")[0] == 200
        return b"HTTP/1.1 500 Internal Server Error\r\n\r\n"

    receiver.answer = confirm
    made = create(iot, receiver.url)

    stand.broker.until(lambda snapshot: snapshot.destinations[made["arn"]].status == "ENABLED")
    trace = wait_for_confirmation_record(stand)
    assert (trace["destination"], trace["outcome"]) == (made["arn"], "failed")
    assert status_of(iot, made["arn"]) == "ENABLED"


def wait_for_confirmation_record(stand: Any, *, outcome: str | None = None) -> dict[str, Any]:
    """Wait for the trace record of a confirmation request, of a certain outcome if that matters."""

    def found() -> list[dict[str, Any]]:
        details = [record["detail"] for record in stand.broker.trace() if record["kind"] == "confirmation"]
        return [detail for detail in details if outcome in (None, detail["outcome"])]

    with stand.broker.changed:
        assert stand.broker.changed.wait_for(found, timeout=10)
    return found()[0]


def test_a_destination_that_refuses_is_in_error_and_says_why(iot: Any, stand: Any, receiver: Any) -> None:
    """At the broker too; its token is worth nothing any more."""
    receiver.answer = lambda _: b"HTTP/1.1 404 Not Found\r\n\r\n"
    arn = create(iot, f"{receiver.url}/x?key=secret")["arn"]
    token = receiver.receive()[2]["confirmationToken"]

    stand.broker.until(lambda snapshot: snapshot.destinations[arn].status == "ERROR")

    described = iot.get_topic_rule_destination(arn=arn)["topicRuleDestination"]
    host = receiver.url.removeprefix("https://")
    why = f"The confirmation request failed: {host} answered the confirmation request with status 404"
    assert described["statusReason"] == why
    assert error_of(lambda: iot.confirm_topic_rule_destination(confirmationToken=token))[0] == "InvalidRequestException"
    record = wait_for_confirmation_record(stand)
    assert record == {"destination": arn, "url": f"{receiver.url}/x", "because": why, "outcome": "failed"}


def test_a_token_confirms_through_the_api_once(iot: Any, stand: Any, postman: Postman) -> None:
    """A second time it is as unknown as any other; the status stays."""
    arn = create(iot)["arn"]
    token = postman.wait().token

    assert len(token) == 43  # 256 bits in base64
    code, message, status = error_of(lambda: iot.confirm_topic_rule_destination(confirmationToken=token[:-1]))
    assert (code, status, token[:-1] in message) == ("InvalidRequestException", 400, False)
    assert stand.broker.snapshot.destinations[arn].status == "IN_PROGRESS"
    iot.confirm_topic_rule_destination(confirmationToken=token)
    assert stand.broker.snapshot.destinations[arn].status == "ENABLED"
    iot.update_topic_rule_destination(arn=arn, status="DISABLED")
    assert error_of(lambda: iot.confirm_topic_rule_destination(confirmationToken=token))[0] == code
    assert stand.broker.snapshot.destinations[arn].status == "DISABLED"


@pytest.mark.parametrize("method", ["HEAD", "POST", "DELETE", "PUT"])
def test_only_a_get_confirms_without_a_signature(iot: Any, stand: Any, postman: Postman, method: str) -> None:
    """What looks at links before people do sends HEAD."""
    arn = create(iot)["arn"]
    path = f"/confirmdestination/{postman.wait().token}"

    assert stand.post(path=path, method=method)[0] in {400, 403}
    assert status_of(iot, arn) == "IN_PROGRESS"
    assert stand.post(path=path, method="GET")[0] == 200


@pytest.mark.parametrize("path", ["/confirmdestination", "/confirmdestination/", "/destinations/x", "/destinations"])
def test_nothing_else_about_destinations_goes_unsigned(stand: Any, postman: Postman, path: str) -> None:
    """Neither reading nor listing; and an unknown token confirms nothing."""
    assert stand.post(path=path, method="GET")[0] in {403, 404}
    assert stand.post(path="/confirmdestination/a/b", method="GET")[0] == 400


def test_the_token_is_in_no_record_and_no_representation(iot: Any, stand: Any, postman: Postman) -> None:
    """Whoever reads the trace cannot confirm; nor can who sees the store."""
    create(iot)
    token = postman.wait().token
    stand.post(path=f"/confirmdestination/{token}", method="GET")
    wait_for_confirmation_record(stand)

    assert token not in json.dumps(stand.broker.requests)
    assert token not in repr(stand.control_plane._destinations._destinations)


def test_a_token_is_good_for_three_days(iot: Any, stand: Any, postman: Postman, clock: list[float]) -> None:
    """Then the destination is in error; asked again it gets another one."""
    arn = create(iot)["arn"]
    first = postman.wait().token
    clock[0] += 3 * 24 * 3600 - 1
    assert status_of(iot, arn) == "IN_PROGRESS"
    clock[0] += 1

    assert error_of(lambda: iot.confirm_topic_rule_destination(confirmationToken=first))[0] == "InvalidRequestException"
    described = iot.get_topic_rule_destination(arn=arn)["topicRuleDestination"]
    assert (described["status"], described["statusReason"]) == ("ERROR", "It was not confirmed within three days")
    iot.update_topic_rule_destination(arn=arn, status="IN_PROGRESS")
    second = postman.wait(2).token
    assert second != first
    assert "statusReason" not in iot.get_topic_rule_destination(arn=arn)["topicRuleDestination"]
    iot.confirm_topic_rule_destination(confirmationToken=second)
    assert stand.broker.snapshot.destinations[arn].status == "ENABLED"


def test_asked_again_a_destination_must_confirm_anew(iot: Any, stand: Any, postman: Postman) -> None:
    """Also one that was enabled; the token of the first time is gone."""
    arn = create(iot)["arn"]
    first = postman.wait().token
    iot.confirm_topic_rule_destination(confirmationToken=first)

    iot.update_topic_rule_destination(arn=arn, status="IN_PROGRESS")

    assert stand.broker.snapshot.destinations[arn].status == "IN_PROGRESS"
    second = postman.wait(2).token
    assert error_of(lambda: iot.confirm_topic_rule_destination(confirmationToken=first))[0] == "InvalidRequestException"
    iot.confirm_topic_rule_destination(confirmationToken=second)
    assert status_of(iot, arn) == "ENABLED"


def test_a_request_that_fails_late_does_not_spoil_the_next_one(iot: Any, stand: Any, postman: Postman) -> None:
    """Asked again while the first request is under way: its failure counts for nothing."""
    postman.may_answer.clear()
    postman.failure = ConfirmationFailed("late")
    arn = create(iot)["arn"]
    first = postman.wait().token
    postman.failure = None
    iot.update_topic_rule_destination(arn=arn, status="IN_PROGRESS")
    second = postman.wait(2).token

    postman.may_answer.set()
    wait_for_confirmation_record(stand, outcome="failed")

    assert (first != second, status_of(iot, arn)) == (True, "IN_PROGRESS")
    iot.confirm_topic_rule_destination(confirmationToken=second)
    assert status_of(iot, arn) == "ENABLED"


def test_a_destination_asked_again_and_again_waits_in_the_queue_once(
    iot: Any, stand: Any, postman: Postman, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits has an end: however often somebody asks, one destination takes one place."""
    postman.may_answer.clear()
    arns = [create(iot, f"https://localhost:{port}/")["arn"] for port in range(1, 5)]  # as many as there are threads
    postman.wait(4)

    for _ in range(10):
        iot.update_topic_rule_destination(arn=arns[0], status="IN_PROGRESS")

    assert stand.control_plane._destinations._threads._work_queue.qsize() == 1
    first = next(one.token for one in postman.sent if one.arn == arns[0])
    assert error_of(lambda: iot.confirm_topic_rule_destination(confirmationToken=first))[0] == "InvalidRequestException"
    postman.may_answer.set()
    iot.confirm_topic_rule_destination(confirmationToken=postman.wait(5).token)
    assert status_of(iot, arns[0]) == "ENABLED"


def test_a_destination_is_switched_off_and_on_once_confirmed(iot: Any, stand: Any, postman: Postman) -> None:
    """Before it cannot be, whatever it is asked to be; doing it twice does no harm."""
    arn = create(iot)["arn"]
    token = postman.wait().token
    for status in ("ENABLED", "DISABLED"):
        code, message, _ = error_of(lambda status=status: iot.update_topic_rule_destination(arn=arn, status=status))
        assert (code, "it must be confirmed first" in message) == ("InvalidRequestException", True)
    iot.confirm_topic_rule_destination(confirmationToken=token)

    for status in ("ENABLED", "DISABLED", "DISABLED", "ENABLED"):
        iot.update_topic_rule_destination(arn=arn, status=status)
        assert stand.broker.snapshot.destinations[arn].status == status
    for status in ("ERROR", "DELETING"):
        assert "cannot be set" in error_of(lambda s=status: iot.update_topic_rule_destination(arn=arn, status=s))[1]


class TestWhereConfirmedIsDisabled:
    """The quirk of other years' pages."""

    @pytest.fixture
    def settings(self) -> dict[str, Any]:
        """Set the quirk."""
        return {"quirks": Quirks(confirmed_destination="DISABLED", http_destination_ports="443-and-8443")}

    def test_a_confirmed_destination_waits_to_be_enabled(self, iot: Any, postman: Postman) -> None:
        """By an update, which is now allowed."""
        arn = create(iot, "https://localhost:8443/")["arn"]
        iot.confirm_topic_rule_destination(confirmationToken=postman.wait().token)

        assert status_of(iot, arn) == "DISABLED"
        iot.update_topic_rule_destination(arn=arn, status="ENABLED")
        assert status_of(iot, arn) == "ENABLED"

    def test_other_ports_than_awss_are_refused(self, iot: Any, postman: Postman) -> None:
        """As AWS refuses them."""
        assert "443 and 8443 only" in error_of(lambda: create(iot, URL))[1]
        assert postman.sent == []


def test_a_destination_that_is_not_there_is_denied_and_deleted(iot: Any, stand: Any, postman: Postman) -> None:
    """Get and update have no 404 in the model; delete succeeds, and what is deleted is gone at the broker."""
    arn = create(iot)["arn"]
    postman.wait()
    assert list(stand.broker.snapshot.destinations) == [arn]
    iot.delete_topic_rule_destination(arn=arn)

    assert stand.broker.snapshot.destinations == {}
    assert error_of(lambda: iot.get_topic_rule_destination(arn=arn))[::2] == ("UnauthorizedException", 401)
    assert error_of(lambda: iot.update_topic_rule_destination(arn=arn, status="ENABLED"))[::2] == (
        "UnauthorizedException",
        401,
    )
    iot.delete_topic_rule_destination(arn=arn)


def test_a_destination_deleted_while_it_is_asked_stays_deleted(iot: Any, stand: Any, postman: Postman) -> None:
    """Its token confirms nothing, its failure changes nothing."""
    postman.may_answer.clear()
    postman.failure = ConfirmationFailed("late")
    arn = create(iot)["arn"]
    token = postman.wait().token
    iot.delete_topic_rule_destination(arn=arn)
    postman.may_answer.set()
    wait_for_confirmation_record(stand)

    assert error_of(lambda: iot.confirm_topic_rule_destination(confirmationToken=token))[0] == "InvalidRequestException"
    assert stand.broker.snapshot.destinations == {}


def test_a_destination_deleted_before_its_turn_is_not_asked(iot: Any, postman: Postman) -> None:
    """Whoever deletes it wants nothing sent there."""
    postman.may_answer.clear()
    for port in range(1, 5):  # as many as there are threads
        create(iot, f"https://localhost:{port}/")
    postman.wait(4)
    iot.delete_topic_rule_destination(arn=create(iot, "https://localhost:5/")["arn"])
    create(iot, "https://localhost:6/")

    postman.may_answer.set()

    assert postman.wait(5).url == "https://localhost:6/"


def test_arns_are_read_from_the_path_encoded_or_not(iot: Any, stand: Any, postman: Postman) -> None:
    """Clients differ in what they encode."""
    arn = create(iot)["arn"]

    for path in (arn, arn.replace(":", "%3A"), arn.replace(":", "%3A").replace("/", "%2F")):
        status, _, body = stand.send_signed("GET", f"/destinations/{path}", service="iot")
        assert (status, json.loads(body)["topicRuleDestination"]["arn"]) == (200, arn)


def test_destinations_are_listed_in_pages(iot: Any, postman: Postman) -> None:
    """With the summary's own member names."""
    arns = sorted(create(iot, f"https://localhost:{port}/")["arn"] for port in (1, 2, 3))

    pages = list(iot.get_paginator("list_topic_rule_destinations").paginate(PaginationConfig={"PageSize": 2}))

    summaries = [one for page in pages for one in page["destinationSummaries"]]
    assert ([len(page["destinationSummaries"]) for page in pages], [one["arn"] for one in summaries]) == ([2, 1], arns)
    assert summaries[0]["httpUrlSummary"]["confirmationUrl"].startswith("https://localhost:")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://localhost/", "begins with https://"),
        ("https://user:password@localhost/", "names no user"),
        ("https://[::1]/", "IPv6"),
        ("https://local host/", "percent-encoded"),
        ("https://localhost/\r\nx: y", "percent-encoded"),
        ("https:///x", "names a host"),
        ("https://localhost:0/", "port"),
        ("https://localhost:99999/", "port"),
        ("https://localhost/${topic()}", "percent-encoded"),
        ("", "begins with https://"),
    ],
)
def test_a_url_that_aws_does_not_take_is_refused(iot: Any, stand: Any, postman: Postman, url: str, says: str) -> None:
    """Before anything is sent anywhere."""
    code, message, status = error_of(lambda: create(iot, url))

    assert (code, status, says in message) == ("InvalidRequestException", 400, True)
    assert (postman.sent, stand.broker.snapshot.destinations) == ([], {})


def test_destinations_of_other_kinds_are_refused_by_name(iot: Any) -> None:
    """And none at all is invalid."""
    vpc = {"vpcConfiguration": {"subnetIds": ["s"], "vpcId": "v", "roleArn": "arn:aws:iam::111122223333:role/r"}}

    code, message, _ = error_of(lambda: iot.create_topic_rule_destination(destinationConfiguration=vpc))
    assert (code, "CreateTopicRuleDestination with vpcConfiguration" in message) == ("NotImplemented", True)
    assert (
        error_of(lambda: iot.create_topic_rule_destination(destinationConfiguration={}))[0] == "InvalidRequestException"
    )


def test_there_is_one_destination_of_a_url_and_no_more_than_aws_has(
    iot: Any, stand: Any, postman: Postman, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rule that would bring one too many along is not made either."""
    create(iot)
    assert error_of(lambda: create(iot))[::2] == ("ResourceAlreadyExistsException", 409)
    monkeypatch.setattr(destinations, "MAX_DESTINATIONS", 1)

    assert error_of(lambda: create(iot, "https://localhost:2/"))[0] == "LimitExceededException"
    rule = {"sql": "SELECT * FROM 'a'", "actions": [{"http": {"url": "https://localhost:2/"}}]}
    assert error_of(lambda: iot.create_topic_rule(ruleName="r", topicRulePayload=rule))[0] == "LimitExceededException"
    assert (len(stand.broker.snapshot.destinations), stand.broker.snapshot.rules) == (1, {})
    iot.create_topic_rule(ruleName="r", topicRulePayload={**rule, "actions": [{"http": {"url": URL}}]})


def test_who_may_do_what_with_destinations(stand: Any, make_user: Any, postman: Postman) -> None:
    """On the destination's own ARN; a new one is covered by a statement about all."""
    root = stand.client("iot")
    one, other = create(root)["arn"], create(root, "https://localhost:2/")["arn"]
    reads = {"Effect": "Allow", "Action": ["iot:GetTopicRuleDestination"], "Resource": one}
    makes = {
        "Effect": "Allow",
        "Action": "iot:CreateTopicRuleDestination",
        "Resource": f"{one.rpartition('/')[0]}/*",
    }
    reader, maker = (
        stand.client("iot", make_user(reads, name="reader")),
        stand.client("iot", make_user(makes, name="maker")),
    )

    assert reader.get_topic_rule_destination(arn=one)["topicRuleDestination"]["arn"] == one
    for call in (
        lambda: reader.get_topic_rule_destination(arn=other),
        lambda: reader.update_topic_rule_destination(arn=one, status="IN_PROGRESS"),
        lambda: reader.delete_topic_rule_destination(arn=one),
        reader.list_topic_rule_destinations,
        lambda: reader.confirm_topic_rule_destination(confirmationToken=postman.wait().token),
        lambda: create(reader, "https://localhost:3/"),
    ):
        assert error_of(call)[0] == "AccessDeniedException"
    assert create(maker, "https://localhost:3/")["status"] == "IN_PROGRESS"


def test_a_failure_inside_is_an_error_of_the_destination(
    iot: Any, stand: Any, postman: Postman, caplog: pytest.LogCaptureFixture
) -> None:
    """Not a thread that dies in silence; the log has the rest."""
    postman.failure = ZeroDivisionError()
    arn = create(iot)["arn"]

    stand.broker.until(lambda snapshot: snapshot.destinations[arn].status == "ERROR")

    assert "failed inside" in iot.get_topic_rule_destination(arn=arn)["topicRuleDestination"]["statusReason"]
    assert "ZeroDivisionError" in caplog.text
