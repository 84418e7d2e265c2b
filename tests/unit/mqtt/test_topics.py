"""Topic names and filters: the examples of §4.7, the grammar, and matching against a naive oracle."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import ProtocolViolation
from harness.mqtt.packets import ReasonCode
from harness.mqtt.topics import check_topic_filter, check_topic_name, is_wildcard, matches

# Filter, name, whether it matches: every example sentence of §4.7.1.2, §4.7.1.3, §4.7.2 and §4.7.3.
SPECIFICATION = (
    ("sport/tennis/player1/#", "sport/tennis/player1", True),
    ("sport/tennis/player1/#", "sport/tennis/player1/ranking", True),
    ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", True),
    ("sport/#", "sport", True),
    ("#", "sport", True),
    ("#", "/", True),
    ("sport/tennis/+", "sport/tennis/player1", True),
    ("sport/tennis/+", "sport/tennis/player2", True),
    ("sport/tennis/+", "sport/tennis/player1/ranking", False),
    ("sport/+", "sport", False),
    ("sport/+", "sport/", True),
    ("+", "sport", True),
    ("+/tennis/#", "sport/tennis", True),
    ("+/tennis/#", "sport/tennis/player1", True),
    ("sport/+/player1", "sport/tennis/player1", True),
    ("sport/+/player1", "sport/tennis/player2", False),
    ("+/+", "/finance", True),
    ("/+", "/finance", True),
    ("+", "/finance", False),
    ("#", "$SYS/monitor", False),
    ("+/monitor/Clients", "$SYS/monitor/Clients", False),
    ("$SYS/#", "$SYS/monitor", True),
    ("$SYS/#", "$SYS", True),
    ("$SYS/monitor/+", "$SYS/monitor/Clients", True),
    ("+/#", "$SYS/monitor", False),
    ("+", "$SYS", False),
    ("a/+", "a/$SYS", True),
    ("a/#", "a/$SYS", True),
    ("ACCOUNTS", "Accounts", False),
    ("Accounts payable", "Accounts payable", True),
    ("/finance", "finance", False),
    ("finance", "finance/", False),
    ("a/b", "a", False),
    ("a", "a/b", False),
    ("a/+/#", "a", False),
    ("a/+/#", "a/b", True),
    ("a//b", "a//b", True),
    ("a/+/b", "a//b", True),
)


@pytest.mark.parametrize(("topic_filter", "topic_name", "is_match"), SPECIFICATION)
def test_a_filter_matches_as_the_specification_says(topic_filter: str, topic_name: str, is_match: bool) -> None:  # noqa: FBT001 - a column of the table
    """Every example of §4.7, the default being the specification's own."""
    assert matches(topic_filter, topic_name) is is_match


@pytest.mark.parametrize(
    ("topic_filter", "topic_name", "is_match"),
    [
        ("sensor/#", "sensor", False),
        ("sensor/#", "sensor/", True),
        ("sensor/#", "sensor/a", True),
        ("sensor/#", "sensor/a/b", True),
        ("sensor/+/#", "sensor/a", False),
        ("sensor/+/#", "sensor/a/b", True),
        ("#", "sensor", True),
        ("+/#", "sensor", False),
        ("sensor", "sensor", True),
    ],
)
def test_a_filter_does_not_match_the_parent_on_aws(topic_filter: str, topic_name: str, is_match: bool) -> None:  # noqa: FBT001 - a column of the table
    """AWS IoT Core: ``sensor/#`` is for what is below ``sensor``."""
    assert matches(topic_filter, topic_name, parent_matches=False) is is_match


def _oracle(topic_filter: str, topic_name: str, *, parent_matches: bool) -> bool:
    """Match by a regular expression made of the filter's levels."""
    if topic_name.startswith("$") and topic_filter[0] in "+#":
        return False
    if topic_filter == "#":
        return True
    above, is_open, _ = topic_filter.partition("/#")
    pattern = "/".join("[^/]*" if level == "+" else re.escape(level) for level in above.split("/"))
    if is_open:
        pattern += "(/.*)?" if parent_matches else "/.*"
    return re.fullmatch(pattern, topic_name, re.DOTALL) is not None


levels = st.sampled_from(["", "a", "b", "$a", "ab"])
names = st.lists(levels, min_size=1, max_size=4).map("/".join).filter(bool)
filters = (
    st.tuples(st.lists(levels | st.just("+"), max_size=4), st.sampled_from([[], ["#"]]))
    .map(lambda parts: "/".join([*parts[0], *parts[1]]))
    .filter(bool)
)


