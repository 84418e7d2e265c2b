"""From a request's body and headers to a row: what is accepted, and what a row's key is.

Bytes, header values and a time passed in; nothing here waits, reads a clock or knows of HTTP. Whatever a device puts
into its message arrives here unchanged (`SELECT *`), so every bound is checked here: what this accepts, DynamoDB takes.
"""

from __future__ import annotations

import decimal
import hashlib
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from receiver.errors import ForeignDevice, InvalidMessage

MAX_DEVICE_ID_BYTES: Final = 2048
"""A DynamoDB partition key is no longer. Source: DynamoDB Developer Guide, "Quotas": partition key length."""

MAX_DIGITS: Final = 38
MAX_EXPONENT: Final = 125
MIN_EXPONENT: Final = -130
"""Significant digits and the exponents of a DynamoDB number: 1E-130 to 9.9…E+125. Source: DynamoDB Developer Guide,
"Supported data types": Number."""

NO_CLIENT_ID: Final = "n/a"
"""What ``clientid()`` gives for a message that was not published over MQTT. Source: AWS IoT SQL reference, clientid."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECONDS: Final = re.compile(r"[0-9]{1,15}")
_MAX_MILLISECONDS: Final = 253_402_300_799_999  # the last of the year 9999
_MESSAGE_ID: Final = re.compile(r"[!-\"$-~]{1,128}")  # visible ASCII but `#`, which ends the time in the sort key
_PLAIN_EXPONENTS: Final = range(-38, 38)
_EXACT: Final = decimal.Context(prec=1_000_000, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN, traps=[])


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a device says.

    Args:
        device_id: 1 to 2048 bytes of UTF-8.
        temperature: a number that DynamoDB can hold, without trailing zeros.
        ts: the device's own time as it was sent; None when it was not.
    """

    device_id: str
    temperature: Decimal
    ts: str | Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """When AWS IoT received a message and how the message is told from others; the same on every try."""

    received_at: datetime
    message_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of the table, as `receiver.store` writes it."""

    device_id: str
    sort_key: str
    message_id: str
    temperature: Decimal
    ts: str | Decimal | None
    ttl: int | None


def parse_object(body: bytes) -> dict[str, Any]:
    """Read a JSON object: UTF-8, numbers as `Decimal`, each name once, nothing that is not JSON (NaN, Infinity).

    Raises:
        InvalidMessage: it is none.

    Source: RFC 8259; §4 leaves names that occur twice to the receiver.
    """
    try:
        parsed = _DECODER.decode(body.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise InvalidMessage(f"the body is not UTF-8, at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise InvalidMessage(f"the body is not JSON, at line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise InvalidMessage("the body is nested too deeply") from None
    except ArithmeticError:
        raise InvalidMessage("the body has a number beyond every range") from None
    if not isinstance(parsed, dict):
        raise InvalidMessage("the body must be a JSON object")
    return parsed


def parse_reading(body: bytes) -> Reading:
    """Read what a device says; names other than ``deviceId``, ``temp`` and ``ts`` are left alone.

    Raises:
        InvalidMessage: the body is not JSON, or a field is not acceptable.
    """
    fields = parse_object(body)
    for name in ("deviceId", "temp"):
        if name not in fields:
            raise InvalidMessage(f"{name} is missing")
    device_id = fields["deviceId"]
    if not isinstance(device_id, str) or not device_id:
        raise InvalidMessage("deviceId must be a non-empty string")
    if len(_utf8(device_id, "deviceId")) > MAX_DEVICE_ID_BYTES:
        raise InvalidMessage(f"deviceId must have at most {MAX_DEVICE_ID_BYTES} bytes")
    return Reading(device_id=device_id, temperature=_number(fields["temp"], "temp"), ts=_ts_of(fields))


def parse_stamp(*, message_id: str, received_at: str, body: bytes, now: datetime) -> Stamp:
    """Make the stamp of a message from the headers that the rule sends, or without them as far as that goes.

    Args:
        message_id: ``X-Message-Id``; empty when it is absent, as for messages published over HTTPS.
        received_at: ``X-Received-At``, milliseconds since the epoch; empty when it is absent.
        body: of the request.
        now: the receiver's own time, for a message that brings none.

    Raises:
        InvalidMessage: a header is there and not acceptable.
    """
    if message_id and not is_message_id(message_id):
        raise InvalidMessage("X-Message-Id must be 1 to 128 visible ASCII characters other than #")
    at = now
    if received_at:
        if not _MILLISECONDS.fullmatch(received_at) or int(received_at) > _MAX_MILLISECONDS:
            raise InvalidMessage("X-Received-At must be a time in milliseconds since 1970")
        at = _EPOCH + timedelta(milliseconds=int(received_at))
    return Stamp(received_at=at, message_id=message_id or hashlib.sha256(received_at.encode() + body).hexdigest()[:32])


def is_message_id(text: str) -> bool:
    """Tell whether a text can be a message's id: it goes into the sort key and into the log as it is."""
    return _MESSAGE_ID.fullmatch(text) is not None


