"""What becomes a row, what does not, and how a row is keyed."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from receiver.errors import ForeignDevice, InvalidMessage
from receiver.json_text import parse_object
from receiver.reading import (
    LAST_MILLISECOND,
    Reading,
    Stamp,
    check_device,
    check_headers,
    is_message_id,
    make_row,
    make_stamp,
    number_text,
    read_element_stamp,
    read_reading,
)

NOW = datetime(2026, 11, 21, 20, 1, 2, 123_999, tzinfo=UTC)


def read(text: str) -> Reading:
    """Read a message."""
    return read_reading(parse_object(text.encode()))


def reading_of(**fields: Any) -> Reading:
    """Read a message with these fields besides acceptable ones."""
    return read(json.dumps({"deviceId": "d", "temp": 1, **fields}))


def temp_of(text: str) -> Decimal:
    """Read a message whose temperature is written so."""
    return read(f'{{"deviceId":"d","temp":{text}}}').temperature


def test_a_reading_is_its_three_fields() -> None:
    """Whatever else a device sends is left alone."""
    body = '{"deviceId":"föhn-1","temp":21.50,"ts":"yesterday","more":{"a":[null,true,1e9]}}'

    assert read(body) == Reading(device_id="föhn-1", temperature=Decimal("21.5"), ts="yesterday")


@pytest.mark.parametrize(
    ("fields", "because"),
    [
        ({"deviceId": ""}, "deviceId must be a non-empty string"),
        ({"deviceId": 7}, "deviceId must be a non-empty string"),
        ({"deviceId": None}, "deviceId must be a non-empty string"),
        ({"deviceId": "x" * 2049}, "at most 2048 bytes"),
        ({"deviceId": "ü" * 1025}, "at most 2048 bytes"),
        ({"deviceId": "\ud800"}, "deviceId holds half a character"),
        ({"temp": True}, "temp must be a number"),
        ({"temp": "21.5"}, "temp must be a number"),
        ({"temp": None}, "temp must be a number"),
        ({"temp": [1]}, "temp must be a number"),
        ({"ts": None}, "ts must be a string or a number"),
        ({"ts": False}, "ts must be a string or a number"),
        ({"ts": {}}, "ts must be a string or a number"),
        ({"ts": "\udfff"}, "ts holds half a character"),
        ({"ts": 10**126}, "ts must lie between"),
    ],
)
def test_a_field_that_cannot_be_stored_is_refused(fields: dict[str, Any], because: str) -> None:
    """By name; DynamoDB would refuse it later, or a row would say something else than the device."""
    with pytest.raises(InvalidMessage, match=because):
        reading_of(**fields)


@pytest.mark.parametrize("name", ["deviceId", "temp"])
def test_a_field_that_is_not_there_is_named(name: str) -> None:
    """Both are needed."""
    fields = {"deviceId": "d", "temp": 1}
    del fields[name]
    with pytest.raises(InvalidMessage, match=f"{name} is missing"):
        read(json.dumps(fields))


def test_the_longest_device_id_is_taken() -> None:
    """2048 bytes of UTF-8."""
    assert reading_of(deviceId="ü" * 1024).device_id == "ü" * 1024


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("21.50", "21.5"),
        ("-40", "-40"),
        ("100", "100"),
        ("0", "0"),
        ("-0.000", "0"),
        ("0e999", "0"),
        ("1E2", "100"),
        ("9" * 38, "9" * 38),
        ("0." + "1" * 38, "0." + "1" * 38),
        ("1" + "0" * 50, "1E+50"),
        ("1.0" + "0" * 50, "1"),
        ("9.9999999999999999999999999999999999999E125", "9.9999999999999999999999999999999999999E+125"),
        ("-1e125", "-1E+125"),
        ("1e-130", "1E-130"),
    ],
)
def test_a_number_is_kept_to_its_last_digit(text: str, stored: str) -> None:
    """Zeros at its end apart, which DynamoDB leaves away too."""
    assert temp_of(text) == Decimal(text)
    assert number_text(temp_of(text)) == stored


@pytest.mark.parametrize(
    ("text", "because"),
    [
        ("1e126", "must lie between"),
        ("-1e126", "must lie between"),
        ("1e999", "beyond every range"),
        ("1" + "0" * 126, "must lie between"),
        ("1e-131", "must lie between"),
        ("9" * 39, "at most 38 significant digits"),
        ("1." + "0" * 37 + "1", "at most 38 significant digits"),
        ("0." + "9" * 100_000, "at most 38 significant digits"),
        ("9" * 100_000, "beyond every range"),
    ],
)
def test_a_number_that_dynamodb_cannot_hold_is_refused(text: str, because: str) -> None:
    """Rather than rounded."""
    with pytest.raises(InvalidMessage, match=because):
        temp_of(text)


@pytest.mark.parametrize(("ts", "kept"), [("", ""), ("noon", "noon"), (1_795_291_260, Decimal(1_795_291_260))])
def test_a_device_s_own_time_is_kept_as_it_is(ts: Any, kept: Any) -> None:
    """It is the device's affair what it means."""
    assert reading_of(ts=ts).ts == kept
    assert reading_of().ts is None


def test_a_stamp_comes_from_the_rule() -> None:
    """Both headers are the same on every try."""
    stamp = make_stamp(message_id="abc", received_at="1795291262007", raw=b"x", now=NOW)

    assert stamp == Stamp(received_at=datetime(2026, 11, 21, 20, 1, 2, 7000, tzinfo=UTC), message_id="abc")


