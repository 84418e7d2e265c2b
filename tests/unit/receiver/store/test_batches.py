"""Rows gathered into calls, by a manual clock: first each rule by itself, then any course of events."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from receiver import batches as batches_module
from receiver.batches import MAX_CALL_ROWS, Batches
from receiver.errors import WriteFailed
from receiver.reading import Row
from receiver.waiting import Limits, Outcome

if TYPE_CHECKING:
    from receiver.waiting import Call, Key

LIMITS = Limits(rows=100, calls=2, threads=3, linger=0.003, budget=2.8)
LATER = Outcome(failure=WriteFailed("throttled", "SlowDown"), remedy="later")
APART = Outcome(failure=WriteFailed("refused", "ValidationException"), remedy="apart")
DENIED = Outcome(failure=WriteFailed("denied", "AccessDenied"))
NOW = Outcome(failure=WriteFailed("busy", "WaitedTooLong"), remedy="now")


def row(name: str, temperature: int = 20) -> Row:
    """Make a row whose key is its name."""
    return Row(device_id="d", sort_key=name, message_id=name, temperature=Decimal(temperature), ts=None, ttl=None)


def rows(number: int, prefix: str = "r") -> list[Row]:
    """Make rows with keys of their own."""
    return [row(f"{prefix}{each}") for each in range(number)]


@dataclass
class Request:
    """A put: its rows and its answer, which is a kind with a code, ``stored``, or None yet."""

    rows: list[Row]
    deadline: float = 0.0
    answer: str | None = None
    duplicates: int = 0

    def take(self, failure: WriteFailed | None) -> None:
        """Be answered, once."""
        assert self.answer is None
        self.answer = "stored" if failure is None else f"{failure.kind} {failure.code}"


@dataclass
class Bench:
    """What stands around the batches: a clock, and calls that end when a test says so."""

    limits: Limits = LIMITS
    now: float = 1000.0
    random: float = 1.0
    calls: list[Call] = field(default_factory=list)
    batches: Batches = field(init=False)

    def __post_init__(self) -> None:
        self.batches = Batches(self.limits, random=lambda: self.random)

    def put(self, *wanted: Row, late: float = 0.0) -> Request:
        """Put rows as one request, which came so many seconds ago."""
        request = Request(list(wanted), self.now - late + self.limits.budget)
        request.duplicates = self.batches.add(wanted, self.now, request.take, arrived_at=self.now - late)
        return request

    def turn(self) -> list[list[str]]:
        """Do what is to be done now; give the rows of the calls that leave."""
        self.batches.turn(self.now)
        left = []
        while (call := self.batches.take(self.now)) is not None:
            self.calls.append(call)
            left.append([row.message_id for row in call.rows])
        at = self.batches.next_at()
        assert at is None or at > self.now, "nothing would come of it, again and again"
        return left

    def go_to(self, time: float) -> list[list[str]]:
        """Let time pass, turn by turn; give the rows of the calls that leave meanwhile."""
        left = []
        while (at := self.batches.next_at()) is not None and at <= time:
            self.now = max(self.now, at)
            left += self.turn()
        self.now = time
        return left

    def end(self, outcome: Outcome = Outcome(), *, call: int = 0) -> int:  # noqa: B008 - immutable
        """End a call, the oldest by default."""
        return self.batches.finish(self.calls.pop(call), outcome, self.now)


@pytest.fixture
def bench() -> Bench:
    """Two calls at once, of three threads."""
    return Bench()


def test_a_row_alone_leaves_at_once(bench: Bench) -> None:
    """Nothing is gained by waiting while nothing is under way."""
    request = bench.put(row("a"))
    assert bench.turn() == [["a"]]
    assert request.answer is None

    assert bench.end() == 1
    assert request.answer == "stored"
    assert bench.batches.next_at() is None


def test_rows_of_one_moment_share_a_call(bench: Bench) -> None:
    """Those that came before it left."""
    requests = [bench.put(row(name)) for name in "abc"]
    assert bench.turn() == [["a", "b", "c"]]

    assert bench.end() == 3
    assert [request.answer for request in requests] == ["stored"] * 3


def test_a_row_waits_for_others_while_a_call_is_under_way(bench: Bench) -> None:
    """As long as the first of them may wait, and no longer than that call takes."""
    bench.put(row("a"))
    bench.turn()
    bench.put(row("b"))
    assert bench.turn() == []
    assert bench.go_to(bench.now + 0.002) == []
    bench.put(row("c"))
    assert bench.go_to(bench.now + 0.0011) == [["b", "c"]]

    bench.end()
    bench.put(row("d"))
    assert bench.turn() == []
    bench.end()
    assert bench.turn() == [["d"]]


def test_a_full_call_leaves_at_once(bench: Bench) -> None:
    """With as many rows as DynamoDB takes; the rest waits."""
    bench.put(row("first"))
    bench.turn()
    for each in rows(MAX_CALL_ROWS - 1):
        bench.put(each)
    assert bench.turn() == []
    bench.put(row("x"))
    bench.put(row("y"))
    (left,) = bench.turn()
    assert left == [*(f"r{number}" for number in range(24)), "x"]


def test_no_more_calls_than_allowed_are_under_way(bench: Bench) -> None:
    """The rest waits for their end."""
    for each in rows(60):
        bench.put(each)
    assert [len(left) for left in bench.turn()] == [25, 25]
    assert bench.go_to(bench.now + 1) == []
    bench.end()
    assert [len(left) for left in bench.turn()] == [10]


def test_the_rows_of_a_request_are_answered_together(bench: Bench) -> None:
    """With the last of them, though they went in several calls; with the first failure if there is one."""
    bench.put(*rows(20, "other"))
    stored, failed = bench.put(*rows(10, "a")), bench.put(*rows(20, "b"))
    assert [len(left) for left in bench.turn()] == [25, 25]

    bench.end()
    assert (stored.answer, failed.answer) == (None, None)
    bench.end(DENIED)
    assert (stored.answer, failed.answer) == ("denied AccessDenied", "denied AccessDenied")


def test_a_request_without_rows_is_answered_at_once(bench: Bench) -> None:
    """Unless nothing is taken any more."""
    assert bench.put().answer == "stored"
    assert bench.turn() == []
    bench.batches.close()
    with pytest.raises(WriteFailed):
        bench.put()


def test_an_equal_row_joins_the_one_that_waits(bench: Bench) -> None:
    """Both are answered when it is written; it is counted."""
    first, second = bench.put(row("a")), bench.put(row("a"), row("b"), row("a"))
    assert (first.duplicates, second.duplicates) == (0, 2)
    assert bench.turn() == [["a", "b"]]

    assert bench.end() == 2
    assert (first.answer, second.answer) == ("stored", "stored")


def test_an_equal_row_joins_the_one_that_is_under_way(bench: Bench) -> None:
    """And is tried again with it."""
    first = bench.put(row("a"))
    bench.turn()
    second = bench.put(row("a"))
    assert bench.turn() == []
    bench.end(LATER)
    assert bench.go_to(bench.now + 0.05) == [["a"]]
    bench.end()
    assert (first.answer, second.answer, second.duplicates) == ("stored", "stored", 1)


def test_a_different_row_with_the_same_key_is_held(bench: Bench) -> None:
    """Until the one before is through: the last one stays. One equal to that joins it, one equal to the first not."""
    requests = [bench.put(row("a", temperature)) for temperature in (1, 2, 2, 1)]
    written = []
    for _ in range(3):
        assert bench.turn() == [["a"]]
        assert bench.go_to(bench.now + 0.1) == []
        written.append(bench.calls[0].rows[0].temperature)
        bench.end()

    assert written == [1, 2, 1]
    assert [request.answer for request in requests] == ["stored"] * 4
    assert bench.turn() == []


def test_a_different_row_goes_when_the_one_before_has_failed(bench: Bench) -> None:
    """However that one ended."""
    first, second = bench.put(row("a", 1)), bench.put(row("a", 2))
    bench.turn()
    bench.end(DENIED)
    assert bench.turn() == [["a"]]
    bench.end()
    assert (first.answer, second.answer) == ("denied AccessDenied", "stored")


def test_a_held_row_whose_time_is_up_is_skipped(bench: Bench) -> None:
    """The one behind it is next; and the row that is under way keeps its place meanwhile."""
    bench = Bench(Limits(budget=2.8, calls=4))
    bench.put(row("a", 1))
    bench.turn()
    held = bench.put(row("a", 2))
    bench.go_to(bench.now + 1)
    joined = bench.put(row("a", 3))
    bench.go_to(bench.now + 1.7999)
    assert (held.answer, joined.answer) == (None, None)
    bench.calls.clear()

    assert bench.go_to(bench.now + 0.001) == [["a"]]
    assert bench.calls[0].rows[0].temperature == 3
    assert held.answer == "busy WaitedTooLong"
    bench.end()
    assert joined.answer == "stored"


def test_a_row_equal_to_a_held_one_whose_time_was_up_is_written(bench: Bench) -> None:
    """It does not join what nobody will write, and still waits for the one before."""
    bench.put(row("a", 1))
    bench.turn()
    bench.end(LATER)
    held = bench.put(row("a", 2))
    bench.random = 1.0
    assert bench.go_to(bench.now + 0.05) == [["a"]]  # which would be given up later than the held one
    bench.go_to(held.deadline)
    assert held.answer == "busy WaitedTooLong"
    again = bench.put(row("a", 2))
    bench.end()
    assert bench.turn() == [["a"]]
    bench.end()
    assert again.answer == "stored"


def test_a_key_written_lately_is_a_duplicate(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """And written again, since it may have been changed by others; of a bounded number of keys."""
    monkeypatch.setattr(batches_module, "REMEMBERED_KEYS", 4)
    for name, duplicates in [("a", 0), ("a", 1), ("b", 0), ("c", 0), ("a", 1), ("d", 0), ("e", 0), ("f", 0), ("a", 0)]:
        request = bench.put(row(name))
        bench.turn()
        assert bench.end() == 1
        assert (name, request.duplicates) == (name, duplicates)
    assert len(bench.batches._young_keys | bench.batches._old_keys) <= 4


def test_a_row_that_failed_for_a_while_is_tried_again(bench: Bench) -> None:
    """After longer and longer, with others that wait, until there would be no time for its answer."""
    request = bench.put(row("a"))
    bench.turn()
    gaps = []
    while request.answer is None:
        failed_at = bench.now
        bench.end(LATER)
        while request.answer is None and not bench.calls:
            (left,) = bench.go_to(bench.batches.next_at() or 0.0)
            assert left == ["a"]
        gaps.append(round(bench.now - failed_at, 6))

    assert gaps == [0.05, 0.1, 0.2, 0.4, 0.8, 0.8, 0.0]
    assert request.answer == "throttled SlowDown"
    assert bench.now < request.deadline


def test_tries_are_spread(bench: Bench) -> None:
    """Between half of a delay and all of it; rows of one call stay together."""
    bench.random = 0.0
    bench.put(*rows(3))
    bench.turn()
    bench.end(LATER)
    assert bench.batches.next_at() == pytest.approx(bench.now + 0.025)
    assert bench.go_to(bench.now + 0.0249) == []
    bench.put(row("new"))
    assert bench.turn() == [["new"]]
    assert [sorted(left) for left in bench.go_to(bench.now + 0.001)] == [["r0", "r1", "r2"]]


def test_rows_given_back_are_tried_again_and_the_others_answered(bench: Bench) -> None:
    """Only what was not written."""
    stored, waits = bench.put(row("a")), bench.put(row("b"))
    bench.turn()
    given_back = Outcome(failure=LATER.failure, keys=frozenset([("d", "b")]), remedy="later")
    assert bench.end(given_back) == 1
    assert (stored.answer, waits.answer) == ("stored", None)

    assert bench.go_to(bench.now + 0.05) == [["b"]]
    bench.end()
    assert waits.answer == "stored"


def test_one_row_that_is_refused_does_not_refuse_others(bench: Bench) -> None:
    """Each is written by itself then, which tells them apart."""
    requests = {name: bench.put(row(name)) for name in ("a", "bad", "c")}
    bench.turn()
    bench.end(APART)
    assert all(request.answer is None for request in requests.values())

    seen = []
    bench.put(row("new"))
    while left := bench.turn():
        seen += left
        while bench.calls:
            bench.end(APART if bench.calls[0].rows[0].message_id == "bad" else Outcome())
    assert sorted(seen) == [["a"], ["bad"], ["c"], ["new"]]
    answers = {name: request.answer for name, request in requests.items()}
    assert answers == {"a": "stored", "bad": "refused ValidationException", "c": "stored"}


def test_rows_that_are_told_apart_share_no_call_with_those_before_them() -> None:
    """Nor with those behind."""
    bench = Bench(Limits(calls=1))
    bench.put(row("x"))
    bench.turn()
    bench.end(LATER)
    bench.put(row("a"), row("b"))
    bench.turn()
    bench.end(APART)
    assert len(bench.turn()) == 1
    assert bench.go_to(bench.now + 0.05) == []
    bench.put(row("y"))

    left = []
    while bench.calls:
        bench.end()
        left += bench.turn()
    assert sorted(left) in ([["a"], ["x"], ["y"]], [["b"], ["x"], ["y"]])


def test_rows_that_are_tried_again_go_first() -> None:
    """They have less time left than those that came since."""
    bench = Bench(Limits(calls=1))
    bench.put(row("x"))
    bench.turn()
    bench.end(LATER)
    bench.put(row("under way"))
    bench.turn()
    bench.put(*rows(30))
    assert bench.go_to(bench.now + 0.05) == []
    bench.end()
    ((first, *others),) = bench.turn()
    assert first == "x"
    assert len(others) == 24


def test_a_call_that_was_not_sent_in_time_spares_the_rows_with_time_left(bench: Bench) -> None:
    """Only those whose time is up are given up."""
    late = bench.put(row("late"))
    bench.turn()
    bench.end(LATER)
    bench.now = late.deadline - 2.0
    young = bench.put(row("young"))
    bench.turn()
    assert bench.calls[0].send_by == late.deadline
    bench.now = late.deadline
    bench.end(NOW)

    assert (late.answer, young.answer) == ("throttled SlowDown", None)
    assert bench.turn() == [["young"]]


def test_a_request_is_answered_in_time_whatever_its_call_does(bench: Bench) -> None:
    """By what is known: not sent, sent and not heard of, or failed before."""
    sent = bench.put(*rows(25, "sent"))
    bench.put(*rows(25, "more"))
    waits = bench.put(row("waits"))
    bench.turn()
    assert bench.go_to(sent.deadline - 0.001) == []
    assert (sent.answer, waits.answer) == (None, None)
    assert bench.go_to(sent.deadline) == []
    assert (sent.answer, waits.answer) == ("unavailable TookTooLong", "busy WaitedTooLong")


def test_a_request_whose_body_came_late_has_less_time(bench: Bench) -> None:
    """Its rule waits since the headers; whoever waits for the same row and came with all at once has more."""
    bench.put(*rows(25, "x"))
    bench.put(*rows(25, "y"))
    bench.turn()
    prompt = bench.put(row("kept"))
    slow = bench.put(row("kept"), row("gone"), late=1.0)
    assert bench.batches.next_at() == slow.deadline < prompt.deadline
    bench.go_to(slow.deadline)
    assert (slow.answer, prompt.answer) == ("busy WaitedTooLong", None)
    bench.end()
    assert bench.turn() == [["kept"]]
    bench.end(call=-1)
    assert prompt.answer == "stored"

    with pytest.raises(WriteFailed, match="busy: WaitedTooLong"):
        bench.put(row("late"), late=2.8)
    assert bench.batches.rows == 25


def test_a_row_whose_time_is_up_is_not_written(bench: Bench) -> None:
    """Nor counted any more; one that somebody else waits for still is."""
    bench.put(*rows(25, "x"))
    bench.put(*rows(25, "y"))
    bench.turn()
    gone, kept = bench.put(row("gone")), bench.put(row("kept"))
    bench.now += 1
    joined = bench.put(row("kept"))
    assert bench.batches.rows == 53
    # By then the two calls are given up as well, and there is one thread left.
    assert bench.go_to(gone.deadline) == [["kept"]]
    assert (gone.answer, kept.answer) == ("busy WaitedTooLong", "busy WaitedTooLong")
    assert bench.batches.rows == 2

    bench.end(call=-1)
    assert joined.answer == "stored"
    assert bench.batches.rows == 0
    assert bench.batches.size == 0


def test_a_row_whose_time_is_up_is_not_written_with_one_before_it() -> None:
    """That has more time left, since somebody asked for it again."""
    bench = Bench(Limits(calls=1, threads=1))
    bench.put(row("hangs"))
    bench.turn()
    bench.put(row("kept"))
    gone = bench.put(row("gone"))
    bench.go_to(bench.now + 1)
    kept = bench.put(row("kept"))
    assert bench.go_to(gone.deadline) == []
    bench.end()
    assert bench.turn() == [["kept"]]
    bench.end()
    assert (gone.answer, kept.answer) == ("busy WaitedTooLong", "stored")


def test_a_row_whose_time_is_up_is_not_tried_again_by_a_late_loop(bench: Bench) -> None:
    """That comes to the row's next try and to its end at once."""
    request = bench.put(row("a"))
    bench.turn()
    bench.end(LATER)
    bench.now += 10
    assert bench.turn() == []
    assert request.answer == "throttled SlowDown"


