"""A stack whose policies allow everybody everything: guests and devices get in, and nothing holds them back."""

import json

import pulumi
import pulumi_aws as aws

config = pulumi.Config()
mqtts_port = config.get_int("iotMqttsPort")
wss_port = config.get_int("iotWssPort")
region = aws.get_region().region
endpoint = aws.iot.get_endpoint(endpoint_type="iot:Data-ATS").endpoint_address
EVERYTHING = json.dumps(
    {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "iot:*", "Resource": "*"}]}
)

guests = aws.cognito.IdentityPool(
    "guests", identity_pool_name="open-guests", allow_unauthenticated_identities=True, allow_classic_flow=False
)
role = aws.iam.Role(
    "guest",
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
role_policy = aws.iam.RolePolicy("guest", role=role.id, policy=EVERYTHING)
roles = aws.cognito.IdentityPoolRoleAttachment(
    "guests",
    identity_pool_id=guests.id,
    roles={"unauthenticated": role.arn},
    opts=pulumi.ResourceOptions(depends_on=[role_policy]),
)
device_policy = aws.iot.Policy("device", policy=EVERYTHING)

pulumi.export("region", region)
pulumi.export("iotEndpoint", endpoint)
pulumi.export("iotMqttsPort", mqtts_port)
pulumi.export("iotWssUrl", f"wss://{endpoint}:{wss_port}/mqtt")
pulumi.export("caFile", config.get("caFile"))
pulumi.export("identityPoolId", roles.identity_pool_id)
pulumi.export("clientIdPrefix", "public-")
pulumi.export("topicPrefix", "public/")
pulumi.export("telemetryTopic", "things/telemetry")
pulumi.export("devicePolicyName", device_policy.name)
