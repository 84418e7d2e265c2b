"""The grammar of policy documents: every accepted and every rejected form."""

from __future__ import annotations

import json
from typing import Any

import pytest

from harness.errors import PolicyDocumentError
from harness.iot.policy import Dialect, PolicyDocument

TOPIC = "arn:aws:iot:us-east-1:123456789012:topic/a"
GOOD: dict[str, Any] = {"Effect": "Allow", "Action": "iot:Publish", "Resource": TOPIC}
TRUST: dict[str, Any] = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "iot.amazonaws.com"}}


def document(*statements: object, version: object = "2012-10-17", **more: object) -> str:
    """Write a document."""
    return json.dumps({"Version": version, "Statement": list(statements), **more})


def without(key: str, **more: object) -> dict[str, Any]:
    """Return a good statement without one element, and with others."""
    return {name: value for name, value in GOOD.items() if name != key} | more


@pytest.mark.parametrize("dialect", ["iam", "iot"])
@pytest.mark.parametrize(
    "content",
    [
        document(GOOD),
        json.dumps({"Statement": GOOD}),
        document(GOOD, version="2008-10-17", Id="an id"),
        document({**GOOD, "Sid": "One1"}, {**GOOD, "Sid": ""}, {**GOOD, "Sid": ""}),
        document({**GOOD, "Action": ["iot:*", "iot:Get*", "*"], "Resource": ["*", TOPIC]}),
        document({**GOOD, "Effect": "Deny"}),
        document(without("Resource", NotResource=TOPIC)),
        document({**GOOD, "Resource": "arn:aws:iot:*:*:topic/${iot:ClientId}"}),
        document({**GOOD, "Resource": "arn:aws:iot:*"}),
        document({**GOOD, "Resource": "arn:aws:s3:::bucket/*"}),
        document({**GOOD, "Resource": "arn:*:iot:us-east-?:1:topic/a\nb"}),
        document({**GOOD, "Condition": {}}),
        document({**GOOD, "Condition": {"StringEquals": {"aws:SourceIp": "::1"}}}),
        document({**GOOD, "Condition": {"ForAllValues:StringLike": {"aws:SourceIp": ["::1", "10.*"]}}}),
        document({**GOOD, "Condition": {"StringLike": {"iot:ClientId": "${cognito-identity.amazonaws.com:sub}*"}}}),
    ],
)
def test_an_identity_policy_may_say(content: str, dialect: Dialect) -> None:
    """Source: reference_policies_grammar in the IAM guide; IoT policies follow it."""
    parsed = PolicyDocument.parse(content, dialect=dialect)

    assert parsed.statements[0].number == 1
    assert PolicyDocument.parse(json.loads(content), dialect=dialect).version == parsed.version


