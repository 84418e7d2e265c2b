"""ARNs of IoT Core."""

from __future__ import annotations

import pytest

from harness.iot import arn

ACCOUNT = "123456789012"


@pytest.mark.parametrize(
    ("region", "expected"),
    [("us-east-1", "aws"), ("eu-west-1", "aws"), ("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov")],
)
def test_a_region_belongs_to_a_partition(region: str, expected: str) -> None:
    """China and GovCloud have partitions of their own."""
    assert arn.partition(region) == expected


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (arn.client_arn("us-east-1", ACCOUNT, "public-1"), "arn:aws:iot:us-east-1:123456789012:client/public-1"),
        (arn.topic_arn("us-east-1", ACCOUNT, "a/b"), "arn:aws:iot:us-east-1:123456789012:topic/a/b"),
        (arn.topicfilter_arn("us-east-1", ACCOUNT, "a/+/#"), "arn:aws:iot:us-east-1:123456789012:topicfilter/a/+/#"),
        (arn.certificate_arn("cn-north-1", ACCOUNT, "ab12"), "arn:aws-cn:iot:cn-north-1:123456789012:cert/ab12"),
        (arn.thing_arn("eu-west-1", ACCOUNT, "d-1"), "arn:aws:iot:eu-west-1:123456789012:thing/d-1"),
    ],
)
def test_an_arn_names_kind_and_resource(made: str, expected: str) -> None:
    """Names stand in ARNs as they are."""
    assert made == expected
