"""`Decoder` and `encode` against bytes of the specification and of paho-mqtt: whole, in pieces, and cut short."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from harness.errors import ProtocolError, ProtocolViolation
from harness.mqtt.codec import Decoder, encode
from harness.mqtt.packets import (
    Auth,
    ConnAck,
    Connect,
    Disconnect,
    Packet,
    PingReq,
    PingResp,
    Properties,
    ProtocolVersion,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    ReasonCode,
    SubAck,
    Subscribe,
    Subscription,
    UnsubAck,
    Unsubscribe,
    Will,
)

V311 = ProtocolVersion.V311
V5 = ProtocolVersion.V5


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Bytes and what they say; `encodes` is False where another order or a longer form is as good as ours."""

    name: str
    version: ProtocolVersion
    wire: bytes
    packet: Packet
    encodes: bool = field(default=True)


def _sample(name: str, version: ProtocolVersion, wire: str, packet: Packet, *, encodes: bool = True) -> Sample:
    return Sample(name=name, version=version, wire=bytes.fromhex(wire), packet=packet, encodes=encodes)


# Put together from the figures of the specifications, non-normative examples included.
SPECIFICATION = (
    _sample(
        "3.1.1 figure 3.6",
        V311,
        "10 24 0004 4D515454 04 CE 000A 0001 63 0003 612F62 0003 627965 0003 626F62 0006 736563726574",
        Connect(
            client_id="c",
            version=V311,
            keep_alive=10,
            username="bob",
            password=b"secret",
            will=Will(topic_name="a/b", payload=b"bye", qos=1),
        ),
    ),
    _sample(
        "5.0 figure 3-6",
        V5,
        "10 2B 0004 4D515454 05 CE 000A 05 11 0000000A 0001 63 00 0003 612F62 0003 627965 0003 626F620006 736563726574",
        Connect(
            client_id="c",
            version=V5,
            keep_alive=10,
            username="bob",
            password=b"secret",
            will=Will(topic_name="a/b", payload=b"bye", qos=1),
            properties=Properties(session_expiry_interval=10),
        ),
    ),
    _sample(
        "5.0 password without user name",
        V5,
        "10 0F 0004 4D515454 05 42 0000 00 0000 0000",
        Connect(client_id="", password=b""),
    ),
    _sample("3.1.1 figure 3.8", V311, "20 02 01 00", ConnAck(session_present=True)),
    _sample("3.1.1 refused", V311, "20 02 00 05", ConnAck(reason_code=5)),
    _sample("5.0 figure 3-8", V5, "20 03 00 00 00", ConnAck()),
    _sample(
        "5.0 CONNACK in full",
        V5,
        """20 49 01 00 46 11 00000E10 12 0003 67656E 13 04B0 15 0001 6D 16 0001 64 1A 0001 72 1C 0001 73 1F 0002 6F6B
        21 0064 22 0008 24 01 25 01 26 0001 6B 0001 76 26 0001 6B 0001 77 27 00024800 28 01 29 00 2A 01""",
        ConnAck(
            session_present=True,
            properties=Properties(
                session_expiry_interval=3600,
                assigned_client_identifier="gen",
                server_keep_alive=1200,
                authentication_method="m",
                authentication_data=b"d",
                response_information="r",
                server_reference="s",
                reason_string="ok",
                receive_maximum=100,
                topic_alias_maximum=8,
                maximum_qos=1,
                retain_available=True,
                user_properties=(("k", "v"), ("k", "w")),
                maximum_packet_size=149_504,
                wildcard_subscription_available=True,
                subscription_identifier_available=False,
                shared_subscription_available=True,
            ),
        ),
    ),
    _sample("3.1.1 figure 3.11", V311, "32 07 0003 612F62 000A", Publish(topic_name="a/b", qos=1, packet_id=10)),
    _sample("5.0 figure 3-9", V5, "32 08 0003 612F62 000A 00", Publish(topic_name="a/b", qos=1, packet_id=10)),
    _sample(
        "5.0 PUBLISH from a server",
        V5,
        "31 0F 0003 612F62 08 0B 01 0B FFFF7F 0B 02 68",
        Publish(
            topic_name="a/b", payload=b"h", retain=True, properties=Properties(subscription_identifiers=(1, 2097151, 2))
        ),
    ),
    _sample("3.1.1 figure 3.12 PUBACK", V311, "40 02 000A", PubAck(packet_id=10)),
    _sample("5.0 figure 3-11 PUBACK", V5, "40 02 000A", PubAck(packet_id=10)),
    _sample("5.0 PUBACK in three bytes", V5, "40 03 000A 10", PubAck(packet_id=10, reason_code=16)),
    _sample("5.0 PUBACK in four bytes", V5, "40 04 000A 00 00", PubAck(packet_id=10), encodes=False),
    _sample(
        "5.0 PUBACK in full",
        V5,
        "40 0F 000A 87 0B 1F 0001 6E 26 0001 6B 0001 76",
        PubAck(packet_id=10, reason_code=0x87, properties=Properties(reason_string="n", user_properties=(("k", "v"),))),
    ),
    _sample(
        "5.0 SUBACK in full",
        V5,
        "90 0F 000A 0B 1F 0001 6E 26 0001 6B 0001 76 01",
        SubAck(
            packet_id=10,
            reason_codes=(1,),
            properties=Properties(reason_string="n", user_properties=(("k", "v"),)),
        ),
    ),
    _sample(
        "5.0 UNSUBACK in full",
        V5,
        "B0 0F 000A 0B 1F 0001 6E 26 0001 6B 0001 76 00",
        UnsubAck(
            packet_id=10,
            reason_codes=(0,),
            properties=Properties(reason_string="n", user_properties=(("k", "v"),)),
        ),
    ),
    _sample("5.0 PUBREC", V5, "50 03 FFFF 97", PubRec(packet_id=65535, reason_code=0x97)),
    _sample(
        "5.0 PUBREL",
        V5,
        "62 08 0100 92 04 1F 0001 6E",
        PubRel(packet_id=256, reason_code=0x92, properties=Properties(reason_string="n")),
    ),
    _sample("5.0 PUBCOMP", V5, "70 03 0001 92", PubComp(packet_id=1, reason_code=0x92)),
    _sample(
        "3.1.1 figure 3.21 to 3.23",
        V311,
        "82 0E 000A 0003 612F62 01 0003 632F64 02",
        Subscribe(
            packet_id=10,
            subscriptions=(Subscription(topic_filter="a/b", qos=1), Subscription(topic_filter="c/d", qos=2)),
        ),
    ),
    _sample(
        "5.0 figure 3-19 to 3-21",
        V5,
        "82 0F 000A 00 0003 612F62 01 0003 632F64 02",
        Subscribe(
            packet_id=10,
            subscriptions=(Subscription(topic_filter="a/b", qos=1), Subscription(topic_filter="c/d", qos=2)),
        ),
    ),
    _sample("3.1.1 figure 3.26", V311, "90 05 000A 00 02 80", SubAck(packet_id=10, reason_codes=(0, 2, 0x80))),
    _sample("5.0 SUBACK", V5, "90 06 000A 00 00 02 87", SubAck(packet_id=10, reason_codes=(0, 2, 0x87))),
    _sample(
        "3.1.1 figure 3.28 to 3.30",
        V311,
        "A2 0C 000A 0003 612F62 0003 632F64",
        Unsubscribe(packet_id=10, topic_filters=("a/b", "c/d")),
    ),
    _sample(
        "5.0 figure 3-28",
        V5,
        "A2 0D 000A 00 0003 612F62 0003 632F64",
        Unsubscribe(packet_id=10, topic_filters=("a/b", "c/d")),
    ),
    _sample("3.1.1 UNSUBACK", V311, "B0 02 000A", UnsubAck(packet_id=10)),
    _sample("5.0 UNSUBACK", V5, "B0 05 000A 00 00 11", UnsubAck(packet_id=10, reason_codes=(0, 17))),
    _sample("5.0 DISCONNECT with a code", V5, "E0 01 8E", Disconnect(reason_code=0x8E)),
    _sample(
        "5.0 DISCONNECT in full",
        V5,
        "E0 0A 9C 08 1C 0001 73 1F 0001 6E",
        Disconnect(reason_code=0x9C, properties=Properties(server_reference="s", reason_string="n")),
    ),
    _sample("5.0 DISCONNECT of two bytes", V5, "E0 02 00 00", Disconnect(), encodes=False),
    _sample("5.0 AUTH, bare", V5, "F0 00", Auth()),
    _sample(
        "5.0 AUTH",
        V5,
        "F0 0A 18 08 15 0001 6D 16 0001 64",
        Auth(reason_code=0x18, properties=Properties(authentication_method="m", authentication_data=b"d")),
    ),
)

