"""Stories: found in the trace, followed to their end, and told so that a newcomer knows what went wrong."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from harness.clients.message import Message
from harness.clients.stories import Stories
from harness.errors import ExpectationError, TargetUnavailable

if TYPE_CHECKING:
    from conftest import FakeIot, FakeTarget, Scene
    from harness.clients.rules import Rules


def timeless(lines: list[str]) -> list[str]:
    """Take the times of day out."""
    return [re.sub(r"\d\d:\d\d:\d\d\.\d{3}", "12:00:00.000", line) for line in lines]


async def test_a_message_that_goes_well_is_told_from_end_to_end(scene: Scene) -> None:
    """What was published, which rule took it up, what was answered."""
    message = scene.message()
    message_id = scene.stored(message)

    story = await scene.stories.until_over(message)

    assert (story.message_id, story.topic, story.rules) == (message_id, "things/telemetry", ["telemetry"])
    assert (story.was_delivered, story.became_dead_letter) == (True, False)
    assert [(each.number, each.status, each.error) for each in story.tries] == [(1, 200, None)]
    assert timeless(story.told()) == [
        (
            'sensor-1 published \'{"deviceId":"sensor-1","temp":21.5}\' to things/telemetry at 12:00:00.000, '
            "message message-1:"
        ),
        "  rule telemetry matched",
        "  try 1: POST https://receiver.test/ingest was answered 200 OK",
        "  rule telemetry delivered it after 1 try",
    ]


async def test_a_where_that_is_false_is_named(scene: Scene) -> None:
    """The story ends there, with the condition and the values it saw."""
    message = scene.message()
    scene.rule(scene.publish(message), "not_matched", "WHERE temp > 100 is false (temp = 21.5)")

    story = await scene.stories.until_over(message)

    assert story.told()[1:] == ["  rule telemetry did not match: WHERE temp > 100 is false (temp = 21.5)"]
    assert not story.tries


async def test_a_payload_that_cannot_be_read_is_named(scene: Scene) -> None:
    """The rule's statement failed, or was not run at all."""
    message = scene.message("no json")
    message_id = scene.publish(message)
    scene.rule(message_id, "failed", "ParseError: the payload is not JSON")
    scene.rule(message_id, "throttled", "1000 messages wait already", rule="other")

    story = await scene.stories.until_over(message)

    assert story.told()[1:] == [
        "  rule telemetry could not be evaluated: ParseError: the payload is not JSON",
        "  rule other was not run: 1000 messages wait already",
    ]


async def test_a_failed_delivery_is_told_try_by_try(scene: Scene) -> None:
    """With the answers, the refused call behind them, and where the message went in the end."""
    message = scene.message()
    message_id = scene.publish(message)
    scene.rule(message_id)
    because = (
        "User: arn:aws:sts::1:assumed-role/receiver/pod-1 is not authorized to perform: dynamodb:BatchWriteItem on x"
    )
    for number in (1, 2):
        scene.call("AccessDeniedException", because)
        scene.http_try(message_id, number, 503, again=number == 1)
    scene.http_try(message_id, 3, error="receiver.test:443 cannot be reached: Connection refused")
    scene.action(message_id, "failed", 3, "HttpAction failed to make a request to the specified endpoint.")
    scene.error_action(message_id)

    story = await scene.stories.until_over(message)

    assert story.became_dead_letter
    assert story.told()[1:] == [
        "  rule telemetry matched",
        "  try 1: POST https://receiver.test/ingest was answered 503 Service Unavailable",
        "  try 2: POST https://receiver.test/ingest was answered 503 Service Unavailable",
        (
            "  try 3: POST https://receiver.test/ingest was not answered: receiver.test:443 cannot be reached: "
            "Connection refused"
        ),
        (f"  meanwhile dynamodb:BatchWriteItem was refused with AccessDeniedException: {because} (2 times)"),
        "  rule telemetry gave up after 3 tries: HttpAction failed to make a request to the specified endpoint.",
        "  the error action of rule telemetry sent it to the dead-letter queue",
    ]


