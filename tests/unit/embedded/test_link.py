"""Framing of the private line between control plane and broker."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.embedded import link
from harness.embedded.link import FrameDecoder, LinkError, encode_frame

MESSAGES = [{"id": 1, "op": "ping"}, {"id": 2, "text": "ä \U0001f600 \ud800"}, {}]


def test_a_frame_is_its_length_and_one_json_object() -> None:
    """Four bytes of length, big-endian, then UTF-8."""
    assert encode_frame({"a": "ä"}) == b'\x00\x00\x00\x0a{"a":"\xc3\xa4"}'


@given(cuts=st.lists(st.integers(min_value=0, max_value=120), max_size=6))
@settings(max_examples=60)
def test_a_decoder_gives_the_same_messages_however_the_bytes_are_cut(cuts: list[int]) -> None:
    """Any split of the bytes gives the same messages in order."""
    stream = b"".join(encode_frame(message) for message in MESSAGES)
    decoder = FrameDecoder()
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]

    found = [m for start, end in pairwise(edges) for m in decoder.receive_data(stream[start:end])]

    assert found == MESSAGES


def test_a_decoder_refuses_a_longer_frame_by_its_length_alone() -> None:
    """Nothing of an announced monster is buffered."""
    with pytest.raises(LinkError, match="longer than"):
        FrameDecoder().receive_data((link.MAX_FRAME_BYTES + 1).to_bytes(4, "big"))


def test_encode_frame_refuses_a_longer_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the other side would refuse is not sent."""
    monkeypatch.setattr(link, "MAX_FRAME_BYTES", 10)

    with pytest.raises(LinkError, match="longer than 10"):
        encode_frame({"text": "too long"})


@pytest.mark.parametrize("body", [b"[1]", b"nonsense", b"\xff"])
def test_a_decoder_refuses_what_is_no_json_object(body: bytes) -> None:
    """A line that carries something else is broken."""
    with pytest.raises(LinkError, match="frame is"):
        FrameDecoder().receive_data(len(body).to_bytes(4, "big") + body)
