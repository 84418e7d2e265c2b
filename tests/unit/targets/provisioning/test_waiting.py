"""Asking again until an answer comes: when it ends, how often it asks."""

from __future__ import annotations

import pytest

from harness.targets.provisioning.waiting import ask_until, some_share


class Clock:
    """Time that passes only while somebody pauses."""

    def __init__(self) -> None:
        self.now = 100.0
        self.pauses: list[float] = []

    def pause(self, seconds: float) -> None:
        """Let time pass."""
        self.pauses.append(seconds)
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    """A clock at some time."""
    return Clock()


def ask(clock: Clock, answers: list[str], *, seconds: float = 1.0) -> str:
    """Ask for answers that come one after the other, the last again and again."""
    return ask_until(
        lambda: answers.pop(0) if len(answers) > 1 else answers[0],
        lambda answer: answer == "done",
        seconds=seconds,
        now=lambda: clock.now,
        pause=clock.pause,
    )


def test_an_answer_that_is_there_costs_no_time(clock: Clock) -> None:
    """The first question comes at once."""
    assert ask(clock, ["done"]) == "done"
    assert clock.pauses == []


def test_asking_goes_on_until_the_answer_is_there(clock: Clock) -> None:
    """With longer and longer pauses, but none that is long."""
    assert ask(clock, ["not yet"] * 12 + ["done"], seconds=60) == "done"
    assert clock.pauses == sorted(clock.pauses)
    assert len(clock.pauses) == 12
    assert clock.pauses[0] < 0.01
    assert clock.pauses[-1] <= 0.2


def test_asking_ends_with_its_time(clock: Clock) -> None:
    """The last answer is handed on, whatever it is, and no pause goes beyond the end."""
    assert ask(clock, ["not yet"], seconds=1.0) == "not yet"
    assert clock.now == pytest.approx(101.0)


def test_an_answer_in_the_last_moment_counts(clock: Clock) -> None:
    """There is a last question when the time is over."""
    answers = iter(())

    def late() -> str:
        return next(answers, "done" if clock.now >= 101.0 else "not yet")

    assert (
        ask_until(late, lambda answer: answer == "done", seconds=1.0, now=lambda: clock.now, pause=clock.pause)
        == "done"
    )


def test_pauses_are_as_long_as_is_asked_for(clock: Clock) -> None:
    """Up to a limit, and a share of it."""
    answers = iter(["not yet"] * 20)

    ask_until(
        lambda: next(answers, "done"),
        lambda answer: answer == "done",
        seconds=60.0,
        longest_pause=1.0,
        share=lambda: 0.5,
        now=lambda: clock.now,
        pause=clock.pause,
    )

    assert max(clock.pauses) == pytest.approx(0.5)


def test_some_share_is_at_least_half() -> None:
    """And not always the same."""
    shares = [some_share() for _ in range(100)]

    assert all(0.5 <= one <= 1.0 for one in shares)
    assert len(set(shares)) > 1
