"""What errors of AWS calls mean, one row per answer that was seen or is documented."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, ParamValidationError, ReadTimeoutError
from botocore.parsers import ResponseParserError

from harness.errors import ProvisioningError
from harness.targets.provisioning.refusals import (
    is_refusal,
    is_unreachable,
    means_gone,
    means_later,
    means_unknown_operation,
)


def error(status: int, code: str, message: str = "") -> ProvisioningError:
    """Give the error of a call that was answered."""
    answer = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return caused_by(ClientError(answer, "X"), f"{code}: {message}")  # type: ignore[arg-type] # the members that count


def caused_by(cause: Exception, reason: str = "") -> ProvisioningError:
    """Give the error of a call that failed for a cause."""
    failure = ProvisioningError("x", reason=reason or str(cause))
    failure.__cause__ = cause
    return failure


GONE, UNKNOWN, LATER, REFUSED = {"gone"}, {"unknown"}, {"later"}, set[str]()


@pytest.mark.parametrize(
    ("answer", "meaning"),
    [
        ((404, "ResourceNotFoundException"), GONE),
        ((400, "ResourceNotFoundException"), GONE),
        ((404, "NoSuchEntity"), GONE),
        ((400, "AWS.SimpleQueueService.NonExistentQueue"), GONE),
        ((400, "InvalidRequestException", "Unsupported IoT path: GET /destinations"), UNKNOWN),
        ((400, "InvalidRequestException", "Not implemented yet"), UNKNOWN),
        ((404, "404", "Not Found"), UNKNOWN),
        ((404, "NoSuchBucket", "The specified bucket does not exist"), UNKNOWN),
        ((405, "405", "Method Not Allowed"), UNKNOWN),
        ((501, "InternalFailure", "API action not implemented"), UNKNOWN),
        ((501, "NotImplementedException"), UNKNOWN),
        ((400, "UnknownOperationException"), UNKNOWN),
        ((400, "InvalidAction"), UNKNOWN),
        ((409, "DeleteConflict"), LATER),
        ((409, "DeleteConflictException"), LATER),
        ((409, "ConflictingResourceUpdateException"), LATER),
        ((400, "ResourceInUseException"), LATER),
        ((400, "InvalidIdentityPoolConfigurationException"), LATER),
        ((429, "ThrottlingException"), LATER),
        ((400, "Throttling"), LATER),
        ((400, "TooManyRequestsException"), LATER),
        ((500, "InternalFailureException"), LATER),
        ((503, "ServiceUnavailable"), LATER),
        ((400, "InvalidRequestException", "The URL is not valid"), REFUSED),
        ((400, "ValidationException", "Name is too long"), REFUSED),
        ((403, "AccessDeniedException", "not supported for you"), REFUSED),
        ((401, "UnauthorizedException"), REFUSED),
        ((409, "EntityAlreadyExists"), REFUSED),
    ],
)
def test_an_answer_has_one_meaning(answer: tuple[Any, ...], meaning: set[str]) -> None:
    """Gone, unknown altogether, to be tried later, or refused for good."""
    told = error(*answer)
    found = {
        name
        for name, means in (("gone", means_gone), ("unknown", means_unknown_operation), ("later", means_later))
        if means(told)
    }

    assert found == meaning
    assert not is_unreachable(told)
    assert is_refusal(told) is (answer[0] < 500)


@pytest.mark.parametrize(
    "cause",
    [EndpointConnectionError(endpoint_url="http://127.0.0.1:9"), ReadTimeoutError(endpoint_url="http://127.0.0.1:9")],
)
def test_no_answer_may_be_one_later(cause: Exception) -> None:
    """And says nothing of what is there."""
    told = caused_by(cause)

    assert is_unreachable(told)
    assert means_later(told)
    assert not any(means(told) for means in (means_gone, means_unknown_operation, is_refusal))


def test_an_answer_of_another_kind_means_that_the_operation_is_unknown() -> None:
    """A page of HTML where JSON was due, or JSON without what was asked for."""
    for cause in (ResponseParserError("not JSON"), KeyError("destinationSummaries")):
        told = caused_by(cause)
        assert means_unknown_operation(told)
        assert not means_later(told)


def test_a_call_that_was_never_made_means_nothing() -> None:
    """A mistake of ours is not to be tried again, nor taken for an answer."""
    for told in (caused_by(ParamValidationError(report="no")), ProvisioningError("x", reason="?")):
        every = (means_gone, means_later, means_unknown_operation, is_unreachable, is_refusal)
        assert not any(means(told) for means in every)
