"""Redriving: the letters of a dead-letter queue, posted to the receiver as their rule would post them.

A letter is looked at, delivered if its row is not there, and deleted once it is. In this order, whatever happens in
between is made good by the next run: before the post, nothing has changed; after it, the row is found. The row's key is
made of the letter's own time and id, so that two runs that post the same letter at once write the same row.

    receive ──► old enough? readable? how does its rule post? ──► is a row there? ──► post ──► delete
                     └── no: left ◄──────── another answer than 2xx ─────────────────────┘

The work goes in rounds of so many letters as are held in memory at once. Two letters of one message (two rules may have
lost it) never go together: they have different times, and the second has to see the row of the first.

Everything here blocks: threads of its own do the waiting.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import httpx
from botocore.exceptions import BotoCoreError, ClientError

from harness.clients.letter_box import VISIBILITY_SECONDS, error_name
from harness.clients.stored import make_looks
from harness.clients.undelivered import NO_READING, LeftAlone, Posting, UndeliveredLetter, rule_named_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from harness.clients.letter_box import LetterBox, Received
    from harness.clients.stored import Look, StoredRows
    from harness.clients.undelivered import LostMessage

MIN_AGE_SECONDS: Final = 60.0
"""How old a letter has to be. A rule gives up after 3 seconds, and a receiver writes nothing later than that after it
got hold of a message: what has no row by then gets none any more. The rest is room for clocks and stalls."""

AT_ONCE: Final = 16
"""How many posts, or Queries, are under way at a time."""

ROUND: Final = 200
"""How many letters are held in memory."""

IN_VAIN: Final = 16
"""How many posts in a row may stay without an answer: after that, those to the same URL would only take time."""

_ROUND_SECONDS: Final = 120.0
"""From the first letter of a round to its last post; shorter than letters are held back."""

_POST_SECONDS: Final = 10.0
_MOST_PIECES: Final = 4
"""Of an answer's body, which says nothing: one that never ends is left to whoever sends it."""

_LATER: Final = frozenset({401, 403, 404, 407, 408, 409, 425, 429})
"""Refusals that are about the receiver's settings or its load, and not about the message."""

