"""Destinations of a test's own: made, confirmed, switched off and deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.clients.destinations import destinations_at, make_destination
from harness.errors import ExpectationError

if TYPE_CHECKING:
    from conftest import FakeIot
    from harness.clients.rules import Rules

URL = "https://mine.test/ingest"


async def test_a_destination_is_waited_for(rules: Rules, iot: FakeIot) -> None:
    """Until the other side has confirmed."""
    destination = await make_destination(URL, rules=rules, patience=5)
    iot.outcomes = ["IN_PROGRESS", "IN_PROGRESS", "ENABLED"]

    await destination.expect("ENABLED")

    assert await destination.status() == "ENABLED"
    assert (destination.url, list(iot.destinations)) == (URL, [destination.arn])


async def test_a_confirmed_destination_is_switched_on_where_that_takes_a_call(rules: Rules, iot: FakeIot) -> None:
    """AWS documents both ways."""
    destination = await make_destination(URL, rules=rules, patience=5)
    iot.outcomes = ["DISABLED"]

    await destination.expect("ENABLED")

    assert iot.called[-1] == ("update_topic_rule_destination", {"arn": destination.arn, "status": "ENABLED"})


async def test_a_destination_that_was_not_confirmed_says_why(rules: Rules, iot: FakeIot) -> None:
    """At once: an error lasts."""
    destination = await make_destination(URL, rules=rules, patience=5)
    iot.outcomes = ["ERROR"]
    iot.destinations[destination.arn]["statusReason"] = "the endpoint answered 403"

    with pytest.raises(ExpectationError) as failure:
        await destination.expect("ENABLED")

    assert str(failure.value) == (
        "the destination https://mine.test/ingest was to become ENABLED within 5 s, and is ERROR: "
        "the endpoint answered 403"
    )


async def test_a_destination_that_nobody_confirms_is_told_of(rules: Rules) -> None:
    """When the time is over; and somebody may want just that."""
    destination = await make_destination(URL, rules=rules, patience=0.05)

    await destination.expect("IN_PROGRESS")
    with pytest.raises(ExpectationError, match="and is IN_PROGRESS"):
        await destination.expect("ENABLED")


async def test_a_destination_is_switched_off_and_on(rules: Rules, iot: FakeIot) -> None:
    """A rule posts to it only while it is on."""
    destination = await make_destination(URL, rules=rules)

    await destination.disable()
    assert await destination.status() == "DISABLED"
    await destination.expect("DISABLED")
    await destination.enable()
    assert await destination.status() == "ENABLED"


async def test_destinations_are_found_by_their_url(rules: Rules, iot: FakeIot) -> None:
    """On any page, and only those with this one."""
    made = [await make_destination(url, rules=rules) for url in (URL, URL + "/more", URL)]

    found = await destinations_at(URL, rules=rules)

    assert [each.arn for each in found] == [made[0].arn, made[2].arn]
    await found[0].delete()
    assert [each.arn for each in await destinations_at(URL, rules=rules)] == [made[2].arn]