# What paho-mqtt 2.2.0 writes.
PAHO = (
    _sample(
        "CONNECT 3.1.1",
        V311,
        "101400044d5154540402003c00086465766963652d31",
        Connect(client_id="device-1", version=V311, keep_alive=60),
    ),
    _sample(
        "CONNECT 3.1.1 in full",
        V311,
        "103900044d51545404ec04b000086465766963652d3100117075626c69632f6c6173742f776f7264730003627965"
        "0003626f620006736563726574",
        Connect(
            client_id="device-1",
            version=V311,
            clean_start=False,
            keep_alive=1200,
            username="bob",
            password=b"secret",
            will=Will(topic_name="public/last/words", payload=b"bye", qos=1, retain=True),
        ),
    ),
    _sample(
        "CONNECT 5",
        V5,
        "101500044d5154540502003c0000086465766963652d31",
        Connect(client_id="device-1", keep_alive=60),
    ),
    _sample(
        "CONNECT 5 in full",
        V5,
        "109b0100044d51545405d4ffff2a1100000e101500016d160001641700190121006422000826000161000131260001610001322700024800"
        "000870c3ba626c69636f360101020000001e03000a746578742f706c61696e08000e7075626c69632f616e737765727309000200ff"
        "18000000052600016b00017600117075626c69632f6c6173742f776f72647300036279650003626f620006736563726574",
        Connect(
            client_id="público",
            clean_start=False,
            keep_alive=65535,
            username="bob",
            password=b"secret",
            will=Will(
                topic_name="public/last/words",
                payload=b"bye",
                qos=2,
                properties=Properties(
                    payload_format_indicator=1,
                    message_expiry_interval=30,
                    content_type="text/plain",
                    response_topic="public/answers",
                    correlation_data=b"\x00\xff",
                    will_delay_interval=5,
                    user_properties=(("k", "v"),),
                ),
            ),
            properties=Properties(
                session_expiry_interval=3600,
                authentication_method="m",
                authentication_data=b"d",
                request_problem_information=False,
                request_response_information=True,
                receive_maximum=100,
                topic_alias_maximum=8,
                maximum_packet_size=149_504,
                user_properties=(("a", "1"), ("a", "2")),
            ),
        ),
    ),
    _sample(
        "PUBLISH 3.1.1 QoS 0",
        V311,
        "301a000b7075626c69632f726f6f6d48656c6c6f2c20576f726c6421",
        Publish(topic_name="public/room", payload=b"Hello, World!"),
    ),
    _sample(
        "PUBLISH 3.1.1 QoS 1 again",
        V311,
        "3a14000b7075626c69632f726f6f6d000748656c6c6f",
        Publish(topic_name="public/room", payload=b"Hello", qos=1, dup=True, packet_id=7),
    ),
    _sample(
        "PUBLISH 3.1.1 QoS 2 retained",
        V311,
        "350f000b7075626c69632f726f6f6dffff",
        Publish(topic_name="public/room", qos=2, retain=True, packet_id=65535),
    ),
    _sample(
        "PUBLISH 5 QoS 0",
        V5,
        "301b000b7075626c69632f726f6f6d0048656c6c6f2c20576f726c6421",
        Publish(topic_name="public/room", payload=b"Hello, World!"),
    ),
    _sample(
        "PUBLISH 5 QoS 1 again",
        V5,
        "3a15000b7075626c69632f726f6f6d00070048656c6c6f",
        Publish(topic_name="public/room", payload=b"Hello", qos=1, dup=True, packet_id=7),
    ),
    _sample(
        "PUBLISH 5 QoS 2 retained",
        V5,
        "3510000b7075626c69632f726f6f6dffff00",
        Publish(topic_name="public/room", qos=2, retain=True, packet_id=65535),
    ),
    _sample(
        "PUBLISH 5 in full",
        V5,
        "3354000b7075626c69632f726f6f6d00074201010200093a800300106170706c69636174696f6e2f6a736f6e08000e7075626c69632f61"
        "6e737765727309000269642300082600076772c3b6c39f650003e29c937b7d",
        Publish(
            topic_name="public/room",
            payload=b"{}",
            qos=1,
            retain=True,
            packet_id=7,
            properties=Properties(
                payload_format_indicator=1,
                message_expiry_interval=604_800,
                content_type="application/json",
                response_topic="public/answers",
                correlation_data=b"id",
                topic_alias=8,
                user_properties=(("größe", "✓"),),
            ),
        ),
    ),
    _sample(
        "PUBLISH 5 by alias",
        V5,
        "320a00000008032300087b7d",
        Publish(topic_name="", payload=b"{}", qos=1, packet_id=8, properties=Properties(topic_alias=8)),
    ),
    *(
        _sample(f"{make.__name__} {version.name}", version, wire, make(packet_id=258))
        for version in ProtocolVersion
        for make, wire in ((PubAck, "40020102"), (PubRec, "50020102"), (PubRel, "62020102"), (PubComp, "70020102"))
    ),
    *(
        _sample(f"{type(packet).__name__} {version.name}", version, wire, packet)
        for version in ProtocolVersion
        for packet, wire in ((PingReq(), "c000"), (PingResp(), "d000"), (Disconnect(), "e000"))
    ),
    _sample(
        "SUBSCRIBE 3.1.1",
        V311,
        "8213000100087075626c69632f230100032b2f6202",
        Subscribe(
            packet_id=1,
            subscriptions=(Subscription(topic_filter="public/#", qos=1), Subscription(topic_filter="+/b", qos=2)),
        ),
    ),
    _sample(
        "SUBSCRIBE 5",
        V5,
        "822000010c0bffffff7f2600016b00017600087075626c69632f232d00032b2f6202",
        Subscribe(
            packet_id=1,
            subscriptions=(
                Subscription(
                    topic_filter="public/#", qos=1, no_local=True, retain_as_published=True, retain_handling=2
                ),
                Subscription(topic_filter="+/b", qos=2),
            ),
            properties=Properties(subscription_identifiers=(268_435_455,), user_properties=(("k", "v"),)),
        ),
    ),
    _sample(
        "UNSUBSCRIBE 3.1.1",
        V311,
        "a211000200087075626c69632f2300032b2f62",
        Unsubscribe(packet_id=2, topic_filters=("public/#", "+/b")),
    ),
    _sample(
        "UNSUBSCRIBE 5",
        V5,
        "a2190002072600016b00017600087075626c69632f2300032b2f62",
        Unsubscribe(
            packet_id=2, topic_filters=("public/#", "+/b"), properties=Properties(user_properties=(("k", "v"),))
        ),
    ),
    _sample(
        "DISCONNECT 5 in full",
        V5,
        "e014041211000000001f000a676f696e6720686f6d65",
        Disconnect(reason_code=4, properties=Properties(session_expiry_interval=0, reason_string="going home")),
    ),
)

