"""Commands of the command line: sweep.

Only options, lines and the exit code live here; what is found and how it goes is `harness.sweep`.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from harness.command_options import aws_account_option, ready_file_option
from harness.ending import end
from harness.errors import SettingsError, TargetUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from harness.sweep.accounts import Account
    from harness.sweep.found import Criteria, Found, NotLookedAt
    from harness.sweep.sweeping import Finding, Removal
    from harness.terminal import Terminal

ReadyFileOption = Annotated[
    Path | None, ready_file_option("Sweep the stand-in that `thingwright serve --ready-file FILE` started.")
]
AwsAccountOption = Annotated[
    list[str] | None, aws_account_option("Id of the AWS account to sweep; nothing is touched in any other.")
]
CaFileOption = Annotated[
    Path | None,
    typer.Option(
        "--ca-file", metavar="PEM", envvar="HARNESS_CA_FILE", help="CA of --endpoint-url. [default: the system's]"
    ),
]

_DURATION: Final = re.compile(r"([0-9]{1,6})([smhd])", re.ASCII)
_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_ACCOUNT: Final = re.compile(r"[0-9]{12}", re.ASCII)
_EMULATORS_REGION: Final = "us-east-1"
_EMULATORS_KEY: Final = "test"
"""What emulators document as a key that they take."""


def add_to(app: typer.Typer) -> None:
    """Add these commands to the application."""
    app.command(short_help="Remove what dead runs left behind.")(sweep)


def sweep(  # noqa: PLR0913 - one parameter per option
    *,
    delete: Annotated[bool, typer.Option("--delete", help="Remove it. [default: only tell what would go]")] = False,
    run: Annotated[
        list[str] | None,
        typer.Option(
            "--run", metavar="ID", help="Also what this run left, before it expires: it is dead. May be repeated."
        ),
    ] = None,
    older_than: Annotated[
        str,
        typer.Option(
            "--older-than",
            metavar="DURATION",
            help="Age from which guests of swept identity pools go: 90m, 2h, 1d. They have no mark.",
        ),
    ] = "2h",
    identity_pool_id: Annotated[
        list[str] | None,
        typer.Option(
            "--identity-pool-id",
            metavar="REGION:UUID",
            help="Sweep the guests of this pool, though it has no tag thingwright:guests=swept. May be repeated.",
        ),
    ] = None,
    aws_account: AwsAccountOption = None,
    region: Annotated[
        str | None, typer.Option("--region", metavar="NAME", help="AWS region. [default: that of the settings]")
    ] = None,
    ready_file: ReadyFileOption = None,
    endpoint_url: Annotated[
        str | None,
        typer.Option(
            "--endpoint-url", metavar="URL", envvar="HARNESS_ENDPOINT_URL", help="Sweep an emulator's AWS APIs."
        ),
    ] = None,
    ca_file: CaFileOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False,
) -> None:
    """Remove what dead runs left behind: whatever has a run's mark in its name that has expired. Tells only, at first.

    Without --ready-file and --endpoint-url it is AWS that is swept, with the credentials of this shell, and
    --aws-account is needed. Several may sweep at once. Exit code 1 when something is left or could not be looked at.
    """

    def work(terminal: Terminal) -> int:
        accounts = _accounts(aws_account)
        runs, seconds = frozenset(map(_run_id, run or ())), _seconds(older_than)
        from harness.sweep.found import Criteria  # noqa: PLC0415 - only this command sweeps

        account = _open(ready_file, endpoint_url, ca_file, region, is_named=bool(accounts))
        account_id = account.check(accounts) if accounts else None
        criteria = Criteria(now=time.time(), runs=runs, older_than=seconds, pools=frozenset(identity_pool_id or ()))
        told = _Lines(terminal, criteria) if as_json else _Words(terminal, criteria)
        return _sweep(account, account_id, criteria, told, is_dry=not delete)

    end(work)


def _sweep(account: Account, account_id: str | None, criteria: Criteria, told: _Lines, *, is_dry: bool) -> int:
    from harness.sweep.sweeping import look, remove  # noqa: PLC0415 - boto3 takes 0.2 s to import

    told.begin(account, account_id)
    finding = look(account, criteria)
    removals: list[Removal] = []
    if is_dry:
        told.would_go(finding.due)
    else:
        for removal in remove(account, finding.due):
            removals.append(removal)
            told.removed(removal)
    told.end(finding, removals, is_dry=is_dry)
    has_failed = any(removal.outcome == "left" for removal in removals)
    return int(has_failed or any(one.is_offered for one in finding.not_looked_at))


def _open(
    ready_file: Path | None, endpoint_url: str | None, ca_file: Path | None, region: str | None, *, is_named: bool
) -> Account:
    from harness.sweep.accounts import open_aws, open_endpoint, open_ready  # noqa: PLC0415 - boto3 takes 0.2 s
    from harness.targets.base import Credentials  # noqa: PLC0415 - the same

    if ready_file is not None and endpoint_url is not None:
        raise TargetUnavailable(
            "Which account is to be swept? Give --ready-file (HARNESS_READY_FILE) or --endpoint-url "
            "(HARNESS_ENDPOINT_URL), and not both."
        )
    if ready_file is not None:
        return open_ready(ready_file, region=region)
    if endpoint_url is not None:
        credentials = Credentials(
            access_key_id=os.environ.get("HARNESS_ACCESS_KEY_ID") or _EMULATORS_KEY,
            secret_access_key=os.environ.get("HARNESS_SECRET_ACCESS_KEY") or _EMULATORS_KEY,
        )
        return open_endpoint(endpoint_url, region=region or _EMULATORS_REGION, credentials=credentials, ca_file=ca_file)
    if not is_named:
        raise TargetUnavailable(
            "Which account is to be swept? Give --aws-account ID for AWS (`aws sts get-caller-identity` says which "
            "yours is), --ready-file FILE for a `thingwright serve`, or --endpoint-url URL for an emulator."
        )
    return open_aws(region=region)


def _accounts(given: Iterable[str] | None) -> tuple[str, ...]:
    """Return account ids as typed: one by one, or separated by commas as in the variable."""
    ids = [part.strip() for each in given or () for part in each.split(",") if part.strip()]
    for account_id in ids:
        if not _ACCOUNT.fullmatch(account_id):
            raise SettingsError("--aws-account", account_id, "the id of an AWS account, 12 digits")
    return tuple(ids)


def _run_id(given: str) -> str:
    from harness.targets.marks import find_mark  # noqa: PLC0415 - only this command reads marks

    mark = find_mark(given)
    if mark is None or mark.run_id != given.lower().replace("_", "-"):
        raise SettingsError("--run", given, "a run's id, for example tw6b3f0a21-9c4e11d2, as the sweep prints it")
    return mark.run_id


def _seconds(duration: str) -> float:
    match = _DURATION.fullmatch(duration)
    if match is None:
        raise SettingsError("--older-than", duration, "a number and s, m, h or d: 90m, 2h, 1d")
    return float(int(match[1]) * _SECONDS[match[2]])


class _Lines:
    """Tells of a sweep in JSON, one object a line.

    Args:
        terminal: where to.
        criteria: what may go.
    """

    def __init__(self, terminal: Terminal, criteria: Criteria) -> None:
        self._terminal = terminal
        self._criteria = criteria

    def begin(self, account: Account, account_id: str | None) -> None:
        """Say where the sweep is."""

    def would_go(self, due: Sequence[Found]) -> None:
        """Say what a sweep with --delete would remove."""
        for found in due:
            self._tell(found, "would-go")

    def removed(self, removal: Removal) -> None:
        """Say what became of one of them."""
        self._tell(removal.found, removal.outcome, removal.because or None)

    def end(self, finding: Finding, removals: Sequence[Removal], *, is_dry: bool) -> None:  # noqa: ARG002 - words differ
        """Say what stays and what was not looked at."""
        for found in finding.staying:
            self._tell(found, "stays", _why_staying(found))
        for missing in finding.not_looked_at:
            outcome = "failed" if missing.is_offered else "not-offered"
            self._line({"kind": missing.what, "outcome": outcome, "because": missing.because})

    def _tell(self, found: Found, outcome: str, because: str | None = None) -> None:
        mark = found.mark
        members = {
            "kind": found.kind.value,
            "name": found.name,
            "run": mark.run_id if mark else None,
            "expires_at": _moment(mark.expires_at) if mark else None,
            "made_at": _moment(found.since) if found.since is not None else None,
            "outcome": outcome,
            "because": because,
        }
        self._line({name: value for name, value in members.items() if value is not None})

    def _line(self, members: dict[str, Any]) -> None:
        self._terminal.line(json.dumps(members))


class _Words(_Lines):
    """Tells of a sweep in words."""

    def begin(self, account: Account, account_id: str | None) -> None:
        """Say where the sweep is."""
        which = f"account {account_id}, " if account_id else ""
        self._terminal.line(f"[sweep] {which}{account.region}, at {account.place}")

    def end(self, finding: Finding, removals: Sequence[Removal], *, is_dry: bool) -> None:
        """Say how many it were, what stays and what was not looked at."""
        for line in _staying(finding.staying):
            self._terminal.line(f"[sweep] {line}")
        for missing in finding.not_looked_at:
            self._terminal.line(f"[sweep] {_missing(missing)}")
        if is_dry:
            line = f"{_counts(finding.due)} would go; nothing was removed"
            self._terminal.line(f"[sweep] {line}: give --delete to remove it" if finding.due else f"[sweep] {line}")
            return
        by_outcome = {
            outcome: [removal.found for removal in removals if removal.outcome == outcome]
            for outcome in ("removed", "gone", "left")
        }
        line = f"{_counts(by_outcome['removed'])} removed"
        if by_outcome["gone"]:
            line += f"; {_counts(by_outcome['gone'])} somebody else removed meanwhile"
        self._terminal.line(f"[sweep] {line}")
        if by_outcome["left"]:
            self._terminal.error(f"[sweep] {_counts(by_outcome['left'])} left; sweep again")

    def _tell(self, found: Found, outcome: str, because: str | None = None) -> None:
        said = {
            "would-go": "would go",
            "removed": "removed",
            "gone": "was gone",
            "left": "is left",
        }[outcome]
        tail = f": {because}" if because else ""
        line = f"[sweep] {said:<8} {found.kind:<13} {found.name}  {self._why(found)}{tail}"
        (self._terminal.error if outcome == "left" else self._terminal.line)(line)

    def _why(self, found: Found) -> str:
        if found.mark is None:
            return f"made {_moment(found.since or 0.0)}"
        when = _moment(found.mark.expires_at)
        is_expired = found.mark.has_expired(self._criteria.now)
        return f"{found.mark.run_id}, expired {when}" if is_expired else f"{found.mark.run_id}, named by --run"


def _why_staying(found: Found) -> str:
    return f"in use by {found.held_by}" if found.held_by is not None else "its run is not over"


def _staying(staying: Sequence[Found]) -> list[str]:
    """Give a line for each run that is not over, and one for each that something else uses."""
    lines = []
    runs: dict[str, list[Found]] = {}
    for found in staying:
        if found.mark is not None and found.held_by is None:
            runs.setdefault(found.mark.run_id, []).append(found)
        else:
            lines.append(f"{found.kind} {found.name} stays: {_why_staying(found)}")
    for run_id, of_run in sorted(runs.items()):
        expires_at = of_run[0].mark.expires_at if of_run[0].mark else 0
        lines.append(
            f"{_counts(of_run)} of {run_id} stay until it expires, {_moment(expires_at)}; if it is dead: --run {run_id}"
        )
    return lines


def _missing(missing: NotLookedAt) -> str:
    if missing.is_offered:
        return f"could not look for {missing.what}: {missing.because}"
    return f"not looked at: {missing.what}, which are not served there ({missing.because})"


def _counts(found: Sequence[Found]) -> str:
    """Say how many there are of each kind."""
    counts = Counter(one.kind for one in found)
    words = [f"{count} {kind.value if count == 1 else kind.plural}" for kind, count in sorted(counts.items())]
    return ", ".join(words) or "nothing"


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
