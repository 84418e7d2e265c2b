"""IAM documents and STS sessions."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import botocore.exceptions
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

GOOD = json.dumps({"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "iot:*", "Resource": "*"}})
BAD = GOOD.replace("Allow", "Perhaps")


def error_of(call: Callable[[], object]) -> tuple[str, str]:
    """Return code and message of a call that is refused."""
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        call()
    return caught.value.response["Error"]["Code"], caught.value.response["Error"]["Message"]


def trust(principal: object, **condition: Any) -> str:
    """Return a trust policy for AssumeRole."""
    statement = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": principal}}
    return json.dumps(
        {"Version": "2012-10-17", "Statement": {**statement, **({"Condition": condition} if condition else {})}}
    )


@pytest.fixture
def iam(stand: Any) -> Any:
    """The account's root as a client of ``iam``."""
    return stand.client("iam")


def test_a_policy_that_cannot_be_evaluated_is_refused_with_its_place(iam: Any, stand: Any) -> None:
    """Identity and trust policies, wherever they come in."""
    account = f"arn:aws:iam::{stand.config.account_id}:root"
    iam.create_role(RoleName="r", AssumeRolePolicyDocument=trust(account))
    iam.create_user(UserName="u")
    iam.create_group(GroupName="g")
    policy_arn = iam.create_policy(PolicyName="p", PolicyDocument=GOOD)["Policy"]["Arn"]
    calls = [
        lambda: iam.put_role_policy(RoleName="r", PolicyName="p", PolicyDocument=BAD),
        lambda: iam.put_user_policy(UserName="u", PolicyName="p", PolicyDocument=BAD),
        lambda: iam.put_group_policy(GroupName="g", PolicyName="p", PolicyDocument=BAD),
        lambda: iam.create_policy(PolicyName="q", PolicyDocument=BAD),
        lambda: iam.create_policy_version(PolicyArn=policy_arn, PolicyDocument=BAD),
        lambda: iam.create_role(RoleName="s", AssumeRolePolicyDocument=trust(account).replace("Allow", "Perhaps")),
        lambda: iam.update_assume_role_policy(RoleName="r", PolicyDocument=GOOD),
    ]

    for call in calls:
        code, message = error_of(call)
        assert (code, "/Statement" in message) == ("MalformedPolicyDocument", True)


def test_the_policies_of_a_role_reach_the_broker(iam: Any, stand: Any) -> None:
    """Inline and attached, in the default version, until they are taken away."""
    role = iam.create_role(RoleName="r", Path="/team/", AssumeRolePolicyDocument=trust("*"))["Role"]
    iam.put_role_policy(RoleName="r", PolicyName="inline", PolicyDocument=GOOD)
    policy_arn = iam.create_policy(PolicyName="managed", PolicyDocument=GOOD)["Policy"]["Arn"]
    iam.attach_role_policy(RoleName="r", PolicyArn=policy_arn)
    other = GOOD.replace("iot:*", "iot:Connect")
    iam.create_policy_version(PolicyArn=policy_arn, PolicyDocument=other, SetAsDefault=True)

    record = stand.broker.snapshot.roles[role["Arn"]]
    assert (record.unique_id, dict(record.policies)) == (role["RoleId"], {"inline": GOOD, "managed": other})
    iam.detach_role_policy(RoleName="r", PolicyArn=policy_arn)
    iam.delete_role_policy(RoleName="r", PolicyName="inline")
    assert stand.broker.snapshot.roles[role["Arn"]].policies == ()
    iam.delete_role(RoleName="r")
    assert stand.broker.snapshot.roles == {}


def test_permissions_boundaries_are_refused_by_name(iam: Any) -> None:
    """They would limit nothing here."""
    boundary = {"PermissionsBoundary": "arn:aws:iam::aws:policy/x"}

    for call in (
        lambda: iam.create_role(RoleName="r", AssumeRolePolicyDocument=trust("*"), **boundary),
        lambda: iam.create_user(UserName="u", **boundary),
        lambda: iam.put_role_permissions_boundary(RoleName="r", **boundary),
    ):
        assert error_of(call)[0] == "NotImplemented"


