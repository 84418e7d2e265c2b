"""Lists come page by page, and guests with their age."""

from __future__ import annotations

import json
from itertools import chain
from typing import TYPE_CHECKING, Any

import botocore.exceptions
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

DOCUMENT = json.dumps(
    {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "iot:Connect", "Resource": "*"}}
)


def error_of(call: Callable[[], object]) -> tuple[str, str]:
    """Return code and message of a call that is refused."""
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        call()
    return caught.value.response["Error"]["Code"], caught.value.response["Error"]["Message"]


def pages_of(client: Any, operation: str, member: str, key: str | None, **parameters: Any) -> list[list[str]]:
    """List by pages of two."""
    pages = client.get_paginator(operation).paginate(**parameters, PaginationConfig={"PageSize": 2})
    return [[each if key is None else each[key] for each in page[member]] for page in pages]


@pytest.fixture
def registry(stand: Any) -> dict[str, Any]:
    """Three certificates with three policies each, and three things with all of them."""
    iot = stand.client("iot")
    arns = [iot.create_keys_and_certificate()["certificateArn"] for _ in range(3)]
    for number in range(3):
        iot.create_policy(policyName=f"p{number}", policyDocument=DOCUMENT)
        iot.create_thing(thingName=f"t{number}")
        for arn in arns:
            iot.attach_policy(policyName=f"p{number}", target=arn)
            iot.attach_thing_principal(thingName=f"t{number}", principal=arn)
    return {"iot": iot, "arns": sorted(arns)}


@pytest.mark.parametrize(
    ("operation", "member", "key", "parameters", "wanted"),
    [
        ("list_certificates", "certificates", "certificateArn", {}, "arns"),
        ("list_policies", "policies", "policyName", {}, "p"),
        ("list_targets_for_policy", "targets", None, {"policyName": "p0"}, "arns"),
        ("list_attached_policies", "policies", "policyName", {"target": None}, "p"),
        ("list_principal_things", "things", None, {"principal": None}, "t"),
        ("list_thing_principals", "principals", None, {"thingName": "t0"}, "arns"),
    ],
)
def test_lists_of_iot_come_in_pages(
    registry: dict[str, Any], operation: str, member: str, key: str | None, parameters: dict[str, Any], wanted: str
) -> None:
    """As many as were asked for, then the rest, each once."""
    arns = registry["arns"]
    given = {name: value or arns[0] for name, value in parameters.items()}

    pages = pages_of(registry["iot"], operation, member, key, **given)

    assert [len(page) for page in pages] == [2, 1]
    assert sorted(chain.from_iterable(pages)) == (
        arns if wanted == "arns" else [f"{wanted}{number}" for number in range(3)]
    )


def test_without_a_size_all_come_at_once(registry: dict[str, Any]) -> None:
    """And no token."""
    answer = registry["iot"].list_policies()

    assert ([each["policyName"] for each in answer["policies"]], "nextMarker" in answer) == (["p0", "p1", "p2"], False)


def test_a_marker_that_was_made_up_is_refused(registry: dict[str, Any]) -> None:
    """By its own name, with the service's own error."""
    code, message = error_of(lambda: registry["iot"].list_policies(marker="/w=="))

    assert (code, message) == ("InvalidRequestException", "marker is not one that ListPolicies answered")


def test_pools_come_in_pages(stand: Any) -> None:
    """Of no more than were asked for."""
    cognito = stand.client("cognito-identity")
    made = {
        cognito.create_identity_pool(IdentityPoolName=f"p{number}", AllowUnauthenticatedIdentities=True)[
            "IdentityPoolId"
        ]
        for number in range(3)
    }

    pages = pages_of(cognito, "list_identity_pools", "IdentityPools", "IdentityPoolId")

    assert ([len(page) for page in pages], set(chain.from_iterable(pages))) == ([2, 1], made)
    ask = cognito.list_identity_pools
    assert error_of(lambda: ask(MaxResults=1, NextToken="/w=="))[0] == "InvalidParameterException"


def test_guests_come_in_pages_with_the_time_they_were_made(stand: Any, make_guest: Any) -> None:
    """By which who sweeps knows how old they are; DescribeIdentity tells the same of one."""
    cognito = stand.client("cognito-identity")
    guest = make_guest()
    made = {guest["identity_id"], *(cognito.get_id(IdentityPoolId=guest["pool_id"])["IdentityId"] for _ in range(2))}

    first = cognito.list_identities(IdentityPoolId=guest["pool_id"], MaxResults=2)
    rest = cognito.list_identities(IdentityPoolId=guest["pool_id"], MaxResults=2, NextToken=first["NextToken"])

    assert (len(first["Identities"]), "NextToken" in rest) == (2, False)
    listed = {each["IdentityId"]: each["CreationDate"] for each in first["Identities"] + rest["Identities"]}
    assert listed.keys() == made
    described = cognito.describe_identity(IdentityId=guest["identity_id"])
    assert described["CreationDate"] == listed[guest["identity_id"]]
    assert described["CreationDate"].timestamp() <= guest["credentials"]["Expiration"].timestamp() - 3_600


def test_a_deleted_guest_gets_no_more_credentials(stand: Any, make_guest: Any) -> None:
    """What it has stays valid until it expires; others of the pool stay, and deleting it again is no error."""
    allowed = {"Effect": "Allow", "Action": "iot:Connect", "Resource": "*"}
    guest = make_guest(allowed)
    cognito = stand.client("cognito-identity")
    other = cognito.get_id(IdentityPoolId=guest["pool_id"])["IdentityId"]

    for _ in range(2):
        answer = cognito.delete_identities(IdentityIdsToDelete=[guest["identity_id"]])
        assert answer["UnprocessedIdentityIds"] == []

    listed = cognito.list_identities(IdentityPoolId=guest["pool_id"], MaxResults=60)["Identities"]
    assert [each["IdentityId"] for each in listed] == [other]
    ask = cognito.get_credentials_for_identity
    assert error_of(lambda: ask(IdentityId=guest["identity_id"]))[0] == "ResourceNotFoundException"
    assert (
        error_of(lambda: cognito.describe_identity(IdentityId=guest["identity_id"]))[0] == "ResourceNotFoundException"
    )
    assert stand.client("sts", guest["credentials"]).get_caller_identity()["Account"] == stand.config.account_id
    assert guest["credentials"]["AccessKeyId"] in stand.broker.snapshot.credentials


def test_deleting_guests_needs_permission(stand: Any, make_guest: Any, make_user: Any) -> None:
    """A guest may not delete anybody; a user may who is allowed to."""
    guest = make_guest()
    wanted = [guest["identity_id"]]
    as_guest = stand.client("cognito-identity", guest["credentials"])
    as_nobody = stand.client("cognito-identity", make_user(name="nobody"))
    allowed = {"Effect": "Allow", "Action": "cognito-identity:DeleteIdentities", "Resource": "*"}
    as_sweeper = stand.client("cognito-identity", make_user(allowed, name="sweeper"))

    for client in (as_guest, as_nobody):
        ask = client.delete_identities
        assert error_of(lambda ask=ask: ask(IdentityIdsToDelete=wanted))[0] == "AccessDeniedException"
    assert as_sweeper.delete_identities(IdentityIdsToDelete=wanted)["UnprocessedIdentityIds"] == []
