"""Tables and queues: the calls they become, and what is refused."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from harness.errors import ProvisioningError
from harness.targets.marks import find_mark
from harness.targets.provisioning.declared import Declared
from harness.targets.provisioning.ledger import Ledger, Noted, read_ledger
from harness.targets.provisioning.resources import RESOURCE_TYPES, make_resource
from harness.targets.provisioning.storage_resources import make_table

if TYPE_CHECKING:
    from pathlib import Path

TABLE: dict[str, Any] = {
    "billingMode": "PAY_PER_REQUEST",
    "hashKey": "deviceId",
    "attributes": [{"name": "deviceId", "type": "S"}],
}


def table(**more: Any) -> Declared:
    """Declare a table with a partition key and no more than is added here."""
    return Declared(type="aws:dynamodb/table:Table", name="readings", inputs={**TABLE, **more})


def queue(**inputs: Any) -> Declared:
    """Declare a queue."""
    return Declared(type="aws:sqs/queue:Queue", name="letters", inputs=inputs)


def test_a_table_gets_a_name_and_tells_its_arn(account: Any) -> None:
    """What it was not told it makes up; what it was not asked it does not set."""
    made = make_resource(account, table())

    assert re.fullmatch(r"readings-[0-9a-f]{7}", made.id)
    assert made.outputs == {"name": made.id, "arn": f"arn:aws:dynamodb:eu-central-1:123456789012:table/{made.id}"}
    assert account.asked("CreateTable")["KeySchema"] == [{"AttributeName": "deviceId", "KeyType": "HASH"}]
    assert account.operations() == ["CreateTable"]


def test_a_table_has_a_sort_key_and_a_time_to_live_when_it_is_told(account: Any) -> None:
    """Under the name it was given."""
    make_resource(
        account,
        table(
            name="rows",
            rangeKey="received_at",
            attributes=[{"name": "deviceId", "type": "S"}, {"name": "received_at", "type": "N"}],
            ttl={"attributeName": "ttl", "enabled": True},
        ),
    )

    asked = account.asked("CreateTable")
    assert asked["TableName"] == "rows"
    assert asked["KeySchema"][1] == {"AttributeName": "received_at", "KeyType": "RANGE"}
    assert asked["AttributeDefinitions"][1] == {"AttributeName": "received_at", "AttributeType": "N"}
    assert account.asked("UpdateTimeToLive") == {
        "TableName": "rows",
        "TimeToLiveSpecification": {"Enabled": True, "AttributeName": "ttl"},
    }


def test_a_time_to_live_that_is_off_is_not_set(account: Any) -> None:
    """DynamoDB refuses to switch off what is off."""
    make_resource(account, table(ttl={"attributeName": "ttl", "enabled": False}))

    assert account.operations() == ["CreateTable"]


def test_a_table_is_awaited(account: Any) -> None:
    """Its time to live cannot be set while it is being made."""
    account.table_states = ["CREATING", "CREATING", "ACTIVE"]

    make_resource(account, table(ttl={"attributeName": "ttl", "enabled": True}))

    assert account.operations() == ["CreateTable", "DescribeTable", "DescribeTable", "UpdateTimeToLive"]


def test_a_table_that_does_not_come_to_be_is_told_of(account: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the state it is in."""
    monkeypatch.setattr("harness.targets.provisioning.storage_resources._TABLE_SECONDS", 0.0)
    account.table_states = ["CREATING"]

    with pytest.raises(ProvisioningError, match=r"Table readings.*still CREATING"):
        make_table(account, table(name="rows"))


@pytest.mark.parametrize(
    ("inputs", "told"),
    [
        ({"billingMode": "PROVISIONED"}, "billingMode has to be PAY_PER_REQUEST"),
        ({"billingMode": None}, "billingMode has to be PAY_PER_REQUEST"),
        ({"streamEnabled": True}, "input streamEnabled is not supported"),
        ({"ttl": {"attributeName": "ttl", "colour": 1}}, "input ttl.colour is not supported"),
        ({"attributes": [{"name": "a", "type": "S", "colour": 1}]}, "input attributes.colour is not supported"),
    ],
)
def test_a_table_refuses_what_it_would_leave_out(inputs: dict[str, Any], told: str, account: Any) -> None:
    """By name, before anything is made."""
    with pytest.raises(ProvisioningError, match=re.escape(told)):
        make_resource(account, table(**inputs))

    assert account.calls == []


def test_a_queue_has_sqss_own_defaults(account: Any) -> None:
    """Its URL is its id; it gets a name, and no attribute that nobody asked for."""
    made = make_resource(account, queue())

    name = account.asked("CreateQueue")["QueueName"]
    assert re.fullmatch(r"letters-[0-9a-f]{7}", name)
    assert account.asked("CreateQueue")["Attributes"] == {}
    url = f"http://127.0.0.1:9/123456789012/{name}"
    assert made == (url, {"name": name, "url": url, "arn": "arn:aws:sqs:eu-central-1:123456789012:q"}, None)
    assert account.asked("GetQueueAttributes") == {"QueueUrl": url, "AttributeNames": ["QueueArn"]}


