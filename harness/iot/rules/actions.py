"""The actions of a rule: checked when the rule is made, compiled when it is to run.

`check_actions` refuses, by name, each action that does not run here, so that no rule is silently without effect.
`compile_rule` turns an accepted record into what runs.

Source: https-rule-action, sqs-rule-action and iot-rule-actions in the AWS IoT developer guide; botocore's ``iot``
model.
Differs: ``http`` alone runs, and ``sqs`` alone as an error action, without templates in its queue URL. Headers that
frame a request (``Host``, ``Content-Length`` and their like) are refused: AWS does not say what becomes of them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from harness.errors import HarnessError, RuleSqlError
from harness.iot.rules.error_action import SqsAction
from harness.iot.rules.http_action import HttpAction, can_be_sent
from harness.iot.rules.statement import Statement, parse_statement
from harness.iot.rules.template import Template, parse_template
from harness.iot.rules.urls import MAX_URL_CHARACTERS, flaw, is_prefix

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.iot.quirks import DestinationPorts, Quirks
    from harness.iot.registry import TopicRule

MAX_ACTIONS: Final = 10
MAX_HEADERS: Final = 100
MAX_HEADER_KEY_CHARACTERS: Final = 256

KNOWN_ACTIONS: Final = frozenset(
    {
        "cloudwatchAlarm",
        "cloudwatchLogs",
        "cloudwatchMetric",
        "dynamoDB",
        "dynamoDBv2",
        "elasticsearch",
        "firehose",
        "http",
        "iotAnalytics",
        "iotEvents",
        "iotSiteWise",
        "kafka",
        "kinesis",
        "lambda",
        "location",
        "openSearch",
        "republish",
        "s3",
        "salesforce",
        "sns",
        "sqs",
        "stepFunctions",
        "timestream",
    }
)
"""Every action that CreateTopicRule knows."""

_HTTP_FIELDS: Final = ("url", "confirmationUrl", "headers")
_HTTP_NOT_YET: Final = {
    "auth": "signed requests are not sent here yet",
    "enableBatching": "batches are not sent here yet",
    "batchConfig": "batches are not sent here yet",
}
_SQS_FIELDS: Final = ("queueUrl", "roleArn", "useBase64")
_HEADER_FIELDS: Final = ("key", "value")
_FRAMING: Final = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_HEADER_KEY: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_QUEUE_URL: Final = re.compile(r"https?://[^\s/]+/[^\s$]+")
_ROLE_ARN: Final = re.compile(r"arn:aws[a-z-]*:iam::[0-9]{12}:role/[\x21-\x7e]+")


class UnsupportedAction(HarnessError):  # noqa: N818 - says what the action is
    """An action, or a part of one, that AWS runs and this project does not.

    Args:
        name: for example ``dynamoDBv2``, or ``http.auth``.
        reason: one sentence without its beginning.
    """

    def __init__(self, name: str, reason: str) -> None:
        self.name = name
        self.reason = reason
        super().__init__(f"The action {name} is not run here yet; {reason}")


class InvalidAction(HarnessError):  # noqa: N818 - says what the action is
    """An action that AWS would not take either.

    Args:
        field: where, for example ``actions[0].http.url``.
        reason: what is wrong there; no header's value.
    """

    def __init__(self, field: str, reason: str) -> None:
        self.field = field
        self.reason = reason
        super().__init__(f"{field}: {reason}")


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledRule:
    """A rule that can run.

    Args:
        name: of the rule.
        topic_filter: which topics it is for; None for a rule that Basic Ingest alone reaches.
        statement: what it makes of a message.
        actions: each runs for a message that the statement matched.
        error_action: runs once when one of them failed.
        is_disabled: whether it does nothing for now.
    """

    name: str
    topic_filter: str | None
    statement: Statement
    actions: tuple[HttpAction, ...]
    error_action: SqsAction | None
    is_disabled: bool


def check_actions(
    actions: Sequence[Mapping[str, Any]], error_action: Mapping[str, Any] | None, *, version: str, quirks: Quirks
) -> None:
    """Refuse what cannot run.

    Args:
        actions: as CreateTopicRule takes them.
        error_action: the same; None when there is none.
        version: of the rule's SQL, which is that of its templates.
        quirks: which ports URLs may name.

    Raises:
        UnsupportedAction: AWS would run it, this project does not.
        InvalidAction: AWS would not take it either.
        ValueError: no version of rule SQL.
    """
    if not isinstance(actions, list | tuple):
        raise InvalidAction("actions", "a list is expected")
    if len(actions) > MAX_ACTIONS:
        raise InvalidAction("actions", f"a rule has at most {MAX_ACTIONS} actions, not {len(actions)}")
    for index, action in enumerate(actions):
        _check_http(action, f"actions[{index}]", version=version, ports=quirks.http_destination_ports)
    if error_action is not None:
        _sqs(_content(error_action, "errorAction", runs="sqs"), "errorAction.sqs")


def destinations_to_create(action: Mapping[str, Any]) -> str | None:
    """Return the confirmation URL for which a destination is made with the rule; None when none is.

    Args:
        action: one of a rule's actions, checked.

    Source: https-rule-action: one is made where url and confirmationUrl hold no template; the url is its own
    confirmationUrl where that is absent.
    """
    http = action.get("http")
    if http is None or "${" in http["url"]:
        return None
    confirmation_url: str = http.get("confirmationUrl") or http["url"]
    return None if "${" in confirmation_url else confirmation_url


def compile_rule(record: TopicRule) -> CompiledRule:
    """Make a rule ready to run.

    Args:
        record: what CreateTopicRule accepted.

    Raises:
        RuleSqlError: its SQL cannot be parsed after all.
        UnsupportedAction: it has an action that does not run here.
        InvalidAction: it has an action that is none.
    """
    statement = parse_statement(record.sql, version=record.sql_version)
    error_action = None
    if record.error_action is not None:
        content = _content(json.loads(record.error_action), "errorAction", runs="sqs")
        error_action = _sqs(content, "errorAction.sqs")
    return CompiledRule(
        name=record.name,
        topic_filter=statement.topic_filter,
        statement=statement,
        actions=tuple(
            _http(
                _content(json.loads(text), f"actions[{index}]", runs="http"),
                f"actions[{index}].http",
                record.sql_version,
            )
            for index, text in enumerate(record.actions)
        ),
        error_action=error_action,
        is_disabled=record.is_disabled,
    )


def _content(action: object, field: str, *, runs: str) -> Mapping[str, Any]:
    """Return what an action holds, if it is the one kind that runs."""
    if not isinstance(action, Mapping) or len(action) != 1:
        raise InvalidAction(field, "an object with one member, named as the action, is expected")
    ((name, content),) = action.items()
    if name not in KNOWN_ACTIONS:
        raise InvalidAction(field, f"{name} is no action")
    if name != runs:
        what = "error actions" if runs == "sqs" else "actions"
        raise UnsupportedAction(name, f"{runs} alone is, among {what}")
    if not isinstance(content, Mapping):
        raise InvalidAction(f"{field}.{name}", "an object is expected")
    return content


def _check_http(action: object, field: str, *, version: str, ports: DestinationPorts) -> None:
    """Refuse an HTTP action whose URLs do not fit each other. Source: https-rule-action."""
    http = _http(_content(action, field, runs="http"), f"{field}.http", version)
    if http.confirmation_url is None:
        if not http.url.is_constant:
            raise InvalidAction(f"{field}.http.confirmationUrl", "it is needed where url holds a template")
    elif http.confirmation_url.is_constant:
        _check_url(http.confirmation_url.text, f"{field}.http.confirmationUrl", ports)
        if not is_prefix(http.confirmation_url.text, http.url.text):
            raise InvalidAction(
                f"{field}.http.confirmationUrl", "it is the beginning of url, with the same host and port"
            )
    if http.url.is_constant:
        _check_url(http.url.text, f"{field}.http.url", ports)


def _check_url(url: str, field: str, ports: DestinationPorts) -> None:
    if (reason := flaw(url, ports=ports)) is not None:
        raise InvalidAction(field, reason)


def _http(content: Mapping[str, Any], field: str, version: str) -> HttpAction:
    for key, reason in _HTTP_NOT_YET.items():
        if key in content and content[key] is not False:
            raise UnsupportedAction(f"http.{key}", reason)
    _refuse_unknown(content, (*_HTTP_FIELDS, *_HTTP_NOT_YET), field)
    headers = content.get("headers", [])
    if not isinstance(headers, list) or len(headers) > MAX_HEADERS:
        raise InvalidAction(f"{field}.headers", f"a list of at most {MAX_HEADERS} headers is expected")
    confirmation_url = content.get("confirmationUrl")
    return HttpAction(
        url=_url(content.get("url"), f"{field}.url", version),
        confirmation_url=confirmation_url
        if confirmation_url is None
        else _url(confirmation_url, f"{field}.confirmationUrl", version),
        headers=tuple(_header(one, f"{field}.headers[{index}]", version) for index, one in enumerate(headers)),
    )


def _url(text: object, field: str, version: str) -> Template:
    if not isinstance(text, str) or not 0 < len(text) <= MAX_URL_CHARACTERS:
        raise InvalidAction(field, f"a string of 1 to {MAX_URL_CHARACTERS} characters is expected")
    return _template(text, field, version)


def _header(header: object, field: str, version: str) -> tuple[str, Template]:
    if not isinstance(header, Mapping):
        raise InvalidAction(field, "an object is expected")
    _refuse_unknown(header, _HEADER_FIELDS, field)
    key, value = header.get("key"), header.get("value")
    if not isinstance(key, str) or len(key) > MAX_HEADER_KEY_CHARACTERS or not _HEADER_KEY.fullmatch(key):
        raise InvalidAction(
            f"{field}.key",
            f"a header's name of at most {MAX_HEADER_KEY_CHARACTERS} characters, no template, is expected",
        )
    if key.lower() in _FRAMING:
        raise InvalidAction(f"{field}.key", f"{key} is set by who sends the request")
    if not isinstance(value, str):
        raise InvalidAction(f"{field}.value", "a string is expected")
    if not can_be_sent(value):
        raise InvalidAction(f"{field}.value", "it holds a character that no header can hold")
    return key, _template(value, f"{field}.value", version)


def _template(text: str, field: str, version: str) -> Template:
    try:
        return parse_template(text, version=version)
    except RuleSqlError as error:
        # Not the whole message: it would repeat the text, which may be a secret.
        raise InvalidAction(field, f"line {error.line}, column {error.column}: {error.expected}") from None


def _sqs(content: Mapping[str, Any], field: str) -> SqsAction:
    _refuse_unknown(content, _SQS_FIELDS, field)
    queue_url, role_arn, use_base64 = content.get("queueUrl"), content.get("roleArn"), content.get("useBase64")
    if not isinstance(queue_url, str) or not _QUEUE_URL.fullmatch(queue_url):
        raise InvalidAction(f"{field}.queueUrl", "the URL of a queue, no template, is expected")
    if not isinstance(role_arn, str) or not _ROLE_ARN.fullmatch(role_arn):
        raise InvalidAction(f"{field}.roleArn", "the ARN of a role is expected")
    if use_base64 is not None and not isinstance(use_base64, bool):
        raise InvalidAction(f"{field}.useBase64", "true or false is expected")
    return SqsAction(queue_url=queue_url, role_arn=role_arn, use_base64=bool(use_base64))


def _refuse_unknown(content: Mapping[str, Any], known: tuple[str, ...], field: str) -> None:
    for key in content:
        if key not in known:
            raise InvalidAction(f"{field}.{key}", f"unknown; known are {', '.join(known)}")
