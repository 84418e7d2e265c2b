"""An AWS account that answers the whole stack and keeps what was asked of it."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from harness.targets.embedded import DEFAULT_STACK
from harness.targets.provisioning.account import Account
from harness.targets.provisioning.program import deploy

ACCOUNT_ID = "123456789012"
QUEUE_URL = f"http://127.0.0.1:40001/{ACCOUNT_ID}/"
DESTINATION_ARN = f"arn:aws:iot:eu-central-1:{ACCOUNT_ID}:ruledestination/http/00000000-0000-4000-8000-000000000002"


class Call(NamedTuple):
    """One AWS call, and the resource or question it was made for."""

    subject: str
    operation: str
    parameters: dict[str, Any]


class RecordingAccount(Account):
    """Answers as AWS does and keeps every call, in order."""

    def __init__(self, region: str = "eu-central-1") -> None:
        self.region = region
        self.mark = None
        self.calls: list[Call] = []

    def call(self, subject: str, service: str, operation: str, **parameters: Any) -> dict[str, Any]:
        """Answer any call with all that any answer holds."""
        del service
        given = {name: value for name, value in parameters.items() if value is not None}
        self.calls.append(Call(subject, operation, given))
        name = next((given[key] for key in ("RoleName", "policyName", "TableName", "ruleName") if key in given), None)
        queue = given.get("QueueName") or given.get("QueueUrl", "").rpartition("/")[2]
        destination = {"arn": DESTINATION_ARN, "status": "ENABLED"}
        return {
            "IdentityPoolId": f"{self.region}:00000000-0000-4000-8000-000000000001",
            "Role": {"RoleName": name, "Arn": f"arn:aws:iam::{ACCOUNT_ID}:role/{name}", "RoleId": "AROA1"},
            "policyName": name,
            "policyArn": f"arn:aws:iot:{self.region}:{ACCOUNT_ID}:policy/{name}",
            "policyVersionId": "1",
            "TableDescription": {
                "TableName": name,
                "TableArn": f"arn:aws:dynamodb:{self.region}:{ACCOUNT_ID}:table/{name}",
                "TableStatus": "ACTIVE",
            },
            "QueueUrl": f"{QUEUE_URL}{queue}",
            "Attributes": {"QueueArn": f"arn:aws:sqs:{self.region}:{ACCOUNT_ID}:{queue}"},
            "topicRuleDestination": destination,
            "ruleArn": f"arn:aws:iot:{self.region}:{ACCOUNT_ID}:rule/{name}",
            "endpointAddress": f"abc-ats.iot.{self.region}.amazonaws.com"
            if self.region == "us-east-1"
            else "localhost",
            "Account": ACCOUNT_ID,
            "Arn": f"arn:aws:iam::{ACCOUNT_ID}:root",
            "UserId": ACCOUNT_ID,
        }

    def asked(self, operation: str, *, of: str = "") -> dict[str, Any]:
        """Return the parameters of the one call of an operation, for a resource of this logical name if given."""
        (found,) = (
            each for each in self.calls if each.operation == operation and (not of or each.subject.endswith(f" {of}"))
        )
        return found.parameters

    def place(self, operation: str, *, of: str = "") -> int:
        """Return how many calls came before the one call of an operation."""
        return next(
            place
            for place, each in enumerate(self.calls)
            if each.parameters is self.asked(operation, of=of) and each.operation == operation
        )

    def deploy(self, stack: str = "embedded", **config: str) -> dict[str, Any]:
        """Deploy the program that users deploy; its outputs."""
        return deploy(DEFAULT_STACK, account=self, stack=stack, config=config)


LOCAL = {
    "iotMqttsPort": "40003",
    "iotWssPort": "40002",
    "caFile": "/somewhere/ca.pem",
    "tableName": "readings-1a2b",
    "receiverUrl": "https://localhost:40004",
    "iotSecret": "s3cret",
    "receiverRoleName": "receiver",
    "requireClientId": "true",
}


@pytest.fixture(scope="module")
def deployed() -> tuple[RecordingAccount, dict[str, Any]]:
    """The whole stack, as the stand-in gets it."""
    account = RecordingAccount()
    return account, account.deploy(**LOCAL)


@pytest.fixture(scope="module")
def account(deployed: tuple[RecordingAccount, dict[str, Any]]) -> RecordingAccount:
    """What was asked of AWS."""
    return deployed[0]


@pytest.fixture(scope="module")
def outputs(deployed: tuple[RecordingAccount, dict[str, Any]]) -> dict[str, Any]:
    """What the stack tells of itself."""
    return deployed[1]


@pytest.fixture
def make_account() -> type[RecordingAccount]:
    """Make an account of its own: ``make_account().deploy(receiverUrl=…)``."""
    return RecordingAccount
