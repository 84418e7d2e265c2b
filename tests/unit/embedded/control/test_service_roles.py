"""Roles that a service assumes."""

from __future__ import annotations

import json
from typing import Any

from harness.embedded.control.moto_backend import TrustedRole
from harness.embedded.control.service_roles import role_arns, why_not_assumable
from harness.iot.registry import Role

IOT = "iot.amazonaws.com"


def role(*statements: dict[str, Any]) -> TrustedRole:
    """Return a role with a trust policy."""
    document = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
    return TrustedRole(
        name="r",
        role=Role(arn="arn:aws:iam::111122223333:role/r", unique_id="AROA"),
        trust_policy=document,
        max_session_seconds=3600,
    )


def trusts(service: str, *actions: str, effect: str = "Allow", **more: Any) -> dict[str, Any]:
    """Return a statement."""
    return {"Effect": effect, "Principal": {"Service": service}, "Action": list(actions), **more}


def test_a_role_is_assumed_by_the_service_it_trusts_and_by_no_other() -> None:
    """Nor by a service when it trusts an AWS principal of that name, and everybody is not a service."""
    assert why_not_assumable(role(trusts(IOT, "sts:AssumeRole")), service=IOT) is None
    for other in (
        role(trusts("lambda.amazonaws.com", "sts:AssumeRole")),
        role({"Effect": "Allow", "Principal": {"AWS": "111122223333"}, "Action": "sts:AssumeRole"}),
        role(trusts(IOT, "sts:AssumeRole"), trusts(IOT, "sts:*", effect="Deny")),
        None,
    ):
        assert why_not_assumable(other, service=IOT)


def test_every_action_must_be_allowed() -> None:
    """The reason is about the one that is not."""
    both = ("sts:AssumeRole", "sts:TagSession")

    assert why_not_assumable(role(trusts(IOT, *both)), service=IOT, actions=both) is None
    because = why_not_assumable(role(trusts(IOT, "sts:AssumeRole")), service=IOT, actions=both)
    assert because is not None
    assert "no statement allows sts:TagSession" in because


def test_the_roles_of_a_rule_are_found_wherever_they_stand() -> None:
    """However deep; what is no text is no role, and the depth is the caller's choice."""
    deep: dict[str, Any] = {"roleArn": "deep"}
    for _ in range(100_000):
        deep = {"x": [deep]}

    assert list(role_arns(deep)) == ["deep"]
    assert sorted(role_arns({"a": [{"roleArn": "1"}, {"b": {"roleArn": "2"}}], "roleArn": ["3"]})) == ["1", "2"]
