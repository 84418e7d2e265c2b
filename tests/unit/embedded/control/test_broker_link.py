"""The control plane's end of the line, against a socket pair."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest

from harness.embedded.control import broker_link
from harness.embedded.control.broker_link import BrokerLink, BrokerRefused
from harness.embedded.control.messages import ApiError
from harness.embedded.link import FrameDecoder, LinkError, encode_frame

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


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


def ask(broker: socket.socket, number: int, **members: object) -> None:
    """Ask the control plane."""
    broker.sendall(encode_frame({"ask": number, **members}))


def test_the_broker_asks_and_is_answered(ends: tuple[BrokerLink, socket.socket]) -> None:
    """With a result, an error, and a failure that only the log explains; none of it is an answer to a request."""
    link, broker = ends

    def answer(message: Mapping[str, Any]) -> Mapping[str, Any]:
        if message["op"] == "refused":
            raise ApiError("AccessDenied", "no statement allows it", status=403)
        return {"twice": 2 * message["value"]}

    link.answer_asks(answer)
    ask(broker, 1, op="double", value=4)
    assert receive(broker, 1) == [{"ask": 1, "ok": True, "result": {"twice": 8}}]
    ask(broker, 2, op="refused")
    error = {"code": "AccessDenied", "message": "no statement allows it"}
    assert receive(broker, 1) == [{"ask": 2, "ok": False, "error": error}]
    ask(broker, 3, op="double")
    failure = {"code": "InternalFailure", "message": "The control plane failed on it; its log says why"}
    assert receive(broker, 1) == [{"ask": 3, "ok": False, "error": failure}]


def test_whoever_answers_may_ask_the_broker_meanwhile(ends: tuple[BrokerLink, socket.socket]) -> None:
    """The thread that reads is not the one that answers."""
    link, broker = ends
    link.answer_asks(lambda _: {"version": link.request("registry")["version"]})
    ask(broker, 7, op="aws_call")

    request = receive(broker, 1)[0]
    broker.sendall(encode_frame({"id": request["id"], "ok": True, "version": 12}))

    assert receive(broker, 1) == [{"ask": 7, "ok": True, "result": {"version": 12}}]


def test_more_than_can_wait_is_refused(ends: tuple[BrokerLink, socket.socket]) -> None:
    """At once, and what waits is answered all the same."""
    link, broker = ends
    may_answer = threading.Event()
    link._asks = threading.BoundedSemaphore(2)

    def answer(_: Mapping[str, Any]) -> Mapping[str, Any]:
        assert may_answer.wait(10)
        return {}

    link.answer_asks(answer)
    for number in (1, 2, 3):
        ask(broker, number, op="aws_call")

    assert receive(broker, 1)[0]["error"]["code"] == "Throttled"
    may_answer.set()
    assert sorted(str(one["ask"]) for one in receive(broker, 2)) == ["1", "2"]
    ask(broker, 4, op="aws_call")
    assert receive(broker, 1) == [{"ask": 4, "ok": True, "result": {}}]


def test_where_nobody_answers_the_broker_is_told(ends: tuple[BrokerLink, socket.socket]) -> None:
    """Rather than left waiting."""
    _, broker = ends
    ask(broker, 1, op="aws_call")

    assert receive(broker, 1)[0]["error"] == {"code": "UnknownOperation", "message": "nobody answers 'aws_call' here"}


def test_a_broker_that_went_while_it_was_answered_is_gone(ends: tuple[BrokerLink, socket.socket]) -> None:
    """An answer that cannot be sent breaks the line, as a request would."""
    link, broker = ends
    may_answer, is_answering = threading.Event(), threading.Event()

    def answer(_: Mapping[str, Any]) -> Mapping[str, Any]:
        is_answering.set()
        assert may_answer.wait(10)
        return {"x": "x" * 1_000_000}

    link.answer_asks(answer)
    ask(broker, 1, op="aws_call")
    assert is_answering.wait(10)
    broker.close()
    may_answer.set()

    with pytest.raises(LinkError, match="the broker is gone"):
        link.request("ping")
