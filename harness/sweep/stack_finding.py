"""What has a mark beside AWS IoT: what a stack is made of that was deployed for one run, and guests.

Guests have neither name nor tag. They are looked for only in identity pools that say by the tag ``thingwright:guests``
= ``swept``, or whose id was given, that whoever is in there for long enough may go.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from harness.sweep.finding import find_named, marked_by
from harness.sweep.found import Found, Kind
from harness.sweep.listing import list_all, side_by_side
from harness.targets.marks import find_mark

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.sweep.accounts import Account
    from harness.sweep.found import Criteria

TAG_GUESTS: Final = "thingwright:guests"
"""Tag of an identity pool that serves tests only."""
SWEPT: Final = "swept"
"""Its value, where old guests may be removed."""

_PAGE: Final = 60
"""The largest page of Cognito's lists."""
_PATHS_OF_AWS: Final = ("/aws-service-role/", "/aws-reserved/")


def find_pools(account: Account, _criteria: Criteria) -> Iterator[Found]:
    """Find identity pools by name or tag."""
    cognito = account.client("cognito-identity")
    for pool_id, name, tags in _pools(cognito):
        if mark := find_mark(name) or marked_by(tags):
            yield Found(kind=Kind.POOL, name=pool_id, mark=mark)


def find_identities(account: Account, criteria: Criteria) -> Iterator[Found]:
    """Find guests who are old enough, in pools that are swept."""
    cognito = account.client("cognito-identity")
    tagged = {pool_id for pool_id, _, tags in _pools(cognito) if tags.get(TAG_GUESTS) == SWEPT}
    for pool_id in sorted(tagged | criteria.pools):
        for identity in _identities(cognito, pool_id):
            made = identity.get("CreationDate")
            if made is None:  # nobody can tell how old it is
                continue
            found = Found(kind=Kind.IDENTITY, name=identity["IdentityId"], mark=None, since=made.timestamp())
            if criteria.is_due(found):
                yield found


def find_roles(account: Account, _criteria: Criteria) -> Iterator[Found]:
    """Find IAM roles by name or tag; AWS's own are left out."""
    iam = account.client("iam")

    def tags_of(name: str) -> dict[str, str]:
        return {each["Key"]: each["Value"] for each in list_all(iam, "list_role_tags", "Tags", RoleName=name)}

    roles = list_all(iam, "list_roles", "Roles")
    names = [role["RoleName"] for role in roles if not role.get("Path", "/").startswith(_PATHS_OF_AWS)]
    yield from find_named(Kind.ROLE, [(name, name) for name in names], tags_of)


def find_tables(account: Account, _criteria: Criteria) -> Iterator[Found]:
    """Find DynamoDB tables by name or tag."""
    dynamodb = account.client("dynamodb")

    def tags_of(name: str) -> dict[str, str]:
        arn = dynamodb.describe_table(TableName=name)["Table"]["TableArn"]
        return {
            each["Key"]: each["Value"] for each in list_all(dynamodb, "list_tags_of_resource", "Tags", ResourceArn=arn)
        }

    names = list(list_all(dynamodb, "list_tables", "TableNames"))
    yield from find_named(Kind.TABLE, [(name, name) for name in names], tags_of)


def find_queues(account: Account, _criteria: Criteria) -> Iterator[Found]:
    """Find SQS queues by name or tag."""
    sqs = account.client("sqs")

    def tags_of(url: str) -> dict[str, str]:
        return dict(sqs.list_queue_tags(QueueUrl=url).get("Tags", {}))

    pages = {"PaginationConfig": {"PageSize": 1_000}}  # without a size SQS gives a thousand and no more
    urls = list(list_all(sqs, "list_queues", "QueueUrls", **pages))
    yield from find_named(Kind.QUEUE, [(url, url) for url in urls], tags_of)


def _pools(cognito: Any) -> list[tuple[str, str, dict[str, str]]]:
    """Give id, name and tags of every identity pool."""
    pages = {"PaginationConfig": {"PageSize": _PAGE}}
    listed = [
        (each["IdentityPoolId"], each["IdentityPoolName"])
        for each in list_all(cognito, "list_identity_pools", "IdentityPools", **pages)
    ]
    described = side_by_side(partial(_pool_tags, cognito), [pool_id for pool_id, _ in listed])
    return [(pool_id, name, tags) for (pool_id, name), tags in zip(listed, described, strict=True)]


def _pool_tags(cognito: Any, pool_id: str) -> dict[str, str]:
    try:
        described = cognito.describe_identity_pool(IdentityPoolId=pool_id)
    except cognito.exceptions.ResourceNotFoundException:  # deleted meanwhile
        return {}
    return dict(described.get("IdentityPoolTags") or {})


def _identities(cognito: Any, pool_id: str) -> Iterator[dict[str, Any]]:
    """Give the identities of a pool; boto3 has no paginator for them."""
    token: dict[str, str] = {}
    while True:
        page = cognito.list_identities(IdentityPoolId=pool_id, MaxResults=_PAGE, HideDisabled=False, **token)
        yield from page.get("Identities", ())
        if not page.get("NextToken"):
            return
        token = {"NextToken": page["NextToken"]}
