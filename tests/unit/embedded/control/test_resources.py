"""Which permissions a call needs."""

from __future__ import annotations

from typing import Any

import pytest

from harness.embedded.control.moto_backend import MotoBackend
from harness.embedded.control.resources import needed_permissions
from harness.embedded.control.routing import ApiCall, Catalogue

REGION, ACCOUNT_ID = "eu-central-1", "111122223333"
CATALOGUE = Catalogue(MotoBackend.load_model, check=lambda _: None)
BACKEND = MotoBackend(account_id=ACCOUNT_ID, region=REGION)


def iot(resource: str) -> str:
    """Return an ARN of iot."""
    return f"arn:aws:iot:{REGION}:{ACCOUNT_ID}:{resource}"


def arn(service: str, resource: str) -> str:
    """Return an ARN of a service with regions."""
    return f"arn:aws:{service}:{REGION}:{ACCOUNT_ID}:{resource}"


def iam(resource: str) -> str:
    """Return an ARN of iam."""
    return f"arn:aws:iam::{ACCOUNT_ID}:{resource}"


POOL = "arn:aws:cognito-identity:eu-central-1:111122223333:identitypool/eu:1"
TABLE = "arn:aws:dynamodb:eu-central-1:111122223333:table/t"


@pytest.mark.parametrize(
    ("service", "operation", "params", "expected"),
    [
        ("iot", "CreateThing", {"thingName": "t", "thingTypeName": "x"}, [("iot:CreateThing", iot("thing/t"))]),
        ("iot", "DescribeThingType", {"thingTypeName": "x"}, [("iot:DescribeThingType", iot("thingtype/x"))]),
        ("iot", "GetPolicy", {"policyName": "p"}, [("iot:GetPolicy", iot("policy/p"))]),
        ("iot", "UpdateCertificate", {"certificateId": "c"}, [("iot:UpdateCertificate", iot("cert/c"))]),
        ("iot", "DescribeCACertificate", {"certificateId": "c"}, [("iot:DescribeCACertificate", iot("cacert/c"))]),
        ("iot", "AttachPolicy", {"policyName": "p", "target": iot("cert/c")}, [("iot:AttachPolicy", iot("cert/c"))]),
        ("iot", "AttachPolicy", {"policyName": "p", "target": "eu:1"}, [("iot:AttachPolicy", "*")]),
        ("iot", "AttachThingPrincipal", {"thingName": "t", "principal": iot("cert/c")},
         [("iot:AttachThingPrincipal", iot("cert/c"))]),
        ("iot", "ListThings", {}, [("iot:ListThings", "*")]),
        ("iot", "GetTopicRule", {"ruleName": "r"}, [("iot:GetTopicRule", iot("rule/r"))]),
        ("iot", "ListTopicRules", {"topic": "a"}, [("iot:ListTopicRules", "*")]),
        ("iot", "ReplaceTopicRule",
         {"ruleName": "r", "topicRulePayload": {
             "actions": [
                 {"http": {"auth": {"sigv4": {"roleArn": iam("role/a")}}}},
                 {"sqs": {"roleArn": iam("role/b")}},
                 {"sqs": {"roleArn": iam("role/a")}},
             ],
             "errorAction": {"sqs": {"roleArn": iam("role/c")}},
         }},
         [("iot:ReplaceTopicRule", iot("rule/r")), *(("iam:PassRole", iam(f"role/{name}")) for name in "abc")]),
        ("iot", "CreateTopicRuleDestination", {"destinationConfiguration": {}},
         [("iot:CreateTopicRuleDestination", iot("ruledestination/http/*"))]),
        ("iot", "DeleteTopicRuleDestination", {"arn": iot("ruledestination/http/1")},
         [("iot:DeleteTopicRuleDestination", iot("ruledestination/http/1"))]),
        ("iot", "UpdateTopicRuleDestination", {"arn": iot("ruledestination/http/1"), "status": "ENABLED"},
         [("iot:UpdateTopicRuleDestination", iot("ruledestination/http/1"))]),
        ("iot", "ListTopicRuleDestinations", {}, [("iot:ListTopicRuleDestinations", "*")]),
        ("iot", "ConfirmTopicRuleDestination", {"confirmationToken": "t"}, [("iot:ConfirmTopicRuleDestination", "*")]),
        ("iot-data", "Publish", {"topic": "a/b"}, [("iot:Publish", iot("topic/a/b"))]),
        ("iam", "CreateRole", {"RoleName": "r", "Path": "/x/"}, [("iam:CreateRole", iam("role/x/r"))]),
        ("iam", "CreatePolicy", {"PolicyName": "p"}, [("iam:CreatePolicy", iam("policy/p"))]),
        ("iam", "GetRole", {"RoleName": "r"}, [("iam:GetRole", iam("role/r"))]),
        ("iam", "AddUserToGroup", {"UserName": "u", "GroupName": "g"}, [("iam:AddUserToGroup", iam("group/g"))]),
        ("iam", "GetPolicy", {"PolicyArn": iam("policy/p")}, [("iam:GetPolicy", iam("policy/p"))]),
        ("iam", "ListRoles", {}, [("iam:ListRoles", "*")]),
        ("sts", "AssumeRole", {"RoleArn": iam("role/r")}, [("sts:AssumeRole", iam("role/r"))]),
        ("sqs", "SendMessageBatch", {"QueueUrl": "q"}, [("sqs:SendMessage", arn("sqs", "q"))]),
        ("dynamodb", "ExecuteStatement", {"Statement": " select * FROM t"}, [("dynamodb:PartiQLSelect", "*")]),
        ("dynamodb", "BatchExecuteStatement", {"Statements": [{"Statement": "UPDATE t"}, {"Statement": "DELETE"}]},
         [("dynamodb:PartiQLUpdate", "*"), ("dynamodb:PartiQLDelete", "*")]),
        ("dynamodb", "ExecuteTransaction", {"TransactStatements": [{"Statement": "-- hidden"}]},
         [(f"dynamodb:PartiQL{kind}", "*") for kind in ("Delete", "Insert", "Select", "Update")]),
        ("sts", "GetCallerIdentity", {}, [("sts:GetCallerIdentity", "*")]),
        ("cognito-identity", "DescribeIdentityPool", {"IdentityPoolId": "eu:1"},
         [("cognito-identity:DescribeIdentityPool", POOL)]),
        ("cognito-identity", "SetIdentityPoolRoles", {"IdentityPoolId": "eu:1", "Roles": {"x": iam("role/r")}},
         [("cognito-identity:SetIdentityPoolRoles", POOL), ("iam:PassRole", iam("role/r"))]),
        ("cognito-idp", "DescribeUserPool", {"UserPoolId": "eu_1"},
         [("cognito-idp:DescribeUserPool", arn("cognito-idp", "userpool/eu_1"))]),
        ("cognito-idp", "ListUserPools", {}, [("cognito-idp:ListUserPools", "*")]),
        ("sqs", "SendMessage", {"QueueUrl": "https://sqs.x/1/q"}, [("sqs:SendMessage", arn("sqs", "q"))]),
        ("sqs", "SendMessage", {"QueueUrl": "q"}, [("sqs:SendMessage", arn("sqs", "q"))]),
        ("sqs", "CreateQueue", {"QueueName": "q"}, [("sqs:CreateQueue", arn("sqs", "q"))]),
        ("sqs", "ListQueues", {}, [("sqs:ListQueues", "*")]),
        ("dynamodb", "PutItem", {"TableName": "t"}, [("dynamodb:PutItem", TABLE)]),
        ("dynamodb", "PutItem", {"TableName": TABLE}, [("dynamodb:PutItem", TABLE)]),
        ("dynamodb", "Query", {"TableName": "t", "IndexName": "i"}, [("dynamodb:Query", f"{TABLE}/index/i")]),
        ("dynamodb", "TagResource", {"ResourceArn": TABLE}, [("dynamodb:TagResource", TABLE)]),
        ("dynamodb", "ListTables", {}, [("dynamodb:ListTables", "*")]),
        ("dynamodb", "BatchWriteItem", {"RequestItems": {"t": [], "u": []}},
         [("dynamodb:BatchWriteItem", TABLE), ("dynamodb:BatchWriteItem", TABLE[:-1] + "u")]),
        ("dynamodb", "BatchWriteItem", {"RequestItems": []}, [("dynamodb:BatchWriteItem", "*")]),
        ("dynamodb", "TransactWriteItems",
         {"TransactItems": [{"Put": {"TableName": "t"}}, {"Delete": {"TableName": "t"}}, 1, {"Put": 1}]},
         [("dynamodb:PutItem", TABLE), ("dynamodb:DeleteItem", TABLE)]),
        ("dynamodb", "TransactGetItems", {"TransactItems": None}, [("dynamodb:TransactGetItems", "*")]),
    ],
)  # fmt: skip
def test_a_call_needs_its_action_on_its_resource(
    service: str, operation: str, params: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    """One row for each kind of resource; ``*`` where there is none, or none that can be worked out."""
    call = ApiCall(operation=CATALOGUE.operations(service)[operation], params=params)

    assert needed_permissions(call, BACKEND) == expected
