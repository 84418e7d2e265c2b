"""Commands of the command line: the stack on AWS comes, tells of itself, and goes.

`deploy` and `destroy` are the Pulumi CLI with this project's settings, after a look at whose credentials these are.
"""

from __future__ import annotations

import json
import os
import shlex
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

import typer

from harness.command_options import (
    AwsAccountOption,
    ProgramOption,
    PulumiStackOption,
    ReadyFileOption,
    StackOutputsOption,
    accounts_of,
    one_stack,
    pulumi_stack_option,
)
from harness.ending import end
from harness.errors import SettingsError, TargetUnavailable

if TYPE_CHECKING:
    from harness.targets.pulumi_cli import PulumiStack
    from harness.terminal import Terminal

StackNameOption = Annotated[str, pulumi_stack_option("Name of the Pulumi stack.")]
ConfigFileOption = Annotated[
    Path | None,
    typer.Option(
        "--config-file",
        metavar="FILE",
        help="Where the stack's configuration is kept. [default: Pulumi.NAME.yaml beside the program]",
    ),
]

_DEFAULT_NAME: Final = "dev"
_SECRET_VARIABLE: Final = "HARNESS_IOT_SECRET"  # noqa: S105 - the name of a variable
_OTHER_CREDENTIALS: Final = frozenset(
    f"aws:{name}"
    for name in (
        *("accessKey", "secretKey", "token", "profile", "assumeRole", "assumeRoles", "assumeRoleWithWebIdentity"),
        *("sharedConfigFiles", "sharedCredentialsFile", "sharedCredentialsFiles", "endpoints"),
    )
)
"""Configuration of Pulumi's AWS provider by which it would reach an account that nobody has looked at."""


def add_to(app: typer.Typer) -> None:
    """Add these commands to the application."""
    app.command(short_help="Deploy the stack to AWS by Pulumi.")(deploy)
    app.command(short_help="Print the outputs of the stack.")(outputs)
    app.command(short_help="Remove the stack from AWS by Pulumi.")(destroy)


def deploy(
    *,
    pulumi_stack: StackNameOption = _DEFAULT_NAME,
    aws_account: AwsAccountOption = None,
    receiver_url: Annotated[
        str | None,
        typer.Option(
            "--receiver-url",
            metavar="URL",
            help="https URL of a receiver that runs: its rule and destination are made, with the secret in "
            "HARNESS_IOT_SECRET.",
        ),
    ] = None,
    region: Annotated[
        str | None,
        typer.Option(
            "--region", metavar="NAME", help="AWS region. [default: the stack's, else AWS_REGION, else the profile's]"
        ),
    ] = None,
    program: ProgramOption = None,
    config_file: ConfigFileOption = None,
) -> None:
    """Deploy the stack to AWS, or bring it up to date, by the Pulumi CLI and with the AWS credentials of this shell.

    The secret that the rule presents to the receiver is read from HARNESS_IOT_SECRET. The first time there may be no
    receiver yet: without its URL everything is made but destination and rule.
    """

    def work(terminal: Terminal) -> int:
        stack = _open(pulumi_stack, program, config_file)
        account = _Account.of(stack, accounts_of(aws_account), region)
        values = _values(account, receiver_url, os.environ.get(_SECRET_VARIABLE))
        terminal.line(f"[deploy] stack {stack.name} in account {account.id}, {account.region}")
        if account.config is None:
            stack.create()
        for each in values:
            if each.is_secret:
                terminal.line(f"[deploy] {each.key} is what {_SECRET_VARIABLE} says")
            stack.set(each.key, each.value, is_secret=each.is_secret)
        stack.up(terminal.line)
        told = stack.outputs()
        _print(terminal, told)
        for line in _next_steps(stack, account, told):
            terminal.line(f"[deploy] {line}")
        return 0

    end(work)


def outputs(
    context: typer.Context,
    *,
    ready_file: ReadyFileOption = None,
    stack_outputs: StackOutputsOption = None,
    pulumi_stack: PulumiStackOption = None,
    program: ProgramOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of lines.")] = False,
) -> None:
    """Print what the deployed stack tells of itself: endpoint, identity pool, topics."""

    def work(terminal: Terminal) -> int:
        from harness.targets import aws, ready  # noqa: PLC0415 - only this command reads them itself

        ways = {"ready_file": ready_file, "stack_outputs": stack_outputs, "pulumi_stack": pulumi_stack}
        chosen = one_stack(context, question="Which stack?", **ways)
        if (file := chosen["ready_file"]) is not None:
            told = ready.read(file).outputs
        else:
            told = aws.read_outputs(chosen["stack_outputs"], pulumi_stack=chosen["pulumi_stack"], program=program)
        _print(terminal, told, as_json=as_json)
        return 0

    end(work)


