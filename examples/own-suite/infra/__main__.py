"""A greenhouse: sensors report, the hot readings alone become rows, and displays in the shop show notices.

A program of its own, that knows nothing of Thingwright: what its configuration and its outputs are called is all that
the two agree on (`docs/write-your-own-test.md` lists both).
"""

import json

import pulumi
import pulumi_aws as aws

DISPLAY_IDS = "display-"
NOTICES = "shop/notices/"
READINGS = "greenhouse/readings"
TOO_HOT = 30

config = pulumi.Config()
wss_port = config.get_int("iotWssPort") or 443
receiver_url = config.get("receiverUrl") or None
run_id = config.get("runId") or None

region = aws.get_region().region
account_id = aws.get_caller_identity().account_id
endpoint = aws.iot.get_endpoint(endpoint_type="iot:Data-ATS").endpoint_address


def policy(*statements: tuple[str, str]) -> str:
    """Return a policy document that allows each action on one resource of AWS IoT."""
    return json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Action": action,
                    "Resource": f"arn:aws:iot:{region}:{account_id}:{resource}",
                }
                for action, resource in statements
            ],
        }
    )


def trust(service: str, *actions: str) -> str:
    """Return the trust policy of a role that an AWS service takes on."""
    statement = {"Effect": "Allow", "Principal": {"Service": service}, "Action": list(actions)}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


displays = aws.cognito.IdentityPool(
    "displays",
    identity_pool_name=f"greenhouse {pulumi.get_stack()}",
    allow_unauthenticated_identities=True,
    allow_classic_flow=False,
)
display_role = aws.iam.Role(
    "display",
    assume_role_policy=displays.id.apply(
        lambda pool: json.dumps(
            {
                "Version": "2012-10-17",
                "Statement": [
                    {
                        "Effect": "Allow",
                        "Principal": {"Federated": "cognito-identity.amazonaws.com"},
                        "Action": "sts:AssumeRoleWithWebIdentity",
                        "Condition": {
                            "StringEquals": {"cognito-identity.amazonaws.com:aud": pool},
                            "ForAnyValue:StringLike": {"cognito-identity.amazonaws.com:amr": "unauthenticated"},
                        },
                    }
                ],
            }
        )
    ),
)
display_policy = aws.iam.RolePolicy(
    "display",
    role=display_role.id,
    # A display shows notices, and never makes one.
    policy=policy(
        ("iot:Connect", f"client/{DISPLAY_IDS}*"),
        ("iot:Subscribe", f"topicfilter/{NOTICES}*"),
        ("iot:Receive", f"topic/{NOTICES}*"),
    ),
)
roles = aws.cognito.IdentityPoolRoleAttachment(
    "displays",
    identity_pool_id=displays.id,
    roles={"unauthenticated": display_role.arn},
    opts=pulumi.ResourceOptions(depends_on=[display_policy]),
)

sensor_policy = aws.iot.Policy(
    "sensor",
    policy=policy(
        ("iot:Connect", "client/${iot:Connection.Thing.ThingName}"),
        ("iot:Publish", f"topic/{READINGS}"),
    ),
)

table = aws.dynamodb.Table(
    "hot-readings",
    name=config.get("tableName") or None,
    billing_mode="PAY_PER_REQUEST",
    hash_key="deviceId",
    range_key="received_at",
    attributes=[{"name": "deviceId", "type": "S"}, {"name": "received_at", "type": "S"}],
)
receiver_role = aws.iam.Role(
    "receiver",
    name=config.get("receiverRoleName") or None,
    assume_role_policy=trust("pods.eks.amazonaws.com", "sts:AssumeRole", "sts:TagSession"),
)
aws.iam.RolePolicy(
    "receiver",
    role=receiver_role.id,
    policy=table.arn.apply(
        lambda arn: json.dumps(
            {
                "Version": "2012-10-17",
                "Statement": [{"Effect": "Allow", "Action": "dynamodb:BatchWriteItem", "Resource": arn}],
            }
        )
    ),
)

if receiver_url:
    ingest_url = f"{receiver_url}/ingest"
    if run_id:  # by its URL alone a sweep knows whose a destination is
        ingest_url += f"?for={run_id}"
    destination = aws.cloudcontrol.Resource(
        "receiver",
        type_name="AWS::IoT::TopicRuleDestination",
        desired_state=json.dumps({"HttpUrlProperties": {"ConfirmationUrl": ingest_url}}),
    )
    rule = aws.iot.TopicRule(
        "hot",
        name="greenhouse_hot_" + pulumi.get_stack().replace("-", "_"),
        enabled=True,
        sql=f"SELECT * FROM '{READINGS}' WHERE temp > {TOO_HOT}",
        sql_version="2016-03-23",
        https=[
            {
                "url": ingest_url,
                "confirmation_url": ingest_url,
                "http_headers": [
                    {"key": "content-type", "value": "application/json"},
                    {"key": "X-Iot-Secret", "value": config.require_secret("iotSecret")},
                    {"key": "X-Message-Id", "value": "${traceid()}"},
                    {"key": "X-Received-At", "value": "${timestamp()}"},
                    {"key": "X-Client-Id", "value": "${clientid()}"},
                ],
            }
        ],
        opts=pulumi.ResourceOptions(depends_on=[destination]),
    )
    pulumi.export("ruleName", rule.name)
    pulumi.export("destinationArn", destination.id)
    pulumi.export("receiverUrl", receiver_url)

pulumi.export("region", region)
pulumi.export("iotEndpoint", endpoint)
pulumi.export("iotMqttsPort", config.get_int("iotMqttsPort") or 8883)
pulumi.export("iotWssUrl", f"wss://{endpoint}/mqtt" if wss_port == 443 else f"wss://{endpoint}:{wss_port}/mqtt")
pulumi.export("caFile", config.get("caFile") or None)
pulumi.export("identityPoolId", roles.identity_pool_id)
pulumi.export("clientIdPrefix", DISPLAY_IDS)
pulumi.export("topicPrefix", NOTICES)
pulumi.export("telemetryTopic", READINGS)
pulumi.export("devicePolicyName", sensor_policy.name)
pulumi.export("tableName", table.name)
