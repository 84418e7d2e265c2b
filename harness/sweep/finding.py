"""What has a mark in AWS IoT: things, certificates, policies, rules, destinations.

A name says it; policies and rules whose name does not are asked for their tags. A certificate has neither: a run writes
the thing's name into its subject, and the things that it is attached to have names. AWS IoT lists no subjects, so each
certificate of the account is asked for.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError
from cryptography import x509
from cryptography.x509.oid import NameOID

from harness.sweep.found import Found, Kind
from harness.sweep.listing import is_gone, is_not_offered, list_all, side_by_side
from harness.targets.marks import TAG_RUN, Mark, find_mark

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from harness.sweep.accounts import Account
    from harness.sweep.found import Criteria

_PAGE: Final = 250
"""The largest page of AWS IoT's lists."""

PAGES: Final[Mapping[str, Any]] = {"PaginationConfig": {"PageSize": _PAGE}}


def find_things(account: Account, _criteria: Criteria) -> Iterator[Found]:
    """Find things by their names."""
    for thing in list_all(account.client("iot"), "list_things", "things", **PAGES):
        if mark := find_mark(thing["thingName"]):
            yield Found(kind=Kind.THING, name=thing["thingName"], mark=mark)


def find_certificates(account: Account, criteria: Criteria) -> Iterator[Found]:
    """Find certificates by their subject, or by the things that they are attached to.

    One that is attached to a thing that stays is in use, whatever its subject says.
    """
    iot = account.client("iot")
    things = [found.name for found in find_things(account, criteria)]
    attached = {
        principal.rpartition("/")[2]
        for principals in side_by_side(partial(_principals_of, iot), things)
        for principal in principals
        if ":cert/" in principal
    }
    listed = {
        each["certificateId"]: each["certificateArn"]
        for each in list_all(iot, "list_certificates", "certificates", **PAGES)
    }

    def look(certificate_id: str) -> Found | None:
        mark = _subject_mark(iot, certificate_id)
        if mark is None and certificate_id not in attached:
            return None
        holders = _things_of(iot, listed[certificate_id])
        marks = {name: find_mark(name) for name in holders}
        mark = mark or next((each for each in marks.values() if each is not None), None)
        if mark is None:  # detached meanwhile
            return None
        using = next((name for name, its in marks.items() if its is None or not criteria.is_over(its)), None)
        held_by = None if using is None else f"thing {using}"
        return Found(kind=Kind.CERTIFICATE, name=certificate_id, mark=mark, held_by=held_by)

    yield from (found for found in side_by_side(look, listed) if found is not None)


def find_policies(account: Account, _criteria: Criteria) -> Iterator[Found]:
    """Find IoT policies by name or tag."""
    iot = account.client("iot")
    listed = [(each["policyName"], each["policyArn"]) for each in list_all(iot, "list_policies", "policies", **PAGES)]
    yield from find_named(Kind.POLICY, listed, partial(_iot_tags, iot))


def find_rules(account: Account, _criteria: Criteria) -> Iterator[Found]:
    """Find topic rules by name or tag."""
    iot = account.client("iot")
    listed = [(each["ruleName"], each["ruleArn"]) for each in list_all(iot, "list_topic_rules", "rules", **PAGES)]
    yield from find_named(Kind.RULE, listed, partial(_iot_tags, iot))


def find_destinations(account: Account, _criteria: Criteria) -> Iterator[Found]:
    """Find destinations of HTTP actions by the URL that they confirm."""
    listed = list_all(account.client("iot"), "list_topic_rule_destinations", "destinationSummaries", **PAGES)
    for each in listed:
        url = (each.get("httpUrlSummary") or {}).get("confirmationUrl") or ""
        if mark := find_mark(url):
            yield Found(kind=Kind.DESTINATION, name=each["arn"], mark=mark)


def find_named(
    kind: Kind, listed: Iterable[tuple[str, str]], read_tags: Callable[[str], Mapping[str, str]]
) -> Iterator[Found]:
    """Find what has a mark in its name or, asking only for those that do not, in its tags.

    Args:
        kind: what they are.
        listed: name, and what its tags are asked for with.
        read_tags: asks for the tags.
    """

    def look(one: tuple[str, str]) -> Found | None:
        name, key = one
        mark = find_mark(name) or marked_by(_asked(read_tags, key))
        return Found(kind=kind, name=name, mark=mark) if mark is not None else None

    yield from (found for found in side_by_side(look, listed) if found is not None)


def marked_by(tags: Mapping[str, str]) -> Mark | None:
    """Return the mark that tags hold; None when they hold none."""
    return find_mark(tags.get(TAG_RUN, ""))


def _asked(read_tags: Callable[[str], Mapping[str, str]], key: str) -> Mapping[str, str]:
    """Ask for tags; what is gone meanwhile, and what cannot have any there, has none."""
    try:
        return read_tags(key)
    except ClientError as error:
        if is_gone(error) or is_not_offered(error):
            return {}
        raise


def _iot_tags(iot: Any, arn: str) -> dict[str, str]:
    return {
        each["Key"]: each.get("Value", "") for each in list_all(iot, "list_tags_for_resource", "tags", resourceArn=arn)
    }


def _principals_of(iot: Any, thing_name: str) -> list[str]:
    return _or_none(lambda: list(list_all(iot, "list_thing_principals", "principals", thingName=thing_name)))


def _things_of(iot: Any, certificate_arn: str) -> list[str]:
    return _or_none(lambda: list(list_all(iot, "list_principal_things", "things", principal=certificate_arn)))


def _or_none(ask: Callable[[], list[str]]) -> list[str]:
    """Ask for a list of something that may be gone meanwhile: nothing is left of it then."""
    try:
        return ask()
    except ClientError as error:
        if is_gone(error):
            return []
        raise


def _subject_mark(iot: Any, certificate_id: str) -> Mark | None:
    try:
        described = iot.describe_certificate(certificateId=certificate_id)["certificateDescription"]
    except ClientError as error:
        if is_gone(error):
            return None
        raise
    try:
        certificate = x509.load_pem_x509_certificate(described.get("certificatePem", "").encode())
        names = [str(each.value) for each in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    except ValueError:  # what an emulator made up, or a subject that nobody can read: none of ours
        return None
    return find_mark(" ".join(names))