_Success: TypeAlias = Literal["redriven", "stored"]


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What became of the letters of a queue.

    Args:
        redriven: letters whose message was posted, and taken; in a dry run, those that would have been posted.
        stored: letters whose message had its row already.
        left: reason to the number of letters that stay in the queue for it.
        hidden: letters that somebody else held back when this began, about: another run, or one that was killed.
        kept: reason to the number of letters that stay held back after this for some minutes, since they could not be
            given back.
        can_go_on: whether another run, later, may do better with one of these.
    """

    redriven: int = 0
    stored: int = 0
    left: Counter[str] = field(default_factory=Counter)
    hidden: int = 0
    kept: Counter[str] = field(default_factory=Counter)
    can_go_on: bool = False

    @property
    def seen(self) -> int:
        """How many letters were looked at."""
        return self.redriven + self.stored + self.left.total()

    def take(self, fate: _Success | LeftAlone) -> None:
        """Count a letter."""
        if isinstance(fate, LeftAlone):
            self.left[fate.reason] += 1
            self.can_go_on = self.can_go_on or not fate.is_final
        elif fate == "stored":
            self.stored += 1
        else:
            self.redriven += 1

    def go_on(self, other: Outcome) -> None:
        """Take what another run, behind this one, made of the same queue: what was left here was seen again there."""
        self.redriven += other.redriven
        self.stored += other.stored
        self.left = other.left
        self.hidden = other.hidden
        self.kept += other.kept
        self.can_go_on = other.can_go_on

    def __str__(self) -> str:
        why = ", ".join(f"{reason}: {number}" for reason, number in self.left.most_common())
        told = f"redriven {self.redriven}, already stored {self.stored}, left {self.left.total()}"
        told = f"{told} ({why})" if why else told
        if self.hidden:
            told = f"{told}; held back by another run, or by one that was killed: {self.hidden}"
        for reason, number in self.kept.most_common():
            told = (
                f"{told}; could not be given back, and can be seen again in {VISIBILITY_SECONDS} s ({reason}): {number}"
            )
        return told


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """A letter that is to be delivered."""

    received: Received
    letter: UndeliveredLetter
    posting: Posting


class Redriver:
    """Redrives the letters of one queue, once.

    Args:
        box: the queue; of no use afterwards.
        rows: of the table that the receiver writes to.
        iot: boto3's ``iot`` client: asked how rules post.
        tls: `ssl.SSLContext` that the receivers' certificates are checked with.
        min_age: seconds that a letter has to be old.
        is_dry: post nothing, delete nothing.
        is_wanted: rule's name to whether its letters are looked at; None: all are.
        on_round: told what became of the letters so far, after each round.
    """

    def __init__(
        self,
        *,
        box: LetterBox,
        rows: StoredRows,
        iot: Any,
        tls: Any,
        min_age: float = MIN_AGE_SECONDS,
        is_dry: bool = False,
        is_wanted: Callable[[str], bool] | None = None,
        on_round: Callable[[Outcome], None] | None = None,
    ) -> None:
        self._box = box
        self._rows = rows
        self._iot = iot
        self._tls = tls
        self._min_age = min_age
        self._is_dry = is_dry
        self._is_wanted = is_wanted
        self._on_round = on_round or (lambda _: None)
        self._rules: dict[str, dict[str, Any] | LeftAlone] = {}
        self._silent: Counter[str] = Counter()
        self._outcome = Outcome()

    def run(self) -> Outcome:
        """Go through the queue, and give back what stays in it, however this ends.

        Raises:
            TargetUnavailable: the queue cannot be read.
        """
        limits = httpx.Limits(max_connections=AT_ONCE, max_keepalive_connections=AT_ONCE)
        threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="redrive")
        try:
            self._outcome.hidden = self._box.count_hidden()
            # Not by the environment's proxies: one of them would get to see the secret.
            with httpx.Client(verify=self._tls, trust_env=False, timeout=_POST_SECONDS, limits=limits) as http:
                while not self._box.is_over:
                    self._go_round(threads, http)
                    self._on_round(self._outcome)
        finally:
            threads.shutdown(cancel_futures=True)
            self._outcome.kept = self._box.give_back()
        outcome = self._outcome
        outcome.can_go_on = outcome.can_go_on or outcome.hidden > 0 or not self._box.is_empty
        return self._outcome

    def _go_round(self, threads: ThreadPoolExecutor, http: httpx.Client) -> None:
        deadline = time.monotonic() + _ROUND_SECONDS
        waiting = [job for each in self._box.receive(ROUND) if (job := self._prepare(each)) is not None]
        while waiting:
            jobs, waiting = _without_twins(waiting)
            missing = self._look_up(threads, jobs)

            def deliver(pair: tuple[_Job, list[LostMessage] | LeftAlone]) -> _Success | LeftAlone:
                return self._deliver(http, *pair, deadline=deadline)

            fates = list(threads.map(deliver, zip(jobs, missing, strict=True)))
            done = [each.received for each, fate in zip(jobs, fates, strict=True) if not isinstance(fate, LeftAlone)]
            not_deleted = {} if self._is_dry else self._box.delete(done)
            for job, fate in zip(jobs, fates, strict=True):
                why = not_deleted.get(job.received.its_id)
                self._outcome.take(LeftAlone(f"stored, not deleted ({why})", is_final=False) if why else fate)

    def _prepare(self, received: Received) -> _Job | None:
        """Read a letter and its rule; None for one that is left, or not wanted."""
        if self._is_wanted is not None and not self._is_wanted(rule_named_in(received.body)):
            return None
        try:
            letter = UndeliveredLetter.parse(received.body)
            if self._min_age <= 0 or received.age >= self._min_age:
                return _Job(received=received, letter=letter, posting=Posting.of(self._rule(letter.rule_name), letter))
            fate = LeftAlone(f"younger than {self._min_age:g} s", is_final=False)
        except LeftAlone as left:
            fate = left
        self._outcome.take(fate)
        return None

    def _rule(self, name: str) -> dict[str, Any]:
        if name not in self._rules:
            try:
                self._rules[name] = self._iot.get_topic_rule(ruleName=name)["rule"]
            except (ClientError, BotoCoreError) as error:
                self._rules[name] = LeftAlone(f"its rule cannot be read ({error_name(error)})", is_final=False)
        rule = self._rules[name]
        if isinstance(rule, LeftAlone):
            raise rule
        return rule

    def _look_up(self, threads: ThreadPoolExecutor, jobs: Sequence[_Job]) -> list[list[LostMessage] | LeftAlone]:
        """Return, for each letter, its messages that have no row; or why nobody knows."""
        owners = [(number, message) for number, job in enumerate(jobs) for message in job.letter.messages]
        looks = list(make_looks((message, jobs[number].received.sent_at) for number, message in owners))
        missing: list[list[LostMessage] | LeftAlone] = [[] for _ in jobs]
        for look, found in zip(looks, threads.map(self._find, looks), strict=True):
            for number, message in (owners[member] for member in look.members):
                if isinstance(found, LeftAlone):
                    missing[number] = found
                elif isinstance(those := missing[number], list) and not message.is_among(found):
                    those.append(message)
        return missing

    def _find(self, look: Look) -> frozenset[tuple[str, str]] | LeftAlone:
        try:
            return self._rows.find(look)
        except LeftAlone as left:
            return left

    def _deliver(
        self, http: httpx.Client, job: _Job, missing: list[LostMessage] | LeftAlone, *, deadline: float
    ) -> _Success | LeftAlone:
        if isinstance(missing, LeftAlone):
            return missing
        if self._is_dry and missing:
            return "redriven"
        # What is wrong for good with one message of a batch does not keep the others from their rows.
        left = LeftAlone(NO_READING) if job.letter.has_others else None
        for message in missing:
            if time.monotonic() >= deadline:
                return LeftAlone("no time left for it", is_final=False)
            if (refused := self._post(http, job, message)) is not None:
                if not refused.is_final:
                    return refused
                left = refused
        return left or ("redriven" if missing else "stored")

    def _post(self, http: httpx.Client, job: _Job, message: LostMessage) -> LeftAlone | None:
        """Post a message; return None once it is taken."""
        url = job.posting.url
        if self._silent[url] >= IN_VAIN:
            return LeftAlone("not posted, since nobody answered before", is_final=False)
        headers = job.posting.headers_for(message, sent_at=job.received.sent_at, is_batch=job.letter.is_batch)
        try:
            with http.stream("POST", url, content=message.payload, headers=headers) as answer:
                status = answer.status_code
                deque(islice(answer.iter_raw(), _MOST_PIECES), maxlen=0)  # read to its end, the connection goes on
        except httpx.LocalProtocolError:
            return LeftAlone("what its rule would send is no HTTP")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            self._silent[url] += 1
            return LeftAlone(f"no answer ({type(error).__name__})", is_final=False)
        self._silent[url] = 0
        if httpx.codes.is_success(status):
            return None
        return LeftAlone(f"answered {status}", is_final=httpx.codes.is_client_error(status) and status not in _LATER)


def _without_twins(jobs: Iterable[_Job]) -> tuple[list[_Job], list[_Job]]:
    """Divide letters into some of different messages, and those that have to wait for one of them."""
    seen: set[tuple[str, str | bytes]] = set()
    first: list[_Job] = []
    later: list[_Job] = []
    for job in jobs:
        mine = {(each.device_id, each.message_id or each.payload) for each in job.letter.messages}
        (later if mine & seen else first).append(job)
        seen |= mine
    return first, later
