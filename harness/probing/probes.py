"""One probe per capability, each the sentence that its capability stands for, done with real clients.

A probe returns the reason why its capability is missing, or None; what it raises is a reason as well. Probes know
nothing of each other and run side by side. That a refusal proves something takes somebody who is let in: so where there
are no guests or no devices, nothing is said to be refused either.

Silence is no reason. A broker that never answers and a machine that is too slow look alike, and the second must not
turn promises into skips: where an answer does not come, nobody knows what is missing, and that is an error. That a
*message* does not come is a reason: the broker has answered all that went before it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    ReadTimeoutError,
)

from harness.errors import ExpectationError, HarnessError, OperationRefused, TargetUnavailable, TeardownError
from harness.probing.cast import TIMEOUT, Cast, Silence
from harness.targets.base import Capability

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from harness.clients.broadcast import BroadcastClient
    from harness.clients.message import Message
    from harness.targets.base import Environment

    Probe = Callable[[Cast], Awaitable[str | None]]

_LONGEST: Final = 200
"""Characters of a reason."""

_RESTS_ON: Final[Mapping[Capability, tuple[Capability, ...]]] = {
    Capability.OPERATOR: (Capability.GUESTS,),
    Capability.AUTHENTICATION: (Capability.GUESTS,),
    Capability.CERTIFICATES: (Capability.DEVICES,),
    Capability.POLICY: (Capability.GUESTS, Capability.DEVICES),
}

_LONGER: Final = 3
"""How many times the patience a probe may take: a message that never comes takes one, its control as much."""

_NO_ANSWER: Final = (TimeoutError, ConnectTimeoutError, ReadTimeoutError, EndpointConnectionError, TeardownError)
"""Errors that tell of somebody who answers not at all, or not in time; at the AWS APIs somebody did a moment ago."""


async def find_lacking(environment: Environment, *, patience: float) -> dict[Capability, str]:
    """Run all probes; see `harness.probing.probe`."""
    lacking = find_undeployed(environment)
    if environment.stack_outputs is None:
        return lacking | dict.fromkeys(_PROBES, "no stack was deployed")
    cast = Cast(environment, patience=patience)
    try:
        reasons = await asyncio.gather(*(reason_of(each(cast), within=_LONGER * patience) for each in _PROBES.values()))
        outcomes = {**dict(zip(_PROBES, reasons, strict=True)), **cast.unanswered()}
    finally:
        left = await cast.dismiss()
    silent = {each: outcome.words for each, outcome in outcomes.items() if isinstance(outcome, Silence)}
    lacking |= {each: outcome for each, outcome in outcomes.items() if isinstance(outcome, str)}
    if isinstance(left, Silence):
        silent.setdefault(Capability.DEVICES, left.words)
    elif left is not None and Capability.DEVICES not in silent:
        lacking.setdefault(Capability.DEVICES, shortened(f"what was registered could not be removed: {left}"))
    for each, bases in _RESTS_ON.items():
        if (base := next((base for base in bases if base in lacking), None)) is not None:
            lacking[each] = f"{base} is missing: {lacking[base]}"
    if silent := {each: words for each, words in silent.items() if each not in lacking}:
        raise _unknown(environment, silent)
    return lacking


def _unknown(environment: Environment, silent: Mapping[Capability, str]) -> TargetUnavailable:
    outputs = environment.outputs
    tried = "; ".join(f"{each}: {words}" for each, words in silent.items())
    return TargetUnavailable(
        f"What the {environment.target} target can do could not be found out, since answers did not come ({tried}): "
        f"see that its broker answers at {outputs.iot_wss_url} and, devices, at {outputs.iot_endpoint}:"
        f"{outputs.iot_mqtts_port}; if it only is slow, run again with less beside it."
    )


def find_undeployed(environment: Environment) -> dict[Capability, str]:
    """Find what is missing without trying: where there is no address there is nothing to try."""
    lacking: dict[Capability, str] = {}
    if environment.admin_url is None:
        lacking |= dict.fromkeys((Capability.TRACE, Capability.FAULTS), "there is no admin API")
    if environment.ready is None:
        lacking[Capability.COMMANDS] = "the commands know a target by a ready file or by the outputs of a stack on AWS"
    outputs = environment.stack_outputs
    if outputs is None or outputs.rule_name is None:
        lacking[Capability.HTTP_ACTION] = "the stack has no rule that posts to a receiver"
    if outputs is None or outputs.destination_arn is None:
        lacking[Capability.DESTINATION_CONFIRMATION] = "the stack has no destination of a rule"
    return lacking


async def guests_hear_themselves(cast: Cast) -> str | None:
    """Let a guest get credentials, connect, subscribe, and hear what it says, or what the back office does."""
    guest, topic = await cast.guest(), cast.public_topic()
    await guest.connect()
    await guest.subscribe(topic)
    if await _is_heard(await _said(cast, guest, topic, "heard?"), guest, within=cast.patience):
        return None
    return f"what a guest said, and the broker acknowledged, did not come back to it within {cast.patience:g} s"


async def devices_connect(cast: Cast) -> None:
    """Let a device with a registered certificate connect."""
    await cast.device(await cast.register()).connect()


async def the_operator_is_heard(cast: Cast) -> str | None:
    """Let a subscribed guest hear what the AWS API publishes; if it does not, it has to hear what a guest says."""
    guest, operator, topic = await cast.guest(), await cast.operator(), cast.public_topic()
    await guest.connect()
    await guest.subscribe(topic)
    if await _is_heard(await operator.publish(topic, "heard?"), guest, within=cast.patience):
        return None
    try:
        control = await guest.publish(topic, "and this?")
    except OperationRefused:
        return f"what the AWS API published did not come within {cast.patience:g} s, and guests may say nothing here"
    if not await _is_heard(control, guest, within=cast.patience):
        raise TimeoutError("neither what the AWS API published nor what a guest did was heard")
    return f"what the AWS API published did not come within {cast.patience:g} s, and what a guest said did"


async def unsigned_guests_are_refused(cast: Cast) -> str | None:
    """Let two try to get in whose signatures are none; name the first who does get in."""

    async def try_signature(signature: str) -> None:
        await (await cast.guest(signature=signature)).expect_refusal(connect=True)

    return await _first_allowed(
        {
            "a WebSocket upgrade without a signature was let in": try_signature("missing"),
            "a WebSocket upgrade whose signature was changed was let in": try_signature("changed"),
        }
    )


async def unknown_certificates_are_refused(cast: Cast) -> str | None:
    """Let three try to get in whose certificates are not registered and ACTIVE; name the first who does get in."""

    async def unregistered() -> None:
        await cast.device((await cast.register()).unregistered()).expect_refusal(connect=True)

    async def forged() -> None:
        await cast.device((await cast.register()).forged()).expect_refusal(connect=True)

    async def inactive() -> None:
        await cast.device(await cast.register(status="INACTIVE")).expect_refusal(connect=True)

    return await _first_allowed(
        {
            "a certificate that nobody registered was let in": unregistered(),
            "a certificate that a device has signed was let in": forged(),
            "an INACTIVE certificate was let in": inactive(),
        }
    )


async def policies_are_kept(cast: Cast) -> str | None:
    """Let a guest and a device each do what they may, and then what they may not."""
    return await _first_told(_guests_keep_to_their_policy(cast), _devices_keep_to_their_policy(cast))


async def _guests_keep_to_their_policy(cast: Cast) -> str | None:
    guest, stranger = await asyncio.gather(cast.guest(), cast.guest(client_id=cast.private_name()))
    public, private = cast.public_topic(), cast.private_name()
    await guest.connect()
    await guest.subscribe(public)
    told = await _first_allowed(
        {
            "a guest was let in under a client id that its policy does not allow": stranger.expect_refusal(
                connect=True
            ),
            "a guest was granted a subscription that its policy does not allow": guest.expect_refusal(
                subscribe=private
            ),
        }
    )
    told = told or await _first_allowed(
        {"a guest's message was taken that its policy does not allow": guest.expect_refusal(publish=private)}
    )
    if not await _is_heard(await _said(cast, guest, public, "still allowed"), guest, within=cast.patience):
        return told or "a guest that was refused something is not heard any more"
    return told


async def _devices_keep_to_their_policy(cast: Cast) -> str | None:
    own, private = cast.private_name(), cast.private_name()
    identity = await cast.register(may_publish=own)
    device, stranger = cast.device(identity), cast.device(identity, client_id=cast.private_name())
    await device.connect()
    await device.publish(own, "allowed")
    told = await _first_allowed(
        {
            "a device was let in under a client id that its policy does not allow": stranger.expect_refusal(
                connect=True
            ),
            "a device was granted a subscription that its policy does not allow": device.expect_refusal(
                subscribe=private
            ),
        }
    )
    told = told or await _first_allowed(
        {"a device's message was taken that its policy does not allow": device.expect_refusal(publish=private)}
    )
    await device.publish(own, "still allowed")
    return told


async def _first_allowed(attempts: Mapping[str, Awaitable[object]]) -> str | None:
    """Await attempts side by side that have to be refused; return the words for the first that was not."""

    async def told(words: str, attempt: Awaitable[object]) -> str | None:
        try:
            await attempt
        except ExpectationError:
            return words
        return None

    return await _first_told(*(told(words, attempt) for words, attempt in attempts.items()))


async def _first_told(*tellers: Awaitable[str | None]) -> str | None:
    """Await all side by side, to the end of the last; return what the first of them in order tells, or raise it."""
    for told in await asyncio.gather(*tellers, return_exceptions=True):
        if isinstance(told, BaseException):
            raise told
        if told is not None:
            return told
    return None


async def _said(cast: Cast, guest: BroadcastClient, topic: str, text: str) -> Message:
    """Let a guest say something; where the stack's guests may listen only, the back office says it."""
    try:
        return await guest.publish(topic, text)
    except OperationRefused:
        return await (await cast.operator()).publish(topic, text)