SAMPLES = SPECIFICATION + PAHO
each_sample = pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)


def _drain(decoder: Decoder) -> list[Packet]:
    packets = []
    while (packet := decoder.next_packet()) is not None:
        packets.append(packet)
    return packets


def _expect_error(decoder: Decoder) -> ProtocolError:
    with pytest.raises(ProtocolError) as caught:
        _drain(decoder)
    return caught.value


@each_sample
def test_a_decoder_reads_what_others_wrote(sample: Sample) -> None:
    """Bytes of the specification and of paho-mqtt give the packet that they spell."""
    decoder = Decoder(version=sample.version)

    decoder.receive_data(sample.wire)

    assert _drain(decoder) == [sample.packet]


@each_sample
def test_encode_writes_the_bytes_of_others(sample: Sample) -> None:
    """The packet gives the very bytes of the specification and of paho-mqtt, or others that mean the same."""
    wire = encode(sample.packet, sample.version)

    if sample.encodes:
        assert wire == sample.wire
    else:
        assert len(wire) < len(sample.wire)


@each_sample
def test_a_decoder_waits_for_the_rest_when_a_packet_is_cut_anywhere(sample: Sample) -> None:
    """No beginning of a packet is a packet or an error, and the rest completes it."""
    for cut in range(len(sample.wire)):
        decoder = Decoder(version=sample.version)

        decoder.receive_data(sample.wire[:cut])
        assert decoder.next_packet() is None
        decoder.receive_data(sample.wire[cut:])

        assert _drain(decoder) == [sample.packet]


