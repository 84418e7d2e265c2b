"""What an HTTP action posts, and why it does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.iot.quirks import Quirks
from harness.iot.registry import RuleDestination
from harness.iot.rules import ActionFailed, HttpAction, HttpRequest, Matched, parse_template

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.iot.rules import RuleMessage

MATCHED = Matched(body=b'{"temp":21.5}', is_json=True)
HERE = "https://localhost:40004/ingest"


def destination(url: str = HERE, status: str = "ENABLED", number: int = 1) -> RuleDestination:
    """Make a destination."""
    return RuleDestination(arn=f"arn:destination/{number}", confirmation_url=url, status=status)


def action(url: str = HERE, confirmation_url: str | None = None, **headers: str) -> HttpAction:
    """Make an action."""
    return HttpAction(
        url=parse_template(url),
        confirmation_url=None if confirmation_url is None else parse_template(confirmation_url),
        headers=tuple((name.replace("_", "-"), parse_template(value)) for name, value in headers.items()),
    )


@pytest.mark.parametrize(
    ("headers", "is_json", "wanted"),
    [
        ({}, True, [("content-type", "application/json")]),
        ({}, False, [("content-type", "application/octet-stream")]),
        ({"content_type": "text/plain"}, True, [("content-type", "text/plain")]),
        ({"CONTENT_Type": "text/plain"}, False, [("CONTENT-Type", "text/plain")]),
        (
            {"X_Message_Id": "${traceid()}", "X_Received_At": "${timestamp()}", "X_Client_Id": "${clientid()}"},
            True,
            [
                ("content-type", "application/json"),
                ("X-Message-Id", "7e146a2c-0000-4000-8000-000000000001"),
                ("X-Received-At", "1795291262123"),
                ("X-Client-Id", "d-1"),
            ],
        ),
        ({"X_A": "é\t${temp}"}, True, [("content-type", "application/json"), ("X-A", "é\t21.5")]),
        ({"X_A": "${nothing}"}, True, [("content-type", "application/json"), ("X-A", "")]),
    ],
)
def test_a_request_has_the_headers_of_its_action(
    headers: dict[str, str], wanted: list[tuple[str, str]], *, is_json: bool, make_message: Callable[..., RuleMessage]
) -> None:
    """Source: https-rule-action: the content type follows the body unless a header of any case overrides it."""
    message = make_message(b'{"temp":21.5}')
    request = action(**headers).prepare(
        message, Matched(body=b"body", is_json=is_json), destinations=[destination()], quirks=Quirks()
    )

    assert request == HttpRequest(url=HERE, headers=tuple(wanted), body=b"body", destination_arn="arn:destination/1")


@pytest.mark.parametrize(
    ("made", "url"),
    [
        (action(f"{HERE}/${{topic(2)}}", HERE), f"{HERE}/telemetry"),
        (action(f"{HERE}?by=${{clientid()}}", "${'" + HERE + "'}"), f"{HERE}?by=d-1"),
        (action("${url}", HERE), f"{HERE}/from/payload"),
    ],
)
def test_a_url_may_hold_templates(made: HttpAction, url: str, make_message: Callable[..., RuleMessage]) -> None:
    """What comes out begins with the confirmation URL, whatever that came from."""
    message = make_message(f'{{"url":"{HERE}/from/payload"}}')
    request = made.prepare(message, MATCHED, destinations=[destination()], quirks=Quirks())

    assert isinstance(request, HttpRequest)
    assert request.url == url


@pytest.mark.parametrize(
    ("made", "resource", "message", "metric"),
    [
        (
            action("${url}", HERE),
            "http://localhost/a",
            "The url is not one to post to: a URL begins with https://.",
            "HttpInvalidUrl",
        ),
        (
            action(f"{HERE}/${{space}}", HERE),
            f"{HERE}/a b",
            (
                "The url is not one to post to: a URL consists of the characters that RFC 3986 names; all others are "
                "percent-encoded."
            ),
            "HttpInvalidUrl",
        ),
        (
            action(f"{HERE}/${{up}}", HERE),
            f"{HERE}/../admin",
            "The url is not one to post to: a path has no . and .. segments.",
            "HttpInvalidUrl",
        ),
        (
            action(HERE, "https://localhost:40004/${topic(1)}"),
            HERE,
            "The url does not begin with the confirmationUrl.",
            "Failure",
        ),
        (
            action(X_A="a${newline}b"),
            HERE,
            "The value of the header X-A holds a character that no header can hold.",
            "Failure",
        ),
        (
            action(X_A="${surrogate}"),
            HERE,
            "The value of the header X-A holds a character that no header can hold.",
            "Failure",
        ),
        (
            action("https://localhost:40005/ingest"),
            "https://localhost:40005/ingest",
            "No destination has a confirmationUrl that the url begins with.",
            "Failure",
        ),
        (
            action(f"{HERE}/${{long}}${{long}}", HERE),
            f"{HERE}/${{long}}${{long}}",
            "A substitution template has no value: the text is longer than 131072 characters.",
            "Failure",
        ),
    ],
)
def test_an_action_that_cannot_post_says_why(
    made: HttpAction, resource: str, message: str, metric: str, make_message: Callable[..., RuleMessage]
) -> None:
    """As a failure for the error action, never an exception; no header's value is in it."""
    payload = (
        b'{"url":"http://localhost/a","space":"a b","up":"../admin","newline":"\\r\\n","surrogate":"\\ud800","long":"'
        + b"x" * 70_000
        + b'"}'
    )
    failed = made.prepare(make_message(payload), MATCHED, destinations=[destination()], quirks=Quirks())

    assert failed == ActionFailed(
        action="HttpAction",
        resource=resource,
        message=f"HttpAction failed to make a request to the specified endpoint. {message}",
        metric=metric,
    )