def test_a_call_that_does_not_end_takes_a_thread_and_no_more(bench: Bench) -> None:
    """Another one goes in its place, until no thread is left; its end is then no news."""
    bench.put(row("a"))
    bench.turn()
    hung = bench.calls.pop()
    bench.go_to(bench.now + 2)
    joined = bench.put(row("a"))
    assert bench.go_to(bench.now + 0.8) == [["a"]]
    bench.put(*rows(3))
    assert bench.go_to(bench.now + 0.01) == [["r0", "r1", "r2"]]
    bench.end(call=1)
    assert bench.batches._busy_threads == 2

    assert bench.batches.finish(hung, DENIED, bench.now) == 0
    assert joined.answer is None
    bench.end()
    assert joined.answer == "stored"
    assert bench.batches._busy_threads == 0


def test_calls_that_hang_in_every_thread_hold_the_rest_up(bench: Bench) -> None:
    """Which is refused in time, leaves nothing behind, and goes on when one of them ends."""
    for _ in range(3):
        bench.put(row(f"hangs{bench.now}"))
        assert len(bench.go_to(bench.now + 2.8)) == 1
    late = bench.put(row("late"))
    assert bench.go_to(bench.now + 2.8) == []
    assert late.answer == "busy WaitedTooLong"
    assert (bench.batches.rows, bench.batches.size, len(bench.batches._ready)) == (0, 0, 0)

    bench.end()
    bench.put(row("next"))
    assert bench.turn() == [["next"]]


