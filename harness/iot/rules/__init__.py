"""The rules engine without its engine: SQL, templates, actions and tries as values and functions.

`parse_statement` and `parse_template` read SQL and refuse, with line and column, whatever is not evaluated here. A
`RuleMessage` is one published message; `Statement.evaluate` says what a rule makes of it, `HttpAction.prepare` what is
posted where, `HttpTries` when to post again, and `error_document` what the error action sends. `check_actions` is what
CreateTopicRule refuses, `compile_rule` what the broker runs.

The parser is built at its first use, which takes about a tenth of a second: where that matters, parse any statement
beforehand.

values.py        types and conversions         json_text.py     reading and writing JSON, bounded
message.py       a message                     grammar.py       text to syntax tree
syntax.py        the tree                      operators.py     functions.py
expressions.py   tree to closure               statement.py     SELECT … FROM … WHERE
template.py      ``${…}``                      urls.py          which URLs, and which is whose prefix
actions.py       checking and compiling        http_action.py   http_tries.py   error_action.py
"""

from harness.iot.rules.actions import (
    CompiledRule,
    InvalidAction,
    UnsupportedAction,
    check_actions,
    compile_rule,
    destinations_to_create,
)
from harness.iot.rules.error_action import SqsAction, error_document
from harness.iot.rules.expressions import DEFAULT_SQL_VERSION, SQL_VERSIONS
from harness.iot.rules.http_action import ActionFailed, HttpAction, HttpRequest
from harness.iot.rules.http_tries import MAX_ANSWER_BYTES, GivenUp, HttpTries, Step, Succeeded, TryAgain
from harness.iot.rules.message import PayloadError, RuleMessage
from harness.iot.rules.statement import Evaluation, EvaluationFailed, Matched, NotMatched, Statement, parse_statement
from harness.iot.rules.template import Template, TemplateTooLong, TemplateUndefined, parse_template
from harness.iot.rules.urls import flaw as url_flaw
from harness.iot.rules.values import UNDEFINED

__all__ = [
    "DEFAULT_SQL_VERSION",
    "MAX_ANSWER_BYTES",
    "SQL_VERSIONS",
    "UNDEFINED",
    "ActionFailed",
    "CompiledRule",
    "Evaluation",
    "EvaluationFailed",
    "GivenUp",
    "HttpAction",
    "HttpRequest",
    "HttpTries",
    "InvalidAction",
    "Matched",
    "NotMatched",
    "PayloadError",
    "RuleMessage",
    "SqsAction",
    "Statement",
    "Step",
    "Succeeded",
    "Template",
    "TemplateTooLong",
    "TemplateUndefined",
    "TryAgain",
    "UnsupportedAction",
    "check_actions",
    "compile_rule",
    "destinations_to_create",
    "error_document",
    "parse_statement",
    "parse_template",
    "url_flaw",
]
