"""The AWS IoT side of the stack: who may broadcast, and who may report.

*Guests* are anyone on the internet. A Cognito identity pool gives them credentials of one role, which lets them
connect as ``public-…`` and use topics below ``public/``, nothing else. *Devices* hold a certificate. The device
policy, attached to it, lets a registered thing connect under its own name and publish its readings; it may neither
listen nor leave retained messages behind.
"""

import json

import pulumi
import pulumi_aws as aws

CLIENT_ID_PREFIX = "public-"
TOPIC_PREFIX = "public/"
TELEMETRY_TOPIC = "things/telemetry"

config = pulumi.Config()
mqtts_port = config.get_int("iotMqttsPort") or 8883
wss_port = config.get_int("iotWssPort") or 443
ca_file = config.get("caFile") or None

region = aws.get_region().region
account_id = aws.get_caller_identity().account_id
endpoint = aws.iot.get_endpoint(endpoint_type="iot:Data-ATS").endpoint_address


def iot_arn(resource: str) -> str:
    """Return the ARN of an AWS IoT resource of this account and region."""
    return f"arn:aws:iot:{region}:{account_id}:{resource}"


guests = aws.cognito.IdentityPool(
    "guests",
    identity_pool_name=f"{pulumi.get_project()}-{pulumi.get_stack()}-guests",
    allow_unauthenticated_identities=True,
    allow_classic_flow=False,
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
