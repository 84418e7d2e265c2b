"""Strict JSON: what is refused, how deep, how long it takes, and where the elements of an array are."""

from __future__ import annotations

import contextlib
import json
import time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from receiver.errors import InvalidMessage
from receiver.json_text import MAX_DEPTH, is_array, parse_elements, parse_object

if TYPE_CHECKING:
    from collections.abc import Callable

SPACE = st.text(" \t\n\r", max_size=3)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
BODIES = st.binary() | st.text(alphabet='[]{}",:\\ua1e-.0 \nnultrefs', max_size=60).map(str.encode)


def read_all(body: bytes) -> list[tuple[Any, bytes]]:
    """Read an array to its end."""
    return list(parse_elements(body))


@pytest.mark.parametrize(
    ("text", "because"),
    [
        (b"", "line 1, column 1"),
        (b"hello", "line 1, column 1"),
        (b'{"deviceId":"d",\n "temp":}', "line 2, column 9"),
        (b'{"deviceId":"d","temp":1} {}', "not JSON"),
        (b'{"a":1}x', "line 1, column 8"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        (b"\x0b{}", "not JSON"),
        (b'{"a":"\xff"}', "not UTF-8, at byte 6"),
        ('{"deviceId":"d","temp":1}'.encode("utf-16"), "not UTF-8"),
        (b'{"deviceId":"d\x00","temp":1}', "not JSON"),
        (b"[]", "must be a JSON object"),
        (b'[{"deviceId":"d","temp":1}]', "must be a JSON object"),
        (b"null", "must be a JSON object"),
        (b"21.5", "must be a JSON object"),
        (b'{"deviceId":"d","temp":NaN}', "NaN or Infinity"),
        (b'{"deviceId":"d","temp":1,"x":[-Infinity]}', "NaN or Infinity"),
        (b'{"deviceId":"d","deviceId":"e","temp":1}', "same name twice"),
        (b'{"deviceId":"d","temp":1,"x":{"y":1,"y":1}}', "same name twice"),
        (b'{"a":1,"\\u0061":1}', "same name twice"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 20_000, "nested too deeply"),
        (b'{"deviceId":"d","temp":1,"x":1e99999999999999999999}', "beyond every range"),
        (b'{"deviceId":"d","temp":1,"x":[1e999]}', "beyond every range"),
        (b'{"deviceId":"d","temp":1,"x":-1e309}', "beyond every range"),
        (b'{"deviceId":"d","temp":1,"x":1' + b"0" * 309 + b"}", "beyond every range"),
    ],
)
def test_a_body_that_is_no_object_is_refused(text: bytes, because: str) -> None:
    """Bombs included: an answer, never a crash."""
    with pytest.raises(InvalidMessage, match=because):
        parse_object(text)


@pytest.mark.parametrize("number", ["1e308", "-1e308", "1e-999", "0e999", "9" * 309])
def test_a_number_within_the_range_is_left_alone(number: str) -> None:
    """The twin of those beyond it; zero has no range."""
    assert parse_object(b'{"x":%s}' % number.encode()) == {"x": Decimal(number)}


@pytest.mark.parametrize(
    ("text", "because", "element"),
    [
        (b"", "must be a JSON array", None),
        (b"{}", "must be a JSON array", None),
        (b"[", "line 1, column 2", 0),
        (b"[,]", "line 1, column 2", 0),
        (b"[1,]", "line 1, column 4", 1),
        (b"[1 2]", "line 1, column 4", None),
        (b"[1", "line 1, column 3", None),
        (b"[1}", "line 1, column 3", None),
        (b"[1]]", "line 1, column 4", None),
        (b"[]x", "line 1, column 3", None),
        (b'[1,\n{"a":}]', "line 2, column 6", 1),
        (b'[{},{"a":1,"a":2}]', "same name twice", 1),
        (b"[1,2,NaN]", "NaN or Infinity", 2),
        (b"[1e99999999999999999999]", "beyond every range", 0),
        (b'["\xff"]', "not UTF-8, at byte 2", None),
        (b"[" * 100_000, "nested too deeply", None),
    ],
)
def test_an_array_that_is_none_is_refused(text: bytes, because: str, element: int | None) -> None:
    """With the element that is wrong, where it is one."""
    with pytest.raises(InvalidMessage, match=because) as caught:
        read_all(text)
    assert caught.value.element == element


def test_whoever_takes_no_more_elements_reads_no_further() -> None:
    """So that an array of many costs what its first ones cost."""
    elements = parse_elements(b"[1, 2, no JSON")

    assert [next(elements), next(elements)] == [(Decimal(1), b"1"), (Decimal(2), b"2")]
    with pytest.raises(InvalidMessage, match="element 2: the body is not JSON, at line 1, column 8"):
        next(elements)


@given(st.lists(st.tuples(SPACE, VALUES, SPACE, st.booleans()), max_size=6), SPACE)
def test_every_element_comes_with_its_own_bytes(parts: list[tuple[str, Any, str, bool]], space: str) -> None:
    """Exactly those between the commas, without the space around them, in whatever script."""
    texts = [json.dumps(value, ensure_ascii=escaped) for _, value, _, escaped in parts]
    joined = ",".join(before + text + after for (before, _, after, _), text in zip(parts, texts, strict=True))
    try:
        raws = [text.encode() for text in texts]
    except UnicodeEncodeError:  # half a character, which no body holds but as an escape
        return
    body = f"{space}[{joined or space}]{space}".encode()

    assert is_array(body)
    assert [raw for _, raw in read_all(body)] == raws
    assert [element for element, _ in read_all(body)] == [
        json.loads(text, parse_float=Decimal, parse_int=Decimal) for text in texts
    ]


@given(BODIES)
@example(b'{"a":"\\')
@example(b'["\\"[[["]')
@example(b'{"a":' * 64 + b"1" + b"}" * 63)
def test_whatever_comes_is_read_or_refused(body: bytes) -> None:
    """Any bytes: no other exception; and what is read is what the standard library reads."""
    for read in (parse_object, read_all):
        try:
            parsed: Any = read(body)
        except InvalidMessage:
            continue
        if read is read_all:
            parsed = [element for element, _ in parsed]
        assert parsed == json.loads(body, parse_float=Decimal, parse_int=Decimal)


@pytest.mark.parametrize("value", [b"[%s]", b'{"a":%s}'])
def test_the_depth_has_one_bound(value: bytes) -> None:
    """Of a message, alone or in a batch."""

    def nested(depth: int) -> bytes:
        made = b"1"
        for _ in range(depth):
            made = value % made
        return made

    def message(depth: int) -> bytes:
        return b'{"m":%s}' % nested(depth - 1)

    assert parse_object(message(MAX_DEPTH))
    assert read_all(b"[%s]" % message(MAX_DEPTH))
    for read, body in ((parse_object, message(MAX_DEPTH + 1)), (read_all, b"[%s]" % message(MAX_DEPTH + 1))):
        with pytest.raises(InvalidMessage, match="nested too deeply"):
            read(body)


@pytest.mark.parametrize(
    "text", ["[" * 500, "\\" * 7 + '"[' * 90, '\\"{' * 200, '"' + "[" * 100, "{[" * 90 + "\\\\", "]" * 200]
)
def test_brackets_in_strings_are_not_nested(text: str) -> None:
    """However they are quoted, and whatever comes before them."""
    body = json.dumps({text: [text, {"a": text}], "b": text}).encode()
    assert parse_object(body) == json.loads(body)


@given(st.text(alphabet='[]{}"\\,:1a ', max_size=400))
@example("[" * 65 + '"\\' + "]" * 65)
def test_no_text_makes_the_parser_go_deeper(text: str) -> None:
    """What is not refused for its depth is never deeper, also if it is no JSON: the parser stops at the fault."""
    body = ('{"a":' + text).encode()
    try:
        parse_object(body)
    except InvalidMessage as error:
        if "too deeply" not in error.because:
            assert _depth_until_fault(body) <= MAX_DEPTH


def _depth_until_fault(body: bytes) -> int:
    """Count by hand, up to what no JSON text goes beyond."""
    depth = deepest = 0
    in_string = escaped = False
    for character in body.decode():
        if in_string:
            in_string, escaped = escaped or character != '"', character == "\\" and not escaped
        elif character == "\\":
            break
        elif character == '"':
            in_string = True
        elif character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "]}":
            depth -= 1
            if depth < 0:
                break
    return deepest


@pytest.mark.parametrize(
    "make",
    [
        lambda n: b" " * n,
        lambda n: b'{"temp":' + b"9" * n + b"}",
        lambda n: b'{"temp":1.' + b"9" * n + b"}",
        lambda n: b'{"temp":1e' + b"9" * n + b"}",
        lambda n: b'{"a":"' + b'\\"' * (n // 2),
        lambda n: b'{"a":"' + b"\\" * n,
        lambda n: b'"' * n,
        lambda n: b'{"a":[' + b"[]," * (n // 3) + b"[]]}",
        lambda n: b'{"a":[' + b'"[",' * (n // 4) + b"1]}",
        lambda n: b"{" + b",".join(b'"%x":1' % i for i in range(n // 8)) + b"}",
        lambda n: b"[" + b"1," * (n // 2) + b"1]",
        lambda n: b"[" + b" " * n + b"]",
        lambda n: b"[1" + b"\n" * n + b"x",
        lambda n: b"[" + '"ü",'.encode() * (n // 5) + b"1]",
    ],
)
def test_the_time_grows_with_the_length_alone(make: Callable[[int], bytes]) -> None:
    """Eight times the text, eight times the time or so, whatever it is; the square would be 64 times."""

    def seconds(size: int) -> float:
        body, taken = make(size), []
        for _ in range(5):
            start = time.process_time()
            for read in (parse_object, read_all):
                with contextlib.suppress(InvalidMessage):
                    read(body)
            taken.append(time.process_time() - start)
        return min(taken)

    assert seconds(128 * 1024) < 32 * max(seconds(16 * 1024), 0.0002)
