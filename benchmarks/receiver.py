"""The receiver under load: against a plain handler, for a minute or longer, against a table that throttles, at its end.

    python benchmarks/receiver.py compare [--rounds 5] [--seconds 5] [--connections 200] [--database stub moto]
                                          [--aiobotocore-python PATH]
    python benchmarks/receiver.py hold [--posts 200] [--seconds 60 | --soak MINUTES]
    python benchmarks/receiver.py pressure
    python benchmarks/receiver.py stop

What is measured runs on one core, alone; load and database run on the others. ``compare`` takes turns: in each round
each of the candidates is given the same load for the same time, and the medians over the rounds are printed. The
database is a stub that answers every call after 5 ms, however many there are (`dynamodb_stub.py`), or moto's server.

The candidates are a plain FastAPI handler with a `put_item` for each message (`plain_handler.py`), in more than one
style, of which the fastest is the one to compare with; the receiver; and, where an interpreter is named that has
aiobotocore and granian (they cannot be installed beside this project: ``python -m venv V && V/bin/pip install
aiobotocore granian fastapi uvicorn uvloop httptools httpx pydantic-settings prometheus-client``), the receiver with
other stores and with another server (`receiver_variants.py`). ``hold``, ``pressure`` and ``stop`` check as well, and
end with exit code 1 when something does not hold (`receiver_checks.py`).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import uvloop

sys.path.insert(0, str(Path(__file__).parent))  # not there where Python is told to be safe

import receiver_checks
from databases import Database, Moto, Stub
from posts import Answers, Load
from processes import ROOT, Cores, Process, start_receiver, start_script

if TYPE_CHECKING:
    from collections.abc import Callable

WANTED_RATIO: Final = 3.0
PLAIN: Final = "plain"
SHIPPED: Final = "receiver"
WRITES_NOTHING: Final = f"{SHIPPED} without a database"

_WARM_UP_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One candidate's load in one round.

    Args:
        answers: that the load got.
        cpu_seconds: that the candidate used meanwhile.
        rows: that the database has more than before.
        calls: that the database was given.
    """

    answers: Answers
    cpu_seconds: float
    rows: int
    calls: int


async def take_turn(process: Process, database: Database, *, connections: int, seconds: float) -> Turn:
    """Load a candidate."""
    rows, calls, cpu = database.rows(), database.calls(), process.cpu_seconds()
    answers = await Load(process.port, connections=connections).run(seconds)
    return Turn(
        answers=answers,
        cpu_seconds=process.cpu_seconds() - cpu,
        rows=database.rows() - rows,
        calls=database.calls() - calls,
    )


def candidates(cores: Cores, url: str, options: argparse.Namespace) -> dict[str, Callable[[], Process]]:
    """Return how to start what is compared, by name."""
    python, connections, checkout = options.aiobotocore_python, options.connections, options.checkout

    def script(name: str, *arguments: str, python: str = sys.executable) -> Callable[[], Process]:
        return lambda: start_script(name, *arguments, endpoint_url=url, cores=cores, checkout=checkout, python=python)

    found = {
        f"{PLAIN}: Table, as it comes": script("plain_handler.py"),
        f"{PLAIN}: client, 50 threads": script("plain_handler.py", "--style", "client", "--threads", "50"),
        f"{PLAIN}: client, {connections} threads": script(
            "plain_handler.py", "--style", "client", "--threads", str(connections)
        ),
        SHIPPED: lambda: start_receiver(url, cores=cores, checkout=checkout),
        WRITES_NOTHING: script("receiver_variants.py", "--store", "none"),
    }
    if python is not None:
        found |= {
            f"{SHIPPED}, granian": script("receiver_variants.py", "--server", "granian", python=python),
            f"{SHIPPED}, aiobotocore singly": script("receiver_variants.py", "--store", "single", python=python),
            f"{SHIPPED}, aiobotocore batched": script("receiver_variants.py", "--store", "batched", python=python),
        }
    return found


def compare(options: argparse.Namespace, cores: Cores) -> bool:
    """Print a table for each database.

    Returns:
        Whether the receiver is fast enough against the stub, where a plain handler was measured as well, and nothing
        was answered but 200, and each answer has its row.
    """
    is_enough = True
    for database in options.database:
        with ExitStack() as stack:
            choice: Database = Stub(cores) if database == "stub" else Moto(cores)
            table = stack.enter_context(choice)
            starts = candidates(cores, table.url, options)
            running = {
                name: stack.enter_context(make())
                for name, make in starts.items()
                if not options.only or any(part in name for part in options.only)
            }
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                turns = runner.run(_rounds(running, table, options))
        ratio = show(turns, database=database)
        is_enough &= database != "stub" or ratio is None or ratio >= WANTED_RATIO
        for name, taken in turns.items():
            is_enough &= all(_is_true(turn, writes=name != WRITES_NOTHING) for turn in taken)
    return is_enough


