"""The admin API: its token, its trace, its faults."""

from __future__ import annotations

import json
import socket
import threading
from typing import TYPE_CHECKING, Any

import botocore.exceptions
import pytest

from harness.embedded.control import call_faults
from harness.embedded.control.admin import MAX_WAIT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def ask(stand: Any) -> Any:
    """Return a function that asks the admin API, with the token."""

    def ask(method: str, path: str, body: object = None, **headers: str) -> tuple[int, Any, dict[str, str]]:
        token = {"Authorization": f"Bearer {stand.config.admin_token}"}
        data = b"" if body is None else json.dumps(body).encode()
        status, answered, text = stand.post(data, path=f"/_thingwright{path}", method=method, **token, **headers)
        is_json = answered["content-type"] == "application/json"
        return status, json.loads(text) if is_json else text.decode(), answered

    return ask


@pytest.mark.parametrize("path", ["", "/", "/trace", "/status", "/nothing"])
@pytest.mark.parametrize("token", [None, "", "Bearer", "Bearer wrong", "Bearer the token of the harnes", "\xff"])
def test_who_has_no_token_learns_nothing(stand: Any, path: str, token: str | None) -> None:
    """The same 401 for every path, known or not, and no CORS."""
    headers = {} if token is None else {"Authorization": token}

    answers = [
        stand.post(path=f"/_thingwright{path}", method=method, Origin="https://a.example", **headers)
        for method in ("GET", "POST", "OPTIONS")
    ]

    assert {(status, body) for status, _, body in answers} == {
        (401, b'{"message":"Authorization: Bearer <admin token> is needed"}')
    }
    assert all("access-control-allow-origin" not in answered for _, answered, _ in answers)
    assert stand.broker.of("status") == []


def test_a_page_is_refused_even_with_the_token(ask: Any) -> None:
    """An Origin header is the mark of a browser."""
    assert ask("GET", "/status", Origin="null")[0] == 403


def test_other_paths_say_what_there_is(ask: Any) -> None:
    """404 for who has the token."""
    status, answer, _ = ask("PUT", "/faults")

    assert status == 404
    assert "POST /_thingwright/faults" in answer["message"]


def test_the_trace_comes_as_json_lines(stand: Any, ask: Any) -> None:
    """One record a line; where to go on is in a header; long waits are cut."""
    stand.broker.answers["trace"] = {"records": [{"seq": 7, "kind": "ä"}, {"seq": 8, "kind": "b"}], "next": 9}

    status, text, answered = ask("GET", "/trace?since=7&wait=1000")

    assert (status, answered["content-type"], answered["x-thingwright-next"]) == (200, "application/x-ndjson", "9")
    assert [json.loads(line) for line in text.splitlines()] == stand.broker.answers["trace"]["records"]
    request = stand.broker.of("trace")[0]
    assert (request["since"], request["wait"]) == (7, MAX_WAIT_SECONDS)


@pytest.mark.parametrize("query", ["since=x", "wait=x"])
def test_a_trace_from_nowhere_is_refused(ask: Any, query: str) -> None:
    """Numbers are asked for."""
    assert ask("GET", f"/trace?{query}")[0] == 400


def test_the_status_is_the_brokers(stand: Any, ask: Any) -> None:
    """As the broker tells it, without the framing."""
    stand.broker.answers["status"] = {"connections": 3}

    assert ask("GET", "/status")[:2] == (200, {"connections": 3})


def test_a_guests_credentials_expire_on_demand(stand: Any, ask: Any, make_guest: Any) -> None:
    """From now on, for the APIs and for the broker; those of others stay."""
    guest, other = make_guest(name="a")["credentials"], make_guest(name="b")["credentials"]

    status, answer, _ = ask("POST", "/faults", {"kind": "expire_credentials", "access_key_id": guest["AccessKeyId"]})

    assert (status, answer["fault_id"], answer["expired"]) == (200, "expire-1", 1)
    with pytest.raises(botocore.exceptions.ClientError, match="ExpiredToken"):
        stand.client("sts", guest).get_caller_identity()
    assert stand.client("sts", other).get_caller_identity()
    snapshot = stand.broker.snapshot.credentials
    assert snapshot[guest["AccessKeyId"]].expires_at < snapshot[other["AccessKeyId"]].expires_at

    assert ask("POST", "/faults", {"kind": "expire_credentials", "access_key_id": None})[1]["expired"] == 2
    with pytest.raises(botocore.exceptions.ClientError, match="ExpiredToken"):
        stand.client("sts", other).get_caller_identity()
    assert stand.client("sts").get_caller_identity()


