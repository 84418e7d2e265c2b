"""From what a device and a rule say to a row: what is accepted, and what a row's key is.

Values and a time passed in; nothing here waits, reads a clock or knows of HTTP. Whatever a device puts into its message
arrives here unchanged (`SELECT *`), so every bound is checked here: what this accepts, DynamoDB takes.
"""

from __future__ import annotations

import decimal
import hashlib
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

LAST_MILLISECOND: Final = 253_402_300_799_999
"""Since 1970, of the year 9999: four digits for the year keep the sort key in the order of time."""

NO_CLIENT_ID: Final = "n/a"
"""What ``clientid()`` gives for a message that was not published over MQTT. Source: AWS IoT SQL reference, clientid."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECONDS: Final = re.compile(r"[0-9]{1,15}")
_MESSAGE_ID: Final = re.compile(r"[!-\"$-~]{1,128}")  # visible ASCII but `#`, which ends the time in the sort key
_ID_RULE: Final = "must be 1 to 128 visible ASCII characters other than #"
_TIME_RULE: Final = "must be a time in milliseconds since 1970"
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


def read_reading(fields: dict[str, Any]) -> Reading:
    """Read what a device says; names other than ``deviceId``, ``temp`` and ``ts`` are left alone.

    Args:
        fields: of its message, numbers as `Decimal`.

    Raises:
        InvalidMessage: a field is missing or not acceptable.
    """
    for name in ("deviceId", "temp"):
        if name not in fields:
            raise InvalidMessage(f"{name} is missing")
    device_id = fields["deviceId"]
    if not isinstance(device_id, str) or not device_id:
        raise InvalidMessage("deviceId must be a non-empty string")
    if len(_utf8(device_id, "deviceId")) > MAX_DEVICE_ID_BYTES:
        raise InvalidMessage(f"deviceId must have at most {MAX_DEVICE_ID_BYTES} bytes")
    return Reading(device_id=device_id, temperature=_number(fields["temp"], "temp"), ts=_ts_of(fields))


def check_headers(*, message_id: str, received_at: str) -> None:
    """Check what the rule tells in headers, an empty text of which is nothing.

    Args:
        message_id: ``X-Message-Id``.
        received_at: ``X-Received-At``, milliseconds since the epoch.

    Raises:
        InvalidMessage: one is there and not acceptable.
    """
    if message_id and not is_message_id(message_id):
        raise InvalidMessage(f"X-Message-Id {_ID_RULE}")
    if received_at and (not _MILLISECONDS.fullmatch(received_at) or int(received_at) > LAST_MILLISECOND):
        raise InvalidMessage(f"X-Received-At {_TIME_RULE}")


def read_element_stamp(fields: dict[str, Any], *, raw: bytes, now: datetime) -> Stamp:
    """Make the stamp of a batch's element from what the rule has selected into it.

    Args:
        fields: of the element: ``message_id``, absent or empty for messages published over HTTPS, and ``received_at``,
            a number of milliseconds since the epoch.
        raw: the element as it was sent.
        now: the receiver's own time, for an element that brings none.

    Raises:
        InvalidMessage: a field is there and not acceptable.
    """
    message_id = fields.get("message_id", "")
    if not isinstance(message_id, str) or (message_id and not is_message_id(message_id)):
        raise InvalidMessage(f"message_id {_ID_RULE}")
    received_at = ""
    if "received_at" in fields:
        at = fields["received_at"]
        # The range comes first: of a number that is within, the digits are few.
        if not isinstance(at, Decimal) or not 0 <= at <= LAST_MILLISECOND or at != at.to_integral_value():
            raise InvalidMessage(f"received_at {_TIME_RULE}, as a number")
        received_at = str(int(at))
    return make_stamp(message_id=message_id, received_at=received_at, raw=raw, now=now)


def make_stamp(*, message_id: str, received_at: str, raw: bytes, now: datetime) -> Stamp:
    """Make the stamp of a message, also if the rule tells only a part of it.

    Args:
        message_id: as checked; empty for a message published over HTTPS.
        received_at: milliseconds since the epoch, as checked; empty when the rule does not tell it.
        raw: the message as it was sent; what an id is made of, so that every try has the same.
        now: the receiver's own time, for a message that brings none.
    """
    return Stamp(
        received_at=_EPOCH + timedelta(milliseconds=int(received_at)) if received_at else now,
        message_id=message_id or hashlib.sha256(received_at.encode() + raw).hexdigest()[:32],
    )


def is_message_id(text: str) -> bool:
    """Tell whether a text can be a message's id: it goes into the sort key and into the log as it is."""
    return _MESSAGE_ID.fullmatch(text) is not None


def check_device(reading: Reading, client_id: str) -> None:
    """Let a device speak for nobody but itself.

    Args:
        reading: what it says.
        client_id: the MQTT client id of the connection it came over; ``n/a`` when there was none.

    Raises:
        ForeignDevice: it is another's.
    """
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
