"""Every packet in both versions through `encode` and `Decoder`, and bytes that only look like packets.

A round trip alone proves only that both ends agree; `test_codec_samples` proves with whom.
"""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.errors import ProtocolError
from harness.mqtt.codec import Decoder, encode
from harness.mqtt.packets import (
    Auth,
    ConnAck,
    Connect,
    Disconnect,
    Packet,
    PacketType,
    PingReq,
    PingResp,
    Properties,
    ProtocolVersion,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    SubAck,
    Subscribe,
    Subscription,
    UnsubAck,
    Unsubscribe,
    Will,
)
from harness.mqtt.properties import RULES, Carrier
from harness.mqtt.reason_codes import REASON_CODES

V311 = ProtocolVersion.V311
V5 = ProtocolVersion.V5

# The machine may be busy: no deadline, and few but varied examples.
few = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
topic_names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0+#"), min_size=1, max_size=12)
packet_ids = st.integers(1, 65_535)
payloads = st.binary(max_size=200)
flags = st.booleans()


def _up_to(size: int, smallest: int = 0) -> st.SearchStrategy[int]:
    return st.sampled_from([smallest, 1, 2**size - 1]) | st.integers(smallest, 2**size - 1)


PROPERTY_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "payload_format_indicator": _up_to(1),
    "message_expiry_interval": _up_to(32),
    "content_type": texts,
    "response_topic": topic_names,
    "correlation_data": payloads,
    "subscription_identifiers": st.lists(_up_to(28, 1), max_size=1).map(tuple),
    "session_expiry_interval": _up_to(32),
    "assigned_client_identifier": texts,
    "server_keep_alive": _up_to(16),
    "authentication_method": texts,
    "authentication_data": payloads,
    "request_problem_information": flags,
    "will_delay_interval": _up_to(32),
    "request_response_information": flags,
    "response_information": texts,
    "server_reference": texts,
    "reason_string": texts,
    "receive_maximum": _up_to(16, 1),
    "topic_alias_maximum": _up_to(16),
    "topic_alias": _up_to(16, 1),
    "maximum_qos": _up_to(1),
    "retain_available": flags,
    "user_properties": st.lists(st.tuples(texts, texts), max_size=3).map(tuple),
    "maximum_packet_size": _up_to(32, 1),
    "wildcard_subscription_available": flags,
    "subscription_identifier_available": flags,
    "shared_subscription_available": flags,
}


@st.composite
def _properties(draw: st.DrawFn, version: ProtocolVersion, carrier: Carrier) -> Properties:
    if version is V311:
        return Properties()
    names = [rule.name for rule in RULES if carrier in rule.carriers]
    chosen = draw(st.sets(st.sampled_from(names)))
    values = {name: draw(PROPERTY_VALUES[name]) for name in sorted(chosen)}
    if carrier is Carrier.PUBLISH and "subscription_identifiers" in values:
        values["subscription_identifiers"] = tuple(draw(st.lists(_up_to(28, 1), max_size=3)))
    if "authentication_data" in values or carrier is Carrier.AUTH:
        values.setdefault("authentication_method", draw(texts))
    return Properties(**values)


@st.composite
def _wills(draw: st.DrawFn, version: ProtocolVersion) -> Will:
    return Will(
        topic_name=draw(topic_names),
        payload=draw(payloads),
        qos=draw(st.integers(0, 2)),
        retain=draw(flags),
        properties=draw(_properties(version, Carrier.WILL)),
    )


@st.composite
def _connects(draw: st.DrawFn, version: ProtocolVersion) -> Connect:
    username = draw(st.none() | texts)
    return Connect(
        client_id=draw(texts),
        version=version,
        clean_start=draw(flags),
        keep_alive=draw(_up_to(16)),
        username=username,
        password=draw(st.none() | payloads) if version is V5 or username is not None else None,
        will=draw(st.none() | _wills(version)),
        properties=draw(_properties(version, Carrier.CONNECT)),
    )


