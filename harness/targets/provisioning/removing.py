"""Takes back what a ledger tells of, last first, with patience for AWS's conflicts and throttling."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Final

from harness.errors import ProvisioningError
from harness.targets.provisioning.refusals import is_unreachable, means_later
from harness.targets.provisioning.resources import RESOURCE_TYPES
from harness.targets.provisioning.waiting import ask_until, some_share

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.targets.provisioning.account import Account
    from harness.targets.provisioning.ledger import Noted

_LONGEST_PAUSE: Final = 2.0
_SILENCE_SECONDS: Final = 10.0
"""How long nobody may answer: who does not for so long has gone, and most likely with all that is to be removed."""


def remove_all(
    account: Account,
    ledger: list[Noted],
    *,
    within: float,
    now: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> list[str]:
    """Take back everything.

    Args:
        account: where it is.
        ledger: in the order in which it was made; what is gone is taken out of it, so that a call that was broken off
            can be made again.
        within: seconds that conflicts, throttling and missing answers are put up with, for all together. What cannot
            succeed later is not tried again.
        now: the clock, in seconds.
        pause: waits for so many seconds.

    Returns:
        What is left and why, one line each.
    """
    heard_at = now()
    deadline = heard_at + within

    def is_enough(answer: ProvisioningError | None) -> bool:
        nonlocal heard_at
        if answer is not None and is_unreachable(answer):
            return now() - heard_at >= _SILENCE_SECONDS
        heard_at = now()
        return answer is None or not means_later(answer)

    left: list[str] = []
    waiting = list(ledger)
    while waiting:
        noted = waiting.pop()
        error = ask_until(
            partial(_remove, account, noted),
            is_enough,
            seconds=max(0.0, deadline - now()),
            longest_pause=_LONGEST_PAUSE,
            share=some_share,
            now=now,
            pause=pause,
        )
        if error is None:
            ledger.remove(noted)
            continue
        call = f"{error.call}: " if error.call else ""
        left.append(f"{noted.title}: {call}{error.reason}")
        if is_unreachable(error):  # nor will the others be reached, and each attempt takes long
            left += [each.title for each in reversed(waiting)]
            break
    return left


def _remove(account: Account, noted: Noted) -> ProvisioningError | None:
    """Try to take one resource back; return what hindered it."""
    name = noted.intent.get("name")
    if noted.id is None and name is not None and not account.owns(name):
        # The maker died over it or heard nothing; a thing of that name may as well be somebody else's.
        return ProvisioningError(noted.subject, reason="whether this deployment made it is not known")
    try:
        RESOURCE_TYPES[noted.type].remove(account, noted)
    except ProvisioningError as error:
        return error
    except KeyError as error:  # emulators leave out what AWS's answers have
        return ProvisioningError(noted.subject, reason=f"an answer of the other side has no {error}")
    return None
