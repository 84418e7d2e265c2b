"""The line to the supervisor, against a socket pair."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING

import pytest

from harness.embedded.control.supervisor_line import SupervisorGone, SupervisorLine, SupervisorRefused

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def ends() -> Iterator[tuple[SupervisorLine, socket.socket]]:
    """A line and the bare socket of its other end."""
    ours, theirs = socket.socketpair()
    theirs.settimeout(10)
    line = SupervisorLine(ours, within=10)
    yield line, theirs
    line.close()
    theirs.close()


def answer(number: int, **members: object) -> bytes:
    """Return one answer as it goes over the line."""
    return json.dumps({"id": number, **members}).encode() + b"\n"


def test_a_request_is_one_line_of_json(ends: tuple[SupervisorLine, socket.socket]) -> None:
    """With a number, which the answer has too."""
    line, supervisor = ends
    supervisor.sendall(answer(1, ok=True, url="https://localhost:1"))

    assert line.ask("stop_receiver", name="main", how="kill")["url"] == "https://localhost:1"
    request = supervisor.recv(4096)
    assert json.loads(request) == {"id": 1, "op": "stop_receiver", "name": "main", "how": "kill"}
    assert request.endswith(b"\n")


def test_a_refusal_is_raised_with_its_sentence(ends: tuple[SupervisorLine, socket.socket]) -> None:
    """And the line goes on."""
    line, supervisor = ends
    supervisor.sendall(answer(1, ok=False, error="there are 8 already") + answer(2, ok=True))

    with pytest.raises(SupervisorRefused, match="there are 8 already"):
        line.ask("start_receiver", name="extra-9")
    assert line.ask("start_receiver", name="main")["ok"]


def test_an_answer_that_came_too_late_is_not_taken_for_the_next_one(
    ends: tuple[SupervisorLine, socket.socket],
) -> None:
    """Numbers tell them apart, however the bytes are cut."""
    line, supervisor = ends
    line._within = 0.01
    with pytest.raises(SupervisorGone, match=r"did not answer stop_receiver within 0.01 s"):
        line.ask("stop_receiver", name="main")
    line._within = 10
    late = answer(1, ok=False, error="late") + b"[]\n" + answer(2, ok=True, url="u")
    supervisor.sendall(late)

    assert line.ask("start_receiver", name="main")["url"] == "u"


@pytest.mark.parametrize("sent", [b"", b"not JSON\n", b"x" * 100_000])
def test_a_supervisor_that_goes_or_sends_nonsense_is_gone(
    ends: tuple[SupervisorLine, socket.socket], sent: bytes
) -> None:
    """Nobody waits for it."""
    line, supervisor = ends
    supervisor.sendall(sent)
    supervisor.shutdown(socket.SHUT_WR)

    with pytest.raises(SupervisorGone, match="the supervisor is gone"):
        line.ask("start_receiver", name="main")