@settings(deadline=None, max_examples=300)
@given(filters, names, st.booleans())
def test_any_filter_matches_as_a_naive_oracle_does(topic_filter: str, topic_name: str, parent_matches: bool) -> None:  # noqa: FBT001 - drawn
    """Filters and names of few levels, in which everything meets everything."""
    expected = _oracle(topic_filter, topic_name, parent_matches=parent_matches)

    assert matches(topic_filter, topic_name, parent_matches=parent_matches) is expected
    check_topic_filter(topic_filter)
    check_topic_name(topic_name)


GOOD_NAMES = (
    "a",
    "/",
    "//",
    "a/b",
    "/a/",
    " ",
    "$SYS",
    "$aws/things/t",
    "größe/✓",
    "\ufeff",
    "a" * 65_535,
    "é" * 32_767,
)
BAD_BOTH = (
    ("", "is empty, [MQTT-4.7.3-1]"),
    ("a\0b", "holds U+0000, [MQTT-4.7.3-2]"),
    ("\0", "holds U+0000, [MQTT-4.7.3-2]"),
    ("a#\0", "holds U+0000, [MQTT-4.7.3-2]"),
    ("+\0", "holds U+0000, [MQTT-4.7.3-2]"),
    ("\ud800", "holds a surrogate, [MQTT-1.5.4-1]"),
    ("a" * 65_536, "has 65536 bytes, [MQTT-4.7.3-3]"),
    ("é" * 32_768, "has 65536 bytes, [MQTT-4.7.3-3]"),
)
BAD_FILTERS = (
    *((bad, "a # that is not its whole last level, [MQTT-4.7.1-1]") for bad in ("#/", "#/a", "a/#/b", "a#", "#a")),
    *(
        (bad, "a # that is not its whole last level, [MQTT-4.7.1-1]")
        for bad in ("##", "#/#", "a/b#", "+#", "a/#b", "+/a#")
    ),
    *(
        (bad, "a + that is not a whole level, [MQTT-4.7.1-2]")
        for bad in ("a+", "+a", "++", "a/+b/c", "a/b+", "+/++", "a+/#")
    ),
)


@pytest.mark.parametrize("topic_name", GOOD_NAMES)
def test_a_topic_name_passes(topic_name: str) -> None:
    """Any characters, any levels, empty ones too; a name is a filter as well."""
    check_topic_name(topic_name)
    check_topic_filter(topic_name)


@pytest.mark.parametrize(
    ("topic_name", "reason"),
    [*BAD_BOTH, *((bad, "holds a wildcard, [MQTT-3.3.2-2]") for bad in ("+", "#", "a/+", "a/#", "a+b", "a#b"))],
)
def test_a_topic_name_is_refused(topic_name: str, reason: str) -> None:
    """Empty, with U+0000, too long or with a wildcard anywhere: reason code 0x90, and the rule by number."""
    with pytest.raises(ProtocolViolation) as caught:
        check_topic_name(topic_name)

    assert caught.value.reason_code == ReasonCode.TOPIC_NAME_INVALID
    assert str(caught.value) == f"a topic name {reason} (0x90)"


@pytest.mark.parametrize(
    "topic_filter", ["#", "+", "+/+", "a/#", "a/+/#", "/#", "+/", "/+", "//#", "+/a/+", "$share/g/a"]
)
def test_a_topic_filter_passes(topic_filter: str) -> None:
    """Wildcards that are whole levels, # only as the last."""
    check_topic_filter(topic_filter)


@pytest.mark.parametrize(("topic_filter", "reason"), [*BAD_BOTH, *((bad, f"has {why}") for bad, why in BAD_FILTERS)])
def test_a_topic_filter_is_refused(topic_filter: str, reason: str) -> None:
    """Wildcards that are part of a level, or # before the end: reason code 0x8F, and the rule by number."""
    with pytest.raises(ProtocolViolation) as caught:
        check_topic_filter(topic_filter)

    assert caught.value.reason_code == ReasonCode.TOPIC_FILTER_INVALID
    assert str(caught.value) == f"a topic filter {reason} (0x8F)"


@pytest.mark.parametrize(
    ("topic_filter", "expected"),
    [("a", False), ("a/b", False), ("+", True), ("a/#", True), ("+/a", True), ("$a", False)],
)
def test_a_wildcard_is_seen(topic_filter: str, expected: bool) -> None:  # noqa: FBT001 - a column of the table
    """Whether a filter can match more than the name it spells."""
    assert is_wildcard(topic_filter) is expected