async def test_refused_calls_are_told_where_they_may_be_the_cause(scene: Scene) -> None:
    """Not beside an answer that has nothing to do with them; and neither calls that went well nor the operator's."""
    message = scene.message()
    message_id = scene.publish(message)
    scene.rule(message_id)
    scene.call("AccessDeniedException", "denied")
    scene.http_try(message_id, 1, 403)
    scene.action(message_id, "failed", 1, "403")
    scene.error_action(message_id, "failed", "AccessDeniedException: sqs:SendMessage")
    other = scene.message("other")
    other_id = scene.publish(other)
    scene.rule(other_id)
    scene.call("ok", None)
    scene.call("AccessDeniedException", "denied to the operator", who="root")
    scene.call("AccessDeniedException", "denied to the rule's error action", who="assumed-role/rules/telemetry")
    scene.http_try(other_id, 1, 503)
    scene.action(other_id, "failed", 0, "no ENABLED destination")

    told = "\n".join(await scene.stories.told(message) + await scene.stories.told(other))

    assert "meanwhile" not in told
    assert "the error action of rule telemetry failed: AccessDeniedException: sqs:SendMessage" in told
    assert "rule telemetry gave up without a try: no ENABLED destination" in told


async def test_a_refused_call_that_does_not_say_whose_it_is_is_told_with_that(scene: Scene) -> None:
    """A call that was made to fail on purpose says only that."""
    message = scene.message()
    message_id = scene.publish(message)
    scene.rule(message_id)
    scene.call("ThrottlingException", "This call was made to fail by the fault fail_call-1")
    scene.http_try(message_id, 1, 503, again=True)

    assert (await scene.stories.told(message))[-1] == (
        "  meanwhile dynamodb:BatchWriteItem of arn:aws:sts::1:assumed-role/receiver/pod-1 was refused with "
        "ThrottlingException: This call was made to fail by the fault fail_call-1"
    )


async def test_a_status_that_nobody_knows_is_told_by_its_number(scene: Scene) -> None:
    """HTTP has no word for it."""
    message = scene.message()
    scene.http_try(scene.publish(message), 1, 599)

    assert (await scene.stories.told(message))[-1].endswith("was answered 599")


async def test_a_long_payload_is_told_by_its_beginning_and_its_length(scene: Scene) -> None:
    """The trace has its first bytes, and a line holds fewer."""
    for size, shown in ((150, "'" + "x" * 150 + "'"), (200, "'" + "x" * 159 + "… (200 bytes)")):
        message = scene.message("x" * size)
        scene.publish(message)
        told = await scene.stories.told(message)
        assert told[0].startswith(f"sensor-1 published {shown} to things/telemetry at ")


async def test_a_story_is_over_when_every_rule_has_done_its_part(scene: Scene, rules: Rules) -> None:
    """A rule that listens has to say something, its action to end, and a failed one's error action as well."""
    mine = await rules.make(topic="things/#")
    listening = await rules.listening_to("things/telemetry")
    message = scene.message()
    message_id = scene.publish(message)

    async def is_over() -> bool:
        story = await scene.stories.of(message)
        assert story is not None
        return story.is_over(listening)

    steps = [
        lambda: scene.rule(message_id),
        lambda: scene.http_try(message_id, 1, 403),
        lambda: scene.action(message_id, "failed", 1, "403"),
        lambda: scene.error_action(message_id),
        lambda: scene.rule(message_id, "not_matched", rule=mine.name),
    ]
    for step in steps:
        assert not await is_over()
        step()
    assert await is_over()


async def test_a_rule_that_nobody_knew_of_is_waited_for_once_it_begins(scene: Scene) -> None:
    """A user's stack may have several: of those the trace alone tells."""
    message = scene.message()
    message_id = scene.stored(message)
    scene.rule(message_id, rule="another")
    story = await scene.stories.of(message)

    assert story is not None
    assert not story.is_over([])
    scene.action(message_id, "failed", 1, "503", rule="another")
    story = await scene.stories.of(message)
    assert story is not None
    assert story.is_over([])


async def test_a_rule_with_two_actions_is_over_after_both(scene: Scene, iot: FakeIot) -> None:
    """Each of them ends by itself."""
    iot.rules["telemetry"]["actions"] *= 2
    message = scene.message()
    message_id = scene.stored(message)

    with pytest.raises(ExpectationError, match="was to be known within"):
        await scene.stories.until_over(message)

    scene.action(message_id, "ok", 1)
    assert (await scene.stories.until_over(message)).was_delivered


async def test_of_two_messages_with_the_same_words_each_has_its_story(scene: Scene) -> None:
    """Whichever is asked about first."""
    first, second = scene.message(), scene.message()
    first_id, second_id = scene.publish(first), scene.publish(second)

    stories = [await scene.stories.of(each) for each in (first, second, first)]

    assert [each and each.message_id for each in stories] == [first_id, second_id, first_id]


