"""The ``thingwright`` command: what can be asked for, and how each answer ends.

Only options, exit codes and complaints live here; a command imports what it needs when it runs, so that the first line
appears at once. Exit codes: 0 done, 1 it did not work, 2 not a valid command line, 4 something it needs is not there
(one sentence says what, in each case), 130 interrupted.
"""

from __future__ import annotations

import math
import shlex
import signal
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness import report_commands, stack_commands, sweep_commands
from harness.command_options import (
    AwsAccountOption,
    ProgramOption,
    PulumiStackOption,
    ReadyFileOption,
    StackOutputsOption,
    accounts_of,
    at_most_one_stack,
    is_typed,
    one_stack,
    ready_file_option,
    typed_first,
)
from harness.ending import end
from harness.errors import SettingsError, TargetUnavailable

if TYPE_CHECKING:
    from harness.console import Role
    from harness.targets.base import Environment
    from harness.targets.options import TargetOptions
    from harness.terminal import Terminal

app = typer.Typer(
    name="thingwright",
    help="End-to-end tests for AWS IoT Core systems: a stand-in for this machine, and clients for it and for AWS.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

EndpointOption = Annotated[
    str | None,
    typer.Option("--endpoint", metavar="HOST", help="Data endpoint, a bare host name. [env var: IOT_ENDPOINT_HOST]"),
]
RegionOption = Annotated[
    str | None,
    typer.Option("--region", metavar="NAME", help="AWS region. [env var: AWS_REGION; default: the identity pool's]"),
]
PoolOption = Annotated[
    str | None,
    typer.Option(
        "--identity-pool-id", metavar="REGION:UUID", help="Where guests get credentials. [env var: IDENTITY_POOL_ID]"
    ),
]
TopicOption = Annotated[
    str | None,
    typer.Option(
        "--topic",
        metavar="TOPIC",
        help="Where to listen and publish. [env var: PUBLIC_TOPIC; default: public/broadcast]",
    ),
]
MessageOption = Annotated[
    str | None,
    typer.Option(
        "--message",
        metavar="TEXT",
        help="What to publish once subscribed; empty publishes nothing. [default: Hello, World!]",
    ),
]
PortOption = Annotated[
    int | None,
    typer.Option("--port", min=1, max=65535, metavar="PORT", help="Port of MQTT over WebSocket. [default: 443]"),
]
CaFileOption = Annotated[
    Path | None,
    typer.Option("--ca-file", metavar="PEM", help="CA that signed the endpoint's certificate. [default: the system's]"),
]
EndpointUrlOption = Annotated[
    str | None,
    typer.Option("--endpoint-url", metavar="URL", help="Where Cognito and STS are, if not at AWS."),
]
MqttsPortOption = Annotated[
    int,
    typer.Option("--mqtts-port", min=0, max=65535, metavar="PORT", help="MQTT with certificates; 0 takes a free one."),
]
WssPortOption = Annotated[
    int,
    typer.Option("--wss-port", min=0, max=65535, metavar="PORT", help="MQTT over WebSocket; 0 takes a free one."),
]
ControlPortOption = Annotated[
    int,
    typer.Option("--control-port", min=0, max=65535, metavar="PORT", help="AWS APIs; 0 takes a free one."),
]
ReceiverPortOption = Annotated[
    int,
    typer.Option("--receiver-port", min=0, max=65535, metavar="PORT", help="The receiver; 0 takes a free one."),
]
HttpCaFileOption = Annotated[
    Path | None,
    typer.Option(
        "--http-ca-file",
        metavar="PEM",
        help="Further CA that HTTP actions trust, for a receiver of your own on this machine.",
    ),
]
CountOption = Annotated[
    int | None,
    typer.Option("--count", min=1, metavar="N", help="End after N messages. [default: listen until Ctrl+C]"),
]


def main() -> None:
    """Run the command line; the entry point of the distribution."""
    try:
        app()
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the exit code is decided: nothing is left to interrupt


def _print_version(asked: bool) -> None:  # noqa: FBT001 - typer calls it so
    if asked:
        try:
            number = version("thingwright")
        except PackageNotFoundError:  # run from a checkout
            number = "(not installed)"
        typer.echo(f"thingwright {number}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    version: Annotated[  # its callback has done the work
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Hold the options of the command itself; the description is the application's."""


@app.command(short_help="Show both paths: guests hear, readings become rows.")
def demo(  # noqa: PLR0913 - one parameter per option
    context: typer.Context,
    *,
    clients: Annotated[int, typer.Option("--clients", min=1, metavar="N", help="How many listeners.")] = 3,
    messages: Annotated[
        int, typer.Option("--messages", min=1, metavar="M", help="How many messages to broadcast.")
    ] = 1,
    devices: Annotated[
        int, typer.Option("--devices", min=0, max=100, metavar="D", help="How many devices report a reading.")
    ] = 2,
    ready_file: ReadyFileOption = None,
    stack_outputs: StackOutputsOption = None,
    pulumi_stack: PulumiStackOption = None,
    aws_account: AwsAccountOption = None,
    program: ProgramOption = None,
) -> None:
    """Show guests hearing a broadcaster and devices' readings becoming rows.

    On a stand-in started for the purpose, on one that runs, or at a stack on AWS; what is made there is removed again.
    Exit code 1 when a message is missing at a listener, or a row in the table.
    """

    def work(terminal: Terminal) -> int:
        from harness.targets.options import TargetOptions  # noqa: PLC0415 - only commands that talk to a target

        ways = {"ready_file": ready_file, "stack_outputs": stack_outputs, "pulumi_stack": pulumi_stack}
        choose = one_stack if is_typed(context, "aws_account") else at_most_one_stack
        chosen = choose(context, question="A demonstration is for one target.", **ways)
        options = TargetOptions(stack=program, aws_accounts=accounts_of(aws_account), **chosen)
        from harness.demo import run_demo  # noqa: PLC0415 - only this command shows

        return run_demo(terminal, clients=clients, messages=messages, devices=devices, options=options)

    end(work)


@app.command(short_help="Run the stand-in.")
def serve(  # noqa: PLR0913 - one parameter per option
    *,
    ready_file: Annotated[
        Path | None, ready_file_option("Written (mode 0600) once all accepts connections: ports, keys, outputs.")
    ] = None,
    no_stack: Annotated[bool, typer.Option("--no-stack", help="Deploy nothing: broker and AWS APIs alone.")] = False,
    stack: Annotated[
        Path | None,
        typer.Option("--stack", metavar="FOLDER", help="Deploy this Pulumi program instead of Thingwright's own."),
    ] = None,
    quirk: Annotated[
        list[str] | None,
        typer.Option("--quirk", metavar="NAME=VALUE", help="Set one documented difference from AWS; may be repeated."),
    ] = None,
    mqtts_port: MqttsPortOption = 0,
    wss_port: WssPortOption = 0,
    control_port: ControlPortOption = 0,
    receiver_port: ReceiverPortOption = 0,
    http_ca_file: HttpCaFileOption = None,
    region: Annotated[str, typer.Option("--region", metavar="NAME", help="AWS region to play.")] = "us-east-1",
) -> None:
    """Run the stand-in until SIGTERM (exit code 0) or Ctrl+C (130)."""

    def work(terminal: Terminal) -> int:
        from harness.targets.embedded import DEFAULT_STACK, SupervisorOptions  # noqa: PLC0415 - only this command serves
        from harness.targets.embedded import serve as run_server  # noqa: PLC0415 - the same

        if no_stack and receiver_port:
            raise SettingsError("--receiver-port", str(receiver_port), "no port with --no-stack: there is no receiver")
        options = SupervisorOptions(
            stack=stack or DEFAULT_STACK,
            mqtts_port=mqtts_port,
            wss_port=wss_port,
            control_port=control_port,
            receiver_port=receiver_port,
            http_ca_file=http_ca_file,
            region=region,
        )
        return run_server(
            ready_file=ready_file, no_stack=no_stack, quirks=quirk or [], echo=terminal.line, options=options
        )

    end(work)


@app.command(short_help="Publish one message as a guest, then listen.")
def client(  # noqa: PLR0913 - one parameter per option
    context: typer.Context,
    *,
    endpoint: EndpointOption = None,
    region: RegionOption = None,
    identity_pool_id: PoolOption = None,
    topic: TopicOption = None,
    message: MessageOption = None,
    port: PortOption = None,
    ca_file: CaFileOption = None,
    endpoint_url: EndpointUrlOption = None,
    ready_file: ReadyFileOption = None,
    stack_outputs: StackOutputsOption = None,
    count: CountOption = None,
) -> None:
    """Connect as a guest, subscribe, publish one message, then listen until Ctrl+C.

    Works against AWS and against `thingwright serve` alike.
    """
    _converse("client", locals())


@app.command(short_help="Listen as a guest.")
def listen(  # noqa: PLR0913 - one parameter per option
    context: typer.Context,
    *,
    endpoint: EndpointOption = None,
    region: RegionOption = None,
    identity_pool_id: PoolOption = None,
    topic: TopicOption = None,
    port: PortOption = None,
    ca_file: CaFileOption = None,
    endpoint_url: EndpointUrlOption = None,
    ready_file: ReadyFileOption = None,
    stack_outputs: StackOutputsOption = None,
    count: CountOption = None,
) -> None:
    """Connect as a guest, subscribe, and listen until Ctrl+C; the same as `client --message ""`."""
    _converse("listen", {**locals(), "message": ""})


@app.command(short_help="Publish one message as a guest.")
def publish(  # noqa: PLR0913 - one parameter per option
    context: typer.Context,
    *,
    endpoint: EndpointOption = None,
    region: RegionOption = None,
    identity_pool_id: PoolOption = None,
    topic: TopicOption = None,
    message: MessageOption = None,
    port: PortOption = None,
    ca_file: CaFileOption = None,
    endpoint_url: EndpointUrlOption = None,
    ready_file: ReadyFileOption = None,
    stack_outputs: StackOutputsOption = None,
) -> None:
    """Connect as a guest, publish one message, and end when the broker has acknowledged it."""
    _converse("publish", locals())


def _converse(role: Role, given: dict[str, Any]) -> None:
    """Run one of the guest's commands with the options given to it."""

    def work(terminal: Terminal) -> int:
        from harness.settings import ClientSettings  # noqa: PLC0415 - imports pydantic

        ways = {name: given[name] for name in ("ready_file", "stack_outputs")}
        flags = {name: value for name, value in given.items() if name not in {"context", *ways}}
        settings = ClientSettings.of(flags, **typed_first(given["context"], **ways))
        from harness.console import run_guest  # noqa: PLC0415 - what it imports in turn takes longer than the settings

        return run_guest(settings, terminal, role=role)

    end(work)


@app.command(short_help="Register a device and write its connection kit.")
def kit(  # noqa: PLR0913 - one parameter per option
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the device's thing, also its client id.")],
    *,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the kit goes: a folder, new or empty.")],
    as_zip: Annotated[bool, typer.Option("--zip", help="Write one archive instead of loose files.")] = False,
    ready_file: ReadyFileOption = None,
    stack_outputs: StackOutputsOption = None,
    pulumi_stack: PulumiStackOption = None,
    aws_account: AwsAccountOption = None,
    program: ProgramOption = None,
) -> None:
    """Register a thing with a certificate and the stack's device policy, and write what a device connects with.

    The kit has the files that the AWS console's has: device.pem.crt, private.pem.key, public.pem.key,
    AmazonRootCA1.pem and start.sh; kit.json says where to connect.
    """

    def work(terminal: Terminal) -> int:
        from harness.targets.options import TargetOptions  # noqa: PLC0415 - only commands that talk to a target

        environment = _environment(
            context,
            ready_file=ready_file,
            stack_outputs=stack_outputs,
            pulumi_stack=pulumi_stack,
            options=TargetOptions(stack=program, aws_accounts=accounts_of(aws_account)),
            whose="A kit is",
            needs="the device policy",
        )
        from harness.registration import make_kit  # noqa: PLC0415 - only this command registers a device

        made = make_kit(environment, name, out=out, as_zip=as_zip)
        was = "registered" if made.is_new_thing else "was there before: it has one more certificate now"
        terminal.line(f"[kit] {name} {was}")
        terminal.line(f"[kit] certificate {made.certificate_id} with policy {environment.outputs.device_policy_name}")
        terminal.line(f"[kit] written to {made.path}: {', '.join(made.names)}")
        if not as_zip:
            terminal.line(f"[kit] try: thingwright device --kit {shlex.quote(str(made.path))}")
        return 0

    end(work)


@app.command(short_help="Report readings as the device of a kit.")
def device(
    *,
    folder: Annotated[Path, typer.Option("--kit", metavar="DIR", help="The folder that `thingwright kit` wrote.")],
    rate: Annotated[float, typer.Option("--rate", min=0.001, max=100, metavar="R", help="Readings per second.")] = 1.0,
    count: Annotated[
        int | None, typer.Option("--count", min=1, metavar="N", help="End after N readings. [default: until Ctrl+C]")
    ] = None,
    temp: Annotated[
        float | None,
        typer.Option("--temp", metavar="T", help="Temperature of every reading. [default: swings around 21.5]"),
    ] = None,
) -> None:
    """Connect with a kit's certificate and report readings, as the simulator of a device."""

    def work(terminal: Terminal) -> int:
        if temp is not None and not math.isfinite(temp):
            raise SettingsError("--temp", temp, "a number that JSON has")
        from harness.simulator import run_device  # noqa: PLC0415 - only this command simulates

        return run_device(terminal, folder, rate=rate, count=count, temp=temp)

    end(work)


@app.command(short_help="Deliver after all what is in the dead-letter queue.")
def redrive(
    context: typer.Context,
    *,
    min_age: Annotated[
        float,
        typer.Option(
            "--min-age",
            min=0,
            metavar="SECONDS",
            help="Leave younger letters alone: for as long as their rule and the receiver may still be at work, "
            "a row could come that was not there when it was looked for, and be doubled.",
        ),
    ] = 60.0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell what would be done; post and delete nothing.")
    ] = False,
    ready_file: ReadyFileOption = None,
    stack_outputs: StackOutputsOption = None,
    pulumi_stack: PulumiStackOption = None,
    aws_account: AwsAccountOption = None,
    program: ProgramOption = None,
) -> None:
    """Post the readings in the dead-letter queue to the receiver, unless they have their rows, and delete the letters.

    Each letter is posted as the rule that it names would post it. May be run again and again, and by several at once.
    What is left stays in the queue, and the last line says why. Exit code 1 when another run may do better.
    """

    def work(terminal: Terminal) -> int:
        from harness.targets.options import TargetOptions  # noqa: PLC0415 - only commands that talk to a target

        environment = _environment(
            context,
            ready_file=ready_file,
            stack_outputs=stack_outputs,
            pulumi_stack=pulumi_stack,
            options=TargetOptions(stack=program, aws_accounts=accounts_of(aws_account)),
            whose="A queue is redriven",
            needs="the queue",
        )
        from harness.redrive import run_redrive  # noqa: PLC0415 - only this command redrives

        return run_redrive(terminal, environment, min_age=min_age, is_dry=dry_run)

    end(work)


def _environment(
    context: typer.Context,
    *,
    ready_file: Path | None,
    stack_outputs: Path | None,
    pulumi_stack: str | None,
    options: TargetOptions,
    whose: str,
    needs: str,
) -> Environment:
    """Return the running target, or the stack on AWS, that a command was given.

    Args:
        context: of the command.
        ready_file: of a `thingwright serve`.
        stack_outputs: file with the outputs of a stack on AWS.
        pulumi_stack: name of a Pulumi stack on AWS.
        options: what else there is to know of a stack on AWS.
        whose: what the command makes, with its verb.
        needs: what it needs of a stack.

    Raises:
        SettingsError: a value is not accepted.
        TargetUnavailable: there is none, there are several, it cannot be used, or it has no stack.
    """
    from harness.targets.names import Names, make_run_id  # noqa: PLC0415 - only commands that talk to a target

    ways = {"ready_file": ready_file, "stack_outputs": stack_outputs, "pulumi_stack": pulumi_stack}
    chosen = one_stack(context, question=f"{whose} for one target.", **ways)
    running = chosen.pop("ready_file")
    names = Names(make_run_id())
    if running is None:
        from harness.targets.aws import AwsTarget  # noqa: PLC0415 - the same

        return AwsTarget(replace(options, **chosen), names=names).start()
    from harness.targets.base import Environment  # noqa: PLC0415 - the same
    from harness.targets.ready import read  # noqa: PLC0415 - the same

    environment = Environment.from_ready("endpoint", read(running), names=names)
    if environment.stack_outputs is None:
        raise TargetUnavailable(
            f"{whose} for a target with a stack, which has {needs}: start `thingwright serve` without --no-stack."
        )
    return environment


for _commands in (stack_commands, sweep_commands, report_commands):
    _commands.add_to(app)
