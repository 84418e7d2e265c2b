"""The ``aws`` target: the stack that was deployed to an account, known by its outputs.

It starts, deploys and stops nothing. What it does is to make sure, before a run makes the first thing, that this is
the account it may touch, and that the stack is there: credentials are whatever boto3 finds, and STS says whose they
are. Everything else of a run at AWS is the same as elsewhere, only that the account is shared and that changes take
their time, which tests await by condition.
"""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final
from urllib.parse import urlsplit

from harness.errors import SettingsError, TargetError, TargetUnavailable
from harness.targets.base import Capability, Environment
from harness.targets.names import Names, make_run_id
from harness.targets.outputs import StackOutputs
from harness.targets.pulumi_cli import PulumiStack

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from harness.targets.options import TargetOptions

_ACCOUNT: Final = re.compile(r"[0-9]{12}")
_ASK_AGAIN_AFTER: Final = 60.0
"""Seconds for which an answer about the credentials counts; they end by themselves, but not every second."""

_NOT_ON_AWS: Final = MappingProxyType(
    {
        Capability.TRACE: "AWS tells nobody why it decided what",
        Capability.FAULTS: "on AWS nothing can be made to fail when a test wants it",
    }
)
_NO_RULE: Final = (
    "the stack was deployed without a receiver's URL, so it has no rule and no destination: "
    "`thingwright deploy --receiver-url URL`"
)
_OF_A_RULE: Final = (Capability.HTTP_ACTION, Capability.DESTINATION_CONFIRMATION)