async def _rounds(running: dict[str, Process], table: Database, options: argparse.Namespace) -> dict[str, list[Turn]]:
    turns: dict[str, list[Turn]] = {name: [] for name in running}
    for process in running.values():
        await take_turn(process, table, connections=options.connections, seconds=_WARM_UP_SECONDS)
    for _ in range(options.rounds):
        for name, process in running.items():
            turn = await take_turn(process, table, connections=options.connections, seconds=options.seconds)
            turns[name].append(turn)
    return turns


def _is_true(turn: Turn, *, writes: bool) -> bool:
    answers = turn.answers
    is_stored = turn.rows == answers.stored or not writes
    return is_stored and answers.stored > 0 and not answers.others and not answers.unanswered


def show(turns: dict[str, list[Turn]], *, database: str) -> float | None:
    """Print the medians; return rows a second of receiver by fastest plain handler, if there are both."""
    print(f"\n{database}")
    print("| candidate | rows/s (lowest to highest) | p50 | p99 | CPU per row | rows per call | not 200 | rows |")
    print("|---|---|---|---|---|---|---|---|")
    rates: dict[str, float] = {}
    costs: dict[str, float] = {}
    for name, taken in turns.items():
        rate = [turn.answers.rows_per_second for turn in taken]
        rates[name] = statistics.median(rate)
        p50, p99 = (statistics.median(turn.answers.percentile(share) * 1000 for turn in taken) for share in (0.5, 0.99))
        cpu = costs[name] = statistics.median(turn.cpu_seconds / max(turn.answers.stored, 1) for turn in taken)
        others = sum(turn.answers.others + turn.answers.unanswered for turn in taken)
        missing = [turn.rows - turn.answers.stored for turn in taken if turn.rows != turn.answers.stored]
        per_call = "-" if not taken[0].calls else f"{sum(t.rows for t in taken) / sum(t.calls for t in taken):.1f}"
        seen = f"differ by {missing}" if missing else "as answered"
        print(
            f"| {name} | {rates[name]:,.0f} ({min(rate):,.0f} to {max(rate):,.0f}) | {p50:.1f} ms | {p99:.1f} ms | "
            f"{cpu * 1e6:,.0f} µs | {per_call} | {others} | {'none' if name == WRITES_NOTHING else seen} |"
        )
    plain = [name for name in turns if name.startswith(PLAIN)]
    if not plain or SHIPPED not in turns:
        return None
    best = max(plain, key=rates.__getitem__)
    ratio, cheaper = rates[SHIPPED] / rates[best], costs[best] / costs[SHIPPED]
    print(f"rows/s, receiver by fastest plain handler: {ratio:.2f} (with the stub at least {WANTED_RATIO:g} is wanted)")
    print(f"CPU per row, that handler by receiver: {cheaper:.2f}", flush=True)
    return ratio


def main() -> None:
    """Measure by the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkout", type=Path, default=ROOT, help="measure the receiver of another one")
    commands = parser.add_subparsers(dest="command", required=True)
    comparing = commands.add_parser("compare", help="with a plain handler, and with what was not chosen")
    comparing.add_argument("--rounds", type=int, default=5)
    comparing.add_argument("--seconds", type=float, default=5.0, help="of each turn")
    comparing.add_argument("--connections", type=int, default=200)
    comparing.add_argument("--database", choices=("stub", "moto"), nargs="+", default=["stub", "moto"])
    comparing.add_argument("--aiobotocore-python", metavar="PATH", help="an interpreter with aiobotocore and granian")
    comparing.add_argument("--only", nargs="+", metavar="TEXT", help="candidates with one of these in their names")
    receiver_checks.add_commands(commands)
    options = parser.parse_args()
    cores = Cores.choose()
    os.sched_setaffinity(0, cores.others)
    print(f"core {cores.measured} for what is measured, load average {os.getloadavg()[0]:.1f}", flush=True)
    holds = compare(options, cores) if options.command == "compare" else receiver_checks.run(options, cores)
    sys.exit(0 if holds else 1)


if __name__ == "__main__":
    main()
