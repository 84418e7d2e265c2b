"""The demonstration's devices: what is shown of their readings, and that nothing of them stays behind."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from decimal import Decimal
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from harness import demo_devices
from harness.clients.rows import Row
from harness.demo_devices import Stored, report_readings
from harness.errors import ConnectionRefused, ExpectationError, HarnessError, TeardownError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

AT = datetime(2026, 11, 21, 20, 1, 2, 123_000, tzinfo=UTC)


class Site:
    """Where the devices are: who is registered, who is connected, what fails.

    Args:
        fails: ``make``, ``remove``, ``connect N``, ``row N`` to what happens there.
    """

    def __init__(self, fails: dict[str, BaseException] | None = None) -> None:
        self.fails = fails or {}
        self.registered = 0
        self.steps: list[str] = []
        self.closed: list[str] = []
        self.asked: list[str] = []
        self.lines: list[str] = []

    def at(self, step: str) -> None:
        """Note a step, and fail in it where the test says."""
        self.steps.append(step)
        if step in self.fails:
            raise self.fails[step]

    def client(self, service: str) -> Any:
        """Give a client that can be closed."""
        return SimpleNamespace(close=lambda: self.closed.append(service))


class FakeIdentities:
    """Makes identities that are names."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def make(self, count: int) -> list[str]:
        """Register them all, and fail after that."""
        self._site.registered = count
        self._site.at("make")
        return [f"dev-{number}" for number in range(1, count + 1)]

    def remove(self) -> None:
        """Fail before anything is removed."""
        self._site.at("remove")
        self._site.registered = 0


class FakeDevice:
    """A device that is its name."""

    def __init__(self, site: Site, name: str) -> None:
        self._site = site
        self.thing_name = self.client_id = name

    async def connect(self, *, insist: bool) -> None:
        """Connect, as one that has to be let in."""
        assert insist
        self._site.at(f"connect {self.thing_name}")

    async def publish_reading(self, temp: float) -> Any:
        """Publish, once the table has been asked for the first time."""
        assert self.thing_name in self._site.asked
        return SimpleNamespace(topic="things/telemetry", text=f"{temp}")

    async def has_stopped(self) -> bool:
        """Leave."""
        self._site.steps.append(f"stop {self.thing_name}")
        return True


class FakeRows:
    """A table in which every reading is at once."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def of(self, device_id: str) -> list[Row]:
        """Have none yet."""
        self._site.asked.append(device_id)
        return []

    async def expect(self, device_id: str) -> Row:
        """Have one, or never."""
        self._site.at(f"row {device_id}")
        if f"never {device_id}" in self._site.fails:
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                self._site.steps.append(f"gave up {device_id}")
        return Row(device_id=device_id, received_at=AT, message_id="1", temperature=Decimal("21.50"))


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Sequence[Stored]]:
    """Let devices of a site report; everybody who talks to AWS is made up."""

    def report(site: Site, *, count: int = 2) -> Sequence[Stored]:
        environment: Any = SimpleNamespace(
            client=site.client, outputs=SimpleNamespace(device_policy_name="device"), names=None, is_shared=False
        )
        monkeypatch.setattr(demo_devices, "Identities", lambda **_: FakeIdentities(site))
        monkeypatch.setattr(demo_devices, "_device", lambda _, identity, **__: FakeDevice(site, identity))
        monkeypatch.setattr(demo_devices, "_rows", lambda *_, **__: FakeRows(site))
        return asyncio.run(report_readings(environment, count=count, patience=20.0, show=site.lines.append))

    return report


def test_readings_are_shown_with_their_rows(report: Callable[..., Sequence[Stored]]) -> None:
    """Each device shows that it connects, what it sends and what was stored, and is gone afterwards."""
    site = Site()

    results = report(site)

    assert [result.number for result in results] == [1, 2]
    assert all(result.seconds is not None and result.seconds >= 0 for result in results)
    assert site.lines[:4] == [
        "[Device 1] connected as dev-1",
        "[Device 2] connected as dev-2",
        "[Device 1] 📢 Sending to things/telemetry: 21.5",
        "[Device 1] ✅ Stored: deviceId=dev-1 received_at=2026-11-21T20:01:02.123Z temperature=21.50",
    ]
    assert (site.registered, site.steps[-1], sorted(site.closed)) == (0, "remove", ["dynamodb", "iot"])


def test_reading_without_a_row_is_explained(report: Callable[..., Sequence[Stored]]) -> None:
    """A row that does not come is no failure of the demonstration: it tells what became of the reading."""
    site = Site({"row dev-1": ExpectationError("dev-1 was to have 1 row", near_misses=["WHERE … is false"])})

    first, second = report(site)

    assert first == Stored(number=1, why="dev-1 was to have 1 row\nnear misses:\n  WHERE … is false")
    assert second.seconds is not None
    assert not any(line.startswith("[Device 1] ✅") for line in site.lines)


def test_more_devices_than_temperatures_begin_again(report: Callable[..., Sequence[Stored]]) -> None:
    """The fifth device reports what the first did."""
    site = Site()

    report(site, count=5)

    assert "[Device 5] 📢 Sending to things/telemetry: 21.5" in site.lines


@pytest.mark.parametrize(
    ("step", "failure", "raised"),
    [
        ("make", ClientError({"Error": {"Code": "ThrottlingException"}}, "CreateThing"), HarnessError),
        ("make", EndpointConnectionError(endpoint_url="http://127.0.0.1:1"), HarnessError),
        ("connect dev-2", ConnectionRefused("dev-2", how="hang-up"), ConnectionRefused),
        ("row dev-1", EndpointConnectionError(endpoint_url="http://127.0.0.1:1"), HarnessError),
        ("row dev-1", RuntimeError("a defect"), RuntimeError),
    ],
)
def test_failure_leaves_nothing_behind(
    report: Callable[..., Sequence[Stored]], step: str, failure: Exception, raised: type[Exception]
) -> None:
    """Whatever fails, and what boto3 raises is a sentence, the devices leave and are deregistered."""
    site = Site({step: failure})

    with pytest.raises(raised):
        report(site)

    assert site.registered == 0
    connected = {name.removeprefix("connect ") for name in site.steps if name.startswith("connect")}
    assert {f"stop {name}" for name in connected} <= set(site.steps)
    assert sorted(site.closed) == ["dynamodb", "iot"]


def test_failure_of_one_ends_the_others_before_they_leave(report: Callable[..., Sequence[Stored]]) -> None:
    """A device that waits for its row stops waiting when another's failure ends the demonstration."""
    site = Site({"row dev-2": HarnessError("no"), "never dev-1": HarnessError()})

    with pytest.raises(HarnessError, match=r"^no$"):
        report(site)

    assert site.steps.index("gave up dev-1") < site.steps.index("stop dev-1") < site.steps.index("remove")


