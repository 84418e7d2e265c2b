"""A message on its way through the broker: encoded once, sent many times.

`Message` is what was accepted from a publisher; `Outgoing` is that message for one receiver, or for a whole group of
receivers that get the same bytes. Subscribers of one protocol version, QoS and RETAIN flag share the encoded packet;
only the packet id of QoS 1 lies in the middle.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from harness.mqtt.codec import encode_publish_parts
from harness.mqtt.packets import NO_PROPERTIES, ProtocolVersion

if TYPE_CHECKING:
    from harness.mqtt.options import BrokerOptions
    from harness.mqtt.packets import Properties, Publish

_DUP = 0x08


def forwarded(properties: Properties, options: BrokerOptions) -> Properties:
    """Return what of a publisher's properties goes on to the receivers, its Message Expiry Interval clamped.

    Source: MQTT 5.0 §3.3.2.3; AWS IoT Core, "Message expiry" (0 is taken as 1, the most is seven days).
    """
    if properties is NO_PROPERTIES:
        return properties
    expiry = properties.message_expiry_interval
    if expiry is not None:
        expiry = max(options.message_expiry_min, min(expiry, options.message_expiry_max))
    return replace(properties, message_expiry_interval=expiry, topic_alias=None, will_delay_interval=None)


class Message:
    """An accepted message.

    Args:
        message_id: what events call it.
        publish: as accepted, QoS 0 or 1, its topic alias resolved; its properties are what MQTT 5 receivers get (see
            `forwarded`).
        received_at: the time it arrived.
        publisher: client id of its publisher, empty for the broker itself and for publishers without a connection.
    """

    __slots__ = (
        "_encoded",
        "_publish",
        "message_id",
        "payload",
        "properties",
        "publisher",
        "qos",
        "received_at",
        "retain",
        "topic_name",
    )

    def __init__(
        self,
        message_id: str,
        publish: Publish,
        *,
        received_at: float,
        publisher: str = "",
    ) -> None:
        self.message_id = message_id
        self.topic_name = publish.topic_name
        self.payload = publish.payload
        self.qos = publish.qos
        self.retain = publish.retain
        self.properties = publish.properties
        self._publish = publish
        self.received_at = received_at
        self.publisher = publisher
        self._encoded: dict[tuple[ProtocolVersion, int, bool], tuple[bytes, bytes]] = {}

    def has_expired(self, now: float) -> bool:
        """Say whether its Message Expiry Interval is over. Source: MQTT 5.0 §3.3.2.3.3 [MQTT-3.3.2-5]."""
        interval = self.properties.message_expiry_interval
        return interval is not None and now - self.received_at >= interval

    def encoded(self, version: ProtocolVersion, *, qos: int, retain: bool, now: float) -> tuple[bytes, bytes]:
        """Write it as a PUBLISH for receivers of one kind.

        Args:
            version: of the receivers; 3.1.1 gets no properties.
            qos: 0 or 1, as sent to them.
            retain: RETAIN flag as sent to them.
            now: the Message Expiry Interval sent is what is left of it, in whole seconds [MQTT-3.3.2-6].

        Returns:
            (head, tail): QoS 1 is ``head + packet id + tail``; for QoS 0 the head is the whole packet and the tail
            empty.
        """
        interval = self.properties.message_expiry_interval
        if interval is not None and version is ProtocolVersion.V5 and now != self.received_at:
            left = max(0, int(interval - (now - self.received_at)))
            properties = replace(self.properties, message_expiry_interval=left)
            publish = replace(self._publish, qos=qos, retain=retain, dup=False, properties=properties)
            return _parts(publish, version)
        key = (version, qos, retain)
        parts = self._encoded.get(key)
        if parts is None:
            publish = self._publish
            if publish.dup or qos != publish.qos or retain != publish.retain:
                publish = replace(publish, qos=qos, retain=retain, dup=False)
            parts = self._encoded[key] = _parts(publish, version)
        return parts


def _parts(publish: Publish, version: ProtocolVersion) -> tuple[bytes, bytes]:
    head, tail = encode_publish_parts(publish, version)
    return (head, tail) if publish.qos else (head + tail, b"")


class Outgoing(NamedTuple):
    """A QoS 1 message for a receiver; never changed, so that receivers can share it.

    Attributes:
        retain: RETAIN flag as sent to this receiver.
        packet_id: 0 while it has none.
        sent_at: time of its latest transmission.
        first_sent_at: time of its first one; None while it was never sent.
    """

    message: Message
    retain: bool
    packet_id: int = 0
    sent_at: float = 0.0
    first_sent_at: float | None = None


def join_packet(parts: tuple[bytes, bytes], packet_id: int, *, duplicate: bool = False) -> bytes:
    """Put a QoS 1 PUBLISH together.

    Args:
        parts: what `Message.encoded` returned.
        packet_id: 1 to 65,535.
        duplicate: sets the DUP flag. Source: MQTT 5.0 §3.3.1.1.
    """
    head, tail = parts
    if duplicate:
        head = bytes((head[0] | _DUP,)) + head[1:]
    return head + packet_id.to_bytes(2, "big") + tail