@pytest.mark.parametrize(
    ("content", "pointer", "reason"),
    [
        # not a document
        ("", "", "not JSON"),
        ("{", "", "not JSON: Expecting"),
        ("[" * 100_000, "", "nested too deeply"),
        ("[]", "", "a policy document is an object"),
        ('"text"', "", "a policy document is an object"),
        ("null", "", "a policy document is an object"),
        ("{}", "", "Statement is missing"),
        ('{"Statement":[],"Statement":[]}', "", "the key Statement occurs twice"),
        # its elements
        (document(GOOD, statement=[]), "/statement", "unknown element; known are Id, Statement, Version"),
        (document(GOOD, **{"a/b~c": 1}), "/a~1b~0c", "unknown element"),
        (document(GOOD, version="2012-10-18"), "/Version", "2012-10-17 or 2008-10-17 is expected"),
        (document(GOOD, version=20121017), "/Version", "2012-10-17 or 2008-10-17 is expected"),
        (document(GOOD, version=["2012-10-17"]), "/Version", "2012-10-17 or 2008-10-17 is expected"),
        (document(GOOD, Id=1), "/Id", "a string is expected"),
        (document(), "/Statement", "an object or a list of objects is expected"),
        (json.dumps({"Statement": "text"}), "/Statement", "an object or a list of objects is expected"),
        (json.dumps({"Statement": None}), "/Statement", "an object or a list of objects is expected"),
        (document(GOOD, "text"), "/Statement/1", "an object is expected"),
        # a statement's elements
        (document({**GOOD, "Sids": "x"}), "/Statement/0/Sids", "unknown element"),
        (document({**GOOD, "effect": "Allow"}), "/Statement/0/effect", "unknown element"),
        (document({}), "/Statement/0/Effect", "Allow or Deny is expected"),
        (document(without("Effect")), "/Statement/0/Effect", "Allow or Deny is expected"),
        (document({**GOOD, "Effect": "allow"}), "/Statement/0/Effect", "Allow or Deny is expected"),
        (document({**GOOD, "Effect": ["Allow"]}), "/Statement/0/Effect", "Allow or Deny is expected"),
        (json.dumps({"Statement": {**GOOD, "Effect": "Maybe"}}), "/Statement/Effect", "Allow or Deny is expected"),
        (document({**GOOD, "Sid": 1}), "/Statement/0/Sid", "letters and digits are expected"),
        (document({**GOOD, "Sid": "A"}, {**GOOD, "Sid": "A"}), "/Statement/1/Sid", "another statement is called A too"),
        # actions
        (document(without("Action")), "/Statement/0", "neither Action and NotAction"),
        (document({**GOOD, "Action": []}), "/Statement/0/Action", "a string or a list of strings is expected"),
        (document({**GOOD, "Action": None}), "/Statement/0/Action", "a string or a list of strings is expected"),
        (document({**GOOD, "Action": {"a": 1}}), "/Statement/0/Action", "a string or a list of strings is expected"),
        (document({**GOOD, "Action": ["iot:*", 1]}), "/Statement/0/Action/1", "a string is expected"),
        (document({**GOOD, "Action": "Publish"}), "/Statement/0/Action", "an action is * or service:Operation"),
        (document({**GOOD, "Action": "iot:"}), "/Statement/0/Action", "an action is * or service:Operation"),
        (document({**GOOD, "Action": "i*:Publish"}), "/Statement/0/Action", "an action is * or service:Operation"),
        (
            document({**GOOD, "Action": ["*", "iot:a:b"]}),
            "/Statement/0/Action/1",
            "an action is * or service:Operation",
        ),
        (document({**GOOD, "Action": "iot:${iot:ClientId}"}), "/Statement/0/Action", "an action is *"),
        # resources
        (document(without("Resource")), "/Statement/0", "neither Resource and NotResource"),
        (document({**GOOD, "NotResource": TOPIC}), "/Statement/0", "both Resource and NotResource"),
        (document({**GOOD, "Resource": []}), "/Statement/0/Resource", "a string or a list of strings is expected"),
        (document({**GOOD, "Resource": [TOPIC, None]}), "/Statement/0/Resource/1", "a string is expected"),
        (document({**GOOD, "Resource": "topic/a"}), "/Statement/0/Resource", "a resource is * or an ARN"),
        (document({**GOOD, "Resource": ""}), "/Statement/0/Resource", "a resource is * or an ARN"),
        (document({**GOOD, "Resource": "**"}), "/Statement/0/Resource", "a resource is * or an ARN"),
        (document({**GOOD, "Resource": "arn:aws:iot"}), "/Statement/0/Resource", "a resource is * or an ARN"),
        (document({**GOOD, "Resource": "arn:aws:iot:us-east-1:1:"}), "/Statement/0/Resource", "a resource is * or an"),
        (document({**GOOD, "Resource": "arn:aws:*:us-east-1:1:topic/a"}), "/Statement/0/Resource", "plain service"),
        (
            document({**GOOD, "Resource": "arn:aws:iot:${aws:SourceIp}:1:topic/a"}),
            "/Statement/0/Resource",
            "fifth colon",
        ),
        (document({**GOOD, "Resource": "arn:aws:iot:${aws:SourceIp}*"}), "/Statement/0/Resource", "fifth colon"),
        (document({**GOOD, "Resource": [TOPIC + "/${nobody}"]}), "/Statement/0/Resource/0", "nobody is not evaluated"),
        # principals do not belong here
        (document({**GOOD, "Principal": "*"}), "/Statement/0/Principal", "does not belong in a policy attached to"),
        (document({**GOOD, "NotPrincipal": "*"}), "/Statement/0/NotPrincipal", "does not belong in a policy attached"),
        # conditions
        (document({**GOOD, "Condition": []}), "/Statement/0/Condition", "an object is expected"),
        (document({**GOOD, "Condition": {"StringEquals": "x"}}), "/Statement/0/Condition/StringEquals", "an object is"),
        (
            document({**GOOD, "Condition": {"Bool": {"iot:Connection.Thing.IsAttached": "true"}}}),
            "/Statement/0/Condition/Bool",
            "the condition operator Bool is not evaluated here; StringEquals, StringLike are",
        ),
        (
            document({**GOOD, "Condition": {"StringEqualsIfExists": {"aws:SourceIp": "::1"}}}),
            "/Statement/0/Condition/StringEqualsIfExists",
            "the condition operator StringEqualsIfExists is not evaluated here",
        ),
        (
            document({**GOOD, "Condition": {"ForSomeValues:StringEquals": {"aws:SourceIp": "::1"}}}),
            "/Statement/0/Condition/ForSomeValues:StringEquals",
            "is not evaluated here",
        ),
        (
            document({**GOOD, "Condition": {":StringEquals": {"aws:SourceIp": "::1"}}}),
            "/Statement/0/Condition/:StringEquals",
            "is not evaluated here",
        ),
        (
            document({**GOOD, "Condition": {"stringequals": {"aws:SourceIp": "::1"}}}),
            "/Statement/0/Condition/stringequals",
            "is not evaluated here",
        ),
        (
            document({**GOOD, "Condition": {"StringEquals": {"iot:ConnectAttributes": "LastWill"}}}),
            "/Statement/0/Condition/StringEquals/iot:ConnectAttributes",
            "iot:ConnectAttributes is not evaluated here",
        ),
        (
            document({**GOOD, "Condition": {"StringEquals": {"aws:PrincipalTag/team": "x"}}}),
            "/Statement/0/Condition/StringEquals/aws:PrincipalTag~1team",
            "is not evaluated here",
        ),
        (
            document({**GOOD, "Condition": {"StringEquals": {"aws:SourceIp": ["::1", True]}}}),
            "/Statement/0/Condition/StringEquals/aws:SourceIp/1",
            "a string is expected",
        ),
        (
            document({**GOOD, "Condition": {"StringLike": {"aws:SourceIp": "${nobody}"}}}),
            "/Statement/0/Condition/StringLike/aws:SourceIp",
            "nobody is not evaluated here",
        ),
    ],
)
@pytest.mark.parametrize("dialect", ["iam", "iot"])
def test_an_identity_policy_may_not_say(content: str, pointer: str, reason: str, dialect: Dialect) -> None:
    """Every error carries the JSON pointer of its place."""
    if dialect == "iot" and len(content) > 2048:
        reason = "characters without white space"
    with pytest.raises(PolicyDocumentError) as caught:
        PolicyDocument.parse(content, dialect=dialect)

    assert caught.value.pointer == pointer
    assert reason in caught.value.reason