@st.composite
def _publishes(draw: st.DrawFn, version: ProtocolVersion) -> Publish:
    qos = draw(st.integers(0, 2))
    properties = draw(_properties(version, Carrier.PUBLISH))
    may_be_empty = properties.topic_alias is not None
    return Publish(
        topic_name=draw(st.just("") | topic_names if may_be_empty else topic_names),
        payload=draw(payloads),
        qos=qos,
        retain=draw(flags),
        dup=qos > 0 and draw(flags),
        packet_id=draw(packet_ids) if qos else None,
        properties=properties,
    )


@st.composite
def _acknowledgements(draw: st.DrawFn, version: ProtocolVersion) -> PubAck | PubRec | PubRel | PubComp:
    kinds: dict[PacketType, type[PubAck | PubRec | PubRel | PubComp]] = {
        PacketType.PUBACK: PubAck,
        PacketType.PUBREC: PubRec,
        PacketType.PUBREL: PubRel,
        PacketType.PUBCOMP: PubComp,
    }
    packet_type = draw(st.sampled_from(sorted(kinds)))
    return kinds[packet_type](
        packet_id=draw(packet_ids),
        reason_code=draw(_codes(version, packet_type)) if version is V5 else 0,
        properties=draw(_properties(version, Carrier(packet_type))),
    )


def _codes(version: ProtocolVersion, packet_type: PacketType) -> st.SearchStrategy[int]:
    return st.sampled_from(sorted(REASON_CODES[version][packet_type]))


@st.composite
def _connacks(draw: st.DrawFn, version: ProtocolVersion) -> ConnAck:
    code = draw(_codes(version, PacketType.CONNACK))
    return ConnAck(
        session_present=code == 0 and draw(flags),
        reason_code=code,
        properties=draw(_properties(version, Carrier.CONNACK)),
    )


@st.composite
def _subscriptions(draw: st.DrawFn, version: ProtocolVersion) -> Subscription:
    if version is V311:
        return Subscription(topic_filter=draw(texts), qos=draw(st.integers(0, 2)))
    return Subscription(
        topic_filter=draw(texts),
        qos=draw(st.integers(0, 2)),
        no_local=draw(flags),
        retain_as_published=draw(flags),
        retain_handling=draw(st.integers(0, 2)),
    )


def _packets(version: ProtocolVersion) -> st.SearchStrategy[Packet]:
    """Every packet of a version, with everything it can carry."""

    def lists(strategy: st.SearchStrategy[Any], smallest: int = 1) -> st.SearchStrategy[Any]:
        return st.lists(strategy, min_size=smallest, max_size=4).map(tuple)

    strategies: list[st.SearchStrategy[Packet]] = [
        _connects(version),
        _connacks(version),
        _publishes(version),
        _acknowledgements(version),
        st.builds(
            Subscribe,
            packet_id=packet_ids,
            subscriptions=lists(_subscriptions(version)),
            properties=_properties(version, Carrier.SUBSCRIBE),
        ),
        st.builds(
            SubAck,
            packet_id=packet_ids,
            reason_codes=lists(_codes(version, PacketType.SUBACK)),
            properties=_properties(version, Carrier.SUBACK),
        ),
        st.builds(
            Unsubscribe,
            packet_id=packet_ids,
            topic_filters=lists(texts),
            properties=_properties(version, Carrier.UNSUBSCRIBE),
        ),
        st.builds(
            UnsubAck,
            packet_id=packet_ids,
            reason_codes=lists(_codes(version, PacketType.UNSUBACK)) if version is V5 else st.just(()),
            properties=_properties(version, Carrier.UNSUBACK),
        ),
        st.just(PingReq()),
        st.just(PingResp()),
        st.builds(
            Disconnect,
            reason_code=_codes(version, PacketType.DISCONNECT) if version is V5 else st.just(0),
            properties=_properties(version, Carrier.DISCONNECT),
        ),
    ]
    if version is V5:
        strategies.append(
            st.builds(Auth, reason_code=_codes(V5, PacketType.AUTH), properties=_properties(V5, Carrier.AUTH))
        )
    return st.one_of(strategies)