def test_too_many_rows_are_refused_at_once(bench: Bench) -> None:
    """All of a request or none; those that are under way count."""
    bench.put(*rows(25, "a"))
    bench.turn()
    for prefix in "bcd":
        bench.put(*rows(24, prefix))
    assert not bench.batches.is_full
    with pytest.raises(WriteFailed, match="busy: TooManyRowsWaiting"):
        bench.put(*rows(4, "e"))
    bench.put(*rows(3, "e"))
    assert bench.batches.is_full

    bench.end()
    assert not bench.batches.is_full
    bench.put(*rows(4, "e"))


@pytest.mark.parametrize("text", ["ts", "device_id"])
def test_too_many_bytes_are_refused_at_once(text: str) -> None:
    """A row's ts may be as long as a message."""
    bench = Bench(Limits(size=300_000))
    long = {text: "x" * 131_000}
    bench.put(replace(row("a"), **long))
    bench.put(replace(row("b"), **long))
    with pytest.raises(WriteFailed, match="busy: TooManyRowsWaiting"):
        bench.put(replace(row("c"), **long))
    bench.put(row("c"))

    bench.turn()
    bench.end()
    assert bench.batches.size == 0
    bench.put(replace(row("c"), **long))


def test_what_is_closed_takes_nothing_more(bench: Bench) -> None:
    """And finishes what it has."""
    request = bench.put(row("a"))
    bench.batches.close()
    assert bench.batches.is_full
    with pytest.raises(WriteFailed, match="busy: TooManyRowsWaiting"):
        bench.put(row("b"))
    assert bench.turn() == [["a"]]
    bench.end()
    assert request.answer == "stored"