@each_sample
def test_a_decoder_finds_the_end_of_a_body_that_is_cut_short(sample: Sample) -> None:
    """A body that ends too early is an error or a shorter packet, and never reads what follows it."""
    body = sample.wire[3:] if sample.wire[1] & 0x80 else sample.wire[2:]
    for size in range(len(body)):
        wire = sample.wire[:1] + size.to_bytes(1 + (size > 127), "little") + body[:size]
        if size > 127:
            wire = sample.wire[:1] + bytes((size & 0x7F | 0x80, size >> 7)) + body[:size]
        outcomes = []
        for behind in (b"", b"\xc0\x00", b"\x00" * 99, b"\xff" * 99):
            decoder = Decoder(version=sample.version)
            decoder.receive_data(wire + behind)
            try:
                outcomes.append(decoder.next_packet())
            except ProtocolError as error:
                outcomes.append(str(error))  # type: ignore[arg-type]  # told apart by type below

        assert outcomes[1:] == outcomes[:-1]
        assert outcomes[0] is not None
        assert outcomes[0] != sample.packet or size == len(body) or not sample.encodes


@pytest.mark.parametrize("version", ProtocolVersion)
@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 64, 1000])
def test_a_decoder_gives_the_same_packets_when_they_come_in_pieces(version: ProtocolVersion, size: int) -> None:
    """A stream gives the same packets in pieces of any size, drained after every piece."""
    samples = [sample for sample in SAMPLES if sample.version is version]
    stream = b"".join(sample.wire for sample in samples)
    decoder = Decoder(version=version)
    packets = []

    for at in range(0, len(stream), size):
        decoder.receive_data(stream[at : at + size])
        packets += _drain(decoder)

    assert packets == [sample.packet for sample in samples]


