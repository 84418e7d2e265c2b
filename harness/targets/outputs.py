"""The outputs of the stack as values: the names of ``infra/outputs.schema.json``, in Python's spelling."""

from __future__ import annotations

import re
from dataclasses import MISSING, asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Final, get_type_hints
from urllib.parse import urlsplit

from harness.errors import TargetUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

_WSS_PORT: Final = 443
"""Of a URL that names none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StackOutputs:
    """What the deployed stack tells of itself; the same names for every target.

    Args:
        region: AWS region of the stack.
        iot_endpoint: bare host of the broker.
        iot_mqtts_port: MQTT with client certificate; 8883 on AWS.
        iot_wss_url: ``wss://host[:port]/mqtt``.
        ca_file: PEM file that checks the broker's certificate; None: the system's.
        identity_pool_id: Cognito identity pool that gives guests credentials.
        client_id_prefix: what a guest's client id begins with, ``public-``.
        topic_prefix: what a guest's topics begin with, ``public/``.
        telemetry_topic: where devices publish.
        device_policy_name: IoT policy to attach to a device's certificate.
        rule_name: topic rule that posts readings to the receiver; None, like what follows: the stack has none.
        destination_arn: HTTP destination of that rule.
        table_name: DynamoDB table of the readings.
        receiver_url: base URL of the receiver.
        dead_letter_queue_url: SQS queue of readings that could not be delivered.
    """

    region: str
    iot_endpoint: str
    iot_mqtts_port: int
    iot_wss_url: str
    ca_file: str | None = None
    identity_pool_id: str
    client_id_prefix: str
    topic_prefix: str
    telemetry_topic: str
    device_policy_name: str
    rule_name: str | None = None
    destination_arn: str | None = None
    table_name: str | None = None
    receiver_url: str | None = None
    dead_letter_queue_url: str | None = None

    @classmethod
    def parse(cls, outputs: Mapping[str, Any]) -> StackOutputs:
        """Read a stack's outputs by their own names (``identityPoolId``); further ones are ignored.

        Raises:
            TargetUnavailable: one is missing or of another type.
        """
        values: dict[str, Any] = {}
        accepted = get_type_hints(cls)
        for each in fields(cls):
            name = camel_case(each.name)
            value = outputs.get(name)
            if isinstance(value, float) and value.is_integer():
                value = int(value)  # Pulumi knows only floats
            if name not in outputs and each.default is not MISSING:
                continue
            if not isinstance(value, accepted[each.name]) or isinstance(value, bool):
                what = "is missing" if name not in outputs else f"is {value!r}"
                raise TargetUnavailable(f"The stack's output {name} {what}: deploy the program of infra/pulumi again.")
            values[each.name] = value
        return cls(**values)

    @property
    def is_port_shared(self) -> bool:
        """Whether MQTT and WebSocket are on one port, so that a client has to say in its handshake which it speaks."""
        return self.iot_mqtts_port == (urlsplit(self.iot_wss_url).port or _WSS_PORT)

    def need(self, name: str) -> str:
        """Return an output that a stack may lack, for whoever cannot do without.

        Args:
            name: in Python's spelling, for example ``table_name``.

        Raises:
            TargetUnavailable: the stack lacks it.
        """
        value: str | None = getattr(self, name)
        if value is None:
            raise TargetUnavailable(
                f"The stack has no output {camel_case(name)}: set receiverUrl and iotSecret for the program of "
                "infra/pulumi and deploy it again, as infra/README.md says."
            )
        return value

    def to_json(self) -> dict[str, Any]:
        """Return the outputs by their own names, without those that the stack lacks.

        None is a value for one alone: for ``caFile`` it means the system's CAs.
        """
        told = {name: value for name, value in asdict(self).items() if value is not None or name == "ca_file"}
        return {camel_case(name): value for name, value in told.items()}


def camel_case(name: str) -> str:
    """Turn ``identity_pool_id`` into ``identityPoolId``."""
    return re.sub(r"_([a-z])", lambda match: match[1].upper(), name)
