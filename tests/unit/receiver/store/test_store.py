"""Rows on their way from the event loop into DynamoDB: the loop, the threads, and what is counted."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from receiver import dynamodb
from receiver.errors import WriteFailed
from receiver.store import DynamoStore
from receiver.waiting import Limits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from receiver.metrics import Metrics
    from receiver.reading import Row
    from receiver.settings import Settings
    from tests.unit.receiver.store.conftest import FakeDynamo


@pytest.fixture
async def make_store(
    settings_of: Callable[..., Settings], session: Any, metrics: Metrics
) -> AsyncIterator[Callable[..., DynamoStore]]:
    """Make stores that are patient with a busy machine, closed at the end."""
    made: list[DynamoStore] = []
    ours = session

    def make(*, session: Any = session, limits: Limits = Limits(budget=60.0), **changes: Any) -> DynamoStore:  # noqa: B008 - immutable
        made.append(DynamoStore(settings_of(**changes), metrics=metrics, session=session, limits=limits))
        if session is ours:
            made[-1]._table._made_client()  # which takes longer than some of these tests give a row
        return made[-1]

    yield make
    for store in made:
        await store.close()
        store._threads.shutdown()


async def failure_of(putting: Any) -> tuple[str, str]:
    """Give kind and code of a put that fails."""
    with pytest.raises(WriteFailed) as caught:
        await putting
    return caught.value.kind, caught.value.code


async def arrival(dynamo: FakeDynamo) -> None:
    """Wait until a call is there."""
    assert await asyncio.to_thread(dynamo.arrived.wait, 30)
    dynamo.arrived.clear()


async def test_rows_are_in_the_table(
    table: Any, make_store: Callable[..., DynamoStore], row_of: Callable[..., Row]
) -> None:
    """Once they are put; another try of the same message changes nothing."""
    store = make_store(sort_key="Time")
    store.warm_up()
    store.warm_up()
    await store.put([row_of("m1")])
    await store.put([row_of("m1"), row_of("m2")])
    await asyncio.gather(*(store.put([row_of(f"n{number:03}")]) for number in range(60)))

    ids = sorted(item["message_id"] for item in table.scan()["Items"])
    assert ids == ["m1", "m2", *(f"n{number:03}" for number in range(60))]


async def test_requests_of_one_moment_share_calls(
    dynamo: FakeDynamo, make_store: Callable[..., DynamoStore], row_of: Callable[..., Row], metrics: Metrics
) -> None:
    """As few as there can be; calls and rows are counted."""
    store = make_store(aws_endpoint_url=dynamo.url)
    await asyncio.gather(*(store.put([row_of(f"{number:02}")]) for number in range(60)))

    assert sorted(map(len, dynamo.calls)) == [10, 25, 25]
    value = metrics.registry.get_sample_value
    assert (value("receiver_batch_rows_count"), value("receiver_batch_rows_sum")) == (3, 60)
    assert (value("receiver_rows_written_total"), value("receiver_duplicates_total")) == (60, 0)
    assert (value("receiver_queued_rows"), value("receiver_queue_limit_rows")) == (0, 2000)


async def test_rows_that_come_during_a_call_share_the_next(
    dynamo: FakeDynamo, make_store: Callable[..., DynamoStore], row_of: Callable[..., Row], metrics: Metrics
) -> None:
    """They wait for its end, or a few milliseconds; the event loop goes on meanwhile."""
    dynamo.gate.clear()
    store = make_store(aws_endpoint_url=dynamo.url, limits=Limits(budget=60.0, linger=60.0))
    first = asyncio.create_task(store.put([row_of("first")]))
    await arrival(dynamo)
    others = [asyncio.create_task(store.put([row_of(name)])) for name in "abc"]
    await asyncio.sleep(0)
    assert metrics.registry.get_sample_value("receiver_queued_rows") == 4
    assert not first.done()

    dynamo.gate.set()
    await asyncio.gather(first, *others)
    assert dynamo.calls == [["first"], ["a", "b", "c"]]

    dynamo.gate.clear()
    dynamo.arrived.clear()
    store = make_store(aws_endpoint_url=dynamo.url)
    waiting = []
    for name in "xy":
        waiting.append(asyncio.create_task(store.put([row_of(name)])))
        await arrival(dynamo)
    dynamo.gate.set()
    await asyncio.gather(*waiting)
    assert dynamo.calls[2:] == [["x"], ["y"]]


async def test_a_message_sent_again_is_counted(
    dynamo: FakeDynamo, make_store: Callable[..., DynamoStore], row_of: Callable[..., Row], metrics: Metrics
) -> None:
    """Whether the first one is under way or written."""
    store = make_store(aws_endpoint_url=dynamo.url)
    await asyncio.gather(store.put([row_of("a")]), store.put([row_of("a")]))
    assert dynamo.calls == [["a"]]
    await store.put([row_of("a"), row_of("b")])
    assert dynamo.calls == [["a"], ["a", "b"]]

    assert metrics.registry.get_sample_value("receiver_duplicates_total") == 2
    assert metrics.registry.get_sample_value("receiver_rows_written_total") == 3


async def test_what_held_a_row_up_is_tried_again(
    dynamo: FakeDynamo, make_store: Callable[..., DynamoStore], row_of: Callable[..., Row], metrics: Metrics
) -> None:
    """Throttled, given back, a server's error, a connection that breaks: each row is written in the end."""
    dynamo.fail(400, "ProvisionedThroughputExceededException")
    dynamo.give_back("b")
    dynamo.fail(500, "InternalServerError")
    dynamo.answer(0, b"")
    store = make_store(aws_endpoint_url=dynamo.url)
    await asyncio.gather(*(store.put([row_of(name)]) for name in "abc"))

    assert dynamo.calls == [["a", "b", "c"], dynamo.calls[1], ["b"], ["b"], ["b"]]
    assert sorted(dynamo.ids) == ["a", "b", "c"]
    assert metrics.registry.get_sample_value("receiver_throttles_total") == 2
    assert metrics.registry.get_sample_value("receiver_rows_written_total") == 3


