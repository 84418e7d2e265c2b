"""The WebSocket listener: signed upgrades become MQTT, everything else is answered as AWS answers it."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from harness.iot.registry import RegistryChange
from harness.mqtt.codec import Decoder, encode
from harness.mqtt.packets import ConnAck, Connect, ProtocolVersion, Publish, SubAck, Subscribe, Subscription, Will

if TYPE_CHECKING:
    from collections.abc import Callable

FORBIDDEN = "ForbiddenException:"


def host(broker: Any) -> str:
    """Return the Host header of browsers."""
    return f"localhost:{broker.ports['wss_port']}"


@pytest.fixture
def guest(broker: Any, request: pytest.FixtureRequest) -> Any:
    """A live temporary credential that may do anything."""
    return broker.make_guest(f"ASIA{abs(hash(request.node.nodeid)):020d}")


@pytest.fixture
def connected(
    broker: Any, guest: Any, raw: Callable[..., Any], upgrade: Callable[..., bytes], client_frame: Callable[..., bytes]
) -> Callable[..., Any]:
    """Open a WebSocket and connect a client on it."""

    def connect(client_id: str, **more: Any) -> Any:
        peer = raw("wss")
        peer.upgrade(upgrade(broker.signed_path(guest), host(broker)))
        peer.send(client_frame(encode(Connect(client_id=client_id, **more), ProtocolVersion.V5)))
        opcode, payload = peer.receive_frame()
        assert (opcode, packets(payload)[0].reason_code) == (0x82, 0)
        return peer

    return connect


def packets(data: bytes) -> list[Any]:
    """Read the MQTT 5 packets in some bytes."""
    decoder = Decoder(version=ProtocolVersion.V5)
    decoder.receive_data(data)
    return list(iter(decoder.next_packet, None))


def test_a_guest_is_let_in_with_a_signed_url(
    broker: Any, guest: Any, raw: Callable[..., Any], upgrade: Callable[..., bytes], client_frame: Callable[..., bytes]
) -> None:
    """The upgrade is answered, and MQTT runs in binary frames; the first may come with the upgrade itself."""
    peer = raw("wss")
    connect = client_frame(encode(Connect(client_id="guest-early"), ProtocolVersion.V5))

    peer.send(upgrade(broker.signed_path(guest), host(broker)) + connect)

    status, headers, rest = peer.receive_answer()
    assert (status, headers["sec-websocket-protocol"]) == (101, "mqtt")
    frame = rest or peer.receive()
    assert frame[0] == 0x82
    assert isinstance(packets(frame[2:])[0], ConnAck)
    record = broker.awaited(lambda each: (each["kind"], each["client_id"]) == ("connect", "guest-early"))
    assert record["principal"] == guest.principal_arn


def test_a_guest_is_let_in_when_the_host_was_signed_without_its_port(
    broker: Any, guest: Any, raw: Callable[..., Any], upgrade: Callable[..., bytes], presign: Callable[..., str]
) -> None:
    """The SDKs sign the bare endpoint."""
    raw("wss").upgrade(upgrade(presign(guest, host="localhost"), "localhost"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"region": "us-east-2"}, None),
        ({"service": "iotdata"}, None),
        ({"at": "20200101T000000Z"}, "Signature expired: 20200101T000000Z is now earlier than"),
        ({"at": "20990101T000000Z"}, "Signature not yet current: 20990101T000000Z is still later than"),
        ({"path": "/mqt"}, "The request signature we calculated does not match"),
    ],
    ids=["foreign region", "other service", "expired", "not yet current", "other path"],
)
def test_a_guest_is_refused_when_the_url_was_signed_for_something_else(
    broker: Any,
    guest: Any,
    raw: Callable[..., Any],
    upgrade: Callable[..., bytes],
    changes: dict[str, str],
    message: str | None,
) -> None:
    """Each part of the scope is checked; the answer is AWS's 403 with its JSON and its CORS headers."""
    peer = raw("wss")
    path = broker.signed_path(guest, **changes)

    peer.send(upgrade("/mqtt?" + path.partition("?")[2], host(broker)))

    status, headers, body = peer.receive_answer()
    assert (status, headers["x-amzn-errortype"], headers["access-control-allow-origin"]) == (403, FORBIDDEN, "*")
    assert "x-amzn-ErrorType" in headers["access-control-expose-headers"]
    answer = json.loads(body)
    assert answer["traceId"] == headers["x-amzn-requestid"]
    assert answer["message"] is None if message is None else answer["message"].startswith(message)
    assert peer.receive_all() == b""
    record = broker.awaited(
        lambda each: each["kind"] == "upgrade_refused" and each["detail"]["access_key_id"] == guest.access_key_id
    )
    assert record["detail"]["because"]


