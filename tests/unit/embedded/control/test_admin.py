"""The admin API: its token, its trace, its faults."""

from __future__ import annotations

import json
from typing import Any

import botocore.exceptions
import pytest

from harness.embedded.control.admin import MAX_WAIT_SECONDS


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
        ({"kind": "earthquake"}, 400, "there is no fault 'earthquake'; there is expire_credentials, disconnect"),
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
