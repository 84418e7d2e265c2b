"""Fixtures that make clients, on event loops of every configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.unit.plugin.conftest import Suite

pytest_plugins = ["pytester"]


FAKE_GUESTS = """
import asyncio

import harness.fixtures


class FakeClient:
    def __init__(self, number):
        self.client_id = f"public-{number}"
        self.calls = []

    async def connect(self, **_):
        self.loop = asyncio.get_running_loop()
        self.calls.append("connect")

    async def subscribe(self, topic, **_):
        self.calls.append(topic)

    async def has_stopped(self):
        assert asyncio.get_running_loop() is self.loop
        return self.client_id != "public-stubborn"


def make(self, *, client_id=None, **rest):
    return FakeClient(client_id.removeprefix("public-") if client_id else 1)


harness.fixtures.Guests.make = make
"""


@pytest.mark.parametrize("mode", ["auto", "strict"])
def test_clients_work_in_both_modes_of_pytest_asyncio(suite: Suite, mode: str) -> None:
    """As many as the command line says, or as the test says, connected and subscribed on the test's loop."""
    mark = "" if mode == "auto" else "@pytest.mark.asyncio"
    result = suite(
        f"""
        import asyncio
        import pytest

        {mark}
        async def test_many(make_broadcast_clients):
            assert len(await make_broadcast_clients()) == 4
            clients = await make_broadcast_clients(2, subscribe="public/x")
            assert [client.calls for client in clients] == [["connect", "public/x"]] * 2
            assert clients[0].loop is asyncio.get_running_loop()

        {mark}
        async def test_one(broadcast_client, make_broadcast_client):
            assert broadcast_client.calls == ["connect"]
            other = await make_broadcast_client(client_id="public-7", connect=False)
            assert (other.client_id, other.calls) == ("public-7", [])
            await other.connect()
        """,
        "--target=embedded",
        "--clients=4",
        further=FAKE_GUESTS,
        mode=mode,
    )

    result.assert_outcomes(passed=2)


def test_devices_are_made_as_many_as_the_run_was_asked_for(suite: Suite) -> None:
    """Unless a test says how many; what was made is taken away after its test."""
    result = suite(
        """
        import harness.device_fixtures

        counts, closed = [], []

        async def make_many(self, count):
            counts.append(count)
            return []

        async def close(self):
            closed.append(len(counts))

        harness.device_fixtures.Devices.make_many = make_many
        harness.device_fixtures.Devices.close = close

        async def test_many(make_devices):
            await make_devices()
            await make_devices(3)
            assert (counts, closed) == ([5, 3], [])

        def test_afterwards():
            assert closed == [2]
        """,
        "--target=embedded",
        "--devices=5",
    )

    result.assert_outcomes(passed=2)


@pytest.mark.parametrize("scope", ["fixture", "test"])
def test_a_test_on_another_loop_than_its_fixtures_is_told_what_to_set(suite: Suite, scope: str) -> None:
    """Its clients could not be stopped: better no clients than clients that are left behind."""
    result = suite(
        """
        async def test_one(make_broadcast_client):
            await make_broadcast_client(connect=False)

        async def test_many(make_broadcast_clients):
            await make_broadcast_clients(2)

        async def test_device(make_device):
            await make_device(connect=False)

        async def test_devices(make_devices):
            await make_devices(2)
        """,
        "--target=embedded",
        "-o",
        f"asyncio_default_{scope}_loop_scope=session",
        further=FAKE_GUESTS,
    )

    result.assert_outcomes(failed=4)
    result.stdout.fnmatch_lines("E *HarnessError: *asyncio_default_fixture_loop_scope*")


def test_a_client_that_does_not_stop_is_an_error_of_its_test(suite: Suite) -> None:
    """Beside the test's own failure, which stays the first thing to read."""
    result = suite(
        """
        async def test_it(make_broadcast_client):
            await make_broadcast_client(client_id="public-stubborn")
            assert "the test" == "failed"
        """,
        "--target=embedded",
        further=FAKE_GUESTS,
    )

    result.assert_outcomes(failed=1, errors=1)
    result.stdout.fnmatch_lines("*TeardownError: left behind: public-stubborn; they did not stop within 2 s")
