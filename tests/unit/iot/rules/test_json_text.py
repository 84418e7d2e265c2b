"""JSON in and out: exact, bounded, and never a crash."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.iot.rules.json_text import MAX_DEPTH, BeyondLimits, NotJson, Reader, encode, write
from harness.iot.rules.values import read_decimal, read_int

READER = Reader(read_int, read_decimal)
SCALARS = st.none() | st.booleans() | st.integers(-(10**33), 10**33) | st.text(max_size=5)
DOCUMENTS = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner))


@pytest.mark.parametrize(
    ("document", "wanted"),
    [
        (b"{}", {}),
        (b' \r\n\t{ "a" : 1 } \n', {"a": 1}),
        (b"[1, 2.50]", [1, Decimal("2.50")]),
        (b'"text"', "text"),
        (b"80", 80),
        (b"null", None),
        (b"true", True),
        (b'{"a":1,"a":2}', {"a": 2}),
        (b'{"":{"\xc3\xa9":[]}}', {"": {"é": []}}),
        (b'"\\u00e9\\ud83d\\ude00"', "é😀"),
        (b'"\\ud800"', "\ud800"),
        (b"[" * 100 + b"]" * 100, None),
        (b'"' + b"[{" * 1000 + b'"', "[{" * 1000),
        (b"[" + b",".join([b"{}"] * 500) + b"]", [{}] * 500),
    ],
)
def test_json_is_read(document: bytes, wanted: object) -> None:
    """RFC 8259; the last member of a name holds; brackets in strings are no nesting."""
    found = READER.read(document)

    assert wanted is None or found == wanted


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (b"", "Expecting value at character 1"),
        (b" ", "Expecting value"),
        (b"{", "Expecting property name"),
        (b"{'a':1}", "Expecting property name"),
        (b'{"a":1} x', "Extra data at character 9"),
        (b'{"a":1}{"b":2}', "Extra data"),
        (b'{"a":NaN}', "NaN is not JSON"),
        (b"[Infinity]", "Infinity is not JSON"),
        (b"-Infinity", "-Infinity is not JSON"),
        (b"01", "Extra data"),
        (b"+1", "Expecting value"),
        (b".5", "Expecting value"),
        (b'"\n"', "Invalid control character"),
        (b'"\\x"', "Invalid \\escape"),
        (b"\xef\xbb\xbf{}", "Expecting value at character 1"),
        (b'{"a":"\xff"}', "byte 7 is not UTF-8"),
        ("{}".encode("utf-16"), "byte 1 is not UTF-8"),
        (b'"\xed\xa0\x80"', "not UTF-8"),
        (b"\x00\x01", "Expecting value"),
    ],
)
def test_bytes_that_are_no_json_are_told_apart(document: bytes, reason: str) -> None:
    """They may be forwarded as they are, but hold no attribute."""
    with pytest.raises(NotJson) as caught:
        READER.read(document)

    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), "nested more than 100 levels deep"),
        (b'{"a":' * 500 + b"1" + b"}" * 500, "nested more than 100 levels deep"),
        (b"[" * 50_000 + b"]" * 50_000, "nested more than 100 levels deep"),
        (b"[" * 100_000, "nested more than 100 levels deep"),
        (b"1e1000", "a number beyond 9.99E999"),
        (b'{"a":[-1E99999999999999999999]}', "a number beyond 9.99E999"),
        (b"9" * 100_000, "a number beyond 9.99E999"),
    ],
)
def test_json_beyond_what_a_rule_can_hold_is_told_apart(document: bytes, reason: str) -> None:
    """It is JSON, so it is not forwarded as anything else."""
    with pytest.raises(BeyondLimits) as caught:
        READER.read(document)

    assert str(caught.value) == reason


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": 1, "b": [True, False, None]}, '{"a":1,"b":[true,false,null]}'),
        ('é"\\\n\x01', '"é\\"\\\\\\n\\u0001"'),
        (Decimal("21.50"), "21.50"),
        (Decimal("1E+30"), "1E+30"),
        (Decimal("0E-10"), "0E-10"),
        (-(10**33), "-1" + "0" * 33),
        ({}, "{}"),
        ([], "[]"),
        ({"\ud800": "\udfff"}, '{"\ud800":"\udfff"}'),
    ],
)
def test_json_is_written_without_white_space(value: object, text: str) -> None:
    """Numbers keep their spelling; members their order."""
    assert write(value) == text
    assert json.loads(encode(text), parse_float=Decimal) == value


def test_a_lone_surrogate_is_escaped() -> None:
    """UTF-8 has none, JSON may spell one."""
    assert encode(write("a\ud800é")) == b'"a\\ud800\xc3\xa9"'


@given(DOCUMENTS)
@settings(max_examples=100, deadline=None)
def test_what_is_written_reads_the_same(value: object) -> None:
    """For our reader, and for the standard library's."""
    written = encode(write(value))

    assert READER.read(written) == value
    assert json.loads(written) == value


@given(st.binary(max_size=40) | st.text(alphabet='[]{}",:0123456789.eE-+ \\untrfalse', max_size=40).map(str.encode))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_json_or_not(document: bytes) -> None:
    """No other exception; and what is read agrees with the standard library."""
    try:
        found = READER.read(document)
    except (NotJson, BeyondLimits):
        return

    assert json.loads(encode(write(found)), parse_float=Decimal) == json.loads(document, parse_float=Decimal)
