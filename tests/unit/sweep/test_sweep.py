"""What a sweep takes, and what it leaves alone, in a stand-in."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from harness.sweep.finding import PAGES
from harness.sweep.found import Criteria
from harness.sweep.sweeping import Removal, look, remove
from harness.targets.names import make_run_id

if TYPE_CHECKING:
    from harness.sweep.accounts import Account

DOCUMENT = json.dumps(
    {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "iot:Connect", "Resource": "*"}}
)
TRUST = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": {"Effect": "Allow", "Principal": {"Service": "iot.amazonaws.com"}, "Action": "sts:AssumeRole"},
    }
)
KINDS = {
    "rule",
    "destination",
    "certificate",
    "thing",
    "policy",
    "identity pool",
    "role",
    "table",
    "queue",
}


def test_everything_of_a_dead_run_is_found_and_removed(leaver: Any, sweep: Any, run_id: str) -> None:
    """Each kind; and a second sweep finds nothing more."""
    left = leaver.everything(run_id)
    assert {kind for kind, _ in left.names} == KINDS

    swept = sweep("--delete")

    assert (swept.code, left.names - swept.of("removed")) == (0, set())
    assert sweep().of("would-go") == set()


def test_a_dry_run_lists_the_same_and_changes_nothing(leaver: Any, sweep: Any, run_id: str) -> None:
    """It is what happens without --delete; whose it is and since when it has expired are told."""
    left = leaver.everything(run_id)

    first, second = sweep(), sweep()

    assert first.code == 0
    assert first.of("would-go") >= left.names
    assert second.told == first.told
    mine = [each for each in first.told if each.get("run") == run_id]
    assert {each["expires_at"] for each in mine} == {left.mark.tags["thingwright:expires"]}
    assert sweep("--delete").of("removed") >= left.names


def test_what_has_no_mark_or_has_not_expired_stays(leaver: Any, sweep: Any, run_id: str) -> None:
    """The twin that has expired goes by the same sweep; the other only when its run is named."""
    dead, alive = leaver.everything(run_id), leaver.everything(make_run_id())
    leaver.iot.create_thing(thingName="somebody-elses")
    other_id, other_arn = leaver.certificate(None)
    leaver.iot.attach_thing_principal(thingName="somebody-elses", principal=other_arn)

    swept = sweep("--delete")

    assert (swept.code, swept.of("removed") & (dead.names | alive.names)) == (0, dead.names)
    assert swept.of("stays") >= alive.names
    named = sweep("--delete", "--run", alive.run_id.upper())
    assert named.of("removed") == alive.names
    assert leaver.iot.describe_thing(thingName="somebody-elses")["thingName"] == "somebody-elses"
    assert leaver.iot.describe_certificate(certificateId=other_id)["certificateDescription"]["status"] == "ACTIVE"


def test_tags_count_where_the_name_says_nothing(leaver: Any, sweep: Any, run_id: str) -> None:
    """Of policies, rules, pools, roles, tables and queues."""
    left = leaver.of(run_id)
    tags, plain = left.tags, f"plain-{run_id[2:10]}"  # no mark: its second half is missing
    leaver.iot.create_policy(policyName=plain, policyDocument=DOCUMENT, tags=tags)
    header = "&".join(f"{each['Key']}={each['Value']}" for each in tags)
    rule_name, url = plain.replace("-", "_"), f"https://localhost:9/{plain}"
    payload = {"sql": "SELECT * FROM 'a'", "actions": [{"http": {"url": url, "confirmationUrl": url}}]}
    leaver.iot.create_topic_rule(ruleName=rule_name, topicRulePayload=payload, tags=header)
    pool_id = leaver.pool(tags=left.mark.tags)
    leaver.iam.create_role(RoleName=plain, AssumeRolePolicyDocument=TRUST, Tags=tags)
    leaver.table(left, TableName=plain, Tags=tags)
    queue_url = leaver.queue(left, QueueName=plain, tags=left.mark.tags)

    removed = sweep("--delete").of("removed")

    assert removed >= {
        ("policy", plain),
        ("rule", rule_name),
        ("identity pool", pool_id),
        ("role", plain),
        ("table", plain),
        ("queue", queue_url),
    }


def test_a_certificate_without_a_mark_goes_with_its_thing(leaver: Any, sweep: Any, run_id: str) -> None:
    """AWS makes the subject of certificates whose key it makes; the thing's name is all there is."""
    left = leaver.of(run_id)
    thing_name = leaver.thing(left)
    certificate_id, arn = leaver.certificate(None)
    leaver.iot.attach_thing_principal(thingName=thing_name, principal=arn)

    assert ("certificate", certificate_id) in sweep("--delete").of("removed")


