"""Letters of the dead-letter queue, read in order to deliver them after all: what they hold, and whether it is stored.

Bytes, values and rules passed in; nothing here calls anybody. What cannot be delivered again is `LeftAlone`, with a
reason that can be counted: it names neither a device nor a message.

Source: rule-error-handling and http_batching in the AWS IoT developer guide.
"""

from __future__ import annotations

import hashlib
import json
import re
from base64 import b64decode
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

NO_CLIENT_ID: Final = "n/a"
"""What AWS IoT says of a message that was not published over MQTT. Source: AWS IoT SQL reference, clientid."""

MESSAGE_ID: Final = "X-Message-Id"
RECEIVED_AT: Final = "X-Received-At"
CLIENT_ID: Final = "X-Client-Id"

NO_READING: Final = "no reading of a device"
"""Why what no receiver would take is left."""

_HTTP_ACTION: Final = "HttpAction"
_TEMPLATE: Final = re.compile(r"\$\{\s*(traceid|timestamp|clientid)\(\s*\)\s*\}", re.IGNORECASE)
_SELECTED: Final = re.compile(r"\s*SELECT\s+(.*?)\s+FROM\s", re.IGNORECASE | re.DOTALL)
_HARMLESS: Final = frozenset({"*", "traceid() as message_id", "timestamp() as received_at", "clientid() as client_id"})
_IN_BATCHES: Final = frozenset({"traceid() as message_id", "timestamp() as received_at"})
_STRING_OR_SPACE: Final = re.compile(rb'("(?:[^"\\]|\\.)*")|[ \t\r\n]+', re.DOTALL)
_ID_DIGITS: Final = 32


