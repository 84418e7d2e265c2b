"""Tags of policies, rules and identity pools."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import botocore.exceptions
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

DOCUMENT = json.dumps(
    {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "iot:Connect", "Resource": "*"}}
)
URL = "https://localhost:9/a"
PAYLOAD = {"sql": "SELECT * FROM 'a'", "actions": [{"http": {"url": URL, "confirmationUrl": URL}}]}
RUN = {"Key": "thingwright:run", "Value": "tw1"}


def error_of(call: Callable[[], object]) -> tuple[str, int]:
    """Return code and status of a call that is refused."""
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        call()
    response = caught.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


@pytest.fixture
def iot(stand: Any) -> Any:
    """The account's root as a client of ``iot``."""
    return stand.client("iot")


def tags_of(iot: Any, arn: str) -> dict[str, str]:
    """Ask for something's tags."""
    return {each["Key"]: each["Value"] for each in iot.list_tags_for_resource(resourceArn=arn)["tags"]}


def make_policy(iot: Any, *tags: dict[str, str]) -> str:
    """Make a policy and give its ARN."""
    arn: str = iot.create_policy(policyName="p", policyDocument=DOCUMENT, tags=list(tags))["policyArn"]
    return arn


def make_rule(iot: Any, tags: str = "") -> str:
    """Make a rule and give its ARN."""
    iot.create_topic_rule(ruleName="r", topicRulePayload=PAYLOAD, **({"tags": tags} if tags else {}))
    arn: str = iot.get_topic_rule(ruleName="r")["ruleArn"]
    return arn


def test_what_a_policy_is_made_with_is_listed(iot: Any) -> None:
    """And added to, changed, taken away."""
    arn = make_policy(iot, RUN)
    assert tags_of(iot, arn) == {"thingwright:run": "tw1"}

    iot.tag_resource(resourceArn=arn, tags=[{"Key": "a", "Value": "1"}, {"Key": "thingwright:run", "Value": "tw2"}])
    assert tags_of(iot, arn) == {"a": "1", "thingwright:run": "tw2"}

    iot.untag_resource(resourceArn=arn, tagKeys=["a", "never there"])
    assert tags_of(iot, arn) == {"thingwright:run": "tw2"}


def test_a_rules_tags_come_in_a_header(iot: Any) -> None:
    """Percent-encoded, as in a query string."""
    arn = make_rule(iot, "thingwright%3Arun=tw1&empty=&two%20words=a%26b")

    assert tags_of(iot, arn) == {"thingwright:run": "tw1", "empty": "", "two words": "a&b"}


def test_tags_go_with_what_has_them(iot: Any) -> None:
    """Another of the same name begins without."""
    policy_arn, rule_arn = make_policy(iot, RUN), make_rule(iot, "a=b")
    iot.delete_policy(policyName="p")
    iot.delete_topic_rule(ruleName="r")

    for arn in (policy_arn, rule_arn):
        assert error_of(lambda arn=arn: tags_of(iot, arn)) == ("ResourceNotFoundException", 404)
    assert tags_of(iot, make_policy(iot)) == {}
    assert tags_of(iot, make_rule(iot)) == {}


def test_a_policy_that_stays_keeps_its_tags(iot: Any) -> None:
    """Neither a deletion that is refused nor a second one of its name changes them."""
    arn = make_policy(iot, RUN)
    certificate_arn = iot.create_keys_and_certificate()["certificateArn"]
    iot.attach_policy(policyName="p", target=certificate_arn)

    assert error_of(lambda: iot.delete_policy(policyName="p"))[0] == "DeleteConflictException"
    assert error_of(lambda: make_policy(iot))[0] == "ResourceAlreadyExistsException"
    assert tags_of(iot, arn) == {"thingwright:run": "tw1"}


@pytest.mark.parametrize(
    "tags",
    [
        [RUN, RUN],
        [{"Key": "aws:mine", "Value": "1"}],
        [{"Key": f"k{number}", "Value": "v"} for number in range(51)],
        [{"Key": "k", "Value": "v" * 257}],
    ],
)
def test_tags_that_aws_does_not_take_are_refused(iot: Any, tags: list[dict[str, str]]) -> None:
    """Twice the same key, one of AWS's own, too many, too long; nothing is made of it."""
    assert error_of(lambda: make_policy(iot, *tags)) == ("InvalidRequestException", 400)
    assert iot.list_policies()["policies"] == []
    header = "&".join(f"{each['Key']}={each['Value']}" for each in tags)
    assert error_of(lambda: make_rule(iot, header)) == ("InvalidRequestException", 400)
    assert iot.list_topic_rules()["rules"] == []


@pytest.mark.parametrize("header", ["a", "a=1&b", "=1", "%ff=1"])
def test_a_header_that_holds_no_tags_is_refused(iot: Any, header: str) -> None:
    """No value, no key, no UTF-8."""
    assert error_of(lambda: make_rule(iot, header)) == ("InvalidRequestException", 400)


