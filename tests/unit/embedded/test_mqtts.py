"""The mutual-TLS listener: who is let in, and how the others are turned away."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from harness.iot.registry import RegistryChange
from harness.mqtt.packets import ConnAck, Connect, Disconnect, ProtocolVersion, Publish, Will

if TYPE_CHECKING:
    from collections.abc import Callable


def test_a_device_is_let_in_when_its_certificate_is_registered_and_active(
    broker: Any, certificates: Any, raw: Callable[..., Any]
) -> None:
    """A self-signed certificate does, as AWS registers them without a CA."""
    identity = certificates.client("device")
    broker.admit(identity)
    device = raw("mqtts", identity)

    device.send_packet(Connect(client_id="let-in"))

    assert device.receive_packet().reason_code == 0
    record = broker.awaited(lambda each: each["kind"] == "connect" and each["client_id"] == "let-in")
    assert record["principal"] == identity.arn
    assert record["detail"]["transport"] == "mqtts"


def test_a_device_is_refused_in_the_handshake_when_its_certificate_is_not_registered(
    broker: Any, certificates: Any, raw: Callable[..., Any]
) -> None:
    """The handshake fails, and the trace says which side did it and why."""
    seen = broker.ask("status")["trace_seq"]

    assert raw("mqtts", certificates.client("stranger")).receive() == b""

    record = broker.awaited(lambda each: each["seq"] > seen and each["kind"] == "tls_refused")
    assert record["detail"]["because"].startswith("DEVICE_CERTIFICATE_NOT_REGISTERED")


def test_a_device_is_refused_in_the_handshake_when_it_presents_no_certificate(
    broker: Any, raw: Callable[..., Any]
) -> None:
    """On this port there is nobody without a certificate."""
    seen = broker.ask("status")["trace_seq"]

    assert raw("mqtts").receive() == b""

    record = broker.awaited(lambda each: each["seq"] > seen and each["kind"] == "tls_refused")
    assert record["detail"]["because"].startswith("NOT_AUTHENTICATED")


def test_a_device_is_refused_in_the_handshake_when_its_certificate_has_expired(
    broker: Any, certificates: Any, raw: Callable[..., Any]
) -> None:
    """Registered and ACTIVE does not help."""
    identity = certificates.client("late", is_expired=True)
    broker.admit(identity)
    seen = broker.ask("status")["trace_seq"]

    assert raw("mqtts", identity).receive() == b""

    record = broker.awaited(lambda each: each["seq"] > seen and each["kind"] == "tls_refused")
    assert "expired" in record["detail"]["because"]


@pytest.mark.parametrize("status", ["INACTIVE", "REVOKED", "PENDING_ACTIVATION"])
def test_a_device_is_hung_up_on_when_its_certificate_is_not_active(
    broker: Any, certificates: Any, raw: Callable[..., Any], status: str
) -> None:
    """The handshake ends well, since OpenSSL knows the certificate; there is no CONNACK."""
    identity = certificates.client("inactive")
    broker.admit(identity, status=status)
    device = raw("mqtts", identity)

    assert device.receive_all() == b""

    record = broker.awaited(lambda each: identity.certificate_id in str(each["detail"].get("because")))
    assert record["kind"] == "tls_refused"
    assert record["detail"]["because"].startswith(f"DEVICE_CERTIFICATE_{status}")


def test_a_device_is_hung_up_on_when_its_certificate_was_deleted(
    broker: Any, certificates: Any, raw: Callable[..., Any]
) -> None:
    """OpenSSL cannot forget a certificate; the registry can."""
    identity = certificates.client("deleted")
    broker.admit(identity)
    broker.change(RegistryChange(drop={"certificates": (identity.certificate_id,)}))

    assert raw("mqtts", identity).receive_all() == b""

    broker.awaited(lambda each: f"{identity.certificate_id} is not registered" in str(each["detail"].get("because")))


@pytest.mark.parametrize("is_connected", [True, False], ids=["connected", "before CONNECT"])
def test_a_device_is_cut_off_when_its_certificate_is_deactivated(
    broker: Any, certificates: Any, raw: Callable[..., Any], *, is_connected: bool
) -> None:
    """A change of the registry holds on live connections when its call returns, also on those that said nothing yet."""
    identity = certificates.client("cut-off")
    broker.admit(identity)
    device = raw("mqtts", identity)
    if is_connected:
        device.send_packet(Connect(client_id="cut-off"))
        assert device.receive_packet().reason_code == 0

    broker.admit(identity, status="INACTIVE")
    if not is_connected:
        device.send_packet(Connect(client_id="cut-off-early"))

    last = device.receive_packet()
    assert last is None or isinstance(last, Disconnect)
    assert device.receive_packet() is None


@pytest.mark.parametrize(("version", "answer"), [(ProtocolVersion.V5, 0x87), (ProtocolVersion.V311, None)])
def test_a_device_is_refused_at_connect_when_no_policy_allows_it(
    broker: Any, certificates: Any, raw: Callable[..., Any], version: ProtocolVersion, answer: int | None
) -> None:
    """MQTT 5 is told, 3.1.1 is hung up on; the trace explains both."""
    identity = certificates.client("denied")
    broker.admit(identity, on=f"arn:aws:iot:eu-west-1:123456789012:client/other-{version.name}")
    device = raw("mqtts", identity)

    device.send_packet(Connect(client_id=f"denied-{version.name}", version=version), version)

    connack = device.receive_packet()
    assert (connack.reason_code if isinstance(connack, ConnAck) else None) == answer
    assert device.receive_all() == b""
    record = broker.awaited(lambda each: each["kind"] == "decision" and each["client_id"] == f"denied-{version.name}")
    assert record["detail"]["allowed"] is False
    assert record["detail"]["action"] == "iot:Connect"
    assert record["detail"]["resource"].endswith(f":client/denied-{version.name}")


@pytest.mark.parametrize(
    "garbage", [b"\x00" * 64, b"\xff\xff\xff\xff\xff", b"\x10\xff\xff\xff\xff\x7f", b"\x16\x03\x01"]
)
def test_garbage_ends_its_connection_and_no_other(
    broker: Any, certificates: Any, raw: Callable[..., Any], garbage: bytes
) -> None:
    """Bytes that are neither MQTT nor HTTP cost the sender its connection."""
    identity = certificates.client("garbage")
    broker.admit(identity)
    witness, vandal = raw("mqtts", identity), raw("mqtts", identity)
    witness.send_packet(Connect(client_id=f"witness-{garbage.hex()[:8]}"))
    assert witness.receive_packet().reason_code == 0

    vandal.send(garbage)

    assert not vandal.receive_all().startswith(b"\x20\x03\x00\x00")
    witness.send(b"\xc0\x00")
    assert witness.receive() == b"\xd0\x00"


@pytest.mark.parametrize(("name", "is_let_in"), [("localhost", True), ("somewhere.else", False), ("", False)])
def test_a_client_must_name_the_server(
    broker: Any, certificates: Any, raw: Callable[..., Any], name: str, *, is_let_in: bool
) -> None:
    """The server name is the endpoint's; another name or none is refused."""
    identity = certificates.client("namer")
    broker.admit(identity)
    device = raw("mqtts", identity, name=name)

    device.send_packet(Connect(client_id="namer"))

    assert (device.receive_packet() is not None) is is_let_in
    if not is_let_in:
        broker.awaited(lambda each: str(each["detail"].get("because")).startswith("SNI_MISUSED"))


