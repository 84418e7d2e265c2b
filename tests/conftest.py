"""What every test of this repository stands on."""

import signal


def pytest_configure() -> None:
    """Let Ctrl-C reach the processes that tests start.

    A shell starts background jobs with SIGINT ignored, and children inherit that: tests about Ctrl-C would then wait
    for something that cannot happen.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