@pytest.mark.parametrize(
    ("fault", "status", "says"),
    [
        ({"kind": "earthquake"}, 400, "there is no fault 'earthquake'; there is expire_credentials, fail_call, stop_"),
        ([], 400, "a JSON object with a kind"),
        (None, 400, "a JSON object with a kind"),
        ({"kind": "expire_credentials", "access_key_id": "ASIANOBODY"}, 404, "no session credentials ASIANOBODY"),
        ({"kind": "expire_credentials", "access_key_id": 1}, 400, "is an access key"),
        ({"kind": "expire_credentials", "client_id": "x"}, 400, "no member client_id"),
    ],
)
def test_a_fault_that_cannot_be_set_is_refused(ask: Any, fault: object, status: int, says: str) -> None:
    """Unknown kinds name the known ones."""
    answered, answer, _ = ask("POST", "/faults", fault)

    assert (answered, says in answer["message"]) == (status, True)


@pytest.fixture
def table(stand: Any) -> Any:
    """A client of DynamoDB and a table ``t``."""
    dynamodb = stand.client("dynamodb")
    dynamodb.create_table(
        TableName="t",
        KeySchema=[{"AttributeName": "k", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "k", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    return dynamodb


FAIL_PUT = {
    "kind": "fail_call",
    "service": "dynamodb",
    "operation": "PutItem",
    "code": "ProvisionedThroughputExceededException",
}


def put(table: Any, key: str) -> str:
    """Write one item and return how that went."""
    try:
        table.put_item(TableName="t", Item={"k": {"S": key}})
    except botocore.exceptions.ClientError as error:
        return f"{error.response['Error']['Code']} {error.response['ResponseMetadata']['HTTPStatusCode']}"
    return "ok"


def test_a_call_fails_as_often_as_was_asked_for(stand: Any, ask: Any, table: Any) -> None:
    """Only that operation, only calls with the text, however it is escaped; and the trace says so."""
    fault = {**FAIL_PUT, "times": 2, "contains": "dev-ä", "status": 503}
    fault_id = ask("POST", "/faults", fault)[1]["fault_id"]

    assert fault_id == "fail_call-1"
    assert table.get_item(TableName="t", Key={"k": {"S": "dev-ä"}})["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert [put(table, key) for key in ("dev-b", "dev-ä", "dev-ä", "dev-ä")] == [
        "ok",
        "ProvisionedThroughputExceededException 503",
        "ProvisionedThroughputExceededException 503",
        "ok",
    ]
    stand.client("sts").get_caller_identity()
    with stand.broker.changed:
        assert stand.broker.changed.wait_for(
            lambda: any(one["detail"].get("operation") == "GetCallerIdentity" for one in stand.broker.trace()), 10
        )
    failed = [one["detail"] for one in stand.broker.trace() if one["detail"]["status"] == 503]
    assert {(one["operation"], one["outcome"]) for one in failed} == {("PutItem", FAIL_PUT["code"])}
    assert {one["because"] for one in failed} == {f"This call was made to fail by the fault {fault_id}"}


def test_a_call_that_writes_many_rows_fails_for_one_of_them(ask: Any, table: Any) -> None:
    """The text is looked for in all of the request; nothing of it is written then."""
    ask("POST", "/faults", {**FAIL_PUT, "operation": "BatchWriteItem", "contains": "dev-ä"})

    def write(*keys: str) -> str:
        items = [{"PutRequest": {"Item": {"k": {"S": key}}}} for key in keys]
        try:
            table.batch_write_item(RequestItems={"t": items})
        except botocore.exceptions.ClientError as error:
            return str(error.response["Error"]["Code"])
        return "ok"

    assert [write("a", "b"), write("c", "dev-ä"), write("c", "dev-ä")] == ["ok", FAIL_PUT["code"], "ok"]
    assert table.scan(TableName="t", Select="COUNT")["Count"] == 4


def test_a_fault_strikes_no_call_that_was_not_allowed(stand: Any, ask: Any, table: Any, make_guest: Any) -> None:
    """What may not be called is refused as ever, and uses up nothing."""
    guest = stand.client("dynamodb", make_guest()["credentials"])
    ask("POST", "/faults", FAIL_PUT)

    assert put(guest, "a") == "AccessDeniedException 400"
    assert [put(table, "a"), put(table, "a")] == ["ProvisionedThroughputExceededException 400", "ok"]


def test_calls_that_are_to_fail_are_forgotten_one_by_one_or_all(ask: Any, table: Any) -> None:
    """One worker's test must not clear what another's set."""
    first, second = (
        ask("POST", "/faults", {**FAIL_PUT, "contains": key, "times": 9})[1]["fault_id"] for key in ("aa", "bb")
    )
    assert first != second
    assert ask("DELETE", f"/faults?fault_id={first}")[:2] == (200, {})
    assert ask("DELETE", f"/faults?fault_id={first}")[0] == 200

    assert [put(table, "aa"), put(table, "bb")] == ["ok", "ProvisionedThroughputExceededException 400"]
    assert ask("DELETE", "/faults?id=x")[0] == 400
    assert ask("DELETE", "/faults")[0] == 200
    assert put(table, "bb") == "ok"


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ({"service": "s3"}, "no operation 'PutItem' of a service 's3' is served here"),
        ({"service": []}, "is served here"),
        ({"operation": "Nonsense"}, "no operation 'Nonsense'"),
        ({"operation": "ImportTable"}, "no operation 'ImportTable'"),
        ({"code": "a: b\r\nx"}, "code is the name of an error"),
        ({"code": None}, "code is the name of an error"),
        ({"times": 0}, "times is a number from 1 to"),
        ({"times": True}, "times is a number from 1 to"),
        ({"times": "1"}, "times is a number from 1 to"),
        ({"status": 200}, "status is a number from 400 to 599"),
        ({"status": 520}, "status 520 is none that HTTP names"),
        ({"contains": ""}, "contains is a text"),
        ({"contains": 1}, "contains is a text"),
        ({"client_id": "x"}, "fail_call has no member client_id"),
    ],
)
def test_a_call_that_cannot_fail_so_is_refused(ask: Any, members: dict[str, Any], says: str) -> None:
    """Each member is looked at when it is set, since later nobody would notice."""
    status, answer, _ = ask("POST", "/faults", {**FAIL_PUT, **members})

    assert (status, says in answer["message"]) == (400, True)


def test_there_are_not_endlessly_many_faults(ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept has an end."""
    monkeypatch.setattr(call_faults, "MAX_FAULTS", 1)
    assert ask("POST", "/faults", FAIL_PUT)[0] == 200

    assert ask("POST", "/faults", FAIL_PUT)[0] == 400
    ask("DELETE", "/faults")
    assert ask("POST", "/faults", FAIL_PUT)[0] == 200


def test_without_a_supervisor_no_receiver_is_stopped(ask: Any) -> None:
    """Said at once."""
    status, answer, _ = ask("POST", "/faults", {"kind": "stop_receiver", "name": "main", "how": "kill"})

    assert (status, answer["message"]) == (400, "there is no receiver here to stop or start")


class Supervisor:
    """The other end of the supervisor's line: answers as told."""

    def __init__(self) -> None:
        self.control_end, self._sock = socket.socketpair()
        self.asked: list[dict[str, Any]] = []
        self.answer: dict[str, Any] = {"ok": True, "url": "https://localhost:1"}
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def ops(self) -> list[tuple[str, ...]]:
        """Return what was asked for so far."""
        return [tuple(value for name, value in one.items() if name != "id") for one in self.asked]

    def close(self) -> None:
        """Go away."""
        self._sock.shutdown(socket.SHUT_RDWR)
        self._thread.join(timeout=10)
        self._sock.close()

    def _run(self) -> None:
        with self._sock.makefile("rb") as lines:
            for line in lines:
                request = json.loads(line)
                self.asked.append(request)
                self._sock.sendall(json.dumps({"id": request["id"], **self.answer}).encode() + b"\n")


class TestWithASupervisor:
    """Faults of receivers."""

    @pytest.fixture
    def supervisor(self) -> Iterator[Supervisor]:
        """What starts and stops receivers."""
        supervisor = Supervisor()
        yield supervisor
        supervisor.close()

    @pytest.fixture
    def settings(self, supervisor: Supervisor) -> dict[str, Any]:
        """Let the control plane ask it."""
        return {"supervisor_fd": supervisor.control_end.detach()}

    def test_receivers_are_stopped_and_started(self, supervisor: Supervisor, ask: Any) -> None:
        """By name, and how; the answer has the URL."""
        stop = ask("POST", "/faults", {"kind": "stop_receiver", "name": "main", "how": "kill"})
        start = ask("POST", "/faults", {"kind": "start_receiver", "name": "extra-1"})

        assert (stop[0], start[0]) == (200, 200)
        assert start[1] == {"fault_id": "receiver-2", "url": "https://localhost:1"}
        assert supervisor.ops() == [("stop_receiver", "main", "kill"), ("start_receiver", "extra-1")]

    def test_receivers_are_frozen_and_thawed(self, supervisor: Supervisor, ask: Any) -> None:
        """By name; clearing the faults of all does not start them."""
        freeze = ask("POST", "/faults", {"kind": "freeze_receiver", "name": "extra-1"})
        thaw = ask("POST", "/faults", {"kind": "thaw_receiver", "name": "extra-1"})
        ask("DELETE", "/faults")

        assert (freeze[0], thaw[0]) == (200, 200)
        assert supervisor.ops() == [("freeze_receiver", "extra-1"), ("thaw_receiver", "extra-1")]

    def test_clearing_faults_starts_the_main_receiver_again(self, supervisor: Supervisor, ask: Any) -> None:
        """Once, and only if it was stopped; others stay stopped."""
        ask("DELETE", "/faults")
        ask("POST", "/faults", {"kind": "stop_receiver", "name": "extra-1"})
        ask("DELETE", "/faults")
        assert supervisor.ops() == [("stop_receiver", "extra-1", "term")]

        ask("POST", "/faults", {"kind": "stop_receiver"})
        ask("DELETE", "/faults")
        ask("DELETE", "/faults")
        assert supervisor.ops()[1:] == [("stop_receiver", "main", "term"), ("start_receiver", "main")]

        ask("POST", "/faults", {"kind": "stop_receiver"})
        ask("POST", "/faults", {"kind": "start_receiver"})
        ask("DELETE", "/faults")
        assert supervisor.ops()[3:] == [("stop_receiver", "main", "term"), ("start_receiver", "main")]

    def test_what_the_supervisor_refuses_is_answered_with_its_sentence(self, supervisor: Supervisor, ask: Any) -> None:
        """And a receiver that was not stopped is not started."""
        supervisor.answer = {"ok": False, "error": "main does not run"}

        status, answer, _ = ask("POST", "/faults", {"kind": "stop_receiver", "name": "main"})

        assert (status, answer["message"]) == (400, "main does not run")
        ask("DELETE", "/faults")
        assert len(supervisor.asked) == 1

    @pytest.mark.parametrize(
        "fault",
        [
            {"kind": "stop_receiver", "how": "nicely"},
            {"kind": "stop_receiver", "name": "../x"},
            {"kind": "stop_receiver", "name": 1},
            {"kind": "stop_receiver", "port": 1},
            {"kind": "start_receiver", "how": "kill"},
            {"kind": "freeze_receiver", "how": "kill"},
        ],
    )
    def test_what_makes_no_sense_is_not_asked(self, supervisor: Supervisor, ask: Any, fault: dict[str, Any]) -> None:
        """The supervisor hears of nothing that is not a name and a way to stop."""
        assert (ask("POST", "/faults", fault)[0], supervisor.asked) == (400, [])

    def test_a_supervisor_that_is_gone_is_no_reason_to_hang(self, supervisor: Supervisor, ask: Any) -> None:
        """503 for the harness."""
        supervisor._sock.shutdown(socket.SHUT_RDWR)

        assert ask("POST", "/faults", {"kind": "stop_receiver"})[0] == 503


def test_faults_of_connections_are_the_brokers(stand: Any, ask: Any) -> None:
    """Set there, refused there, cleared there."""
    fault = {"kind": "disconnect", "client_id": "public-1"}
    stand.broker.answers["faults_set"] = {"fault_id": "f1"}
    assert ask("POST", "/faults", fault)[:2] == (200, {"fault_id": "f1"})
    assert stand.broker.of("faults_set")[0]["fault"] == fault

    stand.broker.answers["faults_set"] = ("NotConnected", "nobody is called public-1")
    assert ask("POST", "/faults", fault)[:2] == (400, {"message": "nobody is called public-1", "code": "NotConnected"})
    assert ask("DELETE", "/faults")[:2] == (200, {})
    assert len(stand.broker.of("faults_clear")) == 1


def test_without_a_broker_the_api_says_so(stand: Any, ask: Any) -> None:
    """503 for the harness; an AWS call that cannot reach the broker is a failure of the service."""
    stand.broker.close()
    stand.broker.close = lambda: None

    assert ask("GET", "/status")[0] == 503
    with pytest.raises(botocore.exceptions.ClientError, match="did not take the change") as caught:
        stand.client("iot").create_thing(thingName="t")
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 500


def test_a_fault_nested_too_deeply_is_refused_like_any_other_nonsense(stand: Any) -> None:
    """The answer is an answer, not the end of the connection."""
    status, _, _ = stand.post(
        b"[" * 100_000, path="/_thingwright/faults", Authorization=f"Bearer {stand.config.admin_token}"
    )

    assert status == 400