async def test_a_denial_is_told_at_once_with_its_words(
    dynamo: FakeDynamo, make_store: Callable[..., DynamoStore], row_of: Callable[..., Row], metrics: Metrics
) -> None:
    """To each request by an exception of its own."""
    dynamo.fail(400, "AccessDeniedException")
    store = make_store(aws_endpoint_url=dynamo.url)
    errors = await asyncio.gather(*(store.put([row_of(name)]) for name in "ab"), return_exceptions=True)

    told = [(error.kind, error.code, error.because) for error in errors if isinstance(error, WriteFailed)]
    assert told == [("denied", "AccessDeniedException", "some words")] * 2
    assert errors[0] is not errors[1]
    assert len(dynamo.calls) == 1
    assert metrics.registry.get_sample_value("receiver_rows_written_total") == 0


async def test_a_row_that_is_refused_does_not_refuse_others(
    dynamo: FakeDynamo, make_store: Callable[..., DynamoStore], row_of: Callable[..., Row]
) -> None:
    """Of the same moment, though they shared its call; a batch with it fails as a whole."""
    dynamo.refuse_if_there("bad", calls=5)
    store = make_store(aws_endpoint_url=dynamo.url)
    good = asyncio.create_task(store.put([row_of("a")]))
    batch = asyncio.create_task(store.put([row_of("b"), row_of("bad"), row_of("c")]))

    assert await failure_of(batch) == ("refused", "ValidationException")
    await good
    assert sorted(dynamo.ids) == ["a", "b", "c"]
    assert sorted(dynamo.calls[1:]) == [["a"], ["b"], ["bad"], ["c"]]


async def test_nobody_there_is_told_when_time_is_up(
    make_store: Callable[..., DynamoStore], row_of: Callable[..., Row], metrics: Metrics
) -> None:
    """Port 9 of this machine."""
    store = make_store(aws_endpoint_url="http://127.0.0.1:9", limits=Limits(budget=1.0))
    assert await failure_of(store.put([row_of()])) == ("unavailable", "EndpointConnectionError")
    assert metrics.registry.get_sample_value("receiver_queued_rows") == 0


async def test_an_answer_that_drips_is_not_waited_for(
    dynamo: FakeDynamo, make_store: Callable[..., DynamoStore], row_of: Callable[..., Row]
) -> None:
    """No part of it is late, but the whole is; the thread it holds is one less, and others go on."""
    dynamo.drips = True
    store = make_store(aws_endpoint_url=dynamo.url, limits=Limits(budget=0.5, calls=1, threads=2))
    assert await failure_of(store.put([row_of("a")])) == ("unavailable", "TookTooLong")

    dynamo.drips = False
    while "b" not in dynamo.ids:  # the call that hangs is given up a little later than its row
        with contextlib.suppress(WriteFailed):
            await store.put([row_of("b")])
    assert dynamo.calls[:2] == [["a"], ["b"]]


async def test_credentials_that_do_not_come_are_not_waited_for(
    dynamo: FakeDynamo, make_store: Callable[..., DynamoStore], row_of: Callable[..., Row], session: Any
) -> None:
    """Rows that wait for them are given up in time, and not written when they come."""
    came, asked = threading.Event(), threading.Event()

    class Slow:
        def create_client(self, *arguments: Any, **options: Any) -> Any:
            asked.set()
            assert came.wait(30)
            return session.create_client(*arguments, **options)

    store = make_store(session=Slow(), aws_endpoint_url=dynamo.url, limits=Limits(budget=0.2, calls=1, threads=2))
    assert await failure_of(store.put([row_of("late")])) == ("unavailable", "TookTooLong")
    assert await asyncio.to_thread(asked.wait, 30)
    came.set()
    await make_store(aws_endpoint_url=dynamo.url).put([row_of("other")])
    store._threads.shutdown()
    assert dynamo.calls == [["other"]]