def test_a_certificate_that_something_else_uses_stays(leaver: Any, sweep: Any, run_id: str) -> None:
    """Its thing goes; when the other thing lets go of it, it goes as well."""
    left = leaver.of(run_id)
    thing_name, arn = leaver.device(left)
    certificate = ("certificate", arn.rpartition("/")[2])
    leaver.iot.create_thing(thingName="living")
    leaver.iot.attach_thing_principal(thingName="living", principal=arn)

    first = sweep("--delete")

    assert first.of("removed") == {("thing", thing_name)}
    assert [each["because"] for each in first.told if (each["kind"], each["name"]) == certificate] == [
        "in use by thing living"
    ]
    leaver.iot.detach_thing_principal(thingName="living", principal=arn)
    assert sweep("--delete").of("removed") == {certificate}


@pytest.mark.parametrize("is_tagged", [True, False])
def test_guests_go_by_age_from_pools_that_are_swept(leaver: Any, sweep: Any, is_tagged: bool) -> None:  # noqa: FBT001 - parametrized
    """Tagged, or named on the command line; all pages of them; of no other pool, and none that is younger."""
    pool_id = leaver.pool(tags={"thingwright:guests": "swept"} if is_tagged else {})
    other_id = leaver.pool()
    guests, others = leaver.guests(pool_id, 130), leaver.guests(other_id, 1)
    named = () if is_tagged else ("--identity-pool-id", pool_id)

    assert sweep(*named, "--delete").of("removed") == set()  # two hours old they must be
    swept = sweep(*named, "--delete", "--older-than", "0s")

    assert swept.of("removed") == {("identity", each) for each in guests}
    assert leaver.cognito_identity.list_identities(IdentityPoolId=pool_id, MaxResults=60)["Identities"] == []
    listed = leaver.cognito_identity.list_identities(IdentityPoolId=other_id, MaxResults=60)["Identities"]
    assert [each["IdentityId"] for each in listed] == others


