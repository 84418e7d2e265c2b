"""Thingwright: end-to-end tests for AWS IoT Core systems.

What a test author types is exported here; every name is loaded when it is first used, so that importing the package, as
pytest does in every suite of an environment it is installed in, costs nothing.

    from harness import BroadcastClient, Device, Operator, Message, Refusal, Rows, Topics
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from harness.clients.broadcast import BroadcastClient as BroadcastClient
    from harness.clients.broadcast import WssEndpoint as WssEndpoint
    from harness.clients.credentials import TemporaryCredentials as TemporaryCredentials
    from harness.clients.dead_letters import DeadLetter as DeadLetter
    from harness.clients.dead_letters import DeadLetters as DeadLetters
    from harness.clients.destinations import Destination as Destination
    from harness.clients.device import Device as Device
    from harness.clients.device import MqttsEndpoint as MqttsEndpoint
    from harness.clients.device import Reading as Reading
    from harness.clients.faults import Faults as Faults
    from harness.clients.identities import DeviceIdentity as DeviceIdentity
    from harness.clients.inbox import Delivery as Delivery
    from harness.clients.inbox import Inbox as Inbox
    from harness.clients.message import Message as Message
    from harness.clients.operator import Operator as Operator
    from harness.clients.receiver import ReceiverView as ReceiverView
    from harness.clients.receiver import RunningReceiver as RunningReceiver
    from harness.clients.redriving import Outcome as Outcome
    from harness.clients.refusal import Refusal as Refusal
    from harness.clients.rows import Row as Row
    from harness.clients.rows import Rows as Rows
    from harness.clients.rules import Rule as Rule
    from harness.clients.stories import Stories as Stories
    from harness.clients.story import Story as Story
    from harness.clients.story import Try as Try
    from harness.clients.topics import Topics as Topics
    from harness.clients.trace import Trace as Trace
    from harness.device_fixtures import MakeDevice as MakeDevice
    from harness.device_fixtures import MakeDevices as MakeDevices
    from harness.errors import ConnectionRefused as ConnectionRefused
    from harness.errors import ExpectationError as ExpectationError
    from harness.errors import HarnessError as HarnessError
    from harness.errors import OperationRefused as OperationRefused
    from harness.fixtures import MakeBroadcastClient as MakeBroadcastClient
    from harness.fixtures import MakeBroadcastClients as MakeBroadcastClients
    from harness.targets.base import Capability as Capability
    from harness.targets.base import Environment as Environment
    from harness.targets.outputs import StackOutputs as StackOutputs
    from harness.telemetry_fixtures import MakeDestination as MakeDestination
    from harness.telemetry_fixtures import MakeReceiver as MakeReceiver
    from harness.telemetry_fixtures import MakeRule as MakeRule
    from harness.telemetry_fixtures import Redrive as Redrive

_HOMES: Final = {
    "BroadcastClient": "harness.clients.broadcast",
    "Capability": "harness.targets.base",
    "ConnectionRefused": "harness.errors",
    "DeadLetter": "harness.clients.dead_letters",
    "DeadLetters": "harness.clients.dead_letters",
    "Delivery": "harness.clients.inbox",
    "Destination": "harness.clients.destinations",
    "Device": "harness.clients.device",
    "DeviceIdentity": "harness.clients.identities",
    "Environment": "harness.targets.base",
    "ExpectationError": "harness.errors",
    "Faults": "harness.clients.faults",
    "HarnessError": "harness.errors",
    "Inbox": "harness.clients.inbox",
    "MakeBroadcastClient": "harness.fixtures",
    "MakeBroadcastClients": "harness.fixtures",
    "MakeDestination": "harness.telemetry_fixtures",
    "MakeDevice": "harness.device_fixtures",
    "MakeDevices": "harness.device_fixtures",
    "MakeReceiver": "harness.telemetry_fixtures",
    "MakeRule": "harness.telemetry_fixtures",
    "Message": "harness.clients.message",
    "MqttsEndpoint": "harness.clients.device",
    "OperationRefused": "harness.errors",
    "Operator": "harness.clients.operator",
    "Outcome": "harness.clients.redriving",
    "Reading": "harness.clients.device",
    "ReceiverView": "harness.clients.receiver",
    "Redrive": "harness.telemetry_fixtures",
    "Refusal": "harness.clients.refusal",
    "Row": "harness.clients.rows",
    "Rows": "harness.clients.rows",
    "Rule": "harness.clients.rules",
    "RunningReceiver": "harness.clients.receiver",
    "StackOutputs": "harness.targets.outputs",
    "Stories": "harness.clients.stories",
    "Story": "harness.clients.story",
    "TemporaryCredentials": "harness.clients.credentials",
    "Topics": "harness.clients.topics",
    "Trace": "harness.clients.trace",
    "Try": "harness.clients.story",
    "WssEndpoint": "harness.clients.broadcast",
}

__all__ = sorted(_HOMES)  # noqa: PLE0605 - one list of names, in the table above


def __getattr__(name: str) -> Any:
    """Load a public name when it is first asked for (PEP 562)."""
    try:
        home = _HOMES[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names beside the module's own."""
    return sorted({*globals(), *_HOMES})