@pytest.mark.parametrize("version", ProtocolVersion)
def test_a_decoder_gives_the_same_packets_when_it_is_not_drained(version: ProtocolVersion) -> None:
    """Bytes received while packets wait stay in order: one packet taken per piece, the rest at the end."""
    samples = [sample for sample in SAMPLES if sample.version is version]
    stream = b"".join(sample.wire for sample in samples)
    decoder = Decoder(version=version)
    early: list[Packet | None] = []

    for at in range(0, len(stream), 50):
        decoder.receive_data(stream[at : at + 50])
        early.append(decoder.next_packet())
    packets = [packet for packet in early if packet is not None] + _drain(decoder)

    assert packets == [sample.packet for sample in samples]


@each_sample
def test_a_server_learns_the_version_from_connect(sample: Sample) -> None:
    """A decoder without a version takes it from CONNECT and refuses any other first packet."""
    decoder = Decoder()
    decoder.receive_data(sample.wire)

    if isinstance(sample.packet, Connect):
        assert _drain(decoder) == [sample.packet]
        assert decoder.version is sample.version
    else:
        error = _expect_error(decoder)
        assert isinstance(error, ProtocolViolation)
        assert error.reason_code == ReasonCode.PROTOCOL_ERROR
        assert "[MQTT-3.1.0-1]" in str(error)
        assert decoder.version is None
