"""Decisions, one row per sentence of the documentation, each allow beside its deny; and what a denial says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from harness.iot.policy import Context, Decision, Dialect, PolicyDocument, bind, evaluate, evaluate_trust

ARN = "arn:aws:iot:us-east-1:123456789012:"
COGNITO = "cognito-identity.amazonaws.com"


def policy(*statements: dict[str, Any], dialect: Dialect = "iam", version: str = "2012-10-17") -> PolicyDocument:
    """Make a document of statements."""
    return PolicyDocument.parse(json.dumps({"Version": version, "Statement": list(statements)}), dialect=dialect)


def statement(
    effect: str = "Allow", action: object = "iot:Publish", resource: object = "*", **more: object
) -> dict[str, Any]:
    """Make a statement; resources are written without their ARN's beginning."""
    listed = [resource] if isinstance(resource, str) else resource
    assert isinstance(listed, list)
    return {
        "Effect": effect,
        "Action": action,
        "Resource": [one if one == "*" else ARN + one for one in listed],
        **more,
    }


def decide(
    *statements: dict[str, Any], action: str = "iot:Publish", resource: str = "topic/a", **context: str
) -> Decision:
    """Evaluate one policy called `p`."""
    values = {name.replace("_", ":"): value for name, value in context.items()}
    return evaluate([("p", policy(*statements))], action=action, resource=ARN + resource, context=values)


ALLOW_A = statement(resource="topic/a")
DENY_A = statement("Deny", resource="topic/a")


@pytest.mark.parametrize(
    ("statements", "resource", "allowed"),
    [
        ([], "topic/a", False),
        ([ALLOW_A], "topic/a", True),
        ([ALLOW_A], "topic/b", False),
        ([DENY_A], "topic/a", False),
        ([ALLOW_A, DENY_A], "topic/a", False),
        ([DENY_A, ALLOW_A], "topic/a", False),
        ([statement(), DENY_A], "topic/a", False),
        ([statement(), DENY_A], "topic/b", True),
        ([statement(resource=["topic/x", "topic/a"])], "topic/a", True),
        ([statement(resource="topic/x"), ALLOW_A], "topic/a", True),
    ],
)
def test_denied_by_default_allowed_by_one_denied_by_any(
    statements: list[dict[str, Any]], resource: str, *, allowed: bool
) -> None:
    """Source: reference_policies_evaluation-logic: default deny, an explicit Deny wins, else one Allow is enough."""
    policies = [(f"p{index}", policy(one)) for index, one in enumerate(statements)]

    split = evaluate(policies, action="iot:Publish", resource=ARN + resource, context={})

    assert split.allowed is allowed
    if statements:
        assert decide(*statements, resource=resource).allowed is allowed


@pytest.mark.parametrize(
    ("pattern", "action", "allowed"),
    [
        ("iot:Publish", "iot:Publish", True),
        ("iot:publish", "iot:Publish", True),
        ("IOT:PUBLISH", "iot:Publish", True),
        ("iot:Publish", "iot:RetainPublish", False),
        ("iot:*", "iot:RetainPublish", True),
        ("*", "dynamodb:PutItem", True),
        ("iot:*", "iotdata:Publish", False),
        ("iot:*Publish", "iot:RetainPublish", True),
        ("iot:Publis?", "iot:Publish", True),
        ("iot:Publis?", "iot:Publis", False),
        (["iot:Connect", "iot:Publish"], "iot:Publish", True),
    ],
)
def test_action_names_do_not_distinguish_case(pattern: object, action: str, *, allowed: bool) -> None:
    """Source: reference_policies_elements_action."""
    assert decide(statement(action=pattern), action=action).allowed is allowed