def test_a_user_may_leave_out_their_own_name(iam: Any, stand: Any) -> None:
    """IAM takes it from the key; the root has none to take."""
    iam.create_user(UserName="u", Path="/team/")
    iam.put_user_policy(UserName="u", PolicyName="p", PolicyDocument=GOOD.replace("iot:*", "iam:*"))
    key = iam.create_access_key(UserName="u")["AccessKey"]

    assert stand.client("iam", key).get_user()["User"]["UserName"] == "u"
    assert "Must specify userName" in error_of(iam.get_user)[1]


def test_a_role_is_assumed_by_whom_it_trusts(iam: Any, stand: Any) -> None:
    """The session is known to STS and to the broker, and lasts as long as asked."""
    role = iam.create_role(RoleName="r", AssumeRolePolicyDocument=trust(stand.config.account_id))["Role"]
    iam.put_role_policy(RoleName="r", PolicyName="p", PolicyDocument=GOOD)

    made = stand.client("sts").assume_role(RoleArn=role["Arn"], RoleSessionName="session", DurationSeconds=900)

    credentials = made["Credentials"]
    assert made["AssumedRoleUser"]["Arn"] == f"arn:aws:sts::{stand.config.account_id}:assumed-role/r/session"
    assert timedelta(minutes=14) < credentials["Expiration"] - datetime.now(UTC) <= timedelta(minutes=15)
    identity = stand.client("sts", credentials).get_caller_identity()
    assert (identity["Arn"], identity["UserId"]) == (made["AssumedRoleUser"]["Arn"], f"{role['RoleId']}:session")
    assert stand.broker.snapshot.credentials[credentials["AccessKeyId"]].role_arn == role["Arn"]
    assert stand.client("iot", credentials).list_things()["things"] == []


def test_a_session_policy_limits_the_role(iam: Any, stand: Any) -> None:
    """Both must allow."""
    role = iam.create_role(RoleName="r", AssumeRolePolicyDocument=trust("*"))["Role"]
    iam.put_role_policy(RoleName="r", PolicyName="p", PolicyDocument=GOOD)
    sts = stand.client("sts")

    made = sts.assume_role(
        RoleArn=role["Arn"], RoleSessionName="limited", Policy=GOOD.replace("iot:*", "iot:ListThings")
    )

    iot = stand.client("iot", made["Credentials"])
    assert iot.list_things()["things"] == []
    assert error_of(iot.list_policies)[0] == "AccessDeniedException"


def test_a_role_is_not_assumed_by_others(iam: Any, stand: Any) -> None:
    """Trust in somebody else, a missing external id, a role that is not there; then the right external id."""
    sts = stand.client("sts")
    prefix = f"arn:aws:iam::{stand.config.account_id}"
    iam.create_role(RoleName="r", AssumeRolePolicyDocument=trust(f"{prefix}:user/somebody"))

    def assume(role: str = "r", **further: Any) -> Any:
        return sts.assume_role(RoleArn=f"{prefix}:role/{role}", RoleSessionName="session", **further)

    code, message = error_of(assume)
    assert (code, f"is not authorized to perform: sts:AssumeRole on resource: {prefix}:role/r" in message) == (
        "AccessDenied",
        True,
    )
    assert "does not exist" in error_of(lambda: assume("nobody"))[1]
    iam.update_assume_role_policy(
        RoleName="r", PolicyDocument=trust(f"{prefix}:root", StringEquals={"sts:ExternalId": "42"})
    )
    assert error_of(assume)[0] == "AccessDenied"
    assert assume(ExternalId="42")["Credentials"]


@pytest.mark.parametrize(
    ("further", "code"),
    [
        ({"RoleSessionName": "a b"}, "ValidationError"),
        ({"DurationSeconds": 43_201}, "ValidationError"),
        ({"DurationSeconds": 3_601}, "ValidationError"),
        ({"Policy": BAD}, "MalformedPolicyDocument"),
        ({"SerialNumber": "arn:aws:iam::1:mfa/x"}, "NotImplemented"),
        ({"PolicyArns": [{"arn": "arn:aws:iam::aws:policy/x"}]}, "NotImplemented"),
    ],
)
def test_a_session_that_could_not_be_made_as_asked_is_refused(
    iam: Any, stand: Any, further: dict[str, Any], code: str
) -> None:
    """Names, durations, documents, and what is not served."""
    role = iam.create_role(RoleName="r", AssumeRolePolicyDocument=trust("*"))["Role"]
    arguments = {"RoleArn": role["Arn"], "RoleSessionName": "session", **further}

    assert error_of(lambda: stand.client("sts").assume_role(**arguments))[0] == code