def test_iam_has_not_action_and_iot_has_not() -> None:
    """AWS documents NotAction for IAM; for IoT policies it lists Action alone."""
    content = document(without("Action", NotAction="iot:Publish"))

    assert PolicyDocument.parse(content, dialect="iam").statements[0].excludes_actions
    with pytest.raises(PolicyDocumentError, match="/Statement/0/NotAction: NotAction is not documented for AWS IoT"):
        PolicyDocument.parse(content, dialect="iot")
    with pytest.raises(PolicyDocumentError, match="both Action and NotAction"):
        PolicyDocument.parse(document({**GOOD, "NotAction": "iot:*"}), dialect="iam")


def test_only_iot_sids_may_have_spaces() -> None:
    """Source: reference_policies_elements_sid: letters and digits in identity policies."""
    content = document({**GOOD, "Sid": "Allow it"})

    assert PolicyDocument.parse(content, dialect="iot").statements[0].sid == "Allow it"
    with pytest.raises(PolicyDocumentError, match="/Statement/0/Sid: letters and digits"):
        PolicyDocument.parse(content, dialect="iam")


def test_an_iot_policy_has_2048_characters_without_white_space() -> None:
    """Source: the quota page; IAM has limits of its own, which others check."""
    frame = document({**GOOD, "Resource": f"{TOPIC}%"}).replace(" ", "")
    full = frame.replace("%", "x" * (2048 - len(frame) + 1))
    spaced = full.replace(",", ",\n\t   ")

    assert PolicyDocument.parse(spaced, dialect="iot")
    with pytest.raises(
        PolicyDocumentError, match="2049 characters without white space; an AWS IoT policy has at most 2048"
    ):
        PolicyDocument.parse(full.replace("topic/a", "topic/ab"), dialect="iot")
    assert PolicyDocument.parse(full.replace("topic/a", "topic/ab"), dialect="iam")


