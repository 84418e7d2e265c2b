"""What is there is found, what is missing is named, and nothing stays behind."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, ReadTimeoutError

from harness.clients.device import Device
from harness.clients.identities import Identities
from harness.errors import ExpectationError, TargetUnavailable, TeardownError
from harness.probing import probe
from harness.probing.cast import Silence
from harness.probing.probes import in_words, reason_of, shortened
from harness.targets.base import Capability

if TYPE_CHECKING:
    from harness.targets.base import Environment

PATIENCE = 20.0
TRIED = {
    Capability.GUESTS,
    Capability.DEVICES,
    Capability.OPERATOR,
    Capability.AUTHENTICATION,
    Capability.CERTIFICATES,
    Capability.POLICY,
}


def test_everything_is_found_where_everything_is(environment: Environment) -> None:
    """The stand-in with its stack lacks nothing."""
    assert probe(environment, patience=PATIENCE) == {}


def test_guests_who_may_only_listen_are_guests(quiet_environment: Environment) -> None:
    """What the stack's own policies do not allow is nothing that the target lacks."""
    assert probe(quiet_environment, patience=PATIENCE) == {}


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
    """Guests who sign are served as ever, and certificates are checked; that who does not sign is let in is all."""
    lacking = probe(without_signatures, patience=PATIENCE)

    assert lacking == {Capability.AUTHENTICATION: "a WebSocket upgrade without a signature was let in"}


def test_an_inactive_certificate_that_is_let_in_is_named(without_statuses: Environment) -> None:
    """Where a certificate's status changes nothing, nobody is kept out by it; signatures are another matter."""
    lacking = probe(without_statuses, patience=PATIENCE)

    assert lacking == {Capability.CERTIFICATES: "an INACTIVE certificate was let in"}


def test_an_operator_whom_nobody_hears_is_named(deaf_to_the_operator: Environment) -> None:
    """A guest hears what a guest says afterwards, so it is not that the broker was slow."""
    lacking = probe(deaf_to_the_operator, patience=3.0)

    assert lacking == {
        Capability.OPERATOR: "what the AWS API published did not come within 3 s, and what a guest said did"
    }


def test_a_broker_that_never_answers_is_no_missing_capability(silent: Environment) -> None:
    """It may be slow as well, so nothing is said to be missing: one sentence says what was tried, and where."""
    patience = 1.0
    before = everything_of(silent)
    begun = time.monotonic()

    with pytest.raises(TargetUnavailable) as unknown:
        probe(silent, patience=patience)

    assert time.monotonic() - begun < 4 * patience + 3.0
    told = str(unknown.value)
    assert "GUESTS: it took longer than 3 s; DEVICES: it took longer than 3 s" in told
    assert f"answers at {silent.outputs.iot_wss_url} and, devices, at localhost:{silent.outputs.iot_mqtts_port}" in told
    assert "\n" not in told
    assert everything_of(silent) == before


def test_a_handshake_that_is_not_answered_is_no_refusal(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The runtime gives up a TLS handshake after a while, and that looks as if the certificate had been refused."""
    monkeypatch.setattr(Device, "condition", lambda _: "lost its connection (AWS_IO_TLS_NEGOTIATION_TIMEOUT)")

    with pytest.raises(TargetUnavailable, match=r"did not come \(DEVICES: .*AWS_IO_TLS_NEGOTIATION_TIMEOUT\)+: see"):
        probe(environment, patience=PATIENCE)


def test_a_removal_that_takes_too_long_is_no_missing_capability(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Devices can be registered and connect; that they are not removed in time is an error; they go later."""
    may_go_on = threading.Event()
    remove = Identities.remove

    def take_long(identities: Identities) -> None:
        may_go_on.wait()
        remove(identities)

    monkeypatch.setattr(Identities, "remove", take_long)
    before = everything_of(environment)

    with pytest.raises(TargetUnavailable, match="DEVICES: removing what was registered took longer than 3 s"):
        probe(environment, patience=3.0)

    may_go_on.set()
    while everything_of(environment) != before:
        pass


def test_an_emulator_that_is_gone_is_an_error(environment: Environment) -> None:
    """It has just answered, or there would be no stack: what it can do is not known, and nothing is skipped for it."""
    with pytest.raises(TargetUnavailable, match="DEVICES: Could not connect to the endpoint URL"):
        probe(replace(environment, control_plane_url="http://127.0.0.1:9"), patience=PATIENCE)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (TargetUnavailable("x cannot reach y:1: AWS_IO_SOCKET_CONNECTION_REFUSED"), str),
        (TargetUnavailable("x cannot reach y:1: AWS_IO_SOCKET_TIMEOUT"), Silence),
        (ClientError({"Error": {"Code": "InvalidAction"}}, "GetId"), str),
        (ReadTimeoutError(endpoint_url="http://y:1"), Silence),
        (ConnectionClosedError(endpoint_url="http://y:1"), str),
        (TeardownError(["a guest"], remedy="it did not stop within 2 s"), Silence),
        (ExpectationError("a SUBACK"), str),
    ],
)
async def test_only_silence_is_no_reason(error: Exception, outcome: type[str | Silence]) -> None:
    """What was refused, closed or answered otherwise is missing; what was not answered in time, nobody knows."""

    async def fail() -> None:
        raise error

    assert type(await reason_of(fail(), within=PATIENCE)) is outcome


def test_what_was_not_deployed_is_missing_without_a_try(environment: Environment) -> None:
    """No admin API, no ready file, no rule, no destination: four reasons, and the rest is there."""
    outputs = replace(environment.outputs, rule_name=None, destination_arn=None)
    bare = replace(environment, stack_outputs=outputs, admin_url=None, admin_token=None, ready=None)

    assert probe(bare, patience=PATIENCE) == {
        Capability.TRACE: "there is no admin API",
        Capability.FAULTS: "there is no admin API",
        Capability.COMMANDS: "the commands know a target by a ready file or by the outputs of a stack on AWS",
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