def destroy(
    *,
    pulumi_stack: StackNameOption = _DEFAULT_NAME,
    aws_account: AwsAccountOption = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do it: the readings in the table go with the stack, for good.")
    ] = False,
    program: ProgramOption = None,
    config_file: ConfigFileOption = None,
) -> None:
    """Remove all that the stack has made from AWS, the readings too. Devices go first: `thingwright sweep`."""

    def work(terminal: Terminal) -> int:
        from harness.targets.aws import check_endpoint  # noqa: PLC0415 - only a stack on AWS
        from harness.targets.outputs import StackOutputs  # noqa: PLC0415 - the same

        if not yes:
            raise SettingsError(
                "--yes", yes, f"add --yes to remove the stack {pulumi_stack} with its readings, for good"
            )
        stack = _open(pulumi_stack, program, config_file)
        account = _Account.of(stack, accounts_of(aws_account), None)
        told = stack.outputs()
        if "iotEndpoint" in told:  # else it was never deployed as a whole, and there is nothing to compare
            check_endpoint(StackOutputs.parse(told))
        terminal.line(f"[destroy] stack {stack.name} in account {account.id}, {account.region}")
        stack.destroy(terminal.line)
        terminal.line(f"[destroy] done; Pulumi still knows the empty stack: `pulumi stack rm {stack.name}` forgets it")
        return 0

    end(work)


class _Value(NamedTuple):
    """One value of the stack's configuration."""

    key: str
    value: str
    is_secret: bool = False


class _Account(NamedTuple):
    """Where a stack is or goes, looked at and allowed.

    Args:
        id: 12 digits.
        region: of the stack.
        config: what the stack is configured with, by key; None when there is no such stack yet.
    """

    id: str
    region: str
    config: dict[str, str | None] | None

    @classmethod
    def of(cls, stack: PulumiStack, accounts: tuple[str, ...], region: str | None) -> _Account:
        """Look at the account that Pulumi would reach.

        Raises:
            SettingsError: the stack is in another region, or no region is known.
            TargetUnavailable: the account is not allowed, or Pulumi would reach another than the one looked at.
        """
        from harness.targets.aws import check_account, check_accounts  # noqa: PLC0415 - only where AWS takes part
        from harness.targets.aws_clients import own_region  # noqa: PLC0415 - boto3 takes 0.2 s to import

        check_accounts(accounts)
        config = stack.config()
        others = sorted(key for key in config or () if key in _OTHER_CREDENTIALS)
        if others:
            raise TargetUnavailable(
                f"The stack {stack.name} is configured with {others[0]}, so Pulumi could reach another account than "
                f"the one of this shell's credentials: `pulumi config rm {others[0]}`, and set AWS_PROFILE instead."
            )
        configured = (config or {}).get("aws:region")
        if region and configured and region != configured:
            raise SettingsError("--region", region, f"the stack {stack.name} is in {configured}; take another stack")
        known = region or configured or own_region()
        if not known:
            raise SettingsError("--region", "", "give the AWS region that the stack goes to, or AWS_REGION")
        return cls(check_account(accounts, region=known), known, config)

    def has(self, name: str) -> bool:
        """Tell whether the stack is configured with a value of the program's own."""
        return any(
            key.rpartition(":")[2] == name and not key.startswith("aws:") and value != ""
            for key, value in (self.config or {}).items()
        )


def _open(name: str, program: Path | None, config_file: Path | None) -> PulumiStack:
    from harness.targets.pulumi_cli import PulumiStack  # noqa: PLC0415 - only where Pulumi takes part

    return PulumiStack(name, program=program, config_file=config_file)


def _values(account: _Account, receiver_url: str | None, secret: str | None) -> list[_Value]:
    """Work out what the stack is configured with.

    Raises:
        SettingsError: there is a receiver and no secret for it.
    """
    values = [_Value("aws:region", account.region), _Value("guestsAreSwept", "true")]
    if receiver_url:
        values.append(_Value("receiverUrl", receiver_url))
    if secret:
        values.append(_Value("iotSecret", secret, is_secret=True))
    elif receiver_url and not account.has("iotSecret"):
        raise SettingsError(
            _SECRET_VARIABLE, "", "set it to the secret that the receiver has in IOT_SECRETS, which the rule presents"
        )
    return values


def _next_steps(stack: PulumiStack, account: _Account, told: dict[str, Any]) -> list[str]:
    """Say what to do with the stack, as commands that can be pasted."""
    where = f"--pulumi-stack {shlex.quote(stack.name)} --aws-account {account.id}"
    test = f"next: pytest --target aws {where}"
    if told.get("ruleName"):
        return [test]
    receiver = (
        f"or start a receiver with TABLE_NAME={told.get('tableName')}, then set {_SECRET_VARIABLE} to its secret:"
    )
    return [
        f"{test} (what needs the rule is skipped, as not proven)",
        f"{receiver} thingwright deploy {where} --receiver-url https://…",
    ]


def _print(terminal: Terminal, told: dict[str, Any], *, as_json: bool = False) -> None:
    told = _in_order(told)
    if as_json:
        lines = json.dumps(told, indent=2).splitlines()
    else:
        lines = [f"{name}: {_shown(value)}" for name, value in told.items()]
    for line in lines:
        terminal.line(line)


def _in_order(told: dict[str, Any]) -> dict[str, Any]:
    """Put outputs in their documented order and further ones behind: a deployment tells them in any."""
    from harness.targets.outputs import StackOutputs, camel_case  # noqa: PLC0415 - only where outputs are shown

    documented = [camel_case(each.name) for each in fields(StackOutputs)]
    names = [name for name in documented if name in told] + sorted(told.keys() - documented)
    return {name: told[name] for name in names}


def _shown(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