async def test_what_was_published_before_a_message_is_not_its_story(scene: Scene) -> None:
    """Nor what somebody else said, elsewhere, or in other words."""
    scene.publish(scene.message())
    message = scene.message()
    message.sent_at += 1
    scene.publish(scene.message(sender="sensor-2"))
    scene.publish(scene.message(topic="things/other"))
    scene.publish(scene.message("other"))

    assert await scene.stories.of(message) is None


async def test_a_message_comes_before_what_was_said_shortly_before_it(scene: Scene) -> None:
    """In the same words, and nobody asked about it: within the clock's slack it is the second choice, no more."""
    scene.publish(scene.message())
    message = scene.message()
    message.sent_at += 0.005
    scene.published_later = 0.006
    second_id = scene.publish(message)

    story = await scene.stories.of(message)

    assert story is not None
    assert story.message_id == second_id


async def test_a_rule_that_was_made_later_is_not_waited_for(scene: Scene, rules: Rules) -> None:
    """It never hears of the message; one that was there before does."""
    message = scene.message()
    scene.stored(message)
    await rules.make(topic="things/+")
    late = scene.message("late")
    scene.stored(late)

    assert (await scene.stories.until_over(message)).was_delivered
    with pytest.raises(ExpectationError, match="was to be known"):
        await scene.stories.until_over(late)


async def test_a_message_that_came_before_every_rule_has_no_end_to_wait_for(scene: Scene, rules: Rules) -> None:
    """The failure says that there is one by now."""
    message = scene.message(topic="mine")
    scene.publish(message)
    await rules.make(topic="mine")

    with pytest.raises(ExpectationError, match="or none did when it was sent"):
        await scene.stories.until_over(message)


async def test_long_payloads_are_told_apart_by_their_length(scene: Scene) -> None:
    """The trace shows only their beginnings."""
    longer, message = scene.message("ü" * 200 + "!"), scene.message("ü" * 200)
    scene.publish(longer)
    message_id = scene.publish(message)

    story = await scene.stories.of(message)

    assert story is not None
    assert story.message_id == message_id


async def test_a_message_over_https_is_found_without_a_client_id(scene: Scene) -> None:
    """Its publisher has none."""
    message = scene.message(sender="the operator")
    scene.publish(message, client_id=None, principal="arn:aws:iam::1:root")

    story = await scene.stories.of(message)

    assert story is not None
    assert story.told()[0].startswith("arn:aws:iam::1:root published")


async def test_a_message_that_no_rule_hears_has_no_end_to_wait_for(scene: Scene) -> None:
    """It would prove nothing that nothing came of it."""
    message = scene.message(topic="public/a")
    scene.publish(message)

    with pytest.raises(ExpectationError) as failure:
        await scene.stories.until_over(message)

    assert str(failure.value) == (
        '\'{"deviceId":"sensor-1","temp":21.5}\' from sensor-1 on public/a was to be taken up by a rule, and none '
        "listens to its topic\n"
        "near misses:\n"
        "  rule telemetry does not listen to public/a, but to 'things/telemetry': SELECT * FROM 'things/telemetry'"
    )


async def test_a_rule_that_is_gone_is_named(scene: Scene, iot: FakeIot) -> None:
    """Nothing listens, since the stack's rule cannot even be read."""
    del iot.rules["telemetry"]
    message = scene.message()
    scene.publish(message)

    with pytest.raises(ExpectationError, match="none listens to its topic") as failure:
        await scene.stories.until_over(message)

    assert "rule telemetry cannot be read: An error occurred (UnauthorizedException)" in failure.value.near_misses[0]


async def test_a_message_on_its_way_is_told_as_far_as_it_got(scene: Scene) -> None:
    """The rule has taken it up, and its action has not ended."""
    message = scene.message()
    scene.rule(scene.publish(message))

    with pytest.raises(ExpectationError) as failure:
        await scene.stories.until_over(message)

    assert failure.value.wanted == (
        'what became of \'{"deviceId":"sensor-1","temp":21.5}\' from sensor-1 on things/telemetry was to be known '
        "within 0.2 s"
    )
    assert failure.value.near_misses[-1] == "  rule telemetry matched"
    assert failure.value.trace


