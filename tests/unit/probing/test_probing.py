"""What is there is found, what is missing is named, and nothing stays behind."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from harness.errors import ExpectationError, TargetUnavailable
from harness.probing import probe
from harness.probing.probes import in_words, shortened
from harness.targets.base import Capability

if TYPE_CHECKING:
    from harness.targets.base import Environment

PATIENCE = 20.0
TRIED = {
    Capability.GUESTS,
    Capability.DEVICES,
    Capability.OPERATOR,
    Capability.AUTHENTICATION,
    Capability.POLICY,
}


def test_everything_is_found_where_everything_is(environment: Environment) -> None:
    """The stand-in with its stack lacks nothing."""
    assert probe(environment, patience=PATIENCE) == {}


def test_probes_leave_nothing_behind(environment: Environment) -> None:
    """Things, certificates, policies and, where others use the account, guests are as they were before."""
    before = everything_of(environment)

    assert probe(replace(environment, is_shared=True), patience=PATIENCE) == {}

    assert everything_of(environment) == before


async def test_probing_works_beside_a_loop_that_runs(environment: Environment) -> None:
    """Whoever probes from within a coroutine is no different: the probes have a loop of their own."""
    assert asyncio.get_running_loop().is_running()

    assert probe(environment, patience=PATIENCE) == {}


def test_a_policy_that_allows_everything_is_none(open_environment: Environment) -> None:
    """Guests and devices get in, strangers do not, and still nobody is held back: POLICY alone is missing."""
    lacking = probe(open_environment, patience=PATIENCE)

    assert TRIED & lacking.keys() == {Capability.POLICY}
    assert lacking[Capability.POLICY] == "a guest was let in under a client id that its policy does not allow"


def test_an_unsigned_upgrade_that_is_let_in_is_named(without_signatures: Environment) -> None:
    """Guests who sign are served as ever; who does not sign is let in, and that is all that is missing."""
    lacking = probe(without_signatures, patience=PATIENCE)

    assert lacking == {Capability.AUTHENTICATION: "a WebSocket upgrade without a signature was let in"}


def test_an_inactive_certificate_that_is_let_in_is_named(without_statuses: Environment) -> None:
    """Where a certificate's status changes nothing, nobody is kept out by it."""
    lacking = probe(without_statuses, patience=PATIENCE)

    assert lacking == {Capability.AUTHENTICATION: "an INACTIVE certificate was let in"}


def test_a_broker_that_never_answers_takes_no_longer_than_patience(silent: Environment) -> None:
    """All that needs the broker is missing, and whoever asked knows soon: patience once to try and once to remove."""
    patience = 1.0
    before = everything_of(silent)
    begun = time.monotonic()

    lacking = probe(silent, patience=patience)

    assert time.monotonic() - begun < 2 * patience + 3.0
    assert lacking.keys() == TRIED
    assert lacking[Capability.GUESTS] == lacking[Capability.DEVICES] == "it took longer than 1 s"
    assert lacking[Capability.POLICY] == "GUESTS is missing: it took longer than 1 s"
    assert everything_of(silent) == before


def test_an_emulator_that_is_gone_has_nothing(environment: Environment) -> None:
    """Where nobody answers AWS calls either, every reason says so, and nothing is raised."""
    lacking = probe(replace(environment, control_plane_url="http://127.0.0.1:9"), patience=PATIENCE)

    assert lacking.keys() == TRIED
    assert lacking[Capability.DEVICES].startswith("Could not connect to the endpoint URL")


def test_what_was_not_deployed_is_missing_without_a_try(environment: Environment) -> None:
    """No admin API, no ready file, no rule, no destination: four reasons, and the rest is there."""
    outputs = replace(environment.outputs, rule_name=None, destination_arn=None)
    bare = replace(environment, stack_outputs=outputs, admin_url=None, admin_token=None, ready=None)

    assert probe(bare, patience=PATIENCE) == {
        Capability.TRACE: "there is no admin API",
        Capability.FAULTS: "there is no admin API",
        Capability.READY_FILE: "it was not started by `thingwright serve`",
        Capability.HTTP_ACTION: "the stack has no rule that posts to a receiver",
        Capability.DESTINATION_CONFIRMATION: "the stack has no destination of a rule",
    }


def test_without_a_stack_nothing_can_be_tried(environment: Environment) -> None:
    """Who has no identity pool and no device policy has neither guests nor devices."""
    lacking = probe(replace(environment, stack_outputs=None), patience=PATIENCE)

    assert {lacking[each] for each in TRIED} == {"no stack was deployed"}


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ExpectationError("heard nothing", near_misses=["heard this instead"]), "heard nothing"),
        (TargetUnavailable("x cannot reach y:1: Z."), "x cannot reach y:1: Z."),
        (
            ClientError({"Error": {"Code": "InvalidAction", "Message": "Unknown"}}, "GetId"),
            "An error occurred (InvalidAction) when calling the GetId operation: Unknown",
        ),
        (KeyError("endpointAddress"), "KeyError: 'endpointAddress'"),
        (RuntimeError(), "RuntimeError"),
    ],
)
def test_a_reason_is_one_line(error: Exception, words: str) -> None:
    """Of our own errors and AWS's the words are enough; of any other the type says more than the words."""
    assert in_words(error) == words


def test_a_reason_is_short() -> None:
    """A reason stands within a sentence and a table: no full stop, no line break, no more than can be read."""
    assert shortened("It is\n gone.") == "It is gone"
    assert len(shortened("x" * 500)) == 200


def everything_of(environment: Environment) -> dict[str, Any]:
    """Return what an account has of what probes make."""
    iot, cognito = environment.client("iot"), environment.client("cognito-identity")
    pool = environment.outputs.identity_pool_id
    return {
        "things": [each["thingName"] for each in iot.list_things()["things"]],
        "certificates": [each["certificateId"] for each in iot.list_certificates()["certificates"]],
        "policies": [each["policyName"] for each in iot.list_policies()["policies"]],
        "guests": [
            each["IdentityId"]
            for each in cognito.list_identities(IdentityPoolId=pool, MaxResults=60)["Identities"]
            if environment.is_shared
        ],
    }