def test_a_guest_is_refused_when_nothing_is_signed(
    broker: Any, raw: Callable[..., Any], upgrade: Callable[..., bytes]
) -> None:
    """Without a principal nobody gets in."""
    peer = raw("wss")

    peer.send(upgrade("/mqtt", host(broker)))

    status, headers, body = peer.receive_answer()
    assert (status, headers["content-length"]) == (403, "91")
    assert json.loads(body)["message"] == "Missing Authentication Token"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.replace("X-Amz-Signature=", "X-Amz-Signature=0"),
        lambda path: path.replace("ASIA", "ASIX"),
        lambda path: path.partition("&X-Amz-Security-Token")[0],
        lambda path: path + "x",
    ],
    ids=["signature", "key", "no token", "token"],
)
def test_a_guest_is_refused_when_the_signed_url_was_changed(
    broker: Any,
    guest: Any,
    raw: Callable[..., Any],
    upgrade: Callable[..., bytes],
    spoil: Callable[[str], str],
) -> None:
    """Signature, key and session token must be those of one credential."""
    peer = raw("wss")

    peer.send(upgrade(spoil(broker.signed_path(guest)), host(broker)))

    assert peer.receive_answer()[0] == 403


def test_a_guest_is_refused_when_the_credential_has_expired_and_stays_when_it_was_connected_before(
    broker: Any, connected: Callable[..., Any], guest: Any, raw: Callable[..., Any], upgrade: Callable[..., bytes]
) -> None:
    """A signature counts when the connection is made; a live connection goes on."""
    peer = connected("guest-stays")

    broker.make_guest(guest.access_key_id, expires_at=time.time() - 1)

    late = raw("wss")
    late.send(upgrade(broker.signed_path(guest), host(broker)))
    assert late.receive_answer()[0] == 403
    peer.send(b"\x82\x82\x00\x00\x00\x00\xc0\x00")
    assert peer.receive_frame() == (0x82, b"\xd0\x00")


def test_a_guest_is_cut_off_when_the_credential_is_gone(broker: Any, connected: Callable[..., Any], guest: Any) -> None:
    """A key that was deleted is no principal any more."""
    peer = connected("guest-gone")

    broker.change(RegistryChange(drop={"credentials": (guest.access_key_id,)}))

    assert peer.receive_all().endswith(b"\x88\x00")


@pytest.mark.parametrize(
    ("changes", "status"),
    [({"Upgrade": None}, 426), ({"Sec_WebSocket_Version": "8"}, 426), ({"Sec_WebSocket_Protocol": "mqttv3.1"}, 400)],
    ids=["no upgrade", "old version", "MQTT 3.1"],
)
def test_a_guest_is_told_what_is_wrong_with_the_handshake(
    broker: Any,
    guest: Any,
    raw: Callable[..., Any],
    upgrade: Callable[..., bytes],
    changes: dict[str, str | None],
    status: int,
) -> None:
    """A signed request that is no WebSocket handshake we speak."""
    peer = raw("wss")

    peer.send(upgrade(broker.signed_path(guest), host(broker), **changes))

    answered, headers, _ = peer.receive_answer()
    assert answered == status
    assert headers.get("sec-websocket-version") == ("13" if status == 426 else None)


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x10\x10\x00\x04MQTT\x04\x02\x00\x00\x00\x04mqtt",
        b"GARBAGE\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    ],
    ids=["MQTT without HTTP", "no HTTP", "two hosts"],
)
def test_garbage_is_answered_with_400_and_the_end(broker: Any, raw: Callable[..., Any], garbage: bytes) -> None:
    """What is no request ends its connection, and the trace says why."""
    seen = broker.ask("status")["trace_seq"]
    peer = raw("wss")

    peer.send(garbage + b"\r\n\r\n")

    assert peer.receive_answer()[0] in {400, 403}
    assert peer.receive_all() == b""
    (record,) = broker.trace(seen)
    assert record["kind"] == "http_refused"
    assert record["detail"]["because"]
    assert "GARBAGE" not in record["detail"]["because"]  # it could be a signed URL


def test_a_head_without_end_is_answered_with_431(raw: Callable[..., Any]) -> None:
    """The head of a request is bounded."""
    peer = raw("wss")

    peer.send(b"GET / HTTP/1.1\r\nX: " + b"x" * 40_000)

    assert peer.receive_answer()[0] == 431


