"""The control plane's requests for receivers, line by line."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import pytest

from harness.targets.embedded.children import Interrupted
from harness.targets.embedded.control_requests import ControlRequests
from harness.targets.embedded.receivers import ReceiverRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class FakeReceivers:
    """Stands for the receivers: records what it is asked, and answers as told."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []
        self.raises: Exception | None = None

    def start(self, name: str) -> str:
        """Record and answer."""
        return self._answer("start", name)

    def stop(self, name: str, *, how: str) -> str:
        """Record and answer."""
        return self._answer("stop", name, how)

    def freeze(self, name: str) -> str:
        """Record and answer."""
        return self._answer("freeze", name)

    def thaw(self, name: str) -> str:
        """Record and answer."""
        return self._answer("thaw", name)

    def _answer(self, *asked: str) -> str:
        self.asked.append(asked)
        if self.raises is not None:
            raise self.raises
        return "https://localhost:1"


@pytest.fixture
def receivers() -> FakeReceivers:
    """What is asked for."""
    return FakeReceivers()


@pytest.fixture
def requests(receivers: FakeReceivers) -> Iterator[ControlRequests]:
    """A thread that answers."""
    others = set(threading.enumerate())  # a stand-in that other tests share may have such a thread of its own
    requests = ControlRequests()
    requests.serve(receivers)  # type: ignore[arg-type]  # what of them is asked for
    yield requests
    requests.close(within=30)
    assert [each for each in set(threading.enumerate()) - others if each.name == "control-requests"] == []


@pytest.fixture
def ask(requests: ControlRequests) -> Iterator[Callable[[Any], dict[str, Any]]]:
    """Send one request, JSON or raw, and return its answer."""
    requests.other_side.settimeout(30)

    def exchange(request: Any) -> dict[str, Any]:
        line = request if isinstance(request, bytes) else json.dumps(request).encode() + b"\n"
        requests.other_side.sendall(line)
        answer: dict[str, Any] = json.loads(reader.readline())
        return answer

    with requests.other_side.makefile("rb") as reader:
        yield exchange


def test_requests_are_answered_under_their_numbers(
    ask: Callable[[Any], dict[str, Any]], receivers: FakeReceivers
) -> None:
    """With the receiver's URL; an end is a polite one unless said otherwise."""
    answers = [
        ask({"id": 7, "op": "stop_receiver", "name": "main", "how": "kill"}),
        ask({"id": 8, "op": "stop_receiver", "name": "main"}),
        ask({"id": 9, "op": "start_receiver", "name": "extra-1"}),
        ask({"id": 10, "op": "freeze_receiver", "name": "extra-1"}),
        ask({"id": 11, "op": "thaw_receiver", "name": "extra-1"}),
    ]

    assert answers == [{"id": number, "ok": True, "url": "https://localhost:1"} for number in range(7, 12)]
    assert receivers.asked == [
        ("stop", "main", "kill"),
        ("stop", "main", "term"),
        ("start", "extra-1"),
        ("freeze", "extra-1"),
        ("thaw", "extra-1"),
    ]


def test_requests_that_came_before_the_answers_began_are_answered(receivers: FakeReceivers) -> None:
    """The control plane is up before the stack is deployed."""
    requests = ControlRequests()
    requests.other_side.sendall(b'{"id": 1, "op": "start_receiver", "name": "main"}\n')
    requests.serve(receivers)  # type: ignore[arg-type]  # what of them is asked for
    requests.other_side.settimeout(30)
    assert json.loads(requests.other_side.recv(1000))["ok"] is True
    requests.close(within=30)


@pytest.mark.parametrize(
    ("request_line", "told"),
    [
        ({"op": "shoot"}, "no request 'shoot'; there is stop_receiver, start_receiver"),
        ({}, "no request None"),
        ({"op": ["start_receiver"]}, "no request"),
        ({"op": "start_receiver"}, "name is a receiver's name"),
        ({"op": "start_receiver", "name": 1}, "name is a receiver's name"),
        ({"op": "start_receiver", "name": "main", "how": "kill"}, "start_receiver has no member how"),
        ({"op": "freeze_receiver", "name": "a", "how": "kill"}, "freeze_receiver has no member how"),
        ({"op": "thaw_receiver"}, "name is a receiver's name"),
        ({"op": "stop_receiver", "name": "main", "how": "hup"}, "how is kill or term, not 'hup'"),
        ({"op": "stop_receiver", "name": "main", "how": None}, "how is kill or term"),
        (b"[]\n", "a JSON object on one line"),
        (b"nonsense\n", "a JSON object on one line"),
        (b"[" * 60_000 + b"\n", "a JSON object on one line"),
        (b"\xff\n", "a JSON object on one line"),
    ],
)
def test_what_is_no_request_is_refused_and_the_next_one_answered(
    request_line: Any, told: str, ask: Callable[[Any], dict[str, Any]], receivers: FakeReceivers
) -> None:
    """One sentence says what is wrong; nothing is done."""
    answer = ask(request_line)

    assert answer["ok"] is False
    assert told in answer["error"]
    assert receivers.asked == []
    assert ask({"id": 1, "op": "start_receiver", "name": "main"})["ok"] is True


@pytest.mark.parametrize(
    ("raised", "told"),
    [(ReceiverRefused("eight are enough"), "eight are enough"), (ZeroDivisionError("oh"), "ZeroDivisionError: oh")],
)
def test_what_goes_wrong_is_told_to_who_asked(
    raised: Exception, told: str, ask: Callable[[Any], dict[str, Any]], receivers: FakeReceivers
) -> None:
    """And to nobody else: the thread goes on."""
    receivers.raises = raised
    assert ask({"id": 3, "op": "start_receiver", "name": "a"}) == {"id": 3, "ok": False, "error": told}
    receivers.raises = None
    assert ask({"id": 4, "op": "start_receiver", "name": "a"})["ok"] is True


def test_the_thread_ends_with_all_the_others(requests: ControlRequests, receivers: FakeReceivers) -> None:
    """A request that was broken off is not answered: nobody is left to read it."""
    receivers.raises = Interrupted()
    requests.other_side.sendall(b'{"id": 1, "op": "start_receiver", "name": "main"}\n')
    assert requests._thread is not None
    requests._thread.join(30)
    assert not requests._thread.is_alive()


def test_the_thread_ends_when_the_other_side_is_gone(requests: ControlRequests) -> None:
    """A control plane that died is for who watches the processes."""
    requests.other_side.close()
    assert requests._thread is not None
    requests._thread.join(30)
    assert not requests._thread.is_alive()


def test_closing_what_never_answered_is_no_mistake() -> None:
    """A start that failed closes it, and again."""
    requests = ControlRequests()
    requests.close(within=0)
    requests.close(within=0)
