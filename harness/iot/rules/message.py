"""A published message as rules see it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from harness.iot.rules.json_text import BeyondLimits, NotJson, Reader
from harness.iot.rules.values import Value, read_decimal, read_int, read_whole

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.mqtt.packets import Properties

BASIC_INGEST_PREFIX: Final = "$aws/rules/"
NO_CLIENT_ID: Final = "n/a"
"""What ``clientid()`` answers for a message that came without MQTT."""

_READERS: Final = (Reader(read_int, read_decimal), Reader(read_int, read_whole))
_UNREAD: Final = object()


class PayloadError(ValueError):
    """The payload cannot be read as the JSON that an expression asks for.

    Args:
        because: what is wrong with it.
        is_json: whether it is JSON all the same, beyond what a rule can hold.
    """

    def __init__(self, because: str, *, is_json: bool) -> None:
        self.because = because
        self.is_json = is_json
        super().__init__(because)


@dataclass(slots=True, kw_only=True, eq=False)
class RuleMessage:
    """One message, shared by all rules and templates that look at it.

    Its payload is parsed when one of them first asks for it, once for each way of reading numbers.

    Args:
        topic: as published.
        payload: as published.
        timestamp: when it reached the rules engine, milliseconds since the epoch.
        make_uuid: makes a new UUID, as text, at each call.
        account_id: 12 digits.
        client_id: of the MQTT connection; None for a message that came over HTTPS.
        trace_id: a UUID; None for a message that came without MQTT.
        principal: who published, as ``principal()`` will show it.
        remote: the IP address it came from.
        properties: of an MQTT 5 PUBLISH.
    """

    topic: str
    payload: bytes
    timestamp: int
    make_uuid: Callable[[], str]
    account_id: str
    client_id: str | None = None
    trace_id: str | None = None
    principal: str | None = None
    remote: str | None = None
    properties: Properties | None = None
    _documents: list[object] = field(default_factory=lambda: [_UNREAD, _UNREAD], init=False, repr=False)

    def document(self, *, whole: bool) -> Value:
        """Return what the payload holds.

        Args:
            whole: whether ``10.0`` is an Int, as in SQL version 2016-03-23.

        Raises:
            PayloadError: it is no JSON, or JSON beyond what a rule can hold.
        """
        found = self._documents[whole]
        if found is _UNREAD:
            try:
                found = _READERS[whole].read(self.payload)
            except NotJson as error:
                found = (f"the payload is not JSON: {error}", False)
            except BeyondLimits as error:
                found = (f"the payload is JSON that a rule cannot hold: {error}", True)
            self._documents[whole] = found
        if type(found) is tuple:
            because, is_json = found
            raise PayloadError(because, is_json=is_json)
        return found  # type: ignore[return-value] # what the reader made

    def attributes(self, *, whole: bool) -> dict[str, Value]:
        """Return the payload's members; none for an empty payload and for a document that is no object.

        Raises:
            PayloadError: it is no JSON, or JSON beyond what a rule can hold.

        Source: binary-payloads in the AWS IoT developer guide: an empty payload is treated like an empty object.
        """
        if not self.payload:
            return {}
        document = self.document(whole=whole)
        return document if type(document) is dict else {}

    def rule_topic(self) -> str:
        """Return the topic as rules see it: that of Basic Ingest begins after the rule's name."""
        if self.topic.startswith(BASIC_INGEST_PREFIX):
            return self.topic[len(BASIC_INGEST_PREFIX) :].partition("/")[2]
        return self.topic