async def test_a_message_that_was_refused_is_told_with_the_reason(scene: Scene, fake_target: FakeTarget) -> None:
    """The broker has not published it: the policy said no."""
    message = scene.message(topic="things/telemetry")
    because = "no statement of device-policy allows it"
    detail = {"action": "iot:Publish", "resource": "r", "allowed": False, "because": because}
    fake_target.add("decision", client_id="sensor-1", topic="things/telemetry", detail=detail)
    fake_target.add("decision", client_id="sensor-1", topic="things/other", detail=detail)

    assert await scene.stories.told(message) == [
        'the broker has not published \'{"deviceId":"sensor-1","temp":21.5}\' from sensor-1 on things/telemetry',
        f"sensor-1 was refused iot:Publish on things/telemetry: {because}",
    ]


async def test_a_message_that_nothing_took_up_is_told_with_the_rules(scene: Scene, iot: FakeIot) -> None:
    """The stack's rule is switched off: no record says so, the rule does."""
    iot.rules["telemetry"]["ruleDisabled"] = True
    message = scene.message()
    scene.publish(message)

    assert (await scene.stories.told(message))[1:] == [
        "  no rule has taken it up",
        "  rule telemetry is disabled",
    ]


async def test_what_became_of_all_messages_of_a_device_is_told_in_groups(scene: Scene) -> None:
    """Those that went the same way once, those that have a row only counted."""
    stored = [scene.stored(scene.message(str(number))) for number in range(3)]
    for number in range(4):
        message_id = scene.publish(scene.message(f'{{"deviceId":"sensor-1","temp":{number}}}'))
        scene.rule(message_id, "not_matched", f"WHERE temp > 100 is false (temp = {number})")
    scene.publish(scene.message(sender="sensor-2"))  # about sensor-1, by another
    scene.stored(scene.message("somebody else's", sender="sensor-3"))
    presence = scene.message('{"clientId":"sensor-1"}', topic="$aws/events/presence/connected/sensor-1")
    scene.publish(presence, client_id=None)

    told = await scene.stories.told_about("sensor-1", stored=set(stored))

    assert timeless(told) == [
        "3 of its 8 messages are in the table",
        (
            'sensor-1 published \'{"deviceId":"sensor-1","temp":0}\' to things/telemetry at 12:00:00.000, '
            "message message-4:"
        ),
        "  rule telemetry did not match: WHERE temp > 100 is false (temp = 0)",
        "  the same became of 3 more",
        (
            'sensor-2 published \'{"deviceId":"sensor-1","temp":21.5}\' to things/telemetry at 12:00:00.000, '
            "message message-8:"
        ),
        "  no rule has taken it up",
        "  rule telemetry listens to 'things/telemetry': SELECT * FROM 'things/telemetry'",
    ]


async def test_a_delivery_without_a_row_is_wondered_at(scene: Scene) -> None:
    """The receiver said yes, and the table has nothing."""
    scene.stored(scene.message())

    told = await scene.stories.told_about("sensor-1")

    assert told[-1] == "  yet no row has its message id: does the receiver write to another table?"


async def test_many_different_stories_are_cut(scene: Scene) -> None:
    """Four tell enough."""
    for status in range(401, 408):
        scene.http_try(scene.publish(scene.message(str(status))), 1, status)

    told = await scene.stories.told_about("sensor-1")

    assert told[-1] == "and 3 more stories that went otherwise"
    assert len([each for each in told if "published" in each]) == 4


async def test_a_device_that_said_nothing_is_told_of(scene: Scene) -> None:
    """A reading that was never sent is the most common reason of all."""
    assert await scene.stories.told_about("sensor-1") == ["nothing was published by sensor-1 or about it"]


async def test_a_device_that_was_not_let_in_is_told_of(scene: Scene, fake_target: FakeTarget) -> None:
    """It has published nothing, and here is why."""
    fake_target.add("connect_refused", client_id="sensor-1", detail={"because": "its certificate is not ACTIVE"})

    assert await scene.stories.told_about("sensor-1") == [
        "sensor-1 was refused to connect: its certificate is not ACTIVE",
        "nothing was published by sensor-1 or about it",
    ]


async def test_without_a_trace_nobody_can_tell(rules: Rules) -> None:
    """The test is told which mark it lacks; a failure message goes on without."""
    stories = Stories(trace=None, rules=rules)
    message = Message("things/telemetry", b"x")

    assert not stories.can_tell
    with pytest.raises(TargetUnavailable, match="needs\\('TRACE'\\)"):
        await stories.until_over(message)
    assert (await stories.told(message))[0].startswith("(what became of it is not known: This target has no trace")
    assert (await stories.told_about("sensor-1"))[0].startswith("(what became of its readings is not known")
    assert await stories.tail("sensor-1") == []
