"""`harness.mqtt.timers`."""

from __future__ import annotations

from functools import partial

from harness.mqtt.timers import Timers


def test_timers_run_in_order_of_time_and_then_of_scheduling() -> None:
    """What is due runs by time; what is due at one time runs as it was scheduled; the rest stays."""
    timers = Timers()
    ran: list[tuple[str, float]] = []
    for name, when in (("c", 3.0), ("a", 1.0), ("b", 1.0), ("later", 9.0)):
        timers.schedule(when, lambda now, name=name: ran.append((name, now)))

    timers.run(3.0)

    assert ran == [("a", 3.0), ("b", 3.0), ("c", 3.0)]
    assert timers.next_deadline() == 9.0


def test_timers_run_what_a_callback_schedules_for_now() -> None:
    """A callback may schedule another that is due at once."""
    timers = Timers()
    ran: list[float] = []
    timers.schedule(1.0, lambda now: timers.schedule(now, ran.append) and None)

    timers.run(2.0)

    assert ran == [2.0]
    assert timers.next_deadline() is None


def test_timers_do_not_run_what_was_cancelled() -> None:
    """It is neither run nor announced as the next deadline; cancelling twice, or after the run, is harmless."""
    timers = Timers()
    ran: list[float] = []
    cancelled = timers.schedule(1.0, ran.append)
    kept = timers.schedule(2.0, ran.append)
    cancelled.cancel()
    cancelled.cancel()

    assert timers.next_deadline() == 2.0
    timers.run(5.0)
    kept.cancel()

    assert ran == [5.0]
    assert len(timers) == 0


def test_timers_forget_cancelled_ones_long_before_they_are_due() -> None:
    """Connections that come and go leave nothing behind."""
    timers = Timers()
    kept = timers.schedule(99.0, print)
    for _ in range(1_000):
        timers.schedule(100.0, partial(print, "x")).cancel()

    assert len(timers) == 1
    assert len(timers._heap) < 200
    assert timers.next_deadline() == kept.when
