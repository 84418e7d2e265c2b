"""The topic rules a test deals with: the stack's, and its own, which are copies of the stack's with something changed.

SQL is changed as text: what listens to which topic, and under which condition. Whether it is right SQL is the target's
to say when the rule is created.
"""

from __future__ import annotations

import asyncio
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from botocore.exceptions import BotoCoreError, ClientError

from harness.clients.removal import PATIENCE, Remover
from harness.clients.waiting import SharedLook, to_the_end
from harness.errors import TargetUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

SECRET_HEADER: Final = "X-Iot-Secret"  # noqa: S105 - the header's name, not what it holds
_FROM: Final = re.compile(r"\bFROM\s+('(?:[^']|'')*'|\"[^\"]*\")", re.IGNORECASE)
_WHERE: Final = re.compile(r"\s*\bWHERE\b.*", re.IGNORECASE | re.DOTALL)
_NOT_IN_A_NAME: Final = re.compile(r"[^a-zA-Z0-9_]")
_MADE_BY_AWS: Final = frozenset({"ruleName", "createdAt", "ruleArn"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A topic rule.

    Args:
        name: letters, digits and ``_``.
        sql: its statement.
        urls: where its HTTP actions post.
        actions: how many actions it has.
        has_error_action: whether failures go somewhere.
        is_disabled: whether it is switched off.
    """

    name: str
    sql: str
    urls: tuple[str, ...] = ()
    actions: int = 1
    has_error_action: bool = False
    is_disabled: bool = False

    @classmethod
    def parse(cls, rule: Mapping[str, Any]) -> Rule:
        """Read what GetTopicRule answers under ``rule``."""
        actions = rule.get("actions", [])
        return cls(
            name=rule["ruleName"],
            sql=rule["sql"],
            urls=tuple(each["http"]["url"] for each in actions if "http" in each),
            actions=len(actions),
            has_error_action=bool(rule.get("errorAction")),
            is_disabled=bool(rule.get("ruleDisabled")),
        )

    @property
    def topic_filter(self) -> str:
        """What it listens to; empty when its statement does not say."""
        found = _FROM.search(self.sql)
        return found[1][1:-1].replace("''", "'") if found else ""

    def listens_to(self, topic: str) -> bool:
        """Tell whether a message on a topic would be taken up."""
        return not self.is_disabled and is_below(self.topic_filter, topic)


class Rules:
    """The rules that a test's messages may meet: the stack's, and those made here.

    Args:
        make_iot: makes boto3's ``iot`` client, when it is first needed.
        make_name: makes a name from a hint that nobody else makes.
        stack_rule: name of the stack's rule; None when the stack has none.
        tags: say whose the rules made here are, beside their names.
        patience: seconds that removing a rule or a destination may be tried again for.
    """

    def __init__(
        self,
        *,
        make_iot: Callable[[], Any],
        make_name: Callable[[str], str],
        stack_rule: str | None = None,
        tags: Mapping[str, str] | None = None,
        patience: float = PATIENCE,
    ) -> None:
        self._make_iot = make_iot
        self._make_name = make_name
        self._stack_rule = stack_rule
        self._tags = dict(tags or {})
        self._patience = patience
        self._known: Rule | None = None
        self._made: dict[str, Rule] = {}
        self._made_at: dict[str, float] = {}
        self._learning = SharedLook()
        self._client: Any = None

    async def listening_to(self, topic: str, *, at: float | None = None) -> list[Rule]:
        """Return the rules that take up messages on a topic, as far as they are the stack's or the test's.

        Args:
            topic: where a message was published.
            at: when, by the monotonic clock: a rule that was made later never hears of it; None means now.
        """
        if self._known is None:
            await self._learning.take(self._learn)
        known = [self._known] if self._known else []
        made = [rule for name, rule in self._made.items() if at is None or self._made_at[name] <= at]
        return [rule for rule in (*known, *made) if rule.listens_to(topic)]

    async def described(self, topic: str) -> list[str]:
        """Tell why no rule may have taken up a message on a topic, one line for each rule; never raises."""
        names = [*([self._stack_rule] if self._stack_rule else []), *self._made]
        return [await self._describe(name, topic) for name in names] or ["this stack has no rule"]

    def new_name(self) -> str:
        """Return a name for `make`, to be noted before there is a rule of that name."""
        return _NOT_IN_A_NAME.sub("_", self._make_name("rule"))

    async def make(
        self,
        *,
        name: str | None = None,
        topic: str | None = None,
        where: str | None = None,
        sql: str | None = None,
        secret: str | None = None,
        url: str | None = None,
        confirmation_url: str | None = None,
        headers: Mapping[str, str | None] | None = None,
    ) -> Rule:
        """Create a copy of the stack's rule with something changed.

        Args:
            name: as `new_name` gave it; None makes one.
            topic: topic filter it listens to, instead of the stack's.
            where: condition; None keeps the stack's.
            sql: whole statement, in place of `topic` and `where`.
            secret: what it sends as `SECRET_HEADER`; None keeps the stack's.
            url: where it posts; None keeps the stack's.
            confirmation_url: beginning of the destination; None keeps the stack's, or is `url` where that is given.
            headers: added or replaced; those that are None are left out.

        Raises:
            botocore.exceptions.ClientError: the target refused the rule.
            TargetUnavailable: the stack has no rule.
            ValueError: there is neither a topic nor a statement, or there are both.
        """
        __tracebackhide__ = True
        if (topic is None) == (sql is None) or (sql and where):
            raise ValueError("a rule takes either topic=…, and where=… if need be, or sql=…")
        payload = {name: value for name, value in (await self._original()).items() if name not in _MADE_BY_AWS}
        payload["sql"] = sql or rewritten(payload["sql"], topic=topic or "", where=where)
        changed = {**(headers or {}), **({SECRET_HEADER: secret} if secret is not None else {})}
        payload["actions"] = [
            _changed(action, url=url, confirmation_url=confirmation_url, headers=changed)
            for action in payload["actions"]
        ]
        name = name or self.new_name()
        tags = {"tags": urlencode(self._tags)} if self._tags else {}
        await self.call("create_topic_rule", ruleName=name, topicRulePayload=payload, **tags)
        self._made[name] = rule = Rule.parse({"ruleName": name, **payload})
        self._made_at[name] = time.monotonic()
        return rule

    async def remove(self, rule_name: str) -> None:
        """Delete a rule that was made here; one that is gone, or never came to be, does no harm.

        Raises:
            botocore.exceptions.ClientError: the target refused it for good, or until patience was over.
        """
        await asyncio.to_thread(lambda: Remover(self._iot(), patience=self._patience).rule(rule_name))
        self._made.pop(rule_name, None)
        self._made_at.pop(rule_name, None)

    async def remove_destination(self, arn: str) -> None:
        """Delete a destination; one that is gone does no harm.

        Raises:
            botocore.exceptions.ClientError: the target refused it for good, or until patience was over.
        """
        await asyncio.to_thread(lambda: Remover(self._iot(), patience=self._patience).destination(arn))

    async def call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        """Call an operation of boto3's ``iot`` client off the event loop; one that makes something is seen through.

        Raises:
            botocore.exceptions.ClientError: the target refused it.
        """
        __tracebackhide__ = True

        def run() -> dict[str, Any]:
            answer: dict[str, Any] = getattr(self._iot(), operation)(**parameters)
            return answer

        try:
            return await (to_the_end(run) if operation.startswith("create_") else asyncio.to_thread(run))
        except ClientError as error:
            raise error.with_traceback(None) from None  # the message names the cause; a page of botocore does not

    def close(self) -> None:
        """Close the connections to AWS IoT."""
        if self._client is not None:
            self._client.close()

    def _iot(self) -> Any:
        self._client = self._client or self._make_iot()
        return self._client

    async def _original(self) -> dict[str, Any]:
        if self._stack_rule is None:
            raise TargetUnavailable("This stack has no rule to copy: deploy it with a receiver.")
        return await self._get(self._stack_rule)

    async def _learn(self) -> None:
        if self._known is None and self._stack_rule is not None:
            with suppress(ClientError):  # it is gone: `described` tells of that
                self._known = Rule.parse(await self._get(self._stack_rule))

    async def _get(self, name: str) -> dict[str, Any]:
        answer: dict[str, Any] = (await self.call("get_topic_rule", ruleName=name))["rule"]
        return answer

    async def _describe(self, name: str, topic: str) -> str:
        try:
            rule = Rule.parse(await self._get(name))
        except (BotoCoreError, ClientError) as error:
            return f"rule {name} cannot be read: {error}"
        if rule.is_disabled:
            return f"rule {name} is disabled"
        listens = "listens" if rule.listens_to(topic) else f"does not listen to {topic}, but"
        return f"rule {name} {listens} to {rule.topic_filter!r}: {rule.sql}"


def rewritten(sql: str, *, topic: str, where: str | None) -> str:
    """Return a statement that listens to another topic, under another condition.

    Args:
        sql: a statement with a FROM in quotes.
        topic: topic filter.
        where: condition; None leaves the one there is, or none.

    Raises:
        ValueError: the statement has no such FROM.
    """
    found = _FROM.search(sql)
    if found is None:
        raise ValueError(f"no FROM '…' in {sql!r}")
    quoted_topic = topic.replace("'", "''")
    head, rest = f"{sql[: found.start()]}FROM '{quoted_topic}'", sql[found.end() :]
    return head + (rest if where is None else f"{_WHERE.sub('', rest)} WHERE {where}")


def is_below(topic_filter: str, topic: str) -> bool:
    """Tell whether a topic filter takes in a topic name."""
    filters, levels = topic_filter.split("/"), topic.split("/")
    if levels[0].startswith("$") and filters[0] in {"+", "#"}:
        return False
    if filters[-1] == "#":
        filters.pop()
        levels = levels[: len(filters)]
    return len(filters) == len(levels) and all(
        each in {"+", level} for each, level in zip(filters, levels, strict=True)
    )


def _changed(
    action: Mapping[str, Any], *, url: str | None, confirmation_url: str | None, headers: Mapping[str, str | None]
) -> dict[str, Any]:
    if "http" not in action:
        return dict(action)
    http = dict(action["http"])
    if url is not None:
        http["url"] = url
    if (confirmed := confirmation_url or url) is not None:
        http["confirmationUrl"] = confirmed
    http["headers"] = _merged(http.get("headers", []), headers)
    return {**action, "http": http}


def _merged(present: Iterable[Mapping[str, str]], changes: Mapping[str, str | None]) -> list[dict[str, str]]:
    lowered = {name.lower() for name in changes}
    kept = [dict(each) for each in present if each["key"].lower() not in lowered]
    return kept + [{"key": name, "value": value} for name, value in changes.items() if value is not None]
