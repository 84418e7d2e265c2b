"""Promise: a rule posts where it may, tries again when it should, and leaves a dead letter when it could not."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from harness import ExpectationError

if TYPE_CHECKING:
    from harness import (
        BroadcastClient,
        DeadLetters,
        Device,
        Faults,
        Operator,
        ReceiverView,
        Rows,
        RunningReceiver,
        Stories,
        Topics,
    )
    from harness.device_fixtures import MakeDevice
    from harness.telemetry_fixtures import MakeDestination, MakeReceiver, MakeRule

pytestmark = [pytest.mark.e2e, pytest.mark.needs("HTTP_ACTION")]


@pytest_asyncio.fixture
async def own(make_receiver: MakeReceiver, make_rule: MakeRule, topics: Topics) -> RunningReceiver:
    """A receiver to which only this test's rule posts.

    DynamoDB refuses all rows of a call together, and the stack's receiver joins rows of tests that run at once.
    """
    made = await make_receiver()
    await make_rule(topic=topics.own_telemetry, url=made.ingest_url)
    return made


@pytest_asyncio.fixture
async def own_device(make_device: MakeDevice, topics: Topics) -> Device:
    """A device that publishes where that rule listens."""
    return await make_device(may_publish=topics.own_telemetry)


@pytest.mark.behaviour("rule.http.retry", source="DG:https-rule-action")
@pytest.mark.needs("TRACE")
async def test_a_reading_survives_a_receiver_that_cannot_write(
    own: RunningReceiver, own_device: Device, rows: Rows, faults: Faults, topics: Topics
) -> None:
    """The receiver answers 503 to the first try, since the table refuses it, and 200 to the second: one row."""
    await faults.fail_call(
        "dynamodb", "BatchWriteItem", code="AccessDeniedException", times=1, contains=own_device.thing_name
    )

    reading = await own_device.publish_reading(temp=21.5, topic=topics.own_telemetry)

    assert [each.status for each in await own.deliveries(reading)] == [503, 200]
    await rows.expect(device_id=own_device.thing_name)


@pytest.mark.needs("TRACE")
async def test_a_reading_survives_a_table_that_throttles(
    own: RunningReceiver, own_device: Device, rows: Rows, faults: Faults, topics: Topics
) -> None:
    """The receiver itself writes again when it is throttled: its rule's first try is answered 200."""
    await faults.fail_call(
        "dynamodb",
        "BatchWriteItem",
        code="ProvisionedThroughputExceededException",
        times=2,
        contains=own_device.thing_name,
    )

    reading = await own_device.publish_reading(temp=21.5, topic=topics.own_telemetry)

    assert [each.status for each in await own.deliveries(reading)] == [200]
    await rows.expect(device_id=own_device.thing_name)
    assert await own.counted("receiver_throttles_total") == 2


@pytest.mark.behaviour("rule.http.tries", source="DG:https-rule-action")
@pytest.mark.needs("TRACE")
async def test_a_reading_becomes_a_dead_letter_after_three_tries(
    own: RunningReceiver,
    own_device: Device,
    rows: Rows,
    dead_letters: DeadLetters,
    faults: Faults,
    stories: Stories,
    topics: Topics,
) -> None:
    """A table that goes on refusing costs three tries and one dead letter; the next reading is stored."""
    await faults.fail_call(
        "dynamodb", "BatchWriteItem", code="AccessDeniedException", times=3, contains=own_device.thing_name
    )

    lost = await own_device.publish_reading(temp=1, topic=topics.own_telemetry)

    letter = await dead_letters.expect(lost)
    assert letter.payload == lost.payload
    assert [each.status for each in await own.deliveries(lost)] == [503, 503, 503]
    told = "\n".join(await stories.told(lost))
    assert re.search(r"meanwhile dynamodb:BatchWriteItem of \S+ was refused with AccessDeniedException: ", told)
    await own_device.publish_reading(temp=2, topic=topics.own_telemetry)
    row = await rows.expect(device_id=own_device.thing_name)
    assert row.temperature == Decimal(2)


