"""The way of a reading through the stack: rule, destination, receiver, table and dead letters."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from harness.errors import ProvisioningError
from harness.targets.provisioning import program

RECEIVER = {"receiverUrl": "https://telemetry.example.com", "iotSecret": "s3cret"}
AWS_HEADERS = {
    "content-type": "application/json",
    "X-Iot-Secret": "s3cret",
    "X-Message-Id": "${traceid()}",
    "X-Received-At": "${timestamp()}",
    "X-Client-Id": "${clientid()}",
}


def policy_of(account: Any, role: str) -> list[dict[str, Any]]:
    """Return the statements of a role's only policy."""
    asked = account.asked("PutRolePolicy", of=role)
    assert asked["RoleName"] == account.asked("CreateRole", of=role)["RoleName"]
    found: list[dict[str, Any]] = json.loads(asked["PolicyDocument"])["Statement"]
    return found


def trust_of(account: Any, role: str) -> list[dict[str, Any]]:
    """Return the statements of a role's trust policy."""
    found: list[dict[str, Any]] = json.loads(account.asked("CreateRole", of=role)["AssumeRolePolicyDocument"])[
        "Statement"
    ]
    return found


def http_action(account: Any) -> dict[str, Any]:
    """Return the rule's only action."""
    (action,) = account.asked("CreateTopicRule")["topicRulePayload"]["actions"]
    found: dict[str, Any] = action["http"]
    assert set(action) == {"http"}
    return found


def test_the_table_holds_readings_by_device_and_time(account: Any, outputs: dict[str, Any]) -> None:
    """One key range of one device is one span of time; nothing is paid for capacity that nobody uses."""
    assert account.asked("CreateTable") == {
        "TableName": "readings-1a2b",
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [
            {"AttributeName": "deviceId", "AttributeType": "S"},
            {"AttributeName": "received_at", "AttributeType": "S"},
        ],
        "KeySchema": [
            {"AttributeName": "deviceId", "KeyType": "HASH"},
            {"AttributeName": "received_at", "KeyType": "RANGE"},
        ],
    }
    assert account.asked("UpdateTimeToLive")["TimeToLiveSpecification"] == {"Enabled": True, "AttributeName": "ttl"}
    assert outputs["tableName"] == "readings-1a2b"


def test_the_receiver_may_write_to_its_table_and_nothing_else(account: Any) -> None:
    """The whole of its policy; the table's ARN stands where the file has its placeholder."""
    (statement,) = policy_of(account, "receiver")
    assert statement["Effect"] == "Allow"
    assert statement["Action"] == ["dynamodb:BatchWriteItem"]
    assert statement["Resource"] == "arn:aws:dynamodb:eu-central-1:123456789012:table/readings-1a2b"
    assert set(statement) <= {"Sid", "Effect", "Action", "Resource"}


def test_the_receivers_role_is_for_pods(account: Any) -> None:
    """EKS hands it to the pods it is associated with; it has the name that was asked for."""
    assert account.asked("CreateRole", of="receiver")["RoleName"] == "receiver"
    assert trust_of(account, "receiver") == [
        {
            "Effect": "Allow",
            "Principal": {"Service": "pods.eks.amazonaws.com"},
            "Action": ["sts:AssumeRole", "sts:TagSession"],
        }
    ]


def test_a_rule_may_keep_dead_letters_and_nothing_else(account: Any) -> None:
    """AWS IoT takes on a role that can put messages into one queue."""
    queue = account.asked("CreateQueue")["QueueName"]
    assert policy_of(account, "rule") == [
        {
            "Sid": "KeepWhatWasNotDelivered",
            "Effect": "Allow",
            "Action": "sqs:SendMessage",
            "Resource": f"arn:aws:sqs:eu-central-1:123456789012:{queue}",
        }
    ]
    assert trust_of(account, "rule") == [
        {
            "Effect": "Allow",
            "Principal": {"Service": "iot.amazonaws.com"},
            "Action": ["sts:AssumeRole"],
            "Condition": {"StringEquals": {"aws:SourceAccount": "123456789012"}},
        }
    ]


