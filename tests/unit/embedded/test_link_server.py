"""What the control plane may ask of the broker process."""

from __future__ import annotations

import asyncio
import base64
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from harness.embedded import link_server
from harness.embedded.link import FrameDecoder, LinkError, encode_frame
from harness.embedded.link_server import AskRefusedError, LinkServer
from harness.iot.registry import Certificate, RegistryChange
from harness.mqtt.packets import Connect, Subscribe, Subscription

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


def test_the_broker_answers_a_ping(broker: Any) -> None:
    """The link is alive."""
    answer = broker.ask("ping")

    assert answer == {"id": answer["id"], "ok": True}


def test_the_broker_tells_its_status(broker: Any) -> None:
    """Numbers of what it holds, and its ports."""
    status = broker.ask("status")

    assert {name: status[name] for name in broker.ports} == broker.ports
    assert {"connections", "sessions", "retained", "registry_version", "trace_seq", "faults"} <= set(status)
    assert (status["held_messages"], status["throttled_messages"]) == (0, 0)


@pytest.mark.parametrize(
    ("op", "members", "code"),
    [
        ("unheard-of", {}, "UnknownOperation"),
        ("registry", {}, "InvalidRequest"),
        ("registry", {"change": {"put": {"tables": []}, "drop": {}}}, "InvalidRequest"),
        ("publish", {"topic": "a", "payload": "?", "access_key_id": "AKIAROOT"}, "InvalidRequest"),
        ("publish", {"topic": "a", "access_key_id": "AKIANOBODY"}, "UnknownAccessKey"),
        ("trace", {"since": "x"}, "InvalidRequest"),
        ("faults_set", {"fault": {"kind": "meteor"}}, "UnknownFault"),
        ("faults_set", {"fault": {"kind": "disconnect", "client_id": "nobody"}}, "NoSuchClient"),
        ("faults_set", {"fault": {"kind": "disconnect"}}, "NoSuchClient"),
    ],
)
def test_the_broker_refuses_by_a_code_what_it_cannot_serve(
    broker: Any, op: str, members: dict[str, Any], code: str
) -> None:
    """The link goes on."""
    answer = broker.answer(broker.send(op, **members))

    assert answer["ok"] is False
    assert answer["error"]["code"] == code
    assert broker.ask("ping")