NAMES = st.sampled_from([*"abcdef"])
ROWS = st.builds(row, NAMES, st.integers(1, 2))
MANY = st.integers(20, 40).map(lambda number: rows(number, "many"))


class Courses(RuleBasedStateMachine):
    """Requests, time and calls that end in each possible way, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench(Limits(rows=120, calls=2, threads=4, budget=2.8))
        self.requests: list[tuple[Request, int]] = []
        self.written: list[Row] = []
        self.hung: list[Call] = []

    @initialize(random=st.floats(0, 1))
    def spread(self, random: float) -> None:
        """Choose how tries are spread."""
        self.bench.random = random

    @rule(wanted=st.one_of(st.lists(ROWS, min_size=1, max_size=6), MANY), late=st.sampled_from([0.0, 0.0, 1.0, 2.7]))
    def put(self, wanted: list[Row], late: float) -> None:
        """A request comes, some time after its headers, and is refused only when there is no room."""
        is_room = self.bench.batches.rows + len(wanted) <= 120
        try:
            self.requests.append((self.bench.put(*wanted, late=late), len(self.written)))
        except WriteFailed:
            assert not is_room
        else:
            assert is_room

    @rule()
    def turn(self) -> None:
        """The loop comes round."""
        self.bench.turn()

    @rule(seconds=st.sampled_from([0.001, 0.003, 0.05, 0.4, 1.0, 2.8]))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.bench.go_to(self.bench.now + seconds)

    @rule(
        which=st.integers(0, 5),
        outcome=st.sampled_from([Outcome(), Outcome(), LATER, APART, DENIED, NOW]),
        back=st.sets(NAMES),
    )
    def end(self, which: int, outcome: Outcome, back: set[str]) -> None:
        """A call ends, sometimes long after nobody waits for it; of some, rows come back."""
        if self.bench.calls:
            call = self.bench.calls[which % len(self.bench.calls)]
            keys: frozenset[Key] | None = frozenset(("d", name) for name in back) if outcome is LATER and back else None
            outcome = Outcome(failure=outcome.failure, keys=keys, remedy=outcome.remedy)
            is_known = call in self.bench.batches._calls
            failed = {("d", one.sort_key) for one in call.rows} if keys is None else keys
            done = [one for one in call.rows if outcome.failure is None or ("d", one.sort_key) not in failed]
            if is_known:
                self.written += done
            written = self.bench.end(outcome, call=self.bench.calls.index(call))
            assert written == (len(done) if is_known else 0)

    @invariant()
    def calls_are_sound(self) -> None:
        """Not too many rows, none twice, none late, none in two calls that somebody waits for."""
        waited_for = list(self.bench.batches._calls)
        for call in self.bench.calls:
            assert 1 <= len(call.rows) <= 25
            assert call.send_by > call.give_up_at - 2.8
        keys = [one.sort_key for call in waited_for for one in call.rows]
        assert len(keys) == len(set(keys))
        assert len(waited_for) <= 2
        assert len(self.bench.calls) == self.bench.batches._busy_threads <= 4

    @invariant()
    def answers_are_sound(self) -> None:
        """Each in time, and `stored` only with all rows written since the request came; nothing older on top."""
        for request, since in self.requests:
            if request.deadline < self.bench.now:
                assert request.answer is not None
            if request.answer == "stored":
                assert all(one in self.written[since:] for one in request.rows)
        for name in "abcdef":
            puts = [
                (one, request.answer) for request, _ in self.requests for one in request.rows if one.sort_key == name
            ]
            confirmed = max((at for at, (_, answer) in enumerate(puts) if answer == "stored"), default=None)
            if confirmed is not None:
                final = [one for one in self.written if one.sort_key == name][-1]
                assert final in [one for one, _ in puts[confirmed:]]

    def teardown(self) -> None:
        """In the end everybody is answered and nothing is left."""
        for _ in range(4):
            self.bench.go_to(self.bench.now + 3)
        while self.bench.calls:
            self.bench.end()
        assert all(request.answer is not None for request, _ in self.requests)
        batches = self.bench.batches
        assert (batches.rows, batches.size, batches._last) == (0, 0, {})
        left: list[Any] = [*batches._puts, *batches._ready, *batches._delayed, *batches._calls]
        assert left == []
        assert batches.next_at() is None


TestCourses = Courses.TestCase
TestCourses.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
