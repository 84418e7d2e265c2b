"""Whether the receiver holds: for a minute or longer under load, against a table that throttles, and at its end.

Each check prints what it saw, line by line, and whether that is what is promised.
"""

from __future__ import annotations

import asyncio
import statistics
import time
import urllib.error
import urllib.request
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import uvloop
from databases import Stub
from posts import Load
from processes import Process, start_receiver

if TYPE_CHECKING:
    import argparse
    from collections.abc import Coroutine, Sequence

    from posts import Answers
    from processes import Cores

BUDGET_SECONDS: Final = 3.0
"""What a rule waits for an answer."""

GRACE_SECONDS: Final = 30.0
"""What Kubernetes gives a pod between SIGTERM and SIGKILL, if it is told nothing else."""

_MIB: Final = 1024 * 1024
_MOST_GROWTH: Final = 0.05
_MOST_GROWTH_BYTES: Final = 10 * _MIB
_MOST_UNDER_PRESSURE_BYTES: Final = 64 * _MIB
_WARM_UP_SECONDS: Final = 1.0
_THROTTLED_SECONDS: Final = 6.0
_EASY_SECONDS: Final = 2.0
_SPREAD_SECONDS: Final = 1.0
"""What comes at once waits for what came with it, before the receiver has seen it."""

_BEYOND: Final = 40  # more requests than the queue takes rows; not more than the receiver takes connections


class Verdict:
    """Whether all of what was looked at held."""

    def __init__(self) -> None:
        self.holds = True

    def expect(self, what: str, seen: object, *, holds: bool) -> None:
        """Print one thing that was looked at."""
        self.holds &= holds
        print(f"{'ok  ' if holds else 'FAIL'} {what}: {seen}", flush=True)


