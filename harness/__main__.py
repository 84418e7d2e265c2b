"""Where the ``thingwright`` command and ``python -m harness`` begin."""

from __future__ import annotations

import os
import signal
from contextlib import suppress

_INTERRUPTED = 130


def main() -> None:
    """Run the command line; Ctrl-C ends it with one line, also while it is still being imported and parsed.

    Until a command begins its work there is nothing to clean up, so it ends on the spot: an exception could come up
    anywhere in other people's imports. `harness.cli` takes the signal over from there.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)
    from harness.cli import main as run  # noqa: PLC0415 - half of a short command's time

    run()


def _leave(*_: object) -> None:
    with suppress(OSError):  # nobody reads it
        os.write(2, b"Interrupted.\n")
    os._exit(_INTERRUPTED)


if __name__ == "__main__":
    main()