class LeftAlone(Exception):  # noqa: N818 - says what becomes of a letter
    """A letter is not delivered.

    Args:
        reason: as it is counted.
        is_final: whether another run, later, would leave it alone as well.
    """

    def __init__(self, reason: str, *, is_final: bool = True) -> None:
        self.reason = reason
        self.is_final = is_final
        super().__init__(reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class LostMessage:
    """A message that a letter holds.

    Args:
        device_id: what its row would be under.
        trace_id: ``cloudwatchTraceId``; empty when the letter has none.
        client_id: who published it; `NO_CLIENT_ID` when that was not over MQTT.
        payload: as it was published.
    """

    device_id: str
    trace_id: str
    client_id: str
    payload: bytes = field(repr=False)

    @property
    def message_id(self) -> str:
        """What the rule sent as its id; empty for one that was not published over MQTT, where ``traceid()`` is none."""
        return "" if self.client_id == NO_CLIENT_ID else self.trace_id

    def is_among(self, rows: Collection[tuple[str, str]]) -> bool:
        """Tell whether one of these rows is this message's.

        Without an id of its own a message has one of the time and the bytes that the rule posted. Two messages of the
        same bytes are then the same.

        Args:
            rows: (time of receipt in milliseconds, message id) of rows of its device.
        """
        if any(message_id == self.trace_id for _, message_id in rows):
            return True
        if self.message_id:
            return False
        bodies = _as_posted(self.payload)
        return any(_made_up_id(at, body) == message_id for at, message_id in rows for body in bodies)


@dataclass(frozen=True, slots=True, kw_only=True)
class UndeliveredLetter:
    """A rule's error document.

    Args:
        rule_name: the rule.
        messages: what it could not deliver: one, or those of a batch that are readings.
        is_batch: whether it was a batch.
        has_others: whether the batch holds what is no reading as well: for that the receiver refused all of it.
        failures: (action, resource) of what failed, for example ``("HttpAction", "https://…")``.
    """

    rule_name: str
    messages: tuple[LostMessage, ...]
    is_batch: bool
    has_others: bool
    failures: tuple[tuple[str, str], ...]

    @classmethod
    def parse(cls, body: str) -> UndeliveredLetter:
        """Read a message of the queue.

        Raises:
            LeftAlone: it is no error document, or holds what no receiver would take.
        """
        document = _document(body)
        try:
            batch = document.get("payloadsWithMetadata")
            read = [_message(each) for each in ([document] if batch is None else batch)]
            if not (messages := tuple(each for each in read if each is not None)):
                raise LeftAlone(NO_READING)
            return cls(
                rule_name=_text(document["ruleName"]),
                messages=messages,
                is_batch=batch is not None,
                has_others=len(messages) < len(read),
                failures=tuple(
                    (_text(each.get("failedAction")), _text(each.get("failedResource")))
                    for each in document["failures"]
                ),
            )
        except (ValueError, TypeError, KeyError, AttributeError):
            raise LeftAlone("no error document of a rule") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Posting:
    """How a rule posts.

    Args:
        url: where to.
        headers: as the rule has them, templates not yet filled in; their values may be secrets.
    """

    url: str
    headers: tuple[tuple[str, str], ...] = field(repr=False)

    @classmethod
    def of(cls, rule: Mapping[str, Any], letter: UndeliveredLetter) -> Posting:
        """Work out how the rule would post the letter's messages.

        Args:
            rule: what GetTopicRule answers under ``rule``.
            letter: one of its letters.

        Raises:
            LeftAlone: it would not post them as they are, or in a way that only AWS IoT can.
        """
        items = _selected(str(rule.get("sql", "")))
        if "*" not in items or not items <= _HARMLESS:
            raise LeftAlone("its rule selects something else than the message")
        http = _action_of(rule, letter)
        if http.get("auth"):
            raise LeftAlone("its rule signs what it posts")
        if "${" in http["url"]:
            raise LeftAlone("its rule's URL is a template")
        if not http["url"].startswith("https://"):
            raise LeftAlone("its rule's URL is not https")
        headers = tuple((each["key"], each["value"]) for each in http.get("headers", []))
        if any("${" in _TEMPLATE.sub("", value) for _, value in headers):
            raise LeftAlone("its rule has a template that is not traceid(), timestamp() or clientid()")
        values = {
            name.lower(): _TEMPLATE.sub(lambda found: f"${{{found[1].lower()}()}}", text) for name, text in headers
        }
        names_in_headers = (values.get(MESSAGE_ID.lower()), values.get(RECEIVED_AT.lower()))
        if names_in_headers != ("${traceid()}", "${timestamp()}") and not (letter.is_batch and items >= _IN_BATCHES):
            raise LeftAlone("its rule does not send ${traceid()} and ${timestamp()} as id and time")
        if letter.is_batch and not all(each.message_id for each in letter.messages):
            raise LeftAlone("a batch with messages that were not published over MQTT")
        return cls(url=http["url"], headers=headers)

    def headers_for(self, message: LostMessage, *, sent_at: int, is_batch: bool) -> list[tuple[bytes, bytes]]:
        """Return the headers that a message is posted with.

        Args:
            message: what is posted.
            sent_at: when its letter was sent, in milliseconds since the epoch: always the same, so that whoever posts
                it again rewrites its row.
            is_batch: whether it was one of a batch, whose elements carry what the headers say here.
        """
        values = {"traceid": message.message_id, "timestamp": str(sent_at), "clientid": message.client_id}
        own = {MESSAGE_ID: message.message_id, RECEIVED_AT: str(sent_at)}
        if is_batch:
            own[CLIENT_ID] = message.client_id
        lowered = {name.lower() for name in own}
        kept = [
            (name, _TEMPLATE.sub(lambda found: values[found[1].lower()], value))
            for name, value in self.headers
            if name.lower() not in lowered
        ]
        return [(name.encode(), value.encode()) for name, value in (*kept, *own.items())]


def rule_named_in(body: str) -> str:
    """Return the name of the rule whose letter a queue's message is, whatever else it holds; empty when it is none."""
    try:
        name = _document(body).get("ruleName")
    except LeftAlone:
        return ""
    return name if isinstance(name, str) else ""


def _document(body: str) -> dict[str, Any]:
    """Read a queue's message; an error action may have been told to send base64."""
    for text in (body, _unwrapped(body)):
        try:
            document = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if isinstance(document, dict):
            return document
    raise LeftAlone("no error document of a rule")


def _unwrapped(body: str) -> str:
    try:
        return b64decode(body, validate=True).decode()
    except ValueError:
        return ""


def _message(element: Mapping[str, Any]) -> LostMessage | None:
    """Read a message; None for one that is no reading."""
    payload = b64decode(element["base64OriginalPayload"], validate=True)
    try:
        reading = json.loads(payload)
    except (ValueError, RecursionError):
        reading = None
    device_id = reading.get("deviceId") if isinstance(reading, dict) else None
    if not isinstance(device_id, str) or not device_id or not _is_utf8(device_id):
        return None
    return LostMessage(
        device_id=device_id,
        trace_id=_text(element.get("cloudwatchTraceId")),
        client_id=_text(element.get("clientId")) or NO_CLIENT_ID,
        payload=payload,
    )


def _text(value: Any) -> str:
    """Return a text, or nothing for what is not there.

    Raises:
        TypeError: it is something else, or what nobody could send on.
    """
    if value is not None and not (isinstance(value, str) and _is_utf8(value)):
        raise TypeError
    return value or ""


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _selected(sql: str) -> frozenset[str]:
    found = _SELECTED.match(sql)
    return frozenset(" ".join(each.lower().split()) for each in found[1].split(",")) if found else frozenset()


def _action_of(rule: Mapping[str, Any], letter: UndeliveredLetter) -> Mapping[str, Any]:
    """Return the HTTP action whose failure the letter tells of."""
    if not letter.failures or any(action != _HTTP_ACTION for action, _ in letter.failures):
        raise LeftAlone("another action than the HTTP action failed")
    actions: list[Mapping[str, Any]] = [each["http"] for each in rule.get("actions", []) if "http" in each]
    if not actions:
        raise LeftAlone("its rule has no HTTP action any more", is_final=False)
    failed = {resource for _, resource in letter.failures}
    if len(failed) > 1:
        raise LeftAlone("several HTTP actions failed")
    if len(actions) == 1:
        return actions[0]  # wherever it posted then: receivers move
    by_url = [each for each in actions if each["url"] in failed]
    if len(by_url) != 1:
        raise LeftAlone("its rule has several HTTP actions, and it is not clear which failed")
    return by_url[0]


def _as_posted(payload: bytes) -> set[bytes]:
    """Return the bodies that a rule may make of a payload: as it came, without white space, or written anew."""
    bodies = {payload, _STRING_OR_SPACE.sub(lambda found: found[1] or b"", payload)}
    with suppress(RecursionError):  # deeper than any receiver takes: it was not posted with success
        anew = json.dumps(json.loads(payload), separators=(",", ":"), ensure_ascii=False)
        bodies.add(anew.encode("utf-8", "backslashreplace"))
    return bodies


def _made_up_id(at: str, body: bytes) -> str:
    """Return the id that the receiver makes up for a message that brings none."""
    return hashlib.sha256(at.encode() + body).hexdigest()[:_ID_DIGITS]
