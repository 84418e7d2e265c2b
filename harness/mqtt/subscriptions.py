"""Who subscribed to what, as a tree of topic levels: one look tells who gets a message.

Each level of a filter is a node, ``+`` and ``#`` being levels like any other; a match walks down the nodes that fit,
level by level. What a topic name matched last is remembered until any subscription changes. A node lives as long as
something hangs on it.

Filters and names are taken as valid (`harness.mqtt.topics` checks them); permissions are the broker's affair.

Source: MQTT 5.0 §4.7, §3.3.4; MQTT 3.1.1 §4.7, §3.3.5.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from harness.mqtt.packets import Subscription

K = TypeVar("K", bound=Hashable)

# What the memory of matches may hold at most, counted in entries of about 100 bytes.
_CACHE_ENTRIES: Final = 262_144
_CHARACTERS_PER_ENTRY: Final = 64


@dataclass(slots=True)
class _Node(Generic[K]):
    children: dict[str, _Node[K]] = field(default_factory=dict)
    subscribers: dict[K, Subscription] = field(default_factory=dict)


class SubscriptionTree(Generic[K]):
    """Topic filters with their subscribers.

    Args:
        parent_matches: whether ``sensor/#`` matches ``sensor`` itself; AWS IoT Core says no.
        cache_entries: how much may be remembered of past matches; about 100 bytes each.

    Attributes:
        version: grows with every change.
    """

    def __init__(self, *, parent_matches: bool = True, cache_entries: int = _CACHE_ENTRIES) -> None:
        self.version = 0
        self._parent_matches = parent_matches
        self._root: _Node[K] = _Node()
        self._filters: dict[K, set[str]] = {}
        self._size = 0
        self._cache: dict[str, Mapping[K, Subscription]] = {}
        self._cache_entries = cache_entries
        self._cached_entries = 0

    def __len__(self) -> int:
        """Count the subscriptions: pairs of filter and subscriber."""
        return self._size

    def add(self, topic_filter: str, subscriber: K, subscription: Subscription) -> bool:
        """Subscribe, or replace the subscription to the same filter.

        Args:
            topic_filter: a valid one.
            subscriber: who.
            subscription: what `match` gives back.

        Returns:
            True when the subscription is new, False when it replaced one.

        Source: MQTT 5.0 §3.8.4 [MQTT-3.8.4-3].
        """
        node = self._root
        for level in topic_filter.split("/"):
            child = node.children.get(level)
            if child is None:
                child = node.children[level] = _Node()
            node = child
        is_new = subscriber not in node.subscribers
        node.subscribers[subscriber] = subscription
        self._filters.setdefault(subscriber, set()).add(topic_filter)
        self._size += is_new
        self._changed()
        return is_new

    def remove(self, topic_filter: str, subscriber: K) -> bool:
        """Unsubscribe.

        Args:
            topic_filter: exactly as it was added.
            subscriber: who.

        Returns:
            True when there was such a subscription.

        Source: MQTT 5.0 §3.10.4 [MQTT-3.10.4-1].
        """
        filters = self._filters.get(subscriber)
        if filters is None or topic_filter not in filters:
            return False
        filters.remove(topic_filter)
        if not filters:
            del self._filters[subscriber]
        self._prune(topic_filter, subscriber)
        self._changed()
        return True

    def remove_all(self, subscriber: K) -> None:
        """Unsubscribe from everything.

        Args:
            subscriber: who; may have no subscription.
        """
        filters = self._filters.pop(subscriber, None)
        if filters is None:
            return
        for topic_filter in filters:
            self._prune(topic_filter, subscriber)
        self._changed()

    def match(self, topic_name: str) -> Mapping[K, Subscription]:
        """Find who gets a message.

        Args:
            topic_name: a valid one.

        Returns:
            One entry per subscriber, not to be changed; it stays as it is when subscriptions change. Of overlapping
            filters, the subscription with the highest QoS, which spares its subscriber its own messages only if all
            of them do.

        Source: MQTT 5.0 §3.3.4 [MQTT-3.3.4-2], §4.7.
        """
        found = self._cache.get(topic_name)
        if found is None:
            found = self._collect(topic_name)
            self._remember(topic_name, found)
        return found

    def _collect(self, topic_name: str) -> Mapping[K, Subscription]:
        found: dict[K, Subscription] = {}
        for node in self._matching_nodes(topic_name):
            if not found:
                found = node.subscribers.copy()
                continue
            for subscriber, subscription in node.subscribers.items():
                before = found.get(subscriber)
                found[subscriber] = subscription if before is None else _merge(before, subscription)
        return found

    def _matching_nodes(self, topic_name: str) -> Iterator[_Node[K]]:
        """Yield the nodes where matching filters end: level by level, so that no topic is too deep."""
        nodes = [self._root]
        wildcards_fit = not topic_name.startswith("$")  # [MQTT-4.7.2-1]: of the first level only
        for level in topic_name.split("/"):
            below: list[_Node[K]] = []
            for node in nodes:
                children = node.children
                if wildcards_fit:
                    if (rest := children.get("#")) is not None:
                        yield rest
                    if (any_level := children.get("+")) is not None:
                        below.append(any_level)
                if (exact := children.get(level)) is not None:
                    below.append(exact)
            nodes = below
            wildcards_fit = True
        for node in nodes:
            yield node
            if self._parent_matches and (rest := node.children.get("#")) is not None:
                yield rest

    def _prune(self, topic_filter: str, subscriber: K) -> None:
        """Take a subscription out of the tree, and the nodes that nothing hangs on any more."""
        path = [self._root]
        levels = topic_filter.split("/")
        for level in levels:
            path.append(path[-1].children[level])
        del path[-1].subscribers[subscriber]
        self._size -= 1
        for parent, level, node in zip(path[-2::-1], reversed(levels), path[:0:-1], strict=True):
            if node.children or node.subscribers:
                return
            del parent.children[level]

    def _changed(self) -> None:
        self.version += 1
        self._cache.clear()
        self._cached_entries = 0

    def _remember(self, topic_name: str, found: Mapping[K, Subscription]) -> None:
        """Keep a match, forgetting the oldest ones where there is no room."""
        entries = _entries(topic_name, found)
        if entries > self._cache_entries:
            return
        cache = self._cache
        while self._cached_entries + entries > self._cache_entries:
            oldest = next(iter(cache))
            self._cached_entries -= _entries(oldest, cache.pop(oldest))
        cache[topic_name] = found
        self._cached_entries += entries


def _entries(topic_name: str, found: Mapping[K, Subscription]) -> int:
    """Count what a remembered match takes, in entries."""
    return 4 + len(topic_name) // _CHARACTERS_PER_ENTRY + len(found)


def _merge(one: Subscription, other: Subscription) -> Subscription:
    """Make one subscription of two of the same subscriber."""
    best = other if other.qos > one.qos else one
    if best.no_local and not (one.no_local and other.no_local):
        return replace(best, no_local=False)
    return best
