"""What a target may be told, whichever it is: command line and environment, read once (`harness.plugin`)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetOptions:
    """What the targets take; each says which of these it needs and refuses those that are not for it.

    Args:
        ready_file: ``endpoint``: what ``thingwright serve --ready-file`` wrote.
        stack: folder of another Pulumi program than this project's; a ready file has no use for it.
        endpoint_url: ``endpoint``: base URL of an emulator's AWS APIs.
        iot_endpoint: ``endpoint`` by URL: host of its broker; None asks DescribeEndpoint.
        mqtts_port: ``endpoint`` by URL: MQTT with client certificate; None: 8883.
        wss_port: ``endpoint`` by URL: MQTT over WebSocket; None: what DescribeEndpoint says, else 443.
        ca_file: ``endpoint`` by URL: PEM file of the CAs of its servers; None: the system's.
        access_key_id: ``endpoint`` by URL: whose AWS calls they are; None: ``test``, which emulators take.
        secret_access_key: the key to it; never printed.
        receiver_url: ``endpoint`` by URL and ``localstack``: base URL of a receiver that runs and whose certificate the
            emulator trusts; None deploys the stack without destination and rule.
        receiver_secret: what the rule presents to it; never printed.
        receiver_table: the table that it writes to, which the stack makes; this project's program makes a table of this
            name, and another program is told of it as ``tableName``.
        stack_outputs: ``aws``: file with the stack's outputs, as ``pulumi stack output --json`` writes it.
        pulumi_stack: ``aws``: name of a Pulumi stack whose outputs the Pulumi CLI is asked for.
        aws_accounts: ``aws``: ids of the accounts that the run may touch.
        localstack_token: ``localstack``: its auth token; never printed.
    """

    ready_file: Path | None = None
    stack: Path | None = None
    endpoint_url: str | None = None
    iot_endpoint: str | None = None
    mqtts_port: int | None = None
    wss_port: int | None = None
    ca_file: Path | None = None
    access_key_id: str | None = None
    secret_access_key: str | None = field(default=None, repr=False)
    receiver_url: str | None = None
    receiver_secret: str | None = field(default=None, repr=False)
    receiver_table: str | None = None
    stack_outputs: Path | None = None
    pulumi_stack: str | None = None
    aws_accounts: tuple[str, ...] = ()
    localstack_token: str | None = field(default=None, repr=False)
