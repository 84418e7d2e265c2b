"""When an HTTP action tries again: every ending of a try, with a clock of the test's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.iot.rules import ActionFailed, GivenUp, HttpRequest, HttpTries, Step, Succeeded, TryAgain

if TYPE_CHECKING:
    from harness.iot.rules.http_tries import FailureKind

URL = "https://localhost:40004/ingest"
CANNOT = "HttpAction failed to make a request to the specified endpoint."


def tries(started_at: float = 100.0) -> HttpTries:
    """Begin the tries of a request."""
    request = HttpRequest(url=URL, headers=(), body=b"", destination_arn="arn")
    return HttpTries(request, started_at=started_at)


def given_up(message: str, metric: str) -> GivenUp:
    """Make the step that ends it all."""
    failure = ActionFailed(action="HttpAction", resource=URL, message=f"{CANNOT} {message}", metric=metric)
    return GivenUp(failure=failure)


def answer(
    machine: HttpTries, status: int, *, size: int = 0, closed: bool = False, now: float = 100.1, reason: str = ""
) -> Step:
    """Let the endpoint answer."""
    return machine.answered(status, reason, size, closed, now)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
@pytest.mark.parametrize("closed", [False, True])
def test_2xx_is_success(status: int, *, closed: bool) -> None:
    """However long the answer, closed or not."""
    machine = tries()

    assert answer(machine, status, closed=closed, size=16_385) == Succeeded()
    assert machine.tries == 1


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 599])
def test_429_and_5xx_are_tried_again(status: int) -> None:
    """Source: https-rule-action; an answer of 16,384 bytes is not too long."""
    machine = tries()

    assert answer(machine, status, size=16_384) == TryAgain(after=0.1)
    assert machine.tries == 1


@pytest.mark.parametrize(
    ("status", "reason", "said", "metric"),
    [
        (100, "", "Continue", "HttpCode_Other"),
        (199, "", "Unknown", "HttpCode_Other"),
        (300, "", "Multiple Choices", "HttpCode_Other"),
        (301, "Elsewhere", "Elsewhere", "HttpCode_Other"),
        (304, "", "Not Modified", "HttpCode_Other"),
        (400, "Bad Request", "Bad Request", "HttpCode_4XX"),
        (403, "", "Forbidden", "HttpCode_4XX"),
        (404, "", "Not Found", "HttpCode_4XX"),
        (428, "", "Precondition Required", "HttpCode_4XX"),
        (499, "x" * 300, "x" * 200, "HttpCode_4XX"),
        (600, "", "Unknown", "HttpCode_Other"),
        (999, "", "Unknown", "HttpCode_Other"),
    ],
)
def test_no_other_status_is_tried_again(status: int, reason: str, said: str, metric: str) -> None:
    """Source: https-rule-action; redirects are not followed. The text is that of rule-error-handling."""
    assert answer(tries(), status, reason=reason) == given_up(f"StatusCode: {status}. Reason: {said}.", metric)


@pytest.mark.parametrize(("size", "closed"), [(16_385, False), (0, True), (1_000_000, True)])
@pytest.mark.parametrize(("status", "phrase"), [(503, "Service Unavailable"), (429, "Too Many Requests")])
def test_a_long_answer_or_a_closed_connection_ends_it(status: int, phrase: str, *, size: int, closed: bool) -> None:
    """Source: https-rule-action, "no retry if …"."""
    metric = f"HttpCode_{status // 100}XX"
    said = f"StatusCode: {status}. Reason: {phrase}."

    assert answer(tries(), status, size=size, closed=closed) == given_up(said, metric)


def test_there_are_three_tries() -> None:
    """Source: https-rule-action: at most two retries; the last answer is the one reported."""
    machine = tries()

    assert machine.tries == 0
    assert answer(machine, 500) == TryAgain(after=0.1)
    assert answer(machine, 429) == TryAgain(after=0.3)
    assert answer(machine, 503) == given_up("StatusCode: 503. Reason: Service Unavailable.", "HttpCode_5XX")
    assert machine.tries == 3


def test_a_later_try_may_succeed() -> None:
    """What was answered before is forgotten."""
    machine = tries()
    machine.failed("connect", "Connection refused", 100.1)

    assert answer(machine, 200) == Succeeded()
    assert machine.tries == 2


def test_all_tries_share_three_seconds() -> None:
    """Source: https-rule-action: 3000 ms cover all tries."""
    machine = tries(started_at=100.0)

    assert machine.next_timeout(100.0) == 3.0
    assert machine.next_timeout(102.5) == 0.5
    assert machine.next_timeout(103.0) == 0.0
    assert machine.next_timeout(200.0) == 0.0


@pytest.mark.parametrize(("now", "is_repeated"), [(102.75, True), (102.95, False), (103.0, False), (110.0, False)])
def test_a_try_that_could_not_begin_in_time_is_not_announced(now: float, *, is_repeated: bool) -> None:
    """The wait before it counts too."""
    step = answer(tries(), 503, now=now)

    assert isinstance(step, TryAgain) is is_repeated
    if isinstance(step, GivenUp):
        assert step.failure.metric == "HttpCode_5XX"


@pytest.mark.parametrize(
    ("kind", "is_repeated", "metric"),
    [
        ("connect", True, "Failure"),
        ("lost", True, "Failure"),
        ("name", True, "HttpUnknownHost"),
        ("tls", False, "Failure"),
        ("timeout", False, "HttpRequestTimeout"),
    ],
)
def test_a_try_without_an_answer(kind: FailureKind, metric: str, *, is_repeated: bool) -> None:
    """Repeated where another try can end otherwise; a certificate stays untrusted, and the time stays over."""
    machine = tries()
    steps = [machine.failed(kind, "What happened", 100.1) for _ in range(3 if is_repeated else 1)]

    assert steps[:-1] == ([TryAgain(after=0.1), TryAgain(after=0.3)] if is_repeated else [])
    assert steps[-1] == given_up("What happened.", metric)
    assert machine.tries == len(steps)


def test_a_try_without_an_answer_is_not_repeated_after_the_time() -> None:
    """Nor is it announced."""
    assert tries().failed("connect", "Connection refused", 102.9) == given_up("Connection refused.", "Failure")