def check_device(reading: Reading, client_id: str) -> None:
    """Let a device speak for nobody but itself.

    Args:
        reading: what it says.
        client_id: ``X-Client-Id``: the MQTT client id of the connection it came over; ``n/a`` when there was none.

    Raises:
        ForeignDevice: the rule does not tell the client id, or it is another's.
    """
    if not client_id:
        raise ForeignDevice("X-Client-Id is missing: the rule must send it (REQUIRE_CLIENT_ID)")
    if client_id not in (NO_CLIENT_ID, reading.device_id):
        raise ForeignDevice("deviceId is not the client id of the connection that the message came over")


def make_row(reading: Reading, stamp: Stamp, *, ttl_days: int | None) -> Row:
    """Put a row together: the same message always gives the same one, so that another try rewrites its own row."""
    at = stamp.received_at.astimezone(UTC)
    time = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return Row(
        device_id=reading.device_id,
        sort_key=f"{time}#{stamp.message_id}",
        message_id=stamp.message_id,
        temperature=reading.temperature,
        ts=reading.ts,
        ttl=None if ttl_days is None else (at - _EPOCH) // timedelta(seconds=1) + ttl_days * 86_400,
    )


def number_text(number: Decimal) -> str:
    """Write a number as DynamoDB's own answers do: plain where that is short, with an exponent where it is not."""
    return format(number, "f") if number.adjusted() in _PLAIN_EXPONENTS else str(number)


def _ts_of(fields: dict[str, Any]) -> str | Decimal | None:
    if "ts" not in fields:
        return None
    ts = fields["ts"]
    if isinstance(ts, str):
        _utf8(ts, "ts")
        return ts
    if isinstance(ts, Decimal):
        return _number(ts, "ts")
    raise InvalidMessage("ts must be a string or a number where it is given")


def _number(value: Any, name: str) -> Decimal:
    """Check that DynamoDB can hold a number as it is: it would round nothing, and refuse the row."""
    if not isinstance(value, Decimal):
        raise InvalidMessage(f"{name} must be a number")
    if not value:
        return Decimal(0)
    number = value.normalize(_EXACT)
    if len(number.as_tuple().digits) > MAX_DIGITS:
        raise InvalidMessage(f"{name} must have at most {MAX_DIGITS} significant digits")
    if not MIN_EXPONENT <= number.adjusted() <= MAX_EXPONENT:
        raise InvalidMessage(f"{name} must lie between 1E{MIN_EXPONENT} and 1E+{MAX_EXPONENT + 1}, or be 0")
    return number


def _utf8(text: str, name: str) -> bytes:
    """Encode what JSON may hold and UTF-8 cannot: half of a surrogate pair, written as an escape."""
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidMessage(f"{name} holds half a character") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise InvalidMessage("the body has an object with the same name twice")
    return made


def _refuse_constant(_: str) -> Any:
    raise InvalidMessage("the body has NaN or Infinity, which JSON does not know")


_DECODER: Final = json.JSONDecoder(
    # Decimal reads digits in linear time and keeps them all; int would take quadratic time, float would round.
    parse_float=Decimal,
    parse_int=Decimal,
    parse_constant=_refuse_constant,
    object_pairs_hook=_unique,
)