def test_a_message_without_a_stamp_gets_one() -> None:
    """The receiver's clock, and an id that the same body always gives."""
    stamp = make_stamp(message_id="", received_at="", raw=b"body", now=NOW)

    assert stamp == Stamp(received_at=NOW, message_id=hashlib.sha256(b"body").hexdigest()[:32])


def test_an_id_of_its_own_tells_messages_of_different_times_apart() -> None:
    """A device may say the same twice."""
    one, other = (make_stamp(message_id="", received_at=at, raw=b"body", now=NOW) for at in ("1", "2"))

    assert one.message_id == hashlib.sha256(b"1body").hexdigest()[:32]
    assert one.message_id != other.message_id


@pytest.mark.parametrize("text", ["-1", "1.5", "1e3", "soon", "٣", "1_000", "253402300800000", "9" * 16, " 1", "1\n"])
def test_a_time_that_is_none_is_refused(text: str) -> None:
    """The rule says milliseconds, in digits."""
    with pytest.raises(InvalidMessage, match="X-Received-At"):
        check_headers(message_id="abc", received_at=text)


def test_the_last_time_there_is_is_taken() -> None:
    """Four digits for the year keep the sort key in time's order."""
    check_headers(message_id="a", received_at=str(LAST_MILLISECOND))
    stamp = make_stamp(message_id="a", received_at=str(LAST_MILLISECOND), raw=b"", now=NOW)

    assert make_row(reading_of(), stamp, ttl_days=None).sort_key == "9999-12-31T23:59:59.999Z#a"


@pytest.mark.parametrize("text", ["a#b", "a b", "ä", "a\n", "x" * 129, "\x7f"])
def test_an_id_that_would_spoil_key_or_log_is_refused(text: str) -> None:
    """The `#` ends the time; the rest keeps log lines whole."""
    assert not is_message_id(text)
    with pytest.raises(InvalidMessage, match="X-Message-Id"):
        check_headers(message_id=text, received_at="1")
    with pytest.raises(InvalidMessage, match="message_id"):
        read_element_stamp({"message_id": text}, raw=b"", now=NOW)


def test_a_device_speaks_for_itself() -> None:
    """As far as the rule can tell: over HTTPS there is no client id."""
    check_device(reading_of(deviceId="d"), "d")
    check_device(reading_of(deviceId="d"), "n/a")


@pytest.mark.parametrize("client_id", ["e", "D", "", "N/A"])
def test_a_device_does_not_speak_for_another(client_id: str) -> None:
    """Names are compared exactly."""
    with pytest.raises(ForeignDevice, match="not the client id"):
        check_device(reading_of(deviceId="d"), client_id)


def test_an_element_s_stamp_is_what_the_rule_selects() -> None:
    """The same as a message's with headers that say the same, however the number is written."""
    fields = parse_object(b'{"message_id":"abc","received_at":1795291262007}')
    assert read_element_stamp(fields, raw=b"", now=NOW) == make_stamp(
        message_id="abc", received_at="1795291262007", raw=b"", now=NOW
    )
    for written in (b"1795291262007.0", b"1.795291262007e12", b"1795291262007000E-3"):
        fields = parse_object(b'{"received_at":%s}' % written)
        assert read_element_stamp(fields, raw=b"x", now=NOW) == make_stamp(
            message_id="", received_at="1795291262007", raw=b"x", now=NOW
        )


def test_an_element_without_a_stamp_gets_one() -> None:
    """As a message does; an empty id is none."""
    made = make_stamp(message_id="", received_at="", raw=b"raw", now=NOW)

    assert read_element_stamp({}, raw=b"raw", now=NOW) == made
    assert read_element_stamp({"message_id": ""}, raw=b"raw", now=NOW) == made


@pytest.mark.parametrize(
    "text",
    [
        '"1795291262007"',
        "null",
        "true",
        "[1]",
        "-1",
        "0.5",
        "1e-999999999",
        "1e300",
        "253402300800000",
        "9" * 300,
        "1." + "0" * 100_000 + "1",
    ],
)
def test_an_element_s_time_that_is_none_is_refused(text: str) -> None:
    """At once, whatever number it is; a rule's `timestamp()` is a number of milliseconds."""
    with pytest.raises(InvalidMessage, match="received_at must be a time in milliseconds since 1970, as a number"):
        read_element_stamp(parse_object(b'{"received_at":%s}' % text.encode()), raw=b"", now=NOW)


@pytest.mark.parametrize("message_id", [7, None, ["abc"], True])
def test_an_element_s_id_is_a_text(message_id: Any) -> None:
    """Or not there."""
    with pytest.raises(InvalidMessage, match="message_id must be 1 to 128"):
        read_element_stamp({"message_id": message_id}, raw=b"", now=NOW)


def test_a_row_is_keyed_by_time_and_message() -> None:
    """Milliseconds always have three digits, so that the order of texts is the order of times."""
    at = datetime(2026, 11, 21, 21, 1, 2, tzinfo=timezone(timedelta(hours=1)))
    row = make_row(reading_of(), Stamp(received_at=at, message_id="abc"), ttl_days=2)

    assert row.sort_key == "2026-11-21T20:01:02.000Z#abc"
    assert row.message_id == "abc"
    assert row.ttl == int(at.timestamp()) + 2 * 86_400


def test_a_row_lives_for_ever_unless_told_otherwise() -> None:
    """Without TTL_DAYS there is no such attribute."""
    assert make_row(reading_of(), Stamp(received_at=NOW, message_id="a"), ttl_days=None).ttl is None