@pytest.mark.parametrize(
    ("pattern", "resource", "allowed"),
    [
        ("topic/a", "topic/A", False),
        ("topic/a/*", "topic/a/b/c", True),
        ("topic/a/?", "topic/a/b", True),
        ("topicfilter/some/+/topic", "topicfilter/some/+/topic", True),
        ("topicfilter/some/+/topic", "topicfilter/some/x/topic", False),
        ("topicfilter/a/#", "topicfilter/a/#", True),
        ("topicfilter/a/#", "topicfilter/a/b", False),
        ("topicfilter/a/*", "topicfilter/a/#", True),
        ("topic/a", "topicfilter/a", False),
        ("client/d-1", "client/d-1", True),
    ],
)
def test_resources_distinguish_case_and_mqtt_wildcards_are_text(pattern: str, resource: str, *, allowed: bool) -> None:
    """Source: pub-sub-policy: `+` and `#` are characters, `*` and `?` wildcards."""
    assert decide(statement(resource=pattern), resource=resource).allowed is allowed


def test_a_denied_filter_does_not_stop_a_wider_one() -> None:
    """Source: pub-sub-policy: `Deny Subscribe a/restricted/*` leaves `a/#`; Receive has to be restricted."""
    subscribe = statement(action="iot:Subscribe", resource="topicfilter/a/*")
    restricted = statement("Deny", action="iot:Subscribe", resource="topicfilter/a/restricted/*")

    assert not decide(subscribe, restricted, action="iot:Subscribe", resource="topicfilter/a/restricted/x").allowed
    assert decide(subscribe, restricted, action="iot:Subscribe", resource="topicfilter/a/#").allowed


@pytest.mark.parametrize(
    ("element", "action", "resource", "allowed"),
    [
        ({"NotAction": "iot:Publish", "Resource": "*"}, "iot:Publish", "topic/a", False),
        ({"NotAction": "iot:Publish", "Resource": "*"}, "iot:Connect", "client/a", True),
        ({"NotAction": ["iot:Publish", "iot:C*"], "Resource": "*"}, "iot:Connect", "client/a", False),
        ({"Action": "*", "NotResource": ARN + "topic/a*"}, "iot:Publish", "topic/a1", False),
        ({"Action": "*", "NotResource": ARN + "topic/a*"}, "iot:Publish", "topic/b", True),
        ({"Action": "*", "NotResource": [ARN + "topic/a", ARN + "topic/b"]}, "iot:Publish", "topic/b", False),
    ],
)
def test_not_elements_mean_everything_else(
    element: dict[str, Any], action: str, resource: str, *, allowed: bool
) -> None:
    """Source: reference_policies_elements_notaction and …_notresource."""
    assert decide({"Effect": "Allow", **element}, action=action, resource=resource).allowed is allowed


def test_variables_hold_only_since_2012() -> None:
    """Source: reference_policies_elements_version."""
    own = statement(resource="topic/${iot:ClientId}")
    asked: dict[str, Any] = {"action": "iot:Publish", "resource": ARN + "topic/d-1", "context": {"iot:ClientId": "d-1"}}

    assert evaluate([("p", policy(own))], **asked).allowed
    assert not evaluate([("p", policy(own, version="2008-10-17"))], **asked).allowed


def test_a_deny_with_a_variable_without_value_denies_nothing() -> None:
    """What has no value matches nothing, be it to allow or to deny."""
    denial = statement("Deny", resource="topic/${iot:ClientId}")

    assert decide(statement(), denial, resource="topic/d-1").allowed
    assert not decide(statement(), denial, resource="topic/d-1", iot_ClientId="d-1").allowed


