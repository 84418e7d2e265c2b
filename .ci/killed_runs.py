"""Kill test runs at random moments, sweep, and see whether anything is left: `thingwright sweep` keeps its word.

Usage: ``python .ci/killed_runs.py [--runs 20] [--seed N] [--tests PATH]``, with the interpreter that has the project.

One `thingwright serve` plays AWS: the suite runs as ``--target aws`` against it, as it would against an account, by
``AWS_ENDPOINT_URL``. Each run is killed with SIGKILL, its workers too, at a moment between its first API call and the
end of a run that nobody killed; the moments are spread over that time. After every few runs come sweeps: one alone, two
at once, one that is killed in the middle and then another, in turn. What runs leave has two hours to live, so the sweep
is told by ``--run`` which of them are dead, as a user would who knows it.

Beside them live things that no sweep may touch: of somebody else, and of a run that is not over. What is there is
listed here with boto3 alone, by nothing that the sweep uses. Exit code 1 when there is one more or one less of anything
than in the beginning.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import ProxyHandler, Request, build_opener

import boto3

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ROOT = Path(__file__).resolve().parent.parent
READY_WITHIN = 120.0
ENDED_WITHIN = 900.0
WORKERS_EVERY = 3
"""Every so many runs one has two workers."""
SWEEP_AFTER_REMOVALS = 3
"""After so many removals a sweep is killed, or after as many lines where it removes less."""
EARLIER = 0.8
"""A run that had ended before its moment is repeated with one that comes earlier by this factor."""

MORE_TESTS = '''
"""Makes over and over what the suite makes seldom or not at all on AWS: policies, rules, destinations."""

import pytest


@pytest.mark.e2e
@pytest.mark.parametrize("number", range(12))
async def test_everything_is_made(number, environment, stack, topics, make_device, make_rule, make_destination):
    """A device with a policy of its own, a destination, a rule with it and one that brings its own along."""
    urls = [f"{stack.receiver_url}/ingest?for={environment.names.unique()}" for _ in range(2)]
    await make_device(may_publish=topics.own_telemetry)
    await make_destination(urls[0])
    for url in urls:
        await make_rule(topic=topics.own_telemetry, url=url)
'''
"""Written beside the outputs and run with the suite: whatever a sweep removes is to be left by a kill at times."""

Inventory = dict[str, set[str]]


@dataclass(frozen=True)
class Stand:
    """A running stand-in, and how the suite sees it as AWS."""

    told: dict[str, Any]
    ready_file: Path
    outputs_file: Path

    def client(self, service: str) -> Any:
        """Make a boto3 client of the account's root."""
        return boto3.client(
            service,
            region_name=self.told["region"],
            endpoint_url=self.told["control_plane_url"],
            aws_access_key_id=self.told["access_key_id"],
            aws_secret_access_key=self.told["secret_access_key"],
        )

    def environment(self) -> dict[str, str]:
        """What a shell has that is logged in to this account, and nothing of the user's own."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "HARNESS_", "BOTO_"))}
        return {
            **kept,
            "AWS_ENDPOINT_URL": self.told["control_plane_url"],
            "AWS_ACCESS_KEY_ID": self.told["access_key_id"],
            "AWS_SECRET_ACCESS_KEY": self.told["secret_access_key"],
            "AWS_REGION": self.told["region"],
            "AWS_DEFAULT_REGION": self.told["region"],
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def trace(self, since: int, wait: float) -> tuple[list[dict[str, Any]], int]:
        """Return what happened since a moment, and the moment after."""
        request = Request(f"{self.told['admin_url']}/trace?since={since}&wait={wait}")  # noqa: S310 - our own http URL
        request.add_header("Authorization", f"Bearer {self.told['admin_token']}")
        with build_opener(ProxyHandler({})).open(request, timeout=wait + 30.0) as response:
            return [json.loads(line) for line in response], int(response.headers["x-thingwright-next"])

    def inventory(self) -> Inventory:
        """List what the account has, by kind."""
        iot, cognito, iam = self.client("iot"), self.client("cognito-identity"), self.client("iam")
        pools = _listed(cognito, "list_identity_pools", "IdentityPools", "IdentityPoolId", PageSize=60)
        return {
            "things": _listed(iot, "list_things", "things", "thingName"),
            "certificates": _listed(iot, "list_certificates", "certificates", "certificateId"),
            "policies": _listed(iot, "list_policies", "policies", "policyName"),
            "rules": _listed(iot, "list_topic_rules", "rules", "ruleName"),
            "destinations": _listed(iot, "list_topic_rule_destinations", "destinationSummaries", "arn"),
            "identities": {identity for pool_id in pools for identity in _identities(cognito, pool_id)},
            "identity pools": pools,
            "roles": _listed(iam, "list_roles", "Roles", "RoleName"),
            "tables": _listed(self.client("dynamodb"), "list_tables", "TableNames", None),
            "queues": _listed(self.client("sqs"), "list_queues", "QueueUrls", None),
        }


def _listed(client: Any, operation: str, member: str, key: str | None, *, PageSize: int = 50) -> set[str]:  # noqa: N803 - boto3's
    pages = client.get_paginator(operation).paginate(PaginationConfig={"PageSize": PageSize})
    return {each if key is None else each[key] for page in pages for each in page.get(member, ())}


def _identities(cognito: Any, pool_id: str) -> Iterator[str]:
    token: dict[str, str] = {}
    while True:
        page = cognito.list_identities(IdentityPoolId=pool_id, MaxResults=60, **token)
        yield from (each["IdentityId"] for each in page["Identities"])
        if "NextToken" not in page:
            return
        token = {"NextToken": page["NextToken"]}


def more(now: Inventory, before: Inventory) -> dict[str, list[str]]:
    """Return what there is now and was not before, by kind."""
    return {kind: sorted(names - before[kind]) for kind, names in now.items() if names - before[kind]}


def counts(found: Mapping[str, Sequence[str]]) -> str:
    """Say how many there are of each kind."""
    return ", ".join(f"{len(names)} {kind}" for kind, names in found.items()) or "nothing"


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)  # noqa: T201 - a script


def plant(stand: Stand) -> set[str]:
    """Make what no sweep may touch; return the ids of the run that is not over."""
    iot = stand.client("iot")
    living = f"tw{int(time.time()) + 86_400:08x}-{random.getrandbits(32):08x}"
    for name in ("somebody-elses-thing", f"device-{living}-1"):
        iot.create_thing(thingName=name)
        arn = iot.create_keys_and_certificate(setAsActive=True)["certificateArn"]
        iot.attach_thing_principal(thingName=name, principal=arn)
    return {living}


class Suite:
    """The e2e tests as a run against AWS."""

    def __init__(self, stand: Stand, tests: Sequence[str], log: Path) -> None:
        self._stand = stand
        more_tests = stand.outputs_file.with_name("test_everything.py")
        more_tests.write_text(MORE_TESTS, encoding="utf-8")
        self._command = [sys.executable, "-m", "pytest", "-q", "-m", "e2e", "-c", "pyproject.toml", "--rootdir", "."]
        self._command += [*tests, os.fspath(more_tests), "--target", "aws"]
        self._command += ["--stack-outputs", os.fspath(stand.outputs_file)]
        self._command += ["--aws-account", stand.told["account_id"], "-p", "no:cacheprovider"]
        self._log = log

    @contextlib.contextmanager
    def running(self, workers: int) -> Iterator[subprocess.Popen[bytes]]:
        """Start a run in a process group of its own, and give it when it has made its first API call."""
        _, since = self._stand.trace(0, 0.0)
        command = [*self._command, "-n", str(workers)] if workers else self._command
        with self._log.open("ab") as log:
            run = subprocess.Popen(  # noqa: S603 - the project's own tests
                command,
                cwd=ROOT,
                env=self._stand.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            is_seen = False
            while not is_seen and run.poll() is None:
                records, since = self._stand.trace(since, 1.0)
                is_seen = any(record["kind"] == "api" for record in records)
            if not is_seen:
                sys.exit(f"the suite ended with {run.returncode} before its first API call:\n{self._tail()}")
            yield run
        finally:
            with contextlib.suppress(ProcessLookupError):  # all of the group have ended
                os.killpg(run.pid, signal.SIGKILL)
            run.wait()

    def measure(self) -> float:
        """Let a run come to its end; return the seconds from its first API call on."""
        with self.running(0) as run:
            began = time.monotonic()
            code = run.wait(ENDED_WITHIN)
            took = time.monotonic() - began
        say(f"a run that nobody kills: {took:.1f} s from its first API call, exit code {code}")
        if code != 0:
            sys.exit(f"the suite does not pass:\n{self._tail()}")
        return took

    def kill_after(self, seconds: float, workers: int) -> bool:
        """Kill a run after so many seconds from its first API call; return whether it was still running."""
        with self.running(workers) as run:
            try:
                run.wait(seconds)
            except subprocess.TimeoutExpired:
                return True
            return False

    def _tail(self) -> str:
        return "\n".join(self._log.read_text("utf-8", "replace").splitlines()[-40:])


class Sweeper:
    """`thingwright sweep`, as a user types it."""

    def __init__(self, stand: Stand, living: set[str]) -> None:
        self._stand = stand
        self._living = living
        self._base = [sys.executable, "-m", "harness", "sweep", "--json", "--aws-account", stand.told["account_id"]]
        self._base += ["--identity-pool-id", stand.told["outputs"]["identityPoolId"], "--older-than", "0s"]

    def once(self) -> bool:
        """Sweep; return whether it said that all went well."""
        return self._wait(self._start(self.dead_runs()))

    def twice_at_once(self) -> bool:
        """Sweep twice at once."""
        dead = self.dead_runs()
        both = [self._start(dead), self._start(dead)]
        codes = [self._wait(each) for each in both]
        return all(codes)

    def killed_and_again(self) -> bool:
        """Kill a sweep after its first removals, and sweep again."""
        killed = self._start(self.dead_runs())
        assert killed.stdout is not None  # noqa: S101 - it was asked for
        lines = [killed.stdout.readline() for _ in range(SWEEP_AFTER_REMOVALS)]
        killed.kill()
        killed.communicate()
        removals = sum('"outcome": "removed"' in line for line in lines)
        say(f"  a sweep was killed after {removals} removals")  # fewer where there was less to remove
        return self.once()

    def dead_runs(self) -> set[str]:
        """Return the runs whose leftovers a dry run shows, but for the one that lives."""
        dry = subprocess.run(  # noqa: S603 - the project's own command
            self._base, cwd=ROOT, env=self._stand.environment(), check=False, capture_output=True, text=True
        )
        if dry.returncode != 0:
            sys.exit(f"a dry run of the sweep ended with {dry.returncode}:\n{dry.stdout}{dry.stderr}")
        told = [json.loads(line) for line in dry.stdout.splitlines()]
        return {each["run"] for each in told if "run" in each} - self._living

    def _start(self, dead: set[str]) -> subprocess.Popen[str]:
        command = [*self._base, "--delete", *(part for run_id in sorted(dead) for part in ("--run", run_id))]
        return subprocess.Popen(  # noqa: S603 - the project's own command
            command,
            cwd=ROOT,
            env=self._stand.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def _wait(self, sweep: subprocess.Popen[str]) -> bool:
        out, _ = sweep.communicate()
        outcomes: dict[str, list[str]] = {}
        for line in out.splitlines():
            with contextlib.suppress(ValueError):
                outcomes.setdefault(json.loads(line)["outcome"], []).append(line)
        say(f"  swept: exit code {sweep.returncode}; {counts(outcomes)}")
        if sweep.returncode != 0:
            say(out)
        return sweep.returncode == 0


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[Stand]:
    """Run `thingwright serve` with its stack."""
    ready_file, outputs_file = folder / "ready.json", folder / "outputs.json"
    command = [sys.executable, "-m", "harness", "serve", "--ready-file", os.fspath(ready_file)]
    server = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL)  # noqa: S603 - the project's own command
    try:
        deadline = time.monotonic() + READY_WITHIN
        while not ready_file.exists():
            if server.poll() is not None or time.monotonic() > deadline:
                sys.exit("thingwright serve did not become ready")
            time.sleep(0.05)
        told = json.loads(ready_file.read_text("utf-8"))
        outputs_file.write_text(json.dumps(told["outputs"]), encoding="utf-8")
        yield Stand(told, ready_file, outputs_file)
    finally:
        server.terminate()
        server.wait()


def main() -> int:
    """Kill, sweep, compare; return the exit code."""
    parser = argparse.ArgumentParser(description="Kill test runs at random moments, sweep, and compare.")
    parser.add_argument("--runs", type=int, default=20, metavar="N", help="how many are killed; 20 when left out")
    parser.add_argument("--seed", type=int, default=None, metavar="N", help="of the moments; printed when left out")
    parser.add_argument("--sweep-every", type=int, default=2, metavar="N", help="runs between sweeps")
    parser.add_argument("--tests", action="append", metavar="PATH", help="what is run; default tests/e2e")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(10_000)
    chance = random.Random(seed)  # noqa: S311 - moments, no secrets
    say(f"{options.runs} runs are killed; --seed {seed}")
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as stand:
        living = plant(stand)
        sweeper = Sweeper(stand, living)
        suite = Suite(stand, options.tests or ["tests/e2e"], Path(folder, "suite.log"))
        baseline = stand.inventory()
        say(f"in the beginning: {counts({kind: sorted(names) for kind, names in baseline.items()})}")
        suite_takes = suite.measure()
        say(f"it leaves {counts(more(stand.inventory(), baseline))}")
        return kill_and_sweep(stand, suite, sweeper, baseline, moments(options.runs, suite_takes, chance), options)


def moments(runs: int, within: float, chance: random.Random) -> list[float]:
    """Return moments spread over a time, one in each equal part of it, in no order."""
    spread = [(number + chance.random()) / runs * within for number in range(runs)]
    chance.shuffle(spread)
    return spread


def kill_and_sweep(
    stand: Stand,
    suite: Suite,
    sweeper: Sweeper,
    baseline: Inventory,
    spread: Sequence[float],
    options: argparse.Namespace,
) -> int:
    """Kill all runs, sweep in between, and compare each time; return the exit code."""
    ways = [("once", sweeper.once), ("twice at once", sweeper.twice_at_once)]
    ways += [("killed, and again", sweeper.killed_and_again)]
    failures, swept, left_by_kind = 0, 0, dict.fromkeys(baseline, 0)
    for number, seconds in enumerate(spread, start=1):
        workers = 2 if number % WORKERS_EVERY == 0 else 0
        moment = seconds
        while not suite.kill_after(moment, workers):
            moment *= EARLIER  # this one was faster than the one that was measured
        left = more(stand.inventory(), baseline)
        what = f"run {number}{' with 2 workers' if workers else ''}"
        say(f"{what}: killed {moment:.1f} s after its first API call; there is {counts(left)}")
        if number % options.sweep_every and number != len(spread):
            continue
        for kind, names in left.items():
            left_by_kind[kind] += len(names)
        way, sweep = ways[swept % len(ways)]
        swept += 1
        say(f"  sweep {swept}: {way}")
        went_well = sweep()
        now = stand.inventory()
        too_many, too_few = more(now, baseline), more(baseline, now)
        for what, found in (("is left", too_many), ("is missing", too_few)):
            for kind, names in found.items():
                say(f"  {what}: {kind}: {', '.join(names)}")
        failures += not went_well or bool(too_many or too_few)
    total = ", ".join(f"{count} {kind}" for kind, count in left_by_kind.items() if count)
    say(f"{len(spread)} runs were killed while they ran; they left {total or 'nothing'}.")
    say(f"{swept} sweeps; after {failures or 'none'} of them something was left, missing or refused.")
    return int(failures > 0)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that `finally` runs and nothing stays
    sys.exit(main())
