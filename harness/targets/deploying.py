"""Deploys a program's stack into an account that others use as well, and takes it away again.

The program runs in a short-lived process (`harness.targets.provisioning`). That process notes in a *ledger* what it is
about to make and what it has made, so that all of it can be taken back even when it failed or was killed half-way:
the ledger is read when the process is gone. Names and tags of everything say whose it is and until when, for the case
that this process is killed too.
"""

from __future__ import annotations

import json
import signal
import threading
from typing import TYPE_CHECKING, Any, Final

from harness.errors import ProvisioningError, TargetDied, TeardownError
from harness.targets.embedded.children import Children
from harness.targets.embedded.deployment import provisioning_error
from harness.targets.embedded.folder import remove_abandoned
from harness.targets.marks import TAG_RUN, Mark, find_mark
from harness.targets.provisioning.account import Account
from harness.targets.provisioning.ledger import Noted, read_ledger
from harness.targets.provisioning.refusals import means_unknown_operation
from harness.targets.provisioning.removing import remove_all

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from harness.targets.base import Credentials

_COMMAND: Final = ("-m", "harness.targets.provisioning")
_DEPLOY_SECONDS: Final = 300.0
"""How long a deployment may take; a healthy one takes a few seconds, and most of a slow one is a table."""
_REMOVE_SECONDS: Final = 90.0
"""How long conflicts, throttling and silence of the other side are put up with, for the whole stack."""

_RECEIVER_URL: Final = "receiverUrl"
_RUN_ID: Final = "runId"
_RULE_OUTPUT: Final = "ruleName"
_CREATE_DESTINATION: Final = "iot:CreateTopicRuleDestination"