def test_packets_cross_frames_as_they_like(connected: Callable[..., Any], client_frame: Callable[..., bytes]) -> None:
    """One packet in two frames, two packets in one frame: MQTT does not see frames."""
    peer = connected("guest-frames")
    subscribe = encode(
        Subscribe(packet_id=7, subscriptions=(Subscription(topic_filter="frames/1"),)), ProtocolVersion.V5
    )

    peer.send(client_frame(subscribe[:5], first=0x02) + client_frame(subscribe[5:] + b"\xc0\x00", first=0x80))

    opcode, payload = peer.receive_frame()
    assert opcode == 0x82
    assert isinstance(packets(payload)[0], SubAck)
    assert payload.endswith(b"\xd0\x00")


def test_a_burst_comes_in_one_frame(connected: Callable[..., Any], client_frame: Callable[..., bytes]) -> None:
    """What one turn of the loop has for a client goes out as one binary frame."""
    peer = connected("guest-burst")
    subscribe = Subscribe(packet_id=7, subscriptions=(Subscription(topic_filter="burst/ws"),))
    peer.send(client_frame(encode(subscribe, ProtocolVersion.V5)))
    peer.receive_frame()

    publish = encode(Publish(topic_name="burst/ws", payload=b"x"), ProtocolVersion.V5)
    peer.send(client_frame(publish * 5))

    opcode, payload = peer.receive_frame()
    assert opcode == 0x82
    assert [packet.payload for packet in packets(payload)] == [b"x"] * 5


def test_a_ping_of_the_websocket_is_answered(connected: Callable[..., Any], client_frame: Callable[..., bytes]) -> None:
    """The answer is a pong with the same body."""
    peer = connected("guest-ping")

    peer.send(client_frame(b"hello", first=0x89))

    assert peer.receive_frame() == (0x8A, b"hello")


@pytest.mark.parametrize("says_goodbye", [True, False], ids=["Close frame", "TCP close"])
def test_a_close_frame_is_a_goodbye_and_a_tcp_close_is_not(
    broker: Any, connected: Callable[..., Any], client_frame: Callable[..., bytes], *, says_goodbye: bool
) -> None:
    """A Close frame counts as the client's own wish, without a will; a bare close is a lost connection, with it."""
    client_id = f"guest-bye-{says_goodbye}"
    peer = connected(client_id, will=Will(topic_name=f"wills/{client_id}", payload=b"gone"))

    if says_goodbye:
        peer.send(client_frame(b"", first=0x88))
        assert peer.receive_all() == b"\x88\x00"
    else:
        peer.tls.close()

    record = broker.awaited(lambda each: (each["kind"], each["client_id"]) == ("disconnect", client_id))
    assert record["detail"]["reason"] == ("CLIENT_INITIATED_DISCONNECT" if says_goodbye else "CONNECTION_LOST")
    wills = [each for each in broker.trace() if (each["kind"], each["topic"]) == ("publish", f"wills/{client_id}")]
    assert len(wills) == (0 if says_goodbye else 1)


def test_a_text_frame_ends_the_websocket_with_1003(
    broker: Any, connected: Callable[..., Any], client_frame: Callable[..., bytes]
) -> None:
    """MQTT is binary [MQTT-6.0.0-1], and the trace says what was wrong."""
    peer = connected("guest-text")

    peer.send(client_frame(b"hello", first=0x81))

    assert peer.receive_all() == b"\x88\x02\x03\xeb"
    record = broker.awaited(lambda each: (each["kind"], each["client_id"]) == ("disconnect", "guest-text"))
    assert (record["detail"]["reason"], record["detail"]["because"]) == (
        "CLIENT_ERROR",
        "MQTT does not travel in text frames",
    )


def test_a_guest_is_hung_up_on_with_an_empty_close_frame_when_connect_is_denied(
    broker: Any, raw: Callable[..., Any], upgrade: Callable[..., bytes], client_frame: Callable[..., bytes]
) -> None:
    """A valid signature upgrades whatever policies say; the refusal comes at CONNECT; 3.1.1 gets no CONNACK."""
    nobody = broker.make_guest("ASIANOBODY", may="iot:Connect", on="arn:aws:iot:eu-west-1:123456789012:client/public-*")
    peer = raw("wss")
    peer.upgrade(upgrade(broker.signed_path(nobody), host(broker)))

    peer.send(client_frame(encode(Connect(client_id="private", version=ProtocolVersion.V311), ProtocolVersion.V311)))

    assert peer.receive_all() == b"\x88\x00"
    record = broker.awaited(lambda each: (each["kind"], each["client_id"]) == ("decision", "private"))
    assert "public-*" in record["detail"]["because"]