@pytest.mark.behaviour("rule.error-action", source="DG:rule-error-handling")
@pytest.mark.needs("TRACE")
async def test_a_reading_becomes_a_dead_letter_while_the_receiver_is_down(
    make_device: MakeDevice,
    make_receiver: MakeReceiver,
    make_rule: MakeRule,
    rows: Rows,
    dead_letters: DeadLetters,
    topics: Topics,
) -> None:
    """A receiver down for longer than the budget costs no row and exactly one dead letter; once it is back, one row."""
    own = await make_receiver()
    rule = await make_rule(topic=topics.own_telemetry, url=own.ingest_url)
    device = await make_device(may_publish=topics.own_telemetry)
    await own.stop()

    lost = await device.publish_reading(temp=1, topic=topics.own_telemetry)

    letter = await dead_letters.expect(lost)
    assert (letter.rule_name, letter.client_id, letter.payload) == (rule.name, device.client_id, lost.payload)
    await rows.expect_none(device.thing_name, after=lost)
    await own.start()
    stored = await device.publish_reading(temp=2, topic=topics.own_telemetry)
    row = await rows.expect(device_id=device.thing_name)
    assert row.temperature == Decimal(2)
    await dead_letters.expect_none(stored)


@pytest.mark.behaviour("rule.http.4xx", source="DG:https-rule-action")
@pytest.mark.needs("TRACE")
async def test_a_wrong_secret_is_refused_once(
    make_device: MakeDevice,
    make_rule: MakeRule,
    receiver: ReceiverView,
    rows: Rows,
    dead_letters: DeadLetters,
    topics: Topics,
) -> None:
    """A rule that presents another secret gets 403, does not try again, and its reading is a dead letter."""
    device = await make_device(may_publish=topics.own_telemetry)
    await make_rule(topic=topics.own_telemetry, secret="not the secret")

    refused = await device.publish_reading(temp=1, topic=topics.own_telemetry)

    assert [each.status for each in await receiver.deliveries(refused)] == [403]
    await dead_letters.expect(refused)
    await device.publish_reading(temp=2)  # by the stack's own rule, which knows the secret
    row = await rows.expect(device_id=device.thing_name)
    assert row.temperature == Decimal(2)


@pytest.mark.behaviour("destination.confirmation", source="DG:http-action-destination")
@pytest.mark.needs("DESTINATION_CONFIRMATION", "TRACE")
async def test_nothing_is_posted_before_the_destination_has_confirmed(
    make_device: MakeDevice,
    make_destination: MakeDestination,
    make_rule: MakeRule,
    receiver: ReceiverView,
    rows: Rows,
    dead_letters: DeadLetters,
    topics: Topics,
) -> None:
    """A URL where nobody answers the confirmation gets no request; the confirmed one beside it does."""
    device = await make_device(may_publish=topics.own_telemetry)
    deaf = f"{receiver.url}/deaf/{device.thing_name}"  # whose it is, in an account that others use as well
    await make_destination(deaf, status="ERROR")
    await make_rule(topic=topics.own_telemetry, url=deaf)

    unheard = await device.publish_reading(temp=1, topic=topics.own_telemetry)

    assert await receiver.deliveries(unheard) == []
    await dead_letters.expect(unheard)
    await device.publish_reading(temp=2)
    row = await rows.expect(device_id=device.thing_name)
    assert row.temperature == Decimal(2)


@pytest.mark.behaviour("destination.status", source="DG:http-action-destination")
@pytest.mark.needs("DESTINATION_CONFIRMATION", "TRACE")
async def test_a_disabled_destination_gets_nothing(
    make_device: MakeDevice,
    make_receiver: MakeReceiver,
    make_rule: MakeRule,
    rows: Rows,
    dead_letters: DeadLetters,
    topics: Topics,
) -> None:
    """A destination that is switched off gets no request, and gets them again once it is switched on."""
    own = await make_receiver()
    await make_rule(topic=topics.own_telemetry, url=own.ingest_url)
    device = await make_device(may_publish=topics.own_telemetry)
    await own.destination.disable()

    unheard = await device.publish_reading(temp=1, topic=topics.own_telemetry)

    assert await own.deliveries(unheard) == []
    await dead_letters.expect(unheard)
    await own.destination.enable()
    await device.publish_reading(temp=2, topic=topics.own_telemetry)
    row = await rows.expect(device_id=device.thing_name)
    assert row.temperature == Decimal(2)