def test_a_queues_numbers_are_text_to_sqs(account: Any) -> None:
    """Nought is a number too."""
    make_resource(account, queue(name="q", messageRetentionSeconds=1209600, delaySeconds=0, visibilityTimeoutSeconds=5))

    assert account.asked("CreateQueue") == {
        "QueueName": "q",
        "Attributes": {"MessageRetentionPeriod": "1209600", "DelaySeconds": "0", "VisibilityTimeout": "5"},
    }


def test_a_queue_refuses_what_it_would_leave_out(account: Any) -> None:
    """A policy that nobody enforces, for one."""
    with pytest.raises(ProvisioningError, match="input policy is not supported"):
        make_resource(account, queue(policy="{}"))

    assert account.calls == []


def test_table_and_queue_of_a_run_have_its_mark_in_name_and_tags(account: Any) -> None:
    """Beside the tags that the program declares."""
    account.mark = find_mark("tw6b3f0a21-9c4e11d2")

    make_resource(account, table(tags={"team": "a"}))
    make_resource(account, queue())

    made = account.asked("CreateTable")
    assert re.fullmatch(r"readings-tw6b3f0a21-9c4e11d2-[0-9a-f]{7}", made["TableName"])
    assert {each["Key"]: each["Value"] for each in made["Tags"]} == {"team": "a", **account.mark.tags}
    made = account.asked("CreateQueue")
    assert re.fullmatch(r"letters-tw6b3f0a21-9c4e11d2-[0-9a-f]{7}", made["QueueName"])
    assert made["tags"] == account.mark.tags


def test_tags_are_those_that_are_declared(account: Any) -> None:
    """Without a run nothing is added."""
    make_resource(account, table(tags={"team": "a"}))
    make_resource(account, queue(tags={"team": "b"}))

    assert account.asked("CreateTable")["Tags"] == [{"Key": "team", "Value": "a"}]
    assert account.asked("CreateQueue")["tags"] == {"team": "b"}


def noted(declared: Declared, id_: str | None, **intent: Any) -> Noted:
    """Give what a ledger holds of a resource."""
    return Noted(type=declared.type, name=declared.name, intent=intent, id=id_)


def test_a_table_is_removed_and_its_end_is_awaited(account: Any) -> None:
    """What is only being deleted is still in the way of the next of that name."""
    account.refusals["DescribeTable"] = [None, None, (400, "ResourceNotFoundException", "no")]

    RESOURCE_TYPES[table().type].remove(account, noted(table(), None, name="rows"))

    assert account.operations() == ["DeleteTable", "DescribeTable", "DescribeTable", "DescribeTable"]


def test_a_table_that_is_gone_is_not_awaited(account: Any) -> None:
    """Nothing to do is done."""
    account.refusals["DeleteTable"] = [(400, "ResourceNotFoundException", "no")]

    RESOURCE_TYPES[table().type].remove(account, noted(table(), "rows", name="rows"))

    assert account.operations() == ["DeleteTable"]


def test_a_table_that_does_not_go_is_told_of(account: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the state it is in."""
    monkeypatch.setattr("harness.targets.provisioning.storage_resources._TABLE_SECONDS", 0.0)
    account.table_states = ["DELETING"]

    with pytest.raises(ProvisioningError, match=r"dynamodb:DeleteTable\): the table is still DELETING"):
        RESOURCE_TYPES[table().type].remove(account, noted(table(), None, name="rows"))


def test_a_queue_is_removed_by_its_url_or_found_by_its_name(account: Any) -> None:
    """And is nothing to remove when there is none of that name."""
    account.refusals["GetQueueUrl"] = [None, (400, "AWS.SimpleQueueService.NonExistentQueue", "no")]

    for id_ in ("http://127.0.0.1:9/1/letters", None, None):
        RESOURCE_TYPES[queue().type].remove(account, noted(queue(), id_, name="letters"))

    deleted = [each[3]["QueueUrl"] for each in account.calls if each[2] == "DeleteQueue"]
    assert deleted == ["http://127.0.0.1:9/1/letters", "http://127.0.0.1:9/123456789012/letters"]


def test_a_queue_of_somebody_else_is_not_taken_over(account: Any, tmp_path: Path) -> None:
    """SQS would hand out a queue that is there as if it had been made; a removal would then delete it."""
    ledger = Ledger(tmp_path / "ledger")

    with pytest.raises(ProvisioningError, match="there is a queue letters already"):
        make_resource(account, queue(name="letters"), ledger=ledger)

    ledger.close()
    assert account.operations() == ["GetQueueUrl"]
    assert read_ledger(tmp_path / "ledger") == []