def test_a_client_may_leave_the_server_name_out_when_the_quirk_says_so(
    start_broker: Callable[..., Any], certificates: Any
) -> None:
    """Newer pages of AWS only recommend it."""
    broker = start_broker(quirks={"missing-sni": "accept"})
    identity = certificates.client("nameless")
    broker.admit(identity)

    with broker.dial("mqtts", identity, name="") as tls:
        tls.sendall(b"\x10\x0f\x00\x04MQTT\x04\x02\x00\x00\x00\x03sni")
        assert tls.recv(16) == b"\x20\x02\x00\x00"


def test_a_device_publishes_by_https_on_the_same_port(broker: Any, certificates: Any, raw: Callable[..., Any]) -> None:
    """The first byte tells HTTP from MQTT; the connection stays for further requests."""
    identity = certificates.client("poster")
    broker.admit(identity)
    device = raw("mqtts", identity)

    for body in (b"one", b"two"):
        device.send(
            b"POST /topics/https%2Fdevice?qos=1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\n" + body
        )
        status, headers, answer = device.receive_answer()
        assert status == 200
        assert json.loads(answer) == {"message": "OK", "traceId": headers["x-amzn-requestid"]}
        assert headers["content-length"] == "65"

        trace_id = headers["x-amzn-requestid"]
        record = next(each for each in broker.trace() if (each["kind"], each["message_id"]) == ("publish", trace_id))
        assert record["topic"] == "https/device"
        assert record["detail"]["payload"] == body.decode()
        assert record["principal"] == identity.arn


