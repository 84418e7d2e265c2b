"""Amazon Resource Names of what IoT Core authorises.

Source: iot-policy-actions and iot-action-resources in the AWS IoT developer guide.
"""

from __future__ import annotations


def partition(region: str) -> str:
    """Return the ARN partition a region belongs to: ``aws``, ``aws-cn`` or ``aws-us-gov``."""
    if region.startswith("cn-"):
        return "aws-cn"
    return "aws-us-gov" if region.startswith("us-gov-") else "aws"


def iot_arn(region: str, account_id: str, resource: str) -> str:
    """Return ``arn:<partition>:iot:<region>:<account>:<resource>``.

    Args:
        region: for example ``eu-west-1``.
        account_id: 12 digits.
        resource: kind and name, for example ``topic/public/chat``.
    """
    return f"arn:{partition(region)}:iot:{region}:{account_id}:{resource}"


def client_arn(region: str, account_id: str, client_id: str) -> str:
    """Return the resource of ``iot:Connect``."""
    return iot_arn(region, account_id, f"client/{client_id}")


def topic_arn(region: str, account_id: str, topic_name: str) -> str:
    """Return the resource of ``iot:Publish``, ``iot:RetainPublish`` and ``iot:Receive``."""
    return iot_arn(region, account_id, f"topic/{topic_name}")


def topicfilter_arn(region: str, account_id: str, topic_filter: str) -> str:
    """Return the resource of ``iot:Subscribe``: the filter as the client sent it, ``+`` and ``#`` included."""
    return iot_arn(region, account_id, f"topicfilter/{topic_filter}")


def certificate_arn(region: str, account_id: str, certificate_id: str) -> str:
    """Return the ARN of a registered client certificate."""
    return iot_arn(region, account_id, f"cert/{certificate_id}")


def thing_arn(region: str, account_id: str, thing_name: str) -> str:
    """Return the ARN of a thing."""
    return iot_arn(region, account_id, f"thing/{thing_name}")