def test_dead_letters_are_kept_as_long_as_can_be(account: Any, outputs: dict[str, Any]) -> None:
    """Fourteen days; the queue's encryption stays SQS's default."""
    asked = account.asked("CreateQueue")
    assert re.fullmatch(r"dead-letters-[0-9a-f]{7}", asked["QueueName"])
    assert asked["Attributes"] == {"MessageRetentionPeriod": "1209600"}
    assert outputs["deadLetterQueueUrl"].endswith(f"/{asked['QueueName']}")


def test_the_destination_is_the_one_path_that_takes_readings(account: Any, outputs: dict[str, Any]) -> None:
    """The load balancer sends only this path and /metrics to the receiver."""
    configuration = account.asked("CreateTopicRuleDestination")["destinationConfiguration"]
    assert configuration == {"httpUrlConfiguration": {"confirmationUrl": "https://localhost:40004/ingest"}}
    assert outputs["destinationArn"].startswith("arn:aws:iot:eu-central-1:123456789012:ruledestination/http/")
    assert outputs["receiverUrl"] == "https://localhost:40004"


def test_the_rule_takes_all_readings_as_they_are(account: Any, outputs: dict[str, Any]) -> None:
    """Where devices may publish is where the rule listens; it is switched on."""
    asked = account.asked("CreateTopicRule")
    payload = asked["topicRulePayload"]
    assert payload["sql"].split(" FROM ") == ["SELECT *", f"'{outputs['telemetryTopic']}'"]
    assert payload["awsIotSqlVersion"] == "2016-03-23"
    assert payload["ruleDisabled"] is False
    assert asked["ruleName"] == outputs["ruleName"] == "thingwright_embedded_telemetry"


def test_the_rule_tells_the_receiver_what_it_knows_of_a_message(account: Any) -> None:
    """Its id, its time, its sender, and that it comes from AWS IoT."""
    action = http_action(account)
    assert action["url"] == action["confirmationUrl"] == "https://localhost:40004/ingest"
    assert {header["key"]: header["value"] for header in action["headers"]} == AWS_HEADERS
    assert len(action["headers"]) == len(AWS_HEADERS)


def test_what_cannot_be_delivered_becomes_a_dead_letter(account: Any, outputs: dict[str, Any]) -> None:
    """The error action is the queue, in the role that may send to it, and its document is text."""
    role = account.asked("CreateRole", of="rule")["RoleName"]
    assert account.asked("CreateTopicRule")["topicRulePayload"]["errorAction"] == {
        "sqs": {
            "queueUrl": outputs["deadLetterQueueUrl"],
            "roleArn": f"arn:aws:iam::123456789012:role/{role}",
            "useBase64": False,
        }
    }


def test_the_rule_comes_last(account: Any) -> None:
    """When it comes to be, its destination is there and its role can do its work."""
    rule = account.place("CreateTopicRule")
    assert account.place("CreateTopicRuleDestination") < rule
    assert account.place("PutRolePolicy", of="rule") < rule


def test_without_a_receiver_there_is_no_destination_and_no_rule(make_account: Any) -> None:
    """The first of two deployments makes what the receiver needs to start, and nothing that needs the receiver."""
    account = make_account()

    outputs = account.deploy("dev")

    made = {call.operation for call in account.calls}
    assert {"CreateTable", "CreateQueue", "CreateRole", "PutRolePolicy"} <= made
    assert made.isdisjoint({"CreateTopicRuleDestination", "CreateTopicRule"})
    assert re.fullmatch(r"readings-[0-9a-f]{7}", outputs["tableName"])
    assert outputs["tableName"] == account.asked("CreateTable")["TableName"]
    assert re.fullmatch(r"receiver-[0-9a-f]{7}", account.asked("CreateRole", of="receiver")["RoleName"])
    assert outputs.keys().isdisjoint({"ruleName", "destinationArn", "receiverUrl"})


def test_empty_inputs_are_inputs_left_out(make_account: Any) -> None:
    """As the defaults of Pulumi.yaml are."""
    account = make_account()

    outputs = account.deploy("dev", tableName="", receiverUrl="", receiverRoleName="", caFile="")

    assert re.fullmatch(r"readings-[0-9a-f]{7}", outputs["tableName"])
    assert re.fullmatch(r"receiver-[0-9a-f]{7}", account.asked("CreateRole", of="receiver")["RoleName"])
    assert "receiverUrl" not in outputs


