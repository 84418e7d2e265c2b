"""An AWS account that remembers what was asked of it and answers as AWS does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from harness.errors import ProvisioningError
from harness.targets.provisioning.account import Account

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class FakeAccount(Account):
    """Answers the calls of the supported resources; ``refuses`` and ``refusals`` make operations fail."""

    def __init__(self) -> None:
        self.region = "eu-central-1"
        self.mark = None
        self.calls: list[tuple[str, str, str, dict[str, Any]]] = []
        self.refuses = ""
        self.refusals: dict[str, list[tuple[int, str, str] | None]] = {}
        """Operation to (HTTP status, code, message) of the answers to its next calls; None: one that succeeds."""
        self.lists: dict[str, list[Any]] = {}
        """Operation that lists to what it lists."""
        self.table_states = ["ACTIVE"]
        self.destination_states = ["ENABLED"]
        self.status_reason: str | None = None

    def call(self, subject: str, service: str, operation: str, **parameters: Any) -> dict[str, Any]:
        """Answer one AWS call."""
        given = {name: value for name, value in parameters.items() if value is not None}
        self.calls.append((subject, service, operation, given))
        if operation == self.refuses:
            raise ProvisioningError(subject, call=f"{service}:{operation}", reason="Denied: no", request_id="r-7")
        if self.refusals.get(operation) and (refusal := self.refusals[operation].pop(0)) is not None:
            raise refused(subject, f"{service}:{operation}", *refusal)
        if operation in self.lists:
            return {"": self.lists[operation]}
        if operation.startswith(("Delete", "Detach")):
            return {}
        if operation in ("CreateTable", "DescribeTable"):
            return self._table(operation, given["TableName"])
        if operation.endswith("TopicRuleDestination"):
            return self._destination()
        return self._answers(given)[operation]

    def every(self, subject: str, service: str, operation: str, member: str, **parameters: Any) -> list[Any]:
        """List what is there; nothing unless the test says otherwise."""
        self.lists.setdefault(operation, [])
        assert member
        listed: list[Any] = self.call(subject, service, operation, **parameters)[""]
        return listed

    def asked(self, operation: str) -> dict[str, Any]:
        """Return the parameters of the one call of an operation."""
        (parameters,) = (each[3] for each in self.calls if each[2] == operation)
        return parameters

    def operations(self) -> list[str]:
        """Return the operations that were asked for, in order."""
        return [each[2] for each in self.calls]

    def _table(self, operation: str, name: str) -> dict[str, Any]:
        table = {
            "TableName": name,
            "TableArn": f"arn:aws:dynamodb:eu-central-1:123456789012:table/{name}",
            "TableStatus": self.table_states.pop(0) if len(self.table_states) > 1 else self.table_states[0],
        }
        return {"TableDescription" if operation == "CreateTable" else "Table": table}

    def _destination(self) -> dict[str, Any]:
        states = self.destination_states
        destination = {
            "arn": "arn:aws:iot:eu-central-1:123456789012:ruledestination/http/1",
            "status": states.pop(0) if len(states) > 1 else states[0],
        }
        return {
            "topicRuleDestination": {
                **destination,
                **({"statusReason": self.status_reason} if self.status_reason else {}),
            }
        }

    def _answers(self, given: dict[str, Any]) -> dict[str, dict[str, Any]]:
        role, policy = given.get("RoleName"), given.get("policyName")
        return {
            "CreateIdentityPool": {"IdentityPoolId": "eu-central-1:00000000-0000-4000-8000-000000000001"},
            "SetIdentityPoolRoles": {},
            "CreateRole": {
                "Role": {"RoleName": role, "Arn": f"arn:aws:iam::123456789012:role/{role}", "RoleId": "AROA1"}
            },
            "PutRolePolicy": {},
            "CreatePolicy": {
                "policyName": policy,
                "policyArn": f"arn:aws:iot:eu-central-1:123456789012:policy/{policy}",
                "policyVersionId": "1",
            },
            "UpdateTimeToLive": {},
            "CreateQueue": {"QueueUrl": f"http://127.0.0.1:9/123456789012/{given.get('QueueName')}"},
            "GetQueueUrl": {"QueueUrl": f"http://127.0.0.1:9/123456789012/{given.get('QueueName')}"},
            "GetQueueAttributes": {"Attributes": {"QueueArn": "arn:aws:sqs:eu-central-1:123456789012:q"}},
            "CreateTopicRule": {},
            "GetTopicRule": {"ruleArn": f"arn:aws:iot:eu-central-1:123456789012:rule/{given.get('ruleName')}"},
            "DescribeEndpoint": {"endpointAddress": "localhost"},
            "GetCallerIdentity": {
                "Account": "123456789012",
                "Arn": "arn:aws:iam::123456789012:root",
                "UserId": "123456789012",
            },
        }


def refused(subject: str, call: str, status: int, code: str, message: str) -> ProvisioningError:
    """Give the error of a call that was answered with a refusal."""
    answer = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    error = ProvisioningError(subject, call=call, reason=f"{code}: {message}")
    error.__cause__ = ClientError(answer, call.partition(":")[2])  # type: ignore[arg-type] # members that nobody reads
    return error


@pytest.fixture
def account() -> FakeAccount:
    """An account in which everything succeeds."""
    return FakeAccount()


@pytest.fixture
def make_program(tmp_path: Path) -> Callable[[str], Path]:
    """Make a Pulumi program of the project ``sample`` from its source text."""

    def make(source: str) -> Path:
        folder = tmp_path / "a prögram"
        folder.mkdir()
        (folder / "Pulumi.yaml").write_text("name: sample\nruntime: python\n", "utf-8")
        (folder / "__main__.py").write_text(source, "utf-8")
        return folder

    return make