def test_what_is_left_behind_is_told_and_hides_no_failure(report: Callable[..., Sequence[Stored]]) -> None:
    """A removal that fails is a failure of its own, and a line beside one that came before."""
    left = TeardownError(["thing dev-1"], remedy="remove it")

    with pytest.raises(TeardownError):
        report(Site({"remove": left}))
    site = Site({"remove": left, "connect dev-1": ConnectionRefused("dev-1", how="tls")})
    with pytest.raises(ConnectionRefused):
        report(site)

    assert site.lines == ["[demo] left behind: thing dev-1; remove it"]


def test_interruption_while_devices_leave_deregisters_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """All is shown and nobody waits for anything any more: what is registered goes all the same."""
    site = Site()

    async def interrupt() -> None:
        leaving = asyncio.Event()

        class Slow(FakeDevice):
            async def has_stopped(self) -> bool:
                leaving.set()
                return await asyncio.get_running_loop().create_future()

        environment: Any = SimpleNamespace(
            client=site.client, outputs=SimpleNamespace(device_policy_name="device"), names=None, is_shared=False
        )
        monkeypatch.setattr(demo_devices, "Identities", lambda **_: FakeIdentities(site))
        monkeypatch.setattr(demo_devices, "_device", lambda _, identity, **__: Slow(site, identity))
        monkeypatch.setattr(demo_devices, "_rows", lambda *_, **__: FakeRows(site))
        task = asyncio.ensure_future(report_readings(environment, count=2, patience=20.0, show=site.lines.append))
        await leaving.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(interrupt())

    assert (site.steps[-1], site.registered) == ("remove", 0)


def test_interruption_waits_for_what_is_being_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread cannot be interrupted: what it registers after the interruption is deregistered all the same."""
    site = Site()

    async def interrupt() -> None:
        loop = asyncio.get_running_loop()
        begun, go_on = asyncio.Event(), asyncio.Event()

        class Slow(FakeIdentities):
            def make(self, count: int) -> list[str]:
                loop.call_soon_threadsafe(begun.set)
                asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result()
                return super().make(count)

        environment: Any = SimpleNamespace(
            client=site.client, outputs=SimpleNamespace(device_policy_name="device"), names=None, is_shared=False
        )
        monkeypatch.setattr(demo_devices, "Identities", lambda **_: Slow(site))
        monkeypatch.setattr(demo_devices, "_rows", lambda *_, **__: FakeRows(site))
        task = asyncio.ensure_future(report_readings(environment, count=3, patience=20.0, show=site.lines.append))
        await begun.wait()
        task.cancel()
        loop.call_soon(go_on.set)
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(interrupt())

    assert (site.steps, site.registered) == (["make", "remove"], 0)
