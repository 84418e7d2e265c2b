"""`SubscriptionTree` against a list of pairs, and what it keeps, forgets and leaves behind."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.mqtt.packets import Subscription
from harness.mqtt.subscriptions import SubscriptionTree
from harness.mqtt.topics import matches


def _subscription(topic_filter: str, qos: int = 0, *, no_local: bool = False) -> Subscription:
    return Subscription(topic_filter=topic_filter, qos=qos, no_local=no_local)


def _tree(*pairs: tuple[str, str], parent_matches: bool = True) -> SubscriptionTree[str]:
    """Make a tree of (filter, subscriber)."""
    tree: SubscriptionTree[str] = SubscriptionTree(parent_matches=parent_matches)
    for topic_filter, subscriber in pairs:
        tree.add(topic_filter, subscriber, _subscription(topic_filter))
    return tree


def test_a_subscriber_is_found_by_its_filter() -> None:
    """A match gives each subscriber with the subscription that it made."""
    tree: SubscriptionTree[str] = SubscriptionTree()
    subscription = _subscription("public/+", 1)

    assert tree.add("public/+", "ann", subscription)
    assert tree.match("public/room") == {"ann": subscription}
    assert tree.match("public") == {}
    assert tree.match("public/room/1") == {}


def test_a_subscription_to_the_same_filter_replaces_the_old_one() -> None:
    """[MQTT-3.8.4-3]: one subscription per filter and subscriber, the newest."""
    tree: SubscriptionTree[str] = SubscriptionTree()

    assert tree.add("a", "ann", _subscription("a", 1)) is True
    assert tree.add("a", "ann", _subscription("a", 0)) is False
    assert tree.add("a", "bob", _subscription("a", 1)) is True

    assert tree.match("a") == {"ann": _subscription("a", 0), "bob": _subscription("a", 1)}
    assert len(tree) == 2


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0), (1, 0, 2)])
def test_overlapping_filters_give_the_highest_qos(order: tuple[int, ...]) -> None:
    """[MQTT-3.3.4-2]: one entry per subscriber, with the highest QoS, in whatever order they came."""
    tree: SubscriptionTree[str] = SubscriptionTree()
    filters = ("a/#", "a/+", "a/b")
    for index in order:
        tree.add(filters[index], "ann", _subscription(filters[index], qos=order[index]))

    assert tree.match("a/b") == {"ann": _subscription(filters[order.index(2)], 2)}


@pytest.mark.parametrize(("low", "high"), [(False, False), (False, True), (True, False), (True, True)])
@pytest.mark.parametrize("filters", [("#", "a"), ("a", "#")])
def test_overlapping_filters_spare_own_messages_only_if_all_do(
    low: bool,  # noqa: FBT001 - a column of the table
    high: bool,  # noqa: FBT001 - a column of the table
    filters: tuple[str, str],
) -> None:
    """No Local of one subscription does not take away what another one asks for."""
    tree: SubscriptionTree[str] = SubscriptionTree()
    tree.add(filters[0], "ann", _subscription(filters[0], 0, no_local=low))
    tree.add(filters[1], "ann", _subscription(filters[1], 1, no_local=high))

    assert tree.match("a") == {"ann": _subscription(filters[1], 1, no_local=low and high)}


def test_filters_of_equal_qos_keep_their_options() -> None:
    """Of two with the same QoS and no conflict, one is given unchanged."""
    tree: SubscriptionTree[str] = SubscriptionTree()
    tree.add("#", "ann", _subscription("#", 1))
    tree.add("a", "ann", _subscription("a", 1))

    assert tree.match("a") == {"ann": _subscription("#", 1)}


def test_wildcards_do_not_match_a_leading_dollar() -> None:
    """[MQTT-4.7.2-1]: of the first level only; below it a $ is a character like any other."""
    tree = _tree(("#", "any"), ("+/b", "plus"), ("+/#", "plus any"), ("$a/#", "dollar"), ("$a/+", "dollar plus"))

    assert set(tree.match("$a/b")) == {"dollar", "dollar plus"}
    assert set(tree.match("a/b")) == {"any", "plus", "plus any"}
    assert set(_tree(("a/#", "any"), ("a/+", "plus")).match("a/$b")) == {"any", "plus"}


def test_the_parent_matches_unless_switched_off() -> None:
    """``sensor/#`` matches ``sensor`` by the specification, and does not on AWS."""
    pairs = (("sensor/#", "below"), ("#", "all"), ("sensor/+/#", "deeper"))

    assert set(_tree(*pairs).match("sensor")) == {"below", "all"}
    by_default: SubscriptionTree[str] = SubscriptionTree()
    by_default.add("sensor/#", "below", _subscription("sensor/#"))
    assert set(by_default.match("sensor")) == {"below"}
    assert set(_tree(*pairs).match("sensor/a")) == {"below", "all", "deeper"}
    assert set(_tree(*pairs, parent_matches=False).match("sensor")) == {"all"}
    assert set(_tree(*pairs, parent_matches=False).match("sensor/")) == {"below", "all"}