def test_a_failure_names_no_more_of_a_url_than_a_url_can_have(make_message: Callable[..., RuleMessage]) -> None:
    """A device may have filled it."""
    message = make_message(b'{"a":"' + b"x" * 50_000 + b'"}')
    failed = action(f"{HERE}/${{a}}", HERE).prepare(message, MATCHED, destinations=[destination()], quirks=Quirks())

    assert isinstance(failed, ActionFailed)
    assert len(failed.resource) == 2000
    assert "at most 2000 characters, not 50031" in failed.message


@pytest.mark.parametrize(
    ("undefined", "payload", "reason"),
    [("fail", b"{}", "${a} is Undefined"), ("empty", b"\xff", "the payload is not JSON: byte 1 is not UTF-8")],
)
def test_a_template_without_a_value_fails_the_action(
    undefined: str, payload: bytes, reason: str, make_message: Callable[..., RuleMessage]
) -> None:
    """Where the quirk says so, or the payload cannot be read; `test_a_request_has_…` has the twin."""
    quirks = Quirks().with_mapping({"undefined-in-template": undefined})
    failed = action(X_A="${a}").prepare(make_message(payload), MATCHED, destinations=[destination()], quirks=quirks)

    assert isinstance(failed, ActionFailed)
    assert failed.message.endswith(f"A substitution template has no value: {reason}.")


def test_ports_are_checked_again_when_the_url_is_known(make_message: Callable[..., RuleMessage]) -> None:
    """Source: https-rule-action: 443 and 8443 on AWS."""
    quirks = Quirks().with_mapping({"http-destination-ports": "443-and-8443"})
    message = make_message(b'{"port":8444}')
    made = action("https://localhost:${port}/a", "https://localhost:${port}")
    failed = made.prepare(message, MATCHED, destinations=[destination("https://localhost:8444")], quirks=quirks)

    assert isinstance(failed, ActionFailed)
    assert failed.metric == "HttpInvalidUrl"
    assert isinstance(
        made.prepare(message, MATCHED, destinations=[destination("https://localhost:8444")], quirks=Quirks()),
        HttpRequest,
    )


@pytest.mark.parametrize("status", ["IN_PROGRESS", "DISABLED", "ERROR", "DELETING"])
def test_nothing_goes_to_a_destination_that_is_not_enabled(
    status: str, make_message: Callable[..., RuleMessage]
) -> None:
    """Source: http-action-destination; the reason names the status."""
    failed = action().prepare(make_message(), MATCHED, destinations=[destination(status=status)], quirks=Quirks())

    assert isinstance(failed, ActionFailed)
    assert failed.message.endswith(f"No destination is ENABLED for the url: {HERE} is {status}.")


def test_a_reason_names_a_destination_without_its_query(make_message: Callable[..., RuleMessage]) -> None:
    """The reason goes into the trace, where no query of a URL goes."""
    url = f"{HERE}?token=s3cret"
    waiting = destination(url, status="IN_PROGRESS")

    failed = action(url=url).prepare(make_message(), MATCHED, destinations=[waiting], quirks=Quirks())

    assert isinstance(failed, ActionFailed)
    assert failed.message.endswith(f"No destination is ENABLED for the url: {HERE} is IN_PROGRESS.")


def test_the_longest_enabled_destination_is_the_one(make_message: Callable[..., RuleMessage]) -> None:
    """Of several that fit; those that are not enabled do not stand in the way."""
    destinations = [
        destination("https://localhost:40004", number=1),
        destination("https://localhost:40004/in", number=3),
        destination("https://localhost:40004/in", number=2),
        destination(HERE, status="IN_PROGRESS", number=4),
        destination("https://localhost:4000", number=5),
    ]
    request = action().prepare(make_message(), MATCHED, destinations=destinations, quirks=Quirks())

    assert isinstance(request, HttpRequest)
    assert request.destination_arn == "arn:destination/2"


def test_a_request_does_not_print_its_headers() -> None:
    """They hold the receiver's secret; nor the action its templates of them."""
    request = HttpRequest(url=HERE, headers=(("X-Iot-Secret", "s3cret"),), body=b"private", destination_arn="arn")

    assert "s3cret" not in repr(request)
    assert "private" not in repr(request)
    assert "s3cret" not in repr(action(X_Iot_Secret="s3cret"))
