"""Retained messages: the last one of each topic, for whoever subscribes later.

Source: MQTT 5.0 §3.3.1.3; AWS IoT Core, "MQTT retained messages".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING

from harness.mqtt.topics import is_wildcard, matches

if TYPE_CHECKING:
    from harness.mqtt.message import Message
    from harness.mqtt.options import BrokerOptions
    from harness.mqtt.timers import Timer, Timers


class RetainedMessages(Mapping[str, "Message"]):
    """Retained messages by topic name, the latest last."""

    def __init__(self, options: BrokerOptions, timers: Timers) -> None:
        self._options = options
        self._timers = timers
        self._messages: dict[str, Message] = {}
        self._expiries: dict[str, Timer] = {}

    def __getitem__(self, topic_name: str) -> Message:
        return self._messages[topic_name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._messages)

    def __len__(self) -> int:
        return len(self._messages)

    def has_room_for(self, topic_name: str, payload: bytes) -> bool:
        """Say whether a message may be stored; replacing and deleting always may."""
        return not payload or topic_name in self._messages or len(self._messages) < self._options.max_retained_messages

    def store(self, message: Message) -> None:
        """Keep a message in place of its topic's last one; an empty payload deletes that. Source: [MQTT-3.3.1-5..7]."""
        self._forget(message.topic_name)
        if not message.payload:
            return
        self._messages[message.topic_name] = message
        interval = message.properties.message_expiry_interval
        if interval is not None:
            expire = partial(self._expire, message.topic_name)
            self._expiries[message.topic_name] = self._timers.schedule(message.received_at + interval, expire)

    def matching(self, topic_filter: str) -> list[Message]:
        """List what a new subscription gets.

        Differs: nothing for a wildcard filter where ``retained_on_wildcard`` is off, as on AWS.
        """
        if not is_wildcard(topic_filter):
            message = self._messages.get(topic_filter)
            return [] if message is None else [message]
        if not self._options.retained_on_wildcard:
            return []
        parent_matches = self._options.parent_matches
        return [
            message
            for topic_name, message in self._messages.items()
            if matches(topic_filter, topic_name, parent_matches=parent_matches)
        ]

    def _forget(self, topic_name: str) -> None:
        self._messages.pop(topic_name, None)
        timer = self._expiries.pop(topic_name, None)
        if timer is not None:
            timer.cancel()

    def _expire(self, topic_name: str, _now: float) -> None:
        self._forget(topic_name)
