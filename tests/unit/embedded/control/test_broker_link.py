"""The control plane's end of the line, against a socket pair."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

import pytest

from harness.embedded.control import broker_link
from harness.embedded.control.broker_link import BrokerLink, BrokerRefused
from harness.embedded.link import FrameDecoder, LinkError, encode_frame

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def ends() -> Iterator[tuple[BrokerLink, socket.socket]]:
    """A link and the bare socket of its other end."""
    ours, theirs = socket.socketpair()
    theirs.settimeout(10)
    link = BrokerLink(ours)
    yield link, theirs
    link.close()
    theirs.close()


def receive(sock: socket.socket, count: int) -> list[dict[str, object]]:
    """Read so many requests off the line."""
    decoder, found = FrameDecoder(), []
    while len(found) < count:
        found += decoder.receive_data(sock.recv(65536))
    return found


def test_answers_reach_who_asked_in_any_order(ends: tuple[BrokerLink, socket.socket]) -> None:
    """The broker answers the second request first; each caller gets its own answer."""
    link, broker = ends
    answers: dict[str, object] = {}

    def ask(name: str) -> None:
        answers[name] = link.request("echo", name=name)["name"]

    threads = [threading.Thread(target=ask, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for request in reversed(receive(broker, 2)):
        broker.sendall(encode_frame({"id": request["id"], "ok": True, "name": request["name"]}))
    for thread in threads:
        thread.join()

    assert answers == {"a": "a", "b": "b"}


def test_a_refusal_of_the_broker_is_raised_with_its_code(ends: tuple[BrokerLink, socket.socket]) -> None:
    """An error answer becomes an exception with code and sentence."""
    link, broker = ends

    def refuse() -> None:
        error = {"code": "UnknownFault", "message": "no such fault"}
        broker.sendall(encode_frame({"id": receive(broker, 1)[0]["id"], "ok": False, "error": error}))

    threading.Thread(target=refuse).start()

    with pytest.raises(BrokerRefused, match="no such fault") as caught:
        link.request("faults_set")
    assert caught.value.code == "UnknownFault"


def test_a_broker_that_does_not_answer_is_not_waited_for_longer_than_asked(
    ends: tuple[BrokerLink, socket.socket],
) -> None:
    """A request has an end, and its late answer disturbs nobody."""
    link, broker = ends

    with pytest.raises(LinkError, match="did not answer 'ping' within 0 s"):
        link.request("ping", within=0.0)

    late = receive(broker, 1)[0]["id"]
    broker.sendall(encode_frame({"id": late, "ok": True}))
    threading.Thread(
        target=lambda: broker.sendall(encode_frame({"id": receive(broker, 1)[0]["id"], "ok": True, "text": "in time"}))
    ).start()
    assert link.request("ping")["text"] == "in time"


def test_who_waits_is_told_when_the_broker_goes(ends: tuple[BrokerLink, socket.socket]) -> None:
    """A broker that dies leaves nobody waiting, and later requests fail at once."""
    link, broker = ends

    def leave() -> None:
        receive(broker, 1)
        broker.shutdown(socket.SHUT_RDWR)

    threading.Thread(target=leave).start()

    with pytest.raises(LinkError, match="the broker is gone"):
        link.request("ping")
    with pytest.raises(LinkError, match="the broker is gone"):
        link.request("ping")


def test_a_broker_that_sends_no_frames_breaks_the_line(ends: tuple[BrokerLink, socket.socket]) -> None:
    """Bytes that are no frame end the conversation."""
    link, broker = ends
    broker.sendall(b"\x00\x00\x00\x02{}\x00\x00\x00\x01x")

    with pytest.raises(LinkError, match="not JSON"):
        link.request("ping")


def test_a_broker_that_reads_nothing_holds_nobody_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sending has an end as well; half a frame cannot be followed by another, so the line is given up."""
    monkeypatch.setattr(broker_link, "_SEND_WITHIN_MICROSECONDS", 1)
    ours, theirs = socket.socketpair()
    link = BrokerLink(ours)

    with pytest.raises(LinkError, match="the broker is gone"):
        link.request("publish", payload="x" * 8_000_000)
    with pytest.raises(LinkError, match="the broker is gone"):
        link.request("ping")
    link.close()
    theirs.close()