async def test_a_row_too_many_is_refused_at_once(
    dynamo: FakeDynamo, make_store: Callable[..., DynamoStore], row_of: Callable[..., Row], metrics: Metrics
) -> None:
    """Rather than written when its rule has long given up."""
    dynamo.gate.clear()
    store = make_store(aws_endpoint_url=dynamo.url, limits=Limits(budget=60.0, rows=2))
    waiting = [asyncio.create_task(store.put([row_of(name)])) for name in "ab"]
    await arrival(dynamo)
    assert store.is_full
    assert await failure_of(store.put([row_of("c")])) == ("busy", "TooManyRowsWaiting")

    dynamo.gate.set()
    await asyncio.gather(*waiting)
    assert not store.is_full
    await store.put([row_of("c")])
    assert sorted(dynamo.ids) == ["a", "b", "c"]
    assert metrics.registry.get_sample_value("receiver_queue_limit_rows") == 2


async def test_a_request_that_is_cancelled_changes_nothing_for_others(
    dynamo: FakeDynamo, make_store: Callable[..., DynamoStore], row_of: Callable[..., Row]
) -> None:
    """Before its call has left, and during it; its own row is written."""
    dynamo.gate.clear()
    store = make_store(aws_endpoint_url=dynamo.url)
    first = asyncio.create_task(store.put([row_of("first")]))
    await arrival(dynamo)
    gone, joined, other = (asyncio.create_task(store.put([row_of(name)])) for name in ("gone", "gone", "other"))
    await asyncio.sleep(0)
    for task in (first, gone):
        task.cancel()
    ends = await asyncio.gather(first, gone, return_exceptions=True)
    assert [type(end) for end in ends] == [asyncio.CancelledError] * 2

    dynamo.gate.set()
    await asyncio.gather(joined, other)
    assert sorted(dynamo.ids) == ["first", "gone", "other"]


async def test_what_was_accepted_is_finished_at_the_end(
    dynamo: FakeDynamo, make_store: Callable[..., DynamoStore], row_of: Callable[..., Row]
) -> None:
    """Also what waits for another try, and what nobody waits for any more; nothing is accepted meanwhile."""
    dynamo.gate.clear()
    dynamo.fail(500, "InternalServerError")
    store = make_store(aws_endpoint_url=dynamo.url)
    putting, gone = (asyncio.create_task(store.put([row_of(name)])) for name in ("a", "gone"))
    await arrival(dynamo)
    gone.cancel()
    closing = asyncio.create_task(store.close())
    await asyncio.sleep(0)
    assert store.is_full
    assert await failure_of(store.put([row_of("b")])) == ("busy", "TooManyRowsWaiting")
    assert not closing.done()

    dynamo.gate.set()
    await closing
    await putting
    assert sorted(dynamo.ids) == ["a", "gone"]


async def test_the_end_does_not_wait_for_what_hangs(
    dynamo: FakeDynamo, make_store: Callable[..., DynamoStore], row_of: Callable[..., Row]
) -> None:
    """Longer than for an answer; one that never had a row ends at once."""
    dynamo.gate.clear()
    store = make_store(aws_endpoint_url=dynamo.url, limits=Limits(budget=0.5))
    putting = asyncio.create_task(store.put([row_of()]))
    await arrival(dynamo)
    await store.close()
    assert await failure_of(putting) == ("unavailable", "TookTooLong")

    await make_store(limits=Limits(budget=600.0)).close()
    dynamo.gate.set()


async def test_an_error_of_ours_is_an_answer(
    make_store: Callable[..., DynamoStore], row_of: Callable[..., Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No request waits for a thread that has stumbled."""

    def stumble(*_: object) -> dict[str, Any]:
        raise ZeroDivisionError

    monkeypatch.setattr(dynamodb, "make_item", stumble)
    assert await failure_of(make_store().put([row_of()])) == ("unavailable", "ZeroDivisionError")


def test_a_call_that_outlives_the_loop_is_no_error(
    dynamo: FakeDynamo, settings_of: Callable[..., Settings], session: Any, metrics: Metrics, row_of: Callable[..., Row]
) -> None:
    """It ends when it ends."""

    async def main() -> DynamoStore:
        settings = settings_of(aws_endpoint_url=dynamo.url)
        store = DynamoStore(settings, metrics=metrics, session=session, limits=Limits(budget=0.5))
        store._table._made_client()
        await asyncio.gather(store.put([row_of()]), return_exceptions=True)
        await store.close()
        return store

    dynamo.gate.clear()
    store = asyncio.run(main())
    dynamo.gate.set()
    store._threads.shutdown()
    assert dynamo.ids == ["m"]


def test_botocore_is_loaded_with_the_first_row() -> None:
    """It, and httpx, would double the time that the process takes to listen."""
    program = "import sys, receiver.app, receiver.server, receiver.settings; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()

    assert "fastapi" in loaded
    assert {name.partition(".")[0] for name in loaded} & {"boto3", "botocore", "httpx", "harness"} == set()