def test_all_pages_are_looked_at(leaver: Any, sweep: Any, run_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two each, as an account with thousands has them."""
    monkeypatch.setitem(PAGES, "PaginationConfig", {"PageSize": 2})
    left = leaver.of(run_id)
    for _ in range(5):
        leaver.device(left)
        for leave in (leaver.policy, leaver.rule, leaver.destination):
            leave(left)

    assert sweep("--delete").of("removed") == left.names


def test_two_sweeps_at_once_remove_everything_and_neither_fails(leaver: Any, sweep: Any, run_id: str) -> None:
    """What one has removed is fine with the other."""
    left = leaver.of(run_id)
    policy_name = leaver.policy(left)
    for _ in range(10):
        leaver.device(left, policy_name)
    for leave in (leaver.rule, leaver.pool, leaver.role, leaver.table, leaver.queue):
        leave(left)
    start = threading.Barrier(2)

    def remove_all(account: Account) -> list[Removal]:
        criteria = Criteria(now=time.time())
        finding = look(account, criteria)
        start.wait()
        return list(remove(account, finding.due))

    with ThreadPoolExecutor(2) as threads:
        both = list(threads.map(remove_all, [leaver.account, leaver.account]))

    for removals in both:
        assert {(each.found.kind.value, each.found.name) for each in removals} == left.names
        assert [each for each in removals if each.outcome == "left"] == []
    assert sweep().of("would-go") == set()


@pytest.mark.parametrize(
    ("kind", "service", "operation", "code"),
    [
        ("certificate", "iot", "DeleteCertificate", "DeleteConflictException"),
        ("certificate", "iot", "DetachPolicy", "ThrottlingException"),
        ("policy", "iot", "DeletePolicy", "DeleteConflictException"),
        ("thing", "iot", "DeleteThing", "ThrottlingException"),
        ("rule", "iot", "DeleteTopicRule", "ConflictingResourceUpdateException"),
        ("role", "iam", "DeleteRole", "DeleteConflict"),
        ("identity pool", "cognito-identity", "DeleteIdentityPool", "TooManyRequestsException"),
        ("table", "dynamodb", "DeleteTable", "LimitExceededException"),
        ("queue", "sqs", "DeleteQueue", "RequestThrottled"),
    ],
)
def test_conflicts_and_throttling_pass(
    leaver: Any, sweep: Any, set_fault: Any, run_id: str, *, kind: str, service: str, operation: str, code: str
) -> None:
    """The call is made again until it succeeds."""
    left = leaver.everything(run_id)
    set_fault(service, operation, code, times=3)

    swept = sweep("--delete")

    assert (swept.code, left.names - swept.of("removed")) == (0, set())
    assert kind in {each for each, _ in swept.of("removed")}


def test_what_is_refused_is_left_and_does_not_keep_the_rest(
    leaver: Any, sweep: Any, set_fault: Any, run_id: str
) -> None:
    """Exit code 1, with the reason; the next sweep takes it."""
    left = leaver.everything(run_id)
    role_name = next(name for kind, name in left.names if kind == "role")
    set_fault("iam", "DeleteRole", "AccessDenied", contains=role_name, status=403)

    swept = sweep("--delete")

    assert swept.code == 1
    assert (swept.of("left"), swept.of("removed")) == ({("role", role_name)}, left.names - {("role", role_name)})
    assert ["AccessDenied" in each["because"] for each in swept.told if each["outcome"] == "left"] == [True]
    again = sweep("--delete")
    assert (again.code, again.of("removed")) == (0, {("role", role_name)})


def test_guests_that_cognito_does_not_delete_are_left(leaver: Any, sweep: Any, set_fault: Any) -> None:
    """They are listed one by one."""
    pool_id = leaver.pool()
    guests = leaver.guests(pool_id, 3)
    set_fault("cognito-identity", "DeleteIdentities", "NotAuthorizedException", times=5)

    swept = sweep("--delete", "--older-than", "0s", "--identity-pool-id", pool_id)

    assert (swept.code, swept.of("left")) == (1, {("identity", each) for each in guests})


def test_a_service_that_is_not_served_is_no_failure(leaver: Any, sweep: Any, set_fault: Any, run_id: str) -> None:
    """As with an emulator that has no queues: it is told, and the rest goes."""
    left = leaver.of(run_id)
    name = leaver.thing(left)
    set_fault("sqs", "ListQueues", "NotImplemented", status=501, times=10)

    swept = sweep("--delete")

    assert (swept.code, swept.of("removed")) == (0, {("thing", name)})
    assert [each["kind"] for each in swept.told if each["outcome"] == "not-offered"] == ["queues"]


def test_a_list_that_is_refused_is_a_failure(leaver: Any, sweep: Any, set_fault: Any, run_id: str) -> None:
    """Something may be left there; the rest goes all the same."""
    left = leaver.of(run_id)
    name = leaver.thing(left)
    set_fault("iam", "ListRoles", "AccessDenied", status=403)

    swept = sweep("--delete")

    assert (swept.code, swept.of("removed")) == (1, {("thing", name)})
    assert [each["kind"] for each in swept.told if each["outcome"] == "failed"] == ["roles"]


def test_tags_that_are_not_served_are_no_failure(leaver: Any, sweep: Any, set_fault: Any, run_id: str) -> None:
    """Names still say it."""
    left = leaver.of(run_id)
    leaver.iot.create_policy(policyName=f"unmarked-{run_id[2:10]}", policyDocument=DOCUMENT)
    name = leaver.policy(left)
    set_fault("iot", "ListTagsForResource", "NotImplemented", status=501, times=10)

    swept = sweep("--delete")

    assert (swept.code, swept.of("removed")) == (0, {("policy", name)})