class Watch:
    """Reads the resident memory of a process, once a second."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self.resident: list[int] = []

    async def watch(self) -> None:
        """Read until cancelled."""
        while True:
            self.resident.append(self._process.resident_bytes())
            await asyncio.sleep(1.0)


def add_commands(commands: Any) -> None:
    """Add what can be checked to the command line."""
    holding = commands.add_parser("hold", help="posts at once for some time: answers, rows, memory")
    holding.add_argument("--posts", type=int, default=200, help="at once")
    holding.add_argument("--seconds", type=float, default=60.0)
    holding.add_argument("--soak", type=float, metavar="MINUTES", help="so long instead, and memory by the minute")
    holding.set_defaults(check=hold)
    pressing = commands.add_parser("pressure", help="a table that throttles for longer than a rule waits")
    pressing.add_argument("--posts", type=int, default=200, help="at once")
    pressing.set_defaults(check=press)
    stopping = commands.add_parser("stop", help="SIGTERM under load")
    stopping.add_argument("--posts", type=int, default=200, help="at once")
    stopping.set_defaults(check=stop)


def run(options: argparse.Namespace, cores: Cores) -> bool:
    """Make the check that was asked for; tell whether all of it held."""
    verdict = Verdict()
    with (
        Stub(cores) as table,
        start_receiver(table.url, cores=cores, checkout=options.checkout) as receiver,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        # The first row loads what rows need.
        runner.run(Load(receiver.port, connections=options.posts).run(_WARM_UP_SECONDS))
        checking: Coroutine[Any, Any, None] = options.check(options, verdict, table, receiver)
        runner.run(checking)
    return verdict.holds


async def hold(options: argparse.Namespace, verdict: Verdict, table: Stub, receiver: Process) -> None:
    """Post for a minute or longer."""
    seconds = options.soak * 60 if options.soak else options.seconds
    # A run of a minute has no first and last one: its first and last quarters then.
    part = int(60 if options.soak else seconds / 4)
    rows, watch = table.rows(), Watch(receiver)
    watching = asyncio.create_task(watch.watch())
    answers = await Load(receiver.port, connections=options.posts).run(seconds)
    watching.cancel()
    print(_summary(answers))
    verdict.expect("answers other than 200", dict(answers.statuses), holds=not answers.others)
    verdict.expect("requests without an answer", answers.unanswered, holds=not answers.unanswered)
    rows = table.rows() - rows
    verdict.expect("rows by answers", f"{rows} by {answers.stored}", holds=rows == answers.stored)
    first, last = (statistics.median(some) for some in (watch.resident[:part], watch.resident[-part:]))
    seen = f"{first / _MIB:.1f} and {last / _MIB:.1f} MiB, most {max(watch.resident) / _MIB:.1f}"
    allowed = max(_MOST_GROWTH * first, _MOST_GROWTH_BYTES)
    verdict.expect(f"resident memory, medians of the first and last {part} s", seen, holds=last - first <= allowed)


async def press(options: argparse.Namespace, verdict: Verdict, table: Stub, receiver: Process) -> None:
    """Throttle everything for longer than a rule waits, with few and with more requests than the queue takes."""
    resident = receiver.resident_bytes()
    limit = int(metric(receiver, "receiver_queue_limit_rows"))
    for posts, is_full in ((options.posts, False), (limit + _BEYOND, True)):
        print(
            f"{posts} posts at once, everything throttled for {_THROTTLED_SECONDS:.0f} s; the queue takes {limit} rows"
        )
        rows, before = table.rows(), failures(receiver)
        table.behave(throttled=1.0)
        load = Load(receiver.port, connections=posts)
        answering = asyncio.create_task(load.run(_THROTTLED_SECONDS + _EASY_SECONDS, spread=_SPREAD_SECONDS))
        await asyncio.sleep(_THROTTLED_SECONDS / 2)
        pages = {path: await asyncio.to_thread(status_of, receiver, path) for path in ("/metrics", "/livez", "/readyz")}
        await asyncio.sleep(_THROTTLED_SECONDS / 2)
        refused, kinds = load.answers.statuses.copy(), failures(receiver) - before
        table.behave(throttled=0.0)
        eased = time.perf_counter()
        while load.answers.stored == refused[200] and not answering.done():  # noqa: ASYNC110 - it has no event for it
            await asyncio.sleep(0.001)
        recovered = time.perf_counter() - eased
        answers = await answering
        print(_summary(answers))
        verdict.expect("answers while throttled", dict(refused), holds=set(refused) == {503})
        verdict.expect("why", dict(kinds), holds=("busy" in kinds) >= is_full)
        verdict.expect("503 without Retry-After", answers.without_retry_after, holds=not answers.without_retry_after)
        ended = answers.unanswered + answers.reopened
        verdict.expect("connections that did not stay open", ended, holds=not ended)
        slowest = answers.percentile(1.0, stored=False)
        verdict.expect("slowest refusal", f"{slowest:.2f} s", holds=slowest <= BUDGET_SECONDS)
        # Whether it is ready depends on whether the queue is full at that moment.
        verdict.expect("pages meanwhile", pages, holds=pages["/metrics"] == pages["/livez"] == 200)
        holds = answers.stored > refused[200] and recovered <= BUDGET_SECONDS
        verdict.expect("first 200 after the end of it", f"{recovered:.2f} s", holds=holds)
        # Of a call that was given up nobody knows: more rows than answers are possible, fewer are not.
        rows = table.rows() - rows
        verdict.expect("rows by answers with 200", f"{rows} by {answers.stored}", holds=rows >= answers.stored)
        grown = receiver.resident_bytes() - resident
        verdict.expect("memory taken", f"{grown / _MIB:.1f} MiB", holds=grown <= _MOST_UNDER_PRESSURE_BYTES)


async def stop(options: argparse.Namespace, verdict: Verdict, table: Stub, receiver: Process) -> None:
    """Send SIGTERM under load."""
    rows = table.rows()
    load = Load(receiver.port, connections=options.posts)
    answering = asyncio.create_task(load.run(_EASY_SECONDS))
    await asyncio.sleep(_EASY_SECONDS / 2)
    begin = time.perf_counter()
    receiver.terminate()
    code = await asyncio.to_thread(receiver.wait)
    taken = time.perf_counter() - begin
    load.cut_short()
    answers = await answering
    print(_summary(answers))
    verdict.expect("exit code", code, holds=code == 0)
    verdict.expect("seconds from SIGTERM to the end", f"{taken:.2f}", holds=taken <= GRACE_SECONDS)
    verdict.expect("answers other than 200", dict(answers.statuses), holds=not answers.others)
    print(f"     requests written to a connection that was being closed: {answers.unanswered}")
    rows = table.rows() - rows
    verdict.expect("rows by answers", f"{rows} by {answers.stored}", holds=rows == answers.stored)


def metric(receiver: Process, name: str) -> float:
    """Return one of the receiver's figures without labels."""
    return next(value for line, value in figures(receiver) if line == name)


def failures(receiver: Process) -> Counter[str]:
    """Return what the receiver counted of writes that failed, by kind."""
    prefix = 'receiver_write_failures_total{kind="'
    counted = {name: int(value) for name, value in figures(receiver) if name.startswith(prefix)}
    return Counter({name[len(prefix) : -2]: value for name, value in counted.items()})


def figures(receiver: Process) -> Sequence[tuple[str, float]]:
    """Return all of the receiver's figures."""
    with urllib.request.urlopen(f"{receiver.url}/metrics") as answer:  # noqa: S310 - on loopback
        lines = answer.read().decode().splitlines()
    return [(name, float(value)) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")]


def status_of(receiver: Process, path: str) -> int:
    """Return what a page answers."""
    try:
        with urllib.request.urlopen(f"{receiver.url}{path}") as answer:  # noqa: S310 - on loopback
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def _summary(answers: Answers) -> str:
    p50, p99 = (answers.percentile(share) * 1000 for share in (0.5, 0.99))
    return f"     {answers.stored} rows, {answers.rows_per_second:,.0f} a second, p50 {p50:.1f} ms, p99 {p99:.1f} ms"
