"""The HTTP action: what is posted where, decided without I/O.

`HttpAction.prepare` turns a message and the result of SELECT into one `HttpRequest`, the same for every try, or into
the reason why nothing is sent. `harness.iot.rules.http_tries` then says when to try again.

Source: https-rule-action and http-action-destination in the AWS IoT developer guide.
Differs: that nothing is sent without an ENABLED destination is inferred from "you must enable".
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from harness.iot.rules.message import PayloadError
from harness.iot.rules.template import TemplateTooLong, TemplateUndefined
from harness.iot.rules.urls import MAX_URL_CHARACTERS, flaw, is_prefix

if TYPE_CHECKING:
    from collections.abc import Iterable

    from harness.iot.quirks import Quirks
    from harness.iot.registry import RuleDestination
    from harness.iot.rules.message import RuleMessage
    from harness.iot.rules.statement import Matched
    from harness.iot.rules.template import Template

FAILED_ACTION: Final = "HttpAction"
"""How error documents name this action."""
CANNOT_REQUEST: Final = "HttpAction failed to make a request to the specified endpoint."
"""How AWS's messages begin. Source: rule-error-handling in the AWS IoT developer guide."""

CONTENT_TYPE: Final = "content-type"
_NOT_IN_HEADERS: Final = re.compile("[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")
_ENABLED: Final = "ENABLED"


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """A POST, ready to be sent, as often as it takes.

    Args:
        url: whole.
        headers: in order, content type included; their values may be secrets.
        body: the result of SELECT.
        destination_arn: the confirmed destination that lets it go out.
    """

    url: str
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    body: bytes = field(repr=False)
    destination_arn: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionFailed:
    """An action did not do what it should.

    Args:
        action: as error documents name it.
        resource: what it was about to use: the URL.
        message: one sentence; never a header's value.
        metric: the CloudWatch metric AWS would count: ``HttpInvalidUrl``, ``HttpUnknownHost``,
            ``HttpRequestTimeout``, ``HttpCode_4XX``, ``HttpCode_5XX``, ``HttpCode_Other`` or ``Failure``.
    """

    action: str
    resource: str
    message: str
    metric: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpAction:
    """An ``http`` action, its templates compiled.

    Args:
        url: where to post.
        confirmation_url: what the URL begins with; None where it is the URL itself.
        headers: names and templates of their values; the values may be secrets.
    """

    url: Template
    confirmation_url: Template | None = None
    headers: tuple[tuple[str, Template], ...] = field(default=(), repr=False)

    def prepare(
        self, message: RuleMessage, evaluation: Matched, *, destinations: Iterable[RuleDestination], quirks: Quirks
    ) -> HttpRequest | ActionFailed:
        """Decide what to post; never raises.

        Args:
            message: what the templates look at.
            evaluation: the body.
            destinations: the account's, in whatever status.
            quirks: what an Undefined expression leaves, and which ports a URL may name.
        """
        resource = self.url.text
        try:
            resource = url = self.url.render(message, undefined=quirks.undefined_in_template)
            prefix = None
            if self.confirmation_url is not None:
                prefix = self.confirmation_url.render(message, undefined=quirks.undefined_in_template)
            headers = tuple(
                (name, value.render(message, undefined=quirks.undefined_in_template)) for name, value in self.headers
            )
        except (TemplateUndefined, TemplateTooLong, PayloadError) as error:
            return _failed(resource, f"A substitution template has no value: {error}.")
        if (reason := flaw(url, ports=quirks.http_destination_ports)) is not None:
            return _failed(resource, f"The url is not one to post to: {reason}.", metric="HttpInvalidUrl")
        if prefix is not None and not is_prefix(prefix, url):
            return _failed(resource, "The url does not begin with the confirmationUrl.")
        for name, value in headers:
            if not can_be_sent(value):
                return _failed(resource, f"The value of the header {name} holds a character that no header can hold.")
        destination, because = _choose(url, destinations)
        if destination is None:
            return _failed(resource, because)
        if all(name.lower() != CONTENT_TYPE for name, _value in headers):
            kind = "application/json" if evaluation.is_json else "application/octet-stream"
            headers = ((CONTENT_TYPE, kind), *headers)
        return HttpRequest(url=url, headers=headers, body=evaluation.body, destination_arn=destination.arn)


def can_be_sent(value: str) -> bool:
    """Tell whether a text can be the value of a header: no control character but the tab, no lone surrogate."""
    return _NOT_IN_HEADERS.search(value) is None


def _choose(url: str, destinations: Iterable[RuleDestination]) -> tuple[RuleDestination | None, str]:
    """Return the enabled destination with the longest URL that begins this one; else None and why."""
    fitting = [one for one in destinations if is_prefix(one.confirmation_url, url)]
    enabled = [one for one in fitting if one.status == _ENABLED]
    if enabled:
        return min(enabled, key=lambda one: (-len(one.confirmation_url), one.arn)), ""
    if fitting:
        seen = ", ".join(sorted(f"{one.confirmation_url.partition('?')[0]} is {one.status}" for one in fitting))
        return None, f"No destination is ENABLED for the url: {seen}."
    return None, "No destination has a confirmationUrl that the url begins with."


def _failed(resource: str, reason: str, *, metric: str = "Failure") -> ActionFailed:
    return ActionFailed(
        action=FAILED_ACTION,
        resource=resource[:MAX_URL_CHARACTERS],
        message=f"{CANNOT_REQUEST} {reason}",
        metric=metric,
    )
