"""AWS calls that the broker asks for in a role's name."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from harness.embedded.control import aws_calls

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def queue(stand: Any) -> dict[str, str]:
    """A queue ``q``: its URL and ARN."""
    url = stand.client("sqs").create_queue(QueueName="q")["QueueUrl"]
    return {"url": url, "arn": f"arn:aws:sqs:{stand.config.region}:{stand.config.account_id}:q"}


@pytest.fixture
def send(stand: Any, queue: dict[str, str]) -> Callable[..., dict[str, Any]]:
    """Return a function that asks for a SendMessage as the broker does, with members that differ."""

    def send(role_arn: str | None, **members: Any) -> dict[str, Any]:
        asked = {
            "op": "aws_call",
            "service": "sqs",
            "operation": "SendMessage",
            "params": {"QueueUrl": queue["url"], "MessageBody": "a letter"},
            "role_arn": role_arn,
            "session": "telemetry",
            **members,
        }
        answer: dict[str, Any] = stand.broker.ask(**asked)
        return answer

    return send


def may_send(queue: dict[str, str]) -> dict[str, str]:
    """Return the statement that a rule's role needs."""
    return {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": queue["arn"]}


def bodies(stand: Any, queue: dict[str, str]) -> list[str]:
    """Return what is in the queue."""
    received = stand.client("sqs").receive_message(QueueUrl=queue["url"], MaxNumberOfMessages=10)
    return [message["Body"] for message in received.get("Messages", [])]


def last_call(stand: Any) -> dict[str, Any]:
    """Wait for the trace record of a SendMessage and return it."""

    def found() -> list[dict[str, Any]]:
        return [one for one in stand.broker.trace() if one["detail"].get("operation") == "SendMessage"]

    with stand.broker.changed:
        assert stand.broker.changed.wait_for(found, timeout=10)
    return found()[-1]


def test_a_call_runs_in_the_name_of_the_rules_role(stand: Any, queue: Any, send: Any, make_role: Any) -> None:
    """The message arrives, the broker gets the result, and the trace says who did it."""
    answer = send(make_role("rules", may_send(queue)))

    assert answer["ok"]
    assert answer["result"]["MessageId"]
    assert bodies(stand, queue) == ["a letter"]
    record = last_call(stand)
    assert record["principal"] == f"arn:aws:sts::{stand.config.account_id}:assumed-role/rules/telemetry"
    assert (record["detail"]["service"], record["detail"]["outcome"]) == ("sqs", "ok")
    assert "a letter" not in json.dumps(record)


@pytest.mark.parametrize(
    ("account", "rule", "is_allowed"),
    [
        ("own", "telemetry", True),
        ("999999999999", "telemetry", False),
        ("own", "another", False),
    ],
)
def test_a_role_may_be_for_this_account_and_one_rule_alone(
    stand: Any, queue: Any, send: Any, make_role: Any, account: str, rule: str, *, is_allowed: bool
) -> None:
    """A trust policy against confused deputies holds: ``aws:SourceAccount`` and ``aws:SourceArn`` are the rule's."""
    source = f"arn:aws:iot:{stand.config.region}:{stand.config.account_id}:rule/{rule}"
    account = stand.config.account_id if account == "own" else account
    condition = {"StringEquals": {"aws:SourceAccount": account}, "StringLike": {"aws:SourceArn": source}}

    answer = send(make_role("rules", may_send(queue), Condition=condition))

    assert answer["ok"] is is_allowed
    assert bodies(stand, queue) == (["a letter"] if is_allowed else [])


def test_a_role_without_the_permission_sends_nothing(stand: Any, queue: Any, send: Any, make_role: Any) -> None:
    """AccessDenied as for any caller, with the statement; the trace has it too."""
    other = {**may_send(queue), "Resource": queue["arn"] + "2"}

    answer = send(make_role("rules", other))

    assert (answer["ok"], answer["error"]["code"]) == (False, "AccessDeniedException")
    assert f"not authorized to perform: sqs:SendMessage on resource: {queue['arn']}" in answer["error"]["message"]
    assert bodies(stand, queue) == []
    record = last_call(stand)
    assert (record["detail"]["outcome"], record["detail"]["because"]) == (
        "AccessDeniedException",
        answer["error"]["message"],
    )


def test_a_role_that_does_not_trust_iot_is_not_assumed(stand: Any, queue: Any, send: Any, make_role: Any) -> None:
    """Whatever it may do: the broker is no way to use a role that is meant for somebody else."""
    allowed = may_send(queue)
    roles = {
        make_role("lambda", allowed, service="lambda.amazonaws.com"): "trusts Service lambda.amazonaws.com",
        make_role("denied", allowed, Effect="Deny"): "denies sts:AssumeRole to iot.amazonaws.com",
        make_role("tags", allowed, Action="sts:TagSession"): "is about sts:TagSession",
        f"arn:aws:iam::{stand.config.account_id}:role/missing": "the role does not exist",
        f"arn:aws:iam::{stand.config.account_id}:root": "the role does not exist",
        None: "the role does not exist",
    }

    for role_arn, why in roles.items():
        answer = send(role_arn)
        assert (answer["ok"], answer["error"]["code"]) == (False, "AccessDenied")
        assert why in answer["error"]["message"]
    assert bodies(stand, queue) == []


def test_what_changes_about_a_role_holds_for_the_next_call(stand: Any, queue: Any, send: Any, make_role: Any) -> None:
    """Nothing is remembered: neither its trust nor its policies."""
    role_arn, iam = make_role("rules", may_send(queue)), stand.client("iam")
    assert send(role_arn)["ok"]
    iam.delete_role_policy(RoleName="rules", PolicyName="allowed")
    assert send(role_arn)["error"]["code"] == "AccessDeniedException"
    iam.delete_role(RoleName="rules")

    assert send(role_arn)["error"]["code"] == "AccessDenied"


def test_not_endlessly_many_sessions_are_remembered(
    stand: Any, queue: Any, send: Any, make_role: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is kept has an end."""
    monkeypatch.setattr(aws_calls, "_MAX_SESSIONS", 2)
    role_arn = make_role("rules", may_send(queue))

    assert all(send(role_arn, session=f"rule{number}")["ok"] for number in range(5))


def test_a_session_is_used_again_until_it_nears_its_end(stand: Any, queue: Any, send: Any, make_role: Any) -> None:
    """One message to the broker for many calls; an end that is near, or was brought about, makes another."""
    role_arn = make_role("rules", may_send(queue))

    def sessions() -> set[str]:
        credentials = stand.broker.snapshot.credentials.values()
        return {one.access_key_id for one in credentials if one.role_arn == role_arn}

    assert all(send(role_arn)["ok"] for _ in range(3))
    assert len(sessions()) == 1
    assert send(role_arn, session="another")["ok"]
    assert len(sessions()) == 2
    stand.control_plane._credentials.expire(None)
    assert send(role_arn)["ok"]
    assert len(sessions()) == 3


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"op": "shell"}, "UnknownOperation"),
        ({"service": "iam", "operation": "CreateUser", "params": {"UserName": "u"}}, "UnknownOperation"),
        ({"operation": "PurgeQueue"}, "UnknownOperation"),
        ({"operation": None}, "UnknownOperation"),
        ({"params": []}, "InvalidRequest"),
        ({"session": "a/b"}, "InvalidRequest"),
    ],
)
def test_what_rules_do_not_ask_for_does_not_run(
    stand: Any, queue: Any, send: Any, make_role: Any, members: dict[str, Any], code: str
) -> None:
    """A role that may do everything does not change that."""
    role_arn = make_role("rules", {"Effect": "Allow", "Action": "*", "Resource": "*"})

    assert send(role_arn)["ok"]
    assert send(role_arn, **members)["error"]["code"] == code
    assert stand.client("iam").list_users()["Users"] == []


def test_an_error_of_the_service_is_the_answer(stand: Any, queue: Any, send: Any, make_role: Any) -> None:
    """With its code and message."""
    role_arn = make_role("rules", {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": "*"})

    error = send(role_arn, params={"QueueUrl": queue["url"] + "2", "MessageBody": "x"})["error"]

    assert error["code"] in {"QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue"}
    assert error["message"] == "The specified queue does not exist."
    assert last_call(stand)["detail"]["outcome"] == error["code"]


def test_a_call_can_be_made_to_fail(stand: Any, queue: Any, send: Any, make_role: Any) -> None:
    """The fault API does not care who calls."""
    fault = {"service": "sqs", "operation": "SendMessage", "code": "ServiceUnavailable", "contains": "a letter"}
    stand.control_plane._call_faults.set(fault)
    role_arn = make_role("rules", may_send(queue))

    assert send(role_arn)["error"]["code"] == "ServiceUnavailable"
    assert send(role_arn)["ok"]


def test_a_long_rule_name_makes_a_session_name_that_is_one(stand: Any, queue: Any, send: Any, make_role: Any) -> None:
    """64 characters at most."""
    assert send(make_role("rules", may_send(queue)), session="r" * 128)["ok"]

    assert last_call(stand)["principal"].endswith(f"/rules/{'r' * 64}")
