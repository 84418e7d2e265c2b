"""What became of one message: which rules took it up, what they posted, what was answered, and how that ended.

A `Story` is made of the records of the target's trace about one published message. It says whether the story is over,
and tells it: a failure that quotes a story names the WHERE that was false, the answer the receiver gave, the permission
that was missing.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from harness.clients.trace import detail

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from harness.clients.rules import Rule
    from harness.clients.trace import Record

TOLD_BY_RULES: Final = frozenset({"rule", "http_try", "action", "error_action"})
"""Kinds of records that the rules engine writes about a message."""

_FIRST_SERVER_ERROR: Final = 500
_LONGEST_PAYLOAD: Final = 160
_RULE_OUTCOMES: Final = {
    "not_matched": "did not match",
    "failed": "could not be evaluated",
    "throttled": "was not run",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """One request of a rule's HTTP action.

    Args:
        rule: the rule's name.
        number: counted from 1 for each rule.
        url: where to, without its query.
        status: of the answer; None when there was none.
        error: why there was no answer; None when there was one.
        answer: what the receiver said when it refused, its beginning; None otherwise.
    """

    rule: str
    number: int
    url: str
    status: int | None = None
    error: str | None = None
    answer: str | None = None

    def __str__(self) -> str:
        if self.status is None:
            return f"try {self.number}: POST {self.url} was not answered: {self.error or 'nobody knows why'}"
        said = f": {self.answer}" if self.answer else ""
        return f"try {self.number}: POST {self.url} was answered {self.status}{_phrase(self.status)}{said}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What became of one message.

    Args:
        publish: the record of its publication.
        records: what the rules engine wrote about it, oldest first.
        calls: AWS calls that were refused to roles meanwhile; they do not say on whose behalf.
    """

    publish: Record
    records: Sequence[Record] = ()
    calls: Sequence[Record] = ()

    @property
    def message_id(self) -> str:
        """The broker's id of the message: what ``traceid()`` gives a rule, and the row carries."""
        return str(self.publish.get("message_id"))

    @property
    def topic(self) -> str:
        """Where it was published."""
        return str(self.publish.get("topic"))

    @property
    def rules(self) -> list[str]:
        """The names of the rules that listen to its topic, in the order they took it up."""
        return list(dict.fromkeys(str(detail(each).get("rule")) for each in self.records))

    @property
    def tries(self) -> list[Try]:
        """Every request that its rules made, in order."""
        return [_as_try(detail(each)) for each in self.records if each["kind"] == "http_try"]

    @property
    def was_delivered(self) -> bool:
        """Whether some rule's action has succeeded."""
        return any(each["kind"] == "action" and detail(each).get("outcome") == "ok" for each in self.records)

    @property
    def became_dead_letter(self) -> bool:
        """Whether some rule's error action has sent it to the queue."""
        return any(each["kind"] == "error_action" and detail(each).get("outcome") == "ok" for each in self.records)

    def is_over(self, rules: Collection[Rule]) -> bool:
        """Tell whether nothing more will become of the message.

        Args:
            rules: that listen to its topic, as far as known; of others only what they have begun is awaited.
        """
        known = {rule.name: rule for rule in rules}
        return all(self._is_over_for(name, known.get(name)) for name in {*known, *self.rules})

    def told(self) -> list[str]:
        """Tell the story, one line for each event; the first says what was published."""
        lines = [self._header(), *(f"  {line}" for line in self._events())]
        return lines if self.records else [*lines, "  no rule has taken it up"]

    def gist(self) -> tuple[object, ...]:
        """Return what two stories that went the same way have in common."""
        events = (
            (each["kind"], says.get("rule"), says.get("outcome"), says.get("status"))
            for each in self.records
            for says in [detail(each)]
        )
        return (self.topic, *events)

    def _is_over_for(self, name: str, rule: Rule | None) -> bool:
        mine = [each for each in self.records if detail(each).get("rule") == name]
        outcomes = [detail(each).get("outcome") for each in mine if each["kind"] == "rule"]
        if not outcomes or outcomes[0] != "matched":
            return bool(outcomes)
        actions = [detail(each).get("outcome") for each in mine if each["kind"] == "action"]
        if len(actions) < (rule.actions if rule else 1):
            return False
        owes_letter = rule is not None and rule.has_error_action and any(each != "ok" for each in actions)
        return not owes_letter or any(each["kind"] == "error_action" for each in mine)

    def _header(self) -> str:
        says = detail(self.publish)
        payload = _shown(str(says.get("payload", "")), says.get("payload_bytes"))
        who = self.publish.get("client_id") or self.publish.get("principal") or "somebody"
        at = str(self.publish.get("at", ""))[11:23]
        return f"{who} published {payload} to {self.topic} at {at}, message {self.message_id}:"

    def _events(self) -> list[str]:
        events = [(each["kind"], _event(each)) for each in self.records]
        index = next((at for at, (kind, _) in enumerate(events) if kind in {"action", "error_action"}), len(events))
        texts = [text for _, text in events]
        return [*texts[:index], *self._refused_calls(), *texts[index:]]

    def _refused_calls(self) -> list[str]:
        """Tell of AWS calls that may be why a receiver answered with an error of its own."""
        if not any((each.status or 0) >= _FIRST_SERVER_ERROR or each.error for each in self.tries):
            return []
        others = [each for each in self.calls if _session(each) not in self.rules]  # a rule's own fail as its actions
        refused = Counter(_call(each) for each in others)
        return [f"meanwhile {call}{_times(count)}" for call, count in refused.items()]


