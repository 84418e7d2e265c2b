"""What guests of an identity pool can never do, whatever their role allows."""

from __future__ import annotations

import pytest

from harness.iot.cognito import GUEST_SESSION_POLICIES, IDENTITY_PROVIDER, SESSION_NAME
from harness.iot.policy import PolicyDocument, evaluate

DOCUMENTS = [(name, PolicyDocument.parse(text, dialect="iam")) for name, text in GUEST_SESSION_POLICIES]


@pytest.mark.parametrize(
    ("action", "survives"),
    [
        ("iot:Connect", True),
        ("iot:DescribeEndpoint", True),
        ("dynamodb:PutItem", True),
        ("s3:GetObject", True),
        ("cognito-sync:ListRecords", True),
        ("sagemaker:InvokeEndpoint", True),
        ("rum:PutRumEvents", True),
        ("geo:GetMapTile", True),
        ("geo:BatchUpdateDevicePosition", True),
        ("kms:Decrypt", True),
        ("kms:DeleteAlias", False),
        ("sagemaker:CreateModel", False),
        ("iam:CreateUser", False),
        ("sts:AssumeRole", False),
        ("ec2:RunInstances", False),
        ("secretsmanager:GetSecretValue", False),
        ("states:StartExecution", False),
        ("events:PutEvents", False),
    ],
)
def test_the_union_of_both_session_policies_limits_a_guest(action: str, *, survives: bool) -> None:
    """Source: iam-roles in the Cognito guide, "Access policies for unauthenticated identities"."""
    decision = evaluate(DOCUMENTS, action=action, resource="arn:aws:iot:us-east-1:123456789012:x", context={})

    assert decision.allowed is survives


def test_the_names_of_the_enhanced_flow_are_aws_own() -> None:
    """They show in ARNs and trust policies."""
    assert (SESSION_NAME, IDENTITY_PROVIDER) == ("CognitoIdentityCredentials", "cognito-identity.amazonaws.com")
