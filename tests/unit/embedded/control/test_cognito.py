"""Identity pools: guests, their role, their credentials."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import botocore.exceptions
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable


def error_of(call: Callable[[], object]) -> tuple[str, str]:
    """Return code and message of a call that is refused."""
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        call()
    return caught.value.response["Error"]["Code"], caught.value.response["Error"]["Message"]


def trust(pool_id: str, *, amr: str = "unauthenticated") -> str:
    """Return a trust policy for the identities of a pool."""
    condition = {
        "StringEquals": {"cognito-identity.amazonaws.com:aud": pool_id},
        "ForAnyValue:StringLike": {"cognito-identity.amazonaws.com:amr": amr},
    }
    statement = {
        "Effect": "Allow",
        "Principal": {"Federated": "cognito-identity.amazonaws.com"},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": condition,
    }
    return json.dumps({"Version": "2012-10-17", "Statement": statement})


def test_a_guest_gets_credentials_of_the_pools_role_that_sts_and_the_broker_know(stand: Any, make_guest: Any) -> None:
    """One hour, the role's session, the identity, and the session policies that Cognito adds."""
    guest = make_guest()
    credentials = guest["credentials"]
    identity = stand.client("sts", credentials).get_caller_identity()

    arn = f"arn:aws:sts::{stand.config.account_id}:assumed-role/guest/CognitoIdentityCredentials"
    assert identity["Arn"] == arn
    assert identity["UserId"] == f"{guest['role']['RoleId']}:CognitoIdentityCredentials"
    assert timedelta(minutes=59) < credentials["Expiration"] - datetime.now(UTC) <= timedelta(hours=1)
    record = stand.broker.snapshot.credentials[credentials["AccessKeyId"]]
    assert record.secret_access_key == credentials["SecretKey"]
    assert (record.role_arn, record.identity_id) == (guest["role"]["Arn"], guest["identity_id"])
    assert [name for name, _ in record.session_policies][1] == "AmazonCognitoUnAuthedIdentitiesSessionPolicy"
    assert stand.broker.snapshot.roles[guest["role"]["Arn"]].unique_id == guest["role"]["RoleId"]


def test_every_guest_is_a_new_identity_of_the_pools_region(stand: Any, make_guest: Any) -> None:
    """Two calls give two identities, both of which the pool lists, and each call new credentials."""
    guest = make_guest()
    cognito = stand.client("cognito-identity")

    second = cognito.get_id(IdentityPoolId=guest["pool_id"])["IdentityId"]

    listed = cognito.list_identities(IdentityPoolId=guest["pool_id"], MaxResults=10)["Identities"]
    assert {one["IdentityId"] for one in listed} == {guest["identity_id"], second}
    assert second.startswith(f"{stand.config.region}:")
    again = cognito.get_credentials_for_identity(IdentityId=guest["identity_id"])["Credentials"]
    assert again["AccessKeyId"] != guest["credentials"]["AccessKeyId"]


def test_a_pool_without_guests_gives_no_identity(stand: Any) -> None:
    """AllowUnauthenticatedIdentities is honoured, and looked at again for credentials."""
    cognito = stand.client("cognito-identity")
    pool = cognito.create_identity_pool(IdentityPoolName="p", AllowUnauthenticatedIdentities=False)
    pool_id = pool["IdentityPoolId"]
    wanted = "Unauthenticated access is not supported for this identity pool."
    assert error_of(lambda: cognito.get_id(IdentityPoolId=pool_id)) == ("NotAuthorizedException", wanted)

    cognito.update_identity_pool(IdentityPoolId=pool_id, IdentityPoolName="p", AllowUnauthenticatedIdentities=True)
    identity_id = cognito.get_id(IdentityPoolId=pool_id)["IdentityId"]
    cognito.update_identity_pool(IdentityPoolId=pool_id, IdentityPoolName="p", AllowUnauthenticatedIdentities=False)
    assert error_of(lambda: cognito.get_credentials_for_identity(IdentityId=identity_id))[1] == wanted


@pytest.mark.parametrize(
    ("operation", "arguments"),
    [
        ("get_id", {}),
        ("describe_identity_pool", {}),
        ("delete_identity_pool", {}),
        ("list_identities", {"MaxResults": 1}),
        ("get_identity_pool_roles", {}),
        ("set_identity_pool_roles", {"Roles": {}}),
        ("update_identity_pool", {"IdentityPoolName": "p", "AllowUnauthenticatedIdentities": True}),
    ],
)
def test_a_pool_that_is_not_there_is_not_found(stand: Any, operation: str, arguments: dict[str, Any]) -> None:
    """ResourceNotFoundException, whatever was to be done with it."""
    pool_id = "eu-central-1:00000000-0000-0000-0000-000000000000"
    call = getattr(stand.client("cognito-identity"), operation)

    assert error_of(lambda: call(IdentityPoolId=pool_id, **arguments)) == (
        "ResourceNotFoundException",
        f"IdentityPool '{pool_id}' not found.",
    )


def test_an_identity_that_is_not_there_gets_no_credentials(stand: Any, make_guest: Any) -> None:
    """Neither one never made nor one whose pool is gone."""
    guest = make_guest()
    cognito = stand.client("cognito-identity")
    unknown = "eu-central-1:00000000-0000-0000-0000-000000000000"

    assert error_of(lambda: cognito.get_credentials_for_identity(IdentityId=unknown))[0] == "ResourceNotFoundException"
    cognito.delete_identity_pool(IdentityPoolId=guest["pool_id"])
    assert (
        error_of(lambda: cognito.get_credentials_for_identity(IdentityId=guest["identity_id"]))[0]
        == "ResourceNotFoundException"
    )


