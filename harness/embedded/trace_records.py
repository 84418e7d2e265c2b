"""How each event of the broker and of its rules reads in the trace.

A record names the client, the principal, the topic and the message it is about, where it is about one; what else there
is to say stands in ``detail``. Payloads are shown in part, secrets never come here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import singledispatchmethod
from typing import TYPE_CHECKING, Any, Final

from harness.embedded.rules.records import RuleRecord
from harness.iot import arn
from harness.mqtt import events

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.mqtt.authorization import Action, ConnectionInfo

_SHOWN_PAYLOAD_BYTES: Final = 256

Record = dict[str, Any]


def make_record(kind: str, *, actor: str = "broker", info: ConnectionInfo | None = None, **more: Any) -> Record:
    """Make a record, without its number and time.

    Args:
        kind: what happened.
        actor: who wrote it.
        info: the connection it is about.
        more: ``client_id``, ``principal``, ``topic``, ``message_id`` where the connection does not say it; everything
            else goes into the detail.
    """
    record: Record = {
        "actor": actor,
        "kind": kind,
        "client_id": more.pop("client_id", (info.client_id or None) if info else None),
        "principal": more.pop("principal", display(info.principal) if info else None),
        "topic": more.pop("topic", None),
        "message_id": more.pop("message_id", None),
    }
    record["detail"] = more
    return record


def display(principal: object) -> str:
    """Name a principal as the trace shows it."""
    return str(getattr(principal, "display", principal))


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptions:
    """Turns broker events into records.

    Args:
        region: for the ARNs of decisions.
        account_id: the same.
    """

    region: str
    account_id: str

    def describe(self, source: object) -> Sequence[Mapping[str, Any]]:
        """Return the records of an event; a record made elsewhere comes back as it is."""
        return [source] if isinstance(source, dict) else self._records(source)

    def resource_arn(self, action: Action, resource: str) -> str:
        """Return the ARN that a policy names for an action on a client id, topic or filter."""
        if action == "Connect":
            return arn.client_arn(self.region, self.account_id, resource)
        if action == "Subscribe":
            return arn.topicfilter_arn(self.region, self.account_id, resource)
        return arn.topic_arn(self.region, self.account_id, resource)

    @singledispatchmethod
    def _records(self, event: object) -> list[Record]:
        raise TypeError(f"no description for {type(event).__name__}")

    @_records.register
    def _(self, event: events.Connected) -> list[Record]:
        info = event.info
        return [
            make_record(
                "connect",
                info=info,
                transport=info.transport,
                remote=info.remote,
                protocol_version=int(info.version or 0),
                session_present=event.session_present,
                keep_alive=event.keep_alive,
                session_expiry=event.session_expiry,
            )
        ]

    @_records.register
    def _(self, event: events.ConnectRefused) -> list[Record]:
        info = event.info
        return [
            make_record(
                "connect_refused",
                info=info,
                transport=info.transport,
                remote=info.remote,
                reason_code=event.reason_code,
                because=event.because,
            )
        ]

    @_records.register
    def _(self, event: events.Disconnected) -> list[Record]:
        return [
            make_record(
                "disconnect",
                info=event.info,
                reason=str(event.reason),
                reason_code=event.reason_code,
                because=event.because,
            )
        ]

    @_records.register
    def _(self, event: events.Subscribed) -> list[Record]:
        granted = [{"topic_filter": topic_filter, "reason_code": code} for topic_filter, code in event.granted]
        topic = event.granted[0][0] if len(event.granted) == 1 else None
        return [make_record("subscribe", info=event.info, topic=topic, granted=granted)]

    @_records.register
    def _(self, event: events.Unsubscribed) -> list[Record]:
        topic = event.topic_filters[0] if len(event.topic_filters) == 1 else None
        return [make_record("unsubscribe", info=event.info, topic=topic, topic_filters=list(event.topic_filters))]

    @_records.register
    def _(self, event: events.Decided) -> list[Record]:
        return [
            make_record(
                "decision",
                info=event.info,
                topic=None if event.action == "Connect" else event.resource,
                action=f"iot:{event.action}",
                resource=self.resource_arn(event.action, event.resource),
                allowed=event.allowed,
                because=event.because,
            )
        ]

    @_records.register
    def _(self, event: events.Refused) -> list[Record]:
        return [
            make_record(
                "refusal",
                info=event.info,
                topic=event.resource or None,
                packet=event.packet,
                reason_code=event.reason_code,
                because=event.because,
            )
        ]

    @_records.register
    def _(self, event: events.Published) -> list[Record]:
        return [
            make_record(
                "publish",
                info=event.info,
                topic=event.topic_name,
                message_id=event.message_id,
                qos=event.qos,
                retain=event.retain,
                is_will=event.is_will,
                payload_bytes=len(event.payload),
                payload=event.payload[:_SHOWN_PAYLOAD_BYTES].decode(errors="replace"),
            )
        ]

    @_records.register
    def _(self, event: events.Delivered) -> list[Record]:
        return [
            make_record("delivery", client_id=client_id, topic=event.topic_name, message_id=event.message_id)
            for client_id in event.client_ids
        ]

    @_records.register
    def _(self, event: events.Queued) -> list[Record]:
        return [
            make_record("queued", client_id=client_id, topic=event.topic_name, message_id=event.message_id)
            for client_id in event.client_ids
        ]

    @_records.register
    def _(self, event: events.Acknowledged) -> list[Record]:
        return [
            make_record(
                "rejected_by_client",
                client_id=event.client_id,
                message_id=event.message_id,
                reason_code=event.reason_code,
            )
        ]

    @_records.register
    def _(self, event: events.Dropped) -> list[Record]:
        return [
            make_record(
                "drop",
                client_id=event.client_id,
                topic=event.topic_name,
                message_id=event.message_id,
                because=event.because,
            )
        ]

    @_records.register
    def _(self, event: RuleRecord) -> list[Record]:
        subject = event.subject
        return [
            make_record(
                event.kind,
                actor="rules",
                client_id=subject.client_id,
                topic=subject.topic,
                message_id=subject.message_id,
                rule=event.rule,
                **event.detail(),
            )
        ]

    @_records.register
    def _(self, event: events.SessionExpired) -> list[Record]:
        return [make_record("session_expired", client_id=event.client_id)]
