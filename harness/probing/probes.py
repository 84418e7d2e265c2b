"""One probe per capability, each the sentence that its capability stands for, done with real clients.

A probe returns the reason why its capability is missing, or None; what it raises is a reason as well. Probes know
nothing of each other and run side by side. That a refusal proves something takes somebody who is let in: so where there
are no guests or no devices, nothing is said to be refused either.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from botocore.exceptions import BotoCoreError, ClientError

from harness.errors import ExpectationError, HarnessError
from harness.probing.cast import Cast
from harness.targets.base import Capability

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from harness.targets.base import Environment

    Probe = Callable[[Cast], Awaitable[str | None]]

_LONGEST: Final = 200
"""Characters of a reason."""

_RESTS_ON: Final[Mapping[Capability, tuple[Capability, ...]]] = {
    Capability.OPERATOR: (Capability.GUESTS,),
    Capability.AUTHENTICATION: (Capability.GUESTS, Capability.DEVICES),
    Capability.POLICY: (Capability.GUESTS, Capability.DEVICES),
}


async def find_lacking(environment: Environment, *, patience: float) -> dict[Capability, str]:
    """Run all probes; see `harness.probing.probe`."""
    lacking = find_undeployed(environment)
    if environment.stack_outputs is None:
        return lacking | dict.fromkeys(_PROBES, "no stack was deployed")
    cast = Cast(environment, patience=patience)
    try:
        reasons = await asyncio.gather(*(_reason(each(cast), patience=patience) for each in _PROBES.values()))
    finally:
        left = await cast.dismiss()
    lacking |= {each: reason for each, reason in zip(_PROBES, reasons, strict=True) if reason is not None}
    if left is not None:
        lacking.setdefault(Capability.DEVICES, shortened(f"what was registered could not be removed: {left}"))
    for each, bases in _RESTS_ON.items():
        if (base := next((base for base in bases if base in lacking), None)) is not None:
            lacking[each] = f"{base} is missing: {lacking[base]}"
    return lacking


def find_undeployed(environment: Environment) -> dict[Capability, str]:
    """Find what is missing without trying: where there is no address there is nothing to try."""
    lacking: dict[Capability, str] = {}
    if environment.admin_url is None:
        lacking |= dict.fromkeys((Capability.TRACE, Capability.FAULTS), "there is no admin API")
    if environment.ready is None:
        lacking[Capability.READY_FILE] = "it was not started by `thingwright serve`"
    outputs = environment.stack_outputs
    if outputs is None or outputs.rule_name is None:
        lacking[Capability.HTTP_ACTION] = "the stack has no rule that posts to a receiver"
    if outputs is None or outputs.destination_arn is None:
        lacking[Capability.DESTINATION_CONFIRMATION] = "the stack has no destination of a rule"
    return lacking


async def guests_hear_themselves(cast: Cast) -> None:
    """Let a guest get credentials, connect, subscribe, and hear what it says."""
    guest, topic = await cast.guest(), cast.public_topic()
    await guest.connect()
    await guest.subscribe(topic)
    await (await guest.publish(topic, "heard?")).reaches([guest])


async def devices_connect(cast: Cast) -> None:
    """Let a device with a registered certificate connect."""
    await cast.device(await cast.register()).connect()


async def the_operator_is_heard(cast: Cast) -> None:
    """Let a subscribed guest hear what the AWS API publishes."""
    guest, operator, topic = await cast.guest(), await cast.operator(), cast.public_topic()
    await guest.connect()
    await guest.subscribe(topic)
    await (await operator.publish(topic, "heard?")).reaches([guest])


async def strangers_are_refused(cast: Cast) -> str | None:
    """Let four try to get in who have no right to; name the first who does get in."""

    async def unsigned() -> None:
        await (await cast.guest(signature="missing")).expect_refusal(connect=True)

    async def forged() -> None:
        await (await cast.guest(signature="changed")).expect_refusal(connect=True)

    async def unregistered() -> None:
        identity = (await cast.register()).unregistered()
        await cast.device(identity).expect_refusal(connect=True)

    async def inactive() -> None:
        await cast.device(await cast.register(status="INACTIVE")).expect_refusal(connect=True)

    return await _first_allowed(
        {
            "a WebSocket upgrade without a signature was let in": unsigned(),
            "a WebSocket upgrade whose signature was changed was let in": forged(),
            "a certificate that nobody registered was let in": unregistered(),
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
    await (await guest.publish(public, "still allowed")).reaches([guest])
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


async def _reason(probing: Awaitable[str | None], *, patience: float) -> str | None:
    """Await a probe; return why its capability is missing, whatever has become of it."""
    try:
        async with asyncio.timeout(patience) as limit:
            return await probing
    except Exception as error:  # noqa: BLE001 - a task boundary: whatever went wrong is the reason
        return f"it took longer than {patience:g} s" if limit.expired() else shortened(in_words(error))


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
    Capability.AUTHENTICATION: strangers_are_refused,
    Capability.POLICY: policies_are_kept,
}