def test_a_pool_without_a_role_that_trusts_it_gives_no_credentials(stand: Any) -> None:
    """No role, a role that is gone, one for another pool, one for others than guests; then the right one."""
    cognito, iam = stand.client("cognito-identity"), stand.client("iam")
    pool = cognito.create_identity_pool(IdentityPoolName="p", AllowUnauthenticatedIdentities=True)
    pool_id = pool["IdentityPoolId"]
    identity_id = cognito.get_id(IdentityPoolId=pool_id)["IdentityId"]

    def get() -> Any:
        return cognito.get_credentials_for_identity(IdentityId=identity_id)

    def why_not() -> str:
        code, message = error_of(get)
        assert code == "InvalidIdentityPoolConfigurationException"
        assert message.startswith("Invalid identity pool configuration. Check assigned IAM roles for this pool.")
        return message

    assert "no unauthenticated role" in why_not()
    role_arn = f"arn:aws:iam::{stand.config.account_id}:role/r"
    cognito.set_identity_pool_roles(IdentityPoolId=pool_id, Roles={"unauthenticated": role_arn})
    assert "does not exist" in why_not()
    iam.create_role(RoleName="r", AssumeRolePolicyDocument=trust("eu-central-1:another"))
    assert "Not authorized to perform sts:AssumeRoleWithWebIdentity" in why_not()
    iam.update_assume_role_policy(RoleName="r", PolicyDocument=trust(pool_id, amr="authenticated"))
    assert "Not authorized to perform sts:AssumeRoleWithWebIdentity" in why_not()
    iam.update_assume_role_policy(RoleName="r", PolicyDocument=trust(pool_id))
    assert get()["Credentials"]["AccessKeyId"].startswith("ASIA")


def test_the_roles_of_a_pool_are_kept_until_the_pool_goes(stand: Any, make_guest: Any) -> None:
    """What was set is what is answered."""
    guest = make_guest()
    cognito = stand.client("cognito-identity")

    roles = cognito.get_identity_pool_roles(IdentityPoolId=guest["pool_id"])
    assert roles["Roles"] == {"unauthenticated": guest["role"]["Arn"]}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"Roles": {"guests": "arn:aws:iam::111122223333:role/r"}}, "InvalidParameterException"),
        ({"Roles": {"unauthenticated": "arn:aws:iam::999999999999:role/r"}}, "InvalidParameterException"),
        ({"Roles": {}, "RoleMappings": {"x": {"Type": "Token"}}}, "NotImplemented"),
    ],
)
def test_roles_that_could_not_work_are_refused(
    stand: Any, make_guest: Any, arguments: dict[str, Any], code: str
) -> None:
    """An unknown kind, another account's role, and mappings, which are not served."""
    cognito, pool_id = stand.client("cognito-identity"), make_guest()["pool_id"]

    assert error_of(lambda: cognito.set_identity_pool_roles(IdentityPoolId=pool_id, **arguments))[0] == code


def test_what_is_not_a_guests_way_is_refused_by_name(stand: Any, make_guest: Any) -> None:
    """Logins, custom roles and the classic flow are not taken for a guest's request."""
    guest = make_guest()
    cognito = stand.client("cognito-identity")
    identity_id, logins = guest["identity_id"], {"accounts.example.com": "token"}
    calls = [
        lambda: cognito.get_id(IdentityPoolId=guest["pool_id"], Logins=logins),
        lambda: cognito.get_credentials_for_identity(IdentityId=identity_id, Logins=logins),
        lambda: cognito.get_credentials_for_identity(IdentityId=identity_id, CustomRoleArn=guest["role"]["Arn"]),
        lambda: cognito.get_open_id_token(IdentityId=identity_id),
        lambda: cognito.create_identity_pool(
            IdentityPoolName="q", AllowUnauthenticatedIdentities=True, AllowClassicFlow=True
        ),
    ]

    for call in calls:
        code, message = error_of(call)
        assert (code, message.endswith("is not served yet")) == ("NotImplemented", True)


def test_input_that_does_not_fit_the_model_is_refused(stand: Any) -> None:
    """As AWS words it, before anything is looked up."""
    cognito = stand.client("cognito-identity")

    assert error_of(lambda: cognito.get_id(IdentityPoolId="nonsense"))[0] == "InvalidParameterException"
    status, _, body = stand.post(b"{}", X_Amz_Target="AWSCognitoIdentityService.GetId")
    assert (status, b"Member must not be null" in body) == (400, True)


def test_sessions_end_with_their_role(stand: Any, make_guest: Any) -> None:
    """A role that is deleted takes its sessions along, here and at the broker."""
    guest = make_guest({"Effect": "Allow", "Action": "*", "Resource": "*"})
    iam = stand.client("iam")
    iam.delete_role_policy(RoleName="guest", PolicyName="allowed")
    iam.delete_role(RoleName="guest")

    code, _ = error_of(stand.client("sts", guest["credentials"]).get_caller_identity)
    assert code == "InvalidClientTokenId"
    assert guest["credentials"]["AccessKeyId"] not in stand.broker.snapshot.credentials
    assert guest["role"]["Arn"] not in stand.broker.snapshot.roles
