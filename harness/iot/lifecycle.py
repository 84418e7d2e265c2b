"""Lifecycle events: the messages by which AWS IoT Core tells who came, went and subscribed.

`LifecycleEvents` turns the broker's own events into them. Client ids with ``+`` or ``#`` have none, since their topics
would be filters.

Source: life-cycle-events in the AWS IoT developer guide.
Differs: events come once and in order.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from harness.iot.principals import peer_address
from harness.mqtt.events import Connected, ConnectRefused, Disconnected, DisconnectReason, Subscribed, Unsubscribed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.mqtt.authorization import ConnectionInfo
    from harness.mqtt.events import Event

OFFLINE_SECONDS: Final = 3600.0
"""After so long offline a client's version number begins at 0 again."""
_MAX_OFFLINE_CLIENTS: Final = 10_000
_NOT_AUTHORIZED: Final = 0x87
_FAILURE: Final = 0x80
"""Reason codes from here on are refusals. Source: MQTT 5.0 §2.4."""


@dataclass(frozen=True, slots=True)
class _Presence:
    """What the two presence events of one connection have in common."""

    session_identifier: str
    version_number: int


class LifecycleEvents:
    """Makes the messages that a broker's events call for.

    Args:
        make_id: makes a ``sessionIdentifier``, 32 hex digits.
        exclusive_thing: principal to the name of its exclusive thing: `RegistryAuthorizer.exclusive_thing`.
    """

    def __init__(
        self, *, make_id: Callable[[], str], exclusive_thing: Callable[[object], str | None] | None = None
    ) -> None:
        self._make_id = make_id
        self._exclusive_thing = exclusive_thing
        self._presences: dict[str, _Presence] = {}
        self._versions = VersionNumbers()

    def messages(self, event: Event, at: float) -> Sequence[tuple[str, bytes]]:
        """Return (topic name, payload) of each message an event calls for, not to be retained.

        Args:
            event: of the broker; most kinds call for none.
            at: when it happened, in seconds since the epoch.
        """
        match event:
            case Connected(info=info):
                presence = _Presence(self._make_id(), self._versions.connect(info.client_id, at=at))
                self._presences[info.connection_id] = presence
                return self._message("presence/connected", info, at, presence, {"ipAddress": peer_address(info.remote)})
            case Disconnected(info=info, reason=reason) if info.connection_id in self._presences:
                presence = self._presences.pop(info.connection_id)
                self._versions.disconnect(info.client_id, presence.version_number, at=at)
                details = {
                    "clientInitiatedDisconnect": reason is DisconnectReason.CLIENT_INITIATED_DISCONNECT,
                    "disconnectReason": str(reason),
                }
                return self._message("presence/disconnected", info, at, presence, details)
            case ConnectRefused(info=info, reason_code=code) if code == _NOT_AUTHORIZED:
                details = {"ipAddress": peer_address(info.remote), "connectFailureReason": "AUTHORIZATION_FAILED"}
                return self._message("presence/connect_failed", info, at, _Presence(self._make_id(), 0), details)
            case Subscribed(info=info, granted=granted):
                topics = [topic_filter for topic_filter, code in granted if code < _FAILURE]
                return self._subscription("subscribed", info, at, topics)
            case Unsubscribed(info=info, topic_filters=topic_filters):
                return self._subscription("unsubscribed", info, at, list(topic_filters))
            case _:
                return ()

    def _subscription(
        self, kind: str, info: ConnectionInfo, at: float, topics: list[str]
    ) -> Sequence[tuple[str, bytes]]:
        presence = self._presences.get(info.connection_id)
        if presence is None or not topics:
            return ()
        return self._message(f"subscriptions/{kind}", info, at, presence, {"topics": topics})

    def _message(
        self, kind: str, info: ConnectionInfo, at: float, presence: _Presence, details: dict[str, Any]
    ) -> Sequence[tuple[str, bytes]]:
        if not info.client_id or "+" in info.client_id or "#" in info.client_id:
            return ()
        document: dict[str, Any] = {
            "clientId": info.client_id,
            "timestamp": int(at * 1000),
            "eventType": kind.partition("/")[2],
            "sessionIdentifier": presence.session_identifier,
            "principalIdentifier": getattr(info.principal, "lifecycle_id", str(info.principal)),
            **details,
        }
        if kind.startswith("presence/"):
            document["versionNumber"] = presence.version_number
            if self._exclusive_thing is not None and (thing_name := self._exclusive_thing(info.principal)):
                document["thingName"] = thing_name
        payload = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
        return ((f"$aws/events/{kind}/{info.client_id}", payload),)


class VersionNumbers:
    """Numbers the connections of each client: the same in the events of one connection, greater in those of the next.

    A client offline for an hour begins at 0 again; so does one that more than `_MAX_OFFLINE_CLIENTS` others came after.
    """

    def __init__(self) -> None:
        self._online: dict[str, int] = {}
        self._offline: dict[str, tuple[int, float]] = {}

    def connect(self, client_id: str, *, at: float) -> int:
        """Return the number of a new connection.

        Args:
            client_id: of the client; it may still be connected (a takeover).
            at: seconds of any clock.
        """
        number, since = self._offline.pop(client_id, (self._online.get(client_id, -1), at))
        if at - since >= OFFLINE_SECONDS:
            number = -1
        self._online[client_id] = number + 1
        return number + 1

    def disconnect(self, client_id: str, number: int, *, at: float) -> None:
        """Note that a connection ended; it need not be the client's latest.

        Args:
            client_id: of the client.
            number: what `connect` returned for the connection.
            at: seconds of the same clock.
        """
        if self._online.get(client_id) != number:
            return
        del self._online[client_id]
        self._offline[client_id] = (number, at)
        if len(self._offline) > _MAX_OFFLINE_CLIENTS:
            del self._offline[next(iter(self._offline))]
