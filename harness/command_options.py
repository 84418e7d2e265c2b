"""Options that several commands take, and how they say which stack is meant.

Each option is a type of a parameter, so that its name, variable and words stand in one place. Where a command does
something else with it, it has words of its own: `ready_file_option` and its like take them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from harness.errors import TargetUnavailable

if TYPE_CHECKING:
    from typer.models import OptionInfo


def ready_file_option(help_text: str) -> OptionInfo:
    """Make the option ``--ready-file`` with words of a command's own."""
    option: OptionInfo = typer.Option("--ready-file", metavar="FILE", envvar="HARNESS_READY_FILE", help=help_text)
    return option


def pulumi_stack_option(help_text: str) -> OptionInfo:
    """Make the option ``--pulumi-stack`` with words of a command's own."""
    option: OptionInfo = typer.Option("--pulumi-stack", metavar="NAME", envvar="HARNESS_PULUMI_STACK", help=help_text)
    return option


def aws_account_option(help_text: str) -> OptionInfo:
    """Make the option ``--aws-account`` with words of a command's own."""
    option: OptionInfo = typer.Option("--aws-account", metavar="ID", envvar="HARNESS_AWS_ACCOUNT", help=help_text)
    return option


ReadyFileOption = Annotated[
    Path | None, ready_file_option("Use the stand-in that `thingwright serve --ready-file FILE` started.")
]
StackOutputsOption = Annotated[
    Path | None,
    typer.Option(
        "--stack-outputs",
        metavar="FILE",
        envvar="HARNESS_STACK_OUTPUTS",
        help="Use the stack on AWS whose outputs `pulumi stack output --json` wrote to FILE.",
    ),
]
PulumiStackOption = Annotated[
    str | None, pulumi_stack_option("Use the stack on AWS that the Pulumi CLI knows by NAME.")
]
AwsAccountOption = Annotated[
    list[str] | None, aws_account_option("Id of an AWS account that may be touched; may be repeated.")
]
ProgramOption = Annotated[
    Path | None,
    typer.Option("--program", metavar="DIR", help="Folder of another Pulumi program than Thingwright's own."),
]

ALTERNATIVES: Final = (
    "--ready-file FILE (HARNESS_READY_FILE) of a `thingwright serve`, or of a stack on AWS --stack-outputs FILE "
    "(HARNESS_STACK_OUTPUTS) or --pulumi-stack NAME (HARNESS_PULUMI_STACK)"
)
"""How a command is told which stack, in words."""


def accounts_of(given: list[str] | None) -> tuple[str, ...]:
    """Return the ids of accounts as typed: one by one, or separated by commas as in the variable."""
    ids = [part.strip() for each in given or () for part in each.split(",")]
    return tuple(dict.fromkeys(part for part in ids if part))


def typed_first(context: typer.Context, **named: Any) -> dict[str, Any]:
    """Return what names a stack: what was typed, and only where nothing was what the environment says.

    So whoever types one way need not unset the variables of the others.

    Args:
        context: of the command.
        named: what each way of naming a stack says, by the name of its parameter; None is nothing.

    Returns:
        All of them by the same names, with None for those that do not count.
    """
    typed = {name: value for name, value in named.items() if is_typed(context, name)}
    return dict.fromkeys(named) | (typed or named)


def one_stack(context: typer.Context, *, question: str, **named: Any) -> dict[str, Any]:
    """Return what names a stack, as `typed_first`, and make sure that it is exactly one.

    Args:
        context: of the command.
        question: what is asked for, as the begin of the complaint.
        named: as for `typed_first`.

    Raises:
        TargetUnavailable: none or several were.
    """
    chosen = at_most_one_stack(context, question=question, **named)
    if all(value is None for value in chosen.values()):
        raise TargetUnavailable(f"{question} Give {ALTERNATIVES}.")
    return chosen


def at_most_one_stack(context: typer.Context, *, question: str, **named: Any) -> dict[str, Any]:
    """Return the same for a command that can do without.

    Raises:
        TargetUnavailable: several were.
    """
    chosen = typed_first(context, **named)
    if sum(value is not None for value in chosen.values()) > 1:
        raise TargetUnavailable(f"{question} More than one was given: give one of {ALTERNATIVES}.")
    return chosen


def is_typed(context: typer.Context, name: str) -> bool:
    """Tell whether a parameter was given on the command line, and not by a variable."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"