def _event(record: Record) -> str:
    says = detail(record)
    because, outcome = says.get("because"), says.get("outcome")
    tail = f": {because}" if because else ""
    if record["kind"] == "http_try":
        return str(_as_try(says))
    if record["kind"] == "rule":
        if outcome == "matched":
            return f"rule {says.get('rule')} matched"
        return f"rule {says.get('rule')} {_RULE_OUTCOMES.get(str(outcome), outcome)}{tail}"
    if record["kind"] == "error_action":
        what = "sent it to the dead-letter queue" if outcome == "ok" else f"failed{tail}"
        return f"the error action of rule {says.get('rule')} {what}"
    tries = says.get("tries") or 0
    after = f" after {tries} {'try' if tries == 1 else 'tries'}" if tries else " without a try"
    return f"rule {says.get('rule')} " + (f"delivered it{after}" if outcome == "ok" else f"gave up{after}{tail}")


def _as_try(says: dict[str, Any]) -> Try:
    return Try(
        rule=str(says.get("rule")),
        number=int(says.get("number") or 0),
        url=str(says.get("url")),
        status=says.get("status"),
        error=says.get("error"),
        answer=says.get("answer"),
    )


def _session(record: Record) -> str:
    return str(record.get("principal")).rpartition("/")[2]


def _call(record: Record) -> str:
    says, who = detail(record), str(record.get("principal"))
    because = str(says.get("because"))
    caller = "" if who in because else f" of {who}"
    return f"{says.get('service')}:{says.get('operation')}{caller} was refused with {says.get('outcome')}: {because}"


def _shown(payload: str, size: int | None) -> str:
    """Show a payload as the trace has it, its whole length where it is cut."""
    shown = repr(payload)
    is_whole = len(shown) <= _LONGEST_PAYLOAD and len(payload.encode()) == size
    return shown if is_whole else f"{shown[:_LONGEST_PAYLOAD].rstrip(shown[0])}… ({size} bytes)"


def _times(count: int) -> str:
    return "" if count == 1 else f" ({count} times)"


def _phrase(status: int) -> str:
    try:
        return f" {HTTPStatus(status).phrase}"
    except ValueError:
        return ""