def test_documents_before_2012_have_no_variables() -> None:
    """An unknown variable is then text, not an error."""
    resource = TOPIC + "/${whatever"

    parsed = PolicyDocument.parse(document({**GOOD, "Resource": resource}, version="2008-10-17"), dialect="iot")

    assert parsed.statements[0].resources[0].bind({}).text == resource
    assert PolicyDocument.parse({"Statement": GOOD}, dialect="iot").version == "2008-10-17"


@pytest.mark.parametrize(
    ("principal", "expected"),
    [
        ("*", {"AWS": ("*",)}),
        ({"AWS": "123456789012"}, {"AWS": ("123456789012",)}),
        (
            {"Federated": ["cognito-identity.amazonaws.com"], "Service": "iot.amazonaws.com"},
            {"Federated": ("cognito-identity.amazonaws.com",), "Service": ("iot.amazonaws.com",)},
        ),
    ],
)
def test_a_trust_policy_names_principals(principal: object, expected: dict[str, tuple[str, ...]]) -> None:
    """Source: reference_policies_elements_principal."""
    parsed = PolicyDocument.parse(document({**TRUST, "Principal": principal}), dialect="trust")

    assert parsed.statements[0].principals == expected
    assert parsed.statements[0].resources == ()


@pytest.mark.parametrize(
    ("statement", "pointer", "reason"),
    [
        ({**TRUST, "Resource": "*"}, "/Statement/0/Resource", "Resource is not supported in a trust policy"),
        ({**TRUST, "NotResource": "*"}, "/Statement/0/NotResource", "not supported in a trust policy"),
        ({**TRUST, "NotPrincipal": {"AWS": "*"}}, "/Statement/0/NotPrincipal", "not supported in a trust policy"),
        ({"Effect": "Allow", "Action": "sts:AssumeRole"}, "/Statement/0", "Principal is missing"),
        ({**TRUST, "Principal": "123456789012"}, "/Statement/0/Principal", "* or an object of AWS, Service, Federated"),
        ({**TRUST, "Principal": {}}, "/Statement/0/Principal", "* or an object of"),
        ({**TRUST, "Principal": {"CanonicalUser": "x"}}, "/Statement/0/Principal/CanonicalUser", "unknown element"),
        ({**TRUST, "Principal": {"AWS": []}}, "/Statement/0/Principal/AWS", "a string or a list of strings"),
        ({**TRUST, "Principal": {"AWS": [1]}}, "/Statement/0/Principal/AWS/0", "a string is expected"),
        (
            {**TRUST, "Condition": {"StringLike": {"cognito-identity.amazonaws.com:amr": "unauthenticated"}}},
            "/Statement/0/Condition/StringLike/cognito-identity.amazonaws.com:amr",
            "has several values: use ForAnyValue:StringLike",
        ),
    ],
)
def test_a_trust_policy_may_not_say(statement: dict[str, Any], pointer: str, reason: str) -> None:
    """A trust policy has principals and no resources."""
    with pytest.raises(PolicyDocumentError) as caught:
        PolicyDocument.parse(document(statement), dialect="trust")

    assert caught.value.pointer == pointer
    assert reason in caught.value.reason