def test_a_resource_has_fifty_tags_at_most(iot: Any) -> None:
    """However they were added; changing one that it has is no addition."""
    arn = make_policy(iot, *({"Key": f"k{number}", "Value": "v"} for number in range(50)))

    more = [{"Key": "one more", "Value": "v"}]
    assert error_of(lambda: iot.tag_resource(resourceArn=arn, tags=more)) == ("LimitExceededException", 410)
    iot.tag_resource(resourceArn=arn, tags=[{"Key": "k1", "Value": "new"}])
    assert tags_of(iot, arn)["k1"] == "new"


def test_what_cannot_be_tagged_is_refused(iot: Any, stand: Any) -> None:
    """Things and certificates have no tags on AWS either; other accounts are none of ours."""
    iot.create_thing(thingName="t")
    prefix = f"arn:aws:iot:{stand.config.region}:{stand.config.account_id}:"
    elsewhere = f"arn:aws:iot:{stand.config.region}:999999999999:policy/p"

    for arn in (f"{prefix}thing/t", f"{prefix}cert/{'0' * 64}", elsewhere, "p"):
        assert error_of(lambda arn=arn: tags_of(iot, arn)) == ("InvalidRequestException", 400)


def test_tagging_needs_permission_for_the_resource(iot: Any, stand: Any, make_user: Any) -> None:
    """By its ARN, and by action: reading is not writing."""
    arn = make_policy(iot, RUN)
    allowed = {"Effect": "Allow", "Action": "iot:ListTagsForResource", "Resource": arn}
    user = stand.client("iot", make_user(allowed))
    other = iot.create_policy(policyName="other", policyDocument=DOCUMENT)["policyArn"]

    assert tags_of(user, arn) == {"thingwright:run": "tw1"}
    assert error_of(lambda: tags_of(user, other))[0] == "AccessDeniedException"
    assert error_of(lambda: user.tag_resource(resourceArn=arn, tags=[RUN]))[0] == "AccessDeniedException"
    assert error_of(lambda: user.untag_resource(resourceArn=arn, tagKeys=["a"]))[0] == "AccessDeniedException"


def test_a_header_of_tags_is_signed_and_comes_once(stand: Any) -> None:
    """It is input: nobody on the way may add it."""
    body = json.dumps(PAYLOAD).encode()
    signed = stand.sign("POST", "/rules/r", service="iot", body=body)

    status, _, answer = stand.post(body, path="/rules/r", **signed, x_amz_tagging="a=b")

    assert (status, b"x-amz-tagging" in answer) == (403, True)


def test_a_pools_tags_are_kept(stand: Any, make_user: Any) -> None:
    """Made with it, added, taken away; asked for by its ARN with permission for it."""
    cognito = stand.client("cognito-identity")
    pool_id = cognito.create_identity_pool(
        IdentityPoolName="p", AllowUnauthenticatedIdentities=True, IdentityPoolTags={"a": "1"}
    )["IdentityPoolId"]
    arn = f"arn:aws:cognito-identity:{stand.config.region}:{stand.config.account_id}:identitypool/{pool_id}"

    cognito.tag_resource(ResourceArn=arn, Tags={"b": "2", "c": "3"})
    cognito.untag_resource(ResourceArn=arn, TagKeys=["a"])

    assert cognito.list_tags_for_resource(ResourceArn=arn)["Tags"] == {"b": "2", "c": "3"}
    assert cognito.describe_identity_pool(IdentityPoolId=pool_id)["IdentityPoolTags"] == {"b": "2", "c": "3"}
    reserved = {"aws:a": "1"}
    assert error_of(lambda: cognito.tag_resource(ResourceArn=arn, Tags=reserved))[0] == "InvalidParameterException"
    allowed = {"Effect": "Allow", "Action": "cognito-identity:ListTagsForResource", "Resource": arn}
    user = stand.client("cognito-identity", make_user(allowed))
    assert user.list_tags_for_resource(ResourceArn=arn)["Tags"] == {"b": "2", "c": "3"}
    assert error_of(lambda: user.tag_resource(ResourceArn=arn, Tags={"d": "4"}))[0] == "AccessDeniedException"


def test_only_pools_of_this_account_have_tags(stand: Any) -> None:
    """Another account's ARN is refused, a pool that is gone is not found."""
    cognito = stand.client("cognito-identity")
    pool_id = f"{stand.config.region}:00000000-0000-0000-0000-000000000000"
    gone = f"arn:aws:cognito-identity:{stand.config.region}:{stand.config.account_id}:identitypool/{pool_id}"

    ask = cognito.list_tags_for_resource
    assert error_of(lambda: ask(ResourceArn=gone))[0] == "ResourceNotFoundException"
    elsewhere = gone.replace(stand.config.account_id, "999999999999")
    assert error_of(lambda: ask(ResourceArn=elsewhere))[0] == "InvalidParameterException"