@pytest.mark.parametrize(
    ("condition", "context", "holds"),
    [
        ({"StringEquals": {"iot:ClientId": "a"}}, {"iot:ClientId": "a"}, True),
        ({"StringEquals": {"iot:ClientId": "a"}}, {"iot:ClientId": "A"}, False),
        ({"StringEquals": {"iot:ClientId": "a"}}, {}, False),
        ({"StringEquals": {"iot:clientid": "a"}}, {"iot:ClientId": "a"}, True),
        ({"StringEquals": {"iot:ClientId": ["a", "b"]}}, {"iot:ClientId": "b"}, True),
        ({"StringEquals": {"iot:ClientId": "a*"}}, {"iot:ClientId": "ab"}, False),
        ({"StringEquals": {"iot:ClientId": "a*"}}, {"iot:ClientId": "a*"}, True),
        ({"StringEquals": {"iot:ClientId": "${aws:userid}"}}, {"iot:ClientId": "x", "aws:userid": "x"}, True),
        ({"StringEquals": {"iot:ClientId": "${aws:userid}"}}, {"iot:ClientId": "x"}, False),
        ({"StringLike": {"iot:ClientId": "a*"}}, {"iot:ClientId": "ab"}, True),
        ({"StringLike": {"iot:ClientId": "a?"}}, {"iot:ClientId": "abc"}, False),
        ({"StringLike": {"iot:ClientId": "${aws:userid}"}}, {"iot:ClientId": "ab", "aws:userid": "a*"}, False),
        ({"StringEquals": {"iot:ClientId": "a", "aws:userid": "u"}}, {"iot:ClientId": "a", "aws:userid": "u"}, True),
        ({"StringEquals": {"iot:ClientId": "a", "aws:userid": "u"}}, {"iot:ClientId": "a"}, False),
        (
            {"StringEquals": {"iot:ClientId": "a"}, "StringLike": {"aws:userid": "u*"}},
            {"iot:ClientId": "a", "aws:userid": "x"},
            False,
        ),
        ({"ForAnyValue:StringEquals": {"iot:ClientId": ["a", "b"]}}, {"iot:ClientId": ("x", "b")}, True),
        ({"ForAnyValue:StringEquals": {"iot:ClientId": ["a", "b"]}}, {"iot:ClientId": ("x", "y")}, False),
        ({"ForAnyValue:StringEquals": {"iot:ClientId": "a"}}, {}, False),
        ({"ForAllValues:StringLike": {"iot:ClientId": ["a*", "b"]}}, {"iot:ClientId": ("a1", "b")}, True),
        ({"ForAllValues:StringLike": {"iot:ClientId": ["a*", "b"]}}, {"iot:ClientId": ("a1", "c")}, False),
        ({"ForAllValues:StringLike": {"iot:ClientId": "a"}}, {}, True),
        ({"ForAllValues:StringLike": {"iot:ClientId": "a"}}, {"iot:ClientId": ()}, True),
    ],
)
def test_a_condition_holds(condition: dict[str, Any], context: Context, *, holds: bool) -> None:
    """Source: reference_policies_elements_condition_operators and the page on several values."""
    document = policy(statement(Condition=condition))

    decision = evaluate([("p", document)], action="iot:Publish", resource=ARN + "topic/a", context=context)

    assert decision.allowed is holds


def test_a_decision_names_the_statement_that_made_it() -> None:
    """By policy, by Sid or number, with the pattern that matched."""
    allowed = decide(statement(resource="topic/x"), statement(resource=["topic/b", "topic/*"]))
    denied = decide(statement(), {**DENY_A, "Sid": "NoA"})

    assert allowed == Decision(
        allowed=True,
        because=f"policy p, statement 2 allows iot:Publish on {ARN}topic/*",
        action="iot:Publish",
        resource=ARN + "topic/a",
        policy_name="p",
        statement="2",
        effect="Allow",
    )
    assert denied == Decision(
        allowed=False,
        because=f"policy p, statement NoA denies iot:Publish on {ARN}topic/a",
        action="iot:Publish",
        resource=ARN + "topic/a",
        policy_name="p",
        statement="NoA",
        effect="Deny",
    )


def test_a_pattern_is_shown_with_its_values() -> None:
    """The reader sees what was compared, not the template."""
    decision = decide(statement(resource="topic/${iot:ClientId}/*"), resource="topic/d-1/x", iot_ClientId="d-1")

    assert decision.because == f"policy p, statement 1 allows iot:Publish on {ARN}topic/d-1/*"