versions_and_packets = st.sampled_from(ProtocolVersion).flatmap(
    lambda version: st.tuples(st.just(version), st.lists(_packets(version), min_size=1, max_size=6))
)


def _feed(decoder: Decoder, pieces: list[bytes]) -> tuple[list[Packet], str | None]:
    """Hand over a stream in pieces, draining after each; the packets, and the error that ended it."""
    packets: list[Packet] = []
    try:
        for piece in pieces:
            decoder.receive_data(piece)
            while (packet := decoder.next_packet()) is not None:
                packets.append(packet)
    except ProtocolError as error:
        return packets, f"{type(error).__name__} {error.reason_code} {error}"
    return packets, None


def _cut(stream: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    return [stream[start:end] for start, end in pairwise(edges)]


def test_every_property_is_tried() -> None:
    """The strategies below know every field there is."""
    assert set(PROPERTY_VALUES) == {field.name for field in dataclasses.fields(Properties)}


@few
@given(versions_and_packets, st.lists(st.integers(0, 10_000), max_size=8))
def test_any_packets_survive_the_wire_in_any_pieces(
    case: tuple[ProtocolVersion, list[Packet]], cuts: list[int]
) -> None:
    """What is encoded is decoded, packet for packet, wherever the stream is cut."""
    version, packets = case
    stream = b"".join(encode(packet, version) for packet in packets)

    assert _feed(Decoder(version=version), _cut(stream, cuts)) == (packets, None)


@few
@given(versions_and_packets, st.data())
def test_any_broken_stream_breaks_the_same_way_in_any_pieces(
    case: tuple[ProtocolVersion, list[Packet]], data: st.DataObject
) -> None:
    """A stream with some bytes changed gives packets or a ProtocolError, the same in one piece and in many."""
    version, packets = case
    stream = bytearray(b"".join(encode(packet, version) for packet in packets))
    for _ in range(data.draw(st.integers(1, 4))):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    known = data.draw(st.sampled_from([version, None]))
    longest = data.draw(st.sampled_from([20, 300, 268_435_460]))
    cuts = data.draw(st.lists(st.integers(0, 10_000), max_size=8))

    whole = _feed(Decoder(version=known, max_packet_bytes=longest), [bytes(stream)])
    pieces = _feed(Decoder(version=known, max_packet_bytes=longest), _cut(bytes(stream), cuts))
    single = _feed(Decoder(version=known, max_packet_bytes=longest), [bytes((byte,)) for byte in stream])

    assert whole == pieces == single


@few
@given(st.sampled_from([None, V311, V5]), st.integers(0, 255), st.binary(max_size=100))
def test_any_bytes_give_packets_or_a_protocol_error(version: ProtocolVersion | None, first: int, body: bytes) -> None:
    """No bytes make the decoder fail in another way, and what it reads can be written and read again."""
    decoder = Decoder(version=version)
    packets, _ = _feed(decoder, [bytes((first, len(body))) + body])

    for packet in packets:
        spoken = packet.version if isinstance(packet, Connect) else decoder.version
        assert spoken is not None
        again, error = _feed(Decoder(version=spoken), [encode(packet, spoken)])
        assert (again, error) == ([packet], None)


@pytest.mark.parametrize("version", ProtocolVersion)
def test_a_packet_cut_at_every_byte_is_never_a_packet(version: ProtocolVersion) -> None:
    """Every beginning of a drawn packet of each kind leaves the decoder waiting."""

    @few
    @given(_packets(version))
    def check(packet: Packet) -> None:
        wire = encode(packet, version)
        for cut in range(len(wire)):
            assert _feed(Decoder(version=version), [wire[:cut]]) == ([], None)

    check()
