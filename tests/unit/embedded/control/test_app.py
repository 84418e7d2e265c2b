"""The control plane as a whole: what moto answers through it, and what happens when something fails."""

from __future__ import annotations

import json
import threading
from typing import Any

import botocore.exceptions
import pytest


def test_tables_and_queues_are_served(stand: Any) -> None:
    """DynamoDB and SQS are moto's as they are, with the account and region of the configuration."""
    dynamodb, sqs = stand.client("dynamodb"), stand.client("sqs")
    table = dynamodb.create_table(
        TableName="t",
        KeySchema=[{"AttributeName": "k", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "k", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )["TableDescription"]
    dynamodb.put_item(TableName="t", Item={"k": {"S": "ä"}})
    queue_url = sqs.create_queue(QueueName="q")["QueueUrl"]
    sqs.send_message(QueueUrl=queue_url, MessageBody="hello")

    assert table["TableArn"] == f"arn:aws:dynamodb:{stand.config.region}:{stand.config.account_id}:table/t"
    assert dynamodb.get_item(TableName="t", Key={"k": {"S": "ä"}})["Item"] == {"k": {"S": "ä"}}
    assert sqs.receive_message(QueueUrl=queue_url)["Messages"][0]["Body"] == "hello"


def test_an_operation_that_moto_lacks_answers_by_name(stand: Any) -> None:
    """501 also where a whole service is served."""
    with pytest.raises(
        botocore.exceptions.ClientError, match="DescribeTableReplicaAutoScaling is not served"
    ) as caught:
        stand.client("dynamodb").describe_table_replica_auto_scaling(TableName="t")
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 501


def test_user_pools_are_served_signed_and_unsigned(stand: Any) -> None:
    """SignUp is an operation nobody signs; the pool it is for belongs to the region of the configuration."""
    cognito = stand.client("cognito-idp")
    pool_id = cognito.create_user_pool(PoolName="p")["UserPool"]["Id"]
    client_id = cognito.create_user_pool_client(UserPoolId=pool_id, ClientName="c")["UserPoolClient"]["ClientId"]

    cognito.sign_up(ClientId=client_id, Username="u", Password="Passw0rd!")

    assert [user["Username"] for user in cognito.list_users(UserPoolId=pool_id)["Users"]] == ["u"]


def test_the_first_calls_find_all_loaded(stand: Any) -> None:
    """Warming up reads, and changes nothing."""
    stand.control_plane.warm_up()

    assert stand.client("iot").list_things()["things"] == []
    assert len(stand.broker.of("registry")) == 1


def test_a_failure_inside_is_answered_with_the_id_to_find_it_by(
    stand: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """500 for the caller, the traceback for the log, and the process goes on."""

    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(stand.control_plane._backend, "invoke", fail)

    with pytest.raises(botocore.exceptions.ClientError) as caught:
        stand.client("iot").list_things()

    error = caught.value.response
    assert error["ResponseMetadata"]["HTTPStatusCode"] == 500
    assert error["ResponseMetadata"]["RequestId"] in error["Error"]["Message"]
    assert error["ResponseMetadata"]["RequestId"] in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_a_header_that_came_twice_is_refused(stand: Any) -> None:
    """Two readers might take two different ones."""
    import http.client  # noqa: PLC0415 - the one test that needs header lines by hand

    connection = http.client.HTTPConnection("127.0.0.1", int(stand.url.rpartition(":")[2]), timeout=10)
    connection.putrequest("POST", "/")
    for target in ("AWSCognitoIdentityService.GetId", "AWSCognitoIdentityService.DeleteIdentityPool"):
        connection.putheader("X-Amz-Target", target)
    connection.endheaders()
    response = connection.getresponse()
    body = json.loads(response.read())
    connection.close()

    assert (response.status, body["message"]) == (400, "the header x-amz-target came more than once")


def test_a_trace_that_the_broker_refuses_stops_nothing(stand: Any) -> None:
    """Records may be lost, calls are not."""
    stand.broker.answers["trace_append"] = ("BadRecord", "no")
    stand.client("sts").get_caller_identity()
    stand.broker.wait_for("trace_append")
    stand.broker.answers["trace_append"] = {}

    stand.client("sts").get_caller_identity()
    assert len(stand.broker.wait_for("trace_append", 2)) == 2


def test_two_hundred_guests_at_once_cost_few_messages_to_the_broker(stand: Any, make_guest: Any) -> None:
    """Changes of one moment travel together, and each guest has credentials that the broker knows."""
    pool_id = make_guest()["pool_id"]
    cognito = stand.client("cognito-identity")
    before = len(stand.broker.of("registry"))
    keys: list[str] = []

    def join() -> None:
        identity_id = cognito.get_id(IdentityPoolId=pool_id)["IdentityId"]
        credentials = cognito.get_credentials_for_identity(IdentityId=identity_id)["Credentials"]
        assert credentials["AccessKeyId"] in stand.broker.snapshot.credentials
        keys.append(credentials["AccessKeyId"])

    threads = [threading.Thread(target=join) for _ in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(set(keys)) == 200
    assert len(stand.broker.of("registry")) - before <= 200


def test_what_makes_one_operation_look_like_another_is_refused(stand: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last guard before moto: its own router must find what was authorised."""
    call = stand.control_plane._catalogue.operations("iot")["DescribeThing"]
    monkeypatch.setitem(call.model.http, "requestUri", "/policies/{thingName}")

    with pytest.raises(botocore.exceptions.ClientError, match="look like another operation"):
        stand.client("iot").describe_thing(thingName="t")
