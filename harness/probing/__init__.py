"""What a target can: tried with real clients before a run decides what it can prove there.

Nothing here knows products by name. Each capability is a sentence about what works, and its probe does that sentence:
guests get credentials and hear themselves, a registered certificate gets in, an unsigned handshake does not. Whatever
a probe finds missing it says in words, since those are all that a reader of "not proven" learns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.targets.base import Capability, Environment


def probe(environment: Environment, *, patience: float) -> dict[Capability, str]:
    """Try what a target can.

    All probes run side by side, on a thread and an event loop of their own, so that this may be called from anywhere.
    They take at most three times `patience` and then, to put away what they made, `patience` once; they leave nothing
    behind that can be removed.

    Args:
        environment: of a target that has started, with its stack.
        patience: seconds that a message may take to come.

    Returns:
        The capabilities that are missing, each with the reason in a few words. A probe that fails, however it fails, is
        a capability that is missing.

    Raises:
        TargetUnavailable: answers did not come in time, so nobody knows; names what was tried.
    """
    from harness.probing.own_loop import run_on_own_loop  # noqa: PLC0415 - the SDKs take 0.3 s to import
    from harness.probing.probes import find_lacking  # noqa: PLC0415 - the same

    return run_on_own_loop(lambda: find_lacking(environment, patience=patience))
