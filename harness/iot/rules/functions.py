"""The functions of rule SQL.

A function that is given too many arguments, or ones of a wrong type, answers Undefined, as on AWS; one that is not
here is refused by name when the statement is made.

Source: iot-sql-functions in the AWS IoT developer guide.
Differs: names are taken in the lower case of that page; whether AWS minds the case is not documented.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from harness.iot.rules.message import NO_CLIENT_ID, RuleMessage
from harness.iot.rules.values import UNDEFINED, Value, to_int

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Function: TypeAlias = "Callable[[RuleMessage, tuple[Value, ...]], Value]"


def _topic(message: RuleMessage, arguments: tuple[Value, ...]) -> Value:
    """``topic()`` is the whole topic, ``topic(n)`` its n-th level from 1; there is none beyond the last."""
    topic = message.rule_topic()
    if not arguments:
        return topic
    number = to_int(arguments[0]) if len(arguments) == 1 else UNDEFINED
    levels = topic.split("/")
    if number is UNDEFINED or not 1 <= number <= len(levels):
        return UNDEFINED
    return levels[number - 1]


def _timestamp(message: RuleMessage, arguments: tuple[Value, ...]) -> Value:
    """Milliseconds since the epoch, as the rules engine sees them."""
    return UNDEFINED if arguments else message.timestamp


def _clientid(message: RuleMessage, arguments: tuple[Value, ...]) -> Value:
    """The MQTT client id, or the text ``n/a`` for a message that came without MQTT."""
    if arguments:
        return UNDEFINED
    return NO_CLIENT_ID if message.client_id is None else message.client_id


def _traceid(message: RuleMessage, arguments: tuple[Value, ...]) -> Value:
    """The message's UUID; Undefined for a message that came without MQTT."""
    return UNDEFINED if arguments or message.trace_id is None else message.trace_id


def _newuuid(message: RuleMessage, arguments: tuple[Value, ...]) -> Value:
    """A random UUID of 16 bytes."""
    return UNDEFINED if arguments else message.make_uuid()


FUNCTIONS: Final[Mapping[str, Function]] = {
    "clientid": _clientid,
    "newuuid": _newuuid,
    "timestamp": _timestamp,
    "topic": _topic,
    "traceid": _traceid,
}
"""Name to what it computes of a message and its arguments."""
