"""The AWS IoT side of the stack: who may broadcast, who may report, and where reports go.

*Guests* are anyone on the internet. A Cognito identity pool gives them credentials of one role, which lets them
connect as ``public-…`` and use topics below ``public/``, nothing else. *Devices* hold a certificate. The device
policy, attached to it, lets a registered thing connect under its own name and publish its readings; it may neither
listen nor leave retained messages behind.

A rule posts each reading to the *receiver*, which writes it to the table; what could not be posted goes to the
dead-letter queue. The receiver has to run before AWS IoT asks it to confirm its URL, and it needs the table before
that. So ``pulumi up`` runs twice: without ``receiverUrl`` there is no destination and no rule.
"""

import json
import re
from pathlib import Path

import pulumi
import pulumi_aws as aws

CLIENT_ID_PREFIX = "public-"
TOPIC_PREFIX = "public/"
TELEMETRY_TOPIC = "things/telemetry"
FOURTEEN_DAYS = 14 * 24 * 60 * 60  # the longest that SQS keeps a message
RECEIVER_POLICY = Path(__file__).resolve().parent.parent / "receiver-policy.json"

config = pulumi.Config()
mqtts_port = config.get_int("iotMqttsPort") or 8883
wss_port = config.get_int("iotWssPort") or 443
ca_file = config.get("caFile") or None
table_name = config.get("tableName") or None
receiver_url = config.get("receiverUrl") or None
receiver_role_name = config.get("receiverRoleName") or None
require_client_id = config.get_bool("requireClientId") is not False
guests_are_swept = config.get_bool("guestsAreSwept") is True
run_id = config.get("runId") or None

region = aws.get_region().region
account_id = aws.get_caller_identity().account_id
endpoint = aws.iot.get_endpoint(endpoint_type="iot:Data-ATS").endpoint_address


def iot_arn(resource: str) -> str:
    """Return the ARN of an AWS IoT resource of this account and region."""
    return f"arn:aws:iot:{region}:{account_id}:{resource}"


def origin(url: str) -> str:
    """Return the receiver's URL without a trailing slash.

    Raises:
        ValueError: AWS IoT would take the URL and then never post to it, or the load balancer would not route it.
    """
    if not re.fullmatch(r"https://[A-Za-z0-9.-]+(:[0-9]+)?/?", url):
        raise ValueError(f"receiverUrl is {url!r}: it has to be https://HOST or https://HOST:PORT, without a path")
    return url.removesuffix("/")


def header_value(secret: str) -> str:
    """Return the secret, if a header can carry it and the receiver can have it in a list.

    Raises:
        ValueError: it cannot. The message does not hold the secret.
    """
    if not re.fullmatch(r"[!-~]+", secret) or "," in secret or "${" in secret:
        raise ValueError("iotSecret has to be visible ASCII characters without a comma and without '${'")
    return secret


def trust(service: str, *actions: str, condition: dict[str, dict[str, str]] | None = None) -> str:
    """Return the trust policy of a role that an AWS service takes on."""
    statement: dict[str, object] = {"Effect": "Allow", "Principal": {"Service": service}, "Action": list(actions)}
    if condition:
        statement["Condition"] = condition
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


guests = aws.cognito.IdentityPool(
    "guests",
    identity_pool_name=f"{pulumi.get_project()}-{pulumi.get_stack()}-guests",
    allow_unauthenticated_identities=True,
    allow_classic_flow=False,
    # Whoever sweeps the account takes guests only from pools that say so: elsewhere they may be people.
    tags={"thingwright:guests": "swept"} if guests_are_swept else None,
)

guest_role = aws.iam.Role(
    "guest",
    description="What anyone on the internet may do: broadcast below public/.",
    assume_role_policy=pulumi.Output.json_dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Principal": {"Federated": "cognito-identity.amazonaws.com"},
                    "Action": "sts:AssumeRoleWithWebIdentity",
                    "Condition": {
                        "StringEquals": {"cognito-identity.amazonaws.com:aud": guests.id},
                        "ForAnyValue:StringLike": {"cognito-identity.amazonaws.com:amr": "unauthenticated"},
                    },
                }
            ],
        }
    ),
)

guest_policy = aws.iam.RolePolicy(
    "guest",
    role=guest_role.id,
    policy=json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Sid": "ConnectAsPublic",
                    "Effect": "Allow",
                    "Action": "iot:Connect",
                    "Resource": iot_arn(f"client/{CLIENT_ID_PREFIX}*"),
                },
                {
                    "Sid": "SpeakAndHearPublic",
                    "Effect": "Allow",
                    "Action": ["iot:Publish", "iot:Receive"],
                    "Resource": iot_arn(f"topic/{TOPIC_PREFIX}*"),
                },
                {
                    "Sid": "ListenToPublic",
                    "Effect": "Allow",
                    "Action": "iot:Subscribe",
                    "Resource": iot_arn(f"topicfilter/{TOPIC_PREFIX}*"),
                },
            ],
        }
    ),
)

roles = aws.cognito.IdentityPoolRoleAttachment(
    "guests",
    identity_pool_id=guests.id,
    roles={"unauthenticated": guest_role.arn},
    # Whoever sees this attachment finds a role that already has its policy.
    opts=pulumi.ResourceOptions(depends_on=[guest_policy]),
)

