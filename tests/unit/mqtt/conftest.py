"""A broker, its clients and a clock in one process: bytes go from one end to the other by function calls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from harness.mqtt.broker import Broker
from harness.mqtt.codec import Decoder, encode
from harness.mqtt.options import BrokerOptions
from harness.mqtt.packets import (
    ConnAck,
    Connect,
    Packet,
    Properties,
    ProtocolVersion,
    PubAck,
    Publish,
    SubAck,
    Subscribe,
    Subscription,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.mqtt.authorization import Action, ConnectionInfo
    from harness.mqtt.connection import Connection
    from harness.mqtt.events import Event

AWS_LIKE: dict[str, Any] = {
    "max_packet_bytes": 149_504,
    "max_payload_bytes": 131_072,
    "min_client_packet_bytes": 512,
    "receive_maximum": 100,
    "max_inflight": 100,
    "topic_alias_maximum": 8,
    "keep_alive_default": 1_200,
    "keep_alive_min": 30,
    "keep_alive_max": 1_200,
    "session_expiry_default": 3_600,
    "session_expiry_max": 3_600,
    "mark_duplicates": False,
    "message_expiry_min": 1,
    "message_expiry_max": 604_800,
    "will_delay_available": False,
    "max_client_id_bytes": 128,
    "refuse_dollar_client_ids": True,
    "max_topic_bytes": 256,
    "max_topic_slashes": 7,
    "max_filters_per_subscribe": 8,
    "max_subscriptions": 50,
    "max_content_type_bytes": 256,
    "max_correlation_data_bytes": 8_192,
    "max_user_properties_bytes": 8_192,
    "parent_matches": False,
    "retained_on_wildcard": False,
    "reserved_topics": "aws",
    "report_no_subscription": False,
    "deny_connect_v311": "close",
    "deny_subscribe_v311": "close",
    "invalid_filter_v311": "close",
    "qos2_publish_v311": "ignore",
    "qos2_subscribe_v311": "ignore",
    "qos2_subscribe_v5": "disconnect",
    "qos2_will_v311": "close",
}


@dataclass(frozen=True)
class Answer:
    """What `Rules` decides."""

    allowed: bool
    because: str


class Rules:
    """An authorizer that allows everything but what was forbidden."""

    def __init__(self) -> None:
        self.version = 0
        self.asked: list[tuple[str, str, str]] = []
        self._forbidden: set[tuple[str | None, str, str]] = set()

    def forbid(self, action: str, resource: str, client_id: str | None = None) -> None:
        """Say no from now on; to one client id, or to all."""
        self._forbidden.add((client_id, action, resource))
        self.version += 1

    def allow_again(self) -> None:
        """Say yes to everything from now on."""
        self._forbidden.clear()
        self.version += 1

    def authorize(self, connection: ConnectionInfo, action: Action, resource: str) -> Answer:
        """Decide, and remember what was asked."""
        self.asked.append((connection.client_id, action, resource))
        forbidden = {(None, action, resource), (connection.client_id, action, resource)} & self._forbidden
        return Answer(not forbidden, f"rules say {'no' if forbidden else 'yes'} to {action} {resource}")


class Client:
    """The client end of a connection, with a decoder of its own."""

    def __init__(self, link: Link, connection: Connection, version: ProtocolVersion) -> None:
        self.link = link
        self.connection = connection
        self.version = version
        self.is_closed = False
        self.connack: ConnAck | None = None
        self._decoder = Decoder(version=version)
        self._received: list[Packet] = []

    def send(self, *packets: Packet) -> None:
        """Send packets in one piece."""
        self.send_bytes(b"".join(encode(packet, self.version) for packet in packets))

    def send_bytes(self, data: bytes) -> None:
        """Send raw bytes."""
        self.connection.receive_data(data, self.link.now)

    def take(self) -> list[Packet]:
        """Take the packets that came since the last time."""
        self.link.flush()
        received, self._received = self._received, []
        return received

    def take_one(self, kind: type[Any]) -> Any:
        """Take the packets that came; they must be one of this type."""
        received = self.take()
        assert [type(packet) for packet in received] == [kind], received
        return received[0]

    def subscribe(self, *topic_filters: str | Subscription, qos: int = 1) -> tuple[int, ...]:
        """Subscribe, expect SUBACK and return its codes; retained messages are kept for the next `take`."""
        subscriptions = tuple(
            topic_filter if isinstance(topic_filter, Subscription) else Subscription(topic_filter=topic_filter, qos=qos)
            for topic_filter in topic_filters
        )
        self.send(Subscribe(packet_id=9, subscriptions=subscriptions))
        first, *rest = self.take()
        self._received = rest
        assert isinstance(first, SubAck)
        assert first.packet_id == 9
        return first.reason_codes

    def publish(self, topic_name: str, payload: bytes = b"x", **fields: Any) -> None:
        """Publish."""
        if fields.get("qos"):
            fields.setdefault("packet_id", 7)
        self.send(Publish(topic_name=topic_name, payload=payload, **fields))

    def take_published(self, *, acknowledge: bool = False) -> list[Publish]:
        """Take what came, without acknowledgements of own publishes."""
        published = [packet for packet in self.take() if isinstance(packet, Publish)]
        if acknowledge:
            for packet in published:
                if packet.packet_id is not None:
                    self.send(PubAck(packet_id=packet.packet_id))
        return published

    def take_payloads(self) -> list[bytes]:
        """Take the payloads of what came."""
        return [packet.payload for packet in self.take_published()]

    def lose(self, *, client_initiated: bool = False) -> None:
        """Break the connection below MQTT."""
        self.connection.connection_lost(self.link.now, client_initiated=client_initiated)

    def accept_bytes(self, data: bytes) -> None:
        """Take what the broker sent."""
        self._decoder.receive_data(data)
        while (packet := self._decoder.next_packet()) is not None:
            self._received.append(packet)


class Link:
    """A broker with everything around it, and the shell's part of the work."""

    def __init__(self, options: BrokerOptions) -> None:
        self.rules = Rules()
        self.now = 1_000.0
        self._ids = 0
        self.broker = Broker(options=options, authorizer=self.rules, make_id=self._make_id)

    def _make_id(self) -> str:
        self._ids += 1
        return f"id-{self._ids}"

    def open(self, version: ProtocolVersion = ProtocolVersion.V5, *, principal: object = "somebody") -> Client:
        """Open a connection that has not said CONNECT."""
        connection = self.broker.open_connection(
            principal=principal, transport="mqtts", remote="127.0.0.1:5000", server_name="localhost", now=self.now
        )
        client = connection.shell = Client(self, connection, version)
        return client

    def knock(self, client_id: str = "c", version: ProtocolVersion = ProtocolVersion.V5, **fields: Any) -> Client:
        """Open a connection and send CONNECT."""
        properties = fields.pop("properties", Properties())
        client = self.open(version)
        client.send(Connect(client_id=client_id, version=version, properties=properties, **fields))
        return client

    def connect(self, client_id: str = "c", version: ProtocolVersion = ProtocolVersion.V5, **fields: Any) -> Client:
        """Connect and expect to be let in; what comes behind CONNACK is kept for the next `Client.take`."""
        client = self.knock(client_id, version, **fields)
        first, *rest = client.take()
        client._received = rest
        assert isinstance(first, ConnAck)
        assert first.reason_code == 0
        client.connack = first
        return client

    def flush(self) -> None:
        """Do what a shell does once per turn of its loop."""
        for connection in self.broker.take_dirty():
            connection.shell.accept_bytes(connection.data_to_send())
            connection.unsent_bytes = 0
            if connection.is_closing:
                connection.shell.is_closed = True

    def advance(self, seconds: float) -> None:
        """Let time pass, from deadline to deadline."""
        until = self.now + seconds
        while (deadline := self.broker.next_deadline()) is not None and deadline <= until:
            self.now = max(self.now, deadline)
            self.broker.tick(self.now)
        self.now = until
        self.broker.tick(until)

    def events(self, *kinds: type[Event]) -> list[Any]:
        """Take the events since the last time, all or of these types."""
        return [event for event in self.broker.take_events() if not kinds or isinstance(event, kinds)]


@pytest.fixture
def make_link() -> Callable[..., Link]:
    """Make a broker with plain MQTT's options, changed by keyword."""
    return lambda **options: Link(BrokerOptions(**options))


@pytest.fixture
def make_aws_link() -> Callable[..., Link]:
    """Make a broker that refuses and limits as AWS does, changed by keyword."""
    return lambda **options: Link(BrokerOptions(**{**AWS_LIKE, **options}))


@pytest.fixture
def link(make_link: Callable[..., Link]) -> Link:
    """Make a broker with plain MQTT's options."""
    return make_link()


@pytest.fixture
def aws_link(make_aws_link: Callable[..., Link]) -> Link:
    """Make a broker that refuses and limits as AWS does."""
    return make_aws_link()


@pytest.fixture(params=[ProtocolVersion.V311, ProtocolVersion.V5], ids=["3.1.1", "5"])
def version(request: pytest.FixtureRequest) -> ProtocolVersion:
    """Both protocol versions, one after the other."""
    chosen: ProtocolVersion = request.param
    return chosen