def test_a_receiver_that_does_not_ask_is_not_told_who_sent(make_account: Any) -> None:
    """Without requireClientId the client id stays at AWS IoT; the other headers go on as before."""
    account = make_account()

    account.deploy("dev", **RECEIVER, requireClientId="false")

    told = {header["key"]: header["value"] for header in http_action(account)["headers"]}
    assert told == {name: value for name, value in AWS_HEADERS.items() if name != "X-Client-Id"}


def test_a_receivers_slash_is_not_doubled(make_account: Any) -> None:
    """AWS IoT compares URLs as text."""
    account = make_account()

    outputs = account.deploy("dev", receiverUrl="https://telemetry.example.com/", iotSecret="s3cret")

    assert http_action(account)["url"] == "https://telemetry.example.com/ingest"
    assert outputs["receiverUrl"] == "https://telemetry.example.com"


@pytest.mark.parametrize(
    "url",
    [
        "http://telemetry.example.com",
        "telemetry.example.com",
        "https://telemetry.example.com/ingest",
        "https://user@telemetry.example.com",
        "https://[::1]:40004",
        "https://${topic()}.example.com",
        "https://telemetry.example.com?x=1",
        "https://",
    ],
)
def test_a_url_that_aws_would_never_post_to_is_refused(url: str, make_account: Any) -> None:
    """At deployment: AWS IoT would count HttpInvalidUrl and say no more."""
    account = make_account()

    with pytest.raises(ProvisioningError, match=r"receiverUrl is .*without a path"):
        account.deploy("dev", receiverUrl=url, iotSecret="s3cret")

    assert "CreateTopicRuleDestination" not in {call.operation for call in account.calls}


def test_a_receiver_needs_a_secret(make_account: Any) -> None:
    """Without it anybody could post readings; the message names what to set."""
    with pytest.raises(ProvisioningError, match="thingwright:iotSecret"):
        make_account().deploy("dev", receiverUrl="https://telemetry.example.com")


@pytest.mark.parametrize("secret", ["", "two,secrets", "a b", "line\nbreak", "schlüssel", "s3cret${topic()}"])
def test_a_secret_that_would_not_arrive_as_it_is_is_refused(secret: str, make_account: Any) -> None:
    """A header has to carry it, the receiver splits its list at commas, and a rule fills in templates."""
    account = make_account()

    with pytest.raises(ProvisioningError, match="iotSecret has to be") as caught:
        account.deploy("dev", receiverUrl="https://telemetry.example.com", iotSecret=secret)

    assert not secret or secret not in str(caught.value)
    assert "CreateTopicRule" not in {call.operation for call in account.calls}


def test_the_secret_is_a_secret_to_pulumi(make_account: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is wrapped on its way to the engine, which writes it to its state encrypted, and is in no output."""
    seen: list[Any] = []
    unwrap = program._plain

    def look(value: Any) -> Any:
        if isinstance(value, dict) and "https" in value:
            seen.append(dict(value))
        return unwrap(value)

    monkeypatch.setattr(program, "_plain", look)

    outputs = make_account().deploy("dev", **RECEIVER)

    assert seen
    for inputs in seen:
        https = inputs.pop("https")
        assert https[program._SECRET_SIGNATURE] == program._SECRET_VALUE
        assert "s3cret" in json.dumps(https["value"])
        assert "s3cret" not in json.dumps(inputs)
    assert "s3cret" not in json.dumps(outputs)


@pytest.mark.parametrize(
    ("stack", "name"),
    [
        ("feature-12.b", "thingwright_feature_12_b_telemetry"),
        ("x" * 200, "thingwright_" + "x" * 106 + "_telemetry"),
    ],
)
def test_a_rule_has_a_name_that_aws_takes(stack: str, name: str, make_account: Any) -> None:
    """Letters, digits and underscores, 128 at most, whatever the stack is called."""
    assert make_account().deploy(stack, **RECEIVER)["ruleName"] == name


def test_the_receivers_policy_is_found_beside_the_program() -> None:
    """Terraform takes the same file; it holds one placeholder for the table."""
    file = Path(__file__).resolve().parents[3] / "infra" / "receiver-policy.json"
    text = file.read_text("utf-8")
    assert re.findall(r"\$\{[^}]*\}", text) == ["${TABLE_ARN}"]
    json.loads(text)
