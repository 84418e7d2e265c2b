"""`Decoder` and `encode` where packets begin and end, what is refused early, and what is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.errors import MalformedPacket, ProtocolError, ProtocolViolation
from harness.mqtt.codec import Decoder, encode, encode_publish_parts
from harness.mqtt.packets import (
    Connect,
    Packet,
    PingReq,
    Properties,
    ProtocolVersion,
    PubAck,
    Publish,
    ReasonCode,
)

if TYPE_CHECKING:
    from collections.abc import Callable

V311 = ProtocolVersion.V311
V5 = ProtocolVersion.V5


def _drain(decoder: Decoder) -> list[Packet]:
    packets = []
    while (packet := decoder.next_packet()) is not None:
        packets.append(packet)
    return packets


def _expect_error(decoder: Decoder) -> ProtocolError:
    with pytest.raises(ProtocolError) as caught:
        _drain(decoder)
    return caught.value


def _feed(decoder: Decoder, stream: bytes, size: int) -> tuple[list[Packet], ProtocolError | None]:
    """Hand over a stream in pieces, draining after each, up to the first error."""
    packets: list[Packet] = []
    try:
        for at in range(0, len(stream), size):
            decoder.receive_data(stream[at : at + size])
            while (packet := decoder.next_packet()) is not None:
                packets.append(packet)
    except ProtocolError as error:
        return packets, error
    return packets, None


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_a_decoder_keeps_its_own_copy_of_a_buffer_that_is_used_again(
    kind: Callable[[bytearray], bytes | bytearray | memoryview],
) -> None:
    """The caller may overwrite its buffer once it has handed it over, in the middle of a packet too."""
    decoder = Decoder(version=V5)
    for part in (b"\x40\x02\x00", b"\x0a\x40\x02", b"\x00\x0b"):
        buffer = bytearray(part)
        decoder.receive_data(kind(buffer))
        buffer[:] = bytes(len(buffer))

    assert _drain(decoder) == [PubAck(packet_id=10), PubAck(packet_id=11)]


def test_a_decoder_gives_packets_that_came_while_it_was_not_asked() -> None:
    """Two pieces of whole packets, received before the first is taken, are read one after the other."""
    decoder = Decoder(version=V5)
    decoder.receive_data(b"\x40\x02\x00\x01")
    decoder.receive_data(b"\x40\x02\x00\x02")

    assert _drain(decoder) == [PubAck(packet_id=1), PubAck(packet_id=2)]


def test_a_decoder_keeps_nothing_of_what_is_read() -> None:
    """A connection that is idle after a large packet does not hold on to its bytes."""
    decoder = Decoder(version=V5)
    decoder.receive_data(encode(Publish(topic_name="t", payload=bytes(100_000)), V5))
    _drain(decoder)

    assert (decoder._data, decoder._at, bytes(decoder._pending)) == (b"", 0, b"")


def test_a_decoder_joins_the_pieces_of_a_packet_once() -> None:
    """What waits for the rest of a packet is not copied with every piece that comes."""
    decoder = Decoder(version=V5)
    decoder.receive_data(b"\x30\xe8\x07\x00\x01t\x00")  # 1,000 bytes are to follow the length
    assert decoder.next_packet() is None
    beginning = decoder._data

    for _ in range(99):
        decoder.receive_data(bytes(10))
        assert decoder.next_packet() is None
        assert decoder._data is beginning
    decoder.receive_data(bytes(6))

    assert _drain(decoder) == [Publish(topic_name="t", payload=bytes(996))]


def test_a_decoder_gives_payloads_as_bytes_when_they_come_in_pieces() -> None:
    """A payload is ``bytes`` however it came, and no matter how long it is."""
    publish = Publish(topic_name="t", payload=bytes(range(256)) * 1024, qos=1, packet_id=1)
    wire = encode(publish, V5)
    decoder = Decoder(version=V5)
    packets = []
    for at in range(0, len(wire), 1000):
        decoder.receive_data(bytearray(wire[at : at + 1000]))
        packets += _drain(decoder)

    assert packets == [publish]
    assert type(packets[0].payload) is bytes  # type: ignore[union-attr]  # equal to a Publish


@pytest.mark.parametrize("payload_bytes", [122, 123, 124, 125, 16_378, 16_379, 16_380, 2_097_147, 2_097_148])
@pytest.mark.parametrize("behind", [b"", b"\xc0\x00"])
def test_a_decoder_reads_packets_of_every_length_of_length(payload_bytes: int, behind: bytes) -> None:
    """Where the Remaining Length grows by a byte, packets still end where they should."""
    publish = Publish(topic_name="t", payload=bytes(payload_bytes))
    decoder = Decoder(version=V5)

    decoder.receive_data(encode(publish, V5) + behind)

    assert _drain(decoder) == [publish, PingReq()][: 2 if behind else 1]


def test_a_server_reads_what_follows_connect_in_its_version() -> None:
    """Packets behind CONNECT in the same piece are read in the version that CONNECT brought."""
    publish = Publish(topic_name="a", payload=b"\x00b")
    for version in ProtocolVersion:
        decoder = Decoder()
        decoder.receive_data(encode(Connect(client_id="c", version=version), version) + encode(publish, version))

        assert _drain(decoder)[1:] == [publish]


def test_a_server_keeps_the_version_of_the_first_connect() -> None:
    """A second CONNECT, which the broker refuses, is read by its own level and changes nothing."""
    second = Connect(client_id="c", version=V5)
    decoder = Decoder(version=V311)

    decoder.receive_data(encode(second, V5))

    assert _drain(decoder) == [second]
    assert decoder.version is V311


def test_a_server_refuses_a_first_packet_before_it_is_complete() -> None:
    """What is not CONNECT is refused at its first byte, not collected first."""
    decoder = Decoder()
    decoder.receive_data(b"\x30")

    assert _expect_error(decoder).reason_code == ReasonCode.PROTOCOL_ERROR


def test_a_server_knows_the_version_of_a_connect_that_is_broken_behind_it() -> None:
    """The refusal can be said in the version the client speaks."""
    for version in ProtocolVersion:
        wire = bytearray(encode(Connect(client_id="c", version=version), version))
        wire[9] |= 0x01  # the reserved flag
        decoder = Decoder()
        decoder.receive_data(bytes(wire))

        assert _expect_error(decoder).reason_code == ReasonCode.MALFORMED_PACKET
        assert decoder.version is version


@pytest.mark.parametrize("wire", ["101000044d5154540602003c0000036162 63", "100c00064d51497364700302003c"])
def test_a_server_refuses_other_protocols(wire: str) -> None:
    """Another level, and MQTT 3.1 with its own name, are versions not spoken here; the decoder has none then."""
    decoder = Decoder()
    decoder.receive_data(bytes.fromhex(wire))

    error = _expect_error(decoder)

    assert isinstance(error, ProtocolViolation)
    assert error.reason_code == ReasonCode.UNSUPPORTED_PROTOCOL_VERSION
    assert decoder.version is None


def test_a_decoder_raises_its_error_again_and_drops_what_comes() -> None:
    """After an error nothing can be read any more, in the same words every time."""
    decoder = Decoder(version=V5)
    decoder.receive_data(b"\x40\x02\x00\x01\x40\x02\x00\x00\x40\x02\x00\x02")
    assert decoder.next_packet() == PubAck(packet_id=1)
    with pytest.raises(ProtocolViolation) as first:
        decoder.next_packet()

    decoder.receive_data(b"\x40\x02\x00\x03")

    for _ in range(2):
        assert decoder.take_puback_ids() == ()
        with pytest.raises(ProtocolViolation) as again:
            decoder.next_packet()
        assert again.value is first.value


def test_a_decoder_gives_packets_before_an_error() -> None:
    """What came whole before broken bytes is given first, in one piece or byte by byte."""
    stream = b"\x40\x02\x00\x01\x40\x02\x00\x02\x00"
    for size in (1, 4, 5, 8, 9):
        decoder = Decoder(version=V5)

        packets, error = _feed(decoder, stream, size)

        assert packets == [PubAck(packet_id=1), PubAck(packet_id=2)]
        assert isinstance(error, MalformedPacket)


@pytest.mark.parametrize("first", range(256))
@pytest.mark.parametrize("version", [None, V311, V5])
def test_a_decoder_refuses_first_bytes_that_no_packet_has(first: int, version: ProtocolVersion | None) -> None:
    """Types and flags of table 2-2 only, refused at the first byte, alone or with a whole packet behind it."""
    allowed = {0x10, 0x20, 0x40, 0x50, 0x62, 0x70, 0x82, 0x90, 0xA2, 0xB0, 0xC0, 0xD0, 0xE0, 0xF0}
    publishes = {0x30, 0x31, 0x32, 0x33, 0x34, 0x35, 0x3A, 0x3B, 0x3C, 0x3D}
    if first in allowed | publishes:
        return
    for rest in (b"", b"\x80", b"\x02\x00\x01", b"\xff\xff\xff\xff"):
        decoder = Decoder(version=version)
        decoder.receive_data(bytes((first,)) + rest)
        error = _expect_error(decoder)

        assert isinstance(error, MalformedPacket)
        assert error.reason_code == ReasonCode.MALFORMED_PACKET
        assert f"0x{first:02X}" in str(error)
        assert f"type {first >> 4}, flags {first & 15:04b}" in str(error)


@pytest.mark.parametrize("length", ["ffffffff", "80808080", "ffffffff7f"])
def test_a_decoder_refuses_a_length_of_five_bytes(length: str) -> None:
    """The fourth byte of a Remaining Length ends it."""
    decoder = Decoder(version=V311)
    decoder.receive_data(b"\x30" + bytes.fromhex(length))

    assert _expect_error(decoder).reason_code == ReasonCode.MALFORMED_PACKET


@pytest.mark.parametrize("length", ["8200", "828000", "82808000"])
def test_a_decoder_refuses_a_wasteful_length_only_in_mqtt_5(length: str) -> None:
    """MQTT 5 demands the shortest form [MQTT-1.5.5-1], MQTT 3.1.1 does not."""
    wire = b"\x40" + bytes.fromhex(length) + b"\x00\x01"
    strict, lenient = Decoder(version=V5), Decoder(version=V311)
    strict.receive_data(wire)
    lenient.receive_data(wire)

    assert _drain(lenient) == [PubAck(packet_id=1)]
    error = _expect_error(strict)
    assert isinstance(error, MalformedPacket)
    assert str(error) == "the Remaining Length is longer than necessary, [MQTT-1.5.5-1] (0x81)"


@pytest.mark.parametrize("version", ProtocolVersion)
@pytest.mark.parametrize("username_bytes", [10, 200, 16_500])
def test_a_server_refuses_a_wasteful_length_of_connect_only_in_mqtt_5(
    version: ProtocolVersion, username_bytes: int
) -> None:
    """The version is in CONNECT itself: only then is it known what its own length had to be."""
    connect = Connect(client_id="c", version=version, username="u" * username_bytes)
    wire = bytearray(encode(connect, version))
    exact, wasteful = Decoder(), Decoder()
    exact.receive_data(wire)
    last = next(at for at in range(1, 5) if wire[at] < 0x80)
    wire[last : last + 1] = bytes((wire[last] | 0x80, 0))
    wasteful.receive_data(wire)

    assert _drain(exact) == [connect]
    if version is V311:
        assert _drain(wasteful) == [connect]
    else:
        assert "[MQTT-1.5.5-1]" in str(_expect_error(wasteful))


@pytest.mark.parametrize("size", [50, 127, 128, 200, 20_000])
@pytest.mark.parametrize("received", [2, 5, None])
def test_a_decoder_refuses_a_packet_that_is_too_long_before_it_came(size: int, received: int | None) -> None:
    """A packet of one byte more than allowed is refused once its length is known; one byte less passes."""
    connect = Connect(client_id="c", version=V311, username="u" * size)
    publish = Publish(topic_name="t", payload=bytes(size))
    for version, packet in ((V311, publish), (None, connect)):
        wire = encode(packet, V311)
        fits, too_long = (
            Decoder(version=version, max_packet_bytes=len(wire)),
            Decoder(version=version, max_packet_bytes=len(wire) - 1),
        )
        fits.receive_data(wire)
        assert _drain(fits) == [packet]

        too_long.receive_data(wire[:received])
        if received == 2 and wire[1] >= 0x80:
            assert too_long.next_packet() is None  # the length itself is not there yet
            continue
        error = _expect_error(too_long)
        assert isinstance(error, ProtocolViolation)
        assert error.reason_code == ReasonCode.PACKET_TOO_LARGE
        assert str(error) == f"a packet of {len(wire)} bytes, §3.1.2.11.4 (0x95)"


@pytest.mark.parametrize("size", [0, 1, 1_000, 20_000])
@pytest.mark.parametrize("received", [None, -1])
def test_a_decoder_measures_a_packet_from_its_own_beginning(size: int, received: int | None) -> None:
    """What came before a packet in the same piece does not count against its length."""
    publish = Publish(topic_name="t", payload=bytes(size))
    wire = encode(publish, V5)
    fits, too_long = (
        Decoder(version=V5, max_packet_bytes=len(wire)),
        Decoder(version=V5, max_packet_bytes=len(wire) - 1),
    )
    pings = b"\xc0\x00" * 50
    for decoder in (fits, too_long):
        decoder.receive_data((pings + wire)[:received])
        assert [decoder.next_packet() for _ in range(50)] == [PingReq()] * 50

    fits.receive_data(wire[-1:] if received else b"")
    assert _drain(fits) == [publish]
    assert str(_expect_error(too_long)) == f"a packet of {len(wire)} bytes, §3.1.2.11.4 (0x95)"


def test_a_decoder_accepts_the_longest_packet_there_is() -> None:
    """Without a limit the longest Remaining Length is awaited, not refused."""
    decoder = Decoder(version=V5)
    decoder.receive_data(b"\x30\xff\xff\xff\x7f")

    assert decoder.next_packet() is None


def test_a_decoder_names_the_flags_before_the_length() -> None:
    """Broken in two ways, a packet is refused for the same reason in one piece and in many."""
    for size in (1, 200):
        decoder = Decoder(version=V5, max_packet_bytes=3)

        assert isinstance(_feed(decoder, b"\x43\x02\x00\x01", size)[1], MalformedPacket)


def test_a_decoder_gives_runs_of_pubacks_as_numbers() -> None:
    """Plain PUBACKs come as packet identifiers; what says more stays for `next_packet`."""
    acks = b"".join(b"\x40\x02" + packet_id.to_bytes(2, "big") for packet_id in (1, 65535, 0x0A0D, 0x4002, 256, 0x00FF))
    decoder = Decoder(version=V5)
    decoder.receive_data(acks + b"\x40\x03\x00\x09\x10" + b"\x40\x02\x00\x07" + b"\xc0\x00")

    assert decoder.take_puback_ids() == (1, 65535, 0x0A0D, 0x4002, 256, 0x00FF)
    assert decoder.take_puback_ids() == ()
    assert decoder.next_packet() == PubAck(packet_id=9, reason_code=16)
    assert decoder.take_puback_ids() == (7,)
    assert decoder.take_puback_ids() == ()
    assert decoder.next_packet() == PingReq()
    assert decoder.next_packet() is None


def test_a_decoder_leaves_broken_and_incomplete_pubacks_to_next_packet() -> None:
    """A packet identifier of zero ends a run, and so does a piece that is not complete."""
    decoder = Decoder(version=V5)
    decoder.receive_data(b"\x40\x02\x00\x01\x40\x02\x00")
    assert decoder.take_puback_ids() == (1,)
    assert decoder.take_puback_ids() == ()
    decoder.receive_data(b"\x02\x40\x02\x00\x00")
    assert decoder.next_packet() == PubAck(packet_id=2)
    assert decoder.take_puback_ids() == ()

    assert _expect_error(decoder).reason_code == ReasonCode.PROTOCOL_ERROR


def test_a_server_gives_no_puback_before_connect() -> None:
    """The short cut is none around the rule that CONNECT comes first."""
    decoder = Decoder()
    decoder.receive_data(b"\x40\x02\x00\x01")

    assert decoder.take_puback_ids() == ()
    assert "PUBACK" in str(_expect_error(decoder))


@pytest.mark.parametrize("version", ProtocolVersion)
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_the_parts_of_a_publish_make_the_packet(version: ProtocolVersion, qos: int) -> None:
    """Head, packet identifier and tail are the whole packet, for every length of the Remaining Length."""
    for size in (0, 110, 130, 20_000):
        publish = Publish(
            topic_name="a/b",
            payload=bytes(size),
            qos=qos,
            retain=True,
            packet_id=0x1234 if qos else None,
            properties=Properties(content_type="x"),
        )
        head, tail = encode_publish_parts(publish, version)

        assert head + (b"\x12\x34" if qos else b"") + tail == encode(publish, version)
