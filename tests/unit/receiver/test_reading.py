"""What becomes a row, what does not, and how a row is keyed."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from receiver.errors import ForeignDevice, InvalidMessage
from receiver.reading import (
    Reading,
    Stamp,
    check_device,
    is_message_id,
    make_row,
    number_text,
    parse_object,
    parse_reading,
    parse_stamp,
)

NOW = datetime(2026, 11, 21, 20, 1, 2, 123_999, tzinfo=UTC)


def reading_of(**fields: Any) -> Reading:
    """Read a message with these fields besides acceptable ones."""
    return parse_reading(json.dumps({"deviceId": "d", "temp": 1, **fields}).encode())


def temp_of(text: str) -> Decimal:
    """Read a message whose temperature is written so."""
    return parse_reading(f'{{"deviceId":"d","temp":{text}}}'.encode()).temperature


def test_a_reading_is_its_three_fields() -> None:
    """Whatever else a device sends is left alone."""
    body = '{"deviceId":"föhn-1","temp":21.50,"ts":"yesterday","more":{"a":[null,true,1e9]}}'.encode()

    assert parse_reading(body) == Reading(device_id="föhn-1", temperature=Decimal("21.5"), ts="yesterday")


@pytest.mark.parametrize(
    ("text", "because"),
    [
        (b"", "line 1, column 1"),
        (b"hello", "line 1, column 1"),
        (b'{"deviceId":"d",\n "temp":}', "line 2, column 9"),
        (b'{"deviceId":"d","temp":1} {}', "not JSON"),
        (b"\xef\xbb\xbf{}", "not JSON"),
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
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 20_000, "nested too deeply"),
        (b'{"deviceId":"d","temp":1,"x":1e99999999999999999999}', "beyond every range"),
    ],
)
def test_a_body_that_is_no_object_is_refused(text: bytes, because: str) -> None:
    """Bombs included: an answer, never a crash."""
    with pytest.raises(InvalidMessage, match=because):
        parse_object(text)


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
        parse_reading(json.dumps(fields).encode())


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
        ("1e999", "must lie between"),
        ("1" + "0" * 126, "must lie between"),
        ("1e-131", "must lie between"),
        ("9" * 39, "at most 38 significant digits"),
        ("1." + "0" * 37 + "1", "at most 38 significant digits"),
        ("9" * 100_000, "at most 38 significant digits"),
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
    stamp = parse_stamp(message_id="abc", received_at="1795291262007", body=b"x", now=NOW)

    assert stamp == Stamp(received_at=datetime(2026, 11, 21, 20, 1, 2, 7000, tzinfo=UTC), message_id="abc")


def test_a_message_without_a_stamp_gets_one() -> None:
    """The receiver's clock, and an id that the same body always gives."""
    stamp = parse_stamp(message_id="", received_at="", body=b"body", now=NOW)

    assert stamp == Stamp(received_at=NOW, message_id=hashlib.sha256(b"body").hexdigest()[:32])


def test_an_id_of_its_own_tells_messages_of_different_times_apart() -> None:
    """A device may say the same twice."""
    one, other = (parse_stamp(message_id="", received_at=at, body=b"body", now=NOW) for at in ("1", "2"))

    assert one.message_id == hashlib.sha256(b"1body").hexdigest()[:32]
    assert one.message_id != other.message_id


@pytest.mark.parametrize("text", ["-1", "1.5", "1e3", "soon", "٣", "1_000", "253402300800000", "9" * 16, " 1", "1\n"])
def test_a_time_that_is_none_is_refused(text: str) -> None:
    """The rule says milliseconds, in digits."""
    with pytest.raises(InvalidMessage, match="X-Received-At"):
        parse_stamp(message_id="abc", received_at=text, body=b"", now=NOW)


def test_the_last_time_there_is_is_taken() -> None:
    """Four digits for the year keep the sort key in time's order."""
    stamp = parse_stamp(message_id="a", received_at="253402300799999", body=b"", now=NOW)
    reading = reading_of()

    assert make_row(reading, stamp, ttl_days=None).sort_key == "9999-12-31T23:59:59.999Z#a"


@pytest.mark.parametrize("text", ["a#b", "a b", "ä", "a\n", "x" * 129, "\x7f"])
def test_an_id_that_would_spoil_key_or_log_is_refused(text: str) -> None:
    """The `#` ends the time; the rest keeps log lines whole."""
    assert not is_message_id(text)
    with pytest.raises(InvalidMessage, match="X-Message-Id"):
        parse_stamp(message_id=text, received_at="1", body=b"", now=NOW)


def test_a_device_speaks_for_itself() -> None:
    """As far as the rule can tell: over HTTPS there is no client id."""
    check_device(reading_of(deviceId="d"), "d")
    check_device(reading_of(deviceId="d"), "n/a")


@pytest.mark.parametrize(("client_id", "because"), [("e", "not the client id"), ("D", "not"), ("", "is missing")])
def test_a_device_does_not_speak_for_another(client_id: str, because: str) -> None:
    """A rule that tells nothing is no proof either."""
    with pytest.raises(ForeignDevice, match=because):
        check_device(reading_of(deviceId="d"), client_id)


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
