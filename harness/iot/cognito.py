"""What Amazon Cognito adds to the credentials of guests.

Credentials that the enhanced flow makes for an unauthenticated identity carry two session policies. What the role
allows, and one of the two allows as well, is allowed: so ``iot:*`` and ``dynamodb:*`` survive, ``iam:*`` and
``sts:*`` never do. Authenticated identities, and the basic flow, have none.

Source: iam-roles in the Amazon Cognito developer guide, "Access policies for unauthenticated identities".
Differs: the list is that of regions enabled by default; opt-in regions leave out a few services that nothing here
serves.
"""

from __future__ import annotations

import json
from typing import Final

SESSION_NAME: Final = "CognitoIdentityCredentials"
"""The role session name of credentials made by the enhanced flow."""

IDENTITY_PROVIDER: Final = "cognito-identity.amazonaws.com"
"""The federated principal that a role must trust."""

_INLINE_SERVICES: Final = (
    "appsync", "cloudwatch", "codewhisperer", "cognito-identity", "cognito-idp", "cognito-sync", "comprehend",
    "dynamodb", "execute-api", "firehose", "gamelift", "iot", "kinesis", "lambda", "lex", "logs",
    "machinelearning", "mobileanalytics", "mobiletargeting", "personalize", "polly", "rekognition", "s3", "sdb",
    "ses", "sns", "sqs", "transcribe", "translate",
)  # fmt: skip
_INLINE_OPERATIONS: Final = ("sagemaker:InvokeEndpoint", "textract:AnalyzeDocument", "textract:DetectDocumentText")
_MANAGED_SERVICES: Final = (
    "comprehend", "firehose", "mobiletargeting", "personalize", "polly", "rekognition", "transcribe",
    "translate",
)  # fmt: skip
_MANAGED_OPERATIONS: Final = (
    "geo:*DevicePosition*", "geo:*Geofence", "geo:*Geofences", "geo:CalculateRoute*", "geo:GetMap*",
    "geo:GetPlace", "geo:SearchPlaceIndex*", "kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey",
    "kms:GenerateDataKeyPair", "kms:GenerateDataKeyPairWithoutPlaintext", "kms:GenerateDataKeyWithoutPlaintext",
    "kms:ReEncryptFrom", "kms:ReEncryptTo", "rum:PutRumEvents", "sagemaker:InvokeEndpoint",
)  # fmt: skip


def _document(services: tuple[str, ...], operations: tuple[str, ...]) -> str:
    actions = [*(f"{service}:*" for service in services), *operations]
    return json.dumps({"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": actions, "Resource": "*"}})


GUEST_SESSION_POLICIES: Final = (
    ("Cognito's guest session policy", _document(_INLINE_SERVICES, _INLINE_OPERATIONS)),
    ("AmazonCognitoUnAuthedIdentitiesSessionPolicy", _document(_MANAGED_SERVICES, _MANAGED_OPERATIONS)),
)
"""(name, JSON document), as `harness.iot.registry.Credential.session_policies` takes them."""
