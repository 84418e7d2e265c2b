"""Topic rules: created, replaced, listed, switched off; the broker runs them.

What is accepted here runs there: the SQL parses, the actions are ones that are run, and the roles they name let IoT use
them. Everything else is refused when the rule is made, by name.

Source: iot-create-rule, iot-create-role and https-rule-action in the AWS IoT developer guide; botocore's ``iot`` model.
Differs: a rule without FROM, which only Basic Ingest would reach, is refused. AWS checks a role when it uses it; here a
role that is missing or does not trust IoT is refused at once.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from harness.embedded.control.aws_calls import RULES_SERVICE, rule_context
from harness.embedded.control.messages import ApiError
from harness.embedded.control.outcome import Outcome
from harness.embedded.control.paging import take_page
from harness.embedded.control.service_roles import role_arns, why_not_assumable
from harness.embedded.control.tags import read_tag_header
from harness.errors import RuleSqlError
from harness.iot.arn import iot_arn
from harness.iot.registry import TopicRule
from harness.mqtt.topics import matches

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from harness.embedded.control.destinations import Destinations
    from harness.embedded.control.moto_backend import MotoBackend
    from harness.embedded.control.outcome import Caller, Handler
    from harness.embedded.control.routing import ApiCall
    from harness.embedded.control.tags import Tags
    from harness.iot.quirks import Quirks

# harness.iot.rules is imported inside functions: its grammar would delay the first sign of life of the process.

MAX_RULES: Final = 1_000
"""Source: "Maximum number of rules per AWS account" in the AWS general reference."""
MAX_RULE_BYTES: Final = 256 * 1024
"""Source: "Maximum rule size" in the AWS general reference."""
DEFAULT_VERSION: Final = "2015-10-08"
"""Source: iot-rule-sql-version in the AWS IoT developer guide; the console's default is a later one."""
_NO_FROM: Final = "FROM is missing: only Basic Ingest reaches such a rule, which is not served here yet"
_MEMBERS: Final = frozenset({"sql", "description", "actions", "ruleDisabled", "awsIotSqlVersion", "errorAction"})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    """One rule as it was given, and what the broker must know of it."""

    record: TopicRule
    topic_filter: str
    payload: Mapping[str, Any] = field(repr=False)
    created_at: float