@pytest.mark.parametrize(
    ("statements", "because"),
    [
        # a condition away
        (
            [statement(resource="topic/b"), {**ALLOW_A, "Condition": {"StringEquals": {"iot:ClientId": ["x", "y"]}}}],
            (
                "nearest: policy p, statement 2 would allow it, but for its condition "
                "StringEquals iot:ClientId x or y (d-1)"
            ),
        ),
        (
            [{**ALLOW_A, "Condition": {"StringLike": {"aws:userid": "x"}}}],
            (
                "nearest: policy p, statement 1 would allow it, but for its condition "
                "StringLike aws:userid x (the request has no such key)"
            ),
        ),
        # the same action, another resource: the one most like it
        (
            [statement(resource=["client/*", "topic/bb", "topic/b"]), statement(action="*", resource="client/x")],
            f"nearest: policy p, statement 1 allows iot:Publish on {ARN}topic/bb",
        ),
        (
            [statement(action="iot:*", resource="client/x"), statement(resource="topic/${iot:ClientId}")],
            f"nearest: policy p, statement 2 allows iot:Publish on {ARN}topic/d-1",
        ),
        (
            [statement(resource="topic/${aws:userid}")],
            (
                f"nearest: policy p, statement 1 allows iot:Publish on {ARN}topic/${{aws:userid}} "
                "(${aws:userid} has no value here)"
            ),
        ),
        (
            [{"Effect": "Allow", "Action": "*", "NotResource": [ARN + "topic/a", ARN + "topic/b"]}],
            f"nearest: policy p, statement 1 allows iot:Publish on everything but {ARN}topic/a, {ARN}topic/b",
        ),
        # the same resource, another action
        (
            [statement(action=["iot:Receive", "iot:Get*"], resource="topic/*")],
            f"nearest: policy p, statement 1 allows iot:Receive, iot:Get* on {ARN}topic/*",
        ),
        (
            [{"Effect": "Allow", "NotAction": "iot:P*", "Resource": "*"}],
            "nearest: policy p, statement 1 allows everything but iot:P* on *",
        ),
        # neither
        ([statement(action="s3:*", resource="client/x")], "no statement speaks of either"),
        ([statement("Deny", resource="topic/b")], "no statement speaks of either"),
    ],
)
def test_a_denial_names_the_nearest_miss(statements: list[dict[str, Any]], because: str) -> None:
    """A condition away, then another resource, then another action."""
    decision = decide(*statements, iot_ClientId="d-1")

    assert decision.because == f"no statement allows iot:Publish on {ARN}topic/a; {because}"
    assert (decision.allowed, decision.policy_name, decision.statement, decision.effect) == (False, None, None, None)


def test_a_denial_without_policies_says_so() -> None:
    """With the words of whoever knows what is missing."""
    bound = bind([], {}, absence="no policy is attached to certificate ab12")

    assert evaluate([], action="iot:Publish", resource="x", context={}).because.endswith("; there is no policy")
    assert bound.decide("iot:Publish", "x").because.endswith("; no policy is attached to certificate ab12")


def test_bound_policies_answer_often() -> None:
    """What was asked before changes nothing."""
    bound = bind([("p", policy(ALLOW_A, {**DENY_A, "Action": "iot:Receive"}, statement(action="iot:Rec*")))], {})

    answers = [bound.decide(action, f"{ARN}topic/a").allowed for action in ("iot:Publish", "iot:Receive") * 2]

    assert answers == [True, False, True, False]


TRUST_GUESTS = {
    "Effect": "Allow",
    "Action": "sts:AssumeRoleWithWebIdentity",
    "Principal": {"Federated": COGNITO},
    "Condition": {
        "StringEquals": {f"{COGNITO}:aud": "us-east-1:pool"},
        "ForAnyValue:StringLike": {f"{COGNITO}:amr": "unauthenticated"},
    },
}


def trust(*statements: dict[str, Any], **asked: Any) -> Decision:
    """Ask a trust policy on behalf of a guest of the pool."""
    defaults: dict[str, Any] = {
        "action": "sts:AssumeRoleWithWebIdentity",
        "kind": "Federated",
        "principal": COGNITO,
        "context": {f"{COGNITO}:aud": "us-east-1:pool", f"{COGNITO}:amr": ("unauthenticated",)},
    }
    return evaluate_trust(policy(*statements, dialect="trust"), **(defaults | asked))


def test_a_pool_may_assume_the_role_that_trusts_it() -> None:
    """Source: iam-roles in the Cognito guide."""
    decision = trust(TRUST_GUESTS)

    assert decision == Decision(
        allowed=True,
        because=f"trust policy, statement 1 allows sts:AssumeRoleWithWebIdentity to {COGNITO}",
        action="sts:AssumeRoleWithWebIdentity",
        resource=COGNITO,
        policy_name="trust",
        statement="1",
        effect="Allow",
    )


