"""Many clients at once: who failed, how many did, and everybody stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.clients import actor
from harness.clients.crowd import connect_all, stop_all
from harness.errors import ConnectionRefused, HarnessError, TeardownError

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import FakeNative
    from harness.clients.broadcast import BroadcastClient

    MakeClient = Callable[..., BroadcastClient]

UPGRADE = "AWS_ERROR_HTTP_WEBSOCKET_UPGRADE_FAILURE"


@pytest.mark.parametrize("topic", ["public/x", None])
async def test_everybody_connects_and_is_stopped(
    make_client: MakeClient, native: FakeNative, topic: str | None
) -> None:
    """And subscribes, where there is something to subscribe to."""
    guest = make_client()

    await connect_all([guest], subscribe=topic)

    assert guest.condition().startswith("is connected")
    assert native.subscribed == ([topic] if topic else [])
    await stop_all([guest])
    assert guest.condition().startswith("lost its connection (it was stopped)")


async def test_one_that_does_not_stop_is_named(
    make_client: MakeClient, native: FakeNative, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once for all."""
    monkeypatch.setattr(actor, "STOP_WITHIN", 0.02)
    native.does_stop = False
    guest = make_client()
    await guest.connect()

    with pytest.raises(TeardownError, match="left behind: public-1; they did not stop"):
        await stop_all([guest, make_client(client_id="public-2")])


async def test_an_error_while_stopping_stops_the_others(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Teardown takes every step, and then tells of the defect."""

    async def fail() -> bool:
        raise RuntimeError("a defect")

    broken, guest = make_client(client_id="public-2"), make_client()
    await guest.connect()
    monkeypatch.setattr(broken, "has_stopped", fail)

    with pytest.raises(ExceptionGroup, match="while clients were stopped") as failure:
        await stop_all([broken, guest])

    assert isinstance(failure.value.exceptions[0], RuntimeError)
    assert guest.condition().startswith("lost its connection (it was stopped)")


async def test_the_first_failure_of_many_is_raised(make_client: MakeClient, native: FakeNative) -> None:
    """With a note on how many there were."""
    native.answers["private"] = 0x87
    guest = make_client()

    with pytest.raises(HarnessError) as failure:
        await connect_all([guest, guest], subscribe="private")  # refused once, and connected twice

    assert failure.value.__notes__ == ["2 of 2 clients failed; this is the first"]
    await stop_all([guest])


async def test_a_single_failure_needs_no_note(make_client: MakeClient, native: FakeNative) -> None:
    """There is nobody else."""
    native.on_start = lambda: native.refuse(UPGRADE)

    with pytest.raises(ConnectionRefused) as failure:
        await connect_all([make_client()])

    assert not hasattr(failure.value, "__notes__")