class TopicRules:
    """The rules of the account, and handlers of their operations.

    Args:
        backend: has the roles.
        destinations: where a rule's own destinations are made.
        tags: where a rule's tags are kept.
        quirks: the ports that HTTP actions may name.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        backend: MotoBackend,
        destinations: Destinations,
        tags: Tags,
        *,
        quirks: Quirks,
        clock: Callable[[], float],
    ) -> None:
        self._backend = backend
        self._destinations = destinations
        self._tags = tags
        self._quirks = quirks
        self._clock = clock
        self._lock = threading.Lock()
        self._rules: dict[str, _Rule] = {}

    def handlers(self) -> Mapping[str, Handler]:
        """Return what runs here instead of in moto."""
        return {
            "CreateTopicRule": self._create,
            "DeleteTopicRule": self._delete,
            "DisableTopicRule": self._switch,
            "EnableTopicRule": self._switch,
            "GetTopicRule": self._get,
            "ListTopicRules": self._list,
            "ReplaceTopicRule": self._replace,
        }

    @staticmethod
    def warm_up() -> None:
        """Load what the first rule would otherwise wait for."""
        from harness.iot.rules import parse_statement, parse_template  # noqa: PLC0415 - see the top

        parse_statement("SELECT * FROM 'a'")
        parse_template("${topic()}")

    def records(self, keys: Iterable[str] | None) -> dict[str, TopicRule]:
        """Return what the broker must know: all rules, or those with the given names that exist."""
        with self._lock:
            chosen = self._rules if keys is None else set(keys) & self._rules.keys()
            return {name: self._rules[name].record for name in chosen}

    # --- operations
    # ---------------------------------------------------------------------------------------------------------------

    def _create(self, call: ApiCall, _caller: Caller) -> Outcome:
        name = call.text("ruleName")
        tags = read_tag_header(call.params.get("tags"))
        rule = self._read(name, call.params["topicRulePayload"])
        with self._lock:
            if name in self._rules:
                message = f"Rule with the name {name} already exists"
                raise ApiError("ResourceAlreadyExistsException", message, status=409)
            if len(self._rules) >= MAX_RULES:
                raise ApiError("LimitExceededException", f"There are {MAX_RULES} topic rules already", status=410)
            self._tags.put("rule", name, tags)
            return self._put(rule)

    def _replace(self, call: ApiCall, _caller: Caller) -> Outcome:
        name = call.text("ruleName")
        rule = self._read(name, call.params["topicRulePayload"])
        with self._lock:
            return self._put(replace(rule, created_at=self._existing(name).created_at))

    def _put(self, rule: _Rule) -> Outcome:
        """Keep a rule, with the destinations that it brings along."""
        made = self._destinations.ensure(_own_destinations(rule.payload["actions"]))
        self._rules[rule.record.name] = rule
        touched = {"rules": frozenset({rule.record.name}), **({"destinations": made} if made else {})}
        return Outcome(result={}, touched=touched)

    def _get(self, call: ApiCall, _caller: Caller) -> Outcome:
        with self._lock:
            rule = self._existing(call.text("ruleName"))
        record, payload = rule.record, rule.payload
        described = {
            "ruleName": record.name,
            "sql": record.sql,
            "createdAt": rule.created_at,
            "actions": payload["actions"],
            "ruleDisabled": record.is_disabled,
            "awsIotSqlVersion": record.sql_version,
            **{name: payload[name] for name in ("description", "errorAction") if payload.get(name) is not None},
        }
        return Outcome(result={"ruleArn": record.arn, "rule": described})

    def _list(self, call: ApiCall, _caller: Caller) -> Outcome:
        topic, is_disabled = call.params.get("topic"), call.params.get("ruleDisabled")
        with self._lock:
            rules = dict(self._rules)
        found = {
            name: {
                "ruleArn": rule.record.arn,
                "ruleName": name,
                "topicPattern": rule.topic_filter,
                "createdAt": rule.created_at,
                "ruleDisabled": rule.record.is_disabled,
            }
            for name, rule in rules.items()
            if is_disabled in (None, rule.record.is_disabled)
            and (topic is None or matches(rule.topic_filter, topic, parent_matches=False))
        }
        page, more = take_page(
            found, max_results=call.params.get("maxResults"), next_token=call.params.get("nextToken")
        )
        return Outcome(result={"rules": page, **more})

    def _delete(self, call: ApiCall, _caller: Caller) -> Outcome:
        name = call.text("ruleName")
        with self._lock:
            self._rules.pop(name, None)
            self._tags.forget("rule", name)
        return Outcome(result={}, touched={"rules": frozenset({name})})

    def _switch(self, call: ApiCall, _caller: Caller) -> Outcome:
        name = call.text("ruleName")
        with self._lock:
            rule = self._existing(name)
            record = replace(rule.record, is_disabled=call.operation.name == "DisableTopicRule")
            self._rules[name] = replace(rule, record=record)
        return Outcome(result={}, touched={"rules": frozenset({name})})

    def _existing(self, name: str) -> _Rule:
        rule = self._rules.get(name)
        if rule is None:
            message = f"Access to topic rule '{name}' was denied: there is none of this name"
            raise ApiError("UnauthorizedException", message, status=401)
        return rule

    # --- what a rule may be
    # ---------------------------------------------------------------------------------------------------------------

    def _read(self, name: str, payload: dict[str, Any]) -> _Rule:
        """Read a rule, or refuse it; what it says in headers may be secret and is in no message."""
        if unknown := sorted(set(payload) - _MEMBERS):
            raise _invalid(f"topicRulePayload has no member {', '.join(unknown)} here")
        _check_size(payload)
        error_action = payload.get("errorAction")
        version = payload.get("awsIotSqlVersion") or DEFAULT_VERSION
        topic_filter = _topic_filter(payload["sql"], version)
        self._check_actions(payload["actions"], error_action, version=version)
        for role_arn in dict.fromkeys(role_arns(payload)):
            self._check_role(role_arn, name)
        record = TopicRule(
            name=name,
            arn=iot_arn(self._backend.region, self._backend.account_id, f"rule/{name}"),
            sql=payload["sql"],
            sql_version=version,
            is_disabled=bool(payload.get("ruleDisabled")),
            actions=tuple(json.dumps(action, sort_keys=True) for action in payload["actions"]),
            error_action=None if error_action is None else json.dumps(error_action, sort_keys=True),
        )
        return _Rule(record=record, topic_filter=topic_filter, payload=dict(payload), created_at=self._clock())

    def _check_role(self, role_arn: str, rule_name: str) -> None:
        because = why_not_assumable(
            self._backend.role(role_arn), service=RULES_SERVICE, context=rule_context(self._backend, rule_name)
        )
        if because is not None:
            raise _invalid(f"{RULES_SERVICE} is unable to perform sts:AssumeRole on resource {role_arn}: {because}")

    def _check_actions(
        self, actions: list[Mapping[str, Any]], error_action: Mapping[str, Any] | None, *, version: str
    ) -> None:
        from harness.iot.rules import InvalidAction, UnsupportedAction, check_actions  # noqa: PLC0415 - see the top

        try:
            check_actions(actions, error_action, version=version, quirks=self._quirks)
        except (InvalidAction, UnsupportedAction) as error:
            raise _invalid(str(error)) from None  # which holds no header's value


def _check_size(payload: Mapping[str, Any]) -> None:
    try:
        size = len(json.dumps(payload, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    except RecursionError:
        raise _invalid("The rule is nested too deeply") from None
    if size > MAX_RULE_BYTES:
        raise _invalid(f"The rule is longer than {MAX_RULE_BYTES} bytes")


def _topic_filter(sql: str, version: str) -> str:
    """Return the topic filter of a statement that can be run."""
    from harness.iot.rules import SQL_VERSIONS, parse_statement  # noqa: PLC0415 - see the top
    from harness.iot.rules.grammar import Refusal, sql_error  # noqa: PLC0415 - see the top

    if version not in SQL_VERSIONS:
        raise _invalid(f"awsIotSqlVersion {version[:40]} is none of {', '.join(SQL_VERSIONS)}")
    try:
        statement = parse_statement(sql, version=version)
        if statement.topic_filter is None:
            raise sql_error(sql, Refusal(len(sql.rstrip()), _NO_FROM))
    except RuleSqlError as error:
        raise ApiError("SqlParseException", str(error)) from None
    return statement.topic_filter


def _own_destinations(actions: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the confirmation URLs for which a rule's actions bring their own destination."""
    from harness.iot.rules import destinations_to_create  # noqa: PLC0415 - see the top

    for action in actions:
        url = destinations_to_create(action)
        if url is not None:
            yield url


def _invalid(message: str) -> ApiError:
    return ApiError("InvalidRequestException", message)
