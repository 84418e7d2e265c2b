"""Promise: whatever becomes of the receiver, each reading ends as one row: none is lost, none is doubled."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from harness import DeadLetters, Device, Faults, Operator, Reading, Rows, Stories, Topics
    from harness.device_fixtures import MakeDevice
    from harness.telemetry_fixtures import MakeReceiver, MakeRule, Redrive

pytestmark = [pytest.mark.e2e, pytest.mark.needs("HTTP_ACTION", "TRACE", "FAULTS")]

DEVICES = 4
READINGS = 20
"""Of each device, at a time."""


async def all_publish(devices: Iterable[Device], numbers: range, *, topic: str) -> list[Reading]:
    """Let each device publish a reading of each number; return when the broker has acknowledged them all."""
    return await asyncio.gather(
        *(device.publish_reading(temp=number, topic=topic) for number in numbers for device in devices)
    )


async def ids_of(readings: Iterable[Reading], stories: Stories) -> tuple[Counter[str], int]:
    """Wait until nothing more will become of readings; return their ids, and how many became dead letters."""
    told = [await stories.until_over(each) for each in readings]
    return Counter(each.message_id for each in told), sum(each.became_dead_letter for each in told)


async def ids_stored(rows: Rows, devices: Sequence[Device]) -> Counter[str]:
    """Return the message ids of all rows of some devices, each as often as it has a row."""
    found = await asyncio.gather(*(rows.of(device.thing_name) for device in devices))
    return Counter(row.message_id for each in found for row in each)


async def test_a_receiver_that_is_killed_and_started_loses_and_doubles_nothing(
    make_device: MakeDevice,
    make_receiver: MakeReceiver,
    make_rule: MakeRule,
    rows: Rows,
    stories: Stories,
    redrive: Redrive,
    topics: Topics,
) -> None:
    """Killed twice with readings on their way: after a redrive each reading has one row, and no other."""
    own = await make_receiver()
    topic = topics.own_telemetry
    rule = await make_rule(topic=topic, url=own.ingest_url)
    devices = [await make_device(may_publish=topic) for _ in range(DEVICES)]
    readings: list[Reading] = []
    for first in (0, 3 * READINGS):
        on_their_way = asyncio.create_task(all_publish(devices, range(first, first + READINGS), topic=topic))
        await own.stop()
        readings += await on_their_way
        lost = await all_publish(devices, range(first + READINGS, first + 2 * READINGS), topic=topic)
        assert (await stories.until_over(lost[0])).became_dead_letter  # a fast start may save all that still have a try
        readings += lost
        await own.start()
        readings += await all_publish(devices, range(first + 2 * READINGS, first + 3 * READINGS), topic=topic)
    published, letters = await ids_of(readings, stories)
    stored = await ids_stored(rows, devices)
    assert 0 < letters < len(readings), "some were to be lost, and some not"
    assert stored < published, "some were to be missing"
    assert len(published) == len(readings)

    outcome = await redrive(rule, letters=letters)

    assert await ids_stored(rows, devices) == published
    assert outcome.redriven == len(published - stored)
    assert outcome.left.total() == 0


async def test_a_receiver_that_stood_still_doubles_nothing(
    make_device: MakeDevice,
    make_receiver: MakeReceiver,
    make_rule: MakeRule,
    rows: Rows,
    stories: Stories,
    redrive: Redrive,
    topics: Topics,
) -> None:
    """A request that is read only after its rule has given up, and the letter in its place, are one row together."""
    own = await make_receiver()
    topic = topics.own_telemetry
    rule = await make_rule(topic=topic, url=own.ingest_url)
    device = await make_device(may_publish=topic)
    before = await device.publish_reading(temp=1, topic=topic)  # opens the connection that the next one is sent on
    await own.expect_delivery(before)  # its row may be there before its rule has the answer
    await own.freeze()
    late = await device.publish_reading(temp=2, topic=topic)
    assert (await stories.until_over(late)).became_dead_letter

    await own.thaw()
    after = await device.publish_reading(temp=3, topic=topic)
    await own.expect_delivery(after)  # by then what was sent before has been read
    await redrive(rule, letters=1)

    published, letters = await ids_of([before, late, after], stories)
    assert await ids_stored(rows, [device]) == published
    assert letters == 1


async def test_a_letter_whose_row_is_there_is_not_posted(
    make_device: MakeDevice,
    make_receiver: MakeReceiver,
    make_rule: MakeRule,
    rows: Rows,
    stories: Stories,
    redrive: Redrive,
    topics: Topics,
) -> None:
    """Two rules took a reading up, and one of them failed: its letter goes, and the row stays the only one."""
    own = await make_receiver()
    topic = topics.own_telemetry
    await make_rule(topic=topic, url=own.ingest_url)
    failing = await make_rule(topic=topic, url=own.ingest_url, secret="not the secret")
    device = await make_device(may_publish=topic)

    reading = await device.publish_reading(temp=1, topic=topic)

    assert (await stories.until_over(reading)).became_dead_letter
    outcome = await redrive(failing, letters=1)
    assert (outcome.redriven, outcome.stored) == (0, 1)
    await rows.expect(device_id=device.thing_name)


async def test_a_letter_that_is_refused_stays(
    make_device: MakeDevice,
    make_receiver: MakeReceiver,
    make_rule: MakeRule,
    rows: Rows,
    stories: Stories,
    redrive: Redrive,
    dead_letters: DeadLetters,
    topics: Topics,
) -> None:
    """A rule with the wrong secret is redriven with that one: 403, and the letter is there to be looked at."""
    own = await make_receiver()
    topic = topics.own_telemetry
    rule = await make_rule(topic=topic, url=own.ingest_url, secret="not the secret")
    device = await make_device(may_publish=topic)
    reading = await device.publish_reading(temp=1, topic=topic)
    assert (await stories.until_over(reading)).became_dead_letter

    outcome = await redrive(rule, letters=1)

    assert outcome.left == {"answered 403": 1}
    assert outcome.can_go_on
    await dead_letters.expect(reading)
    assert await rows.of(device.thing_name) == []


async def test_a_reading_over_https_is_redriven_to_one_row(
    operator: Operator,
    make_receiver: MakeReceiver,
    make_rule: MakeRule,
    rows: Rows,
    stories: Stories,
    redrive: Redrive,
    topics: Topics,
) -> None:
    """It has no id of its own: what was stored is known by its bytes, and what was not gets a row."""
    own = await make_receiver()
    topic = topics.own_telemetry
    good = await make_rule(topic=topic, url=own.ingest_url)
    bad = await make_rule(topic=topic, url=own.ingest_url, secret="not the secret")
    device_id = topics.prefix.strip("/").replace("/", "-")
    stored = await operator.publish(topic, {"deviceId": device_id, "temp": 5, "ts": "1"})
    assert (await stories.until_over(stored)).became_dead_letter  # of one rule; the other has its answer as well
    await rows.expect(device_id=device_id)
    await own.stop()
    lost = await operator.publish(topic, {"deviceId": device_id, "temp": 6, "ts": "2"})
    assert (await stories.until_over(lost)).became_dead_letter
    await own.start()

    first = await redrive(good, letters=1)
    second = await redrive(bad, letters=2)

    assert sorted(row.temperature for row in await rows.of(device_id)) == [5, 6]
    assert (first.redriven, first.stored) == (1, 0)
    assert (second.redriven, second.stored) == (0, 2)


async def test_a_table_that_refuses_keeps_the_letter(
    make_device: MakeDevice,
    make_receiver: MakeReceiver,
    make_rule: MakeRule,
    rows: Rows,
    stories: Stories,
    redrive: Redrive,
    faults: Faults,
    topics: Topics,
) -> None:
    """A redrive that the receiver answers 503 leaves the letter, and the next one makes the row."""
    own = await make_receiver()
    topic = topics.own_telemetry
    rule = await make_rule(topic=topic, url=own.ingest_url)
    device = await make_device(may_publish=topic)
    await faults.fail_call(
        "dynamodb", "BatchWriteItem", code="AccessDeniedException", times=1_000, contains=device.thing_name
    )
    reading = await device.publish_reading(temp=1, topic=topic)
    assert (await stories.until_over(reading)).became_dead_letter

    first = await redrive(rule, letters=1)
    await faults.clear()
    second = await redrive(rule, letters=1)

    assert first.left == {"answered 503": 1}
    assert (second.redriven, second.left.total()) == (1, 0)
    await rows.expect(device_id=device.thing_name)
