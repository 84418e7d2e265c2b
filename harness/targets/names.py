"""Names that keep runs, workers and tests apart on one broker or in one account.

Isolation is by name, not by reset: everything made for a test carries the run id and a number of its own. The run id
holds the time at which the run has expired, so that in an account that many share, whatever a killed run left behind
tells by its name alone that nobody needs it any more (`harness.targets.marks` reads it back).
"""

from __future__ import annotations

import itertools
import re
import secrets
import time
from typing import Final

LIFETIME_SECONDS: Final = 2 * 60 * 60.0
"""After which what a run has made may be swept away: longer than any run takes."""

_UNSAFE = re.compile(r"[^a-zA-Z0-9_-]+")


def make_run_id(*, now: float | None = None, lifetime: float = LIFETIME_SECONDS) -> str:
    """Return a fresh run id: ``tw``, when it expires, ``-``, chance; both of 8 hexadecimal digits.

    Args:
        now: seconds since the epoch; None asks the clock.
        lifetime: seconds until what the run has made may be swept away.
    """
    expires_at = (time.time() if now is None else now) + lifetime
    return f"tw{int(expires_at):08x}-{secrets.token_hex(4)}"


class Names:
    """Makes names that no other run, worker or test makes.

    Args:
        run_id: letters, digits, ``_`` and ``-``; the same for everything one run creates.
        worker: distinguishes processes that share a run id, for example ``gw0`` of pytest-xdist; empty for a single
            process.

    Raises:
        ValueError: the run id or the worker has other characters, or the run id is empty.
    """

    def __init__(self, run_id: str, *, worker: str = "") -> None:
        if not run_id or _UNSAFE.search(run_id + worker):
            raise ValueError(f"not a run id: {run_id!r} {worker!r}")
        self.run_id = run_id
        self.worker = worker
        self._numbers = itertools.count(1)

    def __repr__(self) -> str:
        return f"Names({self.run_id!r}, worker={self.worker!r})"

    @property
    def mark(self) -> str:
        """What all names made here hold, and no others."""
        return f"{self.run_id}-{self.worker}-" if self.worker else f"{self.run_id}-"

    def unique(self, hint: str = "") -> str:
        """Return a new name, at most 64 characters of letters, digits, ``_`` and ``-``.

        It fits a topic level, a client id, a thing name and the name of an IAM role alike.

        Args:
            hint: what it is for, to be recognised by a reader; other characters become ``-``.
        """
        tail = "-".join(part for part in (self.run_id, self.worker, str(next(self._numbers))) if part)
        head = _UNSAFE.sub("-", hint).strip("-")[: 63 - len(tail)].rstrip("-")
        return f"{head}-{tail}" if head else tail

    def topic_prefix(self, under: str, hint: str = "") -> str:
        """Return a topic prefix of its own, ending with ``/``, below a prefix that itself ends with ``/``.

        Args:
            under: for example ``public/``; may be empty.
            hint: as for `unique`.
        """
        return f"{under}{self.unique(hint)}/"

    def client_id(self, prefix: str = "", hint: str = "") -> str:
        """Return a new client id, at most 128 characters with a prefix of at most 64 such as ``public-``."""
        return prefix + self.unique(hint)

    def thing_name(self, hint: str = "thing") -> str:
        """Return a new thing name."""
        return self.unique(hint)
