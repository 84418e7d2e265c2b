"""The messages that tell who came, went and subscribed."""

from __future__ import annotations

import json
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from harness.iot import lifecycle
from harness.iot.lifecycle import OFFLINE_SECONDS, LifecycleEvents, VersionNumbers
from harness.iot.principals import CertificatePrincipal
from harness.mqtt.authorization import ConnectionInfo
from harness.mqtt.events import (
    Connected,
    ConnectRefused,
    Delivered,
    Disconnected,
    DisconnectReason,
    Subscribed,
    Unsubscribed,
)

if TYPE_CHECKING:
    from harness.mqtt.events import Event

AT = 1_573_002_230.757
DEVICE = CertificatePrincipal(certificate_id="ab12", arn="arn:aws:iot:us-east-1:123456789012:cert/ab12")


def info(client_id: str = "186b5", connection_id: str = "c1", principal: object = DEVICE) -> ConnectionInfo:
    """Make the broker's view of a connection."""
    return ConnectionInfo(
        connection_id=connection_id,
        principal=principal,
        transport="mqtts",
        remote="192.0.2.0:5000",
        client_id=client_id,
    )


def make_events(**more: Any) -> LifecycleEvents:
    """Make events whose session identifiers are numbers."""
    numbers = count()
    return LifecycleEvents(make_id=lambda: f"{next(numbers):032x}", **more)


def connect(who: ConnectionInfo) -> Connected:
    """Make the event of an accepted CONNECT."""
    return Connected(info=who, session_present=False, keep_alive=30, session_expiry=0)


def end(who: ConnectionInfo, reason: DisconnectReason = DisconnectReason.CONNECTION_LOST) -> Disconnected:
    """Make the event of a connection's end."""
    return Disconnected(info=who, reason=reason, reason_code=None, because="")


def sent(events: LifecycleEvents, event: Event, at: float = AT) -> tuple[str, dict[str, Any]]:
    """Return topic and document of the one message an event calls for."""
    ((topic_name, payload),) = events.messages(event, at)
    return topic_name, json.loads(payload)


def test_who_connects_is_announced() -> None:
    """Source: life-cycle-events, the example of a connected event."""
    assert sent(make_events(), connect(info())) == (
        "$aws/events/presence/connected/186b5",
        {
            "clientId": "186b5",
            "timestamp": 1_573_002_230_757,
            "eventType": "connected",
            "sessionIdentifier": "0" * 32,
            "principalIdentifier": "ab12",
            "ipAddress": "192.0.2.0",
            "versionNumber": 0,
        },
    )


@pytest.mark.parametrize("reason", list(DisconnectReason))
def test_who_disconnects_is_announced_with_the_reason(reason: DisconnectReason) -> None:
    """The same session and version as its connect; no address."""
    events, who = make_events(), info()
    events.messages(connect(who), AT)

    assert sent(events, end(who, reason)) == (
        "$aws/events/presence/disconnected/186b5",
        {
            "clientId": "186b5",
            "timestamp": 1_573_002_230_757,
            "eventType": "disconnected",
            "sessionIdentifier": "0" * 32,
            "principalIdentifier": "ab12",
            "clientInitiatedDisconnect": reason == "CLIENT_INITIATED_DISCONNECT",
            "disconnectReason": reason.value,
            "versionNumber": 0,
        },
    )
    assert events.messages(end(who), AT) == ()


def test_who_is_not_authorised_is_announced_as_failed() -> None:
    """Source: life-cycle-events: connectFailureReason AUTHORIZATION_FAILED."""
    refused = ConnectRefused(info=info(), reason_code=0x87, because="no policy")

    topic_name, document = sent(make_events(), refused)

    assert topic_name == "$aws/events/presence/connect_failed/186b5"
    assert document["eventType"] == "connect_failed"
    assert document["connectFailureReason"] == "AUTHORIZATION_FAILED"


@pytest.mark.parametrize("reason_code", [None, 0x85, 0x81])
def test_other_failures_are_not_announced(reason_code: int | None) -> None:
    """Only authorisation failures have an event."""
    assert make_events().messages(ConnectRefused(info=info(), reason_code=reason_code, because=""), AT) == ()