async def _is_heard(message: Message, guest: BroadcastClient, *, within: float) -> bool:
    """Tell whether a message comes in time, on a connection that answers."""
    try:
        async with asyncio.timeout(within):
            await message.reaches([guest])
    except TimeoutError:
        return False
    return True


async def reason_of(probing: Awaitable[str | None], *, within: float) -> str | Silence | None:
    """Await a probe; return why its capability is missing, or that nobody knows, whatever has become of it."""
    try:
        async with asyncio.timeout(within) as limit:
            return await probing
    except Exception as error:  # noqa: BLE001 - a task boundary: whatever went wrong is the reason
        if limit.expired():
            return Silence(f"it took longer than {within:g} s")
        words = shortened(in_words(error))
        return Silence(words) if isinstance(error, _NO_ANSWER) or TIMEOUT in words else words


def in_words(error: Exception) -> str:
    """Say what went wrong in one line: of our own errors and of AWS's their first, of any other its type too."""
    line = next(iter(str(error).splitlines()), "")
    if isinstance(error, HarnessError | ClientError | BotoCoreError):
        return line
    return f"{type(error).__name__}: {line}" if line else type(error).__name__


def shortened(text: str) -> str:
    """Cut what is too long for one line of a report, and the full stop of what becomes a part of a sentence."""
    line = " ".join(text.split()).removesuffix(".")
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"


_PROBES: Final[Mapping[Capability, Probe]] = {
    Capability.GUESTS: guests_hear_themselves,
    Capability.DEVICES: devices_connect,
    Capability.OPERATOR: the_operator_is_heard,
    Capability.AUTHENTICATION: unsigned_guests_are_refused,
    Capability.CERTIFICATES: unknown_certificates_are_refused,
    Capability.POLICY: policies_are_kept,
}
