"""The receiver's credentials, fetched as SDKs on EKS fetch them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import boto3
import botocore.exceptions
import pytest
from botocore.config import Config

if TYPE_CHECKING:
    from collections.abc import Callable

PODS = "pods.eks.amazonaws.com"
BOTH = ["sts:AssumeRole", "sts:TagSession"]


@pytest.fixture
def fetch(stand: Any) -> Callable[..., tuple[int, dict[str, Any]]]:
    """Return a function that asks for credentials."""

    def fetch(token: str | None = stand.config.receiver_token, **how: Any) -> tuple[int, dict[str, Any]]:
        headers = {} if token is None else {"Authorization": token}
        status, _, body = stand.post(path="/v1/credentials", **{"method": "GET", **headers, **how})
        return status, json.loads(body)

    return fetch


def test_botocore_finds_and_uses_them(
    stand: Any, make_role: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """The real container provider, with the two variables that EKS sets; and the role's policies hold."""
    make_role("receiver", {"Effect": "Allow", "Action": "sqs:ListQueues", "Resource": "*"}, service=PODS, Action=BOTH)
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{stand.url}/v1/credentials")
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", stand.config.receiver_token)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    session = boto3.session.Session(region_name=stand.config.region)

    def client(service: str) -> Any:
        made = session.client(service, endpoint_url=stand.url, config=Config(proxies={}))
        stand.clients.append(made)
        return made

    who = client("sts").get_caller_identity()["Arn"]
    assert who.startswith(f"arn:aws:sts::{stand.config.account_id}:assumed-role/receiver/receiver-")
    assert client("sqs").list_queues().get("QueueUrls", []) == []
    with pytest.raises(botocore.exceptions.ClientError, match="AccessDenied"):
        client("dynamodb").list_tables()
    assert session.get_credentials().get_frozen_credentials().access_key in stand.broker.snapshot.credentials


def test_the_answer_is_that_of_the_agent(stand: Any, make_role: Any, fetch: Any) -> None:
    """Five members; an hour; known to the broker."""
    make_role("receiver", service=PODS, Action=BOTH)

    status, answer = fetch()

    assert (status, set(answer)) == (200, {"AccessKeyId", "SecretAccessKey", "Token", "AccountId", "Expiration"})
    assert (answer["AccountId"], answer["Expiration"][-1]) == (stand.config.account_id, "Z")
    assert answer["AccessKeyId"] in stand.broker.snapshot.credentials


@pytest.mark.parametrize(
    "token", [None, "", "wrong", "the token of the receive", "the token of the receiver.", "Bearer x", "\xff"]
)
def test_who_has_no_token_gets_nothing(make_role: Any, fetch: Any, token: str | None) -> None:
    """Neither without one, nor with another, nor with a beginning of it."""
    make_role("receiver", service=PODS, Action=BOTH)

    status, answer = fetch(token)

    assert (status, set(answer)) == (401, {"code", "message"})
    assert fetch()[0] == 200


def test_the_other_secrets_here_are_no_tokens(stand: Any, make_role: Any, fetch: Any) -> None:
    """Nor is the receiver's token one of the admin API."""
    make_role("receiver", service=PODS, Action=BOTH)

    assert fetch(f"Bearer {stand.config.admin_token}")[0] == 401
    assert fetch(stand.config.admin_token)[0] == 401
    status, _, _ = stand.post(
        path="/_thingwright/status", method="GET", Authorization=f"Bearer {stand.config.receiver_token}"
    )
    assert status == 401


def test_pages_and_other_methods_are_refused(make_role: Any, fetch: Any) -> None:
    """Even with the token."""
    make_role("receiver", service=PODS, Action=BOTH)

    assert fetch(Origin="https://a.example")[0] == 403
    assert fetch(method="POST")[0] == 405
    assert fetch(method="OPTIONS")[0] == 405


@pytest.mark.parametrize(
    ("trust", "status", "says"),
    [
        (None, 404, "the receiver's role receiver does not exist (yet)"),
        ({"service": PODS}, 403, "is about sts:AssumeRole"),
        ({"service": "ec2.amazonaws.com", "Action": BOTH}, 403, "trusts Service ec2.amazonaws.com"),
        ({"service": PODS, "Action": BOTH, "Effect": "Deny"}, 403, "denies sts:AssumeRole"),
    ],
)
def test_a_role_that_pods_may_not_assume_gives_none(
    stand: Any, make_role: Any, fetch: Any, trust: dict[str, Any] | None, status: int, says: str
) -> None:
    """With a sentence, which the trace has too."""
    if trust is not None:
        make_role("receiver", **trust)

    answered, answer = fetch()

    assert (answered, says in answer["message"]) == (status, True)
    stand.broker.wait_for("trace_append")
    with stand.broker.changed:
        assert stand.broker.changed.wait_for(
            lambda: any(one["detail"]["because"] == answer["message"] for one in stand.broker.trace()), timeout=10
        )


def test_the_trace_says_who_got_credentials_and_holds_no_secret(stand: Any, make_role: Any, fetch: Any) -> None:
    """As the call that the agent makes."""
    make_role("receiver", service=PODS, Action=BOTH)
    _, answer = fetch()

    def found() -> list[dict[str, Any]]:
        operation = "AssumeRoleForPodIdentity"
        return [one for one in stand.broker.trace() if one["detail"].get("operation") == operation]

    with stand.broker.changed:
        assert stand.broker.changed.wait_for(found, timeout=10)
    record = found()[0]
    assert "assumed-role/receiver/" in record["principal"]
    assert (record["detail"]["outcome"], record["detail"]["access_key_id"]) == ("ok", answer["AccessKeyId"])
    assert not {answer["SecretAccessKey"], answer["Token"], stand.config.receiver_token} & set(
        record["detail"].values()
    )


def test_credentials_end_with_their_role(stand: Any, make_role: Any, fetch: Any) -> None:
    """As every session does."""
    make_role("receiver", service=PODS, Action=BOTH)
    _, answer = fetch()
    stand.client("iam").delete_role(RoleName="receiver")

    assert stand.control_plane._credentials.find(answer["AccessKeyId"]) is None
    assert fetch()[0] == 404


def test_without_a_broker_there_are_none(stand: Any, make_role: Any, fetch: Any) -> None:
    """503, which SDKs ask again after."""
    make_role("receiver", service=PODS, Action=BOTH)
    stand.broker.answers["registry"] = ("Broken", "no")

    assert fetch()[0] == 503


class TestWithoutAReceiver:
    """A stand-in without a stack."""

    @pytest.fixture
    def settings(self) -> dict[str, Any]:
        """Leave token and role empty, as they are without a receiver."""
        return {"receiver_token": "", "receiver_role_name": ""}

    def test_an_empty_token_opens_nothing(self, make_role: Any, fetch: Any) -> None:
        """Empty is not equal to empty here."""
        make_role("receiver", service=PODS, Action=BOTH)

        assert [fetch(token)[0] for token in ("", None, "x")] == [404, 404, 404]
