"""Makes what keeps data: DynamoDB tables and SQS queues."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from harness.errors import ProvisioningError
from harness.targets.provisioning.declared import Declared, Made, Naming, ResourceType, as_tag_list, intend_name
from harness.targets.provisioning.waiting import ask_until

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.targets.provisioning.account import Account
    from harness.targets.provisioning.ledger import Noted

_TABLE_SECONDS: Final = 60.0
_ON_DEMAND: Final = "PAY_PER_REQUEST"

_QUEUE_ATTRIBUTES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "delaySeconds": "DelaySeconds",
        "maxMessageSize": "MaximumMessageSize",
        "messageRetentionSeconds": "MessageRetentionPeriod",
        "receiveWaitTimeSeconds": "ReceiveMessageWaitTimeSeconds",
        "visibilityTimeoutSeconds": "VisibilityTimeout",
    }
)
"""Input of a queue to SQS's name for it; all are numbers."""


def make_table(account: Account, declared: Declared) -> Made:
    """Make a DynamoDB table and wait until it can be used.

    Raises:
        ProvisioningError: it has provisioned capacity, or did not become usable in time, or an AWS call failed.
    """
    inputs = declared.inputs
    if inputs.get("billingMode") != _ON_DEMAND:
        raise ProvisioningError(
            declared.subject, reason=f"billingMode has to be {_ON_DEMAND}: others are not supported"
        )
    for attribute in inputs["attributes"]:
        declared.accept_only(("name", "type"), given=attribute, inside="attributes")
    ttl = inputs.get("ttl") or {}
    declared.accept_only(("attributeName", "enabled"), given=ttl, inside="ttl")
    keys = [(inputs["hashKey"], "HASH")]
    if inputs.get("rangeKey"):
        keys.append((inputs["rangeKey"], "RANGE"))
    name = inputs["name"]
    table = account.call(
        declared.subject,
        "dynamodb",
        "CreateTable",
        TableName=name,
        BillingMode=_ON_DEMAND,
        AttributeDefinitions=[
            {"AttributeName": each["name"], "AttributeType": each["type"]} for each in inputs["attributes"]
        ],
        KeySchema=[{"AttributeName": key, "KeyType": kind} for key, kind in keys],
        Tags=as_tag_list(account.tags(inputs.get("tags"))),
    )["TableDescription"]
    declared.note_made(name)
    _await_table(account, declared, table)
    if ttl.get("enabled"):
        account.call(
            declared.subject,
            "dynamodb",
            "UpdateTimeToLive",
            TableName=name,
            TimeToLiveSpecification={"Enabled": True, "AttributeName": ttl["attributeName"]},
        )
    return Made(name, {"name": name, "arn": table["TableArn"]})


def _await_table(account: Account, declared: Declared, created: dict[str, Any]) -> None:
    """Wait until a table is active; its time to live cannot be set before."""
    if created["TableStatus"] == "ACTIVE":
        return
    table = ask_until(
        lambda: account.call(declared.subject, "dynamodb", "DescribeTable", TableName=created["TableName"])["Table"],
        lambda answer: answer["TableStatus"] == "ACTIVE",
        seconds=_TABLE_SECONDS,
    )
    if table["TableStatus"] != "ACTIVE":
        raise ProvisioningError(
            declared.subject,
            call="dynamodb:CreateTable",
            reason=f"the table is still {table['TableStatus']} after {_TABLE_SECONDS:.0f} s",
        )


def remove_table(account: Account, noted: Noted) -> None:
    """Remove a table and wait until it is gone.

    Raises:
        ProvisioningError: it was not gone in time, or an AWS call failed.
    """
    name = noted.intent["name"]
    if account.call_if_there(noted.subject, "dynamodb", "DeleteTable", TableName=name) is None:
        return
    answer = ask_until(
        lambda: account.call_if_there(noted.subject, "dynamodb", "DescribeTable", TableName=name),
        lambda answer: answer is None,
        seconds=_TABLE_SECONDS,
    )
    if answer is not None:
        raise ProvisioningError(
            noted.subject,
            call="dynamodb:DeleteTable",
            reason=f"the table is still {answer['Table']['TableStatus']} after {_TABLE_SECONDS:.0f} s",
        )


def make_queue(account: Account, declared: Declared) -> Made:
    """Make an SQS queue.

    Raises:
        ProvisioningError: an AWS call failed.
    """
    inputs = declared.inputs
    name = inputs["name"]
    attributes = {aws: str(inputs[given]) for given, aws in _QUEUE_ATTRIBUTES.items() if inputs.get(given) is not None}
    url = account.call(
        declared.subject,
        "sqs",
        "CreateQueue",
        QueueName=name,
        Attributes=attributes,
        tags=account.tags(inputs.get("tags")) or None,
    )["QueueUrl"]
    declared.note_made(url)
    answer = account.call(declared.subject, "sqs", "GetQueueAttributes", QueueUrl=url, AttributeNames=["QueueArn"])
    return Made(url, {"name": name, "url": url, "arn": answer["Attributes"]["QueueArn"]})


def _intend_queue(account: Account, declared: Declared) -> dict[str, Any]:
    """Tell the name; refuse that of a queue that is there, since SQS would hand it over as if it were new."""
    name = declared.inputs["name"]
    if not account.owns(name) and account.call_if_there(declared.subject, "sqs", "GetQueueUrl", QueueName=name):
        raise ProvisioningError(declared.subject, reason=f"there is a queue {name} already")
    return {"name": name}


def remove_queue(account: Account, noted: Noted) -> None:
    """Remove a queue with what is in it.

    Raises:
        ProvisioningError: an AWS call failed.
    """
    url = noted.id
    if url is None:
        found = account.call_if_there(noted.subject, "sqs", "GetQueueUrl", QueueName=noted.intent["name"])
        if found is None:
            return
        url = found["QueueUrl"]
    account.call_if_there(noted.subject, "sqs", "DeleteQueue", QueueUrl=url)


STORAGE_TYPES: Final[Mapping[str, ResourceType]] = MappingProxyType(
    {
        "aws:dynamodb/table:Table": ResourceType(
            make=make_table,
            intend=intend_name,
            remove=remove_table,
            inputs=frozenset({"name", "billingMode", "hashKey", "rangeKey", "attributes", "ttl", "tags"}),
            services=("dynamodb",),
            naming=Naming(longest=255),
        ),
        "aws:sqs/queue:Queue": ResourceType(
            make=make_queue,
            intend=_intend_queue,
            remove=remove_queue,
            inputs=frozenset({"name", *_QUEUE_ATTRIBUTES, "tags"}),
            services=("sqs",),
            naming=Naming(longest=80),
        ),
    }
)
"""Type token to how it is made."""
