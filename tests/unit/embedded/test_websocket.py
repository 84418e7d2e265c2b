"""The WebSocket side of a connection, checked against frames written out by hand."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.embedded.websocket import UpgradeError, WebSocket, accept_value, answer_upgrade, frame, unmask

MASK = b"\x37\xfa\x21\x3d"

HANDSHAKE = {
    "Host": "localhost",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Protocol": "mqtt",
}


def client_frame(payload: bytes, *, first: int = 0x82, mask: bytes = MASK) -> bytes:
    """Write a frame as a client does, with the payload masked byte by byte."""
    size = len(payload)
    if size < 126:
        length = bytes((0x80 | size,))
    elif size < 65_536:
        length = b"\xfe" + size.to_bytes(2, "big")
    else:
        length = b"\xff" + size.to_bytes(8, "big")
    return bytes((first,)) + length + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(payload))


def upgrade(changes: dict[str, str | None], *, method: str = "GET", version: str = "1.1") -> list[tuple[str, str]]:
    """Answer the handshake of `HANDSHAKE` with some headers changed, or left out where the value is None."""
    headers = [(name, value) for name, value in {**HANDSHAKE, **changes}.items() if value is not None]
    return answer_upgrade(method, version, headers)


def test_the_accept_value_is_that_of_the_specification() -> None:
    """RFC 6455 §1.3 works the example out."""
    assert accept_value("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def test_a_handshake_is_answered_with_the_subprotocol() -> None:
    """The answer upgrades, proves that the key was read, and picks mqtt."""
    assert upgrade({}) == [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        ("Sec-WebSocket-Protocol", "mqtt"),
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"Upgrade": "WebSocket"},
        {"Connection": "keep-alive, Upgrade"},
        {"Sec-WebSocket-Protocol": "mqttv3.1, mqtt"},
        {"Sec-WebSocket-Extensions": "permessage-deflate"},
    ],
    ids=str,
)
def test_a_handshake_is_answered_in_every_allowed_spelling(changes: dict[str, str | None]) -> None:
    """Token lists, letter case of Upgrade and Connection, and offers we do not take do no harm."""
    assert ("Sec-WebSocket-Protocol", "mqtt") in upgrade(changes)
    assert not [name for name, _ in upgrade(changes) if name == "Sec-WebSocket-Extensions"]


def test_a_handshake_is_answered_when_header_names_are_lower_case() -> None:
    """Header names have no case."""
    assert answer_upgrade("GET", "1.1", [(name.lower(), value) for name, value in HANDSHAKE.items()])


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"Host": None}, 400),
        ({"Upgrade": None}, 426),
        ({"Upgrade": "h2c"}, 426),
        ({"Connection": "keep-alive"}, 400),
        ({"Sec-WebSocket-Version": "8"}, 426),
        ({"Sec-WebSocket-Version": None}, 426),
        ({"Sec-WebSocket-Key": None}, 400),
        ({"Sec-WebSocket-Key": "short"}, 400),
        ({"Sec-WebSocket-Key": "c2hvcnQ="}, 400),
        ({"Sec-WebSocket-Protocol": None}, 400),
        ({"Sec-WebSocket-Protocol": "mqttv3.1"}, 400),
        ({"Sec-WebSocket-Protocol": "MQTT"}, 400),
    ],
    ids=str,
)
def test_a_handshake_is_refused_when_something_is_wrong_with_it(changes: dict[str, str | None], status: int) -> None:
    """Each condition of RFC 6455 §4.2.1 is checked on its own."""
    with pytest.raises(UpgradeError) as refusal:
        upgrade(changes)

    assert refusal.value.status == status
    assert refusal.value.reason


@pytest.mark.parametrize(("method", "version"), [("POST", "1.1"), ("GET", "1.0")])
def test_a_handshake_is_refused_when_it_is_not_a_get_of_http_1_1(method: str, version: str) -> None:
    """RFC 6455 §4.1 asks for both."""
    with pytest.raises(UpgradeError):
        upgrade({}, method=method, version=version)


def test_a_masked_frame_is_read() -> None:
    """RFC 6455 §5.7: a masked Hello, here as a binary frame."""
    websocket = WebSocket()

    assert websocket.receive_data(b"\x82\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58") == b"Hello"
    assert websocket.data_to_send() == b""
    assert not websocket.is_closed


@pytest.mark.parametrize("size", [0, 1, 3, 4, 5, 125, 126, 127, 65_535, 65_536, 70_001])
def test_a_frame_is_read_at_every_size_of_its_length(size: int) -> None:
    """The three forms of the payload length meet at 126 and 65,536."""
    payload = os.urandom(size)

    assert WebSocket().receive_data(client_frame(payload)) == payload


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536])
def test_a_frame_is_written_at_every_size_of_its_length(size: int) -> None:
    """What the server writes is not masked and uses the shortest length."""
    header = {0: b"\x82\x00", 1: b"\x82\x01", 125: b"\x82\x7d", 126: b"\x82\x7e\x00\x7e", 65_535: b"\x82\x7e\xff\xff"}
    payload = b"x" * size

    assert frame(payload) == header.get(size, b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00") + payload


@given(payloads=st.lists(st.binary(max_size=300), max_size=5), chunk=st.integers(1, 17))
def test_frames_give_the_same_bytes_however_they_are_split(payloads: list[bytes], chunk: int) -> None:
    """TCP keeps no boundaries: any split of the stream gives the same MQTT bytes."""
    stream = b"".join(client_frame(payload) for payload in payloads)
    websocket = WebSocket()

    parts = [websocket.receive_data(stream[i : i + chunk]) for i in range(0, len(stream), chunk)]

    assert b"".join(parts) == b"".join(payloads)
    assert not websocket.is_closed


@pytest.mark.parametrize("size", [0, 125, 126, 65_536])
def test_a_frame_is_read_when_its_header_comes_byte_by_byte(size: int) -> None:
    """Each form of the length may be cut anywhere."""
    stream = client_frame(b"x" * size)
    websocket = WebSocket()

    parts = [websocket.receive_data(stream[i : i + 1]) for i in range(14)] + [websocket.receive_data(stream[14:])]

    assert b"".join(parts) == b"x" * size


@given(mask=st.binary(min_size=4, max_size=4), data=st.binary(max_size=100))
def test_unmasking_is_the_formula_of_the_specification(mask: bytes, data: bytes) -> None:
    """RFC 6455 §5.3: octet i is XORed with octet i mod 4 of the key."""
    assert unmask(mask, data) == bytes(octet ^ mask[i % 4] for i, octet in enumerate(data))


def test_a_fragmented_message_is_read_with_a_ping_in_its_middle() -> None:
    """Control frames may stand between fragments (RFC 6455 §5.4)."""
    websocket = WebSocket()
    stream = client_frame(b"one ", first=0x02) + client_frame(b"!", first=0x89) + client_frame(b"two ", first=0x00)
    stream += client_frame(b"three", first=0x80)

    assert websocket.receive_data(stream) == b"one two three"
    assert websocket.data_to_send() == b"\x8a\x01!"


def test_a_ping_is_answered_once_with_the_latest_when_several_wait() -> None:
    """RFC 6455 §5.5.3 allows it, and it bounds what a flood of pings can make us hold."""
    websocket = WebSocket()

    assert websocket.receive_data(client_frame(b"first", first=0x89) + client_frame(b"second", first=0x89)) == b""
    assert websocket.data_to_send() == b"\x8a\x06second"
    assert websocket.data_to_send() == b""


def test_a_pong_nobody_asked_for_is_ignored() -> None:
    """RFC 6455 §5.5.3: an unsolicited pong is a heartbeat and needs no answer."""
    websocket = WebSocket()

    assert websocket.receive_data(client_frame(b"", first=0x8A) + client_frame(b"next")) == b"next"
    assert websocket.data_to_send() == b""


@pytest.mark.parametrize(
    ("body", "echo"), [(b"", b"\x88\x00"), (b"\x03\xe8bye", b"\x88\x02\x03\xe8"), (b"\x0f\xa0", b"\x88\x02\x0f\xa0")]
)
def test_a_close_frame_is_echoed_and_counts_as_the_clients_wish(body: bytes, echo: bytes) -> None:
    """The closing handshake of RFC 6455 §5.5.1; what comes after a Close frame is ignored."""
    websocket = WebSocket()

    assert (
        websocket.receive_data(client_frame(b"last") + client_frame(body, first=0x88) + client_frame(b"late"))
        == b"last"
    )
    assert websocket.is_closed
    assert websocket.is_closed_by_client
    assert websocket.because is None
    assert websocket.data_to_send() == echo
    assert websocket.receive_data(client_frame(b"later")) == b""


def test_a_server_closes_without_a_code_when_it_has_none() -> None:
    """AWS hangs up with an empty Close frame, which clients report as 1005."""
    websocket = WebSocket()

    websocket.close()

    assert websocket.data_to_send() == b"\x88\x00"


def test_a_server_closes_once() -> None:
    """The second reason to close comes too late."""
    websocket = WebSocket()

    websocket.close(1001, "going away")
    websocket.close(1002, "again")

    assert websocket.data_to_send() == b"\x88\x02\x03\xe9"
    assert websocket.because == "going away"
    assert not websocket.is_closed_by_client


@pytest.mark.parametrize(
    ("stream", "code"),
    [
        (b"\x82\x05Hello", 1002),
        (client_frame(b"x", first=0xC2), 1002),
        (client_frame(b"x", first=0xA2), 1002),
        (client_frame(b"x", first=0x92), 1002),
        (client_frame(b"text", first=0x81), 1003),
        (client_frame(b"x", first=0x83), 1002),
        (client_frame(b"x", first=0x8B), 1002),
        (client_frame(b"x", first=0x80), 1002),
        (client_frame(b"x", first=0x02) + client_frame(b"y"), 1002),
        (client_frame(b"x", first=0x09), 1002),
        (client_frame(b"x" * 126, first=0x89), 1002),
        (b"\x82\xfe\x00\x7d" + MASK + b"x" * 125, 1002),
        (b"\x82\xff\x00\x00\x00\x00\x00\x00\xff\xff" + MASK, 1002),
        (b"\x82\xff\x80\x00\x00\x00\x00\x00\x00\x00" + MASK, 1009),
        (b"\x82\xff\x00\x00\x00\x00\x00\x10\x00\x01", 1009),
        (client_frame(b"\x03", first=0x88), 1002),
        (client_frame(b"\x03\xed", first=0x88), 1002),
        (client_frame(b"\x01\x00", first=0x88), 1002),
        (client_frame(b"\x03\xe8\xff", first=0x88), 1007),
    ],
    ids=[
        "unmasked",
        "RSV1",
        "RSV2",
        "RSV3",
        "text",
        "reserved data opcode",
        "reserved control opcode",
        "continuation of nothing",
        "message inside a message",
        "fragmented ping",
        "long ping",
        "long form of 125",
        "longest form of 65535",
        "negative length",
        "too long",
        "half a close code",
        "close code 1005",
        "close code 256",
        "close reason not UTF-8",
    ],
)
def test_a_websocket_is_closed_with_the_right_code_when_the_client_breaks_the_rules(stream: bytes, code: int) -> None:
    """Each breach of RFC 6455 has its close code; nothing after it is read."""
    websocket = WebSocket()

    websocket.receive_data(stream)

    assert websocket.is_closed
    assert not websocket.is_closed_by_client
    assert websocket.because
    assert websocket.data_to_send() == b"\x88\x02" + code.to_bytes(2, "big")
    assert websocket.receive_data(client_frame(b"late")) == b""


def test_a_websocket_holds_no_more_than_one_frame() -> None:
    """A frame too long is refused by its header, before its payload is awaited."""
    websocket = WebSocket(max_frame_bytes=200)

    assert websocket.receive_data(client_frame(b"x" * 200)) == b"x" * 200
    websocket.receive_data(client_frame(b"x" * 201)[:8])

    assert websocket.is_closed
