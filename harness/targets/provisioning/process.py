"""What the deploying process does between its configuration and its answer."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import pulumi_aws

from harness.errors import ProvisioningError
from harness.targets.base import Credentials
from harness.targets.marks import find_mark
from harness.targets.provisioning.account import Account
from harness.targets.provisioning.ledger import Ledger
from harness.targets.provisioning.program import deploy
from harness.targets.provisioning.refusals import means_unknown_operation
from harness.targets.provisioning.resources import RESOURCE_TYPES


def run(config: dict[str, Any]) -> int:
    """Deploy, print the outputs as one line of JSON on stdout; on failure the error as the last line of stderr.

    Returns:
        The exit code: 0, or 1 when it failed.
    """
    answer = sys.stdout
    try:
        with contextlib.redirect_stdout(sys.stderr):  # a program may print; only the outputs are the answer
            outputs = _run(config)
    except ProvisioningError as error:
        sys.stderr.write(json.dumps(error_to_json(error)) + "\n")
        return 1
    answer.write(json.dumps(outputs) + "\n")
    answer.flush()
    return 0


def _run(config: dict[str, Any]) -> dict[str, Any]:
    program = Path(config["program"])
    account = Account(
        region=config["region"],
        endpoint_url=config.get("endpoint_url"),
        credentials=Credentials(
            access_key_id=config["access_key_id"],
            secret_access_key=config["secret_access_key"],
            session_token=config.get("session_token"),
        ),
        ca_file=config.get("ca_file"),
        mark=find_mark(config.get("run_id", "")),
    )
    ledger = Ledger(Path(config["ledger_file"])) if config.get("ledger_file") is not None else None
    settings = config.get("config", {})
    if config.get("start_fd") is not None:
        _warm_up(account)
        with os.fdopen(config["start_fd"], encoding="utf-8") as pipe:
            start = json.loads(pipe.readline() or "null")
        if start is None:
            raise ProvisioningError(f"program {program}", reason="the target went away before it was ready")
        account.endpoint_url = start["endpoint_url"]
        settings = start["config"]
    os.chdir(program)  # as the Pulumi CLI does
    try:
        return deploy(program, account=account, stack=config["stack"], config=settings, ledger=ledger)
    finally:
        account.close()
        if ledger is not None:
            ledger.close()


def _warm_up(account: Account) -> None:
    """Import and read what a deployment will need, while there is nothing to deploy to yet."""
    services = dict.fromkeys(service for kind in RESOURCE_TYPES.values() for service in kind.services)
    account.warm_up((*services, "sts"))
    for token in RESOURCE_TYPES:
        _package, module, kind = token.split(":")
        getattr(getattr(pulumi_aws, module.split("/")[0]), kind)  # its modules are loaded when first used


def error_to_json(error: ProvisioningError) -> dict[str, Any]:
    """Return an error as the parent reads it: its parts, and whether the other side does not know the operation."""
    return {
        "resource": error.resource,
        "call": error.call,
        "reason": error.reason,
        "request_id": error.request_id,
        "is_unknown_operation": means_unknown_operation(error),
    }