def test_a_session_may_assume_a_role_that_trusts_its_role(iam: Any, stand: Any) -> None:
    """Role chaining: by the role's ARN, if its own policies allow the call."""
    sts = stand.client("sts")
    first = iam.create_role(RoleName="first", AssumeRolePolicyDocument=trust("*"))["Role"]
    second = iam.create_role(RoleName="second", AssumeRolePolicyDocument=trust(first["Arn"]))["Role"]
    session = sts.assume_role(RoleArn=first["Arn"], RoleSessionName="session")["Credentials"]
    chained = stand.client("sts", session)
    arguments = {"RoleArn": second["Arn"], "RoleSessionName": "chained"}
    assert error_of(lambda: chained.assume_role(**arguments))[0] == "AccessDenied"

    iam.put_role_policy(RoleName="first", PolicyName="p", PolicyDocument=GOOD.replace("iot:*", "sts:AssumeRole"))
    assert chained.assume_role(**arguments)["AssumedRoleUser"]["Arn"].endswith("assumed-role/second/chained")


def test_what_is_still_used_is_not_deleted(iam: Any) -> None:
    """A policy that is attached or has versions, a user with keys or groups, a group with users."""
    policy_arn = iam.create_policy(PolicyName="p", PolicyDocument=GOOD)["Policy"]["Arn"]
    iam.create_role(RoleName="r", AssumeRolePolicyDocument=trust("*"))
    iam.create_user(UserName="u")
    iam.create_group(GroupName="g")
    iam.attach_role_policy(RoleName="r", PolicyArn=policy_arn)
    version_id = iam.create_policy_version(PolicyArn=policy_arn, PolicyDocument=GOOD)["PolicyVersion"]["VersionId"]
    key_id = iam.create_access_key(UserName="u")["AccessKey"]["AccessKeyId"]
    iam.add_user_to_group(UserName="u", GroupName="g")

    def fails(call: Callable[[], object]) -> str:
        code, message = error_of(call)
        assert code == "DeleteConflict"
        return message

    assert "detach" in fails(lambda: iam.delete_policy(PolicyArn=policy_arn))
    iam.detach_role_policy(RoleName="r", PolicyArn=policy_arn)
    assert "versions" in fails(lambda: iam.delete_policy(PolicyArn=policy_arn))
    iam.delete_policy_version(PolicyArn=policy_arn, VersionId=version_id)
    iam.delete_policy(PolicyArn=policy_arn)
    assert "access keys" in fails(lambda: iam.delete_user(UserName="u"))
    iam.delete_access_key(UserName="u", AccessKeyId=key_id)
    assert "groups" in fails(lambda: iam.delete_user(UserName="u"))
    assert "users" in fails(lambda: iam.delete_group(GroupName="g"))
    iam.remove_user_from_group(UserName="u", GroupName="g")
    iam.delete_user(UserName="u")
    iam.delete_group(GroupName="g")


def test_a_policy_of_aws_is_refused_by_name(iam: Any) -> None:
    """Managed policies of AWS are not in the registry: attaching one says so."""
    iam.create_role(RoleName="r", AssumeRolePolicyDocument=trust("*"))

    code, message = error_of(
        lambda: iam.attach_role_policy(RoleName="r", PolicyArn="arn:aws:iam::aws:policy/AWSIoTFullAccess")
    )
    assert (code, "AWSIoTFullAccess" in message) == ("NotImplemented", True)


def test_an_error_that_quotes_control_characters_is_still_xml(stand: Any) -> None:
    """XML has no way to write most of them: question marks stand for them."""
    status, _, body = stand.send_signed(
        "POST", "/", body=b"Action=%01%0B", service="iam", Content_Type="application/x-www-form-urlencoded"
    )

    assert (status, body.count(b"operation ??")) == (400, 1)