def test_removing_says_whether_there_was_anything() -> None:
    """What was not subscribed cannot be removed: another filter, another subscriber, a second time."""
    tree = _tree(("a/b", "ann"))
    version = tree.version

    assert tree.remove("a", "ann") is False
    assert tree.remove("a/b", "bob") is False
    assert tree.remove("a/+", "ann") is False
    assert tree.remove("a/b/c", "ann") is False
    assert tree.version == version
    assert tree.remove("a/b", "ann") is True
    assert tree.remove("a/b", "ann") is False
    assert tree.match("a/b") == {}
    assert len(tree) == 0


def test_removing_leaves_the_others() -> None:
    """Subscribers of the same filter, of filters above and of filters below stay."""
    tree = _tree(("a/b", "ann"), ("a/b", "bob"), ("a", "cid"), ("a/b/c", "dot"), ("a/x", "eve"))

    tree.remove("a/b", "ann")
    assert set(tree.match("a/b")) == {"bob"}
    tree.remove("a/b", "bob")
    assert set(tree.match("a/b")) == set()
    assert set(tree.match("a")) == {"cid"}
    assert set(tree.match("a/b/c")) == {"dot"}
    tree.remove("a/b/c", "dot")
    assert set(tree.match("a")) == {"cid"}
    assert set(tree.match("a/x")) == {"eve"}
    assert len(tree) == 2


def test_removing_a_subscriber_takes_all_its_filters() -> None:
    """`remove_all` leaves nothing of one subscriber and everything of others, and does not mind strangers."""
    tree = _tree(("a/b", "ann"), ("a/+", "ann"), ("#", "ann"), ("a/b", "bob"))
    version = tree.version

    tree.remove_all("nobody")
    assert tree.version == version
    tree.remove_all("ann")
    assert tree.version > version
    assert set(tree.match("a/b")) == {"bob"}
    assert len(tree) == 1
    assert tree.remove("a/b", "ann") is False
    assert tree.add("a/b", "ann", _subscription("a/b"))
    tree.remove_all("ann")
    tree.remove_all("bob")
    assert len(tree) == 0


def test_nothing_is_left_behind_when_all_is_removed() -> None:
    """No node of a removed filter stays, however deep, and no trace of a subscriber."""
    tree = _tree(("a/b/c", "ann"), ("a/b", "ann"), ("a/+/#", "bob"), ("+/" * 300 + "#", "bob"), ("", "cid"))

    for topic_filter, subscriber in (("a/b/c", "ann"), ("a/+/#", "bob"), ("a/b", "ann"), ("", "cid")):
        assert tree.remove(topic_filter, subscriber)
    assert list(tree._root.children) == ["+"]
    tree.remove_all("bob")

    assert tree._root.children == {}
    assert tree._filters == {}


def test_the_version_grows_with_every_change() -> None:
    """Adding, replacing, removing: each is seen by whoever remembers the version."""
    tree: SubscriptionTree[str] = SubscriptionTree()
    seen = [tree.version]
    for change in (
        lambda: tree.add("a", "ann", _subscription("a", 0)),
        lambda: tree.add("a", "ann", _subscription("a", 1)),
        lambda: tree.add("b", "ann", _subscription("b", 1)),
        lambda: tree.remove("a", "ann"),
        lambda: tree.remove_all("ann"),
    ):
        change()
        seen.append(tree.version)

    assert seen == sorted(set(seen))
    assert seen[0] == 0


def test_a_match_is_remembered_until_a_change() -> None:
    """The second look gives the same answer without a walk; any change is seen by the next look."""
    tree = _tree(("a", "ann"))
    first = tree.match("a")

    assert tree.match("a") is first
    tree.add("+", "bob", _subscription("+"))
    assert set(tree.match("a")) == {"ann", "bob"}
    tree.remove("a", "ann")
    assert set(tree.match("a")) == {"bob"}
    tree.remove_all("bob")
    assert tree.match("a") == {}


def test_a_match_stays_as_it_is_while_it_is_read() -> None:
    """Whoever walks over a match may change subscriptions meanwhile."""
    tree = _tree(("a", "ann"), ("a", "bob"))
    found = tree.match("a")

    for subscriber in found:
        tree.remove_all(subscriber)

    assert set(found) == {"ann", "bob"}