def test_a_device_is_refused_by_https_when_no_policy_allows_the_topic(
    broker: Any, certificates: Any, raw: Callable[..., Any]
) -> None:
    """The answer is AWS's: 403, and a message of null."""
    identity = certificates.client("silenced")
    broker.admit(identity, on="arn:aws:iot:eu-west-1:123456789012:topic/other")
    device = raw("mqtts", identity)

    device.send(b"POST /topics/https/denied HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")

    status, headers, answer = device.receive_answer()
    assert (status, headers["x-amzn-errortype"]) == (403, "ForbiddenException:")
    assert json.loads(answer)["message"] is None
    record = broker.awaited(lambda each: each["kind"] == "decision" and each["topic"] == "https/denied")
    assert record["detail"]["allowed"] is False


def test_a_device_is_refused_by_https_when_its_certificate_was_deactivated_between_two_requests(
    broker: Any, certificates: Any, raw: Callable[..., Any]
) -> None:
    """A kept connection is no way round the registry."""
    identity = certificates.client("kept")
    broker.admit(identity)
    device = raw("mqtts", identity)
    request = b"POST /topics/https/kept HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
    device.send(request)
    assert device.receive_answer()[0] == 200

    broker.admit(identity, status="INACTIVE")
    device.send(request)

    assert device.receive_all() == b""


def test_a_will_is_published_when_the_fault_cuts_a_connection(
    broker: Any, certificates: Any, raw: Callable[..., Any]
) -> None:
    """The cut looks like a broken network: no DISCONNECT, and the will goes out."""
    identity = certificates.client("cut")
    broker.admit(identity)
    device = raw("mqtts", identity)
    device.send_packet(Connect(client_id="cut", will=Will(topic_name="wills/cut", payload=b"gone")))
    assert device.receive_packet().reason_code == 0

    broker.ask("faults_set", fault={"kind": "disconnect", "client_id": "cut"})

    assert device.receive_all() == b""
    assert broker.awaited(lambda each: (each["kind"], each["topic"]) == ("publish", "wills/cut"))["detail"]["is_will"]
    record = broker.awaited(lambda each: each["kind"] == "disconnect" and each["client_id"] == "cut")
    assert record["detail"]["reason"] == "CONNECTION_LOST"


def test_a_lifecycle_event_tells_subscribers_who_came_and_went(
    broker: Any, certificates: Any, raw: Callable[..., Any]
) -> None:
    """Presence is published under the reserved topics, for whoever may subscribe to them."""
    identity = certificates.client("presence")
    broker.admit(identity)
    watcher, visitor = raw("mqtts", identity), raw("mqtts", identity)
    watcher.send_packet(Connect(client_id="watcher"))
    watcher.receive_packet()
    watcher.send(b"\x82\x29\x00\x01\x00\x00\x23$aws/events/presence/+/life-visitor\x00")
    assert watcher.receive_packet().reason_codes == (0,)

    visitor.send_packet(Connect(client_id="life-visitor"))
    visitor.receive_packet()
    visitor.send_packet(Disconnect())

    came, went = json.loads(watcher.receive_packet().payload), json.loads(watcher.receive_packet().payload)
    assert (came["eventType"], came["principalIdentifier"]) == ("connected", identity.certificate_id)
    assert (went["eventType"], went["disconnectReason"]) == ("disconnected", "CLIENT_INITIATED_DISCONNECT")
    assert (went["clientInitiatedDisconnect"], went["versionNumber"]) == (True, came["versionNumber"])


def test_a_client_is_told_when_the_broker_shuts_down(start_broker: Callable[..., Any], certificates: Any) -> None:
    """MQTT 5 has a reason code for it."""
    broker = start_broker()
    identity = certificates.client("told")
    broker.admit(identity)

    with broker.dial("mqtts", identity) as tls:
        tls.sendall(b"\x10\x11\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x04told")
        assert tls.recv(512)[3] == 0
        assert broker.stop() == 0
        assert tls.recv(16)[:1] == b"\xe0"


def test_a_burst_comes_in_one_piece(broker: Any, certificates: Any, raw: Callable[..., Any]) -> None:
    """What a client is sent during a turn of the loop is written once: all of a burst arrives, in order."""
    identity = certificates.client("burst")
    broker.admit(identity)
    listener, sender = raw("mqtts", identity), raw("mqtts", identity)
    for peer, client_id in ((listener, "burst-listener"), (sender, "burst-sender")):
        peer.send_packet(Connect(client_id=client_id))
        assert peer.receive_packet().reason_code == 0
    listener.send(b"\x82\x0d\x00\x01\x00\x00\x07burst/1\x00")
    assert listener.receive_packet().reason_codes == (0,)

    for number in range(50):
        sender.send_packet(Publish(topic_name="burst/1", payload=b"%d" % number))

    assert [listener.receive_packet().payload for _ in range(50)] == [b"%d" % number for number in range(50)]
