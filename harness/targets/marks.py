"""Run ids in the names of things: whose they are, and since when nobody needs them any more.

A run id (`harness.targets.names.make_run_id`) is ``tw6b3f0a21-9c4e11d2``: ``tw``, the second since the epoch at which
the run expires, and chance. Names that take no hyphen have ``_`` instead, in whatever case.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

TAG_RUN: Final = "thingwright:run"
"""Tag whose value is a run id, on whatever takes tags."""

TAG_EXPIRES: Final = "thingwright:expires"
"""Tag whose value says when the run expires, ``2026-11-22T09:30:00Z``."""

_NO_RUN_BEFORE: Final = datetime(2026, 6, 1, tzinfo=UTC).timestamp()
"""No run has ever expired before: what seems to have is somebody else's name of the same form, with all of those whose
digits are decimal, until 2029."""

_MARK: Final = re.compile(r"(?<![0-9a-z])tw([0-9a-f]{8})[-_]([0-9a-f]{8})(?![0-9a-z])", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What a name says of the run that made it.

    Args:
        run_id: as `harness.targets.names.make_run_id` made it.
        expires_at: seconds since the epoch.
    """

    run_id: str
    expires_at: int

    def has_expired(self, now: float) -> bool:
        """Tell whether the run is over for sure, at a time in seconds since the epoch."""
        return self.expires_at <= now

    @property
    def tags(self) -> dict[str, str]:
        """The same as tags, for whatever takes tags beside a name."""
        expires = datetime.fromtimestamp(self.expires_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {TAG_RUN: self.run_id, TAG_EXPIRES: expires}


def find_mark(text: str) -> Mark | None:
    """Return the mark in a name, a URL or a certificate's subject; None when there is none.

    Args:
        text: anything; of several marks the one that expires last counts: its run may still need what is so named.
    """
    marks = [
        Mark(run_id=f"tw{expires}-{chance}".lower(), expires_at=int(expires, 16))
        for expires, chance in _MARK.findall(text)
        if int(expires, 16) >= _NO_RUN_BEFORE
    ]
    return max(marks, key=lambda mark: mark.expires_at, default=None)