@pytest.mark.needs("TRACE")
async def test_a_rule_posts_only_what_its_condition_lets_through(
    make_device: MakeDevice,
    make_rule: MakeRule,
    receiver: ReceiverView,
    rows: Rows,
    dead_letters: DeadLetters,
    topics: Topics,
) -> None:
    """A WHERE that is false, or compares what is not there, posts nothing and fails nothing."""
    device = await make_device(may_publish=topics.own_telemetry)
    await make_rule(topic=topics.own_telemetry, where="temp > 30 AND NOT deviceId = 'nobody'")

    cold = await device.publish_reading(temp=21.5, topic=topics.own_telemetry)
    vague = await device.publish_raw({"deviceId": device.thing_name}, topic=topics.own_telemetry)
    hot = await device.publish_reading(temp=31, topic=topics.own_telemetry)

    for held_back in (cold, vague):
        assert await receiver.deliveries(held_back) == []
        await dead_letters.expect_none(held_back)
    await receiver.expect_delivery(hot, status=200)
    row = await rows.expect(device_id=device.thing_name)
    assert row.temperature == Decimal(31)


@pytest.mark.needs("TRACE")
async def test_two_rules_both_get_the_message(
    make_device: MakeDevice, make_rule: MakeRule, receiver: ReceiverView, topics: Topics
) -> None:
    """Every rule whose filter matches runs for itself: one may succeed and the other fail."""
    device = await make_device(may_publish=topics.own_telemetry)
    good = await make_rule(topic=topics.own_telemetry)
    bad = await make_rule(topic=topics.own_telemetry, secret="not the secret")

    reading = await device.publish_reading(temp=1, topic=topics.own_telemetry)

    tries = await receiver.deliveries(reading)
    assert {each.rule: each.status for each in tries} == {good.name: 200, bad.name: 403}


async def test_the_back_offices_reading_is_stored_too(operator: Operator, rows: Rows, topics: Topics) -> None:
    """A message published over HTTPS has no client id and no trace id, and becomes one row all the same."""
    device_id = topics.prefix.strip("/").replace("/", "-")

    await operator.publish(topics.telemetry, {"deviceId": device_id, "temp": 5})

    row = await rows.expect(device_id=device_id)
    assert (row.temperature, len(row.message_id)) == (Decimal(5), 32)


async def test_a_broadcast_arrives_while_a_receiver_is_gone(
    make_device: MakeDevice,
    make_receiver: MakeReceiver,
    make_rule: MakeRule,
    broadcast_client: BroadcastClient,
    dead_letters: DeadLetters,
    topics: Topics,
) -> None:
    """While a rule waits for a receiver that is gone, broadcasts arrive and publishes are acknowledged."""
    own = await make_receiver()
    await make_rule(topic=topics.own_telemetry, url=own.ingest_url)
    device = await make_device(may_publish=topics.own_telemetry)
    await broadcast_client.subscribe(topics.broadcast)
    await own.stop()

    lost = await device.publish_reading(temp=1, topic=topics.own_telemetry)
    message = await broadcast_client.publish(topics.broadcast, "Hello, World!")

    await message.reaches([broadcast_client])
    await dead_letters.expect(lost)


@pytest.mark.needs("TRACE")
async def test_the_failure_says_why_there_is_no_row(
    make_device: MakeDevice, make_rule: MakeRule, rows: Rows, topics: Topics
) -> None:
    """Whoever misses a row is told which rule said no, and with which values."""
    device = await make_device(may_publish=topics.own_telemetry)
    rule = await make_rule(topic=topics.own_telemetry, where="temp > 100")
    reading = await device.publish_reading(temp=21.5, topic=topics.own_telemetry)
    await rows.expect_none(device.thing_name, after=reading)
    await make_rule(topic=topics.own_telemetry)
    await device.publish_reading(temp=1, topic=topics.own_telemetry)
    await rows.expect(device_id=device.thing_name)

    with pytest.raises(ExpectationError, match=r"was to have no row .*, and has 1 row") as failure:
        await rows.expect_none(device.thing_name, after=reading)

    because = "WHERE temp > 100 is false (temp = 21.5)"
    assert f"rule {rule.name} did not match: {because}" in str(failure.value)