device_policy = aws.iot.Policy(
    "device",
    policy=json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                {
                    # The variable has a value only for a certificate that is attached to the thing of that name.
                    "Sid": "ConnectAsOwnThing",
                    "Effect": "Allow",
                    "Action": "iot:Connect",
                    "Resource": iot_arn("client/${iot:Connection.Thing.ThingName}"),
                },
                {
                    "Sid": "ReportTelemetry",
                    "Effect": "Allow",
                    "Action": "iot:Publish",
                    "Resource": iot_arn(f"topic/{TELEMETRY_TOPIC}"),
                },
            ],
        }
    ),
)

table = aws.dynamodb.Table(
    "readings",
    name=table_name,
    billing_mode="PAY_PER_REQUEST",
    hash_key="deviceId",
    range_key="received_at",
    attributes=[{"name": "deviceId", "type": "S"}, {"name": "received_at", "type": "S"}],
    ttl={"attribute_name": "ttl", "enabled": True},
)

receiver_role = aws.iam.Role(
    "receiver",
    name=receiver_role_name,
    description="What the receiver may do: write readings to the table.",
    assume_role_policy=trust("pods.eks.amazonaws.com", "sts:AssumeRole", "sts:TagSession"),
)

receiver_policy = aws.iam.RolePolicy(
    "receiver",
    role=receiver_role.id,
    policy=table.arn.apply(lambda arn: RECEIVER_POLICY.read_text("utf-8").replace("${TABLE_ARN}", arn)),
)

dead_letters = aws.sqs.Queue("dead-letters", message_retention_seconds=FOURTEEN_DAYS)

rule_role = aws.iam.Role(
    "rule",
    description="What rules of AWS IoT may do: put readings that were not delivered into the dead-letter queue.",
    # In this account's name alone: a rule of another account that names this role does not get it.
    assume_role_policy=trust(
        "iot.amazonaws.com", "sts:AssumeRole", condition={"StringEquals": {"aws:SourceAccount": account_id}}
    ),
)

rule_policy = aws.iam.RolePolicy(
    "rule",
    role=rule_role.id,
    policy=pulumi.Output.json_dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Sid": "KeepWhatWasNotDelivered",
                    "Effect": "Allow",
                    "Action": "sqs:SendMessage",
                    "Resource": dead_letters.arn,
                }
            ],
        }
    ),
)

if receiver_url:
    receiver_url = origin(receiver_url)
    ingest_url = f"{receiver_url}/ingest"
    if run_id:  # a destination has neither name nor tags: by its URL alone a sweep knows whose it is
        ingest_url += f"?for={run_id}"
    iot_secret = config.require_secret("iotSecret").apply(header_value)

    # Through Cloud Control, since aws.iot.TopicRuleDestination knows VPCs alone. A destination cannot be changed, only
    # replaced, and comes to be unconfirmed: whether the receiver has confirmed it is no part of the desired state.
    destination = aws.cloudcontrol.Resource(
        "receiver",
        type_name="AWS::IoT::TopicRuleDestination",
        desired_state=json.dumps({"HttpUrlProperties": {"ConfirmationUrl": ingest_url}}),
    )

    headers = [
        {"key": "content-type", "value": "application/json"},
        {"key": "X-Iot-Secret", "value": iot_secret},
        {"key": "X-Message-Id", "value": "${traceid()}"},
        {"key": "X-Received-At", "value": "${timestamp()}"},
    ]
    if require_client_id:
        headers.append({"key": "X-Client-Id", "value": "${clientid()}"})

    rule = aws.iot.TopicRule(
        "telemetry",
        # Rules have no hyphens in their names, stacks may.
        name=re.sub(r"[^A-Za-z0-9_]", "_", f"{pulumi.get_project()}_{pulumi.get_stack()}")[:118] + "_telemetry",
        description="Posts readings to the receiver.",
        enabled=True,
        sql=f"SELECT * FROM '{TELEMETRY_TOPIC}'",  # noqa: S608 - IoT SQL, made of a constant
        sql_version="2016-03-23",
        https=[{"url": ingest_url, "confirmation_url": ingest_url, "http_headers": headers}],
        error_action={"sqs": {"queue_url": dead_letters.url, "role_arn": rule_role.arn, "use_base64": False}},
        opts=pulumi.ResourceOptions(
            # Without a destination AWS would make one that this stack does not own; without its policy the role
            # could not keep the first dead letter. On the way down the rule goes first.
            depends_on=[destination, rule_policy],
            additional_secret_outputs=["https"],
        ),
    )

    pulumi.export("ruleName", rule.name)
    pulumi.export("destinationArn", destination.id)
    pulumi.export("receiverUrl", receiver_url)

authority = endpoint if wss_port == 443 else f"{endpoint}:{wss_port}"
pulumi.export("region", region)
pulumi.export("iotEndpoint", endpoint)
pulumi.export("iotMqttsPort", mqtts_port)
pulumi.export("iotWssUrl", f"wss://{authority}/mqtt")
pulumi.export("caFile", ca_file)
# Not before the pool has its role: until then it gives nobody credentials.
pulumi.export("identityPoolId", roles.identity_pool_id)
pulumi.export("clientIdPrefix", CLIENT_ID_PREFIX)
pulumi.export("topicPrefix", TOPIC_PREFIX)
pulumi.export("telemetryTopic", TELEMETRY_TOPIC)
pulumi.export("devicePolicyName", device_policy.name)
pulumi.export("tableName", table.name)
pulumi.export("deadLetterQueueUrl", dead_letters.url)
