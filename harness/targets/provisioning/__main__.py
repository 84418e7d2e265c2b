"""The short-lived process that deploys a program and prints its outputs as one line of JSON.

While the stand-in's control plane is still starting, this process imports what it will need; the endpoint then comes
through a pipe. It dies with its parent: a thread waits for the end of the lifeline.

Configuration (JSON): ``program``, ``stack``, ``region``, ``access_key_id``, ``secret_access_key``; and either
``endpoint_url`` and ``config``, or ``start_fd``, from which one line of JSON with those two is read. These may be
absent: ``lifeline_fd``; ``session_token``; ``ca_file``, for an https endpoint; ``run_id``, which names and tags of all
that is made then carry; ``ledger_file``, where each resource is noted before it is made and after.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import threading


def _follow(lifeline: int) -> None:
    """End this process at once when the parent is gone."""
    while os.read(lifeline, 1):
        pass
    os._exit(1)


def main(arguments: list[str]) -> int:
    """Deploy as a configuration file says; 0 when done, 1 when it failed, with the error as JSON on stderr."""
    if len(arguments) != 2 or arguments[0] != "--config":
        sys.stderr.write("usage: python -m harness.targets.provisioning --config FILE\n")
        return 2
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with open(arguments[1], encoding="utf-8") as file:  # noqa: PTH123 - pathlib is not imported before the lifeline is watched
        config = json.load(file)
    if config.get("lifeline_fd") is not None:
        threading.Thread(target=_follow, args=(config["lifeline_fd"],), daemon=True).start()
    return _deploy(config)


def _deploy(config: dict[str, object]) -> int:
    from harness.targets.provisioning.process import run  # noqa: PLC0415 - slow: Pulumi and boto3

    return run(config)


if __name__ == "__main__":
    gc.disable()  # imports make a million objects that all stay: without collections they take a quarter less time
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # nothing is left to be put away
