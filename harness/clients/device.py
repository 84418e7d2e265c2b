"""`Device`: a Thing that reports readings over MQTT 5 and mutual TLS, with a certificate of its own."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from json import dumps
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from harness.clients.actor import Actor
from harness.clients.message import Message
from harness.clients.tls import device_context
from harness.clients.waiting import PATIENCE

if TYPE_CHECKING:
    from awscrt import io

    from harness.clients.handover import Handover
    from harness.clients.identities import DeviceIdentity
    from harness.clients.message import Payload
    from harness.clients.refusal import How
    from harness.clients.spending import Budget
    from harness.clients.trace import Trace

Number: TypeAlias = int | float | Decimal


class _Now(Enum):
    NOW = "now"


NOW: Final = _Now.NOW
"""For ``ts``: the time of the call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MqttsEndpoint:
    """Where devices connect to.

    Args:
        host: bare host name or address.
        port: 8883 on AWS, where 443 works as well.
        ca_file: PEM file that checks the server certificate; None means the system's authorities.
        is_port_shared: whether WebSockets are served on this port as well, so that a device has to say that it speaks
            MQTT; on 443 it does so anyway.
    """

    host: str
    port: int = 8883
    ca_file: str | None = None
    is_port_shared: bool = False


class Reading(Message):
    """A reading as it was sent: a message that knows what it says.

    Args:
        topic: its topic name.
        payload: as it went out.
        device_id: whose reading it says it is.
        temp: the temperature.
        ts: the device's own time of it, None when it does not say.
        more: what `Message` takes besides.
    """

    def __init__(
        self,
        topic: str,
        payload: bytes,
        *,
        device_id: str,
        temp: Number,
        ts: str | Number | None,
        **more: Any,
    ) -> None:
        super().__init__(topic, payload, **more)
        self.device_id = device_id
        self.temp = temp
        self.ts = ts

    def __repr__(self) -> str:
        return f"Reading({self.device_id!r}, temp={self.temp!r}, ts={self.ts!r}, topic={self.topic!r})"


class Device(Actor):
    """A device: connects with its certificate, under the name of its Thing, and reports readings.

    It reconnects by itself when its connection breaks. One device belongs to the event loop it connects on.

    Args:
        endpoint: where to connect to.
        identity: who it is, or says it is.
        client_id: the Thing's name when None.
        telemetry_topic: where its readings go.
        patience: seconds a wait for something that should come may take.
        trace: the target's trace, where it has one: refusals and failures quote it.
        handover: shared by the devices of one test; one of its own when None.
        has_metrics: whether to name the SDK in the user name, as AWS's builders do.
        settles_within: seconds it may take until a change of what it may do holds, as on AWS; 0: it holds at once.
        budget: how many messages the run may have; None: as many as it likes.
    """

    endpoint: MqttsEndpoint

    def __init__(  # noqa: PLR0913 - all but the first two have defaults, and are told by name
        self,
        *,
        endpoint: MqttsEndpoint,
        identity: DeviceIdentity,
        client_id: str | None = None,
        telemetry_topic: str = "things/telemetry",
        patience: float = PATIENCE,
        trace: Trace | None = None,
        handover: Handover | None = None,
        has_metrics: bool = True,
        settles_within: float = 0.0,
        budget: Budget | None = None,
    ) -> None:
        super().__init__(
            client_id=client_id or identity.thing_name,
            endpoint=endpoint,
            patience=patience,
            trace=trace,
            handover=handover,
            has_metrics=has_metrics,
            settles_within=settles_within,
            budget=budget,
        )
        self.identity = identity
        self.telemetry_topic = telemetry_topic
        self._context: io.ClientTlsContext | None = None
        self._tried_at = ""

    @property
    def thing_name(self) -> str:
        """The name of its Thing."""
        return self.identity.thing_name

    @property
    def certificate_id(self) -> str:
        """SHA-256 of its certificate, hex: what the trace and AWS's logs call it by."""
        return self.identity.certificate_id

    @property
    def certificate_arn(self) -> str | None:
        """ARN of its certificate, None when that is not registered."""
        return self.identity.certificate_arn

    async def publish_reading(
        self,
        temp: Number,
        *,
        device_id: str | None = None,
        ts: str | Number | Literal[_Now.NOW] | None = NOW,
        topic: str | None = None,
        **more: Any,
    ) -> Reading:
        """Publish a reading, ``{"deviceId": …, "temp": …, "ts": …}``, with QoS 1.

        Args:
            temp: the temperature; a `Decimal` is sent with all its digits.
            device_id: another name than its Thing's.
            ts: the device's own time: ISO 8601 in UTC of this moment unless given; None leaves it out.
            topic: another topic than the stack's for telemetry.
            more: further members of the JSON object.

        Raises:
            OperationRefused: the broker did not take it; says how and, where known, why.
            ExpectationError: the broker did not answer in time.
            ValueError: JSON has no such number.
        """
        __tracebackhide__ = True
        said = device_id if device_id is not None else self.thing_name
        at = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z") if ts is NOW else ts
        members = {"deviceId": said, "temp": temp} | ({} if at is None else {"ts": at}) | more
        reading = Reading(
            topic or self.telemetry_topic,
            _as_json(members).encode(),
            device_id=said,
            temp=temp,
            ts=at,
            sender=self.client_id,
            patience=self._patience,
            trace=self._trace,
        )
        await self._send(reading)
        return reading

    async def publish_raw(self, payload: Payload, *, topic: str | None = None) -> Message:
        """Publish what may be no reading at all where readings go, with QoS 1.

        Args:
            payload: text, bytes, or a value to be sent as JSON.
            topic: another topic than the stack's for telemetry.

        Raises:
            OperationRefused: the broker did not take it; says how and, where known, why.
            ExpectationError: the broker did not answer in time.
            ValueError: JSON has no such number.
        """
        __tracebackhide__ = True
        content = _as_json(payload) if isinstance(payload, dict | list) else payload
        message = self._message(topic or self.telemetry_topic, content, qos=1)
        await self._send(message)
        return message

    async def _prepare(self) -> None:
        identity, endpoint = self.identity, self.endpoint
        self._context = await asyncio.to_thread(
            device_context,
            endpoint.ca_file,
            port=endpoint.port,
            is_port_shared=endpoint.is_port_shared,
            certificate_pem=identity.certificate_pem,
            private_key_pem=identity.private_key_pem,
        )
        self._tried_at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def _tls_context(self) -> io.ClientTlsContext:
        return self._context

    async def _why_not_let_in(self, trace: Trace, how: How) -> str | None:
        del how  # whatever it showed as: who is not let in is told by certificate
        return await trace.why_device_refused(
            client_id=self.client_id,
            certificate_id=self.certificate_id,
            is_registered=self.certificate_arn is not None,
            since=self._tried_at,
        )


def _as_json(value: Any) -> str:
    """Write a value as JSON with every digit of its decimals, which `json` cannot."""
    if isinstance(value, Decimal):
        if not value.is_finite():
            raise ValueError(f"JSON has no number {value}; publish_raw takes bytes")
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{dumps(str(name))}:{_as_json(each)}" for name, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(_as_json(each) for each in value) + "]"
    return dumps(value, ensure_ascii=False, allow_nan=False)
