"""What Python's garbage collection does while many requests wait: a full one holds all of them up."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING

import pytest

from receiver.__main__ import GC_THRESHOLDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.unit.receiver.conftest import Service

WAITING = 2_000


@pytest.fixture
def _nothing_but_requests() -> Iterator[None]:
    """Count the objects of requests alone, as a process does that has frozen what its start has made."""
    thresholds = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.collect()  # full ones become rarer with what survived the last one: that is nothing now
    yield
    gc.set_threshold(*thresholds)
    gc.unfreeze()


@pytest.mark.usefixtures("_nothing_but_requests")
@pytest.mark.parametrize(("thresholds", "has_full"), [(GC_THRESHOLDS, False), ((700, 10, 10), True)])
async def test_requests_that_wait_bring_about_no_full_collection(
    service: Service, *, thresholds: tuple[int, int, int], has_full: bool
) -> None:
    """As many as may wait; with Python's own thresholds they would."""
    service.store.gate.clear()
    gc.set_threshold(*thresholds)
    before = gc.get_stats()[2]["collections"]
    waiting = [asyncio.create_task(service.post()) for _ in range(WAITING)]
    for _ in waiting:
        await service.store.arrived.acquire()
    full = gc.get_stats()[2]["collections"] - before
    service.store.gate.set()

    assert {answer.status_code for answer in await asyncio.gather(*waiting)} == {200}
    assert (full > 0) is has_full
