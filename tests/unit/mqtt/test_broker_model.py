"""The broker against a model of forty lines, by random walks over everything clients do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from harness.mqtt.packets import Disconnect, Properties, ProtocolVersion, PubAck, Publish, Unsubscribe

if TYPE_CHECKING:
    from collections.abc import Callable

USUALLY = st.sampled_from([True, True, True, False])
NAMES = ("one", "two", "three")
FILTERS = {
    "a": {"a"},
    "a/b": {"a/b"},
    "a/+": {"a/b", "a/c"},
    "a/#": {"a", "a/b", "a/c"},
    "#": {"a", "a/b", "a/c"},
    "+/c": {"a/c"},
}
TOPICS = ("a", "a/b", "a/c")
RECEIVE_MAXIMUM = 2
EXPIRY = 60


class ModelSession:
    """What the broker is to remember of a client."""

    def __init__(self, version: ProtocolVersion, *, is_kept: bool) -> None:
        self.version = version
        self.is_kept = is_kept
        self.subscriptions: dict[str, int] = {}
        self.inflight: list[bytes] = []
        self.queue: list[bytes] = []
        self.is_online = True
        self.ends_at = 0.0
        self.expected: list[bytes] = []

    def qos_of(self, topic_name: str) -> int | None:
        """Return the highest QoS of the filters that match, None without one."""
        return max((qos for one, qos in self.subscriptions.items() if topic_name in FILTERS[one]), default=None)

    def receive(self, payload: bytes, qos: int) -> None:
        """Take a message: send it, queue it or lose it."""
        if qos:
            self.queue.append(payload)
            self.pump()
        elif self.is_online:
            self.expected.append(payload)

    def pump(self) -> None:
        """Send what may be sent."""
        while self.is_online and self.queue and len(self.inflight) < RECEIVE_MAXIMUM:
            self.inflight.append(self.queue.pop(0))
            self.expected.append(self.inflight[-1])


class BrokerMachine(RuleBasedStateMachine):
    """Clients come, go, subscribe, publish and acknowledge; after each step they have got what the model says."""

    def __init__(self, make_link: Callable[..., Any]) -> None:
        super().__init__()
        self.link = make_link(session_expiry_default=EXPIRY, max_inflight=RECEIVE_MAXIMUM)
        self.sessions: dict[str, ModelSession] = {}
        self.clients: dict[str, Any] = {}
        self.packet_ids: dict[str, list[int]] = {}
        self.retained: dict[str, tuple[bytes, int]] = {}
        self.published = 0

    @rule(name=st.sampled_from(NAMES), is_usual=USUALLY, resumes=USUALLY, is_kept=USUALLY)
    def connect(self, name: str, *, is_usual: bool, resumes: bool, is_kept: bool) -> None:
        """Connect, perhaps in place of oneself; usually with one's own version, for a session that is kept."""
        version = ProtocolVersion.V5 if (name == "one") == is_usual else ProtocolVersion.V311
        clean_start = not resumes
        if version is ProtocolVersion.V311:
            is_kept = resumes
        if name in self.clients:
            self._leave(name)
        stored = self.sessions.get(name)
        is_resumed = stored is not None and stored.version is version and not clean_start
        if stored is not None and is_resumed:
            session = stored
            session.queue = session.inflight + session.queue
            session.inflight = []
            session.is_online, session.is_kept = True, is_kept
        else:
            session = self.sessions[name] = ModelSession(version, is_kept=is_kept)
        properties = Properties(session_expiry_interval=EXPIRY if is_kept else 0)
        if version is ProtocolVersion.V311:
            properties = Properties()
        client = self.clients[name] = self.link.connect(name, version, clean_start=clean_start, properties=properties)
        assert client.connack.session_present is is_resumed
        self.packet_ids[name] = []
        session.pump()

    @precondition(lambda self: self.clients)
    @rule(data=st.data(), says_goodbye=st.booleans())
    def leave(self, data: st.DataObject, *, says_goodbye: bool) -> None:
        """End a connection."""
        name = self._draw_name(data)
        if says_goodbye:
            self.clients[name].send(Disconnect())
        else:
            self.clients[name].lose()
        self._leave(name)

    def _draw_name(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(sorted(self.clients)))

    def _leave(self, name: str) -> None:
        session = self.sessions[name]
        del self.clients[name]
        session.is_online = False
        session.ends_at = self.link.now + EXPIRY
        if not session.is_kept:
            del self.sessions[name]

    @precondition(lambda self: self.clients)
    @rule(data=st.data(), topic_filter=st.sampled_from(sorted(FILTERS)), qos=st.sampled_from([0, 1, 1]))
    def subscribe(self, data: st.DataObject, topic_filter: str, qos: int) -> None:
        """Subscribe, or replace a subscription."""
        name = self._draw_name(data)
        assert self.clients[name].subscribe(topic_filter, qos=qos) == (qos,)
        session = self.sessions[name]
        session.subscriptions[topic_filter] = qos
        for topic_name, (payload, published_qos) in self.retained.items():
            if topic_name in FILTERS[topic_filter]:
                session.receive(payload, min(qos, published_qos))

    @precondition(lambda self: self.clients)
    @rule(data=st.data(), topic_filter=st.sampled_from(sorted(FILTERS)))
    def unsubscribe(self, data: st.DataObject, topic_filter: str) -> None:
        """Unsubscribe, perhaps from nothing."""
        name = self._draw_name(data)
        self.clients[name].send(Unsubscribe(packet_id=1, topic_filters=(topic_filter,)))
        self.sessions[name].subscriptions.pop(topic_filter, None)

    @precondition(lambda self: self.clients)
    @rule(data=st.data(), topic_name=st.sampled_from(TOPICS), qos=st.sampled_from([0, 1, 1]), retain=st.booleans())
    def publish(self, data: st.DataObject, topic_name: str, qos: int, *, retain: bool) -> None:
        """Publish, perhaps to keep or to delete."""
        name = self._draw_name(data)
        is_empty = retain and data.draw(st.booleans())
        self.published += 1
        payload = b"" if is_empty else b"%d" % self.published
        self.clients[name].publish(topic_name, payload, qos=qos, retain=retain)
        if retain:
            self.retained.pop(topic_name, None)
            if payload:
                self.retained[topic_name] = (payload, qos)
        for session in self.sessions.values():
            granted = session.qos_of(topic_name)
            if granted is not None:
                session.receive(payload, min(granted, qos))

    @precondition(lambda self: self.clients)
    @rule(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        """Acknowledge the oldest message in flight."""
        name = self._draw_name(data)
        if self.packet_ids[name]:
            self.clients[name].send(PubAck(packet_id=self.packet_ids[name].pop(0)))
            session = self.sessions[name]
            session.inflight.pop(0)
            session.pump()

    @rule(seconds=st.sampled_from([1, EXPIRY // 2, EXPIRY + 1]))
    def wait(self, seconds: int) -> None:
        """Let time pass: stored sessions expire."""
        self.link.advance(seconds)
        for name, session in list(self.sessions.items()):
            if not session.is_online and session.ends_at <= self.link.now:
                del self.sessions[name]

    @invariant()
    def everybody_has_got_what_the_model_says(self) -> None:
        """Exactly that, in that order."""
        for name, client in self.clients.items():
            received = [packet for packet in client.take() if isinstance(packet, Publish)]
            session = self.sessions[name]
            assert [packet.payload for packet in received] == session.expected
            session.expected.clear()
            self.packet_ids[name] += [packet.packet_id for packet in received if packet.packet_id is not None]
            assert len(set(self.packet_ids[name])) == len(self.packet_ids[name]) == len(session.inflight)

    @invariant()
    def the_broker_remembers_what_the_model_does(self) -> None:
        """Sessions, subscriptions, connections, retained messages."""
        broker = self.link.broker
        assert set(broker.sessions) == set(self.sessions)
        assert set(broker.connections) == set(self.clients)
        assert broker.subscription_count == sum(len(session.subscriptions) for session in self.sessions.values())
        assert {topic: message.payload for topic, message in broker.retained.items()} == {
            topic: payload for topic, (payload, _qos) in self.retained.items()
        }


def test_a_broker_does_what_its_model_does(make_link: Callable[..., Any]) -> None:
    """Whatever the clients do, in whatever order."""
    run_state_machine_as_test(  # type: ignore[no-untyped-call]  # hypothesis leaves it untyped
        lambda: BrokerMachine(make_link), settings=settings(max_examples=50, stateful_step_count=40, deadline=None)
    )