def test_the_memory_of_matches_is_bounded() -> None:
    """The oldest matches go first; a match that would not fit is not remembered; what is counted is what is kept."""
    tree: SubscriptionTree[int] = SubscriptionTree(cache_entries=20)
    for subscriber in range(5):
        tree.add("few/#", subscriber, _subscription("few/#"))
    for subscriber in range(20):
        tree.add("many", subscriber, _subscription("many"))

    for number in range(10):
        assert len(tree.match(f"few/{number}")) == 5
    assert list(tree._cache) == ["few/8", "few/9"]  # of 4 + 5 entries each
    assert len(tree.match("many")) == 20
    assert list(tree._cache) == ["few/8", "few/9"]
    assert tree.match("x" * 64) == {}
    assert list(tree._cache) == ["few/9", "x" * 64]
    assert tree._cached_entries == 9 + 5
    assert tree.match("y" * 63) == {}
    assert list(tree._cache) == ["few/9", "x" * 64, "y" * 63]
    assert tree._cached_entries == 9 + 5 + 4
    assert len(tree.match("few")) == 5
    assert list(tree._cache) == ["x" * 64, "y" * 63, "few"]
    assert tree._cached_entries == 5 + 4 + 9
    assert len(tree.match("few/again")) == 5
    assert list(tree._cache) == ["few", "few/again"]
    assert tree._cached_entries == 9 + 9
    tree.remove_all(1)
    assert (tree._cache, tree._cached_entries) == ({}, 0)
    assert len(SubscriptionTree[int](cache_entries=0).match("a")) == 0


def test_a_match_that_fits_exactly_is_remembered() -> None:
    """The bound itself is allowed."""
    empty: SubscriptionTree[int] = SubscriptionTree(cache_entries=4)
    tree: SubscriptionTree[int] = SubscriptionTree(cache_entries=5)
    tree.add("a", 1, _subscription("a"))

    assert empty.match("a") is empty.match("a")
    assert list(empty._cache) == ["a"]
    assert tree.match("a") is tree.match("a")
    assert list(tree._cache) == ["a"]


def test_a_topic_of_many_levels_is_no_trouble() -> None:
    """65,535 bytes of slashes are a valid topic: no recursion, no blow-up."""
    deep = "/" * 65_535
    tree = _tree((deep, "exact"), ("/#", "below"), ("+/" * 20 + "#", "plus"))

    assert set(tree.match(deep)) == {"exact", "below", "plus"}
    tree.remove_all("exact")
    assert set(tree.match(deep)) == {"below", "plus"}


level = st.sampled_from(["", "a", "b", "$a"])
names = st.lists(level, min_size=1, max_size=4).map("/".join).filter(bool)
filters = (
    st.tuples(st.lists(level | st.just("+"), max_size=3), st.sampled_from([[], ["#"]]))
    .map(lambda parts: "/".join([*parts[0], *parts[1]]))
    .filter(bool)
)
changes = st.tuples(
    st.sampled_from(["add", "add", "add", "remove", "remove all"]), filters, st.integers(0, 3), st.integers(0, 2)
)


@settings(deadline=None, max_examples=100)
@given(st.lists(changes, max_size=25), st.lists(names, min_size=1, max_size=5), st.booleans())
def test_any_changes_give_what_a_plain_list_gives(
    steps: list[tuple[str, str, int, int]],
    topic_names: list[str],
    parent_matches: bool,  # noqa: FBT001 - drawn
) -> None:
    """After every change, every match is what filtering a list of all subscriptions gives."""
    tree: SubscriptionTree[int] = SubscriptionTree(parent_matches=parent_matches, cache_entries=30)
    plain: dict[tuple[str, int], int] = {}
    for step, topic_filter, subscriber, qos in steps:
        key = (topic_filter, subscriber)
        if step == "add":
            assert tree.add(topic_filter, subscriber, _subscription(topic_filter, qos)) is (key not in plain)
            plain[key] = qos
        elif step == "remove":
            assert tree.remove(topic_filter, subscriber) is (plain.pop(key, None) is not None)
        else:
            tree.remove_all(subscriber)
            plain = {key: qos for key, qos in plain.items() if key[1] != subscriber}
        assert len(tree) == len(plain)
        for topic_name in topic_names:
            expected: dict[int, int] = {}
            for (one, who), granted in plain.items():
                if matches(one, topic_name, parent_matches=parent_matches):
                    expected[who] = max(granted, expected.get(who, 0))
            found = tree.match(topic_name)
            assert {who: subscription.qos for who, subscription in found.items()} == expected

    for who in range(4):
        tree.remove_all(who)
    assert tree._root.children == {}