class AwsTarget:
    """Runs at the stack that was deployed to an AWS account.

    Args:
        options: where the outputs are, and which accounts the run may touch.
        names: makes the names of everything the run creates; fresh ones when None.
        now: a monotonic clock in seconds.
    """

    name: ClassVar[str] = "aws"
    is_probed: ClassVar[bool] = False
    patience: ClassVar[float] = 30.0

    def __init__(
        self, options: TargetOptions, *, names: Names | None = None, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._options = options
        self._names = names or Names(make_run_id())
        self._now = now
        self._outputs: StackOutputs | None = None
        self._asked_at = 0.0
        self._answer: TargetUnavailable | None = None

    @property
    def capabilities(self) -> frozenset[Capability]:
        """All but what AWS does not have, and what the stack does not have."""
        return frozenset(Capability) - self.lacks.keys()

    @property
    def lacks(self) -> Mapping[Capability, str]:
        """Why each missing capability is missing; reads the outputs."""
        try:
            has_rule = self._read().rule_name is not None
        except TargetError:
            has_rule = True  # nobody can say, and `start` says why
        return _NOT_ON_AWS if has_rule else _NOT_ON_AWS | dict.fromkeys(_OF_A_RULE, _NO_RULE)

    def check_options(self) -> None:
        """Make sure that the run knows which stack in which account, without asking AWS or Pulumi.

        Raises:
            SettingsError: an account's id is none.
            TargetUnavailable: no account or not exactly one stack was given, or there is no such file or no CLI.
        """
        check_accounts(self._options.aws_accounts)
        options = self._options
        if (options.stack_outputs is None) == (options.pulumi_stack is None):
            raise TargetUnavailable(
                "The aws target needs one stack: give --stack-outputs FILE (what `pulumi stack output --json` or "
                "`thingwright outputs --json` wrote) or --pulumi-stack NAME, and not both."
            )
        if options.stack_outputs is not None:
            self._read()
        elif options.pulumi_stack is not None:
            PulumiStack(options.pulumi_stack, program=options.stack)

    def start(self) -> Environment:
        """Read the outputs, and make sure that account and stack are the right ones.

        Raises:
            TargetUnavailable: they are not, there are no credentials, or nobody answers.
        """
        self.check_options()
        outputs = self._read()
        account_id = check_account(self._options.aws_accounts, region=outputs.region)
        check_endpoint(outputs)
        self._asked_at = self._now()
        wss = urlsplit(outputs.iot_wss_url)
        return Environment(
            target=self.name,
            region=outputs.region,
            account_id=account_id,
            iot_endpoint=outputs.iot_endpoint,
            mqtts_port=outputs.iot_mqtts_port,
            wss_port=wss.port or 443,
            names=self._names,
            ca_file=outputs.ca_file,
            stack_outputs=outputs,
            is_shared=True,
            is_delayed=True,
            has_own_settings=True,
        )

    def check(self) -> None:
        """Make sure that the credentials still count; asks STS at most once a minute.

        Raises:
            TargetUnavailable: they ended, or nobody answers.
        """
        if self._now() - self._asked_at >= _ASK_AGAIN_AFTER:
            self._asked_at = self._now()
            self._answer = None
            try:
                check_account(self._options.aws_accounts, region=self._read().region)
            except TargetUnavailable as error:
                self._answer = error
        if self._answer is not None:
            raise self._answer

    def stop(self) -> None:
        """Leave the stack as it is: `thingwright destroy` removes it."""

    def _read(self) -> StackOutputs:
        """Read the outputs, once.

        Raises:
            SettingsError: the stack's name is none.
            TargetUnavailable: they cannot be read, or are not a stack's.
        """
        if self._outputs is None:
            options = self._options
            told = read_outputs(options.stack_outputs, pulumi_stack=options.pulumi_stack, program=options.stack)
            outputs = StackOutputs.parse(told)
            if outputs.ca_file is not None and not Path(outputs.ca_file).is_file():
                raise TargetUnavailable(f"The stack's output caFile names {outputs.ca_file}, which is not there.")
            self._outputs = outputs
        return self._outputs


def read_outputs(
    file: Path | None = None, *, pulumi_stack: str | None = None, program: Path | None = None
) -> dict[str, Any]:
    """Return a stack's outputs by their names, as they are told.

    Args:
        file: what ``pulumi stack output --json`` or ``thingwright outputs --json`` wrote; None asks the Pulumi CLI.
        pulumi_stack: name of a Pulumi stack.
        program: the folder of its program; None: this project's own.

    Raises:
        SettingsError: the name or the folder is none.
        TargetUnavailable: there is no such file, no such stack, or no CLI, or it has nothing to tell.
    """
    if file is not None:
        return _read_file(file)
    if pulumi_stack is None:
        raise TargetUnavailable("Which stack? Give --stack-outputs FILE or --pulumi-stack NAME.")
    try:
        told = PulumiStack(pulumi_stack, program=program).outputs()
    except TargetUnavailable:
        raise
    except TargetError as error:  # the CLI's own complaint: nothing that a test could change
        raise TargetUnavailable(str(error)) from error
    if not told:
        raise TargetUnavailable(
            f"The Pulumi stack {pulumi_stack} has no outputs: `thingwright deploy --pulumi-stack {pulumi_stack}` first."
        )
    return told


def _read_file(file: Path) -> dict[str, Any]:
    try:
        told = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        raise TargetUnavailable(
            f"There is no file {file}: `pulumi stack output --json > {file}` or `thingwright outputs --json > {file}`."
        ) from None
    except OSError as error:
        raise TargetUnavailable(f"The stack's outputs {file} cannot be read ({error.strerror}).") from None
    except ValueError:
        told = None
    if not isinstance(told, dict):
        raise TargetUnavailable(f"{file} holds no outputs of a stack: it is not a JSON object.")
    if "control_plane_url" in told:
        raise TargetUnavailable(f"{file} is a ready file of `thingwright serve`: give it as --ready-file.")
    return told


def check_accounts(accounts: Collection[str]) -> None:
    """Make sure that somebody said which accounts may be touched.

    Raises:
        SettingsError: an id is none.
        TargetUnavailable: nobody did.
    """
    if not accounts:
        raise TargetUnavailable(
            "This would make things in an AWS account: say in which it may, by --aws-account ID (12 digits) or "
            "HARNESS_AWS_ACCOUNT; `aws sts get-caller-identity` says which yours is."
        )
    for account in accounts:
        if not _ACCOUNT.fullmatch(account):
            raise SettingsError("--aws-account", account, "the id of an AWS account, 12 digits")


def check_account(accounts: Collection[str], *, region: str) -> str:
    """Make sure that the user's credentials are of an account that may be touched; return its id.

    Args:
        accounts: the ids of those that may.
        region: where STS is asked.

    Raises:
        TargetUnavailable: they are not, there are none, they have ended, or nobody answers.
    """
    account_id: str = _asked("sts", "get_caller_identity", region=region)["Account"]
    if account_id not in accounts:
        raise TargetUnavailable(
            f"The AWS credentials are of account {account_id}, and allowed is {', '.join(accounts)}: take other "
            "credentials (AWS_PROFILE), or allow that account by --aws-account."
        )
    return account_id


def check_endpoint(outputs: StackOutputs) -> None:
    """Make sure that a stack's outputs are of the account and region that the credentials reach.

    Raises:
        TargetUnavailable: they are not, or nobody answers.
    """
    answer = _asked("iot", "describe_endpoint", region=outputs.region, endpointType="iot:Data-ATS")
    if answer["endpointAddress"] != outputs.iot_endpoint:
        raise TargetUnavailable(
            f"The outputs are of another account or region: their iotEndpoint is {outputs.iot_endpoint}, and that of "
            f"this account in {outputs.region} is {answer['endpointAddress']}."
        )


def _asked(service: str, operation: str, *, region: str, **parameters: Any) -> dict[str, Any]:
    """Call an AWS API with the user's own settings; what goes wrong is one sentence."""
    # boto3 takes 0.2 s to import: not before somebody asks
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - see above

    from harness.targets.aws_clients import make_own_client  # noqa: PLC0415 - see above

    try:
        client = make_own_client(service, region=region)
        answer: dict[str, Any] = getattr(client, operation)(**parameters)
    except (BotoCoreError, ClientError) as error:
        raise TargetUnavailable(
            f"AWS was asked with the credentials of this shell, and did not answer: {' '.join(str(error).split())}"
        ) from error
    return answer
