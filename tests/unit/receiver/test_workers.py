"""The first process's side: which workers it starts, when again, and when no more."""

from __future__ import annotations

import asyncio
import logging
import stat
import sys
import tempfile
from typing import TYPE_CHECKING, Any

import pytest

from receiver import workers as workers_module
from receiver.errors import SettingsError
from receiver.listening import bind
from receiver.workers import FAILED_STARTS, Workers, delay_after, make_folder

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator
    from pathlib import Path

PREAMBLE = """
import os, signal, sys
options = dict(zip(sys.argv[1::2], sys.argv[2::2]))
def report():
    os.write(int(options["--report-fd"]), b'{"port": 1}\\n')
def wait():
    while os.read(int(options["--lifeline-fd"]), 1):
        pass
"""
GOOD = "report(); wait()"
STUBBORN = "signal.signal(signal.SIGTERM, signal.SIG_IGN); report(); wait()"
BROKEN = "sys.exit(3)"
SILENT = "wait()"


@pytest.fixture
def sockets() -> Iterator[list[socket.socket]]:
    """Bind a port."""
    bound = bind(("127.0.0.1",), 0)
    yield bound
    for made in bound:
        made.close()


@pytest.fixture
def make_workers(sockets: list[socket.socket], tmp_path: Path) -> Callable[..., Workers]:
    """Make workers that do what a program says."""

    def make(program: str, *, count: int = 2, on_ready: Callable[[], None] | None = None) -> Workers:
        return Workers(
            count,
            sockets=sockets,
            folder=tmp_path,
            on_ready=on_ready or (lambda: None),
            command=(sys.executable, "-S", "-c", PREAMBLE + program),
        )

    return make


def about(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """Give what was logged besides the messages."""
    return [vars(record)["about"] for record in caplog.records if record.name == "receiver.workers"]


async def test_workers_are_ready_when_all_are(make_workers: Callable[..., Workers]) -> None:
    """They are told of together, and end together; that went well."""
    ready: list[asyncio.Event] = [asyncio.Event()]
    workers = make_workers(GOOD, count=3, on_ready=ready[0].set)
    running = asyncio.create_task(workers.run())
    await ready[0].wait()
    assert len(workers._running) == 3
    workers.end()

    assert await running is True
    assert workers._running == {}


async def test_workers_that_are_ended_before_they_start_do_not(make_workers: Callable[..., Workers]) -> None:
    """A signal may come at any time."""
    ready: list[bool] = []
    workers = make_workers(GOOD, on_ready=lambda: ready.append(True))
    workers.end()

    assert await workers.run() is True
    assert ready == []


async def test_workers_that_are_ended_while_they_start_end(make_workers: Callable[..., Workers]) -> None:
    """Nobody has reported yet, and nobody will."""
    workers = make_workers(SILENT)
    running = asyncio.create_task(workers.run())
    await asyncio.sleep(0)
    workers.end()

    assert await running is True


async def test_workers_that_do_not_start_are_given_up(
    make_workers: Callable[..., Workers], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """After some tries, each later than the one before; the log says which code, and no more often."""
    monkeypatch.setattr(workers_module, "_FIRST_DELAY", 0.001)

    assert await make_workers(BROKEN, count=1).run() is False
    told = about(caplog)
    assert [line["code"] for line in told] == [3] * FAILED_STARTS
    assert [line.get("in_seconds") for line in told] == [0.001, 0.002, 0.004, 0.008, None]
    assert not any(line["was_ready"] for line in told)


async def test_a_command_that_cannot_be_run_is_given_up(
    sockets: list[socket.socket], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As one that ends at once."""
    monkeypatch.setattr(workers_module, "_FIRST_DELAY", 0.001)
    missing = str(tmp_path / "missing")
    workers = Workers(1, sockets=sockets, folder=tmp_path, on_ready=lambda: None, command=(missing,))

    assert await workers.run() is False
    assert "No such file" in about(caplog)[-1]["code"]


async def test_one_worker_that_does_not_start_ends_the_others(
    make_workers: Callable[..., Workers], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In their own way: they finish what they have accepted."""
    monkeypatch.setattr(workers_module, "_FIRST_DELAY", 0.001)
    workers = make_workers(f"({BROKEN}) if options['--worker'] == '1' else (report(), wait())")

    assert await workers.run() is False


async def test_a_worker_that_hangs_at_its_start_is_killed(
    make_workers: Callable[..., Workers], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And counts as one that did not start."""
    monkeypatch.setattr(workers_module, "_FIRST_DELAY", 0.001)
    monkeypatch.setattr(workers_module, "START_SECONDS", 0.05)

    assert await make_workers(SILENT, count=1).run() is False
    assert {line["code"] for line in about(caplog)} == {-9}


async def test_a_worker_that_died_is_started_anew(
    make_workers: Callable[..., Workers],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    """However often, once it has accepted connections: others depend on it. Later each time, in case it is soon."""
    monkeypatch.setattr(workers_module, "_FIRST_DELAY", 0.001)
    log = tmp_path / "starts"
    again = asyncio.Event()
    original = workers_module.delay_after

    def note(quick_deaths: int) -> float:
        if quick_deaths > 2 * FAILED_STARTS:
            again.set()
        return min(original(quick_deaths), 0.01)

    monkeypatch.setattr(workers_module, "delay_after", note)
    workers = make_workers(f"open({str(log)!r}, 'a').write('x'); report(); sys.exit(7)", count=1)
    running = asyncio.create_task(workers.run())
    await again.wait()
    workers.end()

    assert await running is True
    assert len(log.read_text()) > 2 * FAILED_STARTS
    assert {(line["code"], line["was_ready"]) for line in about(caplog)} == {(7, True)}


async def test_a_worker_that_does_not_end_is_killed(
    make_workers: Callable[..., Workers], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And whoever started all this is told that it did not go well."""
    monkeypatch.setattr(workers_module, "STOP_SECONDS", 0.05)
    ready = asyncio.Event()
    workers = make_workers(STUBBORN, on_ready=ready.set)
    running = asyncio.create_task(workers.run())
    await ready.wait()
    workers.end()

    assert await running is False
    assert about(caplog)[-1] == {"workers": [0, 1]}
    assert caplog.records[-1].levelno == logging.ERROR


@pytest.mark.parametrize(("deaths", "seconds"), [(1, 0.1), (2, 0.2), (4, 0.8), (7, 6.4), (8, 10.0), (10_000, 10.0)])
def test_a_worker_is_started_the_later_the_more_often_it_died(deaths: int, seconds: float) -> None:
    """Up to a bound."""
    assert delay_after(deaths) == pytest.approx(seconds)


def test_the_folder_is_for_nobody_else_and_does_not_stay() -> None:
    """Whatever is in it."""
    with make_folder() as folder:
        (folder / "counter_0.db").touch()
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert not folder.exists()


def test_a_folder_that_cannot_be_made_is_a_setting_that_is_wrong(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A read-only system without a place for temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))

    sentence = r"^WORKERS needs a folder for temporary files, named by TMPDIR: No such"
    with pytest.raises(SettingsError, match=sentence), make_folder():
        pytest.fail("there is none")  # pragma: no cover