def test_the_broker_refuses_a_certificate_it_cannot_read(broker: Any) -> None:
    """And changes nothing."""
    version = broker.ask("status")["registry_version"]
    broken = Certificate(
        certificate_id="0" * 64,
        arn="arn:aws:iot:eu-west-1:123456789012:cert/0",
        status="ACTIVE",
        pem="-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    )

    answer = broker.answer(broker.send("registry", change=RegistryChange(put={"certificates": (broken,)}).to_json()))

    assert answer["error"]["code"] == "InvalidCertificate"
    assert broker.ask("status")["registry_version"] == version


def test_a_change_is_in_force_when_it_is_answered(broker: Any) -> None:
    """The version grows by one per change."""
    before = broker.ask("status")["registry_version"]

    version = broker.change(RegistryChange())

    assert version == before + 1
    assert broker.ask("status")["registry_version"] == version


def test_a_change_holds_later_and_in_order_when_it_is_delayed(start_broker: Callable[..., Any]) -> None:
    """A change behind a delayed one waits for it, however short its own delay."""
    broker = start_broker()

    assert broker.change(RegistryChange(), propagation=600.0) == 1
    assert broker.change(RegistryChange(), propagation=0.0) == 2

    assert broker.ask("status")["registry_version"] == 0


def test_a_change_is_delayed_by_the_quirk_when_it_does_not_say(start_broker: Callable[..., Any]) -> None:
    """One parameter for all of them."""
    broker = start_broker(quirks={"propagation-delay": 600.0})

    assert broker.change(RegistryChange()) == 1
    assert broker.change(RegistryChange(), propagation=0.0) == 2

    assert broker.ask("status")["registry_version"] == 0


def test_a_delayed_change_comes_into_force(start_broker: Callable[..., Any]) -> None:
    """By itself."""
    broker = start_broker(quirks={"propagation-delay": 0.01})

    broker.change(RegistryChange())

    while broker.ask("status")["registry_version"] == 0:
        pass


def test_a_change_may_name_account_and_region(broker: Any) -> None:
    """They stay what they are unless the control plane says so."""
    broker.change(RegistryChange(), account_id="123456789012", region="eu-west-1")

    answer = broker.ask("publish", topic="link/region", access_key_id="AKIAROOT")
    assert answer["allowed"] is True


def test_a_publish_of_the_control_plane_reaches_subscribers_with_its_properties(
    broker: Any, certificates: Any, raw: Callable[..., Any]
) -> None:
    """The way of ``iot-data`` Publish."""
    identity = certificates.client("link")
    broker.admit(identity)
    listener = raw("mqtts", identity)
    listener.send_packet(Connect(client_id="link-listener"))
    listener.receive_packet()
    listener.send_packet(Subscribe(packet_id=1, subscriptions=(Subscription(topic_filter="link/publish", qos=1),)))
    listener.receive_packet()

    answer = broker.ask(
        "publish",
        topic="link/publish",
        payload=base64.b64encode(b"hello").decode(),
        qos=1,
        properties={
            "content_type": "text/plain",
            "user_properties": [["a", "b"]],
            "correlation_data": base64.b64encode(b"\x00").decode(),
        },
        access_key_id="AKIAROOT",
    )

    assert answer["allowed"] is True
    publish = listener.receive_packet()
    assert (publish.topic_name, publish.payload, publish.qos) == ("link/publish", b"hello", 1)
    assert publish.properties.content_type == "text/plain"
    assert publish.properties.user_properties == (("a", "b"),)
    assert publish.properties.correlation_data == b"\x00"
    kinds = [each["kind"] for each in broker.trace() if each["message_id"] == answer["message_id"]]
    assert kinds == ["publish", "delivery"]


def test_a_publish_of_the_control_plane_is_judged_by_the_callers_policies(broker: Any) -> None:
    """The verified caller, not the control plane, is who publishes."""
    broker.make_guest("ASIALINK", on="arn:aws:iot:eu-west-1:123456789012:topic/public/*")

    assert broker.ask("publish", topic="public/a", access_key_id="ASIALINK")["allowed"] is True
    answer = broker.ask("publish", topic="private/a", access_key_id="ASIALINK")

    assert (answer["allowed"], answer["reason_code"], answer["message_id"]) == (False, 0x87, None)
    assert "topic/public/*" in answer["because"]


def test_a_publish_of_the_control_plane_is_told_what_is_wrong_with_its_topic(broker: Any) -> None:
    """That is no matter of policies: allowed, and refused by a reason code."""
    answer = broker.ask("publish", topic="a/#", access_key_id="AKIAROOT")

    assert (answer["allowed"], answer["reason_code"], answer["message_id"]) == (True, 0x90, None)
    assert answer["because"]


def test_the_trace_takes_the_records_of_others(broker: Any) -> None:
    """One order for all actors."""
    seen = broker.ask("status")["trace_seq"]

    answer = broker.ask(
        "trace_append",
        records=[
            {"kind": "api", "principal": "arn:root", "detail": {"operation": "CreateThing"}},
            {"actor": "receiver", "kind": "row"},
        ],
    )

    assert answer["seq"] == seen + 2
    first, second = broker.trace(seen)
    assert (first["actor"], first["kind"], first["detail"]) == ("control", "api", {"operation": "CreateThing"})
    assert (second["actor"], second["client_id"], second["detail"]) == ("receiver", None, {})


def test_a_reader_of_the_trace_waits_for_the_next_record(broker: Any) -> None:
    """Other requests are served meanwhile, and the answer comes with the record."""
    seen = broker.ask("status")["trace_seq"]
    waiting = broker.send("trace", since=seen, wait=60.0)
    assert broker.ask("ping")

    broker.ask("trace_append", records=[{"kind": "api"}])

    answer = broker.answer(waiting)
    assert [each["kind"] for each in answer["records"]] == ["api"]
    assert answer["next"] == seen + 1


def test_a_reader_of_the_trace_is_answered_without_records_when_nothing_happens(broker: Any) -> None:
    """Its number stays."""
    seen = broker.ask("status")["trace_seq"]

    answer = broker.ask("trace", since=seen, wait=0.01)

    assert (answer["records"], answer["next"]) == ([], seen)


def test_the_link_ends_when_something_else_than_frames_comes(start_broker: Callable[..., Any]) -> None:
    """The broker itself goes on: the supervisor decides."""
    broker = start_broker()

    broker.link.sendall(b"\xff" * 8)

    assert broker.link.recv(1) == b""
    assert broker.process.poll() is None


def test_faults_can_be_cleared(broker: Any) -> None:
    """The only one there is happens once, so nothing is left to clear."""
    assert broker.ask("faults_clear")


class ControlPlane:
    """The other end of a link, answering what it is asked by a script."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._decoder = FrameDecoder()
        self.writer = writer

    async def asked(self, count: int = 1) -> list[dict[str, Any]]:
        """Receive so many frames."""
        frames: list[dict[str, Any]] = []
        while len(frames) < count:
            frames += self._decoder.receive_data(await self._reader.read(65536))
        return frames

    def answer(self, number: int, **members: Any) -> None:
        """Answer what was asked."""
        self.writer.write(encode_frame({"ask": number, **members}))


@asynccontextmanager
async def linked() -> AsyncIterator[tuple[LinkServer, ControlPlane]]:
    """The broker's end of a link without a broker, and the other end."""
    ours, theirs = socket.socketpair()
    loop = asyncio.get_running_loop()
    nobody: Any = None
    transport, server = await loop.create_unix_connection(lambda: LinkServer(hub=nobody, ports={}), sock=ours)
    reader, writer = await asyncio.open_unix_connection(sock=theirs)
    try:
        yield server, ControlPlane(reader, writer)
    finally:
        transport.abort()
        writer.close()
        await writer.wait_closed()


async def test_the_control_plane_is_asked_and_may_answer_in_any_order() -> None:
    """Each answer finds whoever asked."""
    async with linked() as (server, control_plane):
        asking = [asyncio.create_task(server.ask("aws_call", service=name)) for name in ("sqs", "s3")]
        first, second = await control_plane.asked(2)
        assert [(each["op"], each["service"]) for each in (first, second)] == [("aws_call", "sqs"), ("aws_call", "s3")]

        control_plane.answer(second["ask"], ok=True, result={"of": "s3"})
        control_plane.answer(first["ask"], ok=True, result={"of": "sqs"})

        assert await asyncio.gather(*asking) == [{"of": "sqs"}, {"of": "s3"}]


async def test_the_control_plane_may_refuse_what_it_is_asked() -> None:
    """By a code and a sentence."""
    async with linked() as (server, control_plane):
        asking = asyncio.create_task(server.ask("aws_call"))
        (asked,) = await control_plane.asked()
        control_plane.answer(asked["ask"], ok=False, error={"code": "AccessDenied", "message": "may not send"})

        with pytest.raises(AskRefusedError, match="AccessDenied: may not send") as refusal:
            await asking

    assert refusal.value.code == "AccessDenied"


async def test_a_control_plane_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that comes too late is nobody's."""
    monkeypatch.setattr(link_server, "MAX_ASK_WAIT", 0.01)
    async with linked() as (server, control_plane):
        with pytest.raises(LinkError, match="did not answer 'aws_call' within"):
            await server.ask("aws_call")
        (asked,) = await control_plane.asked()
        control_plane.answer(asked["ask"], ok=True, result={})
        monkeypatch.setattr(link_server, "MAX_ASK_WAIT", 30.0)

        asking = asyncio.create_task(server.ask("aws_call"))
        (again,) = await control_plane.asked()
        control_plane.answer(again["ask"], ok=True, result={"late": False})

        assert await asking == {"late": False}


async def test_a_control_plane_that_is_gone_answers_nothing() -> None:
    """Whoever waits is told, and whoever comes later."""
    async with linked() as (server, control_plane):
        asking = asyncio.create_task(server.ask("aws_call"))
        await control_plane.asked()

        control_plane.writer.close()

        for attempt in (asking, server.ask("aws_call")):
            with pytest.raises(LinkError, match="gone"):
                await attempt