def test_subscriptions_are_announced_with_what_was_granted() -> None:
    """Refused filters are left out; unsubscribing names all; neither has a version."""
    events, who = make_events(), info()
    events.messages(connect(who), AT)

    topic_name, document = sent(events, Subscribed(info=who, granted=(("a/#", 1), ("b", 0x87), ("c", 0))))
    assert topic_name == "$aws/events/subscriptions/subscribed/186b5"
    assert document == {
        "clientId": "186b5",
        "timestamp": 1_573_002_230_757,
        "eventType": "subscribed",
        "sessionIdentifier": "0" * 32,
        "principalIdentifier": "ab12",
        "topics": ["a/#", "c"],
    }
    topic_name, document = sent(events, Unsubscribed(info=who, topic_filters=("a/#",)))
    assert topic_name == "$aws/events/subscriptions/unsubscribed/186b5"
    assert (document["eventType"], document["topics"]) == ("unsubscribed", ["a/#"])


def test_nothing_granted_nothing_announced() -> None:
    """Nor anything of connections nobody announced, nor of deliveries."""
    events, who = make_events(), info()

    assert events.messages(Unsubscribed(info=who, topic_filters=("a",)), AT) == ()
    events.messages(connect(who), AT)
    assert events.messages(Subscribed(info=who, granted=(("b", 0x87),)), AT) == ()
    assert events.messages(Delivered(message_id="m", topic_name="a", client_ids=("x",)), AT) == ()


@pytest.mark.parametrize("client_id", ["a+b", "#", ""])
def test_client_ids_that_would_be_filters_have_no_events(client_id: str) -> None:
    """Source: life-cycle-events."""
    assert make_events().messages(connect(info(client_id)), AT) == ()


def test_a_principal_without_lifecycle_id_is_written_as_text() -> None:
    """Tests may use plain names."""
    assert sent(make_events(), connect(info(principal="somebody")))[1]["principalIdentifier"] == "somebody"


def test_an_exclusive_thing_is_named() -> None:
    """Source: life-cycle-events: thingName only for exclusive things."""
    events = make_events(exclusive_thing={DEVICE: "d-1"}.get)

    assert sent(events, connect(info()))[1]["thingName"] == "d-1"
    assert "thingName" not in sent(events, connect(info(principal="x", connection_id="c2")))[1]
    assert "thingName" not in sent(make_events(), connect(info()))[1]


def test_versions_grow_with_the_connections_of_a_client() -> None:
    """A takeover counts, in whichever order its two events come."""
    events = make_events()
    first, second, third = (info(connection_id=f"c{number}") for number in range(3))

    versions = [
        sent(events, event)[1]["versionNumber"]
        for event in (connect(first), connect(second), end(first), end(second), connect(third), end(third))
    ]

    assert versions == [0, 1, 0, 1, 2, 2]


def test_versions_begin_anew_after_an_hour_offline() -> None:
    """Not while the client is connected, however long."""
    versions = VersionNumbers()

    numbers = [versions.connect("a", at=0.0)]
    numbers.append(versions.connect("a", at=10 * OFFLINE_SECONDS))
    versions.disconnect("a", 1, at=10 * OFFLINE_SECONDS)
    numbers.append(versions.connect("a", at=11 * OFFLINE_SECONDS - 1))
    versions.disconnect("a", 2, at=12 * OFFLINE_SECONDS)
    numbers.append(versions.connect("a", at=13 * OFFLINE_SECONDS))

    assert numbers == [0, 1, 2, 0]


def test_offline_clients_are_forgotten_at_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients choose their ids: what is remembered of them has an end."""
    monkeypatch.setattr(lifecycle, "_MAX_OFFLINE_CLIENTS", 2)
    versions = VersionNumbers()

    for client_id in ("a", "b", "c"):
        versions.disconnect(client_id, versions.connect(client_id, at=0.0), at=0.0)

    assert [versions.connect(client_id, at=1.0) for client_id in ("a", "b", "c")] == [0, 1, 1]