class StackDeployment:
    """A stack that is deployed for one run and removed after it.

    Whoever deploys has to remove, also when `deploy` failed or was broken off.

    Args:
        program: folder of the Pulumi program.
        region: AWS region.
        endpoint_url: where all AWS calls go.
        ca_file: PEM file that checks an https endpoint; None means the system's.
        credentials: of whoever makes and removes.
        run_id: as `harness.targets.names.make_run_id` makes it: what everything made here carries. It is the name of
            Pulumi's stack as well.
        config: the program's configuration, without the project's name before the keys. The program is told the run
            id as well, as ``runId``: a destination has neither name nor tags, so that only a program can say in its URL
            whose it is.

    Raises:
        ValueError: the run id does not say when the run expires.
    """

    def __init__(
        self,
        *,
        program: Path,
        region: str,
        endpoint_url: str,
        ca_file: Path | None,
        credentials: Credentials,
        run_id: str,
        config: Mapping[str, str],
    ) -> None:
        self._program = program.absolute()
        self._region = region
        self._endpoint_url = endpoint_url
        self._ca_file = None if ca_file is None else str(ca_file.absolute())
        self._credentials = credentials
        self._mark = _mark_of(run_id)
        self._config = {**config, _RUN_ID: self._mark.run_id}
        self._ledger: list[Noted] = []
        self._lacking: dict[str, str] = {}
        self._removing = threading.Lock()

    def __repr__(self) -> str:
        return f"StackDeployment({str(self._program)!r}, run_id={self._mark.run_id!r})"

    @property
    def lacking(self) -> Mapping[str, str]:
        """What was left out since the other side has no such thing: name of the stack's output to why."""
        return dict(self._lacking)

    def deploy(self) -> dict[str, Any]:
        """Make everything that the program declares.

        Where topic rule destinations are unknown altogether, the program is not told of a receiver, so that it
        declares neither destination nor rule; `lacking` then says why.

        Returns:
            The stack's outputs, by their names.

        Raises:
            ProvisioningError: a resource could not be made, or the program failed.
            RuntimeError: what an earlier call made has not been removed.
        """
        if self._ledger:
            raise RuntimeError("already deployed: remove first")
        self._lacking = {}
        refusal = self._refusal_of_destinations()
        if refusal is None:
            try:
                return self._run(self._config)
            except _DestinationsUnknown as error:  # they can be listed and cannot be made
                refusal = error
            self.remove()
        self._lacking[_RULE_OUTPUT] = f"{refusal.call} was answered: {refusal.reason}."
        return self._run({**self._config, _RECEIVER_URL: ""})

    def remove(self) -> None:
        """Take back everything that was made, last first; without effect when nothing is left.

        Raises:
            TeardownError: something is left; a further call tries again.
        """
        with self._removing:
            if not self._ledger:
                return
            account = self._account()
            try:
                left = remove_all(account, self._ledger, within=_REMOVE_SECONDS)
            finally:
                account.close()
        if left:
            raise TeardownError(
                left,
                remedy=f"delete them at {self._endpoint_url}: names or tags ({TAG_RUN}) hold {self._mark.run_id}",
            )

    def mark_of_table(self, name: str) -> Mark | None:
        """Return the mark in the tags of a table, whoever made it; None when there is none, or nobody tells.

        Args:
            name: of the table.
        """
        account = self._account()
        try:
            table = account.call(f"table {name}", "dynamodb", "DescribeTable", TableName=name)["Table"]
            arn = table.get("TableArn")
            tags = account.every(f"table {name}", "dynamodb", "ListTagsOfResource", "Tags", ResourceArn=arn)
        except (ProvisioningError, KeyError):
            return None  # who asks has another error to tell of, to which this would only have added
        finally:
            account.close()
        return find_mark(" ".join(str(each.get("Value")) for each in tags if each.get("Key") == TAG_RUN))

    def _refusal_of_destinations(self) -> ProvisioningError | None:
        """Ask whether there are topic rule destinations at all; return the refusal when there are none.

        Raises:
            ProvisioningError: the question was refused for another reason.
        """
        account = self._account()
        try:
            account.every("topic rule destinations", "iot", "ListTopicRuleDestinations", "destinationSummaries")
        except ProvisioningError as error:
            if means_unknown_operation(error):
                return error
            raise
        finally:
            account.close()
        return None

    def _account(self) -> Account:
        return Account(
            region=self._region,
            endpoint_url=self._endpoint_url,
            credentials=self._credentials,
            ca_file=self._ca_file,
            mark=self._mark,
        )

    def _run(self, config: Mapping[str, str]) -> dict[str, Any]:
        """Run the deploying process, and keep what it has noted, however it ends."""
        remove_abandoned()
        children = Children()
        ledger_file = children.folder / "ledger.jsonl"
        try:
            child = children.spawn(
                "deployment", _COMMAND, config=self._briefing(config, ledger_file), answers_on_stdout=True
            )
            try:
                return children.await_report(child, within=_DEPLOY_SECONDS)
            finally:
                children.end(child, signal.SIGKILL)  # before the ledger is read: nothing is made any more
        except TargetDied as error:
            raise self._failure(error) from None
        finally:
            try:
                self._ledger += read_ledger(ledger_file)
            finally:
                children.call_off()
                children.put_away()

    def _briefing(self, config: Mapping[str, str], ledger_file: Path) -> dict[str, Any]:
        return {
            "program": str(self._program),
            "stack": self._mark.run_id,
            "run_id": self._mark.run_id,
            "region": self._region,
            "endpoint_url": self._endpoint_url,
            "ca_file": self._ca_file,
            "access_key_id": self._credentials.access_key_id,
            "secret_access_key": self._credentials.secret_access_key,
            "session_token": self._credentials.session_token,
            "ledger_file": str(ledger_file),
            "config": dict(config),
        }

    def _failure(self, died: TargetDied) -> ProvisioningError:
        error = provisioning_error(died, self._program)
        if error.call == _CREATE_DESTINATION and _says_unknown_operation(died):
            return _DestinationsUnknown(
                error.resource, reason=error.reason, call=error.call, request_id=error.request_id
            )
        return error


class _DestinationsUnknown(ProvisioningError):  # noqa: N818 - says what is the matter, as errors of this project do
    """The other side does not know how to make topic rule destinations."""


def _says_unknown_operation(died: TargetDied) -> bool:
    try:
        return bool(json.loads(died.tail[-1])["is_unknown_operation"])
    except (IndexError, ValueError, KeyError, TypeError):
        return False


def _mark_of(run_id: str) -> Mark:
    mark = find_mark(run_id)
    if mark is None or mark.run_id != run_id:
        raise ValueError(f"not a run id that says when the run expires: {run_id!r}")
    return mark
