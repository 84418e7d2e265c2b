"""What a rule posts: one message, which is an object with its headers, or a batch, which is an array of messages.

Of one message, time, id and client come from the headers, which the rule makes; what the message says about them is a
device's word and not heard. A batch has the headers of its last message alone, so each element brings its own, which
the rule selects into it: ``SELECT *, traceid() AS message_id, timestamp() AS received_at, clientid() AS client_id``.

A device may send an array too, and a rule that makes no batches passes it on. Its elements would then say whatever the
device likes. Nobody knows the trace id of a message before it is sent: where the rule sends one as a header, a batch is
only what has it in an element. Where it sends the client alone, an array speaks for that client.

Source: AWS IoT Developer Guide, "Batching HTTP action messages"; AWS IoT SQL reference, traceid, timestamp, clientid.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from receiver.errors import ForeignDevice, InvalidMessage
from receiver.json_text import parse_elements, parse_object
from receiver.reading import (
    NO_CLIENT_ID,
    check_device,
    check_headers,
    make_row,
    make_stamp,
    read_element_stamp,
    read_reading,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from receiver.reading import Reading, Row, Stamp

MAX_ELEMENTS: Final = 25
"""Messages of a batch: as many as DynamoDB writes at once, and more than the ten that AWS IoT puts into one."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a rule tells of a message in headers; an empty text is nothing."""

    message_id: str = ""
    received_at: str = ""
    client_id: str = ""


class Messages:
    """Makes rows of messages.

    Args:
        require_client_id: refuse what a device says of another.
        ttl_days: days until a row expires; None: never.
    """

    def __init__(self, *, require_client_id: bool, ttl_days: int | None) -> None:
        self._require_client_id = require_client_id
        self._ttl_days = ttl_days

    def row_of(self, body: bytes, told: Told, *, now: datetime) -> Row:
        """Make the row of one message.

        Raises:
            InvalidMessage: the body or a header is not acceptable.
            ForeignDevice: the device is not the client.
        """
        reading = read_reading(parse_object(body))
        check_headers(message_id=told.message_id, received_at=told.received_at)
        stamp = make_stamp(message_id=told.message_id, received_at=told.received_at, raw=body, now=now)
        if self._require_client_id:
            if not told.client_id:
                raise ForeignDevice("X-Client-Id is missing: the rule must send it (REQUIRE_CLIENT_ID)")
            check_device(reading, told.client_id)
        return make_row(reading, stamp, ttl_days=self._ttl_days)

    def rows_of(self, body: bytes, told: Told, *, now: datetime) -> list[Row]:
        """Make the rows of a batch, each key once.

        Raises:
            InvalidMessage: the body, a header or an element is not acceptable; `element` says which of these.
            ForeignDevice: the device of an element is not its client.
        """
        check_headers(message_id=told.message_id, received_at=told.received_at)
        rows: dict[tuple[str, str], Row] = {}
        senders: list[tuple[Reading, str]] = []
        ids: set[str] = set()
        for number, (fields, raw) in enumerate(parse_elements(body)):
            if number == MAX_ELEMENTS:
                raise InvalidMessage(f"the body must be an array of at most {MAX_ELEMENTS} messages")
            try:
                reading, stamp, client_id = _read_element(fields, raw, now)
            except InvalidMessage as error:
                raise error.of_element(number) from None
            row = make_row(reading, stamp, ttl_days=self._ttl_days)
            if rows.setdefault((row.device_id, row.sort_key), row) != row:
                because = "an earlier element of the same device, time and id says something else"
                raise InvalidMessage(because, element=number)
            senders.append((reading, client_id))
            ids.add(row.message_id)
        if not rows:
            raise InvalidMessage("the body must not be an empty array")
        if told.message_id and told.message_id not in ids:
            raise InvalidMessage(
                "the body must be a JSON object: it is no batch, since X-Message-Id is the message_id of no element"
                " (a batching rule selects traceid() AS message_id)"
            )
        if self._require_client_id:
            _check_devices(senders, told)
        return list(rows.values())


def _read_element(fields: Any, raw: bytes, now: datetime) -> tuple[Reading, Stamp, str]:
    """Read what a device says, what the rule says of it, and whose it is; an empty text is nobody's."""
    if not isinstance(fields, dict):
        raise InvalidMessage("a message must be a JSON object")
    reading = read_reading(fields)
    stamp = read_element_stamp(fields, raw=raw, now=now)
    client_id = fields.get("client_id", "")
    if not isinstance(client_id, str):
        raise InvalidMessage("client_id must be a string")
    return reading, stamp, client_id


def _check_devices(senders: Iterable[tuple[Reading, str]], told: Told) -> None:
    for number, (reading, client_id) in enumerate(senders):
        try:
            _check_element_s_device(reading, client_id, told)
        except ForeignDevice as error:
            raise error.of_element(number) from None


def _check_element_s_device(reading: Reading, client_id: str, told: Told) -> None:
    if not client_id:
        raise ForeignDevice(
            "client_id is missing: add clientid() AS client_id to the rule's SELECT (REQUIRE_CLIENT_ID)"
        )
    if not told.message_id and told.client_id not in ("", NO_CLIENT_ID, client_id):
        raise ForeignDevice("client_id is not X-Client-Id: a batching rule that sends it sends X-Message-Id as well")
    check_device(reading, client_id)
