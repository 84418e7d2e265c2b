"""The control plane as a whole: what moto answers through it, and what happens when something fails."""

from __future__ import annotations

import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import botocore.exceptions
import pytest
from moto.sqs.models import Queue

if TYPE_CHECKING:
    from collections.abc import Iterator


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
    assert queue_url == f"{stand.url}/{stand.config.account_id}/q"
    assert sqs.list_queues()["QueueUrls"] == [queue_url]


def test_a_queue_hands_out_nothing_that_is_too_old(stand: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each message is kept as long as the queue says, counted from when it was sent."""
    sqs = stand.client("sqs")
    queue_url = sqs.create_queue(QueueName="q", Attributes={"MessageRetentionPeriod": "60"})["QueueUrl"]
    real = time.time
    for seconds_ago in (61, 59):
        monkeypatch.setattr("time.time", lambda: real() - seconds_ago)  # noqa: B023 - used in this turn
        sqs.send_message(QueueUrl=queue_url, MessageBody=f"{seconds_ago} s old")
    monkeypatch.undo()

    received = [each["Body"] for _ in range(2) for each in sqs.receive_message(QueueUrl=queue_url).get("Messages", [])]

    assert received == ["59 s old"]


@pytest.fixture
def restless() -> Iterator[None]:
    """Threads take turns after every few instructions."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("restless")
def test_a_queue_loses_and_hides_nothing_when_many_are_at_it(stand: Any) -> None:
    """While some send, others take messages out, give them back or delete them: each is deleted once, none is left."""
    sqs = stand.client("sqs")
    queue_url = sqs.create_queue(QueueName="q")["QueueUrl"]
    sent = {f"{sender}-{number}" for sender in range(4) for number in range(50)}
    deleted: list[str] = []
    deadline = time.monotonic() + 60

    def send(sender: int) -> None:
        for number in range(50):
            sqs.send_message(QueueUrl=queue_url, MessageBody=f"{sender}-{number}")

    def take(taker: int) -> None:
        turn = taker
        while len(set(deleted)) < len(sent) and time.monotonic() < deadline:
            answer = sqs.receive_message(QueueUrl=queue_url, MaxNumberOfMessages=10, VisibilityTimeout=1000)
            for each in answer.get("Messages", []):
                turn += 1
                handle = {"QueueUrl": queue_url, "ReceiptHandle": each["ReceiptHandle"]}
                if turn % 3:
                    sqs.change_message_visibility(**handle, VisibilityTimeout=0)
                else:
                    sqs.delete_message(**handle)
                    deleted.append(each["Body"])

    with ThreadPoolExecutor(8) as threads:
        work = [threads.submit(each, number) for number in range(4) for each in (send, take)]
    for each in work:
        each.result()

    assert sorted(deleted) == sorted(sent)


def test_whoever_waits_for_messages_sees_at_once_what_is_given_back(
    stand: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two that look only now and then would each miss, for ever, what the other gives back in between."""
    waiting = threading.Event()
    wait = Queue.wait_for_messages

    def wait_long(queue: Queue, timeout: int) -> None:
        waiting.set()
        wait(queue, 30 * timeout)

    monkeypatch.setattr(Queue, "wait_for_messages", wait_long)
    sqs = stand.client("sqs")
    queue_url = sqs.create_queue(QueueName="q")["QueueUrl"]
    sqs.send_message(QueueUrl=queue_url, MessageBody="a")
    (held,) = sqs.receive_message(QueueUrl=queue_url, VisibilityTimeout=1000)["Messages"]
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(stand.client("sqs").receive_message, QueueUrl=queue_url, WaitTimeSeconds=20)
        assert waiting.wait(timeout=30)
        change = {"Id": "0", "ReceiptHandle": held["ReceiptHandle"], "VisibilityTimeout": 0}
        sqs.change_message_visibility_batch(QueueUrl=queue_url, Entries=[change])
        (seen,) = answer.result(timeout=15)["Messages"]

    assert seen["Body"] == "a"


def test_a_host_of_another_region_is_no_way_into_that_region(stand: Any) -> None:
    """What a signer writes into Host does not decide where an operation runs."""
    stand.client("sqs").create_queue(QueueName="q")
    host = "sqs.us-west-2.amazonaws.com"

    status, _, body = stand.send_signed(
        "POST", "/", body=b"{}", service="sqs", X_Amz_Target="AmazonSQS.ListQueues", Host=host
    )

    assert (status, json.loads(body)["QueueUrls"]) == (
        200,
        [f"https://sqs.{stand.config.region}.amazonaws.com/{stand.config.account_id}/q"],
    )


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


def test_keys_are_read_and_put_in_force_in_one_step(stand: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another caller's change cannot come between, and so bring back a key that was deleted meanwhile."""
    plane = stand.control_plane
    replace, was_free = plane._credentials.replace_access_keys, []

    def replace_and_look(access_keys: Any) -> set[str]:
        def take() -> None:
            taken = plane._backend.lock.acquire(blocking=False)
            was_free.append(taken)
            if taken:
                plane._backend.lock.release()

        other = threading.Thread(target=take)
        other.start()
        other.join(10)
        return replace(access_keys)

    monkeypatch.setattr(plane._credentials, "replace_access_keys", replace_and_look)
    iam = stand.client("iam")
    iam.create_user(UserName="u")
    iam.create_access_key(UserName="u")

    assert was_free == [False]


def test_a_registry_is_not_changed_while_an_operation_lists_it(stand: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What reads waits for what writes: moto walks dictionaries that other threads change."""
    plane = stand.control_plane
    invoke, was_free = plane._backend.invoke, {}

    def invoke_and_look(call: Any, **how: Any) -> Any:
        def take() -> None:
            taken = was_free[call.operation.name] = plane._backend.lock.acquire(blocking=False)
            if taken:
                plane._backend.lock.release()

        other = threading.Thread(target=take)
        other.start()
        other.join(10)
        return invoke(call, **how)

    monkeypatch.setattr(plane._backend, "invoke", invoke_and_look)
    stand.client("iot").list_things()
    stand.client("iam").list_roles()
    stand.client("cognito-identity").list_identity_pools(MaxResults=1)
    stand.client("dynamodb").list_tables()
    stand.client("sqs").list_queues()

    assert was_free == {
        "ListThings": False,
        "ListRoles": False,
        "ListIdentityPools": False,
        "ListTables": True,
        "ListQueues": True,
    }


def test_a_batch_of_dynamodb_may_be_as_long_as_aws_takes_it(stand: Any) -> None:
    """Sixteen MiB in all; two were refused once."""
    dynamodb = stand.client("dynamodb")
    dynamodb.create_table(
        TableName="t",
        KeySchema=[{"AttributeName": "k", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "k", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    items = [{"PutRequest": {"Item": {"k": {"S": str(i)}, "v": {"S": "x" * 390_000}}}} for i in range(25)]

    assert dynamodb.batch_write_item(RequestItems={"t": items})["UnprocessedItems"] == {}


def test_a_table_is_written_and_read_by_many_at_once(stand: Any) -> None:
    """The receiver writes rows of a device while tests ask for them: nothing is lost, and no read fails."""
    dynamodb = stand.client("dynamodb")
    dynamodb.create_table(
        TableName="t",
        KeySchema=[{"AttributeName": "k", "KeyType": "HASH"}, {"AttributeName": "r", "KeyType": "RANGE"}],
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in "kr"],
        BillingMode="PAY_PER_REQUEST",
    )
    failures: list[Exception] = []

    def query() -> int:
        answer = dynamodb.query(
            TableName="t", KeyConditionExpression="k = :k", ExpressionAttributeValues={":k": {"S": "k"}}
        )
        return int(answer["Count"])

    def write(writer: int) -> None:
        try:
            for number in range(20):
                dynamodb.put_item(TableName="t", Item={"k": {"S": "k"}, "r": {"S": f"{writer}-{number}"}})
                query()
        except botocore.exceptions.ClientError as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (failures, query()) == ([], 200)


def test_operations_of_a_table_run_one_at_a_time(stand: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not so those of queues, where who waits for a message would keep it from being sent."""
    plane = stand.control_plane
    invoke, was_free = plane._backend.invoke, {}

    def invoke_and_look(call: Any, **how: Any) -> Any:
        lock = plane._lock_of(call.operation.service)
        was_free[call.operation.name] = not hasattr(lock, "locked") or not lock.locked()
        return invoke(call, **how)

    monkeypatch.setattr(plane._backend, "invoke", invoke_and_look)
    stand.client("dynamodb").list_tables()
    stand.client("sqs").list_queues()

    assert was_free == {"ListTables": False, "ListQueues": True}