@pytest.mark.parametrize(
    ("asked", "because"),
    [
        (
            {"context": {f"{COGNITO}:aud": "us-east-1:other", f"{COGNITO}:amr": ("unauthenticated",)}},
            f"statement 1 asks for StringEquals {COGNITO}:aud us-east-1:pool (us-east-1:other)",
        ),
        (
            {"context": {f"{COGNITO}:aud": "us-east-1:pool", f"{COGNITO}:amr": ("authenticated", "x")}},
            f"statement 1 asks for ForAnyValue:StringLike {COGNITO}:amr unauthenticated (authenticated, x)",
        ),
        ({"action": "sts:AssumeRole"}, "statement 1 is about sts:AssumeRoleWithWebIdentity"),
        ({"principal": "accounts.google.com"}, f"statement 1 trusts Federated {COGNITO}"),
        ({"kind": "Service"}, f"statement 1 trusts Federated {COGNITO}"),
    ],
)
def test_a_role_that_trusts_something_else_refuses(asked: dict[str, Any], because: str) -> None:
    """The pool, whether the identity logged in, the call and the principal must all be as the policy says."""
    decision = trust(TRUST_GUESTS, **asked)

    assert not decision.allowed
    assert because in decision.because


def test_an_explicit_deny_wins_in_a_trust_policy() -> None:
    """Wherever it stands; a second Allow changes nothing."""
    denial = {"Effect": "Deny", "Action": "sts:*", "Principal": {"Federated": COGNITO}, "Sid": "Closed"}

    assert trust(TRUST_GUESTS, denial).because == (
        f"trust policy, statement Closed denies sts:AssumeRoleWithWebIdentity to {COGNITO}"
    )
    assert not trust(denial, TRUST_GUESTS).allowed
    assert trust(TRUST_GUESTS, TRUST_GUESTS).statement == "1"


@pytest.mark.parametrize(
    ("principals", "caller", "allowed"),
    [
        ({"AWS": "*"}, "arn:aws:iam::123456789012:user/eve", True),
        ("*", "arn:aws:iam::123456789012:user/eve", True),
        ({"AWS": "123456789012"}, "arn:aws:iam::123456789012:user/eve", True),
        ({"AWS": "arn:aws:iam::123456789012:root"}, "arn:aws:iam::123456789012:user/eve", True),
        ({"AWS": "arn:aws:iam::123456789012:root"}, "arn:aws:sts::123456789012:assumed-role/r/s", True),
        ({"AWS": "arn:aws:iam::123456789012:root"}, "arn:aws:iam::999999999999:user/eve", False),
        ({"AWS": "arn:aws:iam::123456789012:user/eve"}, "arn:aws:iam::123456789012:user/eve", True),
        ({"AWS": "arn:aws:iam::123456789012:user/eve"}, "arn:aws:iam::123456789012:user/bob", False),
        ({"AWS": "arn:aws:iam::123456789012:role/r"}, "arn:aws:sts::123456789012:assumed-role/r/s", True),
        ({"AWS": "arn:aws:iam::123456789012:role/path/r"}, "arn:aws:sts::123456789012:assumed-role/r/s", True),
        ({"AWS": "arn:aws:iam::123456789012:role/r"}, "arn:aws:sts::123456789012:assumed-role/rr/s", False),
        ({"AWS": "arn:aws:iam::999999999999:role/r"}, "arn:aws:sts::123456789012:assumed-role/r/s", False),
        ({"AWS": "123456789012"}, "123456789012", True),
        ({"Service": "iot.amazonaws.com"}, "arn:aws:iam::123456789012:user/eve", False),
    ],
)
def test_an_aws_principal_is_trusted_by_arn_account_or_star(principals: object, caller: str, *, allowed: bool) -> None:
    """Source: reference_policies_elements_principal; an assumed role is trusted through its role."""
    one = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": principals}

    assert trust(one, action="sts:AssumeRole", kind="AWS", principal=caller, context={}).allowed is allowed
